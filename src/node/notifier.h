/*
 * notifier.h - tells a command of the administrator's of each change of state.
 */
#ifndef BATON_NOTIFIER_H
#define BATON_NOTIFIER_H

#include "shared_state.h"

/* A change of state, to be told; called by the coordinator. */
extern void notifier_post(NodeShared *node, NodeState from, NodeState to, uint64 term, uint16 leader);
/* Is a command running, or to be run, in a notifier that is there? */
extern bool notifier_busy(NodeShared *node);

/*
 * The command with its placeholders filled in, palloc'd, or NULL with the reason,
 * as a sentence, in *why.
 */
extern char *notifier_expand(const char *command, const char *(*value) (char placeholder, void *arg),
							 void *arg, const char **why);

#endif							/* BATON_NOTIFIER_H */
