/*
 * vote.c - the voter: whom this node would vote for, and what its vote promises.
 */
#include "consensus/step.h"

#include <assert.h>

/* What a candidate must have: nothing less than is here, or was before a copy began. */
static ConsensusPlace
least_place(const Consensus *c)
{
	return consensus_place_cmp(c->log, c->floor) < 0 ? c->floor : c->log;
}

/*
 * Not a member, as far as is known for certain.  Whoever has a longer log may have
 * been added in the part that is not here yet.
 */
static bool
is_removed(const Consensus *c, const ConsensusMessage *m)
{
	return quorum_index(&c->members, m->from) < 0 &&
		!(c->has_before && quorum_index(&c->before, m->from) >= 0) &&
		consensus_place_cmp(m->place, least_place(c)) <= 0;
}

/*
 * Does this node rather stand itself?  Its log is the same, and it comes first.  For
 * one election timeout only, since it may stand: it may be unable to reach the others.
 */
static bool
is_holding(const Step *s, const ConsensusMessage *m)
{
	const Consensus *c = s->c;
	uint64_t	bound = bound_until(c);
	uint64_t	since = c->leaderless_since > bound ? c->leaderless_since : bound;

	return m->pre && m->stands && may_stand(s) &&
		(c->role == ROLE_UNKNOWN || c->campaign == CAMPAIGN_RESUME || c->campaign == CAMPAIGN_ELECT) &&
		s->e->now < since + c->config.election_timeout &&
		consensus_place_cmp(m->place, least_place(c)) == 0 &&
		quorum_precedes(&c->members, c->self, m->from);
}

/*
 * Why this node would not vote for the candidate, REFUSED_NOT if it would.
 * A primary is protected while it is heard, and for as long as it was promised;
 * only its own durable vote for the candidate, which release_from shows, lifts
 * that before the time is over, for this term and candidate.
 */
static ConsensusRefusal
vote_refusal(const Step *s, const ConsensusMessage *m)
{
	const Consensus *c = s->c;
	uint64_t	now = s->e->now;

	if (c->role == ROLE_STOPPED || !quorum_votes(&c->members, c->self))
		return REFUSED_NO_VOTER;
	if (is_removed(c, m))
		return REFUSED_REMOVED;
	if (m->ask_term < c->durable.term)
		return REFUSED_TERM;
	if (m->ask_term == c->durable.term &&
		c->durable.voted_for != 0 && c->durable.voted_for != m->from)
		return REFUSED_VOTED;
	if (leader_alive(c, now) && c->leader != m->from &&
		(c->role == ROLE_PRIMARY || m->release_from != c->leader))
		return REFUSED_LEADER_ALIVE;
	if (now < c->no_vote_until)
		return REFUSED_STARTING;
	if (promise_binds(c, m->from, now) && m->release_from != c->promise.leader)
		return REFUSED_LEADER_ALIVE;
	if (consensus_place_cmp(m->place, least_place(c)) < 0)
		return REFUSED_BEHIND;
	if (is_holding(s, m))
		return REFUSED_HOLDING;
	return REFUSED_NOT;
}

/*
 * Puts the vote on disk, with its promise: the candidate may lead from the moment
 * it counts the votes.  What this node was in an older term has ended.
 */
static void
vote_give(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;

	assert(c->role != ROLE_PRIMARY);
	if (m->ask_term > c->durable.term)
	{
		durable_set(s, m->ask_term, m->from);
		c->leader = 0;
		c->leader_heard = 0;
		if (c->campaign != CAMPAIGN_NONE)
		{
			c->campaign_attempt = 0;
			campaign_lost(s, REFUSED_TERM);
		}
		become_unknown(s);
	}
	else if (c->durable.voted_for == 0)
		durable_set(s, m->ask_term, m->from);
	resume_forbid(s);
	promise_give(s, m->ask_term, m->from, m->lease, s->e->now);
	assert(c->durable.term == m->ask_term && c->durable.voted_for == m->from);
}

void
vote_request(Step *s, const ConsensusMessage *m)
{
	ConsensusRefusal refusal;

	if (TERM_MEMBER(m->ask_term) != m->from)
		return;					/* no member can lead another's term */
	refusal = vote_refusal(s, m);
	if (refusal == REFUSED_NOT && !m->pre)
		vote_give(s, m);
	message_reply(s, m, refusal);
	if (refusal == REFUSED_BEHIND || refusal == REFUSED_HOLDING)
		stand_soon(s);
}
