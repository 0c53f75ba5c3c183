/*
 * upkeep.c - what the coordinator does once a second: marks in the control file,
 * old segments, the slot's limit, members that have caught up.
 */
#include "node/coordinator.h"

#include "access/xlog.h"
#include "capture/slot.h"
#include "replication/message.h"

#define UPKEEP_INTERVAL_MS	1000
#define SLOT_CHECK_TURNS	10

/* A replica keeps this much of the log behind its applied place, so that as the
 * next primary it can feed the others. */
#define REPLICA_MARGIN		((uint64) 256 * 1024 * 1024)

/*
 * Renew the lazy marks.  On a primary all of its log is in its own tables, and
 * applied follows the end of the log.
 */
static void
renew_marks(Coordinator *c)
{
	NodeShared *node = c->node;
	StreamTail	tail;
	uint64		source_lsn;
	StreamPos	applied;
	bool		leads = c->consensus.role == ROLE_PRIMARY && c->term_end == 0;
	bool		peers;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	tail = node->tail;
	source_lsn = node->flushed_source_lsn;
	LWLockRelease(&node->log_lock);

	SpinLockAcquire(&node->mutex);
	if (leads)
		node->applied = tail.flushed;
	applied = node->applied;
	SpinLockRelease(&node->mutex);

	peers = coordinator_renew_peer_marks(c);
	if (!peers && c->control.known_flushed == tail.flushed && c->control.own_lsn == source_lsn &&
		(!leads || c->control.applied_floor == applied) && !c->marks_failed)
		return;
	c->control.known_flushed = tail.flushed;
	c->control.terms = tail.terms;
	c->control.own_lsn = source_lsn;
	if (leads)
		c->control.applied_floor = applied;
	if (coordinator_save_marks(c) && peers)
		coordinator_publish_peer_marks(c);
}

/* The first position that somebody still needs. */
static StreamPos
keep_from(Coordinator *c, const StreamTail *tail)
{
	NodeShared *node = c->node;
	uint64		limit = (uint64) baton_stream_keep_size * 1024 * 1024;
	StreamPos	floor = tail->flushed > limit ? tail->flushed - limit : 0;
	StreamPos	keep;

	SpinLockAcquire(&node->mutex);
	keep = node->applied;
	if (node->apply_keep != 0)
		keep = Min(keep, node->apply_keep);
	SpinLockRelease(&node->mutex);

	if (c->consensus.role == ROLE_PRIMARY)
	{
		LWLockAcquire(&node->peer_lock, LW_SHARED);
		for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
			if (node->peers[i].id != 0)
				keep = Min(keep, node->peers[i].flushed);
		LWLockRelease(&node->peer_lock);
		/* a slow replica loses its place before the disk is full */
		return Max(keep, floor);
	}
	/* an arbiter keeps what a member may yet fetch from it */
	if (coordinator_is_arbiter(c))
		return floor;
	/* what is not applied here is kept whatever its size */
	limit = Min(limit, REPLICA_MARGIN);
	floor = tail->flushed > limit ? tail->flushed - limit : 0;
	return Min(keep, floor);
}

static void
remove_old_segments(Coordinator *c)
{
	NodeShared *node = c->node;
	StreamTail	tail = node_log_tail(node);
	StreamPos	keep = keep_from(c, &tail);
	StreamError err = {0};
	StreamCode	code = STREAM_OK;

	if (keep < tail.start + STREAM_SEGMENT_SIZE)
		return;
	/* what was applied from there was committed asynchronously, and could not be read again */
	if (!coordinator_is_arbiter(c))
		XLogFlush(baton_log_marker("baton"));
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (node->log_ready)
		code = stream_remove_before(c->writer.directory, &node->tail, keep, &err);
	LWLockRelease(&node->log_lock);
	if (code != STREAM_OK)
		ereport(LOG,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not remove old segments of the stream log: %s", err.message)));
}

/* A lost slot makes the node useless as a future primary: say so, once. */
static void
check_slot(Coordinator *c)
{
	if (c->control.slot_name[0] == '\0' || c->control.intent == INTENT_COPYING)
		return;
	if (!capture_slot_enforce_keep_size(c->node))
		return;
	coordinator_cannot_follow(c, "its replication slot held back more WAL than baton.slot_keep_size and was dropped");
}

/*
 * Take the node out of service, for a person to look at.  why: see
 * baton.status.reason.
 */
void
coordinator_detach(Coordinator *c, const char *why)
{
	coordinator_stop_consensus(c);
	coordinator_drop_sync_name(c);
	c->control.intent = INTENT_DETACHED;
	c->control.was_primary = false;
	strlcpy(c->control.reason, why, BATON_REASON_LEN);
	coordinator_save(c);
	coordinator_note(c, "detached", "out of service: %s", why);
	coordinator_publish(c);
}

/* May messages about sequences and roles go into the stream? */
bool
coordinator_tells_sequences(Coordinator *c)
{
	return c->consensus.role == ROLE_PRIMARY && c->term_end == 0 && c->failover.phase < PHASE_FLUSH &&
		c->shutdown.phase == SHUTDOWN_NOT && !coordinator_is_arbiter(c);
}

/*
 * Who asks while roles are looked at must wait for the next look: its position is to
 * cover what was committed before it asked.
 */
bool
coordinator_tell(Coordinator *c, bool urgent)
{
	uint64		asked;
	bool		wanted = sequences_wanted(c->node, &asked);

	roles_publish(c->roles, urgent || wanted);
	return sequences_publish(c->sequences, asked);
}

/*
 * A worker that applies may have been started before it was known who leads, so what is
 * prepared goes again once this node follows somebody.
 */
static void
end_prepared(Coordinator *c)
{
	uint64		term = c->consensus.durable.term;

	if (c->consensus.role != ROLE_REPLICA || c->followed_term == term)
		return;
	c->followed_term = term;
	coordinator_roll_back_prepared(c);
}

/*
 * Once a second (next_upkeep = 0: at once).
 */
void
coordinator_upkeep(Coordinator *c)
{
	uint64		now = boot_ms();

	if (now < c->next_upkeep)
		return;
	c->next_upkeep = now + UPKEEP_INTERVAL_MS;
	if (!c->node->log_ready || c->control.intent == INTENT_COPYING)
		return;
	renew_marks(c);
	end_prepared(c);
	remove_old_segments(c);
	coordinator_drop_old_origins(c);
	if (coordinator_tells_sequences(c))
		(void) coordinator_tell(c, false);
	if (++c->upkeep_turn % SLOT_CHECK_TURNS == 0)
		check_slot(c);
}
