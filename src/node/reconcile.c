/*
 * reconcile.c - the coordinator's part in mending diverged commits: it decides that
 * there is something to mend, starts and ends workers accordingly, and writes down
 * what they have done.  See reconcile/reconcile_worker.c for the whole.
 */
#include "node/coordinator.h"

#include "access/xlog.h"
#include "apply/origin.h"

/* ---- the state ---- */

static ReconcileState
current_state(Coordinator *c)
{
	ReconcileState state;

	SpinLockAcquire(&c->node->mutex);
	state = c->node->reconcile.state;
	SpinLockRelease(&c->node->mutex);
	return state;
}

/* Publish what the control file says, and `state`; requests of before are void. */
static void
publish_state(Coordinator *c, ReconcileState state)
{
	ReconcileShared *rec = &c->node->reconcile;

	SpinLockAcquire(&c->node->mutex);
	rec->state = state;
	rec->round++;
	rec->request.kind = RECONCILE_REQUEST_NONE;
	rec->pending = c->control.reconcile != RECONCILE_NONE;
	/* until the control file says so, what is saved is the next attempt's */
	rec->attempt = c->control.reconcile_attempt + (state == RECONCILE_SAVE ? 1 : 0);
	rec->unlimited = c->control.rollback_unlimited;
	rec->alone = c->alone_begun;
	rec->rolled_back_lsn = c->control.rolled_back_lsn;
	rec->origin_number = c->control.origin_number;
	rec->mend_until = c->control.mend_until;
	rec->may_cut = 0;
	rec->phase[0] = '\0';
	SpinLockRelease(&c->node->mutex);
	pg_atomic_write_u32(&c->node->mending,
						c->control.reconcile != RECONCILE_NONE ? MENDING_ROWS_OUT : MENDING_NOT);
	ConditionVariableBroadcast(&c->node->state_cv);
	ConditionVariableBroadcast(&c->node->applied_cv);
}

/*
 * Publish what the control file, which was just read, says.
 */
void
coordinator_recover_reconcile(Coordinator *c)
{
	publish_state(c, c->control.reconcile);
	if (c->control.origin_number > 0)
		c->old_origins_lsn = GetXLogInsertRecPtr();
}

/* A new copy takes the place of all that was to be mended; the control file says so. */
void
coordinator_forget_reconcile(Coordinator *c)
{
	publish_state(c, RECONCILE_NONE);
	c->old_origins_lsn = InvalidXLogRecPtr;
}

/*
 * May the node stand for election?  Not while it is half way through, unless it has led
 * in that state: nobody else can put its tables right.
 */
bool
coordinator_is_reconciling(Coordinator *c)
{
	bool		busy;

	SpinLockAcquire(&c->node->mutex);
	busy = (c->node->reconcile.state != RECONCILE_NONE &&
			!(c->node->reconcile.state == RECONCILE_ALONE && c->consensus.may_resume)) ||
		c->node->reconcile.asked || c->node->reconcile.may_cut != 0;
	SpinLockRelease(&c->node->mutex);
	return busy;
}

/* Which of the workers that read or write tables may run? */
bool
coordinator_reconcile_allows(Coordinator *c, WorkerKind kind)
{
	ReconcileState state = current_state(c);
	bool		cutting;

	SpinLockAcquire(&c->node->mutex);
	cutting = c->node->reconcile.may_cut != 0;
	SpinLockRelease(&c->node->mutex);
	switch (kind)
	{
		case WORKER_CAPTURE:
			return state != RECONCILE_SAVE;
		case WORKER_APPLIER:
			return (state == RECONCILE_NONE || state == RECONCILE_FILL ||
					(state == RECONCILE_ALONE && c->consensus.role == ROLE_PRIMARY)) && !cutting;
		case WORKER_RECONCILE:
			return state == RECONCILE_SAVE || state == RECONCILE_MEND;
		default:
			return true;
	}
}

