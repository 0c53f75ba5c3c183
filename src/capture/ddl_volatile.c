/*
 * ddl_volatile.c - does ALTER TABLE make rows that would come out different elsewhere?
 *
 * That is so where a new column's default, or the expression that converts a column,
 * calls a volatile function: random(), nextval(), clock_timestamp().  Then the rows
 * travel.  (now() does not: the replica runs the command at the source's time.)  The
 * expressions are looked at as they were written, before names are resolved, so a
 * function counts as volatile if one of its name is.
 */
#include "capture/ddl.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_type.h"
#include "utils/lsyscache.h"

static bool
may_be_volatile(List *name)
{
	FuncCandidateList candidate = baton_functions_named(name);

	for (; candidate != NULL; candidate = candidate->next)
		if (func_volatile(candidate->oid) == PROVOLATILE_VOLATILE)
			return true;
	return false;
}

static bool
calls_volatile(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncCall) && may_be_volatile(((FuncCall *) node)->funcname))
		return true;
	return raw_expression_tree_walker(node, calls_volatile, context);
}

/* The type's own default: serial is nextval(), and a domain may have any. */
static bool
type_default_is_volatile(TypeName *name)
{
	const char *last = name->names ? strVal(llast(name->names)) : "";
	Oid			type;

	if (strstr(last, "serial") != NULL)
		return true;
	type = LookupTypeNameOid(NULL, name, true);
	return OidIsValid(type) && get_typtype(type) == TYPTYPE_DOMAIN &&
		contain_volatile_functions(get_typdefault(type));
}

static bool
new_column_differs(ColumnDef *column)
{
	ListCell   *lc;

	if (column->typeName != NULL && type_default_is_volatile(column->typeName))
		return true;
	if (calls_volatile(column->raw_default, NULL))
		return true;
	foreach(lc, column->constraints)
	{
		Constraint *constraint = (Constraint *) lfirst(lc);

		if (constraint->contype == CONSTR_IDENTITY ||
			(constraint->contype == CONSTR_DEFAULT && calls_volatile(constraint->raw_expr, NULL)))
			return true;
	}
	return false;
}

bool
ddl_rows_differ(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (cmd->subtype == AT_AddColumn && new_column_differs((ColumnDef *) cmd->def))
			return true;
		if (cmd->subtype == AT_AlterColumnType &&
			calls_volatile(((ColumnDef *) cmd->def)->raw_default, NULL))
			return true;
	}
	return false;
}
