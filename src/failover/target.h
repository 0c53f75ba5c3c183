/*
 * target.h - who can take over in a planned failover.  Private to failover/.
 */
#ifndef BATON_FAILOVER_TARGET_H
#define BATON_FAILOVER_TARGET_H

#include "node/coordinator.h"

/* A target may be this far behind, in bytes, when the clients are stopped. */
#define FAILOVER_TARGET_NEAR	((uint64) 4 * 1024 * 1024)

/* What this node knows of a member; zeroed if it is none. */
extern PeerShared failover_peer(Coordinator *c, uint16 id);
/* The replica with the highest priority among those that are near, else the nearest, or NULL. */
extern Member *failover_choose_target(Coordinator *c);
/*
 * Who is meant to take over by the command under way?  *unfit: why nobody can, else NULL;
 * the result then is who was meant, NULL if nobody was named or it is no other member.
 */
extern Member *failover_resolve_target(Coordinator *c, const char **unfit);
/* Would waiting not change that this target (NULL: any) is unfit? */
extern bool failover_target_is_hopeless(Coordinator *c, const Member *member);
/* Would commits on the target wait in vain, where this node is out of service afterwards? */
extern bool failover_breaks_policy(Coordinator *c, const Member *target, FailoverAfter after);

#endif							/* BATON_FAILOVER_TARGET_H */
