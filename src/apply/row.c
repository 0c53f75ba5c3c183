/*
 * row.c - INSERT, UPDATE and DELETE of the stream, carried out.
 *
 * Where no trigger fires, rows go to the table and its indexes directly.  Then
 * a row that is changed needs no lock of its own first: if somebody else gets in
 * between, changing it says so, and it is looked for again.  Inserts into a
 * table whose rows run no code of users are collected and written together, page
 * by page; they are written before anything that could see that they are not
 * there yet.  Where triggers fire, all goes through the executor's functions
 * for replication.
 */
#include "apply/row.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/nodeModifyTable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* ---- reading a record ---- */

static void
malformed(const Record *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stream has a malformed %s record", record_type_name(r->type))));
}

/* Values of a whole row, one per column of the source. */
void
row_read(const ApplyRelation *m, const Record *r, StreamCursor *c, RecordValue *values)
{
	if (record_get_tuple(c, values, RECORD_MAX_ATTS) != m->source.natts)
		malformed(r);
}

/* Values of an old row: all columns, or the key columns alone. */
static void
read_old_row(const ApplyRelation *m, const Record *r, StreamCursor *c, RecordValue *values)
{
	int			n = record_get_tuple(c, values, RECORD_MAX_ATTS);

	if (n == m->source.natts)
		return;
	if (n < 0 || n != m->n_key_columns)
		malformed(r);
	for (int i = m->source.natts - 1; i >= 0; i--)
	{
		if (m->source.columns[i].key)
			values[i] = values[--n];
		else
			values[i].kind = 'u';
	}
}

/*
 * The row of an UPDATE or DELETE.  *kind says what the old values are: 'K' and
 * 'O' as in record.h; 'N' none, the new ones hold the key.
 */
void
row_read_change(const ApplyRelation *m, const Record *r, StreamCursor *c, char *kind,
			RecordValue *old_values, RecordValue *new_values)
{
	*kind = (char) stream_get_u8(c);
	if (*kind == 'K' || *kind == 'O')
		read_old_row(m, r, c, old_values);
	else if (*kind != 'N' || r->type != RECORD_UPDATE)
		malformed(r);
	if (r->type == RECORD_UPDATE)
		row_read(m, r, c, new_values);
}

OpenRelation *
row_open(LocalTransaction *t, StreamCursor *c)
{
	ApplyRelation *m = relation_map_get(t->relations, stream_get_u32(c), t->source_txn);
	OpenRelation *o;

	t->relation = m;
	o = open_relation(t, m);
	if (o->user_code && t->n_buffered > 0)
	{
		apply_flush_inserts(t, NULL);
		local_become_owner(t, m->owner);
		t->relation = m;
	}
	ResetPerTupleExprContext(o->estate);
	return o;
}

/* ---- building rows ---- */

/* The row in `slot`, from values of the stream and, for what they leave out, from base. */
void
row_fill(OpenRelation *o, const RecordValue *values, TupleTableSlot *slot, TupleTableSlot *base)
{
	ApplyRelation *m = o->map;

	ExecClearTuple(slot);
	if (base)
	{
		slot_getallattrs(base);
		memcpy(slot->tts_values, base->tts_values, m->natts * sizeof(Datum));
		memcpy(slot->tts_isnull, base->tts_isnull, m->natts * sizeof(bool));
	}
	for (int i = 0; i < m->natts; i++)
	{
		int			source = m->columns[i].source;
		char		kind = source >= 0 ? values[source].kind : 'u';

		if (kind == 'u' && base)
			continue;
		slot->tts_isnull[i] = kind == 'n' || source < 0;
		slot->tts_values[i] = slot->tts_isnull[i] ? (Datum) 0 :
			apply_value(&m->columns[i], &values[source], m->source.columns[source].name);
	}
	ExecStoreVirtualTuple(slot);
}

void
row_fill_defaults(OpenRelation *o, TupleTableSlot *slot)
{
	for (int i = 0; i < o->n_defaults; i++)
	{
		int			column = o->default_columns[i];

		slot->tts_values[column] = ExecEvalExprSwitchContext(o->default_exprs[i],
															 GetPerTupleExprContext(o->estate),
															 &slot->tts_isnull[column]);
	}
}

