/*
 * rolled_back.c - rows of baton.rolled_back: what a diverged transaction did, as
 * jsonb.
 *
 * A record says all that is needed: a value in native form has a type that is the
 * same on every server, and any other came as text.  So the table's definition
 * here does not matter, and no code of users runs.
 */
#include "reconcile/reconcile_internal.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#define COLUMNS 13

/* A value in native form as JSON, by to_jsonb() of its type. */
static char *
native_json(const RecordColumn *col, const RecordValue *value)
{
	ApplyColumn column = {0};
	FmgrInfo	flinfo;
	Datum		d;

	get_typlenbyval(col->typid, &column.len, &column.byval);
	d = apply_value(&column, value, col->name);
	fmgr_info(F_TO_JSONB, &flinfo);
	flinfo.fn_expr = (Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
										   list_make1(makeNullConst(col->typid, -1, InvalidOid)),
										   InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	d = FunctionCall1(&flinfo, d);
	return JsonbToCString(NULL, &DatumGetJsonbP(d)->root, VARSIZE_ANY(DatumGetPointer(d)));
}

static void
put_json(StringInfo json, const RecordColumn *col, const RecordValue *value)
{
	appendStringInfoString(json, json->len > 1 ? "," : "");
	escape_json(json, col->name);
	appendStringInfoChar(json, ':');
	if (value->kind == 'n')
		appendStringInfoString(json, "null");
	else if (value->kind == 'b')
		appendStringInfoString(json, native_json(col, value));
	else
		escape_json(json, pnstrdup(value->data, value->len));
}

/* The row as jsonb, or its key alone; without what the record does not say. */
static Datum
row_json(const ApplyRelation *m, const RecordValue *values, bool key_only)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < m->source.natts; i++)
		if (values[i].kind != 'u' && (!key_only || m->source.columns[i].key))
			put_json(&json, &m->source.columns[i], &values[i]);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

char *
reconcile_node_name(Reconcile *rec)
{
	NodeShared *node = rec->node;
	Member	   *self;
	char	   *name;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	self = membership_find(&node->membership, node->self);
	name = pstrdup(self ? self->name : "");
	LWLockRelease(&node->state_lock);
	return name;
}

/* The columns that say which transaction it is. */
static void
transaction_columns(Reconcile *rec, const DivergedTxn *txn, Datum *values, char *nulls)
{
	NodeShared *node = rec->node;
	Member	   *self;
	Member	   *source;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	self = membership_find(&node->membership, node->self);
	source = membership_find(&node->membership, txn->commit.source);
	values[1] = CStringGetTextDatum(self ? self->name : "");
	values[2] = CStringGetTextDatum(source ? source->name : psprintf("%u", txn->commit.source));
	LWLockRelease(&node->state_lock);
	memset(nulls, ' ', COLUMNS);
	values[0] = Int64GetDatum((int64) rec->order.attempt);
	values[3] = Int64GetDatum((int64) txn->term);
	values[4] = Int64GetDatum(txn->xid);
	values[5] = LSNGetDatum(txn->commit.commit_lsn);
	values[6] = LSNGetDatum(txn->pos);
	values[7] = TimestampTzGetDatum(txn->commit.commit_time);
	if (txn->pos == 0)
		nulls[3] = nulls[6] = 'n';
	nulls[8] = nulls[9] = nulls[11] = nulls[12] = 'n';
	values[8] = values[9] = values[11] = values[12] = (Datum) 0;
}

static void
insert_row(Datum *values, const char *nulls)
{
	Oid			types[COLUMNS] = {INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, LSNOID, LSNOID,
	TIMESTAMPTZOID, TEXTOID, JSONBOID, TEXTOID, JSONBOID, JSONBOID};

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("INSERT INTO baton.rolled_back (attempt, node_name, source_node, term, xid, "
							  "commit_lsn, commit_position, commit_time, \"table\", key, operation, "
							  "old_row, new_row) "
							  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
							  COLUMNS, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert into baton.rolled_back");
	SPI_finish();
}

static Datum
table_name(const ApplyRelation *m)
{
	return CStringGetTextDatum(quote_qualified_identifier(m->source.nspname, m->source.relname));
}

static void
put_truncated(Reconcile *rec, const Record *r, Datum *values, char *nulls)
{
	LocalTransaction *t = &rec->local;
	StreamCursor c = r->rest;
	uint32		n;

	(void) stream_get_u8(&c);
	n = stream_get_u32(&c);
	for (uint32 i = 0; i < n && !c.failed; i++)
	{
		values[8] = table_name(relation_map_get(t->relations, stream_get_u32(&c), t->source_txn));
		nulls[8] = ' ';
		insert_row(values, nulls);
	}
}

static void
put_row(Reconcile *rec, const Record *r, Datum *values, char *nulls)
{
	LocalTransaction *t = &rec->local;
	StreamCursor c = r->rest;
	ApplyRelation *m = relation_map_get(t->relations, stream_get_u32(&c), t->source_txn);
	char		kind = apply_read_values(m, r, t->old_values, t->new_values);
	bool		full = m->source.replident == REPLICA_IDENTITY_FULL;

	values[8] = table_name(m);
	nulls[8] = ' ';
	if (!full && m->n_key_columns > 0)
	{
		values[9] = row_json(m, kind == 'N' ? t->new_values : t->old_values, true);
		nulls[9] = ' ';
	}
	if (r->type != RECORD_INSERT && (full || m->n_key_columns > 0))
	{
		/* an UPDATE that leaves the key alone says no more of the old row */
		values[11] = row_json(m, kind == 'N' ? t->new_values : t->old_values, kind != 'O');
		nulls[11] = ' ';
	}
	if (r->type != RECORD_DELETE)
	{
		values[12] = row_json(m, t->new_values, false);
		nulls[12] = ' ';
	}
	insert_row(values, nulls);
}

void
reconcile_put_rolled_back(Reconcile *rec, DivergedTxn *txn, const Record *r)
{
	Datum		values[COLUMNS];
	char		nulls[COLUMNS];

	transaction_columns(rec, txn, values, nulls);
	values[10] = CStringGetTextDatum(record_type_name(r->type));
	if (r->type == RECORD_TRUNCATE)
		put_truncated(rec, r, values, nulls);
	else
		put_row(rec, r, values, nulls);
}

void
reconcile_put_empty(Reconcile *rec, DivergedTxn *txn)
{
	Datum		values[COLUMNS];
	char		nulls[COLUMNS];

	transaction_columns(rec, txn, values, nulls);
	values[10] = CStringGetTextDatum(record_type_name(RECORD_MESSAGE));
	insert_row(values, nulls);
}
