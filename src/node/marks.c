/*
 * marks.c - what members have acknowledged, kept on disk, so that one that comes
 * back with less is known for what it is: restored from an old backup.
 *
 * The primary writes down, lazily with its other marks, where each member's log ends
 * as that has acknowledged it.  It shows a member its mark in each handshake
 * (ship/handshake.c), and the member compares.  What legitimately puts a log back,
 * a cut that the primary asks for and a new copy, the member itself remembers:
 * cut_mark and vote_floor.
 */
#include "node/coordinator.h"

static PeerMark *
mark_of(ControlData *control, uint16 id)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
		if (control->peer_marks[i].id == id)
			return &control->peer_marks[i];
	return NULL;
}

/* Marks of members that are none any more make room. */
static void
forget_removed(Coordinator *c)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		PeerMark   *mark = &c->control.peer_marks[i];

		if (mark->id != 0 && membership_find(&c->control.membership, mark->id) == NULL)
			memset(mark, 0, sizeof(*mark));
	}
}

/*
 * Primary: take over what the members have acknowledged in this reign; true if that
 * has changed and is to be written.
 */
bool
coordinator_renew_peer_marks(Coordinator *c)
{
	NodeShared *node = c->node;
	bool		changed = false;

	if (c->consensus.role != ROLE_PRIMARY)
		return false;
	forget_removed(c);
	LWLockAcquire(&node->peer_lock, LW_SHARED);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		const PeerShared *peer = &node->peers[i];
		PeerMark   *mark;

		/* before the TERM record the place's term is another */
		if (peer->id == 0 || peer->stream_term != c->consensus.durable.term ||
			peer->flushed < c->reign_start)
			continue;
		mark = mark_of(&c->control, peer->id);
		if (mark == NULL)
			mark = mark_of(&c->control, 0);
		if (mark == NULL || (mark->id == peer->id && mark->place.term == c->consensus.durable.term &&
							 mark->place.pos == peer->flushed))
			continue;
		mark->id = peer->id;
		mark->place.term = c->consensus.durable.term;
		mark->place.pos = peer->flushed;
		changed = true;
	}
	LWLockRelease(&node->peer_lock);
	return changed;
}

/*
 * Show the marks that are on disk to the shipper.
 */
void
coordinator_publish_peer_marks(Coordinator *c)
{
	NodeShared *node = c->node;

	LWLockAcquire(&node->peer_lock, LW_EXCLUSIVE);
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		PeerShared *peer = node_peer(node, c->control.peer_marks[i].id);

		if (peer != NULL)
			peer->mark = c->control.peer_marks[i].place;
	}
	LWLockRelease(&node->peer_lock);
}

/*
 * The log is about to be cut: it has been where it ends now.  The caller saves.
 */
void
coordinator_note_cut(Coordinator *c)
{
	StreamTail	tail = node_log_tail(c->node);
	ConsensusPlace end = {tail.last_term, tail.flushed};

	if (consensus_place_cmp(end, c->control.cut_mark) <= 0)
		return;
	c->control.cut_mark = end;
	LWLockAcquire(&c->node->state_lock, LW_EXCLUSIVE);
	if (consensus_place_cmp(end, c->node->was_at) > 0)
		c->node->was_at = end;
	LWLockRelease(&c->node->state_lock);
}
