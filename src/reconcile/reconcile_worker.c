/*
 * reconcile_worker.c - mends a node that has commits which the elected stream has
 * not, without a person and without a full copy.
 *
 * How it comes to that: a primary was lost, and another one elected, or made by
 * force, that did not have its last commits; or a replica had already applied what
 * such a primary shipped to it alone.  When the node meets the new primary:
 *
 *	 NONE --the log is to be cut in front of commits, or capture has come upon an
 *		own commit that is in no stream--> SAVE
 *	 SAVE --none of them is in the tables--> NONE, and the log is cut
 *	 SAVE --more than baton.rollback_limit--> NONE, detached; baton.rejoin() decides
 *	 SAVE --saved--> MEND
 *	 MEND --the touched rows are out of their tables--> FILL
 *	 FILL --the applier has put the fetched rows in--> NONE
 *	 any  --the log is to be cut in front of something that is in the tables, or
 *		that fetched rows rest upon--> SAVE
 *	 any  --what cannot be mended row by row--> a new copy (baton.auto_copy)
 *	 MEND --a person makes the node lead by force--> FILL or ALONE, see alone.c
 *	 ALONE --the applier has come to the TERM record of that reign--> NONE
 *
 * In SAVE and MEND neither the applier runs nor may the node lead; in FILL the
 * applier runs, and the node may not lead.
 *
 *	 save  (save.c, diverged.c) The transactions behind the cut that are in the
 *		tables, and own ones that are in the WAL alone, are read.  One local
 *		transaction writes what they did to baton.rolled_back, and the keys that
 *		they touched to baton.mending_*.
 *	 cut  sync_up.c, when the primary asks again.
 *	 mend  (mend.c, elected.c) Once the new primary's TERM record is committed: a
 *		snapshot of it at the place L of its WAL.  The touched keys grow by those
 *		that the elected stream moves touched rows to, up to L.  One local
 *		transaction takes the touched rows out of their tables, keeps the primary's
 *		version of them beside, and makes a new replication origin, for the old one
 *		never goes back to the cut.
 *	 fill  (apply/fill.c) The applier goes on from the cut and leaves changes of
 *		touched rows out, up to L.  There one local transaction puts the fetched
 *		rows in.  So at each place before L the tables are the primary's, less some
 *		rows, and at L they are the primary's.  Nothing is tolerated on the way.
 *
 * On disk, in this order, and what a restart sees:
 *
 *	 1. save: rows of baton.rolled_back with the next attempt's number, keys.  A
 *		restart takes no notice of them; when the primary asks for the cut again, they
 *		are replaced.
 *	 2. control: MEND, attempt, applied_floor = the cut, own_floor and
 *		rolled_back_lsn = the end of the WAL that was looked at.  From here on the
 *		commits are rolled back: capture never raises them again, and the log may be
 *		cut.  A restart goes on with what is left of cut and mend.
 *	 3. the log is cut.  A crash in the midst leaves more of it, to be cut again.
 *	 4. mend: rows out, fetched rows kept, origin.  A restart before 5 does it
 *		again, under another snapshot: rows that are out already are passed over.
 *	 5. control: FILL, origin_number, mend_until.  A restart goes on applying.
 *	 6. fill: rows in, everything in baton.mending_* gone.  A restart before 7 finds
 *		nothing there, and says so.
 *	 7. control: NONE.  The old origin is dropped when the slot has passed all that
 *		was applied under it, which capture tells by its name.
 *
 * If in 4 to 6 another primary is elected which has not all that the fetched rows
 * rest upon, it begins again with SAVE; keys that wait to be mended stay.
 *
 * Two flows:
 *
 *	 The old primary's server comes back after a crash.  Its log has T1 behind the
 *	 cut, its WAL has T2, which never came into the log.  The new primary asks to cut
 *	 in front of T1.  T1 and T2 are saved; row 5, which they updated, and row 7, which
 *	 they inserted, are touched.  The log is cut.  The new primary has moved row 5 to
 *	 6 meanwhile: 6 is touched too.  5, 6 and 7 are taken out; of them the snapshot
 *	 has 6.  The applier applies all but that UPDATE, and inserts 6.
 *
 *	 A replica that nobody had asked has applied T1 of the lost primary.  Its
 *	 origin says so, the log's frame says whose it is; the rest is the same.
 */
#include "reconcile/reconcile_internal.h"

#include "access/xact.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Time between two wake-ups of a coordinator that is asked, in ms. */
#define REQUEST_POLL_MS 1000

