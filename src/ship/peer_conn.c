/*
 * peer_conn.c - a libpq connection from one node to another.
 *
 * Nothing here blocks but the resolution of host names, which libpq does while
 * it begins: every wait is on the process's latch too, and checks for interrupts.
 */
#include "baton.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "ship/peer_conn.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/*
 * What a session between nodes must not be disturbed by.  These come behind the
 * options of the user's conninfo, so they win.
 */
#define PEER_OPTIONS \
	"-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 " \
	"-c idle_in_transaction_session_timeout=0 -c search_path=pg_catalog " \
	"-c default_transaction_isolation=read\\ committed " \
	"-c default_transaction_deferrable=off -c DateStyle=ISO -c IntervalStyle=postgres " \
	"-c bytea_output=hex -c extra_float_digits=1 -c jit=off"

/* Copy a libpq message as one line. */
void
peer_error_line(const char *message, char *out, size_t outlen)
{
	size_t		n = 0;

	if (outlen == 0)
		return;
	for (const char *p = message ? message : ""; *p != '\0' && n + 1 < outlen; p++)
	{
		if (*p != '\n' && *p != '\t')
			out[n++] = *p;
		else if (n > 0 && out[n - 1] != ' ')
			out[n++] = ' ';
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
	/* do not leave half of a multibyte character behind */
	if (n + 1 == outlen)
		out[pg_mbcliplen(out, n, n - 1)] = '\0';
}

/* Context callback: whatever ended the PeerConn, its connection goes with it. */
static void
peer_release(void *arg)
{
	PeerConn   *peer = (PeerConn *) arg;

	PQclear(peer->result);
	peer->result = NULL;
	if (peer->pg != NULL)
		PQfinish(peer->pg);
	peer->pg = NULL;
	if (peer->owns_fd)
		ReleaseExternalFD();
	peer->owns_fd = false;
}

/* Notices of another node are of no interest here. */
static void
peer_ignore_notice(void *arg, const PGresult *res)
{
}

/*
 * The `options` keyword: the conninfo's own, then ours.  Returns NULL, with the
 * reason in err, if the conninfo cannot be parsed.
 */
static char *
peer_options(const char *conninfo, char *err, size_t errlen)
{
	StringInfoData options;
	char	   *errmsg = NULL;
	PQconninfoOption *parsed = PQconninfoParse(conninfo, &errmsg);

	if (parsed == NULL)
	{
		peer_error_line(errmsg ? errmsg : "out of memory", err, errlen);
		PQfreemem(errmsg);
		return NULL;
	}
	initStringInfo(&options);
	for (PQconninfoOption *o = parsed; o->keyword != NULL; o++)
	{
		if (strcmp(o->keyword, "options") == 0 && o->val != NULL)
			appendStringInfo(&options, "%s ", o->val);
	}
	PQconninfoFree(parsed);
	appendStringInfoString(&options, PEER_OPTIONS);
	return options.data;
}

void
peer_application_name(char *out)
{
	NodeShared *node = node_mine();
	Member	   *self;

	strlcpy(out, PEER_APPLICATION_NAME, PEER_APPLICATION_NAME_LEN);
	if (node == NULL)
		return;
	LWLockAcquire(&node->state_lock, LW_SHARED);
	self = membership_find(&node->membership, node->self);
	if (self != NULL)
		snprintf(out, PEER_APPLICATION_NAME_LEN, PEER_APPLICATION_NAME " %s", self->name);
	LWLockRelease(&node->state_lock);
}

PeerConn *
peer_start(const char *conninfo, char *err, size_t errlen)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "baton peer connection",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	PeerConn   *peer = palloc0(sizeof(PeerConn));
	char	   *options = peer_options(conninfo, err, errlen);
	char		timeout[32];
	char		user_timeout[32];
	char		name[PEER_APPLICATION_NAME_LEN];
	/* later keywords override what the conninfo in "dbname" says */
	const char *const keywords[] = {
		"dbname", "application_name", "client_encoding", "connect_timeout",
		"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
		"tcp_user_timeout", "replication", "options", NULL
	};
	const char *const values[] = {
		conninfo, name, GetDatabaseEncodingName(), timeout,
		"1", "10", "5", "3",
		user_timeout, "false", options, NULL
	};

	MemoryContextSwitchTo(caller);
	peer->context = context;
	peer->callback.func = peer_release;
	peer->callback.arg = peer;
	MemoryContextRegisterResetCallback(context, &peer->callback);
	peer_application_name(name);
	snprintf(timeout, sizeof(timeout), "%d", Max(2, (baton_connect_timeout + 999) / 1000));
	snprintf(user_timeout, sizeof(user_timeout), "%d",
			 Max(10000, 4 * baton_heartbeat_interval));

	if (options == NULL)
		goto fail;
	if (!AcquireExternalFD())
	{
		strlcpy(err, "no file descriptor is free for a connection", errlen);
		goto fail;
	}
	peer->owns_fd = true;
	peer->pg = PQconnectStartParams(keywords, values, true);
	if (peer->pg == NULL || PQstatus(peer->pg) == CONNECTION_BAD)
	{
		peer_error_line(peer->pg ? PQerrorMessage(peer->pg) : "out of memory", err, errlen);
		goto fail;
	}
	PQsetNoticeReceiver(peer->pg, peer_ignore_notice, NULL);
	return peer;

fail:
	peer_close(peer);
	return NULL;
}

/* Close and free. */
void
peer_close(PeerConn *peer)
{
	if (peer != NULL)
		MemoryContextDelete(peer->context);
}

bool
peer_usable(const PeerConn *peer)
{
	return peer != NULL && PQstatus(peer->pg) == CONNECTION_OK &&
		PQtransactionStatus(peer->pg) == PQTRANS_IDLE;
}

