/*
 * election.c - campaigns.
 *
 * A campaign asks all members, voters or not: those who do not vote still know
 * who leads.  Requests are repeated every retry_interval, so lost messages cost
 * time only.  resume goes on until it leads or hears of another primary; promote
 * ends after one election timeout, for a person waits for the answer; so does elect,
 * to begin again a little later, when nobody else is in its way.
 */
#include "consensus/step.h"

#include <assert.h>
#include <string.h>

static void
votes_clear(Consensus *c)
{
	int			self = quorum_index(&c->members, c->self);

	memset(c->votes, 0, sizeof(c->votes));
	memset(c->answered, 0, sizeof(c->answered));
	memset(c->heard, 0, sizeof(c->heard));
	if (self >= 0)
		c->votes[self] = true;
}

/* Forgets the campaign; the role is for the caller to set. */
void
campaign_clear(Consensus *c)
{
	c->campaign = CAMPAIGN_NONE;
	c->campaign_term = 0;
	c->campaign_released = false;
	c->campaign_voting = false;
	c->campaign_blocked = false;
	c->campaign_refusal = REFUSED_NOT;
}

static void
become_primary(Step *s, ConsensusOutcome outcome)
{
	Consensus  *c = s->c;

	assert(c->durable.voted_for == c->self && TERM_MEMBER(c->durable.term) == c->self);
	campaign_clear(c);
	c->campaign_attempt = 0;
	memset(&c->transfer, 0, sizeof(c->transfer));
	c->role = ROLE_PRIMARY;
	c->leader = c->self;
	c->leader_heard = 0;
	c->last_leader = c->self;
	c->leaderless_since = 0;
	c->may_resume = true;
	promise_clear(c);
	lease_begin(s, outcome == OUTCOME_FORCED);
	s->u->persist = true;
	s->u->outcome = outcome;
}

/* Starts a campaign of any type but transfer, with its pre-vote round. */
void
campaign_begin(Step *s, ConsensusCampaign kind)
{
	Consensus  *c = s->c;

	assert(kind != CAMPAIGN_NONE && kind != CAMPAIGN_TRANSFER);
	assert(c->role != ROLE_STOPPED && c->role != ROLE_PRIMARY);
	campaign_clear(c);
	c->role = ROLE_CANDIDATE;
	c->campaign = kind;
	c->campaign_term = consensus_next_term(c->durable.term, c->self, false);
	c->campaign_start = s->e->now;
	votes_clear(c);
	if (quorum_won(c))
		campaign_advance(s);
	else
		campaign_ask(s);
}

/* One round of requests to those who have not granted theirs yet. */
void
campaign_ask(Step *s)
{
	Consensus  *c = s->c;

	c->campaign_retry = s->e->now + c->config.retry_interval;
	for (int i = 0; i < c->members.count; i++)
	{
		uint16_t	id = c->members.member[i].id;
		ConsensusMessage m = {0};

		if (id == c->self || c->votes[i])
			continue;
		m.type = MSG_VOTE_REQUEST;
		m.to = id;
		m.pre = !c->campaign_voting;
		m.stands = c->campaign == CAMPAIGN_ELECT;
		m.ask_term = c->campaign_term;
		m.lease = c->config.election_timeout;
		m.sent = s->e->now;
		if (c->campaign_released)
		{
			m.release_from = c->campaign_from;
			m.attempt = c->campaign_attempt;
		}
		message_send(s, &m);
	}
}

/* Goes on from the pre-vote to the votes, and from these to leading. */
void
campaign_advance(Step *s)
{
	Consensus  *c = s->c;

	if (!quorum_won(c))
		return;
	if (!c->campaign_voting)
	{
		durable_set(s, c->campaign_term, c->self);
		c->leader = 0;
		c->leader_heard = 0;
		c->campaign_voting = true;
		votes_clear(c);
		if (!quorum_won(c))
		{
			campaign_ask(s);
			return;
		}
		become_primary(s, c->campaign == CAMPAIGN_RESUME ? OUTCOME_RESUMED : OUTCOME_ELECTED);
		return;
	}
	become_primary(s, c->campaign == CAMPAIGN_TRANSFER ? OUTCOME_TRANSFERRED : OUTCOME_ELECTED);
}

/*
 * The campaign has failed.  The person who asked is told; a resume is tried again
 * later by itself.  A promote that had pushed aside a transfer gives it back: the
 * old primary may have voted already, and then nobody else can lead.
 */
void
campaign_lost(Step *s, ConsensusRefusal refusal)
{
	Consensus  *c = s->c;
	ConsensusCampaign kind = c->campaign;

	assert(c->role == ROLE_CANDIDATE && kind != CAMPAIGN_NONE);
	campaign_clear(c);
	become_follower(s);
	if (kind == CAMPAIGN_RESUME)
		return;
	if (kind == CAMPAIGN_ELECT)
		stand_again(s, refusal);
	else
	{
		s->u->outcome = OUTCOME_LOST;
		s->u->refusal = refusal;
	}
	if (kind == CAMPAIGN_TRANSFER)
		c->campaign_attempt = 0;
	else if (c->campaign_attempt != 0 && !transfer_begin(s))
		c->campaign_attempt = 0;
}

/*
 * Everybody has been asked for one election timeout, and nobody has refused or named
 * a primary: may this node lead alone?
 */
