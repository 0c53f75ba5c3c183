/*
 * acked.c - from what the shipper has counted to the sessions that wait.
 *
 * The shipper publishes how far the stream is acknowledged (ack_write, ack_flush,
 * ack_apply).  What sessions wait for, and what is told to the walsender, are places
 * in the own WAL; the maps lead from one to the other.  When nothing is outstanding all
 * that was received is acknowledged: commits without changes that baton decodes, of
 * this database or of others, have no place in the stream, and wait only for what was
 * before them.
 *
 * Whoever finds that more is acknowledged lets the sessions go, with no detour through
 * another process: the shipper when answers come, capture when its own flush was what
 * was missing, or when nothing is outstanding.  Where synchronous_standby_names is not
 * baton's own value alone, that is the walsender's, which knows of the other names.
 *
 * Without a policy, and on a node that does not lead, commits wait for the own log
 * alone.  But acked_write and its kind, which a session looks at before it believes
 * that its commit was acknowledged (failover/commit_guard.c), only ever say what the
 * policy in force has found, so a node that has lost its lead raises them not.
 *
 * They are published before anybody is let go, or the walsender hears of it: whoever
 * is released finds its commit there.
 */
#include "capture/acked.h"

#include "capture/release.h"

static void
map_begin(AckMap *map, StreamPos pos, XLogRecPtr lsn)
{
	map->n = 0;
	map->stride = 1;
	ack_map_note(map, pos, lsn);
}

void
acked_begin(NodeShared *node, uint64 term, StreamPos pos, XLogRecPtr lsn)
{
	Acked	   *a = &node->acked;

	LWLockAcquire(&node->ack_lock, LW_EXCLUSIVE);
	a->term = term;
	a->captured = lsn;
	for (int i = 0; i < ACKED_LEVELS; i++)
	{
		map_begin(&a->map[i], pos, lsn);
		a->lsn[i] = 0;
	}
	LWLockRelease(&node->ack_lock);
}

void
acked_note(NodeShared *node, StreamPos pos, XLogRecPtr lsn)
{
	Acked	   *a = &node->acked;

	LWLockAcquire(&node->ack_lock, LW_EXCLUSIVE);
	a->captured = lsn;
	for (int i = 0; pos != 0 && i < ACKED_LEVELS; i++)
		ack_map_note(&a->map[i], pos, lsn);
	LWLockRelease(&node->ack_lock);
}

/* Places of the stream that are acknowledged in `term`; what is not known is 0. */
static void
look(NodeShared *node, uint64 term, StreamPos place[ACKED_LEVELS])
{
	bool		waits = term != 0 && pg_atomic_read_u32(&node->ack_policy) != ACK_NONE;

	for (int i = 0; i < ACKED_LEVELS; i++)
		place[i] = waits ? 0 : PG_UINT64_MAX;
	SpinLockAcquire(&node->mutex);
	if (waits && node->ack_term == term)
	{
		place[ACKED_WRITE] = node->ack_write;
		place[ACKED_FLUSH] = node->ack_flush;
		place[ACKED_APPLY] = node->ack_apply;
	}
	SpinLockRelease(&node->mutex);
}

/* True if there is something new. */
static bool
advance(Acked *a, const StreamPos place[ACKED_LEVELS])
{
	bool		moved = false;

	for (int i = 0; i < ACKED_LEVELS; i++)
	{
		XLogRecPtr	lsn = ack_map_take(&a->map[i], place[i]);

		if (a->map[i].n == 0)
			lsn = a->captured;
		moved |= lsn > a->lsn[i];
		a->lsn[i] = Max(a->lsn[i], lsn);
	}
	return moved;
}

bool
acked_follow(NodeShared *node)
{
	Acked	   *a = &node->acked;
	StreamPos	place[ACKED_LEVELS];
	XLogRecPtr	lsn[ACKED_LEVELS];
	bool		moved;

	LWLockAcquire(&node->ack_lock, LW_EXCLUSIVE);
	look(node, a->term, place);
	moved = advance(a, place);
	memcpy(lsn, a->lsn, sizeof(lsn));
	if (moved && a->term != 0)
	{
		SpinLockAcquire(&node->mutex);
		node->acked_write = Max(node->acked_write, lsn[ACKED_WRITE]);
		node->acked_flush = Max(node->acked_flush, lsn[ACKED_FLUSH]);
		node->acked_apply = Max(node->acked_apply, lsn[ACKED_APPLY]);
		SpinLockRelease(&node->mutex);
	}
	LWLockRelease(&node->ack_lock);
	return !moved || release_sessions(node, lsn);
}

void
acked_status(NodeShared *node, const LinkStatus *told, LinkStatus *out)
{
	const Acked *a = &node->acked;

	LWLockAcquire(&node->ack_lock, LW_SHARED);
	out->write = Max(told->write, a->lsn[ACKED_WRITE]);
	out->flush = Max(told->flush, a->lsn[ACKED_FLUSH]);
	out->apply = Max(told->apply, a->lsn[ACKED_APPLY]);
	LWLockRelease(&node->ack_lock);
}
