/*
 * ack_publish.c - the shipper's counting of acknowledgements, after each answer.
 *
 * What a peer has acknowledged counts while its link is open in the term that this
 * node leads: before that, its places are of another reign's log.  What has been
 * published in a reign is never taken back, for it lies on those disks, whatever
 * becomes of the links.
 *
 * Under RULE_DESIGNATED the designated primary waits for the other voter as long
 * as that is there: its link is open and it has answered within the time for which
 * a silent member counts as alive.  Then the primary counts alone.  So a commit
 * that is acknowledged in that time is on one disk; the rule says that this is
 * enough, and the other node can not be elected without it.
 */
#include "baton.h"

#include "capture/acked.h"
#include "ship/acks.h"
#include "ship/link.h"
#include "utils/timestamp.h"

/* Is the link's member part of the reign, and does it answer? */
static bool
link_streams(const Link *link)
{
	return link->id != 0 && link->step == STEP_OPEN && link->term != 0 &&
		link->term == link->ship->view.term;
}

static bool
link_answers(const Link *link)
{
	return link_streams(link) &&
		!TimestampDifferenceExceeds(link->last_reply, link->ship->view.wall,
									baton_effective_election_timeout());
}

static void
ack_view(const Shipper *ship, AckView *v)
{
	bool		alone = acks_solo(&ship->membership, ship->view.self);

	memset(v, 0, sizeof(*v));
	v->policy = ship->membership.ack_policy;
	v->self = ship->view.self;
	v->own_flushed = ship->view.tail.flushed;
	v->own_end = ship->view.ship_end;
	v->lead_start = ship->view.lead_start;
	if (!ship->membership_committed)
		v->bound = acks_bound(&ship->before, ship->view.self);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		const Link *link = &ship->links[i];
		const Member *member = membership_find((Membership *) &ship->membership, link->id);
		AckPeer    *peer;

		if (link->id == 0 || member == NULL)
			continue;
		if (alone && member->voter.type != CONSENSUS_SECONDARY && !member->voter.joining)
			v->alone = !link_answers(link);
		peer = &v->peers[v->n_peers++];
		peer->id = link->id;
		peer->streams = link_streams(link);
		/* a replica answers when it has flushed: it has nothing that is only written */
		peer->written = link->flushed;
		peer->flushed = link->flushed;
		peer->applied = link->applied;
	}
}

/*
 * Count, and publish what has moved: the places in NodeShared, `committed` among
 * them.  Lets sessions go that wait for it in their commit, or wakes capture, which
 * tells the walsender; wakes whoever waits for `committed`: the coordinator only if it
 * asked for this place.
 */
void
ack_publish(Shipper *ship)
{
	NodeShared *node = ship->node;
	AckView		view;
	AckPlaces	p;
	bool		committed = false;
	bool		acked;
	bool		notify;

	if (!ship->view.primary || ship->view.lead_start == 0)
		return;
	ack_view(ship, &view);
	acks_count(&view, &ship->membership, &p);

	SpinLockAcquire(&node->mutex);
	if (p.committed != 0 &&
		(node->committed_term != ship->view.term || p.committed > node->committed))
	{
		node->committed_term = ship->view.term;
		node->committed = p.committed;
		committed = true;
	}
	notify = node->committed_notify != 0 && p.committed >= node->committed_notify;
	if (notify)
		node->committed_notify = 0;
	if (node->ack_term != ship->view.term)
	{
		node->ack_term = ship->view.term;
		node->ack_write = node->ack_flush = node->ack_apply = 0;
	}
	acked = p.write > node->ack_write || p.flush > node->ack_flush || p.apply > node->ack_apply;
	node->ack_write = Max(node->ack_write, p.write);
	node->ack_flush = Max(node->ack_flush, p.flush);
	node->ack_apply = Max(node->ack_apply, p.apply);
	node->ack_version = ship->membership.version;
	SpinLockRelease(&node->mutex);

	if (acked && view.policy != ACK_NONE && !acked_follow(node))
		node_wake(node, WORKER_CAPTURE);
	if (committed)
		ConditionVariableBroadcast(&node->committed_cv);
	if (notify)
		node_wake(node, WORKER_COORDINATOR);
}
