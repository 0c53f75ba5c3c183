/*
 * log.h - the stream log of one node: segment files, writer, reader.
 *
 * Segments lie in <directory>/ and are named by the stream position at which
 * they start, sixteen hex digits and ".seg".  A frame never spans two segments:
 * a segment ends when the next frame would take it beyond STREAM_SEGMENT_SIZE,
 * and the next one is named by the position reached.  (Two nodes may cut their
 * segments at different places; positions and frames are the same.)
 *
 * The last segment.  Behind its frames lie zeros, up to the file's end: the file
 * grows in steps of STREAM_GROWTH, because an fdatasync that has to write down a
 * new length costs a journal's commit on top of the data.  Appends of more than
 * STREAM_SMALL_APPEND bytes, whose flush is expensive anyway, let the file grow by
 * what they write, so that a bulk load does not write twice.  So the log ends at the
 * first place where no valid frame continues it, and
 *
 *   - if there are only zeros up to the file's end, or nothing, all is well;
 *   - anything else is what a crash has left of an append: a torn end.
 *
 * No bytes that were ever a frame's are left behind the end, or they could be taken
 * for the log's continuation once other frames, of the same lengths, lie before
 * them: what is cut off, torn or left by an append that failed goes away by
 * shortening the file, before anything is written in its place.  When a segment is
 * finished its zeros are cut off too: all but the last are exactly as long as the
 * distance to the next one's name.
 *
 * Durability: a new segment file is created, fsynced and its directory fsynced
 * before the first frame goes into it; the old segment is fsynced before the new
 * one is created.  So damage before the last segment is never the trace of a
 * crash.  Within the last segment, whatever lies at or before `known_flushed`
 * (from the control file) was flushed once; damage there is corruption, damage
 * behind it is a torn tail and is cut off.
 */
#ifndef BATON_LOG_H
#define BATON_LOG_H

#include "stream/terms.h"

#define STREAM_SEGMENT_SIZE (16 * 1024 * 1024)
/* The last segment's file is made this much longer at a time, with zeros ... */
#define STREAM_GROWTH		(1024 * 1024)
/* ... by an append of no more bytes than this. */
#define STREAM_SMALL_APPEND	(64 * 1024)

/*
 * The state of a log that several processes append to in turn.  It lives in
 * shared memory (or in a test's variable); whoever calls the writer holds the
 * lock that protects it.
 */
typedef struct StreamTail
{
	StreamPos	start;			/* first position that is still kept */
	StreamPos	segment;		/* start of the segment being written */
	StreamPos	end;			/* where the next frame goes */
	StreamPos	flushed;		/* all before it survives a crash of the machine */
	StreamPos	last_start;		/* start of the last frame; 0 with last_term 0: none */
	uint64		last_term;		/* term of the last frame */
	StreamTerms terms;			/* terms of the frames before, removed ones among them */
	uint64		cuts;			/* rises with each stream_truncate: what was read or
								 * flushed beside the lock before it may be void */
	bool		litter;			/* an append has failed and could not be undone: there
								 * may be more than zeros behind `end` */
	bool		broken;			/* an fsync or a cut has failed: what lies behind `flushed`
								 * cannot be trusted, open the log anew */
} StreamTail;

/* One process's open file for appending; zeroed memory plus directory is ready. */
typedef struct StreamWriter
{
	char		directory[1024];
	int			fd;				/* valid if is_open */
	bool		is_open;
	StreamPos	segment;		/* which segment fd is */
} StreamWriter;

/* A log that begins at `start` behind a frame (last_start, last_term); makes the
 * directory and the first segment, durably.  The directory must hold no segments. */
extern StreamCode stream_log_create(const char *directory, StreamPos start,
									StreamPos last_start, uint64 last_term,
									StreamTail *tail, StreamError *err);

typedef void (*StreamFrameVisitor) (const FrameHeader *h, void *arg);

/*
 * Open a log after a restart: check every frame of the last segments from
 * `check_from` (or the log's start, if later) on, cut a torn tail off, fill in
 * tail.  visit (may be NULL) is called for each good frame that was checked.
 * An empty last segment takes (last_start, last_term) from the segment before,
 * or from base_last_start/base_last_term when it is the only one.
 * The zeros behind the end go away as well, and that is no cut.
 * terms (may be NULL): those of the frames up to check_from, as they were noted when the
 * log had been flushed up to there.
 *
 * Returns STREAM_OK; STREAM_CORRUPT with position and reason (nothing has been
 * changed), also if there is no segment; STREAM_IO; STREAM_NOMEM.  *cut is the
 * length of the torn end that was cut off, up to its last byte that is not zero.  tail->cuts starts at 0 again.
 */
