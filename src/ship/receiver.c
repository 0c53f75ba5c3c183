/*
 * receiver.c - the replica's side of the stream: baton_rpc.append(),
 * frame_before() and sync_up(), run in the backend of the primary's connection.
 *
 * A session that has shaken hands as the receiver (handshake.c) first finds the
 * last frame that both logs have: the primary asks frame_before() as often as it
 * takes, and has what lies behind cut by sync_up().  Then each append:
 *
 *	 1. is this session still the receiver, and the caller's term the one that
 *		may append?  If it is above the node's, the coordinator writes it down
 *		first.
 *	 2. each frame's header, CRC and place are checked;
 *	 3. appended under log_lock, where the term is checked too;
 *	 4. flushed, once per call;
 *	 5. the term is checked again: a vote given during the flush would make the
 *		answer a lie, since the candidate has not heard of these frames.  Under the
 *		same lock the promise is given that the primary's lease asks for: a vote,
 *		which holds that lock too, sees it, or comes before it and is seen here;
 *	 6. the answer says how far this log is flushed and applied, and whether the
 *		promise was given.
 *
 * No transaction id is assigned and no table touched, so the gate has nothing to
 * do with it, and a replica's WAL does not grow by receiving.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

PG_FUNCTION_INFO_V1(baton_rpc_append);
PG_FUNCTION_INFO_V1(baton_rpc_frame_before);

/* ---- append ---- */

#define APPEND_COLUMNS 5

typedef struct AppendAnswer
{
	AppendStatus status;
	uint64		term;
} AppendAnswer;

/* The node's term, for an answer that says that the caller's is old. */
static AppendAnswer
append_answer(NodeShared *node, AppendStatus status)
{
	AppendAnswer a = {status, 0};

	LWLockAcquire(&node->state_lock, LW_SHARED);
	a.term = node->term;
	LWLockRelease(&node->state_lock);
	return a;
}

/*
 * May this session append in `term` right now?  Raises the node's term first if
 * the caller's is higher.
 */
static AppendAnswer
append_check(NodeShared *node, uint64 term, uint16 from)
{
	uint64		append_term;
	bool		ready;
	int			receiver;

	for (int attempt = 0;; attempt++)
	{
		LWLockAcquire(&node->log_lock, LW_SHARED);
		append_term = node->append_term;
		ready = node->log_ready && node->log_error[0] == '\0';
		receiver = node->receiver_pid;
		LWLockRelease(&node->log_lock);

		if (append_term > term)
			return append_answer(node, APPEND_STALE_TERM);
		if (!ready)
			return append_answer(node, APPEND_STOPPED);
		if (receiver != MyProcPid)
			return append_answer(node, APPEND_MISMATCH);
		if (append_term == term)
			return append_answer(node, APPEND_OK);
		if (attempt > 0 || !rpc_accept_leader(node, term, from))
			break;
	}
	{
		AppendAnswer a = append_answer(node, APPEND_STOPPED);

		if (a.term > term)
			a.status = APPEND_STALE_TERM;
		return a;
	}
}

/*
 * Check that `bytes` are whole, undamaged frames, each where the one before it
 * ended, and none of a later term than the caller leads.
 */
static StreamCode
append_check_frames(const char *bytes, size_t len, uint64 term, StreamError *err)
{
	const char *p = bytes;
	const char *end = bytes + len;
	StreamPos	expected = 0;

	while (p < end)
	{
		FrameHeader h;
		StreamCode	code;

		if (p == bytes && end - p >= FRAME_HEADER_LEN)
			expected = stream_load_u64(p + 16);
		code = frame_parse_header(p, end - p, expected, &h, err);
		if (code != STREAM_OK)
			return code;
		if (h.stored_len > (size_t) (end - p) - FRAME_HEADER_LEN)
			return stream_fail(err, STREAM_TORN, h.start, 0, "the frame is cut short");
		code = frame_check_crc(p, &h, err);
		if (code != STREAM_OK)
			return code;
		if (h.term > term)
			return stream_fail(err, STREAM_CORRUPT, h.start, 0,
							   "a frame of term " UINT64_FORMAT " comes from the primary of term " UINT64_FORMAT,
							   h.term, term);
		p += FRAME_HEADER_LEN + h.stored_len;
		expected = frame_end(&h);
	}
	return STREAM_OK;
}

/*
 * This node's log could not be written.  If nothing is left of the attempt, as
 * when the disk is full, the primary is told, and tries again.  After a failed
 * flush nobody knows what is on disk: the log stays out of use until the node
 * starts again.
 */
static void
append_log_failed(NodeShared *node, const StreamError *err)
{
	if (!node_log_tail(node).broken)
		ereport(ERROR,
				(errcode(err->sys_errno == ENOSPC ? ERRCODE_DISK_FULL : ERRCODE_IO_ERROR),
				 errmsg("the stream log of database \"%s\" cannot be written: %s",
						node->dbname, err->message)));
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (node->log_error[0] == '\0')
		strlcpy(node->log_error, err->message, sizeof(node->log_error));
	LWLockRelease(&node->log_lock);
	node_wake(node, WORKER_COORDINATOR);
	ereport(LOG,
			(errmsg("the stream log of database \"%s\" is not used any more: %s",
					node->dbname, err->message),
			 err->sys_errno ? errdetail("%s", strerror(err->sys_errno)) : 0));
}

