/*
 * level_command.c - how commands and levels meet.
 *
 * New tables get the level that baton.default_replication says, a partition that of its
 * parent, and what inherits from a table that is left out, or a view over one, is left
 * out too.  The level is set at the moment at which the table comes into being, before
 * there is a row in it, so CREATE TABLE AS is no exception.
 *
 * A command about what is left out stays here (ddl_stays.c).  One that is about both
 * kinds travels, with the names of what replicas don't have: the applier takes these
 * out of it (apply/ddl_left_out.c).  When a command is over, whatever it has made or
 * changed must not need what is left out.
 */
#include "levels/level.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "capture/ddl.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

static object_access_hook_type prev_object_access = NULL;

/* Of the command that is running. */
static LevelScope scope = {false, LEVEL_ALL, NIL};

/* ---- new tables ---- */

static Oid
find(const RangeVar *rv)
{
	return rv == NULL ? InvalidOid : RangeVarGetRelid(rv, NoLock, true);
}

static bool
makes_temporary(RangeVar *rv)
{
	return rv->relpersistence == RELPERSISTENCE_TEMP ||
		isTempNamespace(RangeVarGetCreationNamespace(rv));
}

static ReplicationLevel
level_of_new_table(CreateStmt *stmt)
{
	ListCell   *lc;

	if (makes_temporary(stmt->relation))
		return LEVEL_ALL;
	/* IF NOT EXISTS */
	if (OidIsValid(find(stmt->relation)))
		return level_of(find(stmt->relation));
	foreach(lc, stmt->inhRelations)
	{
		Oid			parent = find(lfirst_node(RangeVar, lc));
		ReplicationLevel level = OidIsValid(parent) ? level_of(parent) : LEVEL_ALL;

		if (stmt->partbound != NULL || level == LEVEL_NONE)
			return level;
	}
	return (ReplicationLevel) baton_default_replication;
}

static ReplicationLevel
level_of_new_view(RangeVar *view, Node *query)
{
	Oid			relid = find(view);

	/* one that is replaced keeps its level */
	if (OidIsValid(relid))
		return level_of(relid);
	return level_query_reads(query) != NULL ? LEVEL_NONE : LEVEL_ALL;
}

/* CREATE TABLE AS, also inside EXPLAIN ANALYZE. */
static ReplicationLevel
level_of_new_as(CreateTableAsStmt *stmt)
{
	if (makes_temporary(stmt->into->rel))
		return LEVEL_ALL;
	if (stmt->objtype == OBJECT_MATVIEW)
		return level_of_new_view(stmt->into->rel, stmt->query);
	return (ReplicationLevel) baton_default_replication;
}

ReplicationLevel
level_of_new(Node *parsetree)
{
	if (IsA(parsetree, ExplainStmt))
	{
		Query	   *query = (Query *) ((ExplainStmt *) parsetree)->query;

		parsetree = IsA(query, Query) && query->utilityStmt ? query->utilityStmt : parsetree;
	}
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
			return level_of_new_table((CreateStmt *) parsetree);
		case T_CreateTableAsStmt:
			return level_of_new_as((CreateTableAsStmt *) parsetree);
		case T_ViewStmt:
			return level_of_new_view(((ViewStmt *) parsetree)->view, ((ViewStmt *) parsetree)->query);
		case T_CreateSchemaStmt:
			/* it travels, and its tables with it */
			return Max((ReplicationLevel) baton_default_replication, LEVEL_SCHEMA);
		default:
			return LEVEL_ALL;
	}
}

/* ---- queries ---- */

typedef struct Reads
{
	bool		raw;			/* the tree is as it was parsed */
	char	   *found;			/* name of a relation that is left out */
} Reads;

static bool
reads_left_out(Node *node, void *context)
{
	Reads	   *reads = context;
	Oid			relid = InvalidOid;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		relid = ((RangeTblEntry *) node)->relid;
	else if (IsA(node, RangeVar))
		relid = find((RangeVar *) node);
	if (OidIsValid(relid) && level_leaves_out(relid))
	{
		reads->found = get_rel_name(relid);
		return true;
	}
	if (reads->raw)
		return raw_expression_tree_walker(node, reads_left_out, context);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_left_out, context, QTW_EXAMINE_RTES_BEFORE);
	/* the walker of queries goes into range table entries by itself */
	return IsA(node, RangeTblEntry) ? false : expression_tree_walker(node, reads_left_out, context);
}

