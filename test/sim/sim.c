/*
 * sim.c - seeded schedules over the consensus core.
 *
 *   simulate --runs N [--seed FIRST]        N schedules
 *   simulate --seed N --trace               one schedule, told
 *   --mode transfer|promote|forced     instead of one that follows from the seed
 *
 * A schedule is a long run of random actions (see actions[]) followed by a calm
 * time: all up, nothing lost, and, except in mode transfer, a person who promotes
 * somebody now and then while there is no primary.  In the calm a group must get
 * to one primary with everybody's log like its own, whatever was done to it before.
 */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS		3000
#define CALM_STEPS	8000

static World world;

/* ---- actions: each does something to node i, if it can ---- */

static void
act_tick(World *w, int i)
{
	ConsensusEvent e = {0};

	if (!w->node[i].up || w->node[i].next_tick == 0 || node_clock(w, i) < w->node[i].next_tick)
		return;
	e.type = EV_TICK;
	node_step(w, i, &e);
}

static void
act_time(World *w, int i)
{
	(void) i;
	w->now += 1 + dice(w, !w->calm && chance(w, 40) ? 1500 : 60);
}

static void
act_deliver(World *w, int i)
{
	(void) i;
	deliver(w);
}

static bool
leads(const World *w, int i)
{
	return w->node[i].up && w->node[i].core.role == ROLE_PRIMARY;
}

static void
act_ship(World *w, int i)
{
	for (int to = 0; leads(w, i) && to < w->n; to++)
	{
		if (to != i)
			node_ship(w, i, to);
	}
}

/* A client writes, if the gate lets it. */
static void
act_write(World *w, int i)
{
	Frame		f = {FRAME_DATA, 0, 0, 0, 0, 0};

	if (leads(w, i) && w->node[i].gate_open && !w->node[i].core.transfer.active &&
		w->node[i].disk.len < MAX_FRAMES / 2)
		node_append(w, i, f);
}

/* Applies one frame; a primary that has applied its TERM record opens its gate. */
static void
act_apply(World *w, int i)
{
	Node	   *node = &w->node[i];
	Disk	   *disk = &node->disk;

	if (!node->up || node->core.role == ROLE_STOPPED)
		return;
	if (disk->applied < disk->len)
	{
		disk->applied++;
		node->failover_seen = disk->log[disk->applied - 1].kind == FRAME_FAILOVER;
	}
	if (leads(w, i) && disk->applied == disk->len &&
		log_place(disk).term == node->core.durable.term && !node->core.transfer.active)
		node->gate_open = true;
}

static void
act_failover_seen(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Frame *f = &node->disk.log[node->disk.applied > 0 ? node->disk.applied - 1 : 0];
	ConsensusEvent e = {0};

	if (!node->up || !node->failover_seen || f->target != i + 1 || !node->may_lead)
		return;
	node->failover_seen = false;
	e.type = EV_FAILOVER_SEEN;
	e.term = f->term;
	e.leader = TERM_MEMBER(f->term);
	e.target = f->target;
	e.attempt = f->attempt;
	node_step(w, i, &e);
}

static void
act_failover(World *w, int i)
{
	Node	   *node = &w->node[i];
	Frame		f = {FRAME_FAILOVER, 0, 0, 0, 0, 0};
	ConsensusEvent e = {0};
	int			target = (int) dice(w, (unsigned) w->n);

	if (!leads(w, i) || !node->gate_open || node->core.transfer.active || target == i ||
		w->members.member[target].type != CONSENSUS_ELECTABLE ||
		node->disk.len >= MAX_FRAMES / 2)
		return;
	node->gate_open = false;
	f.target = (uint16_t) (target + 1);
	f.attempt = w->next_id + 1;
	node_append(w, i, f);
	if (!w->calm && chance(w, w->crash * 10))
	{
		node_crash(w, i, "behind its FAILOVER record");
		return;
	}
	e.type = EV_FAILOVER_BEGIN;
	e.target = f.target;
	e.attempt = f.attempt;
	e.deadline = node_clock(w, i) + 50 + dice(w, 1500);
	trace(w, "node %d fails over to %d", i + 1, target + 1);
	node_step(w, i, &e);
}

