/*
 * ddl_nested.c - what functions do that a command of the stream calls.
 *
 * A column's default, a partition's bound or a check may call a function that writes
 * rows or gives commands itself.  On the source all of that got records of its own,
 * which follow the command's; done here too it would be done twice.  So while a
 * command of the stream runs, what its functions write to lasting tables is passed
 * over.  (What their results would have been then does not matter: rows that volatile
 * functions made come from the source.)
 *
 * Extension scripts are another thing: they travel as the one command.
 */
#include "baton.h"

#include "apply/ddl_nested.h"

#include "commands/extension.h"
#include "executor/executor.h"
#include "failover/gate.h"
#include "failover/gate_internal.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

static bool passing_over = false;
static ProcessUtility_hook_type prev_process_utility = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;

void
ddl_nested_begin(Node *command)
{
	/* the server's own commands fill it */
	passing_over = !(IsA(command, RefreshMatViewStmt) && ((RefreshMatViewStmt *) command)->concurrent);
}

void
ddl_nested_end(void)
{
	passing_over = false;
}

/* An extension's script makes a role that this server has: what it is to be comes with
 * the stream. */
static bool
role_is_here(Node *command)
{
	return creating_extension && IsA(command, CreateRoleStmt) &&
		OidIsValid(get_role_oid(((CreateRoleStmt *) command)->role, true));
}

static void
nested_process_utility(PlannedStmt *stmt, const char *query, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	if (passing_over && !creating_extension &&
		(context == PROCESS_UTILITY_QUERY || context == PROCESS_UTILITY_QUERY_NONATOMIC) &&
		gate_command_changes_definitions(stmt->utilityStmt))
		return;
	if (passing_over && role_is_here(stmt->utilityStmt))
		return;
	if (prev_process_utility)
		prev_process_utility(stmt, query, read_only_tree, context, params, env, dest, completion);
	else
		standard_ProcessUtility(stmt, query, read_only_tree, context, params, env, dest, completion);
}

static void
nested_executor_run(BATON_EXECUTOR_RUN_PARAMETERS)
{
	if (passing_over && !creating_extension &&
		(query->operation != CMD_SELECT || query->plannedstmt->hasModifyingCTE) &&
		gate_plan_writes(query->plannedstmt))
		return;
	if (prev_executor_run)
		prev_executor_run(BATON_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(BATON_EXECUTOR_RUN_ARGUMENTS);
}

void
ddl_nested_install_hooks(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = nested_process_utility;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = nested_executor_run;
}
