/*
 * client.c - a client that keeps its own account of what it was told.
 *
 *     client KIND NUMBER SEED PAUSE_US HOSTS PORTS LOG
 *
 * works until SIGTERM, as the client of that number, on the primary that it finds
 * among HOSTS and PORTS (lists with commas), and writes to LOG one line for each
 * transaction:
 *
 *     OUTCOME ID BEGUN SENT DONE NODE TERM [DATA]
 *
 * BEGUN, SENT, DONE: CLOCK_MONOTONIC in microseconds when the transaction began,
 * when COMMIT was sent (0: it was not) and when its outcome was known.  NODE and
 * TERM: as the transaction itself saw them, "-" if it did not come to that.
 * OUTCOME:
 *
 *     ack      the server has said that it is committed
 *     fail     it was never sent a COMMIT, or the COMMIT got an error
 *     unknown  the connection was lost, or given up, after COMMIT was sent
 *
 * KIND, and the tables that it works on:
 *
 *     transfer  moves an amount from one account to another, and notes the move
 *     append    appends its ID to a list: list(key, ids)
 *     read      reads a list; DATA is KEY:{IDS}.  It writes too: only with the
 *               commit acknowledged was this node the primary when it read
 *     sum       the sum of all accounts in one statement, on each host in turn,
 *               be it primary or not; NODE is the host's number, DATA the sum
 *
 * A statement without answer for STUCK_MS ends its connection: the server may be
 * frozen.  Lines that begin with # say what else was remarkable.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STUCK_MS 4000
#define ACCOUNTS 100
#define LISTS 4					/* at a time */
#define LIST_SECONDS 10			/* after which others begin */
#define MAX_HOSTS 8

typedef struct Transaction
{
	int64_t		id;
	int64_t		begun;
	int64_t		sent;
	char		node[65];
	char		term[24];
	char	   *data;			/* malloc'd, or NULL */
} Transaction;

typedef struct Client
{
	const char *kind;
	int			number;
	long		pause_us;
	char	   *hosts[MAX_HOSTS];
	char	   *ports[MAX_HOSTS];
	int			n_hosts;
	int			next_host;
	FILE	   *log;
	PGconn	   *conn;
	int64_t		next_id;
} Client;

static volatile sig_atomic_t stop = 0;

static void
on_term(int signo)
{
	(void) signo;
	stop = 1;
}

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t) 1000000 + t.tv_nsec / 1000;
}

static long
pick(long n)
{
	return random() % n;
}

/* ---- connection ---- */

/* An acknowledgement with a warning is what must not be: say it. */
static void
note_notice(void *arg, const PGresult *res)
{
	Client	   *c = arg;
	const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	fprintf(c->log, "# notice %s\n", message ? message : "");
}

/* The lists of hosts and ports begin with another one each time. */
static void
connect_primary(Client *c)
{
	char		hosts[1024] = "";
	char		ports[256] = "";
	const char *keys[] = {"host", "port", "dbname", "user", "target_session_attrs",
		"connect_timeout", "application_name", NULL};
	const char *values[] = {hosts, ports, "app", "postgres",
		strcmp(c->kind, "sum") == 0 ? "any" : "read-write", "2", "torture", NULL};
	int			n = strcmp(c->kind, "sum") == 0 ? 1 : c->n_hosts;

	c->next_host = (c->next_host + 1) % c->n_hosts;
	for (int i = 0; i < n; i++)
	{
		int			h = (c->next_host + i) % c->n_hosts;

		snprintf(hosts + strlen(hosts), sizeof(hosts) - strlen(hosts), "%s%s", i ? "," : "", c->hosts[h]);
		snprintf(ports + strlen(ports), sizeof(ports) - strlen(ports), "%s%s", i ? "," : "", c->ports[h]);
	}
	c->conn = PQconnectdbParams(keys, values, 0);
	if (PQstatus(c->conn) == CONNECTION_OK)
	{
		PQsetNoticeReceiver(c->conn, note_notice, c);
		return;
	}
	PQfinish(c->conn);
	c->conn = NULL;
	usleep(20000);
}

