/*
 * act.c - what a server does in its turn, and what happens to it.
 */
#include "world.h"

#include <string.h>

#define HEARTBEAT_MS	70		/* the shortest election timeout is 400 */

/* ---- a server's turn ---- */

/* All before its TERM record is applied: the primary's gate opens. */
static void
open_gate(World *w, int i)
{
	Node	   *node = &w->node[i];

	if (!node_runs(w, i) || node->core.role != ROLE_PRIMARY || node->core.transfer.active)
		return;
	node->held = false;
	if (node->lead_term == node->core.durable.term && node->disk.applied >= node->lead_len)
		node->gate_open = true;
}

static void
apply(World *w, int i)
{
	Node	   *node = &w->node[i];
	Disk	   *disk = &node->disk;

	for (int k = (int) dice(w, 8); k > 0 && disk->applied < disk->flushed && disk->applied < node->apply_to; k--)
	{
		disk->applied++;
		check_applied(w, i);
		node->failover_seen = disk->log[disk->applied - 1].kind == FRAME_FAILOVER;
	}
}

/* The FAILOVER record that names this node is the last of its log, and applied. */
static bool
report_failover(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Frame *f = &node->disk.log[node->disk.applied > 0 ? node->disk.applied - 1 : 0];
	ConsensusEvent e = {0};

	if (!node->failover_seen || f->target != i + 1 || !node_may_lead(w, i) ||
		node->disk.applied == 0)
		return true;
	node->failover_seen = false;
	e.type = EV_FAILOVER_SEEN;
	e.term = f->term;
	e.leader = TERM_MEMBER(f->term);
	e.target = f->target;
	e.attempt = f->id;
	return node_step(w, i, &e);
}

static bool
tick(World *w, int i)
{
	Node	   *node = &w->node[i];
	ConsensusEvent e = {0};

	if (node->next_tick == 0 || node_clock(w, i) < node->next_tick)
		return true;
	e.type = EV_TICK;
	return node_step(w, i, &e);
}

static void
coordinator_turn(World *w, int i)
{
	Node	   *node = &w->node[i];

	if (!node_contact(w, i) || !tick(w, i) || !report_failover(w, i) || !node_runs(w, i))
		return;
	open_gate(w, i);
	if (node->disk.copying)
	{
		if (chance(w, 60))
			copy_end(w, i);
	}
	else if (node->fetch_from != 0 && chance(w, 500))
		fetch(w, i);
}

/* Clients, capture and shipper, which a dead coordinator does not stop. */
static void
primary_turn(World *w, int i)
{
	Node	   *node = &w->node[i];
	Frame		f = {.kind = FRAME_DATA};

	if (node->lead_term == 0)
		return;
	if (gate_is_open(w, i) && node->append_term == node->lead_term &&
		node->disk.len < CLIENT_FRAMES && chance(w, w->calm ? 10 : 250))
	{
		node_append(w, i, f);
		/* beside the flush */
		if (chance(w, 600))
			node->ship_next = w->now;
	}
	if (node->disk.flushed < node->disk.len && chance(w, 700))
	{
		node_flush(w, i);
		node_commit(w, i);
		if (chance(w, 600))
			node->ship_next = w->now;
	}
	if (node->up && node->lead_term != 0 && w->now >= node->ship_next)
	{
		node_ship(w, i);
		node->ship_next = w->now + MS(HEARTBEAT_MS) + dice(w, MS(HEARTBEAT_MS));
	}
}

void
node_turn(World *w, int i)
{
	Node	   *node = &w->node[i];
	uint64_t	next = w->now + 200 + dice(w, MS(w->calm ? 25 : 50));

	if (node->up && w->now < node->frozen_until)
		next = node->frozen_until + dice(w, MS(10));
	else if (node->up)
	{
		if (node_runs(w, i))
			coordinator_turn(w, i);
		if (node->up)
			apply(w, i);
		if (node->up)
			primary_turn(w, i);
	}
	schedule(w, next, WORLD_TURN, i, 0);
}

/* ---- what happens to it ---- */

void
person_promotes(World *w, int i, bool force)
{
	ConsensusEvent e = {0};

	if (!node_runs(w, i))
		return;
	e.type = EV_PROMOTE;
	e.force = force;
	trace(w, "node %d is promoted%s", i + 1, force ? " by force" : "");
	node_step(w, i, &e);
}

static void
chaos_crash(World *w, int i)
{
	if (w->node[i].up)
		node_crash(w, i, "at rest");
}

static void
chaos_coordinator(World *w, int i)
{
	if (w->node[i].up && w->node[i].coordinator)
		coordinator_crash(w, i);
}

static void
chaos_freeze(World *w, int i)
{
	w->counts.frozen_open += gate_is_open(w, i);
	w->node[i].frozen_until = w->now + dice(w, MS(3500));
	trace(w, "node %d freezes", i + 1);
}

