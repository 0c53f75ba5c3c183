/*
 * transfer.c - the planned failover, both sides.
 *
 *   old primary                              target
 *   FAILOVER record flushed, BEGIN
 *                                            has applied it: SEEN
 *                   <-- TRANSFER_REQUEST --  candidate, nothing on disk
 *   votes: (new term, target) on disk;
 *   from here on it is no primary
 *                   -- granted ------------> (new term, itself) on disk, leads if
 *                                            these two votes are a majority
 *                                            -- VOTE_REQUEST, release_from -->
 *                                            the others, if they are not
 *
 * The old primary's vote on its disk is the moment of truth.  Lost before it:
 * the attempt is void at the deadline (by the old primary's own clock), and a
 * late request is refused.  Lost after it: the target asks again, and the disk
 * of the old primary gives the same answer, over any restart.
 */
#include "consensus/step.h"

#include <assert.h>
#include <string.h>

/* ---- the old primary ---- */

void
failover_begin(Step *s)
{
	Consensus  *c = s->c;
	const ConsensusEvent *e = s->e;

	if (c->role != ROLE_PRIMARY || c->transfer.active || e->now >= e->deadline ||
		e->target == c->self || !quorum_may_lead(&c->members, e->target))
	{
		s->u->outcome = OUTCOME_ATTEMPT_VOID;
		return;
	}
	memset(&c->transfer, 0, sizeof(c->transfer));
	c->transfer.active = true;
	c->transfer.attempt = e->attempt;
	c->transfer.target = e->target;
	c->transfer.end = c->log;
	c->transfer.deadline = e->deadline;
}

/* Gives the attempt up, unless the vote is given already. */
void
failover_void(Step *s)
{
	Consensus  *c = s->c;

	if (!c->transfer.active)
		return;
	assert(c->role == ROLE_PRIMARY && !c->transfer.granted);
	c->transfer.active = false;
	s->u->outcome = OUTCOME_ATTEMPT_VOID;
}

/*
 * The deadline, and the end of the log: a primary that has appended behind its
 * FAILOVER record has given the attempt up, whatever was meant.
 */
void
failover_tick(Step *s)
{
	const Consensus *c = s->c;

	if (c->transfer.active &&
		(s->e->now >= c->transfer.deadline ||
		 consensus_place_cmp(c->log, c->transfer.end) != 0))
		failover_void(s);
}

static void
hand_over(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;

	assert(c->role == ROLE_PRIMARY && c->transfer.active);
	c->transfer.active = false;
	c->transfer.granted = true;
	c->transfer.new_term = m->ask_term;
	durable_set(s, m->ask_term, m->from);
	resume_forbid(s);
	c->leader = 0;
	c->leader_heard = 0;
	become_unknown(s);
	s->u->outcome = OUTCOME_HANDED_OVER;
}

void
transfer_request(Step *s, const ConsensusMessage *m)
{
	const Consensus *c = s->c;
	const ConsensusTransfer *t = &c->transfer;

	if (TERM_MEMBER(m->ask_term) != m->from)
		return;
	if (c->durable.term == m->ask_term && c->durable.voted_for == m->from)
	{
		/* the vote is on disk, whether the transfer is still in memory or not */
		assert(c->role != ROLE_PRIMARY);
		promise_give(s, m->ask_term, m->from, m->lease, s->e->now);
		message_reply(s, m, REFUSED_NOT);
	}
	else if (!t->active || t->attempt != m->attempt || t->target != m->from ||
			 m->ask_term != consensus_next_term(c->durable.term, t->target, false))
		message_reply(s, m, REFUSED_ATTEMPT_VOID);
	else if (consensus_place_cmp(m->place, t->end) != 0)
		message_reply(s, m, REFUSED_BEHIND);
	else
	{
		hand_over(s, m);
		promise_give(s, m->ask_term, m->from, m->lease, s->e->now);
		message_reply(s, m, REFUSED_NOT);
	}
}

/* ---- the target ---- */

