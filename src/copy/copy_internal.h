/*
 * copy_internal.h - what the files of copy/ share among themselves.
 */
#ifndef BATON_COPY_INTERNAL_H
#define BATON_COPY_INTERNAL_H

#include "baton.h"

#include "copy/copy.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"

/* A table of the source that is being copied. */
typedef struct CopyTable
{
	Oid			relid;			/* on the source */
	Oid			relfilenode;	/* there, when its lock was taken */
	char	   *nspname;
	char	   *relname;
	char	   *name;			/* nspname.relname as pg_dump prints it, unquoted */
	int64		bytes_total;	/* size of heap and TOAST on the source: an estimate */
	int64		bytes_done;		/* of the phase it is in */
	const char *phase;			/* waiting, dumping, dumped, restoring, done */
	bool		changed;		/* since it was last written to baton.copy_progress */
} CopyTable;

/* A child process (pg_dump, pg_restore) while it runs. */
typedef struct CopyChild
{
	pid_t		pid;			/* leader of its own process group, 0 none */
	int			fd;				/* read end of its stderr, -1 closed */
	StringInfoData line;		/* unfinished last line */
	StringInfoData errors;		/* what it complained of, shortened */
} CopyChild;

typedef struct CopyContext
{
	NodeShared *node;
	char		directory[MAXPGPATH];	/* <node directory>/copy, absolute */
	char		dump[MAXPGPATH];		/* this attempt's dump in it */
	char		services[MAXPGPATH];	/* this attempt's service file in it */
	bool		arbiter;		/* there are no tables: the log is all */
	MemoryContext attempt_context;		/* everything of one attempt */
	int			attempt;
	const char *table_filter;	/* only these tables: a condition on pg_class c and pg_namespace n; NULL all */
	bool		untold;			/* not to be shown as a copy: it is only some rows */
	bool		replaces;		/* the database holds data that stays until the new is complete */

	/* connections; NULL when closed */
	char		conninfo[BATON_CONNINFO_LEN];	/* of the source */
	PGconn	   *source;			/* first one to the source: remote calls, questions */
	PGconn	   *locker;			/* holds ACCESS SHARE on the tables */
	PGconn	   *slot;			/* temporary slot, which exports the first snapshot */
	PGconn	   *keeper;			/* exports the snapshot that pg_dump uses */
	PGconn	   *local;			/* loopback */

	/* where the copy begins */
	uint16		source_id;
	uint64		term;			/* the source leads it */
	StreamPos	start;			/* P0 */
	StreamPos	last_start;		/* frame before it */
	uint64		last_term;
	StreamTerms terms;			/* of what lies before P0 */
	XLogRecPtr	copy_lsn;		/* L */
	char		first_snapshot[64];
	char		snapshot[64];	/* the one for pg_dump */
	StreamPos	covered;		/* the log up to here has all commits before L */
	bool		skip_tablespaces;	/* some of the source's do not exist here */

	struct CopyRows *pending_indexes;	/* what pg_dump leaves out, and the source is to have */

	/* replication levels (copy_levels.c) */
	struct CopyRows *low_levels;	/* options of pg_dump: what it is to leave out */
	struct CopyRows *left_out;	/* what is in the dump, and not to be restored */

	int			n_tables;
	CopyTable  *tables;			/* ordered by relid */

	CopyChild	child;
} CopyContext;

/* ---- copy_libpq.c ---- */

/* A result in palloc'd memory, so that no error can leak it. */
typedef struct CopyRows
{
	int			n_rows;
	int			n_columns;
	char	 ***value;			/* [row][column], NULL for null */
	char		sqlstate[6];	/* "" success */
	char	   *error;			/* one line, NULL success */
} CopyRows;

extern PGconn *copy_connect(const char *conninfo, PGconn *same_server, bool replication);
extern CopyRows *copy_try(PGconn *conn, int timeout_ms, const char *sql);
extern CopyRows *copy_query(PGconn *conn, int timeout_ms, const char *fmt,...) pg_attribute_printf(3, 4);
extern void copy_send(PGconn *conn, const char *sql);
extern bool copy_wait_result(PGconn *conn, long timeout_ms);
extern CopyRows *copy_receive(PGconn *conn);
extern void copy_close(PGconn **conn);
extern void copy_close_all(CopyContext *ctx);
extern char *copy_literal(PGconn *conn, const char *value);
extern char *copy_identifier(PGconn *conn, const char *value);
extern XLogRecPtr copy_parse_lsn(const char *text);

