/*
 * copy_worker.c - takes the initial copy of a joining node.
 *
 * It runs in the joining database while the control file says INTENT_COPYING.
 * One attempt, from top to bottom; an error anywhere ends the attempt, and the
 * next one starts over after 1 s, then 2, up to 60:
 *
 *	 connect       loopback; with what an interrupted attempt left removed (copy_clean.c)
 *	 P0            the primary says where in the stream the copy begins: in front of
 *				   every transaction that the snapshot may not see (rpc_copy.c)
 *	 log           a new stream log that begins at P0.  From here on the primary
 *				   ships into it, and the receiver answers (copy_log.c)
 *	 snapshot      ACCESS SHARE on all tables, then a snapshot bound to L, a place
 *				   in the primary's WAL (copy_snapshot.c)
 *	 covered       up to where the primary's log holds all commits before L
 *	 roles         those that the database uses and this server lacks (copy_roles.c)
 *	 dump          pg_dump under the snapshot, into a directory (copy_dump.c)
 *	 release       snapshot and locks on the primary are given back
 *	 restore       pg_restore, then ANALYZE.  A node that holds data already, which can
 *				   follow the stream no more, has it replaced in one transaction
 *				   (copy_replace.c): until then it keeps the old
 *	 stream        wait until the own log holds all commits before L, too (copy_log.c)
 *	 slot, origin  made here, where nobody waits for them
 *	 finish        the control file says INTENT_ACTIVE, apply from P0, and: commits of
 *				   this member in this term that begin before L are in the tables
 *
 * An arbiter takes the log only, from P0 on, and finishes.
 *
 * Why nothing is lost or doubled.  Let X be a transaction of the primary, its
 * commit record beginning at C.  C < L: the snapshot sees X, so its rows are in the
 * dump, and the applier skips it.  C >= L: the dump has nothing of it; X is
 * committed in the stream behind P0, and its first record lies behind P0 as well,
 * for P0 was asked for before L existed.  Between P0 and L the term does not change
 * (asked before and after), so "this member, this term" means one sequence of
 * WAL positions.
 *
 * On disk, in this order, and what a restart sees.  In every case but the last it
 * sees INTENT_COPYING and starts over:
 *
 *	 1. stream/ emptied, first segment made
 *	 2. control: log_base = P0 and the frame before it (copy_handshake.c)
 *	 3. copy/ made: from here on the database may hold parts of a copy, and the next
 *		attempt empties it, unless the copy replaces data (control: copy_replaces): then
 *		it holds the old or the new, whole.  (Roles made are kept; they would be made
 *		again.)
 *	 4. dump and service file in copy/; objects and rows in the database, written
 *		without waiting for WAL
 *	 5. the slot, which holds WAL from here on; an attempt that starts over drops it
 *	 6. origin; WAL flushed, so that all of 4 survives a crash
 *	 7. contents of copy/ removed
 *	 8. control: INTENT_ACTIVE, applied_floor = P0, copy_*, own_floor, slot_name
 *	 9. copy/ removed by the coordinator; if that is missed, at its next start
 *
 * Two flows:
 *
 *	 A join under load.  T1 has written, its records are open in the stream, frame
 *	 F1; T2 begins later.  P0 = F1.  Making the slot waits for T1 and T2 to end;
 *	 both commit, L lies behind them.  T3 commits behind L.  The dump has T1 and T2.
 *	 The log that starts at F1 brings T1 and T2 (skipped) and T3 (applied).
 *
 *	 The server is killed during the restore.  The kernel ends pg_restore with the
 *	 worker.  After the restart the control file says INTENT_COPYING: the log stays
 *	 unused, the worker finds copy/, ends leftover sessions, drops slot, origin and
 *	 every object of the database, empties copy/, and begins at the top.
 */
#include "baton.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "apply/origin.h"
#include "capture/local_conn.h"
#include "capture/slot.h"
#include "copy/copy_internal.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/message.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_MS		1000
#define LAST_RETRY_MS		60000
#define SLOT_WAIT_MS		10000

/* ---- the sessions' token ---- */

