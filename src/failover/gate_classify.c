/*
 * gate_classify.c - what writes, and what only looks as if it did.
 *
 * Three judgements: does this plan write permanent tables; what does this utility
 * command need; and, of a transaction that has got an xid in a closed database,
 * has it changed anything but temporary tables.  The first two follow PostgreSQL's
 * own rules for read-only transactions, with two differences: temporary tables
 * may also be created, altered and dropped, and COMMIT PREPARED is a write.
 * A command that is not known here is a write.
 */
#include "failover/gate_internal.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- plans ---- */

/* Cheap test first: false means that the plan surely writes nothing itself. */
bool
gate_plan_may_write(const PlannedStmt *plan)
{
	return plan->commandType != CMD_SELECT || plan->rowMarks != NIL ||
		plan->hasModifyingCTE;
}

/* Does the plan change, or lock rows of, a table that is not temporary? */
bool
gate_plan_writes(const PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, baton_plan_permissions(plan))
	{
		BatonPermission *perm = (BatonPermission *) lfirst(lc);

		if (!OidIsValid(perm->relid) || (perm->requiredPerms & ~ACL_SELECT) == 0)
			continue;
		if (!isTempNamespace(get_rel_namespace(perm->relid)))
			return true;
	}
	return false;
}

/* ---- utility commands ---- */

/* Does the name stand for an existing temporary relation of this session? */
static bool
names_temporary(const RangeVar *rv)
{
	Oid			relid;

	if (rv == NULL)
		return false;
	relid = RangeVarGetRelid(rv, NoLock, true);
	return OidIsValid(relid) && isTempNamespace(get_rel_namespace(relid));
}

/* Will a relation that is created under this name be temporary? */
static bool
creates_temporary(const RangeVar *rv)
{
	return rv != NULL &&
		(rv->relpersistence == RELPERSISTENCE_TEMP ||
		 (rv->schemaname != NULL && strcmp(rv->schemaname, "pg_temp") == 0));
}

/* CASCADE could reach permanent objects that use a temporary one. */
static bool
drop_is_temporary(const DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->behavior == DROP_CASCADE || stmt->concurrent)
		return false;
	if (stmt->removeType != OBJECT_TABLE && stmt->removeType != OBJECT_INDEX &&
		stmt->removeType != OBJECT_VIEW && stmt->removeType != OBJECT_SEQUENCE)
		return false;
	foreach(lc, stmt->objects)
		if (!names_temporary(makeRangeVarFromNameList((List *) lfirst(lc))))
			return false;
	return true;
}

static bool
truncate_is_temporary(const TruncateStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->relations)
		if (!names_temporary((RangeVar *) lfirst(lc)))
			return false;
	return true;
}

/* Inheritance also marks the other table. */
static bool
alter_is_temporary(const AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

		if (cmd->subtype == AT_AddInherit || cmd->subtype == AT_DropInherit)
			return false;
	}
	return names_temporary(stmt->relation);
}

/* Commands that write, unless all that they change is temporary. */
static bool
changes_only_temporary(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
			return creates_temporary(((CreateStmt *) parsetree)->relation) &&
				((CreateStmt *) parsetree)->inhRelations == NIL;
		case T_CreateTableAsStmt:
			return creates_temporary(((CreateTableAsStmt *) parsetree)->into->rel);
		case T_CreateSeqStmt:
			return creates_temporary(((CreateSeqStmt *) parsetree)->sequence);
		case T_ViewStmt:
			return creates_temporary(((ViewStmt *) parsetree)->view);
		case T_IndexStmt:
			return !((IndexStmt *) parsetree)->concurrent &&
				names_temporary(((IndexStmt *) parsetree)->relation);
		case T_AlterTableStmt:
			return alter_is_temporary((AlterTableStmt *) parsetree);
		case T_TruncateStmt:
			return truncate_is_temporary((TruncateStmt *) parsetree);
		case T_DropStmt:
			return drop_is_temporary((DropStmt *) parsetree);
		case T_DiscardStmt:
			return true;
		default:
			return false;
	}
}

static GateNeed
classify_transaction(const TransactionStmt *stmt)
{
	switch (stmt->kind)
	{
		case TRANS_STMT_PREPARE:
			return NEED_WRITE;
		case TRANS_STMT_COMMIT_PREPARED:
		case TRANS_STMT_ROLLBACK_PREPARED:
			return NEED_COMMIT_PREPARED;
		default:
			return NEED_OWN_MODE;
	}
}

/* As strong as a standby allows: the applier can live with it. */
static GateNeed
classify_lock(const LockStmt *stmt)
{
	if (stmt->mode <= AccessShareLock)
		return NEED_READ;
	return stmt->mode <= RowExclusiveLock ? NEED_LOCK : NEED_WRITE;
}

