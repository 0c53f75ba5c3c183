/*
 * shared_log.c - appending to and flushing a node's stream log, which several
 * processes of the server do in turn: capture, coordinator, receiver.
 *
 * The tail lies in shared memory under log_lock; each process brings its own
 * StreamWriter (an open file).  append_term, under the same lock, says in which
 * term frames may be appended: a vote raises it there and reads the end of the
 * log in one step, so that nothing of an older term slips in behind.
 *
 * Shipping beside the flush.  Under an ack policy a commit's frame is shipped while
 * it is being flushed here (`ahead`), so that its session waits for the slower of two
 * flushes and not for their sum.  So others may have a frame that this node's disk
 * loses.  What makes that safe:
 *
 *	 - It is one frame at most, for all before it must be flushed; it bears
 *	   FRAME_AHEAD.
 *	 - The primary's own place counts for acknowledgements once it is flushed.  So such
 *	   a frame is not acknowledged to anybody, and may stay or go.
 *	 - Every append tells how far the primary's log is flushed, and others apply no
 *	   further (apply_to): what goes is in nobody's tables but the primary's own.  A
 *	   node that starts knows that much of all but its last frame.  Who leads has
 *	   flushed its own log, and applies all of it.
 *
 * The primary's disk has lost the frame, and
 *
 *	 - it leads again (alone in a group of two, or elected by those without the frame):
 *	   in another term, with its TERM record at that place.  Others cut the frame off,
 *	   with nothing to save.  Its commits are in the primary's WAL, and are raised anew.
 *	 - another leads that has the frame: it counts in that one's favour like any other,
 *	   and is applied.  The old primary gets its own commits back, in frames of its own
 *	   term.  They lie in the log then, and source_lsn says so: capture, which has come
 *	   upon them meanwhile and taken them for diverged, looks again when the new
 *	   primary's TERM record is there (node/reconcile.c).
 *	 - another leads without it: they have diverged, as have all that were never shipped.
 *
 * A failed flush is as a crash: the log is out of use from then on.  Never shipped
 * ahead are records of the coordinator (TERM, FAILOVER, MEMBERSHIP), which promise
 * something to others, and nothing is under RULE_PREFERRED, where own commits that the
 * other lacks decide who leads.
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
 * n_commits: COMMIT records among them.  source_lsn: see frame.h.  ahead: it may be
 * shipped before it is flushed, if all before it is.  *end (may be NULL) gets the frame's
 * end.  Returns STREAM_MISMATCH, and appends nothing, if this node may not append in that
 * term any more.
 */
StreamCode
node_log_seal_append(NodeShared *node, StreamWriter *w, FrameCodec *codec,
					 uint64 term, uint64 source_lsn, uint32 n_commits,
					 const char *records, uint32 len, bool ahead,
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
		ahead = ahead && node->tail.flushed == node->tail.end;
		if (ahead)
			h.flags |= FRAME_AHEAD;
		frame_place(frame.data, &h);
		code = stream_append(w, &node->tail, frame.data, frame.len, err);
	}
	if (code == STREAM_OK)
	{
		if (source_lsn > node->source_lsn)
			node->source_lsn = source_lsn;
		if (end)
			*end = frame_end(&h);
		if (ahead)
			node->ship_ahead = frame_end(&h);
	}
	LWLockRelease(&node->log_lock);
	stream_buf_free(&frame);
	if (code == STREAM_OK && ahead)
		node_wake(node, WORKER_SHIPPER);
	return code;
}

/*
 * Own commits that come from another node, see the file's head: note that they are in the
 * log.  `frames` are whole and checked; the caller holds log_lock.
 */
void
node_log_has_own(NodeShared *node, const char *frames, size_t len)
{
	FrameHeader h;

	/* self never changes while a node has a log */
	for (size_t done = 0; done < len; done += FRAME_HEADER_LEN + h.stored_len)
	{
		if (frame_parse_header(frames + done, len - done, stream_load_u64(frames + done + 16),
							   &h, NULL) != STREAM_OK)
			break;
		if (TERM_MEMBER(h.term) == node->self)
			node->source_lsn = Max(node->source_lsn, h.source_lsn);
	}
}

/*
 * The primary's log is flushed up to `flushed`.  What this log does not have yet may be
 * another's, so it is not covered.  The caller holds log_lock.
 */
static void
raise_apply_to(NodeShared *node, StreamPos flushed)
{
	node->apply_to = Max(node->apply_to, Min(flushed, node->tail.end));
}

/* Is there more to apply than the applier knows of?  The caller holds log_lock. */
static bool
more_to_apply(NodeShared *node)
{
	StreamPos	end = Min(node->tail.flushed, node->apply_to);
	bool		more = end > node->apply_told;

	node->apply_told = end;
	return more;
}

/*
 * Append whole frames that came from the primary of `term`.  The applier is not woken:
 * the flush that follows does that.
 */
StreamCode
node_log_append_frames(NodeShared *node, StreamWriter *w, uint64 term,
					   const char *frames, size_t len, StreamPos flushed, StreamError *err)
{
	StreamCode	code;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	code = append_allowed(node, term, err);
	if (code == STREAM_OK)
		code = stream_append(w, &node->tail, frames, len, err);
	if (code == STREAM_OK)
	{
		node_log_has_own(node, frames, len);
		raise_apply_to(node, flushed);
	}
	LWLockRelease(&node->log_lock);
	return code;
}

void
node_log_told(NodeShared *node, uint64 term, StreamPos flushed)
{
	bool		more = false;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (node->append_term == term)
	{
		raise_apply_to(node, flushed);
		more = more_to_apply(node);
	}
	LWLockRelease(&node->log_lock);
	if (more)
		node_wake(node, WORKER_APPLIER);
}

/* An fsync that failed may have dropped what it could not write: never try again. */
static void
log_is_broken(NodeShared *node, const StreamError *err)
{
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->tail.broken = true;
	node->ship_ahead = 0;
	strlcpy(node->log_error, err->message, BATON_ERROR_LEN);
	LWLockRelease(&node->log_lock);
}

/*
 * Flush all that is written so far, then wake those who read the log, if there is
 * something new for them: the applier and, if there are frames of this node's own reign
 * (own), the shipper, which has nothing to do with those of others.  The fdatasync runs
 * without the lock.  If the log was cut meanwhile, what this flush has reached says nothing
 * about what was appended behind the cut, and it is done again.
 */
StreamCode
node_log_flush(NodeShared *node, StreamWriter *w, bool own, StreamError *err)
{
	StreamTail	before;
	uint64		source_lsn;
	StreamCode	code;
	bool		again;
	bool		to_ship = false;
	bool		to_apply = false;

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
		if (own)
			node->apply_to = Max(node->apply_to, node->tail.flushed);
		to_ship = own && node->tail.flushed > node->ship_ahead;
		to_apply = more_to_apply(node);
		LWLockRelease(&node->log_lock);
	} while (again);
	if (code != STREAM_OK)
		return code;

	if (to_ship)
		node_wake(node, WORKER_SHIPPER);
	if (to_apply)
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

/* The same for the applier: what is not known to be flushed at the primary is none of it. */
StreamTail
node_log_tail_to_apply(NodeShared *node)
{
	StreamTail	tail;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	tail = node->tail;
	tail.flushed = Min(tail.flushed, node->apply_to);
	LWLockRelease(&node->log_lock);
	return tail;
}

/* Where the segment files lie, relative to the data directory. */
void
node_log_directory(NodeShared *node, char *out, size_t size)
{
	snprintf(out, size, "%s/stream", node->directory);
}
