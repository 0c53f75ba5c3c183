#!/usr/bin/env bash
# The main job, shown: a group of two nodes, live replication under load,
# a planned failover under that load, the old primary brought back, a fail-back,
# and a comparison of both databases.
#
#     scripts/demo.sh two-servers | one-server
#
# Everything happens in a scratch directory; the exit status is 0 only if no
# acknowledged row is missing and both databases are equal.  KEEP=1 keeps the
# directory with the servers' logs.
MODE=${1:-two-servers}
"$(dirname "$0")/deps.sh"
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case $MODE in
  two-servers) SERVER=(1 2); DB=(shop shop); TITLE='two servers, one group' ;;
  one-server) SERVER=(1 1); DB=(shop_a shop_b); TITLE='two databases of one server, one group' ;;
  *) die "usage: $0 two-servers | one-server" ;;
esac
SCALE=2
STARTED=$(now_ms)

# step TEXT command...: one line, with the time that the command took
step() {
  local text=$1 t
  shift
  printf '  %-62s ' "$text"
  t=$(now_ms)
  if "$@" >"$W/step.log" 2>&1; then
    printf '%6s s\n' "$(seconds_since "$t")"
  else
    printf 'FAILED\n\n'
    tail -n 15 "$W/step.log"
    server_complaints
    exit 1
  fi
}
server_complaints() {
  local log
  for log in "$W"/node*.log; do
    grep -E 'WARNING|ERROR|FATAL|PANIC' "$log" | tail -n 5 | sed "s#^#  $(basename "$log" .log): #" || true
  done
}

# Nodes are numbered from 0: node I is database DB[I] of server SERVER[I].
on() { local i=$1; shift; sql "${SERVER[i]}" "${DB[i]}" "$@"; }
dsn() { conninfo "${SERVER[$1]}" "${DB[$1]}"; }
node_is() { wait_for "${3:-20}" "$2" state "${SERVER[$1]}" "${DB[$1]}"; }

start_servers() {
  local n
  for n in $(printf '%s\n' "${SERVER[@]}" | sort -u); do server "$n"; done
  for i in 0 1; do sql "${SERVER[i]}" postgres "create database ${DB[i]}"; done
}
load_data() {
  "$PGBIN/pgbench" -i -q -s $SCALE "$(dsn 0)"
  on 0 'create table writer_probe(id bigint primary key, at timestamptz default clock_timestamp())'
}
create_group() {
  on 0 'create extension baton'
  on 0 "select baton.create_group('shop', 'n1', '$(dsn 0)')"
  node_is 0 primary
}
join_group() {
  on 1 'create extension baton'
  on 1 "select baton.join_group('$(dsn 0)', 'n2', '$(dsn 1)')"
  node_is 1 replica 40
}

# What a client that wants to write connects with.
client_conninfos() {
  local common="user=$SUPERUSER target_session_attrs=read-write connect_timeout=2"
  if [ "$MODE" = two-servers ]; then
    CLIENT=("host=$W,$W port=$(port 1),$(port 2) dbname=${DB[0]} $common")
  else
    CLIENT=("host=$W port=$(port 1) dbname=${DB[0]} $common" "host=$W port=$(port 1) dbname=${DB[1]} $common")
  fi
}

# pgbench ends when it loses its connections, so it is started again, as an
# application would connect again.
load() {
  local i=0 bench=
  trap '[ -z "$bench" ] || kill "$bench"; exit' TERM
  while :; do
    "$PGBIN/pgbench" -n -c 4 -j 2 -T 300 "${CLIENT[i]}" >>"$W/load.log" 2>&1 & bench=$!
    wait "$bench" || true
    i=$(((i + 1) % ${#CLIENT[@]}))
    sleep 0.02
  done
}
start_load() { load & LOAD=$!; child "$LOAD"; }
stop_child() { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }
start_writer() {   # start_writer PHASE FIRST_ID
  "$W/writer" -f "$2" -i "$W/ids.$1" 300 "${CLIENT[@]}" >"$W/writer.$1" & WRITER=$!
  child "$WRITER"
}
stop_writer() {    # prints what it saw
  stop_child "$WRITER"
  awk '
    $1 == "acknowledged" { acks = $2 } $1 == "longest_gap_ms" { gap = $2 } $1 == "errors" { errors = $2 }
    END { printf "  longest time a writer had to wait: %s ms   (%d rows acknowledged, %s reconnected)\n\n", gap, acks, errors == 1 ? "once" : errors " times" }' "$W/writer.$1"
}

# failover FROM TO ARGUMENTS: prints the steps as a table
failover() {
  "$PGBIN/psql" -X -q -v ON_ERROR_STOP=1 -P footer=off "$(dsn "$1")" -c "select * from baton.failover($3)" >"$W/steps" 2>"$W/step.log" ||
    { cat "$W/step.log"; server_complaints; die "the failover failed"; }
  sed -e 's/^/    /' -e 's/ *$//' "$W/steps"
  node_is "$2" primary
}
bring_back() { on 0 'select baton.start()'; node_is 0 replica; }
caught_up() {      # caught_up PRIMARY REPLICA
  on "$2" "select baton.wait_for('$(on "$1" 'select baton.position()')', '30s')"
}

# All that a client was told is committed must be there.
missing_rows() {
  cat "$W"/ids.* | sort >"$W/acknowledged"
  on 0 'select id from writer_probe' | sort | comm -23 "$W/acknowledged" - | wc -l
}
compare() {
  checksums "${SERVER[0]}" "${DB[0]}" >"$W/sum.0"
  checksums "${SERVER[1]}" "${DB[1]}" >"$W/sum.1"
  join -a 1 -a 2 -e - -o 0,1.2,2.2,1.3,2.3 <(sort "$W/sum.0") <(sort "$W/sum.1") | awk '
    BEGIN { printf "    %-18s %10s %10s %22s %22s\n", "table", "rows n1", "rows n2", "checksum n1", "checksum n2" }
    { same = ($2 == $3 && $4 == $5); if (!same) bad = 1
      printf "    %-18s %10s %10s %22s %22s  %s\n", $1, $2, $3, $4, $5, same ? "equal" : "DIFFERENT" }
    END { exit bad || NR < 5 }'
}

find_pg
scratch_begin
say "baton demo: $TITLE, a failover under load"
say
step 'building and installing the extension' build_install
build_writer
client_conninfos
step "starting PostgreSQL in $W" start_servers
step "loading pgbench data into n1 ($((SCALE * 100000)) accounts)" load_data
step 'baton.create_group(): n1 is the primary' create_group
start_load
start_writer 1 1
step 'baton.join_group(): initial copy to n2, under load' join_group
step 'replicating: 4 pgbench clients and a writer on n1' sleep 3

say
say "  on n1: select * from baton.failover('n2')"
failover 0 1 "'n2'"
step 'the clients have found n2 by themselves and go on' sleep 2
stop_writer 1
step 'baton.start() on n1: the old primary comes back as replica' bring_back
step 'replicating from n2 to n1 under load' sleep 2
start_writer 2 1000000000
sleep 1

say
say "  on n2, the way back: select * from baton.failover('n1', after => 'rejoin')"
failover 1 0 "'n1', after => 'rejoin'"
step 'n2 is a replica again, the clients are back on n1' node_is 1 replica
sleep 1
stop_writer 2
stop_child "$LOAD"
step 'load stopped, n2 catches up' caught_up 0 1

say
compare || die "the databases differ"
lost=$(missing_rows)
say
[ "$lost" = 0 ] || die "$lost acknowledged rows are missing"
say "  no acknowledged row is missing, both databases are equal ($(seconds_since "$STARTED") s)"
