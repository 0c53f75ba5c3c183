/*
 * consensus.h - who may lead: terms, durable votes, quorum, transfer.
 *
 * Raft (Ongaro's thesis, chapters 3, 4 and 9.6) with the replication stream as
 * its log.  The core is pure: one event in, one update out; no clock, disk,
 * socket or PostgreSQL header inside, no memory allocated.  The coordinator
 * feeds it (node/) and carries out each update in one order: durable state to
 * disk, gate, messages, report.  So nothing is said before it is on disk, and
 * the simulation can run the same code under any schedule.
 *
 * Terms.  A term is (forced promotions : 16 bits, reign : 32, member : 16),
 * compared as one number.  No two members can ever hold the same term, whatever
 * was forced or resumed, because its last part is the member itself.
 *
 * Roles and what moves between them:
 *
 *   STOPPED   --start-->                UNKNOWN
 *   UNKNOWN   --hears a primary-->      REPLICA
 *   UNKNOWN   --led last, may resume--> CANDIDATE  (resume)
 *   UNKNOWN   --nobody is heard-->      CANDIDATE  (elect)
 *   UNKNOWN,
 *   REPLICA   --promote-->              CANDIDATE
 *   UNKNOWN,
 *   REPLICA   --has applied FAILOVER--> CANDIDATE  (transfer: asks the old
 *                                       primary first, takes the new term only
 *                                       on its durable vote)
 *   UNKNOWN,
 *   REPLICA   --promote by force-->     PRIMARY
 *   REPLICA   --primary not heard-->    UNKNOWN
 *   CANDIDATE --majority of votes-->    PRIMARY
 *   CANDIDATE --solo rule, forced-->    PRIMARY
 *   CANDIDATE --timeout, refused-->     UNKNOWN (REPLICA if a primary is heard)
 *   PRIMARY   --votes for its target--> UNKNOWN
 *   PRIMARY   --lease is over-->        UNKNOWN
 *   any       --sees a higher term-->   UNKNOWN (REPLICA if its primary says so)
 *   any       --stop-->                 STOPPED
 *
 * A campaign (resume, promote, elect) has two rounds.  In the first, the pre-vote,
 * the candidate asks who would vote for it; nobody writes anything down, so that a
 * campaign that cannot succeed disturbs no primary, and a node that was cut off for
 * long comes back in the term in which it left.  Once a majority would, it puts its
 * own vote for the new term on disk and asks for the votes themselves.
 *
 * Elections.  When a primary is not heard for one election timeout, and what it was
 * promised is over, the first in rank (priority, then name) stands, the others a
 * little later each.  A voter whose log is the same and that comes first refuses the
 * pre-vote and stands itself, for one election timeout at most; one whose log is
 * longer refuses always, and stands if it may.  If it may not (an arbiter, priority
 * 0, an applier that has stopped), the candidate fetches what that one has more, and
 * stands again: `fetch_from`.
 *
 * Promises and leases.  Each vote, and each answer to a frame or heartbeat, promises
 * a lease: for that long, and a margin for the drift of clocks, the voter votes for
 * nobody else and does not lead itself.  The primary counts the lease from when it
 * sent what was answered.  It leads while voters enough are bound that the others
 * could elect nobody:
 *
 *   one voter                          without limit
 *   two, strict or preferred           without limit
 *   two, designated                    that one without limit, the other one while it
 *                                      hears the designated one; while the designation
 *                                      moves, without limit
 *   more                               while it hears half of them, itself included
 *
 * Why no two leases overlap (all but preferred and forced reigns).  Let X have a lease
 * at time t in term a, and Y be elected in term b > a by time t.  The half H of the
 * voters that gives X its lease, and the majority M that gave Y its votes, have a
 * voter v in common.  If v voted for Y before it last answered X, it did not answer
 * in term a any more.  If it voted after that, its promise to X was over, and by X's
 * clock the lease that it gave was over before: v is not in H at t.  If v is X, it
 * would not be primary.  In a designated pair v is the designated one; in a strict one
 * v is X, without whose vote the other is never elected.  Only X's own durable vote for Y lifts
 * the promises to it, and with that vote X has ceased to lead.  After a restart a
 * primary leads only by a new election, and a voter waits until the longest promise
 * that its disk knows of is over.
 *
 * A change of members counts from the moment it is in the log, as in Raft: majorities
 * before and after it meet.  Where leading alone is concerned they need not, so until
 * the change is committed (`before`) the lease must hold under both memberships, and
 * nobody leads alone unless both let it.  Committed means what consensus_blocks says.
 *
 * The solo rule.  A node that led last resumes without a majority if there are
 * two voters (under RULE_DESIGNATED only the designated one), it has asked every
 * member for one whole election timeout, and nobody has refused or named a
 * primary.  It is safe because the other one cannot have been elected without
 * this node's vote, and this node has given none: `may_resume` is taken back in
 * the very update that puts a vote for another, or another primary, on disk.
 * In the same way the designated node, and under RULE_PREFERRED either one, is
 * elected alone once no promise binds it: the other one's lease, if it needs one,
 * was that promise.
 *
 * A primary by force needs no lease until it has had one: whoever forces it knows
 * that the others are gone.
 *
 * A primary that sees a higher term steps down.  If nobody is known to lead that
 * term (a campaign that failed half way), it campaigns to resume at once; a term
 * that was forced is always somebody's reign, so then it waits to hear of it.
 *
 * Who leads a term is known for certain by the term itself: its member.
 */
