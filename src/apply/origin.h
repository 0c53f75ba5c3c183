/*
 * origin.h - the replication origin of applied transactions.
 *
 * Each commit of the applier carries the origin "baton_<database oid>" and, as
 * its LSN, the stream position of the COMMIT: PostgreSQL makes the one durable
 * with the other, so that a restarted applier knows exactly what is applied.
 * Capture leaves out what carries this origin.
 */
#ifndef BATON_ORIGIN_H
#define BATON_ORIGIN_H

#include "baton.h"

#include "replication/origin.h"

/* Its name, in `size` (NAMEDATALEN) bytes. */
extern void apply_origin_name(Oid dboid, char *name, size_t size);

/*
 * Create the origin if it is not there; returns its id.  Runs in a transaction
 * of its own, so the caller must not be in one.
 */
extern RepOriginId apply_origin_ensure(NodeShared *node);

/*
 * Drop the origin if it is there, and with it what it remembers.  Runs in a
 * transaction of its own.  Raises ERRCODE_OBJECT_IN_USE while an applier uses it.
 */
extern void apply_origin_drop(NodeShared *node);

#endif							/* BATON_ORIGIN_H */
