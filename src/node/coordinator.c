/*
 * coordinator.c - one process per node: owns the consensus state and the control
 * file, starts and ends the node's other workers, carries out commands.
 *
 * Progression: recover (control file, log) -> make the slot if the group is new ->
 * start consensus unless the node is stopped or detached -> loop.  Each turn of
 * the loop takes in, in this order: configuration, requests of the copy worker, what
 * renews the lease, messages of other members, signs of life of the primary, a
 * FAILOVER record that names this node, a command of a session, the running failover, the clock; and
 * then does the upkeep that can wait (worker restarts, marks, old segments, event
 * rows).  It sleeps on its latch; whoever has something for it sets that.
 *
 * Two flows.  A replica is handed the lead: the applier has applied all up to the
 * FAILOVER record and wakes us -> EV_FAILOVER_SEEN -> TRANSFER_REQUEST to the
 * old primary, through the outbox -> its answer arrives in the inbox -> the
 * core takes the new term: control file, TERM frame, state primary -> the applier
 * passes the TERM frame and wakes us -> gate opens.
 * A primary's server crashes and comes back: recover finds was_primary -> the
 * core asks the others for votes in a new term -> elected, or alone by the
 * two-node rule after one election timeout -> TERM frame -> gate opens; or a
 * member answers that another leads -> replica.
 */
#include "node/coordinator.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "apply/origin.h"
#include "capture/slot.h"
#include "copy/copy.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PGDLLEXPORT void baton_coordinator_main(Datum main_arg);

/* How long a new group's slot may take to be made before we try again. */
#define SLOT_TIMEOUT_MS 60000
/* How long clients wait for a restarted coordinator to lead again. */
#define HELD_MS 10000
/* How long a lock is waited for, by the few statements that this process runs. */
#define LOCK_TIMEOUT "50ms"

/*
 * Write the control file, where what changed are only marks that an older file may
 * have just as well.  Says once that it fails.
 */
bool
coordinator_save_marks(Coordinator *c)
{
	ControlError err;
	bool		failed = control_write(c->node->directory, &c->control, &err) != CONTROL_OK;

	if (failed && !c->marks_failed)
		ereport(LOG,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not write the control file of the baton node in database \"%s\"; trying again each second",
						c->node->dbname),
				 errdetail("%s", err.message)));
	c->marks_failed = failed;
	return !failed;
}

/*
 * Write the control file.  What cannot be written must not be acted upon, so a
 * failure ends this process; the gate does not stay open behind it (see
 * coordinator_exit), and the launcher starts the next one.
 */
void
coordinator_save(Coordinator *c)
{
	ControlError err;

	if (control_write(c->node->directory, &c->control, &err) != CONTROL_OK)
		ereport(FATAL,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not write the control file of the baton node in database \"%s\"", c->node->dbname),
				 errdetail("%s", err.message)));
}

/*
 * However this process ends, nobody appends in its term behind it.  Writers
 * wait (HELD) for the next coordinator, which leads again or closes the gate.
 */
static void
coordinator_exit(int code, Datum arg)
{
	Coordinator *c = (Coordinator *) DatumGetPointer(arg);
	NodeShared *node = c->node;

	if (c->released)
		return;
	/* an error may have come with one of ours held */
	LWLockReleaseAll();
	if (pg_atomic_read_u32(&node->gate) != GATE_CLOSED)
		gate_set(node, GATE_HELD);
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->append_term = 0;
	node->fetch_from = 0;
	LWLockRelease(&node->log_lock);
	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	node->lead_term = 0;
	node->state = NODE_DOWN;
	if (!c->down)
		strlcpy(node->reason, "its coordinator has ended", BATON_REASON_LEN);
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	node->capture_term = 0;
	SpinLockRelease(&node->mutex);
	ConditionVariableBroadcast(&node->state_cv);
	coordinator_end_workers(c);
}

/* A clean shutdown leaves exact marks. */
static void
save_marks_at_exit(Coordinator *c)
{
	if (!c->down && c->control.intent != INTENT_COPYING && c->node->log_ready)
	{
		c->next_upkeep = 0;
		coordinator_upkeep(c);
	}
}

/* ---- taking things in ---- */

static void
take_copy_requests(Coordinator *c)
{
	bool		dirty = false;

	if (c->control.intent != INTENT_COPYING)
		return;
	copy_serve_coordinator(c->node, &c->control, &dirty);
	if (!dirty)
		return;
	coordinator_save(c);
	copy_serve_done(c->node);
	if (c->control.intent == INTENT_ACTIVE)
		coordinator_note(c, "joined", "the initial copy is complete");
	coordinator_publish(c);
}

