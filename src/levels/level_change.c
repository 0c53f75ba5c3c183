/*
 * level_change.c - the level of a table changes, in one transaction on all nodes.
 *
 * The session's transaction sets the label and writes to the stream what replicas have
 * to do, at its place among all other transactions:
 *
 *   to none		DROP what they have: the table, its partitions, views over it
 *   to schema		the label; the applier empties the table when it sets it
 *   none to other	the definition, as pg_dump tells it, with the views over it
 *   to all			the label, and all rows
 *
 * and in any case foreign keys that they can, or cannot, have from then on.  Nothing of
 * this is done anywhere if the transaction is rolled back.
 *
 * Locks.  Writers of the table are locked out until the end; others go on.  Before a
 * table is left out readers are too: somebody may be making a view over it.
 *
 * The definition of a table that replicas don't have comes from pg_dump, in a connection
 * of its own, which sees what is committed.  So that direction cannot be part of a
 * transaction block, and is the first that its transaction does.
 */
#include "levels/level.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "capture/ddl.h"
#include "capture/identity_mark.h"
#include "capture/roles.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "copy/copy.h"
#include "miscadmin.h"
#include "stream/record.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

typedef struct Change
{
	NodeShared *node;
	ReplicationLevel level;		/* the new one */
	List	   *tables;			/* those whose level changes, parents first */
	List	   *missing;		/* those of them that replicas don't have */
	List	   *views;			/* that are left out, or come back, with them */
	List	   *keys;			/* foreign keys that replicas have before */
	char	   *definition;		/* of missing and views, where they come back */
	List	   *attach;			/* RawStmts of it that are put off */
} Change;

static char *
qualified(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static void
ship(Change *c, const char *command)
{
	ddl_log_as(c->node, command, 0, NULL, "");
}

/* ---- may it be done? ---- */

static void
check_table(Oid relid, ReplicationLevel level)
{
	char		relkind = get_rel_relkind(relid);
	char	   *schema;

	if (relkind == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", get_rel_name(relid)),
				 errdetail("Only tables have a replication level.")));
	schema = get_namespace_name(get_rel_namespace(relid));
	if (relid < FirstNormalObjectId || isTempNamespace(get_rel_namespace(relid)) ||
		get_rel_persistence(relid) == RELPERSISTENCE_TEMP || strcmp(schema, "baton") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot have a replication level", get_rel_name(relid)),
				 errdetail("System tables, temporary tables and baton's own are never replicated.")));
	if (!baton_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	if (level == LEVEL_NONE && OidIsValid(getExtensionOfObject(RelationRelationId, relid)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be left out of replication", get_rel_name(relid)),
				 errdetail("It belongs to an extension, which replicas have."),
				 errhint("The level \"schema\" leaves its rows out.")));
}

/* What inherits from a table that replicas don't have cannot be there either. */
static void
check_parents(Oid relid)
{
	Relation	catalog = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;

		if (level_of(parent) == LEVEL_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" cannot be replicated: it inherits from \"%s\", which is not",
							get_rel_name(relid), get_rel_name(parent)),
					 errhint("Set the level of \"%s\".", get_rel_name(parent))));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
require_no_transaction(Oid relid)
{
	if (IsTransactionBlock() || IsSubTransaction() ||
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("table \"%s\" is not replicated, and cannot be made so inside a transaction block",
						get_rel_name(relid)),
				 errdetail("Its definition is read as it was committed."),
				 errhint("For a new table set baton.default_replication in the transaction.")));
}

/* The table and its partitions, locked, as far as their level changes. */
static void
find_tables(Change *c, Oid relid)
{
	LOCKMODE	mode = c->level == LEVEL_NONE ? AccessExclusiveLock : ShareRowExclusiveLock;
	List	   *tree;
	ListCell   *lc;

	check_table(relid, c->level);
	LockRelationOid(relid, mode);
	AcceptInvalidationMessages();
	check_table(relid, c->level);
	if (c->level != LEVEL_NONE)
		check_parents(relid);
	tree = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ?
		find_all_inheritors(relid, mode, NULL) : list_make1_oid(relid);
	foreach(lc, tree)
	{
		ReplicationLevel old = level_of(lfirst_oid(lc));

		if (old == c->level)
			continue;
		c->tables = lappend_oid(c->tables, lfirst_oid(lc));
		if (old == LEVEL_NONE)
			c->missing = lappend_oid(c->missing, lfirst_oid(lc));
	}
	if (c->missing != NIL)
		require_no_transaction(linitial_oid(c->missing));
}

/* ---- labels ---- */

static void
set_label(Oid relid, ReplicationLevel level)
{
	level_store(relid, level);
	CacheInvalidateRelcacheByRelid(relid);
}

static void
set_labels(Change *c)
{
	ListCell   *lc;

	foreach(lc, c->tables)
		set_label(lfirst_oid(lc), c->level);
	/* a view is there or not */
	foreach(lc, c->views)
		set_label(lfirst_oid(lc), c->level == LEVEL_NONE ? LEVEL_NONE : LEVEL_ALL);
	CommandCounterIncrement();
}