static void
act_abandon(World *w, int i)
{
	ConsensusEvent e = {0};

	if (!w->node[i].up || w->node[i].core.transfer.attempt == 0)
		return;
	e.type = EV_FAILOVER_ABANDON;
	e.attempt = w->node[i].core.transfer.attempt;
	node_step(w, i, &e);
}

static void
act_crash(World *w, int i)
{
	if (w->node[i].up)
		node_crash(w, i, "at rest");
}

static void
act_start(World *w, int i)
{
	if (!w->node[i].up || w->node[i].core.role == ROLE_STOPPED)
		node_start(w, i);
}

static void
act_stop(World *w, int i)
{
	ConsensusEvent e = {0};

	e.type = EV_STOP;
	if (w->node[i].up)
		node_step(w, i, &e);
}

static void
act_cut(World *w, int i)
{
	int			to = (int) dice(w, (unsigned) w->n);

	w->cut[i][to] = true;
	if (chance(w, 700))
		w->cut[to][i] = true;
}

static void
act_heal(World *w, int i)
{
	(void) i;
	memset(w->cut, 0, sizeof(w->cut));
}

static void
act_may_lead(World *w, int i)
{
	w->node[i].may_lead = chance(w, 800);
}

static void
act_promote(World *w, int i)
{
	ConsensusEvent e = {0};

	if (!w->node[i].up || w->mode == MODE_TRANSFER)
		return;
	e.type = EV_PROMOTE;
	e.force = w->mode == MODE_FORCED && !w->calm && chance(w, 300);
	trace(w, "node %d is promoted%s", i + 1, e.force ? " by force" : "");
	node_step(w, i, &e);
}

/* A rumour of a term, such as a handshake brings it. */
static void
act_rumour(World *w, int i)
{
	const Node *other = &w->node[dice(w, (unsigned) w->n)];
	ConsensusEvent e = {0};

	if (!w->node[i].up)
		return;
	e.type = EV_PEER_TERM;
	e.term = other->disk.durable.term;
	node_step(w, i, &e);
}

typedef struct Action
{
	void		(*act) (World *w, int i);
	unsigned	weight;
	bool		calm;			/* goes on in the calm */
} Action;

static const Action actions[] = {
	{act_tick, 250, true},
	{act_time, 120, true},
	{act_deliver, 400, true},
	{act_ship, 90, true},
	{act_write, 40, true},
	{act_apply, 120, true},
	{act_failover_seen, 60, true},
	{act_failover, 30, false},
	{act_abandon, 1, false},
	{act_crash, 4, false},
	{act_start, 40, true},
	{act_stop, 2, false},
	{act_cut, 6, false},
	{act_heal, 8, false},
	{act_may_lead, 4, false},
	{act_promote, 6, false},
	{act_rumour, 3, false},
};

static void
act(World *w)
{
	unsigned	total = 0;
	unsigned	roll;
	unsigned	k = 0;

	for (unsigned j = 0; j < sizeof(actions) / sizeof(actions[0]); j++)
		total += actions[j].weight;
	for (roll = dice(w, total); roll >= actions[k].weight; k++)
		roll -= actions[k].weight;
	if (actions[k].calm || !w->calm)
		actions[k].act(w, (int) dice(w, (unsigned) w->n));
	check_world(w);
}

/* ---- the calm ---- */