static void
disconnect(Client *c)
{
	PQfinish(c->conn);
	c->conn = NULL;
}

/* Wait until the statement under way has an answer; false: lost or stuck. */
static bool
await_answer(PGconn *conn)
{
	int64_t		end = now_us() + STUCK_MS * 1000;

	while (PQisBusy(conn))
	{
		struct pollfd p = {PQsocket(conn), POLLIN, 0};
		int64_t		left = (end - now_us()) / 1000;

		if (left <= 0)
			return false;
		if (poll(&p, 1, (int) left) < 0 && errno != EINTR)
			return false;
		if ((p.revents & (POLLIN | POLLERR | POLLHUP)) && !PQconsumeInput(conn))
			return false;
	}
	return true;
}

/*
 * Run one statement.  NULL: there is no answer, or it is an error that ended the
 * session.  Else the result, an error perhaps; the caller clears it.
 */
static PGresult *
run(Client *c, const char *sql)
{
	PGresult   *last = NULL;
	PGresult   *res;

	if (!PQsendQuery(c->conn, sql))
		return NULL;
	for (;;)
	{
		if (!await_answer(c->conn))
			break;
		res = PQgetResult(c->conn);
		if (res == NULL)
		{
			if (PQstatus(c->conn) == CONNECTION_OK)
				return last;
			break;
		}
		PQclear(last);
		last = res;
	}
	PQclear(last);
	return NULL;
}

/* ---- transactions ---- */

/*
 * Run one statement of a transaction; false if it failed.  A row, if one comes, has
 * node, term and perhaps data.
 */
