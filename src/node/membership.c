/*
 * membership.c - changes of the membership, made by the primary and carried in
 * the stream as the whole membership.
 *
 * Order of a change: control file, then a MEMBERSHIP frame flushed in the own
 * log, then published.  From the frame on nothing is shipped before it is
 * published, and each replica is told the membership ahead of the frames that
 * hold it (ship/link_members.c): so who acknowledges the frame has the change in
 * its control file, and an election that follows counts by it.
 *
 * The members in force are always the newest known, committed or not (Raft
 * thesis, section 4.1).  Until a majority of them has the frame on disk, what was
 * in force before stays beside it: `before`.  Then the change is committed.  There
 * is one change at a time, and none before the own TERM record is committed, with
 * exceptions where nobody else can lead without this node's vote: a primary of two
 * may always remove the other one, a change may be taken back, and whoever leads by
 * force may remove members that are not there to agree.
 */
#include "node/coordinator.h"

#include "lib/stringinfo.h"
#include "node/member_notes.h"
#include "stream/record.h"

/* A joined node that is less than this behind has caught up, in bytes. */
#define CAUGHT_UP ((uint64) 1024 * 1024)

/* ---- who counts ---- */

/* Is this node an arbiter: a voter with a stream log, and no tables? */
bool
coordinator_is_arbiter(Coordinator *c)
{
	const Member *me = membership_find(&c->control.membership, c->control.self);

	return me != NULL && me->voter.type == CONSENSUS_ARBITER;
}

static bool
is_voter(const Member *member)
{
	return member->voter.type != CONSENSUS_SECONDARY && !member->voter.joining;
}

static int
voters_of(const Membership *m)
{
	ConsensusMembership voters;

	membership_voters(m, &voters);
	return consensus_voters(&voters);
}

/* Do the same members vote, by the same rule? */
static bool
same_voters(const Membership *a, const Membership *b)
{
	if (a->rule != b->rule || a->designated != b->designated || voters_of(a) != voters_of(b))
		return false;
	for (int i = 0; i < a->count; i++)
	{
		const Member *other = membership_find((Membership *) b, a->members[i].voter.id);

		if (is_voter(&a->members[i]) && (other == NULL || !is_voter(other)))
			return false;
	}
	return true;
}

/* Has this member acknowledged the log up to pos, in the reign of this node? */
static bool
has_flushed(Coordinator *c, uint16 id, StreamPos pos)
{
	PeerShared *peer;
	bool		has;

	if (id == c->control.self)
		return node_log_tail(c->node).flushed >= pos;
	LWLockAcquire(&c->node->peer_lock, LW_SHARED);
	peer = node_peer(c->node, id);
	has = peer != NULL && peer->stream_term == c->consensus.durable.term && peer->flushed >= pos;
	LWLockRelease(&c->node->peer_lock);
	return has;
}

/* Has a majority of the voters acknowledged the log up to pos? */
static bool
majority_has(Coordinator *c, StreamPos pos)
{
	const Membership *m = &c->control.membership;
	int			have = 0;

	for (int i = 0; i < m->count; i++)
		have += is_voter(&m->members[i]) && has_flushed(c, m->members[i].voter.id, pos);
	return have >= voters_of(m) / 2 + 1;
}

/*
 * Names of the voters that have not acknowledged the log up to pos; palloc'd.
 */
char *
coordinator_missing_voters(Coordinator *c, StreamPos pos)
{
	const Membership *m = &c->control.membership;
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < m->count; i++)
	{
		if (!is_voter(&m->members[i]) || has_flushed(c, m->members[i].voter.id, pos))
			continue;
		appendStringInfo(&out, "%s\"%s\"", out.len > 0 ? ", " : "", m->members[i].name);
	}
	return out.data;
}

/* ---- changes, on the primary ---- */

static void
tell_consensus(Coordinator *c)
{
	ConsensusMembership voters;
	ConsensusMembership before;
	ConsensusEvent e = {EV_MEMBERSHIP};

	membership_voters(&c->control.membership, &voters);
	membership_voters(&c->control.membership_before, &before);
	e.members = &voters;
	e.before = c->control.membership_committed ? NULL : &before;
	if (c->running)
		coordinator_event(c, &e);
	coordinator_publish_members(c);
}

