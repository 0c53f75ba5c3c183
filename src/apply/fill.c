/*
 * fill.c - the applier's part in mending diverged commits: it leaves changes of
 * touched rows out up to the place at which these were fetched from the primary,
 * and puts the fetched rows in there; see touched.h.
 *
 * The place is in front of the first COMMIT that the fetched rows do not hold, or
 * where the log is known to hold all that they do, whichever comes first.
 *
 * On a node that was made primary by force before that (reconcile/alone.c), nothing is
 * left out: what is in the log is applied with lenience, up to the own TERM record.
 */
#include "apply/applier.h"

#include "access/xlog.h"
#include "replication/message.h"


static bool
is_filling(Applier *a)
{
	bool		filling;

	SpinLockAcquire(&a->node->mutex);
	filling = a->node->reconcile.state == RECONCILE_FILL;
	SpinLockRelease(&a->node->mutex);
	return filling;
}

/* The coordinator writes down that nothing is left to mend; noted: rows that are noted in
 * baton.rolled_back, see lenient.c. */
static void
report_finished(Applier *a, uint32 noted)
{
	ReconcileShared *rec = &a->node->reconcile;

	/* a record behind the commit: flushed, it flushes that */
	XLogFlush(baton_log_marker("baton"));
	SpinLockAcquire(&a->node->mutex);
	if (rec->state == RECONCILE_FILL || rec->state == RECONCILE_ALONE)
	{
		rec->request.kind = RECONCILE_REQUEST_FINISHED;
		rec->request.txns = noted;
		rec->request.round = rec->round;
	}
	SpinLockRelease(&a->node->mutex);
	node_wake(a->node, WORKER_COORDINATOR);
}

/* Is the node to lead with tables that are not what the stream expects? */
static bool
is_alone(Applier *a)
{
	bool		alone;

	SpinLockAcquire(&a->node->mutex);
	alone = a->node->reconcile.state == RECONCILE_ALONE;
	SpinLockRelease(&a->node->mutex);
	return alone;
}

/* Only the applier of the forced reign runs then, up to its TERM record. */
static void
become_lenient(Applier *a)
{
	NodeShared *node = a->node;
	Lenience   *lenience = MemoryContextAllocZero(a->cxt, sizeof(Lenience));
	Member	   *self;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	self = membership_find(&node->membership, node->self);
	strlcpy(lenience->node_name, self ? self->name : "", sizeof(lenience->node_name));
	LWLockRelease(&node->state_lock);
	a->local.lenient = lenience;
}

void
applier_reign_begins(Applier *a)
{
	uint32		noted;

	if (a->local.lenient == NULL)
		return;
	local_begin(&a->local);
	noted = apply_lenient_noted();
	touched_forget();
	local_commit(&a->local, a->done, 0);
	a->local.lenient = NULL;
	report_finished(a, noted);
}

void
applier_look_for_mark(Applier *a)
{
	TouchedSet *set;

	if (a->local.lenient == NULL && is_alone(a))
		become_lenient(a);
	if (a->mark_read || !is_filling(a))
		return;
	local_begin(&a->local);
	set = touched_create(a->cxt);
	a->mending = touched_load_mark(&a->mark);
	if (a->mending)
		touched_load(&a->local, set);
	local_commit(&a->local, 0, 0);
	a->mark_read = true;
	if (a->mending)
		a->local.touched = set;
	else
	{
		/* done by an applier that did not come to say so */
		touched_free(set);
		report_finished(a, 0);
	}
}

bool
applier_fill_is_due(Applier *a, uint64 term, const RecordCommit *commit)
{
	if (!a->mending || term < a->mark.term)
		return false;
	return term > a->mark.term || commit->source != a->mark.source ||
		commit->commit_lsn >= a->mark.lsn;
}

void
applier_fill(Applier *a)
{
	TouchedSet *set = a->local.touched;

	a->local.touched = NULL;
	PG_TRY();
	{
		local_begin(&a->local);
		touched_fill(&a->local);
		local_commit(&a->local, a->done, 0);
	}
	PG_CATCH();
	{
		a->local.touched = set;
		PG_RE_THROW();
	}
	PG_END_TRY();
	a->mending = false;
	touched_free(set);
	applier_publish(a, a->done, 0, 0, 0);
	report_finished(a, 0);
}
