/*
 * output_plugin.c - baton's logical decoding output plugin: callbacks.
 *
 * It runs in the walsender behind capture's slot.  The way of a transaction:
 *
 *   begin        nothing yet: a transaction without a decodable change leaves no
 *                trace in the stream
 *   change       BEGIN before the first one, a RELATION if the transaction does
 *                not have the table's yet, then INSERT, UPDATE or DELETE
 *   commit       COMMIT; what has been collected is written
 *
 * A transaction that is larger than logical_decoding_work_mem comes in chunks
 * while it is in progress: stream start, changes, stream stop; in the end stream
 * commit, or stream abort for it or for a subtransaction of it.  Chunks of several
 * transactions may alternate, so changes then carry their subtransaction.  A
 * RELATION always belongs to the top-level transaction: the abort of a
 * subtransaction must not take it away from later changes.
 *
 * Records are collected up to WRITE_SIZE, since a message costs a send and a
 * receive.  No callback comes when the walsender goes idle, so everything that
 * somebody may wait for is written at once: ends of transactions and of chunks,
 * and messages outside of transactions.
 *
 * A callback may end in an error that decoding survives: a catalog look-up finds
 * that the transaction being streamed has aborted.  out_whole marks where the last
 * whole record ends, and a half one is dropped when the next begins.
 */
#include "capture/plugin.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "capture/ddl.h"
#include "capture/message_mac.h"
#include "capture/roles.h"
#include "catalog/pg_replication_origin.h"
#include "commands/defrem.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/output_plugin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define WRITE_SIZE		(64 * 1024)
/* a record longer than this is written in pieces of it */
#define WRITE_MAX		(256 * 1024)
/* memory that one huge row made the buffer take is given back above this */
#define BUFFER_KEEP		(1024 * 1024)

/* txn->output_plugin_private once BEGIN has been collected */
#define TXN_BEGUN		((void *) 1)

/* origin_verdicts[] */
#define ORIGIN_UNKNOWN	0
#define ORIGIN_FOREIGN	1		/* not baton's: its changes are ours to ship */
#define ORIGIN_BATON	2		/* applied by baton: came from the stream */

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/* The plugin whose verdicts the origin callback resets; see plugin_relation.c. */
static Plugin *active_plugin = NULL;
static bool origin_callback_registered = false;

/* ---- collecting and writing ---- */

/* Every record begins here: what an error has left half done goes away. */
StreamBuf *
plugin_begin_records(Plugin *plugin)
{
	plugin->out.len = plugin->out_whole;
	return &plugin->out;
}

void
plugin_records_done(Plugin *plugin)
{
	if (plugin->out.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Could not collect a record for the replication stream.")));
	plugin->out_whole = plugin->out.len;
}

/* Write what has been collected.  last: it ends a transaction. */
static void
write_collected(LogicalDecodingContext *ctx, bool last)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	size_t		len = plugin->out_whole;
	size_t		done = 0;

	while (done < len)
	{
		size_t		piece = Min(len - done, WRITE_MAX);
		bool		last_piece = last && done + piece == len;

		OutputPluginPrepareWrite(ctx, last_piece);
		appendBinaryStringInfo(ctx->out, plugin->out.data + done, piece);
		OutputPluginWrite(ctx, last_piece);
		done += piece;
	}
	stream_buf_reset(&plugin->out);
	plugin->out_whole = 0;
	if (plugin->out.cap > BUFFER_KEEP)
		stream_buf_free(&plugin->out);
}

void
plugin_write_if_much(LogicalDecodingContext *ctx)
{
	Plugin	   *plugin = ctx->output_plugin_private;

	if (plugin->out_whole >= WRITE_SIZE)
		write_collected(ctx, false);
}

