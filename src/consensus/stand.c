/*
 * stand.c - when a node stands for election by itself, and what it does when it is
 * behind a member that does not.
 *
 * The first in rank (priority, then name) asks first, the others a little later
 * each, so that most elections have one candidate.  All times are in fractions of
 * the election timeout.
 */
#include "consensus/step.h"

/* May this node stand by itself at all, once no promise binds it? */
bool
may_stand(const Step *s)
{
	const Consensus *c = s->c;

	return s->e->may_lead && !c->members.paused && c->fetch_from == 0 &&
		quorum_may_lead(&c->members, c->self) && quorum_priority(&c->members, c->self) > 0;
}

/*
 * What has ended a campaign: this node may not stand any more, or a promise that it
 * gives, or that a receiver has given in the moment before the campaign began.
 */
void
campaign_expire(Step *s)
{
	const Consensus *c = s->c;

	if (c->campaign == CAMPAIGN_NONE || c->campaign == CAMPAIGN_TRANSFER)
		return;
	if (!s->e->may_lead || (c->campaign == CAMPAIGN_ELECT && !may_stand(s)))
		campaign_lost(s, REFUSED_MAY_NOT_LEAD);
	else if (promise_binds(c, c->self, s->e->now))
		campaign_lost(s, REFUSED_LEADER_ALIVE);
}

static uint64_t
spread(const Step *s, uint32_t ms)
{
	return s->e->random % (ms + 1);
}

/* When to stand, if still nobody is heard from `from` on. */
void
stand_plan(Step *s, uint64_t from)
{
	Consensus  *c = s->c;
	uint32_t	timeout = c->config.election_timeout;
	uint64_t	bound = bound_until(c);
	uint64_t	rank = (uint64_t) quorum_rank(&c->members, c->self, c->last_leader);

	c->stand_at = (from < bound ? bound : from) + spread(s, timeout / 10) + rank * timeout / 8;
}

/* Somebody stands who is no better. */
void
stand_soon(Step *s)
{
	Consensus  *c = s->c;
	uint64_t	bound = bound_until(c);

	if (c->role != ROLE_UNKNOWN || !may_stand(s))
		return;
	c->stand_at = s->e->now < bound ? bound : s->e->now;
	if (c->may_resume)
		c->seek_next = c->stand_at;
}

/*
 * After a campaign that has failed.  A voter that hears a primary may only be a
 * heartbeat later in missing it, so ask that one again sooner.
 */
void
stand_again(Step *s, ConsensusRefusal refusal)
{
	Consensus  *c = s->c;
	uint32_t	wait = c->config.election_timeout / (refusal == REFUSED_LEADER_ALIVE ? 8 : 4);

	c->stand_at = s->e->now + wait + spread(s, wait);
}

/* No primary is heard any more. */
void
silence(Step *s)
{
	Consensus  *c = s->c;

	if (c->role == ROLE_REPLICA)
		become_unknown(s);
	leaderless(s);
	stand_plan(s, s->e->now);
}

/* Since when nobody is heard; does nothing if that is known. */
void
leaderless(Step *s)
{
	if (s->c->leaderless_since == 0)
		s->c->leaderless_since = s->e->now > 0 ? s->e->now : 1;
}

/* A member has more and does not stand: fetch that first. */
void
fetch_begin(Step *s, const ConsensusMessage *m)
{
	Consensus  *c = s->c;

	if (c->role != ROLE_UNKNOWN)
		return;
	c->fetch_from = m->from;
	c->fetch_place = m->place;
	c->fetch_until = s->e->now + 4 * (uint64_t) c->config.election_timeout;
	if (c->may_resume)
		c->seek_next = c->fetch_until;
}

static void
fetch_tick(Step *s)
{
	Consensus  *c = s->c;

	if (c->fetch_from == 0 ||
		(consensus_place_cmp(c->log, c->fetch_place) < 0 && s->e->now < c->fetch_until))
		return;
	c->fetch_from = 0;
	stand_soon(s);
}

/* Is it time to stand, for a node that is in nobody's way? */
static bool
stand_due(Step *s)
{
	Consensus  *c = s->c;

	if (s->e->now < c->stand_at)
		return false;
	if (may_stand(s) && !c->may_resume && s->e->now >= bound_until(c))
		return true;
	stand_plan(s, s->e->now + c->config.election_timeout / 4);
	return false;
}

/*
 * UNKNOWN, or the target of a failover whose old primary is not heard any more: it
 * may have died before it voted, and then nobody has more than this node.
 */
void
stand_tick(Step *s)
{
	fetch_tick(s);
	if (stand_due(s))
		campaign_begin(s, CAMPAIGN_ELECT);
}
