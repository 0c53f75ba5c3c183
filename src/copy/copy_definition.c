/*
 * copy_definition.c - what pg_dump says of some relations of this very database.
 *
 * It connects to the own server as baton's workers do.  Its files lie where PostgreSQL
 * keeps temporary ones, under names that it removes when it starts, should a crash
 * leave them behind.
 */
#include "baton.h"

#include <sys/stat.h>
#include <unistd.h>

#include "capture/local_conn.h"
#include "common/file_perm.h"
#include "common/file_utils.h"
#include "copy/copy_internal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/lsyscache.h"

#define TEMPORARY_DIRECTORY "base/" PG_TEMP_FILES_DIR

/* A relation as a pattern that matches nothing else. */
static char *
pattern(Oid relid)
{
	const char *parts[2] = {get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)};
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, "--table=");
	for (int i = 0; i < 2; i++)
	{
		appendStringInfoString(&s, i == 0 ? "\"" : ".\"");
		for (const char *p = parts[i]; *p != '\0'; p++)
		{
			if (*p == '"')
				appendStringInfoChar(&s, '"');
			appendStringInfoChar(&s, *p);
		}
		appendStringInfoChar(&s, '"');
	}
	return s.data;
}

static void
write_service(CopyContext *ctx)
{
	char		err[BATON_ERROR_LEN];
	StringInfoData file;

	ctx->local = local_connect(ctx->node->dbname, false, "baton definition", NULL, err, sizeof(err));
	if (ctx->local == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not connect to the own server: %s", err),
				 errhint("See the setting \"baton.local_conninfo\".")));
	initStringInfo(&file);
	copy_service_append(&file, "source", ctx->local, "baton definition",
						"-c statement_timeout=0 -c idle_session_timeout=0 "
						"-c idle_in_transaction_session_timeout=0");
	copy_write_private_file(ctx->services, file.data);
	copy_close(&ctx->local);
}

static void
no_progress(CopyContext *ctx, const char *line)
{
}

static void
run_dump(CopyContext *ctx, List *relids)
{
	char	  **argv = palloc(sizeof(char *) * (list_length(relids) + 8));
	int			n = 0;
	ListCell   *lc;

	argv[n++] = "pg_dump";
	argv[n++] = "--schema-only";
	argv[n++] = psprintf("--file=%s", ctx->dump);
	argv[n++] = DUMP_LOCK_TIMEOUT;
	argv[n++] = "--no-password";
	argv[n++] = "--dbname=service=source";
	foreach(lc, relids)
		argv[n++] = pattern(lfirst_oid(lc));
	argv[n] = NULL;
	copy_child_run(ctx, "pg_dump", argv, no_progress);
}

/* The commands.  psql's own, which pg_dump puts around them, are taken out. */
static char *
read_dump(const char *path)
{
	FILE	   *file = AllocateFile(path, "r");
	StringInfoData text;
	char		piece[8192];
	size_t		n;
	char	   *first;
	char	   *last;

	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
	initStringInfo(&text);
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		appendBinaryStringInfo(&text, piece, n);
	if (ferror(file))
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
	FreeFile(file);
	first = strstr(text.data, "\n\\restrict ");
	for (char *p = first; p != NULL && *++p != '\n' && *p != '\0';)
		*p = ' ';
	last = NULL;
	for (char *p = first ? strstr(first, "\n\\unrestrict ") : NULL; p != NULL; p = strstr(p + 1, "\n\\unrestrict "))
		last = p;
	for (char *p = last; p != NULL && *++p != '\n' && *p != '\0';)
		*p = ' ';
	return text.data;
}

char *
copy_definition(NodeShared *node, List *relids)
{
	CopyContext *ctx = palloc0(sizeof(CopyContext));
	char	   *text = NULL;

	ctx->node = node;
	ctx->child.fd = -1;
	if (MakePGDirectory(TEMPORARY_DIRECTORY) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", TEMPORARY_DIRECTORY)));
	snprintf(ctx->services, sizeof(ctx->services), "%s/" TEMPORARY_DIRECTORY "/%s_baton_%d.service",
			 DataDir, PG_TEMP_FILE_PREFIX, MyProcPid);
	snprintf(ctx->dump, sizeof(ctx->dump), "%s/" TEMPORARY_DIRECTORY "/%s_baton_%d.sql",
			 DataDir, PG_TEMP_FILE_PREFIX, MyProcPid);
	PG_TRY();
	{
		write_service(ctx);
		run_dump(ctx, relids);
		text = read_dump(ctx->dump);
	}
	PG_FINALLY();
	{
		copy_child_kill(ctx);
		copy_close(&ctx->local);
		(void) unlink(ctx->services);
		(void) unlink(ctx->dump);
	}
	PG_END_TRY();
	return text;
}
