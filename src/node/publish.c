/*
 * publish.c - shows the coordinator's state to the rest of the server.
 */
#include "node/coordinator.h"

#include "failover/gate.h"
#include "node/notifier.h"
#include "node/transitions.h"

/* The one state that people see, from intent and consensus role. */
static NodeState
visible_state(const Coordinator *c)
{
	if (c->down)
		return NODE_DOWN;
	switch ((NodeIntent) c->control.intent)
	{
		case INTENT_COPYING:
			return NODE_COPYING;
		case INTENT_STOPPED:
		case INTENT_DETACHED:
			return NODE_DETACHED;
		case INTENT_ACTIVE:
			break;
	}
	switch (c->consensus.role)
	{
		case ROLE_PRIMARY:
			return NODE_PRIMARY;
		case ROLE_REPLICA:
			/* rows that are being mended are missing for a moment */
			return c->control.reconcile == RECONCILE_NONE ? NODE_REPLICA : NODE_COPYING;
		case ROLE_CANDIDATE:
			/* it still follows the old primary until that has voted */
			if (c->consensus.campaign == CAMPAIGN_TRANSFER && !c->consensus.campaign_released)
				return NODE_REPLICA;
			return NODE_UNKNOWN;
		case ROLE_UNKNOWN:
		case ROLE_STOPPED:
			break;
	}
	return NODE_UNKNOWN;
}

/*
 * Who leads, as far as this node knows.  A node that has handed over follows nobody
 * any more, but its vote names who does, and clients are sent there.
 */
static uint16
visible_leader(const Coordinator *c)
{
	if (c->consensus.role == ROLE_PRIMARY)
		return c->control.self;
	if (c->consensus.leader == 0 && c->control.intent == INTENT_DETACHED && c->control.door_closed)
		return c->consensus.durable.voted_for;
	return c->consensus.leader;
}

static const char *
visible_reason(const Coordinator *c)
{
	if (c->control.reason[0] != '\0')
		return c->control.reason;
	if (c->lease_reason[0] != '\0')
		return c->lease_reason;
	if (c->reconcile_reason[0] != '\0')
		return c->reconcile_reason;
	return c->trouble[0] != '\0' ? c->trouble : c->ack_trouble;
}

/*
 * A change of what people see: into the events, and to whoever is told by
 * baton.on_role_change.
 */
static void
note_state(Coordinator *c, NodeState from, NodeState to, uint16 leader)
{
	const NodeTransition *t = transition_find(from, to);
	Member	   *m = membership_find(&c->control.membership, leader);

	if (t == NULL)
		ereport(WARNING,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the state of the baton node in database \"%s\" changes from %s to %s, for which there is no row in baton.transitions()",
						c->node->dbname, node_state_name(from), node_state_name(to))));
	Assert(t != NULL);
	notifier_post(c->node, from, to, c->consensus.durable.term, leader);
	if (leader != 0 && leader != c->control.self)
		coordinator_note(c, "state", "from %s to %s; \"%s\" leads", node_state_name(from),
						 node_state_name(to), m ? m->name : "?");
	else
		coordinator_note(c, "state", "from %s to %s", node_state_name(from), node_state_name(to));
}

/* Another primary than the one known before; this node's own reign shows in its state. */
static void
note_leader(Coordinator *c, uint16 leader)
{
	Member	   *m = membership_find(&c->control.membership, leader);

	if (leader == 0 || leader == c->noted_leader)
		return;
	c->noted_leader = leader;
	if (leader != c->control.self)
		coordinator_note(c, "leader", "\"%s\" is the primary", m ? m->name : "?");
}

/*
 * Publish state, term and leader.  Wakes whoever waits for a change.
 */
void
coordinator_publish(Coordinator *c)
{
	NodeShared *node = c->node;
	NodeState	state = visible_state(c);
	NodeState	before;
	bool		changed;
	uint16		leader = visible_leader(c);

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	before = node->state;
	changed = before != state || node->term != c->consensus.durable.term ||
		node->leader != leader || node->intent != c->control.intent;
	node->state = state;
	node->term = c->consensus.durable.term;
	node->leader = leader;
	node->intent = c->control.intent;
	if (!c->down)
		strlcpy(node->reason, visible_reason(c), BATON_REASON_LEN);
	LWLockRelease(&node->state_lock);

	ConditionVariableBroadcast(&node->state_cv);
	if (!changed)
		return;
	note_leader(c, leader);
	if (before != state)
		note_state(c, before, state, leader);
	ConditionVariableBroadcast(&node->watch_cv);
	node_wake(node, WORKER_SHIPPER);
	node_wake(node, WORKER_CAPTURE);
	node_wake(node, WORKER_APPLIER);
}

/* Line node->peers up with the membership, keeping what is known of those that stay. */
static void
publish_peers(Coordinator *c)
{
	NodeShared *node = c->node;
	const Membership *m = &c->control.membership;
	bool		joining = false;

	LWLockAcquire(&node->peer_lock, LW_EXCLUSIVE);
	SpinLockAcquire(&node->mutex);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		uint16		id = node->peers[i].id;

		if (id != 0 && membership_find((Membership *) m, id) == NULL)
			memset(&node->peers[i], 0, sizeof(PeerShared));
	}
	for (int i = 0; i < m->count; i++)
	{
		uint16		id = m->members[i].voter.id;

		joining = joining || m->members[i].voter.joining;
		if (id == c->control.self || node_peer(node, id) != NULL)
			continue;
		for (int k = 0; k < CONSENSUS_MAX_MEMBERS; k++)
		{
			if (node->peers[k].id == 0)
			{
				node->peers[k].id = id;
				break;
			}
		}
	}
	/* the coordinator makes it a full member when its place is near, and waits for the
	 * acknowledgements of a change */
	if (c->failover.phase == PHASE_IDLE)
		node->peer_notify = joining || !c->control.membership_committed;
	SpinLockRelease(&node->mutex);
	LWLockRelease(&node->peer_lock);
}

/*
 * Publish identity and membership.
 */
void
coordinator_publish_members(Coordinator *c)
{
	NodeShared *node = c->node;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	strlcpy(node->group_name, c->control.group_name, BATON_NAME_LEN);
	memcpy(node->group_id, c->control.group_id, sizeof(node->group_id));
	node->self = c->control.self;
	node->incarnation = c->control.incarnation;
	memcpy(node->ddl_key, c->control.ddl_key, sizeof(node->ddl_key));
	node->membership = c->control.membership;
	node->membership_committed = c->control.membership_committed;
	if (!c->control.membership_committed)
		node->membership_before = c->control.membership_before;
	node->was_at = consensus_place_cmp(c->control.vote_floor, c->control.cut_mark) > 0 ?
		c->control.vote_floor : c->control.cut_mark;
	node->membership_turn++;
	strlcpy(node->copy_conninfo, c->control.copy_conninfo, BATON_CONNINFO_LEN);
	LWLockRelease(&node->state_lock);
	pg_atomic_write_u32(&node->ack_policy, c->control.membership.ack_policy);
	publish_peers(c);
	coordinator_publish_peer_marks(c);
	SpinLockAcquire(&node->mutex);
	node->arbiter = coordinator_is_arbiter(c);
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_SHIPPER);
	node_wake(node, WORKER_CAPTURE);
	ConditionVariableBroadcast(&node->state_cv);
}
