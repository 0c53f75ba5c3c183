/*
 * publish.c - what the rest of the node sees of the applier: how far it is, the
 * failover that it has come upon, and why it does not get on.
 *
 * An apply error does not end the worker.  Its text is published and logged
 * (once, until it changes), and the same transaction is tried again after
 * baton.apply_retry_interval: so nothing is skipped, and apply goes on by itself
 * when the cause is mended.  Conflicts with sessions that read (deadlocks and
 * their kind) are tried again at once and are nobody's business unless they
 * last.
 */
#include "apply/applier.h"

#include "access/xact.h"
#include "apply/index_work.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define QUICK_RETRIES		20
#define QUICK_RETRY_DELAY	20	/* ms */

static void
broadcast(NodeShared *node)
{
	ConditionVariableBroadcast(&node->applied_cv);
	ConditionVariableBroadcast(&node->watch_cv);
}

static void
stopped_running(int code, Datum arg)
{
	NodeShared *node = (NodeShared *) DatumGetPointer(arg);

	SpinLockAcquire(&node->mutex);
	node->applier_running = false;
	SpinLockRelease(&node->mutex);
	broadcast(node);
}

void
applier_publish_running(Applier *a)
{
	before_shmem_exit(stopped_running, PointerGetDatum(a->node));
	SpinLockAcquire(&a->node->mutex);
	a->node->applier_running = true;
	a->node->apply_error[0] = '\0';
	a->node->failover_seen = false;
	SpinLockRelease(&a->node->mutex);
	broadcast(a->node);
}

/* First frame that is needed if the applier starts again. */
static StreamPos
needed_from(Applier *a)
{
	StreamPos	oldest = open_transactions_oldest(a->open);

	return oldest != 0 ? Min(oldest, a->done_keep) : a->done_keep;
}

void
applier_publish(Applier *a, StreamPos pos, int n_txns, uint64 n_rows, TimestampTz commit_time)
{
	NodeShared *node = a->node;
	StreamPos	keep = needed_from(a);
	bool		moved;
	bool		notify;

	SpinLockAcquire(&node->mutex);
	/* rows are missing: whoever waits for a place waits until they are back */
	moved = pos > node->applied && !a->mending;
	if (moved)
		node->applied = pos;
	node->apply_keep = keep;
	node->applied_txns += n_txns;
	node->applied_rows += n_rows;
	if (commit_time != 0)
		node->applied_commit_time = commit_time;
	notify = node->apply_notify != 0 && node->applied >= node->apply_notify;
	if (notify)
		node->apply_notify = 0;
	SpinLockRelease(&node->mutex);

	/* a watcher asks for it before it looks at applied: it sees this, or is woken */
	if (moved)
		ConditionVariableBroadcast(&node->applied_cv);
	if (moved && pg_atomic_exchange_u32(&node->watch_applied, 0) != 0)
		ConditionVariableBroadcast(&node->watch_cv);
	if (notify)
		node_wake(node, WORKER_COORDINATOR);
}

void
applier_publish_position(Applier *a, StreamPos pos)
{
	SpinLockAcquire(&a->node->mutex);
	if (!a->mending)
		a->node->applied = pos;
	SpinLockRelease(&a->node->mutex);
	applier_publish(a, pos, 0, 0, 0);
	broadcast(a->node);
}

void
applier_publish_failover(Applier *a, const RecordFailover *failover)
{
	SpinLockAcquire(&a->node->mutex);
	a->node->failover_seen = true;
	a->node->failover = *failover;
	a->node->failover_from = TERM_MEMBER(failover->term);
	SpinLockRelease(&a->node->mutex);
	node_wake(a->node, WORKER_COORDINATOR);
}

/* A reign begins: a failover that was commanded in an earlier one is void. */
void
applier_withdraw_failover(Applier *a, uint64 term)
{
	SpinLockAcquire(&a->node->mutex);
	if (a->node->failover_seen && a->node->failover.term < term)
		a->node->failover_seen = false;
	SpinLockRelease(&a->node->mutex);
}

/* ---- errors ---- */

/*
 * The key of the row that was being applied, or NULL.  Reading it may need
 * catalogs, and they may be what is broken.
 */
