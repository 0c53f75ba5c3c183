/*
 * capture_link.h - the conversation with the local walsender, as bytes on a
 * connection; what they mean is capture.c's.
 */
#ifndef BATON_CAPTURE_LINK_H
#define BATON_CAPTURE_LINK_H

#include "baton.h"

#include "libpq-fe.h"

typedef enum LinkMessageKind
{
	LINK_NOTHING,				/* no whole message is there */
	LINK_DATA,					/* bytes of records */
	LINK_KEEPALIVE,
	LINK_OVER					/* the conversation has ended, err says why */
} LinkMessageKind;

typedef struct LinkMessage
{
	char	   *buffer;			/* libpq's, freed by the next capture_link_read() */
	const char *data;			/* LINK_DATA */
	size_t		len;
	XLogRecPtr	wal_end;		/* LINK_KEEPALIVE: the walsender has decoded up to here */
	bool		reply_requested;
} LinkMessage;

/*
 * Connect and start the slot's stream at `start` (or where the slot was confirmed,
 * if that is later).  Returns a nonblocking connection, or NULL with the reason in
 * err and, if the server refused, its SQLSTATE in sqlstate (6 bytes, else "").
 */
extern PGconn *capture_link_open(NodeShared *node, XLogRecPtr start,
								 char *sqlstate, char *err, size_t errlen);

/* Take the next message out of what has been received; never blocks. */
extern LinkMessageKind capture_link_read(PGconn *conn, LinkMessage *m, char *err, size_t errlen);

/* What the walsender is told: own commits up to these places have got there. */
typedef struct LinkStatus
{
	XLogRecPtr	write;
	XLogRecPtr	flush;
	XLogRecPtr	apply;
} LinkStatus;

/* Returns false if nothing could be sent now; it is to be told again later. */
extern bool capture_link_status(PGconn *conn, const LinkStatus *status);

#endif							/* BATON_CAPTURE_LINK_H */
