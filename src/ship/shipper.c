/*
 * shipper.c - one worker and one event loop that serve all other members.
 *
 * Each member has a link (link.h) of two connections: on the data connection go
 * frames, signs of life and messages, in libpq's pipeline mode; on the watch
 * connection one long poll after the other brings back what the member has to
 * say.  The loop takes a look at the node, gives each link its turn, and sleeps
 * until a socket is ready, somebody sets the latch (the log was flushed, a
 * message waits, a role has changed), or something is due.  Nothing in it waits
 * for one member, so a slow or dead one costs the others nothing; each is fed
 * from the log at its own pace.
 *
 * What a link does depends on what this node is:
 *
 *	 primary		ships what is flushed, or is just being flushed (shared_log.c), to
 *					every member that is not detached, from its TERM record on;
 *					heartbeats; watches
 *	 just was		lets the calls under way finish, delivers messages; watches on
 *					for WATCH_AFTER_MS, to see its successor lead
 *	 not reached	by any primary, for longer than an election takes: watches too, for
 *					perhaps nobody can reach this node, and answers come no other way
 *	 anything else	connects only to deliver messages to a member that does not
 *					watch this node, and closes when idle
 *
 * A commit, for example.  Capture appends its frame and sets our latch, under an ack
 * policy before it flushes, else behind that.
 * We read the tail; each link that is OPEN reads the frame from the log and puts
 * an append into its pipeline.  The replica appends, flushes and answers; its
 * link publishes flushed and applied in PeerShared and wakes the coordinator if
 * that waits for it.  The answers are counted (ack_publish.c), and when what the
 * ack policy asks for has come, the session that waits in its commit is let go.  The
 * applier over there moves on a moment later: the watch call returns with the new
 * applied position.
 *
 * A hand-over, as another.  The FAILOVER record goes out like any frame.  The
 * target applies it and puts a TRANSFER_REQUEST into its outbox for us, where our
 * watch call waits: it returns with it, and we post it to our coordinator, which
 * writes its vote down and puts the answer into our outbox.  From here on this
 * node is no primary: no more frames, no heartbeats; but the data connection
 * stays open and delivers the answer.  The target leads, and its next answer to
 * our watch says so (led_term), on which the coordinator ends this side.
 *
 * At SIGTERM the loop goes on as long as the coordinator wants it to (a server that
 * is shut down, see node/shutdown.c), and then for up to STOP_MS while frames that
 * are flushed here have not been acknowledged or messages wait, so that the last
 * word is spoken.
 */
#include "baton.h"

#include "miscadmin.h"
#include "node/shutdown.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "ship/link.h"
#include "ship/rpc.h"
#include "ship/shipper.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define WATCH_AFTER_MS	30000
#define STOP_MS			1500
/* How often it is looked whether the coordinator still wants this process. */
#define OUTLIVE_LOOK_MS	200
#define SHIPPER_NAP_MS	10000
/* latch, postmaster, and two sockets per link */
#define SHIPPER_EVENTS	(2 + 2 * CONSENSUS_MAX_MEMBERS)

/* ---- looking at the node ---- */

static Link *
shipper_find_link(Shipper *ship, uint16 id)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
		if (ship->links[i].id == id)
			return &ship->links[i];
	return NULL;
}

static void
shipper_drop_link(Link *link)
{
	link_close(link, NULL);
	watch_close(link);
	link->id = 0;
	link->leaving_until = 0;
	link->gone = false;
}

/* A link that is free, if need be that of a removed member. */
static Link *
shipper_free_link(Shipper *ship)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS && shipper_find_link(ship, 0) == NULL; i++)
		if (ship->links[i].leaving_until != 0)
			shipper_drop_link(&ship->links[i]);
	return shipper_find_link(ship, 0);
}

/* Make the links match the membership: one for each other member. */
static void
shipper_update_links(Shipper *ship)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		Link	   *link = &ship->links[i];
		Member	   *member;

		if (link->id == 0)
			continue;
		member = membership_find(&ship->membership, link->id);
		if (member == NULL)
		{
			link_leave(link);
			if (link->gone)
				shipper_drop_link(link);
		}
		else if (strcmp(member->conninfo, link->conninfo) != 0 ||
			strcmp(member->name, link->name) != 0)
			shipper_drop_link(link);
		else
		{
			link->detached = member->voter.detached;
			link->incarnation = member->incarnation;
		}
	}
	for (int i = 0; i < ship->membership.count; i++)
	{
		const Member *member = &ship->membership.members[i];

		if (member->voter.id != ship->view.self &&
			shipper_find_link(ship, member->voter.id) == NULL)
			link_init(shipper_free_link(ship), ship, member);
	}
}

/* Take over a changed membership; the caller holds state_lock. */
static bool
shipper_copy_membership(Shipper *ship)
{
	const NodeShared *node = ship->node;

	if (node->membership_turn == ship->membership_turn)
		return false;
	ship->membership_turn = node->membership_turn;
	ship->membership = node->membership;
	ship->membership_committed = node->membership_committed;
	if (!node->membership_committed)
		ship->before = node->membership_before;
	memcpy(ship->group_id, ship->node->group_id, sizeof(ship->group_id));
	ship->incarnation = ship->node->incarnation;
	return true;
}

