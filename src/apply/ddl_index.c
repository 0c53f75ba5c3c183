/*
 * ddl_index.c - indexes of the stream that are there before they are valid.
 *
 * While the source builds an index, or after it has failed to, there is one here that
 * takes no entries and serves no query.  It may be attached, commented on and dropped
 * like any other.  When the source's has become valid, this one is built.
 */
#include "postgres.h"

#include "apply/ddl_index.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "pg_compat.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void
mark_invalid(Oid index, Oid table)
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
	CommandCounterIncrement();
	mark_invalid(index.objectId, table);
	CommandCounterIncrement();
}

Node *
ddl_index_to_build(IndexStmt *stmt)
{
	Oid			table = RangeVarGetRelid(stmt->relation, ShareLock, false);
	Oid			index = stmt->idxname == NULL ? InvalidOid :
		get_relname_relid(stmt->idxname, get_rel_namespace(table));
	ReindexStmt *reindex;

	if (!OidIsValid(index) || get_rel_relkind(index) != RELKIND_INDEX)
		return (Node *) stmt;
	if (get_index_isvalid(index))
		return NULL;
	reindex = makeNode(ReindexStmt);
	reindex->kind = REINDEX_OBJECT_INDEX;
	reindex->relation = makeRangeVar(get_namespace_name(get_rel_namespace(index)), stmt->idxname, -1);
	return (Node *) reindex;
}
