/*
 * unit.h - the harness of the unit tests: checks that count themselves.
 *
 * A test file includes the headers under test first, then this one, and ends
 * main() with `return unit_done();`.  Each failed check prints its place; each
 * TEST prints one "ok" or "not ok" line.
 */
#ifndef BATON_UNIT_H
#define BATON_UNIT_H

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int	unit_passed;
static int	unit_failed;
static int	unit_tests;
static int	unit_test_failures;

/* Counts one check; says where it stands if it does not hold. */
#define CHECK(cond) unit_check((cond) ? 1 : 0, #cond, __FILE__, __LINE__)

/* Run a test function, void f(void). */
#define TEST(f) unit_test(f, #f)

static inline int
unit_check(int ok, const char *what, const char *file, int line)
{
	if (ok)
		unit_passed++;
	else
	{
		unit_failed++;
		unit_test_failures++;
		/* a broken loop must not drown the output */
		if (unit_test_failures <= 10)
			printf("# %s:%d: failed: %s\n", file, line, what);
	}
	return ok;
}

static inline void
unit_test(void (*f) (void), const char *name)
{
	unit_test_failures = 0;
	f();
	printf("%s %d - %s\n", unit_test_failures == 0 ? "ok" : "not ok", ++unit_tests, name);
	fflush(stdout);
}

static inline int
unit_done(void)
{
	printf("1..%d\n%d passed, %d failed\n", unit_tests, unit_passed, unit_failed);
	return unit_failed > 0 ? 1 : 0;
}

/* ---- reproducible chance: xorshift64*; BATON_SEED=n runs a seed again ---- */

static uint64_t unit_rng;

static inline uint64_t
unit_random(void)
{
	unit_rng ^= unit_rng >> 12;
	unit_rng ^= unit_rng << 25;
	unit_rng ^= unit_rng >> 27;
	return unit_rng * UINT64_C(2685821657736338717);
}

static inline void
unit_seed(uint64_t seed)
{
	const char *given = getenv("BATON_SEED");

	unit_rng = given != NULL ? strtoull(given, NULL, 10) : seed;
	printf("# seed %llu\n", (unsigned long long) unit_rng);
	if (unit_rng == 0)
		unit_rng = 1;
}

/* A fresh empty directory, removed with unit_remove_directory(). */
static inline const char *
unit_directory(void)
{
	static char path[64];

	strcpy(path, "unit_tmp_XXXXXX");
	if (mkdtemp(path) == NULL)
	{
		perror("mkdtemp");
		exit(2);
	}
	return path;
}

static inline void
unit_remove_directory(const char *path)
{
	char		command[256];

	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	if (system(command) != 0)
		printf("# could not remove %s\n", path);
}

#endif							/* BATON_UNIT_H */
