/*
 * role.c - roles, and what else all databases of a server share.
 *
 * A record says what a row is on the source, and this server's is made the same,
 * whatever it was; one that is the same already is left alone, which it always is
 * where both nodes are databases of one server.  What is written here is not passed
 * on to nodes of other groups in this server.
 *
 * Several databases of this server may be nodes of the group.  Then one of them brings
 * the roles, the primary itself if it is among them: another that is behind would bring
 * back what has been renamed or dropped meanwhile.
 *
 * Rights.  The source's server has decided who may change what there; here the rows
 * are written as a superuser.  So that nobody becomes more than he is on the source:
 *
 * - the superuser that this server was made with stays as it is;
 * - a role that is a superuser here, and neither is nor was one on the source, is
 *   another one that happens to have the same name.  It is left alone, and nobody
 *   becomes a member of it.
 *
 * These, and what cannot be done here (a role that other databases of this server
 * depend on is not dropped), don't stop apply: they are noted.  Two roles where the
 * source has one under a new name do stop it, for which one owns what in this
 * database is for a person to say.
 */
#include "apply/apply.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "capture/roles.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/comment.h"
#include "commands/user.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * Say, in the log and in baton.events, what could not be carried out; once, though
 * the record may come again.
 */
void
apply_role_note(LocalTransaction *t, const char *fmt,...)
{
	char		text[BATON_ERROR_LEN];
	va_list		args;
	uint32		hash;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	hash = hash_bytes((unsigned char *) text, strlen(text));
	for (int i = 0; i < APPLY_ROLE_NOTES; i++)
		if (t->role_notes[i] == hash)
			return;
	t->role_notes[t->n_role_notes++ % APPLY_ROLE_NOTES] = hash;
	ereport(WARNING, (errmsg("applying the replication stream: %s", text)));
	if (node_mine() != NULL)
		node_note(node_mine(), "role", "%s", text);
}

/* Is it a role of this server's own, which only has the same name? */
static bool
is_another(Oid role, const RecordRole *r)
{
	return superuser_arg(role) && (r->flags & RECORD_ROLE_POWERFUL) == 0;
}

/* As is_another(), and says so. */
static bool
refused(LocalTransaction *t, Oid role, const RecordRole *r)
{
	if (!is_another(role, r))
		return false;
	apply_role_note(t, "role \"%s\" is a superuser here and not where the change comes from: it is left as it is",
					r->name);
	return true;
}

/* Does the row belong to the server, and not to this database? */
static bool
is_of_server(const RecordRole *r)
{
	return role_item_is_shared(r) && (r->item != ROLE_SETTINGS || (r->flags & RECORD_ROLE_HERE) == 0);
}

/* Does another node of this group and server, which goes before this one, bring roles? */
static bool
another_brings_roles(void)
{
	NodeShared *self = node_mine();
	bool		another = false;

	for (int i = 0; self != NULL && i < baton_shared->max_nodes && !another; i++)
	{
		NodeShared *node = &baton_shared->nodes[i];

		if (node == self || !OidIsValid(node->dboid))
			continue;
		LWLockAcquire(&node->state_lock, LW_SHARED);
		another = memcmp(node->group_id, self->group_id, sizeof(node->group_id)) == 0 &&
			(node->state == NODE_PRIMARY ||
			 (node->state == NODE_REPLICA && node->dboid < self->dboid));
		LWLockRelease(&node->state_lock);
	}
	return another;
}

static RoleSpec *
spec(const char *name)
{
	RoleSpec   *role = makeNode(RoleSpec);

	role->roletype = ROLESPEC_CSTRING;
	role->rolename = pstrdup(name);
	role->location = -1;
	return role;
}

/* ---- roles themselves ---- */

static void
apply_attributes(LocalTransaction *t, RecordRole *r)
{
	Oid			role = get_role_oid(r->name, true);

	if (OidIsValid(role) &&
		((r->flags & RECORD_ROLE_IF_MISSING) != 0 || refused(t, role, r) || role == BOOTSTRAP_SUPERUSERID))
		return;
	apply_role_attributes(role, r);
}

