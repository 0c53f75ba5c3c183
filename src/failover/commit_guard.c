/*
 * commit_guard.c - the last look at a commit, when it is done and not yet answered.
 *
 * Two things can have happened since it passed the gate.
 *
 * This node's reign may be over: the gate was closed, or the lease has run out.
 * The commit may then be in no stream, and be rolled back here.
 *
 * Or its wait for acknowledgements was cut short.  PostgreSQL ends that at a
 * cancel request, with a warning, and tells the client of a success.  The measure
 * is baton's own: what is published as acknowledged (capture/acked.c), before anybody is
 * released for it or the walsender hears of it.  It is applied only where the commit was made to wait
 * (ack_enforced), before it and after it: while a policy is being set or taken
 * back, a commit that did not wait is none that was cut short.
 *
 * In both cases the client gets no answer: nothing more is sent, and the session
 * ends at the next check for interrupts, as PostgreSQL itself does for a wait that
 * is terminated.  (What is sent for the commit afterwards stays in the buffer,
 * which nobody flushes.)  The client has to find out whether its transaction is
 * there; it may be, even visible.
 *
 * The callback runs when the commit is on disk and visible: no error may be raised
 * any more, and no catalog be read.
 */
#include "failover/commit_guard.h"

#include "access/xact.h"
#include "failover/gate_internal.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

typedef struct CommitGuard
{
	bool		armed;			/* noted, and passed */
	bool		waits;			/* it is made to wait for acknowledgements */
	uint64		closings;		/* how often the gate had been closed */
} CommitGuard;

static CommitGuard guard;

void
commit_guard_arm(NodeShared *node)
{
	guard.armed = false;
	guard.waits = false;
	guard.closings = pg_atomic_read_u64(&node->gate_closings);
}

void
commit_guard_passed(NodeShared *node)
{
	guard.armed = true;
	guard.waits = SyncRepRequested() && pg_atomic_read_u32(&node->ack_enforced) == 1;
	if (guard.waits && synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_APPLY)
		pg_atomic_write_u64(&node->apply_asked, boot_ms());
}

void
commit_guard_disarm(void)
{
	guard.armed = false;
}

static bool
reign_is_over(NodeShared *node)
{
	return gate_state(node) == GATE_CLOSED ||
		pg_atomic_read_u64(&node->gate_closings) != guard.closings ||
		!gate_lease_holds(node);
}

/* Is the level of acknowledgement that this session asks for reached? */
static bool
acknowledged(NodeShared *node, XLogRecPtr end)
{
	XLogRecPtr	acked;

	SpinLockAcquire(&node->mutex);
	switch (synchronous_commit)
	{
		case SYNCHRONOUS_COMMIT_REMOTE_WRITE:
			acked = node->acked_write;
			break;
		case SYNCHRONOUS_COMMIT_REMOTE_APPLY:
			acked = node->acked_apply;
			break;
		default:
			acked = node->acked_flush;
			break;
	}
	SpinLockRelease(&node->mutex);
	return acked >= end;
}

static void
end_without_answer(NodeShared *node, XLogRecPtr end, const char *why)
{
	whereToSendOutput = DestNone;
	ProcDiePending = true;
	InterruptPending = true;
	ereport(LOG,
			(errmsg("this session ends without an answer to its commit: %s", why),
			 errdetail("The commit at %X/%X is on this server's disk. Whether it stays is for database \"%s\"'s group to decide.",
					   LSN_FORMAT_ARGS(end), node->dbname)));
}

void
commit_guard_check(NodeShared *node, XLogRecPtr end)
{
	bool		waits = guard.waits;

	if (!guard.armed)
		return;
	guard.armed = false;
	if (unlikely(reign_is_over(node)))
		end_without_answer(node, end, "this node does not lead its group any more");
	else if (waits && unlikely(!acknowledged(node, end)) &&
			 pg_atomic_read_u32(&node->ack_enforced) == 1)
		end_without_answer(node, end, "it was not acknowledged as the group's ack policy asks for");
}
