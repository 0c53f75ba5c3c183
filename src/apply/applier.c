/*
 * applier.c - the applier: carries out what the stream says, in commit order,
 * exactly once.
 *
 * Progression
 *
 *	 position	find the frame where reading begins (position.c)
 *	 wait		until the stream log is flushed beyond it; node_log_flush() sets the
 *				latch.  Only flushed frames are read: what is applied cannot be
 *				lost from the log.
 *	 read		one frame, and go through its records, step by step.  A step is one of
 *				- a run of transactions that lie in this frame from BEGIN to COMMIT
 *				  with nothing between their records.  They are applied straight
 *				  from the frame, several in one local transaction: readers see a
 *				  prefix of the commit order either way, and small transactions
 *				  share the cost of a commit and of opening tables.
 *				- a record of any other transaction: the frame's place is noted
 *				  (collected.c)
 *				- the COMMIT of such a transaction: its frames are read once more and
 *				  its records applied, in a local transaction of its own
 *				- ABORT, TERM, FAILOVER, a message that is no transaction's (message.c)
 *	 publish	after each local commit and at the end of each frame
 *
 * Exactly once: a local commit carries the position of the COMMIT as its
 * replication origin's LSN.  It is asynchronous; after a crash of the machine
 * what is missing is read from the log again.  COMMITs at or before `done` are
 * skipped.
 *
 * Errors: any error ends the local transaction, is published and reported
 * (publish.c), and the step is done again, from a frame read anew.  A step
 * changes nothing that makes doing it again go wrong.  If it was a run of
 * several transactions, they are first tried one by one, so that those before
 * the one that fails do get applied.
 *
 * Two flows.  A small transaction: capture seals BEGIN RELATION INSERT COMMIT
 * into frame F as the 3rd COMMIT there; the receiver flushes F and sets the
 * latch; the run in F is applied, committed with origin LSN F+3 and published
 * as applied = F+3; at the end of the frame applied = end of F.  A large one: its
 * records arrive in F1, F2 and F3 while it runs, among others; F1..F3 are
 * noted; its COMMIT in F4 makes them be read again, records of other
 * transactions and of its own rolled back subtransactions passed over.
 */
#include "apply/applier.h"

#include "access/commit_ts.h"
#include "access/xact.h"
#include "apply/index_work.h"
#include "apply/origin.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Transactions of the stream in one local transaction. */
#define RUN_MAX_TRANSACTIONS	50
#define RUN_MAX_ROWS			2000

PGDLLEXPORT void baton_applier_main(Datum main_arg);

void
applier_stream_error(StreamCode code, const StreamError *err)
{
	ereport(ERROR,
			(errcode(code == STREAM_IO ? ERRCODE_IO_ERROR :
					 code == STREAM_NOMEM ? ERRCODE_OUT_OF_MEMORY : ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read the stream log at " STREAM_POS_FORMAT ": %s",
					STREAM_POS_ARGS(err->pos), err->message)));
}

bool
applier_next_record(StreamCursor *c, Record *r)
{
	StreamError err = {0};
	StreamCode	code = record_next(c, r, &err);

	if (code == STREAM_OK)
		return true;
	if (code != STREAM_END)
		applier_stream_error(code, &err);
	return false;
}

static RecordCommit
read_commit(const Record *r)
{
	RecordCommit commit;
	StreamError err = {0};
	StreamCode	code = record_get_commit(r, &commit, &err);

	if (code != STREAM_OK)
		applier_stream_error(code, &err);
	return commit;
}

/* ---- which transactions are left out ---- */

/*
 * Is the COMMIT at pos in the tables already: applied earlier, one of this
 * node's own, or covered by the initial copy?
 */
static bool
is_covered(Applier *a, StreamPos pos, const RecordCommit *commit)
{
	NodeShared *node = a->node;

	if (pos <= a->done)
		return true;
	/* an own one that was rolled back here may come with the stream after all */
	if (commit->source == node->self && commit->commit_lsn >= node->reconcile.rolled_back_lsn)
		return true;
	return commit->source == node->copy_source && a->h.term == node->copy_term &&
		commit->commit_lsn < node->copy_lsn;
}

