/*
 * copy_snapshot.c - tables, locks and snapshot of the copy, bound to one place in
 * the source's WAL.
 *
 *	 locker   BEGIN; ACCESS SHARE on every table            (1)
 *	 slot     CREATE_REPLICATION_SLOT ... SNAPSHOT 'export' (2)  -> L, snapshot
 *	 keeper   BEGIN; SET TRANSACTION SNAPSHOT; export again (3)
 *	          wait for the commit log                       (4)
 *	 locker   are the tables still those?                   (5)
 *	 slot     closed                                        (6)
 *
 * (1) before (2): a rewriting ALTER TABLE or a TRUNCATE that commits behind the
 * snapshot leaves a table that is empty for it, so no such command may come
 * between the snapshot and pg_dump's own locks.  Tables that appear between (1)
 * and (2) are locked in (5), where the file that each table had for the snapshot
 * is compared with the one it has under the lock.
 *
 * (2) L is the slot's consistent point, the end of the running-xacts record at which
 * decoding became consistent.  The exported snapshot sees exactly the transactions
 * whose commit record was read by then (snapbuild.c: before CONSISTENT, every
 * commit that it reads goes into the snapshot, and SnapBuildInitialSnapshot()
 * takes all others for running).  No commit record begins inside that record, so:
 * visible if and only if the commit record begins before L.
 *
 * (4) The snapshot is made from WAL, where a commit shows up a moment before the
 * commit log and the procarray know of it.  A reader in that moment would take
 * the transaction for aborted, and even say so in hint bits.  So nothing of the
 * tables is read until every transaction that the snapshot sees has left the
 * procarray.
 *
 * Making a slot waits for running transactions, and one of them may wait for one
 * of our locks, with others queued behind it.  Nobody would notice such a circle;
 * so the locks are given back at once when somebody waits for them, and in any
 * case after SLOT_TIMEOUT_MS, and all is tried again.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#define SLOT_TIMEOUT_MS		30000
#define SLOT_POLL_MS		1000
#define LOCK_TIMEOUT		"5s"
#define RETRY_PAUSE_MS		2000
#define COMMIT_LOG_TIMEOUT_MS 60000
#define LOCKS_PER_STATEMENT	50

/* What pg_dump will dump as tables; it locks the same ones.  Tables that replicas don't
 * have are not among them (copy_levels.c). */
#define TABLES_QUERY \
	"SELECT c.oid, c.relfilenode, n.nspname, c.relname " \
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
	"WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' " \
	"  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'baton', 'baton_rpc') " \
	"  AND n.nspname !~ '^pg_(toast|temp_)' " \
	"  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_seclabel l WHERE l.objoid = c.oid " \
	"    AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objsubid = 0 " \
	"    AND l.provider = 'baton' AND l.label = 'none') %s " \
	"ORDER BY c.oid"

static CopyTable *
read_tables(CopyContext *ctx, PGconn *conn, int *n_tables)
{
	CopyRows   *rows = copy_query(conn, 0, TABLES_QUERY, ctx->table_filter ? ctx->table_filter : "");
	CopyTable  *tables = palloc0(sizeof(CopyTable) * Max(rows->n_rows, 1));

	for (int i = 0; i < rows->n_rows; i++)
	{
		char	  **v = rows->value[i];

		tables[i].relid = (Oid) strtoul(v[0], NULL, 10);
		tables[i].relfilenode = (Oid) strtoul(v[1], NULL, 10);
		tables[i].nspname = v[2];
		tables[i].relname = v[3];
		tables[i].name = psprintf("%s.%s", v[2], v[3]);
		tables[i].phase = "waiting";
		tables[i].changed = true;
	}
	*n_tables = rows->n_rows;
	return tables;
}

