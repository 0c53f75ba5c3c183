/*
 * reconcile_internal.h - what the files of reconcile/ share among themselves.
 */
#ifndef BATON_RECONCILE_INTERNAL_H
#define BATON_RECONCILE_INTERNAL_H

#include "apply/applier.h"
#include "copy/copy_internal.h"
#include "reconcile/reconcile.h"
#include "storage/buffile.h"

/* Raised for what only a new copy of the database can mend. */
#define ERRCODE_BATON_NEEDS_COPY MAKE_SQLSTATE('B', 'T', '0', '0', '1')

typedef struct SpoolPlace
{
	int			file;
	off_t		offset;
} SpoolPlace;

/* A transaction that is in this node's tables and not in the elected stream. */
typedef struct DivergedTxn
{
	uint32		xid;
	uint64		term;			/* of its frame, 0: it never came into the log */
	StreamPos	pos;			/* stream position of its COMMIT, 0 as above */
	RecordCommit commit;
	SpoolPlace	first;			/* its BEGIN */
	SpoolPlace	end;			/* behind its COMMIT */
	List	   *aborted;		/* subtransactions rolled back */
	uint32		rows;			/* changes that were saved */
	bool		roles;			/* it has ROLE records ... */
	bool		more_than_roles;	/* ... and others */
} DivergedTxn;

typedef struct Reconcile
{
	NodeShared *node;
	ReconcileShared order;		/* what the coordinator wants, as of the worker's start */
	MemoryContext cxt;
	LocalTransaction local;
	TouchedSet *touched;

	/* SAVE */
	XLogRecPtr	wal_end;		/* own commits that begin before it are looked at */
	StreamPos	in_tables;		/* of the log, all COMMITs up to here are in the tables, none behind */
	StreamPos	cut;			/* those behind here have diverged */
	BufFile    *spool;			/* records, each behind its length */
	HTAB	   *open;			/* transactions that have begun, by xid */
	List	   *txns;			/* of DivergedTxn, in commit order */

	/* MEND */
	CopyContext copy;			/* connections to the primary, snapshot and its place */
	HTAB	   *begun;			/* xids of the stream whose BEGIN was read: what they do is described */
	bool		added;			/* keys have been added to the touched ones */
	List	   *elected;		/* of RecordCommit: what was saved may be in the stream after all */
} Reconcile;

/* ---- log_walk.c ---- */

typedef struct WalkedRecord
{
	const FrameHeader *frame;
	StreamPos	commit_pos;		/* of a COMMIT, else 0 */
	Record		r;
	const char *bytes;			/* the whole record, put together from PARTs */
	size_t		len;
} WalkedRecord;

typedef void (*WalkedRecordFn) (Reconcile *rec, const WalkedRecord *w);

/* Give every record from the frame at `from` to `to` (a frame border) to fn.
 * Raises ERRCODE_DATA_CORRUPTED, ERRCODE_IO_ERROR. */
extern void reconcile_walk_log(Reconcile *rec, StreamPos from, StreamPos to, WalkedRecordFn fn);

/* ---- diverged.c ---- */

/* Find the diverged transactions: fills in txns and the spool. */
extern void reconcile_find_diverged(Reconcile *rec);
typedef void (*DivergedRecordFn) (Reconcile *rec, DivergedTxn *txn, const Record *r);
/* Give a transaction's records to fn, without those of rolled back subtransactions. */
extern void reconcile_read_diverged(Reconcile *rec, DivergedTxn *txn, DivergedRecordFn fn);

/* ---- save.c, rolled_back.c ---- */

/* Save them: rows of baton.rolled_back, and what they touched, on disk. */
extern void reconcile_save(Reconcile *rec);
/* A row of baton.rolled_back for one record. */
extern void reconcile_put_rolled_back(Reconcile *rec, DivergedTxn *txn, const Record *r);
/* This node's name; palloc'd. */
extern char *reconcile_node_name(Reconcile *rec);
/* One for a transaction that has changed no row. */
extern void reconcile_put_empty(Reconcile *rec, DivergedTxn *txn);

/* ---- elected.c ---- */

/* Add to the touched rows what the elected stream moves them to or from, up to `to`. */
extern void reconcile_close_touched(Reconcile *rec, StreamPos from, StreamPos to);

/* ---- mend.c ---- */

extern void reconcile_mend(Reconcile *rec);

/* ---- alone.c ---- */

extern void reconcile_alone(Reconcile *rec);

/* ---- reconcile_worker.c ---- */

extern void reconcile_phase(Reconcile *rec, const char *phase);
/* Have the coordinator write it down; returns when it is on disk. */
extern void reconcile_request(Reconcile *rec, ReconcileRequest *request);

#endif							/* BATON_RECONCILE_INTERNAL_H */
