#!/usr/bin/env bash
# The time without a writable primary when the primary's server dies: three nodes,
# WRITERS (4) clients that insert all the time under policy POLICY (majority), kill
# -9 of all processes of the primary's server, N times (20) with default settings
# and N times with baton.heartbeat_interval = 100ms.
#
#     POLICY=majority WRITERS=4 test/bench/crash_failover.sh [N]
#
# Measured by a client with a multi-host connection string, from the last insert
# acknowledged before to the first one after.  Fails if an acknowledged insert is
# not there in the end, or a median is above LIMIT_DEFAULT or LIMIT_TUNED
# milliseconds.  The figures hold for an idle machine only, so its load is printed.
. "$(dirname "$0")/pair.sh"
N=${1:-20}
WRITERS=${WRITERS:-4}
POLICY=${POLICY:-majority}
LIMIT_DEFAULT=3000
LIMIT_TUNED=1000
echo "policy $POLICY, $WRITERS writers, load of the machine: $(cut -d" " -f1-3 /proc/loadavg)"
group 3 1
[ "$POLICY" = none ] || on 1 "select baton.set_ack_policy('$POLICY')" >/dev/null
build_writer

primary() { local n; for n in $NODES; do [ "$(state "$n" app 2>/dev/null)" != primary ] || echo "$n"; done; }
two_replicas() { local n; for n in $NODES; do state "$n" app; done | grep -c replica; }
in_order() { wait_for 120 2 two_replicas; }
kill_server() {
  local postmaster children
  postmaster=$(postmaster_pid "$1")
  children=$(ps -o pid= --ppid "$postmaster")
  # shellcheck disable=SC2086
  kill -9 "$postmaster" $children
  # shellcheck disable=SC2086
  while kill -0 "$postmaster" $children 2>/dev/null; do sleep 0.02; done
}

# Inserts acknowledged by all writers; the total of what is in their files.
acknowledged() { cat "$W"/ids.* | wc -l; }
more_than() { [ "$(acknowledged)" -gt "$1" ] && echo yes; }

# Appends the gap in milliseconds to file $1.  Ids are not used twice.
RUN=0
LOST=0
one_run() {
  local w old before pids=() new n
  RUN=$((RUN + 1))
  in_order
  old=$(primary)
  rm -f "$W"/ids.*
  for ((w = 1; w <= WRITERS; w++)); do
    "$W/writer" -f $(((RUN * WRITERS + w) * 1000000)) -i "$W/ids.$w" 120 "$(client_conninfo)" >"$W/writer.$w" & pids+=($!)
    child $!
  done
  wait_for 30 yes more_than $((WRITERS * 200)) || die "run $RUN: nothing is written"
  kill_server "$old"
  before=$(acknowledged)
  wait_for 60 yes more_than $((before + WRITERS * 200)) || die "run $RUN: no primary took over from n$old"
  kill "${pids[@]}"
  for w in "${pids[@]}"; do wait "$w" || true; done
  awk '$1 == "longest_gap_ms" { print $2 }' "$W/writer.1" >>"$1"
  new=$(primary)
  [ "$new" != "$old" ] || die "run $RUN: n$old is still the primary"
  server_start "$old"
  in_order || die "run $RUN: n$old does not come back"
  sort "$W"/ids.* >"$W/told"
  for n in $NODES; do
    caught_up "$new" "$n"
    on "$n" 'select id from writer_probe' | sort >"$W/have"
    comm -23 "$W/told" "$W/have" >"$W/lost"
    [ ! -s "$W/lost" ] || { LOST=$((LOST + $(wc -l <"$W/lost"))); echo "run $RUN: n$n lacks $(wc -l <"$W/lost") acknowledged inserts, as $(head -1 "$W/lost")" >&2; }
  done
  on "$new" 'truncate writer_probe'
}

# mode NAME LIMIT
mode() {
  local i median
  : >"$W/gaps"
  for ((i = 1; i <= N; i++)); do
    one_run "$W/gaps"
    printf '\r%s %d of %d' "$1" "$i" "$N" >&2
  done
  printf '\r' >&2
  printf '%-34s %s\n' "$1, ms" "$(summary <"$W/gaps")"
  median=$(summary <"$W/gaps" | awk '{ print int($2) }')
  [ "$median" -le "$2" ] || { echo "above the limit of $2 ms"; status=1; }
}

status=0
mode 'default settings' $LIMIT_DEFAULT
for n in $NODES; do
  on "$n" "alter system set baton.heartbeat_interval = '100ms'"
  on "$n" 'select pg_reload_conf()' >/dev/null
done
mode 'heartbeat_interval = 100ms' $LIMIT_TUNED
echo "acknowledged inserts lost: $LOST"
[ $LOST = 0 ] || status=1
exit $status
