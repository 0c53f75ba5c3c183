/*
 * elected.c - what the elected stream does to touched rows between the place that
 * the tables are at and the place of the snapshot.
 *
 * An UPDATE that gives a touched row another key makes that key touched too, and
 * one that gives another row the key of a touched one makes that row touched:
 * again and again until nothing is added.  Whatever the applier then finds of
 * such a change, either both keys are touched or neither is.  Changes of
 * transactions that were rolled back are taken for real: a row more is fetched.
 */
#include "reconcile/reconcile_internal.h"

#include "miscadmin.h"
#include "utils/memutils.h"

/* Add a key and store it, if it is new. */
static void
add_key(Reconcile *rec, TouchedTable *table, const Datum *key)
{
	if (touched_add(rec->touched, table, key))
	{
		touched_store_key(table, key);
		rec->added = true;
	}
	touched_store_table(table);
}

static void
follow_update(Reconcile *rec, const Record *r)
{
	TouchedChange change;

	touched_read_change(&rec->local, rec->touched, r, false, &change);
	if (change.table == NULL || change.table->whole)
		return;
	if (!change.readable)
	{
		touched_make_whole(change.table);
		touched_store_table(change.table);
		return;
	}
	if (touched_has(change.table, change.old_key))
		add_key(rec, change.table, change.new_key);
	else if (touched_has(change.table, change.new_key))
		add_key(rec, change.table, change.old_key);
}

/* A commit of an earlier reign: perhaps one of those that were saved. */
static void
note_commit(Reconcile *rec, const WalkedRecord *w)
{
	RecordCommit *commit;
	StreamError err = {0};
	MemoryContext old;

	if (w->frame->term == rec->copy.term || w->commit_pos <= rec->cut)
		return;
	old = MemoryContextSwitchTo(rec->cxt);
	commit = palloc(sizeof(RecordCommit));
	if (record_get_commit(&w->r, commit, &err) == STREAM_OK)
		rec->elected = lappend(rec->elected, commit);
	MemoryContextSwitchTo(old);
}

static void
follow(Reconcile *rec, const WalkedRecord *w)
{
	LocalTransaction *t = &rec->local;
	const Record *r = &w->r;

	MemoryContextReset(t->row_cxt);
	MemoryContextSwitchTo(t->row_cxt);
	if (r->type == RECORD_BEGIN)
		hash_search(rec->begun, &r->xid, HASH_ENTER, NULL);
	if (r->type == RECORD_COMMIT)
		note_commit(rec, w);
	if (!RECORD_HAS_XID(r->type) || hash_search(rec->begun, &r->xid, HASH_FIND, NULL) == NULL)
		return;
	if (r->type == RECORD_RELATION)
		local_apply(t, r);
	else if (r->type == RECORD_UPDATE)
		follow_update(rec, r);
}

void
reconcile_close_touched(Reconcile *rec, StreamPos from, StreamPos to)
{
	StreamTail	tail = node_log_tail(rec->node);
	StreamReader reader = {0};
	ApplyBeginning b;
	HASHCTL		ctl = {0};

	node_log_directory(rec->node, reader.directory, sizeof(reader.directory));
	apply_find_beginning(&reader, from, &tail, &b);
	stream_reader_close(&reader);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(uint32);
	ctl.hcxt = rec->cxt;
	do
	{
		rec->begun = hash_create("baton begun transactions", 256, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		rec->added = false;
		list_free_deep(rec->elected);
		rec->elected = NIL;
		local_next_source(&rec->local);
		reconcile_walk_log(rec, b.frame, to, follow);
		hash_destroy(rec->begun);
	} while (rec->added);
}
