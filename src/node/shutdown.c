/*
 * shutdown.c - the clean shutdown of a primary's server.
 *
 * A fast shutdown sends SIGTERM to every process but walsenders, and a smart one
 * does so when the last client has gone.  From then on no connection is accepted
 * and no worker started; the WAL writer is gone.  What is there stays until it
 * ends by itself: so capture (whose walsender is spared), shipper and coordinator
 * outlive the signal while the coordinator of a primary goes through this:
 *
 *   command     a failover that is under way comes to its end; its caller has
 *               gone, so it is given up unless the vote is given
 *   hand over   baton.failover_on_shutdown, and an electable replica streams and
 *               is near: the planned failover of command.c, which ends this
 *               node's reign.  All of it travels on connections that this node
 *               opened.  The intent stays ACTIVE: after its restart the node is
 *               a replica by itself
 *   ship        else: the WAL is flushed, capture has passed its end, and every
 *               replica that streams has it on disk
 *
 * and all this by baton.shutdown_timeout at the latest, to which time it also waits
 * for baton.on_role_change to be told that this node leads no more.  Then it tells
 * the others to end, and ends.  Any other node ends at once, and so does a primary whose
 * replicas are all gone: a whole cluster stops without waiting.  An immediate
 * shutdown asks nobody.
 */
#include "node/coordinator.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "node/notifier.h"
#include "node/shutdown.h"
#include "replication/message.h"
#include "utils/pidfile.h"

/* ---- for every worker ---- */

/*
 * The postmaster writes into its lock file that it stops before it signals
 * anybody; nothing in shared memory says so.
 */
static bool
lock_file_says_stopping(void)
{
	char		buf[1024 + 2 * MAXPGPATH];
	char	   *line = buf;
	int			fd = open("postmaster.pid", O_RDONLY, 0);
	ssize_t		len;

	if (fd < 0)
		return true;			/* it is gone: so is the postmaster */
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return false;
	buf[len] = '\0';
	for (int n = 1; n < LOCK_FILE_LINE_PM_STATUS && line != NULL; n++)
	{
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return line != NULL && strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

/*
 * Once true it stays so: a shutdown is never called off.
 */
bool
server_is_stopping(void)
{
	static bool stopping = false;

	if (!stopping)
		stopping = lock_file_says_stopping();
	return stopping;
}

bool
node_worker_outlives(NodeShared *node, WorkerKind kind)
{
	bool		alone;

	if (!server_is_stopping())
		return false;
	SpinLockAcquire(&node->mutex);
	alone = node->worker_told[kind] || node->worker_pid[WORKER_COORDINATOR] == 0;
	SpinLockRelease(&node->mutex);
	return !alone;
}

void
node_worker_tell(NodeShared *node, WorkerKind kind, bool end)
{
	SpinLockAcquire(&node->mutex);
	node->worker_told[kind] = end;
	SpinLockRelease(&node->mutex);
}

/* ---- for the coordinator ---- */

static bool
leads(const Coordinator *c)
{
	return c->consensus.role == ROLE_PRIMARY && c->term_end == 0;
}

static bool
capture_runs(Coordinator *c)
{
	pid_t		pid;

	SpinLockAcquire(&c->node->mutex);
	pid = c->node->worker_pid[WORKER_CAPTURE];
	SpinLockRelease(&c->node->mutex);
	return pid != 0;
}

/* Does a replica stream that has not flushed the log up to pos? */
static bool
replica_lacks(Coordinator *c, StreamPos pos)
{
	NodeShared *node = c->node;
	bool		lacks = false;

	LWLockAcquire(&node->peer_lock, LW_SHARED);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
		if (node->peers[i].id != 0 && node->peers[i].link == LINK_STREAMING &&
			node->peers[i].flushed < pos)
			lacks = true;
	LWLockRelease(&node->peer_lock);
	return lacks;
}

static void
begin_shutdown(Coordinator *c, uint64 now)
{
	bool		busy = c->failover.phase != PHASE_IDLE;

	c->shutdown.deadline = now + baton_shutdown_timeout;
	c->shutdown.tell = server_is_stopping() && !c->down && (leads(c) || busy);
	c->shutdown.phase = c->shutdown.tell ? SHUTDOWN_COMMAND : SHUTDOWN_DONE;
	if (busy && c->failover.phase < PHASE_STOP_REPLICATION)
		c->node->command.cancel = true;
}

static void
begin_ship(Coordinator *c)
{
	NodeShared *node = c->node;

	c->shutdown.phase = SHUTDOWN_DONE;
	if (!leads(c) || !capture_runs(c) || !replica_lacks(c, PG_UINT64_MAX))
		return;
	c->shutdown.phase = SHUTDOWN_SHIP;
	gate_set(node, GATE_HELD);
	c->shutdown.end = InvalidXLogRecPtr;
}

static void
begin_hand_over(Coordinator *c, uint64 now)
{
	if (leads(c) && baton_failover_on_shutdown && capture_runs(c) &&
		failover_at_shutdown(c, c->shutdown.deadline - now))
		c->shutdown.phase = SHUTDOWN_HAND_OVER;
	else
		begin_ship(c);
}

/* The target, or what brings it the stream, has gone: no need to wait for the deadline. */
static void
poll_hand_over(Coordinator *c)
{
	if (c->failover.phase == PHASE_IDLE)
		begin_ship(c);
	else if (!capture_runs(c) || !failover_target_streams(c))
		c->node->command.cancel = true;
}

static void
poll_ship(Coordinator *c)
{
	NodeShared *node = c->node;
	XLogRecPtr	captured;

	if (!gate_barrier_passed(node->dboid))
		return;
	if (c->shutdown.end == InvalidXLogRecPtr)
	{
		c->shutdown.end = baton_log_marker("baton");
		XLogFlush(c->shutdown.end);
	}
	SpinLockAcquire(&node->mutex);
	captured = node->captured_lsn;
	node->capture_notify_lsn = captured < c->shutdown.end ? c->shutdown.end : InvalidXLogRecPtr;
	SpinLockRelease(&node->mutex);
	if (captured < c->shutdown.end)
		node_wake(node, WORKER_CAPTURE);
	if ((captured >= c->shutdown.end || !capture_runs(c)) &&
		!replica_lacks(c, node_log_tail(node).flushed))
		c->shutdown.phase = SHUTDOWN_DONE;
}

/*
 * The coordinator has been asked to end: true when it may.  To be called at each
 * turn from then on.  now: boot_ms().
 */
bool
coordinator_may_end(Coordinator *c, uint64 now)
{
	if (c->shutdown.phase == SHUTDOWN_NOT)
		begin_shutdown(c, now);
	if (c->shutdown.phase == SHUTDOWN_COMMAND && c->failover.phase == PHASE_IDLE)
		begin_hand_over(c, now);
	if (c->shutdown.phase == SHUTDOWN_HAND_OVER)
		poll_hand_over(c);
	if (c->shutdown.phase == SHUTDOWN_SHIP)
		poll_ship(c);
	if (c->shutdown.phase == SHUTDOWN_DONE)
		return now >= c->shutdown.deadline || !c->shutdown.tell || !notifier_busy(c->node);
	if (now >= c->shutdown.deadline)
	{
		ereport(LOG,
				(errmsg("database \"%s\" leaves before its replicas have everything", c->node->dbname),
				 errdetail("The server stops, and %d ms (baton.shutdown_timeout) have passed.",
						   baton_shutdown_timeout)));
		c->shutdown.phase = SHUTDOWN_DONE;
	}
	return c->shutdown.phase == SHUTDOWN_DONE;
}
