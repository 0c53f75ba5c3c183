/*
 * command.c - the planned failover, as the old primary runs it.
 *
 *   phase              what happens                          leaves it when
 *     find target      clients go on                         the target streams and is fit
 *   1 stop clients     gate DRAIN, then HELD                 no writer is left, none is
 *                                                            between check and commit
 *   2 flush            WAL marker, flushed                   capture has passed the marker
 *   3 command          FAILOVER frame appended and flushed   at once
 *   4 acknowledge      the target applies it and asks for    its request is granted, or
 *                      our vote                              the deadline passes
 *   5 stop replication our vote is on disk                   (the same step of consensus)
 *   6 shut down        sessions end                          the target's TERM record is seen
 *
 * Until the vote of phase 5 is on disk, everything can be taken back: the gate
 * opens and the clients that waited go on.  From then on this node is no
 * primary, whatever happens.  (DERBY-3254 has the same sequence; there a lost
 * acknowledgement left two primaries.)
 *
 * Each phase has an entry function, run once, and a poll function, run at each
 * turn of the coordinator until it says that the phase is over.
 */
#include "node/coordinator.h"

#include <signal.h>

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "failover/gate.h"
#include "failover/target.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "ship/acks.h"
#include "stream/record.h"
#include "utils/snapmgr.h"

/* How long a target that is not within reach is looked for, in ms. */
#define FIND_TARGET_MS	3000
/* How long the new primary's TERM record is waited for, in ms. */
#define CONFIRM_MS		10000
/* Time for the caller's answer to leave the server before it is stopped, in ms. */
#define STOP_SERVER_MS	300

typedef enum PollResult
{
	POLL_WAIT,
	POLL_DONE
} PollResult;

static void enter_phase(Coordinator *c, FailoverPhase phase);

/* ---- reporting ---- */

static void
step_done(Coordinator *c, const char *name, bool failed, const char *detail)
{
	CommandShared *cmd = &c->node->command;
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	LWLockAcquire(&c->node->command_lock, LW_EXCLUSIVE);
	if (cmd->n_steps < BATON_MAX_STEPS)
	{
		CommandStep *step = &cmd->steps[cmd->n_steps++];
		instr_time	took = now;

		INSTR_TIME_SUBTRACT(took, c->failover.step_start);
		step->usec = INSTR_TIME_GET_MICROSEC(took);
		step->failed = failed;
		strlcpy(step->name, name, sizeof(step->name));
		strlcpy(step->detail, detail, sizeof(step->detail));
	}
	LWLockRelease(&c->node->command_lock);
	c->failover.step_start = now;
	ConditionVariableBroadcast(&c->node->command_cv);
}

/* The vote's time was measured where it was written. */
static void
step_set_usec(Coordinator *c, uint64 usec)
{
	CommandShared *cmd = &c->node->command;

	LWLockAcquire(&c->node->command_lock, LW_EXCLUSIVE);
	if (cmd->n_steps > 0)
		cmd->steps[cmd->n_steps - 1].usec = usec;
	LWLockRelease(&c->node->command_lock);
}

static void
set_peer_notify(Coordinator *c, bool on)
{
	SpinLockAcquire(&c->node->mutex);
	c->node->peer_notify = on;
	c->node->capture_notify_lsn = 0;
	SpinLockRelease(&c->node->mutex);
}

/*
 * Give the attempt up: the gate opens and the clients go on.  Not after the vote.
 */
static void
give_up(Coordinator *c, int sqlerrcode, const char *message, const char *detail, const char *hint)
{
	FailoverRun *f = &c->failover;
	static const char *const names[] = {"", "find target", "stop clients", "flush", "failover command", "acknowledge",
	"stop replication", "shut down"};
	FailoverPhase phase = f->phase;

	f->phase = PHASE_IDLE;
	set_peer_notify(c, false);
	if (phase != PHASE_IDLE)
	{
		step_done(c, names[phase], true, message);
		if (c->consensus.role == ROLE_PRIMARY)
			gate_set(c->node, GATE_OPEN);
		coordinator_note(c, "failover failed", "the failover to \"%s\" was given up: %s%s",
						 f->target_name, message,
						 c->consensus.role == ROLE_PRIMARY ? "; this node goes on as primary" : "");
	}
	command_finish(c, false, sqlerrcode, psprintf("failover was given up: %s", message), detail, hint);
}

/* ---- before anything is stopped ---- */

/*
 * A replica that has just come back may need a moment until it streams again, so
 * a target that is unfit is looked at for a while; clients go on meanwhile.
 */
