/*
 * row.h - what row.c and lenient.c share: a record's row, from bytes to the table.
 * Private to apply/.
 */
#ifndef BATON_ROW_H
#define BATON_ROW_H

#include "apply/apply.h"
#include "nodes/nodes.h"

/* The table that a record is about, open under its owner's rights; c moves on. */
extern OpenRelation *row_open(LocalTransaction *t, StreamCursor *c);
/* Values of a whole row, one per column of the source. */
extern void row_read(const ApplyRelation *m, const Record *r, StreamCursor *c, RecordValue *values);
/* The row of an UPDATE or DELETE.  *kind says what the old values are: 'K' and 'O' as
 * in record.h; 'N' none, the new ones hold the key. */
extern void row_read_change(const ApplyRelation *m, const Record *r, StreamCursor *c, char *kind,
							RecordValue *old_values, RecordValue *new_values);
/* The row in `slot`, from values of the stream and, for what they leave out, from base
 * (NULL: nothing). */
extern void row_fill(OpenRelation *o, const RecordValue *values, TupleTableSlot *slot, TupleTableSlot *base);
/* Columns that only the local table has get their defaults. */
extern void row_fill_defaults(OpenRelation *o, TupleTableSlot *slot);
/* What to look for, from the old values or, if there are none ('N'), the new ones. */
extern void row_fill_key(OpenRelation *o, char kind, const RecordValue *values);
/* Generated columns and constraints, in the order in which the executor has them. */
extern void row_complete(OpenRelation *o, TupleTableSlot *slot, CmdType command);
extern void row_insert_index_entries(OpenRelation *o, TupleTableSlot *slot);
/* Delete o->found; false: somebody has changed it, look for it again. */
extern bool row_delete_found(OpenRelation *o);

#endif							/* BATON_ROW_H */
