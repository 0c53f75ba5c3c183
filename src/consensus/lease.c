/*
 * lease.c - promises of voters, and the primary's lease that they make.
 *
 * The proof that no two leases of a group with a strict majority overlap stands in
 * consensus.h.
 */
#include "consensus/step.h"

#include <assert.h>
#include <string.h>

/* ---- the voter ---- */

/*
 * Takes over a promise that was given.  Each one lasts at least to its end: a later
 * one to another primary of a higher term does not shorten it, it only changes whom
 * it favours, for that one could not have come to lead before the older lease ended.
 * One of a lower term has been taken over before: nobody promises in a term that has
 * passed.  One of a term that this node has not seen is not this group's.
 */
void
promise_take(Consensus *c, const ConsensusPromise *p)
{
	if (p->leader == 0 || p->term < c->promise.term || p->term > c->durable.term)
		return;
	c->promise.term = p->term;
	c->promise.leader = p->leader;
	if (p->until > c->promise.until)
		c->promise.until = p->until;
}

/*
 * Promises `leader` a lease from that time on; its length goes to disk first.  A vote
 * that is given again (the answer was lost) may find this node standing in the next term.
 */
void
promise_give(Step *s, uint64_t term, uint16_t leader, uint32_t lease, uint64_t from)
{
	ConsensusDurable *durable = &s->c->durable;
	ConsensusPromise p = {term, leader, from + CONSENSUS_PROMISE_MS(lease)};

	if (lease == 0)
		return;
	if (lease > durable->promise_ms)
	{
		durable->promise_ms = lease;
		s->u->persist = true;
	}
	promise_take(s->c, &p);
	campaign_expire(s);
}

/* Does a promise forbid this node to vote for `candidate`, which may be itself? */
bool
promise_binds(const Consensus *c, uint16_t candidate, uint64_t now)
{
	return now < c->promise.until && c->promise.leader != candidate;
}

/*
 * This node leads, or led last: whatever it promised before is over, because it was
 * elected after that, or with the release of the primary that it had promised to, or
 * a person has broken it.  The term keeps older promises from coming back.
 */
void
promise_clear(Consensus *c)
{
	c->promise.term = c->durable.term;
	c->promise.leader = c->self;
	c->promise.until = 0;
	c->no_vote_until = 0;
}

/* From when on may this node stand for election? */
uint64_t
bound_until(const Consensus *c)
{
	return c->no_vote_until > c->promise.until ? c->no_vote_until : c->promise.until;
}

/* ---- the primary ---- */

/* Member i has answered what was sent at `sent`, which it cannot be before that. */
void
heard_from(Step *s, uint16_t member, uint64_t sent)
{
	Consensus  *c = s->c;
	int			i = quorum_index(&c->members, member);

	if (i >= 0 && sent <= s->e->now && sent > c->heard[i])
		c->heard[i] = sent;
}

static uint64_t
lease_from(const Consensus *c, uint16_t member)
{
	int			i = quorum_index(&c->members, member);

	return i < 0 || c->heard[i] == 0 ? 0 : c->heard[i] + c->config.election_timeout;
}

/*
 * Until when can those that are not heard elect nobody else, under this membership?
 * That is as long as half of the voters are heard, this node included; where one
 * member is a quorum by itself, as long as that one is.
 */
static uint64_t
lease_under(const Consensus *c, const ConsensusMembership *m)
{
	int			voters = consensus_voters(m);
	int			needed = (voters + 1) / 2 - (quorum_votes(m, c->self) ? 1 : 0);
	uint64_t	lease[CONSENSUS_MAX_MEMBERS];
	int			n = 0;

	if (voters == 2 && m->rule == RULE_DESIGNATED && m->designated != 0 && m->designated != c->self)
		return lease_from(c, m->designated);
	if (needed <= 0)
		return LEASE_UNLIMITED;

	/* the needed-th of the latest */
	for (int i = 0; i < m->count; i++)
	{
		uint16_t	id = m->member[i].id;
		uint64_t	until = lease_from(c, id);
		int			k = n;

		if (id == c->self || !quorum_votes(m, id))
			continue;
		for (; k > 0 && lease[k - 1] < until; k--)
			lease[k] = lease[k - 1];
		lease[k] = until;
		n++;
	}
	return n < needed ? 0 : lease[needed - 1];
}

/* Under all memberships that may be in force. */
static uint64_t
lease_now(const Consensus *c)
{
	uint64_t	until = lease_under(c, &c->members);
	uint64_t	before = c->has_before ? lease_under(c, &c->before) : until;

	return before < until ? before : until;
}

/* A reign begins: with what the votes have given. */
void
lease_begin(Step *s, bool waived)
{
	Consensus  *c = s->c;

	assert(c->role == ROLE_PRIMARY);
	c->lease_waived = waived;
	c->lease_wait_until = 0;
	c->lease_until = 0;
}

/*
 * After each event: the lease as it is.  There may be none yet, at the beginning and
 * after a change of members; then it has one election timeout to get it.
 */
void
lease_renew(Step *s)
{
	Consensus  *c = s->c;
	uint64_t	until = lease_now(c);

	assert(c->role == ROLE_PRIMARY);
	if (until > s->e->now)
	{
		c->lease_waived = false;
		c->lease_wait_until = 0;
	}
	else if (c->lease_waived)
		until = LEASE_UNLIMITED;
	else
	{
		until = 0;
		if (c->lease_wait_until == 0)
			c->lease_wait_until = s->e->now + c->config.election_timeout;
	}
	c->lease_until = until;
}

/*
 * Before each event: a primary whose time is over leads no more.  What it has just
 * heard counts: whoever answers in this term has voted for no higher one.
 */
void
lease_expire(Step *s)
{
	Consensus  *c = s->c;
	uint64_t	end = c->lease_wait_until != 0 ? c->lease_wait_until : c->lease_until;

	if (s->e->now < end || lease_now(c) > s->e->now)
		return;
	failover_void(s);
	c->leader = 0;
	c->leader_heard = 0;
	become_unknown(s);
	if (c->may_resume)
		c->seek_next = s->e->now;
	s->u->outcome = OUTCOME_LEASE_LOST;
}