/* ---- foreign keys ---- */

static void
drop_key(Change *c, Form_pg_constraint key)
{
	ship(c, psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s", qualified(key->conrelid),
					 quote_identifier(NameStr(key->conname))));
	ereport(WARNING,
			(errmsg("the foreign key from table \"%s\" to table \"%s\" is left out on the replicas",
					get_rel_name(key->conrelid), get_rel_name(key->confrelid)),
			 errdetail("The replication level of \"%s\" is \"%s\", that of \"%s\" is \"%s\".",
					   get_rel_name(key->conrelid), level_name(level_of(key->conrelid)),
					   get_rel_name(key->confrelid), level_name(level_of_rows(key->confrelid)))));
}

/* Those that replicas had, and cannot have at the new levels. */
static void
drop_keys(Change *c)
{
	ListCell   *lc;

	foreach(lc, c->keys)
	{
		HeapTuple	tuple = SearchSysCache1(CONSTROID, lfirst_oid(lc));
		Form_pg_constraint key = (Form_pg_constraint) GETSTRUCT(tuple);

		/* with the table that has it, it goes anyway */
		if (!level_key_is_carried(key->oid) && level_of(key->conrelid) != LEVEL_NONE)
			drop_key(c, key);
		ReleaseSysCache(tuple);
	}
}

/* Those that they can have again; the table's definition has brought its own. */
static void
add_keys(Change *c)
{
	List	   *keys = level_carried_keys(c->tables);
	ListCell   *lc;

	foreach(lc, keys)
	{
		HeapTuple	tuple = SearchSysCache1(CONSTROID, lfirst_oid(lc));
		Oid			from = ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid;

		ReleaseSysCache(tuple);
		if (!list_member_oid(c->keys, lfirst_oid(lc)) && !list_member_oid(c->missing, from))
			ship(c, pg_get_constraintdef_command(lfirst_oid(lc)));
	}
}

/* ---- what replicas lose ---- */

static const char *
kind_of(Oid relid)
{
	switch (get_rel_relkind(relid))
	{
		case RELKIND_VIEW:
			return "VIEW";
		case RELKIND_MATVIEW:
			return "MATERIALIZED VIEW";
		default:
			return "TABLE";
	}
}

static void
leave_out(Change *c)
{
	ListCell   *lc;

	foreach(lc, c->views)
	{
		ship(c, psprintf("DROP %s IF EXISTS %s CASCADE", kind_of(lfirst_oid(lc)), qualified(lfirst_oid(lc))));
		ereport(WARNING,
				(errmsg("view \"%s\" is left out of replication", get_rel_name(lfirst_oid(lc))),
				 errdetail("It uses what is not replicated.")));
	}
	foreach(lc, c->tables)
		ship(c, psprintf("DROP TABLE IF EXISTS %s CASCADE", qualified(lfirst_oid(lc))));
}

/* ---- what they get ---- */

/* Settings that pg_dump makes for the commands behind, and that change what these mean. */
static bool
is_dump_setting(const char *name)
{
	return strcmp(name, "default_tablespace") == 0 || strcmp(name, "default_table_access_method") == 0 ||
		strcmp(name, "check_function_bodies") == 0 || strcmp(name, "xmloption") == 0;
}

