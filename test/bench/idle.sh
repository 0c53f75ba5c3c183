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

hz=$(getconf CLK_TCK)
# "ticks title" of each process that belongs to baton, reaped ones left out
ticks() {
  local pid title
  ps -o pid=,args= --ppid "$(postmaster_pid "$1")" | grep -E 'baton|walsender' | while read -r pid title; do
    echo "$pid $(sed 's/^.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }') ${title#postgres: }"
  done
}
# The first seconds after the copy are not idle: wait until nothing moves.
still() { local a; a=$(on 1 'select pg_current_wal_insert_lsn()'); sleep 1; [ "$a" = "$(on 1 'select pg_current_wal_insert_lsn()')" ] && echo yes; }
wait_for 60 yes still
for n in 1 2; do ticks $n >"$W/ticks.$n"; on $n 'select pg_current_wal_insert_lsn()' >"$W/lsn.$n"; done
sleep "$SECONDS_IDLE"
status=0
for n in 1 2; do
  grown=$(on $n "select pg_current_wal_insert_lsn() - '$(cat "$W/lsn.$n")'")
  echo "n$n ($(state $n app)): $grown bytes of WAL in $SECONDS_IDLE s"
  ticks $n | awk -v before="$W/ticks.$n" -v hz="$hz" -v s="$SECONDS_IDLE" '
    BEGIN { while ((getline line < before) > 0) { split(line, w, " "); was[w[1]] = w[2] } }
    { used = $2 - was[$1]; sum += used; pid = $1; $1 = $2 = ""; printf "  %5.2f %%  %s\n", used * 100 / hz / s, $0 }
    END { printf "  %5.2f %%  of a core in all\n", sum * 100 / hz / s; exit sum * 100 / hz / s >= 1 }' || status=1
  [ "$grown" -lt 10000 ] || status=1
done
exit $status
