/*
 * applier.h - the applier's state, and the parts that work on it.  Private to
 * apply/.
 */
#ifndef BATON_APPLIER_H
#define BATON_APPLIER_H

#include "apply/touched.h"

/* A place inside the stream up to which the applier has got. */
typedef struct ApplyCursor
{
	StreamPos	frame;			/* frame being read */
	size_t		offset;			/* next record, within the frame's records */
	uint32		commits;		/* COMMIT records before it in the frame */
} ApplyCursor;

/* A record that is split into PARTs, as far as it has been seen. */
typedef struct PartState
{
	bool		skipping;		/* its first PART came before the applier's first frame */
	bool		open;			/* more PARTs follow */
	size_t		len;			/* bytes seen */
	char		head[RECORD_HEADER_LEN + 4];	/* the first of them: header and xid */
	int			n_frames;		/* frames it lies in while its xid is not known */
	TransactionFrame frames[RECORD_HEADER_LEN + 4];
} PartState;

/* A message that is no transaction's: where it stands in the stream. */
typedef struct MessageMark
{
	uint64		term;			/* of its frame */
	StreamPos	frame;
	uint64		number;			/* offset among the frame's records */
} MessageMark;

typedef struct Applier
{
	NodeShared *node;
	MemoryContext cxt;			/* as long as the worker */
	StreamReader reader;
	StreamReader again;			/* reads frames of collected transactions once more */
	StreamBuf	record;			/* a record put together from PARTs */
	OpenTransactions *open;
	LocalTransaction local;

	/* where it stands */
	bool		positioned;
	ApplyCursor at;
	FrameHeader h;				/* of the frame being read */
	const char *records;		/* its records, NULL: not read yet */
	StreamPos	prev_start;		/* frame before at.frame, if prev_known */
	uint64		prev_term;
	bool		prev_known;
	bool		mid_record;		/* the frame begins inside a record in PARTs */
	PartState	part;

	/* what is done */
	StreamPos	done;			/* every COMMIT up to here is applied or skipped */
	uint64		done_term;		/* term of the frame with that COMMIT, 0: not known */
	StreamPos	done_keep;		/* frames from here on may be needed after a restart */
	StreamPos	heed_from;		/* frames before this place command nothing (FAILOVER) */

	/* while rows are out of their tables, see touched.h */
	bool		mending;		/* they are, and `mark` says how far */
	bool		mark_read;		/* baton.mending has been looked at */
	TouchedMark mark;

	/* messages that are no transaction's, see message.c */
	bool		message_mark_read;
	MessageMark message_mark;	/* the last one that was written */

	/* errors */
	StreamPos	trying;			/* COMMIT of the transaction being applied, 0: none */
	int			run_txns;		/* transactions of the stream in the local transaction */
	StreamPos	doubted;		/* frame that did not fit, for which the position was sought anew */
	StreamPos	careful_until;	/* up to here one transaction of the stream at a time */
	bool		build_first;	/* before the step is done again, all indexes are to be built ... */
	bool		built_first;	/* ... and that has been tried */
	int			quick_retries;	/* in a row, after conflicts with other sessions */
	char		error[BATON_ERROR_LEN]; /* logged last */
} Applier;

/* ---- applier.c ---- */

/* Settings under which transactions of the stream are carried out. */
extern void apply_set_session(void);
/* Raise what reading the stream has met, as an error of its place. */
pg_noreturn extern void applier_stream_error(StreamCode code, const StreamError *err);
/* The next record; false at the end. */
extern bool applier_next_record(StreamCursor *c, Record *r);

/* ---- collected.c ---- */

/* Note where a record lies; BEGIN makes its transaction one that is known from the start. */
extern void collected_note(Applier *a, const Record *r);
/* ABORT: of all transactions, of one, or of a subtransaction. */
extern void collected_abort(Applier *a, const Record *r);
/* A PART: note the frame for the transaction whose record it is a piece of. */
extern void collected_part(Applier *a, const Record *r);
/* The frame lies among those of a record in PARTs; bytes: the piece that it has of it. */
extern void collected_add_part_frame(Applier *a, const char *bytes, uint32 len);
/* Read the transaction's frames again, and apply its records. */
extern void collected_apply(Applier *a, OpenTransaction *txn);

/* ---- position.c ---- */

typedef struct ApplyBeginning
{
	StreamPos	frame;			/* where reading begins */
	StreamPos	done;			/* every COMMIT up to here is passed over */
	uint64		done_term;		/* term of the frame with that COMMIT, 0: not known */
} ApplyBeginning;

/* Where to begin to read, so that every transaction that commits behind mark, a
 * place in the log, is read from its beginning if the log holds that. */
extern void apply_find_beginning(StreamReader *reader, StreamPos mark, const StreamTail *tail,
								 ApplyBeginning *b);

/*
 * Find the frame where reading begins, see the head of position.c.  Raises
 * ERRCODE_DATA_CORRUPTED if the log does not hold what is needed.
 */
extern void applier_position(Applier *a);

/* ---- fill.c ---- */

/* Find out whether touched rows are out of their tables; before anything is applied. */
extern void applier_look_for_mark(Applier *a);
/* Must the fetched rows be in before this COMMIT, in a frame of this term, is applied? */
extern bool applier_fill_is_due(Applier *a, uint64 term, const RecordCommit *commit);
/* Put them in. */
extern void applier_fill(Applier *a);
/* The own reign begins: one that was forced in the middle of a mending ends that. */
extern void applier_reign_begins(Applier *a);

/* ---- message.c ---- */

/* A message that is no transaction's, at the cursor: into WAL, in a local transaction. */
extern void applier_write_message(Applier *a, const Record *r);

/* ---- publish.c ---- */

extern void applier_publish_running(Applier *a);
/* All before pos is applied; n_txns and n_rows more than last time, the last of
 * them committed at commit_time (0: none). */
extern void applier_publish(Applier *a, StreamPos pos, int n_txns, uint64 n_rows,
							TimestampTz commit_time);
/* pos replaces what was published, be it lower. */
extern void applier_publish_position(Applier *a, StreamPos pos);
extern void applier_publish_failover(Applier *a, const RecordFailover *failover);
extern void applier_withdraw_failover(Applier *a, uint64 term);
/* Take the error being raised, end the transaction, and publish it, unless it is
 * to be kept quiet; returns how long to wait before the next attempt, in ms. */
extern int	applier_failed(Applier *a, bool quiet);
extern void applier_succeeded(Applier *a);

#endif							/* BATON_APPLIER_H */
