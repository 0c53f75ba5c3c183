/*
 * index_builder.c - a worker that builds, and drops, the indexes that apply has left to
 * it; index_work.c says which, index_concurrent.c how.
 *
 * The coordinator starts it while node->index_work_asked is ahead of index_work_done, on a
 * replica as on a primary: an index that was begun in the one role is finished in the
 * other.  Progression: read the counter, then the list, do one after another, and say
 * that all up to that counter is done.  Who has marked an index counts behind its
 * commit, so that none is missed.
 *
 * An error is logged once, and told in baton.events; the next attempt comes after a
 * while, with the other indexes in between.  Whoever wants a lock that this process
 * has may end it at any time.
 */
#include "apply/applier.h"

#include "access/xact.h"
#include "apply/index_work.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PGDLLEXPORT void baton_index_builder_main(Datum main_arg);

/* Between two attempts at what has failed. */
#define RETRY_FIRST_MS	1000
#define RETRY_LAST_MS	60000

typedef struct IndexBuilder
{
	NodeShared *node;
	MemoryContext round_cxt;	/* one reading of the list */
	char		error[BATON_ERROR_LEN]; /* reported last */
} IndexBuilder;

static List *
read_list(IndexBuilder *b)
{
	List	   *list;

	StartTransactionCommand();
	MemoryContextSwitchTo(b->round_cxt);
	list = index_work_list();
	CommitTransactionCommand();
	MemoryContextSwitchTo(b->round_cxt);
	return list;
}

static void
report(IndexBuilder *b, const IndexWork *work, const ErrorData *e)
{
	char	   *error = psprintf("could not %s index \"%s\": %s", work->drop ? "drop" : "build",
								 work->name, e->message);

	if (strncmp(b->error, error, BATON_ERROR_LEN - 1) == 0)
		return;
	strlcpy(b->error, error, BATON_ERROR_LEN);
	ereport(LOG,
			(errcode(e->sqlerrcode),
			 errmsg("baton %s", error),
			 e->detail ? errdetail_internal("%s", e->detail) : 0,
			 errhint("It is tried again; baton.pending_indexes has what is still to be done.")));
	node_note(b->node, "index", "%s", error);
}

/* False: it has failed. */
static bool
do_one(IndexBuilder *b, const IndexWork *work)
{
	volatile bool done = true;

	PG_TRY();
	{
		if (work->drop)
			index_drop_concurrently(work);
		else
			index_build_concurrently(work);
	}
	PG_CATCH();
	{
		ErrorData  *e;

		MemoryContextSwitchTo(b->round_cxt);
		e = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		/* the session's too */
		LockReleaseAll(DEFAULT_LOCKMETHOD, true);
		pgstat_progress_end_command();
		MemoryContextSwitchTo(b->round_cxt);
		report(b, work, e);
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(b->round_cxt);
	return done;
}

/* False: something has failed. */
static bool
do_all(IndexBuilder *b)
{
	bool		done = true;
	ListCell   *lc;

	foreach(lc, read_list(b))
	{
		const IndexWork *work = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		pgstat_report_activity(STATE_RUNNING, "building indexes, see baton.pending_indexes");
		/* unique ones come first, and while any is left this node should not lead */
		if (done || work->unique)
			index_work_tell_unique(b->node, work->unique);
		done &= do_one(b, work);
	}
	if (done)
		index_work_tell_unique(b->node, false);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextReset(b->round_cxt);
	return done;
}

static void
wait_to_retry(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static NodeShared *
attach(Oid dboid)
{
	NodeShared *node;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	pgstat_report_appname("baton index builder");
	node = node_find(dboid);
	if (node == NULL)
		proc_exit(0);
	node_worker_attach(node, WORKER_INDEX_BUILDER);
	baton_worker_exempt = true;
	apply_set_session();
	return node;
}

/*
 * Entry point; main_arg: oid of the database.  Ends when there is nothing left to do.
 */
void
baton_index_builder_main(Datum main_arg)
{
	IndexBuilder *b;
	NodeShared *node = attach(DatumGetObjectId(main_arg));
	int			retry = RETRY_FIRST_MS;

	b = MemoryContextAllocZero(TopMemoryContext, sizeof(IndexBuilder));
	b->node = node;
	b->round_cxt = AllocSetContextCreate(TopMemoryContext, "baton indexes", ALLOCSET_SMALL_SIZES);
	while (index_work_waits(node))
	{
		uint32		asked = pg_atomic_read_u32(&node->index_work_asked);

		pg_memory_barrier();
		if (do_all(b))
		{
			pg_atomic_write_u32(&node->index_work_done, asked);
			retry = RETRY_FIRST_MS;
			continue;
		}
		wait_to_retry(retry);
		retry = Min(retry * 2, RETRY_LAST_MS);
	}
	node_wake(node, WORKER_COORDINATOR);
	proc_exit(0);
}
