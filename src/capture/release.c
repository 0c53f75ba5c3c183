/*
 * release.c - letting sessions go that wait in their commit.
 *
 * This is what a walsender does when its standby has answered (SyncRepReleaseWaiters()
 * in PostgreSQL's syncrep.c): under SyncRepLock the place up to which commits are
 * acknowledged is raised, then whoever waits below it leaves the queue and is woken.
 * The way through the walsender costs two more processes a wake-up each; it stays for
 * the case that synchronous_standby_names has other names too.  The walsender hears the
 * same places a moment later, and finds nobody there.
 *
 * The setting may change while this runs.  Then sessions are let go by the old value
 * for a moment, as by a walsender that has not reloaded it yet.
 */
#include "capture/release.h"

#include "node/sync_names.h"
#include "replication/syncrep.h"
#include "replication/walsender_private.h"
#include "storage/proc.h"

/* PostgreSQL's name for a level. */
static const int wait_mode[ACKED_LEVELS] = {
	[ACKED_WRITE] = SYNC_REP_WAIT_WRITE,
	[ACKED_FLUSH] = SYNC_REP_WAIT_FLUSH,
	[ACKED_APPLY] = SYNC_REP_WAIT_APPLY,
};

bool
release_is_ours(const NodeShared *node)
{
	return sync_names_alone(node->dboid);
}

/* The queue rises with the places waited for.  The caller holds SyncRepLock. */
static void
wake_queue(int mode, XLogRecPtr lsn)
{
	PGPROC	   *proc;

	while ((proc = baton_syncrep_first(mode)) != NULL && proc->waitLSN <= lsn)
	{
		baton_syncrep_remove(proc);
		/* the session looks at its state without the lock */
		pg_write_barrier();
		proc->syncRepState = SYNC_REP_WAIT_COMPLETE;
		SetLatch(&proc->procLatch);
	}
}

bool
release_sessions(const NodeShared *node, const XLogRecPtr lsn[ACKED_LEVELS])
{
	if (!release_is_ours(node))
		return false;
	LWLockAcquire(SyncRepLock, LW_EXCLUSIVE);
	for (int i = 0; i < ACKED_LEVELS; i++)
	{
		volatile XLogRecPtr *reached = &WalSndCtl->lsn[wait_mode[i]];

		/* first: who is about to wait looks at it */
		if (*reached < lsn[i])
		{
			*reached = lsn[i];
			wake_queue(wait_mode[i], lsn[i]);
		}
	}
	LWLockRelease(SyncRepLock);
	return true;
}