/* The COMMIT at pos is in the tables. */
static void
mark_done(Applier *a, StreamPos pos, const RecordCommit *commit)
{
	if (pos > a->done)
	{
		a->done = pos;
		a->done_term = a->h.term;
		a->done_keep = commit->oldest_open ? Min(commit->oldest_open, a->h.start) : a->h.start;
	}
}

/* ---- transactions that lie within the frame ---- */

/* Does the transaction whose BEGIN was just read end in this frame, with nothing
 * of others before its COMMIT? */
static bool
ends_here(StreamCursor c, uint32 xid, Record *commit)
{
	while (applier_next_record(&c, commit))
	{
		if (!RECORD_HAS_XID(commit->type) || commit->xid != xid || commit->type == RECORD_ABORT ||
			commit->type == RECORD_BEGIN)
			return false;
		if (commit->type == RECORD_COMMIT)
			return true;
	}
	return false;
}

static void
apply_from_frame(Applier *a, StreamCursor *c)
{
	Record		r;

	local_next_source(&a->local);
	while (applier_next_record(c, &r) && r.type != RECORD_COMMIT)
	{
		CHECK_FOR_INTERRUPTS();
		local_apply(&a->local, &r);
	}
}

/* Move on to just behind the COMMIT of the transaction. */
static void
pass_over(StreamCursor *c)
{
	Record		r;

	while (applier_next_record(c, &r) && r.type != RECORD_COMMIT)
		;
}

/*
 * A sequence's state between transactions; pos: of the next COMMIT.  This node's own is
 * where it was.  One in front of a COMMIT that is done is in the WAL before that.
 */
static void
apply_sequence_alone(Applier *a, const Record *r, StreamPos pos)
{
	if (TERM_MEMBER(a->h.term) == a->node->self || pos <= a->done)
		return;
	if (!a->local.started)
		local_begin(&a->local);
	local_apply(&a->local, r);
}

/* Commit, and have done beside apply what the transaction has left to be done there. */
static void
commit_local(Applier *a, StreamPos pos, TimestampTz commit_time)
{
	bool		index_work = a->local.index_work;

	local_commit(&a->local, pos, commit_time);
	if (index_work)
		index_work_ask(a->node);
}

typedef struct Run
{
	int			n_txns;
	StreamPos	last_pos;
	RecordCommit last;
} Run;

static void
finish_run(Applier *a, const Run *run, const StreamCursor *c, uint32 commits)
{
	uint64		rows = a->local.rows;

	if (a->local.started)
		commit_local(a, run->last_pos ? run->last_pos : a->done, run->last.commit_time);
	if (run->last_pos != 0)
		mark_done(a, run->last_pos, &run->last);
	a->at.offset = c->p - a->records;
	a->at.commits = commits;
	a->run_txns = 0;
	applier_succeeded(a);
	if (run->n_txns > 0)
		applier_publish(a, run->last_pos, run->n_txns, rows, run->last.commit_time);
}

/*
 * Apply the transactions that begin at the cursor and lie within the frame, up
 * to the limits of one local transaction.  False: the one at the cursor does
 * not, and nothing has happened.
 */
static bool
apply_run(Applier *a)
{
	StreamCursor c = {a->records + a->at.offset, a->records + a->h.raw_len, false};
	uint32		commits = a->at.commits;
	int			max = a->h.start < a->careful_until || track_commit_timestamp ?
		1 : RUN_MAX_TRANSACTIONS;
	Run			run = {0};

	while (run.n_txns < max && (!a->local.started || a->local.rows < RUN_MAX_ROWS))
	{
		StreamCursor next = c;
		Record		r;
		RecordCommit commit;
		StreamPos	pos = a->h.start + commits + 1;

		if (!applier_next_record(&next, &r))
			break;
		if (r.type == RECORD_SEQUENCE && r.xid == 0)
		{
			apply_sequence_alone(a, &r, pos);
			c = next;
			continue;
		}
		if (r.type != RECORD_BEGIN || !ends_here(next, r.xid, &r))
			break;
		commit = read_commit(&r);
		if (pos > a->done && applier_fill_is_due(a, a->h.term, &commit))
		{
			/* what is before it is committed first */
			if (commits > a->at.commits || a->local.started)
				break;
			applier_fill(a);
		}
		run.last = commit;
		run.last_pos = pos;
		if (is_covered(a, pos, &run.last))
			pass_over(&next);
		else
		{
			a->trying = pos;
			if (!a->local.started)
				local_begin(&a->local);
			a->run_txns = ++run.n_txns;
			apply_from_frame(a, &next);
		}
		commits++;
		c = next;
	}
	if (c.p == a->records + a->at.offset)
		return false;
	finish_run(a, &run, &c, commits);
	return true;
}