/* What the node shows as its reason. */
void
reconcile_phase(Reconcile *rec, const char *phase)
{
	SpinLockAcquire(&rec->node->mutex);
	if (rec->node->reconcile.round == rec->order.round)
		strlcpy(rec->node->reconcile.phase, phase, sizeof(rec->node->reconcile.phase));
	SpinLockRelease(&rec->node->mutex);
	node_wake(rec->node, WORKER_COORDINATOR);
	pgstat_report_activity(STATE_RUNNING, phase);
}

void
reconcile_request(Reconcile *rec, ReconcileRequest *request)
{
	ReconcileShared *shared = &rec->node->reconcile;

	request->round = rec->order.round;
	SpinLockAcquire(&rec->node->mutex);
	shared->request = *request;
	SpinLockRelease(&rec->node->mutex);
	ConditionVariablePrepareToSleep(&rec->node->state_cv);
	for (;;)
	{
		bool		served;

		SpinLockAcquire(&rec->node->mutex);
		served = shared->request.kind == RECONCILE_REQUEST_NONE;
		SpinLockRelease(&rec->node->mutex);
		if (served)
			break;
		node_wake(rec->node, WORKER_COORDINATOR);
		ConditionVariableTimedSleep(&rec->node->state_cv, REQUEST_POLL_MS, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* ---- errors ---- */

/* Does the error say that tables here and there differ by more than rows? */
static bool
needs_copy(int sqlerrcode)
{
	switch (sqlerrcode)
	{
		case ERRCODE_BATON_NEEDS_COPY:
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_DATATYPE_MISMATCH:
		case ERRCODE_WRONG_OBJECT_TYPE:
		case ERRCODE_UNIQUE_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			return true;
		default:
			return false;
	}
}

/*
 * Say what has happened.  Where a new copy is needed the coordinator is told; else
 * this process ends, and the next one tries again.
 */
static void
failed(Reconcile *rec)
{
	ReconcileRequest request = {RECONCILE_REQUEST_COPY};
	ErrorData  *edata;

	MemoryContextSwitchTo(rec->cxt);
	edata = CopyErrorData();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	local_abort(&rec->local);
	copy_close_all(&rec->copy);
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("diverged commits of database \"%s\" could not be mended: %s",
					rec->node->dbname, edata->message),
			 edata->detail ? errdetail("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) : 0));
	reconcile_phase(rec, psprintf("diverged commits could not be mended, trying again: %s", edata->message));
	if (!needs_copy(edata->sqlerrcode))
		proc_exit(1);
	strlcpy(request.why, edata->message, sizeof(request.why));
	reconcile_request(rec, &request);
}

/* ---- the worker ---- */

static void
close_connections(int code, Datum arg)
{
	Reconcile  *rec = (Reconcile *) DatumGetPointer(arg);

	LWLockReleaseAll();
	copy_close_all(&rec->copy);
}

static Reconcile *
start_worker(Oid dboid)
{
	Reconcile  *rec;
	MemoryContext cxt;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	SetConfigOption("application_name", "baton reconcile", PGC_USERSET, PGC_S_SESSION);

	cxt = AllocSetContextCreate(TopMemoryContext, "baton reconcile", ALLOCSET_DEFAULT_SIZES);
	rec = MemoryContextAllocZero(cxt, sizeof(Reconcile));
	rec->cxt = cxt;
	rec->node = node_find(dboid);
	if (rec->node == NULL)
		return NULL;
	node_worker_attach(rec->node, WORKER_RECONCILE);
	SpinLockAcquire(&rec->node->mutex);
	rec->order = rec->node->reconcile;
	SpinLockRelease(&rec->node->mutex);

	/* its own table writes are nobody else's business */
	baton_worker_exempt = true;
	replorigin_session_origin = DoNotReplicateId;
	apply_set_session();
	rec->copy.node = rec->node;
	rec->copy.untold = true;
	rec->copy.child.fd = -1;
	local_init(&rec->local, cxt);
	rec->touched = touched_create(cxt);
	before_shmem_exit(close_connections, PointerGetDatum(rec));
	return rec;
}

/*
 * Entry point.  main_arg: OID of the database.  Does what the state asks for, SAVE
 * or MEND, with the primary or alone, and ends; exits with 1 if it is to be tried again.
 */
void
baton_reconcile_main(Datum main_arg)
{
	Reconcile  *rec = start_worker(DatumGetObjectId(main_arg));

	if (rec == NULL)
		return;
	PG_TRY();
	{
		MemoryContextSwitchTo(rec->cxt);
		if (rec->order.state == RECONCILE_SAVE)
			reconcile_save(rec);
		else if (rec->order.state == RECONCILE_MEND && rec->order.alone)
			reconcile_alone(rec);
		else if (rec->order.state == RECONCILE_MEND)
			reconcile_mend(rec);
	}
	PG_CATCH();
	{
		failed(rec);
	}
	PG_END_TRY();
	proc_exit(0);
}
