/*
 * terms.h - which term each part of a log is of, as far back as is remembered.
 *
 * The log's old segments go away, and with them the frames that name their terms; a
 * position that somebody has kept can then not be looked up any more.  So the tail
 * remembers where each term's first frame begins, and the control file keeps that, as
 * PostgreSQL keeps the history of its timelines.  Of the latest STREAM_TERMS_MAX terms:
 * what is older is unknown, and nothing is ever said that is not known.
 */
#ifndef BATON_TERMS_H
#define BATON_TERMS_H

#include "stream/frame.h"

#define STREAM_TERMS_MAX	32

typedef struct StreamTerms
{
	int			n;
	struct
	{
		uint64		term;
		StreamPos	start;		/* frames from here up to the next one's start are of it */
	}			part[STREAM_TERMS_MAX]; /* rising, without a gap between them */
} StreamTerms;

/* Take note of a frame: the one behind the log's last, or one that lies in it. */
extern void stream_terms_note(StreamTerms *t, const FrameHeader *h);

/* What begins at pos or behind it is not known to be so. */
extern void stream_terms_cut(StreamTerms *t, StreamPos pos);

/*
 * The log ends, or begins, at pos, behind the frame (last_start, last_term); 0, 0: there
 * is none.  What is remembered of more is forgotten, and all if it says otherwise of
 * that frame.
 */
extern void stream_terms_end(StreamTerms *t, StreamPos pos, StreamPos last_start,
							 uint64 last_term);

/* Term of the frame that holds pos or ends there, for a pos at or before the log's
 * end; 0: not known. */
extern uint64 stream_terms_at(const StreamTerms *t, StreamPos pos);

/* Room for stream_terms_print(). */
#define STREAM_TERMS_TEXT_LEN	(STREAM_TERMS_MAX * 42 + 1)

/* As text, for a node that joins: "term:start term:start ...", in decimal. */
extern void stream_terms_print(const StreamTerms *t, char out[STREAM_TERMS_TEXT_LEN]);
/* Returns false, with nothing known, for what is no such text. */
extern bool stream_terms_parse(const char *text, StreamTerms *t);

#endif							/* BATON_TERMS_H */
