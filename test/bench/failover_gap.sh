#!/usr/bin/env bash
# The gap of a planned failover under load: N times (20) there and back between
# two servers, under pgbench -c 4 (TPC-B like); the longest wait between two
# acknowledged writes of a client that writes all the time, and the time of each
# step as baton.failover() reports it.
#
#     test/bench/failover_gap.sh [N] [SCALE] [AFTER]
#
# AFTER is shutdown (the default of baton.failover) or rejoin.  The figures hold
# for an idle machine only, so its load is printed with them.
. "$(dirname "$0")/pair.sh"
N=${1:-20}
AFTER=${3:-shutdown}
echo "after => $AFTER, load of the machine: $(cut -d" " -f1-3 /proc/loadavg)"
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
  on $from "select name, ms from baton.failover('n$to', after => '$AFTER')" 2>"$W/notices" >>"$W/steps" ||
    { cat "$W/notices" >&2; die "failover $i failed"; }
  node_is $to primary
  [ "$AFTER" = rejoin ] || { wait_for 20 detached state $from app; on $from 'select baton.start()' >/dev/null; }
  node_is $from replica
  caught_up $to $from
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
