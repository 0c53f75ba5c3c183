/*
 * term.c - terms, and who leads them: the next term, what happens when a higher
 * one is seen, and when its primary makes itself heard.
 */
#include "consensus/step.h"

#include <assert.h>

uint64_t
consensus_next_term(uint64_t term, uint16_t member, bool forced)
{
	uint32_t	forced_part = TERM_FORCED(term) + (forced ? 1u : 0u);
	uint32_t	reign = TERM_REIGN(term) + 1;

	assert(forced_part <= UINT16_MAX && reign != 0);
	return TERM_MAKE(forced_part, reign, member);
}

/* Is this node the primary, or has it heard the primary within one election timeout? */
bool
leader_alive(const Consensus *c, uint64_t now)
{
	if (c->role == ROLE_PRIMARY)
		return true;
	return c->leader != 0 && c->leader_heard != 0 &&
		now < c->leader_heard + c->config.election_timeout;
}

/* The only place that changes term and vote: neither is ever taken back. */
void
durable_set(Step *s, uint64_t term, uint16_t voted_for)
{
	ConsensusDurable *durable = &s->c->durable;

	assert(term >= durable->term);
	assert(term > durable->term || durable->voted_for == 0 || durable->voted_for == voted_for);
	durable->term = term;
	durable->voted_for = voted_for;
	s->u->persist = true;
}

/* Another leads, or has this node's vote: never again without a majority. */
void
resume_forbid(Step *s)
{
	if (s->c->may_resume)
	{
		s->c->may_resume = false;
		s->u->persist = true;
	}
}

/* Leads nobody, follows nobody.  A campaign must have been ended before. */
void
become_unknown(Step *s)
{
	Consensus  *c = s->c;

	assert(c->campaign == CAMPAIGN_NONE);
	if (c->role != ROLE_STOPPED)
		c->role = ROLE_UNKNOWN;
	c->seek_next = s->e->now + c->config.election_timeout;
	c->fetch_from = 0;
	leaderless(s);
	stand_plan(s, c->seek_next);
}

/* No campaign any more: follows the primary that it hears, if it hears one. */
void
become_follower(Step *s)
{
	Consensus  *c = s->c;

	become_unknown(s);
	if (!leader_alive(c, s->e->now))
		return;
	c->role = ROLE_REPLICA;
	c->leaderless_since = 0;
}

/*
 * A term above the own one exists.  Whatever this node was in the old term has
 * ended.  If it led, or was on its way back to lead, and the new term may be
 * nobody's, it seeks to lead again at once.
 */
void
term_seen(Step *s, uint64_t term)
{
	Consensus  *c = s->c;
	bool		forced = TERM_FORCED(term) > TERM_FORCED(c->durable.term);
	bool		leading = c->role == ROLE_PRIMARY || c->campaign == CAMPAIGN_RESUME;

	assert(term > c->durable.term);
	if (c->campaign == CAMPAIGN_TRANSFER && term == c->campaign_term)
		return;					/* the old primary has voted; its answer is still to come */
	if (c->role == ROLE_PRIMARY)
	{
		s->u->outcome = OUTCOME_STEPPED_DOWN;
		c->transfer.active = false;
	}
	durable_set(s, term, 0);
	c->leader = 0;
	c->leader_heard = 0;
	if (c->campaign != CAMPAIGN_NONE)
	{
		c->campaign_attempt = 0;	/* its term cannot be had any more */
		campaign_lost(s, REFUSED_TERM);
	}
	become_unknown(s);
	if (forced)
		resume_forbid(s);
	else if (leading && c->may_resume)
		c->seek_next = s->e->now;
}

/*
 * `leader` leads `term`.  Direct: it says so itself, which is a sign of life;
 * otherwise another member hears it, and this node waits to hear it too.
 */
void
leader_seen(Step *s, uint64_t term, uint16_t leader, bool direct)
{
	Consensus  *c = s->c;

	if (TERM_MEMBER(term) == c->self || term < c->durable.term)
		return;					/* nobody else can lead this node's own term */
	if (term > c->durable.term)
		term_seen(s, term);
	assert(c->role != ROLE_PRIMARY);

	c->leader = leader;
	if (direct)
	{
		c->leader_heard = s->e->now > 0 ? s->e->now : 1;
		c->last_leader = leader;
		c->leaderless_since = 0;
	}
	resume_forbid(s);
	if (c->campaign == CAMPAIGN_TRANSFER && leader == c->campaign_from)
		return;					/* its heartbeats go on until it votes */
	if (c->campaign != CAMPAIGN_NONE)
		campaign_lost(s, REFUSED_LEADER_ALIVE);
	if (direct && c->role == ROLE_UNKNOWN)
		c->role = ROLE_REPLICA;
}

/*
 * A sign of life of a primary, which may have come a while ago: what is told late must
 * not make it look alive for longer.
 */
void
leader_contact(Step *s)
{
	Consensus  *c = s->c;
	const ConsensusEvent *e = s->e;
	uint64_t	at = e->sent != 0 && e->sent < e->now ? e->sent : e->now;
	uint64_t	before = c->leader == e->leader && c->durable.term == e->term ? c->leader_heard : 0;
	bool		alive = e->now < at + c->config.election_timeout;

	leader_seen(s, e->term, e->leader, alive);
	if (c->leader != e->leader || c->durable.term != e->term || c->role == ROLE_PRIMARY)
		return;
	if (alive && at > 0)
		c->leader_heard = at > before ? at : before;
	promise_give(s, e->term, e->leader, e->lease, at);
}