extern StreamCode stream_log_open(const char *directory, StreamPos known_flushed,
								  StreamPos check_from,
								  StreamPos base_last_start, uint64 base_last_term,
								  const StreamTerms *terms,
								  StreamFrameVisitor visit, void *arg,
								  StreamTail *tail, uint64 *cut, StreamError *err);

/*
 * Append whole frames (header + payload, one or more, back to back), which must
 * continue the log: the first starts at tail->end and names the last frame as
 * its previous.  Written, not flushed.
 *
 * Returns STREAM_OK; STREAM_MISMATCH for frames that are damaged, incomplete, of
 * a lower term or do not continue the log, and all is as it was; STREAM_IO
 * (no space, usually) or STREAM_NOMEM: the tail is as it was, and the next
 * append overwrites what was written of this one.  STREAM_IO with tail->broken
 * set (and at every call from then on): the log must be opened anew.
 */
extern StreamCode stream_append(StreamWriter *w, StreamTail *tail,
								const char *frames, size_t len, StreamError *err);

/*
 * fdatasync the segment that is being written.  The caller reads *flush_to =
 * tail->end under the lock, calls this without it, and then raises
 * tail->flushed to flush_to under the lock.  (Earlier segments were fsynced at
 * their end.)  segment: tail->segment as read together with flush_to.
 *
 * Do not raise tail->flushed if tail->cuts is not what it was when flush_to was
 * read (flush_to means nothing after a cut), or if tail->broken is set.  Returns
 * STREAM_OK; STREAM_GONE if the segment was cut off meanwhile; STREAM_IO: the
 * kernel may have dropped what was written, a second fsync would hide it: the
 * caller sets tail->broken under the lock.
 */
extern StreamCode stream_flush(StreamWriter *w, StreamPos segment, StreamError *err);

/*
 * Cut the log at `pos`, a frame border at which a frame (last_start, last_term)
 * ends: later segments are removed, newest first, then the segment that holds
 * pos is truncated and fsynced.  A crash in between leaves a log that is longer.
 * Everything that is left is flushed.
 *
 * Returns STREAM_OK; STREAM_MISMATCH if pos is not within the log (nothing is
 * changed); STREAM_IO or STREAM_NOMEM: tail->broken is set.
 */
extern StreamCode stream_truncate(StreamWriter *w, StreamTail *tail, StreamPos pos,
								  StreamPos last_start, uint64 last_term, StreamError *err);

/*
 * Remove whole segments that lie before keep_from, oldest first; never the one
 * being written.  Sets tail->start.  It only unlinks files that nobody appends to,
 * so it may work on a copy of the tail without the lock.
 * Returns STREAM_OK, STREAM_IO or STREAM_NOMEM; tail->start is right in any case.
 */
extern StreamCode stream_remove_before(const char *directory, StreamTail *tail,
									   StreamPos keep_from, StreamError *err);

/* Remove every segment of the directory, newest first; STREAM_OK also if there is none. */
extern StreamCode stream_log_destroy(const char *directory, StreamError *err);

extern void stream_writer_close(StreamWriter *w);

/*
 * Reading, frame by frame.  A reader keeps one file open and one frame in
 * memory; zeroed memory plus directory is ready.
 */
typedef struct StreamReader
{
	char		directory[1024];
	int			fd;
	bool		is_open;
	StreamPos	segment;
	StreamBuf	frame;			/* the bytes of the frame read last */
	StreamBuf	scratch;		/* its records if it was compressed */
	FrameCodec	codec;
	size_t		guess;			/* how much to read at once: what the last frame needed */
} StreamReader;

/*
 * Read the frame that starts at pos.  limit: the end of what may be read
 * (tail->flushed or end).  Returns STREAM_OK with *h and, if records is not
 * NULL, its records (valid until the next call); STREAM_END at limit and
 * beyond; STREAM_GONE; STREAM_CORRUPT (below limit every frame must be whole);
 * STREAM_IO; STREAM_NOMEM.  The raw frame is in reader->frame.
 *
 * Nothing is kept from one call to the next but the open file, so a reader may
 * stay open over cuts.  Whoever reads beside the lock and meets an error, or
 * acts on a frame, looks at tail->cuts first where cuts are possible.
 */
extern StreamCode stream_read(StreamReader *r, StreamPos pos, StreamPos limit,
							  FrameHeader *h, const char **records, StreamError *err);

/*
 * Find the frame that holds pos (start <= pos < end), or with pos = limit the
 * one that ends there.  Walks headers from the start of pos's segment and checks
 * the frame found, which is in reader->frame then.
 * STREAM_OK; STREAM_END if pos is beyond limit, or the log is empty up to pos;
 * else as stream_read.
 */
extern StreamCode stream_find(StreamReader *r, StreamPos pos, StreamPos limit,
							  FrameHeader *h, StreamError *err);

extern void stream_reader_close(StreamReader *r);

#endif							/* BATON_LOG_H */
