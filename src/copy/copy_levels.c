/*
 * copy_levels.c - an initial copy and the replication levels of tables.
 *
 * The levels are those of the copy's snapshot, so the copy holds what a replica has that
 * was there all the time: of tables at level schema the definition, of those at level
 * none nothing.  pg_dump takes patterns for both.  What it dumps all the same, and the
 * replica cannot have (foreign keys to rows that are not copied, statistics of tables
 * that are left out), is taken out of pg_restore's list of contents.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "common/string.h"
#include "storage/fd.h"
#include "utils/builtins.h"

/* The level of a table as a number: 1 none, 2 schema, 3 all. */
#define LEVEL(oid) \
	"coalesce((SELECT pg_catalog.array_position('{none,schema}'::text[], l.label) " \
	"  FROM pg_catalog.pg_seclabel l WHERE l.objoid = " oid " AND l.objsubid = 0 " \
	"  AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.provider = 'baton'), 3)"

/* Relations at a low level, and sequences of those that are left out; the option that
 * says so to pg_dump. */
static const char *const relations_query =
	"SELECT CASE WHEN t.level = 1 THEN '--exclude-table=' ELSE '--exclude-table-data=' END "
	"  || pg_catalog.concat('\"', pg_catalog.replace(n.nspname, '\"', '\"\"'), '\".\"', "
	"    pg_catalog.replace(t.relname, '\"', '\"\"'), '\"') "
	"FROM (SELECT c.oid, c.relname, c.relnamespace, " LEVEL("c.oid") " AS level "
	"    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm') "
	"  UNION ALL SELECT s.oid, s.relname, s.relnamespace, 1 FROM pg_catalog.pg_class s "
	"    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass "
	"      AND d.objid = s.oid AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') "
	"    WHERE s.relkind = 'S' AND " LEVEL("d.refobjid") " = 1) t "
	"  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace "
	"WHERE t.level < 3";

/* Objects that replicas don't have although the dump holds them: catalog and oid as in
 * the list of contents, and how the entry of a comment on it looks. */
static const char *const objects_query =
	"SELECT f.tableoid, f.oid, pg_catalog.format(' COMMENT %s CONSTRAINT %I ON %I ', "
	"    n.nspname, f.conname, c.relname) "
	"FROM pg_catalog.pg_constraint f JOIN pg_catalog.pg_class c ON c.oid = f.conrelid "
	"  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
	"WHERE f.contype = 'f' AND " LEVEL("f.conrelid") " > least(" LEVEL("f.confrelid") ", "
	"  (SELECT min(" LEVEL("p.relid") ") FROM pg_catalog.pg_partition_tree(f.confrelid) p)) "
	"UNION ALL SELECT s.tableoid, s.oid, pg_catalog.format(' COMMENT %s STATISTICS %I ', n.nspname, s.stxname) "
	"FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace "
	"WHERE " LEVEL("s.stxrelid") " = 1";

/*
 * Read the levels under the snapshot of ctx->keeper, which is open.
 */
void
copy_levels_read(CopyContext *ctx)
{
	ctx->low_levels = copy_query(ctx->keeper, 0, "%s", relations_query);
	ctx->left_out = copy_query(ctx->keeper, 0, "%s", objects_query);
}

/* Is the line about the object of a row? */
static bool
is_about(const char *line, char **row)
{
	int			dump_id;
	unsigned int catalog;
	unsigned int oid;

	if (sscanf(line, "%d; %u %u ", &dump_id, &catalog, &oid) != 3)
		return false;
	if (catalog == strtoul(row[0], NULL, 10) && oid == strtoul(row[1], NULL, 10))
		return true;
	return strstr(line, row[2]) != NULL;
}

static bool
is_left_out(CopyContext *ctx, const char *line)
{
	for (int i = 0; i < ctx->left_out->n_rows; i++)
		if (is_about(line, ctx->left_out->value[i]))
			return true;
	return false;
}

static void
filter_list(CopyContext *ctx, const char *from, const char *to)
{
	FILE	   *file = AllocateFile(from, "r");
	StringInfoData line;
	StringInfoData kept;

	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open file \"%s\": %m", from)));
	initStringInfo(&line);
	initStringInfo(&kept);
	while (pg_get_line_buf(file, &line))
		if (!is_left_out(ctx, line.data))
			appendStringInfoString(&kept, line.data);
	if (ferror(file))
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not read file \"%s\": %m", from)));
	FreeFile(file);
	copy_write_private_file(to, kept.data);
}

static void
no_progress(CopyContext *ctx, const char *line)
{
}

/*
 * The list of what of ctx->dump is to be restored, as an option of pg_restore; NULL for
 * all of it.
 */
char *
copy_levels_list_option(CopyContext *ctx)
{
	char	   *whole = psprintf("%s-contents", ctx->dump);
	char	   *list = psprintf("%s-list", ctx->dump);
	char	   *argv[] = {"pg_restore", "--list", psprintf("--file=%s", whole), ctx->dump, NULL};

	if (ctx->left_out->n_rows == 0)
		return NULL;
	copy_child_run(ctx, "pg_restore", argv, no_progress);
	filter_list(ctx, whole, list);
	return psprintf("--use-list=%s", list);
}
