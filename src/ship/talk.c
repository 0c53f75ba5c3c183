/*
 * talk.c - one connection of the shipper's event loop: connecting, asking and
 * answering without ever waiting.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "port/pg_bswap.h"
#include "ship/talk.h"

bool
talk_open(Talk *t, const char *conninfo, char *err, size_t errlen)
{
	talk_close(t);
	t->conn = peer_start(conninfo, err, errlen);
	if (t->conn == NULL)
		return false;
	t->wanted = WL_SOCKET_WRITEABLE;
	t->moved = true;
	return true;
}

TalkProgress
talk_connect(Talk *t, char *err, size_t errlen)
{
	/* libpq may try the next address on another socket with the same number */
	t->moved = true;
	switch (PQconnectPoll(t->conn->pg))
	{
		case PGRES_POLLING_OK:
			t->wanted = WL_SOCKET_READABLE;
			if (PQsetnonblocking(t->conn->pg, 1) == 0)
				return TALK_DONE;
			break;
		case PGRES_POLLING_READING:
			t->wanted = WL_SOCKET_READABLE;
			return TALK_PENDING;
		case PGRES_POLLING_WRITING:
			t->wanted = WL_SOCKET_WRITEABLE;
			return TALK_PENDING;
		default:
			break;
	}
	peer_error_line(PQerrorMessage(t->conn->pg), err, errlen);
	return TALK_FAILED;
}

void
talk_close(Talk *t)
{
	PQclear(t->result);
	t->result = NULL;
	peer_close(t->conn);
	t->conn = NULL;
	t->wanted = 0;
	t->ready = 0;
	t->moved = true;
}

/* ---- parameters ---- */

void
talk_bytes(TalkParams *p, Oid type, const void *v, size_t len)
{
	Assert(p->n < TALK_MAX_PARAMS);
	p->types[p->n] = type;
	p->values[p->n] = len > 0 ? v : "";
	p->lengths[p->n] = (int) len;
	p->formats[p->n] = 1;
	p->n++;
}

void
talk_int4(TalkParams *p, int32 v)
{
	uint32		wire = pg_hton32((uint32) v);

	memcpy(&p->numbers[p->n], &wire, sizeof(wire));
	talk_bytes(p, INT4OID, &p->numbers[p->n], sizeof(wire));
}

void
talk_int8(TalkParams *p, uint64 v)
{
	p->numbers[p->n] = pg_hton64(v);
	talk_bytes(p, INT8OID, &p->numbers[p->n], sizeof(uint64));
}

void
talk_lsn(TalkParams *p, uint64 v)
{
	p->numbers[p->n] = pg_hton64(v);
	talk_bytes(p, LSNOID, &p->numbers[p->n], sizeof(uint64));
}

void
talk_text(TalkParams *p, const char *v)
{
	talk_bytes(p, TEXTOID, v, strlen(v));
}

/* ---- asking ---- */

bool
talk_flush(Talk *t, char *err, size_t errlen)
{
	int			rc = PQflush(t->conn->pg);

	t->wanted = WL_SOCKET_READABLE | (rc > 0 ? WL_SOCKET_WRITEABLE : 0);
	if (rc >= 0)
		return true;
	peer_error_line(PQerrorMessage(t->conn->pg), err, errlen);
	return false;
}

bool
talk_ask(Talk *t, const char *sql, const TalkParams *p, char *err, size_t errlen)
{
	PQclear(t->result);
	t->result = NULL;
	if (!PQsendQueryParams(t->conn->pg, sql, p->n, p->types, p->values, p->lengths,
						   p->formats, 1))
	{
		peer_error_line(PQerrorMessage(t->conn->pg), err, errlen);
		return false;
	}
	return talk_flush(t, err, errlen);
}

TalkProgress
talk_answer(Talk *t, char *err, size_t errlen)
{
	PGresult   *r;
	const char *message;

	if (!PQconsumeInput(t->conn->pg))
	{
		peer_error_line(PQerrorMessage(t->conn->pg), err, errlen);
		return TALK_FAILED;
	}
	if (!talk_flush(t, err, errlen))
		return TALK_FAILED;
	for (;;)
	{
		if (PQisBusy(t->conn->pg))
			return TALK_PENDING;
		r = PQgetResult(t->conn->pg);
		if (r == NULL)
			break;
		PQclear(t->result);
		t->result = r;
	}
	if (t->result == NULL)
		return TALK_PENDING;
	if (PQresultStatus(t->result) == PGRES_COMMAND_OK ||
		(PQresultStatus(t->result) == PGRES_TUPLES_OK && PQntuples(t->result) == 1))
		return TALK_DONE;
	message = PQresultErrorField(t->result, PG_DIAG_MESSAGE_PRIMARY);
	if (message == NULL)
		message = PQresultErrorMessage(t->result);
	peer_error_line(message[0] ? message : "an answer came without a row", err, errlen);
	return TALK_FAILED;
}

/* ---- fields ---- */

int32
talk_get_int4(const PGresult *r, int column)
{
	uint32		v;

	if (PQgetlength(r, 0, column) != sizeof(v))
		return 0;
	memcpy(&v, PQgetvalue(r, 0, column), sizeof(v));
	return (int32) pg_ntoh32(v);
}

bool
talk_get_bool(const PGresult *r, int column)
{
	return PQgetlength(r, 0, column) == 1 && *PQgetvalue(r, 0, column) != 0;
}

uint64
talk_get_int8(const PGresult *r, int column)
{
	uint64		v;

	if (PQgetlength(r, 0, column) != sizeof(v))
		return 0;
	memcpy(&v, PQgetvalue(r, 0, column), sizeof(v));
	return pg_ntoh64(v);
}

void
talk_get_text(const PGresult *r, int column, char *out, size_t outlen)
{
	size_t		len = Min((size_t) PQgetlength(r, 0, column), outlen - 1);

	memcpy(out, PQgetvalue(r, 0, column), len);
	out[len] = '\0';
}
