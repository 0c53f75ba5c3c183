/*
 * writer.c - a client that writes without pause and measures how long it had to
 * wait: the gap of a failover as an application sees it.
 *
 *     writer [-f FIRST_ID] [-i ID_FILE] [-p PAUSE_US] SECONDS CONNINFO...
 *
 * inserts FIRST_ID (1), FIRST_ID + 1, ... into table writer_probe(id), with a
 * pause of PAUSE_US (1000) microseconds between two of them, until SECONDS have
 * passed or SIGTERM comes.  On any error it connects again: CONNINFO names
 * several hosts and target_session_attrs=read-write; with several CONNINFOs (two
 * databases of one server differ in dbname) each is tried in turn.  An id whose
 * outcome is unknown is not used again.  Acknowledged ids go to ID_FILE, a line
 * each.  Writes
 *
 *     acknowledged N
 *     errors N                 statements that ended in an error or a lost connection
 *     longest_gap_ms X         between two acknowledgements
 *     gap_at UNIX_MS           when the second of them came
 */
#include <libpq-fe.h>
#include <signal.h>
#include <stdbool.h>
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

/* A connection to the first CONNINFO that has a primary, or NULL after a short pause. */
static PGconn *
connect_any(char **conninfos, int n)
{
	for (int i = 0; i < n; i++)
	{
		PGconn	   *conn = PQconnectdb(conninfos[i]);

		if (PQstatus(conn) == CONNECTION_OK)
			return conn;
		PQfinish(conn);
	}
	usleep(1000);
	return NULL;
}

static bool
insert_id(PGconn *conn, long id)
{
	char		sql[96];
	PGresult   *res;
	bool		ok;

	snprintf(sql, sizeof(sql), "insert into writer_probe(id) values (%ld)", id);
	res = PQexec(conn, sql);
	ok = PQresultStatus(res) == PGRES_COMMAND_OK;
	PQclear(res);
	return ok;
}

int
main(int argc, char **argv)
{
	PGconn	   *conn = NULL;
	Tally		tally = {0};
	FILE	   *ids = NULL;
	long		id = 1;
	useconds_t	pause_us = 1000;
	double		end;
	int			c;

	while ((c = getopt(argc, argv, "f:i:p:")) != -1)
	{
		if (c == 'f')
			id = atol(optarg);
		else if (c == 'p')
			pause_us = atoi(optarg);
		else if (c != 'i' || (ids = fopen(optarg, "w")) == NULL)
			return 2;
	}
	if (argc - optind < 2)
	{
		fprintf(stderr, "usage: writer [-f FIRST_ID] [-i ID_FILE] [-p PAUSE_US] SECONDS CONNINFO...\n");
		return 2;
	}
	if (ids)
		setvbuf(ids, NULL, _IOLBF, 0);	/* others read along */
	signal(SIGTERM, on_term);
	end = clock_ms(CLOCK_MONOTONIC) + atof(argv[optind++]) * 1e3;

	while (!stop && clock_ms(CLOCK_MONOTONIC) < end)
	{
		if (conn == NULL && (conn = connect_any(argv + optind, argc - optind)) == NULL)
			continue;
		if (insert_id(conn, id))
		{
			note_ack(&tally);
			if (ids)
				fprintf(ids, "%ld\n", id);
		}
		else
		{
			/* also after a refused write: this may be the former primary */
			tally.errors++;
			PQfinish(conn);
			conn = NULL;
		}
		id++;
		usleep(pause_us);
	}
	PQfinish(conn);
	if (ids && fclose(ids) != 0)
		return 1;
	printf("acknowledged %ld\nerrors %ld\nlongest_gap_ms %.1f\ngap_at %.0f\n",
		   tally.acknowledged, tally.errors, tally.gap, tally.gap_at);
	return 0;
}