static void
shipper_encode(Shipper *ship, const Membership *m, char **bytes, size_t *len)
{
	StreamBuf	buf = {0};

	membership_encode(m, &buf);
	if (buf.failed)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (*bytes != NULL)
		pfree(*bytes);
	*bytes = MemoryContextAlloc(ship->context, Max(buf.len, 1));
	memcpy(*bytes, buf.data, buf.len);
	*len = buf.len;
	stream_buf_free(&buf);
}

/*
 * The lease to ask for.  A primary whose own has lapsed, as of one that was frozen,
 * asks for none: it is about to step down, and a promise would only hold up the
 * election of another.
 */
static uint32
shipper_lease(NodeShared *node, uint64 now)
{
	uint64		until = pg_atomic_read_u64(&node->lease_until);

	if (until != 0 && now >= until)
		return 0;
	return pg_atomic_read_u32(&node->lease_ms);
}

static void
shipper_encode_membership(Shipper *ship)
{
	shipper_encode(ship, &ship->membership, &ship->membership_bytes, &ship->membership_len);
	if (!ship->membership_committed)
		shipper_encode(ship, &ship->before, &ship->before_bytes, &ship->before_len);
}

/* One consistent look at the node, for all links in this turn. */
static void
shipper_look(Shipper *ship)
{
	NodeShared *node = ship->node;
	ShipView   *view = &ship->view;
	bool		was_primary = view->primary;
	bool		changed;
	bool		unreached;

	view->now = boot_ms();
	view->wall = GetCurrentTimestamp();

	/* the log first: whoever sees a frame with a change of members there, and not held
	 * back, sees that membership below */
	LWLockAcquire(&node->log_lock, LW_SHARED);
	view->tail = node->tail;
	view->share_floor = node->share_floor;
	view->ship_end = Max(node->tail.flushed, node->ship_ahead);
	if (node->ship_hold != 0)
	{
		view->tail.flushed = Min(view->tail.flushed, node->ship_hold);
		view->ship_end = Min(view->ship_end, node->ship_hold);
	}
	LWLockRelease(&node->log_lock);

	LWLockAcquire(&node->state_lock, LW_SHARED);
	view->primary = node->state == NODE_PRIMARY;
	unreached = node->state == NODE_UNKNOWN || node->state == NODE_REPLICA;
	view->term = node->term;
	view->lead_start = view->primary && node->lead_term == node->term ? node->lead_start : 0;
	changed = view->self != node->self;
	view->self = node->self;
	changed |= shipper_copy_membership(ship);
	LWLockRelease(&node->state_lock);

	LWLockAcquire(&node->log_lock, LW_SHARED);
	/* a reign ends under log_lock, a moment before the state says so */
	if (!node->log_ready || node->log_error[0] != '\0' || node->append_term != view->term)
		view->primary = false;
	unreached = unreached && node->receiver_pid == 0;
	LWLockRelease(&node->log_lock);

	SpinLockAcquire(&node->mutex);
	view->peer_notify = node->peer_notify;
	view->committed = node->committed_term == view->term ? node->committed : 0;
	SpinLockRelease(&node->mutex);
	view->lease_ms = view->primary ? shipper_lease(node, view->now) : 0;
	view->apply_wanted = node_apply_wanted(node);

	if (was_primary && !view->primary)
		ship->watch_until = view->now + WATCH_AFTER_MS;
	if (!unreached)
		ship->unreached_since = 0;
	else if (ship->unreached_since == 0)
		ship->unreached_since = view->now;
	view->watching = view->primary || view->now < ship->watch_until ||
		(unreached && view->now >= ship->unreached_since + 2 * (uint64) baton_effective_election_timeout());
	lag_note(&ship->lag, view->tail.flushed, view->wall);
	if (changed)
	{
		shipper_encode_membership(ship);
		shipper_update_links(ship);
	}
}

/* ---- waiting ---- */

