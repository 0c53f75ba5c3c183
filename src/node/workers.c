/*
 * workers.c - which of a node's workers should run, and keeping it so.
 */
#include "node/coordinator.h"

#include "apply/index_work.h"
#include "node/launcher.h"
#include "node/shutdown.h"

#define RESTART_DELAY_MS 1000

static const struct
{
	const char *function;
	const char *name;
}			worker_table[WORKER_KINDS] =
{
	[WORKER_CAPTURE] = {"baton_capture_main", "capture"},
	[WORKER_SHIPPER] = {"baton_shipper_main", "shipper"},
	[WORKER_APPLIER] = {"baton_applier_main", "applier"},
	[WORKER_COPY] = {"baton_copy_main", "copy"},
	[WORKER_NOTIFIER] = {"baton_notifier_main", "notifier"},
	[WORKER_RECONCILE] = {"baton_reconcile_main", "reconcile"},
	[WORKER_FETCH] = {"baton_fetch_main", "fetch"},
	[WORKER_INDEX_BUILDER] = {"baton_index_builder_main", "index builder"},
};

/*
 * A node that has led, and did not hand over, may hold commits that are in no
 * stream.  Nothing of another primary is applied on top of them: capture, which
 * reads the own WAL, either gets past its end or finds them.
 */
static bool
own_wal_is_read(Coordinator *c)
{
	XLogRecPtr	captured;

	if (c->own_end == 0 || c->consensus.role == ROLE_PRIMARY)
		return true;
	SpinLockAcquire(&c->node->mutex);
	captured = c->node->captured_lsn;
	c->node->capture_notify_lsn = captured < c->own_end ? c->own_end : 0;
	SpinLockRelease(&c->node->mutex);
	if (captured < c->own_end)
		return false;
	c->own_end = 0;
	return true;
}

/*
 * Capture and shipper run in every state but copying and stopped (capture
 * moves the slot on a replica; the shipper carries messages), the applier on
 * whoever is not primary with an open gate, the notifier where there is somebody to
 * be told.
 */
static bool
worker_wanted(Coordinator *c, WorkerKind kind)
{
	if (c->down || !coordinator_reconcile_allows(c, kind))
		return false;
	switch (kind)
	{
		case WORKER_CAPTURE:
			return c->running && c->control.intent == INTENT_ACTIVE && c->control.slot_name[0] != '\0';
		case WORKER_SHIPPER:
			return c->running;
		case WORKER_APPLIER:
			return c->running && c->control.intent == INTENT_ACTIVE && !coordinator_is_arbiter(c) &&
				!(c->consensus.role == ROLE_PRIMARY && c->term_end == 0) &&
				own_wal_is_read(c);
		case WORKER_RECONCILE:
			return c->running && c->control.intent == INTENT_ACTIVE;
		case WORKER_COPY:
			return c->control.intent == INTENT_COPYING;
		case WORKER_NOTIFIER:
			return baton_on_role_change[0] != '\0';
		case WORKER_FETCH:
			return c->running && c->control.intent == INTENT_ACTIVE &&
				c->consensus.role == ROLE_UNKNOWN && c->consensus.fetch_from != 0;
		case WORKER_INDEX_BUILDER:
			return c->running && c->control.intent == INTENT_ACTIVE && index_work_waits(c->node);
		default:
			return false;
	}
}

/* Ask a worker to end, whatever else it is waiting for; one that this process has not
 * started is not its to end. */
void
coordinator_end_worker(Coordinator *c, WorkerKind kind)
{
	if (c->workers[kind].handle == NULL)
		return;
	node_worker_tell(c->node, kind, true);
	TerminateBackgroundWorker(c->workers[kind].handle);
}

/* Has the worker ended?  Forgets its handle then. */
static bool
worker_ended(WorkerSlot *slot)
{
	pid_t		pid;

	if (slot->handle == NULL)
		return true;
	if (GetBackgroundWorkerPid(slot->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(slot->handle);
	slot->handle = NULL;
	return true;
}

static void
supervise_one(Coordinator *c, WorkerKind kind, uint64 now)
{
	WorkerSlot *slot = &c->workers[kind];
	bool		had = slot->handle != NULL;
	bool		ended = worker_ended(slot);

	if (had && ended)
		slot->restart_at = slot->wanted ? now + RESTART_DELAY_MS : 0;
	slot->wanted = worker_wanted(c, kind);
	if (!slot->wanted)
	{
		coordinator_end_worker(c, kind);
		return;
	}
	if (!ended || now < slot->restart_at)
		return;
	node_worker_tell(c->node, kind, false);
	if ((kind == WORKER_APPLIER || kind == WORKER_RECONCILE) && c->consensus.role == ROLE_REPLICA)
		coordinator_roll_back_prepared(c);
	if (launch_worker(worker_table[kind].function, worker_table[kind].name, c->node->dboid, &slot->handle))
	{
		slot->complained = false;
		return;
	}
	slot->restart_at = now + RESTART_DELAY_MS;
	if (!slot->complained)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no free background worker for baton %s in database \"%s\"",
						worker_table[kind].name, c->node->dbname),
				 errhint("Raise \"max_worker_processes\".")));
	slot->complained = true;
}

/*
 * Start what should run and does not, end what should not.  now: boot_ms().
 */
void
coordinator_supervise(Coordinator *c, uint64 now)
{
	char		trouble[BATON_REASON_LEN] = "";

	coordinator_make_way(c, now);
	for (int kind = WORKER_CAPTURE; kind < WORKER_KINDS; kind++)
	{
		supervise_one(c, kind, now);
		if (c->workers[kind].wanted && c->workers[kind].complained)
			snprintf(trouble, sizeof(trouble),
					 "no free background worker for baton %s: raise \"max_worker_processes\"",
					 worker_table[kind].name);
	}
	if (strcmp(trouble, c->trouble) != 0)
	{
		strlcpy(c->trouble, trouble, sizeof(c->trouble));
		coordinator_publish(c);
	}
}

/*
 * Wait until a worker that is about to end by itself is gone; the next one is
 * started without a pause.
 */
void
coordinator_await_worker(Coordinator *c, WorkerKind kind)
{
	WorkerSlot *slot = &c->workers[kind];

	slot->wanted = false;
	if (slot->handle == NULL)
		return;
	(void) WaitForBackgroundWorkerShutdown(slot->handle);
	pfree(slot->handle);
	slot->handle = NULL;
	slot->restart_at = 0;
}

/*
 * End a worker and wait until it is gone.
 */
void
coordinator_stop_worker(Coordinator *c, WorkerKind kind)
{
	coordinator_end_worker(c, kind);
	coordinator_await_worker(c, kind);
}

/* Ask all workers to end, without waiting. */
void
coordinator_end_workers(Coordinator *c)
{
	for (int kind = WORKER_CAPTURE; kind < WORKER_KINDS; kind++)
		coordinator_end_worker(c, kind);
}

void
coordinator_stop_workers(Coordinator *c)
{
	/* all at once, then wait for each */
	coordinator_end_workers(c);
	for (int kind = WORKER_CAPTURE; kind < WORKER_KINDS; kind++)
		coordinator_stop_worker(c, kind);
}

/*
 * The same with those that replicate: whoever is to be told of this change of state
 * by baton.on_role_change still is.
 */
void
coordinator_stop_replicating(Coordinator *c)
{
	for (int kind = WORKER_CAPTURE; kind < WORKER_KINDS; kind++)
		if (kind != WORKER_NOTIFIER)
			coordinator_stop_worker(c, kind);
}
