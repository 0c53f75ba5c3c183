/*
 * copy_progress.c - how far the initial copy is.
 *
 * What concerns the copy as a whole lies in shared memory (node->copy); what
 * concerns a table lies in baton.copy_progress, which only the worker writes.
 * Both are shown by the view baton.stat_copy.  Bytes are those of the COPY that is
 * running, as pg_stat_progress_copy reports them; the total is the table's size on
 * the source, and so only about right.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "copy/copy_internal.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(baton_copy_state);

/* ---- the copy as a whole ---- */

void
copy_progress_phase(CopyContext *ctx, const char *phase)
{
	if (ctx->untold)
		return;
	SpinLockAcquire(&ctx->node->mutex);
	strlcpy(ctx->node->copy.phase, phase, sizeof(ctx->node->copy.phase));
	ctx->node->copy.phase_at = GetCurrentTimestamp();
	SpinLockRelease(&ctx->node->mutex);
	pgstat_report_activity(STATE_RUNNING, psprintf("initial copy: %s", phase));
}

void
copy_progress_begin(CopyContext *ctx)
{
	CopyShared *copy = &ctx->node->copy;

	ctx->attempt++;
	SpinLockAcquire(&ctx->node->mutex);
	copy->attempt = ctx->attempt;
	copy->started_at = GetCurrentTimestamp();
	copy->snapshot_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&ctx->node->mutex);
	copy_progress_phase(ctx, "connecting");
}

/* message NULL: the copy is complete. */
void
copy_progress_error(CopyContext *ctx, const char *message)
{
	if (ctx->untold)
		return;
	SpinLockAcquire(&ctx->node->mutex);
	strlcpy(ctx->node->copy.error, message ? message : "", sizeof(ctx->node->copy.error));
	SpinLockRelease(&ctx->node->mutex);
}

/* ---- tables ---- */

