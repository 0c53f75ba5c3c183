/*
 * capture_link.c - streaming replication protocol with the local walsender.
 */
#include "capture/capture_link.h"

#include "capture/local_conn.h"
#include "capture/slot.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#define START_TIMEOUT_MS	60000

/*
 * Large transactions are to be streamed early.  The rest fixes the text form of
 * values that travel as text.
 */
#define CAPTURE_OPTIONS \
	"-c logical_decoding_work_mem=4MB -c datestyle=ISO -c intervalstyle=postgres " \
	"-c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C"

/* Length of a data message's header: type, start, end, time. */
#define DATA_HEADER_LEN		25
/* A keepalive: type, end, time, reply requested. */
#define KEEPALIVE_LEN		18

static uint64
get_u64(const char *p)
{
	uint64		v;

	memcpy(&v, p, sizeof(v));
	return pg_ntoh64(v);
}

static void
put_u64(char *p, uint64 v)
{
	v = pg_hton64(v);
	memcpy(p, &v, sizeof(v));
}

PGconn *
capture_link_open(NodeShared *node, XLogRecPtr start, char *sqlstate, char *err, size_t errlen)
{
	char		slot[NAMEDATALEN];
	char		appname[NAMEDATALEN];
	char		sql[512];
	PGconn	   *conn;
	PGresult   *result;
	const char *state;
	bool		ok;

	sqlstate[0] = '\0';
	capture_slot_name(node, slot);
	snprintf(appname, sizeof(appname), "baton_%u", node->dboid);
	conn = local_connect(node->dbname, true, appname, CAPTURE_OPTIONS, err, errlen);
	if (conn == NULL)
		return NULL;

	snprintf(sql, sizeof(sql),
			 "START_REPLICATION SLOT \"%s\" LOGICAL %X/%X "
			 "(proto '%d', node_id '%u', origin 'baton_%u')",
			 slot, LSN_FORMAT_ARGS(start), BATON_PROTOCOL_VERSION, node->self, node->dboid);
	result = local_exec(conn, sql, START_TIMEOUT_MS, err, errlen);
	ok = PQresultStatus(result) == PGRES_COPY_BOTH;
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (state != NULL)
		strlcpy(sqlstate, state, 6);
	PQclear(result);
	if (!ok || PQsetnonblocking(conn, 1) != 0)
	{
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

/* The copy has ended: the reason is in the results that follow. */
static void
end_reason(PGconn *conn, int rc, char *err, size_t errlen)
{
	PGresult   *result;

	local_error_line(rc == -1 ? "the walsender has ended the stream" : PQerrorMessage(conn),
					 err, errlen);
	if (rc != -1 || PQisBusy(conn))
		return;
	result = PQgetResult(conn);
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		local_error_line(PQresultErrorMessage(result), err, errlen);
	PQclear(result);
}

LinkMessageKind
capture_link_read(PGconn *conn, LinkMessage *m, char *err, size_t errlen)
{
	int			rc;

	if (m->buffer != NULL)
		PQfreemem(m->buffer);
	m->buffer = NULL;
	rc = PQgetCopyData(conn, &m->buffer, 1);
	if (rc == 0)
		return LINK_NOTHING;
	if (rc < 0)
	{
		end_reason(conn, rc, err, errlen);
		return LINK_OVER;
	}
	if (m->buffer[0] == 'w' && rc >= DATA_HEADER_LEN)
	{
		m->data = m->buffer + DATA_HEADER_LEN;
		m->len = rc - DATA_HEADER_LEN;
		return LINK_DATA;
	}
	if (m->buffer[0] == 'k' && rc >= KEEPALIVE_LEN)
	{
		m->wal_end = get_u64(m->buffer + 1);
		m->reply_requested = m->buffer[KEEPALIVE_LEN - 1] != 0;
		return LINK_KEEPALIVE;
	}
	snprintf(err, errlen, "unexpected message of type %d, %d bytes long, from the walsender",
			 m->buffer[0], rc);
	return LINK_OVER;
}

bool
capture_link_status(PGconn *conn, const LinkStatus *status)
{
	char		reply[1 + 4 * 8 + 1];

	reply[0] = 'r';
	put_u64(reply + 1, status->write);
	put_u64(reply + 9, status->flush);
	put_u64(reply + 17, status->apply);
	put_u64(reply + 25, GetCurrentTimestamp());
	reply[33] = 0;				/* no reply wanted */
	return PQputCopyData(conn, reply, sizeof(reply)) == 1 && PQflush(conn) == 0;
}