/* ---- transactions that were collected ---- */

static void
commit_collected(Applier *a, const Record *r)
{
	RecordCommit commit = read_commit(r);
	StreamPos	pos = a->h.start + a->at.commits + 1;
	OpenTransaction *txn = open_transactions_find(a->open, r->xid);
	int			n = 0;
	uint64		rows = 0;

	if (pos > a->done && applier_fill_is_due(a, a->h.term, &commit))
		applier_fill(a);
	if (!is_covered(a, pos, &commit))
	{
		a->trying = pos;
		if (txn == NULL || !txn->complete)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the stream log does not hold the beginning of transaction %u", r->xid),
					 errhint("This node needs a new initial copy.")));
		local_begin(&a->local);
		collected_apply(a, txn);
		rows = a->local.rows;
		commit_local(a, pos, commit.commit_time);
		n = 1;
	}
	open_transactions_remove(a->open, r->xid);
	a->at.commits++;
	mark_done(a, pos, &commit);
	applier_succeeded(a);
	if (n > 0)
		applier_publish(a, pos, n, rows, commit.commit_time);
}

/* ---- records that are no transaction's, or not yet applied ---- */

/*
 * Was the own reign that begins not handed over?  Then the predecessor may have handed
 * out values of sequences that it had reserved.
 */
static bool
must_skip_reserved(Applier *a, uint64 term)
{
	NodeShared *node = a->node;
	bool		handed;

	SpinLockAcquire(&node->mutex);
	handed = node->handed_term == term;
	SpinLockRelease(&node->mutex);
	return !handed;
}

/* Is it the TERM record of the reign that this node is in?  A node that follows
 * another reads older ones of its own terms, too. */
static bool
is_own_reign(Applier *a, uint64 term)
{
	bool		leads;

	if (TERM_MEMBER(term) != a->node->self)
		return false;
	LWLockAcquire(&a->node->log_lock, LW_SHARED);
	leads = a->node->append_term == term;
	LWLockRelease(&a->node->log_lock);
	return leads;
}

/* Not beside apply, but before anything else. */
static void
build_indexes(Applier *a, bool unique_only)
{
	if (!index_work_waits(a->node))
		return;
	pgstat_report_activity(STATE_RUNNING, "building indexes, see baton.pending_indexes");
	local_begin(&a->local);
	index_work_do_all(unique_only);
	local_commit(&a->local, a->done, 0);
	index_work_tell_unique(a->node, false);
}

static void
take_term(Applier *a, const Record *r)
{
	RecordTerm	term;
	StreamError err = {0};
	StreamCode	code = record_get_term(r, &term, &err);

	if (code != STREAM_OK)
		applier_stream_error(code, &err);
	open_transactions_clear(a->open);
	memset(&a->part, 0, sizeof(a->part));
	applier_withdraw_failover(a, term.term);
	if (!is_own_reign(a, term.term))
		return;
	if (must_skip_reserved(a, term.term))
		apply_skip_reserved();
	build_indexes(a, true);
	applier_reign_begins(a);
}

static void
take_failover(Applier *a, const Record *r)
{
	RecordFailover failover;
	StreamError err = {0};
	StreamCode	code = record_get_failover(r, &failover, &err);

	if (code != STREAM_OK)
		applier_stream_error(code, &err);
	if (failover.target == a->node->self && a->h.start >= a->heed_from)
	{
		build_indexes(a, true);
		applier_publish_failover(a, &failover);
	}
}

