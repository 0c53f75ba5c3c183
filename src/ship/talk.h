/*
 * talk.h - one connection of the shipper's event loop: what it waits for, and
 * the asynchronous forms of connecting and asking.
 */
#ifndef BATON_TALK_H
#define BATON_TALK_H

#include "postgres.h"

#include "ship/peer_conn.h"
#include "storage/latch.h"

/* A connection in the event loop; zeroed: closed. */
typedef struct Talk
{
	PeerConn   *conn;			/* NULL: closed */
	PGresult   *result;			/* collected so far, of talk_ask() */
	int			wanted;			/* WL_SOCKET_* it waits for */
	int			ready;			/* WL_SOCKET_* that the last wait reported */
	bool		moved;			/* its socket may be another one than before */
	/* what the wait set knows of it */
	int			set_index;		/* -1: not in the set */
	int			set_events;
} Talk;

/* How an asynchronous step went. */
typedef enum TalkProgress
{
	TALK_FAILED = -1,			/* see err; the caller closes */
	TALK_PENDING = 0,
	TALK_DONE = 1
} TalkProgress;

/* Begin to connect; false with the reason in err. */
extern bool talk_open(Talk *t, const char *conninfo, char *err, size_t errlen);
/* Go on connecting when the socket is ready. */
extern TalkProgress talk_connect(Talk *t, char *err, size_t errlen);
/* Close; allowed when closed. */
extern void talk_close(Talk *t);

/* Values of a statement's parameters, in binary (text is its bytes). */
#define TALK_MAX_PARAMS 16
typedef struct TalkParams
{
	int			n;
	Oid			types[TALK_MAX_PARAMS];
	const char *values[TALK_MAX_PARAMS];
	int			lengths[TALK_MAX_PARAMS];
	int			formats[TALK_MAX_PARAMS];
	uint64		numbers[TALK_MAX_PARAMS];	/* where int values lie, in network order */
} TalkParams;

extern void talk_int4(TalkParams *p, int32 v);
extern void talk_int8(TalkParams *p, uint64 v);
extern void talk_lsn(TalkParams *p, uint64 v);
extern void talk_text(TalkParams *p, const char *v);
extern void talk_bytes(TalkParams *p, Oid type, const void *v, size_t len);

/* Send one statement; its result comes in binary. false with the reason in err. */
extern bool talk_ask(Talk *t, const char *sql, const TalkParams *p, char *err, size_t errlen);
/* Read what is there: TALK_DONE once t->result is the whole answer, a good one. */
extern TalkProgress talk_answer(Talk *t, char *err, size_t errlen);

/* Push what libpq has buffered, and set what to wait for; false: broken. */
extern bool talk_flush(Talk *t, char *err, size_t errlen);

/* Fields of a binary result; NULL and short values read as 0 and "". */
extern int32 talk_get_int4(const PGresult *r, int column);
extern uint64 talk_get_int8(const PGresult *r, int column);
extern bool talk_get_bool(const PGresult *r, int column);
extern void talk_get_text(const PGresult *r, int column, char *out, size_t outlen);

#endif							/* BATON_TALK_H */
