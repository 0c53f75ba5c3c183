/*
 * consensus.c - one event in, one update out: hands each event to the file of its
 * duty, lets time pass, and checks what each role guarantees.
 */
#include "consensus/step.h"

#include <assert.h>
#include <string.h>

void
consensus_init(Consensus *c, uint16_t self, const ConsensusDurable *durable,
			   const ConsensusMembership *members, const ConsensusConfig *config)
{
	assert(self != 0);
	assert(members->count >= 0 && members->count <= CONSENSUS_MAX_MEMBERS);
	assert(config->election_timeout > 0 && config->retry_interval > 0);
	memset(c, 0, sizeof(*c));
	c->self = self;
	c->config = *config;
	c->members = *members;
	c->durable = *durable;
	c->role = ROLE_STOPPED;
}

/*
 * A node that has restarted has forgotten to whom it has promised what, so it waits as
 * long as the longest promise lasts; not even for the primary that it may have promised
 * to does it vote, for it does not know which that is.
 *
 * A node that led last need not wait.  Whatever it had promised before that reign was
 * over when the reign began (promise_clear says why), and `may_resume` goes from its
 * disk in the update in which it votes for another, or hears another primary, which
 * is before it can promise to either.
 */
static void
start(Step *s)
{
	Consensus  *c = s->c;

	if (c->role != ROLE_STOPPED)
		return;
	c->may_resume = s->e->was_primary;
	if (c->durable.voted_for != 0 && c->durable.voted_for != c->self)
		resume_forbid(s);
	c->has_before = s->e->before != NULL;
	if (c->has_before)
		c->before = *s->e->before;
	c->leader = 0;
	c->leader_heard = 0;
	if (c->may_resume)
		promise_clear(c);
	else if (c->durable.promise_ms != 0)
		c->no_vote_until = s->e->now + CONSENSUS_PROMISE_MS(c->durable.promise_ms);
	c->role = ROLE_UNKNOWN;
	become_unknown(s);
	c->seek_next = s->e->now;
}

static void
stop(Step *s)
{
	Consensus  *c = s->c;

	failover_void(s);
	campaign_clear(c);
	c->campaign_attempt = 0;
	if (c->leader == c->self)
		c->leader = 0;
	c->role = ROLE_STOPPED;
}

/* "Who leads?", or the answer to it, which message_send fills in. */
static void
send_leader(Step *s, uint16_t to)
{
	ConsensusMessage m = {0};

	m.type = MSG_LEADER;
	m.to = to;
	message_send(s, &m);
}

/* UNKNOWN for long enough: resume if that is this node's right, or ask around. */
static void
seek(Step *s)
{
	Consensus  *c = s->c;

	c->seek_next = s->e->now + c->config.election_timeout;
	if (c->may_resume && s->e->may_lead && s->e->now >= bound_until(c) &&
		quorum_may_lead(&c->members, c->self))
	{
		campaign_begin(s, CAMPAIGN_RESUME);
		return;
	}
	if (c->may_resume)
		c->seek_next = s->e->now + c->config.retry_interval;	/* as soon as it may lead */
	for (int i = 0; i < c->members.count; i++)
	{
		if (c->members.member[i].id != c->self)
			send_leader(s, c->members.member[i].id);
	}
}

/* What a message that is no request for a vote tells about terms and primaries. */
static void
learn(Step *s, const ConsensusMessage *m)
{
	if (m->leader != 0)
		leader_seen(s, m->leader_term, m->leader, m->leader == m->from);
	if (!m->granted && m->term > s->c->durable.term)
		term_seen(s, m->term);
}

static void
message(Step *s)
{
	Consensus  *c = s->c;
	const ConsensusMessage *m = &s->e->message;

	if (m->to != c->self || m->from == c->self || m->from == 0)
		return;
	switch (m->type)
	{
		case MSG_VOTE_REQUEST:
			vote_request(s, m);
			break;
		case MSG_VOTE_RESPONSE:
			learn(s, m);
			vote_response(s, m);
			break;
		case MSG_TRANSFER_REQUEST:
			transfer_request(s, m);
			break;
		case MSG_TRANSFER_RESPONSE:
			learn(s, m);
			transfer_response(s, m);
			break;
		case MSG_LEADER:
			learn(s, m);
			if (m->leader == 0 && leader_alive(c, s->e->now) && c->leader != m->from)
				send_leader(s, m->from);
			break;
	}
}

