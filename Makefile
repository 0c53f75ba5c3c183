# baton: a PGXS extension.  `make help` lists the targets.
MODULE_big = baton
SRCS = $(sort $(wildcard $(srcdir)/src/*.c $(srcdir)/src/*/*.c))
OBJS = $(patsubst $(srcdir)/%.c,%.o,$(SRCS))
EXTENSION = baton
DATA_built = sql/baton--1.0.sql
SQL_PARTS = $(sort $(wildcard $(srcdir)/sql/parts/*.sql))

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -I$(srcdir)/src -I$(shell $(PG_CONFIG) --includedir)
PG_CFLAGS = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-declaration-after-statement
SHLIB_LINK = -lpq -lz

srcdir = .
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

sql/baton--1.0.sql: $(SQL_PARTS)
	cat $^ > $@