/* What to look for, from the old values or, if there are none, the new ones. */
void
row_fill_key(OpenRelation *o, char kind, const RecordValue *values)
{
	ApplyRelation *m = o->map;

	if (kind != 'O' && m->n_key_columns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a row of table \"%s.%s\" was changed, but the table has no replica identity",
						m->source.nspname, m->source.relname),
				 errdetail("The stream does not say which row it was."),
				 errhint("On the primary, use ALTER TABLE ... REPLICA IDENTITY FULL. This node needs a new initial copy.")));
	for (int i = 0; i < m->natts; i++)
	{
		int			source = m->columns[i].source;

		o->key_given[i] = false;
		if (source < 0 || values[source].kind == 'u' ||
			(kind != 'O' && !m->source.columns[source].key))
			continue;
		o->key_given[i] = true;
		o->key_nulls[i] = values[source].kind == 'n';
		o->key_values[i] = o->key_nulls[i] ? (Datum) 0 :
			apply_value(&m->columns[i], &values[source], m->source.columns[source].name);
	}
	for (int i = 0; i < m->find.n_keys; i++)
		if (!o->key_given[m->find.attribute[i] - 1])
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the stream does not give the key of a row of table \"%s.%s\"",
							m->source.nspname, m->source.relname)));
}

/* Generated columns and constraints, in the order in which the executor has them. */
void
row_complete(OpenRelation *o, TupleTableSlot *slot, CmdType command)
{
	TupleConstr *constr = RelationGetDescr(o->rel)->constr;

	if (constr && constr->has_generated_stored)
		ExecComputeStoredGenerated(o->rri, o->estate, slot, command);
	if (constr)
		ExecConstraints(o->rri, slot, o->estate);
	if (o->rel->rd_rel->relispartition)
		ExecPartitionCheck(o->rri, slot, o->estate, true);
}

/* ---- INSERT ---- */

void
row_insert_index_entries(OpenRelation *o, TupleTableSlot *slot)
{
	if (o->rri->ri_NumIndices > 0)
		list_free(baton_insert_index_tuples(o->rri, slot, o->estate, false, false));
}

static void
flush_one(LocalTransaction *t, OpenRelation *o)
{
	int			n = o->n_buffered;
	CommandId	cid = GetCurrentCommandId(true);

	t->relation = o->map;
	local_become_owner(t, o->map->owner);
	o->estate->es_output_cid = cid;
	o->n_buffered = 0;
	t->n_buffered -= n;
	if (n == 1)
		table_tuple_insert(o->rel, o->buffered[0], cid, 0, NULL);
	else
		table_multi_insert(o->rel, o->buffered, n, cid, 0, NULL);
	for (int i = 0; i < n; i++)
	{
		ResetPerTupleExprContext(o->estate);
		row_insert_index_entries(o, o->buffered[i]);
		ExecClearTuple(o->buffered[i]);
	}
	t->written = true;
}

void
apply_flush_inserts(LocalTransaction *t, OpenRelation *only)
{
	if (only)
	{
		if (only->n_buffered > 0)
			flush_one(t, only);
		return;
	}
	for (OpenRelation *o = t->opened; o && t->n_buffered > 0; o = o->next)
		if (o->n_buffered > 0)
			flush_one(t, o);
	t->buffered_bytes = 0;
}

static TupleTableSlot *
next_buffer_slot(OpenRelation *o)
{
	MemoryContext old;

	if (o->n_buffered < o->n_slots)
		return o->buffered[o->n_buffered];
	old = MemoryContextSwitchTo(o->estate->es_query_cxt);
	if (o->buffered == NULL)
		o->buffered = palloc(APPLY_BUFFER_ROWS * sizeof(TupleTableSlot *));
	o->buffered[o->n_slots++] = table_slot_create(o->rel, &o->estate->es_tupleTable);
	MemoryContextSwitchTo(old);
	return o->buffered[o->n_buffered];
}

