/*
 * gate_scan.c - the coordinator's side: set the gate, see who is under way.
 *
 * A planned failover:
 *
 *   1. gate_set(DRAIN): new writers wait.
 *   2. Until gate_writers(dboid, true) is 0, or drain_timeout is over; then
 *      gate_terminate_writers(dboid) each so often until it is 0, or the failover
 *      is given up with gate_set(OPEN).  Transactions prepared meanwhile
 *      (pg_prepared_xacts) are a reason to give up.
 *   3. gate_set(HELD): from here on nothing writes.  A transaction that got its
 *      xid unseen waits before its commit.
 *   4. Until gate_barrier_passed(dboid): now, and not before, the WAL's insert
 *      position lies behind every commit that a client can have been told of.
 *   5. gate_set(OPEN) if the failover is given up: who waits goes on.  Else, after
 *      the vote is on disk, gate_set(CLOSED): who waits is refused; and
 *      gate_terminate_sessions().
 *
 * A primary that must stop at once: gate_set(CLOSED), gate_cancel_writers()
 * (a loop of nextval in plpgsql asks the gate only once per transaction), then
 * step 4.  If it may not be the primary any more, what still commits is ended by
 * gate_terminate_committing(): it may wait for an acknowledgement that cannot come.
 *
 * Marks and gate are ordered by full barriers, see gate.c.  That a PGPROC belongs
 * to a database, and its xid, are read under ProcArrayLock: the xid is there
 * until the commit is visible, so whoever was seen committing is waited for.
 */
#include "failover/gate_internal.h"

#include <signal.h>

#include "access/transam.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

/*
 * Set the gate and wake all who wait at it.  Only the coordinator calls this.
 */
void
gate_set(NodeShared *node, GateState state)
{
	if (state == GATE_CLOSED)
		pg_atomic_fetch_add_u64(&node->gate_closings, 1);
	pg_atomic_write_u32(&node->gate, state);
	pg_memory_barrier();
	ConditionVariableBroadcast(&node->gate_cv);
}

/* A backend of the database, as a scan sees it. */
typedef struct GateBackend
{
	pid_t		pid;
	bool		has_xid;
	GateMark	mark;
	GateSession session;
} GateBackend;

typedef bool (*GatePredicate) (const GateBackend *backend);

static bool
is_own_worker(const pid_t *workers, pid_t pid)
{
	for (int i = 0; i < WORKER_KINDS; i++)
		if (workers[i] == pid)
			return true;
	return false;
}

/*
 * Count the backends of a database for which the predicate holds, baton's own
 * workers left out, and put the first max of their pids into pids.
 */
static int
scan(Oid dboid, GatePredicate predicate, pid_t *pids, int max)
{
	NodeShared *node = node_find(dboid);
	pid_t		workers[WORKER_KINDS] = {0};
	int			n = 0;

	if (node != NULL)
	{
		SpinLockAcquire(&node->mutex);
		memcpy(workers, node->worker_pid, sizeof(workers));
		SpinLockRelease(&node->mutex);
	}
	pg_memory_barrier();
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (int i = 0; i < gate_slots(); i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		GateSlot   *slot = gate_slot(i);
		GateBackend backend = {proc->pid};

		if (backend.pid == 0 || proc->databaseId != dboid ||
			is_own_worker(workers, backend.pid) ||
			(proc->statusFlags & PROC_IS_AUTOVACUUM) != 0)
			continue;
		backend.has_xid = TransactionIdIsValid(proc->xid);
		if (slot->pid == backend.pid)
		{
			backend.mark = (GateMark) pg_atomic_read_u32(&slot->mark);
			backend.session = (GateSession) slot->session;
		}
		if (!predicate(&backend))
			continue;
		if (n < max)
			pids[n] = backend.pid;
		n++;
	}
	LWLockRelease(ProcArrayLock);
	return n;
}

/* False: it is gone. */
bool
gate_signal(pid_t pid, int signal)
{
#ifdef HAVE_SETSID
	return kill(-pid, signal) == 0;
#else
	return kill(pid, signal) == 0;
#endif
}

/* The number of those told. */
static int
send_signal(Oid dboid, GatePredicate predicate, pid_t except, int signal)
{
	pid_t	   *pids = palloc(sizeof(pid_t) * gate_slots());
	int			n = scan(dboid, predicate, pids, gate_slots());
	int			told = 0;

	for (int i = 0; i < n; i++)
	{
		if (pids[i] != except && gate_signal(pids[i], signal))
			told++;
	}
	pfree(pids);
	return told;
}

static bool
writes(const GateBackend *backend)
{
	if (backend->mark == MARK_COMMITTING || backend->mark == MARK_COMMIT_PREPARED)
		return true;
	return backend->has_xid && backend->mark != MARK_EXEMPT;
}

static bool
writes_or_locks(const GateBackend *backend)
{
	return backend->mark == MARK_WRITER || writes(backend);
}

static bool
commits(const GateBackend *backend)
{
	return backend->mark == MARK_COMMIT_PREPARED ||
		(backend->mark == MARK_COMMITTING && backend->has_xid);
}

/* Whoever commits is past cancelling: PostgreSQL would only give up waiting for replicas. */
static bool
writes_or_locks_still(const GateBackend *backend)
{
	return writes_or_locks(backend) && !commits(backend);
}

static bool
is_client(const GateBackend *backend)
{
	return backend->session == SESSION_CLIENT;
}

/*
 * Number of backends of the database whose transaction has an xid; with
 * include_lock_holders also of those that have passed as writers without one:
 * they may hold locks that others wait for, or have drawn from a sequence.
 */
int
gate_writers(Oid dboid, bool include_lock_holders)
{
	return scan(dboid, include_lock_holders ? writes_or_locks : writes, NULL, 0);
}

/* End the sessions that gate_writers(dboid, true) counts; returns how many were told. */
int
gate_terminate_writers(Oid dboid)
{
	return send_signal(dboid, writes_or_locks, 0, SIGTERM);
}

/*
 * Cancel what those sessions are running, save a commit; a session that is idle in its transaction
 * stays, and is refused at its next write or its commit.  Returns how many were told.
 */
int
gate_cancel_writers(Oid dboid)
{
	return send_signal(dboid, writes_or_locks_still, 0, SIGINT);
}

/*
 * End the sessions that have passed the check before commit and still hold their
 * xid.  One that waits for an acknowledgement ends without an answer to its client.
 * Returns how many were told.
 */
int
gate_terminate_committing(Oid dboid)
{
	return send_signal(dboid, commits, 0, SIGTERM);
}

/*
 * End all client sessions of the database but `except` (0: none is spared).
 * Connections of other nodes, of baton's own workers, and walsenders stay.
 * Returns how many were told.
 */
int
gate_terminate_sessions(Oid dboid, pid_t except)
{
	return send_signal(dboid, is_client, except, SIGTERM);
}

/*
 * True when no backend of the database that had passed the check before commit
 * still holds its xid.  To be asked after gate_set(HELD) or gate_set(CLOSED).
 */
bool
gate_barrier_passed(Oid dboid)
{
	return scan(dboid, commits, NULL, 0) == 0;
}