static const CopyTable *
find_table(const CopyTable *tables, int n_tables, Oid relid)
{
	int			low = 0;
	int			high = n_tables - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (tables[middle].relid == relid)
			return &tables[middle];
		if (tables[middle].relid < relid)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/* Is this what a table that went away, or a lock that did not come, looks like? */
static bool
is_passing(const CopyRows *rows)
{
	return strcmp(rows->sqlstate, "55P03") == 0 ||	/* lock_not_available */
		strcmp(rows->sqlstate, "42P01") == 0 || /* undefined_table */
		strcmp(rows->sqlstate, "3F000") == 0 || /* invalid_schema_name */
		strcmp(rows->sqlstate, "40P01") == 0;	/* deadlock_detected */
}

/*
 * Lock those of `tables` that are not in `locked`.  Returns false, the locker's
 * transaction failed, if that did not work out this time.
 */
static bool
lock_tables(CopyContext *ctx, const CopyTable *tables, int n_tables,
			const CopyTable *locked, int n_locked)
{
	StringInfoData sql;
	int			n = 0;

	initStringInfo(&sql);
	for (int i = 0; i < n_tables; i++)
	{
		if (find_table(locked, n_locked, tables[i].relid) == NULL)
			appendStringInfo(&sql, "%s ONLY %s.%s", n++ == 0 ? "LOCK TABLE" : ",",
							 copy_identifier(ctx->locker, tables[i].nspname),
							 copy_identifier(ctx->locker, tables[i].relname));
		if (n == LOCKS_PER_STATEMENT || (n > 0 && i == n_tables - 1))
		{
			CopyRows   *rows;

			appendStringInfoString(&sql, " IN ACCESS SHARE MODE");
			rows = copy_try(ctx->locker, 0, sql.data);
			if (rows->error != NULL && is_passing(rows))
				return false;
			if (rows->error != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("could not lock the tables of the copy's source: %s", rows->error),
						 strcmp(rows->sqlstate, "42501") != 0 ? 0 :
						 errhint("Make the role in the source's conninfo a member of pg_read_all_data.")));
			resetStringInfo(&sql);
			n = 0;
		}
	}
	return true;
}

/* (1) */
static bool
lock_all(CopyContext *ctx, CopyTable **tables, int *n_tables)
{
	copy_query(ctx->locker, COPY_RPC_TIMEOUT, "BEGIN");
	copy_query(ctx->locker, COPY_RPC_TIMEOUT, "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'");
	*tables = read_tables(ctx, ctx->locker, n_tables);
	return lock_tables(ctx, *tables, *n_tables, NULL, 0);
}

static bool
somebody_waits_for_us(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->locker, COPY_RPC_TIMEOUT,
								  "SELECT 1 FROM pg_catalog.pg_locks "
								  "WHERE NOT granted AND pg_catalog.pg_backend_pid() = "
								  "ANY (pg_catalog.pg_blocking_pids(pid)) LIMIT 1");

	return rows->n_rows > 0;
}

/* (2).  Returns false if it was given up. */
static bool
create_slot(CopyContext *ctx)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SLOT_TIMEOUT_MS);
	CopyRows   *rows;

	ctx->slot = copy_connect(ctx->conninfo, ctx->source, true);
	copy_send(ctx->slot, psprintf("CREATE_REPLICATION_SLOT \"baton_copy_%u_%08x\" TEMPORARY "
								  "LOGICAL pgoutput (SNAPSHOT 'export')",
								  ctx->node->dboid, (uint32) GetCurrentTimestamp()));

	while (!copy_wait_result(ctx->slot, SLOT_POLL_MS))
	{
		if (GetCurrentTimestamp() < give_up && !somebody_waits_for_us(ctx))
			continue;
		/* a walsender that waits for a transaction does not see its client go */
		copy_query(ctx->locker, COPY_RPC_TIMEOUT,
				   "SELECT pg_catalog.pg_terminate_backend(%d)", PQbackendPID(ctx->slot));
		copy_close(&ctx->slot);
		return false;
	}
	rows = copy_receive(ctx->slot);
	if (rows->error != NULL || rows->n_rows != 1 || rows->n_columns < 3 || !rows->value[0][2])
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not take a snapshot on the copy's source: %s",
						rows->error ? rows->error : "unexpected answer"),
				 errhint("A replication slot and a walsender must be free there.")));
	ctx->copy_lsn = copy_parse_lsn(rows->value[0][1]);
	strlcpy(ctx->first_snapshot, rows->value[0][2], sizeof(ctx->first_snapshot));
	return true;
}

/* (3) */
static void
keep_snapshot(CopyContext *ctx)
{
	CopyRows   *rows;

	copy_query(ctx->keeper, COPY_RPC_TIMEOUT,
			   "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
	copy_query(ctx->keeper, COPY_RPC_TIMEOUT, "SET TRANSACTION SNAPSHOT %s",
			   copy_literal(ctx->keeper, ctx->first_snapshot));
	rows = copy_query(ctx->keeper, COPY_RPC_TIMEOUT,
					  "SELECT pg_catalog.pg_export_snapshot()");
	strlcpy(ctx->snapshot, rows->value[0][0], sizeof(ctx->snapshot));
}

/* (4) */
static void
wait_for_commit_log(CopyContext *ctx)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), COMMIT_LOG_TIMEOUT_MS);
	CopyRows   *rows = copy_query(ctx->keeper, COPY_RPC_TIMEOUT,
								  "SELECT pg_catalog.pg_current_snapshot()");
	char	   *seen = rows->value[0][0];

	/* ask with a fresh snapshot each time: the locker is READ COMMITTED */
	for (;;)
	{
		rows = copy_query(ctx->locker, COPY_RPC_TIMEOUT,
						  "SELECT 1 FROM pg_catalog.pg_snapshot_xip(pg_catalog.pg_current_snapshot()) x "
						  "WHERE pg_catalog.pg_visible_in_snapshot(x, '%s') LIMIT 1", seen);
		if (rows->n_rows == 0)
			return;
		if (GetCurrentTimestamp() > give_up)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a committed transaction of the copy's source does not come to its end"),
					 errdetail("It may be waiting for a synchronous standby.")));
		copy_sleep(5);
	}
}

