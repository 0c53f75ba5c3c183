/*
 * shared_log.c - appending to and flushing a node's stream log, which several
 * processes of the server do in turn: capture, coordinator, receiver.
 *
 * The tail lies in shared memory under log_lock; each process brings its own
 * StreamWriter (an open file).  append_term, under the same lock, says in which
 * term frames may be appended: a vote raises it there and reads the end of the
 * log in one step, so that nothing of an older term slips in behind.
 */
#include "baton.h"

#include "storage/proc.h"

/* Common check of the two ways to append; the caller holds log_lock. */
static StreamCode
append_allowed(NodeShared *node, uint64 term, StreamError *err)
{
	if (!node->log_ready)
		return stream_fail(err, STREAM_IO, 0, 0, "the stream log is not in use: %s",
						   node->log_error[0] ? node->log_error : "the node is not active");
	if (node->append_term != term)
		return stream_fail(err, STREAM_MISMATCH, node->tail.end, 0,
						   "frames of another term are appended to the stream log");
	return STREAM_OK;
}

/*
 * Seal records into one frame that continues the log and append it, in `term`.
 *
 * n_commits: COMMIT records among them.  source_lsn: see frame.h.  *start and
 * *end (may be NULL) get the frame's place.  Returns STREAM_MISMATCH, and
 * appends nothing, if this node may not append in that term any more.
 */
StreamCode
node_log_seal_append(NodeShared *node, StreamWriter *w, FrameCodec *codec,
					 uint64 term, uint64 source_lsn, uint32 n_commits,
					 const char *records, uint32 len, StreamPos *start,
					 StreamPos *end, StreamError *err)
{
	FrameHeader h = {0};
	StreamBuf	frame = {0};
	StreamCode	code;

	h.term = term;
	h.source_lsn = source_lsn;
	h.n_commits = n_commits;
	/* compression takes its time: voters and readers of the tail don't wait for it */
	code = frame_seal(codec, &h, records, len, baton_compression_level, &frame, err);

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (code == STREAM_OK)
		code = append_allowed(node, term, err);
	if (code == STREAM_OK)
	{
		h.start = node->tail.end;
		h.prev_start = node->tail.last_start;
		h.prev_term = node->tail.last_term;
		frame_place(frame.data, &h);
		code = stream_append(w, &node->tail, frame.data, frame.len, err);
	}
	if (code == STREAM_OK)
	{
		if (source_lsn > node->source_lsn)
			node->source_lsn = source_lsn;
		if (start)
			*start = h.start;
		if (end)
			*end = frame_end(&h);
	}
	LWLockRelease(&node->log_lock);
	stream_buf_free(&frame);
	return code;
}

/*
 * Append whole frames that came from the primary of `term`.
 */
StreamCode
node_log_append_frames(NodeShared *node, StreamWriter *w, uint64 term,
					   const char *frames, size_t len, StreamError *err)
{
	StreamCode	code;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	code = append_allowed(node, term, err);
	if (code == STREAM_OK)
		code = stream_append(w, &node->tail, frames, len, err);
	LWLockRelease(&node->log_lock);
	return code;
}

/* An fsync that failed may have dropped what it could not write: never try again. */
static void
log_is_broken(NodeShared *node, const StreamError *err)
{
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->tail.broken = true;
	strlcpy(node->log_error, err->message, BATON_ERROR_LEN);
	LWLockRelease(&node->log_lock);
}

/*
 * Flush all that is written so far, then wake those who read the log: the applier
 * and, if there are frames of this node's own reign among them (own), the shipper,
 * which has nothing to do with those of others.  The fdatasync runs without the lock.  If the log was cut meanwhile, what this
 * flush has reached says nothing about what was appended behind the cut, and it
 * is done again.
 */
StreamCode
node_log_flush(NodeShared *node, StreamWriter *w, bool own, StreamError *err)
{
	StreamTail	before;
	uint64		source_lsn;
	StreamCode	code;
	bool		again;

	do
	{
		LWLockAcquire(&node->log_lock, LW_SHARED);
		before = node->tail;
		source_lsn = node->source_lsn;
		LWLockRelease(&node->log_lock);

		code = stream_flush(w, before.segment, err);
		if (code == STREAM_IO)
		{
			log_is_broken(node, err);
			return code;
		}
		LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
		again = node->tail.cuts != before.cuts;
		if (!again && !node->tail.broken && code == STREAM_OK && node->tail.flushed < before.end)
		{
			node->tail.flushed = before.end;
			node->flushed_source_lsn = Max(node->flushed_source_lsn, source_lsn);
		}
		LWLockRelease(&node->log_lock);
	} while (again);
	if (code != STREAM_OK)
		return code;

	if (own)
		node_wake(node, WORKER_SHIPPER);
	node_wake(node, WORKER_APPLIER);
	return STREAM_OK;
}

/* A consistent copy of the tail. */
StreamTail
node_log_tail(NodeShared *node)
{
	StreamTail	tail;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	tail = node->tail;
	LWLockRelease(&node->log_lock);
	return tail;
}

/* Where the segment files lie, relative to the data directory. */
void
node_log_directory(NodeShared *node, char *out, size_t size)
{
	snprintf(out, size, "%s/stream", node->directory);
}
