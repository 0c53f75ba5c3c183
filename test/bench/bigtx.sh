#!/usr/bin/env bash
# A transaction of ROWS (2,000,000) rows: time until the replica has it, and the
# peak of the private memory (RssAnon) of every process of both servers.  Fails
# above 300 MB.
#
#     test/bench/bigtx.sh [ROWS]
. "$(dirname "$0")/pair.sh"
ROWS=${1:-2000000}
LIMIT_MB=300
BEFORE_GROUP='create table bulk(id bigint primary key, v bigint, t text)'
pair 1

watch_memory() {
  local pids
  pids=$(postmaster_pid 1),$(postmaster_pid 2)
  while :; do
    ps -o pid=,args= --ppid "$pids" | while read -r pid title; do
      title=${title#postgres: }
      echo "$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) ${title%% [0-9]*}"
    done
    sleep 0.2
  done
}
watch_memory >"$W/memory" 2>/dev/null & watcher=$!
child $watcher
t=$(now_ms)
on 1 "insert into bulk select g, g, repeat(md5(g::text), 2) from generate_series(1, $ROWS) g"
echo "insert of $ROWS rows committed after $(seconds_since "$t") s"
caught_up 1 2
echo "on the replica after               $(seconds_since "$t") s"
[ "$(on 2 'select count(*) from bulk')" = "$ROWS" ] || die 'rows are missing'
kill $watcher
wait $watcher 2>/dev/null || true
awk -v limit=$LIMIT_MB '
  $1 ~ /^[0-9]+$/ { kb = $1; $1 = ""; if (kb > peak[$0]) peak[$0] = kb }
  END { for (p in peak) { printf "%8.1f MB %s\n", peak[p] / 1024, p | "sort -rn"; if (peak[p] / 1024 > limit) bad = 1 }; exit bad }' "$W/memory"
