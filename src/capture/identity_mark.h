/*
 * identity_mark.h - which tables have got REPLICA IDENTITY FULL from baton.
 */
#ifndef BATON_IDENTITY_MARK_H
#define BATON_IDENTITY_MARK_H

#include "postgres.h"

/* Remember that baton has set it; in the current transaction. */
extern void identity_mark(Oid relid);
/* It is gone, or somebody else's will. */
extern void identity_unmark(Oid relid);
/* Has baton set it? */
extern bool identity_is_marked(Oid relid);

#endif							/* BATON_IDENTITY_MARK_H */
