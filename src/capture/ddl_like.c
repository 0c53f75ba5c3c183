/*
 * ddl_like.c - CREATE TABLE (LIKE t) where t is temporary: replicas lack t, so its columns
 * and constraints take the place of the LIKE clause in the command's text.
 */
#include "capture/ddl.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "parser/scanner.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* ---- what stands for the clause ---- */

/* DEFAULT, or GENERATED ... STORED. */
static void
append_default(StringInfo s, Relation rel, const FormData_pg_attribute *att, bits32 options)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	bits32		wanted = att->attgenerated ? CREATE_TABLE_LIKE_GENERATED : CREATE_TABLE_LIKE_DEFAULTS;
	List	   *context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));

	for (int i = 0; (options & wanted) != 0 && i < constr->num_defval; i++)
		if (constr->defval[i].adnum == att->attnum)
			appendStringInfo(s, att->attgenerated ? " GENERATED ALWAYS AS (%s) STORED" : " DEFAULT %s",
							 deparse_expression(stringToNode(constr->defval[i].adbin), context, false, false));
}

static void
append_column(StringInfo s, Relation rel, const FormData_pg_attribute *att, bits32 options)
{
	appendStringInfo(s, "%s %s", quote_identifier(NameStr(att->attname)),
					 format_type_extended(att->atttypid, att->atttypmod,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(s, " COLLATE %s", generate_collation_name(att->attcollation));
	if (att->atthasdef)
		append_default(s, rel, att, options);
	if (att->attidentity && (options & CREATE_TABLE_LIKE_IDENTITY) != 0)
		appendStringInfo(s, " GENERATED %s AS IDENTITY",
						 att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ? "ALWAYS" : "BY DEFAULT");
	if (att->attnotnull)
		appendStringInfoString(s, " NOT NULL");
}

/* The constraint without its name: LIKE too gives names of its own to those of indexes. */
static void
append_constraint(StringInfo s, Oid constraint, const char *name)
{
	char	   *definition = TextDatumGetCString(DirectFunctionCall1(pg_get_constraintdef,
															   ObjectIdGetDatum(constraint)));

	appendStringInfoString(s, ", ");
	if (name != NULL)
		appendStringInfo(s, "CONSTRAINT %s ", quote_identifier(name));
	appendStringInfoString(s, definition);
}

static void
append_constraints(StringInfo s, Relation rel, bits32 options)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	Oid			relid = RelationGetRelid(rel);
	ListCell   *lc;

	for (int i = 0; (options & CREATE_TABLE_LIKE_CONSTRAINTS) != 0 && constr != NULL && i < constr->num_check; i++)
		append_constraint(s, get_relation_constraint_oid(relid, constr->check[i].ccname, false),
						  constr->check[i].ccname);
	if ((options & CREATE_TABLE_LIKE_INDEXES) == 0)
		return;
	foreach(lc, RelationGetIndexList(rel))
	{
		Oid			constraint = get_index_constraint(lfirst_oid(lc));

		if (OidIsValid(constraint))
			append_constraint(s, constraint, NULL);
		else
			ereport(WARNING,
					(errmsg("index \"%s\" of a temporary table is not copied on the replicas",
							get_rel_name(lfirst_oid(lc))),
					 errhint("Create the index of the new table by a command of its own.")));
	}
}

static char *
stand_in(Oid relid, bits32 options)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData s;
	bool		first = true;

	initStringInfo(&s);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		if (!first)
			appendStringInfoString(&s, ", ");
		first = false;
		append_column(&s, rel, TupleDescAttr(desc, i), options);
	}
	append_constraints(&s, rel, options);
	relation_close(rel, NoLock);
	return s.data;
}

/* ---- where the clause stands ---- */

typedef struct Span
{
	int			start;
	int			end;
} Span;

/* Is this word at the place?  (The scanner's numbers for words are not exported.) */
static bool
word_at(const char *text, int at, const char *word)
{
	return pg_strncasecmp(text + at, word, strlen(word)) == 0;
}

/* From LIKE to behind its last option; name: where the table's name stands. */
static bool
find_clause(const char *text, int name, Span *span)
{
	core_yy_extra_type extra;
	core_YYSTYPE value;
	YYLTYPE		at;
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);
	int			before = -1;
	bool		found = false;
	bool		in_name = false;

	while (core_yylex(&value, &at, scanner) != 0)
	{
		if (at == name)
		{
			found = before >= 0 && word_at(text, before, "like");
			span->start = before;
			in_name = true;
		}
		else if (in_name && text[at] == '.')
			(void) core_yylex(&value, &at, scanner);
		else if (in_name && (word_at(text, at, "including") || word_at(text, at, "excluding")))
			(void) core_yylex(&value, &at, scanner);
		else if (in_name)
		{
			span->end = at;
			break;
		}
		before = at;
	}
	scanner_finish(scanner);
	return found && in_name && span->end > span->start;
}

char *
ddl_like_expanded(CreateStmt *stmt, char *text, int stmt_location)
{
	ListCell   *lc;
	int			shift = -Max(stmt_location, 0);

	foreach(lc, stmt->tableElts)
	{
		TableLikeClause *like = (TableLikeClause *) lfirst(lc);
		Span		span = {0, 0};
		Oid			relid;
		char	   *instead;

		if (!IsA(like, TableLikeClause))
			continue;
		relid = RangeVarGetRelid(like->relation, NoLock, true);
		if (!OidIsValid(relid) || !isTempNamespace(get_rel_namespace(relid)) ||
			!find_clause(text, like->relation->location + shift, &span))
			continue;
		instead = stand_in(relid, like->options);
		text = psprintf("%.*s%s %s", span.start, text, instead, text + span.end);
		shift += (int) strlen(instead) + 1 - (span.end - span.start);
	}
	return text;
}