static void
take_messages(Coordinator *c)
{
	NodeShared *node = c->node;

	for (;;)
	{
		ConsensusMessage m;
		ConsensusEvent e = {EV_MESSAGE};
		bool		got = false;

		SpinLockAcquire(&node->mutex);
		if (node->inbox_len > 0)
		{
			m = node->inbox[0];
			node->inbox_len--;
			memmove(&node->inbox[0], &node->inbox[1], sizeof(ConsensusMessage) * node->inbox_len);
			got = true;
		}
		SpinLockRelease(&node->mutex);
		if (!got)
			return;
		e.message = m;
		coordinator_event(c, &e);
	}
}

/*
 * The receiver wants to cut the log back to the last frame that it shares with
 * the primary's: the marks on disk must not point behind the new end.
 */
static void
take_cut_request(Coordinator *c)
{
	NodeShared *node = c->node;
	uint64		asked,
				allowed;
	StreamPos	pos;

	SpinLockAcquire(&node->mutex);
	asked = node->cut_asked;
	allowed = node->cut_allowed;
	pos = node->cut_pos;
	SpinLockRelease(&node->mutex);
	if (asked == allowed)
		return;
	c->control.known_flushed = Min(c->control.known_flushed, pos);
	stream_terms_cut(&c->control.terms, c->control.known_flushed);
	c->control.applied_floor = Min(c->control.applied_floor, pos);
	coordinator_note_cut(c);
	coordinator_save(c);
	SpinLockAcquire(&node->mutex);
	node->applied = Min(node->applied, pos);
	node->cut_allowed = asked;
	SpinLockRelease(&node->mutex);
	ConditionVariableBroadcast(&node->state_cv);
	coordinator_note(c, "log cut", "the stream log is cut at " STREAM_POS_FORMAT ", the last place it shares with the primary's",
					 STREAM_POS_ARGS(pos));
}

/*
 * position() waits for the exact states of sequences; sessions have changed roles.  A
 * failover that is about to write the last record of the reign tells them itself.
 */
static void
take_sequence_requests(Coordinator *c)
{
	uint64		asked;

	if (!coordinator_tells_sequences(c))
		return;
	if (sequences_wanted(c->node, &asked))
		(void) coordinator_tell(c, true);
	else
		roles_publish(c->roles, false);
}

/* The receiver found that this log cannot follow the primary's. */
static void
take_sync_error(Coordinator *c)
{
	char		why[BATON_REASON_LEN];

	SpinLockAcquire(&c->node->mutex);
	strlcpy(why, c->node->sync_error, sizeof(why));
	c->node->sync_error[0] = '\0';
	SpinLockRelease(&c->node->mutex);
	if (why[0] != '\0' && c->control.intent == INTENT_ACTIVE)
		coordinator_detach(c, why);
}

static void
take_signs_of_life(Coordinator *c)
{
	NodeShared *node = c->node;
	ConsensusEvent e = {EV_LEADER_CONTACT};

	SpinLockAcquire(&node->mutex);
	e.sent = node->heard_at;
	e.term = node->heard_term;
	e.leader = node->heard_leader;
	e.lease = node->heard_lease;
	SpinLockRelease(&node->mutex);
	if (e.sent == c->seen_heard_at || !c->running)
		return;
	c->seen_heard_at = e.sent;
	if (e.leader != 0 && e.leader != c->control.self && TERM_MEMBER(e.term) == e.leader)
		coordinator_event(c, &e);
}

/* The applier has passed a FAILOVER record that names this node. */
static void
take_failover_record(Coordinator *c)
{
	NodeShared *node = c->node;
	ConsensusEvent e = {EV_FAILOVER_SEEN};
	bool		seen;

	SpinLockAcquire(&node->mutex);
	seen = node->failover_seen;
	node->failover_seen = false;
	e.term = node->failover.term;
	e.attempt = node->failover.attempt;
	e.target = node->failover.target;
	e.leader = node->failover_from;
	SpinLockRelease(&node->mutex);
	if (seen && c->running)
		coordinator_event(c, &e);
}

/* Has the log got to where the member's was that the core had fetched from? */
static bool
fetch_is_done(Coordinator *c)
{
	StreamTail	tail;
	ConsensusPlace end;

	if (c->consensus.fetch_from == 0)
		return false;
	tail = node_log_tail(c->node);
	end.term = tail.last_term;
	end.pos = tail.flushed;
	return consensus_place_cmp(end, c->consensus.fetch_place) >= 0;
}