/* ---- copy_handshake.c ---- */

extern void copy_request(NodeShared *node, CopyRequest *request);
extern void copy_request_settle(NodeShared *node);

/* ---- copy_clean.c ---- */

extern void copy_clean_server(CopyContext *ctx);
extern void copy_clean_database(CopyContext *ctx);
extern const char *const copy_public_grants_query;
extern const char *const copy_public_statements[];
extern bool copy_scratch_exists(CopyContext *ctx);
extern void copy_scratch_create(CopyContext *ctx);
extern void copy_scratch_empty(CopyContext *ctx);

/* ---- copy_log.c ---- */

extern void copy_log_start(CopyContext *ctx);
extern void copy_log_stop(CopyContext *ctx);
extern void copy_log_wait_covered(CopyContext *ctx);

/* ---- copy_source.c ---- */

extern void copy_source_connect(CopyContext *ctx);
extern void copy_source_start(CopyContext *ctx);
extern void copy_source_release(CopyContext *ctx);
extern void copy_source_covered(CopyContext *ctx);

/* ---- copy_snapshot.c ---- */

extern void copy_take_snapshot(CopyContext *ctx);

/* ---- copy_indexes.c ---- */

/* Which indexes the source has still to build; and build them here. */
extern void copy_indexes_read(CopyContext *ctx);
extern void copy_indexes_build(CopyContext *ctx);

/* ---- copy_identity.c ---- */

/* The tables that have got REPLICA IDENTITY FULL from baton: read at the source, under
 * the copy's snapshot, and written down here when they are restored. */
extern CopyRows *copy_identity_read(CopyContext *ctx);
extern void copy_identity_write(CopyContext *ctx, const CopyRows *rows);

/* ---- copy_levels.c ---- */

extern void copy_levels_read(CopyContext *ctx);
extern char *copy_levels_list_option(CopyContext *ctx);

/* ---- copy_roles.c ---- */

extern void copy_roles(CopyContext *ctx);
extern void copy_check_tablespaces(CopyContext *ctx);

/* ---- copy_child.c ---- */

/* called for each line that the child prints, and with NULL about twice a second */
typedef void (*CopyChildWatcher) (CopyContext *ctx, const char *line);

extern char *copy_child_program(const char *program);
extern void copy_child_run(CopyContext *ctx, const char *program, char *const *argv,
						   CopyChildWatcher watcher);
extern void copy_child_kill(CopyContext *ctx);

/* ---- copy_dump.c ---- */

/* Locks that somebody else keeps from pg_dump: the attempt makes way for them. */
#define DUMP_LOCK_TIMEOUT	"--lock-wait-timeout=10s"
/* Add [name] to a service file: the server that conn has reached, its role and password. */
extern void copy_service_append(StringInfo file, const char *name, PGconn *conn,
								const char *appname, const char *options);
extern void copy_write_private_file(const char *path, const char *contents);
extern void copy_service_write(CopyContext *ctx);
extern void copy_dump(CopyContext *ctx);
extern void copy_restore(CopyContext *ctx);

/* ---- copy_replace.c ---- */

extern void copy_replace(CopyContext *ctx);

/* ---- copy_progress.c ---- */

extern void copy_progress_phase(CopyContext *ctx, const char *phase);
extern void copy_progress_begin(CopyContext *ctx);
extern void copy_progress_error(CopyContext *ctx, const char *message);
extern void copy_progress_reset(CopyContext *ctx);
extern void copy_progress_write(CopyContext *ctx);
extern void copy_progress_dumping(CopyContext *ctx, const char *line);
extern void copy_progress_restoring(CopyContext *ctx, const char *line);
extern void copy_progress_all(CopyContext *ctx, const char *phase);

/* sleep, interruptible; returns at once when the latch is set */
extern void copy_sleep(long ms);

#define COPY_RPC_TIMEOUT	30000	/* ms, for questions to the source */

#endif							/* BATON_COPY_INTERNAL_H */