static PollResult
poll_find_target(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;
	const char *unfit;
	Member	   *member;

	/* a node that has just caught up need not wait for the next upkeep */
	f->phase = PHASE_IDLE;
	coordinator_welcome_joined(c);
	f->phase = PHASE_FIND_TARGET;
	member = failover_resolve_target(c, &unfit);
	if (unfit != NULL)
	{
		if (now < f->find_until && !failover_target_is_hopeless(c, member))
			return POLL_WAIT;
		f->phase = PHASE_IDLE;
		set_peer_notify(c, false);
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   member ? psprintf("node \"%s\" cannot take over", member->name) : "no replica can take over",
					   unfit, "See baton.stat_replication for the state of each.");
		return POLL_WAIT;
	}
	if (failover_breaks_policy(c, member, f->after))
	{
		f->phase = PHASE_IDLE;
		set_peer_notify(c, false);
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   psprintf("node \"%s\" could not take over without this one: the ack policy is \"%s\"",
								member->name, ack_policy_name(c->control.membership.ack_policy)),
					   "With this node out of service too few voters are left, and every commit would wait for ever.",
					   "Use after => 'rejoin', or choose another policy with baton.set_ack_policy() first.");
		return POLL_WAIT;
	}
	f->target = member->voter.id;
	strlcpy(f->target_name, member->name, BATON_NAME_LEN);
	coordinator_note(c, "failover", "begins a failover to \"%s\"", f->target_name);
	INSTR_TIME_SET_CURRENT(f->step_start);
	return POLL_DONE;
}

static bool
prepared_transactions(Coordinator *c)
{
	MemoryContext context = CurrentMemoryContext;
	bool		found;

	if (max_prepared_xacts == 0)
		return false;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	SPI_execute("SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()",
				true, 1);
	found = SPI_processed > 0;
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return found;
}

static void
refuse_prepared(Coordinator *c)
{
	give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"there are prepared transactions in this database",
			"A prepared transaction cannot be handed over.",
			"Finish those in pg_prepared_xacts with COMMIT PREPARED or ROLLBACK PREPARED.");
}

/* ---- phase 1: stop clients ---- */

/*
 * While the target is far behind the clients go on; they are stopped once it
 * is near, or the failover is given up in time.
 */
static bool
target_near(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;
	PeerShared	peer = failover_peer(c, f->target);
	StreamPos	flushed = node_log_tail(c->node).flushed;

	if (peer.applied + FAILOVER_TARGET_NEAR >= flushed)
		return true;
	if (now >= f->deadline)
		give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				psprintf("\"%s\" is too far behind", f->target_name),
				psprintf("It lacked " UINT64_FORMAT " kB when the time was up; no client was stopped.",
						 (uint64) (flushed - peer.applied) / 1024),
				"Try again when baton.stat_replication shows less lag, or with a longer timeout.");
	return false;
}

static PollResult
poll_stop_clients(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;
	NodeShared *node = c->node;

	if (!f->draining)
	{
		if (!target_near(c, now))
			return POLL_WAIT;
		f->draining = true;
		f->drain_until = Min(now + node->command.drain_timeout_ms, f->deadline);
		INSTR_TIME_SET_CURRENT(f->step_start);
		gate_set(node, GATE_DRAIN);
	}
	if (!f->held)
	{
		if (gate_writers(node->dboid, true) > 0)
		{
			if (now >= f->deadline)
				give_up(c, ERRCODE_LOCK_NOT_AVAILABLE, "transactions of clients did not end in time",
						NULL, "See pg_stat_activity for what they do.");
			else if (now >= f->drain_until && now >= f->terminate_again)
			{
				f->terminated += gate_terminate_writers(node->dboid);
				f->terminate_again = now + 100;
			}
			return POLL_WAIT;
		}
		gate_set(node, GATE_HELD);
		f->held = true;
	}
	if (!gate_barrier_passed(node->dboid))
	{
		if (now >= f->deadline)
			give_up(c, ERRCODE_LOCK_NOT_AVAILABLE, "a commit under way did not end in time", NULL, NULL);
		return POLL_WAIT;
	}
	if (prepared_transactions(c))
	{
		refuse_prepared(c);
		return POLL_WAIT;
	}
	step_done(c, "stop clients", false,
			  f->terminated > 0 ? psprintf("%d running transactions were ended", f->terminated) :
			  "writers wait");
	return POLL_DONE;
}

/* ---- phase 2: flush ---- */