static void
collect_insert(LocalTransaction *t, OpenRelation *o, const RecordValue *values, size_t bytes)
{
	TupleTableSlot *slot = next_buffer_slot(o);

	row_fill(o, values, slot, NULL);
	row_complete(o, slot, CMD_INSERT);
	ExecMaterializeSlot(slot);
	o->n_buffered++;
	t->n_buffered++;
	t->buffered_bytes += bytes;
	if (t->buffered_bytes >= APPLY_BUFFER_BYTES)
		apply_flush_inserts(t, NULL);
	else if (o->n_buffered >= APPLY_BUFFER_ROWS)
		apply_flush_inserts(t, o);
}

static void
insert_now(LocalTransaction *t, OpenRelation *o, const RecordValue *values)
{
	local_make_visible(t);
	o->estate->es_output_cid = GetCurrentCommandId(true);
	row_fill(o, values, o->fresh, NULL);
	row_fill_defaults(o, o->fresh);
	if (o->triggers)
	{
		AfterTriggerBeginQuery();
		ExecSimpleRelationInsert(o->rri, o->estate, o->fresh);
		AfterTriggerEndQuery(o->estate);
	}
	else
	{
		row_complete(o, o->fresh, CMD_INSERT);
		table_tuple_insert(o->rel, o->fresh, o->estate->es_output_cid, 0, NULL);
		row_insert_index_entries(o, o->fresh);
	}
	t->written = true;
}

/* Raises what an ordinary INSERT raises, such as ERRCODE_UNIQUE_VIOLATION. */
void
apply_insert(LocalTransaction *t, const Record *r)
{
	StreamCursor c = r->rest;
	OpenRelation *o = row_open(t, &c);

	row_read(o->map, r, &c, t->new_values);
	if (o->user_code)
		insert_now(t, o, t->new_values);
	else
		collect_insert(t, o, t->new_values, r->body_len);
}

/* ---- UPDATE and DELETE ---- */

static void
row_missing(const ApplyRelation *m, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("row to %s not found in table \"%s.%s\"",
					what, m->source.nspname, m->source.relname),
			 errdetail("The table differs from the primary's.")));
}

/* Lock the row found, as triggers expect it; false: somebody has changed it. */
static bool
lock_found(OpenRelation *o)
{
	TM_FailureData failure;
	TM_Result	result;

	PushActiveSnapshot(GetLatestSnapshot());
	result = table_tuple_lock(o->rel, &o->found->tts_tid, GetActiveSnapshot(), o->found,
							  GetCurrentCommandId(false), LockTupleExclusive, LockWaitBlock,
							  0, &failure);
	PopActiveSnapshot();
	return result == TM_Ok;
}

/* True: done.  False: somebody else was faster, look for the row again. */
static bool
changed(TM_Result result)
{
	if (result == TM_Ok)
		return true;
	if (result == TM_Updated || result == TM_Deleted)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("row to change was already changed by this transaction")));
	return false;				/* keep compiler quiet */
}

static bool
update_found(OpenRelation *o)
{
	CommandId	cid = o->estate->es_output_cid;
	BatonUpdateIndexes indexes;
	LockTupleMode lockmode;
	TM_FailureData failure;
	TM_Result	result;

	if (o->triggers)
	{
		if (!lock_found(o))
			return false;
		EvalPlanQualSetSlot(&o->epq, o->fresh);
		AfterTriggerBeginQuery();
		ExecSimpleRelationUpdate(o->rri, o->estate, &o->epq, o->found, o->fresh);
		AfterTriggerEndQuery(o->estate);
		return true;
	}
	row_complete(o, o->fresh, CMD_UPDATE);
	result = table_tuple_update(o->rel, &o->found->tts_tid, o->fresh, cid, GetActiveSnapshot(),
								InvalidSnapshot, true, &failure, &lockmode, &indexes);
	if (!changed(result))
		return false;
	if (baton_updates_indexes(indexes) && o->rri->ri_NumIndices > 0)
		list_free(baton_insert_index_tuples(o->rri, o->fresh, o->estate, true,
											baton_updates_summarizing(indexes)));
	return true;
}

