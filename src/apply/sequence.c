/*
 * sequence.c - sets a sequence to the state that it has on the source.
 *
 * A state is written as nextval() does it: the buffer has last_value and how many
 * values beyond it are reserved (log_cnt), the WAL has the end of the reserve.  So if
 * this server crashes, or this node takes over without a hand-over, what is handed
 * out here lies beyond all that was handed out there; and if it is handed over, no
 * value is left out.
 */
#include "apply/apply.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Sequences reserve 32 values; a stream that says much more is not right. */
#define RESERVED_MAX	1000

/* The value that comes after *value; false: there is none. */
static bool
advance(const FormData_pg_sequence *s, int64 *value)
{
	bool		last = s->seqincrement > 0 ?
		*value > s->seqmax - s->seqincrement && (s->seqmax >= 0 || *value + s->seqincrement > s->seqmax) :
		*value < s->seqmin - s->seqincrement && (s->seqmin < 0 || *value + s->seqincrement < s->seqmin);

	if (last && !s->seqcycle)
		return false;
	if (last)
		*value = s->seqincrement > 0 ? s->seqmin : s->seqmax;
	else
		*value += s->seqincrement;
	return true;
}

static int64
end_of_reserve(Oid relid, int64 value, uint32 reserved)
{
	HeapTuple	tuple;
	FormData_pg_sequence definition;

	if (reserved == 0)
		return value;
	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for sequence %u", relid);
	definition = *(Form_pg_sequence) GETSTRUCT(tuple);
	ReleaseSysCache(tuple);
	for (uint32 i = 0; i < reserved && advance(&definition, &value); i++)
		;
	return value;
}

/* The sequence's only tuple, in a buffer that is locked as asked for. */
static Buffer
lock_tuple(Relation rel, int mode, HeapTupleData *tuple)
{
	Buffer		buf = ReadBuffer(rel, 0);
	Page		page;
	ItemId		item;

	LockBuffer(buf, mode);
	page = BufferGetPage(buf);
	item = PageGetItemId(page, FirstOffsetNumber);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	return buf;
}

static void
log_tuple(Relation rel, Buffer buf, const HeapTupleData *tuple)
{
	xl_seq_rec	rec;
	XLogRecPtr	end;

	XLogBeginInsert();
	XLogRegisterBuffer(0, buf, REGBUF_WILL_INIT);
	BATON_SET_FILE(&rec, rel);
	XLogRegisterData((char *) &rec, sizeof(rec));
	XLogRegisterData((char *) tuple->t_data, tuple->t_len);
	end = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
	PageSetLSN(BufferGetPage(buf), end);
}

/*
 * reserve_end: what last_value is after `reserved` more values; it is what a crash
 * leaves.
 */
static void
write_state(Relation rel, Buffer buf, HeapTupleData *tuple, int64 last_value, bool is_called,
			uint32 reserved, int64 reserve_end)
{
	Form_pg_sequence_data state = (Form_pg_sequence_data) GETSTRUCT(tuple);

	START_CRIT_SECTION();
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(rel))
	{
		state->last_value = reserve_end;
		state->is_called = is_called;
		state->log_cnt = 0;
		log_tuple(rel, buf, tuple);
	}
	state->last_value = last_value;
	state->is_called = is_called;
	state->log_cnt = reserved;
	END_CRIT_SECTION();
}

/*
 * Carry out a SEQUENCE record.  One of a sequence that is not here is passed over: it
 * was dropped behind this place of the stream, and this place is read again.
 */
void
apply_sequence(LocalTransaction *t, const Record *r)
{
	RecordSequence s;
	StreamError err = {0};
	Relation	rel;
	HeapTupleData tuple;
	Buffer		buf;
	int64		end;
	Oid			relid;

	if (record_get_sequence(r, &s, &err) != STREAM_OK || s.reserved > RESERVED_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream has a malformed SEQUENCE record"),
				 err.message[0] ? errdetail("%s", err.message) : 0));
	local_become_self(t);
	relid = RangeVarGetRelid(makeRangeVar(s.nspname, s.relname, -1), RowExclusiveLock, true);
	if (!OidIsValid(relid))
		return;
	rel = relation_open(relid, NoLock);
	if (rel->rd_rel->relkind == RELKIND_SEQUENCE)
	{
		end = end_of_reserve(relid, s.last_value, s.reserved);
		buf = lock_tuple(rel, BUFFER_LOCK_EXCLUSIVE, &tuple);
		write_state(rel, buf, &tuple, s.last_value, s.is_called, s.reserved, end);
		UnlockReleaseBuffer(buf);
	}
	relation_close(rel, NoLock);
}

/* ---- taking over ---- */

static void
skip_reserved_of(Oid relid)
{
	Relation	rel = relation_open(relid, RowExclusiveLock);
	HeapTupleData tuple;
	Form_pg_sequence_data state;
	Buffer		buf;

	if (rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
	{
		buf = lock_tuple(rel, BUFFER_LOCK_EXCLUSIVE, &tuple);
		state = (Form_pg_sequence_data) GETSTRUCT(&tuple);
		if (state->log_cnt > 0)
		{
			/* nobody else writes sequences here while the gate is closed */
			FormData_pg_sequence_data was = *state;
			int64		end;

			LockBuffer(buf, BUFFER_LOCK_UNLOCK);
			end = end_of_reserve(relid, was.last_value, (uint32) was.log_cnt);
			LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
			write_state(rel, buf, &tuple, end, was.is_called, 0, end);
		}
		UnlockReleaseBuffer(buf);
	}
	relation_close(rel, NoLock);
}

/*
 * What is skipped here is decoded from WAL, and so reaches the other replicas.
 */
void
apply_skip_reserved(void)
{
	MemoryContext context = CurrentMemoryContext;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	catalog = table_open(SequenceRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while ((tuple = systable_getnext(scan)) != NULL)
		skip_reserved_of(((Form_pg_sequence) GETSTRUCT(tuple))->seqrelid);
	systable_endscan(scan);
	table_close(catalog, NoLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}