static StreamPos
append_membership_frame(Coordinator *c)
{
	StreamBuf	bytes = {0};
	StreamBuf	record = {0};
	StreamError err = {0};
	StreamPos	end = 0;
	StreamCode	code;

	membership_encode(&c->control.membership, &bytes);
	record_put_membership(&record, bytes.data, bytes.len);
	if (bytes.failed || record.failed)
		code = stream_fail(&err, STREAM_IO, 0, ENOMEM, "out of memory");
	else
		code = node_log_seal_append(c->node, &c->writer, &c->codec, c->consensus.durable.term,
									0, 0, record.data, record.len, false, &end, &err);
	if (code == STREAM_OK)
		code = node_log_flush(c->node, &c->writer, true, &err);
	stream_buf_free(&bytes);
	stream_buf_free(&record);
	if (code != STREAM_OK)
		ereport(FATAL,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("baton cannot write a change of its members to the stream log: %s", err.message)));
	return end;
}

/* Hold shipping back from the end of the log on, or let it go on. */
static void
hold_shipping(Coordinator *c, bool hold)
{
	LWLockAcquire(&c->node->log_lock, LW_EXCLUSIVE);
	c->node->ship_hold = hold ? c->node->tail.end : 0;
	LWLockRelease(&c->node->log_lock);
	if (!hold)
		node_wake(c->node, WORKER_SHIPPER);
}

/*
 * May this node, the primary, put a changed membership in force now?  If not,
 * *waits_for is the place in the log that a majority has yet to acknowledge, 0 if
 * it is something else.
 */
bool
coordinator_may_change_membership(Coordinator *c, const Membership *changed, StreamPos *waits_for)
{
	const Membership *m = &c->control.membership;
	bool		shrinks = changed->count < m->count;
	bool		alone = shrinks && voters_of(m) == 2 && voters_of(changed) == 1;

	*waits_for = 0;
	if (c->consensus.role != ROLE_PRIMARY || c->term_end != 0 || c->failover.phase != PHASE_IDLE)
		return false;
	if (shrinks && c->forced_reign)
		return true;
	/* who counts stays as it is: a policy may have to be lifted when nobody acknowledges */
	if (changed->count == m->count && same_voters(changed, m))
		return true;
	if (!c->control.membership_committed && !same_voters(changed, &c->control.membership_before))
	{
		*waits_for = c->membership_end;
		return false;
	}
	if (!alone && !majority_has(c, c->reign_start))
	{
		*waits_for = c->reign_start;
		return false;
	}
	return true;
}

/*
 * Primary: put a changed membership in force.  Raises its version; a rule for two
 * voters ends when there are not two.  False if this node may not change it now,
 * see coordinator_may_change_membership().
 */
bool
coordinator_change_membership(Coordinator *c, const Membership *changed)
{
	Membership *m = &c->control.membership;
	StreamPos	waits_for;
	bool		rule_ends = changed->rule != RULE_STRICT && voters_of(changed) != 2;

	if (!coordinator_may_change_membership(c, changed, &waits_for))
		return false;
	if (c->control.membership_committed)
		c->control.membership_before = *m;
	c->control.membership_committed = false;
	{
		uint64		version = m->version + 1;

		*m = *changed;
		m->version = version;
	}
	if (rule_ends)
	{
		m->rule = RULE_STRICT;
		m->designated = 0;
	}
	hold_shipping(c, true);
	coordinator_save(c);
	c->membership_end = append_membership_frame(c);
	tell_consensus(c);
	hold_shipping(c, false);
	if (rule_ends)
		coordinator_note(c, "member", "the group has not exactly two voters: its rule is strict again");
	coordinator_commit_membership(c);
	return true;
}

/*
 * A reign begins: the TERM frame, which ends there, carries the membership.
 */
void
coordinator_reign_begins(Coordinator *c, StreamPos term_frame_end)
{
	c->reign_start = term_frame_end;
	c->membership_end = term_frame_end;
}

static void
note_committed(Coordinator *c)
{
	ConsensusEvent e = {EV_MEMBERSHIP_COMMITTED};

	c->control.membership_committed = true;
	coordinator_save(c);
	if (c->running)
		coordinator_event(c, &e);
	coordinator_publish_members(c);
}

/*
 * Can nobody who lacks the latest change be elected by what was in force before it?
 * Not each majority of the new members sees to that: the designated one of the old
 * was enough by itself.  A reign by force does not ask.
 */
