/*
 * plugin_sequence.c - sequences, decoded from WAL.
 *
 * PostgreSQL logs a sequence's state before it hands out values up to it, but its
 * logical decoding passes these records over.  Resource managers' decoding functions
 * can be replaced since 15: in the walsender that decodes for baton the sequences'
 * one is this.  So a sequence's state is in the stream before every commit that can
 * depend on its values, in one pass over WAL that the slot protects.
 *
 * A record does not belong to its transaction, for what nextval() has handed out is
 * never taken back.  The exception is a sequence that the transaction itself has
 * made, or given new storage (ALTER SEQUENCE ... RESTART): others cannot see it, and
 * its record must stand behind the command that makes it.  Such storage is not in the
 * catalog of committed transactions.
 *
 * Both ways a record becomes a message, as pg_logical_emit_message() would have
 * written it, marked as the server's own (message_mac.c).  The coordinator writes such
 * messages too (sequence_publish.c), with the exact state.
 */
#include "capture/plugin.h"

#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog_internal.h"
#include "capture/sequence.h"
#include "commands/sequence.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/reorderbuffer.h"
#include "replication/snapbuild.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

Oid
plugin_storage_relid(LogicalDecodingContext *ctx, TransactionId xid, Oid tablespace, Oid filenumber)
{
	Snapshot	snapshot = baton_decoding_snapshot(ctx->snapshot_builder, xid);
	MemoryContext old = CurrentMemoryContext;
	volatile Oid relid = InvalidOid;

	SetupHistoricSnapshot(snapshot, NULL);
	PG_TRY();
	{
		StartTransactionCommand();
		relid = RelidByRelfilenode(tablespace, filenumber);
		CommitTransactionCommand();
	}
	PG_FINALLY();
	{
		TeardownHistoricSnapshot(false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return relid;
}

/* What the record of a sequence's state says. */
static void
read_state(XLogReaderState *record, SequenceMessage *m)
{
	const char *data = XLogRecGetData(record);
	const xl_seq_rec *seq = (const xl_seq_rec *) data;
	const HeapTupleHeaderData *tuple = (const HeapTupleHeaderData *) (data + sizeof(xl_seq_rec));
	FormData_pg_sequence_data state;

	m->tablespace = BATON_FILE_TABLESPACE(seq);
	m->relfilenode = BATON_FILE_NUMBER(seq);
	memcpy(&state, (const char *) tuple + tuple->t_hoff, sizeof(state));
	m->last_value = state.last_value;
	m->is_called = state.is_called;
}

static void
sequence_decode(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	XLogReaderState *record = buf->record;
	TransactionId xid = XLogRecGetXid(record);
	const xl_seq_rec *seq = (const xl_seq_rec *) XLogRecGetData(record);
	NodeShared *node = node_find(MyDatabaseId);
	SequenceMessage m = {{0}};
	bool		transactional;

	ReorderBufferProcessXid(ctx->reorder, xid, buf->origptr);
	if (ctx->fast_forward ||
		(XLogRecGetInfo(record) & ~XLR_INFO_MASK) != XLOG_SEQ_LOG ||
		BATON_FILE_DATABASE(seq) != MyDatabaseId ||
		SnapBuildCurrentState(ctx->snapshot_builder) != SNAPBUILD_CONSISTENT ||
		node == NULL)
		return;
	read_state(record, &m);
	m.subxid = xid;
	message_mac(node, SEQUENCE_MESSAGE_PREFIX, InvalidTransactionId, SEQUENCE_MARKED(&m), m.mac);
	transactional = !OidIsValid(plugin_storage_relid(ctx, xid, m.tablespace, m.relfilenode));
	if (transactional && !TransactionIdIsValid(xid))
		return;
	if (transactional ? !SnapBuildProcessChange(ctx->snapshot_builder, xid, buf->origptr) :
		SnapBuildXactNeedsSkip(ctx->snapshot_builder, buf->origptr))
		return;
	ReorderBufferQueueMessage(ctx->reorder, xid,
							  transactional ? NULL :
							  baton_decoding_snapshot(ctx->snapshot_builder, xid),
							  buf->endptr, transactional, SEQUENCE_MESSAGE_PREFIX,
							  sizeof(m), (const char *) &m);
}

void
plugin_sequence_init(void)
{
	/* of this process only: its copy of the table */
	RmgrTable[RM_SEQ_ID].rm_decode = sequence_decode;
}

/* Schema and name of the sequence with this storage; false: there is none any more. */
static bool
name_of(const SequenceMessage *m, RecordSequence *sequence)
{
	Oid			relid = RelidByRelfilenode(m->tablespace, m->relfilenode);
	char	   *schema;
	char	   *name;

	if (!OidIsValid(relid))
		return false;
	schema = get_namespace_name(get_rel_namespace(relid));
	name = get_rel_name(relid);
	if (schema == NULL || name == NULL || strcmp(schema, "baton") == 0 || level_leaves_out(relid))
		return false;
	strlcpy(sequence->nspname, schema, sizeof(sequence->nspname));
	strlcpy(sequence->relname, name, sizeof(sequence->relname));
	return true;
}

/*
 * Is the message a sequence's state?  Then *sequence says which, or *found is false
 * for one that is not for the stream; *subxid is the subtransaction that it belongs
 * to, should it belong to a transaction.
 */
bool
plugin_sequence_read(const char *prefix, Size size, const char *message, XLogRecPtr lsn,
					 RecordSequence *sequence, TransactionId *subxid, bool *found)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		own_transaction = !IsTransactionState();
	NodeShared *node = node_find(MyDatabaseId);
	SequenceMessage m;

	if (strcmp(prefix, SEQUENCE_MESSAGE_PREFIX) != 0 || size != sizeof(m) || node == NULL)
		return false;
	memcpy(&m, message, sizeof(m));
	if (!message_mac_fits(node, prefix, InvalidTransactionId, SEQUENCE_MARKED(&m), m.mac))
		return false;
	*subxid = m.subxid;
	sequence->lsn = lsn;
	sequence->last_value = m.last_value;
	sequence->is_called = m.is_called;
	sequence->reserved = Max(m.reserved, 0);
	if (own_transaction)
		StartTransactionCommand();
	*found = name_of(&m, sequence);
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return true;
}
