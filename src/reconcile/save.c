/*
 * save.c - saves diverged transactions before anything of them is undone: what they
 * did, for people, and which rows they touched, for the mending.
 *
 * All in one transaction, on disk when it ends.  Rows of baton.rolled_back carry
 * the attempt's number, and those of this number or a later one, left by an
 * attempt that never got as far as the control file, are replaced.
 *
 * What a transaction says of roles, which are the whole server's, is not undone.
 */
#include "reconcile/reconcile_internal.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/memutils.h"

static void
forget_void_rows(Reconcile *rec)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum((int64) rec->order.attempt)};

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("DELETE FROM baton.rolled_back WHERE attempt >= $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from baton.rolled_back");
	SPI_finish();
}

/* A table whose rows cannot be told apart by the key, or that was truncated. */
static void
touch_whole(Reconcile *rec, uint32 relid)
{
	LocalTransaction *t = &rec->local;
	ApplyRelation *m = relation_map_get(t->relations, relid, t->source_txn);
	Relation	rel = relation_map_open(m, AccessShareLock);
	TouchedTable *table = touched_table(rec->touched, rel);

	touched_make_whole(table);
	touched_store_table(table);
	table_close(rel, NoLock);
}

static void
touch_key(Reconcile *rec, TouchedTable *table, const Datum *key)
{
	touched_store_table(table);
	if (touched_add(rec->touched, table, key))
		touched_store_key(table, key);
	/* it may have become too many */
	touched_store_table(table);
}

static void
touch_rows(Reconcile *rec, const Record *r)
{
	TouchedChange change;

	touched_read_change(&rec->local, rec->touched, r, true, &change);
	if (change.table->whole || !change.readable)
	{
		touched_make_whole(change.table);
		touched_store_table(change.table);
		return;
	}
	if (change.has_old)
		touch_key(rec, change.table, change.old_key);
	if (change.has_new)
		touch_key(rec, change.table, change.new_key);
}

static void
touch_truncated(Reconcile *rec, const Record *r)
{
	StreamCursor c = r->rest;
	uint32		n;

	(void) stream_get_u8(&c);
	n = stream_get_u32(&c);
	for (uint32 i = 0; i < n && !c.failed; i++)
		touch_whole(rec, stream_get_u32(&c));
}

static void
save_record(Reconcile *rec, DivergedTxn *txn, const Record *r)
{
	LocalTransaction *t = &rec->local;

	MemoryContextReset(t->row_cxt);
	MemoryContextSwitchTo(t->row_cxt);
	switch (r->type)
	{
		case RECORD_RELATION:
			local_apply(t, r);
			return;
		case RECORD_INSERT:
		case RECORD_UPDATE:
		case RECORD_DELETE:
			reconcile_put_rolled_back(rec, txn, r);
			touch_rows(rec, r);
			break;
		case RECORD_TRUNCATE:
			reconcile_put_rolled_back(rec, txn, r);
			touch_truncated(rec, r);
			break;
		case RECORD_MESSAGE:
			break;
		case RECORD_ROLE:
			/* the new primary tells what each role is; see is_about_roles() */
			return;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_BATON_NEEDS_COPY),
					 errmsg("a diverged transaction has a %s record", record_type_name(r->type))));
	}
	txn->rows++;
	t->written = true;
}

/* ---- roles ---- */

static void
look_for_changes(Reconcile *rec, DivergedTxn *txn, const Record *r)
{
	if (r->type == RECORD_ROLE)
		txn->roles = true;
	else
		txn->more_than_roles = true;
}

/*
 * Does a transaction say of roles what they are, and nothing else?  A primary does so
 * by itself at the beginning of its reign, and whenever a replica connects.  There is
 * nothing to be mended then: the new primary tells the same of its own.  A role that
 * was made here alone stays.
 */
static bool
is_about_roles(Reconcile *rec, DivergedTxn *txn)
{
	reconcile_read_diverged(rec, txn, look_for_changes);
	if (!txn->roles || txn->more_than_roles)
		return false;
	ereport(LOG,
			(errmsg("transaction %u of database \"%s\", which the group does not have, has told what roles are",
					txn->xid, rec->node->dbname),
			 errdetail("The primary tells what they are there; roles that were made here alone stay.")));
	return true;
}

static void
leave_out_roles(Reconcile *rec)
{
	ListCell   *lc;

	foreach(lc, rec->txns)
		if (is_about_roles(rec, lfirst(lc)))
			rec->txns = foreach_delete_current(rec->txns, lc);
}

static void
save_all(Reconcile *rec)
{
	ListCell   *lc;

	foreach(lc, rec->txns)
	{
		DivergedTxn *txn = lfirst(lc);

		local_next_source(&rec->local);
		reconcile_read_diverged(rec, txn, save_record);
		if (txn->rows == 0)
			reconcile_put_empty(rec, txn);
	}
}

static bool
too_many(Reconcile *rec)
{
	return !rec->order.unlimited && baton_rollback_limit >= 0 &&
		list_length(rec->txns) > baton_rollback_limit;
}

void
reconcile_save(Reconcile *rec)
{
	ReconcileRequest request = {RECONCILE_REQUEST_SAVED};

	reconcile_phase(rec, "looking for commits that the group does not have");
	reconcile_find_diverged(rec);
	leave_out_roles(rec);
	request.txns = list_length(rec->txns);
	request.base = rec->cut;
	request.wal_end = rec->wal_end;
	if (too_many(rec))
		request.kind = RECONCILE_REQUEST_STOP;
	else if (request.txns == 0 && !rec->order.pending)
		request.kind = RECONCILE_REQUEST_NOTHING;
	else
	{
		reconcile_phase(rec, psprintf("saving %u transactions that the group does not have", request.txns));
		local_begin(&rec->local);
		forget_void_rows(rec);
		if (rec->order.pending)
			touched_load(&rec->local, rec->touched);
		else
			touched_forget();
		save_all(rec);
		local_commit(&rec->local, 0, 0);
		XLogFlush(XactLastCommitEnd);
	}
	reconcile_request(rec, &request);
}