static bool
step(Client *c, Transaction *t, const char *sql)
{
	PGresult   *res = run(c, sql);
	ExecStatusType status = res ? PQresultStatus(res) : PGRES_FATAL_ERROR;

	if (status == PGRES_TUPLES_OK && PQntuples(res) == 1 && PQnfields(res) >= 2)
	{
		snprintf(t->node, sizeof(t->node), "%s", PQgetvalue(res, 0, 0));
		snprintf(t->term, sizeof(t->term), "%s", PQgetvalue(res, 0, 1));
		if (PQnfields(res) > 2)
			t->data = strdup(PQgetvalue(res, 0, 2));
	}
	PQclear(res);
	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/* Commit, and say how it went. */
static const char *
commit(Client *c, Transaction *t)
{
	PGresult   *res;
	const char *outcome = "unknown";

	t->sent = now_us();
	res = run(c, "commit");
	if (res != NULL)
	{
		bool		committed = PQresultStatus(res) == PGRES_COMMAND_OK &&
			strcmp(PQcmdStatus(res), "COMMIT") == 0;

		outcome = committed ? "ack" : "fail";
		PQclear(res);
	}
	return outcome;
}

static bool
do_transfer(Client *c, Transaction *t)
{
	char		sql[512];
	long		from = 1 + pick(ACCOUNTS);
	long		to = 1 + (from + pick(ACCOUNTS - 1)) % ACCOUNTS;
	long		amount = 1 + pick(100);

	/* in the order of their keys, or clients would often wait for each other in a circle */
	snprintf(sql, sizeof(sql),
			 "update account set balance = balance + case when id = %ld then -%ld else %ld end "
			 "where id = %ld", from, amount, amount, from < to ? from : to);
	if (!step(c, t, sql))
		return false;
	snprintf(sql, sizeof(sql),
			 "update account set balance = balance + case when id = %ld then -%ld else %ld end "
			 "where id = %ld", from, amount, amount, from < to ? to : from);
	if (!step(c, t, sql))
		return false;
	snprintf(sql, sizeof(sql), "insert into transfer values (%lld, %ld, %ld, %ld)",
			 (long long) t->id, from, to, amount);
	return step(c, t, sql);
}

static long
some_list(long age)
{
	return (time(NULL) / LIST_SECONDS - age) * LISTS + pick(LISTS);
}

static bool
do_append(Client *c, Transaction *t)
{
	char		sql[256];

	snprintf(sql, sizeof(sql),
			 "insert into list values (%ld, array[%lld]) on conflict (key) do update "
			 "set ids = list.ids || excluded.ids", some_list(0), (long long) t->id);
	return step(c, t, sql);
}

/* One statement, one snapshot. */
static bool
do_read(Client *c, Transaction *t)
{
	char		sql[512];
	long		key = some_list(pick(4) == 0);

	snprintf(sql, sizeof(sql), "update reader set reads = reads + 1 where client = %d", c->number);
	if (!step(c, t, sql))
		return false;
	snprintf(sql, sizeof(sql),
			 "select node_name, term, format('%ld:%%s', (select ids from list where key = %ld)) "
			 "from baton.status", key, key);
	return step(c, t, sql);
}

/* Returns the outcome. */
static const char *
transact(Client *c, Transaction *t)
{
	bool		done = step(c, t, "begin");

	if (done && strcmp(c->kind, "read") != 0)
		done = step(c, t, "select node_name, term from baton.status");
	if (done && strcmp(c->kind, "transfer") == 0)
		done = do_transfer(c, t);
	else if (done && strcmp(c->kind, "append") == 0)
		done = do_append(c, t);
	else if (done)
		done = do_read(c, t);
	return done ? commit(c, t) : "fail";
}

/* Returns the outcome. */
static const char *
look_at_sum(Client *c, Transaction *t)
{
	char		sql[128];

	snprintf(sql, sizeof(sql), "select '%d', 0, sum(balance) from account", c->next_host + 1);
	return step(c, t, sql) ? "ack" : "fail";
}

static void
one_transaction(Client *c)
{
	Transaction t = {.id = c->next_id++,.begun = now_us(),.node = "-",.term = "-"};
	bool		sums = strcmp(c->kind, "sum") == 0;
	const char *outcome = sums ? look_at_sum(c, &t) : transact(c, &t);

	fprintf(c->log, "%s %lld %lld %lld %lld %s %s %s\n", outcome, (long long) t.id,
			(long long) t.begun, (long long) t.sent, (long long) now_us(), t.node, t.term,
			t.data ? t.data : "");
	free(t.data);
	/* also after an error: this may be the former primary */
	if (strcmp(outcome, "ack") != 0 || sums)
		disconnect(c);
}

/* Returns how many there are. */
static int
split(char *list, char **out)
{
	int			n = 0;

	for (char *p = strtok(list, ","); p != NULL && n < MAX_HOSTS; p = strtok(NULL, ","))
		out[n++] = p;
	return n;
}

int
main(int argc, char **argv)
{
	Client		c = {0};

	if (argc != 8)
	{
		fprintf(stderr, "usage: client KIND NUMBER SEED PAUSE_US HOSTS PORTS LOG\n");
		return 2;
	}
	c.kind = argv[1];
	c.number = atoi(argv[2]);
	srandom((unsigned) atol(argv[3]));
	c.pause_us = atol(argv[4]);
	c.n_hosts = split(argv[5], c.hosts);
	if (split(argv[6], c.ports) != c.n_hosts || (c.log = fopen(argv[7], "w")) == NULL)
		return 2;
	c.next_id = c.number * (int64_t) 1000000000 + 1;
	c.next_host = c.number;
	signal(SIGTERM, on_term);
	signal(SIGPIPE, SIG_IGN);

	while (!stop)
	{
		if (c.conn == NULL)
			connect_primary(&c);
		if (c.conn == NULL)
			continue;
		one_transaction(&c);
		usleep(c.pause_us / 2 + pick(c.pause_us + 1));
	}
	disconnect(&c);
	return fclose(c.log) == 0 ? 0 : 1;
}
