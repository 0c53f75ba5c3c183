/*
 * ddl_room.c - makes room for a table of the group where this node has one of its own.
 *
 * A table whose replication level is none is a node's own, and stays when the node has
 * ceased to lead.  If the group then makes a table or view of the same name, the own one
 * must not be lost, nor stop the applier: it is moved, with its indexes and sequences,
 * into a schema baton_kept_<its oid>.
 */
#include "apply/apply.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The relation that a command makes, or NULL. */
static RangeVar *
made(Node *command)
{
	switch (nodeTag(command))
	{
		case T_CreateStmt:
			return ((CreateStmt *) command)->relation;
		case T_CreateForeignTableStmt:
			return ((CreateForeignTableStmt *) command)->base.relation;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) command)->into->rel;
		case T_CreateSeqStmt:
			return ((CreateSeqStmt *) command)->sequence;
		case T_ViewStmt:
			return ((ViewStmt *) command)->view;
		default:
			return NULL;
	}
}

static void
run(const char *text)
{
	PlannedStmt *plan = makeNode(PlannedStmt);
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(text));

	plan->commandType = CMD_UTILITY;
	plan->canSetTag = true;
	plan->utilityStmt = raw->stmt;
	ProcessUtility(plan, text, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

static void
move(Oid table)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
												  get_rel_name(table));
	char		relkind = get_rel_relkind(table);
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context);
	run(psprintf("CREATE SCHEMA baton_kept_%u", table));
	run(psprintf("ALTER %s %s SET SCHEMA baton_kept_%u",
				 relkind == RELKIND_VIEW ? "VIEW" : relkind == RELKIND_MATVIEW ? "MATERIALIZED VIEW" : "TABLE",
				 name, table));
	SetUserIdAndSecContext(user, context);
	ereport(LOG,
			(errmsg("%s, which is not replicated, is moved to schema baton_kept_%u", name, table),
			 errdetail("The group has made another relation of its name.")));
}

void
apply_make_room(Node *command)
{
	RangeVar   *rv = made(command);
	Oid			relid = InvalidOid;

	if (rv != NULL)
		relid = get_relname_relid(rv->relname, RangeVarGetCreationNamespace(rv));
	if (OidIsValid(relid) && level_leaves_out(relid))
		move(level_table_of(RelationRelationId, relid));
}