#ifndef BATON_CONSENSUS_H
#define BATON_CONSENSUS_H

#include <stdbool.h>
#include <stdint.h>

#define CONSENSUS_MAX_MEMBERS 16

/* ---- terms ---- */

#define TERM_MAKE(forced, reign, member) \
	(((uint64_t) (forced) << 48) | ((uint64_t) (uint32_t) (reign) << 16) | (uint16_t) (member))
#define TERM_FORCED(term)	((uint16_t) ((term) >> 48))
#define TERM_REIGN(term)	((uint32_t) ((term) >> 16))
#define TERM_MEMBER(term)	((uint16_t) (term))

/* The term that `member` leads in when it follows `term`; forced: without a majority. */
extern uint64_t consensus_next_term(uint64_t term, uint16_t member, bool forced);

/* ---- membership ---- */

typedef enum ConsensusType
{
	CONSENSUS_ELECTABLE = 1,	/* data, votes, may lead */
	CONSENSUS_SECONDARY,		/* data, no vote */
	CONSENSUS_ARBITER			/* votes, keeps the log, no tables */
} ConsensusType;

typedef enum ConsensusRule		/* for groups with two voters */
{
	RULE_STRICT = 0,
	RULE_DESIGNATED,
	RULE_PREFERRED
} ConsensusRule;

typedef struct ConsensusMember
{
	uint16_t	id;				/* 1.. */
	uint8_t		type;			/* ConsensusType */
	uint8_t		joining;		/* still copying or behind: no vote yet */
	uint8_t		detached;		/* counts in the group's size, does not vote */
	uint16_t	order;			/* place of its name among the members' names, 0 first */
	int32_t		priority;		/* 0: never leads */
} ConsensusMember;

typedef struct ConsensusMembership
{
	uint8_t		rule;			/* ConsensusRule */
	bool		paused;			/* no candidacies by timeout */
	uint16_t	designated;		/* DESIGNATED, PREFERRED: that member; 0 while it moves: both are needed */
	int			count;
	ConsensusMember member[CONSENSUS_MAX_MEMBERS];
} ConsensusMembership;

/* Number of voters: members that count for quorum (electable or arbiter, not joining). */
extern int	consensus_voters(const ConsensusMembership *m);
/* Smallest number of votes that elects. */
extern int	consensus_majority(const ConsensusMembership *m);

/*
 * Can nobody be elected under `m` without the vote of one of these members?  A change
 * of members is committed once a majority of the new ones has it on disk, and those
 * who have it are such a set under what was in force before: under RULE_DESIGNATED
 * that is not the same.
 */
