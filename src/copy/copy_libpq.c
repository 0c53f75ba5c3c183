/*
 * copy_libpq.c - the copy worker's connections: to the source, and back to the
 * own server.
 *
 * Results are copied into the current memory context at once, so that an error
 * raised in between leaks nothing; the connections themselves hang on the
 * CopyContext and are closed when an attempt ends.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "ship/peer_conn.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

/*
 * The source's defaults must not end or hamper the copy.  The check of the
 * connection ends our sessions there, with the locks they hold, soon after this
 * server is gone.
 */
#define SOURCE_OPTIONS \
	"-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 " \
	"-c idle_in_transaction_session_timeout=0 -c wal_sender_timeout=60000 " \
	"-c client_connection_check_interval=2000 " \
	"-c default_transaction_isolation=read\\ committed -c search_path=pg_catalog"

void
copy_sleep(long ms)
{
	int			rc;

	rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
				   PG_WAIT_EXTENSION);
	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static char *
one_line(const char *message)
{
	char	   *line = pstrdup(message ? message : "unknown error");
	size_t		len = strlen(line);

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == ' '))
		line[--len] = '\0';
	for (char *p = line; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return line;
}

/* Raise a lost or refused connection; closes it. */
static void
connection_failed(PGconn *conn, const char *what)
{
	char	   *reason = one_line(conn ? PQerrorMessage(conn) : "out of memory");

	PQfinish(conn);
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("%s: %s", what, reason)));
}

/* The source's notices would go to this server's stderr. */
static void
ignore_notice(void *arg, const PGresult *res)
{
}

/* Carry a started connection to its end, with the same deadline for all of it. */
static bool
finish_connecting(PGconn *conn, int timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK)
	{
		int			event = status == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		int			rc;

		if (left <= 0 || PQstatus(conn) == CONNECTION_BAD)
			return false;
		rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT | event,
							   PQsocket(conn), left, PG_WAIT_EXTENSION);
		if (rc & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!(rc & event))
			continue;
		status = PQconnectPoll(conn);
		if (status == PGRES_POLLING_FAILED)
			return false;
	}
	return true;
}

/*
 * Connect to a member.
 *
 * same_server: a connection already made with this conninfo, or NULL.  A conninfo
 * may name several hosts; all connections of an attempt must reach the same one.
 * replication: a walsender connection.
 *
 * Raises ERRCODE_CONNECTION_FAILURE.
 */
PGconn *
copy_connect(const char *conninfo, PGconn *same_server, bool replication)
{
	const char *keys[12];
	const char *values[12];
	int			n = 0;
	PGconn	   *conn;
	bool		connected = false;
	char		name[PEER_APPLICATION_NAME_LEN];

	peer_application_name(name);
#define ADD(key, value) (keys[n] = (key), values[n] = (value), n++)
	ADD("dbname", conninfo);
	if (same_server != NULL)
	{
		ADD("host", PQhost(same_server));
		if (PQhostaddr(same_server) && PQhostaddr(same_server)[0] != '\0')
			ADD("hostaddr", PQhostaddr(same_server));
		ADD("port", PQport(same_server));
		ADD("target_session_attrs", "any");
	}
	if (replication)
		ADD("replication", "database");
	ADD("application_name", name);
	ADD("client_encoding", GetDatabaseEncodingName());
	ADD("options", SOURCE_OPTIONS);
	ADD(NULL, NULL);
#undef ADD

	conn = PQconnectStartParams(keys, values, true);
	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
		connection_failed(conn, "could not connect to the copy's source");
	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	PG_TRY();
	{
		connected = finish_connecting(conn, baton_connect_timeout);
	}
	PG_CATCH();
	{
		PQfinish(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!connected)
		connection_failed(conn, "could not connect to the copy's source");
	return conn;
}

void
copy_close(PGconn **conn)
{
	if (*conn != NULL)
		PQfinish(*conn);
	*conn = NULL;
}

void
copy_close_all(CopyContext *ctx)
{
	copy_close(&ctx->slot);
	copy_close(&ctx->keeper);
	copy_close(&ctx->locker);
	copy_close(&ctx->source);
	copy_close(&ctx->local);
}

/* Copy a libpq result into palloc'd memory and clear it. */
static CopyRows *
rows_from_result(PGresult *res)
{
	CopyRows   *rows = palloc0(sizeof(CopyRows));
	ExecStatusType status = PQresultStatus(res);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY)
	{
		const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
		const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		strlcpy(rows->sqlstate, sqlstate ? sqlstate : "58000", sizeof(rows->sqlstate));
		rows->error = one_line(message ? message : PQresultErrorMessage(res));
		PQclear(res);
		return rows;
	}
	rows->n_rows = PQntuples(res);
	rows->n_columns = PQnfields(res);
	rows->value = palloc0(sizeof(char **) * Max(rows->n_rows, 1));
	for (int r = 0; r < rows->n_rows; r++)
	{
		rows->value[r] = palloc0(sizeof(char *) * Max(rows->n_columns, 1));
		for (int c = 0; c < rows->n_columns; c++)
			if (!PQgetisnull(res, r, c))
				rows->value[r][c] = pstrdup(PQgetvalue(res, r, c));
	}
	PQclear(res);
	return rows;
}

