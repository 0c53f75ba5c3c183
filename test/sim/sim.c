/*
 * sim.c - seeded schedules over the consensus core.
 *
 *   simulate --runs N [--seed FIRST] [--jobs N]    N schedules
 *   simulate --seed N --trace                      one schedule, told
 *   --mode strict|designated|preferred|forced      instead of one that follows from the seed
 *   --drift N           how far a clock's rate may be from true time's, of 3300;
 *                       the default, 100, is what promises allow for
 *   --count-unflushed   break a rule: the primary's own place counts before it is flushed
 *   --apply-unflushed   break a rule: others apply what the primary may not have flushed
 *   --first             end at the first failure
 *
 * A schedule is a time in which things break (act.c) followed by a calm (calm.c).
 */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUGH_MS	6000
#define MAX_FAILURES 10
#define MAX_LOWER(elections)	(10 + (elections) / 50)

typedef struct Options
{
	uint64_t	seed;
	uint64_t	runs;
	int			jobs;
	int			mode;
	bool		first;
} Options;

/* What a process has seen; goes through a pipe in one piece. */
typedef struct Result
{
	unsigned	passed;
	unsigned	failed;
	Counts		counts;
} Result;

static World world;

static const char *const mode_names[MODES] = {"strict", "designated", "preferred", "forced"};

static bool
run(World *w, uint64_t seed, const Options *o)
{
	WorldEvent	event;
	uint64_t	end;

	world_init(w, seed, o->mode);
	end = MS(ROUGH_MS + dice(w, 2 * ROUGH_MS));
	while (w->failure[0] == '\0' && w->now < end && next_event(w, &event))
		run_event(w, &event);
	if (w->failure[0] == '\0')
		calm_down(w);
	if (w->failure[0] != '\0')
		printf("seed %llu (%s, %d nodes): %s; replay: ./simulate --seed %llu%s --trace\n",
			   (unsigned long long) seed, mode_names[w->mode], w->n, w->failure,
			   (unsigned long long) seed, o->mode < 0 ? "" : " and the same --mode");
	return w->failure[0] == '\0';
}

static void
add_counts(Counts *sum, const Counts *c)
{
	for (int k = 0; k <= OUTCOME_LEASE_LOST; k++)
		sum->outcome[k] += c->outcome[k];
	sum->steps += c->steps / 1000;
	sum->changes += c->changes;
	sum->fetches += c->fetches;
	sum->copies += c->copies;
	sum->ahead += c->ahead;
	sum->ahead_lost += c->ahead_lost;
	sum->frozen_open += c->frozen_open;
	sum->acknowledged += c->acknowledged;
	sum->excused += c->excused;
	sum->elected_equal += c->elected_equal;
	sum->elected_lower += c->elected_lower;
	if (c->settle_ms > sum->settle_ms)
		sum->settle_ms = c->settle_ms;
}

/* Every jobs-th seed, beginning with the job's. */
static void
run_job(const Options *o, int job, Result *r)
{
	for (uint64_t k = (uint64_t) job; k < o->runs && r->failed < (o->first ? 1 : MAX_FAILURES); k += (uint64_t) o->jobs)
	{
		if (run(&world, o->seed + k, o))
			r->passed++;
		else
			r->failed++;
		add_counts(&r->counts, &world.counts);
	}
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

/* Forks a process per job, and adds up what they say; one that dies has failed once. */
static void
run_jobs(const Options *o, Result *sum)
{
	int			pipes[2];
	Result		r;

	if (pipe(pipes) != 0)
		exit(2);
	for (int job = 0; job < o->jobs; job++)
	{
		pid_t		pid = fork();

		if (pid < 0)
			exit(2);
		if (pid > 0)
			continue;
		memset(&r, 0, sizeof(r));
		run_job(o, job, &r);
		fflush(stdout);
		if (write(pipes[1], &r, sizeof(r)) != sizeof(r))
			exit(2);
		exit(0);
	}
	close(pipes[1]);
	while (read(pipes[0], &r, sizeof(r)) == sizeof(r))
	{
		sum->passed += r.passed;
		sum->failed += r.failed;
		add_counts(&sum->counts, &r.counts);
	}
	for (int status; wait(&status) > 0;)
		sum->failed += status != 0;
}

static void
print_result(const Result *r)
{
	static const char *const names[] = {"", "elected", "resumed", "forced", "transferred",
	"handed over", "stepped down", "attempts void", "campaigns lost", "leases lost"};
	const Counts *c = &r->counts;

	for (int k = 1; k <= OUTCOME_LEASE_LOST; k++)
		printf("%s %u, ", names[k], c->outcome[k]);
	printf("changes of members %u, frames fetched %u, copies %u, frozen with an open gate %u, "
		   "shipped ahead of the flush %u, of these lost by the primary %u, "
		   "acknowledged %u, elections among equals %u, of these not by priority %u, "
		   "no majority in the calm %u, longest way to rest %u ms\n",
		   c->changes, c->fetches, c->copies, c->frozen_open, c->ahead, c->ahead_lost,
		   c->acknowledged, c->elected_equal,
		   c->elected_lower, c->excused, c->settle_ms);
	printf("%u passed, %u failed\n", r->passed, r->failed);
}

static int
mode_number(const char *name)
{
	for (int i = 0; i < MODES; i++)
	{
		if (strcmp(mode_names[i], name) == 0)
			return i;
	}
	fprintf(stderr, "unknown mode %s\n", name);
	exit(2);
}

static void
parse(int argc, char **argv, Options *o)
{
	for (int i = 1; i < argc; i++)
	{
		bool		more = i + 1 < argc;

		if (strcmp(argv[i], "--trace") == 0)
			world.trace = true;
		else if (strcmp(argv[i], "--first") == 0)
			o->first = true;
		else if (strcmp(argv[i], "--seed") == 0 && more)
			o->seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--runs") == 0 && more)
			o->runs = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--jobs") == 0 && more)
			o->jobs = atoi(argv[++i]);
		else if (strcmp(argv[i], "--drift") == 0 && more)
			world.drift = (unsigned) atoi(argv[++i]);
		else if (strcmp(argv[i], "--count-unflushed") == 0)
			world.count_unflushed = true;
		else if (strcmp(argv[i], "--apply-unflushed") == 0)
			world.apply_unflushed = true;
		else if (strcmp(argv[i], "--mode") == 0 && more)
			o->mode = mode_number(argv[++i]);
		else
		{
			fprintf(stderr, "usage: simulate [--seed N] [--runs N] [--jobs N] [--drift N] [--count-unflushed] "
					"[--apply-unflushed] [--first] [--mode strict|designated|preferred|forced] [--trace]\n");
			exit(2);
		}
	}
}

int
main(int argc, char **argv)
{
	Options		o = {1, 1, 1, -1, false};
	Result		sum;

	memset(&sum, 0, sizeof(sum));
	world.drift = RATE_DRIFT;
	parse(argc, argv, &o);
	signal(SIGABRT, on_abort);
	if (o.jobs > 1)
		run_jobs(&o, &sum);
	else
		run_job(&o, 0, &sum);
	if (sum.counts.elected_lower > MAX_LOWER(sum.counts.elected_equal))
	{
		printf("too many are elected against their priority\n");
		sum.failed++;
	}
	print_result(&sum);
	return sum.failed > 0;
}
