/*
 * writer.c - a client that writes without pause and measures how long it had to
 * wait: the gap of a failover as an application sees it.
 *
 *     writer CONNINFO SECONDS [PAUSE_US]
 *
 * inserts 1, 2, 3, ... into table writer_probe(id), through CONNINFO (several
 * hosts, target_session_attrs=read-write), reconnects on any error, until
 * SECONDS have passed or SIGTERM comes.  An id whose outcome is unknown is not
 * used again.  Writes
 *
 *     acknowledged N
 *     errors N                 statements that ended in an error or a lost connection
 *     longest_gap_ms X         between two acknowledgements
 *     gap_at UNIX_MS           when the second of them came
 *
 * and, with WRITER_IDS=file, each acknowledged id as a line of that file.
 */
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop = 0;

static void
on_term(int signo)
{
	(void) signo;
	stop = 1;
}

static double
clock_ms(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

typedef struct Tally
{
	long		acknowledged;
	long		errors;
	double		last;			/* monotonic ms of the last acknowledgement, 0 none */
	double		gap;
	double		gap_at;			/* wall clock ms */
} Tally;

static void
note_ack(Tally *t)
{
	double		now = clock_ms(CLOCK_MONOTONIC);

	t->acknowledged++;
	if (t->last > 0 && now - t->last > t->gap)
	{
		t->gap = now - t->last;
		t->gap_at = clock_ms(CLOCK_REALTIME);
	}
	t->last = now;
}

/* A connection that is usable, or NULL after a short pause. */
static PGconn *
connected(PGconn *conn, const char *conninfo)
{
	if (conn && PQstatus(conn) == CONNECTION_OK)
		return conn;
	PQfinish(conn);
	conn = PQconnectdb(conninfo);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	PQfinish(conn);
	usleep(1000);
	return NULL;
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = NULL;
	Tally		tally = {0};
	FILE	   *ids = NULL;
	long		id = 0;
	double		end;
	useconds_t	pause_us;

	if (argc < 3)
	{
		fprintf(stderr, "usage: writer CONNINFO SECONDS [PAUSE_US]\n");
		return 2;
	}
	if (getenv("WRITER_IDS") && (ids = fopen(getenv("WRITER_IDS"), "w")) == NULL)
	{
		perror(getenv("WRITER_IDS"));
		return 2;
	}
	signal(SIGTERM, on_term);
	end = clock_ms(CLOCK_MONOTONIC) + atof(argv[2]) * 1e3;
	pause_us = argc > 3 ? atoi(argv[3]) : 1000;

	while (!stop && clock_ms(CLOCK_MONOTONIC) < end)
	{
		char		sql[96];
		PGresult   *res;

		if ((conn = connected(conn, argv[1])) == NULL)
			continue;
		snprintf(sql, sizeof(sql), "insert into writer_probe(id) values (%ld)", ++id);
		res = PQexec(conn, sql);
		if (PQresultStatus(res) == PGRES_COMMAND_OK)
		{
			note_ack(&tally);
			if (ids)
				fprintf(ids, "%ld\n", id);
		}
		else
		{
			tally.errors++;
			/* a session of a former primary stays read-only: look for the new one */
			PQfinish(conn);
			conn = NULL;
		}
		PQclear(res);
		usleep(pause_us);
	}
	PQfinish(conn);
	if (ids && fclose(ids) != 0)
		return 1;
	printf("acknowledged %ld\nerrors %ld\nlongest_gap_ms %.1f\ngap_at %.0f\n",
		   tally.acknowledged, tally.errors, tally.gap, tally.gap_at);
	return 0;
}
