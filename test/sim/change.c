/*
 * change.c - what a primary does beside shipping (changes of members, planned
 * failovers), and where else than from it a node gets frames (copies, fetching).
 */
#include "world.h"

#include <string.h>

/* Leads, and its TERM record is committed. */
static bool
leads_for_good(const World *w, int i)
{
	const Node *node = &w->node[i];

	return node_runs(w, i) && node->core.role == ROLE_PRIMARY &&
		node->lead_term == node->core.durable.term && node->committed >= node->lead_len;
}

/* ---- members, one change at a time ---- */

/* A newcomer: its log is a copy of the primary's, once it has one. */
static void
newcomer(World *w, int membership)
{
	Node	   *node = &w->node[w->n - 1];

	node->exists = true;
	node->disk.base = (uint16_t) membership;
	node->disk.copying = true;
	node_start(w, w->n - 1);
	schedule(w, w->now + dice(w, MS(20)), WORLD_TURN, w->n - 1, 0);
}

static bool
change_add(World *w, ConsensusMembership *m)
{
	static const uint8_t types[] = {CONSENSUS_ELECTABLE, CONSENSUS_ELECTABLE, CONSENSUS_SECONDARY, CONSENSUS_ARBITER};
	ConsensusMember *new = &m->member[m->count];

	if (w->n == MAX_NODES || m->count >= 6)
		return false;
	memset(new, 0, sizeof(*new));
	new->id = (uint16_t) ++w->n;	/* used once, whatever becomes of the change */
	new->type = types[dice(w, 4)];
	new->joining = 1;
	new->order = new->id;
	new->priority = (int) dice(w, 4) * 50;
	m->count++;
	return true;
}

static bool
change_joined(const World *w, int i, ConsensusMember *m)
{
	if (!m->joining || w->node[i].acked[m->id - 1] + 2 < w->node[i].disk.flushed)
		return false;
	m->joining = 0;
	return true;
}

static bool
change_remove(ConsensusMembership *m, int k)
{
	memmove(&m->member[k], &m->member[k + 1], sizeof(m->member[0]) * (size_t) (m->count - k - 1));
	m->count--;
	return true;
}

/* The rule of two voters; a designation moves in two steps. */
static bool
change_rule(World *w, ConsensusMembership *m)
{
	const ConsensusMember *member = &m->member[dice(w, (unsigned) m->count)];

	if (count_voters(m) != 2 || !is_voter(member) || member->type != CONSENSUS_ELECTABLE || member->detached)
		return false;
	if (w->mode == MODE_PREFERRED)
		m->designated = member->id;
	else if (m->rule == RULE_STRICT || m->designated == 0)
	{
		m->rule = RULE_DESIGNATED;
		m->designated = member->id;
	}
	else if (chance(w, 700))
		m->designated = 0;
	else
	{
		m->rule = RULE_STRICT;
		m->designated = 0;
	}
	return true;
}

static bool
change_pick(World *w, int i, ConsensusMembership *m)
{
	int			k = (int) dice(w, (unsigned) m->count);
	ConsensusMember *member = &m->member[k];
	/* the primary does not remove itself, nor the one that its lease depends on */
	bool		stays = member->id == i + 1 || (m->rule == RULE_DESIGNATED && m->designated == member->id);

	switch (dice(w, 10))
	{
		case 0:
		case 1:
			return change_add(w, m);
		case 2:
		case 3:
		case 4:
			return change_joined(w, i, member);
		case 5:
			return !stays && change_remove(m, k);
		case 6:
			member->priority = (int) dice(w, 4) * 50;
			return true;
		case 7:
			m->paused = !m->paused && chance(w, 300);
			return true;
		case 8:
			member->detached = !stays && !member->detached && chance(w, 500);
			return true;
		default:
			return change_rule(w, m);
	}
}

void
change_members(World *w, int i)
{
	Frame		f = {.kind = FRAME_MEMBERSHIP};
	ConsensusMembership m;
	int			n = w->n;
	int			index = w->n_memberships;

	if (!leads_for_good(w, i) || w->node[i].held || w->node[i].core_before ||
		members_before(w, &w->node[i].disk) != NULL || index == MAX_MEMBERSHIPS)
		return;
	m = *members_of(w, &w->node[i].disk);
	if (!change_pick(w, i, &m))
		return;
	w->membership[w->n_memberships++] = m;
	f.members = (uint16_t) index;
	trace(w, "node %d changes the members: %d, %d vote, rule %d designated %d", i + 1, m.count,
		  count_voters(&m), m.rule, m.designated);
	if (!node_append(w, i, f) || !node_adopt_members(w, i))
		return;
	if (w->n > n)
		newcomer(w, index);
	node_commit(w, i);
}

