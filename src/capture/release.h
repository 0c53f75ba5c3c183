/*
 * release.h - letting sessions go that wait in their commit.
 */
#ifndef BATON_RELEASE_H
#define BATON_RELEASE_H

#include "baton.h"

/*
 * May this process let sessions go?  Only if they wait for the node's walsender alone:
 * synchronous_standby_names, as this process has loaded it, is baton's own value and
 * has no other name in it.
 */
extern bool release_is_ours(const NodeShared *node);

/*
 * Own commits up to lsn[level] are acknowledged: let go whoever waits for no more.
 * Returns false, and does nothing, if that is not this process's.
 */
extern bool release_sessions(const NodeShared *node, const XLogRecPtr lsn[ACKED_LEVELS]);

#endif							/* BATON_RELEASE_H */