static void
begin(Coordinator *c, StreamPos cut)
{
	coordinator_stop_worker(c, WORKER_RECONCILE);
	coordinator_stop_worker(c, WORKER_APPLIER);
	coordinator_stop_worker(c, WORKER_CAPTURE);
	SpinLockAcquire(&c->node->mutex);
	c->node->reconcile.cut = cut;
	c->node->diverged_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&c->node->mutex);
	publish_state(c, RECONCILE_SAVE);
	coordinator_publish(c);
}

/* Nothing is to be mended, or nobody asks any more. */
static void
end_in_memory(Coordinator *c)
{
	coordinator_stop_worker(c, WORKER_RECONCILE);
	publish_state(c, c->control.reconcile);
	coordinator_publish(c);
}

/* ---- a person makes the node primary by force, see alone.c ---- */

/* What was being looked for counts no more; nothing of it is on disk. */
void
coordinator_stop_search(Coordinator *c)
{
	if (current_state(c) == RECONCILE_SAVE)
		end_in_memory(c);
}

/* MEND: start the worker anew, which waits for a primary or not as c->alone_begun says. */
void
coordinator_mend_alone(Coordinator *c)
{
	coordinator_stop_worker(c, WORKER_RECONCILE);
	publish_state(c, RECONCILE_MEND);
}

/*
 * Own commits that are in no stream stay: capture raises them when this node leads.
 * unapplied: the log holds frames that are not in the tables, made without them.
 */
void
coordinator_keep_diverged(Coordinator *c, bool unapplied)
{
	coordinator_stop_worker(c, WORKER_APPLIER);
	coordinator_stop_worker(c, WORKER_CAPTURE);
	SpinLockAcquire(&c->node->mutex);
	c->node->diverged_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&c->node->mutex);
	if (!unapplied)
		return;
	c->control.reconcile = RECONCILE_ALONE;
	coordinator_save(c);
	publish_state(c, RECONCILE_ALONE);
}

/* ---- what the worker asks for ---- */

static void
take_nothing(Coordinator *c, const ReconcileRequest *r)
{
	StreamPos	cut;

	c->control.applied_floor = r->base;
	c->control.own_floor = Max(c->control.own_floor, r->wal_end);
	coordinator_save(c);
	c->own_end = 0;
	SpinLockAcquire(&c->node->mutex);
	c->node->applied = r->base;
	c->node->own_floor = c->control.own_floor;
	cut = c->node->reconcile.cut;
	SpinLockRelease(&c->node->mutex);
	publish_state(c, RECONCILE_NONE);
	if (cut == RECONCILE_NO_CUT)
		return;
	SpinLockAcquire(&c->node->mutex);
	c->node->reconcile.may_cut = cut;
	SpinLockRelease(&c->node->mutex);
}

static void
take_saved(Coordinator *c, const ReconcileRequest *r)
{
	if (c->control.reconcile == RECONCILE_NONE)
		c->control.reconcile_txns = 0;
	c->control.reconcile_txns += r->txns;
	c->control.reconcile = RECONCILE_MEND;
	c->control.reconcile_attempt++;
	c->control.applied_floor = r->base;
	c->control.own_floor = Max(c->control.own_floor, r->wal_end);
	c->control.rolled_back_lsn = c->control.own_floor;
	coordinator_save(c);
	c->own_end = 0;
	SpinLockAcquire(&c->node->mutex);
	c->node->applied = r->base;
	c->node->own_floor = c->control.own_floor;
	c->node->diverged_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&c->node->mutex);
	coordinator_note(c, "diverged", "%u transactions that the group does not have are saved in baton.rolled_back and will be rolled back",
					 c->control.reconcile_txns);
	publish_state(c, RECONCILE_MEND);
}

static void
take_stop(Coordinator *c, const ReconcileRequest *r)
{
	end_in_memory(c);
	coordinator_detach(c, psprintf("diverged: the group does not have %u of its transactions, more than baton.rollback_limit (%d); "
								   "baton.rejoin(discard => true) rolls them back",
								   r->txns, baton_rollback_limit));
}

static void
take_mended(Coordinator *c, const ReconcileRequest *r)
{
	c->control.reconcile = RECONCILE_FILL;
	c->control.origin_number = r->origin_number;
	c->control.mend_until = r->until;
	coordinator_save(c);
	publish_state(c, RECONCILE_FILL);
}

