/*
 * copy_shared.h - the part of NodeShared that belongs to the initial copy.
 *
 * Zeroed memory is right: no copy, no request.  Everything here is protected by
 * the node's spinlock `mutex`.
 */
#ifndef BATON_COPY_SHARED_H
#define BATON_COPY_SHARED_H

#include "access/xlogdefs.h"
#include "control/control.h"
#include "datatype/timestamp.h"

#define COPY_PHASE_LEN	48

/* What the copy worker asks the coordinator to write into the control file. */
typedef enum CopyRequestKind
{
	COPY_REQUEST_NONE = 0,

	/* A new, empty log lies in the directory: log_base, base_last_start,
	 * base_last_term.  The worker lets frames in only when this is on disk. */
	COPY_REQUEST_LOG,

	/* The tables hold the copy: the node leaves INTENT_COPYING for
	 * INTENT_ACTIVE.  All fields. */
	COPY_REQUEST_FINISH
} CopyRequestKind;

typedef struct CopyRequest
{
	CopyRequestKind kind;		/* NONE once it has been served */
	uint64		id;				/* rises with each request */
	uint64		taken;			/* id of the last one put into ControlData */
	uint64		served;			/* id of the last one that is on disk */

	StreamPos	log_base;		/* P0: the log begins, and apply begins, here */
	StreamPos	base_last_start;
	uint64		base_last_term;
	StreamTerms terms;			/* of what lies before log_base; LOG only */

	uint16		copy_source;	/* member the copy was taken from */
	uint64		copy_term;
	XLogRecPtr	copy_lsn;		/* its commits that begin before are in the tables */
	XLogRecPtr	own_floor;		/* end of this server's WAL behind the copy */
	char		slot_name[NAMEDATALEN];
} CopyRequest;

typedef struct CopyShared
{
	bool		replaces;		/* coordinator: the database holds data, which the copy replaces */
	char		wanted[BATON_REASON_LEN];	/* receiver: why this node needs a new copy, "" it does not */

	/* worker writes; shown by baton.stat_copy and baton.status */
	char		phase[COPY_PHASE_LEN];	/* "" no copy is being taken */
	char		source_name[BATON_NAME_LEN];	/* member that it is taken from */
	int			attempt;		/* 1.. since the worker's start */
	TimestampTz started_at;		/* this attempt; 0 none yet */
	TimestampTz phase_at;		/* since when it is in this phase */
	XLogRecPtr	snapshot_lsn;	/* the snapshot's place in the source's WAL, 0 none yet */
	char		error[512];		/* why the last attempt ended, "" if none failed */

	CopyRequest request;
} CopyShared;

#endif							/* BATON_COPY_SHARED_H */
