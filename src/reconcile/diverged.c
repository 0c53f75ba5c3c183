/*
 * diverged.c - which transactions have diverged, and their records.
 *
 * They lie in two places:
 *
 *	 - behind the cut in the own stream log, as far as they are in the tables.
 *	   Whatever this node has applied or committed is a prefix of its log: the gate
 *	   opens only when all before it is applied.  So one position says which are:
 *	   the origin's, the published one, or that of the last own commit.
 *	 - in the WAL alone: own commits that capture has not brought into the log.
 *	   They are decoded as capture does it, by the walsender behind the node's
 *	   slot, up to a marker.  Capture does not run meanwhile.
 *
 * All records are put into a temporary file, for a transaction may be large, and
 * whether it commits is known at its end only.
 */
#include "reconcile/reconcile_internal.h"

#include "access/xlog.h"
#include "apply/origin.h"
#include "capture/capture_link.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/message.h"
#include "utils/memutils.h"

/* Of the message that marks a place in the WAL. */
#define MARKER_PREFIX		"baton"
#define SLOT_TRIES			100
#define SLOT_PAUSE_MS		100
#define ERRCODE_IN_USE		"55006"

typedef struct OpenDiverged
{
	uint32		xid;			/* hash key */
	SpoolPlace	first;
	List	   *aborted;
} OpenDiverged;

/* ---- what is in the tables ---- */

static void
note_own_commit(Reconcile *rec, const WalkedRecord *w)
{
	RecordCommit commit;
	StreamError err = {0};

	if (w->r.type != RECORD_COMMIT || record_get_commit(&w->r, &commit, &err) != STREAM_OK)
		return;
	if (commit.source == rec->node->self && commit.commit_lsn >= rec->order.rolled_back_lsn)
		rec->in_tables = Max(rec->in_tables, w->commit_pos);
}

/* Returns where the transactions that matter begin in the log. */
static StreamPos
find_places(Reconcile *rec, const StreamTail *tail)
{
	StreamReader reader = {0};
	ApplyBeginning b;
	StreamPos	progress = apply_origin_progress(rec->node);

	SpinLockAcquire(&rec->node->mutex);
	rec->in_tables = Min(Max(progress, rec->node->applied), tail->flushed);
	SpinLockRelease(&rec->node->mutex);
	node_log_directory(rec->node, reader.directory, sizeof(reader.directory));
	apply_find_beginning(&reader, rec->in_tables, tail, &b);
	reconcile_walk_log(rec, b.frame, tail->flushed, note_own_commit);

	rec->cut = Min(rec->order.cut, rec->in_tables);
	apply_find_beginning(&reader, rec->cut, tail, &b);
	stream_reader_close(&reader);
	return b.frame;
}

/* ---- the spool ---- */

static SpoolPlace
spool_place(Reconcile *rec)
{
	SpoolPlace	place;

	BufFileTell(rec->spool, &place.file, &place.offset);
	return place;
}

