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

static void
start(Step *s)
{
	Consensus  *c = s->c;

	if (c->role != ROLE_STOPPED)
		return;
	c->may_resume = s->e->was_primary;
	if (c->durable.voted_for != 0 && c->durable.voted_for != c->self)
		resume_forbid(s);
	c->role = ROLE_UNKNOWN;
	c->leader = 0;
	c->leader_heard = 0;
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
	if (c->may_resume && s->e->may_lead && quorum_may_lead(&c->members, c->self))
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
			leader_seen(s, e->term, e->leader, true);
			break;
		case EV_PEER_TERM:
			if (e->leader != 0)
				leader_seen(s, e->term, e->leader, false);
			else if (e->term > c->durable.term)
				term_seen(s, e->term);
			break;
		case EV_MEMBERSHIP:
			campaign_members(s, e->members);
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
		case EV_MEMBERSHIP_COMMITTED:
			break;
	}
}

/* Before the event: what time has ended must not be used by it. */
static void
expire(Step *s)
{
	Consensus  *c = s->c;

	failover_tick(s);
	if (c->role == ROLE_REPLICA && !leader_alive(c, s->e->now))
		become_unknown(s);
	if ((c->campaign == CAMPAIGN_RESUME || c->campaign == CAMPAIGN_PROMOTE) && !s->e->may_lead)
		campaign_lost(s, REFUSED_MAY_NOT_LEAD);
}

/* After the event: what is due now. */
static void
continue_role(Step *s)
{
	Consensus  *c = s->c;

	if (c->role == ROLE_UNKNOWN && s->e->now >= c->seek_next)
		seek(s);
	else if (c->campaign == CAMPAIGN_TRANSFER)
		transfer_tick(s);
	else if (c->campaign != CAMPAIGN_NONE)
		campaign_tick(s);
}

static uint64_t
next_tick(const Consensus *c)
{
	uint64_t	end = c->campaign_start + c->config.election_timeout;

	switch (c->role)
	{
		case ROLE_STOPPED:
			return 0;
		case ROLE_PRIMARY:
			return c->transfer.active ? c->transfer.deadline : 0;
		case ROLE_UNKNOWN:
			return c->seek_next;
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
check(const Consensus *c)
{
	assert((c->role == ROLE_CANDIDATE) == (c->campaign != CAMPAIGN_NONE));
	assert((c->role == ROLE_PRIMARY) == (c->leader == c->self));
	if (c->role == ROLE_PRIMARY)
		assert(TERM_MEMBER(c->durable.term) == c->self && c->durable.voted_for == c->self);
	if (c->role == ROLE_REPLICA)
		assert(c->leader != 0 && c->leader_heard != 0);
	if (c->transfer.active)
		assert(c->role == ROLE_PRIMARY && !c->transfer.granted);
	if (c->campaign_voting)
		assert(c->durable.term == c->campaign_term && c->durable.voted_for == c->self);
	if (c->may_resume)
		assert(c->durable.voted_for == 0 || c->durable.voted_for == c->self);
	(void) c;
}

void
consensus_step(Consensus *c, const ConsensusEvent *e, ConsensusUpdate *u)
{
	Step		s = {c, e, u};
	ConsensusRole role = c->role;

	memset(u, 0, sizeof(*u));
	c->log = e->log;
	expire(&s);
	dispatch(&s);
	continue_role(&s);
	u->role_changed = c->role != role;
	u->next_tick = next_tick(c);
	check(c);
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
			return "a member still hears a primary";
		case REFUSED_NO_VOTER:
			return "the member asked does not vote";
		case REFUSED_ATTEMPT_VOID:
			return "the failover was given up";
		case REFUSED_MAY_NOT_LEAD:
			return "this node may not lead";
		case REFUSED_STARTING:
			return "a member has just been restarted, and waits out what it may have promised";
		case REFUSED_HOLDING:
			return "a member that is as good stands itself";
		case REFUSED_REMOVED:
			return "this node is no member of the group any more";
	}
	return "?";
}
