/*
 * policy.c - baton.consistency: what each transaction on a replica waits for
 * before it sees anything.
 *
 *	 none
 *	 time <interval>		what the primary had at most that long ago is applied
 *	 position <token>		what the token of baton.position() stands for is applied
 *
 * Each transaction waits once.  BEGIN waits before there is a snapshot; where there
 * was none, the first statement that reads a table does, and then takes a new
 * snapshot, even if it found that there was nothing to wait for: the old one may be
 * from before that.  A REPEATABLE READ transaction cannot have a new one, so it must
 * come by BEGIN, or by a SET before its first query.
 *
 * A node that has rolled commits back waits for the rows that they had touched: until
 * these are there (`mending`) every statement that reads a table waits, whatever the
 * setting says, for no snapshot of it would show a state that ever was.
 *
 * On the primary there is nothing to wait for.  Statements that read no table of the
 * user's, as those on baton's views and PostgreSQL's catalogs, do not wait: a person
 * must be able to look at a node that is behind.
 */
#include "api/consistency.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "ship/fresh.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* A sign of life wakes nobody who has applied everything: look this often, in ms. */
#define LOOK_MS 100
/* How long the coordinator of a server that has just started is waited for, in ms. */
#define START_MS 2000

typedef enum ConsistencyKind
{
	CONSISTENCY_NONE = 0,
	CONSISTENCY_TIME,
	CONSISTENCY_POSITION
} ConsistencyKind;

typedef struct ConsistencyPolicy
{
	ConsistencyKind kind;
	int64		max_ms;			/* TIME */
	Token		token;			/* POSITION */
} ConsistencyPolicy;

static char *baton_consistency;
static int	baton_consistency_timeout;

static ConsistencyPolicy policy;	/* in force */
static uint64 policy_version = 0;	/* rises with each change of it */
static uint64 waited_version = 0;	/* what this transaction has waited for ... */
static LocalTransactionId waited_xact = InvalidLocalTransactionId;	/* ... which is this one */

static ExecutorStart_hook_type prev_executor_start = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* ---- the setting ---- */

/* An interval as PostgreSQL reads one, in ms, without raising errors. */
static bool
parse_interval(const char *text, int64 *ms)
{
	char		buf[256];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nf;
	int			dtype;
	struct pg_itm_in itm = {0};

	if (ParseDateTime(text, buf, sizeof(buf), field, ftype, MAXDATEFIELDS, &nf) != 0 ||
		DecodeInterval(field, ftype, nf, INTERVAL_FULL_RANGE, &dtype, &itm) != 0 ||
		dtype != DTK_DELTA || itm.tm_year != 0 || itm.tm_mon != 0)
		return false;
	*ms = itm.tm_usec / 1000 + (int64) itm.tm_mday * 24 * 3600 * 1000;
	return *ms >= 0;
}

/* What follows a word and white space, or NULL. */
static const char *
after_word(const char *text, const char *word)
{
	size_t		len = strlen(word);

	if (pg_strncasecmp(text, word, len) != 0 || !isspace((unsigned char) text[len]))
		return NULL;
	for (text += len; isspace((unsigned char) *text); text++)
		;
	return text;
}

static bool
check_consistency(char **newval, void **extra, GucSource source)
{
	ConsistencyPolicy *p = baton_guc_alloc(sizeof(ConsistencyPolicy));
	const char *rest;
	bool		ok;

	if (p == NULL)
		return false;
	memset(p, 0, sizeof(*p));
	if ((rest = after_word(*newval, "time")) != NULL)
	{
		p->kind = CONSISTENCY_TIME;
		ok = parse_interval(rest, &p->max_ms);
	}
	else if ((rest = after_word(*newval, "position")) != NULL)
	{
		p->kind = CONSISTENCY_POSITION;
		ok = token_parse(rest, &p->token);
	}
	else
		ok = pg_strcasecmp(*newval, "none") == 0;
	*extra = p;
	if (!ok)
		GUC_check_errdetail("It must be \"none\", \"time\" with an interval of days or less, or \"position\" with a token of baton.position().");
	return ok;
}

static void
assign_consistency(const char *newval, void *extra)
{
	policy = *(ConsistencyPolicy *) extra;
	policy_version++;
}

