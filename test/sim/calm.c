/*
 * calm.c - the end of a schedule: nothing breaks any more, all that may run runs.
 * Then one primary comes to be within a bounded time wherever a majority can come
 * together, all follow it, and nobody disturbs it.  When it dies, and all are equal,
 * the one with the highest priority follows it, save where clocks that differ let
 * another ask first: that is counted, and must be rare (sim.c).
 */
#include "world.h"

#include <string.h>

#define REST_LIMIT	MS(40000)
#define WATCH_TIME	MS(4000)

/* Runs the world for a while, or until a condition holds; does it hold? */
static bool
run_until(World *w, uint64_t end, bool (*condition) (const World *w))
{
	WorldEvent	event;

	while (w->failure[0] == '\0' && w->now < end)
	{
		if (condition != NULL && condition(w))
			return true;
		if (!next_event(w, &event))
			break;
		run_event(w, &event);
	}
	return condition != NULL && condition(w);
}

/* ---- is there rest? ---- */

static int
the_primary(const World *w)
{
	int			primary = -1;

	for (int i = 0; i < w->n; i++)
	{
		if (!node_runs(w, i) || w->node[i].core.role != ROLE_PRIMARY)
			continue;
		if (primary >= 0)
			return -1;
		primary = i;
	}
	return primary;
}

static bool
follows(const World *w, int i, int primary)
{
	const Node *node = &w->node[i];
	const Disk *mine = &node->disk;
	const Disk *theirs = &w->node[primary].disk;

	return node_runs(w, i) && node->core.role == ROLE_REPLICA && node->core.leader == primary + 1 &&
		!mine->copying && mine->flushed == mine->len && mine->len == theirs->flushed &&
		log_hash(mine, mine->len) == log_hash(theirs, theirs->flushed);
}

/* Everybody who is up follows one primary, whose gate is open, and has its log. */
static bool
settled(const World *w)
{
	int			primary = the_primary(w);
	const ConsensusMembership *m;

	if (primary < 0 || !gate_is_open(w, primary) || w->node[primary].disk.flushed < w->node[primary].disk.len)
		return false;
	m = members_of(w, &w->node[primary].disk);
	for (int k = 0; k < m->count; k++)
	{
		int			i = m->member[k].id - 1;

		if (i != primary && !w->node[i].dead && !m->member[k].detached && !follows(w, i, primary))
			return false;
	}
	return true;
}

/* ---- can there be? ---- */

/* Whose log is the best that node i can have without a primary: its own, or that of a voter. */
static const Disk *
best_log(const World *w, int i)
{
	const Disk *mine = &w->node[i].disk;
	const Disk *best = mine;

	for (int k = 0; k < w->n; k++)
	{
		const Disk *theirs = &w->node[k].disk;
		const ConsensusMember *voter = member_of(members_of(w, theirs), k);

		if (!w->node[k].dead && member_of(members_of(w, mine), k) != NULL &&
			is_voter(voter) && !voter->detached &&
			log_common(mine, theirs) == mine->len && theirs->flushed > mine->len &&
			consensus_place_cmp(log_place(theirs), log_place(best)) > 0)
			best = theirs;
	}
	return best;
}

/* Under m, when those in `asked` are asked. */
static bool
would_elect(const World *w, const ConsensusMembership *m, const ConsensusMembership *asked,
			int candidate, ConsensusPlace place)
{
	bool		set[MAX_NODES] = {false};

	for (int v = 0; v < w->n; v++)
	{
		const Disk *disk = &w->node[v].disk;
		const ConsensusMembership *theirs = members_of(w, disk);
		const ConsensusMember *voter = member_of(theirs, v);

		set[v] = !w->node[v].dead && is_voter(voter) && !voter->detached &&
			member_of(asked, v) != NULL && member_of(theirs, candidate) != NULL &&
			consensus_place_cmp(log_place(disk), place) <= 0 && consensus_place_cmp(disk->floor, place) <= 0;
	}
	return is_quorum(m, set);
}

static bool
may_stand_under(const ConsensusMembership *m, int i)
{
	const ConsensusMember *self = member_of(m, i);

	return self != NULL && self->type == CONSENSUS_ELECTABLE && !self->joining &&
		!self->detached && self->priority > 0;
}

/* Can anybody be elected without a person?  It must stand before it fetches, and after. */
static bool
can_elect(const World *w)
{
	for (int i = 0; i < w->n; i++)
	{
		const Disk *mine = &w->node[i].disk;
		const Disk *disk = best_log(w, i);
		const ConsensusMembership *m = members_of(w, disk);
		const ConsensusMembership *before = members_before(w, disk);

		if (!w->node[i].dead && !mine->copying && may_stand_under(members_of(w, mine), i) &&
			may_stand_under(m, i) && would_elect(w, m, m, i, log_place(disk)) &&
			(before == NULL || would_elect(w, before, m, i, log_place(disk))))
			return true;
	}
	return false;
}

/* A pause forbids elections by timeout: then it takes a person. */
static bool
paused(const World *w)
{
	for (int i = 0; i < w->n; i++)
	{
		if (members_of(w, &w->node[i].disk)->paused)
			return true;
	}
	return false;
}

