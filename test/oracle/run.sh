#!/usr/bin/env bash
# make regress-oracle: PostgreSQL's own regression suites as the judge of what is carried.
#
#     test/oracle/run.sh            the core schedule, then contrib modules that make data
#
# Each suite runs on a primary with a replica attached.  Then two things are asked:
#
#  - Is the replica the primary's equal?  pg_dump of both sides (definitions and rows,
#    each table's rows sorted), what pg_dump does not tell (rows of materialized views,
#    validity of indexes) and the server's roles are compared, entry by entry.
#  - Does the primary answer as PostgreSQL alone does?  The same suite is run once on
#    a server without baton, which is kept; each test's output must be the same, the
#    NOTICE about replica identity, what \d+ shows of it, and warnings of baton.unsupported apart.
#
# What may differ stands in expected-differences, with its reason; a line there that
# nothing needs any more is a failure too, when everything has run.
#
# Where apply stops, the suite is ended at once and the command shown that stopped it.
#
#   ORACLE_SUITES="core hstore ..."   which suites; contrib: all modules; default: all
#   ORACLE_TESTS="create_table ..."   of core, these tests only, one after the other
#   ORACLE_SOURCE=/path               PostgreSQL's source; else apt-get source fetches it
#   ORACLE_CACHE=/path                where that and the baseline are kept; default: .oracle
#   ORACLE_SECONDS=3600               limit for one suite
#   ORACLE_KEEP=/path                 dumps and outputs are copied there
"$(dirname "$0")/../../scripts/deps.sh"
# shellcheck source=../../scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
HERE=$ROOT/test/oracle
CACHE=${ORACLE_CACHE:-$ROOT/.oracle}
LIMIT=${ORACLE_SECONDS:-3600}
# shellcheck source=source.sh
. "$HERE/source.sh"
# shellcheck source=suites.sh
. "$HERE/suites.sh"

PASSED=0 FAILED=0 DIFFERENCES=0 LISTED=0 STOPPED=

# result WHETHER WHAT
result() {
  if [ "$1" = 0 ]; then PASSED=$((PASSED + 1)); say "ok      $2"; else FAILED=$((FAILED + 1)); say "FAILED  $2"; fi
}

# The settings that pg_regress gives a server of its own, and what the suites expect.
CONF="max_prepared_transactions = 2
log_temp_files = 128kB
fsync = off
max_connections = 60
baton.failover_on_shutdown = off
baton.apply_retry_interval = 500ms
log_autovacuum_min_duration = 0"

# ---- the pair ----

start_pair() {
  server 1 "$CONF"
  server 2 "$CONF"
  GROUPS_MADE=" "
}

# A pair whose apply has stopped is of no use to the next suite.
renew_pair() {
  [ -z "${ORACLE_KEEP:-}" ] || { mkdir -p "$ORACLE_KEEP"; cp "$W"/node[12].log "$ORACLE_KEEP/"; }
  server_stop 1 immediate
  server_stop 2 immediate
  rm -rf "$W"/node[12] "$W"/node[12].log
  start_pair
}

# make_group DATABASE: n1 leads it, n2 is the replica; settings as pg_regress makes them.
make_group() {
  local n
  for n in 1 2; do
    sql $n postgres "create database $1 template template0"
    sql $n "$1" 'create extension baton'
  done
  sql 1 "$1" "select baton.create_group('oracle_$1', 'n1', '$(conninfo 1 "$1")')" >/dev/null
  wait_for 60 primary state 1 "$1"
  sql 2 "$1" "select baton.join_group('$(conninfo 1 "$1")', 'n2', '$(conninfo 2 "$1")')" >/dev/null
  wait_for 120 replica state 2 "$1"
  database_settings 1 "$1"
}

# Why apply has stopped, if it has not got on for some seconds: an index, for one, cannot be
# built for a moment because of rows that are just dead.
apply_error() {
  local error i
  error=$(apply_error_once "$1") || return 0
  for ((i = 0; i < 8; i++)); do
    [ -n "$error" ] && [ "$error" = "$(apply_error_once "$1")" ] || return 0
    sleep 0.5
  done
  echo "$error"
}
apply_error_once() { sql 2 "$1" "select error from baton.stat_apply where error is not null" 2>/dev/null; }

