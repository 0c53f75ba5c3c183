/*
 * target.c - who can take over in a planned failover.
 */
#include "failover/target.h"

#include "ship/acks.h"

PeerShared
failover_peer(Coordinator *c, uint16 id)
{
	PeerShared	copy = {0};
	PeerShared *peer;

	LWLockAcquire(&c->node->peer_lock, LW_SHARED);
	peer = node_peer(c->node, id);
	if (peer != NULL)
		copy = *peer;
	LWLockRelease(&c->node->peer_lock);
	return copy;
}

/* Why a member cannot take over, or NULL. */
static const char *
unfit_target(Coordinator *c, const Member *m, const PeerShared *peer)
{
	if (m->voter.type != CONSENSUS_ELECTABLE)
		return "its type does not let it lead";
	if (m->voter.priority == 0)
		return "its priority is 0, so that it never leads";
	if (m->voter.joining || peer->state == NODE_COPYING)
		return "it has not finished joining the group";
	if (peer->link != LINK_STREAMING)
		return peer->error[0] ? psprintf("it is not reachable: %s", peer->error) : "it is not reachable";
	if (peer->state != NODE_REPLICA)
		return psprintf("its state is %s", node_state_name(peer->state));
	if (peer->apply_error[0] != '\0')
		return psprintf("it is not ready: %s", peer->apply_error);
	return NULL;
}

/* The replica with the highest priority among those that are near, else the nearest. */
Member *
failover_choose_target(Coordinator *c)
{
	Membership *m = &c->control.membership;
	StreamPos	flushed = node_log_tail(c->node).flushed;
	Member	   *best = NULL;
	StreamPos	best_applied = 0;
	bool		best_near = false;

	for (int i = 0; i < m->count; i++)
	{
		Member	   *member = &m->members[i];
		PeerShared	peer = failover_peer(c, member->voter.id);
		bool		near = peer.applied + FAILOVER_TARGET_NEAR >= flushed;

		if (member->voter.id == c->control.self || unfit_target(c, member, &peer) != NULL)
			continue;
		if (best == NULL || (near && !best_near) ||
			(near == best_near && member->voter.priority > best->voter.priority) ||
			(near == best_near && member->voter.priority == best->voter.priority && peer.applied > best_applied))
		{
			best = member;
			best_applied = peer.applied;
			best_near = near;
		}
	}
	return best;
}

/*
 * Who is to take over?  *unfit: why nobody can, *member then is who was meant,
 * NULL if nobody was named.
 */
Member *
failover_resolve_target(Coordinator *c, const char **unfit)
{
	CommandShared *cmd = &c->node->command;
	Member	   *member;
	PeerShared	peer;

	*unfit = NULL;
	if (cmd->target == 0)
	{
		member = failover_choose_target(c);
		if (member == NULL)
			*unfit = "None of the members is a replica within reach.";
		return member;
	}
	member = membership_find(&c->control.membership, cmd->target);
	if (member == NULL || member->voter.id == c->control.self)
	{
		*unfit = "The target must be another member of the group.";
		return NULL;
	}
	peer = failover_peer(c, member->voter.id);
	*unfit = unfit_target(c, member, &peer);
	return member;
}

/* Would waiting change that the target is unfit? */
bool
failover_target_is_hopeless(Coordinator *c, const Member *member)
{
	if (member == NULL)
		return c->node->command.target != 0 || c->control.membership.count < 2;
	return member->voter.type != CONSENSUS_ELECTABLE || member->voter.priority == 0;
}

/* Would commits on the target wait in vain, if this node is out of service then? */
bool
failover_breaks_policy(Coordinator *c, const Member *target, FailoverAfter after)
{
	const Membership *m = &c->control.membership;

	return after != AFTER_REJOIN &&
		!acks_reachable(m->ack_policy, m, target->voter.id, c->control.self) &&
		acks_reachable(m->ack_policy, m, target->voter.id, 0);
}
