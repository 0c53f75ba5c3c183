/*
 * role_row.c - writes rows of pg_authid, pg_db_role_setting and pg_database as they
 * are on the source.
 *
 * Not by the commands that made them there: these would take a hash for a password
 * that is to be judged, ask whether a setting's value is good, and know no way to
 * unset a date.  A row that is the same already is not written.
 */
#include "apply/apply.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A row as it is to be; columns that are not to be replaced stay as they are. */
typedef struct NewRow
{
	Relation	rel;
	Datum		value[32];
	bool		null[32];
	bool		replace[32];
} NewRow;

static void
set_column(NewRow *row, AttrNumber column, Datum value, bool isnull)
{
	row->value[column - 1] = value;
	row->null[column - 1] = isnull;
	row->replace[column - 1] = true;
}

static void
begin_row(NewRow *row, Oid catalog)
{
	memset(row, 0, sizeof(*row));
	memset(row->null, true, sizeof(row->null));
	row->rel = table_open(catalog, RowExclusiveLock);
	Assert(RelationGetDescr(row->rel)->natts <= lengthof(row->value));
}

/* Write the row if it differs from the one that is there; did it? */
static bool
update_row(NewRow *row, HeapTuple present)
{
	TupleDesc	desc = RelationGetDescr(row->rel);
	bool		differs = false;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value;

		if (!row->replace[i])
			continue;
		value = heap_getattr(present, i + 1, desc, &isnull);
		if (isnull != row->null[i] ||
			(!isnull && !datum_image_eq(value, row->value[i], att->attbyval, att->attlen)))
			differs = true;
	}
	if (differs)
		CatalogTupleUpdate(row->rel, &present->t_self,
						   heap_modify_tuple(present, desc, row->value, row->null, row->replace));
	return differs;
}

static void
insert_row(NewRow *row)
{
	CatalogTupleInsert(row->rel, heap_form_tuple(RelationGetDescr(row->rel), row->value, row->null));
}

static char *
next_text(RecordRole *r)
{
	RecordText	text;

	record_get_text(&r->texts, &text);
	return pnstrdup(text.text, text.len);
}

/* ---- pg_authid ---- */

static void
set_attributes(NewRow *row, RecordRole *r)
{
	static const struct
	{
		AttrNumber	column;
		uint32		flag;
	}			flags[] =
	{
		{Anum_pg_authid_rolsuper, RECORD_ROLE_SUPERUSER},
		{Anum_pg_authid_rolinherit, RECORD_ROLE_INHERIT},
		{Anum_pg_authid_rolcreaterole, RECORD_ROLE_CREATEROLE},
		{Anum_pg_authid_rolcreatedb, RECORD_ROLE_CREATEDB},
		{Anum_pg_authid_rolcanlogin, RECORD_ROLE_LOGIN},
		{Anum_pg_authid_rolreplication, RECORD_ROLE_REPLICATION},
		{Anum_pg_authid_rolbypassrls, RECORD_ROLE_BYPASSRLS},
	};

	for (int i = 0; i < lengthof(flags); i++)
		set_column(row, flags[i].column, BoolGetDatum((r->flags & flags[i].flag) != 0), false);
	set_column(row, Anum_pg_authid_rolconnlimit, Int32GetDatum(r->connection_limit), false);
	set_column(row, Anum_pg_authid_rolvaliduntil, TimestampTzGetDatum(r->until),
			   (r->flags & RECORD_ROLE_VALID_UNTIL) == 0);
	set_column(row, Anum_pg_authid_rolpassword,
			   r->n_texts > 0 ? CStringGetTextDatum(next_text(r)) : (Datum) 0, r->n_texts == 0);
}

static void
make_role(NewRow *row, RecordRole *r)
{
	Oid			role = GetNewOidWithIndex(row->rel, AuthIdOidIndexId, Anum_pg_authid_oid);
	NameData	name;

	namestrcpy(&name, r->name);
	set_column(row, Anum_pg_authid_oid, ObjectIdGetDatum(role), false);
	set_column(row, Anum_pg_authid_rolname, NameGetDatum(&name), false);
	insert_row(row);
	InvokeObjectPostCreateHook(AuthIdRelationId, role, 0);
}

/* Make role `role` what the record says, or make it (InvalidOid). */
void
apply_role_attributes(Oid role, RecordRole *r)
{
	NewRow		row;

	begin_row(&row, AuthIdRelationId);
	set_attributes(&row, r);
	if (OidIsValid(role))
	{
		HeapTuple	present = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));

		if (!HeapTupleIsValid(present))
			elog(ERROR, "cache lookup failed for role %u", role);
		(void) update_row(&row, present);
		ReleaseSysCache(present);
	}
	else
		make_role(&row, r);
	table_close(row.rel, NoLock);
}

/* ---- pg_db_role_setting ---- */

