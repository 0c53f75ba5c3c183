# shellcheck shell=bash
# What the benchmarks share: a group of servers (n1, n2, ..., database app) in a
# scratch directory, load and meters.  Sourced, never run.
"$(dirname "${BASH_SOURCE[0]}")/../../scripts/deps.sh"
# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

on() { local n=$1; shift; sql "$n" app "$@"; }
node_is() { wait_for "${3:-60}" "$2" state "$1" app; }

pair() { group 2 "$1"; }

# group N SCALE: n1 with pgbench data (and what SQL in BEFORE_GROUP makes) is the
# primary, the others its replicas
group() {
  local n
  NODES=$(seq "$1")
  find_pg
  scratch_begin
  build_install
  for n in $NODES; do
    server $n "shared_buffers = 256MB
max_wal_size = 4GB"
    sql $n postgres 'create database app'
    on $n 'create extension baton'
  done
  "$PGBIN/pgbench" -i -q -s "$2" "$(conninfo 1)" >"$W/init.log" 2>&1
  on 1 "create table writer_probe(id bigint primary key); ${BEFORE_GROUP:-}"
  on 1 "select baton.create_group('bench', 'n1', '$(conninfo 1)')" >/dev/null
  node_is 1 primary
  for n in $(seq 2 "$1"); do
    on $n "select baton.join_group('$(conninfo 1)', 'n$n', '$(conninfo $n)')" >/dev/null
    node_is $n replica 300
  done
}
client_conninfo() {
  local n hosts='' ports=''
  for n in $NODES; do hosts=$hosts,$W ports=$ports,$(port $n); done
  echo "host=${hosts#,} port=${ports#,} dbname=app user=$SUPERUSER target_session_attrs=read-write connect_timeout=2"
}
caught_up() { on "$2" "select baton.wait_for('$(on "$1" 'select baton.position()')', '600s')" >/dev/null; }

# pgbench ends when it loses its connections, and is started again.
load() {
  local bench=
  trap '[ -z "$bench" ] || kill "$bench"; exit' TERM
  while :; do
    "$PGBIN/pgbench" -n -c 4 -j 2 -T 600 "$(client_conninfo)" >>"$W/load.log" 2>&1 & bench=$!
    wait "$bench" || true
    sleep 0.02
  done
}

# Reads numbers: "median X  min X  max X".
summary() { sort -n | awk '{ a[NR] = $1 } END { if (NR) printf "median %7.1f   min %7.1f   max %7.1f\n", (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2, a[1], a[NR] }'; }
