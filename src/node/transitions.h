/*
 * transitions.h - the states of a node and every way from one to another.
 */
#ifndef BATON_TRANSITIONS_H
#define BATON_TRANSITIONS_H

#include "shared_state.h"

typedef struct NodeTransition
{
	int			number;
	NodeState	from;
	NodeState	to;
	const char *cause;
	const char *action;
} NodeTransition;

/* The row for a change of state, or NULL: then no such change may happen. */
extern const NodeTransition *transition_find(NodeState from, NodeState to);

#endif							/* BATON_TRANSITIONS_H */
