/*
 * ddl_left_out.c - takes out of a command what replicas don't have: tables at
 * replication level none in a list of several, and foreign keys that need rows which are
 * not here.  The command's record names them (levels/level_left_out.c).
 *
 * A node that was primary may have such tables of its own.  They are left alone, even
 * where a command with IF EXISTS, which has found nothing on the source, names them.
 */
#include "apply/apply.h"

#include "capture/ddl.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "levels/level.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"

/* The names, as RangeVars. */
static List *
names_of(const RecordDdl *ddl)
{
	StreamCursor c = ddl->settings;

	for (int i = 0; i < ddl->n_settings; i++)
	{
		RecordSetting setting;
		List	   *parsed;

		record_get_setting(&c, &setting);
		if (strcmp(setting.name, DDL_LEFT_OUT) != 0)
			continue;
		parsed = raw_parser(psprintf("LOCK TABLE %.*s", (int) setting.len, setting.value),
							RAW_PARSE_DEFAULT);
		return castNode(LockStmt, linitial_node(RawStmt, parsed)->stmt)->relations;
	}
	return NIL;
}

/* A name in the command that is not qualified may stand for a table that is here. */
static bool
is_left_out(List *names, const RangeVar *rv)
{
	Oid			relid = RangeVarGetRelid(rv, NoLock, true);
	const char *schema = OidIsValid(relid) ? get_namespace_name(get_rel_namespace(relid)) : rv->schemaname;
	ListCell   *lc;

	foreach(lc, names)
	{
		RangeVar   *name = lfirst_node(RangeVar, lc);

		if (strcmp(name->relname, rv->relname) == 0 &&
			(schema == NULL || strcmp(name->schemaname, schema) == 0))
			return true;
	}
	return false;
}

/* ---- foreign keys ---- */

static bool
is_key_left_out(List *names, Node *node)
{
	Constraint *constraint = (Constraint *) node;

	return IsA(node, Constraint) && constraint->contype == CONSTR_FOREIGN &&
		is_left_out(names, constraint->pktable);
}

static List *
without_keys(List *names, List *elements)
{
	ListCell   *lc;

	foreach(lc, elements)
	{
		Node	   *node = (Node *) lfirst(lc);

		if (is_key_left_out(names, node))
			elements = foreach_delete_current(elements, lc);
		else if (IsA(node, ColumnDef))
			((ColumnDef *) node)->constraints = without_keys(names, ((ColumnDef *) node)->constraints);
	}
	return elements;
}

/* Is the constraint that the subcommand is about absent here? */
static bool
constraint_is_absent(const RangeVar *table, const char *name)
{
	Oid			relid = RangeVarGetRelid(table, NoLock, true);

	return OidIsValid(relid) && !OidIsValid(get_relation_constraint_oid(relid, name, true));
}

static bool
subcommand_is_left_out(List *names, const RangeVar *table, AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_AddConstraint:
			return is_key_left_out(names, cmd->def);
		case AT_AttachPartition:
		case AT_DetachPartition:
			return is_left_out(names, ((PartitionCmd *) cmd->def)->name);
		case AT_AlterConstraint:
			return constraint_is_absent(table, baton_altered_constraint(cmd->def));
		case AT_ValidateConstraint:
		case AT_DropConstraint:
			return constraint_is_absent(table, cmd->name);
		default:
			return false;
	}
}

static bool
alter_table(List *names, AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (subcommand_is_left_out(names, stmt->relation, cmd))
			stmt->cmds = foreach_delete_current(stmt->cmds, lc);
		else if (cmd->subtype == AT_AddColumn)
			(void) without_keys(names, list_make1(cmd->def));
	}
	return stmt->cmds != NIL;
}

/* ---- lists ---- */

static bool
is_own(const RangeVar *rv)
{
	Oid			relid = RangeVarGetRelid(rv, NoLock, true);

	return OidIsValid(relid) && level_leaves_out(relid);
}

static bool
drop(List *names, DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE && stmt->removeType != OBJECT_VIEW &&
		stmt->removeType != OBJECT_MATVIEW && stmt->removeType != OBJECT_SEQUENCE &&
		stmt->removeType != OBJECT_INDEX)
		return true;
	foreach(lc, stmt->objects)
	{
		RangeVar   *rv = makeRangeVarFromNameList(lfirst_node(List, lc));

		if (is_left_out(names, rv) || is_own(rv))
			stmt->objects = foreach_delete_current(stmt->objects, lc);
	}
	return stmt->objects != NIL;
}

static bool
grant(List *names, GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->targtype != ACL_TARGET_OBJECT ||
		(stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE))
		return true;
	foreach(lc, stmt->objects)
		if (is_left_out(names, lfirst_node(RangeVar, lc)))
			stmt->objects = foreach_delete_current(stmt->objects, lc);
	return stmt->objects != NIL;
}

static List *
published(List *names, List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = (PublicationObjSpec *) lfirst(lc);

		if (object->pubobjtype == PUBLICATIONOBJ_TABLE && object->pubtable != NULL &&
			is_left_out(names, object->pubtable->relation))
			objects = foreach_delete_current(objects, lc);
	}
	return objects;
}

bool
apply_leave_out(Node *command, const RecordDdl *ddl)
{
	List	   *names = names_of(ddl);
	AlterPublicationStmt *publication = (AlterPublicationStmt *) command;

	if (names == NIL && !IsA(command, DropStmt))
		return !ddl_changes_what_stays(command);
	switch (nodeTag(command))
	{
		case T_CreateStmt:
			((CreateStmt *) command)->tableElts = without_keys(names, ((CreateStmt *) command)->tableElts);
			((CreateStmt *) command)->constraints = without_keys(names, ((CreateStmt *) command)->constraints);
			return true;
		case T_AlterTableStmt:
			return alter_table(names, (AlterTableStmt *) command);
		case T_DropStmt:
			return drop(names, (DropStmt *) command);
		case T_GrantStmt:
			return grant(names, (GrantStmt *) command);
		case T_CreatePublicationStmt:
			((CreatePublicationStmt *) command)->pubobjects =
				published(names, ((CreatePublicationStmt *) command)->pubobjects);
			return true;
		case T_AlterPublicationStmt:
			publication->pubobjects = published(names, publication->pubobjects);
			/* SET with nothing left takes the others out; ADD and DROP do nothing */
			return publication->pubobjects != NIL || publication->action == AP_SetObjects;
		default:
			return true;
	}
}
