/*
 * sync_up.c - baton_rpc.sync_up(): cut this log at the last frame that it has in
 * common with the primary's.
 *
 * What has left traces in tables is saved before it is cut (reconcile/): if a
 * transaction ends behind the place, nothing is cut yet, and the primary asks
 * again.
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

/* Has this log commits behind pos? */
static bool
sync_up_commits_behind(StreamPos pos, StreamPos end)
{
	StreamPos	at = pos;

	while (at < end)
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
			return true;
		at = frame_end(&h);
	}
	return false;
}

/*
 * Is pos in front of a reign that this node began with tables which are not what the
 * stream makes of them?  Then the coordinator is told.
 */
static bool
sync_up_needs_copy(NodeShared *node, StreamPos pos)
{
	StreamPos	floor;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	floor = node->share_floor;
	LWLockRelease(&node->log_lock);
	if (pos >= floor)
		return false;
	SpinLockAcquire(&node->mutex);
	snprintf(node->copy.wanted, sizeof(node->copy.wanted),
			 "it was made primary by force at %X/%X in the middle of being mended, and has nothing behind that in common with the primary",
			 STREAM_POS_ARGS(floor));
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
	return true;
}

/*
 * May the log be cut at pos?  Commits behind it are in nobody's way once they are
 * saved, or are known not to be in the tables; else the coordinator is asked to
 * see to that.
 */
static bool
sync_up_may_cut(NodeShared *node, StreamPos pos, StreamPos end)
{
	ReconcileShared *rec = &node->reconcile;
	bool		commits = sync_up_commits_behind(pos, end);
	bool		may = false;

	SpinLockAcquire(&node->mutex);
	switch (rec->state)
	{
		case RECONCILE_NONE:
			/* an arbiter has no tables: nothing is left there of what is cut */
			may = !commits || node->arbiter || (rec->may_cut != 0 && pos >= rec->may_cut);
			break;
		case RECONCILE_SAVE:
			break;
		case RECONCILE_MEND:
			/* what lies behind `applied` is not in the tables, or saved */
			may = !commits || pos >= node->applied;
			break;
		case RECONCILE_FILL:
			may = !commits && pos >= rec->mend_until;
			break;
		case RECONCILE_ALONE:
			break;
	}
	if (!may)
	{
		rec->asked = true;
		rec->asked_cut = pos;
	}
	SpinLockRelease(&node->mutex);
	if (!may)
		node_wake(node, WORKER_COORDINATOR);
	return may;
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
	if (code == STREAM_OK)
	{
		node->ship_ahead = Min(node->ship_ahead, pos);
		node->apply_to = Min(node->apply_to, pos);
		node->apply_told = Min(node->apply_told, pos);
	}
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
 * Returns 'ok', or 'wait: ' and for what, with nothing cut.  Raises
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
	StreamCode	code;

	if (pos == tail.end && last_start == tail.last_start && last_term == tail.last_term)
		PG_RETURN_TEXT_P(cstring_to_text("ok"));
	if (pos >= tail.end || pos < tail.start)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream position %X/%X is outside this log", STREAM_POS_ARGS(pos))));

	if (sync_up_needs_copy(node, pos))
		PG_RETURN_TEXT_P(cstring_to_text("wait: it needs a new copy, for it has led with rows that were not mended"));
	if (!sync_up_may_cut(node, pos, tail.end))
		PG_RETURN_TEXT_P(cstring_to_text("wait: it has commits that this group does not have, and saves them"));

	sync_up_ask_coordinator(node, pos);
	code = sync_up_cut(node, term, tail.end, pos, last_start, last_term, &err);
	if (code != STREAM_OK)
		ereport(ERROR,
				(errcode(code == STREAM_MISMATCH ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
						 : ERRCODE_IO_ERROR),
				 errmsg("the stream log was not cut: %s", err.message)));
	stream_reader_close(&rpc_session.reader);
	SpinLockAcquire(&node->mutex);
	node->reconcile.may_cut = 0;
	SpinLockRelease(&node->mutex);
	sync_up_restart_applier(node, pos);
	ereport(LOG,
			(errmsg("stream log of database \"%s\" cut from %X/%X to %X/%X, where it parts from the primary's",
					node->dbname, STREAM_POS_ARGS(tail.end), STREAM_POS_ARGS(pos))));
	PG_RETURN_TEXT_P(cstring_to_text("ok"));
}
