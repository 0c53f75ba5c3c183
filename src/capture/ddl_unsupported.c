/*
 * ddl_unsupported.c - commands that make something which replicas will not have: what
 * the session is told.  The view baton.unsupported lists the same, as long as it lasts.
 */
#include "capture/ddl.h"

#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"

static char *
tablespace_stays(const char *name)
{
	return name == NULL || name[0] == '\0' || strcmp(name, "pg_default") == 0 ? NULL :
		psprintf("tablespace \"%s\" is used only by replicas whose servers have one of that name", name);
}

/* rel may be NULL: then its persistence says nothing. */
static char *
table_stays(const RangeVar *rel, const char *tablespace)
{
	if (rel != NULL && rel->relpersistence == RELPERSISTENCE_TEMP)
		return NULL;
	if (rel != NULL && rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		return psprintf("rows of unlogged table \"%s\" are not carried to replicas", rel->relname);
	return tablespace_stays(tablespace);
}

static char *
alteration_stays(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (cmd->subtype == AT_SetUnLogged)
			return psprintf("rows of unlogged table \"%s\" are not carried to replicas",
							stmt->relation->relname);
		if (cmd->subtype == AT_SetTableSpace)
			return tablespace_stays(cmd->name);
	}
	return NULL;
}

static char *
function_stays(const CreateFunctionStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);

		if (strcmp(def->defname, "language") == 0 && pg_strcasecmp(defGetString(def), "c") == 0)
			return psprintf("function \"%s\" needs its library on the servers of the replicas, too",
							strVal(llast(stmt->funcname)));
	}
	return NULL;
}

static char *
schema_stays(const CreateSchemaStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->schemaElts)
	{
		char	   *what = ddl_unsupported((Node *) lfirst(lc));

		if (what != NULL)
			return what;
	}
	return NULL;
}

char *
ddl_unsupported(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
			return table_stays(((CreateStmt *) parsetree)->relation,
							   ((CreateStmt *) parsetree)->tablespacename);
		case T_CreateTableAsStmt:
			return table_stays(((CreateTableAsStmt *) parsetree)->into->rel,
							   ((CreateTableAsStmt *) parsetree)->into->tableSpaceName);
		case T_IndexStmt:
			return table_stays(NULL, ((IndexStmt *) parsetree)->tableSpace);
		case T_AlterTableStmt:
			return alteration_stays((AlterTableStmt *) parsetree);
		case T_AlterTableMoveAllStmt:
			return tablespace_stays(((AlterTableMoveAllStmt *) parsetree)->new_tablespacename);
		case T_CreateTableSpaceStmt:
			return psprintf("tablespace \"%s\" is made on this server only",
							((CreateTableSpaceStmt *) parsetree)->tablespacename);
		case T_CreateSubscriptionStmt:
			return psprintf("subscription \"%s\" is made on this node only; the rows that it brings are carried",
							((CreateSubscriptionStmt *) parsetree)->subname);
		case T_CreateFunctionStmt:
			return function_stays((CreateFunctionStmt *) parsetree);
		case T_CreateSchemaStmt:
			return schema_stays((CreateSchemaStmt *) parsetree);
		default:
			return NULL;
	}
}
