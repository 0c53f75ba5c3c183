/*
 * level_rows.c - brings what a table holds into the stream, for replicas that don't
 * have it.
 *
 * The rows are written to WAL as messages of the transaction that changes the level, so
 * in the stream they are ordinary INSERTs of that transaction: they have its place in the
 * commit order, go away with it, are streamed while it is in progress if they are many,
 * and reach each replica whenever it is there.
 *
 * Writers of the table are locked out until the transaction ends.  So the latest snapshot,
 * taken behind the lock, shows all rows that will be there at its end: every other
 * commit of the table lies before it in the stream, or behind it.
 */
#include "levels/level.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "capture/ddl.h"
#include "capture/message_mac.h"
#include "capture/sequence.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/bufmgr.h"
#include "stream/record.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Rows are collected up to this size, in bytes. */
#define MESSAGE_SIZE	(64 * 1024)

typedef struct RowSender
{
	NodeShared *node;
	Oid			relid;
	StringInfoData message;
	int			head;			/* its length without rows */
} RowSender;

static void
put_u32(StringInfo s, uint32 value)
{
	char		bytes[sizeof(uint32)];

	stream_store_u32(bytes, value);
	appendBinaryStringInfo(s, bytes, sizeof(bytes));
}

static void
begin_message(RowSender *s)
{
	static const char no_mac[MESSAGE_MAC_LEN];

	resetStringInfo(&s->message);
	appendBinaryStringInfo(&s->message, no_mac, MESSAGE_MAC_LEN);
	put_u32(&s->message, GetCurrentTransactionId());
	put_u32(&s->message, s->relid);
	s->head = s->message.len;
}

static void
flush_message(RowSender *s)
{
	if (s->message.len > s->head)
	{
		message_mac(s->node, ROWS_MESSAGE_PREFIX, GetTopTransactionId(), s->message.data + MESSAGE_MAC_LEN,
					s->message.len - MESSAGE_MAC_LEN, (uint8 *) s->message.data);
		(void) baton_log_message(ROWS_MESSAGE_PREFIX, s->message.data, s->message.len, true);
	}
	begin_message(s);
}

static void
add_row(RowSender *s, TupleTableSlot *slot, TupleDesc desc)
{
	bool		free_it;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_it);

	if (HeapTupleHasExternal(tuple))
		tuple = toast_flatten_tuple(tuple, desc);
	put_u32(&s->message, tuple->t_len);
	appendBinaryStringInfo(&s->message, (const char *) tuple->t_data, tuple->t_len);
	if (s->message.len >= MESSAGE_SIZE)
		flush_message(s);
}

static void
send_all(RowSender *s, Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "baton row",
													  ALLOCSET_DEFAULT_SIZES);

	initStringInfo(&s->message);
	begin_message(s);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);

		CHECK_FOR_INTERRUPTS();
		add_row(s, slot, RelationGetDescr(rel));
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	flush_message(s);
	pfree(s->message.data);
	MemoryContextDelete(row_context);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
}

void
level_send_rows(NodeShared *node, Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	RowSender	sender = {node, relid};

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
		RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		send_all(&sender, rel);
	table_close(rel, NoLock);
}

void
level_send_view(NodeShared *node, Oid relid)
{
	Relation	rel = relation_open(relid, ShareRowExclusiveLock);
	bool		filled = rel->rd_rel->relkind == RELKIND_MATVIEW && RelationIsPopulated(rel);
	char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));

	relation_close(rel, NoLock);
	if (!filled)
		return;
	ddl_log_as(node, psprintf("REFRESH MATERIALIZED VIEW %s", name), RECORD_DDL_NO_DATA, NULL, "");
	level_send_rows(node, relid);
}

/* nextval() is locked out, so what the buffer holds stays true. */
void
level_send_sequence(NodeShared *node, Oid relid)
{
	Relation	rel = relation_open(relid, ShareRowExclusiveLock);
	Buffer		buf = ReadBuffer(rel, 0);
	Page		page = BufferGetPage(buf);
	HeapTupleHeader tuple;
	FormData_pg_sequence_data state;
	SequenceMessage m = {{0}};

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	memcpy(&state, (char *) tuple + tuple->t_hoff, sizeof(state));
	UnlockReleaseBuffer(buf);
	m.tablespace = BATON_REL_FILE_TABLESPACE(rel);
	m.relfilenode = BATON_REL_FILE_NUMBER(rel);
	m.subxid = GetCurrentTransactionId();
	m.last_value = state.last_value;
	m.is_called = state.is_called;
	m.reserved = (int32) state.log_cnt;
	message_mac(node, SEQUENCE_MESSAGE_PREFIX, InvalidTransactionId, SEQUENCE_MARKED(&m), m.mac);
	(void) baton_log_message(SEQUENCE_MESSAGE_PREFIX, (const char *) &m, sizeof(m), true);
	relation_close(rel, NoLock);
}
