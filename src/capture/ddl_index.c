/*
 * ddl_index.c - what is known of an index besides its definition.
 *
 * CREATE INDEX CONCURRENTLY commits the index's definition first, and builds it then; if
 * that fails, an invalid index stays.  It can be attached to a partitioned index, and
 * REINDEX makes it valid.  So it travels twice: as an invalid index within the first
 * transaction, and as one to be built when it has become valid, by whichever command.
 *
 * CLUSTER notes which index a table was put in order by.  How rows lie on disk is each
 * server's own, but the note is part of the definition.
 */
#include "capture/ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "levels/level.h"
#include "nodes/makefuncs.h"
#include "stream/record.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

static object_access_hook_type prev_object_access = NULL;

/* CREATE INDEX CONCURRENTLY under way, and the index that it has made. */
static NodeShared *builder = NULL;
static Oid	made = InvalidOid;

static void
note_index(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (builder != NULL && access == OAT_POST_CREATE && class_id == RelationRelationId && sub_id == 0)
		made = object_id;
}

/* The first of the command's transactions commits, or the command has failed. */
static void
tell_invalid(XactEvent event, void *arg)
{
	NodeShared *node = builder;

	if (node == NULL || (event == XACT_EVENT_PRE_COMMIT && !OidIsValid(made)))
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		ddl_log(node, pg_get_indexdef_string(made), RECORD_DDL_INVALID);
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_ABORT)
		builder = NULL;
}

/* The command that makes the index; NULL if another session has dropped it. */
static char *
definition(Oid index)
{
	Oid			table = IndexGetRelation(index, true);
	Relation	rel = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : NULL;
	char	   *text = NULL;

	if (rel == NULL)
		return NULL;
	if (get_rel_relkind(index) == RELKIND_INDEX && get_index_isvalid(index))
		text = pg_get_indexdef_string(index);
	relation_close(rel, NoLock);
	return text;
}

/* ---- which indexes are invalid ---- */

static List *
invalid_indexes(void)
{
	Relation	rel = table_open(IndexRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *found = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
		Oid			namespace;
		char	   *schema;
		char	   *name;

		if (index->indisvalid || index->indexrelid < FirstNormalObjectId ||
			get_rel_relkind(index->indexrelid) != RELKIND_INDEX)
			continue;
		namespace = get_rel_namespace(index->indexrelid);
		name = get_rel_name(index->indexrelid);
		schema = get_namespace_name(namespace);
		/* others may drop it just now */
		if (name != NULL && schema != NULL && !isAnyTempNamespace(namespace) &&
			namespace != PG_TOAST_NAMESPACE && !level_leaves_out(index->indexrelid))
			found = lappend(found, makeRangeVar(schema, name, -1));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* ---- CLUSTER ---- */

static void
tell_clustered(NodeShared *node, Oid table)
{
	Relation	rel = try_relation_open(table, AccessShareLock);
	ListCell   *lc;

	if (rel == NULL)
		return;
	if (level_leaves_out(table))
	{
		relation_close(rel, NoLock);
		return;
	}
	foreach(lc, RelationGetIndexList(rel))
		if (get_index_isclustered(lfirst_oid(lc)))
			ddl_log(node, psprintf("ALTER TABLE %s CLUSTER ON %s",
								   quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
															  RelationGetRelationName(rel)),
								   quote_identifier(get_rel_name(lfirst_oid(lc)))), 0);
	relation_close(rel, NoLock);
}

/* The table, and the partitions that it has put in order. */
static void
tell_all_clustered(NodeShared *node, RangeVar *name)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);
	List	   *tables;
	ListCell   *lc;

	/* catalogs are each server's own */
	if (relid < FirstNormalObjectId || isTempNamespace(get_rel_namespace(relid)) ||
		get_rel_relkind(relid) == RELKIND_TOASTVALUE)
		return;
	tables = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ?
		find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);
	foreach(lc, tables)
		tell_clustered(node, lfirst_oid(lc));
}

/* ---- around commands ---- */

void
ddl_index_before(NodeShared *node, Node *parsetree, DdlIndex *index)
{
	index->invalid = NIL;
	index->clustered = IsA(parsetree, ClusterStmt) && ((ClusterStmt *) parsetree)->indexname != NULL ?
		((ClusterStmt *) parsetree)->relation : NULL;
	index->concurrent = IsA(parsetree, IndexStmt) && ((IndexStmt *) parsetree)->concurrent;
	if (IsA(parsetree, ReindexStmt))
		index->invalid = invalid_indexes();
	made = InvalidOid;
	builder = index->concurrent ? node : NULL;
}

const char *
ddl_index_made(const DdlIndex *index, const char *text)
{
	builder = NULL;
	return index->concurrent && OidIsValid(made) ? definition(made) : text;
}

void
ddl_index_after(NodeShared *node, const DdlIndex *index)
{
	ListCell   *lc;

	if (index->invalid == NIL && index->clustered == NULL)
		return;
	CommandCounterIncrement();
	if (index->clustered != NULL)
		tell_all_clustered(node, index->clustered);
	foreach(lc, index->invalid)
	{
		/* REINDEX CONCURRENTLY has put another in its place */
		Oid			oid = RangeVarGetRelid((RangeVar *) lfirst(lc), NoLock, true);
		char	   *text = OidIsValid(oid) ? definition(oid) : NULL;

		if (text != NULL)
			ddl_log(node, text, RECORD_DDL_ALONE);
	}
}

/* Called by _PG_init. */
void
ddl_index_install_hooks(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_index;
	RegisterXactCallback(tell_invalid, NULL);
}
