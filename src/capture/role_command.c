/*
 * role_command.c - which rows of the shared catalogs has a command changed?
 *
 * The command names roles.  Their rows are noted before it and looked at behind it:
 * what is there and was written by this transaction travels as it is; what was there
 * and is not any more travels as gone.  So it does not matter in which words a role
 * was made, and what was in them; a password that was given as clear text is nowhere
 * but in the command.
 *
 * A name that changes is told as that, ahead of the row: what the role owns stays its
 * own on the replicas too.
 */
#include "capture/roles.h"

#include "capture/ddl.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "capture/ddl.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct RoleBefore
{
	RoleState	state;			/* without texts */
	bool		seen;			/* it is there when the command is over */
} RoleBefore;

/* ---- kinds ---- */

static bool
is_own_database(const char *name)
{
	return name != NULL && get_database_oid(name, true) == MyDatabaseId;
}

bool
role_command_is(Node *parsetree)
{
	Node	   *object;

	switch (nodeTag(parsetree))
	{
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_GrantRoleStmt:
		case T_AlterDatabaseStmt:
		case T_AlterDatabaseSetStmt:
			return true;
		case T_CommentStmt:
		case T_RenameStmt:
			return ddl_object_type(parsetree, &object) == OBJECT_ROLE ||
				ddl_object_type(parsetree, &object) == OBJECT_DATABASE;
		case T_AlterOwnerStmt:
		case T_GrantStmt:
			return ddl_object_type(parsetree, &object) == OBJECT_DATABASE;
		default:
			return false;
	}
}

bool
role_command_stays(Node *parsetree)
{
	Node	   *object;
	ObjectType	type = ddl_object_type(parsetree, &object);

	if (role_command_is(parsetree) || type == OBJECT_TABLESPACE)
		return true;
	/* the name of the database may be another one there */
	if (type == OBJECT_DATABASE || IsA(parsetree, AlterDatabaseRefreshCollStmt))
		return true;
	/* labels, whose providers are asked on each server, and privileges on settings */
	if (type == OBJECT_ROLE || type == OBJECT_PARAMETER_ACL)
		return !baton_replicate_roles;
	return false;
}

/* Commands that travel as text, and in whatever database they are given may change who
 * owns this one, or may use it. */
static bool
changes_database(Node *parsetree)
{
	return parsetree != NULL && (IsA(parsetree, DropOwnedStmt) || IsA(parsetree, ReassignOwnedStmt));
}

/* ---- which roles ---- */

static List *
add_role(List *roles, Oid role)
{
	return OidIsValid(role) ? list_append_unique_oid(roles, role) : roles;
}

static List *
add_specs(List *roles, List *specs)
{
	ListCell   *lc;

	foreach(lc, specs)
		roles = add_role(roles, get_rolespec_oid(lfirst(lc), true));
	return roles;
}

/* Roles that CREATE ROLE or ALTER GROUP names in one of its options. */
static List *
add_option(List *roles, List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);

		if (strcmp(def->defname, name) == 0)
			roles = add_specs(roles, (List *) def->arg);
	}
	return roles;
}

static List *
add_granted(List *roles, List *granted)
{
	ListCell   *lc;

	foreach(lc, granted)
	{
		AccessPriv *priv = (AccessPriv *) lfirst(lc);

		if (priv->priv_name != NULL)
			roles = add_role(roles, get_role_oid(priv->priv_name, true));
	}
	return roles;
}

static List *
roles_of_grant(GrantRoleStmt *stmt)
{
	List	   *roles = add_specs(NIL, stmt->grantee_roles);

	/* memberships that the grantee has granted on may go with its own */
	return !stmt->is_grant && stmt->behavior == DROP_CASCADE ?
		add_granted(roles, stmt->granted_roles) : roles;
}

static List *
roles_of_setting(AlterRoleSetStmt *stmt)
{
	if (stmt->database != NULL && !is_own_database(stmt->database))
		return NIL;
	return stmt->role == NULL ? list_make1_oid(InvalidOid) : add_specs(NIL, list_make1(stmt->role));
}

static bool
names_own_database(List *names)
{
	ListCell   *lc;

	foreach(lc, names)
		if (is_own_database(strVal(lfirst(lc))))
			return true;
	return false;
}

