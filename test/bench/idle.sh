#!/usr/bin/env bash
# What an idle group costs: CPU of all processes of both servers over SECONDS
# (30), and the WAL that each writes by itself.  Fails above 1 % of a core for a node.
#
#     test/bench/idle.sh [SECONDS]
. "$(dirname "$0")/pair.sh"
SECONDS_IDLE=${1:-30}
pair 1
caught_up 1 2
for n in 1 2; do on $n checkpoint; done

# "pid nanoseconds title" of every child of a server.  Receivers are client
# backends, so no choice is made by title; the scheduler's own clock, since what
# wakes for microseconds is not seen by the 10 ms ticks of /proc/PID/stat.
used() {
  local pid title
  ps -o pid=,args= --ppid "$(postmaster_pid "$1")" | while read -r pid title; do
    echo "$pid $(cut -d' ' -f1 "/proc/$pid/schedstat" 2>/dev/null || echo 0) ${title#postgres: }"
  done
}
# The first seconds after the copy are not idle: wait until nothing moves.
still() { local a; a=$(on 1 'select pg_current_wal_insert_lsn()'); sleep 1; [ "$a" = "$(on 1 'select pg_current_wal_insert_lsn()')" ] && echo yes; }
wait_for 60 yes still
for n in 1 2; do used $n >"$W/used.$n"; on $n 'select pg_current_wal_insert_lsn()' >"$W/lsn.$n"; done
sleep "$SECONDS_IDLE"
status=0
for n in 1 2; do
  used $n >"$W/after.$n"
  grown=$(on $n "select pg_current_wal_insert_lsn() - '$(cat "$W/lsn.$n")'")
  echo "n$n ($(state $n app)): $grown bytes of WAL in $SECONDS_IDLE s"
  awk -v s="$SECONDS_IDLE" '
    NR == FNR { was[$1] = $2; next }
    $1 in was { p = ($2 - was[$1]) / s / 1e7; sum += p; $1 = $2 = ""; printf "  %6.3f %% %s\n", p, $0 }
    END { printf "  %6.3f %%   of a core in all\n", sum; exit sum >= 1 }' "$W/used.$n" "$W/after.$n" || status=1
  [ "$grown" -lt 10000 ] || status=1
done
exit $status
