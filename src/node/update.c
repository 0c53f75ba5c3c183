/*
 * update.c - carries out what consensus decides.
 *
 * One function, coordinator_event(), feeds an event to the core and then acts,
 * always in this order: control file (fsynced), log and gate, messages, report.
 * So no message speaks of what a crash could take back.
 *
 * The core runs with log_lock held: a vote reads the end of the log and raises
 * the term in one step, and a receiver of an older term can append nothing in
 * between.
 */
#include "node/coordinator.h"

#include "access/xlog.h"
#include "common/pg_prng.h"
#include "failover/gate.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"
#include "stream/record.h"
#include "utils/timestamp.h"

/* How long commits under way are waited for when the gate closes at once, in ms. */
#define SLAM_MS				2000
/* How long they have to end by themselves if the lead is lost, and how often they are told. */
#define SLAM_GRACE_MS		20
#define SLAM_AGAIN_MS		200
/* How long a primary that is stopped waits for its capture, in ms. */
#define FINISH_CAPTURE_MS	10000

/*
 * A node may stand for election while it has its data and applies: not while it
 * copies, is half through the mending of diverged commits, or its applier has
 * stopped at an error.  Own commits that
 * are not in the stream are in the way only if another has led since; whoever may
 * resume appends them once it leads again.
 */
static bool
may_lead(Coordinator *c)
{
	bool		stuck;

	if (c->control.intent != INTENT_ACTIVE || c->down || coordinator_is_arbiter(c) ||
		coordinator_is_reconciling(c))
		return false;
	SpinLockAcquire(&c->node->mutex);
	stuck = c->node->apply_error[0] != '\0' ||
		(c->node->diverged_lsn != 0 && !c->consensus.may_resume);
	SpinLockRelease(&c->node->mutex);
	return !stuck;
}

/* And by force: whatever of the mending is left to the applier, which goes on with it. */
static bool
may_be_forced(Coordinator *c)
{
	bool		stuck;

	SpinLockAcquire(&c->node->mutex);
	stuck = c->node->apply_error[0] != '\0' ||
		(c->node->diverged_lsn != 0 && !c->consensus.may_resume);
	SpinLockRelease(&c->node->mutex);
	return c->control.intent == INTENT_ACTIVE && !c->down && !coordinator_is_arbiter(c) && !stuck &&
		c->control.reconcile != RECONCILE_MEND;
}

/* In which term frames may be appended, as far as the core knows. */
static uint64
append_term(const Consensus *core)
{
	switch (core->role)
	{
		case ROLE_PRIMARY:
			return core->durable.term;
		case ROLE_REPLICA:
			return core->leader != 0 ? core->durable.term : 0;
		case ROLE_CANDIDATE:
			/* until the old primary has voted it is still the primary */
			if (core->campaign == CAMPAIGN_TRANSFER && !core->campaign_released)
				return core->durable.term;
			return 0;
		case ROLE_UNKNOWN:
		case ROLE_STOPPED:
			break;
	}
	return 0;
}

/*
 * What was true when a reign ends, kept for the next start; the caller saves.
 * What is not flushed does not count: a crash may take it, and others may write
 * in its place.
 */
static void
note_end_of_reign(Coordinator *c)
{
	NodeShared *node = c->node;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	/* until its gate opens a primary still applies what came before its reign */
	if (c->term_end == 0)
		c->control.applied_floor = node->tail.flushed;
	c->control.known_flushed = node->tail.flushed;
	c->control.terms = node->tail.terms;
	c->control.own_lsn = node->flushed_source_lsn;
	LWLockRelease(&node->log_lock);
}

/*
 * Close the gate at once, and for good: what writers run is cancelled (a loop of
 * nextval in plpgsql asks the gate once per transaction only), and commits that had passed the
 * gate are waited for, a moment: they hold up nothing but this process.  lost: another
 * may lead, so commits that go on after that wait for what cannot come; their
 * sessions are ended without an answer.
 */
