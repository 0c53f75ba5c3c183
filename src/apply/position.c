/*
 * position.c - where in the stream log the applier begins.
 *
 * What is in the tables is said by two marks: the replication origin (position
 * of the last COMMIT applied here, exact and durable with that commit) and the
 * position that the coordinator has published before it started the applier
 * (from the control file: the end of an initial copy, or a lazy mark).  Both
 * are true, so the later one, S, counts: every COMMIT at or before S is in the
 * tables and is skipped.
 *
 * Reading must begin earlier, for transactions that were open at S and commit
 * behind it.  Every COMMIT carries oldest_open, the frame with the first record
 * of the oldest transaction that is still open behind it.  So:
 *
 *	 1. Find C, the last COMMIT at or before S: in the frame that holds S, or
 *		going back from frame to frame.  Between C and S no transaction commits,
 *		so C is as good a mark as S, and what is remembered is C.
 *	 2. Begin with the frame oldest_open of C or, if that is 0, with C's own frame:
 *		a transaction that is open at S has begun there or later.
 *	 3. If the log begins before a COMMIT is found, begin with the log.
 *
 * The first frame may begin inside a record in PARTs.  It belongs to a
 * transaction that began in an earlier frame, so by 2 it is none that is needed;
 * such PARTs are skipped.  If a transaction that is needed has begun before the
 * log's start (3, or frames that were removed), its BEGIN is not seen, and its
 * COMMIT says so with an error rather than apply half of it.
 *
 * When frames that were read are cut off the log and others take their place,
 * the chain of frames (prev_start, prev_term) does not fit any more, and the
 * applier positions itself anew.  Frames with an applied COMMIT are never cut
 * while the applier runs; that is checked.
 */
#include "apply/applier.h"

#include "replication/origin.h"

static void
check_code(StreamCode code, const StreamError *err, StreamPos pos)
{
	if (code == STREAM_OK)
		return;
	ereport(ERROR,
			(errcode(code == STREAM_IO ? ERRCODE_IO_ERROR : ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read the stream log at " STREAM_POS_FORMAT ": %s",
					STREAM_POS_ARGS(pos),
					code == STREAM_END ? "the log ends before it" : err->message)));
}

/* The last COMMIT at or before limit in a frame; false: there is none. */
static bool
last_commit(const FrameHeader *h, const char *records, StreamPos limit,
			StreamPos *pos, RecordCommit *commit)
{
	StreamCursor c = {records, records + h->raw_len, false};
	StreamError err = {0};
	uint32		n = 0;
	bool		found = false;
	Record		r;
	StreamCode	code;

	while ((code = record_next(&c, &r, &err)) == STREAM_OK)
	{
		if (r.type != RECORD_COMMIT)
			continue;
		n++;
		if (h->start + n > limit)
			return found;
		check_code(record_get_commit(&r, commit, &err), &err, h->start);
		*pos = h->start + n;
		found = true;
	}
	if (code != STREAM_END)
		check_code(code, &err, h->start);
	return found;
}

static void
begin_at(Applier *a, StreamPos frame, StreamPos done, uint64 done_term)
{
	memset(&a->at, 0, sizeof(a->at));
	memset(&a->part, 0, sizeof(a->part));
	a->at.frame = frame;
	a->part.skipping = true;
	a->records = NULL;
	a->prev_known = false;
	a->mid_record = false;
	a->done = done;
	a->done_term = done_term;
	a->done_keep = frame;
	open_transactions_clear(a->open);
}

/* Steps 1 to 3 of the head of this file. */
void
apply_find_beginning(StreamReader *reader, StreamPos mark, const StreamTail *tail, ApplyBeginning *b)
{
	FrameHeader h;
	StreamError err = {0};
	StreamPos	frame;

	b->frame = tail->start;
	b->done = Max(mark, tail->start);
	b->done_term = 0;
	if (mark <= tail->start)
		return;
	check_code(stream_find(reader, mark, tail->flushed, &h, &err), &err, mark);
	frame = h.start == mark ? h.prev_start : h.start;
	for (;;)
	{
		const char *records;
		RecordCommit commit;
		StreamPos	pos;

		check_code(stream_read(reader, frame, tail->flushed, &h, &records, &err), &err, frame);
		if (h.n_commits > 0 && last_commit(&h, records, mark, &pos, &commit))
		{
			StreamPos	begin = commit.oldest_open ? Min(commit.oldest_open, h.start) : h.start;

			b->frame = Max(begin, tail->start);
			b->done = pos;
			b->done_term = h.term;
			return;
		}
		if (h.start <= tail->start)
			break;
		frame = h.prev_start;
	}
}

/* The mark S, and whether it is known to be part of this log. */
static StreamPos
initial_mark(Applier *a)
{
	StreamPos	published;
	StreamPos	origin = replorigin_session_get_progress(false);

	SpinLockAcquire(&a->node->mutex);
	published = a->node->applied;
	SpinLockRelease(&a->node->mutex);
	return Max(origin, published);
}

void
applier_position(Applier *a)
{
	StreamTail	tail = node_log_tail(a->node);
	bool		again = a->done_term != 0;
	uint64		term = a->done_term;
	StreamPos	mark = again ? a->done : initial_mark(a);
	ApplyBeginning b;

	if (mark > tail.flushed)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the tables are ahead of the stream log"),
				 errdetail("Applied up to " STREAM_POS_FORMAT ", but the log ends at " STREAM_POS_FORMAT ".",
						   STREAM_POS_ARGS(mark), STREAM_POS_ARGS(tail.flushed))));
	if (mark != 0 && mark < tail.start)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream log begins behind what is applied"),
				 errdetail("Applied up to " STREAM_POS_FORMAT ", but the log begins at " STREAM_POS_FORMAT ".",
						   STREAM_POS_ARGS(mark), STREAM_POS_ARGS(tail.start)),
				 errhint("This node needs a new initial copy.")));
	apply_find_beginning(&a->reader, mark, &tail, &b);
	begin_at(a, b.frame, b.done, b.done_term);
	if (again && (a->done_term != term || a->done != mark))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a transaction that is applied was cut off the stream log"),
				 errdetail("It was committed at " STREAM_POS_FORMAT ".", STREAM_POS_ARGS(mark))));
	if (!again)
		a->heed_from = mark;
	applier_publish_position(a, again ? a->done : Max(mark, tail.start));
	a->positioned = true;
}
