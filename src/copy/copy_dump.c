/*
 * copy_dump.c - the two programs that carry the data, and how they reach the
 * servers.
 *
 * Connection parameters, passwords among them, go through a service file that
 * only this user can read: a command line can be seen by everybody.  They are
 * those of the worker's own two connections, host and port of the server that was
 * in fact reached included.
 */
#include "baton.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy/copy_internal.h"
#include "storage/fd.h"

/* libpq reads service files line by line */
#define MAX_SERVICE_LINE	1000

static void
append_setting(StringInfo file, const char *key, const char *value)
{
	size_t		len = strlen(value);

	if (strchr(value, '\n') != NULL || strlen(key) + len > MAX_SERVICE_LINE ||
		(len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t')))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connection parameter \"%s\" cannot be handed to pg_dump", key),
				 errdetail("It is longer than %d bytes, has several lines, or ends with a space.",
						   MAX_SERVICE_LINE)));
	appendStringInfo(file, "%s=%s\n", key, value);
}

/* Parameters that are set below, or mean nothing to one plain connection. */
static bool
is_left_out(const char *key)
{
	static const char *const left_out[] = {
		"service", "host", "hostaddr", "port", "dbname", "application_name",
		"fallback_application_name", "options", "replication", "target_session_attrs",
		"client_encoding", "load_balance_hosts", NULL
	};

	for (int i = 0; left_out[i] != NULL; i++)
		if (strcmp(key, left_out[i]) == 0)
			return true;
	return false;
}

void
copy_service_append(StringInfo file, const char *name, PGconn *conn, const char *appname,
					const char *options)
{
	PQconninfoOption *parameters = PQconninfo(conn);

	if (parameters == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	PG_TRY();
	{
		appendStringInfo(file, "[%s]\n", name);
		for (PQconninfoOption *p = parameters; p->keyword != NULL; p++)
			if (p->val != NULL && p->val[0] != '\0' && !is_left_out(p->keyword))
				append_setting(file, p->keyword, p->val);
		append_setting(file, "host", PQhost(conn));
		/* sockets have no address; with one, the name serves TLS only */
		if (PQhost(conn)[0] != '/' && PQhostaddr(conn) && PQhostaddr(conn)[0] != '\0')
			append_setting(file, "hostaddr", PQhostaddr(conn));
		append_setting(file, "port", PQport(conn));
		append_setting(file, "dbname", PQdb(conn));
		append_setting(file, "application_name", appname);
		append_setting(file, "options", options);
	}
	PG_FINALLY();
	{
		PQconninfoFree(parameters);
	}
	PG_END_TRY();
}

/* A new file that only this user can read. */
void
copy_write_private_file(const char *path, const char *contents)
{
	int			fd = OpenTransientFilePerm(path, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY,
										   S_IRUSR | S_IWUSR);
	ssize_t		len = strlen(contents);

	if (fd < 0 || write(fd, contents, len) != len ||
		CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", path)));
}

/*
 * Write the service file: [source] and [target].  Both connections are open.
 */
void
copy_service_write(CopyContext *ctx)
{
	StringInfoData file;

	initStringInfo(&file);
	copy_service_append(&file, "source", ctx->source, "baton copy dump",
						"-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 "
						"-c idle_in_transaction_session_timeout=0");
	copy_service_append(&file, "target", ctx->local, "baton copy restore",
						psprintf("-c baton.session_token=%s -c session_replication_role=replica "
							"-c synchronous_commit=off -c statement_timeout=0 -c lock_timeout=0 "
							"-c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 "
							"-c default_transaction_read_only=off -c log_statement=none "
							"-c log_min_duration_statement=-1",
							ctx->node->session_token));
	copy_write_private_file(ctx->services, file.data);
	pfree(file.data);
}

/*
 * Dump the source under ctx->snapshot into ctx->dump.  Data of unlogged tables stays
 * behind, as on a physical standby; so do rows of tables, and tables, that replicas
 * don't have (copy_levels.c); subscriptions would draw the same data twice.
 *
 * The jobs of a parallel dump take their locks without waiting, and fail when
 * somebody queues for an exclusive lock on their table at that moment; a dump with
 * one job has all its locks from the start.  So every second attempt uses one.
 */
void
copy_dump(CopyContext *ctx)
{
	char	  **argv = palloc(sizeof(char *) * (ctx->low_levels->n_rows + 20));
	int			n = 0;
	int			jobs = ctx->attempt % 2 == 0 ? 1 : baton_copy_jobs;

	copy_progress_phase(ctx, "dumping");
	argv[n++] = "pg_dump";
	argv[n++] = "--format=directory";
	argv[n++] = "--compress=1";
	argv[n++] = psprintf("--jobs=%d", jobs);
	argv[n++] = psprintf("--snapshot=%s", ctx->snapshot);
	argv[n++] = psprintf("--file=%s", ctx->dump);
	argv[n++] = "--no-subscriptions";
	argv[n++] = "--no-unlogged-table-data";
	for (int i = 0; i < ctx->low_levels->n_rows; i++)
		argv[n++] = ctx->low_levels->value[i][0];
	argv[n++] = DUMP_LOCK_TIMEOUT;
	argv[n++] = "--verbose";
	argv[n++] = "--no-password";
	argv[n++] = "--dbname=service=source";
	argv[n] = NULL;
	copy_child_run(ctx, "pg_dump", argv, copy_progress_dumping);
	copy_progress_all(ctx, "dumped");
}

/* Restore ctx->dump into this database. */
void
copy_restore(CopyContext *ctx)
{
	char	   *argv[20];
	int			n = 0;
	char	   *list;

	copy_progress_phase(ctx, "restoring");
	list = copy_levels_list_option(ctx);
	argv[n++] = "pg_restore";
	argv[n++] = "--format=directory";
	argv[n++] = psprintf("--jobs=%d", baton_copy_jobs);
	argv[n++] = "--exit-on-error";
	if (list != NULL)
		argv[n++] = list;
	if (ctx->skip_tablespaces)
		argv[n++] = "--no-tablespaces";
	argv[n++] = "--verbose";
	argv[n++] = "--no-password";
	argv[n++] = "--dbname=service=target";
	argv[n++] = ctx->dump;
	argv[n] = NULL;
	copy_child_run(ctx, "pg_restore", argv, copy_progress_restoring);
	copy_progress_all(ctx, "done");
}