/* The exact states of sequences, which do not move any more, and then a marker. */
static bool
begin_flush(Coordinator *c)
{
	NodeShared *node = c->node;

	/* a row that a session of another database holds is not waited for */
	if (!coordinator_tell(c, true))
		return false;

	/* a record of our own, so that there is something behind the last commit
	 * which capture is sure to meet */
	c->failover.flush_lsn = baton_log_marker("baton");
	XLogFlush(c->failover.flush_lsn);
	SpinLockAcquire(&node->mutex);
	node->capture_notify_lsn = c->failover.flush_lsn;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_CAPTURE);
	return true;
}

static PollResult
poll_flush(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;
	XLogRecPtr	captured;

	if (f->flush_lsn == 0 && !begin_flush(c))
	{
		if (now >= f->deadline)
			give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the sequences could not be read in time", NULL,
					"See the server log, and pg_locks for who locks them.");
		return POLL_WAIT;
	}
	SpinLockAcquire(&c->node->mutex);
	captured = c->node->captured_lsn;
	SpinLockRelease(&c->node->mutex);
	if (captured < f->flush_lsn)
	{
		if (now >= f->deadline)
			give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"the last changes did not reach the stream log in time",
					c->node->capture_error[0] ? c->node->capture_error : NULL,
					"See the server log for messages of baton capture.");
		return POLL_WAIT;
	}
	step_done(c, "flush", false, psprintf("WAL up to %X/%X is in the stream", LSN_FORMAT_ARGS(f->flush_lsn)));
	return POLL_DONE;
}

/* ---- phase 3: failover command ---- */

static bool
append_failover_frame(Coordinator *c, uint64 now, StreamError *err)
{
	FailoverRun *f = &c->failover;
	RecordFailover record = {0};
	StreamBuf	buf = {0};
	StreamCode	code;

	record.term = c->consensus.durable.term;
	record.attempt = f->attempt;
	record.target = f->target;
	record.deadline = GetCurrentTimestamp() + (int64) (f->deadline - now) * 1000;
	record_put_failover(&buf, &record);
	if (buf.failed)
		code = stream_fail(err, STREAM_IO, 0, ENOMEM, "out of memory");
	else
		code = node_log_seal_append(c->node, &c->writer, &c->codec, record.term, 0, 0,
									buf.data, buf.len, false, &f->end, err);
	if (code == STREAM_OK)
		code = node_log_flush(c->node, &c->writer, true, err);
	stream_buf_free(&buf);
	return code == STREAM_OK;
}

static PollResult
poll_command(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;
	StreamError err = {0};
	ConsensusEvent e = {EV_FAILOVER_BEGIN};

	if (now >= f->deadline)
	{
		give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the time was up", NULL, NULL);
		return POLL_WAIT;
	}
	if (!append_failover_frame(c, now, &err))
	{
		give_up(c, ERRCODE_IO_ERROR, "the stream log could not be written", err.message, NULL);
		return POLL_WAIT;
	}
	e.attempt = f->attempt;
	e.target = f->target;
	e.deadline = f->deadline;
	step_done(c, "failover command", false,
			  psprintf("last record of the stream, ends at " STREAM_POS_FORMAT, STREAM_POS_ARGS(f->end)));
	coordinator_event(c, &e);
	return POLL_DONE;
}

/* ---- phases 4 and 5: the target asks, our vote answers ---- */

/*
 * Consensus has decided the attempt: our vote is on disk, or it is void.
 */
void
failover_outcome(Coordinator *c, ConsensusOutcome outcome)
{
	FailoverRun *f = &c->failover;

	if (f->phase == PHASE_IDLE)
		return;
	if (outcome == OUTCOME_ATTEMPT_VOID)
	{
		PeerShared	peer = failover_peer(c, f->target);

		give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				psprintf("\"%s\" did not acknowledge in time", f->target_name),
				psprintf("It was sent the stream up to " STREAM_POS_FORMAT ", has flushed it up to "
						 STREAM_POS_FORMAT " and applied it up to " STREAM_POS_FORMAT ".",
						 STREAM_POS_ARGS(peer.sent), STREAM_POS_ARGS(peer.flushed), STREAM_POS_ARGS(peer.applied)),
				"Clients go on here. See baton.stat_replication for the target's state.");
		return;
	}
	f->new_term = c->consensus.transfer.new_term;
	step_done(c, "acknowledge", false, psprintf("\"%s\" has applied everything", f->target_name));
	step_done(c, "stop replication", false,
			  psprintf("the vote for term " UINT64_FORMAT " is on disk: this node is no primary", f->new_term));
	step_set_usec(c, f->vote_usec);
	coordinator_note(c, "handed over", "\"%s\" leads from term " UINT64_FORMAT " on", f->target_name, f->new_term);
	enter_phase(c, PHASE_SHUT_DOWN);
}

