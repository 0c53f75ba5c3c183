/*
 * ddl_index.c - indexes of the stream that are there before they are valid.
 *
 * While the source builds an index, or after it has failed to, there is one here that
 * takes no entries and serves no query.  It may be attached, commented on and dropped
 * like any other.  When the source's has become valid, a worker begins to build this one;
 * index_work.c says how.  DROP INDEX CONCURRENTLY goes the same way back.
 */
#include "postgres.h"

#include "apply/ddl_index.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "apply/index_work.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "pg_compat.h"
#include "settings.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

void
ddl_index_mark_invalid(Oid index, Oid table)
{
	Relation	rel = table_open(IndexRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	form = (Form_pg_index) GETSTRUCT(tuple);
	form->indisvalid = false;
	form->indisready = false;
	CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	table_close(rel, RowExclusiveLock);
	CacheInvalidateRelcacheByRelid(table);
}

void
ddl_index_declare(IndexStmt *stmt, const char *text)
{
	Oid			table = RangeVarGetRelid(stmt->relation, ShareLock, false);
	ObjectAddress index;

	stmt = transformIndexStmt(table, stmt, text);
	index = baton_define_index(table, stmt, true);
	/* IF NOT EXISTS, and something else has the name */
	if (!OidIsValid(index.objectId))
		return;
	CommandCounterIncrement();
	ddl_index_mark_invalid(index.objectId, table);
	CommandCounterIncrement();
}

/* The index that the command makes, if there is one with its name. */
static Oid
index_of(IndexStmt *stmt)
{
	Oid			table = RangeVarGetRelid(stmt->relation, AccessShareLock, false);
	Oid			index = stmt->idxname == NULL ? InvalidOid :
		get_relname_relid(stmt->idxname, get_rel_namespace(table));

	return OidIsValid(index) && get_rel_relkind(index) == RELKIND_INDEX ? index : InvalidOid;
}

static bool
is_small(Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	bool		small = RelationGetNumberOfBlocks(rel) < baton_min_concurrent_build_size;

	table_close(rel, NoLock);
	return small;
}

bool
ddl_index_build_later(IndexStmt *stmt, const char *text)
{
	Oid			index = index_of(stmt);

	if (!OidIsValid(index))
	{
		/* a copy has left it out, for it was not valid */
		ddl_index_declare(stmt, text);
		index = index_of(stmt);
	}
	if (!OidIsValid(index) || get_index_isvalid(index))
		return false;
	if (is_small(IndexGetRelation(index, false)))
	{
		index_work_build(index);
		return false;
	}
	index_work_mark(index, false);
	return true;
}

/* The index that DROP INDEX CONCURRENTLY is about, if the worker may drop it. */
static Oid
droppable(DropStmt *stmt)
{
	Oid			index;
	HeapTuple	tuple;

	if (stmt->removeType != OBJECT_INDEX || !stmt->concurrent)
		return InvalidOid;
	index = RangeVarGetRelid(makeRangeVarFromNameList(linitial_node(List, stmt->objects)), NoLock, true);
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	if (((Form_pg_index) GETSTRUCT(tuple))->indisunique || get_rel_relkind(index) != RELKIND_INDEX ||
		get_rel_persistence(index) == RELPERSISTENCE_TEMP)
		index = InvalidOid;
	ReleaseSysCache(tuple);
	return index;
}

bool
ddl_index_drop_later(DropStmt *stmt)
{
	Oid			index = droppable(stmt);
	Oid			table = OidIsValid(index) ? IndexGetRelation(index, true) : InvalidOid;

	if (!OidIsValid(table))
		return false;
	LockRelationOid(table, ShareUpdateExclusiveLock);
	LockRelationOid(index, ShareUpdateExclusiveLock);
	index_set_state_flags(index, INDEX_DROP_CLEAR_VALID);
	CacheInvalidateRelcacheByRelid(table);
	CommandCounterIncrement();
	RenameRelationInternal(index, ChooseRelationName(get_rel_name(index), NULL, "dropped",
													 get_rel_namespace(index), false), true, true);
	index_work_mark(index, true);
	return true;
}
