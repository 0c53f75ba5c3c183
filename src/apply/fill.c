/*
 * fill.c - the applier's part in mending diverged commits: it leaves changes of
 * touched rows out up to the place at which these were fetched from the primary,
 * and puts the fetched rows in there; see touched.h.
 *
 * The place is in front of the first COMMIT that the fetched rows do not hold, or
 * where the log is known to hold all that they do, whichever comes first.
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

/* The coordinator writes down that nothing is left to mend. */
static void
report_finished(Applier *a)
{
	ReconcileShared *rec = &a->node->reconcile;

	/* a record behind the commit: flushed, it flushes that */
	XLogFlush(baton_log_marker("baton"));
	SpinLockAcquire(&a->node->mutex);
	if (rec->state == RECONCILE_FILL)
	{
		rec->request.kind = RECONCILE_REQUEST_FINISHED;
		rec->request.round = rec->round;
	}
	SpinLockRelease(&a->node->mutex);
	node_wake(a->node, WORKER_COORDINATOR);
}

void
applier_look_for_mark(Applier *a)
{
	TouchedSet *set;

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
		report_finished(a);
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
	report_finished(a);
}
