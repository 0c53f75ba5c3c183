# shellcheck shell=bash
# Helpers for the scripts that start servers of their own: sourced, never run.
#
# scratch_begin makes $W, a directory of its own under /tmp (the checkout may be
# unreadable for the user that servers run as); at exit every server started
# here is stopped and $W removed.  Servers listen on Unix sockets in $W only, so
# no port can be taken.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
export PG_CONFIG LC_ALL=C
FIRST_PORT=54101
SUPERUSER=postgres
W=
CHILDREN=()
# A caller's libpq environment must not lead a script to another server.
for v in "${!PG@}"; do [ "$v" = PG_CONFIG ] || unset "$v"; done

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
seconds_since() { awk -v ms=$(($(now_ms) - $1)) 'BEGIN { printf "%.1f", ms / 1000 }'; }

find_pg() {
  PGBIN=$("$PG_CONFIG" --bindir)
  PKGLIBDIR=$("$PG_CONFIG" --pkglibdir)
  # shellcheck disable=SC2034
  PGXS_DIR=$(dirname "$(dirname "$("$PG_CONFIG" --pgxs)")")   # holds test/perl, test/regress
}

# Servers refuse to run as root.
as_pg() {
  if [ "$(id -u)" = 0 ]; then (cd "$W" && runuser -u postgres -- "$@"); else (cd "$W" && "$@"); fi
}

scratch_begin() {
  W=$(mktemp -d /tmp/baton.XXXXXX)
  chmod 755 "$W"
  [ "$(id -u)" != 0 ] || chown postgres "$W"
  trap scratch_end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

child() { CHILDREN+=("$1"); }

scratch_end() {
  local status=$? p f
  trap - EXIT
  trap '' INT TERM   # make and timeout signal twice; the second must not end the cleaning
  for p in "${CHILDREN[@]:-}"; do [ -z "$p" ] || kill "$p" 2>/dev/null || true; done
  while read -r f; do
    # a test that runs on may have stopped it by itself
    p=$(head -1 "$f" 2>/dev/null) || p=
    [ -n "$p" ] || continue
    # a test may have left it frozen
    pkill -CONT -P "$p" || true
    kill -CONT "$p" 2>/dev/null || true
    as_pg "$PGBIN/pg_ctl" -D "$(dirname "$f")" -m immediate -w stop >/dev/null 2>&1 || true
  done < <(find "$W" -maxdepth 6 -name postmaster.pid)
  if [ -n "${KEEP:-}" ]; then say "kept: $W"; else rm -rf "$W"; fi
  exit "$status"
}

# What make prints matters only when it fails.
quiet_make() {
  local log=$W/make.log
  make -s -C "$ROOT" "$@" >"$log" 2>&1 || { tail -20 "$log" >&2; die "make $* failed"; }
}

build_install() {
  quiet_make -j"$(nproc)" all
  if [ -w "$PKGLIBDIR" ]; then quiet_make install; else sudo make -s -C "$ROOT" install PG_CONFIG="$PG_CONFIG" >/dev/null; fi
}

port() { echo $((FIRST_PORT + $1)); }
conninfo() { echo "host=$W port=$(port "$1") dbname=${2:-app} user=$SUPERUSER"; }

# server N [extra configuration lines]: initdb and start
server() {
  local d=$W/node$1
  as_pg "$PGBIN/initdb" -D "$d" -A trust -U "$SUPERUSER" -E UTF8 --locale=C --no-sync >/dev/null
  cat >>"$d/postgresql.conf" <<CONF
port = $(port "$1")
listen_addresses = ''
unix_socket_directories = '$W'
shared_preload_libraries = 'baton'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_worker_processes = 32
log_line_prefix = '%m [%p] %b %a '
${2:-}
CONF
  server_start "$1"
}
server_start() {
  as_pg "$PGBIN/pg_ctl" -D "$W/node$1" -l "$W/node$1.log" -w start >/dev/null ||
    { tail -5 "$W/node$1.log" >&2; die "server $1 does not start"; }
}
server_stop() { as_pg "$PGBIN/pg_ctl" -D "$W/node$1" -m "${2:-fast}" -w stop >/dev/null; }
postmaster_pid() { head -1 "$W/node$1/postmaster.pid"; }

# Clients run as whoever calls: local connections are trusted.
# sql N DATABASE QUERY [psql options]
sql() {
  local n=$1 db=$2 query=$3
  shift 3
  "$PGBIN/psql" -XAtq -v ON_ERROR_STOP=1 -h "$W" -p "$(port "$n")" -U "$SUPERUSER" -d "$db" "$@" -c "$query"
}

build_writer() {
  gcc -std=gnu99 -O2 -Wall -I"$("$PG_CONFIG" --includedir)" "$ROOT/test/bench/writer.c" -L"$("$PG_CONFIG" --libdir)" -lpq -o "$W/writer" ||
    die "test/bench/writer.c does not compile"
}

# wait_for SECONDS WANTED command...: polls until the command prints WANTED
wait_for() {
  local end=$(($(now_ms) + $1 * 1000)) wanted=$2 got=
  shift 2
  while got=$("$@" 2>/dev/null) || true; [ "$got" != "$wanted" ]; do
    [ "$(now_ms)" -lt "$end" ] || { printf 'waited in vain for "%s", last: "%s": %s\n' "$wanted" "$got" "$*" >&2; return 1; }
    sleep 0.05
  done
}
state() { sql "$1" "$2" 'select state from baton.status'; }

# Count and checksum of each table of a database: "table rows checksum" lines.
checksums() {
  sql "$1" "$2" "select format('select %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from %s t', c.oid::regclass, c.oid::regclass)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname not in ('pg_catalog', 'information_schema')
      and n.nspname !~ '^(pg_toast|baton)' order by n.nspname, c.relname" >"$W/tables.$1.$2"
  local query
  while read -r query; do sql "$1" "$2" "$query" -F ' '; done <"$W/tables.$1.$2"
}