extern bool consensus_blocks(const ConsensusMembership *m, const uint16_t *ids, int n);

/* ---- places in the log ---- */

/* The end of a log: (term of its last frame, position behind it). */
typedef struct ConsensusPlace
{
	uint64_t	term;
	uint64_t	pos;
} ConsensusPlace;

extern int	consensus_place_cmp(ConsensusPlace a, ConsensusPlace b);

/* Why a request was refused. */
typedef enum ConsensusRefusal
{
	REFUSED_NOT = 0,
	REFUSED_TERM,				/* a higher term is known: see `term` */
	REFUSED_VOTED,				/* voted for another in this term */
	REFUSED_BEHIND,				/* the candidate's log is older than the voter's */
	REFUSED_LEADER_ALIVE,		/* the voter hears a primary: see `leader` */
	REFUSED_NO_VOTER,			/* asked does not vote (detached, joining, stopped) */
	REFUSED_ATTEMPT_VOID,		/* that failover was given up */
	REFUSED_MAY_NOT_LEAD,		/* never sent: this node itself cannot stand (see may_lead) */
	REFUSED_STARTING,			/* the voter has restarted, and waits out what it may have promised */
	REFUSED_HOLDING,			/* pre-vote: the voter is as good or better, and stands itself */
	REFUSED_REMOVED				/* the candidate is no member (any more) */
} ConsensusRefusal;

/* ---- state ---- */

/* What is on disk before it is spoken. */
typedef struct ConsensusDurable
{
	uint64_t	term;			/* highest term seen */
	uint16_t	voted_for;		/* whom this node voted for in `term`, 0 nobody */
	uint32_t	promise_ms;		/* longest lease that it has ever promised to respect */
} ConsensusDurable;

/*
 * A promise: until then (own clock, ms) this node gives its vote to nobody else, and
 * does not lead itself, whatever its own settings say.  It comes with each sign of
 * life of a primary, which states its lease, and with each vote.
 */
typedef struct ConsensusPromise
{
	uint64_t	term;
	uint16_t	leader;			/* 0: none given */
	uint64_t	until;
} ConsensusPromise;

typedef enum ConsensusRole
{
	ROLE_STOPPED = 0,
	ROLE_UNKNOWN,
	ROLE_REPLICA,
	ROLE_CANDIDATE,
	ROLE_PRIMARY
} ConsensusRole;

typedef enum ConsensusCampaign	/* why a CANDIDATE is one */
{
	CAMPAIGN_NONE = 0,
	CAMPAIGN_RESUME,			/* led before its restart */
	CAMPAIGN_PROMOTE,			/* a person asked */
	CAMPAIGN_TRANSFER,			/* a planned failover names it */
	CAMPAIGN_ELECT				/* no primary is heard any more */
} ConsensusCampaign;

typedef struct ConsensusConfig	/* never changed in a core that runs: leases were asked for by it */
{
	uint32_t	election_timeout;	/* ms; how long a primary counts as heard, and the lease it asks for */
	uint32_t	retry_interval;		/* ms between repeated requests */
} ConsensusConfig;

/*
 * How long a voter keeps a promise of `lease` ms on its own clock, and a restarted
 * one waits: longer than the lease by more than two clocks can drift apart in it.
 */
#define CONSENSUS_PROMISE_MS(lease) ((uint64_t) (lease) + (lease) / 16 + 10)

#define LEASE_UNLIMITED UINT64_MAX

/* A planned failover, as the old primary sees it. */
typedef struct ConsensusTransfer
{
	bool		active;			/* FAILOVER record is in the log, no decision yet */
	bool		granted;		/* the vote is given: no primary from here on */
	uint64_t	attempt;
	uint16_t	target;
	uint64_t	new_term;		/* granted: the term voted for */
	ConsensusPlace end;			/* end of the log, behind the FAILOVER record */
	uint64_t	deadline;		/* own clock; void after it */
} ConsensusTransfer;

