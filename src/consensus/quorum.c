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

/*
 * Is this member one of two voters, and may it lead on without the other's vote
 * if it led last?  Under RULE_DESIGNATED the designated member alone is a quorum,
 * so the other one never is.
 */
bool
quorum_solo(const ConsensusMembership *m, uint16_t id)
{
	if (consensus_voters(m) != 2 || !quorum_votes(m, id))
		return false;
	return m->rule != RULE_DESIGNATED || m->designated == id;
}

/* Do the votes collected by the campaign elect? */
bool
quorum_won(const Consensus *c)
{
	int			n = 0;

	for (int i = 0; i < c->members.count; i++)
		n += c->votes[i] && quorum_votes(&c->members, c->members.member[i].id);
	return n >= consensus_majority(&c->members);
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