char *
level_query_reads(Node *query)
{
	Reads		reads = {query != NULL && !IsA(query, Query), NULL};

	(void) reads_left_out(query, &reads);
	return reads.found;
}

/* ---- what a command is seen to do ---- */

static void
label_new(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);

	if (rel == NULL)
		return;
	if ((rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		 rel->rd_rel->relkind == RELKIND_VIEW || rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP && !creating_extension)
	{
		level_store(relid, scope.created);
		if (scope.created == LEVEL_SCHEMA)
			ddl_log(node_mine(), level_label_text(rel, scope.created), 0);
	}
	RelationClose(rel);
}

static void
note_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	ObjectAddress *seen;
	MemoryContext old;

	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (!scope.watching || (access != OAT_POST_CREATE && access != OAT_POST_ALTER))
		return;
	if (access == OAT_POST_CREATE && class_id == RelationRelationId && sub_id == 0 &&
		scope.created != LEVEL_ALL && !((ObjectAccessPostCreate *) arg)->is_internal)
		label_new(object_id);
	old = MemoryContextSwitchTo(TopTransactionContext);
	seen = palloc(sizeof(ObjectAddress));
	/* a child is noted by what ties it to its parent */
	seen->classId = class_id == InheritsRelationId ? RelationRelationId : class_id;
	seen->objectId = object_id;
	seen->objectSubId = 0;
	scope.seen = lappend(scope.seen, seen);
	MemoryContextSwitchTo(old);
}

/* The object is not left out: may it refer to this one? */
static void
check_reference(const ObjectAddress *object, const ObjectAddress *referenced)
{
	Oid			table = level_table_of(referenced->classId, referenced->objectId);

	if (!OidIsValid(table) || level_of(table) != LEVEL_NONE)
		return;
	if (object->classId == ConstraintRelationId && !level_key_is_carried(object->objectId))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("%s cannot depend on %s, which is not replicated",
					getObjectDescription(object, false),
					getObjectDescription(&(ObjectAddress) {RelationRelationId, table, 0}, false)),
			 errhint("Replicas could not have it. Set the table's level to \"schema\" with baton.set_replication() first.")));
}

static void
check_object(const ObjectAddress *object)
{
	Oid			table = level_table_of(object->classId, object->objectId);
	Relation	catalog;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	if (OidIsValid(table) && level_of(table) == LEVEL_NONE)
		return;
	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->classId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress referenced = {depend->refclassid, depend->refobjid, depend->refobjsubid};

		/* what is internal to another object goes where that does */
		if (depend->deptype != DEPENDENCY_INTERNAL)
			check_reference(object, &referenced);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* A view that is left out without anybody having asked for it. */
static void
tell_view(RangeVar *view, Node *query)
{
	if (OidIsValid(find(view)))
		return;
	ereport(WARNING,
			(errmsg("view \"%s\" is left out of replication", view->relname),
			 errdetail("It uses \"%s\", which is not replicated.", level_query_reads(query))));
}

void
level_enter(Node *parsetree, LevelScope *outer)
{
	*outer = scope;
	scope.watching = true;
	scope.created = level_of_new(parsetree);
	scope.seen = NIL;
	if (scope.created != LEVEL_NONE)
		return;
	if (IsA(parsetree, ViewStmt))
		tell_view(((ViewStmt *) parsetree)->view, ((ViewStmt *) parsetree)->query);
	else if (IsA(parsetree, CreateTableAsStmt) && ((CreateTableAsStmt *) parsetree)->objtype == OBJECT_MATVIEW)
		tell_view(((CreateTableAsStmt *) parsetree)->into->rel, ((CreateTableAsStmt *) parsetree)->query);
}

void
level_forget(const LevelScope *outer)
{
	scope = *outer;
}

void
level_leave(const LevelScope *outer)
{
	List	   *seen = scope.seen;
	ListCell   *lc;

	level_forget(outer);
	if (seen == NIL)
		return;
	CommandCounterIncrement();
	if (!levels_in_use())
		return;
	foreach(lc, seen)
		check_object((ObjectAddress *) lfirst(lc));
}

/* What a command has been seen to do is gone with the transaction's memory; a command
 * that commits by itself goes on in another one. */
static void
transaction_ends(XactEvent event, void *arg)
{
	scope.seen = NIL;
}

/* Called by _PG_init, through levels_install_hooks(). */
void
level_command_install_hooks(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_object;
	RegisterXactCallback(transaction_ends, NULL);
}