typedef struct Consensus
{
	uint16_t	self;
	ConsensusConfig config;
	ConsensusMembership members;
	ConsensusDurable durable;
	ConsensusPlace log;			/* end of own log, flushed */
	ConsensusRole role;
	uint16_t	leader;			/* member that leads durable.term, 0 unknown */
	uint64_t	leader_heard;	/* time of its last sign of life */

	/* CANDIDATE */
	ConsensusCampaign campaign;
	uint64_t	campaign_term;	/* term asked for */
	uint64_t	campaign_start;
	uint64_t	campaign_retry; /* time of the next round of requests */
	uint64_t	campaign_attempt;	/* TRANSFER */
	uint16_t	campaign_from;		/* TRANSFER: the old primary */
	uint64_t	campaign_record_term;	/* TRANSFER: term of the FAILOVER record */
	ConsensusPlace campaign_place;	/* TRANSFER: end of the log behind that record */
	bool		campaign_released;	/* TRANSFER: its vote is here */
	bool		campaign_voting;	/* own vote is on disk; before: the pre-vote round */
	ConsensusRefusal campaign_refusal;	/* why it does not get on, for the person who asked */
	bool		campaign_blocked;	/* somebody refused: no solo rule in this round */
	bool		votes[CONSENSUS_MAX_MEMBERS];	/* by index in members */
	bool		answered[CONSENSUS_MAX_MEMBERS];

	/*
	 * Led last, and has neither voted for another nor heard of another primary
	 * since.  It goes to disk together with `durable` at each persist, and comes
	 * back as EV_START's was_primary.
	 */
	bool		may_resume;
	uint64_t	seek_next;		/* UNKNOWN: time to resume, or to ask who leads */

	ConsensusTransfer transfer; /* old primary's side; kept after the vote, to be looked at */

	/* ---- leases ---- */
	ConsensusPromise promise;	/* the latest that this node has given */
	uint64_t	no_vote_until;	/* own clock; restarted: neither votes nor stands before */
	uint64_t	heard[CONSENSUS_MAX_MEMBERS];	/* PRIMARY, by index in members: when the latest sign of
												 * life that this member has answered was sent, 0 none */
	uint64_t	lease_until;	/* PRIMARY: own clock, LEASE_UNLIMITED; 0 not had yet */
	uint64_t	lease_wait_until;	/* PRIMARY without a lease yet: gives up then, else 0 */
	bool		lease_waived;	/* PRIMARY by force, and without a lease yet: needs none */

	/*
	 * A change of members that is not known to be committed: what was in force
	 * before it.  The lease must hold under both, nobody leads alone unless both
	 * allow it.
	 */
	bool		has_before;
	ConsensusMembership before;

	/* ---- elections ---- */
	ConsensusPlace floor;		/* votes for no log that ends before it (a copy replaces one) */
	uint64_t	leaderless_since;	/* since when no primary is heard */
	uint64_t	stand_at;		/* when to stand for election, 0 not */
	uint16_t	last_leader;	/* whose silence this is, 0 unknown */
	uint16_t	fetch_from;		/* member that has more and does not stand, 0 none */
	ConsensusPlace fetch_place; /* end of its log */
	uint64_t	fetch_until;	/* given up then */
} Consensus;

/* ---- messages between members ---- */

typedef enum ConsensusMessageType
{
	MSG_VOTE_REQUEST = 1,		/* candidate -> voters */
	MSG_VOTE_RESPONSE,
	MSG_TRANSFER_REQUEST,		/* target -> old primary, has applied FAILOVER */
	MSG_TRANSFER_RESPONSE,		/* granted: the vote is on disk; else: attempt void */
	MSG_LEADER					/* "this member leads that term"; leader 0: "who leads?" */
} ConsensusMessageType;

