#!/usr/bin/env bash
# All tests, with one line per suite: build with -Werror, clang's warnings, unit
# tests, consensus scripts, simulation, pg_regress and isolation tests on a server
# of their own, TAP tests.  Installs what is missing first.
#
#     scripts/check.sh [NAME...]     only suites whose name begins with NAME
#
# The last line is "N passed, N failed".  The logs of a run with failures stay.
# TAP_JOBS says how many TAP files run at a time.  With CI=true a suite that was
# skipped counts as a failure.
"$(dirname "$0")/deps.sh"
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PASSED=0 FAILED=0 SKIPPED=0
ONLY=("$@")
SUITE_LIMIT=${SUITE_LIMIT:-1500}  # seconds
TAP_JOBS=${TAP_JOBS:-3}
LONGEST=050_join_under_load
LOGS=$(mktemp -d /tmp/baton-check.XXXXXX)
chmod 755 "$LOGS"

wanted() {
  local name
  [ ${#ONLY[@]} -gt 0 ] || return 0
  for name in "${ONLY[@]}"; do [[ $1 != "$name"* ]] || return 0; done
  return 1
}

# Reads a log: "passed failed skipped", from a line "N passed, N failed", from
# TAP, or from pg_regress's lines.
count() {
  awk '
    match($0, /[0-9]+ passed, [0-9]+ failed/) { split(substr($0, RSTART, RLENGTH), w, " "); sp = w[1]; sf = w[3]; summary = 1 }
    /^(not )?ok [0-9]+/ && /# SKIP/ { s++; next }
    /^1\.\.0 # SKIP/                { s++ }
    /^ok [0-9]+/                    { p++ }
    /^not ok [0-9]+/ && !/# TODO/   { f++ }
    /^(test |     ) ?.* \.\.\. ok/     { p++ }
    /^(test |     ) ?.* \.\.\. FAILED/ { f++ }
    END { if (summary) { p = sp; f = sf } print p + 0, f + 0, s + 0 }' "$1"
}

line() { printf '  %-34s %-8s %5s %7s s\n' "$@"; }

# suite NAME command...
suite() {
  wanted "$1" || return 0
  suite_run "$@"
  suite_report "$1"
}

log_of() { echo "$LOGS/${1//\//-}.log"; }

# Runs it, and keeps its exit status and time beside its log.
suite_run() {
  local log t status=0
  log=$(log_of "$1")
  shift
  t=$(now_ms)
  ("$@") >"$log" 2>&1 || status=$?
  echo "$status $(seconds_since "$t")" >"$log.ended"
  mv "$log.ended" "$log.status"
}

suite_report() {
  local name=$1 log status took p f s
  log=$(log_of "$name")
  read -r status took <"$log.status"
  rm "$log.status"
  read -r p f s < <(count "$log")
  [ $status != 124 ] || echo "stopped after $SUITE_LIMIT s" >>"$log"
  # a crash, a bad plan, or a suite in which nothing ran
  if { [ $status != 0 ] && [ "$f" = 0 ]; } || [ $((p + f + s)) = 0 ]; then f=$((f + 1)); fi
  PASSED=$((PASSED + p)) FAILED=$((FAILED + f)) SKIPPED=$((SKIPPED + s))
  if [ "$f" = 0 ]; then
    line "$name" ok "$p" "$took"
    [ "$s" = 0 ] || { say "    $s skipped:"; grep '# SKIP' "$log" | sed 's/^/    /'; }
  else
    line "$name" FAILED "$f" "$took"
    say "    ... $log"
    grep -vE '^ok [0-9]+' "$log" | tail -n 25 | sed 's/^/    | /'
  fi
}
skip() {
  wanted "$1" || return 0
  SKIPPED=$((SKIPPED + 1))
  line "$1" skipped 0 0.0
  say "    $2"
}

# ---- the suites ----

limited() { timeout -k 10 "$SUITE_LIMIT" "$@"; }
as_pg_limited() { as_pg timeout -k 10 "$SUITE_LIMIT" "$@"; }

one_result() { if "$@"; then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; return 1; fi; }
run_build() { one_result build_strict; }
build_strict() { make -s -C "$ROOT" -j"$(nproc)" WERROR=1 all && build_install; }
run_clang() { one_result make -s -C "$ROOT" -j"$(nproc)" clang-check; }
run_make() { limited make -s -C "$ROOT/test/$1" check; }

# pg_regress and isolation tests share a server; the sources are read by the
# user that servers run as.
run_regress() {
  local out=$W/regress
  as_pg mkdir -p "$out"
  # shellcheck disable=SC2046
  as_pg_limited "$PGXS_DIR/test/regress/pg_regress" --bindir="$PGBIN" --inputdir="$W/src" --outputdir="$out" \
    --host="$W" --port="$(port 1)" --user="$SUPERUSER" --dbname=baton_regress_a,baton_regress_b $(cat "$W/src/test/regress.list") ||
    { cat "$out/regression.diffs"; return 1; }
}
run_isolation() {
  local out=$W/isolation
  as_pg mkdir -p "$out"
  # shellcheck disable=SC2046
  as_pg_limited "$PGXS_DIR/test/isolation/pg_isolation_regress" --bindir="$PGBIN" --inputdir="$W/src/test/isolation" --outputdir="$out" \
    --host="$W" --port="$(port 1)" --user="$SUPERUSER" --dbname=baton_isolation $(specs) ||
    { cat "$out/regression.diffs"; return 1; }
}
specs() { find "$ROOT/test/isolation/specs" -name '*.spec' -printf '%f\n' 2>/dev/null | sed 's/\.spec$//' | sort; }

run_tap() {
  local dir=$W/tap/$1 status=0
  as_pg mkdir -p "$dir"
  # notes (on stdout) are in the test's own log; what went wrong comes on stderr
  as_pg_limited env PATH="$PGBIN:$PATH" PG_REGRESS="$PGXS_DIR/test/regress/pg_regress" TESTDIR="$dir" \
    TESTLOGDIR="$dir/tmp_check/log" TESTDATADIR="$dir/tmp_check" \
    PG_CONFIG="$PG_CONFIG" BATON_WRITER="$W/writer" PG_TEST_PORT_DIR="$W/ports" \
    perl -I"$W/src/test/perl" -I"$PGXS_DIR/test/perl" "$W/src/test/t/$1.pl" | sed -u '/^ *#/d' || status=$?
  if [ $status != 0 ]; then
    cp -r "$dir/tmp_check/log" "$LOGS/$1.servers" && echo "# logs of its servers: $LOGS/$1.servers"
  fi
  return $status
}

# TAP tests mostly wait: TAP_JOBS of them run at a time, the longest one first, and
# each is reported when those before it in the list have been.
tap_suites() {
  local f name status running=0 reported=0 names=()
  ! wanted "tap/$LONGEST" || names+=("$LONGEST")
  for f in "$ROOT"/test/t/*.pl; do
    name=$(basename "$f" .pl)
    if [ "$name" != "$LONGEST" ] && wanted "tap/$name"; then names+=("$name"); fi
  done
  [ ${#names[@]} -gt 0 ] || return 0
  as_pg mkdir -p "$W/ports"
  for name in "${names[@]}"; do
    if [ $running -ge "$TAP_JOBS" ]; then wait -n || true; running=$((running - 1)); fi
    suite_run "tap/$name" run_tap "$name" &
    running=$((running + 1))
    tap_report
  done
  while [ $reported -lt ${#names[@]} ]; do
    status=0
    wait -n || status=$?
    tap_report
    # none is left that could end
    [ "$status" != 127 ] || [ $reported = ${#names[@]} ] || die 'a suite has ended without a result'
  done
}

# Those whose turn has come; the longest one ends the list.
tap_report() {
  local order=("${names[@]}")
  [ "${names[0]}" != "$LONGEST" ] || order=("${names[@]:1}" "$LONGEST")
  while [ $reported -lt ${#order[@]} ] && [ -e "$(log_of "tap/${order[reported]}").status" ]; do
    suite_report "tap/${order[reported]}"
    reported=$((reported + 1))
  done
}

copy_sources() {
  mkdir -p "$W/src"
  cp -r "$ROOT/sql" "$ROOT/expected" "$ROOT/test" "$W/src/"
  [ "$(id -u)" != 0 ] || chown -R postgres "$W/src"
}

find_pg
scratch_begin
STARTED=$(now_ms)
say "baton, $("$PG_CONFIG" --version): all tests"
line suite result tests time | sed 's/ s$//'
suite build run_build
if [ $FAILED = 0 ]; then
  suite clang run_clang
  for d in unit consensus sim; do
    if [ -f "$ROOT/test/$d/Makefile" ]; then suite $d run_make $d; else skip $d "there is no test/$d/Makefile"; fi
  done
  copy_sources
  build_writer
  if wanted regress || wanted isolation; then server 1; fi
  suite regress run_regress
  if [ -n "$(specs)" ]; then suite isolation run_isolation; else skip isolation 'there are no specs'; fi
  tap_suites
fi

[ $FAILED != 0 ] || rm -rf "$LOGS"
[ $SKIPPED = 0 ] || say "$SKIPPED skipped$([ "${CI:-}" != true ] || echo ', which CI=true counts as failed')"
[ "${CI:-}" != true ] || FAILED=$((FAILED + SKIPPED))
[ $FAILED = 0 ] || [ ! -d "$LOGS" ] || say "logs: $LOGS"
say "in $(seconds_since "$STARTED") s"
say "$PASSED passed, $FAILED failed"
[ $FAILED = 0 ]
