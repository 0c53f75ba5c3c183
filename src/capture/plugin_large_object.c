/*
 * plugin_large_object.c - large objects, decoded from WAL.
 *
 * A large object is rows of two catalogs, its pages in pg_largeobject and its owner in
 * pg_largeobject_metadata, and logical decoding passes changes of catalogs over: their
 * WAL records do not hold the row.  But they say where it lies, and rows of catalogs
 * that were changed since what the slot has confirmed are not removed: old versions
 * too, for decoding reads catalogs as they were.  So, in the walsender that decodes for
 * baton, a record of one of the two catalogs is queued in its transaction, at its place
 * (as plugin_sequence.c does it); when the transaction's turn comes, the version of the
 * row that the record has written, or deleted, is read where it lies.
 *
 * What is shipped: the object was created, by whom; it was dropped; a page has these
 * bytes; a page is gone.  Other changes of the metadata (owner, grants) are commands,
 * and travel as such.
 *
 * VACUUM FULL may have moved the rows since.  It has waited for the transaction's end,
 * so then all that the transaction has made of the catalog is looked for in the new
 * file, once.
 */
#include "capture/plugin.h"

#include "access/heapam.h"
#include "access/heapam_xlog.h"
#include "access/htup_details.h"
#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlog_internal.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/reorderbuffer.h"
#include "replication/snapbuild.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"

#define MESSAGE_PREFIX	"baton.large_object"
/* Files remembered; then all are forgotten and asked for again. */
#define FILES_MAX		20000

#define SECRET_LEN		16

/* One version of a row, as it is queued. */
typedef struct LargeObjectMessage
{
	uint8		secret[SECRET_LEN];
	Oid			relid;			/* which of the two catalogs */
	Oid			filenumber;
	BlockNumber block;
	OffsetNumber offset;
	TransactionId xid;			/* subtransaction */
	bool		deleted;		/* the version was deleted, not written */
} LargeObjectMessage;

/* A file of a catalog, or of a table whose WAL looks like one's. */
typedef struct FileEntry
{
	Oid			filenumber;		/* hash key */
	Oid			relid;			/* InvalidOid: neither of the two catalogs */
} FileEntry;

static void (*prev_heap_decode) (LogicalDecodingContext *ctx, XLogRecordBuffer *buf) = NULL;
static HTAB *files = NULL;

/* What is queued shows it: anybody may write messages of this prefix into WAL, but ours
 * are never there, so nobody can have read it. */
static uint8 secret[SECRET_LEN];

/* ---- while WAL is read ---- */

/* Where the row lies that the record is about, if it may be a catalog's. */
static bool
read_record(XLogReaderState *record, LargeObjectMessage *m, BatonFile *file)
{
	const char *data = XLogRecGetData(record);

	/* what decoding takes has the row, or its key, in the record */
	switch (XLogRecGetInfo(record) & XLOG_HEAP_OPMASK)
	{
		case XLOG_HEAP_INSERT:
			if (((const xl_heap_insert *) data)->flags & XLH_INSERT_CONTAINS_NEW_TUPLE)
				return false;
			m->offset = ((const xl_heap_insert *) data)->offnum;
			break;
		case XLOG_HEAP_UPDATE:
		case XLOG_HEAP_HOT_UPDATE:
			if (((const xl_heap_update *) data)->flags & XLH_UPDATE_CONTAINS_NEW_TUPLE)
				return false;
			m->offset = ((const xl_heap_update *) data)->new_offnum;
			break;
		case XLOG_HEAP_DELETE:
			if (((const xl_heap_delete *) data)->flags & (XLH_DELETE_CONTAINS_OLD | XLH_DELETE_IS_SUPER))
				return false;
			m->offset = ((const xl_heap_delete *) data)->offnum;
			m->deleted = true;
			break;
		default:
			return false;
	}
	baton_block_file(record, 0, file, &m->block);
	m->filenumber = BATON_FILE_NUMBER(file);
	m->xid = XLogRecGetXid(record);
	return BATON_FILE_DATABASE(file) == MyDatabaseId;
}