/*
 * (5)  Returns false if a table that the snapshot sees has been rewritten or
 * dropped before its lock was taken.
 */
static bool
tables_unchanged(CopyContext *ctx, const CopyTable *locked, int n_locked)
{
	CopyTable  *fresh;
	int			n_fresh;

	ctx->tables = read_tables(ctx, ctx->keeper, &ctx->n_tables);
	if (!lock_tables(ctx, ctx->tables, ctx->n_tables, locked, n_locked))
		return false;
	fresh = read_tables(ctx, ctx->locker, &n_fresh);
	for (int i = 0; i < ctx->n_tables; i++)
	{
		const CopyTable *now = find_table(fresh, n_fresh, ctx->tables[i].relid);

		if (now == NULL || now->relfilenode != ctx->tables[i].relfilenode)
			return false;
	}
	return true;
}

/* Sizes for the progress view, now that looking at a table waits for nobody. */
static void
read_sizes(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->locker, 0,
								  "SELECT relation, pg_catalog.pg_table_size(relation) "
								  "FROM pg_catalog.pg_locks "
								  "WHERE locktype = 'relation' AND pid = pg_catalog.pg_backend_pid()");

	for (int i = 0; i < rows->n_rows; i++)
	{
		Oid			relid = (Oid) strtoul(rows->value[i][0], NULL, 10);
		CopyTable  *table = (CopyTable *) find_table(ctx->tables, ctx->n_tables, relid);

		if (table != NULL && rows->value[i][1] != NULL)
			table->bytes_total = strtoll(rows->value[i][1], NULL, 10);
	}
}

/* One attempt at all of it; false: to be tried again. */
static bool
try_snapshot(CopyContext *ctx)
{
	CopyTable  *locked;
	int			n_locked;

	copy_progress_phase(ctx, "locking tables");
	if (!lock_all(ctx, &locked, &n_locked))
		return false;
	copy_progress_phase(ctx, "waiting for running transactions");
	if (!create_slot(ctx))
		return false;
	keep_snapshot(ctx);
	wait_for_commit_log(ctx);
	return tables_unchanged(ctx, locked, n_locked);
}

static void
roll_back(PGconn *conn)
{
	if (PQtransactionStatus(conn) != PQTRANS_IDLE)
		copy_query(conn, COPY_RPC_TIMEOUT, "ROLLBACK");
}

/* Say which transaction of the source has been running longest. */
static void
name_obstacle(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
								  "SELECT format('%%s, running since %%s', who, since) FROM ("
								  "  SELECT format('process %%s', pid), xact_start FROM pg_stat_activity "
								  "    WHERE backend_xid IS NOT NULL "
								  "  UNION ALL SELECT format('prepared transaction %%L', gid), prepared "
								  "    FROM pg_prepared_xacts) t(who, since) "
								  "ORDER BY since LIMIT 1");
	char	   *message = "transactions of the source were in the way of the snapshot, trying again";

	if (rows->n_rows > 0)
		message = psprintf("%s; the oldest now: %s", message, rows->value[0][0]);
	copy_progress_error(ctx, message);
	if (!ctx->untold)
		ereport(LOG, (errmsg("initial copy: %s", message)));
}

/*
 * Lock the source's tables and take the snapshot.  Fills in tables, snapshot and
 * copy_lsn; locker and keeper hold locks and snapshot until they are closed.
 * Repeats as long as something is in the way; raises errors of the connections.
 */
void
copy_take_snapshot(CopyContext *ctx)
{
	ctx->locker = copy_connect(ctx->conninfo, ctx->source, false);
	ctx->keeper = copy_connect(ctx->conninfo, ctx->source, false);

	while (!try_snapshot(ctx))
	{
		copy_close(&ctx->slot);
		roll_back(ctx->keeper);
		roll_back(ctx->locker);
		name_obstacle(ctx);
		copy_sleep(RETRY_PAUSE_MS);
	}
	copy_progress_error(ctx, NULL);

	/* (6): the temporary slot would hold WAL and catalog rows for the whole copy */
	copy_close(&ctx->slot);
	if (ctx->untold)
		return;
	read_sizes(ctx);

	SpinLockAcquire(&ctx->node->mutex);
	ctx->node->copy.snapshot_lsn = ctx->copy_lsn;
	SpinLockRelease(&ctx->node->mutex);
}