static void
open_reset(Reconcile *rec)
{
	HASHCTL		ctl = {0};

	if (rec->open != NULL)
		hash_destroy(rec->open);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(OpenDiverged);
	ctl.hcxt = rec->cxt;
	rec->open = hash_create("baton open diverged transactions", 64, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
take_abort(Reconcile *rec, const Record *r)
{
	OpenDiverged *txn;

	if (r->xid == 0)
		open_reset(rec);
	else if (r->xid == r->subxid)
		hash_search(rec->open, &r->xid, HASH_REMOVE, NULL);
	else if ((txn = hash_search(rec->open, &r->xid, HASH_FIND, NULL)) != NULL)
		txn->aborted = lappend_oid(txn->aborted, r->subxid);
}

static void
take_commit(Reconcile *rec, const Record *r, uint64 term, StreamPos pos)
{
	OpenDiverged *open = hash_search(rec->open, &r->xid, HASH_FIND, NULL);
	DivergedTxn *txn;
	StreamError err = {0};

	if (open == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_BATON_NEEDS_COPY),
				 errmsg("the stream log does not hold the beginning of the diverged transaction %u", r->xid)));
	txn = palloc0(sizeof(DivergedTxn));
	txn->xid = r->xid;
	txn->term = term;
	txn->pos = pos;
	if (record_get_commit(r, &txn->commit, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", err.message)));
	txn->first = open->first;
	txn->end = spool_place(rec);
	txn->aborted = open->aborted;
	rec->txns = lappend(rec->txns, txn);
}

/* One record; counts: if it is a COMMIT, its transaction has diverged. */
static void
take_record(Reconcile *rec, const Record *r, const char *bytes, uint32 len,
			uint64 term, StreamPos pos, bool counts)
{
	SpoolPlace	place = spool_place(rec);
	OpenDiverged *txn;

	BufFileWrite(rec->spool, &len, sizeof(len));
	BufFileWrite(rec->spool, (void *) bytes, len);
	switch (r->type)
	{
		case RECORD_BEGIN:
			txn = hash_search(rec->open, &r->xid, HASH_ENTER, NULL);
			txn->first = place;
			txn->aborted = NIL;
			break;
		case RECORD_ABORT:
			take_abort(rec, r);
			break;
		case RECORD_TERM:
			open_reset(rec);
			break;
		case RECORD_COMMIT:
			if (counts)
				take_commit(rec, r, term, pos);
			hash_search(rec->open, &r->xid, HASH_REMOVE, NULL);
			break;
		default:
			break;
	}
}

static void
take_walked(Reconcile *rec, const WalkedRecord *w)
{
	take_record(rec, &w->r, w->bytes, w->len, w->frame->term, w->commit_pos,
				w->commit_pos > rec->cut && w->commit_pos <= rec->in_tables);
}

/* ---- own WAL ---- */

/* Is this the marker that was written when the search began? */
static bool
is_marker(Reconcile *rec, const Record *r)
{
	RecordMessage m;
	StreamError err = {0};

	return r->type == RECORD_MESSAGE && r->xid == 0 &&
		record_get_message(r, &m, &err) == STREAM_OK &&
		strcmp(m.prefix, MARKER_PREFIX) == 0 && m.lsn >= rec->wal_end;
}

/* Take the whole records out of what has come; true: the marker was among them. */
static bool
take_bytes(Reconcile *rec, StreamBuf *buf)
{
	size_t		done = 0;
	bool		over = false;

	while (!over && buf->len - done >= RECORD_HEADER_LEN)
	{
		size_t		len = RECORD_HEADER_LEN + (size_t) stream_load_u32(buf->data + done + 1);
		StreamCursor c = {buf->data + done, buf->data + Min(done + len, buf->len), false};
		StreamError err = {0};
		Record		r;

		if (len > buf->len - done)
			break;
		if (record_next(&c, &r, &err) != STREAM_OK)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("%s", err.message)));
		over = is_marker(rec, &r);
		take_record(rec, &r, buf->data + done, len, 0, 0, true);
		done += len;
	}
	memmove(buf->data, buf->data + done, buf->len - done);
	buf->len -= done;
	return over;
}

static void
wait_readable(PGconn *conn)
{
	int			rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_SOCKET_READABLE,
									   PQsocket(conn), -1, PG_WAIT_EXTENSION);

	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if ((rc & WL_SOCKET_READABLE) && !PQconsumeInput(conn))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the connection to the walsender was lost")));
}

static void
converse(Reconcile *rec, PGconn *conn)
{
	LinkMessage m = {0};
	StreamBuf	buf = {0};
	char		err[BATON_ERROR_LEN];
	bool		over = false;

	while (!over)
	{
		switch (capture_link_read(conn, &m, err, sizeof(err)))
		{
			case LINK_OVER:
				ereport(ERROR,
						(errcode(ERRCODE_CONNECTION_FAILURE),
						 errmsg("the own commits cannot be read: %s", err)));
				break;
			case LINK_NOTHING:
				wait_readable(conn);
				break;
			case LINK_KEEPALIVE:
				break;
			case LINK_DATA:
				stream_buf_append(&buf, m.data, m.len);
				if (buf.failed)
					ereport(ERROR,
							(errcode(ERRCODE_OUT_OF_MEMORY),
							 errmsg("out of memory")));
				over = take_bytes(rec, &buf);
				break;
		}
	}
	if (m.buffer != NULL)
		PQfreemem(m.buffer);
	stream_buf_free(&buf);
}

