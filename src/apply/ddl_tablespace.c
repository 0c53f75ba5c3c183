/*
 * ddl_tablespace.c - where commands of the stream place what they make.
 *
 * Tablespaces are places of each server's own disks and do not travel.  Where this
 * server has one of the same name, it is used; else what would lie there lies in the
 * database's default tablespace.
 */
#include "postgres.h"

#include "apply/ddl_tablespace.h"

#include "catalog/pg_tablespace_d.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"

static bool
is_missing(const char *name)
{
	return name != NULL && !OidIsValid(get_tablespace_oid(name, true));
}

static void
adapt_name(char **name)
{
	if (is_missing(*name))
		*name = NULL;
}

static void
adapt_constraints(List *constraints)
{
	ListCell   *lc;

	foreach(lc, constraints)
		if (IsA(lfirst(lc), Constraint))
			adapt_name(&((Constraint *) lfirst(lc))->indexspace);
}

static void
adapt_table(CreateStmt *stmt)
{
	ListCell   *lc;

	adapt_name(&stmt->tablespacename);
	adapt_constraints(stmt->tableElts);
	adapt_constraints(stmt->constraints);
	foreach(lc, stmt->tableElts)
		if (IsA(lfirst(lc), ColumnDef))
			adapt_constraints(((ColumnDef *) lfirst(lc))->constraints);
}

/* False: nothing is left of it. */
static bool
adapt_alter(AlterTableStmt *stmt)
{
	List	   *left = NIL;
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (cmd->subtype == AT_SetTableSpace && is_missing(cmd->name))
			continue;
		if (cmd->subtype == AT_AddConstraint)
			adapt_constraints(list_make1(cmd->def));
		else if (cmd->subtype == AT_AddColumn)
			adapt_constraints(((ColumnDef *) cmd->def)->constraints);
		left = lappend(left, cmd);
	}
	stmt->cmds = left;
	return left != NIL;
}

bool
ddl_adapt_tablespaces(Node *command)
{
	ListCell   *lc;

	switch (nodeTag(command))
	{
		case T_CreateStmt:
			adapt_table((CreateStmt *) command);
			return true;
		case T_CreateTableAsStmt:
			adapt_name(&((CreateTableAsStmt *) command)->into->tableSpaceName);
			return true;
		case T_IndexStmt:
			adapt_name(&((IndexStmt *) command)->tableSpace);
			return true;
		case T_CreateSchemaStmt:
			foreach(lc, ((CreateSchemaStmt *) command)->schemaElts)
				(void) ddl_adapt_tablespaces(lfirst(lc));
			return true;
		case T_AlterTableStmt:
			return adapt_alter((AlterTableStmt *) command);
		case T_AlterTableMoveAllStmt:
			return !is_missing(((AlterTableMoveAllStmt *) command)->orig_tablespacename) &&
				!is_missing(((AlterTableMoveAllStmt *) command)->new_tablespacename);
		default:
			return true;
	}
}

const char *
ddl_tablespace_setting(const char *name, const char *value)
{
	Oid			tablespace;

	if (strcmp(name, "default_tablespace") != 0 || value[0] == '\0')
		return value;
	tablespace = get_tablespace_oid(value, true);
	/* The database's own needs no name, and partitioned tables must not have it by name.
	 * pg_global takes nothing: what was made had another tablespace, which is not here. */
	return !OidIsValid(tablespace) || tablespace == MyDatabaseTableSpace ||
		tablespace == GLOBALTABLESPACE_OID ? "" : value;
}
