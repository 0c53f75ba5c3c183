/*
 * level_left_out.c - what a command that travels mentions and replicas don't have.
 *
 * A command may name tables of both kinds, as DROP TABLE a, b does, and a table that
 * travels may get a foreign key to one that does not.  The command travels as it is,
 * with the names that the applier has to take out of it.
 *
 * A foreign key is left out on the replicas if the table that it refers to has a lower
 * level there: the rows that it counts on are missing.
 */
#include "levels/level.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static Oid
find(const RangeVar *rv)
{
	return rv == NULL ? InvalidOid : RangeVarGetRelid(rv, NoLock, true);
}

static void
add(StringInfo names, Oid relid)
{
	appendStringInfo(names, "%s%s", names->len > 0 ? ", " : "",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
												get_rel_name(relid)));
}

static void
add_if_left_out(StringInfo names, const RangeVar *rv)
{
	Oid			relid = find(rv);

	if (OidIsValid(relid) && (level_leaves_out(relid) || isTempNamespace(get_rel_namespace(relid))))
		add(names, relid);
}

/* ---- foreign keys ---- */

static void
add_key(StringInfo names, const RangeVar *table, ReplicationLevel level, const Constraint *constraint)
{
	Oid			target;

	if (constraint->contype != CONSTR_FOREIGN)
		return;
	target = find(constraint->pktable);
	if (!OidIsValid(target) || level_of_rows(target) >= level)
		return;
	add(names, target);
	ereport(WARNING,
			(errmsg("the foreign key from table \"%s\" to table \"%s\" is left out on the replicas",
					table->relname, get_rel_name(target)),
			 errdetail("The replication level of \"%s\" is \"%s\", that of \"%s\" is \"%s\".",
					   table->relname, level_name(level), get_rel_name(target),
					   level_name(level_of_rows(target)))));
}

static void
add_keys_of_column(StringInfo names, const RangeVar *table, ReplicationLevel level, const ColumnDef *column)
{
	ListCell   *lc;

	foreach(lc, column->constraints)
		add_key(names, table, level, lfirst_node(Constraint, lc));
}

/* What LIKE takes its columns from has to be on the replicas. */
static void
check_like(const TableLikeClause *like)
{
	Oid			relid = find(like->relation);

	if (OidIsValid(relid) && level_leaves_out(relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a replicated table cannot be made LIKE \"%s\", which is not replicated",
						like->relation->relname),
				 errhint("Name the columns, or set baton.default_replication to \"none\".")));
}

static void
create_table(StringInfo names, CreateStmt *stmt)
{
	ReplicationLevel level = level_of_new((Node *) stmt);
	ListCell   *lc;

	foreach(lc, stmt->tableElts)
	{
		if (IsA(lfirst(lc), Constraint))
			add_key(names, stmt->relation, level, lfirst_node(Constraint, lc));
		else if (IsA(lfirst(lc), ColumnDef))
			add_keys_of_column(names, stmt->relation, level, lfirst_node(ColumnDef, lc));
		else if (IsA(lfirst(lc), TableLikeClause))
			check_like(lfirst_node(TableLikeClause, lc));
	}
	/* some grammars keep table constraints apart */
	foreach(lc, stmt->constraints)
		add_key(names, stmt->relation, level, lfirst_node(Constraint, lc));
}

/* A constraint that exists, and which replicas may not have. */
static void
add_existing_key(StringInfo names, Oid relid, const char *name)
{
	Oid			constraint = get_relation_constraint_oid(relid, name, true);
	HeapTuple	tuple;

	if (!OidIsValid(constraint) || level_key_is_carried(constraint))
		return;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	add(names, ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid);
	ReleaseSysCache(tuple);
}

static void
alter_table(StringInfo names, AlterTableStmt *stmt)
{
	Oid			relid = find(stmt->relation);
	ReplicationLevel level;
	ListCell   *lc;

	if (!OidIsValid(relid) || get_rel_relkind(relid) == RELKIND_INDEX)
		return;
	level = level_of(relid);
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		switch (cmd->subtype)
		{
			case AT_AddConstraint:
				add_key(names, stmt->relation, level, (Constraint *) cmd->def);
				break;
			case AT_AddColumn:
				add_keys_of_column(names, stmt->relation, level, (ColumnDef *) cmd->def);
				break;
			case AT_AttachPartition:
			case AT_DetachPartition:
				add_if_left_out(names, ((PartitionCmd *) cmd->def)->name);
				break;
			case AT_AlterConstraint:
				add_existing_key(names, relid, baton_altered_constraint(cmd->def));
				break;
			case AT_ValidateConstraint:
			case AT_DropConstraint:
				add_existing_key(names, relid, cmd->name);
				break;
			default:
				break;
		}
	}
}

/* ---- lists ---- */

static void
drop(StringInfo names, DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE && stmt->removeType != OBJECT_VIEW &&
		stmt->removeType != OBJECT_MATVIEW && stmt->removeType != OBJECT_SEQUENCE &&
		stmt->removeType != OBJECT_INDEX)
		return;
	foreach(lc, stmt->objects)
		add_if_left_out(names, makeRangeVarFromNameList(lfirst_node(List, lc)));
}

/*
 * GRANT takes no lock on a table, and a change of its level must not overtake it on the
 * way to the replicas.
 */
static void
grant(StringInfo names, GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->targtype != ACL_TARGET_OBJECT ||
		(stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE))
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(lfirst_node(RangeVar, lc), RowExclusiveLock, true);

		if (OidIsValid(relid))
			add_if_left_out(names, lfirst_node(RangeVar, lc));
	}
}

static void
publication(StringInfo names, List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = (PublicationObjSpec *) lfirst(lc);

		if (object->pubobjtype == PUBLICATIONOBJ_TABLE && object->pubtable != NULL)
			add_if_left_out(names, object->pubtable->relation);
	}
}

/* A sequence that replicas have cannot come to belong to a table that they have not. */
static void
check_sequence(AlterSeqStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *def = (DefElem *) lfirst(lc);
		List	   *column = strcmp(def->defname, "owned_by") == 0 ? defGetQualifiedName(def) : NIL;
		int			n = list_length(column) - 1;
		Oid			table = n > 0 ? find(makeRangeVarFromNameList(list_copy_head(column, n))) : InvalidOid;

		if (OidIsValid(table) && level_leaves_out(table))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("sequence \"%s\" cannot be owned by table \"%s\", which is not replicated",
							stmt->sequence->relname, get_rel_name(table)),
					 errhint("Create another one with OWNED BY, or set the level of the table with baton.set_replication() first.")));
	}
}

char *
level_left_out(Node *parsetree)
{
	StringInfoData names;

	initStringInfo(&names);
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
			create_table(&names, (CreateStmt *) parsetree);
			break;
		case T_AlterTableStmt:
			alter_table(&names, (AlterTableStmt *) parsetree);
			break;
		case T_DropStmt:
			drop(&names, (DropStmt *) parsetree);
			break;
		case T_GrantStmt:
			grant(&names, (GrantStmt *) parsetree);
			break;
		case T_AlterSeqStmt:
			check_sequence((AlterSeqStmt *) parsetree);
			break;
		case T_CreatePublicationStmt:
			publication(&names, ((CreatePublicationStmt *) parsetree)->pubobjects);
			break;
		case T_AlterPublicationStmt:
			publication(&names, ((AlterPublicationStmt *) parsetree)->pubobjects);
			break;
		default:
			break;
	}
	return names.len > 0 ? names.data : NULL;
}
