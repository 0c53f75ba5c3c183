/*
 * lenient.c - rows of the stream, carried out on tables that are not what the stream
 * expects.
 *
 * That is so on a node that a person makes primary by force before its diverged
 * commits were mended (reconcile/alone.c): whoever has the other versions of their
 * rows is lost, so there is nothing better to be had than the tables here and the
 * stream that was received.  The stream wins, row by row, for what it holds somebody
 * may have been told is committed:
 *
 *   INSERT  of a row whose key is there replaces that row
 *   UPDATE  of a row that is not there inserts it; if the stream does not give all of
 *           it, because a long value is unchanged, that is noted
 *   DELETE  of a row that is not there does nothing
 *   any     other row that is in its way, by a unique or exclusion constraint, is
 *           taken out and noted
 *
 * Rows that the stream says nothing of stay as they are.  Noted is in
 * baton.rolled_back, in the same transaction, with all that is known of the row.
 */
#include "apply/row.h"

#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* ---- what is noted ---- */

/* The row as jsonb, under the rights of the table's owner. */
static Datum
row_jsonb(OpenRelation *o, TupleTableSlot *slot)
{
	Oid			type = RelationGetForm(o->rel)->reltype;
	Datum		row = ExecFetchSlotHeapTupleDatum(slot);
	FmgrInfo	flinfo;

	fmgr_info(F_TO_JSONB, &flinfo);
	flinfo.fn_expr = (Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeNullConst(type, -1, InvalidOid)),
										   InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	return FunctionCall1(&flinfo, row);
}

/*
 * A row of baton.rolled_back: what became of a row of the table.  It carries the
 * number of the latest attempt to mend.
 */
static void
note(LocalTransaction *t, OpenRelation *o, const char *operation, TupleTableSlot *slot, bool is_old)
{
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID};
	Datum		values[5] = {0};
	char		nulls[5] = {' ', ' ', ' ', 'n', 'n'};

	values[3 + !is_old] = row_jsonb(o, slot);
	nulls[3 + !is_old] = ' ';
	values[0] = CStringGetTextDatum(t->lenient->node_name);
	values[1] = CStringGetTextDatum(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(o->rel)),
																RelationGetRelationName(o->rel)));
	values[2] = CStringGetTextDatum(operation);
	local_become_self(t);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("INSERT INTO baton.rolled_back (attempt, node_name, source_node, xid, commit_lsn, "
							  "commit_time, \"table\", operation, old_row, new_row) "
							  "SELECT coalesce(pg_catalog.max(attempt), 0), $1, $1, 0, '0/0', "
							  "pg_catalog.clock_timestamp(), $2, $3, $4, $5 FROM baton.rolled_back",
							  5, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not insert into baton.rolled_back");
	SPI_finish();
	local_become_owner(t, o->map->owner);
	t->written = true;
}

uint32
apply_lenient_noted(void)
{
	bool		isnull;
	uint32		n;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT count(*)::int4 FROM baton.rolled_back WHERE operation IN ('TAKEN OUT', 'NOT WHOLE') AND "
					"attempt = (SELECT pg_catalog.max(attempt) FROM baton.rolled_back)", true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read baton.rolled_back");
	n = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return n;
}

/* ---- rows that are in the way ---- */

/* The indexes that can refuse a row at once. */
static List *
immediate_constraints(OpenRelation *o)
{
	List	   *oids = NIL;

	for (int i = 0; i < o->rri->ri_NumIndices; i++)
	{
		Relation	index = o->rri->ri_IndexRelationDescs[i];
		IndexInfo  *info = o->rri->ri_IndexRelationInfo[i];

		if ((!info->ii_Unique && !info->ii_ExclusionOps) || !info->ii_ReadyForInserts ||
			!index->rd_index->indimmediate)
			continue;
		if (info->ii_Unique && info->ii_UniqueProcs == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(o->estate->es_query_cxt);

			BuildSpeculativeIndexInfo(index, info);
			MemoryContextSwitchTo(old);
		}
		oids = lappend_oid(oids, RelationGetRelid(index));
	}
	return oids;
}

