/*
 * ddl_table_as.c - CREATE TABLE AS as the definition that it amounts to.
 *
 * Its query may use parameters, prepared statements or volatile functions, none of
 * which mean the same elsewhere; what it makes is a plain table whose columns are
 * known before the first row is written.
 */
#include "capture/ddl.h"

#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "commands/prepare.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

static void
append_column(StringInfo s, int *n, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(s, "%s%s %s", (*n)++ > 0 ? ", " : "", quote_identifier(name),
					 format_type_extended(type, typmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
		appendStringInfo(s, " COLLATE %s", generate_collation_name(collation));
}

/* The name that INTO's column list gives to column i, or the query's own. */
static const char *
column_name(const IntoClause *into, int i, const char *own)
{
	return i < list_length(into->colNames) ? strVal(list_nth(into->colNames, i)) : own;
}

static void
append_query_columns(StringInfo s, const IntoClause *into, const Query *query)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, query->targetList)
	{
		TargetEntry *te = (TargetEntry *) lfirst(lc);
		Node	   *expr = (Node *) te->expr;

		if (!te->resjunk)
			append_column(s, &n, column_name(into, n, te->resname), exprType(expr),
						  exprTypmod(expr), exprCollation(expr));
	}
}

static void
append_prepared_columns(StringInfo s, const IntoClause *into, const ExecuteStmt *execute)
{
	PreparedStatement *prepared = FetchPreparedStatement(execute->name, true);
	TupleDesc	desc = FetchPreparedStatementResultDesc(prepared);
	int			n = 0;

	for (int i = 0; desc != NULL && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		append_column(s, &n, column_name(into, i, NameStr(att->attname)), att->atttypid,
					  att->atttypmod, att->attcollation);
	}
}

/* WITH (...), of storage parameters. */
static void
append_options(StringInfo s, List *options)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);
		char	   *value = def->arg ? defGetString(def) : NULL;

		appendStringInfo(s, "%s", n++ > 0 ? ", " : " WITH (");
		if (def->defnamespace)
			appendStringInfo(s, "%s.", quote_identifier(def->defnamespace));
		appendStringInfoString(s, quote_identifier(def->defname));
		if (value)
			appendStringInfo(s, " = %s", quote_literal_cstr(value));
	}
	if (n > 0)
		appendStringInfoChar(s, ')');
}

char *
ddl_table_as(CreateTableAsStmt *stmt, ParamListInfo params)
{
	IntoClause *into = stmt->into;
	Query	   *query = (Query *) stmt->query;
	Oid			namespace = RangeVarGetCreationNamespace(into->rel);
	StringInfoData s;

	if (isTempNamespace(namespace) ||
		OidIsValid(get_relname_relid(into->rel->relname, namespace)))
		return NULL;			/* it stays here, or ends in an error or a notice */
	initStringInfo(&s);
	appendStringInfo(&s, "CREATE %sTABLE %s (",
					 into->rel->relpersistence == RELPERSISTENCE_UNLOGGED ? "UNLOGGED " : "",
					 quote_qualified_identifier(get_namespace_name(namespace), into->rel->relname));
	if (query->commandType == CMD_UTILITY && IsA(query->utilityStmt, ExecuteStmt))
		append_prepared_columns(&s, into, (ExecuteStmt *) query->utilityStmt);
	else
		append_query_columns(&s, into, query);
	appendStringInfoChar(&s, ')');
	if (into->accessMethod)
		appendStringInfo(&s, " USING %s", quote_identifier(into->accessMethod));
	append_options(&s, into->options);
	if (into->tableSpaceName)
		appendStringInfo(&s, " TABLESPACE %s", quote_identifier(into->tableSpaceName));
	return s.data;
}
