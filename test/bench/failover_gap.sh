#!/usr/bin/env bash
# The gap of a planned failover under load: N times (20) there and back between
# two servers, under pgbench -c 4 (TPC-B like); the longest wait between two
# acknowledged writes of a client that writes all the time, and the time of each
# step as baton.failover() reports it.
#
#     test/bench/failover_gap.sh [N] [SCALE]
. "$(dirname "$0")/pair.sh"
N=${1:-20}
pair "${2:-10}"
build_writer
load & child $!

: >"$W/gaps"
: >"$W/steps"
from=1
for ((i = 1; i <= N; i++)); do
  to=$((3 - from))
  before=$(on $from 'select count(*) from pgbench_history')
  "$W/writer" -f $((i * 1000000)) 60 "$(client_conninfo)" >"$W/writer.out" & writer=$!
  child $writer
  busy() { [ "$(on $from 'select count(*) from pgbench_history')" -gt $((before + 300)) ] && echo yes; }
  wait_for 30 yes busy
  on $from "select name, ms from baton.failover('n$to', after => 'rejoin')" 2>"$W/notices" >>"$W/steps" ||
    { cat "$W/notices" >&2; die "failover $i failed"; }
  node_is $to primary
  node_is $from replica
  kill $writer
  wait $writer || true
  awk '$1 == "longest_gap_ms" { print $2 }' "$W/writer.out" >>"$W/gaps"
  printf '\r%d of %d' "$i" "$N" >&2
  from=$to
done
printf '\r' >&2

printf '%-34s %s' "gap seen by a writer, ms" "$(summary <"$W/gaps")"
echo
cut -d'|' -f1 "$W/steps" | awk '!seen[$0]++' | while read -r step; do
  printf '%-34s %s\n' "  $step" "$(awk -F'|' -v s="$step" '$1 == s { print $2 }' "$W/steps" | summary)"
done
