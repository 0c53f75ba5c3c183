/*
 * origin.c - the replication origins of applied transactions; see origin.h.
 */
#include "apply/origin.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_replication_origin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

void
apply_origin_name(Oid dboid, uint32 number, char *name, size_t size)
{
	if (number == 0)
		snprintf(name, size, "baton_%u", dboid);
	else
		snprintf(name, size, "baton_%u_%u", dboid, number);
}

static uint32
current_number(NodeShared *node)
{
	uint32		number;

	SpinLockAcquire(&node->mutex);
	number = node->reconcile.origin_number;
	SpinLockRelease(&node->mutex);
	return number;
}

RepOriginId
apply_origin_make(Oid dboid, uint32 number)
{
	char		name[NAMEDATALEN];
	RepOriginId origin;

	apply_origin_name(dboid, number, name, sizeof(name));
	origin = replorigin_by_name(name, true);
	return origin != InvalidRepOriginId ? origin : replorigin_create(name);
}

RepOriginId
apply_origin_ensure(NodeShared *node)
{
	RepOriginId origin;

	StartTransactionCommand();
	origin = apply_origin_make(node->dboid, current_number(node));
	CommitTransactionCommand();
	return origin;
}

StreamPos
apply_origin_progress(NodeShared *node)
{
	char		name[NAMEDATALEN];
	RepOriginId origin;
	StreamPos	progress = 0;

	apply_origin_name(node->dboid, current_number(node), name, sizeof(name));
	StartTransactionCommand();
	origin = replorigin_by_name(name, true);
	if (origin != InvalidRepOriginId)
		progress = replorigin_get_progress(origin, true);
	CommitTransactionCommand();
	return progress;
}

/* Names of baton's origins of the database, but for `except`; palloc'd. */
static List *
origin_names(Oid dboid, const char *except)
{
	Relation	rel = table_open(ReplicationOriginRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	char		prefix[NAMEDATALEN];
	List	   *names = NIL;
	HeapTuple	tuple;
	size_t		len;

	apply_origin_name(dboid, 0, prefix, sizeof(prefix));
	len = strlen(prefix);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		d = heap_getattr(tuple, Anum_pg_replication_origin_roname, RelationGetDescr(rel), &isnull);
		char	   *name = TextDatumGetCString(d);

		if (strncmp(name, prefix, len) == 0 && (name[len] == '\0' || name[len] == '_') &&
			(except == NULL || strcmp(name, except) != 0))
			names = lappend(names, name);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return names;
}

static void
drop_all(Oid dboid, const char *except)
{
	ListCell   *lc;
	List	   *names;

	StartTransactionCommand();
	names = origin_names(dboid, except);
	foreach(lc, names)
		replorigin_drop_by_name(lfirst(lc), true, true);
	CommitTransactionCommand();
}

void
apply_origin_drop(NodeShared *node)
{
	drop_all(node->dboid, NULL);
}

void
apply_origin_drop_old(NodeShared *node)
{
	char		name[NAMEDATALEN];

	apply_origin_name(node->dboid, current_number(node), name, sizeof(name));
	drop_all(node->dboid, name);
}