/* Members change when the record is in the log, whether a transaction is open or not. */
static void
take_membership(Applier *a, const Record *r)
{
	StreamCursor c = r->rest;
	uint32		len = stream_get_u32(&c);
	const char *bytes = stream_get_bytes(&c, len);
	Membership *m = palloc(sizeof(Membership));

	if (c.failed || !membership_decode(bytes, len, m))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a MEMBERSHIP record at " STREAM_POS_FORMAT " cannot be read",
						STREAM_POS_ARGS(a->h.start))));
	node_offer_membership(a->node, m);
	pfree(m);
	if (a->part.open)
		collected_add_part_frame(a, "", 0);
}

static void
take_record(Applier *a, const Record *r)
{
	/* a capture that does not get to the end of a record says so with ABORT; a
	 * MEMBERSHIP comes from the coordinator, wherever capture is */
	if (r->type != RECORD_PART && r->type != RECORD_MEMBERSHIP)
		a->part.skipping = a->part.open = false;
	switch (r->type)
	{
		case RECORD_COMMIT:
			commit_collected(a, r);
			break;
		case RECORD_ABORT:
			collected_abort(a, r);
			break;
		case RECORD_PART:
			collected_part(a, r);
			break;
		case RECORD_TERM:
			take_term(a, r);
			break;
		case RECORD_FAILOVER:
			take_failover(a, r);
			break;
		case RECORD_MEMBERSHIP:
			take_membership(a, r);
			break;
		case RECORD_MESSAGE:
			if (r->xid == 0)
				applier_write_message(a, r);
			else
				collected_note(a, r);
			break;
		default:
			collected_note(a, r);
			break;
	}
}

/* ---- frames ---- */

/*
 * What was found at the cursor does not continue what was read before it: the
 * log was cut.  Position anew; if that leads to the same place, it is damage.
 */
static bool
doubt(Applier *a, StreamCode code, StreamError *err)
{
	bool		again = a->doubted == a->at.frame;

	a->records = NULL;
	if (code == STREAM_IO || code == STREAM_NOMEM || !a->prev_known)
		applier_stream_error(code, err);
	a->positioned = false;
	a->doubted = again ? 0 : a->at.frame;
	if (again)
		applier_stream_error(code, err);
	return false;
}

/*
 * Read the frame at the cursor.  False: there is none yet, or the log was cut
 * and the applier must position itself anew (positioned is false then).
 */
static bool
read_frame(Applier *a)
{
	StreamTail	tail = node_log_tail_to_apply(a->node);
	StreamError err = {0};
	StreamCode	code;

	if (tail.end < a->at.frame)
	{
		a->positioned = false;
		return false;
	}
	if (tail.flushed <= a->at.frame)
		return false;
	code = stream_read(&a->reader, a->at.frame, tail.flushed, &a->h, &a->records, &err);
	if (code != STREAM_OK)
		return doubt(a, code, &err);
	if (a->prev_known && (a->h.prev_start != a->prev_start || a->h.prev_term != a->prev_term))
		return doubt(a, stream_fail(&err, STREAM_CORRUPT, a->h.start, 0,
									"the frame does not continue the one before it"), &err);
	a->doubted = 0;
	return true;
}

static void
next_frame(Applier *a)
{
	a->prev_start = a->h.start;
	a->prev_term = a->h.term;
	a->prev_known = true;
	a->mid_record = a->part.open || a->part.skipping;
	a->at.frame = frame_end(&a->h);
	a->at.offset = 0;
	a->at.commits = 0;
	a->records = NULL;
	applier_succeeded(a);
	applier_publish(a, a->at.frame, 0, 0, 0);
}

/* Go through the frame that was read, from where the cursor is. */
static void
process_frame(Applier *a)
{
	while (a->at.offset < a->h.raw_len)
	{
		StreamCursor c = {a->records + a->at.offset, a->records + a->h.raw_len, false};
		Record		r;

		CHECK_FOR_INTERRUPTS();
		if (!applier_next_record(&c, &r))
			break;
		if ((r.type == RECORD_BEGIN || (r.type == RECORD_SEQUENCE && r.xid == 0)) && apply_run(a))
		{
			a->part.skipping = a->part.open = false;
			continue;
		}
		take_record(a, &r);
		a->at.offset = c.p - a->records;
	}
	next_frame(a);
}

