/*
 * renew.c - a node that cannot follow the stream any more takes a new copy.
 *
 * Its reasons: the primary keeps no longer what comes next for it, its own slot was
 * dropped, or what it has committed apart from the group cannot be mended row by
 * row.  The node stays a member and a voter: where its old log ended is kept as
 * vote_floor, so that it never helps to elect somebody who has less than it had
 * acknowledged.
 *
 * On disk first: intent COPYING, copy_replaces, vote_floor.  The copy worker then
 * destroys the log, and replaces the data when the new is complete; a restart at
 * any time goes on with that.
 */
#include "node/coordinator.h"

/* The copy's source: the primary if it is known, else whoever comes first. */
static void
choose_source(Coordinator *c)
{
	Membership *m = &c->control.membership;
	Member	   *source = membership_find(m, c->consensus.leader);

	for (int i = 0; (source == NULL || source->voter.id == c->control.self) && i < m->count; i++)
		source = &m->members[i];
	if (source != NULL && source->voter.id != c->control.self)
		strlcpy(c->control.copy_conninfo, source->conninfo, BATON_CONNINFO_LEN);
}

/*
 * Put the log out of use, so that nothing more is acknowledged, if somebody has as much:
 * a primary has told that all of it is flushed there, or leads in a later term, or is
 * `far_ahead`.  Else false: the primary may have lost the last frame (shared_log.c), and
 * vote_floor would ask for what nobody has.
 */
static bool
close_log(Coordinator *c, bool far_ahead)
{
	NodeShared *node = c->node;
	bool		settled;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	settled = far_ahead || node->apply_to >= node->tail.end ||
		(c->consensus.role == ROLE_REPLICA && c->consensus.durable.term > node->tail.last_term);
	if (settled)
	{
		node->log_ready = false;
		node->share_floor = 0;
	}
	LWLockRelease(&node->log_lock);
	return settled;
}

/* The log is closed; what a receiver is just flushing it may yet acknowledge. */
static void
raise_vote_floor(Coordinator *c)
{
	StreamTail	tail = node_log_tail(c->node);
	ConsensusPlace end = {tail.last_term, tail.end};

	if (consensus_place_cmp(end, c->control.vote_floor) > 0)
		c->control.vote_floor = end;
}

/*
 * Leave what this node has and take a new copy.  why: shown as the reason.  The
 * node must not lead, and its log is closed.
 */
static void
begin_copy(Coordinator *c, const char *why)
{
	NodeShared *node = c->node;

	Assert(c->consensus.role != ROLE_PRIMARY);
	coordinator_stop_worker(c, WORKER_APPLIER);
	coordinator_stop_worker(c, WORKER_CAPTURE);
	coordinator_stop_worker(c, WORKER_RECONCILE);
	raise_vote_floor(c);
	choose_source(c);
	c->control.intent = INTENT_COPYING;
	c->control.copy_replaces = true;
	c->control.was_primary = false;
	c->control.door_closed = false;
	c->control.slot_name[0] = '\0';
	c->control.reconcile = RECONCILE_NONE;
	c->control.reconcile_txns = 0;
	c->control.mend_until = 0;
	c->control.share_floor = 0;
	snprintf(c->control.reason, BATON_REASON_LEN, "takes a new copy: %s", why);
	coordinator_save(c);

	SpinLockAcquire(&node->mutex);
	node->slot_name[0] = '\0';
	node->copy.replaces = true;
	node->copy.wanted[0] = '\0';
	node->apply_error[0] = '\0';
	SpinLockRelease(&node->mutex);
	coordinator_forget_reconcile(c);
	c->own_end = 0;
	coordinator_note(c, "new copy", "takes a new copy: %s", why);
	coordinator_publish_members(c);
	if (c->running)
		coordinator_publish(c);
	else
		coordinator_start_consensus(c);
}

/* far_ahead: of this log's end the primary is, for certain. */
static void
cannot_follow(Coordinator *c, bool far_ahead, const char *why)
{
	if (!baton_auto_copy || c->consensus.role == ROLE_PRIMARY)
		coordinator_detach(c, psprintf("needs a new copy: %s; set baton.auto_copy and call baton.start()", why));
	else if (close_log(c, far_ahead))
		begin_copy(c, why);
	else
		strlcpy(c->copy_waits, why, sizeof(c->copy_waits));
}

/*
 * The node cannot follow the stream: a new copy if baton.auto_copy is on, else out
 * of service.  The copy waits until a primary has told of the end of the log that it
 * replaces; without one there is nothing to copy either.
 */
void
coordinator_cannot_follow(Coordinator *c, const char *why)
{
	cannot_follow(c, false, why);
}

/*
 * The primary has told that it keeps the stream only from behind this log's end on; or a
 * copy has waited.
 */
void
coordinator_take_copy_wanted(Coordinator *c)
{
	char		why[BATON_REASON_LEN];

	if (c->copy_waits[0] != '\0' && c->control.intent == INTENT_ACTIVE &&
		c->consensus.role == ROLE_REPLICA)
	{
		strlcpy(why, c->copy_waits, sizeof(why));
		cannot_follow(c, false, why);
	}
	if (c->control.intent != INTENT_ACTIVE || c->consensus.role == ROLE_PRIMARY)
		c->copy_waits[0] = '\0';

	SpinLockAcquire(&c->node->mutex);
	strlcpy(why, c->node->copy.wanted, sizeof(why));
	c->node->copy.wanted[0] = '\0';
	SpinLockRelease(&c->node->mutex);
	if (why[0] != '\0' && c->control.intent == INTENT_ACTIVE && c->consensus.role == ROLE_REPLICA)
		cannot_follow(c, true, why);
}
