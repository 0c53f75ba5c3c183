/*
 * local_conn.c - the loopback connection, waited for on the process's latch.
 *
 * libpq's blocking calls would make a worker deaf to SIGTERM, so connecting and
 * waiting for results go through WaitLatchOrSocket().
 */
#include "baton.h"

#include "capture/local_conn.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/postmaster.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/* How long a cancelled statement may take to come back. */
#define CANCEL_GRACE_MS		5000

/* What every loopback session sets, so that no server-wide default harms it. */
#define LOCAL_OPTIONS \
	"-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 " \
	"-c idle_in_transaction_session_timeout=0 -c wal_sender_timeout=0 " \
	"-c default_transaction_isolation=read\\ committed -c search_path= " \
	"-c synchronous_commit=local -c log_statement=none -c log_replication_commands=off " \
	"-c log_min_duration_statement=-1"

void
local_error_line(const char *message, char *err, size_t errlen)
{
	size_t		len;

	if (errlen == 0)
		return;
	strlcpy(err, message ? message : "unknown error", errlen);
	len = strlen(err);
	while (len > 0 && (err[len - 1] == '\n' || err[len - 1] == ' '))
		err[--len] = '\0';
	for (char *p = err; *p; p++)
		if (*p == '\n')
			*p = ' ';
}

/* The bootstrap superuser may have been renamed: look it up. */
static void
bootstrap_superuser_name(char *out, size_t size)
{
	bool		own_transaction = !IsTransactionState();
	MemoryContext old = CurrentMemoryContext;

	if (own_transaction)
		StartTransactionCommand();
	strlcpy(out, GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false), size);
	if (own_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(old);
}

/* The first socket directory, or "localhost" if the server has none. */
static void
local_host(char *out, size_t size)
{
	char	   *raw = pstrdup(Unix_socket_directories ? Unix_socket_directories : "");
	List	   *directories = NIL;

	if (raw[0] != '\0' && SplitDirectoriesString(raw, ',', &directories) && directories != NIL)
		strlcpy(out, (char *) linitial(directories), size);
	else
		strlcpy(out, "localhost", size);
	list_free_deep(directories);
	pfree(raw);
}

/* Wait for the socket, the latch or the time; returns what happened. */
static int
wait_socket(PGconn *conn, int socket_event, long timeout_ms)
{
	int			rc;

	rc = WaitLatchOrSocket(MyLatch,
						   WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT | socket_event,
						   PQsocket(conn), timeout_ms, PG_WAIT_EXTENSION);
	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return rc;
}

/* Carry a started connection to its end; false with err if that fails. */
static bool
finish_connecting(PGconn *conn, char *err, size_t errlen)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													   LOCAL_CONNECT_TIMEOUT_MS);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(conn) == CONNECTION_BAD)
	{
		local_error_line(PQerrorMessage(conn), err, errlen);
		return false;
	}
	while (status != PGRES_POLLING_OK)
	{
		int			event = status == PGRES_POLLING_READING ?
			WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
		{
			local_error_line("timeout while connecting to the own server", err, errlen);
			return false;
		}
		if (!(wait_socket(conn, event, left) & event))
			continue;
		status = PQconnectPoll(conn);
		if (status == PGRES_POLLING_FAILED)
		{
			local_error_line(PQerrorMessage(conn), err, errlen);
			return false;
		}
	}
	return true;
}

static PGconn *
start_connecting(const char *dbname, bool replication, const char *appname,
				 const char *extra_options)
{
	const char *keys[12];
	const char *values[12];
	char		user[NAMEDATALEN];
	char		host[MAXPGPATH];
	char		port[12];
	StringInfoData options;
	PGconn	   *conn;
	int			n = 0;

	initStringInfo(&options);
	appendStringInfoString(&options, LOCAL_OPTIONS);
	/* minor releases since 15.19 load listed output plugins only */
	if (replication && GetConfigOption("output_plugin_libraries", true, false) != NULL)
		appendStringInfoString(&options, " -c output_plugin_libraries=baton");
	if (extra_options != NULL)
		appendStringInfo(&options, " %s", extra_options);

#define ADD(key, value) (keys[n] = (key), values[n] = (value), n++)
	if (baton_local_conninfo != NULL && baton_local_conninfo[0] != '\0')
		ADD("dbname", baton_local_conninfo);	/* libpq expands the first dbname */
	else
	{
		bootstrap_superuser_name(user, sizeof(user));
		local_host(host, sizeof(host));
		snprintf(port, sizeof(port), "%d", PostPortNumber);
		ADD("host", host);
		ADD("port", port);
		ADD("user", user);
	}
	ADD("dbname", dbname);
	if (replication)
		ADD("replication", "database");
	ADD("application_name", appname);
	ADD("client_encoding", GetDatabaseEncodingName());
	ADD("options", options.data);
	ADD(NULL, NULL);
#undef ADD

	/* with a conninfo in the settings, only its own dbname is to be expanded */
	conn = PQconnectStartParams(keys, values, baton_local_conninfo != NULL &&
								baton_local_conninfo[0] != '\0');
	pfree(options.data);
	return conn;
}