static void
take_clock(Coordinator *c, uint64 now)
{
	ConsensusEvent e = {EV_TICK};

	if (c->running && c->next_tick != 0 && (now >= c->next_tick || fetch_is_done(c)))
		coordinator_event(c, &e);
}

/*
 * A coordinator that died in its reign has left the gate HELD: clients wait for
 * this node to lead again.  Once that is out of sight they are told.
 */
static void
end_waiting_in_vain(Coordinator *c, uint64 now)
{
	bool		hopeful = c->consensus.role == ROLE_PRIMARY || c->consensus.role == ROLE_CANDIDATE;

	if (pg_atomic_read_u32(&c->node->gate) != GATE_HELD || c->failover.phase != PHASE_IDLE)
		return;
	if (!hopeful || now >= c->held_until)
		gate_set(c->node, GATE_CLOSED);
}

/* ---- a group that has just been created ---- */

static void
show_slot_wait(NodeShared *node, const char *why)
{
	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	snprintf(node->reason, BATON_REASON_LEN, "cannot make its replication slot yet: %s", why);
	LWLockRelease(&node->state_lock);
	ConditionVariableBroadcast(&node->state_cv);
}

/* While the slot waits for others' transactions: say so, and let a command in. */
static bool
slot_still_wanted(NodeShared *node, const char *waits_for)
{
	show_slot_wait(node, waits_for);
	return !node_command_waits(node);
}

/*
 * The first node of a group needs its slot before it can lead; its gate is open
 * all the while, for what is committed meanwhile will be in every copy.
 */
static bool
make_first_slot(Coordinator *c)
{
	char		name[NAMEDATALEN];
	char		err[BATON_ERROR_LEN];

	if (c->control.slot_name[0] != '\0' || c->control.intent != INTENT_ACTIVE ||
		coordinator_is_arbiter(c))
		return true;
	if (!capture_slot_create(c->node, SLOT_TIMEOUT_MS, slot_still_wanted, err, sizeof(err)))
	{
		show_slot_wait(c->node, err);
		ereport(LOG,
				(errmsg("baton cannot make the replication slot of database \"%s\" yet: %s",
						c->node->dbname, err)));
		return false;
	}
	capture_slot_name(c->node, name);
	strlcpy(c->control.slot_name, name, BATON_NAME_LEN);
	coordinator_save(c);
	SpinLockAcquire(&c->node->mutex);
	strlcpy(c->node->slot_name, name, NAMEDATALEN);
	SpinLockRelease(&c->node->mutex);
	return true;
}

/* A command that a coordinator before us had begun gets no second run. */
static void
answer_stale_command(Coordinator *c)
{
	CommandShared *cmd = &c->node->command;
	bool		stale;

	LWLockAcquire(&c->node->command_lock, LW_SHARED);
	stale = cmd->kind != COMMAND_NONE && !cmd->done;
	LWLockRelease(&c->node->command_lock);
	if (stale)
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "the coordinator was restarted in the middle of the command", NULL,
					   "See baton.status, and call it again if it is still wanted.");
}