static void
begin_work(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_work(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Forget what an earlier attempt has written. */
void
copy_progress_reset(CopyContext *ctx)
{
	MemoryContext old = CurrentMemoryContext;

	begin_work();
	if (SPI_execute("DELETE FROM baton.copy_progress", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clear baton.copy_progress");
	end_work();
	MemoryContextSwitchTo(old);
}

/* Write the rows of the tables that have changed. */
void
copy_progress_write(CopyContext *ctx)
{
	static const char *const upsert =
		"INSERT INTO baton.copy_progress (table_name, bytes_total, bytes_done, phase) "
		"VALUES ($1, $2, $3, $4) ON CONFLICT (table_name) DO UPDATE "
		"SET bytes_total = $2, bytes_done = $3, phase = $4";
	Oid			types[4] = {TEXTOID, INT8OID, INT8OID, TEXTOID};
	MemoryContext old = CurrentMemoryContext;
	bool		any = false;

	for (int i = 0; i < ctx->n_tables && !any; i++)
		any = ctx->tables[i].changed;
	if (!any)
		return;
	begin_work();
	for (int i = 0; i < ctx->n_tables; i++)
	{
		CopyTable  *table = &ctx->tables[i];
		Datum		values[4];

		if (!table->changed)
			continue;
		values[0] = CStringGetTextDatum(table->name);
		values[1] = Int64GetDatum(table->bytes_total);
		values[2] = Int64GetDatum(table->bytes_done);
		values[3] = CStringGetTextDatum(table->phase);
		if (SPI_execute_with_args(upsert, 4, types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not write baton.copy_progress");
		table->changed = false;
	}
	end_work();
	MemoryContextSwitchTo(old);
}

static void
set_table(CopyTable *table, const char *phase, int64 bytes_done)
{
	if (strcmp(table->phase, phase) == 0 && table->bytes_done == bytes_done)
		return;
	table->phase = phase;
	table->bytes_done = bytes_done;
	table->changed = true;
}

/* Every table has reached this phase. */
void
copy_progress_all(CopyContext *ctx, const char *phase)
{
	for (int i = 0; i < ctx->n_tables; i++)
		set_table(&ctx->tables[i], phase,
				  strcmp(phase, "done") == 0 ? ctx->tables[i].bytes_total : ctx->tables[i].bytes_done);
	copy_progress_write(ctx);
}

static CopyTable *
table_by_name(CopyContext *ctx, const char *name, size_t len)
{
	for (int i = 0; i < ctx->n_tables; i++)
		if (strlen(ctx->tables[i].name) == len && memcmp(ctx->tables[i].name, name, len) == 0)
			return &ctx->tables[i];
	return NULL;
}

/* A line that ends in a quoted name behind `prefix`: the table, else NULL. */
static CopyTable *
table_of_line(CopyContext *ctx, const char *line, const char *prefix)
{
	const char *name = strstr(line, prefix);
	const char *end;

	if (name == NULL)
		return NULL;
	name += strlen(prefix);
	end = strrchr(name, '"');
	return end ? table_by_name(ctx, name, end - name) : NULL;
}

/*
 * Tables in phase `running` of which no COPY runs any more have got through it.  (One
 * that is just beginning is put back by the next look.)
 */
static void
mark_passed(CopyContext *ctx, const bool *seen, const char *running, const char *passed)
{
	for (int i = 0; i < ctx->n_tables; i++)
		if (!seen[i] && strcmp(ctx->tables[i].phase, running) == 0)
			set_table(&ctx->tables[i], passed, ctx->tables[i].bytes_done);
}

/* What pg_dump's sessions are doing on the source. */
static void
look_at_source(CopyContext *ctx)
{
	bool	   *seen = palloc0(sizeof(bool) * Max(ctx->n_tables, 1));
	CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
								  "SELECT p.relid, p.bytes_processed FROM pg_stat_progress_copy p "
								  "JOIN pg_stat_activity a USING (pid) "
								  "WHERE p.datname = current_database() "
								  "AND a.application_name = 'baton copy dump'");

	for (int r = 0; r < rows->n_rows; r++)
	{
		Oid			relid = rows->value[r][0] ? (Oid) strtoul(rows->value[r][0], NULL, 10) : InvalidOid;

		for (int i = 0; i < ctx->n_tables; i++)
			if (ctx->tables[i].relid == relid)
			{
				seen[i] = true;
				set_table(&ctx->tables[i], "dumping",
						  rows->value[r][1] ? strtoll(rows->value[r][1], NULL, 10) : 0);
			}
	}
	mark_passed(ctx, seen, "dumping", "dumped");
}

/* copy_child_run()'s watcher for pg_dump. */
void
copy_progress_dumping(CopyContext *ctx, const char *line)
{
	CopyTable  *table;

	if (line == NULL)
	{
		MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "baton copy progress",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(scratch);

		look_at_source(ctx);
		copy_progress_write(ctx);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(scratch);
		return;
	}
	table = table_of_line(ctx, line, "dumping contents of table \"");
	if (table != NULL)
		set_table(table, "dumping", 0);
}

/* What pg_restore's sessions are doing here. */
static void
look_at_target(CopyContext *ctx)
{
	bool	   *seen = palloc0(sizeof(bool) * Max(ctx->n_tables, 1));

	begin_work();
	if (SPI_execute("SELECT pg_catalog.format('%s.%s', n.nspname, c.relname), p.bytes_processed "
					"FROM pg_catalog.pg_stat_progress_copy p "
					"JOIN pg_catalog.pg_class c ON c.oid = p.relid "
					"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
					"WHERE p.datid = (SELECT oid FROM pg_catalog.pg_database "
					"WHERE datname = pg_catalog.current_database())", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_stat_progress_copy");
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 1);
		char	   *bytes = SPI_getvalue(SPI_tuptable->vals[r], SPI_tuptable->tupdesc, 2);
		CopyTable  *table = name ? table_by_name(ctx, name, strlen(name)) : NULL;

		if (table == NULL)
			continue;
		seen[table - ctx->tables] = true;
		set_table(table, "restoring", bytes ? strtoll(bytes, NULL, 10) : 0);
	}
	end_work();
	mark_passed(ctx, seen, "restoring", "done");
}

/* copy_child_run()'s watcher for pg_restore. */
void
copy_progress_restoring(CopyContext *ctx, const char *line)
{
	CopyTable  *table;

	if (line == NULL)
	{
		MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "baton copy progress",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(scratch);

		look_at_target(ctx);
		MemoryContextSwitchTo(scratch);
		copy_progress_write(ctx);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(scratch);
		return;
	}
	table = table_of_line(ctx, line, "processing data for table \"");
	if (table != NULL)
		set_table(table, "restoring", 0);
}

/* ---- SQL ---- */

/*
 * baton.copy_state(): one row about the initial copy of this node, all null if none
 * has run since the server's start.
 */
Datum
baton_copy_state(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[7];
	bool		nulls[7] = {false};
	NodeShared *node;
	CopyShared	copy = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	node = node_mine();
	if (node != NULL)
	{
		SpinLockAcquire(&node->mutex);
		copy = node->copy;
		SpinLockRelease(&node->mutex);
	}
	if (copy.started_at == 0)
	{
		memset(nulls, true, sizeof(nulls));
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
	}
	values[0] = CStringGetTextDatum(copy.phase);
	values[1] = CStringGetTextDatum(copy.source_name);
	nulls[1] = copy.source_name[0] == '\0';
	values[2] = Int32GetDatum(copy.attempt);
	values[3] = TimestampTzGetDatum(copy.started_at);
	values[4] = TimestampTzGetDatum(copy.phase_at);
	values[5] = LSNGetDatum(copy.snapshot_lsn);
	nulls[5] = copy.snapshot_lsn == InvalidXLogRecPtr;
	values[6] = CStringGetTextDatum(copy.error);
	nulls[6] = copy.error[0] == '\0';
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
