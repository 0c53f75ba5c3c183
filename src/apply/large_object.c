/*
 * large_object.c - makes a large object what it is on the source: it, its owner and
 * its pages.
 *
 * A page is written as the row of pg_largeobject that it is, with the bytes that it has
 * on the source, so a hole is a hole here too.  What else belongs to a large object
 * (another owner, grants, a comment) comes as a command.
 */
#include "apply/apply.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_largeobject.h"
#include "libpq/libpq-fs.h"
#include "miscadmin.h"
#include "storage/large_object.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static void
create_object(const RecordLargeObject *o)
{
	Oid			role = get_role_oid(o->owner, true);
	Oid			user;
	int			context;

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which owns large object %u, does not exist here", o->owner, o->oid),
				 errhint("Create the role, then apply goes on.")));
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(role, context | SECURITY_LOCAL_USERID_CHANGE);
	inv_create(o->oid);
	SetUserIdAndSecContext(user, context);
}

static void
write_page(Relation rel, HeapTuple old, const RecordLargeObject *o)
{
	Datum		values[Natts_pg_largeobject];
	bool		nulls[Natts_pg_largeobject] = {0};
	bytea	   *data = palloc(VARHDRSZ + o->len);
	HeapTuple	tuple;

	SET_VARSIZE(data, VARHDRSZ + o->len);
	memcpy(VARDATA(data), o->data, o->len);
	values[Anum_pg_largeobject_loid - 1] = ObjectIdGetDatum(o->oid);
	values[Anum_pg_largeobject_pageno - 1] = Int32GetDatum(o->page);
	values[Anum_pg_largeobject_data - 1] = PointerGetDatum(data);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (old != NULL)
		CatalogTupleUpdate(rel, &old->t_self, tuple);
	else
		CatalogTupleInsert(rel, tuple);
}

/*
 * A page that is to go and is not there went with its object, or has come and gone in
 * this transaction.
 */
static void
change_page(const RecordLargeObject *o)
{
	Relation	rel = table_open(LargeObjectRelationId, RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	old;

	ScanKeyInit(&keys[0], Anum_pg_largeobject_loid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(o->oid));
	ScanKeyInit(&keys[1], Anum_pg_largeobject_pageno, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(o->page));
	scan = systable_beginscan(rel, LargeObjectLOidPNIndexId, true, NULL, 2, keys);
	old = systable_getnext(scan);
	if (o->action == 'p')
		write_page(rel, old, o);
	else if (old != NULL)
		CatalogTupleDelete(rel, &old->t_self);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

/*
 * Carry out a LARGE_OBJECT record.  Raises ERRCODE_UNDEFINED_OBJECT if the owner does
 * not exist here, ERRCODE_UNIQUE_VIOLATION if an object that is to be created does.
 */
void
apply_large_object(LocalTransaction *t, const Record *r)
{
	RecordLargeObject o;
	StreamError err = {0};

	if (record_get_large_object(r, &o, &err) != STREAM_OK || o.len > LOBLKSIZE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream has a malformed LARGE_OBJECT record"),
				 err.message[0] ? errdetail("%s", err.message) : 0));
	local_become_self(t);
	local_make_visible(t);
	switch (o.action)
	{
		case 'c':
			create_object(&o);
			break;
		case 'd':
			/* DROP OWNED, a command of the stream, has done so already */
			if (LargeObjectExists(o.oid))
				inv_drop(o.oid);
			break;
		default:
			change_page(&o);
	}
	t->written = true;
}