/* ---- planned failover ---- */

void
begin_failover(World *w, int i)
{
	Node	   *node = &w->node[i];
	Frame		f = {.kind = FRAME_FAILOVER};
	ConsensusEvent e = {0};
	int			target = (int) dice(w, (unsigned) w->n);
	const ConsensusMember *m = member_of(members_of(w, &node->disk), target);

	if (!node_runs(w, i) || node->core.role != ROLE_PRIMARY || !gate_is_open(w, i) || node->held ||
		target == i || m == NULL || m->type != CONSENSUS_ELECTABLE || node->disk.len >= CLIENT_FRAMES)
		return;
	node->gate_open = false;
	node->held = true;
	f.target = (uint16_t) (target + 1);
	e.attempt = w->next_id + 1;
	if (!node_append(w, i, f))
		return;
	if (!w->calm && chance(w, w->crash * 10))
	{
		node_crash(w, i, "behind its FAILOVER record");
		return;
	}
	e.type = EV_FAILOVER_BEGIN;
	e.target = f.target;
	e.deadline = node_clock(w, i) + 50 + dice(w, 1500);
	trace(w, "node %d fails over to %d", i + 1, target + 1);
	node_step(w, i, &e);
}

/* ---- copies ---- */

/* A copy of the primary's data replaces what the node has. */
void
copy_begin(World *w, int i)
{
	Node	   *node = &w->node[i];
	Disk	   *disk = &node->disk;
	int			len = members_len(disk);

	/* nor without knowing that what it has is not lost at the primary: see node/renew.c */
	if (!node_runs(w, i) || node->core.role != ROLE_REPLICA || disk->copying ||
		len > disk->members_known || node->apply_to < disk->flushed)
		return;
	trace(w, "node %d takes a new copy", i + 1);
	if (consensus_place_cmp(log_place(disk), disk->floor) > 0)
		disk->floor = log_place(disk);
	if (len > 0)
		disk->base = disk->log[len - 1].members;
	disk->copying = true;
	disk->len = disk->flushed = disk->applied = disk->members_known = 0;
	node->apply_to = 0;
	node->core_members = 0;
	node->appending.active = false;
	node->failover_seen = false;
}

/* The copy is complete, if there is a primary to take it from. */
void
copy_end(World *w, int i)
{
	Node	   *node = &w->node[i];
	int			from = node->core.leader - 1;
	const Node *source = &w->node[from < 0 ? 0 : from];

	if (from < 0 || from == i || !source->up || source->lead_term != node->core.durable.term ||
		w->cut[from][i] || w->cut[i][from] || member_of(members_of(w, &source->disk), i) == NULL ||
		consensus_place_cmp(log_place(&source->disk), node->disk.floor) < 0)
		return;
	trace(w, "node %d has a copy of node %d", i + 1, from + 1);
	w->counts.copies++;
	node->disk.len = node->disk.flushed = node->disk.applied = source->disk.flushed;
	node->apply_to = node->disk.len;
	memcpy(node->disk.log, source->disk.log, sizeof(Frame) * (size_t) source->disk.flushed);
	node->disk.base = source->disk.base;
	node->disk.members_known = source->disk.members_known;
	node->disk.copying = false;
	node->core_before = !node->core_before; /* the core is told, whatever it knows */
	node_adopt_members(w, i);
}

/* ---- fetching ---- */

/* Takes frames from a member that has more, where the own log is a prefix of its log. */
void
fetch(World *w, int i)
{
	Node	   *node = &w->node[i];
	Disk	   *disk = &node->disk;
	int			from = node->fetch_from - 1;
	const Disk *source = &w->node[from].disk;

	if (!w->node[from].up || w->cut[from][i] || w->cut[i][from] || disk->copying ||
		node->appending.active || log_common(disk, source) < disk->len)
		return;
	for (int k = 0; k < BATCH && disk->len < source->flushed; k++)
	{
		if (source->log[disk->len].term > disk->durable.term)
			break;
		log_put(w, i, &source->log[disk->len]);
		w->counts.fetches++;
	}
	disk->flushed = disk->len;
	if (crash_now(w, i, "behind frames that it has fetched"))
		return;
	node_adopt_members(w, i);
}