static char *
failed_row_key(Applier *a, ApplyRelation *m, const Record *r)
{
	char	   *volatile key = NULL;

	if (m == NULL || r->type == 0)
		return NULL;
	PG_TRY();
	{
		char	   *text;

		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		text = apply_row_key(m, r);
		key = text ? MemoryContextStrdup(a->cxt, text) : NULL;
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(a->cxt);
	return key;
}

/* One line that says what, where, and which row. */
static void
compose(Applier *a, const ErrorData *e, const ApplyRelation *m, const char *key, char *out)
{
	StringInfoData line;
	char	   *table = m ? psprintf("%s.%s", m->source.nspname, m->source.relname) : NULL;

	initStringInfo(&line);
	appendStringInfo(&line, "%s (SQLSTATE %s)", e->message ? e->message : "unknown error",
					 unpack_sql_state(e->sqlerrcode));
	if (table && (e->message == NULL || strstr(e->message, table) == NULL))
		appendStringInfo(&line, "; table %s", table);
	if (key)
		appendStringInfo(&line, "; key %s", key);
	appendStringInfo(&line, "; stream position " STREAM_POS_FORMAT,
					 STREAM_POS_ARGS(a->trying ? a->trying : a->at.frame));
	if (e->detail)
		appendStringInfo(&line, "; %s", e->detail);
	if (e->hint)
		appendStringInfo(&line, "; %s", e->hint);
	if (e->context)
		appendStringInfo(&line, "; %s", e->context);
	for (int i = 0; i < line.len; i++)
		if (line.data[i] == '\n' || line.data[i] == '\r')
			line.data[i] = ' ';
	line.data[pg_mbcliplen(line.data, line.len, BATON_ERROR_LEN - 1)] = '\0';
	strlcpy(out, line.data, BATON_ERROR_LEN);
	pfree(line.data);
}

static void
publish_error(Applier *a, const char *error)
{
	SpinLockAcquire(&a->node->mutex);
	strlcpy(a->node->apply_error, error, BATON_ERROR_LEN);
	SpinLockRelease(&a->node->mutex);
	broadcast(a->node);
	node_wake(a->node, WORKER_COORDINATOR);
}

static void
report(Applier *a, const ErrorData *e, const char *error)
{
	if (strcmp(a->error, error) == 0)
		return;
	strlcpy(a->error, error, BATON_ERROR_LEN);
	ereport(LOG,
			(errcode(e->sqlerrcode),
			 errmsg("applying the replication stream has stopped: %s", error),
			 e->context ? errdetail_internal("%s", e->context) : 0,
			 errhint("The transaction is tried again every %d ms, and apply goes on once the cause is mended.",
					 baton_apply_retry_interval)));
}

static bool
is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		sqlerrcode == ERRCODE_QUERY_CANCELED;
}

int
applier_failed(Applier *a, bool quiet)
{
	ApplyRelation *m = a->local.relation;
	Record		r = a->local.record;
	ErrorData  *e;
	char		error[BATON_ERROR_LEN];
	char	   *key;

	MemoryContextSwitchTo(a->cxt);
	e = CopyErrorData();
	FlushErrorState();
	local_abort(&a->local);
	MemoryContextSwitchTo(a->cxt);

	if (quiet)
	{
		FreeErrorData(e);
		return 0;
	}
	if (is_conflict(e->sqlerrcode) && a->quick_retries++ < QUICK_RETRIES)
	{
		FreeErrorData(e);
		return QUICK_RETRY_DELAY;
	}
	a->quick_retries = 0;
	/* it may need an index that is still to be built */
	if (!a->built_first && index_work_waits(a->node))
	{
		a->build_first = a->built_first = true;
		FreeErrorData(e);
		return 0;
	}
	key = failed_row_key(a, m, &r);
	compose(a, e, m, key, error);
	publish_error(a, error);
	report(a, e, error);
	if (key)
		pfree(key);
	FreeErrorData(e);
	pgstat_report_activity(STATE_IDLE, "stopped, see baton.stat_apply");
	return baton_apply_retry_interval;
}

void
applier_succeeded(Applier *a)
{
	a->quick_retries = 0;
	a->built_first = false;
	a->trying = 0;
	if (a->error[0] == '\0')
		return;
	a->error[0] = '\0';
	ereport(LOG, (errmsg("applying the replication stream goes on")));
	publish_error(a, "");
}
