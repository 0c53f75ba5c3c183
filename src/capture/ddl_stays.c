/*
 * ddl_stays.c - is a command about objects that stay where they are?
 *
 * Those are temporary ones, and tables and views whose replication level is none, with
 * all that belongs to them.  Of the temporary ones the gate knows the common.  Here is
 * the rest: whatever is made in the session's temporary schema, or belongs to something
 * there, and a view over a temporary table, which PostgreSQL makes temporary.
 */
#include "capture/ddl.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "levels/level.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static bool
relation_stays(Oid relid)
{
	return isTempNamespace(get_rel_namespace(relid)) || level_leaves_out(relid);
}

static bool
table_stays(const RangeVar *rv)
{
	Oid			relid;

	if (rv == NULL)
		return false;
	relid = RangeVarGetRelid(rv, NoLock, true);
	return OidIsValid(relid) && relation_stays(relid);
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

/* A part of a table that stays, or a foreign key that replicas cannot have. */
static bool
part_stays(const ObjectAddress *address)
{
	Oid			table = level_table_of(address->classId, address->objectId);

	return (OidIsValid(table) && level_of(table) == LEVEL_NONE) ||
		(address->classId == ConstraintRelationId && !level_key_is_carried(address->objectId));
}

static bool
object_stays(ObjectType type, Node *object)
{
	Relation	rel = NULL;
	ObjectAddress address;
	Oid			namespace = InvalidOid;
	bool		stays;

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
	stays = OidIsValid(address.objectId) && part_stays(&address);
	if (rel != NULL)
	{
		namespace = RelationGetNamespace(rel);
		relation_close(rel, AccessShareLock);
	}
	return stays || (OidIsValid(namespace) && isTempNamespace(namespace)) ||
		(OidIsValid(address.objectId) && ddl_depends_on_temporary(&address));
}

static bool
drop_stays(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
		if (!object_stays(stmt->removeType, lfirst(lc)))
			return false;
	return true;
}

static bool
grant_stays(GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->targtype != ACL_TARGET_OBJECT ||
		(stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE))
		return false;
	foreach(lc, stmt->objects)
		if (!table_stays((RangeVar *) lfirst(lc)))
			return false;
	return true;
}

static bool
uses_what_stays(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
		return table_stays((RangeVar *) node);
	return raw_expression_tree_walker(node, uses_what_stays, context);
}

/* OWNED BY a table that stays. */
static bool
owner_stays(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);
		List	   *names = strcmp(def->defname, "owned_by") == 0 ? defGetQualifiedName(def) : NIL;

		if (list_length(names) > 1)
			return table_stays(makeRangeVarFromNameList(list_copy_head(names, list_length(names) - 1)));
	}
	return false;
}

/* DROP of what stays together with others: the others alone, as a command. */
char *
ddl_drop_lasting(DropStmt *stmt, const char *kind)
{
	StringInfoData s;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&s);
	appendStringInfo(&s, "DROP %s %s", kind, stmt->missing_ok ? "IF EXISTS " : "");
	foreach(lc, stmt->objects)
		if (!object_stays(stmt->removeType, lfirst(lc)))
			appendStringInfo(&s, "%s%s", n++ > 0 ? ", " : "", NameListToQuotedString(lfirst(lc)));
	if (stmt->behavior == DROP_CASCADE)
		appendStringInfoString(&s, " CASCADE");
	return n < list_length(stmt->objects) ? s.data : NULL;
}

