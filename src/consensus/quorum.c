/*
 * quorum.c - who counts: voters, majority, and who may go on alone.
 *
 * A detached member counts in the group's size but gives no vote, so taking
 * members out of service never makes a majority easier to reach.
 */
#include "consensus/step.h"

#include <stddef.h>

/* Index of a member, or -1. */
int
quorum_index(const ConsensusMembership *m, uint16_t id)
{
	for (int i = 0; i < m->count; i++)
	{
		if (m->member[i].id == id)
			return i;
	}
	return -1;
}

static const ConsensusMember *
member_find(const ConsensusMembership *m, uint16_t id)
{
	int			i = quorum_index(m, id);

	return i < 0 ? NULL : &m->member[i];
}

static bool
counts(const ConsensusMember *member)
{
	return member->type != CONSENSUS_SECONDARY && !member->joining;
}

int
consensus_voters(const ConsensusMembership *m)
{
	int			n = 0;

	for (int i = 0; i < m->count; i++)
		n += counts(&m->member[i]);
	return n;
}

int
consensus_majority(const ConsensusMembership *m)
{
	return consensus_voters(m) / 2 + 1;
}

/* May this member give a vote? */
bool
quorum_votes(const ConsensusMembership *m, uint16_t id)
{
	const ConsensusMember *member = member_find(m, id);

	return member != NULL && counts(member) && !member->detached;
}

/* Can this member lead at all (it has tables and takes part)? */
bool
quorum_may_lead(const ConsensusMembership *m, uint16_t id)
{
	const ConsensusMember *member = member_find(m, id);

	return member != NULL && member->type == CONSENSUS_ELECTABLE &&
		!member->joining && !member->detached;
}

/*
 * Can a person make this member lead?  It may be joining still: the group may have
 * lost its primary in the moment between the end of its copy and its full
 * membership, and what it has is complete (the caller's may_lead says so).
 */
bool
quorum_may_be_forced(const ConsensusMembership *m, uint16_t id)
{
	const ConsensusMember *member = member_find(m, id);

	return member != NULL && member->type == CONSENSUS_ELECTABLE && !member->detached;
}

/* Does member a lead rather than b, where both may: priority, then name? */
bool
quorum_precedes(const ConsensusMembership *m, uint16_t a, uint16_t b)
{
	const ConsensusMember *ma = member_find(m, a);
	const ConsensusMember *mb = member_find(m, b);

	if (ma == NULL || mb == NULL)
		return ma != NULL;
	if (ma->priority != mb->priority)
		return ma->priority > mb->priority;
	if (ma->order != mb->order)
		return ma->order < mb->order;
	return a < b;
}

int32_t
quorum_priority(const ConsensusMembership *m, uint16_t id)
{
	const ConsensusMember *member = member_find(m, id);

	return member == NULL ? 0 : member->priority;
}

/* How many stand before this member when all are silent, `leader` not counted. */
int
quorum_rank(const ConsensusMembership *m, uint16_t id, uint16_t leader)
{
	int			rank = 0;

	for (int i = 0; i < m->count; i++)
	{
		uint16_t	other = m->member[i].id;

		rank += other != id && other != leader && m->member[i].priority > 0 &&
			quorum_may_lead(m, other) && quorum_precedes(m, other, id);
	}
	return rank;
}

/*
 * May this member, which led last, lead on without the other one's vote?  It is one
 * of two voters, and the other cannot have been elected without its own.  Where the
 * designation is on its way from one to the other, neither can be without both.
 */
static bool
resumes_alone(const ConsensusMembership *m, uint16_t id)
{
	int			voters = consensus_voters(m);

	if (voters > 2 || !quorum_votes(m, id))
		return false;
	return voters == 1 || m->rule != RULE_DESIGNATED || m->designated == id || m->designated == 0;
}

/* May this member lead without anybody else's vote, whoever led last? */
static bool
elects_alone(const ConsensusMembership *m, uint16_t id)
{
	int			voters = consensus_voters(m);

	if (voters > 2 || !quorum_votes(m, id))
		return false;
	return voters == 1 || m->rule == RULE_PREFERRED ||
		(m->rule == RULE_DESIGNATED && m->designated == id);
}

/* The same under all memberships that may be in force: resume, or election. */
bool
quorum_alone(const Consensus *c, bool resume)
{
	bool		(*allowed) (const ConsensusMembership *, uint16_t) =
		resume ? resumes_alone : elects_alone;

	return allowed(&c->members, c->self) &&
		(!c->has_before || allowed(&c->before, c->self));
}

bool
consensus_blocks(const ConsensusMembership *m, const uint16_t *ids, int n)
{
	int			voters = consensus_voters(m);
	int			have = 0;
	bool		alone = false;

	for (int i = 0; i < m->count; i++)
	{
		uint16_t	id = m->member[i].id;
		bool		has = false;

		for (int k = 0; k < n; k++)
			has |= ids[k] == id;
		have += has && counts(&m->member[i]);
		if (!has && elects_alone(m, id))
			alone = true;
	}
	return !alone && 2 * have >= voters;
}

static bool
won_under(const Consensus *c, const ConsensusMembership *m)
{
	int			n = 0;

	for (int i = 0; i < c->members.count; i++)
		n += c->votes[i] && quorum_votes(m, c->members.member[i].id);
	return n >= consensus_majority(m);
}

/* Can nobody be elected under what was in force before without one of those who voted? */
static bool
votes_block(const Consensus *c)
{
	uint16_t	ids[CONSENSUS_MAX_MEMBERS] = {0};
	int			n = 0;

	for (int i = 0; i < c->members.count; i++)
	{
		if (c->votes[i])
			ids[n++] = c->members.member[i].id;
	}
	return consensus_blocks(&c->before, ids, n);
}

/*
 * Do the votes collected by the campaign elect?  Majorities before and after a
 * change of one member have somebody in common, so the newest membership decides,
 * as in Raft.  But where one member was enough before, it must be among them; and
 * where one is enough now, the one before must agree.
 */
bool
quorum_won(const Consensus *c)
{
	if (!won_under(c, &c->members))
		return false;
	if (!c->has_before)
		return true;
	if (!votes_block(c))
		return false;
	return consensus_majority(&c->members) > 1 ||
		won_under(c, &c->before) || elects_alone(&c->before, c->self);
}

int
consensus_place_cmp(ConsensusPlace a, ConsensusPlace b)
{
	if (a.term != b.term)
		return a.term < b.term ? -1 : 1;
	if (a.pos != b.pos)
		return a.pos < b.pos ? -1 : 1;
	return 0;
}
