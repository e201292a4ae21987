# shellcheck shell=bash
# What every script here shares: messages, limits, the cache directory.
# Written for bash 3.2 and newer, so that a laptop with an old bash works too.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Things downloaded once: server binaries, jars, tools.
cache_dir() { printf '%s\n' "${FLEET_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/swe-ai-fleet}"; }

# limit SECONDS COMMAND…: runs it under a time limit where the machine has the means.
limit() {
  local seconds=$1
  shift
  if command -v timeout >/dev/null 2>&1; then
    timeout "$seconds" "$@"
  elif command -v perl >/dev/null 2>&1; then
    perl -e 'alarm shift; exec @ARGV or exit 127' "$seconds" "$@"
  else
    "$@"
  fi
}

# need COMMAND CURE: ends the script, naming the cure, when a command is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "'$1' is missing: $2"; }

# True when something accepts connections there.
port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on, below the range the system hands out to clients.
free_port() {
  local port try
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    port=$((21000 + (RANDOM + try) % 11000))
    port_in_use "$port" || { printf '%s\n' "$port"; return 0; }
  done
  die "no free port found on 127.0.0.1 between 21000 and 32000"
}