static List *
roles_of_object(Node *parsetree)
{
	Node	   *object;

	if (ddl_object_type(parsetree, &object) == OBJECT_ROLE)
		return add_role(NIL, get_role_oid(strVal(object), true));
	return is_own_database(strVal(object)) ? list_make1_oid(InvalidOid) : NIL;
}

static List *
roles_of_rename(RenameStmt *stmt)
{
	return stmt->renameType == OBJECT_ROLE ? add_role(NIL, get_role_oid(stmt->subname, true)) : NIL;
}

/*
 * The roles that the command is about, InvalidOid among them for this database and
 * all roles' settings.  Those that are not there (yet) are left out.
 */
static List *
roles_of(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateRoleStmt:
			return add_role(NIL, get_role_oid(((CreateRoleStmt *) parsetree)->role, true));
		case T_AlterRoleStmt:
			return add_option(add_specs(NIL, list_make1(((AlterRoleStmt *) parsetree)->role)),
							  ((AlterRoleStmt *) parsetree)->options, "rolemembers");
		case T_AlterRoleSetStmt:
			return roles_of_setting((AlterRoleSetStmt *) parsetree);
		case T_DropRoleStmt:
			return add_specs(NIL, ((DropRoleStmt *) parsetree)->roles);
		case T_GrantRoleStmt:
			return roles_of_grant((GrantRoleStmt *) parsetree);
		case T_AlterDatabaseStmt:
			return is_own_database(((AlterDatabaseStmt *) parsetree)->dbname) ? list_make1_oid(InvalidOid) : NIL;
		case T_AlterDatabaseSetStmt:
			return is_own_database(((AlterDatabaseSetStmt *) parsetree)->dbname) ? list_make1_oid(InvalidOid) : NIL;
		case T_GrantStmt:
			return names_own_database(((GrantStmt *) parsetree)->objects) ? list_make1_oid(InvalidOid) : NIL;
		case T_RenameStmt:
			return roles_of_rename((RenameStmt *) parsetree);
		case T_CommentStmt:
		case T_AlterOwnerStmt:
			return roles_of_object(parsetree);
		default:
			return NIL;
	}
}

/* All roles that the rows name which the command will have changed, as far as they are there. */
static List *
roles_named(Node *parsetree)
{
	if (IsA(parsetree, GrantRoleStmt))
	{
		GrantRoleStmt *stmt = (GrantRoleStmt *) parsetree;

		return add_granted(add_specs(NIL, stmt->grantee_roles), stmt->granted_roles);
	}
	if (IsA(parsetree, CreateRoleStmt))
	{
		List	   *options = ((CreateRoleStmt *) parsetree)->options;

		return add_option(add_option(add_option(NIL, options, "addroleto"), options, "rolemembers"),
						  options, "adminmembers");
	}
	return roles_of(parsetree);
}

/* ---- before ---- */

static void
note_before(RoleState *state, Relation catalog, HeapTuple row, void *arg)
{
	RoleCommand *command = arg;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(command->before));
	RoleBefore *before = palloc0(sizeof(RoleBefore));

	before->state.key = state->key;
	before->state.record = state->record;
	command->before = lappend(command->before, before);
	MemoryContextSwitchTo(old);
}

/*
 * A name is about to change or go, whether this database has a node or not.
 *
 * Commands in the stream name roles, so a transaction whose commands name one must come
 * before the new name.  What a command makes depend on a role it locks until its
 * transaction ends, and DROP ROLE waits for that: a new name is made to.
 */
static void
lock_name(Node *parsetree)
{
	bool		renames = IsA(parsetree, RenameStmt) && ((RenameStmt *) parsetree)->renameType == OBJECT_ROLE;
	Oid			role;

	/* who has no right to it gets an error from the command, and must not hold up others */
	if ((!renames && !IsA(parsetree, DropRoleStmt)) || !has_createrole_privilege(GetUserId()))
		return;
	roles_lock_rename();
	if (!renames)
		return;
	/* another role may get the name while the lock is waited for */
	do
	{
		role = get_role_oid(((RenameStmt *) parsetree)->subname, true);
		if (OidIsValid(role))
			LockSharedObject(AuthIdRelationId, role, 0, AccessExclusiveLock);
	} while (role != get_role_oid(((RenameStmt *) parsetree)->subname, true));
}

