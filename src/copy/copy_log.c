/*
 * copy_log.c - the stream log of a node that takes its copy.
 *
 * The primary ships into it while the copy runs, so that its own log need not
 * reach back to the copy's beginning when that ends.  The log begins at P0, which
 * baton_rpc.copy_start() has given, with the same frames as everywhere.
 *
 * Order on disk: segment file, control file (log_base and the frame before it),
 * and only then may a receiver append.
 */
#include "baton.h"

#include <signal.h>

#include "copy/copy_internal.h"
#include "utils/timestamp.h"

#define RECEIVER_STOP_MS 10000

static void
log_failed(const StreamError *err)
{
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("could not prepare the stream log: %s", err->message)));
}

/*
 * Take the log out of use and remove it.  The receiver, if there is one, keeps a
 * segment file open that a new log may have under the same name: it must be gone
 * before.
 */
void
copy_log_stop(CopyContext *ctx)
{
	NodeShared *node = ctx->node;
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RECEIVER_STOP_MS);
	char		directory[MAXPGPATH + 16];
	StreamError err;
	bool		asked = false;

	for (;;)
	{
		int			pid;

		LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
		node->log_ready = false;
		pid = node->receiver_pid;
		LWLockRelease(&node->log_lock);
		if (pid == 0)
			break;
		if (!asked)
			kill(pid, SIGTERM);
		asked = true;
		if (GetCurrentTimestamp() > give_up)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the receiver of the stream (process %d) does not end", pid)));
		copy_sleep(20);
	}

	node_log_directory(node, directory, sizeof(directory));
	if (stream_log_destroy(directory, &err) != STREAM_OK)
		log_failed(&err);
}

/*
 * Make the log that begins at ctx->start and let the primary ship into it.
 */
void
copy_log_start(CopyContext *ctx)
{
	NodeShared *node = ctx->node;
	CopyRequest request = {0};
	char		directory[MAXPGPATH + 16];
	StreamTail	tail;
	StreamError err;

	node_log_directory(node, directory, sizeof(directory));
	if (stream_log_create(directory, ctx->start, ctx->last_start, ctx->last_term,
						  &tail, &err) != STREAM_OK)
		log_failed(&err);

	request.kind = COPY_REQUEST_LOG;
	request.log_base = ctx->start;
	request.base_last_start = ctx->last_start;
	request.base_last_term = ctx->last_term;
	request.terms = ctx->terms;
	copy_request(node, &request);

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->tail = tail;
	node->ship_ahead = 0;
	node->apply_to = node->apply_told = tail.end;
	node->tail.terms = ctx->terms;
	node->source_lsn = 0;
	node->log_error[0] = '\0';
	node->log_ready = true;
	LWLockRelease(&node->log_lock);
	ConditionVariableBroadcast(&node->watch_cv);
}

/*
 * Does this node's log agree with the source's up to ctx->covered?  Returns false
 * if it does not reach as far yet; raises if it went another way.
 */
static bool
log_is_covered(CopyContext *ctx)
{
	StreamTail	tail = node_log_tail(ctx->node);
	StreamReader reader = {0};
	FrameHeader h;
	StreamError err;
	StreamCode	code;
	bool		agrees;

	if (ctx->covered <= ctx->start)
		return true;
	if (tail.flushed < ctx->covered)
	{
		if (tail.last_term <= ctx->term)
			return false;
		agrees = false;
	}
	else
	{
		node_log_directory(ctx->node, reader.directory, sizeof(reader.directory));
		code = stream_find(&reader, ctx->covered, ctx->covered, &h, &err);
		stream_reader_close(&reader);
		if (code != STREAM_OK && code != STREAM_MISMATCH)
			log_failed(&err);
		/* the same term at the same place: the same log up to there */
		agrees = code == STREAM_OK && frame_end(&h) == ctx->covered && h.term == ctx->term;
	}
	if (!agrees)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the copy holds commits of a primary that was replaced before they reached the group")));
	return true;
}

/*
 * Wait until this node's own log holds all commits that the copied tables hold.
 * Only then can a later cut of the log be seen to cut off what is in the tables:
 * sync-up looks for COMMIT records behind the cut, and would find none if this
 * node, with the rows of a lost primary's last commits, had never received them.
 */
void
copy_log_wait_covered(CopyContext *ctx)
{
	while (!log_is_covered(ctx))
		copy_sleep(200);
}