/* Connect to the walsender; the one that capture has used may need a moment to go. */
static PGconn *
connect_walsender(Reconcile *rec, XLogRecPtr start)
{
	char		sqlstate[6];
	char		err[BATON_ERROR_LEN];

	for (int i = 0;; i++)
	{
		PGconn	   *conn = capture_link_open(rec->node, start, sqlstate, err, sizeof(err));

		if (conn != NULL)
			return conn;
		if (strcmp(sqlstate, ERRCODE_IN_USE) != 0 || i >= SLOT_TRIES)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the own commits cannot be read: %s", err)));
		copy_sleep(SLOT_PAUSE_MS);
	}
}

static void
read_own_wal(Reconcile *rec)
{
	XLogRecPtr	start;
	PGconn	   *volatile conn;

	LWLockAcquire(&rec->node->log_lock, LW_SHARED);
	start = rec->node->source_lsn;
	LWLockRelease(&rec->node->log_lock);
	SpinLockAcquire(&rec->node->mutex);
	start = Max(start, rec->node->own_floor);
	SpinLockRelease(&rec->node->mutex);

	open_reset(rec);
	conn = connect_walsender(rec, start);
	PG_TRY();
	{
		converse(rec, conn);
	}
	PG_FINALLY();
	{
		PQfinish(conn);
	}
	PG_END_TRY();
}

/* ---- all of it ---- */

/* A marker that decoding does not leave out, as it does what this worker writes. */
static void
mark_wal_end(Reconcile *rec)
{
	RepOriginId origin = replorigin_session_origin;

	replorigin_session_origin = InvalidRepOriginId;
	rec->wal_end = baton_log_marker(MARKER_PREFIX);
	replorigin_session_origin = origin;
	XLogFlush(rec->wal_end);
}

void
reconcile_find_diverged(Reconcile *rec)
{
	StreamTail	tail = node_log_tail(rec->node);
	StreamPos	from;

	mark_wal_end(rec);
	from = find_places(rec, &tail);
	MemoryContextSwitchTo(rec->cxt);
	rec->spool = BufFileCreateTemp(true);
	open_reset(rec);
	if (rec->in_tables > rec->cut)
		reconcile_walk_log(rec, from, tail.flushed, take_walked);
	read_own_wal(rec);
}

/* ---- reading a transaction ---- */

/* The record at the spool's place, in buf; its memory is used again. */
static Record
spool_next(Reconcile *rec, StreamBuf *buf)
{
	uint32		len;
	StreamCursor c;
	StreamError err = {0};
	Record		r;
	char	   *bytes;

	stream_buf_reset(buf);
	if (BufFileRead(rec->spool, &len, sizeof(len)) != sizeof(len) ||
		(bytes = stream_buf_extend(buf, len)) == NULL ||
		BufFileRead(rec->spool, bytes, len) != len)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not read the diverged transactions back")));
	c.p = buf->data;
	c.end = buf->data + len;
	c.failed = false;
	if (record_next(&c, &r, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", err.message)));
	return r;
}

void
reconcile_read_diverged(Reconcile *rec, DivergedTxn *txn, DivergedRecordFn fn)
{
	StreamBuf	buf = {0};

	if (BufFileSeek(rec->spool, txn->first.file, txn->first.offset, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not read the diverged transactions back")));
	for (;;)
	{
		Record		r = spool_next(rec, &buf);

		CHECK_FOR_INTERRUPTS();
		if (!RECORD_HAS_XID(r.type) || r.xid != txn->xid || r.type == RECORD_BEGIN || r.type == RECORD_ABORT)
			continue;
		if (r.type == RECORD_COMMIT)
			break;
		/* what a table is stays said, even by a subtransaction that was rolled back */
		if (r.type == RECORD_RELATION || !list_member_oid(txn->aborted, r.subxid))
			fn(rec, txn, &r);
	}
	stream_buf_free(&buf);
}
