#!/usr/bin/env bash
# A lost primary comes back: time from the start of its server until it is a
# replica that has caught up, with SIZE_MB of data (1024) and TXNS (1000) commits
# that nobody else has.  No full copy may be taken, and baton.rolled_back must list
# every transaction.
#
#     test/bench/rejoin.sh
. "$(dirname "$0")/../../scripts/lib.sh"
find_pg
SIZE_MB=${SIZE_MB:-1024} TXNS=${TXNS:-1000}
scratch_begin
out=$W/rejoin
as_pg mkdir -p "$out"
mkdir -p "$W/src" && cp -r "$ROOT/test" "$W/src/"
[ "$(id -u)" != 0 ] || chown -R postgres "$W/src"
as_pg env PATH="$PGBIN:$PATH" PG_REGRESS="$PGXS_DIR/test/regress/pg_regress" TESTDIR="$out" PG_CONFIG="$PG_CONFIG" \
  SIZE_MB="$SIZE_MB" TXNS="$TXNS" perl -I"$W/src/test/perl" -I"$PGXS_DIR/test/perl" "$W/src/test/bench/rejoin.pl"
