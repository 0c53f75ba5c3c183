/*
 * origin.h - the replication origin of applied transactions.
 *
 * Each commit of the applier carries the origin "baton_<database oid>" and, as
 * its LSN, the stream position of the COMMIT: PostgreSQL makes the one durable
 * with the other, so that a restarted applier knows exactly what is applied.
 * Capture leaves out what carries this origin.
 *
 * An origin never goes back.  When applied transactions are rolled back another
 * one takes its place, "baton_<database oid>_<number>", which begins anew.
 */
#ifndef BATON_ORIGIN_H
#define BATON_ORIGIN_H

#include "baton.h"

#include "replication/origin.h"

/* Its name, in `size` (NAMEDATALEN) bytes. */
extern void apply_origin_name(Oid dboid, uint32 number, char *name, size_t size);

/* Within a transaction: create the origin of that number if it is not there. */
extern RepOriginId apply_origin_make(Oid dboid, uint32 number);

/*
 * Create the origin in use if it is not there; returns its id.  Runs in a
 * transaction of its own, so the caller must not be in one.
 */
extern RepOriginId apply_origin_ensure(NodeShared *node);

/* Position of the last COMMIT that was applied under the origin in use, 0 none, in
 * a transaction of its own; what it says is on disk then. */
extern StreamPos apply_origin_progress(NodeShared *node);

/*
 * Drop all of this database's origins, and with them what they remember; or those
 * that are not in use any more.  Runs in a transaction of its own.  Raises
 * ERRCODE_OBJECT_IN_USE while an applier uses one.
 */
extern void apply_origin_drop(NodeShared *node);
extern void apply_origin_drop_old(NodeShared *node);

#endif							/* BATON_ORIGIN_H */
