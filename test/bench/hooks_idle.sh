#!/usr/bin/env bash
# What baton's hooks cost a server that has it preloaded and no group: TPC-B of pgbench
# with and without it in shared_preload_libraries, on the same data, the two taking
# turns, ROUNDS (7) times for SECONDS (10) each.  Commits don't wait for the disk, so that
# the processor is what they compete for.  Medians of the throughput and of the
# processor time of the server for one transaction, which other load of the machine
# disturbs less, and their ratios.
# Fails if both cost more than 2 %.
#
#     test/bench/hooks_idle.sh [ROUNDS [SECONDS]]
. "$(dirname "$0")/pair.sh"
ROUNDS=${1:-7} SECONDS_EACH=${2:-10}
find_pg
scratch_begin
build_install
server 1 "shared_buffers = 256MB
max_wal_size = 4GB
synchronous_commit = off
autovacuum = off"
sql 1 postgres 'create database app'
on 1 'create extension baton'
"$PGBIN/pgbench" -i -q -s 10 "$(conninfo 1)" >"$W/init.log" 2>&1

# Ticks of the postmaster's children that have ended.
ticks() { awk '{ print $16 + $17 }' "/proc/$(postmaster_pid 1)/stat"; }

clients() { on 1 "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"; }

# run KIND LIBRARIES: appends to $W/tps.KIND and $W/cpu.KIND (microseconds)
run() {
  local before out
  sed -i "s/^shared_preload_libraries.*/shared_preload_libraries = '$2'/" "$W/node1/postgresql.conf"
  server_stop 1
  server_start 1
  on 1 'checkpoint'
  before=$(ticks)
  out=$("$PGBIN/pgbench" -n -M prepared -c 2 -j 2 -T "$SECONDS_EACH" "$(conninfo 1)" 2>>"$W/pgbench.log")
  wait_for 30 0 clients
  sleep 0.3   # the postmaster counts a child when it has seen its end
  awk '/^tps/ { print $3 }' <<<"$out" >>"$W/tps.$1"
  awk -v t=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" \
    '/actually processed/ { print t / hz * 1e6 / $NF }' <<<"$out" >>"$W/cpu.$1"
}
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print (a[int((NR + 1) / 2)] + a[int(NR / 2) + 1]) / 2 }'; }

run warm baton
for ((i = 1; i <= ROUNDS; i++)); do
  if ((i % 2)); then run with baton; run without ''; else run without ''; run with baton; fi
done
printf 'TPC-B, medians of %d runs of %d s\n' "$ROUNDS" "$SECONDS_EACH"
printf '%-34s %10s %10s %7s\n' '' baton without ratio
tw=$(median "$W/tps.with") to=$(median "$W/tps.without") cw=$(median "$W/cpu.with") co=$(median "$W/cpu.without")
awk -v tw="$tw" -v to="$to" -v cw="$cw" -v co="$co" 'BEGIN {
  printf "%-34s %10.0f %10.0f %7.3f\n", "transactions per second", tw, to, tw / to
  printf "%-34s %10.1f %10.1f %7.3f\n", "microseconds of CPU for one", cw, co, cw / co
  exit tw / to < 0.98 && cw / co > 1.02 }'
