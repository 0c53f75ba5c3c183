/*
 * control.h - the control file: what a node must not forget.
 *
 * <data directory>/baton/<database oid>/control holds identity, term, vote,
 * promises, membership and the durable marks of stream and apply.  It is
 * replaced as a whole: written beside itself, fsynced, renamed, directory
 * fsynced.  So it is never half written, and a file that does not check out is
 * damage: the node stays down until a person looks.
 *
 * Only the coordinator writes it (create_group and join_group write the first
 * one, before a coordinator exists).
 */
#ifndef BATON_CONTROL_H
#define BATON_CONTROL_H

#include "stream/stream.h"
#include "stream/terms.h"
#include "consensus/consensus.h"

#define CONTROL_MAGIC		0x4C544342	/* "BCTL" */
#define CONTROL_VERSION		3

#define BATON_NAME_LEN		64
#define DDL_KEY_LEN			16
#define BATON_CONNINFO_LEN	1024
#define BATON_REASON_LEN	256

/* A member as everybody sees it; the part that consensus needs is `voter`. */
typedef struct Member
{
	ConsensusMember voter;		/* id, type, priority, flags */
	char		name[BATON_NAME_LEN];
	char		conninfo[BATON_CONNINFO_LEN];
	uint64		incarnation;	/* of the node that joined under this id; 0 not known */
} Member;

typedef enum AckPolicy
{
	ACK_NONE = 0,
	ACK_ONE,
	ACK_MAJORITY,
	ACK_ALL
} AckPolicy;

/* The membership: travels whole, as a MEMBERSHIP record. */
typedef struct Membership
{
	uint64		version;		/* rises by one with each change */
	uint16		next_id;		/* ids are never used twice */
	uint8		rule;			/* ConsensusRule for groups of two */
	uint16		designated;		/* member id, 0 none */
	uint8		ack_policy;
	bool		paused;			/* no elections by timeout */
	int			count;
	Member		members[CONSENSUS_MAX_MEMBERS];
} Membership;

/* What a node does when nobody tells it otherwise; kept over restarts. */
typedef enum NodeIntent
{
	INTENT_ACTIVE = 1,			/* take part in the group */
	INTENT_STOPPED,				/* baton.stop(): out of replication, as it is */
	INTENT_COPYING,				/* takes its initial copy */
	INTENT_DETACHED				/* out of service, see reason; start() rejoins */
} NodeIntent;

/*
 * What is to be done about commits that this node has, and the elected stream has
 * not; what causes each change stands at the head of reconcile/reconcile_worker.c.
 */
typedef enum ReconcileState
{
	RECONCILE_NONE = 0,
	RECONCILE_SAVE,				/* they are being looked for and saved; never on disk */
	RECONCILE_MEND,				/* saved; the touched rows are to be taken out and fetched */
	RECONCILE_FILL,				/* they are out; the applier puts the fetched ones in */
	RECONCILE_ALONE				/* a person makes the node lead by force before it is mended: it does
								 * with what it has (apply/lenient.c) */
} ReconcileState;

/* What a member has acknowledged to this node, as far as was written down. */
typedef struct PeerMark
{
	uint16		id;				/* 0: unused */
	ConsensusPlace place;		/* flushed in its log */
} PeerMark;

typedef struct ControlData
{
	/* identity */
	uint64		system_identifier;
	uint32		dboid;
	uint8		group_id[16];	/* UUID */
	char		group_name[BATON_NAME_LEN];
	uint16		self;			/* this node's member id */
	uint64		incarnation;	/* random, new with each join */
	char		slot_name[BATON_NAME_LEN];	/* capture's slot; "" until it is made */
	uint8		ddl_key[DDL_KEY_LEN];	/* random, secret: proves that a command in WAL is the hook's */

	/* consensus: on disk before it is spoken */
	ConsensusDurable durable;

	uint8		intent;			/* NodeIntent */
	bool		was_primary;	/* it led when this was written (solo resume) */
	bool		door_closed;	/* DETACHED by a failover: ordinary roles may not connect */
	char		reason[BATON_REASON_LEN];	/* why detached or stopped, "" if not */

	Membership	membership;		/* latest known, committed or not */
	bool		membership_committed;	/* the latest known is on a majority's disks */
	Membership	membership_before;	/* else: the one before it, still in force beside it */

	ConsensusPlace vote_floor;	/* a copy replaces a log that ended here: no vote for less */
	ConsensusPlace cut_mark;	/* the log ended there before a cut that the primary asked for */
	PeerMark	peer_marks[CONSENSUS_MAX_MEMBERS];	/* lazily; a peer that comes back behind its own was restored */

	/* marks, written lazily (each second) and at role changes */
	StreamPos	log_base;		/* where the log was created ... */
	StreamPos	base_last_start;	/* ... and the frame before that place */
	uint64		base_last_term;
	StreamPos	known_flushed;	/* the log was flushed at least up to here */
	StreamTerms terms;			/* of the log up to there; what begins behind it does not count */
	uint64		own_lsn;		/* own commits up to here lie in the log before known_flushed */
	uint64		own_floor;		/* capture never raises own commits up to here */
	uint64		sequence_floor;	/* own WAL: where this node came to lead after another did */
	StreamPos	applied_floor;	/* all before it is in the tables, whatever the origin says */

	/* the initial copy: commits of copy_source in copy_term that begin before
	 * copy_lsn are in the tables already */
	uint16		copy_source;
	uint64		copy_term;
	uint64		copy_lsn;
	char		copy_conninfo[BATON_CONNINFO_LEN];	/* the member to take it from */
	bool		copy_replaces;	/* COPYING: the database holds data, which the copy is to replace */

	/* mending of diverged commits, see reconcile/reconcile.h */
	uint8		reconcile;		/* ReconcileState, but SAVE */
	bool		rollback_unlimited;	/* a person has said: whatever their number */
	uint64		reconcile_attempt;	/* of the rows that were saved last in baton.rolled_back */
	uint32		reconcile_txns;	/* transactions that are being rolled back */
	uint64		rolled_back_lsn;	/* own commits that begin before it, and lie behind what is applied,
								 * have been rolled back: they are applied like others' */
	uint32		origin_number;	/* of the replication origin in use */
	StreamPos	mend_until;		/* FILL: the log up to here holds what the fetched rows hold */
	StreamPos	share_floor;	/* the tables are not what the log before it makes of them: nobody follows,
								 * and this node follows nobody, from a place before it; 0 none */
} ControlData;

typedef enum ControlCode
{
	CONTROL_OK = 0,
	CONTROL_MISSING,
	CONTROL_DAMAGED,			/* magic, version, length or CRC is wrong */
	CONTROL_IO
} ControlCode;

typedef struct ControlError
{
	int			sys_errno;
	char		message[512];
} ControlError;

extern ControlCode control_read(const char *directory, ControlData *data, ControlError *err);
extern ControlCode control_write(const char *directory, const ControlData *data, ControlError *err);
extern ControlCode control_remove(const char *directory, ControlError *err);

/* The membership as bytes, and back; decode returns false for bytes that do not hold together. */
extern void membership_encode(const Membership *m, StreamBuf *out);
extern bool membership_decode(const char *bytes, size_t len, Membership *m);

/* Member by id or name, or NULL. */
extern Member *membership_find(Membership *m, uint16 id);
extern Member *membership_find_name(Membership *m, const char *name);
/* The part that consensus works on. */
extern void membership_voters(const Membership *m, ConsensusMembership *out);

#endif							/* BATON_CONTROL_H */
