/*
 * gate_hooks.c - where PostgreSQL asks the gate.
 *
 * Executor start and run: each plan, and each piece of a cursor, which can run
 * long after it was opened.  Utility commands.  Functions that write without
 * either of them: nextval in a plpgsql assignment or called by the fast path
 * reaches only the hook on function execution, and that one once per expression
 * and transaction, which suffices to make the transaction a writer.  And the
 * transaction's end.  Each hook calls on what was installed before.
 */
#include "failover/gate_internal.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "executor/executor.h"
#include "failover/commit_guard.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"

static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* Commands under way that change temporary objects in a closed database. */
static int	temporary_depth = 0;

/*
 * Error context: PostgreSQL's own refusals in a closed database get the detail and
 * the hint that ours have.
 */
static void
add_hint(void *arg)
{
	NodeShared *node = (NodeShared *) arg;
	char	   *reason;

	if (geterrcode() != ERRCODE_READ_ONLY_SQL_TRANSACTION ||
		gate_state(node) != GATE_CLOSED)
		return;
	reason = gate_reason(node);
	if (reason != NULL)
		errdetail("Reason: %s.", reason);
	errhint("%s", gate_primary_hint(node));
}

static inline void
push_hint(ErrorContextCallback *callback, NodeShared *node)
{
	callback->callback = add_hint;
	callback->arg = node;
	callback->previous = error_context_stack;
	error_context_stack = callback;
}

static inline void
pop_hint(ErrorContextCallback *callback)
{
	error_context_stack = callback->previous;
}

/* ---- plans ---- */

static inline void
before_plan(NodeShared *node, const PlannedStmt *plan)
{
	if (!gate_plan_may_write(plan))
		gate_enter_read(node);
	else if (gate_xact.writer && gate_state(node) == GATE_OPEN)
		gate_follow(node);
	else if (gate_plan_writes(plan))
		gate_enter_write(node, CreateCommandName((Node *) plan));
	else
	{
		gate_enter_read(node);
		gate_note_temporary();
	}
}

static void
gate_executor_start(QueryDesc *query, int eflags)
{
	NodeShared *node = gate_node();
	ErrorContextCallback callback;

	if (node != NULL)
	{
		push_hint(&callback, node);
		if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
			gate_enter_read(node);
		else
			before_plan(node, query->plannedstmt);
	}
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (node != NULL)
		pop_hint(&callback);
}