/* ---- the worker ---- */

static void
wait_for_work(Applier *a, int timeout_ms)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	(void) WaitLatch(MyLatch, events, timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* One turn: a frame if there is one, else wait for it. */
static void
work(Applier *a)
{
	if (a->build_first)
	{
		a->build_first = false;
		build_indexes(a, false);
	}
	if (!a->positioned)
	{
		if (!a->node->log_ready)
		{
			wait_for_work(a, 100);
			return;
		}
		applier_look_for_mark(a);
		applier_position(a);
	}
	if (a->records == NULL && a->mending && a->at.frame >= a->mark.until)
	{
		applier_fill(a);
		applier_publish(a, a->at.frame, 0, 0, 0);
	}
	if (a->records == NULL && !read_frame(a))
	{
		if (!a->positioned)
			return;
		applier_succeeded(a);
		pgstat_report_activity(STATE_IDLE, NULL);
		wait_for_work(a, -1);
		return;
	}
	pgstat_report_activity(STATE_RUNNING, NULL);
	process_frame(a);
}

/* Wait in full before the next attempt, however often the latch is set. */
static void
wait_to_retry(Applier *a, int delay_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);

	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left <= 0)
			return;
		wait_for_work(a, (int) left);
	}
}

static void
work_forever(Applier *a)
{
	for (;;)
	{
		volatile bool failed = false;

		PG_TRY();
		{
			for (;;)
				work(a);
		}
		PG_CATCH();
		{
			failed = true;
		}
		PG_END_TRY();

		if (failed)
		{
			/* a run of several is first tried one by one, at once and in silence */
			bool		several = a->run_txns > 1;
			int			delay = applier_failed(a, several);

			a->run_txns = 0;
			if (several)
				a->careful_until = frame_end(&a->h);
			a->records = NULL;
			wait_to_retry(a, delay);
		}
	}
}

void
apply_set_session(void)
{
	static const char *const settings[][2] = {
		{"session_replication_role", "replica"},
		{"search_path", "pg_catalog"},
		{"synchronous_commit", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"lc_monetary", "C"},
		{"array_nulls", "on"},
		{"xmloption", "content"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static void
attach(Oid dboid, NodeShared **node)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	SetConfigOption("application_name", "baton applier", PGC_USERSET, PGC_S_SESSION);
	*node = node_find(dboid);
	if (*node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database %u is not a node", dboid)));
	node_worker_attach(*node, WORKER_APPLIER);
	baton_worker_exempt = true;
	apply_set_session();
}

/* What the builder has not done when the server was stopped. */
static void
look_for_index_work(Applier *a)
{
	bool		any;

	StartTransactionCommand();
	any = index_work_list() != NIL;
	CommitTransactionCommand();
	MemoryContextSwitchTo(a->cxt);
	if (any)
		index_work_ask(a->node);
}

/*
 * Entry point; main_arg: oid of the database.  Runs until SIGTERM.
 */
void
baton_applier_main(Datum main_arg)
{
	Applier    *a;
	NodeShared *node;
	RepOriginId origin;

	attach(DatumGetObjectId(main_arg), &node);
	a = MemoryContextAllocZero(TopMemoryContext, sizeof(Applier));
	a->node = node;
	a->cxt = AllocSetContextCreate(TopMemoryContext, "baton applier", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(a->cxt);
	node_log_directory(node, a->reader.directory, sizeof(a->reader.directory));
	node_log_directory(node, a->again.directory, sizeof(a->again.directory));
	a->open = open_transactions_create(a->cxt);
	local_init(&a->local, a->cxt);

	origin = apply_origin_ensure(node);
	baton_origin_session_setup(origin);
	replorigin_session_origin = origin;
	look_for_index_work(a);
	applier_publish_running(a);
	work_forever(a);
}
