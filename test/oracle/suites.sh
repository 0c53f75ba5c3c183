# shellcheck shell=bash
# The suites, and how each is run: sourced by run.sh, never run.
#
# core runs in database "regression", contrib modules one after the other in
# "contrib_regression", which is emptied in between.  pg_regress does not make these
# databases, for they must be nodes by then, so what it would set is set here.

CONTRIB="bloom btree_gin btree_gist citext cube dict_int dict_xsyn earthdistance fuzzystrmatch
  hstore intarray isn lo ltree pg_trgm pgcrypto seg tablefunc unaccent uuid-ossp xml2"
SUITES=()

# What pg_regress sets for a database that it makes.  database_settings N DATABASE
database_settings() {
  sql "$1" "$2" "alter database $2 set lc_messages to 'C'; alter database $2 set lc_monetary to 'C';
    alter database $2 set lc_numeric to 'C'; alter database $2 set lc_time to 'C';
    alter database $2 set bytea_output to 'hex'; alter database $2 set timezone_abbreviations to 'Default'"
}

database_of() { if [ "$1" = core ]; then echo regression; else echo contrib_regression; fi; }

# Does the installed server have it?
is_installed() { [ -n "$(find "$("$PG_CONFIG" --sharedir)/extension" -name "$1.control")" ]; }

# Two limits that README.md names would end the suite: a function of an index that needs
# the writer's search_path, and privileges in a column that name a role which a test
# beside has dropped before the row commits.
adapt_core() {
  local dir=$W/suites/core
  sed -i "s/AS SELECT \* FROM pg_class WHERE relkind = 'r'/AS SELECT * FROM pg_class WHERE relkind = 'r' AND relacl IS NULL/" \
    "$dir/sql/create_table.sql" "$dir/expected/create_table.out"
  sed -i "s/SELECT \$1 FROM do_analyze()/SELECT \$1 FROM public.do_analyze()/" "$dir/sql/vacuum.sql" "$dir/expected/"vacuum*.out
}

# The suites to run, copied to where the server's user reads and writes, and the
# library of test functions.
prepare_suites() {
  local s dir
  for s in ${ORACLE_SUITES:-core contrib}; do
    if [ "$s" = contrib ]; then
      for s in $CONTRIB; do SUITES+=("$s"); done
    else
      SUITES+=("$s")
    fi
  done
  mkdir -p "$W/suites" "$W/dl"
  cp -r "$SOURCE/src/test/regress" "$W/suites/core"
  adapt_core
  for s in "${SUITES[@]}"; do
    [ "$s" = core ] && continue
    [ -d "$SOURCE/contrib/$s/sql" ] || die "there is no suite contrib/$s in $SOURCE"
    cp -r "$SOURCE/contrib/$s" "$W/suites/$s"
  done
  cp "$HERE/regress.mk" "$W/dl/Makefile"
  cp "$SOURCE/src/test/regress/regress.c" "$W/dl/"
  make -s -C "$W/dl" PG_CONFIG="$PG_CONFIG" >"$W/dl.log" 2>&1 || { tail -5 "$W/dl.log" >&2; die "regress.c does not compile"; }
  cp "$PKGLIBDIR"/autoinc.so "$PKGLIBDIR"/refint.so "$W/dl/" || die "contrib/spi is not installed"
  [ "$(id -u)" != 0 ] || chown -R postgres "$W/suites" "$W/dl"
}

# The tests of a contrib module, from its Makefile's REGRESS.
tests_of() {
  perl -0777 -ne 's/\\\n//g; print "$1\n" if /^REGRESS\s*=\s*(.*)$/m' "$W/suites/$1/Makefile"
}

# pg_regress_on N SUITE OUTPUT: runs the suite on server N.
pg_regress_on() {
  local dir=$W/suites/$2 what
  if [ "$2" != core ]; then what=$(tests_of "$2")
  elif [ -n "${ORACLE_TESTS:-}" ]; then what="test_setup $ORACLE_TESTS"
  else what="--schedule=$dir/parallel_schedule --max-concurrent-tests=20"; fi
  as_pg mkdir -p "$3"
  # shellcheck disable=SC2086
  (cd "$dir" && exec_as_pg timeout -k 10 "$LIMIT" "$PGXS_DIR/test/regress/pg_regress" --bindir="$PGBIN" --inputdir="$dir" --outputdir="$3" \
    --dlpath="$W/dl" --host="$W" --port="$(port "$1")" --user="$SUPERUSER" --use-existing --dbname="$(database_of "$2")" $what)
}
exec_as_pg() { if [ "$(id -u)" = 0 ]; then exec runuser -u postgres -- "$@"; else exec "$@"; fi; }

# Empties contrib_regression for the next module.
clear_contrib() {
  sql "$1" contrib_regression 'set client_min_messages = error; drop schema public cascade; create schema public;
    grant all on schema public to public'
}

# ---- without baton ----

baseline_dir() { echo "$CACHE/baseline/$("$PG_CONFIG" --version | tr ' ()' '___')$([ -z "${ORACLE_TESTS:-}" ] || [ "$1" != core ] || echo "-$(tr ' ' '-' <<<"$ORACLE_TESTS")")/$1"; }

# What each suite prints on a server without baton, kept in CACHE.
make_baseline() {
  local s dir started=
  for s in "${SUITES[@]}"; do
    dir=$(baseline_dir "$s")
    [ ! -d "$dir" ] || continue
    if [ -z "$started" ]; then
      server 0 "$CONF
shared_preload_libraries = ''"
      started=1
      for db in regression contrib_regression; do
        sql 0 postgres "create database $db template template0"
        database_settings 0 $db
      done
    fi
    say "the baseline of $s, once"
    [ "$s" = core ] || clear_contrib 0
    pg_regress_on 0 "$s" "$W/out0/$s" >"$W/baseline.log" 2>&1 || true
    [ -d "$W/out0/$s/results" ] || { tail -5 "$W/baseline.log" >&2; die "the baseline of $s did not run"; }
    mkdir -p "$dir"
    cp -r "$W/out0/$s/results/." "$dir"
  done
  [ -z "$started" ] || server_stop 0
}

# ---- on the pair ----

# run_suite NAME: on the pair, with its two comparisons
run_suite() {
  local db status=0 pid error
  db=$(database_of "$1")
  if [[ $GROUPS_MADE != *" $db "* ]]; then make_group "$db"; GROUPS_MADE+="$db "; fi
  [ "$1" = core ] || clear_contrib 1
  pg_regress_on 1 "$1" "$W/out/$1" >"$W/out.log" 2>&1 &
  pid=$!
  child $pid
  watch "$db" $pid
  wait $pid || true
  error=$(apply_error "$db") || true
  if [ -n "$error" ]; then
    show_stop "$error"
    say "the last of pg_regress:"
    tail -5 "$W/out.log" | sed 's/^/    /'
    STOPPED=1
    result 1 "$1: apply"
    return
  fi
  perl "$HERE/outputs.pl" "$1" "$HERE/expected-differences" "$W/used" "$W/out/$1/results" "$(baseline_dir "$1")" "$W/suites/$1/expected" || status=$?
  [ -z "${ORACLE_KEEP:-}" ] || { mkdir -p "$ORACLE_KEEP/$1"; cp -r "$W/out/$1/results" "$ORACLE_KEEP/$1/"; }
  result $status "$1: the primary answers as without baton"
  compare "$1" "$db"
}