void
consistency_define_settings(void)
{
	DefineCustomStringVariable("baton.consistency",
							   "Sets what each transaction on a replica waits for before it sees anything.",
							   "\"none\", \"time <interval>\" or \"position <token of baton.position()>\".",
							   &baton_consistency, "none",
							   PGC_USERSET, 0,
							   check_consistency, assign_consistency, NULL);
	DefineCustomIntVariable("baton.consistency_timeout",
							"Sets how long a transaction waits for what baton.consistency asks for before it fails.",
							NULL,
							&baton_consistency_timeout, 10000, 0, 24 * 3600 * 1000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* ---- is it met? ---- */

static NodeState
state_of(NodeShared *node)
{
	NodeState	state;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	state = node->state;
	LWLockRelease(&node->state_lock);
	return state;
}

/* Age of this node's data in ms, -1 if that is not known. */
static int64
age_of_data(NodeShared *node)
{
	uint64		as_of;
	uint64		now = boot_ms();

	SpinLockAcquire(&node->mutex);
	as_of = fresh_as_of(&node->fresh, node->applied);
	SpinLockRelease(&node->mutex);
	return as_of == 0 ? -1 : (int64) (now - Min(as_of, now));
}

/* Must nothing be read yet? */
static bool
is_mending(NodeShared *node)
{
	return pg_atomic_read_u32(&node->mending) != MENDING_NOT;
}

static void
refuse_state(NodeState state)
{
	if (state == NODE_DOWN || state == NODE_DETACHED || state == NODE_COPYING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("baton.consistency cannot be met: this node does not take part in replication"),
				 errdetail("Its state is \"%s\".", node_state_name(state)),
				 errhint("Read from another node, or SET baton.consistency = 'none'.")));
}

static bool
met(NodeShared *node)
{
	NodeState	state = state_of(node);
	int64		age;

	if (is_mending(node))
		return false;
	if (policy.kind == CONSISTENCY_NONE)
		return true;
	refuse_state(state);
	if (policy.kind == CONSISTENCY_POSITION)
		return token_check(node, &policy.token) && token_reached(node, policy.token.pos);
	if (state == NODE_PRIMARY && pg_atomic_read_u32(&node->gate) != GATE_CLOSED)
		return true;
	age = age_of_data(node);
	return age >= 0 && age <= policy.max_ms;
}

static void
give_up(NodeShared *node)
{
	int64		age = age_of_data(node);

	if (is_mending(node))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("this node did not get back the rows that it has rolled back within %d ms",
						baton_consistency_timeout),
				 errdetail("It takes back commits that its group does not have."),
				 errhint("Try again, or read from another node; see baton.status.")));
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("this node could not meet baton.consistency = '%s' within %d ms",
					baton_consistency, baton_consistency_timeout),
			 policy.kind != CONSISTENCY_TIME ?
			 errdetail("It has not applied that position yet.") :
			 age < 0 ? errdetail("It has not heard from a primary.") :
			 errdetail("It has what the primary had %lld ms ago.", (long long) age),
			 errhint("Try again, read from the primary, or raise \"baton.consistency_timeout\".")));
}

static void
wait_until_met(NodeShared *node)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz deadline = TimestampTzPlusMilliseconds(start, baton_consistency_timeout);

	if (met(node))
		return;
	/* no coordinator comes to read the control file: better read than never */
	if (policy.kind == CONSISTENCY_NONE && pg_atomic_read_u32(&node->mending) == MENDING_NOT_KNOWN)
		deadline = TimestampTzPlusMilliseconds(start, START_MS);
	ConditionVariablePrepareToSleep(&node->applied_cv);
	while (!met(node))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left <= 0)
		{
			if (policy.kind == CONSISTENCY_NONE && pg_atomic_read_u32(&node->mending) == MENDING_NOT_KNOWN)
				break;
			give_up(node);
		}
		(void) ConditionVariableTimedSleep(&node->applied_cv, Min(left, LOOK_MS), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* ---- where sessions wait ---- */

/* This database's node; its place is remembered, for every statement asks. */
static NodeShared *
my_node(void)
{
	static NodeShared *node = NULL;

	if (unlikely(node == NULL || node->dboid != MyDatabaseId))
		node = baton_shared != NULL && OidIsValid(MyDatabaseId) ? node_mine() : NULL;
	return node;
}

/* The node that this transaction still has to wait for, or NULL. */
static NodeShared *
to_wait_for(void)
{
	NodeShared *node = my_node();

	if (likely(node == NULL))
		return NULL;
	if (likely(!is_mending(node)) &&
		(likely(policy.kind == CONSISTENCY_NONE) ||
		 (waited_version == policy_version && waited_xact == baton_my_lxid())))
		return NULL;
	if (MyBackendType != B_BACKEND || IsParallelWorker() || baton_worker_exempt ||
		(baton_session_token != NULL && baton_session_token[0] != '\0') ||
		(application_name != NULL && strncmp(application_name, "baton ", 6) == 0))
		return NULL;
	return node;
}

static void
wait_once(NodeShared *node)
{
	wait_until_met(node);
	waited_version = policy_version;
	waited_xact = baton_my_lxid();
}

/* The snapshot in use is from before the wait: have one from after it. */
static void
renew_snapshot(void)
{
	bool		portals;

	if (!ActiveSnapshotSet())
		return;
	portals = ActivePortal != NULL && ActivePortal->portalSnapshot != NULL &&
		ActivePortal->portalSnapshot == GetActiveSnapshot();
	PopActiveSnapshot();
	if (portals)
	{
		PushActiveSnapshotWithLevel(GetTransactionSnapshot(), ActivePortal->createLevel);
		ActivePortal->portalSnapshot = GetActiveSnapshot();
	}
	else
		PushCopiedSnapshot(GetTransactionSnapshot());
}

/*
 * There is a snapshot, and no other can be had.  A position must have been reached
 * before it was taken, which nobody knows; as for time, a moment does not matter.
 */
static void
accept_fixed_snapshot(NodeShared *node)
{
	if (is_mending(node))
		wait_until_met(node);
	if (policy.kind == CONSISTENCY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the transaction's snapshot may be of a moment at which rows were rolled back here"),
				 errhint("Try again.")));
	if (state_of(node) == NODE_PRIMARY)
	{
		wait_once(node);
		return;
	}
	if (policy.kind == CONSISTENCY_TIME && met(node))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("baton.consistency cannot be met in a transaction whose snapshot is fixed already"),
			 errdetail("The snapshot of a REPEATABLE READ or SERIALIZABLE transaction is older than what it would wait for."),
			 errhint("Set baton.consistency before, and begin the transaction with BEGIN.")));
}

