/*
 * acked.c - from what the shipper has counted to what the walsender is told.
 *
 * The shipper publishes how far the stream is acknowledged (ack_write, ack_flush,
 * ack_apply).  What is told to the walsender are places in the own WAL; the maps
 * lead from one to the other.  When nothing is outstanding all that was received
 * is acknowledged: commits without changes that baton decodes, of this database or
 * of others, have no place in the stream, and wait only for what was before them.
 *
 * Without a policy, and on a node that does not lead, commits wait for the own log
 * alone.  But acked_write and its kind, which a session looks at before it believes
 * that its commit was acknowledged (failover/commit_guard.c), only ever say what the
 * policy in force has found, so a node that has lost its lead raises them not.
 *
 * They are published before the walsender hears of it: whoever it releases finds
 * its commit there.
 */
#include "capture/acked.h"

static void
map_begin(AckMap *map, StreamPos pos, XLogRecPtr lsn)
{
	map->n = 0;
	map->stride = 1;
	ack_map_note(map, pos, lsn);
}

void
acked_begin(Acked *a, StreamPos pos, XLogRecPtr lsn)
{
	map_begin(&a->write, pos, lsn);
	map_begin(&a->flush, pos, lsn);
	map_begin(&a->apply, pos, lsn);
	memset(&a->status, 0, sizeof(a->status));
}

void
acked_note(Acked *a, StreamPos pos, XLogRecPtr lsn)
{
	ack_map_note(&a->write, pos, lsn);
	ack_map_note(&a->flush, pos, lsn);
	ack_map_note(&a->apply, pos, lsn);
}

static XLogRecPtr
level(AckMap *map, StreamPos place, XLogRecPtr captured, XLogRecPtr before)
{
	XLogRecPtr	lsn = ack_map_take(map, place);

	return Max(before, map->n == 0 ? captured : lsn);
}

static void
publish(Acked *a, NodeShared *node)
{
	SpinLockAcquire(&node->mutex);
	node->acked_write = Max(node->acked_write, a->status.write);
	node->acked_flush = Max(node->acked_flush, a->status.flush);
	node->acked_apply = Max(node->acked_apply, a->status.apply);
	SpinLockRelease(&node->mutex);
}

void
acked_follow(Acked *a, NodeShared *node, uint64 term, XLogRecPtr captured, LinkStatus *out)
{
	LinkStatus	before = a->status;
	StreamPos	write = 0,
				flush = 0,
				apply = 0;

	out->write = out->flush = out->apply = captured;
	if (term == 0)
		return;
	if (pg_atomic_read_u32(&node->ack_policy) == ACK_NONE)
		write = flush = apply = PG_UINT64_MAX;
	else
	{
		SpinLockAcquire(&node->mutex);
		if (node->ack_term == term)
		{
			write = node->ack_write;
			flush = node->ack_flush;
			apply = node->ack_apply;
		}
		SpinLockRelease(&node->mutex);
	}
	a->status.write = level(&a->write, write, captured, before.write);
	a->status.flush = level(&a->flush, flush, captured, before.flush);
	a->status.apply = level(&a->apply, apply, captured, before.apply);
	if (memcmp(&before, &a->status, sizeof(before)) != 0)
		publish(a, node);
	*out = a->status;
}
