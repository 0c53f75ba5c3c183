/*
 * ddl_detach.c - DETACH PARTITION ... CONCURRENTLY leaves a check constraint behind that
 * says what the partition's bound said.  A replica detaches plainly, so the constraint
 * travels as a command of its own.
 */
#include "capture/ddl.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

/* The partition that the command detaches, or NULL. */
static RangeVar *
detached(Node *parsetree)
{
	ListCell   *lc;

	if (!IsA(parsetree, AlterTableStmt))
		return NULL;
	foreach(lc, ((AlterTableStmt *) parsetree)->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (cmd->subtype == AT_DetachPartition && ((PartitionCmd *) cmd->def)->concurrent)
			return ((PartitionCmd *) cmd->def)->name;
	}
	return NULL;
}

/* Oids of the table's check constraints. */
static List *
checks_of(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	TupleConstr *constr;
	List	   *checks = NIL;

	if (rel == NULL)
		return NIL;
	constr = RelationGetDescr(rel)->constr;
	for (int i = 0; constr != NULL && i < constr->num_check; i++)
		checks = lappend_oid(checks, get_relation_constraint_oid(relid, constr->check[i].ccname, false));
	relation_close(rel, AccessShareLock);
	return checks;
}

void
ddl_detach_before(Node *parsetree, DdlDetach *detach)
{
	RangeVar   *partition = detached(parsetree);

	detach->partition = partition == NULL ? InvalidOid : RangeVarGetRelid(partition, NoLock, true);
	detach->checks = OidIsValid(detach->partition) ? checks_of(detach->partition) : NIL;
}

void
ddl_detach_after(NodeShared *node, const DdlDetach *detach)
{
	ListCell   *lc;

	if (!OidIsValid(detach->partition))
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, checks_of(detach->partition))
		if (!list_member_oid(detach->checks, lfirst_oid(lc)))
			ddl_log(node, pg_get_constraintdef_command(lfirst_oid(lc)), 0);
	PopActiveSnapshot();
}
