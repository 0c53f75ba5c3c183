/*
 * acks.c - see acks.h.
 */
#include "ship/acks.h"

#include <string.h>

static const char *const policy_names[] = {"none", "one", "majority", "all"};

static bool
counts(const Member *member)
{
	return member->voter.type != CONSENSUS_SECONDARY && !member->voter.joining;
}

static bool
has_tables(const Member *member)
{
	return member->voter.type == CONSENSUS_ELECTABLE;
}

static int
count_voters(const Membership *m, bool with_tables)
{
	int			n = 0;

	for (int i = 0; i < m->count; i++)
		n += counts(&m->members[i]) && (!with_tables || has_tables(&m->members[i]));
	return n;
}

/* How many of n voters besides the primary must have something. */
static int
others_needed(uint8 policy, int n)
{
	switch (policy)
	{
		case ACK_ONE:
			return 1;
		case ACK_MAJORITY:
			return n / 2;
		case ACK_ALL:
			return n > 0 ? n - 1 : 0;
		default:
			return 0;
	}
}

bool
acks_solo(const Membership *m, uint16 id)
{
	return m->rule == RULE_DESIGNATED && m->designated == id && count_voters(m, false) == 2;
}

uint16
acks_bound(const Membership *before, uint16 primary)
{
	return before->designated != primary && acks_solo(before, before->designated) ?
		before->designated : 0;
}

/* ---- places ---- */

typedef enum AckLevel
{
	LEVEL_WRITE,
	LEVEL_FLUSH,
	LEVEL_APPLY
} AckLevel;

static StreamPos
place_of(const AckPeer *peer, AckLevel level)
{
	switch (level)
	{
		case LEVEL_WRITE:
			return peer->written;
		case LEVEL_FLUSH:
			return peer->flushed;
		case LEVEL_APPLY:
			return peer->applied;
	}
	return 0;
}

static const AckPeer *
find_peer(const AckView *v, uint16 id)
{
	for (int i = 0; i < v->n_peers; i++)
		if (v->peers[i].id == id)
			return &v->peers[i];
	return NULL;
}

/*
 * Places of the voters besides the primary, the highest first; those that tell
 * nothing are left out.  Returns how many there are.
 */
static int
sorted_places(const AckView *v, const Membership *m, AckLevel level, StreamPos *out)
{
	int			n = 0;

	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];
		const AckPeer *peer = find_peer(v, member->voter.id);
		StreamPos	place;
		int			at;

		if (member->voter.id == v->self || !counts(member) || member->voter.detached ||
			(level == LEVEL_APPLY && !has_tables(member)) || peer == NULL || !peer->streams)
			continue;
		place = place_of(peer, level);
		for (at = n; at > 0 && out[at - 1] < place; at--)
			out[at] = out[at - 1];
		out[at] = place;
		n++;
	}
	return n;
}

/* What `needed` voters besides the primary have reached, and the primary's `own` place too. */
static StreamPos
reached(const AckView *v, const Membership *m, AckLevel level, int needed, StreamPos own)
{
	StreamPos	places[CONSENSUS_MAX_MEMBERS];
	StreamPos	place = own;
	const AckPeer *bound = find_peer(v, v->bound);

	if (needed > 0 && !v->alone)
	{
		if (sorted_places(v, m, level, places) < needed)
			return 0;
		if (places[needed - 1] < place)
			place = places[needed - 1];
		if (v->bound != 0 && (bound == NULL || !bound->streams))
			return 0;
		if (v->bound != 0 && place_of(bound, level) < place)
			place = place_of(bound, level);
	}
	return place >= v->lead_start ? place : 0;
}

void
acks_count(const AckView *v, const Membership *m, AckPlaces *out)
{
	int			voters = count_voters(m, false);
	int			needed = others_needed(v->policy, voters);

	memset(out, 0, sizeof(*out));
	if (v->lead_start == 0)
		return;
	out->committed = reached(v, m, LEVEL_FLUSH, others_needed(ACK_MAJORITY, voters), v->own_flushed);
	out->write = reached(v, m, LEVEL_WRITE, needed, v->own_end);
	out->flush = reached(v, m, LEVEL_FLUSH, needed, v->own_end);
	out->apply = reached(v, m, LEVEL_APPLY, others_needed(v->policy, count_voters(m, true)), v->own_end);
	if (out->apply > out->flush)
		out->apply = out->flush;
}

bool
acks_reachable(uint8 policy, const Membership *m, uint16 primary, uint16 without)
{
	int			there = 0;

	if (acks_solo(m, primary))
		return true;
	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];

		there += counts(member) && !member->voter.detached &&
			member->voter.id != primary && member->voter.id != without;
	}
	return there >= others_needed(policy, count_voters(m, false));
}

/* ---- names ---- */

const char *
ack_policy_name(uint8 policy)
{
	return policy <= ACK_ALL ? policy_names[policy] : "?";
}

int
ack_policy_parse(const char *name)
{
	for (int i = 0; i <= ACK_ALL; i++)
		if (strcmp(policy_names[i], name) == 0)
			return i;
	return -1;
}