static void
begin(Coordinator *c)
{
	answer_stale_command(c);
	coordinator_recover(c);
	if (c->down)
	{
		gate_set(c->node, GATE_CLOSED);
		/* what is known of the group, so that the node can leave it */
		if (c->control.self != 0)
			coordinator_publish_members(c);
		return;
	}
	coordinator_publish_members(c);
	LWLockAcquire(&c->node->log_lock, LW_EXCLUSIVE);
	c->node->ship_hold = 0;
	LWLockRelease(&c->node->log_lock);
	coordinator_publish(c);
	while (!make_first_slot(c))
	{
		coordinator_commands(c);
		if (c->released)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	(void) apply_origin_ensure(c->node);
	if (c->control.intent == INTENT_ACTIVE || c->control.intent == INTENT_COPYING)
		coordinator_start_consensus(c);
	else
	{
		coordinator_init_consensus(c);
		coordinator_publish(c);
	}
	c->held_until = boot_ms() + HELD_MS;
	pg_atomic_write_u32(&c->node->door_closed,
						c->control.intent == INTENT_DETACHED && c->control.door_closed);
}

/* ---- the loop ---- */

static long
sleep_ms(Coordinator *c, uint64 now)
{
	uint64		until = now + 1000;

	/* what one_turn() would not do is nothing to wake up for */
	if (c->running && c->next_tick != 0)
		until = Min(until, c->next_tick);
	if (c->failover.phase == PHASE_IDLE && c->next_upkeep != 0)
		until = Min(until, c->next_upkeep);
	for (int kind = WORKER_CAPTURE; kind < WORKER_KINDS; kind++)
		if (c->workers[kind].wanted && c->workers[kind].handle == NULL)
			until = Min(until, Max(c->workers[kind].restart_at, now + 1));
	/* apply may come to wait for a lock */
	if (c->workers[WORKER_INDEX_BUILDER].handle != NULL || c->term_end != 0 || c->apply_waits_since != 0)
		until = Min(until, now + 50);
	if (c->shutdown.phase != SHUTDOWN_NOT)
		until = Min(until, now + 5);
	if (c->command_id != 0 && change_is_command(c->node->command.kind))
		until = Min(until, now + 20);
	if (c->sync_effect_at > now)
		until = Min(until, c->sync_effect_at);
	else if (c->sync_drop_at != 0 || now < c->sync_written_at + 1000)
		until = Min(until, now + 20);
	if (c->failover.phase != PHASE_IDLE)
		until = Min(until, now + (c->failover.phase == PHASE_STOP_CLIENTS ? 1 : 5));
	return until > now ? (long) (until - now) : 0;
}

static void
one_turn(Coordinator *c)
{
	uint64		now = boot_ms();

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	coordinator_lease_length(c, now);
	if (!c->down)
	{
		take_copy_requests(c);
		coordinator_adopt_membership(c);
		coordinator_take_promise(c);
		coordinator_take_heard(c);
		take_messages(c);
		take_signs_of_life(c);
		take_cut_request(c);
		take_sync_error(c);
		coordinator_take_reconcile(c);
		coordinator_take_copy_wanted(c);
		take_failover_record(c);
	}
	if (!c->down)
		coordinator_commit_membership(c);
	if (!ShutdownRequestPending)
		coordinator_commands(c);
	coordinator_take_notes(c);
	if (c->released)
		return;
	coordinator_follow_policy(c, now);
	if (c->down)
		return;
	take_sequence_requests(c);
	failover_poll(c, now);
	coordinator_open_gate_if_ready(c);
	take_clock(c, now);
	end_waiting_in_vain(c, now);
	/* a server that stops starts no worker */
	if (!ShutdownRequestPending)
		coordinator_supervise(c, now);
	if (c->failover.phase == PHASE_IDLE)
	{
		coordinator_welcome_joined(c);
		coordinator_end_pause(c);
		coordinator_hand_to_preferred(c, now);
		coordinator_upkeep(c);
		coordinator_write_events(c);
	}
}

/*
 * What this process sets for itself, whatever the server and the database say: it
 * runs SQL as a superuser, so no name may lead into a schema of the database's
 * owner; and it has better things to do than to wait for a lock.
 */
static void
own_settings(void)
{
	SetConfigOption("search_path", "", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

void
baton_coordinator_main(Datum main_arg)
{
	Coordinator *c = MemoryContextAllocZero(TopMemoryContext, sizeof(Coordinator));
	MemoryContext turn;

	c->node = node_find(DatumGetObjectId(main_arg));
	c->sequences = sequences_create(c->node, TopMemoryContext);
	c->roles = role_publisher_create(c->node, TopMemoryContext);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (c->node == NULL)
		return;					/* given back before we started */

	baton_worker_exempt = true;
	BackgroundWorkerInitializeConnectionByOid(c->node->dboid, InvalidOid, 0);
	pgstat_report_appname("baton coordinator");
	own_settings();
	/* two of them would write one control file, and vote twice */
	if (!node_worker_attach(c->node, WORKER_COORDINATOR))
		proc_exit(1);
	before_shmem_exit(coordinator_exit, PointerGetDatum(c));
	begin(c);
	/* from here on a shutdown ends a turn, not whatever is under way */
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);

	turn = AllocSetContextCreate(TopMemoryContext, "baton coordinator turn", ALLOCSET_DEFAULT_SIZES);
	while (!c->released && !(ShutdownRequestPending && coordinator_may_end(c, boot_ms())))
	{
		MemoryContextSwitchTo(turn);
		one_turn(c);
		MemoryContextReset(turn);
		if (c->released)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT,
						 sleep_ms(c, boot_ms()), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (!c->released)
		save_marks_at_exit(c);
	proc_exit(c->released ? 0 : 1);
}