static void
transfer_ask(Step *s)
{
	Consensus  *c = s->c;
	ConsensusMessage m = {0};

	c->campaign_retry = s->e->now + c->config.retry_interval;
	m.type = MSG_TRANSFER_REQUEST;
	m.to = c->campaign_from;
	m.ask_term = c->campaign_term;
	m.attempt = c->campaign_attempt;
	m.lease = c->config.election_timeout;
	m.sent = s->e->now;
	message_send(s, &m);
}

/*
 * Starts to ask for the attempt in campaign_*; false if it is out of date.  The
 * term to ask for follows the record's.  It may be on this node's disk already: it
 * was on its way to lead when it went down, or has heard of the old primary's
 * vote from others.
 */
bool
transfer_begin(Step *s)
{
	Consensus  *c = s->c;
	uint64_t	ask_term = consensus_next_term(c->campaign_record_term, c->self, false);

	if (c->durable.term != c->campaign_record_term && c->durable.term != ask_term)
		return false;
	c->role = ROLE_CANDIDATE;
	c->campaign = CAMPAIGN_TRANSFER;
	c->campaign_term = ask_term;
	c->campaign_start = s->e->now;
	memset(c->votes, 0, sizeof(c->votes));
	memset(c->answered, 0, sizeof(c->answered));
	memset(c->heard, 0, sizeof(c->heard));
	transfer_ask(s);
	return true;
}

/* All up to the FAILOVER record that names this node is applied. */
void
failover_seen(Step *s)
{
	Consensus  *c = s->c;
	const ConsensusEvent *e = s->e;

	if (c->role != ROLE_UNKNOWN && c->role != ROLE_REPLICA &&
		!(c->campaign == CAMPAIGN_TRANSFER && !c->campaign_released) &&
		!(c->campaign == CAMPAIGN_ELECT && !c->campaign_voting))
		return;
	if (c->may_resume)
		return;					/* has led by it already, and never leads a term twice */
	if (e->target != c->self || e->leader == 0 || e->leader == c->self || e->attempt == 0 ||
		!e->may_lead || !quorum_may_lead(&c->members, c->self))
		return;
	campaign_clear(c);
	c->campaign_attempt = e->attempt;
	c->campaign_from = e->leader;
	c->campaign_record_term = e->term;
	c->campaign_place = c->log;
	if (!transfer_begin(s))
	{
		c->campaign_attempt = 0;
		become_follower(s);
	}
}

/*
 * Asks again.  There is no end to it: the old primary's vote may be on its disk,
 * and then this node alone can lead.  Only frames behind the FAILOVER record
 * prove that the old primary has given up.
 */
void
transfer_tick(Step *s)
{
	Consensus  *c = s->c;

	if (!c->campaign_released && consensus_place_cmp(c->log, c->campaign_place) != 0)
		campaign_lost(s, REFUSED_ATTEMPT_VOID);
	else if (s->e->now >= c->campaign_retry)
	{
		if (c->campaign_released)
			campaign_ask(s);
		else
			transfer_ask(s);
	}
	if (c->campaign == CAMPAIGN_TRANSFER && !c->campaign_released && !leader_alive(c, s->e->now))
		stand_tick(s);
}

/* The old primary has voted: this node's own vote follows, and they may be enough. */
static void
transfer_released(Step *s, uint64_t sent)
{
	Consensus  *c = s->c;
	int			self = quorum_index(&c->members, c->self);
	int			from = quorum_index(&c->members, c->campaign_from);

	durable_set(s, c->campaign_term, c->self);
	c->leader = 0;
	c->leader_heard = 0;
	c->campaign_released = true;
	c->campaign_voting = true;
	if (self >= 0)
		c->votes[self] = true;
	if (from >= 0)
		c->votes[from] = true;
	heard_from(s, c->campaign_from, sent);
	if (quorum_won(c))
		campaign_advance(s);
	else
		campaign_ask(s);
}

void
transfer_response(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;

	if (c->campaign != CAMPAIGN_TRANSFER || c->campaign_released ||
		m->from != c->campaign_from || m->attempt != c->campaign_attempt ||
		m->ask_term != c->campaign_term)
		return;
	if (m->granted)
		transfer_released(s, m->sent);
	else if (m->refusal != REFUSED_BEHIND)
		campaign_lost(s, (ConsensusRefusal) m->refusal);
}
