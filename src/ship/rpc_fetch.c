/*
 * rpc_fetch.c - baton_rpc.fetch_frames(): frames of this node's log for a member
 * that lacks them, and is about to stand for election.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "ship/rpc.h"
#include "utils/pg_lsn.h"

PG_FUNCTION_INFO_V1(baton_rpc_fetch_frames);

/*
 * Is what ends at pos with the frame (last_start, last_term) the beginning of this
 * log, and not in front of `floor`, from where on it may be shared?  The frame that
 * follows names the one before it.
 */
static bool
is_prefix(const StreamTail *tail, StreamPos floor, StreamPos pos, StreamPos last_start, uint64 last_term)
{
	FrameHeader h;
	StreamError err = {0};

	if (pos == tail->end)
		return last_start == tail->last_start && last_term == tail->last_term;
	return pos >= Max(tail->start, floor) && pos < tail->flushed &&
		stream_read(&rpc_session.reader, pos, tail->flushed, &h, NULL, &err) == STREAM_OK &&
		h.start == pos && h.prev_start == last_start && h.prev_term == last_term;
}

/* Whole frames from pos on, of max_bytes together unless the first is longer. */
static bytea *
read_frames(const StreamTail *tail, StreamPos pos, int max_bytes)
{
	StreamBuf	buf = {0};
	bytea	   *out;

	while (pos < tail->flushed)
	{
		FrameHeader h;
		StreamError err = {0};

		if (stream_read(&rpc_session.reader, pos, tail->flushed, &h, NULL, &err) != STREAM_OK)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the stream log cannot be read: %s", err.message),
					 errdetail("Stream position " STREAM_POS_FORMAT ".", STREAM_POS_ARGS(pos))));
		if (buf.len > 0 && buf.len + rpc_session.reader.frame.len > max_bytes)
			break;
		stream_buf_append(&buf, rpc_session.reader.frame.data, rpc_session.reader.frame.len);
		pos = frame_end(&h);
	}
	if (buf.failed)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	out = palloc(VARHDRSZ + buf.len);
	SET_VARSIZE(out, VARHDRSZ + buf.len);
	memcpy(VARDATA(out), buf.data, buf.len);
	stream_buf_free(&buf);
	return out;
}

/*
 * baton_rpc.fetch_frames(from_id, pos, last_start, last_term, max_bytes): the frames
 * behind pos that are flushed here, and the membership that this node knows.  The
 * caller's log ends at pos with the frame (last_start, last_term); frames is NULL if
 * that is not the beginning of this log, or is not kept any more, and empty if there
 * is nothing behind it.  Raises ERRCODE_DATA_CORRUPTED if the log cannot be read.
 */
Datum
baton_rpc_fetch_frames(PG_FUNCTION_ARGS)
{
	NodeShared *node = rpc_enter_peer(PG_GETARG_INT32(0));
	StreamPos	pos = PG_GETARG_LSN(1);
	StreamPos	last_start = PG_GETARG_LSN(2);
	uint64		last_term = (uint64) PG_GETARG_INT64(3);
	int			max_bytes = Min(Max(PG_GETARG_INT32(4), 1), 16 * 1024 * 1024);
	StreamTail	tail = node_log_tail(node);
	StreamPos	floor;
	Membership *m = palloc(sizeof(Membership));
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	LWLockAcquire(&node->state_lock, LW_SHARED);
	*m = node->membership;
	LWLockRelease(&node->state_lock);
	LWLockAcquire(&node->log_lock, LW_SHARED);
	floor = node->share_floor;
	LWLockRelease(&node->log_lock);
	nulls[0] = !is_prefix(&tail, floor, pos, last_start, last_term);
	if (!nulls[0])
		values[0] = PointerGetDatum(read_frames(&tail, pos, max_bytes));
	values[1] = rpc_membership_datum(m);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
