/*
 * membership.c - changes of the membership, made by the primary and carried in
 * the stream as the whole membership.
 *
 * Order of a change: control file, then a MEMBERSHIP frame flushed in the own
 * log; only flushed frames are shipped, so not a byte of it leaves before both
 * are on disk.  The members in force are always the newest known, committed or
 * not (Raft thesis, section 4.1), one change at a time.
 */
#include "node/coordinator.h"

#include "node/member_notes.h"
#include "stream/record.h"

/* A joined node that is less than this behind has caught up, in bytes. */
#define CAUGHT_UP ((uint64) 1024 * 1024)

static void
tell_consensus(Coordinator *c)
{
	ConsensusMembership voters;
	ConsensusEvent e = {EV_MEMBERSHIP};

	membership_voters(&c->control.membership, &voters);
	e.members = &voters;
	if (c->running)
		coordinator_event(c, &e);
	coordinator_publish_members(c);
}

static void
append_membership_frame(Coordinator *c)
{
	StreamBuf	bytes = {0};
	StreamBuf	record = {0};
	StreamError err = {0};
	StreamCode	code;

	membership_encode(&c->control.membership, &bytes);
	record_put_membership(&record, bytes.data, bytes.len);
	if (bytes.failed || record.failed)
		code = stream_fail(&err, STREAM_IO, 0, ENOMEM, "out of memory");
	else
		code = node_log_seal_append(c->node, &c->writer, &c->codec, c->consensus.durable.term,
									0, 0, record.data, record.len, NULL, NULL, &err);
	if (code == STREAM_OK)
		code = node_log_flush(c->node, &c->writer, &err);
	stream_buf_free(&bytes);
	stream_buf_free(&record);
	if (code != STREAM_OK)
		ereport(FATAL,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("baton cannot write a change of its members to the stream log: %s", err.message)));
}

/*
 * Primary: put a changed membership in force.  Raises its version.  False if
 * this node may not change it now: it does not lead, or its own TERM record is
 * not applied yet, or a failover is under way.
 */
bool
coordinator_change_membership(Coordinator *c, const Membership *changed)
{
	if (c->consensus.role != ROLE_PRIMARY || c->term_end != 0 || c->failover.phase != PHASE_IDLE)
		return false;
	c->control.membership = *changed;
	c->control.membership.version++;
	coordinator_save(c);
	append_membership_frame(c);
	tell_consensus(c);
	return true;
}

/*
 * Others: adopt a newer membership that came by handshake or in the stream.
 */
void
coordinator_adopt_membership(Coordinator *c)
{
	NodeShared *node = c->node;
	Membership *before = NULL;
	bool		adopted = false;
	bool		removed = false;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	if (node->offered.version > c->control.membership.version)
	{
		removed = membership_find(&node->offered, c->control.self) == NULL;
		adopted = !removed;
	}
	if (adopted)
	{
		before = palloc(sizeof(Membership));
		*before = c->control.membership;
		c->control.membership = node->offered;
	}
	node->offered.version = 0;
	LWLockRelease(&node->state_lock);
	if (removed && c->control.intent != INTENT_DETACHED)
		coordinator_detach(c, "the group has removed it; baton.leave_group(force => true) makes it an ordinary database");
	if (!adopted)
		return;
	coordinator_save(c);
	coordinator_note_members(c, before);
	tell_consensus(c);
}

/*
 * Has a joining member its copy, and has it caught up?  A node that was made
 * primary by force before it was a full member is one.
 */
static bool
has_joined(Coordinator *c, const Member *member)
{
	StreamPos	flushed = node_log_tail(c->node).flushed;
	PeerShared *peer;
	bool		joined;

	if (member->voter.id == c->control.self)
		return true;
	LWLockAcquire(&c->node->peer_lock, LW_SHARED);
	peer = node_peer(c->node, member->voter.id);
	joined = peer != NULL && peer->link == LINK_STREAMING &&
		peer->state == NODE_REPLICA && peer->applied + CAUGHT_UP >= flushed;
	LWLockRelease(&c->node->peer_lock);
	return joined;
}

/*
 * Primary: a joining node that has its copy and has caught up becomes a full
 * member, one at a time.
 */
void
coordinator_welcome_joined(Coordinator *c)
{
	const Membership *current = &c->control.membership;

	if (c->consensus.role != ROLE_PRIMARY)
		return;
	for (int i = 0; i < current->count; i++)
	{
		Membership *m;

		if (!current->members[i].voter.joining || !has_joined(c, &current->members[i]))
			continue;
		m = palloc(sizeof(Membership));
		*m = *current;
		m->members[i].voter.joining = 0;
		if (coordinator_change_membership(c, m))
			coordinator_note(c, "member", "\"%s\" has caught up and is a full member", m->members[i].name);
		return;
	}
}
