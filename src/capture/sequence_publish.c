/*
 * sequence_publish.c - the exact states of sequences.
 *
 * nextval() logs a state up to 32 values ahead, and writes no WAL until they are used
 * up, so what is decoded from WAL is never behind, but ahead of what was handed out.
 * That keeps values from repeating; but after a planned failover nothing should be
 * skipped, and a dump of a replica should be that of its primary.  So the primary's
 * coordinator looks at all sequences now and then (each second, before a failover, for
 * baton.position()) and tells the state that it finds: last_value, and how many values
 * beyond it are reserved.
 *
 * The order.  The message is written while the sequence's buffer is locked, so no
 * nextval() can log in between: what stands in the WAL behind a message is a newer
 * state.  nextval() within the reserve goes on without a trace, which is why whoever
 * takes over without a hand-over first skips the reserve (apply/sequence.c).
 *
 * The message names the sequence's storage.  If a transaction that gives it new
 * storage commits between our look at the catalog and the message, the name leads to
 * nothing, and the plugin leaves the message out.
 *
 * The cost.  Nothing is looked at while neither the WAL has grown nor a transaction
 * has begun or ended to use nextval(): identity columns draw values in commands that
 * write rows, and thus WAL.
 */
#include "capture/sequence.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "capture/roles.h"
#include "catalog/namespace.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "pgstat.h"
#include "replication/message.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

typedef struct ToldSequence
{
	Oid			relid;			/* hash key */
	Oid			relfilenode;
	FormData_pg_sequence_data state;
} ToldSequence;

struct SequencePublisher
{
	NodeShared *node;
	MemoryContext cxt;
	HTAB	   *told;			/* of ToldSequence; NULL: nothing told yet */
	uint32		all_told;		/* node->sequences_all when all were told */
};

SequencePublisher *
sequences_create(NodeShared *node, MemoryContext cxt)
{
	SequencePublisher *p = MemoryContextAllocZero(cxt, sizeof(SequencePublisher));

	p->node = node;
	p->cxt = cxt;
	return p;
}

void
sequences_forget(SequencePublisher *p)
{
	if (p->told != NULL)
		hash_destroy(p->told);
	p->told = NULL;
}

static void
begin_anew(SequencePublisher *p, uint32 all)
{
	HASHCTL		ctl = {0};

	sequences_forget(p);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(ToldSequence);
	ctl.hcxt = p->cxt;
	p->told = hash_create("baton told sequences", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	p->all_told = all;
}

/* ---- one sequence ---- */

/* Its buffer is locked. */
static bool
has_moved(SequencePublisher *p, Relation rel, const FormData_pg_sequence_data *state)
{
	ToldSequence *told = hash_search(p->told, &RelationGetRelid(rel), HASH_FIND, NULL);

	return told == NULL || told->relfilenode != BATON_REL_FILE_NUMBER(rel) ||
		told->state.last_value != state->last_value ||
		told->state.log_cnt != state->log_cnt || told->state.is_called != state->is_called;
}

static void
tell(SequencePublisher *p, Relation rel, const FormData_pg_sequence_data *state)
{
	SequenceMessage m = {{0}};

	m.tablespace = BATON_REL_FILE_TABLESPACE(rel);
	m.relfilenode = BATON_REL_FILE_NUMBER(rel);
	m.last_value = state->last_value;
	m.is_called = state->is_called;
	m.reserved = (int32) state->log_cnt;
	message_mac(p->node, SEQUENCE_MESSAGE_PREFIX, InvalidTransactionId, SEQUENCE_MARKED(&m), m.mac);
	XLogSetAsyncXactLSN(baton_log_message(SEQUENCE_MESSAGE_PREFIX, (const char *) &m, sizeof(m), false));
}

static void
look_at(SequencePublisher *p, Relation rel)
{
	Buffer		buf = ReadBuffer(rel, 0);
	Page		page = BufferGetPage(buf);
	HeapTupleHeader tuple;
	FormData_pg_sequence_data state;
	bool		moved;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	memcpy(&state, (char *) tuple + tuple->t_hoff, sizeof(state));
	moved = has_moved(p, rel, &state);
	if (moved)
		tell(p, rel, &state);
	UnlockReleaseBuffer(buf);
	if (moved)
	{
		ToldSequence *told = hash_search(p->told, &RelationGetRelid(rel), HASH_ENTER, NULL);

		told->relfilenode = BATON_REL_FILE_NUMBER(rel);
		told->state = state;
	}
}

/* False: somebody has locked it against readers, and is not waited for. */
static bool
look_at_relid(SequencePublisher *p, Oid relid, Oid own_schema)
{
	Relation	rel;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return true;
	}
	if (rel->rd_rel->relkind == RELKIND_SEQUENCE &&
		rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
		RelationGetNamespace(rel) != own_schema)
		look_at(p, rel);
	relation_close(rel, AccessShareLock);
	return true;
}