void
role_command_begin(RoleCommand *command, Node *parsetree, NodeShared *node)
{
	List	   *roles;
	ListCell   *lc;

	command->known = role_command_is(parsetree);
	command->parsetree = parsetree;
	command->node = node;
	lock_name(parsetree);
	if (!command->known || node == NULL)
		return;
	roles = roles_of(parsetree);
	if (list_member_oid(roles, InvalidOid))
		roles_log_needed(node);
	else
		roles_log_named(node, roles_named(parsetree));
	roles_lock_shared();
	/* an empty entry, so that the list has a place */
	command->before = list_make1(palloc0(sizeof(RoleBefore)));
	foreach(lc, roles)
		role_states_of(lfirst_oid(lc), note_before, command);
}

/* ---- behind ---- */

static RoleBefore *
find_before(RoleCommand *command, const RoleKey *key)
{
	ListCell   *lc;

	foreach(lc, command->before)
	{
		RoleBefore *before = (RoleBefore *) lfirst(lc);

		if (memcmp(&before->state.key, key, sizeof(RoleKey)) == 0)
			return before;
	}
	return NULL;
}

static void
log_if_carried(RoleCommand *command, const RoleState *state)
{
	if (baton_replicate_roles || !role_item_is_shared(&state->record))
		roles_log(command->node, state);
}

/* The role has another name than before. */
static void
log_rename(RoleCommand *command, const RoleState *before, const RoleState *state)
{
	RoleState	rename = *before;

	if (strcmp(before->record.name, state->record.name) == 0 ||
		before->key.role == BOOTSTRAP_SUPERUSERID)
		return;
	rename.record.item = ROLE_RENAMED;
	rename.record.n_texts = 0;
	rename.record.flags &= RECORD_ROLE_POWERFUL;
	strlcpy(rename.record.other, state->record.name, RECORD_NAME_LEN);
	log_if_carried(command, &rename);
}

static void
log_behind(RoleState *state, Relation catalog, HeapTuple row, void *arg)
{
	RoleCommand *command = arg;
	RoleBefore *before = find_before(command, &state->key);

	if (before != NULL && before->seen)
		return;
	if (before != NULL)
	{
		before->seen = true;
		state->record.flags |= before->state.record.flags & RECORD_ROLE_POWERFUL;
		if (state->key.item == ROLE_ATTRIBUTES)
			log_rename(command, &before->state, state);
	}
	/* what others have written, they have told */
	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row->t_data)))
		log_if_carried(command, state);
}

/* The row is gone: what is there instead?  False: nothing that needs to be said. */
static bool
make_gone(RoleState *state)
{
	RecordRole *r = &state->record;

	r->n_texts = 0;
	state->texts = NULL;
	switch (r->item)
	{
		case ROLE_ATTRIBUTES:
			r->item = ROLE_GONE;
			r->flags &= RECORD_ROLE_POWERFUL;
			return true;
		case ROLE_MEMBER:
			/* a role takes its memberships along */
			r->item = ROLE_NO_MEMBER;
			r->flags &= RECORD_ROLE_POWERFUL;
			return OidIsValid(get_role_oid(r->name, true)) && OidIsValid(get_role_oid(r->other, true));
		case ROLE_SETTINGS:
		case ROLE_COMMENT:
			r->flags &= ~RECORD_ROLE_TEXTS;
			return r->name[0] == '\0' || OidIsValid(get_role_oid(r->name, true));
		default:
			return false;
	}
}

/* The command may have made the role that it names. */
static List *
roles_behind(RoleCommand *command)
{
	List	   *roles = roles_of(command->parsetree);
	ListCell   *lc;

	foreach(lc, command->before)
	{
		RoleBefore *before = (RoleBefore *) lfirst(lc);

		if (before->state.key.item == ROLE_ATTRIBUTES)
			roles = add_role(roles, before->state.key.role);
	}
	return roles;
}

void
role_command_end(RoleCommand *command)
{
	ListCell   *lc;

	if (!command->known && !changes_database(command->parsetree))
		return;
	roles_touched(command->node != NULL);
	if (!command->known || command->node == NULL)
		return;
	CommandCounterIncrement();
	foreach(lc, roles_behind(command))
		role_states_of(lfirst_oid(lc), log_behind, command);
	foreach(lc, command->before)
	{
		RoleBefore *before = (RoleBefore *) lfirst(lc);

		if (before->state.key.item != 0 && !before->seen && make_gone(&before->state))
			log_if_carried(command, &before->state);
	}
}