static void
apply_gone(LocalTransaction *t, RecordRole *r)
{
	Oid			role = get_role_oid(r->name, true);
	DropRoleStmt *stmt;
	char	   *detail;
	char	   *detail_log;

	if (!OidIsValid(role) || refused(t, role, r))
		return;
	if (role == BOOTSTRAP_SUPERUSERID || checkSharedDependencies(AuthIdRelationId, role, &detail, &detail_log))
	{
		apply_role_note(t, "role \"%s\" is dropped on the primary and stays here, because %s", r->name,
						role == BOOTSTRAP_SUPERUSERID ? "this server was made with it" :
						"objects of this server depend on it");
		return;
	}
	stmt = makeNode(DropRoleStmt);
	stmt->roles = list_make1(spec(r->name));
	stmt->missing_ok = true;
	DropRole(stmt);
}

/* The attributes follow in a record of their own. */
static void
apply_renamed(LocalTransaction *t, RecordRole *r)
{
	Oid			role = get_role_oid(r->name, true);

	if (!OidIsValid(role) || role == BOOTSTRAP_SUPERUSERID || refused(t, role, r))
		return;
	if (OidIsValid(get_role_oid(r->other, true)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("role \"%s\" has been renamed to \"%s\" on the primary, and both are here", r->name, r->other),
				 errhint("Rename or drop the one of them that is not the primary's, then apply goes on.")));
	(void) RenameRole(r->name, r->other);
}

/* ---- memberships ---- */