/* Sessions that show it may write into this database, whose gate is closed. */
static void
set_token(CopyContext *ctx)
{
	uint8		bytes[16];
	char		token[40];

	if (!pg_strong_random(bytes, sizeof(bytes)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random token")));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(token + 2 * i, 3, "%02x", bytes[i]);
	LWLockAcquire(&ctx->node->state_lock, LW_EXCLUSIVE);
	strlcpy(ctx->node->session_token, token, sizeof(ctx->node->session_token));
	LWLockRelease(&ctx->node->state_lock);
}

static void
clear_token(CopyContext *ctx)
{
	LWLockAcquire(&ctx->node->state_lock, LW_EXCLUSIVE);
	ctx->node->session_token[0] = '\0';
	LWLockRelease(&ctx->node->state_lock);
}

/* ---- steps of an attempt ---- */

static void
connect_local(CopyContext *ctx)
{
	char		options[128];
	char		err[BATON_ERROR_LEN];

	snprintf(options, sizeof(options),
			 "-c baton.session_token=%s -c session_replication_role=replica",
			 ctx->node->session_token);
	ctx->local = local_connect(ctx->node->dbname, false, "baton copy control", options,
							   err, sizeof(err));
	if (ctx->local == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not connect to the own server: %s", err),
				 errhint("See the setting \"baton.local_conninfo\".")));
}

/* Names of this attempt's files: no leftover process can write into them. */
static void
name_files(CopyContext *ctx)
{
	uint32		unique = (uint32) GetCurrentTimestamp() ^ (uint32) MyProcPid;

	snprintf(ctx->dump, sizeof(ctx->dump), "%.900s/dump-%08x", ctx->directory, unique);
	snprintf(ctx->services, sizeof(ctx->services), "%.900s/service-%08x", ctx->directory, unique);
}

static void
clean_up(CopyContext *ctx)
{
	bool		interrupted = copy_scratch_exists(ctx);

	SpinLockAcquire(&ctx->node->mutex);
	ctx->replaces = ctx->node->copy.replaces;
	ctx->arbiter = ctx->node->arbiter;
	SpinLockRelease(&ctx->node->mutex);
	if (ctx->replaces && !ctx->arbiter)
		copy_clean_server(ctx);
	else if (interrupted)
	{
		copy_progress_phase(ctx, "removing an interrupted copy");
		copy_clean_database(ctx);
	}
	if (interrupted)
		copy_scratch_empty(ctx);
}

/* From the primary into copy/; returns whose replica identities baton has set. */
static CopyRows *
fetch(CopyContext *ctx)
{
	copy_source_connect(ctx);
	copy_source_start(ctx);
	copy_log_start(ctx);
	copy_scratch_create(ctx);
	copy_progress_reset(ctx);

	copy_take_snapshot(ctx);
	copy_levels_read(ctx);
	copy_progress_phase(ctx, "waiting for the source's capture");
	copy_source_covered(ctx);
	copy_progress_phase(ctx, "creating roles");
	copy_roles(ctx);
	copy_check_tablespaces(ctx);
	copy_service_write(ctx);
	copy_progress_write(ctx);
	copy_dump(ctx);
	copy_indexes_read(ctx);
	return copy_identity_read(ctx);
}

static void
make_slot(CopyContext *ctx)
{
	char		err[BATON_ERROR_LEN];

	copy_progress_phase(ctx, "creating the replication slot");
	while (!capture_slot_create(ctx->node, SLOT_WAIT_MS, NULL, err, sizeof(err)))
	{
		/* it waits for transactions of the whole server: say so, and go on waiting */
		copy_progress_error(ctx, err);
		copy_sleep(1000);
	}
	copy_progress_error(ctx, NULL);
	(void) apply_origin_ensure(ctx->node);
}

static void
finish(CopyContext *ctx)
{
	CopyRequest request = {0};

	copy_progress_phase(ctx, "finishing");
	copy_close(&ctx->local);
	if (!ctx->arbiter)
		copy_scratch_empty(ctx);

	request.kind = COPY_REQUEST_FINISH;
	request.log_base = ctx->start;
	request.base_last_start = ctx->last_start;
	request.base_last_term = ctx->last_term;
	request.copy_source = ctx->source_id;
	request.copy_term = ctx->term;
	request.copy_lsn = ctx->copy_lsn;
	if (!ctx->arbiter)
		capture_slot_name(ctx->node, request.slot_name);
	/* a record behind all that the copy has written: flushed, it flushes them */
	request.own_floor = baton_log_marker("baton");
	XLogFlush(request.own_floor);
	clear_token(ctx);
	copy_request(ctx->node, &request);
}

/*
 * An arbiter has no tables: its log begins where a copy's would, and that is all.
 */
static void
join_arbiter(CopyContext *ctx)
{
	copy_source_connect(ctx);
	copy_source_start(ctx);
	copy_log_start(ctx);
	copy_source_release(ctx);
	finish(ctx);
}

static void
attempt(CopyContext *ctx)
{
	CopyRows   *identities;

	copy_progress_begin(ctx);
	set_token(ctx);
	connect_local(ctx);
	clean_up(ctx);
	copy_log_stop(ctx);
	name_files(ctx);
	if (ctx->arbiter)
	{
		join_arbiter(ctx);
		return;
	}

	identities = fetch(ctx);
	copy_source_release(ctx);

	if (ctx->replaces)
		copy_replace(ctx);
	else
		copy_restore(ctx);
	copy_indexes_build(ctx);
	copy_identity_write(ctx, identities);
	copy_progress_phase(ctx, "analyzing");
	copy_query(ctx->local, 0, "ANALYZE");
	copy_progress_phase(ctx, "waiting for the stream");
	copy_log_wait_covered(ctx);
	make_slot(ctx);
	ereport(LOG,
			(errmsg("initial copy of database \"%s\" is complete, %d tables",
					ctx->node->dbname, ctx->n_tables),
			 errdetail("It holds the commits of term " UINT64_FORMAT " that begin before %X/%X.",
					   ctx->term, LSN_FORMAT_ARGS(ctx->copy_lsn))));
	finish(ctx);
}

/* ---- the worker ---- */

/* Everything that must not outlive an attempt. */
static void
release_attempt(CopyContext *ctx)
{
	copy_child_kill(ctx);
	copy_close_all(ctx);
	clear_token(ctx);
}

/* before_shmem_exit */
static void
copy_worker_exit(int code, Datum arg)
{
	/* an error that became fatal may have left a lock held */
	LWLockReleaseAll();
	release_attempt((CopyContext *) DatumGetPointer(arg));
}

/* Report a failed attempt; returns to a state in which another one can begin. */
static void
attempt_failed(CopyContext *ctx)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(ctx->attempt_context);
	edata = CopyErrorData();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(ctx->attempt_context);
	release_attempt(ctx);
	copy_progress_error(ctx, edata->message);
	copy_progress_phase(ctx, "failed, will be repeated");
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("initial copy of database \"%s\", attempt %d, failed: %s",
					ctx->node->dbname, ctx->attempt, edata->message),
			 edata->detail ? errdetail("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) : 0));
}

static bool
still_copying(CopyContext *ctx)
{
	NodeIntent	intent;

	copy_request_settle(ctx->node);
	LWLockAcquire(&ctx->node->state_lock, LW_SHARED);
	intent = ctx->node->intent;
	LWLockRelease(&ctx->node->state_lock);
	return intent == INTENT_COPYING;
}

static bool
try_attempt(CopyContext *ctx)
{
	volatile bool complete = false;

	MemoryContextReset(ctx->attempt_context);
	MemoryContextSwitchTo(ctx->attempt_context);
	ctx->n_tables = 0;
	PG_TRY();
	{
		attempt(ctx);
		complete = true;
	}
	PG_CATCH();
	{
		attempt_failed(ctx);
	}
	PG_END_TRY();
	return complete;
}

static void
sleep_between(long ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		copy_sleep(left);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

static CopyContext *
start_worker(Oid dboid)
{
	CopyContext *ctx;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);

	ctx = MemoryContextAllocZero(TopMemoryContext, sizeof(CopyContext));
	ctx->child.fd = -1;
	ctx->attempt_context = AllocSetContextCreate(TopMemoryContext, "baton copy",
												 ALLOCSET_DEFAULT_SIZES);
	ctx->node = node_find(dboid);
	if (ctx->node == NULL)
		return NULL;
	node_worker_attach(ctx->node, WORKER_COPY);
	snprintf(ctx->directory, sizeof(ctx->directory), "%.500s/%.500s/copy",
			 DataDir, ctx->node->directory);

	/* its own table writes are nobody else's business */
	baton_worker_exempt = true;
	replorigin_session_origin = DoNotReplicateId;
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "baton copy", PGC_USERSET, PGC_S_OVERRIDE);
	before_shmem_exit(copy_worker_exit, PointerGetDatum(ctx));
	return ctx;
}

/*
 * Entry point.  main_arg: OID of the joining database.  Exits with 0 when the copy
 * is complete, or is not wanted any more.
 */
void
baton_copy_main(Datum main_arg)
{
	CopyContext *ctx = start_worker(DatumGetObjectId(main_arg));
	long		pause = FIRST_RETRY_MS;

	while (ctx != NULL && still_copying(ctx) && !try_attempt(ctx))
	{
		pgstat_report_activity(STATE_IDLE, NULL);
		sleep_between(pause);
		pause = Min(pause * 2, LAST_RETRY_MS);
	}
	proc_exit(0);
}