/* Notices would go to this server's stderr, past its log. */
static void
ignore_notice(void *arg, const PGresult *res)
{
}

PGconn *
local_connect(const char *dbname, bool replication, const char *appname,
			  const char *extra_options, char *err, size_t errlen)
{
	PGconn	   *volatile conn = start_connecting(dbname, replication, appname, extra_options);
	volatile bool connected = false;

	if (conn == NULL)
	{
		local_error_line("out of memory", err, errlen);
		return NULL;
	}
	PQsetNoticeReceiver(conn, ignore_notice, NULL);
	PG_TRY();
	{
		connected = finish_connecting(conn, err, errlen);
	}
	PG_CATCH();
	{
		PQfinish(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (!connected)
	{
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

/*
 * Wait until libpq has a whole result or the deadline (0: none) passes.
 * Returns 1: a result is ready, 0: timeout, -1: connection lost.
 */
static int
wait_result(PGconn *conn, TimestampTz deadline)
{
	while (PQisBusy(conn))
	{
		long		left = 60000;

		if (deadline != 0)
		{
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
			if (left <= 0)
				return 0;
		}
		if ((wait_socket(conn, WL_SOCKET_READABLE, left) & WL_SOCKET_READABLE) &&
			!PQconsumeInput(conn))
			return -1;
	}
	return 1;
}

static void
request_cancel(PGconn *conn)
{
	PGcancel   *cancel = PQgetCancel(conn);
	char		message[256];

	if (cancel == NULL)
		return;
	/* on the own server: the connect that this makes does not block for long */
	(void) PQcancel(cancel, message, sizeof(message));
	PQfreeCancel(cancel);
}

int
local_wait_result(PGconn *conn, int timeout_ms)
{
	volatile TimestampTz deadline = 0;
	volatile int rc = 0;

	if (timeout_ms > 0)
		deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	PG_TRY();
	{
		rc = wait_result(conn, deadline);
	}
	PG_CATCH();
	{
		/* an interrupt must not leave the statement running behind us */
		request_cancel(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return rc;
}

/* A result after which the statement is not over: its caller reads on. */
static bool
result_begins_copy(const PGresult *result)
{
	switch (PQresultStatus(result))
	{
		case PGRES_COPY_BOTH:
		case PGRES_COPY_IN:
		case PGRES_COPY_OUT:
			return true;
		default:
			return false;
	}
}

PGresult *
local_collect(PGconn *conn, int timeout_ms, char *err, size_t errlen)
{
	PGresult   *last = NULL;
	bool		cancelled = false;

	for (;;)
	{
		int			rc = local_wait_result(conn, timeout_ms);
		PGresult   *result;

		if (rc == 0 && !cancelled)
		{
			cancelled = true;
			request_cancel(conn);
			timeout_ms = CANCEL_GRACE_MS;
			continue;
		}
		if (rc <= 0)
		{
			local_error_line(rc == 0 ? "the own server does not answer" : PQerrorMessage(conn),
							 err, errlen);
			PQclear(last);
			return NULL;
		}
		result = PQgetResult(conn);
		if (result == NULL)
			break;
		PQclear(last);
		last = result;
		if (result_begins_copy(result))
			break;
	}
	if (last == NULL || PQresultStatus(last) == PGRES_FATAL_ERROR)
		local_error_line(last ? PQresultErrorField(last, PG_DIAG_MESSAGE_PRIMARY) :
						 PQerrorMessage(conn), err, errlen);
	return last;
}

PGresult *
local_exec(PGconn *conn, const char *sql, int timeout_ms, char *err, size_t errlen)
{
	if (!PQsendQuery(conn, sql))
	{
		local_error_line(PQerrorMessage(conn), err, errlen);
		return NULL;
	}
	return local_collect(conn, timeout_ms, err, errlen);
}
