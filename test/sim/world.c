/*
 * world.c - chance, true time and clocks, the queue of events, and how a world begins.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- chance ---- */

/* splitmix64: the whole schedule follows from the seed. */
unsigned
dice(World *w, unsigned sides)
{
	uint64_t	z = (w->random += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return (unsigned) ((z ^ (z >> 31)) % sides);
}

bool
chance(World *w, unsigned per_mille)
{
	return dice(w, 1000) < per_mille;
}

void
trace(World *w, const char *format, ...)
{
	va_list		args;

	if (!w->trace)
		return;
	printf("%10.3f  ", (double) w->now / 1000);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- time ---- */

uint64_t
node_clock(const World *w, int i)
{
	return w->node[i].clock_offset + w->now * w->node[i].clock_rate / RATE_TRUE / 1000;
}

/* The first instant at which a server's clock shows this. */
uint64_t
true_time(const World *w, int i, uint64_t clock)
{
	const Node *node = &w->node[i];

	if (clock <= node->clock_offset)
		return 0;
	return ((clock - node->clock_offset) * 1000 * RATE_TRUE + node->clock_rate - 1) / node->clock_rate;
}

/* ---- the queue: a heap, the earliest at its top ---- */

static bool
earlier(const WorldEvent *a, const WorldEvent *b)
{
	return a->at != b->at ? a->at < b->at : a->number < b->number;
}

void
schedule(World *w, uint64_t at, EventKind kind, int index, uint64_t turn)
{
	WorldEvent	new = {at, ++w->event_number, turn, (uint16_t) kind, (uint16_t) index};
	int			k = w->n_events++;

	if (w->n_events > MAX_EVENTS)
	{
		w->n_events--;
		fail(w, "the queue of events is full");
		return;
	}
	for (; k > 0 && earlier(&new, &w->event[(k - 1) / 2]); k = (k - 1) / 2)
		w->event[k] = w->event[(k - 1) / 2];
	w->event[k] = new;
}

bool
next_event(World *w, WorldEvent *out)
{
	WorldEvent	last;
	int			k = 0;

	if (w->n_events == 0)
		return false;
	*out = w->event[0];
	last = w->event[--w->n_events];
	for (;;)
	{
		int			child = 2 * k + 1;

		if (child + 1 < w->n_events && earlier(&w->event[child + 1], &w->event[child]))
			child++;
		if (child >= w->n_events || earlier(&last, &w->event[child]))
			break;
		w->event[k] = w->event[child];
		k = child;
	}
	w->event[k] = last;
	return true;
}

/* ---- the beginning ---- */

/* Two open gates and lost commits are possible, and known to be. */
bool
loose(const World *w)
{
	return w->mode == MODE_PREFERRED || w->mode == MODE_FORCED;
}

static void
members_init(World *w)
{
	ConsensusMembership *m = &w->membership[0];

	w->n_memberships = 1;
	m->count = w->n;
	for (int i = 0; i < w->n; i++)
	{
		m->member[i].id = (uint16_t) (i + 1);
		m->member[i].type = CONSENSUS_ELECTABLE;
		m->member[i].order = (uint16_t) (w->n - 1 - i);
		m->member[i].priority = chance(w, 600) ? 100 : (int) dice(w, 4) * 50;
	}
	m->member[0].priority = 100;
	if (w->mode == MODE_DESIGNATED || w->mode == MODE_PREFERRED)
	{
		m->rule = w->mode == MODE_DESIGNATED ? RULE_DESIGNATED : RULE_PREFERRED;
		m->designated = (uint16_t) (1 + dice(w, 2));
		if (w->n > 2)
			m->member[2].type = CONSENSUS_SECONDARY;
		return;
	}
	if (w->n > 2 && chance(w, 450))
		m->member[w->n - 1].type = chance(w, 650) ? CONSENSUS_ARBITER : CONSENSUS_SECONDARY;
	if (w->n > 3 && chance(w, 250))
		m->member[w->n - 2].type = chance(w, 500) ? CONSENSUS_ARBITER : CONSENSUS_SECONDARY;
}

static void
roughness_init(World *w)
{
	static const int sizes[] = {1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 5, 5};
	unsigned	roll = dice(w, 100);

	if (w->mode == MODES)
		w->mode = roll < 62 ? MODE_STRICT : roll < 77 ? MODE_DESIGNATED :
			roll < 87 ? MODE_PREFERRED : MODE_FORCED;
	if (w->mode == MODE_DESIGNATED || w->mode == MODE_PREFERRED)
		w->n = chance(w, 800) ? 2 : 3;
	else
		w->n = sizes[dice(w, sizeof(sizes) / sizeof(sizes[0]))];
	w->loss = dice(w, 4) * 80;
	w->crash = dice(w, 3) * 4;
	w->late = dice(w, 3) * 60;
	w->chaos_ms = 60 + dice(w, 4) * 120;
	w->changes = chance(w, 500);
	w->failovers = chance(w, 500);
	w->same_timeouts = chance(w, 500);
}

static void
node_init(World *w, int i)
{
	Node	   *node = &w->node[i];
	unsigned	roll = dice(w, 4);

	node->clock_offset = 1000 + dice(w, 100000);
	if (roll < 2)
		node->clock_rate = RATE_TRUE + w->drift - 2 * w->drift * roll;
	else
		node->clock_rate = RATE_TRUE - w->drift + dice(w, 2 * w->drift + 1);
	node->config.election_timeout = w->same_timeouts ? 1000 : 400 + 400 * dice(w, 5);
	node->config.retry_interval = node->config.election_timeout / 15 + dice(w, node->config.election_timeout / 15);
	node->ship_next = 0;
}

void
world_init(World *w, uint64_t seed, int mode)
{
	bool		tracing = w->trace;
	unsigned	drift = w->drift;
	bool		count_unflushed = w->count_unflushed;
	bool		apply_unflushed = w->apply_unflushed;

	memset(w, 0, sizeof(*w));
	w->trace = tracing;
	w->drift = drift;
	w->count_unflushed = count_unflushed;
	w->apply_unflushed = apply_unflushed;
	w->seed = seed;
	w->random = seed;
	w->mode = mode < 0 ? MODES : (Mode) mode;
	w->now = MS(1);
	roughness_init(w);
	members_init(w);
	trace(w, "seed %llu: %d nodes, mode %d", (unsigned long long) seed, w->n, (int) w->mode);
	for (int i = 0; i < MAX_NODES; i++)
		node_init(w, i);
	w->node[0].disk.was_primary = true; /* the node that made the group */
	for (int i = 0; i < w->n; i++)
	{
		w->node[i].exists = true;
		node_start(w, i);
		schedule(w, w->now + dice(w, MS(20)), WORLD_TURN, i, 0);
	}
	schedule(w, w->now + MS(500), WORLD_CHAOS, 0, 0);
}
