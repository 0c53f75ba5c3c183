/*
 * launcher.c - the one process per server that keeps coordinators running.
 *
 * Every established node in shared memory gets a coordinator: slots are filled
 * from the directories under baton/ when shared memory is made, and by
 * create_group() and join_group().  A coordinator that has given its slot back
 * (leave_group) is gone for good; any other end is followed by a new start, a second
 * later, and with growing pauses if it ends again and again.
 *
 * A database that was dropped while baton was not loaded leaves its directory
 * behind.  No coordinator can be started for it, so the launcher looks into the
 * shared catalogs first, and gives up such a slot with one line in the log.
 */
#include "baton.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "node/launcher.h"
#include "node/sync_names.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "utils/timestamp.h"

#define RESTART_DELAY_MS 1000
#define RESTART_MAX_DELAY_MS 60000
/* A coordinator that ran this long was not a failed start. */
#define GOOD_START_MS 10000

PGDLLEXPORT void baton_launcher_main(Datum main_arg);

typedef struct LaunchSlot
{
	uint64		generation;		/* of the node whose coordinator `handle` is */
	BackgroundWorkerHandle *handle;
	TimestampTz started_at;
	TimestampTz restart_at;
	int			delay_ms;
	bool		complained;
} LaunchSlot;

void
launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "baton", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "baton_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "baton launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "baton launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* A node that create_group() or join_group() still prepares is not, yet. */
static bool
to_be_started(const NodeShared *node)
{
	return OidIsValid(node->dboid) && node->established;
}

/* Does the node's database exist?  Gives the node slot back if not. */
static bool
database_exists(NodeShared *node)
{
	bool		exists;

	StartTransactionCommand();
	exists = get_database_name(node->dboid) != NULL;
	CommitTransactionCommand();
	if (exists)
		return true;
	ereport(LOG,
			(errmsg("directory \"%s\" belongs to a database that does not exist any more", node->directory),
			 errhint("Remove the directory.")));
	node_slot_release(node);
	return false;
}

/*
 * Start one of baton's background workers, which is never restarted by the
 * postmaster.  function: in this library; kind: what it is called in
 * pg_stat_activity, behind "baton "; dboid: its argument.  *handle is allocated in
 * TopMemoryContext.  Returns false if there is no free worker slot.
 */
bool
launch_worker(const char *function, const char *kind, Oid dboid, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = {0};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		ok;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(dboid);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "baton", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "baton %s %u", kind, dboid);
	snprintf(worker.bgw_type, BGW_MAXLEN, "baton %s", kind);
	ok = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return ok;
}

/* Say in the log and in baton.status why a node does not start, once. */
static void
complain(LaunchSlot *slot, NodeShared *node)
{
	const char *why = "no free background worker: raise \"max_worker_processes\"";

	if (slot->complained)
		return;
	slot->complained = true;
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("no free background worker for the baton node in database %u", node->dboid),
			 errhint("Raise \"max_worker_processes\".")));
	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	node->state = NODE_DOWN;
	strlcpy(node->reason, why, BATON_REASON_LEN);
	LWLockRelease(&node->state_lock);
	ConditionVariableBroadcast(&node->state_cv);
}

/*
 * Does a coordinator of the node run, though this launcher has not started it?  It
 * outlives the launcher that has.
 */
static bool
runs_already(NodeShared *node)
{
	bool		runs;

	SpinLockAcquire(&node->mutex);
	runs = node->worker_pid[WORKER_COORDINATOR] != 0;
	SpinLockRelease(&node->mutex);
	return runs;
}

/* Bring one slot of ours in line with its node slot. */
static void
supervise(LaunchSlot *slot, NodeShared *node, TimestampTz now)
{
	pid_t		pid;

	if (slot->handle != NULL)
	{
		if (GetBackgroundWorkerPid(slot->handle, &pid) != BGWH_STOPPED)
			return;
		pfree(slot->handle);
		slot->handle = NULL;
		if (slot->delay_ms == 0 || now > TimestampTzPlusMilliseconds(slot->started_at, GOOD_START_MS))
			slot->delay_ms = RESTART_DELAY_MS;
		else
			slot->delay_ms = Min(2 * slot->delay_ms, RESTART_MAX_DELAY_MS);
		slot->restart_at = TimestampTzPlusMilliseconds(now, slot->delay_ms);
	}
	if (slot->generation != node->generation)
	{
		slot->generation = node->generation;
		slot->restart_at = 0;
		slot->delay_ms = 0;
	}
	if (!to_be_started(node) || now < slot->restart_at || runs_already(node) ||
		!database_exists(node))
		return;
	if (launch_worker("baton_coordinator_main", "coordinator", node->dboid, &slot->handle))
	{
		slot->started_at = now;
		slot->complained = false;
	}
	else
	{
		complain(slot, node);
		slot->restart_at = TimestampTzPlusMilliseconds(now, RESTART_DELAY_MS);
	}
}

static void
launcher_exit(int code, Datum arg)
{
	SpinLockAcquire(&baton_shared->mutex);
	baton_shared->launcher_latch = NULL;
	baton_shared->launcher_pid = 0;
	SpinLockRelease(&baton_shared->mutex);
}

void
baton_launcher_main(Datum main_arg)
{
	LaunchSlot *slots;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("baton launcher");

	slots = MemoryContextAllocZero(TopMemoryContext,
								   sizeof(LaunchSlot) * baton_shared->max_nodes);
	SpinLockAcquire(&baton_shared->mutex);
	baton_shared->launcher_latch = MyLatch;
	baton_shared->launcher_pid = MyProcPid;
	SpinLockRelease(&baton_shared->mutex);
	before_shmem_exit(launcher_exit, 0);
	sync_names_drop_stale();

	while (!ShutdownRequestPending)
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		waiting = false;

		for (int i = 0; i < baton_shared->max_nodes; i++)
		{
			supervise(&slots[i], &baton_shared->nodes[i], now);
			if (to_be_started(&baton_shared->nodes[i]) && slots[i].handle == NULL)
				waiting = true;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT,
						 waiting ? RESTART_DELAY_MS : 60 * 1000L, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	/* 1: started again, if the server is not going down after all */
	proc_exit(1);
}
