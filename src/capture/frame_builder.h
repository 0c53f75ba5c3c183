/*
 * frame_builder.h - collects records into frames.
 *
 * Takes the output plugin's bytes as they come and gives whole loads of records
 * for one frame each to whoever appends them.  On the way it
 *
 *   - splits a record that no frame can hold into PART records, piece by piece,
 *     without ever having it in memory as a whole,
 *   - keeps track of the transactions that are open in the stream and writes the
 *     place of the oldest one into each COMMIT,
 *   - takes out the WAL marker: a message outside of transactions with the prefix
 *     "baton", which only moves received_lsn.
 *
 * Server-free, like stream/: it returns codes.
 */
#ifndef BATON_FRAME_BUILDER_H
#define BATON_FRAME_BUILDER_H

#include "stream/frame.h"
#include "stream/record.h"

/* Prefix of the message that marks a place in the WAL. */
#define WAL_MARKER_PREFIX "baton"

/* The records of one frame. */
typedef struct BuiltFrame
{
	const char *records;
	uint32		len;
	uint32		n_commits;
	uint64		source_lsn;		/* see frame.h */
	uint64		first_commit_lsn;	/* commit LSN of its first COMMIT, 0 if it has none */
	bool		urgent;			/* see FrameBuilder */
	uint64		sequence_lsn;	/* if it has nothing but states of sequences: the last one's LSN, else 0 */
} BuiltFrame;

/* Append a frame to the log; anything but STREAM_OK ends frame_builder_add(). */
typedef StreamCode (*FrameEmitter) (void *arg, const BuiltFrame *frame, StreamError *err);
/* A place in the log, border of a frame, before which no frame to come begins. */
typedef StreamPos (*FrameFloor) (void *arg);

typedef struct OpenTransaction
{
	uint32		xid;
	StreamPos	first;			/* at or before the frame with its first record */
} OpenTransaction;

typedef struct FrameBuilder
{
	FrameEmitter emit;
	FrameFloor	floor;
	void	   *arg;

	StreamBuf	frame;			/* records of the frame being filled */
	uint32		n_commits;		/* COMMITs in it */
	uint64		first_commit_lsn;
	bool		urgent;			/* it holds what must be flushed before received_lsn is
								 * true: a COMMIT, a message or a sequence's
								 * state outside of transactions */
	uint64		sequence_lsn;	/* of the last state of a sequence in it */
	bool		mixed;			/* it has other records, too */
	StreamPos	frame_floor;	/* at or before the place it will get */
	uint64		source_lsn;		/* end of the last COMMIT or message so far */
	uint64		received_lsn;	/* the same, markers included */

	StreamBuf	partial;		/* first bytes of a record that has not come whole */
	uint64		long_left;		/* bytes to come of a record that goes out in parts */
	uint64		long_lsn;		/* if that is a message: its LSN, else 0 */
	uint64		sequence_floor; /* sequences' states before this LSN are another primary's */

	OpenTransaction *open;		/* oldest first */
	int			n_open;
	int			max_open;
} FrameBuilder;

/* Empty it, for a new conversation whose commits up to source_lsn are in the log. */
extern void frame_builder_reset(FrameBuilder *b, uint64 source_lsn);
extern void frame_builder_free(FrameBuilder *b);

/*
 * Take the next bytes.  Returns STREAM_OK, what emit returned, STREAM_CORRUPT for
 * bytes that are no records, or STREAM_NOMEM; after a failure the builder must be
 * reset.
 */
extern StreamCode frame_builder_add(FrameBuilder *b, const char *bytes, size_t len,
									StreamError *err);

/* Emit what has been collected, if anything. */
extern StreamCode frame_builder_finish(FrameBuilder *b, StreamError *err);

/* Place of the oldest transaction that is open in the stream, 0 if none is. */
extern StreamPos frame_builder_oldest_open(const FrameBuilder *b);

/* Whether a transaction is open, or records wait to be emitted. */
extern bool frame_builder_busy(const FrameBuilder *b);

#endif							/* BATON_FRAME_BUILDER_H */
