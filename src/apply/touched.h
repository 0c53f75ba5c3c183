/*
 * touched.h - rows that diverged commits have touched, and whole tables where
 * rows cannot be told apart.
 *
 * While a node is mended, these rows are taken out of its tables, the applier
 * leaves changes of them out, and puts them in again, as fetched from the primary,
 * when it has come to the place of the stream that they were fetched at
 * (reconcile/reconcile_worker.c).  So at every place in between the tables are
 * what the primary's were there, less some rows, and no constraint can fail.
 *
 *   touched.c        the set in memory
 *   touched_store.c  the set, and the fetched rows, in tables of schema baton
 */
#ifndef BATON_TOUCHED_H
#define BATON_TOUCHED_H

#include "apply/apply.h"

/* More touched rows than this in one table make it a table that is touched whole. */
#define TOUCHED_MAX_KEYS	100000

typedef struct TouchedKey
{
	struct TouchedKey *next;	/* of the same hash */
	Datum		values[FLEXIBLE_ARRAY_MEMBER];
} TouchedKey;

typedef struct TouchedChain
{
	uint32		hash;			/* hash key */
	TouchedKey *first;
} TouchedChain;

typedef struct TouchedTable
{
	Oid			localoid;		/* hash key */
	int			number;			/* in baton.mending_table, and the relid of its records */
	char	   *nspname;
	char	   *relname;
	bool		whole;
	bool		stored;			/* it stands in baton.mending_table ... */
	bool		stored_whole;	/* ... as touched whole */
	int			n_keys;			/* columns of the key: those of the replica identity or primary key */
	AttrNumber	attribute[INDEX_MAX_KEYS];
	Oid			type[INDEX_MAX_KEYS];
	int16		len[INDEX_MAX_KEYS];
	bool		byval[INDEX_MAX_KEYS];
	Oid			collation[INDEX_MAX_KEYS];
	FmgrInfo	hash[INDEX_MAX_KEYS];
	FmgrInfo	equal[INDEX_MAX_KEYS];
	HTAB	   *keys;			/* of TouchedChain, by hash */
	uint32		count;
} TouchedTable;

typedef struct TouchedSet
{
	MemoryContext cxt;
	HTAB	   *tables;			/* of TouchedTable, by localoid */
	int			n_tables;
} TouchedSet;

/* The keys of the row that a record changes. */
typedef struct TouchedChange
{
	TouchedTable *table;		/* NULL: not in the set */
	bool		readable;		/* the keys below are known; else the table has no usable key */
	bool		has_old;
	bool		has_new;
	Datum		old_key[INDEX_MAX_KEYS];
	Datum		new_key[INDEX_MAX_KEYS];
} TouchedChange;

/* ---- touched.c ---- */

extern TouchedSet *touched_create(MemoryContext parent);
extern void touched_free(TouchedSet *set);
extern TouchedTable *touched_find(TouchedSet *set, Oid localoid);
/* The table's entry, made if it is new. */
extern TouchedTable *touched_table(TouchedSet *set, Relation rel);
extern void touched_make_whole(TouchedTable *table);
extern bool touched_has(TouchedTable *table, const Datum *key);
/* Add a copy of the key; false if it is there already, or the table is touched whole. */
extern bool touched_add(TouchedSet *set, TouchedTable *table, const Datum *key);
/*
 * What an INSERT, UPDATE or DELETE does to keys.  make: the table is added to the
 * set if it is not in it.  Needs a transaction; opens the table, and raises as
 * relation_map_open(), whose lock stays.
 */
extern void touched_read_change(LocalTransaction *t, TouchedSet *set, const Record *r,
								bool make, TouchedChange *change);
/* Does the applier leave this record out? */
extern bool touched_skips(LocalTransaction *t, const Record *r);

/* ---- touched_store.c ---- */

typedef struct TouchedMark		/* the row of baton.mending: the touched rows are out */
{
	uint16		source;			/* commits of this member ... */
	uint64		term;			/* ... in this term (and all of earlier terms) ... */
	XLogRecPtr	lsn;			/* ... that begin before it are in the fetched rows */
	StreamPos	until;			/* the log holds all of them up to here */
	uint64		attempt;		/* of the mending that has taken the touched rows out */
} TouchedMark;

/* All within a local transaction. */
extern void touched_store_table(TouchedTable *table);
extern void touched_store_key(TouchedTable *table, const Datum *key);
extern void touched_store_row(TouchedTable *table, const char *record, size_t len);
extern void touched_store_mark(const TouchedMark *mark);
extern bool touched_load_mark(TouchedMark *mark);
/* Read the set that is stored. */
extern void touched_load(LocalTransaction *t, TouchedSet *set);
/* Take the touched rows out of their tables. */
extern void touched_take_out(LocalTransaction *t, TouchedSet *set);
/* Forget fetched rows that are stored. */
extern void touched_forget_rows(void);
/* Put the fetched rows into their tables ... */
extern void touched_put_back(LocalTransaction *t);
/* ... and forget everything that is stored. */
extern void touched_fill(LocalTransaction *t);
extern void touched_forget(void);
/* An INSERT record of the table; values in the order of touched_columns(). */
extern void touched_put_insert(StreamBuf *buf, TouchedTable *table, int n, char **values);
/* Names of the columns that travel, in order; palloc'd. */
extern int	touched_columns(TouchedTable *table, char ***names);

#endif							/* BATON_TOUCHED_H */
