# baton: a PGXS extension.  `make help` lists the targets.
#
# all, install, installcheck and clean are PGXS's.  deps, check, demo, torture, bench and
# regress-oracle are scripts that first install what is missing and then call make again, so
# this file must also parse on a system that has nothing but make.
PG_CONFIG ?= pg_config
export PG_CONFIG
MODULE_big = baton
SRCS := $(sort $(wildcard src/*.c src/*/*.c))
BATON_HEADERS := $(wildcard src/*.h src/*/*.h)
OBJS = $(SRCS:.c=.o)
EXTENSION = baton
DATA_built = sql/baton--1.0.sql
SQL_PARTS := $(sort $(wildcard sql/parts/*.sql))

BATON_CPPFLAGS = -Isrc -I$(shell $(PG_CONFIG) --includedir)
BATON_CFLAGS = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-declaration-after-statement
PG_CPPFLAGS = $(BATON_CPPFLAGS)
PG_CFLAGS = $(BATON_CFLAGS) $(if $(WERROR),-Werror)
SHLIB_LINK = -lpq -lz
# Bitcode is for inlining small functions into JIT-compiled expressions; baton
# has none, and without it the build needs no clang.
override with_llvm = no

# Two databases of one server make a group, so the tests share one order.
REGRESS = $(shell cat test/regress.list 2>/dev/null)
ISOLATION = $(sort $(basename $(notdir $(wildcard test/isolation/specs/*.spec))))
TAP_TESTS = $(if $(wildcard test/t/*.pl),1)
PROVE_TESTS = test/t/*.pl
EXTRA_CLEAN = .build-flags

SCRIPTED = help deps check demo demo-one-server bench torture regress-oracle sim sim-coverage sim-mutants
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

.DEFAULT_GOAL := all
.PHONY: $(SCRIPTED) FORCE

ifneq ($(filter-out $(SCRIPTED),$(or $(MAKECMDGOALS),all)),)
ifeq ($(wildcard $(PGXS)),)
$(filter-out $(SCRIPTED),$(or $(MAKECMDGOALS),all)):
	@echo "PostgreSQL's build files are missing for PG_CONFIG=$(PG_CONFIG); 'make deps' installs them" >&2
	@exit 1
else
include $(PGXS)
PROVE_FLAGS += -I test/perl
# PGXS names one database for all; these are read when a recipe runs, so they win.
REGRESS_OPTS = --dbname=baton_regress_a,baton_regress_b
ISOLATION_OPTS = --inputdir=test/isolation --dbname=baton_isolation

sql/baton--1.0.sql: $(SQL_PARTS)
	cat $^ > $@

# PGXS knows no dependencies on headers.  .build-flags changes when objects of
# another PostgreSQL, or compiled without WERROR when it is asked for, lie here.
BUILD_FLAGS := $(shell $(PG_CONFIG) --version)$(if $(WERROR), WERROR)
$(OBJS): $(BATON_HEADERS) .build-flags
.build-flags: FORCE
	@case "$$(cat $@ 2>/dev/null)" in \
		'$(BUILD_FLAGS)'*) ;; \
		*) echo '$(BUILD_FLAGS)' > $@ ;; esac

# The same sources through clang, for its warnings only.  (PostgreSQL as gcc
# configured it has printf attributes that clang does not know.)
CLANG_CHECK ?= $(firstword $(shell command -v clang) $(CLANG))
SYNTAX = $(SRCS:.c=.syntax)
.PHONY: clang-check
clang-check: $(SYNTAX)
$(SYNTAX): %.syntax: %.c FORCE
	$(CLANG_CHECK) $(BATON_CFLAGS) -Wno-ignored-attributes -Werror $(CPPFLAGS) -fsyntax-only $<

clean: clean-tests
.PHONY: clean-tests
clean-tests:
	@for d in $(dir $(wildcard test/*/Makefile)); do $(MAKE) -s -C $$d clean || exit 1; done
endif
endif

ifneq ($(filter $(SCRIPTED),$(MAKECMDGOALS)),)
help:
	@echo 'make demo             two servers, a group, a failover under load: 1 minute'
	@echo 'make demo-one-server  the same with two databases of one server'
	@echo 'make check            build, install, all tests'
	@echo 'make torture          three servers that are killed, frozen and cut off at random: 10 minutes;'
	@echo '                      TORTURE_SECONDS=, TORTURE_SEED=, TORTURE_POLICY=none|one|majority|all'
	@echo 'make regress-oracle   PostgreSQL'"'"'s own regression suites on a primary with a replica, compared: 5 minutes;'
	@echo '                      ORACLE_SUITES="core hstore ...", ORACLE_TESTS="create_table ...", ORACLE_SOURCE=/path'
	@echo 'make sim              100,000 simulated schedules of the consensus core; SIM_RUNS=, SIM_SEED=, SIM_JOBS='
	@echo 'make sim-coverage     the branches of the core that no schedule and no script takes'
	@echo 'make sim-mutants      breaks the core on purpose: does the simulation notice?'
	@echo 'make bench            the figures: failover gap, idle cost, memory'
	@echo 'make deps             install what building and testing needs (Debian, Ubuntu)'
	@echo 'make, make install, make installcheck, make clean: as in any PGXS extension'
	@echo 'PG_CONFIG=/path/to/pg_config chooses the PostgreSQL, WERROR=1 makes warnings errors'

deps:
	@scripts/deps.sh

check:
	+@scripts/check.sh

demo:
	+@scripts/demo.sh two-servers

demo-one-server:
	+@scripts/demo.sh one-server

torture:
	+@test/torture/run.sh

regress-oracle:
	+@test/oracle/run.sh

bench:
	+@test/bench/run.sh

sim:
	+@$(MAKE) --no-print-directory -C test/sim sim

sim-coverage:
	+@$(MAKE) --no-print-directory -C test/sim coverage

sim-mutants:
	+@$(MAKE) --no-print-directory -C test/sim mutants
endif
