/*
 * sync_up.c - baton_rpc.sync_up(): cut this log at the last frame that it has in
 * common with the primary's.
 *
 * Only what has left no trace in tables may be cut: if a transaction ends behind
 * the place, or this database has commits that its log lacks, the node has
 * diverged.  Then nothing is cut and the node says so; its coordinator takes it
 * out of service.
 *
 * Order: the coordinator lowers the marks in the control file, and `applied` with
 * them, so that a crash after the cut does not take it for damage; then the log is
 * cut under log_lock; then the applier is ended, for it may have read what is
 * gone.  Its successor, which the coordinator starts later than we look, begins
 * again at `applied`.
 */
#include "baton.h"

#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_rpc_sync_up);

/* How long the coordinator and the applier may take, in milliseconds. */
#define CUT_WAIT_MS 10000

/* Why the log may not be cut at pos: "" if it may. */
static void
sync_up_obstacle(NodeShared *node, StreamPos pos, StreamPos end, char *why, size_t size)
{
	XLogRecPtr	diverged;
	StreamPos	at = pos;
	bool		arbiter;

	why[0] = '\0';
	SpinLockAcquire(&node->mutex);
	diverged = node->diverged_lsn;
	arbiter = node->arbiter;
	SpinLockRelease(&node->mutex);

	/* without tables nothing is left of what is cut */
	if (arbiter)
		return;
	if (diverged != InvalidXLogRecPtr)
		snprintf(why, size, "it has committed a transaction of its own at %X/%X while it was not primary",
				 LSN_FORMAT_ARGS(diverged));

	while (why[0] == '\0' && at < end)
	{
		FrameHeader h;
		StreamError err = {0};

		CHECK_FOR_INTERRUPTS();
		if (stream_read(&rpc_session.reader, at, end, &h, NULL, &err) != STREAM_OK)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the stream log cannot be read: %s", err.message),
					 errdetail("Stream position %X/%X.", STREAM_POS_ARGS(at))));
		if (h.n_commits > 0)
			snprintf(why, size, "it has transactions from %X/%X on that the primary's log lacks",
					 STREAM_POS_ARGS(h.start));
		at = frame_end(&h);
	}
}

/* Keep the reason where status shows it, and let the coordinator act on it. */
static void
sync_up_diverged(NodeShared *node, const char *why)
{
	char		reason[BATON_REASON_LEN];

	snprintf(reason, sizeof(reason), "diverged: %s", why);
	SpinLockAcquire(&node->mutex);
	strlcpy(node->sync_error, reason, sizeof(node->sync_error));
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
	ereport(LOG,
			(errmsg("database \"%s\" has diverged from its group: %s", node->dbname, why)));
}

/* Have the coordinator lower the control file's marks to pos. */
static void
sync_up_ask_coordinator(NodeShared *node, StreamPos pos)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CUT_WAIT_MS);
	uint64		id;

	SpinLockAcquire(&node->mutex);
	id = ++node->cut_asked;
	node->cut_pos = pos;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);

	ConditionVariablePrepareToSleep(&node->state_cv);
	for (;;)
	{
		bool		allowed;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		SpinLockAcquire(&node->mutex);
		allowed = node->cut_allowed >= id;
		SpinLockRelease(&node->mutex);
		if (allowed)
			break;
		if (left <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the coordinator has not prepared the cut of the stream log within %d ms",
							CUT_WAIT_MS)));
		ConditionVariableTimedSleep(&node->state_cv, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Cut, if the caller may still do that; STREAM_MISMATCH if not. */
static StreamCode
sync_up_cut(NodeShared *node, uint64 term, StreamPos expected_end, StreamPos pos,
			StreamPos last_start, uint64 last_term, StreamError *err)
{
	StreamCode	code;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (!node->log_ready || node->append_term != term || node->receiver_pid != MyProcPid ||
		node->tail.end != expected_end)
		code = stream_fail(err, STREAM_MISMATCH, pos, 0,
						   "the stream log has changed since the handshake");
	else
		code = stream_truncate(&rpc_session.writer, &node->tail, pos, last_start, last_term, err);
	LWLockRelease(&node->log_lock);
	return code;
}

/*
 * End the applier and wait until it is gone; the coordinator starts another.  It
 * may have moved `applied` on over what was just cut.
 */
static void
sync_up_restart_applier(NodeShared *node, StreamPos pos)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CUT_WAIT_MS);
	pid_t		first;
	pid_t		now;

	SpinLockAcquire(&node->mutex);
	first = now = node->worker_pid[WORKER_APPLIER];
	SpinLockRelease(&node->mutex);
	if (first != 0)
		kill(first, SIGTERM);
	while (now != 0 && now == first)
	{
		if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
					  PG_WAIT_EXTENSION) & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		SpinLockAcquire(&node->mutex);
		now = node->worker_pid[WORKER_APPLIER];
		SpinLockRelease(&node->mutex);
		if (now == first && GetCurrentTimestamp() >= until)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the applier did not end within %d ms", CUT_WAIT_MS)));
	}
	SpinLockAcquire(&node->mutex);
	node->applied = Min(node->applied, pos);
	SpinLockRelease(&node->mutex);
}

/*
 * baton_rpc.sync_up(from_id, term, pos, last_start, last_term): cut this log to
 * pos, where the frame (last_start, last_term) ends, which both logs have.
 *
 * Returns 'ok', or 'diverged: ' and why, with nothing cut.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if this session is not (any more) the
 * receiver of that term, and ERRCODE_IO_ERROR if the cut fails.
 */
Datum
baton_rpc_sync_up(PG_FUNCTION_ARGS)
{
	int			from = PG_GETARG_INT32(0);
	uint64		term = (uint64) PG_GETARG_INT64(1);
	StreamPos	pos = PG_GETARG_LSN(2);
	StreamPos	last_start = PG_GETARG_LSN(3);
	uint64		last_term = (uint64) PG_GETARG_INT64(4);
	NodeShared *node = rpc_enter_peer(from);
	StreamTail	tail = node_log_tail(node);
	StreamError err = {0};
	char		why[BATON_REASON_LEN - 16];
	StreamCode	code;

	if (pos == tail.end && last_start == tail.last_start && last_term == tail.last_term)
		PG_RETURN_TEXT_P(cstring_to_text("ok"));
	if (pos >= tail.end || pos < tail.start)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream position %X/%X is outside this log", STREAM_POS_ARGS(pos))));

	sync_up_obstacle(node, pos, tail.end, why, sizeof(why));
	if (why[0] != '\0')
	{
		sync_up_diverged(node, why);
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("diverged: %s", why)));
	}

	sync_up_ask_coordinator(node, pos);
	code = sync_up_cut(node, term, tail.end, pos, last_start, last_term, &err);
	if (code != STREAM_OK)
		ereport(ERROR,
				(errcode(code == STREAM_MISMATCH ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
						 : ERRCODE_IO_ERROR),
				 errmsg("the stream log was not cut: %s", err.message)));
	stream_reader_close(&rpc_session.reader);
	sync_up_restart_applier(node, pos);
	ereport(LOG,
			(errmsg("stream log of database \"%s\" cut from %X/%X to %X/%X, where it parts from the primary's",
					node->dbname, STREAM_POS_ARGS(tail.end), STREAM_POS_ARGS(pos))));
	PG_RETURN_TEXT_P(cstring_to_text("ok"));
}