static void
slam_gate(Coordinator *c, bool lost)
{
	uint64		now = boot_ms();
	uint64		until = now + SLAM_MS;
	uint64		terminate_at = lost ? now + SLAM_GRACE_MS : until;

	gate_set(c->node, GATE_CLOSED);
	gate_cancel_writers(c->node->dboid);
	while (!gate_barrier_passed(c->node->dboid) && (now = boot_ms()) < until)
	{
		if (now >= terminate_at)
		{
			gate_terminate_committing(c->node->dboid);
			terminate_at = now + SLAM_AGAIN_MS;
		}
		pg_usleep(1000);
	}
	c->own_end = GetXLogInsertRecPtr();
}

/*
 * A primary that is stopped: let capture take the last commits into the stream,
 * so that what is there is complete, for as long as that takes reasonably.
 */
static void
finish_capture(Coordinator *c)
{
	NodeShared *node = c->node;
	uint64		until = boot_ms() + FINISH_CAPTURE_MS;
	XLogRecPtr	end = baton_log_marker("baton");
	XLogRecPtr	captured;

	XLogFlush(end);
	if (c->workers[WORKER_CAPTURE].handle == NULL)
		return;
	do
	{
		node_wake(node, WORKER_CAPTURE);
		pg_usleep(1000);
		SpinLockAcquire(&node->mutex);
		captured = node->captured_lsn;
		SpinLockRelease(&node->mutex);
	} while (captured < end && boot_ms() < until && !ShutdownRequestPending);
}

static void
leave_primary(Coordinator *c, ConsensusOutcome outcome)
{
	NodeShared *node = c->node;
	bool		lost = outcome == OUTCOME_LEASE_LOST || outcome == OUTCOME_STEPPED_DOWN;

	/* after a hand-over the gate stays HELD until the sessions have been ended:
	 * it lets nothing through either, and nobody gets an error first */
	if (outcome != OUTCOME_HANDED_OVER)
		gate_set(node, GATE_CLOSED);
	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	node->lead_term = 0;
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	node->capture_term = 0;
	if (c->term_end == 0)
		node->applied = c->control.applied_floor;
	node->apply_notify = 0;
	SpinLockRelease(&node->mutex);
	c->term_end = 0;
	c->lease_longer_at = 0;
	/* whoever is refused while commits are waited for shall read why */
	if (lost)
		coordinator_publish(c);
	if (outcome != OUTCOME_HANDED_OVER)
		slam_gate(c, lost);
	c->forced_reign = false;
}

/*
 * The first frame of a reign: TERM, with the membership in force.  A failure
 * ends the coordinator; the next one tries again, or learns who leads instead.
 */
static StreamPos
append_term_frame(Coordinator *c)
{
	RecordTerm	record = {c->consensus.durable.term, c->control.self, GetCurrentTimestamp()};
	StreamBuf	buf = {0};
	StreamBuf	members = {0};
	StreamError err = {0};
	StreamPos	end = 0;
	StreamCode	code;

	membership_encode(&c->control.membership, &members);
	record_put_term(&buf, &record);
	record_put_membership(&buf, members.data, members.len);
	if (buf.failed || members.failed)
		code = stream_fail(&err, STREAM_IO, 0, ENOMEM, "out of memory");
	else
		code = node_log_seal_append(c->node, &c->writer, &c->codec, record.term, 0, 0,
									buf.data, buf.len, false, &end, &err);
	if (code == STREAM_OK)
		code = node_log_flush(c->node, &c->writer, true, &err);
	stream_buf_free(&buf);
	stream_buf_free(&members);
	if (code != STREAM_OK)
		ereport(FATAL,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("baton cannot begin its reign: %s", err.message)));
	return end;
}

