/*
 * replica_identity.c - tables without a usable key get REPLICA IDENTITY FULL, until
 * they have one.
 *
 * A changed row must be found on the replicas, so the stream has to say which one it
 * was.  Every table that comes into being, loses its key or gets one is looked at when
 * the command is over: also those that the command, or an extension's script, makes in
 * its course.  A table whose rows do not travel needs no identity until they do.
 *
 * What was set here is taken back when the table gets a primary key; what a user has
 * set is left alone.  identity_mark.c remembers which is which.
 */
#include "capture/ddl.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "capture/identity_mark.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/tablecmds.h"
#include "levels/level.h"
#include "nodes/makefuncs.h"
#include "stream/record.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

static object_access_hook_type prev_object_access = NULL;

/* Tables and indexes to look at, of this transaction. */
static List *touched = NIL;

void
replica_identity_touch(Oid relid)
{
	MemoryContext old;

	if (!OidIsValid(relid) || relid < FirstNormalObjectId)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	touched = list_append_unique_oid(touched, relid);
	MemoryContextSwitchTo(old);
}

static void
note_drop(Oid relid)
{
	char		kind = get_rel_relkind(relid);

	if (kind == RELKIND_INDEX)
		replica_identity_touch(IndexGetRelation(relid, true));
	else if (kind == RELKIND_RELATION)
		identity_unmark(relid);
}

static void
note_object(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object_id, sub_id, arg);
	if (class_id != RelationRelationId || sub_id != 0 || node_mine() == NULL)
		return;
	if (access == OAT_POST_CREATE || access == OAT_POST_ALTER)
		replica_identity_touch(object_id);
	else if (access == OAT_DROP)
		note_drop(object_id);
}

/* A list of another transaction is gone with its memory. */
static void
forget(XactEvent event, void *arg)
{
	touched = NIL;
}

void
replica_identity_command(AlterTableStmt *stmt)
{
	Oid			relid;
	ListCell   *lc;

	if (node_mine() == NULL)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	replica_identity_touch(relid);
	foreach(lc, stmt->cmds)
		if (((AlterTableCmd *) lfirst(lc))->subtype == AT_ReplicaIdentity && OidIsValid(relid))
			identity_unmark(relid);
}

/* The replica identity that the table is to get, or 0: it may keep its own. */
static char
wanted_identity(Relation rel)
{
	bool		key;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT ||
		OidIsValid(RelationGetReplicaIndex(rel)) || level_of(RelationGetRelid(rel)) != LEVEL_ALL)
		return 0;
	list_free(RelationGetIndexList(rel));
	key = OidIsValid(baton_primary_key_index(rel));
	if (rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL)
		return key && identity_is_marked(RelationGetRelid(rel)) ? REPLICA_IDENTITY_DEFAULT : 0;
	return key ? REPLICA_IDENTITY_DEFAULT : REPLICA_IDENTITY_FULL;
}

/* ALTER TABLE ... REPLICA IDENTITY, here and in the stream. */
static void
set_identity(NodeShared *node, Oid relid, const char *name, char type)
{
	AlterTableCmd *cmd = makeNode(AlterTableCmd);
	ReplicaIdentityStmt *identity = makeNode(ReplicaIdentityStmt);
	bool		full = type == REPLICA_IDENTITY_FULL;

	identity->identity_type = type;
	cmd->subtype = AT_ReplicaIdentity;
	cmd->def = (Node *) identity;
	ddl_log(node, psprintf("ALTER TABLE ONLY %s REPLICA IDENTITY %s", name, full ? "FULL" : "DEFAULT"),
			full ? RECORD_DDL_BY_BATON : 0);
	AlterTableInternal(relid, list_make1(cmd), false);
	if (full)
		identity_mark(relid);
	else
		identity_unmark(relid);
	CommandCounterIncrement();
}

static void
make_full(NodeShared *node, Oid relid, const char *name)
{
	set_identity(node, relid, name, REPLICA_IDENTITY_FULL);
	ereport(NOTICE,
			(errmsg("table %s has no primary key: its replica identity is FULL", name),
			 errdetail("Otherwise its changed rows could not be found on the replicas.")));
}

/* was: a table whose key has come needs no word, one that was to have none does. */
static void
make_default(NodeShared *node, Oid relid, const char *name, char was)
{
	set_identity(node, relid, name, REPLICA_IDENTITY_DEFAULT);
	if (was != REPLICA_IDENTITY_FULL)
		ereport(NOTICE,
				(errmsg("the replica identity of table %s is its primary key", name),
				 errdetail("Otherwise its changed rows could not be found on the replicas.")));
}

/*
 * A command is at work on it, and this one was given by a function which that has called:
 * the table's turn comes when the outer command is over.
 */
static bool
is_in_use(Relation rel)
{
	return rel->rd_refcnt > 1 || OidIsValid(rel->rd_rel->relrewrite);
}

/* True: not yet. */
static bool
check_table(NodeShared *node, Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	char	   *schema;
	char	   *name;
	char		was;
	char		wanted;

	if (rel == NULL)
		return false;
	if (is_in_use(rel))
	{
		relation_close(rel, AccessShareLock);
		return true;
	}
	schema = get_namespace_name(RelationGetNamespace(rel));
	name = quote_qualified_identifier(schema, RelationGetRelationName(rel));
	was = rel->rd_rel->relreplident;
	wanted = strcmp(schema, "baton") == 0 ? 0 : wanted_identity(rel);
	relation_close(rel, AccessShareLock);
	if (wanted == REPLICA_IDENTITY_FULL)
		make_full(node, relid, name);
	else if (wanted == REPLICA_IDENTITY_DEFAULT)
		make_default(node, relid, name, was);
	return false;
}

/* The tables among `objects`, and those that the indexes among them belong to. */
static List *
tables_of(List *objects)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, objects)
	{
		Oid			relid = lfirst_oid(lc);

		if (get_rel_relkind(relid) == RELKIND_INDEX)
			relid = IndexGetRelation(relid, true);
		if (OidIsValid(relid))
			tables = list_append_unique_oid(tables, relid);
	}
	return tables;
}

void
replica_identity_check(NodeShared *node)
{
	List	   *objects = touched;
	List	   *later = NIL;
	ListCell   *lc;

	touched = NIL;
	if (objects == NIL)
		return;
	CommandCounterIncrement();
	foreach(lc, tables_of(objects))
		if (check_table(node, lfirst_oid(lc)))
			later = lappend_oid(later, lfirst_oid(lc));
	touched = NIL;
	foreach(lc, later)
		replica_identity_touch(lfirst_oid(lc));
}

/* Called by _PG_init. */
void
replica_identity_install_hooks(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = note_object;
	RegisterXactCallback(forget, NULL);
}