bool
row_delete_found(OpenRelation *o)
{
	TM_FailureData failure;

	if (o->triggers)
	{
		if (!lock_found(o))
			return false;
		EvalPlanQualSetSlot(&o->epq, o->found);
		AfterTriggerBeginQuery();
		ExecSimpleRelationDelete(o->rri, o->estate, &o->epq, o->found);
		AfterTriggerEndQuery(o->estate);
		return true;
	}
	return changed(table_tuple_delete(o->rel, &o->found->tts_tid, o->estate->es_output_cid,
									  GetActiveSnapshot(), InvalidSnapshot, true, &failure,
									  false));
}

/*
 * Raises ERRCODE_NO_DATA_FOUND if there is no such row here, and what an
 * ordinary UPDATE raises.
 */
void
apply_update(LocalTransaction *t, const Record *r)
{
	StreamCursor c = r->rest;
	OpenRelation *o = row_open(t, &c);
	char		kind;
	bool		done = false;

	row_read_change(o->map, r, &c, &kind, t->old_values, t->new_values);
	apply_flush_inserts(t, o);
	row_fill_key(o, kind, kind == 'N' ? t->new_values : t->old_values);
	while (!done)
	{
		local_make_visible(t);
		o->estate->es_output_cid = GetCurrentCommandId(true);
		if (!find_row(o))
			row_missing(o->map, "update");
		row_fill(o, t->new_values, o->fresh, o->found);
		done = update_found(o);
	}
	t->written = true;
}

/* As apply_update. */
void
apply_delete(LocalTransaction *t, const Record *r)
{
	StreamCursor c = r->rest;
	OpenRelation *o = row_open(t, &c);
	char		kind;
	bool		done = false;

	row_read_change(o->map, r, &c, &kind, t->old_values, t->new_values);
	apply_flush_inserts(t, o);
	row_fill_key(o, kind, t->old_values);
	while (!done)
	{
		local_make_visible(t);
		o->estate->es_output_cid = GetCurrentCommandId(true);
		if (!find_row(o))
		{
			if (t->tolerant)
				return;
			row_missing(o->map, "delete");
		}
		done = row_delete_found(o);
	}
	t->written = true;
}

/* ---- for reports ---- */

/* As text; values in native form through the type's output function. */
static char *
value_text(const RecordColumn *col, const RecordValue *value)
{
	ApplyColumn column = {0};
	Oid			output;
	bool		is_varlena;

	if (value->kind == 'n')
		return "null";
	if (value->kind == 't')
		return pnstrdup(value->data, value->len);
	if (value->kind != 'b')
		return "?";
	get_typlenbyval(col->typid, &column.len, &column.byval);
	getTypeOutputInfo(col->typid, &output, &is_varlena);
	return OidOutputFunctionCall(output, apply_value(&column, value, col->name));
}

char
apply_read_values(const ApplyRelation *m, const Record *r,
				  RecordValue *old_values, RecordValue *new_values)
{
	StreamCursor c = r->rest;
	char		kind = 'N';

	(void) stream_get_u32(&c);
	if (r->type == RECORD_INSERT)
		row_read(m, r, &c, new_values);
	else
		row_read_change(m, r, &c, &kind, old_values, new_values);
	return kind;
}

char *
apply_row_key(const ApplyRelation *m, const Record *r)
{
	RecordValue *old_values = palloc0(RECORD_MAX_ATTS * sizeof(RecordValue));
	RecordValue *new_values = palloc0(RECORD_MAX_ATTS * sizeof(RecordValue));
	RecordValue *values = new_values;
	StringInfoData names,
				texts;

	if (r->type != RECORD_INSERT && r->type != RECORD_UPDATE && r->type != RECORD_DELETE)
		return NULL;
	if (apply_read_values(m, r, old_values, new_values) != 'N')
		values = old_values;

	initStringInfo(&names);
	initStringInfo(&texts);
	for (int i = 0; i < m->source.natts && texts.len < 160; i++)
	{
		if (!m->source.columns[i].key)
			continue;
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", m->source.columns[i].name);
		appendStringInfo(&texts, "%s%.100s", texts.len ? ", " : "",
						 value_text(&m->source.columns[i], &values[i]));
	}
	return names.len ? psprintf("(%s)=(%s)", names.data, texts.data) : NULL;
}
