/*
 * plugin_rows.c - rows that a change of a table's level brings into the stream
 * (levels/level_rows.c): each becomes an INSERT of the transaction.
 */
#include "capture/plugin.h"

#include "access/htup_details.h"
#include "capture/message_mac.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/relcache.h"

/* One row, whose tuple lies at `bytes`, which may not be aligned. */
static void
put_row(Plugin *plugin, ReorderBufferTXN *txn, PluginRelation *rel, TupleDesc desc,
		TransactionId subxid, const char *bytes, uint32 len)
{
	HeapTupleData tuple = {0};
	MemoryContext old = MemoryContextSwitchTo(plugin->row_context);
	StreamBuf  *out;
	size_t		record;

	tuple.t_len = len;
	tuple.t_data = palloc(len);
	memcpy(tuple.t_data, bytes, len);
	MemoryContextSwitchTo(old);
	plugin->row_context_used = true;

	plugin_ensure_begun(plugin, txn);
	plugin_ensure_relation(plugin, txn, rel);
	out = plugin_begin_records(plugin);
	record = record_begin(out, RECORD_INSERT, txn->xid, subxid);
	stream_buf_u32(out, rel->relid);
	heap_deform_tuple(&tuple, desc, plugin->new_values, plugin->new_nulls);
	plugin_put_tuple(plugin, rel, plugin->new_values, plugin->new_nulls, NULL, NULL, false);
	record_end(out, record);
	plugin_records_done(plugin);
	plugin_row_done(plugin);
}

/*
 * Put the rows of the message into the stream, if it is one of rows with the server's mark.
 * Raises what catalog look-ups raise.
 */
bool
plugin_put_rows(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, const char *prefix,
				Size size, const char *message)
{
	Plugin	   *plugin = ctx->output_plugin_private;
	NodeShared *node = node_find(MyDatabaseId);
	StreamCursor c = {message, message + size, false};
	TransactionId subxid;
	Relation	relation;

	if (strcmp(prefix, ROWS_MESSAGE_PREFIX) != 0 || size < MESSAGE_MAC_LEN || node == NULL ||
		!message_mac_fits(node, prefix, txn->xid, message + MESSAGE_MAC_LEN, size - MESSAGE_MAC_LEN, message))
		return false;
	(void) stream_get_bytes(&c, MESSAGE_MAC_LEN);
	subxid = stream_get_u32(&c);
	relation = RelationIdGetRelation(stream_get_u32(&c));
	if (relation == NULL)
		return true;			/* dropped behind it, in the same transaction */
	while (c.p < c.end && !c.failed)
	{
		PluginRelation *rel = plugin_relation_get(plugin, relation);
		uint32		len = stream_get_u32(&c);
		const char *bytes = stream_get_bytes(&c, len);

		/* what is not streamed has committed: its subtransactions don't matter */
		if (!c.failed && !rel->skip)
			put_row(plugin, txn, rel, RelationGetDescr(relation), plugin->streaming ? subxid : txn->xid,
					bytes, len);
		plugin_write_if_much(ctx);
	}
	RelationClose(relation);
	return true;
}
