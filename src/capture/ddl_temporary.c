/*
 * ddl_temporary.c - is a command about temporary objects, which stay where they are?
 *
 * The gate knows the common ones.  Here is the rest: whatever is made in the session's
 * temporary schema, or belongs to something there, and a view over a temporary table,
 * which PostgreSQL makes temporary.
 */
#include "capture/ddl.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
table_is_temporary(const RangeVar *rv)
{
	Oid			relid;

	if (rv == NULL)
		return false;
	relid = RangeVarGetRelid(rv, NoLock, true);
	return OidIsValid(relid) && isTempNamespace(get_rel_namespace(relid));
}

/* Will what is made under this name be temporary? */
static bool
name_is_temporary(List *names)
{
	char	   *name;

	return names != NIL && isTempNamespace(QualifiedNameGetCreationNamespace(names, &name));
}

static bool
table_will_be_temporary(RangeVar *rv)
{
	return rv->relpersistence == RELPERSISTENCE_TEMP ||
		isTempNamespace(RangeVarGetCreationNamespace(rv));
}

static bool
object_is_temporary(ObjectType type, Node *object)
{
	Relation	rel = NULL;
	ObjectAddress address;
	Oid			namespace = InvalidOid;

	/* large objects have no schema */
	if (object == NULL || type == OBJECT_LARGEOBJECT)
		return false;
	/* what RENAME and OWNER name by a list, other commands name by a TypeName */
	if (IsA(object, List) && (type == OBJECT_TYPE || type == OBJECT_DOMAIN ||
							  (type == OBJECT_DOMCONSTRAINT && IsA(linitial((List *) object), String))))
	{
		type = OBJECT_TYPE;
		object = (Node *) makeTypeNameFromNameList((List *) object);
	}
	address = get_object_address(type, object, &rel, AccessShareLock, true);
	if (OidIsValid(address.objectId))
		namespace = get_object_namespace(&address);
	if (rel != NULL)
	{
		namespace = RelationGetNamespace(rel);
		relation_close(rel, AccessShareLock);
	}
	return (OidIsValid(namespace) && isTempNamespace(namespace)) ||
		(OidIsValid(address.objectId) && ddl_depends_on_temporary(&address));
}

static bool
drop_is_temporary(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
		if (!object_is_temporary(stmt->removeType, lfirst(lc)))
			return false;
	return true;
}

static bool
grant_is_temporary(GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->targtype != ACL_TARGET_OBJECT ||
		(stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE))
		return false;
	foreach(lc, stmt->objects)
		if (!table_is_temporary((RangeVar *) lfirst(lc)))
			return false;
	return true;
}

static bool
uses_temporary(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
		return table_is_temporary((RangeVar *) node);
	return raw_expression_tree_walker(node, uses_temporary, context);
}

/* DROP of temporary tables together with others: the others alone, as a command. */
char *
ddl_drop_lasting(DropStmt *stmt, const char *kind)
{
	StringInfoData s;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&s);
	appendStringInfo(&s, "DROP %s %s", kind, stmt->missing_ok ? "IF EXISTS " : "");
	foreach(lc, stmt->objects)
		if (!object_is_temporary(stmt->removeType, lfirst(lc)))
			appendStringInfo(&s, "%s%s", n++ > 0 ? ", " : "", NameListToQuotedString(lfirst(lc)));
	if (stmt->behavior == DROP_CASCADE)
		appendStringInfoString(&s, " CASCADE");
	return n < list_length(stmt->objects) ? s.data : NULL;
}

/* Commands that make something. */
static bool
makes_temporary(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CreateStmt:
			return table_will_be_temporary(((CreateStmt *) node)->relation);
		case T_CreateSeqStmt:
			return table_will_be_temporary(((CreateSeqStmt *) node)->sequence);
		case T_ViewStmt:
			return table_will_be_temporary(((ViewStmt *) node)->view) ||
				uses_temporary(((ViewStmt *) node)->query, NULL);
		case T_CompositeTypeStmt:
			return table_will_be_temporary(((CompositeTypeStmt *) node)->typevar);
		case T_CreateFunctionStmt:
			return name_is_temporary(((CreateFunctionStmt *) node)->funcname) || ddl_is_made_of_temporary(node);
		case T_CreateEnumStmt:
			return name_is_temporary(((CreateEnumStmt *) node)->typeName);
		case T_CreateRangeStmt:
			return name_is_temporary(((CreateRangeStmt *) node)->typeName);
		case T_CreateDomainStmt:
			return name_is_temporary(((CreateDomainStmt *) node)->domainname) || ddl_is_made_of_temporary(node);
		case T_IndexStmt:
			return table_is_temporary(((IndexStmt *) node)->relation);
		case T_CreateTrigStmt:
			return table_is_temporary(((CreateTrigStmt *) node)->relation);
		case T_RuleStmt:
			return table_is_temporary(((RuleStmt *) node)->relation);
		case T_CreatePolicyStmt:
			return table_is_temporary(((CreatePolicyStmt *) node)->table);
		case T_CreateStatsStmt:
			return uses_temporary((Node *) ((CreateStatsStmt *) node)->relations, NULL);
		default:
			return false;
	}
}

/* Commands about something that is there. */
static bool
changes_temporary(Node *node)
{
	switch (nodeTag(node))
	{
		case T_AlterTableStmt:
			return table_is_temporary(((AlterTableStmt *) node)->relation);
		case T_AlterSeqStmt:
			return table_is_temporary(((AlterSeqStmt *) node)->sequence);
		case T_AlterPolicyStmt:
			return table_is_temporary(((AlterPolicyStmt *) node)->table);
		case T_RenameStmt:
			return table_is_temporary(((RenameStmt *) node)->relation) ||
				object_is_temporary(((RenameStmt *) node)->renameType, ((RenameStmt *) node)->object);
		case T_CommentStmt:
			return object_is_temporary(((CommentStmt *) node)->objtype, ((CommentStmt *) node)->object);
		case T_SecLabelStmt:
			return object_is_temporary(((SecLabelStmt *) node)->objtype, ((SecLabelStmt *) node)->object);
		case T_AlterOwnerStmt:
			return object_is_temporary(((AlterOwnerStmt *) node)->objectType, ((AlterOwnerStmt *) node)->object);
		case T_AlterFunctionStmt:
			return object_is_temporary(((AlterFunctionStmt *) node)->objtype,
									   (Node *) ((AlterFunctionStmt *) node)->func);
		case T_AlterEnumStmt:
			return object_is_temporary(OBJECT_TYPE, (Node *) ((AlterEnumStmt *) node)->typeName);
		case T_AlterDomainStmt:
			return object_is_temporary(OBJECT_TYPE, (Node *) ((AlterDomainStmt *) node)->typeName);
		case T_AlterTypeStmt:
			return object_is_temporary(OBJECT_TYPE, (Node *) ((AlterTypeStmt *) node)->typeName);
		case T_AlterStatsStmt:
			return object_is_temporary(OBJECT_STATISTIC_EXT, (Node *) ((AlterStatsStmt *) node)->defnames);
		case T_DropStmt:
			return drop_is_temporary((DropStmt *) node);
		case T_GrantStmt:
			return grant_is_temporary((GrantStmt *) node);
		default:
			return false;
	}
}

bool
ddl_is_temporary(Node *parsetree)
{
	return makes_temporary(parsetree) || changes_temporary(parsetree);
}
