/*
 * mend.c - takes the touched rows out of their tables and fetches the primary's
 * version of them, for the applier to put in when it has come to the place of
 * the stream that they were fetched at.
 *
 * The snapshot is one of the primary's, bound to a place L of its WAL as that of
 * an initial copy is (copy_snapshot.c), with the touched tables locked before.  What
 * it holds is: all of earlier terms, and the primary's commits that begin before L.
 */
#include "reconcile/reconcile_internal.h"

#include "apply/origin.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"

/* Keys in one statement, and rows that are fetched at once. */
#define FETCH_KEYS		200
#define FETCH_ROWS		"1000"
#define PRIMARY_POLL_MS	50

/* ---- the primary ---- */

/*
 * Is there a primary whose TERM record is on a majority's disks, and does this log
 * follow it?  Fills in where it is.
 */
static bool
primary_is_settled(Reconcile *rec)
{
	NodeShared *node = rec->node;
	CopyContext *copy = &rec->copy;
	StreamTail	tail = node_log_tail(node);
	Member	   *leader;
	uint64		committed_term;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	leader = node->leader != node->self ? membership_find(&node->membership, node->leader) : NULL;
	copy->term = node->term;
	copy->source_id = node->leader;
	if (leader != NULL)
		strlcpy(copy->conninfo, leader->conninfo, sizeof(copy->conninfo));
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	committed_term = node->committed_term;
	SpinLockRelease(&node->mutex);
	/* 0: it has not been told yet what is committed */
	return leader != NULL && tail.last_term == copy->term &&
		(committed_term == copy->term || committed_term == 0);
}

static void
find_primary(Reconcile *rec)
{
	CopyRows   *rows;

	reconcile_phase(rec, "waiting for the primary to fetch rows from");
	while (!primary_is_settled(rec))
		copy_sleep(PRIMARY_POLL_MS);
	reconcile_phase(rec, "fetching the primary's version of the touched rows");
	rec->copy.source = copy_connect(rec->copy.conninfo, NULL, false);
	rows = copy_query(rec->copy.source, COPY_RPC_TIMEOUT, "SELECT state, term FROM baton_rpc.describe()");
	if (rows->n_rows != 1 || rows->value[0][0] == NULL || strcmp(rows->value[0][0], "primary") != 0 ||
		rows->value[0][1] == NULL || (uint64) strtoll(rows->value[0][1], NULL, 10) != rec->copy.term)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary of term " UINT64_FORMAT " does not lead any more", rec->copy.term)));
}

/* ---- the snapshot ---- */

static char *
qualified_name(PGconn *conn, const TouchedTable *table)
{
	return psprintf("%s.%s", copy_identifier(conn, table->nspname), copy_identifier(conn, table->relname));
}

/* The touched tables, as a condition for copy_take_snapshot(). */
static char *
table_filter(Reconcile *rec)
{
	PGconn	   *conn = rec->copy.source;
	StringInfoData s;
	HASH_SEQ_STATUS seq;
	TouchedTable *table;

	initStringInfo(&s);
	appendStringInfoString(&s, "AND (n.nspname, c.relname) IN (");
	hash_seq_init(&seq, rec->touched->tables);
	while ((table = hash_seq_search(&seq)) != NULL)
		appendStringInfo(&s, "%s(%s, %s)", s.data[s.len - 1] == '(' ? "" : ", ",
						 copy_literal(conn, table->nspname), copy_literal(conn, table->relname));
	appendStringInfoChar(&s, ')');
	return s.data;
}

static void
take_snapshot(Reconcile *rec)
{
	CopyContext *copy = &rec->copy;

	copy->table_filter = table_filter(rec);
	copy_take_snapshot(copy);
	if (copy->n_tables < hash_get_num_entries(rec->touched->tables))
		ereport(ERROR,
				(errcode(ERRCODE_BATON_NEEDS_COPY),
				 errmsg("a table that diverged transactions have changed does not exist on the primary")));
	copy_source_covered(copy);
	copy_query(copy->keeper, COPY_RPC_TIMEOUT,
			   "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'; "
			   "SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; "
			   "SET LOCAL lc_monetary = 'C'; SET LOCAL row_security = off; "
			   "SET LOCAL xmloption = 'content'");
}

/* ---- fetching ---- */

static char *
select_list(Reconcile *rec, TouchedTable *table, int *n)
{
	PGconn	   *conn = rec->copy.keeper;
	char	  **names;
	StringInfoData s;

	initStringInfo(&s);
	*n = touched_columns(table, &names);
	for (int i = 0; i < *n; i++)
		appendStringInfo(&s, "%s%s", i > 0 ? ", " : "", copy_identifier(conn, names[i]));
	return s.data;
}