static void
shipper_build_set(Shipper *ship)
{
	if (ship->set != NULL)
		FreeWaitEventSet(ship->set);
	ship->set = baton_create_wait_event_set(SHIPPER_EVENTS);
	AddWaitEventToSet(ship->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(ship->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < 2 * CONSENSUS_MAX_MEMBERS; i++)
	{
		Link	   *link = &ship->links[i / 2];
		Talk	   *t = i % 2 == 0 ? &link->talk : &link->watch.talk;

		t->moved = false;
		t->set_index = -1;
		if (link->id == 0 || t->conn == NULL || PQsocket(t->conn->pg) < 0)
			continue;
		t->set_index = AddWaitEventToSet(ship->set, t->wanted, PQsocket(t->conn->pg), NULL, t);
		t->set_events = t->wanted;
	}
}

/* Bring the wait set up to what the connections want. */
static void
shipper_update_set(Shipper *ship)
{
	bool		rebuild = ship->set == NULL;

	for (int i = 0; i < 2 * CONSENSUS_MAX_MEMBERS && !rebuild; i++)
	{
		Link	   *link = &ship->links[i / 2];

		rebuild = (i % 2 == 0 ? &link->talk : &link->watch.talk)->moved;
	}
	if (rebuild)
	{
		shipper_build_set(ship);
		return;
	}
	for (int i = 0; i < 2 * CONSENSUS_MAX_MEMBERS; i++)
	{
		Link	   *link = &ship->links[i / 2];
		Talk	   *t = i % 2 == 0 ? &link->talk : &link->watch.talk;

		if (t->conn != NULL && t->set_index >= 0 && t->set_events != t->wanted)
		{
			ModifyWaitEvent(ship->set, t->set_index, t->wanted, NULL);
			t->set_events = t->wanted;
		}
	}
}

/* Sleep until something happens, for timeout ms at most, and serve the sockets. */
static void
shipper_wait(Shipper *ship, long timeout)
{
	WaitEvent	events[SHIPPER_EVENTS];
	int			n;

	shipper_update_set(ship);
	n = WaitEventSetWait(ship->set, timeout, events, SHIPPER_EVENTS, PG_WAIT_EXTENSION);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else if (events[i].user_data != NULL)
			((Talk *) events[i].user_data)->ready = events[i].events;
	}
	CHECK_FOR_INTERRUPTS();

	shipper_look(ship);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		Link	   *link = &ship->links[i];

		/* serving one connection may close it, or its sibling: look each time */
		if (link->id != 0 && link->talk.ready != 0 && link->talk.conn != NULL)
			link_ready(link);
		link->talk.ready = 0;
		if (link->id != 0 && link->watch.talk.ready != 0 && link->watch.talk.conn != NULL)
			watch_ready(link);
		link->watch.talk.ready = 0;
	}
}

/* ---- the worker ---- */

/* After SIGTERM: is everything said that can be said? */
static bool
shipper_may_stop(Shipper *ship)
{
	if (ship->stop_at == 0)
		ship->stop_at = ship->view.now + STOP_MS;
	if (ship->view.now >= ship->stop_at)
		return true;
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		const Link *link = &ship->links[i];

		if (link->id == 0 || link->step != STEP_OPEN)
			continue;
		if (link->n_calls > 0 || link->outbox_since != 0 ||
			(link->term != 0 && link_leads(link) && link->flushed < ship->view.tail.flushed))
			return false;
	}
	return true;
}

static void
shipper_loop(Shipper *ship)
{
	for (;;)
	{
		uint64		wake_at;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		shipper_look(ship);
		/* first: sessions wait for it */
		ack_publish(ship);
		wake_at = ship->view.now + SHIPPER_NAP_MS;
		for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
		{
			if (ship->links[i].id == 0)
				continue;
			link_turn(&ship->links[i]);
			if (ship->links[i].gone)
			{
				shipper_drop_link(&ship->links[i]);
				continue;
			}
			wake_at = Min(wake_at, ship->links[i].wake_at);
		}
		if (ShutdownRequestPending && node_worker_outlives(ship->node, WORKER_SHIPPER))
			wake_at = Min(wake_at, ship->view.now + OUTLIVE_LOOK_MS);
		else if (ShutdownRequestPending)
		{
			if (shipper_may_stop(ship))
				proc_exit(0);
			wake_at = Min(wake_at, ship->stop_at);
		}
		shipper_wait(ship, wake_at > ship->view.now ? (long) (wake_at - ship->view.now) : 0);
	}
}

/* At exit: say goodbye, so that the other side's backends end at once. */
static void
shipper_exit(int code, Datum arg)
{
	Shipper    *ship = (Shipper *) DatumGetPointer(arg);

	LWLockReleaseAll();
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		Link	   *link = &ship->links[i];

		if (link->id == 0)
			continue;
		link_close(link, NULL);
		watch_close(link);
		link_publish(link);
	}
}

/*
 * Background worker entry point; main_arg is the oid of the node's database.
 * Ends with code 0 at SIGTERM; expected failures (a member cannot be reached)
 * never end it.
 */
void
baton_shipper_main(Datum main_arg)
{
	Oid			dboid = DatumGetObjectId(main_arg);
	MemoryContext context;
	Shipper    *ship;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	pgstat_report_appname("baton shipper");

	context = AllocSetContextCreate(TopMemoryContext, "baton shipper", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	ship = palloc0(sizeof(Shipper));
	ship->context = context;
	ship->node = node_find(dboid);
	if (ship->node == NULL)
		proc_exit(0);
	node_worker_attach(ship->node, WORKER_SHIPPER);
	ship->collation = rpc_collation();
	before_shmem_exit(shipper_exit, PointerGetDatum(ship));

	pgstat_report_activity(STATE_RUNNING, "shipping the replication stream");
	shipper_loop(ship);
}
