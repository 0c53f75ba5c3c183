/*
 * touched_store.c - touched rows and what the primary has in their place, in
 * tables of schema baton:
 *
 *   baton.mending_table  one row per touched table; definition: a RELATION record
 *                        of its columns, all as text, with the key's marked
 *   baton.mending_row    kind 'd': a touched key, as a DELETE record; kind 'i': a
 *                        fetched row, as an INSERT record
 *   baton.mending        one row once the touched rows are out of their tables
 *
 * As records, rows are taken out and put in by the same code, with the same
 * rights, as what comes with the stream.  The tables are local to the node.
 */
#include "apply/touched.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Rows that are read at once. */
#define FETCH_ROWS 500

static void
run(const char *sql, int n, Oid *types, Datum *values, int expected)
{
	int			rc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc = SPI_execute_with_args(sql, n, types, values, NULL, false, 0);
	if (rc != expected)
		elog(ERROR, "\"%s\" failed: %s", sql, SPI_result_code_string(rc));
	SPI_finish();
}

static Datum
bytea_of(const char *bytes, size_t len)
{
	bytea	   *b = palloc(VARHDRSZ + len);

	SET_VARSIZE(b, VARHDRSZ + len);
	memcpy(VARDATA(b), bytes, len);
	return PointerGetDatum(b);
}

