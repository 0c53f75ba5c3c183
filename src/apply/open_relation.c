/*
 * open_relation.c - tables held open for the local transaction.
 *
 * Opening a table with its indexes for each row is a seventh of built-in
 * logical replication's work, so it is done once per transaction.  The lock
 * (ROW EXCLUSIVE, held to the end) keeps away whatever would change what is
 * cached here.
 */
#include "apply/apply.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"

/* Does a row trigger of the table fire although the session is a replica's? */
static bool
has_row_triggers(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) &&
			(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
			 trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA))
			return true;
	}
	return false;
}

static bool
has_user_code(OpenRelation *o)
{
	TupleConstr *constr = RelationGetDescr(o->rel)->constr;

	if (o->triggers || o->n_defaults > 0)
		return true;
	if (constr && (constr->num_check > 0 || constr->has_generated_stored))
		return true;
	for (int i = 0; i < o->rri->ri_NumIndices; i++)
	{
		IndexInfo  *info = o->rri->ri_IndexRelationInfo[i];

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL || info->ii_ExclusionOps)
			return true;
	}
	return false;
}

/* Columns that only the local table has get their defaults. */
static void
prepare_defaults(OpenRelation *o)
{
	TupleDesc	desc = RelationGetDescr(o->rel);

	o->default_columns = palloc(Max(desc->natts, 1) * sizeof(int));
	o->default_exprs = palloc(Max(desc->natts, 1) * sizeof(ExprState *));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr	   *expr;

		if (att->attisdropped || att->attgenerated || o->map->columns[i].source >= 0)
			continue;
		expr = (Expr *) build_column_default(o->rel, i + 1);
		if (expr == NULL)
			continue;
		o->default_columns[o->n_defaults] = i;
		o->default_exprs[o->n_defaults++] = ExecInitExpr(expression_planner(expr), NULL);
	}
}

static Bitmapset *
replicated_columns(OpenRelation *o)
{
	Bitmapset  *columns = NULL;

	for (int i = 0; i < o->map->natts; i++)
		if (o->map->columns[i].source >= 0)
			columns = bms_add_member(columns, i + 1 - FirstLowInvalidHeapAttributeNumber);
	return columns;
}

/* Executor state as an ordinary INSERT, UPDATE or DELETE of the table would have it. */
static void
prepare_executor(OpenRelation *o)
{
	RangeTblEntry *rte;

	o->estate = CreateExecutorState();
	MemoryContextSwitchTo(o->estate->es_query_cxt);
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(o->rel);
	rte->relkind = o->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	baton_init_range_table(o->estate, rte, replicated_columns(o));
	o->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(o->rri, o->rel, 1, NULL, 0);
	o->estate->es_opened_result_relations = lappend(NIL, o->rri);
	ExecOpenIndices(o->rri, false);

	o->triggers = has_row_triggers(o->rel);
	if (!o->triggers)
		o->rri->ri_TrigDesc = NULL;
	else
		baton_eval_plan_qual_init(&o->epq, o->estate);
	o->found = table_slot_create(o->rel, &o->estate->es_tupleTable);
	o->fresh = table_slot_create(o->rel, &o->estate->es_tupleTable);
	InitDirtySnapshot(o->dirty);
	prepare_defaults(o);
	o->user_code = has_user_code(o);
}

/* Deferred triggers would run at commit, with the worker's rights. */
static void
make_constraints_immediate(LocalTransaction *t)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	if (t->constraints_immediate)
		return;
	stmt->constraints = NIL;
	stmt->deferred = false;
	AfterTriggerSetState(stmt);
	t->constraints_immediate = true;
}

OpenRelation *
open_relation(LocalTransaction *t, ApplyRelation *m)
{
	OpenRelation *o = m->open;
	Relation	rel;
	MemoryContext old;

	if (o != NULL)
	{
		local_become_owner(t, m->owner);
		return o;
	}
	local_become_self(t);
	rel = relation_map_open(m, RowExclusiveLock);
	if (m->relkind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is a partitioned table here, and a plain one in the stream",
						m->source.nspname, m->source.relname)));
	local_become_owner(t, m->owner);

	old = MemoryContextSwitchTo(t->cxt);
	o = palloc0(sizeof(OpenRelation));
	o->map = m;
	o->rel = rel;
	o->key_values = palloc0(Max(m->natts, 1) * sizeof(Datum));
	o->key_nulls = palloc0(Max(m->natts, 1) * sizeof(bool));
	o->key_given = palloc0(Max(m->natts, 1) * sizeof(bool));
	prepare_executor(o);
	MemoryContextSwitchTo(old);
	if (o->triggers)
		make_constraints_immediate(t);

	o->next = t->opened;
	t->opened = o;
	m->open = o;
	return o;
}

static void
close_relation(OpenRelation *o)
{
	Assert(o->n_buffered == 0);
	find_close(o);
	if (o->triggers)
		EvalPlanQualEnd(&o->epq);
	ExecResetTupleTable(o->estate->es_tupleTable, false);
	ExecCloseIndices(o->rri);
	FreeExecutorState(o->estate);
	table_close(o->rel, NoLock);
	o->map->open = NULL;
}

/* Locks stay until the transaction ends.  Collected inserts must have been written. */
void
open_relation_close_all(LocalTransaction *t)
{
	while (t->opened)
	{
		OpenRelation *o = t->opened;

		t->opened = o->next;
		close_relation(o);
	}
}
