# Builds regress.so, the core suite's test functions, against the installed server.
MODULES = regress
PG_CONFIG ?= pg_config
override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