/*
 * failover_outcome() ends this phase.  An attempt can also run out in a step of
 * consensus that has something else to report.
 */
static PollResult
poll_acknowledge(Coordinator *c, uint64 now)
{
	if (!c->consensus.transfer.active && !c->consensus.transfer.granted)
		failover_outcome(c, OUTCOME_ATTEMPT_VOID);
	return POLL_WAIT;
}

/* ---- phase 6: shut down ---- */

/* Sessions of the database end, the caller's excepted. */
static void
end_sessions(Coordinator *c)
{
	FailoverRun *f = &c->failover;

	if (f->sessions_ended)
		return;
	f->sessions_ended = true;
	if (f->after == AFTER_SHUTDOWN || f->after == AFTER_STOP_SERVER)
		pg_atomic_write_u32(&c->node->door_closed, 1);
	gate_terminate_sessions(c->node->dboid, c->node->command.caller_pid);
	gate_set(c->node, GATE_CLOSED);
}

static bool
target_leads(Coordinator *c)
{
	PeerShared	peer = failover_peer(c, c->failover.target);

	return peer.led_term >= c->failover.new_term ||
		(c->consensus.leader == c->failover.target && c->consensus.durable.term >= c->failover.new_term &&
		 c->consensus.role == ROLE_REPLICA);
}

/* What this node is from here on. */
static void
take_its_place(Coordinator *c)
{
	FailoverRun *f = &c->failover;

	if (f->after == AFTER_REJOIN)
		return;
	coordinator_stop_consensus(c);
	c->control.intent = INTENT_DETACHED;
	c->control.door_closed = true;
	snprintf(c->control.reason, BATON_REASON_LEN, "handed over to \"%s\" by baton.failover()", f->target_name);
	coordinator_save(c);
	coordinator_publish(c);
}

static void
finish_unconfirmed(Coordinator *c)
{
	FailoverRun *f = &c->failover;

	step_done(c, "shut down", true, "the new primary has not confirmed that it leads");
	f->phase = PHASE_IDLE;
	set_peer_notify(c, false);
	pg_atomic_write_u32(&c->node->door_closed, 0);
	command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   psprintf("node \"%s\" has this node's vote, but has not confirmed that it leads", f->target_name),
				   "This node is no primary any more, and stays a member; its clients were sent away.",
				   psprintf("\"%s\" takes over as soon as it runs; if it is lost for good, call baton.promote(force => true) here.",
							f->target_name));
}

static PollResult
poll_shut_down(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;

	if (!target_leads(c))
	{
		if (now < f->confirm_until)
			return POLL_WAIT;
		end_sessions(c);
		finish_unconfirmed(c);
		return POLL_WAIT;
	}
	end_sessions(c);
	take_its_place(c);
	step_done(c, "shut down", false,
			  f->after == AFTER_REJOIN ? "this node is a replica" :
			  f->after == AFTER_STOP_SERVER ? "sessions are ended, the server stops" :
			  "sessions are ended, the database is out of service");
	set_peer_notify(c, false);
	command_finish(c, true, 0, NULL, NULL, NULL);
	return POLL_DONE;
}

/* ---- the table of phases ---- */

static const struct
{
	void		(*enter) (Coordinator *c);
	PollResult	(*poll) (Coordinator *c, uint64 now);
}			phases[] =
{
	[PHASE_IDLE] = {NULL, NULL},
	[PHASE_FIND_TARGET] = {NULL, poll_find_target},
	[PHASE_STOP_CLIENTS] = {NULL, poll_stop_clients},
	[PHASE_FLUSH] = {NULL, poll_flush},
	[PHASE_COMMAND] = {NULL, poll_command},
	[PHASE_ACKNOWLEDGE] = {NULL, poll_acknowledge},
	[PHASE_STOP_REPLICATION] = {NULL, NULL},
	[PHASE_SHUT_DOWN] = {NULL, poll_shut_down},
};

static void
enter_phase(Coordinator *c, FailoverPhase phase)
{
	c->failover.phase = phase;
	if (phase == PHASE_SHUT_DOWN)
		c->failover.confirm_until = boot_ms() + CONFIRM_MS;
	if (phases[phase].enter)
		phases[phase].enter(c);
}

static void
finish(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;

	f->phase = PHASE_IDLE;
	if (f->after == AFTER_STOP_SERVER)
		f->stop_server_at = now + STOP_SERVER_MS;
}

