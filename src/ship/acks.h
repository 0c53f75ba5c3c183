/*
 * acks.h - counting acknowledgements: how far is the stream on enough disks?
 *
 * Pure arithmetic over places of the stream, without a server.  Voters count:
 * electable members and arbiters that have joined.  A detached one counts in the
 * group's size, and acknowledges nothing.  The primary counts with what is flushed
 * in its own log, and no sooner (Raft thesis, 10.2.1: others may have more).
 *
 * What the policy asks for is counted up to own_end, the end of what is shipped.  That
 * the primary's own log is flushed so far is for the reader of these places to see:
 * capture/acked.c notes a place when it is, so neither waits for the other's news.
 *
 *   committed   what a majority of the voters, the primary included, has flushed
 *   one         what one voter besides the primary has
 *   majority    what a majority of the voters has, the primary included
 *   all         what every voter has
 *
 * A place counts only from lead_start on, the end of the reign's TERM record: a
 * frame of an earlier reign that lies on a majority's disks may still be replaced,
 * until one of this reign lies behind it on those disks (Raft thesis, 3.6.2).
 *
 * An arbiter has no tables.  What is applied is counted among the members that
 * have, and never reaches beyond what is flushed as the policy asks for.
 *
 * RULE_DESIGNATED: the designated primary of two voters is a quorum by itself.
 * While the other is within reach it is counted as in any group; when it is gone
 * (`alone`) the primary counts alone.
 */
#ifndef BATON_ACKS_H
#define BATON_ACKS_H

#include "control/control.h"

/* A member other than the primary. */
typedef struct AckPeer
{
	uint16		id;
	bool		streams;		/* in the current term: its places count */
	StreamPos	written;
	StreamPos	flushed;
	StreamPos	applied;
} AckPeer;

typedef struct AckView
{
	uint8		policy;			/* AckPolicy */
	uint16		self;			/* the primary */
	StreamPos	own_flushed;
	StreamPos	own_end;		/* at least own_flushed */
	StreamPos	lead_start;		/* end of the TERM record of the reign */
	bool		alone;			/* the primary is a quorum, and the other voter is gone */
	uint16		bound;			/* member that must have it in any case, 0 none: see acks_bound() */
	int			n_peers;
	AckPeer		peers[CONSENSUS_MAX_MEMBERS];
} AckView;

/* Frames before these places are acknowledged; 0: none of this reign. */
typedef struct AckPlaces
{
	StreamPos	committed;
	StreamPos	write;
	StreamPos	flush;
	StreamPos	apply;
} AckPlaces;

extern void acks_count(const AckView *view, const Membership *m, AckPlaces *out);

/*
 * Can the policy be met in this group with `primary` leading and, if it is not 0,
 * `without` out of service?  Only who is a voter counts, not who is up.
 */
extern bool acks_reachable(uint8 policy, const Membership *m, uint16 primary, uint16 without);

/* Is the member one of two voters, and a quorum by itself? */
extern bool acks_solo(const Membership *m, uint16 id);

/*
 * While a change of members is not committed, `before` may still be in force: the
 * member that could elect itself alone under it and must therefore have all that is
 * to stay, 0 if there is none besides the primary.
 */
extern uint16 acks_bound(const Membership *before, uint16 primary);

/* Name of a policy, and back (-1: there is none of that name). */
extern const char *ack_policy_name(uint8 policy);
extern int	ack_policy_parse(const char *name);

#endif							/* BATON_ACKS_H */
