# shellcheck shell=bash
# Questions to a NATS, Neo4j or Valkey server, asked with bash alone: ready is what
# answers a real request, not what has an open port.

# http_get HOST:PORT PATH: prints the whole response.
http_get() {
  (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 1
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$2" "$1" >&3
    limit 3 cat <&3
  ) 2>/dev/null
}

# nats_number MONITOR FIELD: one number of the server's /varz.
nats_number() { http_get "$1" /varz | sed -n "s/^ *\"$2\": *\([0-9][0-9]*\).*/\1/p" | sed -n 1p; }

# nats_ready CLIENT MONITOR (both HOST:PORT): healthy, and JetStream answers.
nats_ready() {
  http_get "$2" /healthz | grep -q '"status":"ok"' || return 1
  (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 1
    # shellcheck disable=SC2016 # $JS is part of the subject
    printf 'CONNECT {"verbose":false}\r\nSUB _INBOX.ready 1\r\nPUB $JS.API.INFO _INBOX.ready 0\r\n\r\n' >&3
    while IFS= read -r -t 3 line <&3; do
      case $line in
        *'"error"'*) exit 1 ;;
        *jetstream.api.v1.account_info_response*) exit 0 ;;
      esac
    done
    exit 1
  ) 2>/dev/null
}

# Bolt 4.4, just enough for one question. Strings and messages are built as
# printf escapes, since a shell variable cannot hold a zero byte.
bolt_string() { printf '\\xd0\\x%02x%s' "${#1}" "$1"; }
bolt_message() {
  local size
  size=$(printf '%b' "$1" | wc -c)
  printf '\\x%02x\\x%02x%s\\x00\\x00' $((size >> 8)) $((size & 255)) "$1"
}

# bolt_ready HOST:PORT USER PASSWORD: runs one query over Bolt; when it is
# answered, prints the server's running number of this connection.
bolt_ready() {
  (
    LC_ALL=C
    got='' part='' nul='\x00\x00\x00\x00'
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 1
    hello="\\xb1\\x01\\xa4$(bolt_string user_agent)$(bolt_string swe-ai-fleet-probe/1)"
    hello="$hello$(bolt_string scheme)$(bolt_string basic)"
    hello="$hello$(bolt_string principal)$(bolt_string "$2")$(bolt_string credentials)$(bolt_string "$3")"
    # Put together by the server, so that no echo of the query can pass for its answer.
    run="\\xb3\\x10$(bolt_string "RETURN 'fleet-' + 'ready!' AS answer")\\xa0\\xa0"
    pull="\\xb1\\x3f\\xa1$(bolt_string n)\\xff"
    printf '%b' "\\x60\\x60\\xb0\\x17\\x00\\x00\\x04\\x04$nul$nul$nul" \
      "$(bolt_message "$hello")$(bolt_message "$run")$(bolt_message "$pull")" >&3
    # The first query of a cold server takes seconds.
    while IFS= read -r -t 10 -d '!' part <&3; do
      got=$got$part
      case $got in
        *fleet-ready*)
          printf '%s\n' "$got" | LC_ALL=C sed -n 's/.*bolt-\([0-9][0-9]*\).*/\1/p' | sed -n 1p
          exit 0
          ;;
      esac
    done
    exit 1
  ) 2>/dev/null
}

# valkey_ask HOST:PORT COMMAND: prints the server's answer.
valkey_ask() {
  (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 1
    printf '%s\r\nQUIT\r\n' "$2" >&3
    limit 3 cat <&3
  ) 2>/dev/null
}

# valkey_ready HOST:PORT: serves commands (and does not only accept connections).
valkey_ready() { valkey_ask "$1" PING | grep -q '^+PONG'; }

# valkey_connections HOST:PORT: how many there were, this question included.
valkey_connections() {
  valkey_ask "$1" 'INFO stats' | sed -n 's/^total_connections_received:\([0-9][0-9]*\).*/\1/p' | sed -n 1p
}

valkey_version() {
  valkey_ask "$1" 'INFO server' | sed -n 's/^valkey_version:\([0-9.]*\).*/\1/p' | sed -n 1p
}