/* The catalog that the file belongs to, InvalidOid for any but the two. */
static Oid
catalog_of(LogicalDecodingContext *ctx, TransactionId xid, const BatonFile *file)
{
	Oid			number = BATON_FILE_NUMBER(file);
	FileEntry  *entry = hash_search(files, &number, HASH_FIND, NULL);
	Oid			relid;

	if (entry != NULL)
		return entry->relid;
	relid = plugin_storage_relid(ctx, xid, BATON_FILE_TABLESPACE(file), number);
	if (relid != LargeObjectRelationId && relid != LargeObjectMetadataRelationId)
		relid = InvalidOid;
	if (hash_get_num_entries(files) >= FILES_MAX)
	{
		HASH_SEQ_STATUS status;

		hash_seq_init(&status, files);
		while ((entry = hash_seq_search(&status)) != NULL)
			hash_search(files, &entry->filenumber, HASH_REMOVE, NULL);
	}
	entry = hash_search(files, &number, HASH_ENTER, NULL);
	entry->relid = relid;
	return relid;
}

static void
queue_large_object(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	XLogReaderState *record = buf->record;
	LargeObjectMessage m;
	BatonFile	file;

	memset(&m, 0, sizeof(m));
	if (ctx->fast_forward ||
		SnapBuildCurrentState(ctx->snapshot_builder) != SNAPBUILD_CONSISTENT ||
		!read_record(record, &m, &file) ||
		ctx->callbacks.filter_by_origin_cb(ctx, XLogRecGetOrigin(record)) ||
		!SnapBuildProcessChange(ctx->snapshot_builder, m.xid, buf->origptr))
		return;
	m.relid = catalog_of(ctx, m.xid, &file);
	if (!OidIsValid(m.relid))
		return;
	memcpy(m.secret, secret, sizeof(secret));
	ReorderBufferQueueMessage(ctx->reorder, m.xid, NULL, buf->origptr, true, MESSAGE_PREFIX,
							  sizeof(m), (const char *) &m);
}

static void
heap_decode_all(LogicalDecodingContext *ctx, XLogRecordBuffer *buf)
{
	prev_heap_decode(ctx, buf);
	queue_large_object(ctx, buf);
}

void
plugin_large_object_init(void)
{
	HASHCTL		ctl = {0};

	/* of this process only: its copy of the table */
	if (prev_heap_decode != NULL)
		return;
	if (!pg_strong_random(secret, sizeof(secret)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random key")));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(FileEntry);
	files = hash_create("baton catalog files", 128, &ctl, HASH_ELEM | HASH_BLOBS);
	prev_heap_decode = RmgrTable[RM_HEAP_ID].rm_decode;
	RmgrTable[RM_HEAP_ID].rm_decode = heap_decode_all;
}

/* ---- when the transaction's turn has come ---- */

bool
plugin_large_object_is(const char *prefix, Size size, const char *message)
{
	return strcmp(prefix, MESSAGE_PREFIX) == 0 && size == sizeof(LargeObjectMessage) &&
		memcmp(secret, message, sizeof(secret)) == 0;
}

/* The (sub)transaction that has deleted or updated the row, or none. */
static TransactionId
ended_by(HeapTupleHeader row)
{
	if ((row->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask))
		return InvalidTransactionId;
	return HeapTupleHeaderGetUpdateXid(row);
}

/* Is there a newer version of the row? */
static bool
is_replaced(HeapTuple row)
{
	return !ItemPointerEquals(&row->t_data->t_ctid, &row->t_self);
}

static void
put_page(StreamBuf *out, TransactionId xid, TransactionId subxid, HeapTuple row, bool deleted)
{
	Form_pg_largeobject form = (Form_pg_largeobject) GETSTRUCT(row);
	struct varlena *data = NULL;
	RecordLargeObject o = {0};

	o.action = deleted ? 'g' : 'p';
	o.oid = form->loid;
	o.page = form->pageno;
	if (!deleted)
	{
		data = PG_DETOAST_DATUM_PACKED(PointerGetDatum(&form->data));
		o.data = VARDATA_ANY(data);
		o.len = VARSIZE_ANY_EXHDR(data);
	}
	record_put_large_object(out, xid, subxid, &o);
	if (data != NULL && (Pointer) data != (Pointer) &form->data)
		pfree(data);
}

static void
put_object(StreamBuf *out, TransactionId xid, TransactionId subxid, HeapTuple row, bool deleted)
{
	Form_pg_largeobject_metadata form = (Form_pg_largeobject_metadata) GETSTRUCT(row);
	RecordLargeObject o = {0};

	if (!deleted && (row->t_data->t_infomask & HEAP_UPDATED))
		return;
	o.action = deleted ? 'd' : 'c';
	o.oid = form->oid;
	if (!deleted)
		strlcpy(o.owner, GetUserNameFromId(form->lomowner, false), sizeof(o.owner));
	record_put_large_object(out, xid, subxid, &o);
}

/* One version of a row that the subtransaction has written or deleted. */
static void
put_version(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out, Oid relid, HeapTuple row,
			TransactionId subxid, bool deleted)
{
	/* what is not streamed has committed: its subtransactions don't matter */
	if (!plugin->streaming)
		subxid = txn->xid;
	if (deleted && is_replaced(row))
		return;
	if (relid == LargeObjectRelationId)
		put_page(out, txn->xid, subxid, row, deleted);
	else
		put_object(out, txn->xid, subxid, row, deleted);
}

/* The version that the message is about, where it was when it was written. */
static void
put_in_place(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out, Relation rel,
			 const LargeObjectMessage *m)
{
	HeapTupleData row;
	Buffer		buffer;
	TransactionId xid = InvalidTransactionId;

	ItemPointerSet(&row.t_self, m->block, m->offset);
	if (heap_fetch(rel, SnapshotAny, &row, &buffer, false))
	{
		TransactionId ended = ended_by(row.t_data);

		xid = m->deleted ? ended : HeapTupleHeaderGetRawXmin(row.t_data);
		/* many small writes make many versions of a page: the last one will do */
		if (xid == m->xid &&
			(m->deleted || ended != xid || m->relid != LargeObjectRelationId))
			put_version(plugin, txn, out, m->relid, &row, xid, m->deleted);
		ReleaseBuffer(buffer);
	}
	if (xid != m->xid && !TransactionIdDidAbort(m->xid))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("row (%u,%u) of catalog \"%s\", written by transaction %u, is not there",
						m->block, m->offset, RelationGetRelationName(rel), m->xid)));
}

