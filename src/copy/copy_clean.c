/*
 * copy_clean.c - making the database empty again before a copy starts over, and
 * the directory that shows that one has started.
 *
 * <node directory>/copy is made, durably, before the first object is created in the
 * database, and goes when the control file says that the copy is complete.  Its
 * existence means: whatever is in this database came from an interrupted copy,
 * for join_group() has found it empty.
 */
#include "baton.h"

#include <sys/stat.h>
#include <unistd.h>

#include "apply/origin.h"
#include "capture/slot.h"
#include "common/file_perm.h"
#include "copy/copy_internal.h"
#include "copy/copy_objects.h"
#include "miscadmin.h"
#include "storage/fd.h"

/* objects dropped between two looks at what is left */
#define CLEAN_BATCH 1000

/* Drop all that one query finds; raises if something stays. */
static void
drop_objects(CopyContext *ctx, const char *query)
{
	char	   *last = NULL;

	for (;;)
	{
		CopyRows   *rows = copy_query(ctx->local, 0, "SELECT * FROM (%s) o(what, statement) "
									  "WHERE statement IS NOT NULL LIMIT %d", query, CLEAN_BATCH);

		if (rows->n_rows == 0)
			return;
		if (last != NULL && strcmp(last, rows->value[0][0]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("could not remove %s of an interrupted copy", last)));
		last = rows->value[0][0];
		for (int i = 0; i < rows->n_rows; i++)
			copy_query(ctx->local, 0, "%s", rows->value[i][1]);
	}
}

/* Schema public as initdb makes it on every version that baton runs on: what the
 * query gives is executed, then the statements. */
const char *const copy_public_grants_query =
"SELECT format('REVOKE ALL ON SCHEMA public FROM %s CASCADE', "
"  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END) "
"FROM (SELECT DISTINCT grantee FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public') g";
const char *const copy_public_statements[] = {
	"CREATE SCHEMA IF NOT EXISTS public",
	"ALTER SCHEMA public OWNER TO pg_database_owner",
	"GRANT ALL ON SCHEMA public TO pg_database_owner",
	"GRANT USAGE ON SCHEMA public TO PUBLIC",
	"COMMENT ON SCHEMA public IS 'standard public schema'",
	NULL
};

static void
reset_public_schema(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->local, 0, "%s", copy_public_grants_query);

	for (int i = 0; i < rows->n_rows; i++)
		copy_query(ctx->local, 0, "%s", rows->value[i][0]);
	for (int i = 0; copy_public_statements[i] != NULL; i++)
		copy_query(ctx->local, 0, "%s", copy_public_statements[i]);
}

/*
 * Remove what an interrupted copy, or this node's time before it, has left in the
 * server: sessions that restore, slot, origin.  ctx->local is connected.
 */
void
copy_clean_server(CopyContext *ctx)
{
	char		err[BATON_ERROR_LEN];

	copy_query(ctx->local, COPY_RPC_TIMEOUT,
			   "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
			   "WHERE datname = current_database() AND application_name = 'baton copy restore'");
	if (!capture_slot_drop(ctx->node, err, sizeof(err)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("could not drop the slot of an interrupted copy: %s", err)));
	apply_origin_drop(ctx->node);
}

/* The same with every object of the database, which an interrupted copy has made. */
void
copy_clean_database(CopyContext *ctx)
{
	copy_clean_server(ctx);
	for (int i = 0; copy_object_queries[i] != NULL; i++)
		drop_objects(ctx, copy_object_queries[i]);
	reset_public_schema(ctx);
}

/* ---- the directory ---- */

bool
copy_scratch_exists(CopyContext *ctx)
{
	struct stat st;

	return stat(ctx->directory, &st) == 0;
}

/* Make it, durably. */
void
copy_scratch_create(CopyContext *ctx)
{
	if (MakePGDirectory(ctx->directory) != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", ctx->directory)));
	fsync_fname(ctx->directory, true);
	fsync_fname(ctx->node->directory, true);
}

/* Remove what is in it: dumps and service files. */
void
copy_scratch_empty(CopyContext *ctx)
{
	if (!rmtree(ctx->directory, false))
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not empty directory \"%s\"", ctx->directory)));
}

void
copy_forget(NodeShared *node)
{
	char		path[MAXPGPATH + 8];
	struct stat st;

	snprintf(path, sizeof(path), "%s/copy", node->directory);
	if (stat(path, &st) != 0)
		return;
	if (!rmtree(path, true))
		ereport(LOG,
				(errmsg("could not remove directory \"%s\"", path)));
}
