/*
 * local_conn.h - the loopback connection: baton's workers talk to their own
 * server as its bootstrap superuser.
 */
#ifndef BATON_LOCAL_CONN_H
#define BATON_LOCAL_CONN_H

#include "postgres.h"

#include "libpq-fe.h"

/* How long local_connect() tries before it gives up, in milliseconds. */
#define LOCAL_CONNECT_TIMEOUT_MS	10000

/*
 * Connect to this server.
 *
 *   dbname         database
 *   replication    true: a walsender connection (replication=database)
 *   appname        application_name
 *   extra_options  more "-c name=value" options, or NULL
 *
 * Where to connect: baton.local_conninfo, or by default the first socket
 * directory (localhost if there is none), the server's own port, the bootstrap
 * superuser.  May be called inside a transaction or outside one.  Waits at most
 * LOCAL_CONNECT_TIMEOUT_MS, checking for interrupts.
 *
 * Returns a connection that the caller closes with PQfinish(), or NULL with the
 * reason in err (at most errlen bytes, one line).  A raised interrupt closes the
 * connection before it leaves.
 */
extern PGconn *local_connect(const char *dbname, bool replication, const char *appname,
							 const char *extra_options, char *err, size_t errlen);

/*
 * Run one statement, or several in one string, and wait for the end, at most
 * timeout_ms milliseconds (0: no limit), checking for interrupts.  On timeout the
 * statement is cancelled and the server's error becomes the result.
 *
 * Returns the last result, which the caller clears, or NULL if the connection was
 * lost or did not even answer the cancel; err then says why.  An error of the
 * statement is a result too, with its message in err.
 */
extern PGresult *local_exec(PGconn *conn, const char *sql, int timeout_ms,
							char *err, size_t errlen);

/*
 * The two halves of local_exec(), for a statement sent with PQsendQuery().
 *
 * local_wait_result: wait until a result can be had, at most timeout_ms (0: no
 * limit).  Returns 1, 0 at timeout, -1 if the connection was lost.
 * local_collect: wait for the end, cancel at timeout_ms; results as local_exec().
 */
extern int	local_wait_result(PGconn *conn, int timeout_ms);
extern PGresult *local_collect(PGconn *conn, int timeout_ms, char *err, size_t errlen);

/* Copy libpq's message into err as one line. */
extern void local_error_line(const char *message, char *err, size_t errlen);

#endif							/* BATON_LOCAL_CONN_H */