/* Raised as what only a copy can mend, if the primary's table is another one. */
static CopyRows *
fetch(Reconcile *rec, const char *sql)
{
	CopyRows   *rows = copy_try(rec->copy.keeper, 0, sql);

	if (rows->error == NULL)
		return rows;
	ereport(ERROR,
			(errcode(strncmp(rows->sqlstate, "42", 2) == 0 && strcmp(rows->sqlstate, "42501") != 0 ?
					 ERRCODE_BATON_NEEDS_COPY : ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not fetch rows from the primary: %s", rows->error)));
	return NULL;				/* keep compiler quiet */
}

static void
store_rows(TouchedTable *table, const CopyRows *rows, int n)
{
	StreamBuf	buf = {0};

	for (int i = 0; i < rows->n_rows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		stream_buf_reset(&buf);
		touched_put_insert(&buf, table, n, rows->value[i]);
		touched_store_row(table, buf.data, buf.len);
	}
	stream_buf_free(&buf);
}

static void
fetch_whole(Reconcile *rec, TouchedTable *table)
{
	int			n;
	char	   *columns = select_list(rec, table, &n);
	int			got;

	fetch(rec, psprintf("DECLARE baton_rows NO SCROLL CURSOR FOR SELECT %s FROM ONLY %s", columns,
						qualified_name(rec->copy.keeper, table)));
	do
	{
		MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "baton fetched rows",
													ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(batch);
		CopyRows   *rows = fetch(rec, "FETCH " FETCH_ROWS " FROM baton_rows");

		store_rows(table, rows, n);
		got = rows->n_rows;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(batch);
	} while (got > 0);
	fetch(rec, "CLOSE baton_rows");
}

static void
append_key(Reconcile *rec, StringInfo s, const TouchedTable *table, const Datum *key)
{
	appendStringInfoString(s, s->data[s->len - 1] == '(' ? "(" : ", (");
	for (int i = 0; i < table->n_keys; i++)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(table->type[i], &output, &is_varlena);
		appendStringInfo(s, "%s%s", i > 0 ? ", " : "",
						 copy_literal(rec->copy.keeper, OidOutputFunctionCall(output, key[i])));
	}
	appendStringInfoChar(s, ')');
}

static void
begin_keys(Reconcile *rec, StringInfo s, TouchedTable *table, const char *columns)
{
	PGconn	   *conn = rec->copy.keeper;

	resetStringInfo(s);
	appendStringInfo(s, "SELECT %s FROM ONLY %s WHERE (", columns, qualified_name(conn, table));
	for (int i = 0; i < table->n_keys; i++)
		appendStringInfo(s, "%s%s", i > 0 ? ", " : "",
						 copy_identifier(conn, get_attname(table->localoid, table->attribute[i], false)));
	appendStringInfoString(s, ") IN (");
}

static void
fetch_keys(Reconcile *rec, TouchedTable *table)
{
	int			n;
	char	   *columns = select_list(rec, table, &n);
	StringInfoData s;
	HASH_SEQ_STATUS seq;
	TouchedChain *chain;
	int			asked = 0;

	initStringInfo(&s);
	hash_seq_init(&seq, table->keys);
	while ((chain = hash_seq_search(&seq)) != NULL)
		for (TouchedKey *key = chain->first; key != NULL; key = key->next)
		{
			if (asked == 0)
				begin_keys(rec, &s, table, columns);
			append_key(rec, &s, table, key->values);
			if (++asked < FETCH_KEYS)
				continue;
			appendStringInfoChar(&s, ')');
			store_rows(table, fetch(rec, s.data), n);
			asked = 0;
		}
	if (asked > 0)
	{
		appendStringInfoChar(&s, ')');
		store_rows(table, fetch(rec, s.data), n);
	}
}

static void
fetch_all(Reconcile *rec)
{
	HASH_SEQ_STATUS seq;
	TouchedTable *table;

	touched_forget_rows();
	hash_seq_init(&seq, rec->touched->tables);
	while ((table = hash_seq_search(&seq)) != NULL)
	{
		if (table->whole)
			fetch_whole(rec, table);
		else
			fetch_keys(rec, table);
	}
}

/* ---- one transaction ---- */

/* What the elected stream has after all was not rolled back. */
static void
forget_elected(Reconcile *rec)
{
	Oid			types[2] = {LSNOID, INT8OID};
	ListCell   *lc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	foreach(lc, rec->elected)
	{
		RecordCommit *commit = lfirst(lc);
		Datum		values[2];

		values[0] = LSNGetDatum(commit->commit_lsn);
		values[1] = Int64GetDatum((int64) rec->order.attempt);
		if (SPI_execute_with_args("DELETE FROM baton.rolled_back WHERE commit_lsn = $1 AND attempt = $2",
								  2, types, values, NULL, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not delete from baton.rolled_back");
	}
	SPI_finish();
}

static void
take_out(Reconcile *rec, ReconcileRequest *request)
{
	TouchedMark mark = {rec->copy.source_id, rec->copy.term, rec->copy.copy_lsn, rec->copy.covered,
	rec->order.attempt};

	reconcile_phase(rec, "taking the touched rows out");
	touched_take_out(&rec->local, rec->touched);
	touched_store_mark(&mark);
	forget_elected(rec);
	request->origin_number = rec->order.origin_number + 1;
	(void) apply_origin_make(rec->node->dboid, request->origin_number);
	request->until = mark.until;
}

void
reconcile_mend(Reconcile *rec)
{
	ReconcileRequest request = {RECONCILE_REQUEST_MENDED};
	StreamPos	base;

	find_primary(rec);
	SpinLockAcquire(&rec->node->mutex);
	base = rec->cut = rec->node->applied;
	SpinLockRelease(&rec->node->mutex);
	local_begin(&rec->local);
	touched_load(&rec->local, rec->touched);
	local_commit(&rec->local, 0, 0);
	MemoryContextSwitchTo(rec->cxt);
	rec->copy.start = rec->copy.covered = base;
	if (hash_get_num_entries(rec->touched->tables) > 0)
		take_snapshot(rec);
	copy_log_wait_covered(&rec->copy);

	local_begin(&rec->local);
	reconcile_close_touched(rec, base, rec->copy.covered);
	MemoryContextSwitchTo(rec->cxt);
	fetch_all(rec);
	copy_source_release(&rec->copy);
	take_out(rec, &request);
	local_commit(&rec->local, 0, 0);
	XLogFlush(XactLastCommitEnd);
	reconcile_request(rec, &request);
}
