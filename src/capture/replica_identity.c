/*
 * replica_identity.c - tables without a usable key get REPLICA IDENTITY FULL.
 *
 * A changed row must be found on the replicas, so the stream has to say which one it
 * was.  Every table that comes into being, or loses its key, is looked at when the
 * command is over: also those that the command, or an extension's script, makes in
 * its course.
 */
#include "capture/ddl.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

static object_access_hook_type prev_object_access = NULL;

/* Tables to look at, of this transaction. */
static List *touched = NIL;

static void
touch(Oid relid)
{
	MemoryContext old;

	if (!OidIsValid(relid) || relid < FirstNormalObjectId)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	touched = list_append_unique_oid(touched, relid);
	MemoryContextSwitchTo(old);
}

static void
note_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id != RelationRelationId || sub_id != 0 || node_mine() == NULL)
		return;
	if (access == OAT_POST_CREATE || access == OAT_POST_ALTER)
		touch(object_id);
	else if (access == OAT_DROP && get_rel_relkind(object_id) == RELKIND_INDEX)
		touch(IndexGetRelation(object_id, true));
}

/* A list of another transaction is gone with its memory. */
static void
forget(XactEvent event, void *arg)
{
	touched = NIL;
}

static bool
lacks_identity(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT &&
		rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL &&
		!OidIsValid(RelationGetReplicaIndex(rel));
}

static void
make_full(NodeShared *node, Oid relid, const char *name)
{
	AlterTableCmd *cmd = makeNode(AlterTableCmd);
	ReplicaIdentityStmt *identity = makeNode(ReplicaIdentityStmt);

	identity->identity_type = REPLICA_IDENTITY_FULL;
	cmd->subtype = AT_ReplicaIdentity;
	cmd->def = (Node *) identity;
	ddl_log(node, psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL", name), 0);
	AlterTableInternal(relid, list_make1(cmd), false);
	CommandCounterIncrement();
	ereport(NOTICE,
			(errmsg("table %s has no primary key: its replica identity is FULL", name),
			 errdetail("Otherwise its changed rows could not be found on the replicas.")));
}

void
replica_identity_check(NodeShared *node)
{
	List	   *tables = touched;
	ListCell   *lc;

	touched = NIL;
	if (tables == NIL)
		return;
	CommandCounterIncrement();
	foreach(lc, tables)
	{
		Relation	rel = try_relation_open(lfirst_oid(lc), AccessShareLock);
		char	   *name = NULL;
		char	   *schema;

		if (rel == NULL)
			continue;
		schema = get_namespace_name(RelationGetNamespace(rel));
		if (lacks_identity(rel) && strcmp(schema, "baton") != 0)
			name = quote_qualified_identifier(schema, RelationGetRelationName(rel));
		relation_close(rel, AccessShareLock);
		if (name != NULL)
			make_full(node, lfirst_oid(lc), name);
	}
	touched = NIL;
}

/* Called by _PG_init. */
void
replica_identity_install_hooks(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_object;
	RegisterXactCallback(forget, NULL);
}
