/*
 * make_way.c - apply does not wait for other sessions for ever.
 *
 * A command of the stream needs a lock on its table, and a session that reads the table
 * here, or has read it and sits in its transaction, has one that conflicts.  PostgreSQL's
 * hot standby gives such sessions a while (max_standby_streaming_delay) and ends them
 * then; here that is baton.apply_lock_timeout: what they run is cancelled, and if that is
 * not enough, they are ended.  A node that is about to lead gives them no time at all,
 * unless it is told to wait for ever: its gate opens when all is applied.
 *
 * The index builder is ended at once: its work can be begun anew.  It may also wait for
 * apply's transaction with the lock in its hand that apply wants, so this must come before
 * the deadlock check.
 *
 * Sessions of other databases, which may hold locks on roles, and workers are let be.
 */
#include "node/coordinator.h"

#include <signal.h>

#include "failover/gate.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* From the cancelling of what they run to the end of sessions, in ms. */
#define GRACE_MS			1000
#define GRACE_TO_LEAD_MS	100

/* Shorter waits are nobody's business. */
#define TELL_MS				1000

#define MAX_BLOCKERS		64

static pid_t
pid_of(Coordinator *c, WorkerKind kind)
{
	pid_t		pid;

	SpinLockAcquire(&c->node->mutex);
	pid = c->node->worker_pid[kind];
	SpinLockRelease(&c->node->mutex);
	return pid;
}

static bool
waits_for_lock(pid_t pid)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return proc != NULL && (proc->wait_event_info & 0xFF000000) == PG_WAIT_LOCK;
}

/* Who has the lock that a process waits for, or waits for it in front. */
static int
blockers_of(pid_t waiter, pid_t *blockers)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "baton blockers", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	ArrayType  *pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(waiter)));
	int			n = Min(ArrayGetNItems(ARR_NDIM(pids), ARR_DIMS(pids)), MAX_BLOCKERS);

	for (int i = 0; i < n; i++)
		blockers[i] = ((int32 *) ARR_DATA_PTR(pids))[i];
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return n;
}

/* Tell a session of this database. */
static bool
tell_session(Coordinator *c, pid_t pid, int signal)
{
	PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	return proc != NULL && proc->databaseId == c->node->dboid && !baton_proc_is_worker(proc) &&
		gate_signal(pid, signal);
}

static void
tell_sessions(Coordinator *c, const pid_t *pids, int n, uint64 waited)
{
	bool		cancel = c->apply_way == WAY_WAITS;
	int			told = 0;

	for (int i = 0; i < n; i++)
		told += tell_session(c, pids[i], cancel ? SIGINT : SIGTERM);
	if (told > 0)
		coordinator_note(c, "apply", "apply has waited " UINT64_FORMAT " ms for locks that %d session%s: %s",
						 waited, told, told == 1 ? " has" : "s have",
						 cancel ? "cancelled what they run" : "ended them");
	c->apply_way = cancel ? WAY_CANCELLED : WAY_ENDED;
}

/* The group hears of a node to which nothing should be handed over. */
static void
publish(Coordinator *c, uint64 now)
{
	uint32		blocked = c->apply_waits_since != 0 && now - c->apply_waits_since >= TELL_MS;

	if (pg_atomic_exchange_u32(&c->node->apply_blocked, blocked) != blocked)
		ConditionVariableBroadcast(&c->node->watch_cv);
}

/*
 * now: boot_ms().
 */
void
coordinator_make_way(Coordinator *c, uint64 now)
{
	bool		to_lead = c->term_end != 0;
	pid_t		applier = pid_of(c, WORKER_APPLIER);
	pid_t		builder = pid_of(c, WORKER_INDEX_BUILDER);
	pid_t		pids[MAX_BLOCKERS];
	int64		limit = to_lead ? 0 : baton_apply_lock_timeout;
	int			n;

	if (!waits_for_lock(applier))
	{
		c->apply_waits_since = 0;
		c->apply_way = WAY_WAITS;
		publish(c, now);
		return;
	}
	if (c->apply_waits_since == 0)
		c->apply_waits_since = now;
	publish(c, now);
	n = blockers_of(applier, pids);
	for (int i = 0; i < n; i++)
		if (pids[i] == builder && builder != 0)
			coordinator_end_worker(c, WORKER_INDEX_BUILDER);
	if (c->apply_way != WAY_WAITS)
		limit += to_lead ? GRACE_TO_LEAD_MS : GRACE_MS;
	if (baton_apply_lock_timeout >= 0 && now - c->apply_waits_since >= (uint64) limit)
		tell_sessions(c, pids, n, now - c->apply_waits_since);
}
