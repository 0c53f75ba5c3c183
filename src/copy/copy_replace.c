/*
 * copy_replace.c - puts a complete dump in the place of the data that the database
 * holds, in one transaction: whoever reads sees the old data, or waits, or sees
 * the new, and whatever fails leaves the old.
 *
 *	 begin file   BEGIN; drop every object that is not baton's; schema public as new
 *	 pg_restore   --single-transaction, as a script, which ends with COMMIT
 *	 end file     ROLLBACK; did it commit?
 *
 * One psql runs the three, the second from a pipe.  A pg_restore that fails halfway
 * never writes its COMMIT, and what there is of the transaction is rolled back.
 * psql cannot tell that from success by itself: so a setting is made inside the
 * transaction, which only a COMMIT makes last, and the end file looks for it.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "copy/copy_objects.h"

#define REPLACED "baton_copy.replaced"

static char *
begin_script(void)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s,
						   "SET client_min_messages = error;\n"
						   "SET search_path = pg_catalog;\n"
						   "BEGIN;\n"
						   "SET " REPLACED " = 'yes';\n");
	for (int i = 0; copy_object_queries[i] != NULL; i++)
		appendStringInfo(&s, "SELECT statement FROM (%s) o(what, statement) WHERE statement IS NOT NULL\n\\gexec\n",
						 copy_object_queries[i]);
	appendStringInfo(&s, "%s\n\\gexec\n", copy_public_grants_query);
	for (int i = 0; copy_public_statements[i] != NULL; i++)
		appendStringInfo(&s, "%s;\n", copy_public_statements[i]);
	return s.data;
}

static char *
end_script(void)
{
	return "ROLLBACK;\n"
		"SELECT CASE current_setting('" REPLACED "', true) WHEN 'yes' THEN '' "
		"ELSE 'DO $$ BEGIN RAISE EXCEPTION ''pg_restore has not come to its end''; END $$' END\n"
		"\\gexec\n";
}

/* One word for the shell. */
static char *
quoted(const char *word)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoChar(&s, '\'');
	for (const char *p = word; *p != '\0'; p++)
	{
		if (*p == '\'')
			appendStringInfoString(&s, "'\\''");
		else
			appendStringInfoChar(&s, *p);
	}
	appendStringInfoChar(&s, '\'');
	return s.data;
}

/*
 * Replace what this database holds by ctx->dump.  Raises
 * ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, with nothing changed, if that fails.
 */
void
copy_replace(CopyContext *ctx)
{
	char	   *begin = psprintf("%s-begin.sql", ctx->dump);
	char	   *end = psprintf("%s-end.sql", ctx->dump);
	char	   *argv[4] = {"sh", "-c", NULL, NULL};
	char	   *list;

	copy_progress_phase(ctx, "replacing the old data");
	list = copy_levels_list_option(ctx);
	copy_write_private_file(begin, begin_script());
	copy_write_private_file(end, end_script());
	argv[2] = psprintf("%s --format=directory --single-transaction --verbose %s %s --file=- %s | "
					   "%s -X -q -v ON_ERROR_STOP=1 --no-password -o /dev/null -f %s -f - -f %s service=target",
					   quoted(copy_child_program("pg_restore")),
					   ctx->skip_tablespaces ? "--no-tablespaces" : "",
					   list ? quoted(list) : "",
					   quoted(ctx->dump),
					   quoted(copy_child_program("psql")), quoted(begin), quoted(end));
	copy_child_run(ctx, "/bin/sh", argv, copy_progress_restoring);
	copy_progress_all(ctx, "done");
}
