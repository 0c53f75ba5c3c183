/*
 * ship_ahead.h - may a commit's frame be shipped beside its flush?
 */
#ifndef BATON_SHIP_AHEAD_H
#define BATON_SHIP_AHEAD_H

#include "baton.h"

/*
 * Yes where sessions wait for it, unless they wait for what is applied, or the
 * coordinator does: that comes sooner if others hear at once that it is flushed.  And not
 * under RULE_PREFERRED (shared_log.c).
 */
static inline bool
capture_may_ship_ahead(NodeShared *node)
{
	uint8		rule;

	if (pg_atomic_read_u32(&node->ack_policy) == ACK_NONE || node_apply_wanted(node))
		return false;
	LWLockAcquire(&node->state_lock, LW_SHARED);
	rule = node->membership.rule;
	LWLockRelease(&node->state_lock);
	return rule != RULE_PREFERRED;
}

#endif							/* BATON_SHIP_AHEAD_H */