/* Does the plan read a table that is the user's? */
static bool
reads_user_data(const PlannedStmt *plan)
{
	Oid			baton_schema = InvalidOid;
	ListCell   *lc;

	foreach(lc, baton_plan_permissions(plan))
	{
		BatonPermission *perm = (BatonPermission *) lfirst(lc);

		if (!OidIsValid(perm->relid) || perm->relid < FirstNormalObjectId)
			continue;
		if (!OidIsValid(baton_schema))
			baton_schema = get_namespace_oid("baton", true);
		if (get_rel_namespace(perm->relid) != baton_schema)
			return true;
	}
	return false;
}

static void
policy_executor_start(QueryDesc *query, int eflags)
{
	NodeShared *node = to_wait_for();

	if (unlikely(node != NULL) && !(eflags & EXEC_FLAG_EXPLAIN_ONLY) &&
		reads_user_data(query->plannedstmt))
	{
		if (IsolationUsesXactSnapshot())
			accept_fixed_snapshot(node);
		else
		{
			wait_once(node);
			renew_snapshot();
			UnregisterSnapshot(query->snapshot);
			query->snapshot = RegisterSnapshot(ActiveSnapshotSet() ? GetActiveSnapshot() :
											   GetTransactionSnapshot());
		}
	}
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static bool
begins_transaction(Node *parsetree)
{
	return IsA(parsetree, TransactionStmt) &&
		(((TransactionStmt *) parsetree)->kind == TRANS_STMT_BEGIN ||
		 ((TransactionStmt *) parsetree)->kind == TRANS_STMT_START);
}

static bool
copies_table_out(Node *parsetree)
{
	return IsA(parsetree, CopyStmt) && !((CopyStmt *) parsetree)->is_from &&
		((CopyStmt *) parsetree)->relation != NULL;
}

static void
policy_process_utility(PlannedStmt *stmt, const char *query, bool read_only_tree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = prev_process_utility ?
		prev_process_utility : standard_ProcessUtility;
	Node	   *parsetree = stmt->utilityStmt;
	NodeShared *node;

	/* BEGIN has no snapshot yet; what it says about isolation comes after */
	if (begins_transaction(parsetree) && !IsTransactionBlock() && (node = to_wait_for()) != NULL)
		wait_once(node);
	else if (copies_table_out(parsetree) && (node = to_wait_for()) != NULL)
	{
		if (IsolationUsesXactSnapshot())
			accept_fixed_snapshot(node);
		else
		{
			wait_once(node);
			renew_snapshot();
		}
	}
	next(stmt, query, read_only_tree, context, params, env, dest, completion);

	/* a SET in a transaction that has not taken its one snapshot yet */
	if (IsA(parsetree, VariableSetStmt) && IsTransactionBlock() && IsolationUsesXactSnapshot() &&
		!FirstSnapshotSet && (node = to_wait_for()) != NULL)
		wait_once(node);
}

/*
 * Called once, by _PG_init in the postmaster, after the gate's.
 */
void
consistency_install_hooks(void)
{
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = policy_executor_start;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = policy_process_utility;
}
