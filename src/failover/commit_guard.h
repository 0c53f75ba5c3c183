/*
 * commit_guard.h - no success for a commit that may not count.
 */
#ifndef BATON_COMMIT_GUARD_H
#define BATON_COMMIT_GUARD_H

#include "baton.h"

/*
 * Before a commit is checked at the gate: note what it is to be measured by after
 * it.  Forgotten by commit_guard_disarm(), or when the next one is noted.
 */
extern void commit_guard_arm(NodeShared *node);
extern void commit_guard_disarm(void);

/*
 * The commit has passed the gate, and what it has changed is subject to it.
 */
extern void commit_guard_passed(NodeShared *node);

/*
 * After the commit, whose record ends at `end`: if it may not count, the session
 * ends without an answer.  Never raises.
 */
extern void commit_guard_check(NodeShared *node, XLogRecPtr end);

#endif							/* BATON_COMMIT_GUARD_H */