static void
dispatch(Step *s)
{
	Consensus  *c = s->c;
	const ConsensusEvent *e = s->e;

	switch (e->type)
	{
		case EV_START:
			start(s);
			break;
		case EV_STOP:
			stop(s);
			break;
		case EV_TICK:
			break;
		case EV_MESSAGE:
			message(s);
			break;
		case EV_LEADER_CONTACT:
			leader_contact(s);
			break;
		case EV_PEER_TERM:
			if (e->leader != 0)
				leader_seen(s, e->term, e->leader, false);
			else if (e->term > c->durable.term)
				term_seen(s, e->term);
			break;
		case EV_MEMBERSHIP:
			campaign_members(s);
			break;
		case EV_PROMOTE:
			promote(s);
			break;
		case EV_FAILOVER_BEGIN:
			failover_begin(s);
			break;
		case EV_FAILOVER_ABANDON:
			if (e->attempt == c->transfer.attempt)
				failover_void(s);
			break;
		case EV_FAILOVER_SEEN:
			failover_seen(s);
			break;
		case EV_HEARD:
			break;				/* see expire() */
		case EV_MEMBERSHIP_COMMITTED:
			c->has_before = false;
			break;
	}
}

/* Before the event: what time has ended must not be used by it. */
static void
expire(Step *s)
{
	Consensus  *c = s->c;

	failover_tick(s);
	if (c->role == ROLE_PRIMARY)
	{
		if (s->e->type == EV_HEARD && s->e->term == c->durable.term)
			heard_from(s, s->e->leader, s->e->sent);
		lease_expire(s);
	}
	if (c->leaderless_since == 0 && (c->role == ROLE_REPLICA || c->role == ROLE_CANDIDATE) &&
		!leader_alive(c, s->e->now))
		silence(s);
	campaign_expire(s);
}

/* After the event: what is due now. */
static void
continue_role(Step *s)
{
	Consensus  *c = s->c;

	if (c->role == ROLE_UNKNOWN)
	{
		stand_tick(s);
		if (c->role == ROLE_UNKNOWN && c->fetch_from == 0 && s->e->now >= c->seek_next)
			seek(s);
	}
	else if (c->campaign == CAMPAIGN_TRANSFER)
		transfer_tick(s);
	else if (c->campaign != CAMPAIGN_NONE)
		campaign_tick(s);
}

static uint64_t
earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t
next_tick(const Consensus *c)
{
	uint64_t	end = c->campaign_start + c->config.election_timeout;
	uint64_t	tick;

	switch (c->role)
	{
		case ROLE_STOPPED:
			return 0;
		case ROLE_PRIMARY:
			tick = c->lease_wait_until != 0 ? c->lease_wait_until : c->lease_until;
			if (c->transfer.active)
				tick = earliest(tick, c->transfer.deadline);
			return tick == LEASE_UNLIMITED ? 0 : tick;
		case ROLE_UNKNOWN:
			if (c->fetch_from != 0)
				return c->fetch_until;
			return earliest(c->seek_next, c->stand_at);
		case ROLE_REPLICA:
			return c->leader_heard + c->config.election_timeout;
		case ROLE_CANDIDATE:
			if (c->campaign == CAMPAIGN_TRANSFER || c->campaign_retry < end)
				return c->campaign_retry;
			return end;
	}
	return 0;
}