static void
become_primary(Coordinator *c, ConsensusOutcome outcome)
{
	NodeShared *node = c->node;

	/* before the applier can see the TERM record */
	SpinLockAcquire(&node->mutex);
	node->handed_term = outcome == OUTCOME_TRANSFERRED ? c->consensus.durable.term : 0;
	SpinLockRelease(&node->mutex);
	sequences_forget(c->sequences);
	role_publisher_forget(c->roles);
	c->term_end = append_term_frame(c);
	coordinator_raise_share_floor(c, c->term_end);
	coordinator_reign_begins(c, c->term_end);
	c->preferred_retry = 0;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	node->lead_term = c->consensus.durable.term;
	node->lead_start = c->term_end;
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	node->apply_notify = c->term_end;
	node->sequence_floor = c->control.sequence_floor;
	node->capture_term = c->consensus.durable.term;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_CAPTURE);
	coordinator_publish(c);
}

/*
 * The gate of a new primary opens when all before its TERM record is applied, nothing
 * is left to mend, it has its lease, and commits wait for acknowledgements if the group's policy asks
 * for them.
 */
void
coordinator_open_gate_if_ready(Coordinator *c)
{
	StreamPos	applied;

	if (c->term_end == 0 || c->consensus.role != ROLE_PRIMARY || !gate_lease_holds(c->node))
		return;
	SpinLockAcquire(&c->node->mutex);
	applied = c->node->applied;
	SpinLockRelease(&c->node->mutex);
	if (applied < c->term_end || c->control.reconcile != RECONCILE_NONE || !coordinator_policy_holds(c))
		return;
	c->term_end = 0;
	SpinLockAcquire(&c->node->mutex);
	c->node->apply_notify = 0;
	SpinLockRelease(&c->node->mutex);
	gate_set(c->node, GATE_OPEN);
	coordinator_note(c, "primary", "leads the group in term " UINT64_FORMAT, c->consensus.durable.term);
	coordinator_publish(c);
	/* what was applied was committed asynchronously; applied_floor, which this reign
	 * writes, says that it is in the tables whatever happens */
	XLogFlush(baton_log_marker("baton"));
}

/*
 * This node led in led_term, with its lease, and has met who leads in a higher term:
 * under the rule PREFERRED, or after a forced promotion.
 */
static void
note_two_primaries(Coordinator *c, uint64 led_term)
{
	uint64		term = c->consensus.durable.term;
	Member	   *other = membership_find(&c->control.membership, TERM_MEMBER(term));

	if (other != NULL && (c->consensus.leader != 0 || TERM_FORCED(term) > TERM_FORCED(led_term) ||
						  c->control.membership.rule == RULE_PREFERRED))
		coordinator_note(c, "two primaries", "\"%s\" leads in term " UINT64_FORMAT ", this node led in term " UINT64_FORMAT " when they met; it steps down",
						 other->name, term, led_term);
}

/* led_term: the term before the event. */
static void
report(Coordinator *c, const ConsensusUpdate *u, ConsensusRole before, uint64 led_term)
{
	switch (u->outcome)
	{
		case OUTCOME_LEASE_LOST:
			coordinator_note(c, "lease lost", "%s; this node takes no more writes",
							 c->lease_reason);
			failover_aborted_by_stepdown(c, "this node has lost its lease");
			break;
		case OUTCOME_STEPPED_DOWN:
			note_two_primaries(c, led_term);
			coordinator_note(c, "stepped down", "another node leads in the higher term " UINT64_FORMAT "; this node takes no more writes",
							 c->consensus.durable.term);
			failover_aborted_by_stepdown(c, "another node leads in a higher term");
			break;
		case OUTCOME_ELECTED:
			coordinator_note(c, "elected", "elected by a majority of the voters for term " UINT64_FORMAT,
							 c->consensus.durable.term);
			break;
		case OUTCOME_RESUMED:
			coordinator_note(c, "resumed", "leads again, alone by the rule for two voters, in term " UINT64_FORMAT,
							 c->consensus.durable.term);
			break;
		case OUTCOME_TRANSFERRED:
			coordinator_note(c, "took over", "was handed the lead, for term " UINT64_FORMAT,
							 c->consensus.durable.term);
			break;
		case OUTCOME_FORCED:
			c->forced_reign = true;
			coordinator_note(c, "forced", membership_prefers_own_log(c) && c->command_id == 0 ?
							 "leads without a majority, as the preferred node" :
							 "a person made this node primary without a majority");
			break;
		case OUTCOME_HANDED_OVER:
		case OUTCOME_ATTEMPT_VOID:
			failover_outcome(c, u->outcome);
			break;
		default:
			break;
	}
	if (u->role_changed && c->consensus.role == ROLE_REPLICA && before != ROLE_CANDIDATE)
	{
		Member	   *leader = membership_find(&c->control.membership, c->consensus.leader);

		coordinator_note(c, "replica", "follows \"%s\" in term " UINT64_FORMAT,
						 leader ? leader->name : "?", c->consensus.durable.term);
	}
}

