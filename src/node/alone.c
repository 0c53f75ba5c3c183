/*
 * alone.c - baton.promote(force => true) on a node that has diverged commits: the
 * coordinator's part.
 *
 * What is to be done first depends on the mending (reconcile/alone.c has the rest):
 *
 *	 not begun   the commits are in the tables and in the WAL, and saved nowhere: they
 *				 stay, and capture raises them in the new reign.  Frames of the lost
 *				 primary that are in the log and not in the tables are applied with
 *				 lenience.
 *	 saved       the worker gets all ready to lead without the other primary
 *	 rows out    the applier puts the fetched rows in, which are all there
 *
 * Then the node leads, by force, with its gate closed until the applier has done that.
 */
#include "node/coordinator.h"

/* Get ready to lead: what there is to be done has a beginning here. */
static void
get_ready(Coordinator *c)
{
	StreamPos	applied;
	bool		diverged;

	c->alone_begun = true;
	coordinator_stop_search(c);
	SpinLockAcquire(&c->node->mutex);
	diverged = c->node->diverged_lsn != 0 && !c->consensus.may_resume;
	applied = c->node->applied;
	SpinLockRelease(&c->node->mutex);
	if (c->control.reconcile == RECONCILE_MEND)
		coordinator_mend_alone(c);
	else if (c->control.reconcile == RECONCILE_FILL)
		strlcpy(c->alone_account, "the transactions that the group does not have are rolled back, with the other versions of their rows, which had been fetched",
				sizeof(c->alone_account));
	else if (c->control.reconcile == RECONCILE_NONE && diverged)
		coordinator_keep_diverged(c, applied < node_log_tail(c->node).flushed);
}

/* A person has asked, and does not wait for anything of before. */
void
coordinator_begin_alone(Coordinator *c)
{
	c->alone = true;
	c->alone_begun = false;
}

/*
 * Go on with getting ready; true: the node can be made primary by force, as far as the
 * mending is concerned.  Not while it hears a primary, who goes on with the mending.
 */
bool
coordinator_is_ready_alone(Coordinator *c)
{
	if (c->control.reconcile != RECONCILE_NONE && c->consensus.role == ROLE_REPLICA)
		return false;
	if (!c->alone_begun)
		get_ready(c);
	if (c->control.reconcile == RECONCILE_MEND)
		return false;
	c->alone = c->alone_begun = false;
	return true;
}

/* The person does not wait any more: mend with a primary, as before. */
void
coordinator_give_up_alone(Coordinator *c)
{
	c->alone = c->alone_begun = false;
	if (c->control.reconcile == RECONCILE_MEND)
		coordinator_mend_alone(c);
}

/*
 * Nobody may follow the stream from a place before the reign's TERM record, whose
 * frame ends at term_end.
 */
void
coordinator_raise_share_floor(Coordinator *c, StreamPos term_end)
{
	if (c->control.reconcile != RECONCILE_ALONE)
		return;
	c->control.share_floor = term_end;
	coordinator_save(c);
	LWLockAcquire(&c->node->log_lock, LW_EXCLUSIVE);
	c->node->share_floor = term_end;
	LWLockRelease(&c->node->log_lock);
}

/* The applier has got to the TERM record; noted: rows that are noted in baton.rolled_back. */
void
coordinator_tell_alone(Coordinator *c, uint32 noted)
{
	uint32		kept = c->control.reconcile_txns;

	if (kept > 0)
		snprintf(c->alone_account, sizeof(c->alone_account),
				 "%u transactions that were to be rolled back stay in effect, where the stream has no other versions of their rows: the primary that had these is lost",
				 kept);
	else
		strlcpy(c->alone_account, "rows that were rolled back are as they had been fetched from a primary whose end of the stream is lost",
				sizeof(c->alone_account));
	coordinator_note(c, "kept", "%s; %u rows that were in the way or could not be completed are in baton.rolled_back; the other nodes take new copies",
					 c->alone_account, noted);
}