/*
 * Wait for the connection's socket or the end of time.  start and timeout_ms
 * (<= 0: none) say when that is.  Returns false if it has come.
 */
static bool
peer_wait(PeerConn *peer, int events, const instr_time *start, int timeout_ms)
{
	long		left = -1;
	int			ready;

	if (timeout_ms > 0)
	{
		instr_time	now;

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, *start);
		left = timeout_ms - (long) INSTR_TIME_GET_MILLISEC(now);
		if (left <= 0)
			return false;
		events |= WL_TIMEOUT;
	}
	ready = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | events,
							  PQsocket(peer->pg), left, PG_WAIT_EXTENSION);
	if (ready & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

PeerConn *
peer_connect(const char *conninfo, int timeout_ms, char *err, size_t errlen)
{
	PeerConn   *peer = peer_start(conninfo, err, errlen);
	PostgresPollingStatusType poll = PGRES_POLLING_WRITING;
	instr_time	start;

	if (peer == NULL)
		return NULL;
	if (timeout_ms <= 0)
		timeout_ms = baton_connect_timeout;
	INSTR_TIME_SET_CURRENT(start);
	while (poll != PGRES_POLLING_OK)
	{
		int			events;

		if (poll == PGRES_POLLING_FAILED)
		{
			peer_error_line(PQerrorMessage(peer->pg), err, errlen);
			peer_close(peer);
			return NULL;
		}
		events = poll == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;
		if (!peer_wait(peer, events, &start, timeout_ms))
		{
			snprintf(err, errlen, "no connection within %d ms", timeout_ms);
			peer_close(peer);
			return NULL;
		}
		poll = PQconnectPoll(peer->pg);
	}
	PQsetnonblocking(peer->pg, 1);
	return peer;
}

/* Send what libpq has buffered; false: failed or too late, see err. */
static bool
peer_flush(PeerConn *peer, const instr_time *start, int timeout_ms, char *err, size_t errlen)
{
	int			rc;

	while ((rc = PQflush(peer->pg)) > 0)
	{
		if (!peer_wait(peer, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, start, timeout_ms))
		{
			snprintf(err, errlen, "no answer within %d ms", timeout_ms);
			return false;
		}
		if (!PQconsumeInput(peer->pg))
		{
			rc = -1;
			break;
		}
	}
	if (rc < 0)
		peer_error_line(PQerrorMessage(peer->pg), err, errlen);
	return rc == 0;
}

/*
 * Collect results until the statement is done; the last one ends up in
 * peer->result.  false: failed or too late, see err.
 */
static bool
peer_collect(PeerConn *peer, const instr_time *start, int timeout_ms, char *err, size_t errlen)
{
	for (;;)
	{
		PGresult   *result;

		while (PQisBusy(peer->pg))
		{
			if (!peer_wait(peer, WL_SOCKET_READABLE, start, timeout_ms))
			{
				snprintf(err, errlen, "no answer within %d ms", timeout_ms);
				return false;
			}
			if (!PQconsumeInput(peer->pg))
			{
				peer_error_line(PQerrorMessage(peer->pg), err, errlen);
				return false;
			}
		}
		result = PQgetResult(peer->pg);
		if (result == NULL)
			return true;
		PQclear(peer->result);
		peer->result = result;
		if (PQresultStatus(result) == PGRES_COPY_IN || PQresultStatus(result) == PGRES_COPY_OUT)
		{
			strlcpy(err, "COPY is not possible here", errlen);
			return false;
		}
	}
}

/* Keep what the caller may want to pass on of a failed statement. */
static void
peer_note_failure(PeerConn *peer, char *err, size_t errlen)
{
	const char *primary = PQresultErrorField(peer->result, PG_DIAG_MESSAGE_PRIMARY);
	const char *sqlstate = PQresultErrorField(peer->result, PG_DIAG_SQLSTATE);
	const char *hint = PQresultErrorField(peer->result, PG_DIAG_MESSAGE_HINT);

	peer_error_line(primary ? primary : PQerrorMessage(peer->pg), err, errlen);
	if (sqlstate)
		strlcpy(peer->sqlstate, sqlstate, sizeof(peer->sqlstate));
	if (hint)
		peer_error_line(hint, peer->hint, sizeof(peer->hint));
}

PGresult *
peer_query(PeerConn *peer, int timeout_ms, const char *sql,
		   int nparams, const Oid *types, const char *const *values,
		   const int *lengths, const int *formats, int result_format,
		   char *err, size_t errlen)
{
	instr_time	start;
	ExecStatusType status;

	PQclear(peer->result);
	peer->result = NULL;
	peer->sqlstate[0] = '\0';
	peer->hint[0] = '\0';
	INSTR_TIME_SET_CURRENT(start);

	if (!PQsendQueryParams(peer->pg, sql, nparams, types, values, lengths, formats,
						   result_format))
	{
		peer_error_line(PQerrorMessage(peer->pg), err, errlen);
		return NULL;
	}
	if (!peer_flush(peer, &start, timeout_ms, err, errlen) ||
		!peer_collect(peer, &start, timeout_ms, err, errlen))
		return NULL;

	status = PQresultStatus(peer->result);
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return peer->result;
	peer_note_failure(peer, err, errlen);
	return NULL;
}

void
peer_append_option(StringInfo out, const char *keyword, const char *value)
{
	bool		quote = value[0] == '\0' || strpbrk(value, " \t\n'\\") != NULL;

	appendStringInfo(out, "%s=", keyword);
	if (quote)
		appendStringInfoChar(out, '\'');
	for (const char *p = value; *p; p++)
	{
		if (*p == '\'' || *p == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *p);
	}
	if (quote)
		appendStringInfoChar(out, '\'');
}