static void
chaos_cut(World *w, int i)
{
	int			to = (int) dice(w, (unsigned) w->n);

	w->cut[i][to] = true;
	if (chance(w, 500))
		w->cut[to][i] = true;
}

/* Some on one side, some on the other; sometimes one direction only. */
static void
chaos_split(World *w, int i)
{
	unsigned	side = dice(w, 1u << MAX_NODES) | 1u << i;
	bool		both = chance(w, 700);

	if (chance(w, 500))
		side = 1u << i;
	trace(w, "the network splits, %s: %x", both ? "both directions" : "one direction", side);
	for (int a = 0; a < MAX_NODES; a++)
	{
		for (int b = 0; b < MAX_NODES; b++)
		{
			if ((side >> a & 1) && !(side >> b & 1))
			{
				w->cut[a][b] = true;
				w->cut[b][a] |= both;
			}
		}
	}
}

static void
chaos_heal(World *w, int i)
{
	(void) i;
	memset(w->cut, 0, sizeof(w->cut));
}

static void
chaos_stop(World *w, int i)
{
	ConsensusEvent e = {0};

	e.type = EV_STOP;
	if (node_runs(w, i) && node_step(w, i, &e))
		schedule(w, w->now + dice(w, MS(2000)), WORLD_RESTART, i, 0);
}

static void
chaos_no_lead(World *w, int i)
{
	w->node[i].no_lead_until = w->now + dice(w, MS(4000));
}

static void
chaos_promote(World *w, int i)
{
	person_promotes(w, i, w->mode == MODE_FORCED && chance(w, 300));
}

/* A rumour of a term, such as a handshake brings it. */
static void
chaos_rumour(World *w, int i)
{
	const Node *other = &w->node[dice(w, (unsigned) w->n)];
	ConsensusEvent e = {0};

	if (!w->node[i].up || !w->node[i].coordinator)
		return;
	e.type = EV_PEER_TERM;
	e.term = other->disk.durable.term;
	if (other->lead_term == e.term)
		e.leader = TERM_MEMBER(e.term);
	node_step(w, i, &e);
}

static void
chaos_failover(World *w, int i)
{
	if (w->failovers)
		begin_failover(w, i);
}

static void
chaos_abandon(World *w, int i)
{
	ConsensusEvent e = {0};

	if (!node_runs(w, i) || w->node[i].core.transfer.attempt == 0)
		return;
	e.type = EV_FAILOVER_ABANDON;
	e.attempt = w->node[i].core.transfer.attempt;
	node_step(w, i, &e);
}

static void
chaos_members(World *w, int i)
{
	if (w->changes)
		change_members(w, i);
}

typedef struct Mishap
{
	void		(*act) (World *w, int i);
	unsigned	weight;
	bool		to_primary;		/* to one that leads, if there is one */
} Mishap;

static const Mishap mishaps[] = {
	{chaos_crash, 5, false},
	{chaos_crash, 3, true},
	{chaos_coordinator, 3, false},
	{chaos_freeze, 5, false},
	{chaos_freeze, 4, true},
	{chaos_cut, 8, false},
	{chaos_split, 4, false},
	{chaos_split, 4, true},
	{chaos_heal, 12, false},
	{chaos_stop, 2, false},
	{chaos_no_lead, 2, false},
	{chaos_promote, 4, false},
	{chaos_rumour, 4, false},
	{chaos_failover, 14, true},
	{chaos_abandon, 1, true},
	{chaos_members, 30, true},
	{copy_begin, 2, false},
};

static int
victim(World *w, bool to_primary)
{
	int			first = (int) dice(w, (unsigned) w->n);

	for (int k = 0; to_primary && k < w->n; k++)
	{
		int			i = (first + k) % w->n;

		if (w->node[i].up && w->node[i].lead_term != 0)
			return i;
	}
	return first;
}

void
chaos(World *w)
{
	unsigned	total = 0;
	unsigned	roll;
	unsigned	k = 0;

	if (w->calm)
		return;
	for (unsigned j = 0; j < sizeof(mishaps) / sizeof(mishaps[0]); j++)
		total += mishaps[j].weight;
	for (roll = dice(w, total); roll >= mishaps[k].weight; k++)
		roll -= mishaps[k].weight;
	mishaps[k].act(w, victim(w, mishaps[k].to_primary));
	schedule(w, w->now + dice(w, MS(2 * w->chaos_ms)), WORLD_CHAOS, 0, 0);
}

void
run_event(World *w, const WorldEvent *event)
{
	w->now = event->at;
	switch ((EventKind) event->kind)
	{
		case WORLD_PACKET:
			deliver(w, event->index);
			break;
		case WORLD_TURN:
			node_turn(w, event->index);
			break;
		case WORLD_FLUSHED:
			append_flushed(w, event->index, event->turn);
			break;
		case WORLD_RESTART:
			if (!w->node[event->index].dead)
				node_start(w, event->index);
			break;
		case WORLD_CHAOS:
			chaos(w);
			break;
	}
	check_gates(w);
}