/* Take out whatever keeps the row in o->fresh from going in. */
static void
make_way(LocalTransaction *t, OpenRelation *o)
{
	List	   *indexes = immediate_constraints(o);
	ItemPointerData tid;

	while (indexes != NIL)
	{
		local_make_visible(t);
		if (baton_check_index_constraints(o->rri, o->fresh, o->estate, &tid, indexes))
			break;
		if (!table_tuple_fetch_row_version(o->rel, &tid, SnapshotAny, o->found))
			continue;
		note(t, o, "TAKEN OUT", o->found, true);
		o->estate->es_output_cid = GetCurrentCommandId(true);
		(void) row_delete_found(o);
		t->written = true;
	}
}

/* Put o->fresh in, in place of the row found if `replaces`. */
static void
put(LocalTransaction *t, OpenRelation *o, bool replaces)
{
	ExecMaterializeSlot(o->fresh);
	if (replaces)
	{
		o->estate->es_output_cid = GetCurrentCommandId(true);
		while (!row_delete_found(o))
		{
			local_make_visible(t);
			if (!find_row(o))
				break;
		}
		t->written = true;
	}
	row_complete(o, o->fresh, CMD_INSERT);
	make_way(t, o);
	local_make_visible(t);
	o->estate->es_output_cid = GetCurrentCommandId(true);
	if (o->triggers)
	{
		AfterTriggerBeginQuery();
		ExecSimpleRelationInsert(o->rri, o->estate, o->fresh);
		AfterTriggerEndQuery(o->estate);
	}
	else
	{
		table_tuple_insert(o->rel, o->fresh, o->estate->es_output_cid, 0, NULL);
		row_insert_index_entries(o, o->fresh);
	}
	t->written = true;
}

/* ---- records ---- */

/* Makes nulls of values that the stream does not give; false if there were any. */
static bool
complete(const ApplyRelation *m, RecordValue *values)
{
	bool		whole = true;

	for (int i = 0; i < m->source.natts; i++)
		if (values[i].kind == 'u')
		{
			values[i].kind = 'n';
			whole = false;
		}
	return whole;
}

static bool
find(LocalTransaction *t, OpenRelation *o, char kind, const RecordValue *values)
{
	row_fill_key(o, kind, values);
	local_make_visible(t);
	o->estate->es_output_cid = GetCurrentCommandId(true);
	return find_row(o);
}

static void
insert(LocalTransaction *t, OpenRelation *o, const Record *r, StreamCursor *c)
{
	bool		there = false;

	row_read(o->map, r, c, t->new_values);
	/* without a key that says which row it is, every row is another */
	if (o->map->n_key_columns > 0 && o->map->find.unique)
		there = find(t, o, 'N', t->new_values);
	row_fill(o, t->new_values, o->fresh, NULL);
	row_fill_defaults(o, o->fresh);
	put(t, o, there);
}

static void
update(LocalTransaction *t, OpenRelation *o, const Record *r, StreamCursor *c)
{
	char		kind;
	bool		there;
	bool		whole;

	row_read_change(o->map, r, c, &kind, t->old_values, t->new_values);
	there = find(t, o, kind, kind == 'N' ? t->new_values : t->old_values);
	whole = there || complete(o->map, t->new_values);
	row_fill(o, t->new_values, o->fresh, there ? o->found : NULL);
	if (!there)
		row_fill_defaults(o, o->fresh);
	if (whole)
		put(t, o, there);
	else
		note(t, o, "NOT WHOLE", o->fresh, false);
}

static void
delete(LocalTransaction *t, OpenRelation *o, const Record *r, StreamCursor *c)
{
	char		kind;

	row_read_change(o->map, r, c, &kind, t->old_values, t->new_values);
	while (find(t, o, kind, t->old_values))
		if (row_delete_found(o))
		{
			t->written = true;
			break;
		}
}

void
apply_lenient(LocalTransaction *t, const Record *r)
{
	StreamCursor c = r->rest;
	OpenRelation *o = row_open(t, &c);

	if (r->type == RECORD_INSERT)
		insert(t, o, r, &c);
	else if (r->type == RECORD_UPDATE)
		update(t, o, r, &c);
	else
		delete(t, o, r, &c);
}
