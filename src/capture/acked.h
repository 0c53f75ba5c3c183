/*
 * acked.h - how far own commits are acknowledged: from what the shipper counts in the
 * stream to what sessions wait for in WAL.
 */
#ifndef BATON_ACKED_H
#define BATON_ACKED_H

#include "baton.h"

#include "capture/capture_link.h"

/*
 * Capture: a conversation, or the reign `term` (0: this node does not lead), begins.
 * Own commits up to lsn lie in the log before pos, or were filtered out.
 */
extern void acked_begin(NodeShared *node, uint64 term, StreamPos pos, XLogRecPtr lsn);

/*
 * Capture: own commits up to lsn are flushed in the log, or have no place in it.
 * pos: the log was flushed up to there, with all of them in it; 0: it was not.
 */
extern void acked_note(NodeShared *node, StreamPos pos, XLogRecPtr lsn);

/*
 * Capture and shipper: look what the group has acknowledged, publish it in NodeShared,
 * and let the sessions go that wait for no more.  False if only the walsender can let
 * them go: capture is to tell it.
 */
extern bool acked_follow(NodeShared *node);

/* What the walsender may be told: never less than it was told before. */
extern void acked_status(NodeShared *node, const LinkStatus *told, LinkStatus *out);

#endif							/* BATON_ACKED_H */