/* BEGIN, before a transaction's first record. */
void
plugin_ensure_begun(Plugin *plugin, ReorderBufferTXN *txn)
{
	StreamBuf  *out = plugin_begin_records(plugin);
	size_t		record;

	if (txn->output_plugin_private == TXN_BEGUN)
		return;
	record = record_begin(out, RECORD_BEGIN, txn->xid, txn->xid);
	stream_buf_u8(out, plugin->streaming ? 1 : 0);
	record_end(out, record);
	plugin_records_done(plugin);
	txn->output_plugin_private = TXN_BEGUN;
}

/* RELATION, if the transaction does not have it or it has changed. */
void
plugin_ensure_relation(Plugin *plugin, ReorderBufferTXN *txn, PluginRelation *rel)
{
	const size_t xids_end = RECORD_HEADER_LEN + 2 * sizeof(uint32);
	StreamBuf  *out = plugin_begin_records(plugin);

	if (rel->sent_xid == txn->xid)
		return;
	stream_buf_append(out, rel->encoded, RECORD_HEADER_LEN);
	stream_buf_u32(out, txn->xid);
	stream_buf_u32(out, txn->xid);
	stream_buf_append(out, rel->encoded + xids_end, rel->encoded_len - xids_end);
	plugin_records_done(plugin);
	rel->sent_xid = txn->xid;
}

/* ---- changes ---- */

static TransactionId
change_subxid(Plugin *plugin, ReorderBufferTXN *txn, ReorderBufferChange *change)
{
	/* what is not streamed has committed: its subtransactions don't matter */
	return plugin->streaming ? change->txn->xid : txn->xid;
}

static void
put_update(Plugin *plugin, PluginRelation *rel, TupleDesc desc, ReorderBufferChange *change)
{
	HeapTuple	new_tuple = baton_change_tuple(change->data.tp.newtuple);
	HeapTuple	old_tuple = baton_change_tuple(change->data.tp.oldtuple);

	heap_deform_tuple(new_tuple, desc, plugin->new_values, plugin->new_nulls);
	if (old_tuple == NULL)
	{
		stream_buf_u8(&plugin->out, 'N');
		plugin_put_tuple(plugin, rel, plugin->new_values, plugin->new_nulls, NULL, NULL, false);
		return;
	}
	heap_deform_tuple(old_tuple, desc, plugin->old_values, plugin->old_nulls);
	stream_buf_u8(&plugin->out, rel->full ? 'O' : 'K');
	plugin_put_tuple(plugin, rel, plugin->old_values, plugin->old_nulls, NULL, NULL, !rel->full);
	plugin_put_tuple(plugin, rel, plugin->new_values, plugin->new_nulls,
					 plugin->old_values, plugin->old_nulls, false);
}

/*
 * A DELETE without an old tuple, from a table without replica identity, cannot
 * be applied anywhere.  It goes out all the same, with nothing but nulls: the
 * applier stops at it and names the table, rather than that rows stay behind.
 */
static void
put_delete(Plugin *plugin, PluginRelation *rel, Relation relation, ReorderBufferChange *change)
{
	TupleDesc	desc = RelationGetDescr(relation);
	HeapTuple	old_tuple = baton_change_tuple(change->data.tp.oldtuple);

	stream_buf_u8(&plugin->out, rel->full ? 'O' : 'K');
	if (old_tuple != NULL)
		heap_deform_tuple(old_tuple, desc, plugin->old_values, plugin->old_nulls);
	else
	{
		memset(plugin->old_nulls, true, sizeof(bool) * desc->natts);
		if (!rel->told_keyless)
			ereport(LOG,
					(errmsg("a deleted row of table \"%s\" cannot be replicated",
							RelationGetRelationName(relation)),
					 errdetail("The table has no replica identity."),
					 errhint("Use ALTER TABLE ... REPLICA IDENTITY FULL.")));
		rel->told_keyless = true;
	}
	plugin_put_tuple(plugin, rel, plugin->old_values, plugin->old_nulls, NULL, NULL, !rel->full);
}

/* What the values of a row needed of memory goes. */
void
plugin_row_done(Plugin *plugin)
{
	if (plugin->row_context_used)
		MemoryContextReset(plugin->row_context);
	plugin->row_context_used = false;
}

