/*
 * peer_conn.h - a libpq connection from one node to another.
 *
 * Two ways to use it:
 *
 *   blocking, but interruptible (coordinator, SQL functions, copy):
 *
 *     PeerConn   *peer = peer_connect(conninfo, timeout_ms, err, sizeof(err));
 *     PGresult   *res = peer_query(peer, timeout_ms, sql, n, types, values,
 *                                  NULL, NULL, 0, err, sizeof(err));
 *     ... PQgetvalue(res, 0, 0) ...
 *     peer_close(peer);
 *
 *   from an event loop (shipper): peer_start(), then PQconnectPoll() and the
 *   rest of libpq's asynchronous calls on peer->pg.
 *
 * Nothing leaks when an error is raised in between: a PeerConn belongs to the
 * memory context in which it was made, and when that is reset or deleted the
 * connection and its last result go too.
 *
 * Each connection says application_name 'baton peer', by which the other side's
 * gate knows it, with the name of the node that it comes from behind it, and
 * switches off the timeouts that would end it.
 */
#ifndef BATON_PEER_CONN_H
#define BATON_PEER_CONN_H

#include "postgres.h"

#include "control/control.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"

#define PEER_APPLICATION_NAME "baton peer"
#define PEER_APPLICATION_NAME_LEN (sizeof(PEER_APPLICATION_NAME) + BATON_NAME_LEN)

typedef struct PeerConn
{
	PGconn	   *pg;				/* never NULL while the PeerConn lives */
	PGresult   *result;			/* of the last peer_query(), NULL none */
	char		sqlstate[6];	/* of the last failed peer_query(), "" if it did not
								 * come from the server */
	char		hint[256];		/* its hint, "" none */
	bool		owns_fd;		/* counted in the process's file descriptors */
	MemoryContext context;		/* holds this struct and nothing else */
	MemoryContextCallback callback;
} PeerConn;

/*
 * Begin to connect.  conninfo: any libpq connection string or URI; looking up a
 * host name blocks, as always in libpq.  Go on with PQconnectPoll() when the
 * socket is writable, and call PQsetnonblocking() once connected.
 *
 * Returns NULL, with the reason in err, if it cannot even begin.  Raises nothing
 * but out of memory.
 */
extern PeerConn *peer_start(const char *conninfo, char *err, size_t errlen);

/*
 * Connect, waiting at most timeout_ms milliseconds (<= 0: baton.connect_timeout).
 * Raises nothing but out of memory and what CHECK_FOR_INTERRUPTS() raises;
 * returns NULL, with a one-line reason in err, if it fails.
 */
extern PeerConn *peer_connect(const char *conninfo, int timeout_ms, char *err, size_t errlen);

/*
 * Run one statement and wait for its result, at most timeout_ms milliseconds
 * (<= 0: without limit).
 *
 * types: parameter types or NULL; values, lengths, formats: as in
 * PQsendQueryParams(), lengths and formats may be NULL for text.
 * result_format: 0 text, 1 binary.
 *
 * Returns the result (PGRES_TUPLES_OK or PGRES_COMMAND_OK), which belongs to the
 * connection and lives until the next peer_query() or peer_close(): the caller
 * does not clear it.  Returns NULL with a one-line reason in err (and sqlstate
 * and hint in the PeerConn) if the statement failed, the connection broke or
 * the time was up; in the last two cases the connection is of no more use.
 */
extern PGresult *peer_query(PeerConn *peer, int timeout_ms, const char *sql,
							int nparams, const Oid *types, const char *const *values,
							const int *lengths, const int *formats, int result_format,
							char *err, size_t errlen);

/* Is the connection still good for another peer_query()? */
extern bool peer_usable(const PeerConn *peer);

/* Close and free; NULL is allowed. */
extern void peer_close(PeerConn *peer);

/*
 * The application_name of a connection that this database's node makes to another
 * node: 'baton peer NAME', or 'baton peer' while it has no name.  out has
 * PEER_APPLICATION_NAME_LEN bytes.  Takes state_lock.
 */
extern void peer_application_name(char *out);

/* Append keyword=value as a conninfo has it, quoted where it must be. */
extern void peer_append_option(StringInfo out, const char *keyword, const char *value);

/*
 * libpq's messages end in newlines and may have several lines: copy one into
 * `out` as a single line.
 */
extern void peer_error_line(const char *message, char *out, size_t outlen);

#endif							/* BATON_PEER_CONN_H */