# Watches apply while a suite runs: ends the suite where it stops.  watch DATABASE PID
watch() {
  local error
  while kill -0 "$2" 2>/dev/null; do
    error=$(apply_error "$1") || true
    if [ -n "$error" ]; then
      kill "$2" 2>/dev/null || true
      return
    fi
    sleep 0.5
  done
}

show_stop() {
  say "apply has stopped on the replica:"
  say "$1" | sed 's/^/    /'
  grep -E 'ERROR|DETAIL|CONTEXT|STATEMENT' "$W/node2.log" | grep applier | tail -4 | cut -c1-2000 | sed 's/^/    /' || true
}

# Wait until the replica has all, as long as it gets on; says where it has stopped.
# Fails where it does not arrive.
settle() {
  local token error at last='' since
  token=$(sql 1 "$1" 'select baton.position()')
  since=$(now_ms)
  until sql 2 "$1" "select baton.wait_for('$token', '1s')" >/dev/null 2>&1; do
    error=$(apply_error "$1") || true
    if [ -n "$error" ]; then
      show_stop "$error"
      return 1
    fi
    at=$(sql 2 "$1" 'select applied_position from baton.stat_apply') || at=
    [ "$at" = "$last" ] || since=$(now_ms)
    last=$at
    [ $(($(now_ms) - since)) -lt 120000 ] || { say "the replica does not get on from $at"; return 1; }
  done
}

# ---- comparing the two sides ----

# One side as text: side N DATABASE
side() {
  "$PGBIN/pg_dump" -h "$W" -p "$(port "$1")" -U "$SUPERUSER" --create --exclude-schema=baton -d "$2" >"$W/side$1.sql" || return 1
  sql "$1" "$2" "$(cat "$HERE/more.sql")" >"$W/side$1.more" || return 1
  "$PGBIN/pg_dumpall" -h "$W" -p "$(port "$1")" -U "$SUPERUSER" --globals-only >"$W/side$1.globals" || return 1
}

# compare SUITE DATABASE
compare() {
  local status=0 differ listed keep
  settle "$2" || { STOPPED=1; result 1 "$1: apply"; return; }
  if ! side 1 "$2" || ! side 2 "$2"; then result 1 "$1: dump"; return; fi
  perl "$HERE/compare.pl" "$1" "$HERE/expected-differences" "$W"/side1.{sql,more,globals} "$W"/side2.{sql,more,globals} \
    >"$W/compare.out" || status=$?
  read -r differ listed < <(tail -1 "$W/compare.out")
  sed '$d' "$W/compare.out"
  DIFFERENCES=$((DIFFERENCES + differ)) LISTED=$((LISTED + listed))
  if [ -n "${ORACLE_KEEP:-}" ]; then
    keep=$ORACLE_KEEP/$1
    mkdir -p "$keep"
    cp "$W"/side[12].* "$keep/"
  fi
  result $status "$1: the replica equals the primary ($differ differences, $listed listed)"
}

# ---- running ----

find_pg
scratch_begin
mkdir -p "$CACHE"
STARTED=$(now_ms)
oracle_source
build_install
prepare_suites
make_baseline
start_pair
say "regress-oracle: $("$PG_CONFIG" --version), suites of $SOURCE"
for s in "${SUITES[@]}"; do
  [ -z "$STOPPED" ] || renew_pair
  STOPPED=
  run_suite "$s"
done
if [ -z "${ORACLE_SUITES:-}${ORACLE_TESTS:-}" ]; then
  status=0
  perl "$HERE/stale.pl" "$HERE/expected-differences" "$W/used" || status=$?
  result $status 'every line of expected-differences is needed'
fi
[ -z "${ORACLE_KEEP:-}" ] || cp "$W"/node[12].log "$ORACLE_KEEP/"
say "in $(seconds_since "$STARTED") s"
say "$DIFFERENCES differences, $LISTED of them listed"
say "$PASSED passed, $FAILED failed"
[ $FAILED = 0 ]
