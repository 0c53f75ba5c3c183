/*
 * applier.h - the applier's state, and the parts that work on it.  Private to
 * apply/.
 */
#ifndef BATON_APPLIER_H
#define BATON_APPLIER_H

#include "apply/apply.h"

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

	/* errors */
	StreamPos	trying;			/* COMMIT of the transaction being applied, 0: none */
	int			run_txns;		/* transactions of the stream in the local transaction */
	StreamPos	doubted;		/* frame that did not fit, for which the position was sought anew */
	StreamPos	careful_until;	/* up to here one transaction of the stream at a time */
	int			quick_retries;	/* in a row, after conflicts with other sessions */
	char		error[BATON_ERROR_LEN]; /* logged last */
} Applier;

/* ---- position.c ---- */

/*
 * Find the frame where reading begins, see the head of position.c.  Raises
 * ERRCODE_DATA_CORRUPTED if the log does not hold what is needed.
 */
extern void applier_position(Applier *a);

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
