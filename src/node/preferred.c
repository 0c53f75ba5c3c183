/*
 * preferred.c - the rule PREFERRED of two voters, as far as it is above the core.
 *
 * Either goes on alone, knowingly; the preferred one is to lead when both are there.
 * If only the survivor wrote, the preferred node comes back as a replica, catches up,
 * and the survivor hands the lead over to it by a planned failover, of its own accord.
 * If both wrote, the preferred node finds commits of its own that the survivor's
 * stream lacks: then its transactions are the ones that stay, so it takes the lead by
 * force, and the survivor is the one whose commits are mended.
 *
 * And promote() ends a pause: whoever asks for a primary wants the group to look
 * after itself again.
 */
#include "node/coordinator.h"

/* After a hand-over that was given up, in ms. */
#define HAND_OVER_PAUSE_MS	30000
#define HAND_OVER_MS		30000
#define HAND_OVER_DRAIN_MS	5000
/* The preferred node has caught up when it is less than this behind, in bytes. */
#define HAND_OVER_NEAR		((StreamPos) 64 * 1024)

/*
 * Do this node's own commits stay where they and the primary's stream part?
 */
bool
membership_prefers_own_log(Coordinator *c)
{
	const Membership *m = &c->control.membership;

	return m->rule == RULE_PREFERRED && m->designated == c->control.self;
}

/*
 * The preferred node has found commits that the survivor's stream lacks: it leads
 * again, by force, and its capture raises what is not in its log yet.
 */
void
coordinator_lead_as_preferred(Coordinator *c)
{
	ConsensusEvent e = {EV_PROMOTE};

	coordinator_stop_worker(c, WORKER_APPLIER);
	coordinator_stop_worker(c, WORKER_CAPTURE);
	SpinLockAcquire(&c->node->mutex);
	c->node->diverged_lsn = InvalidXLogRecPtr;
	SpinLockRelease(&c->node->mutex);
	coordinator_note(c, "preferred", "both have committed while they were apart: this node is preferred, and its transactions stay");
	e.force = true;
	coordinator_event(c, &e);
}

static bool
is_ready(Coordinator *c, uint16 id)
{
	StreamPos	flushed = node_log_tail(c->node).flushed;
	PeerShared *peer;
	bool		ready;

	LWLockAcquire(&c->node->peer_lock, LW_SHARED);
	peer = node_peer(c->node, id);
	ready = peer != NULL && peer->link == LINK_STREAMING && peer->state == NODE_REPLICA &&
		peer->apply_error[0] == '\0' && peer->applied + HAND_OVER_NEAR >= flushed;
	LWLockRelease(&c->node->peer_lock);
	return ready;
}

/*
 * The primary that is not the preferred node hands over to that one once it has
 * caught up.  now: boot_ms().
 */
void
coordinator_hand_to_preferred(Coordinator *c, uint64 now)
{
	const Membership *m = &c->control.membership;

	if (m->rule != RULE_PREFERRED || m->designated == 0 || m->designated == c->control.self ||
		m->paused || c->consensus.role != ROLE_PRIMARY || c->term_end != 0 ||
		now < c->preferred_retry || !c->control.membership_committed ||
		node_command_waits(c->node) || !is_ready(c, m->designated))
		return;
	c->preferred_retry = now + HAND_OVER_PAUSE_MS;
	coordinator_note(c, "preferred", "hands the lead over to the preferred node");
	failover_by_itself(c, m->designated, HAND_OVER_MS, HAND_OVER_DRAIN_MS);
}

/*
 * Primary: end a pause, if a person has promoted this node in it.
 */
void
coordinator_end_pause(Coordinator *c)
{
	Membership *m;

	if (!c->promoted || c->consensus.role != ROLE_PRIMARY || c->term_end != 0)
		return;
	if (c->control.membership.paused)
	{
		m = palloc(sizeof(Membership));
		*m = c->control.membership;
		m->paused = false;
		if (!coordinator_change_membership(c, m))
			return;
		coordinator_note(c, "pause", "promote() has ended the pause: elections by themselves are resumed");
	}
	c->promoted = false;
}