static void
trace_state(World *w)
{
	for (int i = 0; i < w->n; i++)
	{
		const Node *node = &w->node[i];
		const ConsensusMembership *m = members_of(w, &node->disk);

		trace(w, "node %d:%s %s, term %llx, leader %d, campaign %d, gate %d, log %llx:%d of %d%s, %d members, %d vote, rule %d designated %d%s%s",
			  i + 1, node->dead ? " dead" : "", consensus_role_name(node->core.role),
			  (unsigned long long) node->core.durable.term, node->core.leader, node->core.campaign,
			  gate_is_open(w, i), (unsigned long long) log_place(&node->disk).term, node->disk.flushed,
			  node->disk.len, node->disk.copying ? " copying" : "", m->count, count_voters(m), m->rule,
			  m->designated, m->paused ? ", paused" : "",
			  members_before(w, &node->disk) != NULL ? ", not committed" : "");
	}
}

/* ---- what happens ---- */

static void
wake_all(World *w)
{
	int			dead = chance(w, 300) ? (int) dice(w, (unsigned) w->n) : -1;

	w->calm = true;
	memset(w->cut, 0, sizeof(w->cut));
	trace(w, "calm");
	for (int i = 0; i < w->n; i++)
	{
		w->node[i].dead = i == dead || !w->node[i].exists;
		w->node[i].no_lead_until = 0;
		if (i == dead && w->node[i].up)
			node_crash(w, i, "for good");
		else if (i != dead)
			node_start(w, i);
	}
}

static void
come_to_rest(World *w)
{
	uint64_t	begin = w->now;

	/* what is frozen or lost shows itself by then */
	run_until(w, w->now + WATCH_TIME, NULL);
	while (w->failure[0] == '\0' && w->now < begin + REST_LIMIT)
	{
		if (run_until(w, w->now + MS(3000), settled))
		{
			unsigned	took = (unsigned) ((w->now - begin) / 1000);

			if (took > w->counts.settle_ms)
				w->counts.settle_ms = took;
			return;
		}
		if (paused(w) && the_primary(w) < 0)
			person_promotes(w, (int) dice(w, (unsigned) w->n), false);
	}
	if (the_primary(w) < 0 && (!can_elect(w) || paused(w)))
		w->counts.excused++;
	else
	{
		trace_state(w);
		fail(w, "the group does not come to rest");
	}
}

/* How many of the voters may be away while the primary goes on? */
static bool
can_do_without(const World *w, int primary, int away)
{
	const ConsensusMembership *m = members_of(w, &w->node[primary].disk);
	int			there = 0;

	if (members_before(w, &w->node[primary].disk) != NULL || m->rule != RULE_STRICT)
		return false;
	for (int k = 0; k < m->count; k++)
	{
		int			i = m->member[k].id - 1;

		there += is_voter(&m->member[k]) && !m->member[k].detached && !w->node[i].dead && i != away;
	}
	return 2 * there >= count_voters(m);
}

/* Nobody disturbs a healthy primary: not one that was isolated for long either. */
static void
stay_at_rest(World *w)
{
	int			primary = the_primary(w);
	uint64_t	term = w->node[primary].lead_term;
	int			away = (int) dice(w, (unsigned) w->n);

	if (away != primary && can_do_without(w, primary, away) && chance(w, 500))
	{
		trace(w, "node %d is isolated", away + 1);
		for (int k = 0; k < w->n; k++)
			w->cut[away][k] = w->cut[k][away] = true;
		run_until(w, w->now + WATCH_TIME, NULL);
		memset(w->cut, 0, sizeof(w->cut));
	}
	run_until(w, w->now + WATCH_TIME, NULL);
	if (w->node[primary].lead_term != term)
		fail(w, "node %d was disturbed in its reign", primary + 1);
	else if (!run_until(w, w->now + WATCH_TIME, settled))
		fail(w, "the group does not stay at rest");
}

static bool
somebody_leads(const World *w)
{
	for (int i = 0; i < w->n; i++)
	{
		if (gate_is_open(w, i))
			return true;
	}
	return false;
}

/* All are equal, and the primary dies. */
static void
follow_by_priority(World *w)
{
	int			primary = the_primary(w);
	const ConsensusMembership *m = members_of(w, &w->node[primary].disk);
	int			best = 0;
	int			next;

	if (!w->same_timeouts || m->paused || m->rule != RULE_STRICT || !can_do_without(w, primary, primary) ||
		members_before(w, &w->node[primary].disk) != NULL)
		return;
	for (int k = 0; k < m->count; k++)
	{
		const ConsensusMember *member = &m->member[k];

		if (member->type == CONSENSUS_ELECTABLE && !member->joining && !member->detached &&
			member->id != primary + 1 && !w->node[member->id - 1].dead && member->priority > best)
			best = member->priority;
	}
	w->node[primary].dead = true;
	node_crash(w, primary, "while all are equal");
	if (!can_elect(w))
		return;
	if (!run_until(w, w->now + REST_LIMIT, somebody_leads))
	{
		fail(w, "nobody follows node %d", primary + 1);
		return;
	}
	next = the_primary(w);
	if (next < 0)
		return;
	w->counts.elected_equal++;
	w->counts.elected_lower += member_of(m, next)->priority < best;
}

void
calm_down(World *w)
{
	wake_all(w);
	come_to_rest(w);
	if (w->failure[0] != '\0' || the_primary(w) < 0)
		return;
	stay_at_rest(w);
	if (w->failure[0] == '\0' && chance(w, 300))
		follow_by_priority(w);
}
