#!/usr/bin/env bash
# Single-row inserts that wait for one other node: baton with the ack policy
# 'majority' and one replica, beside PostgreSQL's own synchronous replication with
# one physical standby.  The two take turns, ROUNDS (5) times for SECONDS (10) each,
# at 1 and at 8 clients; medians and their ratio are printed.
#
#     test/bench/sync_commit.sh [ROUNDS [SECONDS]]
. "$(dirname "$0")/pair.sh"
ROUNDS=${1:-5} SECONDS_EACH=${2:-10}
BEFORE_GROUP='create table one_row(id bigint generated always as identity primary key, v int, t text)'
pair 1
on 1 "select baton.set_ack_policy('majority')" >/dev/null

# The same with a physical standby: servers 3 and 4.
server 3 "shared_buffers = 256MB
max_wal_size = 4GB
shared_preload_libraries = ''"
sql 3 postgres 'create database app'
on 3 "$BEFORE_GROUP"
as_pg "$PGBIN/pg_basebackup" -h "$W" -p "$(port 3)" -U "$SUPERUSER" -D "$W/node4" -c fast \
  -R -d "application_name=standby" >"$W/basebackup.log" 2>&1
echo "port = $(port 4)" >>"$W/node4/postgresql.conf"
server_start 4
on 3 "alter system set synchronous_standby_names = 'standby'"
on 3 'select pg_reload_conf()' >/dev/null
wait_for 30 sync on 3 "select sync_state from pg_stat_replication where application_name = 'standby'"

echo "insert into one_row(v, t) values (1, 'abcdefghijklmnopqrstuvwxyz');" >"$W/insert.sql"
tps() { "$PGBIN/pgbench" -n -f "$W/insert.sql" -c "$2" -j "$(($2 < 2 ? 1 : 2))" -T "$SECONDS_EACH" "$(conninfo "$1")" 2>>"$W/pgbench.log" | awk '/^tps/ { print $3 }'; }
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'; }

for n in 1 3; do tps $n 8 >/dev/null; done   # warm
for ((i = 1; i <= ROUNDS; i++)); do
  for clients in 1 8; do
    tps 1 $clients >>"$W/baton.$clients"
    tps 3 $clients >>"$W/physical.$clients"
  done
done
printf 'single-row inserts per second, medians of %d runs of %d s\n' "$ROUNDS" "$SECONDS_EACH"
printf '%-8s %10s %10s %7s\n' clients baton physical ratio
for clients in 1 8; do
  b=$(median "$W/baton.$clients") p=$(median "$W/physical.$clients")
  awk -v c=$clients -v b="$b" -v p="$p" 'BEGIN { printf "%-8d %10.0f %10.0f %7.2f\n", c, b, p, b / p }'
done
[ "$(on 1 "select sync_state from pg_stat_replication where application_name ~ '^baton_'")" = sync ]