static void
put_change(Plugin *plugin, PluginRelation *rel, ReorderBufferTXN *txn,
		   Relation relation, ReorderBufferChange *change)
{
	StreamBuf  *out = plugin_begin_records(plugin);
	TransactionId subxid = change_subxid(plugin, txn, change);
	TupleDesc	desc = RelationGetDescr(relation);
	size_t		record;

	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			record = record_begin(out, RECORD_INSERT, txn->xid, subxid);
			stream_buf_u32(out, rel->relid);
			heap_deform_tuple(baton_change_tuple(change->data.tp.newtuple), desc,
							  plugin->new_values, plugin->new_nulls);
			plugin_put_tuple(plugin, rel, plugin->new_values, plugin->new_nulls,
							 NULL, NULL, false);
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			record = record_begin(out, RECORD_UPDATE, txn->xid, subxid);
			stream_buf_u32(out, rel->relid);
			put_update(plugin, rel, desc, change);
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			record = record_begin(out, RECORD_DELETE, txn->xid, subxid);
			stream_buf_u32(out, rel->relid);
			put_delete(plugin, rel, relation, change);
			break;
		default:
			elog(ERROR, "unexpected change of kind %d", (int) change->action);
	}
	if (out->len - record > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a row of table \"%s\" is too long for the replication stream",
						RelationGetRelationName(relation))));
	record_end(out, record);
	plugin_records_done(plugin);
}

/*
 * The table that the change is for, NULL if it is for none.  A table that is being
 * rewritten gets its rows in a transient one, which names it; those rows, and the
 * ones that fill a materialized view, travel only where the command says so.
 */
static PluginRelation *
relation_of_change(Plugin *plugin, ReorderBufferTXN *txn, Relation relation)
{
	Oid			rewritten = relation->rd_rel->relrewrite;
	bool		rows_follow = plugin->rows_xid == txn->xid;
	PluginRelation *rel;

	if (OidIsValid(rewritten))
	{
		Relation	target = rows_follow ? RelationIdGetRelation(rewritten) : NULL;

		if (target == NULL)
			return NULL;
		rel = plugin_relation_get(plugin, target);
		RelationClose(target);
	}
	else
		rel = plugin_relation_get(plugin, relation);
	return rel->skip || (rel->view && !rows_follow) ? NULL : rel;
}

static void
plugin_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			  Relation relation, ReorderBufferChange *change)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	PluginRelation *rel = relation_of_change(plugin, txn, relation);

	if (rel == NULL)
		return;
	plugin_ensure_begun(plugin, txn);
	plugin_ensure_relation(plugin, txn, rel);
	put_change(plugin, rel, txn, relation, change);
	plugin_row_done(plugin);
	plugin_write_if_much(ctx);
}

static void
plugin_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				int nrelations, Relation relations[], ReorderBufferChange *change)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	Oid		   *relids = palloc(sizeof(Oid) * Max(nrelations, 1));
	StreamBuf  *out;
	size_t		record;
	int			n = 0;

	for (int i = 0; i < nrelations; i++)
	{
		PluginRelation *rel = plugin_relation_get(plugin, relations[i]);

		if (rel->skip)
			continue;
		plugin_ensure_begun(plugin, txn);
		plugin_ensure_relation(plugin, txn, rel);
		relids[n++] = rel->relid;
	}
	if (n > 0)
	{
		out = plugin_begin_records(plugin);
		record = record_begin(out, RECORD_TRUNCATE, txn->xid, change_subxid(plugin, txn, change));
		stream_buf_u8(out, (change->data.truncate.cascade ? 1 : 0) |
					  (change->data.truncate.restart_seqs ? 2 : 0));
		stream_buf_u32(out, n);
		for (int i = 0; i < n; i++)
			stream_buf_u32(out, relids[i]);
		record_end(out, record);
		plugin_records_done(plugin);
	}
	pfree(relids);
	plugin_write_if_much(ctx);
}