/* Is the row as the record says?  *found: it is there in some form. */
static bool
membership_is(Oid role, Oid member, Oid grantor, const RecordRole *r, bool *found)
{
	Relation	rel = table_open(AuthMemRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	row;
	bool		same = false;

	ScanKeyInit(&key[0], Anum_pg_auth_members_roleid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
	ScanKeyInit(&key[1], Anum_pg_auth_members_member, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(member));
	scan = systable_beginscan(rel, AuthMemRoleMemIndexId, true, NULL, 2, key);
	*found = false;
	while ((row = systable_getnext(scan)) != NULL)
	{
		Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(row);

		if (OidIsValid(BATON_MEMBERSHIP_KEY_GRANTOR(form)) && OidIsValid(grantor) && form->grantor != grantor)
			continue;
		*found = true;
		same = form->admin_option == ((r->flags & RECORD_ROLE_ADMIN) != 0) &&
			BATON_MEMBERSHIP_INHERITS(form) == ((r->flags & RECORD_ROLE_INHERITS) != 0) &&
			BATON_MEMBERSHIP_SETS(form) == ((r->flags & RECORD_ROLE_SETS) != 0) &&
			(!OidIsValid(grantor) || form->grantor == grantor);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return same;
}

static void
change_membership(bool is_grant, const RecordRole *r, const char *grantor)
{
	GrantRoleStmt *stmt = makeNode(GrantRoleStmt);
	AccessPriv *granted = makeNode(AccessPriv);

	granted->priv_name = pstrdup(r->name);
	stmt->granted_roles = list_make1(granted);
	stmt->grantee_roles = list_make1(spec(r->other));
	stmt->is_grant = is_grant;
	stmt->behavior = DROP_CASCADE;
	stmt->grantor = grantor[0] != '\0' ? spec(grantor) : NULL;
	baton_grant_role(stmt, (r->flags & RECORD_ROLE_ADMIN) != 0,
					 (r->flags & RECORD_ROLE_INHERITS) != 0, (r->flags & RECORD_ROLE_SETS) != 0);
	CommandCounterIncrement();
}

/* The roles of a membership; false, and noted, if one is not here. */
static bool
find_roles(LocalTransaction *t, const RecordRole *r, Oid *role, Oid *member)
{
	*role = get_role_oid(r->name, true);
	*member = get_role_oid(r->other, true);
	if (OidIsValid(*role) && OidIsValid(*member))
		return true;
	apply_role_note(t, "role \"%s\" does not exist here: the membership of \"%s\" in \"%s\" is left out",
					OidIsValid(*role) ? r->other : r->name, r->other, r->name);
	return false;
}

static void
apply_member(LocalTransaction *t, RecordRole *r)
{
	Oid			role;
	Oid			member;
	Oid			grantor;
	bool		found;

	if (!find_roles(t, r, &role, &member) || refused(t, role, r))
		return;
	/* a grantor that this server would not accept gives way to its own superuser */
	grantor = get_role_oid(r->grantor, true);
	if (!OidIsValid(grantor) || !baton_may_grant(grantor, role))
		r->grantor[0] = '\0';
	if (membership_is(role, member, r->grantor[0] != '\0' ? grantor : InvalidOid, r, &found))
		return;
	if (found)
		change_membership(false, r, r->grantor);
	if (is_member_of_role_nosuper(role, member))
	{
		apply_role_note(t, "\"%s\" is a member of \"%s\" here: the membership of \"%s\" in \"%s\" is left out",
						r->name, r->other, r->other, r->name);
		return;
	}
	change_membership(true, r, r->grantor);
}

static void
apply_no_member(RecordRole *r)
{
	Oid			role = get_role_oid(r->name, true);
	Oid			member = get_role_oid(r->other, true);
	bool		found;

	if (!OidIsValid(role) || !OidIsValid(member) || is_another(role, r))
		return;
	(void) membership_is(role, member, InvalidOid, r, &found);
	if (found)
		change_membership(false, r, "");
}

/* ---- settings, comments, the database ---- */

static void
apply_settings(LocalTransaction *t, RecordRole *r)
{
	Oid			role = InvalidOid;

	if (r->name[0] != '\0')
	{
		role = get_role_oid(r->name, true);
		if (!OidIsValid(role) || refused(t, role, r))
			return;
	}
	apply_role_settings(role, (r->flags & RECORD_ROLE_HERE) != 0 ? MyDatabaseId : InvalidOid, r);
}

static void
apply_comment(RecordRole *r)
{
	Oid			class_id = r->name[0] != '\0' ? AuthIdRelationId : DatabaseRelationId;
	Oid			object = r->name[0] != '\0' ? get_role_oid(r->name, true) : MyDatabaseId;
	char	   *comment = NULL;
	char	   *present;
	RecordText	text;

	if (!OidIsValid(object) || (class_id == AuthIdRelationId && is_another(object, r)))
		return;
	if (r->n_texts > 0)
	{
		record_get_text(&r->texts, &text);
		comment = pnstrdup(text.text, text.len);
	}
	present = role_comment(class_id, object);
	if (comment == NULL ? present != NULL : present == NULL || strcmp(comment, present) != 0)
		CreateSharedComments(object, class_id, comment);
}

static void
apply_database(LocalTransaction *t, RecordRole *r)
{
	Oid			owner = get_role_oid(r->name, true);

	if (!OidIsValid(owner))
		apply_role_note(t, "role \"%s\", which owns the database on the primary, does not exist here: the owner stays",
						r->name);
	apply_role_database(t, owner, r);
}

/*
 * Carry out a ROLE record.  Raises ERRCODE_DUPLICATE_OBJECT for a rename that has no
 * place here, and what writing the catalogs raises.
 */
void
apply_role(LocalTransaction *t, const Record *record)
{
	StreamError err = {0};
	RecordRole	r;

	if (record_get_role(record, &r, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("%s", err.message)));
	if (!baton_replicate_roles && role_item_is_shared(&r))
		return;
	if (is_of_server(&r) && another_brings_roles())
		return;
	apply_flush_inserts(t, NULL);
	local_become_self(t);
	local_make_visible(t);
	switch (r.item)
	{
		case ROLE_ATTRIBUTES:
			apply_attributes(t, &r);
			break;
		case ROLE_GONE:
			apply_gone(t, &r);
			break;
		case ROLE_RENAMED:
			apply_renamed(t, &r);
			break;
		case ROLE_MEMBER:
			apply_member(t, &r);
			break;
		case ROLE_NO_MEMBER:
			apply_no_member(&r);
			break;
		case ROLE_SETTINGS:
			apply_settings(t, &r);
			break;
		case ROLE_COMMENT:
			apply_comment(&r);
			break;
		case ROLE_DATABASE:
			apply_database(t, &r);
			break;
	}
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}