typedef struct ConsensusMessage
{
	uint8_t		type;			/* ConsensusMessageType */
	uint8_t		granted;
	uint8_t		pre;			/* VOTE_*: the pre-vote round, nothing is written */
	uint8_t		stands;			/* VOTE_REQUEST: by timeout, whoever is as good or better may hold it
								 * back; refused as BEHIND: the voter stands itself */
	uint8_t		refusal;		/* ConsensusRefusal */
	uint16_t	from;
	uint16_t	to;
	uint64_t	term;			/* sender's durable term */
	uint64_t	ask_term;		/* term the vote is for */
	ConsensusPlace place;		/* end of the sender's log */
	uint64_t	attempt;		/* transfer */
	uint16_t	leader;			/* primary of leader_term that the sender hears (or is), 0 none */
	uint64_t	leader_term;
	uint16_t	release_from;	/* VOTE_REQUEST in a transfer: the old primary has voted */
	uint32_t	lease;			/* *_REQUEST: what the voter is to promise, ms */
	uint64_t	sent;			/* *_REQUEST: sender's clock; its answers give it back */
} ConsensusMessage;

/*
 * Wire form, fixed length, little-endian:
 *
 *    0 version (1)        8 release_from     48 attempt
 *    1 type              10 leader           56 leader_term
 *    2 flags              12 lease            64 sent
 *    3 refusal           16 term
 *    4 from              24 ask_term
 *    6 to                32 place (term, pos)
 *
 * Flags: granted 1, pre 2, stands 4.
 * Valid: length and version fit, type and refusal are known, no other flag is
 * set, from and to are different members.  decode returns
 * false for anything else; whether the message makes sense is for the core.
 */
#define CONSENSUS_MESSAGE_LEN 72
extern void consensus_message_encode(const ConsensusMessage *m, uint8_t out[CONSENSUS_MESSAGE_LEN]);
extern bool consensus_message_decode(const uint8_t *bytes, int len, ConsensusMessage *m);

/* ---- events ---- */

typedef enum ConsensusEventType
{
	EV_START = 1,				/* was_primary: it led when it went down */
	EV_STOP,
	EV_TICK,
	EV_MESSAGE,
	EV_LEADER_CONTACT,			/* a frame or heartbeat of (term, leader) came */
	EV_PEER_TERM,				/* a higher term was seen somewhere (handshake, answer) */
	EV_MEMBERSHIP,				/* members changed */
	EV_PROMOTE,					/* a person asks; force: without a majority */
	EV_FAILOVER_BEGIN,			/* primary: FAILOVER record is flushed; log is its end */
	EV_FAILOVER_ABANDON,		/* primary: given up before the deadline */
	EV_FAILOVER_SEEN,			/* target: all up to FAILOVER (incl.) is applied */
	EV_HEARD,					/* primary: `leader` has answered a sign of life of `term` sent at `sent` */
	EV_MEMBERSHIP_COMMITTED		/* the members in force are: `before` counts no more */
} ConsensusEventType;

typedef struct ConsensusEvent
{
	ConsensusEventType type;
	uint64_t	now;			/* ms, CLOCK_BOOTTIME */
	ConsensusPlace log;			/* end of own log, flushed; set in every event */
	bool		may_lead;		/* set in every event: applier runs, not copying, ... */
	uint32_t	random;			/* set in every event: spreads candidacies */
	ConsensusPlace floor;		/* set in every event, see Consensus */
	ConsensusPromise promise;	/* set in every event: the latest that a receiver has given */
	bool		was_primary;	/* START */
	bool		force;			/* PROMOTE */
	ConsensusMessage message;	/* MESSAGE */
	uint64_t	term;			/* LEADER_CONTACT, PEER_TERM, FAILOVER_SEEN (term of the record) */
	uint16_t	leader;			/* LEADER_CONTACT, PEER_TERM (0: unknown), FAILOVER_SEEN (from) */
	uint64_t	attempt;		/* FAILOVER_* */
	uint16_t	target;			/* FAILOVER_* */
	uint64_t	deadline;		/* FAILOVER_BEGIN, ms on own clock */
	const ConsensusMembership *members; /* MEMBERSHIP */
	const ConsensusMembership *before;	/* MEMBERSHIP: in force until it is committed, or NULL; START too */
	uint64_t	sent;			/* HEARD; LEADER_CONTACT: when it came, 0 now; ms on own clock */
	uint32_t	lease;			/* LEADER_CONTACT: the lease that the primary states, 0 none */
} ConsensusEvent;