static bool
old_members_are_bound(Coordinator *c)
{
	const Membership *before = &c->control.membership_before;
	ConsensusMembership voters;
	uint16		ids[CONSENSUS_MAX_MEMBERS];
	int			n = 0;

	if (c->forced_reign)
		return true;
	for (int i = 0; i < before->count; i++)
		if (has_flushed(c, before->members[i].voter.id, c->membership_end))
			ids[n++] = before->members[i].voter.id;
	membership_voters(before, &voters);
	return consensus_blocks(&voters, ids, n);
}

/*
 * Primary: is the latest change acknowledged by so many that it stays?  Then it is
 * committed.
 */
void
coordinator_commit_membership(Coordinator *c)
{
	if (c->control.membership_committed || !c->running || c->consensus.role != ROLE_PRIMARY ||
		!majority_has(c, c->membership_end) || !old_members_are_bound(c))
		return;
	note_committed(c);
}

/* ---- the others ---- */

static bool
same_membership(const Membership *a, const Membership *b)
{
	StreamBuf	x = {0};
	StreamBuf	y = {0};
	bool		same;

	membership_encode(a, &x);
	membership_encode(b, &y);
	same = !x.failed && !y.failed && x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
	stream_buf_free(&x);
	stream_buf_free(&y);
	return same;
}

static void
adopt(Coordinator *c, const Membership *m)
{
	Membership *known = palloc(sizeof(Membership));

	*known = c->control.membership;
	c->control.membership = *m;
	coordinator_save(c);
	coordinator_note_members(c, known);
	tell_consensus(c);
}

/*
 * Take over what the primary of this node's term tells.  It knows best: a change
 * that an earlier primary could not commit goes, even if its version is higher.
 */
static void
take_told(Coordinator *c, const MembershipOffer *offer)
{
	ControlData *control = &c->control;
	bool		same = same_membership(&offer->membership, &control->membership);

	if (offer->term != c->consensus.durable.term || c->consensus.role == ROLE_PRIMARY ||
		(c->told_term == offer->term && offer->membership.version < control->membership.version))
		return;
	c->told_term = offer->term;
	if (same && offer->committed)
	{
		if (!control->membership_committed)
			note_committed(c);
		return;
	}
	if (same && !control->membership_committed &&
		same_membership(&offer->before, &control->membership_before))
		return;
	control->membership_before = offer->before;
	control->membership_committed = offer->committed;
	adopt(c, &offer->membership);
}

/* A newer membership was seen; whether it is committed the primary will tell. */
static void
take_seen(Coordinator *c, const MembershipOffer *offer)
{
	if (offer->membership.version <= c->control.membership.version ||
		c->consensus.role == ROLE_PRIMARY)
		return;
	if (c->control.membership_committed)
		c->control.membership_before = c->control.membership;
	c->control.membership_committed = false;
	adopt(c, &offer->membership);
}

/*
 * Adopt the membership that came by handshake, in the stream, or from the primary.
 */
void
coordinator_adopt_membership(Coordinator *c)
{
	NodeShared *node = c->node;
	MembershipOffer *offer = NULL;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	if (node->offered.waiting)
	{
		offer = palloc(sizeof(MembershipOffer));
		*offer = node->offered;
		node->offered.waiting = false;
	}
	LWLockRelease(&node->state_lock);
	if (offer == NULL)
		return;

	if (membership_find(&offer->membership, c->control.self) == NULL)
	{
		if (offer->membership.version > c->control.membership.version &&
			(offer->term == 0 || offer->committed) && c->control.intent != INTENT_DETACHED)
			coordinator_detach(c, "the group has removed it; baton.leave_group(force => true) makes it an ordinary database");
	}
	else if (offer->term != 0)
		take_told(c, offer);
	else
		take_seen(c, offer);

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	node->offered.taken = offer->id;
	LWLockRelease(&node->state_lock);
	ConditionVariableBroadcast(&node->state_cv);
}

/* ---- members that join ---- */

/*
 * Has a joining member its copy, and has it caught up?  A node that was made
 * primary by force before it was a full member is one.  An arbiter has no tables.
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
	joined = peer != NULL && peer->link == LINK_STREAMING && peer->state == NODE_REPLICA &&
		(member->voter.type == CONSENSUS_ARBITER ? peer->flushed : peer->applied) + CAUGHT_UP >= flushed;
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
