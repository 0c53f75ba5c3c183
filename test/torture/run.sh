#!/usr/bin/env bash
# make torture: three servers under a random schedule of kills, freezes, restarts,
# failovers and broken lines, with clients that keep their own account.
#
#     TORTURE_SECONDS=600 TORTURE_SEED=N TORTURE_POLICY=majority test/torture/run.sh
#
# TORTURE_FAULTS is a pattern: kinds of faults that it does not match are left out of
# the schedule (test/torture/Faults.pm has their names), to narrow something down.
#
# The same seed gives the same schedule; what the servers make of it depends on
# their timing.  On failure the logs stay; KEEP=1 keeps the data directories too.
"$(dirname "$0")/../../scripts/deps.sh"
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
SECONDS_LONG=${TORTURE_SECONDS:-600}
SEED=${TORTURE_SEED:-$((RANDOM * 32768 + RANDOM))}
POLICY=${TORTURE_POLICY:-majority}

find_pg
scratch_begin
build_install
mkdir -p "$W/src" "$W/run" "$W/tap"
cp -r "$ROOT/test" "$W/src/"
gcc -std=gnu99 -O2 -Wall -I"$("$PG_CONFIG" --includedir)" "$ROOT/test/torture/client.c" -L"$("$PG_CONFIG" --libdir)" -lpq -o "$W/client" ||
  die "test/torture/client.c does not compile"
[ "$(id -u)" != 0 ] || chown -R postgres "$W/src" "$W/run" "$W/tap"

say "torture: $SECONDS_LONG s, seed $SEED, policy $POLICY (TORTURE_SECONDS, TORTURE_SEED, TORTURE_POLICY)"
status=0
as_pg env PATH="$PGBIN:$PATH" PG_REGRESS="$PGXS_DIR/test/regress/pg_regress" TESTDIR="$W/tap" PG_CONFIG="$PG_CONFIG" \
  perl -I"$W/src/test/torture" -I"$W/src/test/perl" -I"$PGXS_DIR/test/perl" "$W/src/test/torture/torture.pl" \
  "$SECONDS_LONG" "$SEED" "$POLICY" "$W/run" "$W/client" || status=$?
if [ $status != 0 ]; then
  logs=$(mktemp -d /tmp/baton-torture.XXXXXX)
  cp -r "$W/run/." "$W/tap/tmp_check/log/." "$logs"
  say "journal, accounts and logs: $logs"
  say "once more: make torture TORTURE_SEED=$SEED TORTURE_SECONDS=$SECONDS_LONG TORTURE_POLICY=$POLICY"
fi
exit $status