/* A command that ddl_hook.c has written, or a row that roles.c has. */
static bool
put_ddl(Plugin *plugin, ReorderBufferTXN *txn, const char *prefix, Size size, const char *message)
{
	NodeShared *node = node_find(MyDatabaseId);
	bool		command = strcmp(prefix, DDL_MESSAGE_PREFIX) == 0;
	Size		head = MESSAGE_MAC_LEN + sizeof(uint32);
	StreamBuf  *out;
	size_t		record;

	if ((!command && strcmp(prefix, ROLE_MESSAGE_PREFIX) != 0) || size <= head || node == NULL ||
		!message_mac_fits(node, prefix, txn->xid, message + MESSAGE_MAC_LEN,
						  size - MESSAGE_MAC_LEN, message))
		return false;
	plugin_ensure_begun(plugin, txn);
	out = plugin_begin_records(plugin);
	/* what is not streamed has committed: its subtransactions don't matter */
	record = record_begin(out, command ? RECORD_DDL : RECORD_ROLE, txn->xid, plugin->streaming ?
						  stream_load_u32(message + MESSAGE_MAC_LEN) : txn->xid);
	stream_buf_append(out, message + head, size - head);
	record_end(out, record);
	plugin_records_done(plugin);
	if (command)
		plugin->rows_xid = (message[head] & (RECORD_DDL_NO_DATA | RECORD_DDL_ROWS)) ?
			txn->xid : InvalidTransactionId;
	return true;
}

/* A sequence's state, if the message is that. */
static bool
put_sequence(Plugin *plugin, ReorderBufferTXN *txn, bool transactional, const char *prefix,
			 Size size, const char *message, XLogRecPtr lsn)
{
	TransactionId xid = transactional ? txn->xid : InvalidTransactionId;
	TransactionId subxid;
	RecordSequence sequence;
	bool		found;

	if (!plugin_sequence_read(prefix, size, message, lsn, &sequence, &subxid, &found))
		return false;
	if (!found)
		return true;
	if (transactional)
		plugin_ensure_begun(plugin, txn);
	/* what is not streamed has committed: its subtransactions don't matter */
	if (!transactional || !plugin->streaming)
		subxid = xid;
	record_put_sequence(plugin_begin_records(plugin), xid, subxid, &sequence);
	plugin_records_done(plugin);
	return true;
}

/* What a large object has become, if the message says that. */
static bool
put_large_object(Plugin *plugin, ReorderBufferTXN *txn, const char *prefix, Size size,
				 const char *message)
{
	if (!plugin_large_object_is(prefix, size, message))
		return false;
	plugin_ensure_begun(plugin, txn);
	plugin_large_object_put(plugin, txn, plugin_begin_records(plugin), message);
	plugin_records_done(plugin);
	return true;
}

/*
 * message_lsn is the end of the message's WAL record, what
 * pg_logical_emit_message() returned.
 */
static void
plugin_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			   XLogRecPtr message_lsn, bool transactional,
			   const char *prefix, Size size, const char *message)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	RecordMessage m;
	TransactionId xid = transactional ? txn->xid : InvalidTransactionId;

	if (transactional && (put_ddl(plugin, txn, prefix, size, message) ||
						  put_large_object(plugin, txn, prefix, size, message) ||
						  plugin_put_rows(ctx, txn, prefix, size, message)))
	{
		plugin_write_if_much(ctx);
		return;
	}
	if (put_sequence(plugin, txn, transactional, prefix, size, message, message_lsn))
	{
		/* a keepalive that says more than this must not come before it */
		if (transactional)
			plugin_write_if_much(ctx);
		else
			write_collected(ctx, false);
		return;
	}
	if (transactional)
		plugin_ensure_begun(plugin, txn);
	m.lsn = message_lsn;
	memset(m.prefix, 0, sizeof(m.prefix));
	memcpy(m.prefix, prefix, pg_mbcliplen(prefix, strlen(prefix), sizeof(m.prefix) - 1));
	m.len = size;
	m.data = message;
	record_put_message(plugin_begin_records(plugin), xid, xid, &m);
	plugin_records_done(plugin);
	if (transactional)
		plugin_write_if_much(ctx);
	else
		write_collected(ctx, false);
}