static void
check_buf(const StreamBuf *buf)
{
	if (buf->failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* ---- records of a touched table ---- */

static bool
is_key(const TouchedTable *table, AttrNumber attnum)
{
	for (int i = 0; i < table->n_keys; i++)
		if (table->attribute[i] == attnum)
			return true;
	return false;
}

static void
describe_column(const TouchedTable *table, Form_pg_attribute att, RecordColumn *column)
{
	int32		typmod = att->atttypmod;
	char	   *type = format_type_be(att->atttypid);
	Oid			nsp;
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(att->atttypid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %s", type);
	nsp = ((Form_pg_type) GETSTRUCT(tuple))->typnamespace;
	column->key = is_key(table, att->attnum);
	column->format = 't';
	strlcpy(column->name, NameStr(att->attname), sizeof(column->name));
	column->typid = getBaseTypeAndTypmod(att->atttypid, &typmod);
	column->typmod = typmod;
	strlcpy(column->typnsp, get_namespace_name(nsp), sizeof(column->typnsp));
	strlcpy(column->typname, NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), sizeof(column->typname));
	ReleaseSysCache(tuple);
}

/* The RELATION record of a touched table. */
static void
put_relation(StreamBuf *buf, const TouchedTable *table)
{
	Relation	rel = table_open(table->localoid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	RecordRelation rr = {0};

	rr.relid = table->number;
	strlcpy(rr.nspname, table->nspname, sizeof(rr.nspname));
	strlcpy(rr.relname, table->relname, sizeof(rr.relname));
	rr.replident = table->n_keys > 0 ? REPLICA_IDENTITY_INDEX : REPLICA_IDENTITY_NOTHING;
	rr.columns = palloc0(sizeof(RecordColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !att->attgenerated)
			describe_column(table, att, &rr.columns[rr.natts++]);
	}
	record_put_relation(buf, 1, 1, &rr);
	check_buf(buf);
	pfree(rr.columns);
	table_close(rel, NoLock);
}

int
touched_columns(TouchedTable *table, char ***names)
{
	Relation	rel = table_open(table->localoid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	int			n = 0;

	*names = palloc(sizeof(char *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && !att->attgenerated)
			(*names)[n++] = pstrdup(NameStr(att->attname));
	}
	table_close(rel, NoLock);
	return n;
}

static void
put_value(StreamBuf *buf, const char *value)
{
	if (value == NULL)
		record_put_null(buf);
	else
		record_put_value(buf, 't', value, strlen(value));
}

void
touched_put_insert(StreamBuf *buf, TouchedTable *table, int n, char **values)
{
	size_t		record = record_begin(buf, RECORD_INSERT, 1, 1);

	stream_buf_u32(buf, table->number);
	record_put_natts(buf, n);
	for (int i = 0; i < n; i++)
		put_value(buf, values[i]);
	record_end(buf, record);
	check_buf(buf);
}

/* A DELETE of the row with this key: its columns in the order of the table's. */
static void
put_delete(StreamBuf *buf, const TouchedTable *table, const Datum *key)
{
	size_t		record = record_begin(buf, RECORD_DELETE, 1, 1);
	int			last = 0;

	stream_buf_u32(buf, table->number);
	stream_buf_u8(buf, 'K');
	record_put_natts(buf, table->n_keys);
	for (int n = 0; n < table->n_keys; n++)
	{
		int			next = -1;
		Oid			output;
		bool		is_varlena;

		for (int i = 0; i < table->n_keys; i++)
			if (table->attribute[i] > last && (next < 0 || table->attribute[i] < table->attribute[next]))
				next = i;
		last = table->attribute[next];
		getTypeOutputInfo(table->type[next], &output, &is_varlena);
		put_value(buf, OidOutputFunctionCall(output, key[next]));
	}
	record_end(buf, record);
	check_buf(buf);
}

/* ---- storing ---- */

/* Store the table, or that it has become one that is touched whole. */
void
touched_store_table(TouchedTable *table)
{
	Oid			types[3] = {INT4OID, BYTEAOID, BOOLOID};
	Datum		values[3];
	StreamBuf	buf = {0};

	if (table->stored && table->stored_whole == table->whole)
		return;
	put_relation(&buf, table);
	values[0] = Int32GetDatum(table->number);
	values[1] = bytea_of(buf.data, buf.len);
	values[2] = BoolGetDatum(table->whole);
	stream_buf_free(&buf);
	run("INSERT INTO baton.mending_table (number, definition, whole) VALUES ($1, $2, $3) "
		"ON CONFLICT (number) DO UPDATE SET definition = excluded.definition, whole = excluded.whole",
		3, types, values, SPI_OK_INSERT);
	table->stored = true;
	table->stored_whole = table->whole;
}

static void
store_row(TouchedTable *table, char kind, const char *record, size_t len)
{
	Oid			types[3] = {INT4OID, CHAROID, BYTEAOID};
	Datum		values[3];

	values[0] = Int32GetDatum(table->number);
	values[1] = CharGetDatum(kind);
	values[2] = bytea_of(record, len);
	run("INSERT INTO baton.mending_row (number, kind, record) VALUES ($1, $2, $3)",
		3, types, values, SPI_OK_INSERT);
	pfree(DatumGetPointer(values[2]));
}

void
touched_store_key(TouchedTable *table, const Datum *key)
{
	StreamBuf	buf = {0};

	put_delete(&buf, table, key);
	store_row(table, 'd', buf.data, buf.len);
	stream_buf_free(&buf);
}

void
touched_store_row(TouchedTable *table, const char *record, size_t len)
{
	store_row(table, 'i', record, len);
}

void
touched_store_mark(const TouchedMark *mark)
{
	Oid			types[5] = {INT4OID, INT8OID, LSNOID, LSNOID, INT8OID};
	Datum		values[5];

	values[0] = Int32GetDatum(mark->source);
	values[1] = Int64GetDatum((int64) mark->term);
	values[2] = LSNGetDatum(mark->lsn);
	values[3] = LSNGetDatum(mark->until);
	values[4] = Int64GetDatum((int64) mark->attempt);
	run("DELETE FROM baton.mending", 0, NULL, NULL, SPI_OK_DELETE);
	run("INSERT INTO baton.mending (source, term, lsn, until, attempt) VALUES ($1, $2, $3, $4, $5)",
		5, types, values, SPI_OK_INSERT);
}

bool
touched_load_mark(TouchedMark *mark)
{
	bool		found;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT source, term, lsn, until, attempt FROM baton.mending", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read baton.mending");
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		mark->source = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		mark->term = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		mark->lsn = DatumGetLSN(SPI_getbinval(row, desc, 3, &isnull));
		mark->until = DatumGetLSN(SPI_getbinval(row, desc, 4, &isnull));
		mark->attempt = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	}
	SPI_finish();
	return found;
}

void
touched_forget_rows(void)
{
	run("DELETE FROM baton.mending_row WHERE kind = 'i'", 0, NULL, NULL, SPI_OK_DELETE);
}

void
touched_forget(void)
{
	run("DELETE FROM baton.mending_row", 0, NULL, NULL, SPI_OK_DELETE);
	run("DELETE FROM baton.mending_table", 0, NULL, NULL, SPI_OK_DELETE);
	run("DELETE FROM baton.mending", 0, NULL, NULL, SPI_OK_DELETE);
}

/* ---- reading ---- */

static Record
record_of(const bytea *b)
{
	StreamCursor c = {VARDATA_ANY(b), VARDATA_ANY(b) + VARSIZE_ANY_EXHDR(b), false};
	StreamError err = {0};
	Record		r;

	if (record_next(&c, &r, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a record in schema baton cannot be read: %s", err.message)));
	return r;
}

typedef void (*StoredRecord) (LocalTransaction *t, TouchedSet *set, const Record *r);

/*
 * Give each record of a query (record, whole) to fn.  Rights and memory are the
 * worker's own between two batches.
 */
static void
for_each(LocalTransaction *t, TouchedSet *set, const char *sql, StoredRecord fn)
{
	MemoryContext cxt = CurrentMemoryContext;
	Portal		portal;
	SPIPlanPtr	plan;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed for \"%s\"", sql);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	for (;;)
	{
		local_become_self(t);
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			SPITupleTable *table = SPI_tuptable;
			uint64		processed = SPI_processed;
			bool		isnull;
			Datum		d;
			bytea	   *b;
			Record		r;

			/* carrying a record out empties the memory of the one before */
			MemoryContextSwitchTo(t->cxt);
			d = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
			b = DatumGetByteaPP(d);
			r = record_of(b);

			CHECK_FOR_INTERRUPTS();
			fn(t, set, &r);
			SPI_tuptable = table;
			SPI_processed = processed;
			if ((Pointer) b != DatumGetPointer(d))
				pfree(b);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	MemoryContextSwitchTo(cxt);
}

/* Put a table into the set, under the number that it has in the store. */
static void
load_table(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	StreamCursor c = r->rest;
	uint32		number = stream_get_u32(&c);
	ApplyRelation *m;
	Relation	rel;
	TouchedTable *table;

	local_apply(t, r);
	m = relation_map_get(t->relations, number, t->source_txn);
	rel = relation_map_open(m, AccessShareLock);
	table = touched_table(set, rel);
	table->number = number;
	table->stored = true;
	set->n_tables = Max(set->n_tables, (int) number);
	table_close(rel, NoLock);
}

static void
load_whole_table(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	StreamCursor c = r->rest;
	ApplyRelation *m = relation_map_get(t->relations, stream_get_u32(&c), t->source_txn);
	TouchedTable *table = touched_find(set, m->localoid);

	touched_make_whole(table);
	table->stored_whole = true;
}

static void
load_key(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	TouchedChange change;

	touched_read_change(t, set, r, false, &change);
	if (change.table != NULL && change.readable)
		(void) touched_add(set, change.table, change.old_key);
	MemoryContextReset(t->row_cxt);
}

static void
carry_out(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	local_apply(t, r);
}

void
touched_load(LocalTransaction *t, TouchedSet *set)
{
	local_next_source(t);
	for_each(t, set, "SELECT definition FROM baton.mending_table ORDER BY number", load_table);
	for_each(t, set, "SELECT definition FROM baton.mending_table WHERE whole ORDER BY number",
			 load_whole_table);
	for_each(t, set, "SELECT record FROM baton.mending_row WHERE kind = 'd' ORDER BY id", load_key);
}

/* ---- out of the tables, and in again ---- */

static void
take_out_whole(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	StreamCursor c = r->rest;

	apply_empty_table(t, relation_map_get(t->relations, stream_get_u32(&c), t->source_txn));
}

/* Those of the stored set; a row that is not there is out already. */
void
touched_take_out(LocalTransaction *t, TouchedSet *set)
{
	local_next_source(t);
	for_each(t, set, "SELECT definition FROM baton.mending_table ORDER BY number", carry_out);
	for_each(t, set, "SELECT definition FROM baton.mending_table WHERE whole ORDER BY number",
			 take_out_whole);
	t->tolerant = true;
	for_each(t, set, "SELECT record FROM baton.mending_row r WHERE kind = 'd' AND NOT EXISTS ("
			 "SELECT FROM baton.mending_table w WHERE w.number = r.number AND w.whole) ORDER BY id",
			 carry_out);
	t->tolerant = false;
	local_become_self(t);
}

/* A table whose rows have ceased to be replicated since has none here. */
static void
empty_unreplicated(LocalTransaction *t, TouchedSet *set, const Record *r)
{
	StreamCursor c = r->rest;
	ApplyRelation *m = relation_map_get(t->relations, stream_get_u32(&c), t->source_txn);
	Oid			relid = RangeVarGetRelid(makeRangeVar(m->source.nspname, m->source.relname, -1),
										 NoLock, true);

	if (OidIsValid(relid) && level_of(relid) != LEVEL_ALL)
		apply_empty_table(t, m);
}

void
touched_put_back(LocalTransaction *t)
{
	local_next_source(t);
	for_each(t, NULL, "SELECT definition FROM baton.mending_table ORDER BY number", carry_out);
	for_each(t, NULL, "SELECT record FROM baton.mending_row WHERE kind = 'i' ORDER BY id", carry_out);
	apply_flush_inserts(t, NULL);
	for_each(t, NULL, "SELECT definition FROM baton.mending_table ORDER BY number", empty_unreplicated);
	local_become_self(t);
}

void
touched_fill(LocalTransaction *t)
{
	touched_put_back(t);
	touched_forget();
	t->written = true;
}