/* Has capture met commits that are in no stream, while another leads? */
static bool
has_diverged(Coordinator *c)
{
	bool		diverged;

	SpinLockAcquire(&c->node->mutex);
	diverged = c->node->diverged_lsn != 0 && !c->consensus.may_resume;
	SpinLockRelease(&c->node->mutex);
	return diverged;
}

/* Why this node may not lead: what may_lead() and the membership say against it. */
static const char *
why_not_lead(Coordinator *c)
{
	Member	   *me = membership_find(&c->control.membership, c->control.self);
	char		error[BATON_ERROR_LEN];

	SpinLockAcquire(&c->node->mutex);
	strlcpy(error, c->node->apply_error, sizeof(error));
	SpinLockRelease(&c->node->mutex);
	if (error[0] != '\0')
		return psprintf("Its applier has stopped: %s", error);
	if (me == NULL || me->voter.joining)
		return "It is no full member of the group yet.";
	if (me->voter.type != CONSENSUS_ELECTABLE || me->voter.priority == 0)
		return "Its type or its priority does not let it lead.";
	if (c->control.reconcile != RECONCILE_NONE)
		return psprintf("It is being mended: %u transactions that the group does not have are saved in baton.rolled_back, and the primary's versions of the rows that they touched are %s.",
						c->control.reconcile_txns,
						c->control.reconcile == RECONCILE_FILL ? "not in the tables yet" : "still to be fetched");
	return "It has commits of its own that the group does not have.";
}

static void
answer_lost_promotion(Coordinator *c, ConsensusRefusal refusal)
{
	c->promoted = false;
	if (refusal == REFUSED_MAY_NOT_LEAD)
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "this node may not lead", why_not_lead(c),
					   c->control.reconcile != RECONCILE_NONE || has_diverged(c) ?
					   "If the primary is lost for good, baton.promote(force => true) leads with what is here." :
					   "Promote another node, or see baton.status for what can be mended here.");
	else
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "this node was not elected",
					   refusal ? consensus_refusal_text(refusal) : "no majority of the members answered",
					   "If the primary is lost for good, baton.promote(force => true) takes over without a majority.");
}

/*
 * Feed one event and act on it.  Fills in the fields that every event has.
 */