/* ---- transactions ---- */

static void
plugin_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

static void
plugin_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	bool		begun = txn->output_plugin_private == TXN_BEGUN;
	RecordCommit commit;

	/* an empty transaction: a session may wait for it all the same */
	OutputPluginUpdateProgress(ctx, !begun);
	if (!begun)
		return;
	commit.source = plugin->node_id;
	commit.commit_lsn = txn->final_lsn;
	commit.end_lsn = txn->end_lsn;
	/* a foreign origin may have set no time */
	commit.commit_time = txn->xact_time.commit_time != 0 ?
		txn->xact_time.commit_time : GetCurrentTimestamp();
	commit.oldest_open = 0;
	record_put_commit(plugin_begin_records(plugin), txn->xid, &commit);
	plugin_records_done(plugin);
	write_collected(ctx, true);
}

static void
plugin_stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	Plugin	   *plugin = ctx->output_plugin_private;

	plugin->streaming = true;
}

static void
plugin_stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	Plugin	   *plugin = ctx->output_plugin_private;

	plugin->streaming = false;
	write_collected(ctx, false);
}

/* txn is a subtransaction, or the whole transaction. */
static void
plugin_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr abort_lsn)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	ReorderBufferTXN *top = txn->toptxn ? txn->toptxn : txn;

	if (top->output_plugin_private != TXN_BEGUN)
		return;
	record_put_abort(plugin_begin_records(plugin), top->xid, txn->xid);
	plugin_records_done(plugin);
	write_collected(ctx, false);
}

/* ---- origins ---- */

static void
origin_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (active_plugin != NULL)
		memset(active_plugin->origin_verdicts, ORIGIN_UNKNOWN, PG_UINT16_MAX + 1);
}

/* baton's are the origin named in the options, and that name with "_..." behind. */
static bool
is_baton_origin_name(Plugin *plugin, const char *name)
{
	size_t		len = strlen(plugin->origin);

	return strncmp(name, plugin->origin, len) == 0 && (name[len] == '\0' || name[len] == '_');
}

/*
 * Look an origin up.  Outside of a transaction (walsender) it takes one of its
 * own.  An origin that is not there is none of baton's, but that is not
 * remembered: it may be made by a transaction that has not committed yet.
 */
static uint8
look_up_origin(Plugin *plugin, RepOriginId origin)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		own_transaction = !IsTransactionState();
	char	   *name;
	uint8		verdict = ORIGIN_UNKNOWN;

	if (own_transaction)
		StartTransactionCommand();
	if (replorigin_by_oid(origin, true, &name))
		verdict = is_baton_origin_name(plugin, name) ? ORIGIN_BATON : ORIGIN_FOREIGN;
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return verdict;
}

/* Called for every change: answers from an array. */
static bool
plugin_filter_by_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	uint8		verdict;

	if (origin == InvalidRepOriginId)
		return false;
	if (origin == DoNotReplicateId)
		return true;
	verdict = plugin->origin_verdicts[origin];
	if (verdict == ORIGIN_UNKNOWN)
	{
		verdict = look_up_origin(plugin, origin);
		plugin->origin_verdicts[origin] = verdict;
	}
	return verdict == ORIGIN_BATON;
}

/* ---- startup ---- */

static void
option_error(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" of output plugin \"baton\" is missing or has an invalid value", name)));
}

static int
option_number(DefElem *def, int max)
{
	char	   *end = NULL;
	long		value = def->arg ? strtol(strVal(def->arg), &end, 10) : 0;

	if (end == NULL || *end != '\0' || value < 1 || value > max)
		option_error(def->defname);
	return (int) value;
}