/* What each role guarantees. */
static void
check(const Consensus *c, const ConsensusEvent *e, const ConsensusUpdate *u)
{
	assert((c->role == ROLE_CANDIDATE) == (c->campaign != CAMPAIGN_NONE));
	assert((c->role == ROLE_PRIMARY) == (c->leader == c->self));
	if (c->role == ROLE_PRIMARY)
		assert(TERM_MEMBER(c->durable.term) == c->self && c->durable.voted_for == c->self);
	if (c->role == ROLE_REPLICA)
		assert(c->leader != 0 && c->leader_heard != 0 && c->leaderless_since == 0);
	if (c->role == ROLE_UNKNOWN)
		assert(c->leaderless_since != 0);
	else
		assert(c->fetch_from == 0);
	if (c->transfer.active)
		assert(c->role == ROLE_PRIMARY && !c->transfer.granted);
	if (c->campaign_voting)
		assert(c->durable.term == c->campaign_term && c->durable.voted_for == c->self);
	if (c->may_resume)
		assert(c->durable.voted_for == 0 || c->durable.voted_for == c->self);

	/* promises: within what is on disk, and kept by this node itself */
	assert(c->promise.term <= c->durable.term);
	if (c->campaign != CAMPAIGN_NONE && c->campaign != CAMPAIGN_TRANSFER)
		assert(!promise_binds(c, c->self, e->now) && e->now >= c->no_vote_until);

	/* leases: only a primary has one, and none has both one and a time to wait for it */
	if (c->role == ROLE_PRIMARY)
	{
		assert(c->may_resume && c->last_leader == c->self);
		assert(c->lease_until == 0 || (c->lease_until > e->now && c->lease_wait_until == 0));
		assert(c->lease_until != 0 || c->lease_wait_until > e->now);
	}
	else
		assert(u->lease_until == 0);
	assert(u->next_tick == 0 || u->next_tick > e->now);
	(void) c;
	(void) e;
	(void) u;
}

void
consensus_step(Consensus *c, const ConsensusEvent *e, ConsensusUpdate *u)
{
	Step		s = {c, e, u};
	ConsensusRole role = c->role;
	uint64_t	term = c->durable.term;

	memset(u, 0, sizeof(*u));
	c->log = e->log;
	c->floor = e->floor;
	promise_take(c, &e->promise);
	expire(&s);
	dispatch(&s);
	continue_role(&s);
	if (c->role == ROLE_PRIMARY)
		lease_renew(&s);
	if (c->role != ROLE_UNKNOWN)
		c->fetch_from = 0;
	/* a reign that ends and another that begins in one step are a change too */
	u->role_changed = c->role != role || (c->role == ROLE_PRIMARY && c->durable.term != term);
	u->next_tick = next_tick(c);
	u->lease_until = c->role == ROLE_PRIMARY ? c->lease_until : 0;
	u->fetch_from = c->fetch_from;
	check(c, e, u);
}

const char *
consensus_role_name(ConsensusRole role)
{
	switch (role)
	{
		case ROLE_STOPPED:
			return "stopped";
		case ROLE_UNKNOWN:
			return "unknown";
		case ROLE_REPLICA:
			return "replica";
		case ROLE_CANDIDATE:
			return "candidate";
		case ROLE_PRIMARY:
			return "primary";
	}
	return "?";
}

const char *
consensus_refusal_text(ConsensusRefusal refusal)
{
	switch (refusal)
	{
		case REFUSED_NOT:
			return "nobody refused, but too few answered";
		case REFUSED_TERM:
			return "a member knows a higher term";
		case REFUSED_VOTED:
			return "a member has voted for another in this term";
		case REFUSED_BEHIND:
			return "a member has more of the replication stream";
		case REFUSED_LEADER_ALIVE:
			return "a member still hears a primary, or has promised it to wait";
		case REFUSED_NO_VOTER:
			return "the member asked does not vote";
		case REFUSED_ATTEMPT_VOID:
			return "the failover was given up";
		case REFUSED_MAY_NOT_LEAD:
			return "this node may not lead";
		case REFUSED_STARTING:
			return "a member has just been restarted, and waits out what it may have promised";
		case REFUSED_HOLDING:
			return "a member with the same replication stream comes first, and stands itself";
		case REFUSED_REMOVED:
			return "this node is no member of the group any more";
	}
	return "?";
}
