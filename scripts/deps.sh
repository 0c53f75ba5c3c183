#!/usr/bin/env bash
# Installs what is missing to build and test baton.  On Debian and Ubuntu with
# apt, as root or through sudo; elsewhere it says what to install.  When all is
# there it does nothing and needs no network.
set -euo pipefail
PG_CONFIG=${PG_CONFIG:-pg_config}
OLDEST=15

pg() { "$PG_CONFIG" "--$1" 2>/dev/null; }
pg_major() { pg version | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p'; }
has_header() { echo "#include <$1>" | gcc -E ${2:+-I"$2"} - >/dev/null 2>&1; }
has_perl() { perl -M"$1" -e 1 2>/dev/null; }

# Prints one line per missing thing: "package  what for".  @N@ stands for the major version.
missing() {
  local bin pgxs
  command -v make >/dev/null || echo "make  make"
  command -v gcc >/dev/null || echo "gcc  C compiler"
  has_header stdio.h || echo "libc6-dev  C headers"
  has_header zlib.h || echo "zlib1g-dev  zlib's header"
  command -v ps >/dev/null || echo "procps  ps"
  command -v runuser >/dev/null || echo "util-linux  runuser"
  { command -v prove && has_perl Test::More && has_perl Time::HiRes; } >/dev/null || echo "perl  prove, Test::More"
  has_perl IPC::Run || echo "libipc-run-perl  IPC::Run"
  command -v openssl >/dev/null || echo "openssl  openssl, for certificates of tests"
  bin=$(pg bindir || true)
  pgxs=$(pg pgxs || true)
  { [ -x "$bin/postgres" ] && [ -x "$bin/pgbench" ] && [ -x "$bin/pg_dump" ]; } || echo "postgresql-@N@  PostgreSQL server and its client programs"
  { [ -n "$pgxs" ] && [ -f "$pgxs" ] && [ -f "${pgxs%/makefiles/pgxs.mk}/test/perl/PostgreSQL/Test/Cluster.pm" ] &&
    [ -f "$(pg includedir-server || true)/postgres.h" ]; } ||
    echo "postgresql-server-dev-@N@  PostgreSQL's headers, build files and test modules"
  has_header libpq-fe.h "$(pg includedir || echo /nowhere)" || echo "libpq-dev  libpq's header"
}

# The major version to install: PG_CONFIG's (by asking it, or by its Debian
# path), else that of a server that is here already, else the distribution's.
choose_major() {
  local n
  n=$(pg_major || true)
  [ -n "$n" ] || n=$(sed -nE 's#^/usr/lib/postgresql/([0-9]+)/bin/pg_config$#\1#p' <<<"$PG_CONFIG")
  [ -n "$n" ] || n=$(find /usr/lib/postgresql/*/bin/postgres 2>/dev/null | cut -d/ -f5 | sort -n | tail -1)
  [ -n "$n" ] || n=$(apt-cache depends postgresql 2>/dev/null | sed -nE 's/.*Depends: postgresql-([0-9]+)$/\1/p' | head -1)
  echo "$n"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "this needs root, and there is no sudo: $*" >&2; exit 1; fi
}

install_missing() {
  local n packages
  echo "installing what is missing:"
  missing | sed -E 's/^/  /; s/@N@/N/'
  as_root apt-get update -q >/dev/null
  n=$(choose_major)
  [ "${n:-0}" -ge "$OLDEST" ] || { echo "baton needs PostgreSQL $OLDEST or later; this system offers ${n:-none}. Add https://apt.postgresql.org, or set PG_CONFIG" >&2; exit 1; }
  packages=$(missing | awk '{ print $1 }' | sed "s/@N@/$n/")
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages >"$log" 2>&1 ||
    { tail -5 "$log" >&2; echo "apt-get install failed, see $log" >&2; trap - EXIT; exit 1; }
}

if [ -n "$(missing)" ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Please install (Debian's names; N is the major version of PostgreSQL, $OLDEST or later):" >&2
    missing | sed -E 's/^/  /; s/@N@/N/' >&2
    exit 1
  fi
  log=$(mktemp /tmp/baton-deps.XXXXXX)
  trap 'rm -f "$log"' EXIT
  install_missing
fi

if [ -n "$(missing)" ]; then
  echo "still missing for PG_CONFIG=$PG_CONFIG:" >&2
  missing | sed -E 's/^/  /; s/@N@/N/' >&2
  exit 1
fi
[ "$(pg_major)" -ge "$OLDEST" ] || { echo "PG_CONFIG=$PG_CONFIG is PostgreSQL $(pg_major); baton needs $OLDEST or later" >&2; exit 1; }