static void
gate_executor_run(BATON_EXECUTOR_RUN_PARAMETERS)
{
	NodeShared *node = gate_node();
	ErrorContextCallback callback;

	if (node != NULL)
	{
		push_hint(&callback, node);
		before_plan(node, query->plannedstmt);
	}
	if (prev_executor_run)
		prev_executor_run(BATON_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(BATON_EXECUTOR_RUN_ARGUMENTS);
	if (node != NULL)
		pop_hint(&callback);
}

/* ---- utility commands ---- */

/* One call of the hook, to be handed on. */
typedef struct UtilityCall
{
	PlannedStmt *stmt;
	const char *query;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *env;
	DestReceiver *dest;
	QueryCompletion *completion;
} UtilityCall;

static void
call_next(const UtilityCall *u)
{
	ProcessUtility_hook_type next = prev_process_utility ?
		prev_process_utility : standard_ProcessUtility;

	next(u->stmt, u->query, u->read_only_tree, u->context, u->params, u->env,
		 u->dest, u->completion);
}

/*
 * BEGIN, SET and their kind see the mode that the user has chosen, not the one
 * that the gate forces; the next statement is forced again.
 */
static void
run_in_own_mode(NodeShared *node, const UtilityCall *u)
{
	bool		forced;

	if (IsTransactionState())
		gate_follow(node);
	forced = gate_xact.read_only_forced;
	if (forced)
		XactReadOnly = false;
	call_next(u);
	/* READ ONLY by the user's own wish, to be left alone when the gate opens */
	if (forced && XactReadOnly &&
		(IsA(u->stmt->utilityStmt, VariableSetStmt) ||
		 ((TransactionStmt *) u->stmt->utilityStmt)->options != NIL))
		gate_xact.read_only_forced = false;
}

/*
 * PostgreSQL refuses to create temporary tables in a read-only transaction; only
 * the command itself is spared from that.
 */
static void
run_temporary(NodeShared *node, const UtilityCall *u)
{
	gate_enter_read(node);
	gate_note_temporary();
	if (gate_state(node) != GATE_CLOSED)
	{
		call_next(u);
		return;
	}
	XactReadOnly = !gate_xact.read_only_forced;
	temporary_depth++;
	PG_TRY();
	{
		call_next(u);
	}
	PG_FINALLY();
	{
		temporary_depth--;
		XactReadOnly = true;
	}
	PG_END_TRY();
}

static void
run_maintenance(NodeShared *node, const UtilityCall *u)
{
	gate_enter_read(node);
	gate_maintenance_begin();
	PG_TRY();
	{
		call_next(u);
	}
	PG_FINALLY();
	{
		gate_maintenance_end();
	}
	PG_END_TRY();
}

/*
 * COMMIT PREPARED and its kind have no callback of their own before or after: what
 * was waited for in the command is looked at behind it.
 */
static void
run_commit_prepared(NodeShared *node, const UtilityCall *u)
{
	const TransactionStmt *stmt = (const TransactionStmt *) u->stmt->utilityStmt;

	commit_guard_arm(node);
	gate_enter_commit_prepared(node, CreateCommandName(u->stmt->utilityStmt));
	if (stmt->kind == TRANS_STMT_COMMIT_PREPARED)
		commit_guard_passed(node);
	call_next(u);
	commit_guard_check(node, XactLastRecEnd);
}

static void
run_utility(NodeShared *node, const UtilityCall *u)
{
	Node	   *parsetree = u->stmt->utilityStmt;
	GateNeed	need = gate_classify_utility(parsetree);

	switch (need)
	{
		case NEED_OWN_MODE:
			run_in_own_mode(node, u);
			return;
		case NEED_TEMPORARY:
			run_temporary(node, u);
			return;
		case NEED_MAINTENANCE:
			run_maintenance(node, u);
			return;
		case NEED_WRITE:
			gate_enter_write(node, CreateCommandName(parsetree));
			break;
		case NEED_COMMIT_PREPARED:
			run_commit_prepared(node, u);
			return;
		case NEED_LOCK:
			if (gate_state(node) == GATE_CLOSED)
				gate_enter_read(node);
			else
				gate_enter_write(node, CreateCommandName(parsetree));
			break;
		case NEED_READ:
			gate_enter_read(node);
			break;
	}
	call_next(u);
}

static void
gate_process_utility(PlannedStmt *stmt, const char *query, bool read_only_tree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	UtilityCall u = {stmt, query, read_only_tree, context, params, env, dest, completion};
	NodeShared *node = gate_node();
	ErrorContextCallback callback;

	if (node == NULL)
	{
		call_next(&u);
		return;
	}
	push_hint(&callback, node);
	if (context == PROCESS_UTILITY_SUBCOMMAND)
	{
		/* part of a command that has passed; what ran in between may have forced it */
		if (temporary_depth > 0 && gate_xact.read_only_forced)
			XactReadOnly = false;
		call_next(&u);
	}
	else
		run_utility(node, &u);
	pop_hint(&callback);
}

/* ---- functions ---- */

/*
 * A function of PostgreSQL's own that writes without a plan or a command, by
 * name; NULL for all others.  nextval and setval are here for those that wait,
 * and for marking the transaction: a closed database leaves them to the
 * read-only rule, which knows temporary sequences.
 */
static const char *
writing_function(Oid function)
{
	switch (function)
	{
		case F_NEXTVAL:
			return "nextval()";
		case F_SETVAL_REGCLASS_INT8:
		case F_SETVAL_REGCLASS_INT8_BOOL:
			return "setval()";
		case F_LO_CREAT:
			return "lo_creat()";
		case F_LO_CREATE:
			return "lo_create()";
		case F_LO_FROM_BYTEA:
			return "lo_from_bytea()";
		case F_LO_IMPORT_TEXT:
		case F_LO_IMPORT_TEXT_OID:
			return "lo_import()";
		case F_LO_PUT:
			return "lo_put()";
		case F_LO_TRUNCATE:
		case F_LO_TRUNCATE64:
			return "lo_truncate()";
		case F_LO_UNLINK:
			return "lo_unlink()";
		case F_LOWRITE:
			return "lowrite()";
		case BATON_F_EMIT_MESSAGE_TEXT:
		case BATON_F_EMIT_MESSAGE_BYTEA:
			return "pg_logical_emit_message()";
		default:
			return NULL;
	}
}

/* Functions that get an xid and change none of the database's data. */
static bool
harmless_function(Oid function)
{
	switch (function)
	{
		case F_TXID_CURRENT:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_REPLICATION_ORIGIN_CREATE:
		case F_PG_REPLICATION_ORIGIN_DROP:
		case F_PG_REPLICATION_ORIGIN_ADVANCE:
			return true;
		default:
			return false;
	}
}

static void
before_function(Oid function)
{
	const char *name = writing_function(function);
	NodeShared *node;
	bool		sequence;

	if (name == NULL && !harmless_function(function))
		return;
	node = gate_node();
	if (node == NULL)
		return;
	sequence = function == F_NEXTVAL || function == F_SETVAL_REGCLASS_INT8 ||
		function == F_SETVAL_REGCLASS_INT8_BOOL;
	if (name == NULL)
		gate_note_temporary();
	else if (gate_state(node) == GATE_CLOSED && sequence)
		gate_force_read_only();
	else
		gate_enter_write(node, name);
	if (sequence)
		gate_note_sequence(node);
}

static void
gate_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && objectid < FirstGenbkiObjectId)
		before_function(objectid);
}

/* ---- transactions ---- */

static void
gate_xact_event(XactEvent event, void *arg)
{
	NodeShared *node;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (gate_xact.sequences)
				gate_make_draws_wait();
			if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
				return;
			/* FALLTHROUGH */
		case XACT_EVENT_PRE_PREPARE:
			node = gate_node();
			if (node != NULL)
				gate_pre_commit(node);
			break;
		case XACT_EVENT_COMMIT:
			if (gate_my_node != NULL)
				commit_guard_check(gate_my_node, XactLastCommitEnd);
			gate_xact_end();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			commit_guard_disarm();
			gate_xact_end();
			break;
		default:
			/* parallel workers: their leader has passed */
			break;
	}
}

/*
 * Install all hooks of the gate; called once, by _PG_init in the postmaster.
 */
void
gate_install_hooks(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = gate_executor_start;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = gate_executor_run;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = gate_process_utility;
	prev_object_access = object_access_hook;
	object_access_hook = gate_object_access;
	RegisterXactCallback(gate_xact_event, NULL);
	gate_install_login_hook();
}