/* The session that asked does not want it any more. */
static void
poll_cancel(Coordinator *c)
{
	FailoverRun *f = &c->failover;

	if (!c->node->command.cancel || f->phase == PHASE_IDLE || f->phase >= PHASE_STOP_REPLICATION)
		return;
	if (f->phase == PHASE_ACKNOWLEDGE)
	{
		ConsensusEvent e = {EV_FAILOVER_ABANDON};

		e.attempt = f->attempt;
		coordinator_event(c, &e);
	}
	else
		give_up(c, ERRCODE_QUERY_CANCELED, "the call was cancelled", NULL, NULL);
}

/*
 * Go on with the failover under way, if there is one.  now: boot_ms().
 */
void
failover_poll(Coordinator *c, uint64 now)
{
	FailoverRun *f = &c->failover;

	if (f->stop_server_at != 0 && now >= f->stop_server_at)
	{
		f->stop_server_at = 0;
		ereport(LOG,
				(errmsg("baton stops this server: database \"%s\" was handed over to node \"%s\"",
						c->node->dbname, f->target_name)));
		kill(PostmasterPid, SIGINT);
	}
	poll_cancel(c);
	while (f->phase != PHASE_IDLE && phases[f->phase].poll != NULL)
	{
		FailoverPhase phase = f->phase;

		if (phases[phase].poll(c, now) != POLL_DONE)
			return;
		if (phase == PHASE_SHUT_DOWN)
			finish(c, now);
		else if (f->phase == phase)
			enter_phase(c, phase + 1);
	}
}

/*
 * Command FAILOVER: check what can be checked while clients still run.
 */
void
failover_start(Coordinator *c)
{
	FailoverRun *f = &c->failover;
	CommandShared *cmd = &c->node->command;
	uint64		now = boot_ms();

	if (c->consensus.role != ROLE_PRIMARY || c->term_end != 0)
	{
		Member	   *leader = membership_find(&c->control.membership, c->consensus.leader);

		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "this node is not the primary of its group", NULL,
					   leader && leader->voter.id != c->control.self ?
					   psprintf("Call baton.failover() on the primary, node \"%s\".", leader->name) :
					   "No primary is known. See baton.promote() for a primary that is lost.");
		return;
	}
	memset(f, 0, sizeof(*f));
	if (prepared_transactions(c))
	{
		refuse_prepared(c);
		return;
	}
	f->attempt = (uint64) GetCurrentTimestamp();
	f->after = cmd->after;
	f->deadline = now + cmd->timeout_ms;
	f->find_until = Min(now + FIND_TARGET_MS, f->deadline);
	set_peer_notify(c, true);
	enter_phase(c, PHASE_FIND_TARGET);
	failover_poll(c, now);
}

/*
 * As if somebody had called baton.failover(after => 'rejoin') for this target.  There
 * must be no command under way.
 */
void
failover_by_itself(Coordinator *c, uint16 target, int64 timeout_ms, int64 drain_timeout_ms)
{
	CommandShared *cmd = &c->node->command;

	LWLockAcquire(&c->node->command_lock, LW_EXCLUSIVE);
	cmd->id++;
	cmd->kind = COMMAND_FAILOVER;
	cmd->done = cmd->cancel = false;
	cmd->caller_pid = 0;
	cmd->n_steps = 0;
	cmd->target = target;
	cmd->after = AFTER_REJOIN;
	cmd->timeout_ms = timeout_ms;
	cmd->drain_timeout_ms = drain_timeout_ms;
	c->command_id = cmd->id;
	LWLockRelease(&c->node->command_lock);
	failover_start(c);
}

/*
 * The server stops: hand the lead over first, within timeout_ms, as if somebody had
 * called baton.failover(after => 'rejoin').  False if nobody can take it at once.
 */
bool
failover_at_shutdown(Coordinator *c, int64 timeout_ms)
{
	Member	   *target = failover_choose_target(c);
	PeerShared	peer;

	if (target == NULL || timeout_ms <= 0)
		return false;
	peer = failover_peer(c, target->voter.id);
	if (peer.applied + FAILOVER_TARGET_NEAR < node_log_tail(c->node).flushed)
		return false;
	coordinator_note(c, "shutdown", "the server stops: hands the lead over to \"%s\"", target->name);
	/* clients have been told to end */
	failover_by_itself(c, target->voter.id, timeout_ms, 0);
	return c->failover.phase != PHASE_IDLE;
}

/* Is the target of the attempt under way still connected? */
bool
failover_target_streams(Coordinator *c)
{
	return failover_peer(c, c->failover.target).link == LINK_STREAMING;
}

/*
 * This node's reign has ended in the middle of an attempt.  why: as an error message.
 */
void
failover_aborted_by_stepdown(Coordinator *c, const char *why)
{
	if (c->failover.phase != PHASE_IDLE)
		give_up(c, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, why, NULL, NULL);
}