void
coordinator_event(Coordinator *c, ConsensusEvent *e)
{
	NodeShared *node = c->node;
	ConsensusRole before = c->consensus.role;
	uint64		led_term = c->consensus.durable.term;
	uint64		heard[CONSENSUS_MAX_MEMBERS];
	ConsensusUpdate u;
	bool		left;

	e->now = boot_ms();
	e->may_lead = may_lead(c) || (e->type == EV_PROMOTE && e->force && may_be_forced(c));
	e->random = pg_prng_uint32(&pg_global_prng_state);
	e->floor = c->control.vote_floor;
	memcpy(heard, c->consensus.heard, sizeof(heard));

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	SpinLockAcquire(&node->mutex);
	e->promise = node->promise;
	SpinLockRelease(&node->mutex);
	e->log.term = node->tail.last_term;
	e->log.pos = node->tail.flushed;
	consensus_step(&c->consensus, e, &u);
	node->append_term = append_term(&c->consensus);
	node->fetch_from = c->consensus.role == ROLE_UNKNOWN ? u.fetch_from : 0;
	LWLockRelease(&node->log_lock);

	elog(DEBUG2, "baton: event %d message %d from %d in term " UINT64_FORMAT ", log end %X/%X: %s -> %s, outcome %d, %d messages",
		 e->type, e->type == EV_MESSAGE ? e->message.type : 0, e->message.from, c->consensus.durable.term,
		 LSN_FORMAT_ARGS(e->log.pos), consensus_role_name(before), consensus_role_name(c->consensus.role),
		 u.outcome, u.n_messages);

	left = before == ROLE_PRIMARY && u.role_changed;
	if (left)
		note_end_of_reign(c);
	if (u.persist || left)
	{
		instr_time	start,
					end;

		c->control.durable = c->consensus.durable;
		/* another has led since: what the applier has set of sequences is in the log */
		if (c->consensus.role == ROLE_PRIMARY && !c->control.was_primary)
			c->control.sequence_floor = GetXLogInsertRecPtr();
		c->control.was_primary = c->consensus.may_resume;
		INSTR_TIME_SET_CURRENT(start);
		coordinator_save(c);
		coordinator_publish_promise(c);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		c->failover.vote_usec = INSTR_TIME_GET_MICROSEC(end);
	}
	coordinator_publish_lease(c, u.lease_until);
	if (u.outcome == OUTCOME_LEASE_LOST)
		coordinator_lease_reason(c, heard, e->now, c->lease_reason, sizeof(c->lease_reason));
	else if (c->consensus.role == ROLE_PRIMARY || c->consensus.role == ROLE_REPLICA)
		c->lease_reason[0] = '\0';
	if (left)
		leave_primary(c, u.outcome);

	for (int i = 0; i < u.n_messages; i++)
		node_send(node, &u.message[i]);
	if (u.role_changed && c->consensus.role == ROLE_PRIMARY)
		become_primary(c, u.outcome);
	else if (e->type != EV_STOP)	/* whoever stops it publishes what the node is then */
		coordinator_publish(c);
	coordinator_open_gate_if_ready(c);
	report(c, &u, before, led_term);
	if (u.outcome == OUTCOME_LOST && c->command_id != 0 && node->command.kind == COMMAND_PROMOTE)
		answer_lost_promotion(c, u.refusal);
	c->next_tick = u.next_tick;
}

/*
 * Load the core from the control file, stopped: even so it answers requests for
 * the vote that it has given.
 */
void
coordinator_init_consensus(Coordinator *c)
{
	ConsensusConfig config = {baton_effective_election_timeout(), Max(baton_heartbeat_interval / 5, 10)};
	ConsensusMembership voters;

	membership_voters(&c->control.membership, &voters);
	consensus_init(&c->consensus, c->control.self, &c->control.durable, &voters, &config);
	coordinator_publish_promise(c);
}

/*
 * Begin to take part in the group, from what the control file says.
 */
void
coordinator_start_consensus(Coordinator *c)
{
	ConsensusEvent e = {EV_START};
	ConsensusMembership before;

	coordinator_init_consensus(c);
	/* whatever the first step leads to, it begins as unknown */
	coordinator_publish(c);
	c->running = true;
	if (c->control.was_primary)
		c->own_end = GetXLogInsertRecPtr();
	e.was_primary = c->control.was_primary;
	membership_voters(&c->control.membership_before, &before);
	e.before = c->control.membership_committed ? NULL : &before;
	coordinator_event(c, &e);
}

/*
 * Stop taking part: the gate closes, nobody is followed.
 */
void
coordinator_stop_consensus(Coordinator *c)
{
	ConsensusEvent e = {EV_STOP};

	if (!c->running)
		return;
	if (c->consensus.role == ROLE_PRIMARY)
	{
		slam_gate(c, false);
		finish_capture(c);
	}
	coordinator_event(c, &e);
	c->running = false;
	c->next_tick = 0;
}
