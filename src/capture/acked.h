/*
 * acked.h - how far own commits are acknowledged, for capture to answer with.
 */
#ifndef BATON_ACKED_H
#define BATON_ACKED_H

#include "baton.h"

#include "capture/ack_map.h"
#include "capture/capture_link.h"

/* One map for each level: each is taken out of at its own pace. */
typedef struct Acked
{
	AckMap		write;
	AckMap		flush;
	AckMap		apply;
	LinkStatus	status;			/* own commits that are acknowledged */
} Acked;

/*
 * A conversation, or a reign, begins: own commits up to lsn lie in the log before
 * pos, or were filtered out.
 */
extern void acked_begin(Acked *a, StreamPos pos, XLogRecPtr lsn);
/* The log was flushed up to pos, with own commits up to lsn in it. */
extern void acked_note(Acked *a, StreamPos pos, XLogRecPtr lsn);

/*
 * Look what the group has acknowledged in `term` (0: this node does not lead) and
 * publish it in NodeShared.  captured: own commits up to there are flushed in the
 * log.  *out is what the walsender may be told.
 */
extern void acked_follow(Acked *a, NodeShared *node, uint64 term, XLogRecPtr captured,
						 LinkStatus *out);

#endif							/* BATON_ACKED_H */