static void
set_here(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* What ALTER TABLE or ALTER INDEX does, first of all; -1 for another command. */
static int
subcommand(Node *stmt)
{
	AlterTableCmd *cmd;

	if (!IsA(stmt, AlterTableStmt))
		return -1;
	cmd = linitial_node(AlterTableCmd, ((AlterTableStmt *) stmt)->cmds);
	return cmd->subtype;
}

/* REPLICA IDENTITY FULL, set by baton and not by a user. */
static bool
is_identity_of_baton(Node *stmt)
{
	return subcommand(stmt) == AT_ReplicaIdentity &&
		identity_is_marked(RangeVarGetRelid(((AlterTableStmt *) stmt)->relation, NoLock, true));
}

static void
ship_statement(Change *c, RawStmt *raw)
{
	int			len = raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(c->definition + raw->stmt_location);

	ddl_log_as(c->node, pnstrdup(c->definition + raw->stmt_location, len),
			   is_identity_of_baton(raw->stmt) ? RECORD_DDL_BY_BATON : 0,
			   level_left_out(raw->stmt), "");
}

/*
 * pg_dump attaches a partition while nothing has indexes.  Where the parent is on the
 * replicas already, it has, and the partition would get its own twice: it is attached
 * when it has them.
 */
static bool
is_early_attach(Change *c, Node *stmt)
{
	return subcommand(stmt) == AT_AttachPartition &&
		((AlterTableStmt *) stmt)->objtype == OBJECT_TABLE &&
		!list_member_oid(c->missing, RangeVarGetRelid(((AlterTableStmt *) stmt)->relation, NoLock, true));
}

/* Does the command count on partitions being attached? */
static bool
needs_attached(Node *stmt)
{
	switch (subcommand(stmt))
	{
		case AT_AttachPartition:
			return ((AlterTableStmt *) stmt)->objtype == OBJECT_INDEX;
		case AT_EnableTrig:
		case AT_EnableAlwaysTrig:
		case AT_EnableReplicaTrig:
		case AT_DisableTrig:
			return true;
		default:
			return false;
	}
}

static void
ship_attach(Change *c)
{
	ListCell   *lc;

	foreach(lc, c->attach)
		ship_statement(c, lfirst_node(RawStmt, lc));
	c->attach = NIL;
}

static void
ship_dumped(Change *c, RawStmt *raw)
{
	VariableSetStmt *set = (VariableSetStmt *) raw->stmt;

	if (IsA(raw->stmt, VariableSetStmt))
	{
		if (set->kind == VAR_SET_VALUE && is_dump_setting(set->name))
			set_here(set->name, ExtractSetVariableArgs(set));
		return;
	}
	if (IsA(raw->stmt, SelectStmt) || level_is_label(raw->stmt))
		return;
	if (is_early_attach(c, raw->stmt))
	{
		c->attach = lappend(c->attach, raw);
		return;
	}
	if (needs_attached(raw->stmt))
		ship_attach(c);
	ship_statement(c, raw);
}

static void
ship_definition(Change *c)
{
	int			nest = NewGUCNestLevel();
	ListCell   *lc;

	set_here("search_path", "");
	set_here("standard_conforming_strings", "on");
	foreach(lc, pg_parse_query(c->definition))
		ship_dumped(c, lfirst_node(RawStmt, lc));
	ship_attach(c);
	AtEOXact_GUC(false, nest);
}

/* A sequence's storage is in the definition's place then: its state follows. */
static void
ship_sequences(Change *c)
{
	ListCell   *table;
	ListCell   *sequence;

	foreach(table, c->missing)
	{
		List	   *sequences = getOwnedSequences(lfirst_oid(table));

		foreach(sequence, sequences)
			level_send_sequence(c->node, lfirst_oid(sequence));
	}
}

static void
ship_label(Change *c, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);

	ship(c, level_label_text(rel, c->level));
	relation_close(rel, NoLock);
}

static void
bring(Change *c)
{
	ListCell   *lc;

	if (c->definition != NULL)
	{
		ship_definition(c);
		ship_sequences(c);
	}
	foreach(lc, c->tables)
		if (c->level == LEVEL_SCHEMA || !list_member_oid(c->missing, lfirst_oid(lc)))
			ship_label(c, lfirst_oid(lc));
	if (c->level == LEVEL_ALL)
		foreach(lc, c->tables)
			level_send_rows(c->node, lfirst_oid(lc));
	foreach(lc, c->views)
		level_send_view(c->node, lfirst_oid(lc));
	add_keys(c);
	if (c->level != LEVEL_ALL)
		return;
	foreach(lc, c->tables)
		replica_identity_touch(lfirst_oid(lc));
	replica_identity_check(c->node);
}

/* ---- all of it ---- */

void
level_change(NodeShared *node, Oid relid, ReplicationLevel level)
{
	Change		c = {node, level};

	find_tables(&c, relid);
	if (c.tables == NIL)
		return;
	if (level == LEVEL_NONE)
		c.views = level_dependent_views(c.tables);
	else if (c.missing != NIL)
	{
		c.views = level_returning_views(c.missing);
		c.definition = copy_definition(node, list_concat_copy(c.missing, c.views));
	}
	c.keys = level_carried_keys(c.tables);
	roles_log_needed(node);
	set_labels(&c);
	drop_keys(&c);
	if (level == LEVEL_NONE)
		leave_out(&c);
	else
		bring(&c);
}

/* ---- SECURITY LABEL ---- */

bool
level_is_label(Node *parsetree)
{
	SecLabelStmt *stmt = (SecLabelStmt *) parsetree;

	return IsA(parsetree, SecLabelStmt) && stmt->provider != NULL &&
		strcmp(stmt->provider, LEVEL_PROVIDER) == 0;
}

void
level_label(NodeShared *node, SecLabelStmt *stmt)
{
	Relation	rel = NULL;
	ObjectAddress address = get_object_address(stmt->objtype, stmt->object, &rel, AccessShareLock, false);
	ReplicationLevel level;

	if (rel != NULL)
		relation_close(rel, NoLock);
	if (address.classId != RelationRelationId || address.objectSubId != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("only tables have a replication level")));
	level = stmt->label ? level_parse(stmt->label) : LEVEL_ALL;
	/* a dump says it of views, too, which are made with the level that they have */
	if (level_of(address.objectId) != level)
		level_change(node, address.objectId, level);
}
