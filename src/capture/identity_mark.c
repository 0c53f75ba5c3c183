/*
 * identity_mark.c - which tables have got REPLICA IDENTITY FULL from baton.
 *
 * A row of baton.full_identity says so.  The table is each node's own, since OIDs are:
 * a replica writes its rows where it carries out the command that baton has put into
 * the stream, and a joining node copies them by name (copy/copy_identity.c).  A row
 * that is missing costs no more than that FULL stays.
 *
 * Whoever runs a command that changes definitions writes here, with whatever rights,
 * so the rows are written as those of a catalog are.
 */
#include "capture/identity_mark.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* baton.full_identity, or NULL in a database without the extension. */
static Relation
open_marks(LOCKMODE lock)
{
	Oid			schema = get_namespace_oid("baton", true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid("full_identity", schema) : InvalidOid;

	return OidIsValid(relid) ? table_open(relid, lock) : NULL;
}

/* The row of a table; true: it was there.  remove: it is deleted. */
static bool
find_mark(Relation marks, Oid relid, bool remove)
{
	List	   *indexes = RelationGetIndexList(marks);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(marks, indexes != NIL ? linitial_oid(indexes) : InvalidOid,
							  indexes != NIL, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && remove)
		CatalogTupleDelete(marks, &tuple->t_self);
	systable_endscan(scan);
	list_free(indexes);
	return HeapTupleIsValid(tuple);
}

void
identity_mark(Oid relid)
{
	Relation	marks = open_marks(RowExclusiveLock);
	Datum		value = ObjectIdGetDatum(relid);
	bool		null = false;

	if (marks == NULL)
		return;
	if (!find_mark(marks, relid, false))
		CatalogTupleInsert(marks, heap_form_tuple(RelationGetDescr(marks), &value, &null));
	table_close(marks, NoLock);
}

/*
 * Tables are dropped in a closed database too, temporary ones and those that CLUSTER
 * needs for a while; the gate lets that pass as long as nothing locks rows to change
 * them, so this is done only where there is a row.
 */
void
identity_unmark(Oid relid)
{
	Relation	marks = open_marks(AccessShareLock);

	if (marks == NULL)
		return;
	if (find_mark(marks, relid, false))
	{
		LockRelationOid(RelationGetRelid(marks), RowExclusiveLock);
		(void) find_mark(marks, relid, true);
	}
	table_close(marks, NoLock);
}

bool
identity_is_marked(Oid relid)
{
	Relation	marks = open_marks(AccessShareLock);
	bool		marked;

	if (marks == NULL)
		return false;
	marked = find_mark(marks, relid, false);
	table_close(marks, NoLock);
	return marked;
}