/* Everybody follows one primary, and has its log. */
static bool
settled(const World *w)
{
	int			primary = -1;

	for (int i = 0; i < w->n; i++)
	{
		if (w->node[i].core.role == ROLE_PRIMARY)
			primary = primary < 0 ? i : w->n;
	}
	if (primary < 0 || primary >= w->n || !w->node[primary].gate_open)
		return false;
	for (int i = 0; i < w->n; i++)
	{
		if (i != primary &&
			(w->node[i].core.role != ROLE_REPLICA || w->node[i].core.leader != primary + 1 ||
			 log_hash(&w->node[i].disk, w->node[i].disk.len) !=
			 log_hash(&w->node[primary].disk, w->node[primary].disk.len)))
			return false;
	}
	return true;
}

static bool
somebody_leads(const World *w)
{
	for (int i = 0; i < w->n; i++)
	{
		if (leads(w, i))
			return true;
	}
	return false;
}

static void
calm_down(World *w)
{
	w->calm = true;
	act_heal(w, 0);
	trace(w, "calm");
	for (int i = 0; i < w->n; i++)
	{
		w->node[i].may_lead = true;
		act_start(w, i);
	}
	for (int k = 0; k < CALM_STEPS && w->failure[0] == '\0'; k++)
	{
		if (settled(w))
			return;
		act(w);
		if (k % 400 == 399 && !somebody_leads(w))
			act_promote(w, (int) dice(w, (unsigned) w->n));
	}
	fail(w, "the group does not come to rest");
}

/* ---- running ---- */

static bool
run(World *w, uint64_t seed, int mode)
{
	world_init(w, seed, mode);
	for (int k = 0; k < STEPS && w->failure[0] == '\0'; k++)
		act(w);
	if (w->failure[0] == '\0')
		calm_down(w);
	if (w->failure[0] != '\0')
		printf("seed %llu (mode %d, %d nodes): %s; replay: ./simulate --seed %llu%s --trace\n",
			   (unsigned long long) seed, (int) w->mode, w->n, w->failure,
			   (unsigned long long) seed, mode < 0 ? "" : " and the same --mode");
	return w->failure[0] == '\0';
}

/* An assertion of the core failed: tell which schedule did it. */
static void
on_abort(int sig)
{
	char		text[80];
	int			len = snprintf(text, sizeof(text), "seed %llu: assertion failed\n",
							   (unsigned long long) world.seed);

	if (write(STDOUT_FILENO, text, (size_t) len) < 0)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int
mode_number(const char *name)
{
	static const char *const names[MODES] = {"transfer", "promote", "forced"};

	for (int i = 0; i < MODES; i++)
	{
		if (strcmp(names[i], name) == 0)
			return i;
	}
	fprintf(stderr, "unknown mode %s\n", name);
	exit(2);
}

int
main(int argc, char **argv)
{
	static const char *const outcome_names[] = {"none", "elected", "resumed", "forced",
	"transferred", "handed over", "stepped down", "attempt void", "lost"};
	uint64_t	seed = 1;
	uint64_t	runs = 0;
	int			mode = -1;
	unsigned	passed = 0;
	unsigned	failed = 0;
	unsigned	outcomes[OUTCOME_LOST + 1] = {0};

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--trace") == 0)
			world.trace = true;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
			runs = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--mode") == 0 && i + 1 < argc)
			mode = mode_number(argv[++i]);
		else
		{
			fprintf(stderr, "usage: simulate [--seed N] [--runs N] [--mode transfer|promote|forced] [--trace]\n");
			return 2;
		}
	}
	signal(SIGABRT, on_abort);
	for (uint64_t k = 0; k < (runs > 0 ? runs : 1) && failed < 10; k++)
	{
		if (run(&world, seed + k, mode))
			passed++;
		else
			failed++;
		for (int o = 1; o <= OUTCOME_LOST; o++)
			outcomes[o] += world.outcomes[o];
	}
	for (int o = 1; o <= OUTCOME_LOST; o++)
		printf("%s %u%s", outcome_names[o], outcomes[o], o < OUTCOME_LOST ? ", " : "\n");
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