/* Check, append and flush frames.  flushed: how far the primary's own log is. */
static AppendAnswer
append_frames(NodeShared *node, uint64 term, const char *frames, size_t len, StreamPos flushed)
{
	StreamError err = {0};
	StreamCode	code = append_check_frames(frames, len, term, &err);

	if (code != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("frames from the primary are damaged: %s", err.message),
				 errdetail("Stream position %X/%X.", STREAM_POS_ARGS(err.pos))));

	code = node_log_append_frames(node, &rpc_session.writer, term, frames, len, flushed, &err);
	if (code == STREAM_OK)
		code = node_log_flush(node, &rpc_session.writer, false, &err);
	if (code == STREAM_MISMATCH)
	{
		AppendAnswer a = append_answer(node, APPEND_MISMATCH);

		if (a.term > term)
			a.status = APPEND_STALE_TERM;
		return a;
	}
	if (code != STREAM_OK)
	{
		append_log_failed(node, &err);
		return append_answer(node, APPEND_STOPPED);
	}
	return append_answer(node, APPEND_OK);
}

/* The result row's descriptor, made once per session: this is the hot path. */
static TupleDesc
append_result_desc(void)
{
	if (rpc_session.append_desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	desc = CreateTemplateTupleDesc(APPEND_COLUMNS);

		TupleDescInitEntry(desc, 1, "status", INT4OID, -1, 0);
		TupleDescInitEntry(desc, 2, "term", INT8OID, -1, 0);
		TupleDescInitEntry(desc, 3, "flushed", LSNOID, -1, 0);
		TupleDescInitEntry(desc, 4, "applied", LSNOID, -1, 0);
		TupleDescInitEntry(desc, 5, "promised", BOOLOID, -1, 0);
		rpc_session.append_desc = BlessTupleDesc(desc);
		MemoryContextSwitchTo(old);
	}
	return rpc_session.append_desc;
}

/*
 * baton_rpc.append(from_id, term, lease_ms, committed, log_end, frames): frames of the
 * primary of `term`, or none as a sign of life, with what RpcLead says, and where the
 * primary's log ends, as far as it is flushed: nothing behind that is applied here.
 * status is an AppendStatus.  Raises ERRCODE_DATA_CORRUPTED for frames that fail their checks, and
 * ERRCODE_INVALID_PARAMETER_VALUE for an impossible lease.
 */
Datum
baton_rpc_append(PG_FUNCTION_ARGS)
{
	int			from = PG_GETARG_INT32(0);
	RpcLead		lead = {(uint64) PG_GETARG_INT64(1), (uint16) from,
		rpc_lease(PG_GETARG_INT32(2)), PG_GETARG_LSN(3)};
	StreamPos	log_end = PG_GETARG_LSN(4);
	bytea	   *frames = PG_GETARG_BYTEA_PP(5);
	NodeShared *node = rpc_enter_peer(from);
	AppendAnswer a = append_check(node, lead.term, lead.leader);
	bool		promised = false;
	StreamPos	applied;
	StreamPos	flushed;
	Datum		values[APPEND_COLUMNS];
	bool		nulls[APPEND_COLUMNS] = {false};

	if (a.status == APPEND_OK && VARSIZE_ANY_EXHDR(frames) > 0)
		a = append_frames(node, lead.term, VARDATA_ANY(frames), VARSIZE_ANY_EXHDR(frames), log_end);
	else if (a.status == APPEND_OK)
		node_log_told(node, lead.term, log_end);
	if (a.status == APPEND_OK && !rpc_lead(node, &lead, &promised))
		a = append_answer(node, APPEND_STALE_TERM);

	flushed = node_log_tail(node).flushed;
	SpinLockAcquire(&node->mutex);
	if (node->arbiter)
		node->applied = flushed;
	applied = node->applied;
	if (a.status == APPEND_OK)
		fresh_note(&node->fresh, lead.term, log_end, applied, boot_ms());
	SpinLockRelease(&node->mutex);

	values[0] = Int32GetDatum(a.status);
	values[1] = Int64GetDatum((int64) a.term);
	values[2] = LSNGetDatum(flushed);
	values[3] = LSNGetDatum(applied);
	values[4] = BoolGetDatum(promised);
	return HeapTupleGetDatum(heap_form_tuple(append_result_desc(), values, nulls));
}

/* ---- the last common frame ---- */

/*
 * baton_rpc.frame_before(pos): place and term of the last frame of this log that
 * ends at or before pos.  All NULL if that lies before what is kept.
 */
Datum
baton_rpc_frame_before(PG_FUNCTION_ARGS)
{
	StreamPos	pos = PG_GETARG_LSN(0);
	NodeShared *node = rpc_enter();
	StreamTail	tail = node_log_tail(node);
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 3)
		elog(ERROR, "baton_rpc.frame_before is declared wrongly");

	if (pos < tail.start)
		memset(nulls, true, sizeof(nulls));
	else if (pos >= tail.end)
	{
		values[0] = LSNGetDatum(tail.last_start);
		values[1] = LSNGetDatum(tail.end);
		values[2] = Int64GetDatum((int64) tail.last_term);
	}
	else
	{
		/* the frame that holds pos names the one before it */
		FrameHeader h;
		StreamError err = {0};

		node_log_directory(node, rpc_session.reader.directory,
						   sizeof(rpc_session.reader.directory));
		if (stream_find(&rpc_session.reader, pos, tail.end, &h, &err) != STREAM_OK)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the stream log cannot be read: %s", err.message),
					 errdetail("Stream position %X/%X.", STREAM_POS_ARGS(pos))));
		values[0] = LSNGetDatum(h.prev_start);
		values[1] = LSNGetDatum(h.start);
		values[2] = Int64GetDatum((int64) h.prev_term);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
