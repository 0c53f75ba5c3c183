/*
 * local.c - the local transaction: begin, dispatch, commit, abort.
 *
 * One local transaction carries out one or more transactions of the stream.
 * What they have in common is opened once and kept: an active snapshot, whose
 * command id moves on with the transaction's own, and the tables with their
 * indexes and executor state.
 *
 * Rights.  Rows are written with the rights of the table's owner and as a
 * security-restricted operation, as maintenance commands do it, for triggers,
 * check constraints, and expressions of indexes, defaults and generated columns
 * are the owner's code.  Such code must not be left for the commit, which runs
 * with the worker's own rights: where triggers fire, constraints are immediate.
 */
#include "apply/touched.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void
local_init(LocalTransaction *t, MemoryContext parent)
{
	memset(t, 0, sizeof(LocalTransaction));
	t->cxt = AllocSetContextCreate(parent, "baton local transaction", ALLOCSET_DEFAULT_SIZES);
	t->row_cxt = AllocSetContextCreate(parent, "baton record", ALLOCSET_DEFAULT_SIZES);
	t->relations = relation_map_create(parent);
	t->old_values = MemoryContextAlloc(parent, RECORD_MAX_ATTS * sizeof(RecordValue));
	t->new_values = MemoryContextAlloc(parent, RECORD_MAX_ATTS * sizeof(RecordValue));
}

void
local_begin(LocalTransaction *t)
{
	Assert(!t->started);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	t->started = true;
	t->rows = 0;
	t->index_work = false;
	PushCopiedSnapshot(GetTransactionSnapshot());
}

/*
 * Each transaction of the stream describes the tables that it uses, so what
 * another has said does not count.
 */
void
local_next_source(LocalTransaction *t)
{
	t->source_txn++;
}

static void
forget_context(LocalTransaction *t)
{
	t->record.type = 0;
	t->relation = NULL;
}

/* What remains to be done when the transaction is over, one way or the other. */
static void
reset(LocalTransaction *t)
{
	forget_context(t);
	for (OpenRelation *o = t->opened; o; o = o->next)
		o->map->open = NULL;
	t->opened = NULL;
	t->n_buffered = 0;
	t->buffered_bytes = 0;
	t->written = false;
	t->constraints_immediate = false;
	t->tolerant = false;
	t->owner = InvalidOid;
	t->started = false;
	MemoryContextReset(t->row_cxt);
	MemoryContextReset(t->cxt);
}

void
local_commit(LocalTransaction *t, StreamPos pos, TimestampTz commit_time)
{
	Assert(t->started);
	forget_context(t);
	MemoryContextSwitchTo(t->row_cxt);
	apply_flush_inserts(t, NULL);
	open_relation_close_all(t);
	local_become_self(t);
	PopActiveSnapshot();

	replorigin_session_origin_lsn = pos;
	replorigin_session_origin_timestamp = commit_time;
	CommitTransactionCommand();
	reset(t);
	pgstat_report_stat(false);
}

/*
 * Safe in any state, an error's included; rights and settings come back with
 * the transaction's end.
 */
void
local_abort(LocalTransaction *t)
{
	AbortOutOfAnyTransaction();
	reset(t);
	pgstat_report_stat(false);
}

void
local_make_visible(LocalTransaction *t)
{
	if (!t->written)
		return;
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	t->written = false;
}

/* ---- rights ---- */

void
local_become_owner(LocalTransaction *t, Oid owner)
{
	if (t->owner == owner)
		return;
	local_become_self(t);
	GetUserIdAndSecContext(&t->saved_user, &t->saved_context);
	SetUserIdAndSecContext(owner, t->saved_context | SECURITY_RESTRICTED_OPERATION);
	t->guc_level = NewGUCNestLevel();
	t->owner = owner;
}

void
local_become_self(LocalTransaction *t)
{
	if (!OidIsValid(t->owner))
		return;
	AtEOXact_GUC(false, t->guc_level);
	SetUserIdAndSecContext(t->saved_user, t->saved_context);
	t->owner = InvalidOid;
}

/* ---- records ---- */

static void
describe(LocalTransaction *t, const Record *r)
{
	if (relation_map_describe(t->relations, r, t->source_txn) != NULL)
		return;
	/* the table has changed in the middle of the transaction */
	apply_flush_inserts(t, NULL);
	open_relation_close_all(t);
	local_make_visible(t);
	relation_map_describe(t->relations, r, t->source_txn);
}

/*
 * Raises ERRCODE_FEATURE_NOT_SUPPORTED for a record that this version cannot
 * carry out, and whatever carrying it out raises.
 */
void
local_apply(LocalTransaction *t, const Record *r)
{
	MemoryContextReset(t->row_cxt);
	MemoryContextSwitchTo(t->row_cxt);
	t->record = *r;
	if ((r->type == RECORD_INSERT || r->type == RECORD_UPDATE || r->type == RECORD_DELETE) &&
		touched_skips(t, r))
	{
		forget_context(t);
		return;
	}
	if (t->lenient != NULL &&
		(r->type == RECORD_INSERT || r->type == RECORD_UPDATE || r->type == RECORD_DELETE))
	{
		apply_lenient(t, r);
		t->rows++;
		forget_context(t);
		return;
	}
	switch (r->type)
	{
		case RECORD_RELATION:
			describe(t, r);
			break;
		case RECORD_INSERT:
			apply_insert(t, r);
			t->rows++;
			break;
		case RECORD_UPDATE:
			apply_update(t, r);
			t->rows++;
			break;
		case RECORD_DELETE:
			apply_delete(t, r);
			t->rows++;
			break;
		case RECORD_TRUNCATE:
			apply_truncate(t, r);
			break;
		case RECORD_SEQUENCE:
			apply_sequence(t, r);
			break;
		case RECORD_ROLE:
			apply_role(t, r);
			break;
		case RECORD_DDL:
			apply_ddl(t, r);
			break;
		case RECORD_LARGE_OBJECT:
			apply_large_object(t, r);
			t->rows++;
			break;
		case RECORD_MESSAGE:
			apply_message(t, r);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("this version of baton cannot apply %s records",
							record_type_name(r->type))));
	}
	forget_context(t);
}
