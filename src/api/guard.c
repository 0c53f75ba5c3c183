/*
 * guard.c - keeps a node's database and its extension from being dropped while
 * the node is in a group.
 */
#include "api/api.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"

static object_access_hook_type prev_object_access_hook = NULL;

static void
refuse_drop_database(Oid dboid)
{
	if (node_find(dboid) == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("database \"%s\" is a node of a baton group", get_database_name(dboid)),
			 errhint("Call baton.leave_group() in that database first.")));
}

static void
refuse_drop_extension(Oid extension)
{
	char	   *name = get_extension_name(extension);

	if (name == NULL || strcmp(name, "baton") != 0 || node_mine() == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("cannot drop extension baton: this database is a node of a group"),
			 errhint("Call baton.leave_group() first.")));
}

static void
guard_object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class_id, object_id, sub_id, arg);
	if (access != OAT_DROP)
		return;
	if (class_id == DatabaseRelationId)
		refuse_drop_database(object_id);
	else if (class_id == ExtensionRelationId)
		refuse_drop_extension(object_id);
}

/* Called by _PG_init. */
void
guard_install_hooks(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = guard_object_access;
}