static void
take_alone(Coordinator *c, const ReconcileRequest *r)
{
	c->control.reconcile = RECONCILE_ALONE;
	c->control.reconcile_txns = r->txns;
	c->control.origin_number = r->origin_number;
	coordinator_save(c);
	publish_state(c, RECONCILE_ALONE);
}

static void
take_finished(Coordinator *c, const ReconcileRequest *r)
{
	uint32		txns = c->control.reconcile_txns;
	bool		alone = c->control.reconcile == RECONCILE_ALONE;

	if (alone)
		coordinator_tell_alone(c, r->txns);
	c->control.reconcile = RECONCILE_NONE;
	c->control.reconcile_txns = 0;
	c->control.rollback_unlimited = false;
	c->control.mend_until = 0;
	coordinator_save(c);
	c->old_origins_lsn = GetXLogInsertRecPtr();
	publish_state(c, RECONCILE_NONE);
	if (!alone)
		coordinator_note(c, "rolled back", "%u transactions that the group does not have were rolled back; see baton.rolled_back",
						 txns);
}

static void
take_request(Coordinator *c, const ReconcileRequest *r)
{
	switch (r->kind)
	{
		case RECONCILE_REQUEST_NOTHING:
			take_nothing(c, r);
			break;
		case RECONCILE_REQUEST_SAVED:
			take_saved(c, r);
			break;
		case RECONCILE_REQUEST_STOP:
			take_stop(c, r);
			return;
		case RECONCILE_REQUEST_COPY:
			end_in_memory(c);
			coordinator_cannot_follow(c, psprintf("diverged, and cannot be mended row by row: %s", r->why));
			return;
		case RECONCILE_REQUEST_MENDED:
			take_mended(c, r);
			break;
		case RECONCILE_REQUEST_ALONE:
			take_alone(c, r);
			break;
		case RECONCILE_REQUEST_FINISHED:
			take_finished(c, r);
			break;
		case RECONCILE_REQUEST_NONE:
			return;
	}
	/* the worker is done, and the next one need not wait */
	coordinator_await_worker(c, WORKER_RECONCILE);
	coordinator_publish(c);
}

/* ---- each turn ---- */

/* The receiver has come upon commits behind the place where the log is to be cut. */
static void
take_asked_cut(Coordinator *c)
{
	ReconcileShared *rec = &c->node->reconcile;
	StreamPos	cut;
	StreamPos	now;
	bool		asked;

	SpinLockAcquire(&c->node->mutex);
	asked = rec->asked;
	cut = rec->asked_cut;
	now = rec->state == RECONCILE_SAVE ? rec->cut : 0;
	rec->asked = false;
	SpinLockRelease(&c->node->mutex);
	if (!asked || cut == now || c->control.intent != INTENT_ACTIVE || c->consensus.role != ROLE_REPLICA)
		return;
	if (membership_prefers_own_log(c))
		coordinator_lead_as_preferred(c);
	else
		begin(c, cut);
}

/*
 * Capture has come upon an own commit that is in no stream, as far as this log goes: the
 * elected one may have it, if it was shipped ahead of the flush here (shared_log.c).  So
 * that is judged when the log reaches into the present reign.
 */
static void
take_diverged(Coordinator *c)
{
	XLogRecPtr	lsn;
	ReconcileState state;
	StreamTail	tail = node_log_tail(c->node);

	SpinLockAcquire(&c->node->mutex);
	lsn = c->node->diverged_lsn;
	state = c->node->reconcile.state;
	SpinLockRelease(&c->node->mutex);
	if (lsn == InvalidXLogRecPtr || state == RECONCILE_SAVE || c->control.intent != INTENT_ACTIVE ||
		c->consensus.role != ROLE_REPLICA)
		return;
	if (membership_prefers_own_log(c))
		coordinator_lead_as_preferred(c);
	else if (tail.last_term == c->consensus.durable.term)
		begin(c, RECONCILE_NO_CUT);
}