/* ---- when the rows were moved ---- */

/* Is it the transaction, or a subtransaction that has committed with it? */
static bool
is_part_of(ReorderBufferTXN *txn, TransactionId xid)
{
	dlist_iter	iter;

	if (!TransactionIdIsValid(xid))
		return false;
	if (xid == txn->xid)
		return true;
	dlist_foreach(iter, &txn->subtxns)
	{
		if (dlist_container(ReorderBufferTXN, node, iter.cur)->xid == xid)
			return !TransactionIdDidAbort(xid);
	}
	return false;
}

/* All rows that the transaction has deleted, or that it has written and left. */
static void
put_rows(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out, Relation rel, bool deleted)
{
	TableScanDesc scan = table_beginscan(rel, SnapshotAny, 0, NULL);
	HeapTuple	row;

	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		TransactionId xmin = HeapTupleHeaderGetRawXmin(row->t_data);
		TransactionId ended = ended_by(row->t_data);
		bool		written = is_part_of(txn, xmin);
		bool		was_there = !written || (row->t_data->t_infomask & HEAP_UPDATED);

		CHECK_FOR_INTERRUPTS();
		if (deleted ? was_there && is_part_of(txn, ended) : written && !is_part_of(txn, ended))
			put_version(plugin, txn, out, RelationGetRelid(rel), row, deleted ? ended : xmin, deleted);
	}
	table_endscan(scan);
}

static void
search(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out, Relation rel)
{
	TransactionId *searched = &plugin->lo_searched[RelationGetRelid(rel) == LargeObjectRelationId ? 0 : 1];

	if (*searched == txn->xid || TransactionIdDidAbort(txn->xid))
		return;
	put_rows(plugin, txn, out, rel, true);
	put_rows(plugin, txn, out, rel, false);
	*searched = txn->xid;
}

void
plugin_large_object_put(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out, const char *message)
{
	LargeObjectMessage m;
	Relation	rel;

	memcpy(&m, message, sizeof(m));
	/* a lock could wait for VACUUM FULL, which may wait for this walsender */
	rel = RelationIdGetRelation(m.relid);
	if (rel == NULL)
		elog(ERROR, "could not open catalog %u", m.relid);
	if (BATON_REL_FILE_NUMBER(rel) == m.filenumber)
		put_in_place(plugin, txn, out, rel, &m);
	else
		search(plugin, txn, out, rel);
	RelationClose(rel);
}