static void
connection_lost(PGconn *conn)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("lost a connection of the initial copy: %s",
					one_line(PQerrorMessage(conn)))));
}

/* Send a statement without waiting for its end. */
void
copy_send(PGconn *conn, const char *sql)
{
	if (conn == NULL || !PQsendQuery(conn, sql))
		connection_lost(conn);
}

/*
 * Wait until the statement has ended.  timeout_ms: 0 for no limit.  Returns false
 * on timeout; raises ERRCODE_CONNECTION_FAILURE.
 */
bool
copy_wait_result(PGconn *conn, long timeout_ms)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	while (PQisBusy(conn))
	{
		long		left = 60000;
		int			rc;

		if (timeout_ms > 0)
		{
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
			if (left <= 0)
				return false;
		}
		rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT |
							   WL_SOCKET_READABLE, PQsocket(conn), left, PG_WAIT_EXTENSION);
		if (rc & WL_LATCH_SET)
			ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if ((rc & WL_SOCKET_READABLE) && !PQconsumeInput(conn))
			connection_lost(conn);
	}
	return true;
}

/*
 * The result of a statement that copy_wait_result() has seen end; of several in one
 * string, the last one's, or the one that failed.
 */
CopyRows *
copy_receive(PGconn *conn)
{
	CopyRows   *rows = NULL;
	PGresult   *res;

	while (copy_wait_result(conn, 0) && (res = PQgetResult(conn)) != NULL)
		rows = rows_from_result(res);
	if (PQstatus(conn) == CONNECTION_BAD)
		connection_lost(conn);
	if (rows == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a statement of the initial copy gave no result")));
	return rows;
}

/*
 * Run a statement; its own failure is returned in rows->error.  timeout_ms: 0 for
 * no limit.  Raises ERRCODE_CONNECTION_FAILURE, and ERRCODE_QUERY_CANCELED on
 * timeout, after which the connection is of no more use.
 */
CopyRows *
copy_try(PGconn *conn, int timeout_ms, const char *sql)
{
	copy_send(conn, sql);
	if (!copy_wait_result(conn, timeout_ms))
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("no answer within %d s to a statement of the initial copy",
						timeout_ms / 1000),
				 errdetail("The statement was: %.200s", sql)));
	return copy_receive(conn);
}

/* As copy_try(), but a failed statement is raised with its own SQLSTATE. */
CopyRows *
copy_query(PGconn *conn, int timeout_ms, const char *fmt,...)
{
	StringInfoData sql;
	CopyRows   *rows;

	initStringInfo(&sql);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&sql, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&sql, needed);
	}
	rows = copy_try(conn, timeout_ms, sql.data);
	if (rows->error != NULL)
	{
		const char *s = rows->sqlstate;

		ereport(ERROR,
				(errcode(MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4])),
				 errmsg("%s", rows->error),
				 errdetail("The statement was: %.200s", sql.data)));
	}
	pfree(sql.data);
	return rows;
}

/* Quoted for the connection, in palloc'd memory. */
char *
copy_literal(PGconn *conn, const char *value)
{
	char	   *quoted = PQescapeLiteral(conn, value, strlen(value));
	char	   *copied;

	if (quoted == NULL)
		connection_lost(conn);
	copied = pstrdup(quoted);
	PQfreemem(quoted);
	return copied;
}

char *
copy_identifier(PGconn *conn, const char *value)
{
	char	   *quoted = PQescapeIdentifier(conn, value, strlen(value));
	char	   *copied;

	if (quoted == NULL)
		connection_lost(conn);
	copied = pstrdup(quoted);
	PQfreemem(quoted);
	return copied;
}

/* Text form of an LSN or stream position; raises ERRCODE_PROTOCOL_VIOLATION. */
XLogRecPtr
copy_parse_lsn(const char *text)
{
	uint32		hi;
	uint32		lo;

	if (text == NULL || sscanf(text, "%X/%X", &hi, &lo) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the copy's source sent an invalid position \"%s\"", text ? text : "null")));
	return ((uint64) hi << 32) | lo;
}
