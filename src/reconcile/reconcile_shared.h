/*
 * reconcile_shared.h - the part of NodeShared that belongs to the mending of
 * diverged commits.
 *
 * Zeroed memory is right: nothing to mend, no request.  Everything here is
 * protected by the node's spinlock `mutex`.
 */
#ifndef BATON_RECONCILE_SHARED_H
#define BATON_RECONCILE_SHARED_H

#include "access/xlogdefs.h"
#include "control/control.h"

/* ReconcileShared.cut: the log need not be cut, as far as is known. */
#define RECONCILE_NO_CUT PG_UINT64_MAX

/* What the worker, or the applier, asks the coordinator to write down. */
typedef enum ReconcileRequestKind
{
	RECONCILE_REQUEST_NONE = 0,
	RECONCILE_REQUEST_NOTHING,	/* nothing has diverged: the log may be cut */
	RECONCILE_REQUEST_SAVED,	/* the save is on disk: txns, base, wal_end */
	RECONCILE_REQUEST_STOP,		/* more than baton.rollback_limit: txns */
	RECONCILE_REQUEST_COPY,		/* cannot be mended row by row: why */
	RECONCILE_REQUEST_MENDED,	/* the touched rows are out: until, origin_number */
	RECONCILE_REQUEST_ALONE,	/* all is ready to go on without a primary: origin_number, txns, why */
	RECONCILE_REQUEST_FINISHED	/* applier: nothing is left to mend; txns: rows that gave way (ALONE) */
} ReconcileRequestKind;

typedef struct ReconcileRequest
{
	ReconcileRequestKind kind;	/* NONE once it is on disk */
	uint64		round;			/* ReconcileShared.round that it belongs to */
	uint32		txns;
	StreamPos	base;			/* of the elected stream, all before it is in the tables */
	XLogRecPtr	wal_end;		/* own commits that begin before it are in the log or saved */
	StreamPos	until;
	uint32		origin_number;
	char		why[BATON_REASON_LEN];
} ReconcileRequest;

typedef struct ReconcileShared
{
	/* coordinator writes */
	ReconcileState state;
	uint64		round;			/* rises with each change of state: older requests are void */
	bool		pending;		/* SAVE: rows of an earlier attempt are still to be mended */
	uint64		attempt;		/* SAVE: number for the rows that are saved */
	StreamPos	cut;			/* SAVE: where the log is to be cut, or RECONCILE_NO_CUT */
	StreamPos	may_cut;		/* nothing behind it is in tables, and the applier does not run; 0: not known */
	bool		unlimited;		/* baton.rollback_limit does not count */
	bool		alone;			/* MEND: a person makes this node lead, do without a primary */
	uint64		rolled_back_lsn;	/* these as in ControlData */
	uint32		origin_number;
	StreamPos	mend_until;

	/* receiver writes: the primary wants the log cut here, and there are commits behind it */
	bool		asked;
	StreamPos	asked_cut;

	/* worker and applier write */
	ReconcileRequest request;
	char		phase[BATON_REASON_LEN];	/* shown as the node's reason, "" none */
} ReconcileShared;

#endif							/* BATON_RECONCILE_SHARED_H */