/* ---- updates ---- */

typedef enum ConsensusOutcome	/* something to tell a person about */
{
	OUTCOME_NONE = 0,
	OUTCOME_ELECTED,			/* became PRIMARY by majority, or alone where the rule for two says so */
	OUTCOME_RESUMED,			/* became PRIMARY again alone, by the two-node rule */
	OUTCOME_FORCED,				/* became PRIMARY by force */
	OUTCOME_TRANSFERRED,		/* became PRIMARY by a planned failover */
	OUTCOME_HANDED_OVER,		/* old primary: its vote is given */
	OUTCOME_STEPPED_DOWN,		/* a primary saw a higher term */
	OUTCOME_ATTEMPT_VOID,		/* old primary: deadline passed or abandoned: lead on */
	OUTCOME_LOST,				/* promote or transfer ended without success: see refusal */
	OUTCOME_LEASE_LOST			/* a primary does not hear from enough voters any more; an attempt to
								 * fail over is void with it */
} ConsensusOutcome;

#define CONSENSUS_MAX_MESSAGES (2 * CONSENSUS_MAX_MEMBERS)

typedef struct ConsensusUpdate
{
	bool		persist;		/* durable changed: write it before anything below */
	bool		role_changed;
	ConsensusOutcome outcome;
	ConsensusRefusal refusal;	/* with OUTCOME_LOST, 0 if simply nobody answered */
	int			n_messages;
	ConsensusMessage message[CONSENSUS_MAX_MESSAGES];
	uint64_t	next_tick;		/* when to send EV_TICK at the latest, 0: not needed */
	uint64_t	lease_until;	/* PRIMARY: the gate may be open before this time (own clock, checked
								 * at each commit); 0 not at all, LEASE_UNLIMITED always */
	uint16_t	fetch_from;		/* UNKNOWN: fetch the frames behind the own log from this member, 0 none */
} ConsensusUpdate;

/* A core at rest (STOPPED); what is not known to be committed comes with EV_START. */
extern void consensus_init(Consensus *c, uint16_t self, const ConsensusDurable *durable,
						   const ConsensusMembership *members, const ConsensusConfig *config);

/*
 * One event in, one update out.  *u is overwritten.  Never fails; asserts its
 * own invariants.  EV_TICK may come at any time; u->next_tick is the latest.
 *
 * The caller, when u->persist: writes c->durable and c->may_resume (as what the
 * next EV_START says in was_primary) to disk before it does anything else.  If
 * it cannot, it must not go on with this Consensus.
 *
 * EV_FAILOVER_BEGIN must be stepped before any message that the target can have
 * sent because of the FAILOVER record: flush, step, and only then look into the
 * inbox.  From then on, as long as transfer.active, the caller appends nothing.
 * On a node that does not lead (any more) it answers OUTCOME_ATTEMPT_VOID.
 *
 * While u->fetch_from is set the caller fetches from that member, if the own log is a
 * prefix of its log, and steps EV_TICK whenever the own log has grown.
 *
 * A promise given beside the core (by a receiver, for a lease of at most
 * durable.promise_ms, in the term and to the primary that this node follows) is in
 * e->promise of every step that is taken after it was given.  Where the primary asks
 * for more, EV_LEADER_CONTACT with that lease puts it on disk first.
 *
 * A primary whose u->lease_until has passed sends no heartbeats.  What was heard is
 * stepped (EV_HEARD) before anything else that waits: it may still be in time.
 *
 * EV_FAILOVER_SEEN is raised once, and again after a restart if FAILOVER is
 * still the last record of the log.
 *
 * The caller, when role_changed to PRIMARY: appends a TERM record for
 * c->durable.term as the first frame of the reign, flushes it, waits until all
 * before it is applied, and only then opens the gate.
 */
extern void consensus_step(Consensus *c, const ConsensusEvent *e, ConsensusUpdate *u);

extern const char *consensus_role_name(ConsensusRole role);
extern const char *consensus_refusal_text(ConsensusRefusal refusal);

#endif							/* BATON_CONSENSUS_H */