/* The cut that was cleared is done, or its primary is not followed any more. */
static void
take_cut_done(Coordinator *c)
{
	ReconcileShared *rec = &c->node->reconcile;
	StreamPos	end = node_log_tail(c->node).end;

	SpinLockAcquire(&c->node->mutex);
	if (rec->may_cut != 0 && (end <= rec->may_cut || c->consensus.role != ROLE_REPLICA))
		rec->may_cut = 0;
	SpinLockRelease(&c->node->mutex);
}

/* What status shows while it lasts, "" nothing; palloc'd. */
char *
coordinator_reconcile_reason(Coordinator *c)
{
	char		phase[BATON_REASON_LEN];
	ReconcileState state;

	SpinLockAcquire(&c->node->mutex);
	strlcpy(phase, c->node->reconcile.phase, sizeof(phase));
	state = c->node->reconcile.state;
	SpinLockRelease(&c->node->mutex);
	if (phase[0] != '\0')
		return psprintf("diverged: %s", phase);
	if (state == RECONCILE_ALONE)
		return "diverged: applying what is left of the stream, to lead with it";
	return state == RECONCILE_NONE ? "" :
		state == RECONCILE_FILL ? "diverged: applying the stream up to the fetched rows" :
		"diverged: beginning to mend";
}

/* Workers name what they do; it is published when it changes. */
static void
show_reason(Coordinator *c)
{
	char	   *reason = coordinator_reconcile_reason(c);

	if (strncmp(reason, c->reconcile_reason, BATON_REASON_LEN - 1) == 0)
		return;
	strlcpy(c->reconcile_reason, reason, BATON_REASON_LEN);
	coordinator_publish(c);
}

/*
 * Take in what receiver, capture, worker and applier have found.
 */
void
coordinator_take_reconcile(Coordinator *c)
{
	ReconcileShared *rec = &c->node->reconcile;
	ReconcileRequest request;
	bool		current;

	if (!c->node->log_ready)
		return;
	SpinLockAcquire(&c->node->mutex);
	request = rec->request;
	current = request.kind != RECONCILE_REQUEST_NONE && request.round == rec->round;
	if (!current)
		rec->request.kind = RECONCILE_REQUEST_NONE;
	SpinLockRelease(&c->node->mutex);
	if (current && c->control.intent == INTENT_ACTIVE &&
		(c->consensus.role == ROLE_REPLICA || request.kind == RECONCILE_REQUEST_MENDED ||
		 request.kind == RECONCILE_REQUEST_ALONE || request.kind == RECONCILE_REQUEST_FINISHED))
		take_request(c, &request);
	if (c->control.reconcile == RECONCILE_ALONE && c->consensus.role == ROLE_REPLICA && !c->alone)
	{
		coordinator_cannot_follow(c, "it was made primary by force in the middle of being mended, and another node leads");
		return;
	}
	take_cut_done(c);
	take_asked_cut(c);
	take_diverged(c);
	/* nobody waits for the search any more; another primary asks again */
	if (current_state(c) == RECONCILE_SAVE &&
		(c->control.intent != INTENT_ACTIVE || c->consensus.role != ROLE_REPLICA))
		end_in_memory(c);
	show_reason(c);
}

/* ---- upkeep ---- */

/*
 * Origins that are not in use any more tell capture what was applied under them:
 * they go once it has passed that, and never comes back to it (own_floor).
 */
void
coordinator_drop_old_origins(Coordinator *c)
{
	XLogRecPtr	captured;

	SpinLockAcquire(&c->node->mutex);
	captured = c->node->captured_lsn;
	SpinLockRelease(&c->node->mutex);
	if (c->old_origins_lsn == InvalidXLogRecPtr || captured < c->old_origins_lsn ||
		current_state(c) != RECONCILE_NONE)
		return;
	c->control.own_floor = Max(c->control.own_floor, captured);
	coordinator_save(c);
	SpinLockAcquire(&c->node->mutex);
	c->node->own_floor = c->control.own_floor;
	SpinLockRelease(&c->node->mutex);
	c->old_origins_lsn = InvalidXLogRecPtr;
	apply_origin_drop_old(c->node);
}