/* EXPLAIN ANALYZE CREATE TABLE AS makes the table, without a check of its own. */
static GateNeed
classify_explain(const ExplainStmt *stmt)
{
	Node	   *utility = IsA(stmt->query, Query) ? ((Query *) stmt->query)->utilityStmt : NULL;
	bool		analyze = false;
	ListCell   *lc;

	if (utility == NULL || !IsA(utility, CreateTableAsStmt))
		return NEED_READ;
	foreach(lc, stmt->options)
	{
		DefElem    *option = (DefElem *) lfirst(lc);

		if (strcmp(option->defname, "analyze") == 0)
			analyze = defGetBoolean(option);
	}
	if (!analyze)
		return NEED_READ;
	return changes_only_temporary(utility) ? NEED_TEMPORARY : NEED_WRITE;
}

/*
 * What a utility command needs of the gate.  May look up names in the catalog,
 * but not for those commands that can run in an aborted transaction.
 */
GateNeed
gate_classify_utility(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_TransactionStmt:
			return classify_transaction((TransactionStmt *) parsetree);
		case T_VariableSetStmt:
			return NEED_OWN_MODE;

			/* what they run comes through the hooks by itself */
		case T_CallStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_FetchStmt:
		case T_DeclareCursorStmt:
		case T_PrepareStmt:
			/* of this session, or read-only in truth */
		case T_ClosePortalStmt:
		case T_ConstraintsSetStmt:
		case T_DeallocateStmt:
		case T_LoadStmt:
		case T_VariableShowStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_NotifyStmt:
		case T_CheckPointStmt:
		case T_AlterSystemStmt:
			return NEED_READ;

		case T_ExplainStmt:
			return classify_explain((ExplainStmt *) parsetree);
		case T_LockStmt:
			return classify_lock((LockStmt *) parsetree);
		case T_CopyStmt:
			if (!((CopyStmt *) parsetree)->is_from)
				return NEED_READ;
			return names_temporary(((CopyStmt *) parsetree)->relation) ?
				NEED_TEMPORARY : NEED_WRITE;
		case T_VacuumStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
			return NEED_MAINTENANCE;
		default:
			return changes_only_temporary(parsetree) ? NEED_TEMPORARY : NEED_WRITE;
	}
}

bool
gate_command_changes_definitions(Node *parsetree)
{
	return gate_classify_utility(parsetree) == NEED_WRITE;
}

/* ---- transactions that have got an xid ---- */

static Oid
toast_of(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			toast = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
		ReleaseSysCache(tuple);
	}
	return toast;
}

/* Is it that table, where its long values lie, or an index of either? */
static bool
belongs_to(Oid relid, Oid table)
{
	char		kind;

	if (!OidIsValid(table))
		return false;
	kind = get_rel_relkind(relid);
	if (kind == RELKIND_INDEX)
		relid = IndexGetRelation(relid, true);
	return OidIsValid(relid) && (relid == table || relid == toast_of(table));
}

/*
 * A permanent relation whose rows may have been changed.  Catalogs don't count:
 * temporary tables change them too, and every other way to them is a command or
 * a function that the gate knows.  Large objects are the exception.
 */
static bool
holds_data(Oid relid)
{
	Oid			nspid;

	if (relid < FirstNormalObjectId)
		return relid == LargeObjectRelationId || relid == LargeObjectMetadataRelationId;
	if (belongs_to(relid, gate_xact.local_table))
		return false;
	nspid = get_rel_namespace(relid);
	return OidIsValid(nspid) && !isTempOrTempToastNamespace(nspid);
}

/* Does this backend hold a lock of a kind in `modes` on data of this database? */
static bool
holds_locks_on_data(LOCKMASK modes)
{
	LockData   *data = GetLockStatusData();

	for (int i = 0; i < data->nelements; i++)
	{
		LockInstanceData *lock = &data->locks[i];

		if (lock->pid == MyProcPid && (lock->holdMask & modes) != 0 &&
			lock->locktag.locktag_type == LOCKTAG_RELATION &&
			lock->locktag.locktag_field1 == MyDatabaseId &&
			holds_data(lock->locktag.locktag_field2))
			return true;
	}
	return false;
}

/*
 * Of a transaction with an xid, about to commit: has it changed no data?  True if
 * it has written no WAL (rows of temporary tables, a bare xid), or if all that it
 * is known to have done is exempt and its locks bear that out: whoever changes
 * rows holds ROW EXCLUSIVE on their table until the end.  Maintenance holds other
 * strong locks.
 */
bool
gate_changes_are_harmless(void)
{
	LOCKMASK	modes = LOCKBIT_ON(RowExclusiveLock);

	/* a session that ends drops its temporary tables */
	if (proc_exit_inprogress)
		return true;
	if (XLogRecPtrIsInvalid(XactLastRecEnd))
		return true;
	if (!gate_xact.temporary && !gate_xact.maintenance)
		return false;
	if (!gate_xact.maintenance)
		modes |= LOCKBIT_ON(ShareUpdateExclusiveLock) | LOCKBIT_ON(ShareLock) |
			LOCKBIT_ON(ShareRowExclusiveLock) | LOCKBIT_ON(ExclusiveLock) |
			LOCKBIT_ON(AccessExclusiveLock);
	return !holds_locks_on_data(modes);
}