/* ---- all of them ---- */

static bool
look_at_all(SequencePublisher *p)
{
	Oid			own_schema;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		complete = true;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	own_schema = get_namespace_oid("baton", true);
	if (!ConditionalLockRelationOid(SequenceRelationId, AccessShareLock))
		complete = false;
	else
	{
		catalog = table_open(SequenceRelationId, NoLock);
		scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
		while ((tuple = systable_getnext(scan)) != NULL)
			if (!look_at_relid(p, ((Form_pg_sequence) GETSTRUCT(tuple))->seqrelid, own_schema))
				complete = false;
		systable_endscan(scan);
		table_close(catalog, AccessShareLock);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return complete;
}

static bool
nothing_moved(SequencePublisher *p, uint32 all)
{
	NodeShared *node = p->node;
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	uint64		uses = pg_atomic_read_u64(&node->sequence_uses);
	bool		same;

	if (p->told == NULL || p->all_told != all)
		return false;
	SpinLockAcquire(&node->mutex);
	same = node->sequences_lsn == lsn && node->sequences_uses == uses;
	SpinLockRelease(&node->mutex);
	return same;
}

static void
served(NodeShared *node, uint64 asked, XLogRecPtr lsn, uint64 uses)
{
	SpinLockAcquire(&node->mutex);
	node->sequences_served = asked;
	node->sequences_lsn = lsn;
	node->sequences_uses = uses;
	SpinLockRelease(&node->mutex);
	ConditionVariableBroadcast(&node->sequences_cv);
}

bool
sequences_publish(SequencePublisher *p, uint64 asked)
{
	NodeShared *node = p->node;
	MemoryContext context = CurrentMemoryContext;
	uint32		all = pg_atomic_read_u32(&node->sequences_all);
	volatile bool complete = true;
	uint64		uses = pg_atomic_read_u64(&node->sequence_uses);
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (!nothing_moved(p, all))
	{
		if (p->told == NULL || p->all_told != all)
			begin_anew(p, all);
		PG_TRY();
		{
			complete = look_at_all(p);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			EmitErrorReport();
			FlushErrorState();
			AbortCurrentTransaction();
			complete = false;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
	}
	served(node, asked, complete ? lsn : InvalidXLogRecPtr, uses);
	return complete;
}

bool
sequences_wanted(NodeShared *node, uint64 *asked)
{
	bool		wanted;

	SpinLockAcquire(&node->mutex);
	*asked = node->sequences_asked;
	wanted = *asked != node->sequences_served;
	SpinLockRelease(&node->mutex);
	return wanted;
}

/* ---- sessions ---- */

static bool
is_served(NodeShared *node, uint64 request)
{
	bool		is;

	SpinLockAcquire(&node->mutex);
	is = node->sequences_served >= request;
	SpinLockRelease(&node->mutex);
	return is;
}

void
sequences_ask(NodeShared *node, long ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	uint64		request;
	bool		needless;
	bool		roles = roles_pending(node);

	SpinLockAcquire(&node->mutex);
	needless = !roles && node->sequences_lsn == lsn &&
		node->sequences_uses == pg_atomic_read_u64(&node->sequence_uses);
	request = needless ? 0 : ++node->sequences_asked;
	SpinLockRelease(&node->mutex);
	if (needless)
		return;
	node_wake(node, WORKER_COORDINATOR);
	ConditionVariablePrepareToSleep(&node->sequences_cv);
	while (!is_served(node, request))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&node->sequences_cv, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}