/* Commands that make something. */
static bool
makes_what_stays(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CreateStmt:
			return table_will_be_temporary(((CreateStmt *) node)->relation) ||
				level_of_new(node) == LEVEL_NONE;
		case T_CreateTableAsStmt:
		case T_ExplainStmt:
			return level_of_new(node) == LEVEL_NONE;
		case T_CreateSeqStmt:
			return table_will_be_temporary(((CreateSeqStmt *) node)->sequence) ||
				table_stays(((CreateSeqStmt *) node)->sequence) ||
				owner_stays(((CreateSeqStmt *) node)->options);
		case T_ViewStmt:
			return table_will_be_temporary(((ViewStmt *) node)->view) ||
				uses_what_stays(((ViewStmt *) node)->query, NULL) ||
				table_stays(((ViewStmt *) node)->view);
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
			return table_stays(((IndexStmt *) node)->relation);
		case T_CreateTrigStmt:
			return table_stays(((CreateTrigStmt *) node)->relation);
		case T_RuleStmt:
			return table_stays(((RuleStmt *) node)->relation);
		case T_CreatePolicyStmt:
			return table_stays(((CreatePolicyStmt *) node)->table);
		case T_CreateStatsStmt:
			return uses_what_stays((Node *) ((CreateStatsStmt *) node)->relations, NULL);
		default:
			return false;
	}
}

/* The foreign key that is renamed, if it is that, is not on the replicas. */
static bool
constraint_stays(const RenameStmt *stmt)
{
	Oid			relid;
	Oid			constraint;

	if (stmt->renameType != OBJECT_TABCONSTRAINT)
		return false;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	constraint = OidIsValid(relid) ? get_relation_constraint_oid(relid, stmt->subname, true) : InvalidOid;
	return OidIsValid(constraint) && !level_key_is_carried(constraint);
}

bool
ddl_changes_what_stays(Node *node)
{
	switch (nodeTag(node))
	{
		case T_AlterTableStmt:
			return table_stays(((AlterTableStmt *) node)->relation);
		case T_AlterExtensionContentsStmt:
			return object_stays(((AlterExtensionContentsStmt *) node)->objtype, ((AlterExtensionContentsStmt *) node)->object);
		case T_AlterObjectDependsStmt:
			return table_stays(((AlterObjectDependsStmt *) node)->relation);
		case T_RefreshMatViewStmt:
			return table_stays(((RefreshMatViewStmt *) node)->relation);
		case T_AlterObjectSchemaStmt:
			return table_stays(((AlterObjectSchemaStmt *) node)->relation) ||
				object_stays(((AlterObjectSchemaStmt *) node)->objectType, ((AlterObjectSchemaStmt *) node)->object);
		case T_AlterStatsStmt:
			return object_stays(OBJECT_STATISTIC_EXT, (Node *) ((AlterStatsStmt *) node)->defnames);
		case T_AlterSeqStmt:
			return table_stays(((AlterSeqStmt *) node)->sequence);
		case T_AlterPolicyStmt:
			return table_stays(((AlterPolicyStmt *) node)->table);
		case T_RenameStmt:
			return constraint_stays((RenameStmt *) node) || table_stays(((RenameStmt *) node)->relation) ||
				object_stays(((RenameStmt *) node)->renameType, ((RenameStmt *) node)->object);
		case T_CommentStmt:
			return object_stays(((CommentStmt *) node)->objtype, ((CommentStmt *) node)->object);
		case T_SecLabelStmt:
			return object_stays(((SecLabelStmt *) node)->objtype, ((SecLabelStmt *) node)->object);
		case T_AlterOwnerStmt:
			return object_stays(((AlterOwnerStmt *) node)->objectType, ((AlterOwnerStmt *) node)->object);
		case T_AlterFunctionStmt:
			return object_stays(((AlterFunctionStmt *) node)->objtype,
									   (Node *) ((AlterFunctionStmt *) node)->func);
		case T_AlterEnumStmt:
			return object_stays(OBJECT_TYPE, (Node *) ((AlterEnumStmt *) node)->typeName);
		case T_AlterDomainStmt:
			return object_stays(OBJECT_TYPE, (Node *) ((AlterDomainStmt *) node)->typeName);
		case T_AlterTypeStmt:
			return object_stays(OBJECT_TYPE, (Node *) ((AlterTypeStmt *) node)->typeName);
		case T_DropStmt:
			return drop_stays((DropStmt *) node);
		case T_GrantStmt:
			return grant_stays((GrantStmt *) node);
		default:
			return false;
	}
}

bool
ddl_stays(Node *parsetree)
{
	return makes_what_stays(parsetree) || ddl_changes_what_stays(parsetree);
}