static Datum
settings_array(RecordRole *r)
{
	Datum	   *texts = palloc(sizeof(Datum) * r->n_texts);

	for (int i = 0; i < r->n_texts; i++)
		texts[i] = CStringGetTextDatum(next_text(r));
	return PointerGetDatum(construct_array(texts, r->n_texts, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The settings of a role (InvalidOid: of all) in a database (InvalidOid: in all). */
void
apply_role_settings(Oid role, Oid database, RecordRole *r)
{
	NewRow		row;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	present;

	begin_row(&row, DbRoleSettingRelationId);
	ScanKeyInit(&key[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(database));
	ScanKeyInit(&key[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	scan = systable_beginscan(row.rel, DbRoleSettingDatidRolidIndexId, true, NULL, 2, key);
	present = systable_getnext(scan);
	set_column(&row, Anum_pg_db_role_setting_setdatabase, ObjectIdGetDatum(database), false);
	set_column(&row, Anum_pg_db_role_setting_setrole, ObjectIdGetDatum(role), false);
	if (r->n_texts > 0)
		set_column(&row, Anum_pg_db_role_setting_setconfig, settings_array(r), false);
	if (r->n_texts == 0 && present != NULL)
		CatalogTupleDelete(row.rel, &present->t_self);
	else if (r->n_texts > 0 && present != NULL)
		(void) update_row(&row, present);
	else if (r->n_texts > 0)
		insert_row(&row);
	systable_endscan(scan);
	table_close(row.rel, NoLock);
}

/* ---- pg_database ---- */

/* Entries that name a role which is not here are left out, and noted. */
static Acl *
access_list(LocalTransaction *t, RecordRole *r)
{
	int			max = r->n_texts / 3;
	Acl		   *acl = palloc0(ACL_N_SIZE(max));
	AclItem    *items;
	int			n = 0;

	acl->ndim = 1;
	acl->elemtype = ACLITEMOID;
	ARR_LBOUND(acl)[0] = 1;
	items = ACL_DAT(acl);
	for (int i = 0; i < max; i++)
	{
		char	   *grantee = next_text(r);
		char	   *grantor = next_text(r);
		AclMode		rights = (AclMode) strtou64(next_text(r), NULL, 10);
		Oid			to = grantee[0] == '\0' ? ACL_ID_PUBLIC : get_role_oid(grantee, true);
		Oid			by = get_role_oid(grantor, true);

		if ((grantee[0] != '\0' && !OidIsValid(to)) || !OidIsValid(by))
		{
			apply_role_note(t, "role \"%s\" does not exist here: its privileges on the database are left out",
							OidIsValid(by) ? grantee : grantor);
			continue;
		}
		items[n].ai_grantee = to;
		items[n].ai_grantor = by;
		ACLITEM_SET_RIGHTS(items[n], rights);
		n++;
	}
	ARR_DIMS(acl)[0] = n;
	SET_VARSIZE(acl, ACL_N_SIZE(n));
	return acl;
}

/* Who the objects of the server depend on, as pg_shdepend has it. */
static void
renew_dependencies(Oid owner, Acl *before, Acl *acl)
{
	Oid		   *old_members = NULL;
	Oid		   *new_members = NULL;
	int			n_old = before != NULL ? aclmembers(before, &old_members) : 0;
	int			n_new = acl != NULL ? aclmembers(acl, &new_members) : 0;

	changeDependencyOnOwner(DatabaseRelationId, MyDatabaseId, owner);
	updateAclDependencies(DatabaseRelationId, MyDatabaseId, 0, owner, n_old, old_members,
						  n_new, new_members);
}

/* Owner (InvalidOid: as it is), connection limit and access list of this database. */
void
apply_role_database(LocalTransaction *t, Oid owner, RecordRole *r)
{
	NewRow		row;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	present;
	Acl		   *acl = (r->flags & RECORD_ROLE_TEXTS) != 0 ? access_list(t, r) : NULL;
	Acl		   *before = NULL;
	Datum		value;
	bool		isnull;

	begin_row(&row, DatabaseRelationId);
	ScanKeyInit(&key, Anum_pg_database_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(MyDatabaseId));
	scan = systable_beginscan(row.rel, DatabaseOidIndexId, true, NULL, 1, &key);
	present = systable_getnext(scan);
	if (!HeapTupleIsValid(present))
		elog(ERROR, "could not find tuple for database %u", MyDatabaseId);
	value = heap_getattr(present, Anum_pg_database_datacl, RelationGetDescr(row.rel), &isnull);
	if (!isnull)
		before = DatumGetAclPCopy(value);
	if (!OidIsValid(owner))
		owner = ((Form_pg_database) GETSTRUCT(present))->datdba;
	set_column(&row, Anum_pg_database_datdba, ObjectIdGetDatum(owner), false);
	set_column(&row, Anum_pg_database_datconnlimit, Int32GetDatum(r->connection_limit), false);
	set_column(&row, Anum_pg_database_datacl, PointerGetDatum(acl), acl == NULL);
	if (update_row(&row, present))
		renew_dependencies(owner, before, acl);
	systable_endscan(scan);
	table_close(row.rel, NoLock);
}