/*
 * proto: version of the record format, BATON_PROTOCOL_VERSION; node_id: member
 * number of this node; origin: name of the origin that its applier uses.
 */
static void
parse_options(Plugin *plugin, List *options)
{
	ListCell   *lc;
	int			proto = 0;

	foreach(lc, options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);

		if (strcmp(def->defname, "proto") == 0)
			proto = option_number(def, PG_UINT16_MAX);
		else if (strcmp(def->defname, "node_id") == 0)
			plugin->node_id = option_number(def, PG_UINT16_MAX);
		else if (strcmp(def->defname, "origin") == 0 && def->arg != NULL)
			strlcpy(plugin->origin, strVal(def->arg), sizeof(plugin->origin));
		else
			option_error(def->defname);
	}
	if (proto != BATON_PROTOCOL_VERSION)
		option_error("proto");
	if (plugin->node_id == 0)
		option_error("node_id");
	if (plugin->origin[0] == '\0')
		option_error("origin");
}

/* Decoding ends, by an error perhaps: nothing may point here any more. */
static void
plugin_release(void *arg)
{
	Plugin	   *plugin = arg;

	stream_buf_free(&plugin->out);
	active_plugin = NULL;
	plugin_relation_shutdown();
}

static void
plugin_startup(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	MemoryContext old = MemoryContextSwitchTo(ctx->context);
	Plugin	   *plugin = palloc0(sizeof(Plugin));
	MemoryContextCallback *release = palloc0(sizeof(MemoryContextCallback));

	opt->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	opt->receive_rewrites = true;
	ctx->output_plugin_private = plugin;
	plugin->context = AllocSetContextCreate(ctx->context, "baton output plugin",
											ALLOCSET_DEFAULT_SIZES);
	plugin->row_context = AllocSetContextCreate(plugin->context, "baton row",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(plugin->context);
	plugin->origin_verdicts = palloc0(PG_UINT16_MAX + 1);
	plugin->new_values = palloc(sizeof(Datum) * MaxTupleAttributeNumber);
	plugin->new_nulls = palloc(sizeof(bool) * MaxTupleAttributeNumber);
	plugin->old_values = palloc(sizeof(Datum) * MaxTupleAttributeNumber);
	plugin->old_nulls = palloc(sizeof(bool) * MaxTupleAttributeNumber);
	if (is_init)
	{
		/* a slot is being made: nothing will be decoded */
		strlcpy(plugin->origin, "baton", sizeof(plugin->origin));
		ctx->streaming = false;
	}
	else
		parse_options(plugin, ctx->output_plugin_options);

	plugin_relation_init(plugin);
	plugin_sequence_init();
	plugin_large_object_init();
	active_plugin = plugin;
	if (!origin_callback_registered)
	{
		CacheRegisterSyscacheCallback(REPLORIGIDENT, origin_callback, (Datum) 0);
		origin_callback_registered = true;
	}
	release->func = plugin_release;
	release->arg = plugin;
	MemoryContextRegisterResetCallback(ctx->context, release);
	MemoryContextSwitchTo(old);
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = plugin_startup;
	cb->begin_cb = plugin_begin;
	cb->change_cb = plugin_change;
	cb->truncate_cb = plugin_truncate;
	cb->message_cb = plugin_message;
	cb->commit_cb = plugin_commit;
	cb->filter_by_origin_cb = plugin_filter_by_origin;

	/* prepared transactions are decoded at COMMIT PREPARED: no callbacks for them */
	cb->stream_start_cb = plugin_stream_start;
	cb->stream_stop_cb = plugin_stream_stop;
	cb->stream_abort_cb = plugin_stream_abort;
	cb->stream_commit_cb = plugin_commit;
	cb->stream_change_cb = plugin_change;
	cb->stream_message_cb = plugin_message;
	cb->stream_truncate_cb = plugin_truncate;
}
