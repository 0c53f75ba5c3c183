/*
 * command_client.c - the session's side of a command: hand it over, wait,
 * report.
 */
#include "api/api.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* How long a session waits for another session's command to end, in ms. */
#define BUSY_MS 10000

/* How long it waits for a coordinator that has ended to be started again, in ms. */
#define ABSENT_MS 10000

typedef struct CommandWait
{
	NodeShared *node;
	uint64		id;				/* of the command waited for */
} CommandWait;

static bool
coordinator_runs(NodeShared *node)
{
	pid_t		pid;

	SpinLockAcquire(&node->mutex);
	pid = node->worker_pid[WORKER_COORDINATOR];
	SpinLockRelease(&node->mutex);
	return pid != 0;
}

static void
require_coordinator(NodeShared *node)
{
	if (!coordinator_runs(node))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the coordinator of this node is not running"),
				 errhint("It is started by the launcher; see the server log, and \"max_worker_processes\".")));
}

/* Put the command into its place; false if another one is there. */
static bool
submit(NodeShared *node, CommandShared *request)
{
	bool		free_slot;

	LWLockAcquire(&node->command_lock, LW_EXCLUSIVE);
	free_slot = node->command.kind == COMMAND_NONE || node->command.done;
	if (free_slot)
	{
		request->id = node->command.id + 1;
		request->caller_pid = MyProcPid;
		request->done = false;
		request->cancel = false;
		request->n_steps = 0;
		node->command = *request;
	}
	LWLockRelease(&node->command_lock);
	if (free_slot)
		node_wake(node, WORKER_COORDINATOR);
	return free_slot;
}

static void
wait_for_turn(NodeShared *node, CommandShared *request)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_MS);

	ConditionVariablePrepareToSleep(&node->command_cv);
	while (!submit(node, request))
	{
		if (GetCurrentTimestamp() >= until)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("another command of this node is under way"),
					 errhint("Wait until it ends; baton.events shows what is going on.")));
		ConditionVariableTimedSleep(&node->command_cv, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Copy the command's state; raises if it has been replaced or its node is gone. */
static void
look(NodeShared *node, uint64 id, CommandShared *out)
{
	bool		mine;

	LWLockAcquire(&node->command_lock, LW_SHARED);
	mine = node->command.id == id;
	if (mine)
		*out = node->command;
	LWLockRelease(&node->command_lock);
	if (!mine)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the answer to this command is lost"),
				 errhint("See baton.status and baton.events.")));
}

static void
wait_for_end(NodeShared *node, CommandShared *request, CommandStepFn on_step)
{
	CommandShared *now = palloc(sizeof(CommandShared));
	int			seen = 0;
	TimestampTz last_seen = GetCurrentTimestamp();

	ConditionVariablePrepareToSleep(&node->command_cv);
	for (;;)
	{
		look(node, request->id, now);
		while (on_step && seen < now->n_steps)
		{
			on_step(&now->steps[seen], seen + 1);
			seen++;
		}
		if (now->done)
			break;
		if (coordinator_runs(node))
			last_seen = GetCurrentTimestamp();
		else if (TimestampDifferenceExceeds(last_seen, GetCurrentTimestamp(), ABSENT_MS))
			require_coordinator(node);
		ConditionVariableTimedSleep(&node->command_cv, 1000, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	*request = *now;
	pfree(now);
}

/*
 * The session leaves before the end, by an error or because it is ended: the
 * coordinator gives up if it still can.
 */
static void
cancel(int code, Datum arg)
{
	const CommandWait *wait = (const CommandWait *) DatumGetPointer(arg);
	NodeShared *node = wait->node;
	uint64		id = wait->id;

	ConditionVariableCancelSleep();
	LWLockAcquire(&node->command_lock, LW_EXCLUSIVE);
	if (node->command.id == id)
		node->command.cancel = true;
	LWLockRelease(&node->command_lock);
	node_wake(node, WORKER_COORDINATOR);
}

void
command_run(NodeShared *node, CommandShared *request, CommandStepFn on_step)
{
	CommandWait wait = {node};

	require_coordinator(node);
	wait_for_turn(node, request);
	wait.id = request->id;
	PG_ENSURE_ERROR_CLEANUP(cancel, PointerGetDatum(&wait));
	{
		wait_for_end(node, request, on_step);
	}
	PG_END_ENSURE_ERROR_CLEANUP(cancel, PointerGetDatum(&wait));
}

/* Raise what the coordinator answered, if it was no success. */
void
command_raise(const CommandShared *finished)
{
	if (finished->success)
		return;
	ereport(ERROR,
			(errcode(finished->sqlerrcode),
			 errmsg("%s", finished->message),
			 finished->detail[0] ? errdetail("%s", finished->detail) : 0,
			 finished->hint[0] ? errhint("%s", finished->hint) : 0));
}

void
api_require_no_transaction(const char *function)
{
	if (IsTransactionBlock() || IsSubTransaction() ||
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", function),
				 errdetail("What it does cannot be rolled back.")));
}

char *
api_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

int64
api_interval_ms(FunctionCallInfo fcinfo, int arg, const char *name)
{
	Interval   *span;
	int64		ms;

	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	span = PG_GETARG_INTERVAL_P(arg);
	ms = span->time / 1000 + ((int64) span->day + (int64) span->month * 30) * 24 * 3600 * 1000;
	if (ms < 0 || ms > (int64) 24 * 3600 * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 0 and 24 hours", name)));
	return ms;
}