static bool
solo_allowed(const Step *s)
{
	const Consensus *c = s->c;

	if (c->campaign_blocked || !s->e->may_lead || s->e->now < bound_until(c))
		return false;
	if (c->campaign == CAMPAIGN_RESUME)
		return c->may_resume && quorum_alone(c, true) &&
			(c->durable.voted_for == 0 || c->durable.voted_for == c->self);
	return c->campaign == CAMPAIGN_ELECT && quorum_alone(c, false);
}

/* Time passes for a campaign of any type but transfer. */
void
campaign_tick(Step *s)
{
	Consensus  *c = s->c;

	if (s->e->now < c->campaign_start + c->config.election_timeout)
	{
		if (s->e->now >= c->campaign_retry)
			campaign_ask(s);
	}
	else if (solo_allowed(s))
	{
		if (!c->campaign_voting)
			durable_set(s, c->campaign_term, c->self);
		become_primary(s, c->campaign == CAMPAIGN_RESUME ? OUTCOME_RESUMED : OUTCOME_ELECTED);
	}
	else if (c->campaign == CAMPAIGN_RESUME && c->campaign_voting && !c->campaign_blocked)
	{
		/* slow answers: the votes that are here count on */
		c->campaign_start = s->e->now;
		campaign_ask(s);
	}
	else if (c->campaign == CAMPAIGN_RESUME)
		campaign_begin(s, CAMPAIGN_RESUME);
	else
		campaign_lost(s, c->campaign_refusal);
}

/*
 * A refusal.  What it says about terms and primaries has been learned before.  A
 * primary that somebody hears ends the campaign; a promise that still runs does not,
 * for it soon will have run out.  Whoever has more counts itself as a voter, even if
 * it is none as far as this log goes: the change is in what is missing here.
 */
static void
vote_refused(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;

	if (m->refusal == REFUSED_NO_VOTER)
		return;
	c->campaign_refusal = (ConsensusRefusal) m->refusal;
	c->campaign_blocked = true;
	if (c->campaign == CAMPAIGN_TRANSFER)
		return;
	if (m->refusal == REFUSED_LEADER_ALIVE && m->leader != 0)
		campaign_lost(s, REFUSED_LEADER_ALIVE);
	else if (m->refusal == REFUSED_BEHIND && !m->stands && consensus_place_cmp(m->place, c->log) > 0)
	{
		/* a failover to this node is void too: there are frames behind its record */
		c->campaign_attempt = 0;
		campaign_lost(s, REFUSED_BEHIND);
		fetch_begin(s, m);
	}
}

void
vote_response(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;
	int			i = quorum_index(&c->members, m->from);

	if (c->role != ROLE_CANDIDATE || i < 0 || m->ask_term != c->campaign_term)
		return;
	if (c->campaign == CAMPAIGN_TRANSFER && !c->campaign_released)
		return;
	if ((m->pre != 0) == c->campaign_voting)
		return;					/* an answer to the other round */
	c->answered[i] = true;
	if (m->granted)
	{
		c->votes[i] = true;
		if (!m->pre)
			heard_from(s, m->from, m->sent);
		campaign_advance(s);
	}
	else
		vote_refused(s, m);
}

/* A person asks this node to lead. */
void
promote(Step *s)
{
	Consensus  *c = s->c;
	int			i = quorum_index(&c->members, c->self);
	ConsensusRefusal refusal = REFUSED_NOT;

	if (c->role == ROLE_PRIMARY)
		return;
	if (c->role == ROLE_STOPPED || !s->e->may_lead ||
		!(s->e->force ? quorum_may_be_forced(&c->members, c->self) : quorum_may_lead(&c->members, c->self)) ||
		(c->members.member[i].priority == 0 && !s->e->force))
		refusal = REFUSED_MAY_NOT_LEAD;
	else if (s->e->force)
		refusal = REFUSED_NOT;
	else if (leader_alive(c, s->e->now) || promise_binds(c, c->self, s->e->now))
		refusal = REFUSED_LEADER_ALIVE;
	else if (s->e->now < c->no_vote_until)
		refusal = REFUSED_STARTING;
	if (refusal != REFUSED_NOT || (c->campaign_released && !s->e->force))
	{
		/* with the old primary's vote it asks for votes already, and goes on */
		s->u->outcome = OUTCOME_LOST;
		s->u->refusal = refusal;
	}
	else if (s->e->force)
	{
		durable_set(s, consensus_next_term(c->durable.term, c->self, true), c->self);
		votes_clear(c);
		become_primary(s, OUTCOME_FORCED);
	}
	else
		campaign_begin(s, CAMPAIGN_PROMOTE);
}

/* New members: what is kept by place in the list moves with its member. */
void
campaign_members(Step *s)
{
	Consensus  *c = s->c;
	const Consensus old = *c;
	const ConsensusMembership *new_members = s->e->members;

	assert(new_members->count >= 0 && new_members->count <= CONSENSUS_MAX_MEMBERS);
	c->has_before = s->e->before != NULL;
	if (c->has_before)
		c->before = *s->e->before;
	c->members = *new_members;
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		int			k = i < c->members.count ?
			quorum_index(&old.members, c->members.member[i].id) : -1;

		c->votes[i] = k >= 0 && old.votes[k];
		c->answered[i] = k >= 0 && old.answered[k];
		c->heard[i] = k >= 0 ? old.heard[k] : 0;
	}
	if (c->campaign != CAMPAIGN_NONE &&
		(c->campaign != CAMPAIGN_TRANSFER || c->campaign_released))
		campaign_advance(s);
}
