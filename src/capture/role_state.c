/*
 * role_state.c - rows of the catalogs that all databases of a server share, as they
 * travel: pg_authid, pg_auth_members, pg_db_role_setting, comments on roles, and what
 * belongs to this database in pg_database.
 *
 * What travels is what a row is, not the command that made it so: a password's hash
 * and never the password, a database's access list and never the database's name.
 */
#include "capture/roles.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_shdescription.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

bool
role_item_is_shared(const RecordRole *record)
{
	switch (record->item)
	{
		case ROLE_DATABASE:
			return false;
		case ROLE_SETTINGS:
			return record->name[0] != '\0' || (record->flags & RECORD_ROLE_HERE) == 0;
		case ROLE_COMMENT:
			return record->name[0] != '\0';
		default:
			return true;
	}
}

/* ---- parts ---- */

/*
 * What a role is called, and whether it is a superuser, under the snapshot that all
 * rows are read under: caches hear of a commit a moment after it can be seen.  False:
 * there is no such role.
 */
static bool
find_role(Oid role, Snapshot snapshot, char *name, bool *superuser)
{
	Relation	rel = table_open(AuthIdRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;
	bool		found;

	ScanKeyInit(&key, Anum_pg_authid_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	scan = systable_beginscan(rel, AuthIdOidIndexId, true, snapshot, 1, &key);
	row = systable_getnext(scan);
	found = row != NULL;
	if (found)
	{
		strlcpy(name, NameStr(((Form_pg_authid) GETSTRUCT(row))->rolname), RECORD_NAME_LEN);
		if (superuser != NULL)
			*superuser = ((Form_pg_authid) GETSTRUCT(row))->rolsuper;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static void
begin_state(RoleState *state, RoleItem item, Oid role)
{
	memset(state, 0, sizeof(*state));
	state->key.item = state->record.item = item;
	state->key.role = role;
}

/* The role that the row is about; false: it is gone. */
static bool
name_role(RoleState *state, Snapshot snapshot)
{
	bool		superuser;

	if (!find_role(state->key.role, snapshot, state->record.name, &superuser))
		return false;
	if (superuser)
		state->record.flags |= RECORD_ROLE_POWERFUL;
	return true;
}

static void
add_text(RoleState *state, const char *text)
{
	state->texts = state->texts == NULL ? palloc(sizeof(RecordText)) :
		repalloc(state->texts, sizeof(RecordText) * (state->record.n_texts + 1));
	state->texts[state->record.n_texts].text = text;
	state->texts[state->record.n_texts++].len = strlen(text);
}

/* ---- one row ---- */

static uint32
attribute_flags(Form_pg_authid form)
{
	return (form->rolsuper ? RECORD_ROLE_SUPERUSER : 0) |
		(form->rolinherit ? RECORD_ROLE_INHERIT : 0) |
		(form->rolcreaterole ? RECORD_ROLE_CREATEROLE : 0) |
		(form->rolcreatedb ? RECORD_ROLE_CREATEDB : 0) |
		(form->rolcanlogin ? RECORD_ROLE_LOGIN : 0) |
		(form->rolreplication ? RECORD_ROLE_REPLICATION : 0) |
		(form->rolbypassrls ? RECORD_ROLE_BYPASSRLS : 0);
}

static bool
read_attributes(RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot)
{
	Form_pg_authid form = (Form_pg_authid) GETSTRUCT(row);
	bool		isnull;
	Datum		value;

	/* those that PostgreSQL brings along are everywhere */
	if (form->oid < FirstNormalObjectId && form->oid != BOOTSTRAP_SUPERUSERID)
		return false;
	begin_state(state, ROLE_ATTRIBUTES, form->oid);
	strlcpy(state->record.name, NameStr(form->rolname), RECORD_NAME_LEN);
	state->record.flags |= attribute_flags(form) | (form->rolsuper ? RECORD_ROLE_POWERFUL : 0);
	state->record.connection_limit = form->rolconnlimit;
	/* each server has one of its own; owners of objects may need this one's name */
	if (form->oid == BOOTSTRAP_SUPERUSERID)
		state->record.flags |= RECORD_ROLE_IF_MISSING;
	value = heap_getattr(row, Anum_pg_authid_rolvaliduntil, RelationGetDescr(catalog), &isnull);
	if (!isnull)
	{
		state->record.flags |= RECORD_ROLE_VALID_UNTIL;
		state->record.until = DatumGetTimestampTz(value);
	}
	value = heap_getattr(row, Anum_pg_authid_rolpassword, RelationGetDescr(catalog), &isnull);
	if (!isnull)
	{
		state->record.flags |= RECORD_ROLE_TEXTS;
		add_text(state, TextDatumGetCString(value));
	}
	return true;
}

static bool
read_member(RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot)
{
	Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(row);

	if (form->roleid < FirstNormalObjectId && form->member < FirstNormalObjectId)
		return false;
	begin_state(state, ROLE_MEMBER, form->roleid);
	state->key.member = form->member;
	state->key.grantor = BATON_MEMBERSHIP_KEY_GRANTOR(form);
	state->record.flags |= (form->admin_option ? RECORD_ROLE_ADMIN : 0) |
		(BATON_MEMBERSHIP_INHERITS(form) ? RECORD_ROLE_INHERITS : 0) |
		(BATON_MEMBERSHIP_SETS(form) ? RECORD_ROLE_SETS : 0);
	/* who has granted it may be gone */
	(void) find_role(form->grantor, snapshot, state->record.grantor, NULL);
	return name_role(state, snapshot) && find_role(form->member, snapshot, state->record.other, NULL);
}

static bool
read_settings(RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot)
{
	Form_pg_db_role_setting form = (Form_pg_db_role_setting) GETSTRUCT(row);
	bool		isnull;
	Datum		value;
	Datum	   *settings;
	int			n = 0;

	if (OidIsValid(form->setdatabase) && form->setdatabase != MyDatabaseId)
		return false;
	begin_state(state, ROLE_SETTINGS, form->setrole);
	state->key.database = form->setdatabase;
	if (OidIsValid(form->setdatabase))
		state->record.flags |= RECORD_ROLE_HERE;
	if (OidIsValid(form->setrole) && !name_role(state, snapshot))
		return false;
	value = heap_getattr(row, Anum_pg_db_role_setting_setconfig, RelationGetDescr(catalog), &isnull);
	if (isnull)
		return false;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &settings, NULL, &n);
	for (int i = 0; i < n; i++)
		add_text(state, TextDatumGetCString(settings[i]));
	return true;
}

static bool
read_comment(RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot)
{
	Form_pg_shdescription form = (Form_pg_shdescription) GETSTRUCT(row);
	bool		on_role = form->classoid == AuthIdRelationId && form->objoid >= FirstNormalObjectId;
	bool		isnull;
	Datum		value;

	if (!on_role && (form->classoid != DatabaseRelationId || form->objoid != MyDatabaseId))
		return false;
	begin_state(state, ROLE_COMMENT, on_role ? form->objoid : InvalidOid);
	if (on_role && !name_role(state, snapshot))
		return false;
	value = heap_getattr(row, Anum_pg_shdescription_description, RelationGetDescr(catalog), &isnull);
	state->record.flags |= RECORD_ROLE_TEXTS;
	add_text(state, TextDatumGetCString(value));
	return true;
}

/* Three texts for each entry: who has been granted, by whom, what. */
static void
add_access_list(RoleState *state, Acl *acl, Snapshot snapshot)
{
	AclItem    *items = ACL_DAT(acl);

	state->record.flags |= RECORD_ROLE_TEXTS;
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		char	   *grantee = palloc0(RECORD_NAME_LEN);
		char	   *grantor = palloc0(RECORD_NAME_LEN);

		if ((items[i].ai_grantee != ACL_ID_PUBLIC &&
			 !find_role(items[i].ai_grantee, snapshot, grantee, NULL)) ||
			!find_role(items[i].ai_grantor, snapshot, grantor, NULL))
			continue;
		add_text(state, grantee);
		add_text(state, grantor);
		add_text(state, psprintf(UINT64_FORMAT, (uint64) ACLITEM_GET_RIGHTS(items[i])));
	}
}

static bool
read_database(RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot)
{
	Form_pg_database form = (Form_pg_database) GETSTRUCT(row);
	bool		isnull;
	Datum		value;

	if (form->oid != MyDatabaseId)
		return false;
	begin_state(state, ROLE_DATABASE, InvalidOid);
	(void) find_role(form->datdba, snapshot, state->record.name, NULL);
	state->record.connection_limit = form->datconnlimit;
	value = heap_getattr(row, Anum_pg_database_datacl, RelationGetDescr(catalog), &isnull);
	if (!isnull)
		add_access_list(state, DatumGetAclP(value), snapshot);
	return true;
}

/* ---- rows ---- */

typedef bool (*ReadRow) (RoleState *state, Relation catalog, HeapTuple row, Snapshot snapshot);

/* How the rows of a catalog are found that are about one role, or this database. */
typedef struct CatalogScan
{
	Oid			catalog;
	Oid			index;			/* InvalidOid: all rows are looked at */
	AttrNumber	attribute;		/* that the role's, or database's, OID is compared with */
	bool		of_roles;
	bool		of_database;
	bool		again;			/* a scan before has the same rows, if all are wanted */
	ReadRow		read;
} CatalogScan;

static const CatalogScan scans[] = {
	{AuthIdRelationId, AuthIdOidIndexId, Anum_pg_authid_oid, true, false, false, read_attributes},
	{AuthMemRelationId, AuthMemRoleMemIndexId, Anum_pg_auth_members_roleid, true, false, false, read_member},
	{AuthMemRelationId, AuthMemMemRoleIndexId, Anum_pg_auth_members_member, true, false, true, read_member},
	{DbRoleSettingRelationId, InvalidOid, Anum_pg_db_role_setting_setrole, true, true, false, read_settings},
	{SharedDescriptionRelationId, SharedDescriptionObjIndexId, Anum_pg_shdescription_objoid, true, true, false, read_comment},
	{DatabaseRelationId, DatabaseOidIndexId, Anum_pg_database_oid, false, true, false, read_database},
};

/* key: NULL for all rows. */
static void
scan_catalog(const CatalogScan *s, ScanKey key, Snapshot snapshot, MemoryContext cxt,
			 RoleStateFn fn, void *arg)
{
	Relation	rel = table_open(s->catalog, RowShareLock);
	SysScanDesc scan = systable_beginscan(rel, s->index, key != NULL && OidIsValid(s->index), snapshot,
										  key != NULL ? 1 : 0, key);
	HeapTuple	row;

	while ((row = systable_getnext(scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);
		RoleState	state;

		if (s->read(&state, rel, row, snapshot))
			fn(&state, rel, row, arg);
		MemoryContextSwitchTo(old);
		MemoryContextReset(cxt);
	}
	systable_endscan(scan);
	table_close(rel, RowShareLock);
}

void
role_states_each(RoleStateFn fn, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "baton role", ALLOCSET_SMALL_SIZES);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < lengthof(scans); i++)
		if (!scans[i].again)
			scan_catalog(&scans[i], NULL, snapshot, cxt, fn, arg);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(cxt);
}

void
role_states_of(Oid role, RoleStateFn fn, void *arg)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "baton role", ALLOCSET_SMALL_SIZES);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	for (int i = 0; i < lengthof(scans); i++)
	{
		const CatalogScan *s = &scans[i];
		Oid			value = OidIsValid(role) || s->catalog == DbRoleSettingRelationId ? role : MyDatabaseId;
		ScanKeyData key;

		if (OidIsValid(role) ? !s->of_roles : !s->of_database)
			continue;
		ScanKeyInit(&key, s->attribute, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
		scan_catalog(s, &key, snapshot, cxt, fn, arg);
	}
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(cxt);
}

char *
role_comment(Oid class_id, Oid object_id)
{
	Relation	rel = table_open(SharedDescriptionRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	row;
	char	   *comment = NULL;

	ScanKeyInit(&key[0], Anum_pg_shdescription_objoid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	ScanKeyInit(&key[1], Anum_pg_shdescription_classoid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(class_id));
	scan = systable_beginscan(rel, SharedDescriptionObjIndexId, true, NULL, 2, key);
	row = systable_getnext(scan);
	if (row != NULL)
	{
		bool		isnull;
		Datum		value = heap_getattr(row, Anum_pg_shdescription_description,
										 RelationGetDescr(rel), &isnull);

		comment = isnull ? NULL : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return comment;
}
