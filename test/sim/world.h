/*
 * world.h - the simulated world: servers with a disk, shared memory, receivers and
 * a coordinator that runs the consensus core; a network that loses, delays,
 * doubles and reorders; one true time, and a clock of each server's own.
 *
 * The world is a queue of events in true time (microseconds): a packet arrives, a
 * flush ends, a server gets its turn, something breaks.  Servers never see true
 * time; the checks (check.c) use nothing else.
 *
 * Clocks.  A server's clock (milliseconds) has an offset and a rate of 32/33 to
 * 34/33.  The fastest gains 1/16 on the slowest: exactly what a promise is longer
 * than its lease (CONSENSUS_PROMISE_MS) allows.
 *
 * What survives what.  A crash of the server leaves its disk, with the log cut
 * somewhere behind what was flushed.  A crash of the coordinator leaves shared
 * memory too: the gate, the lease, the promise, receivers and shipper go on.  A
 * frozen server executes nothing, but its clock goes on, and so does the time that
 * its gate is open.
 *
 * A log is a list of frames; a frame carries the hash of all before it, so two logs
 * are the same up to a frame if that frame is the same.
 *
 * A primary ships what it has flushed, and of the DATA frames behind that the first:
 * a crash may take that one from the primary while others have it.  So others apply
 * only what they were told is flushed there, and for an acknowledgement its own place
 * counts once it is flushed.
 *
 * What a schedule may do depends on its mode:
 *   strict      plain groups of 1 to 5: no two open gates at one true time, and
 *               what a majority has acknowledged stays for ever
 *   designated  the same for two voters of which one alone is a quorum
 *   preferred   two voters, each may go on alone: terms, votes and logs hold
 *   forced      promotions by force: the same
 * Everything else in all of them: crashes at any point of an update, partitions,
 * freezes, loss, changes of members, planned failovers, copies.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "consensus/consensus.h"

#define MAX_NODES		8
#define MAX_FRAMES		640
#define CLIENT_FRAMES	240		/* clients write no more into a schedule's log */
#define MAX_PACKETS		192
#define MAX_REIGNS		512
#define MAX_VOTES		512
#define MAX_MEMBERSHIPS	256
#define MAX_VARIANTS	8
#define MAX_IDS			8192	/* of frames */
#define BATCH			4

/* rates are so many of 3300 */
#define RATE_TRUE		3300
#define RATE_DRIFT		100

#define MS(n)			((uint64_t) (n) * 1000)
#define FOREVER			UINT64_MAX

typedef enum Mode
{
	MODE_STRICT,
	MODE_DESIGNATED,
	MODE_PREFERRED,
	MODE_FORCED,
	MODES
} Mode;

typedef enum FrameKind
{
	FRAME_TERM,
	FRAME_DATA,
	FRAME_FAILOVER,
	FRAME_MEMBERSHIP
} FrameKind;

typedef struct Frame
{
	uint8_t		kind;			/* FrameKind */
	uint16_t	target;			/* FAILOVER */
	uint16_t	members;		/* MEMBERSHIP: index in World.membership */
	uint16_t	members_len;	/* length of the log up to its latest MEMBERSHIP frame, 0 none */
	bool		ahead;			/* DATA: may be shipped before its primary has flushed it */
	uint64_t	term;
	uint64_t	id;				/* never used twice; FAILOVER: the attempt */
	uint64_t	hash;			/* over this frame and all before it */
} Frame;

typedef struct Disk
{
	ConsensusDurable durable;
	bool		was_primary;
	int			len;			/* frames */
	int			flushed;		/* of them */
	int			applied;		/* of them */
	int			members_known;	/* length of the log up to which memberships are known to be committed */
	uint16_t	base;			/* membership where the log has none */
	bool		copying;		/* a copy replaces the log; it is empty until it is there */
	ConsensusPlace floor;
	Frame		log[MAX_FRAMES];
} Disk;

/* What a receiver has appended and not yet flushed and answered. */
typedef struct Appending
{
	bool		active;
	int			from;
	uint64_t	term;
	int			end;			/* frames known to be common, -1 the packet did not fit */
	int			committed;
	int			flushed;
	uint64_t	sent;
	uint32_t	lease;
	uint64_t	turn;			/* which flush it waits for */
} Appending;

typedef struct Node
{
	Disk		disk;

	/* the world's: outlives everything */
	bool		exists;
	bool		dead;			/* stays down */
	uint64_t	clock_offset;
	unsigned	clock_rate;		/* of RATE_TRUE */
	ConsensusConfig config;
	uint64_t	frozen_until;
	uint64_t	no_lead_until;	/* its applier has stopped, it is being reconciled */

	/* shared memory: lost when the server crashes */
	bool		up;
	bool		gate_open;
	uint64_t	lease_until;	/* own clock */
	uint64_t	append_term;
	uint64_t	lead_term;		/* it leads this term, and its TERM record is in the log; 0 not */
	int			lead_len;		/* length of the log up to that record */
	bool		held;			/* a planned failover has closed the gate */
	ConsensusPromise promise;	/* the receivers' */
	Appending	appending;
	bool		failover_seen;	/* the last applied frame is to be reported */
	int			apply_to;		/* frames that its primary, or it as primary, has flushed */
	int			acked[MAX_NODES];	/* primary: what the others have, in frames */
	int			committed;		/* frames that a majority has, as far as known */
	uint64_t	ship_next;		/* true time of the next heartbeat */

	/* a sign of life that the coordinator has not been told of */
	bool		contact;
	uint64_t	contact_term;
	uint32_t	contact_lease;

	/* the coordinator: lost when it crashes */
	bool		coordinator;
	Consensus	core;
	int			core_members;	/* length of the log whose membership the core has been told */
	bool		core_before;	/* ... as not committed yet */
	uint64_t	next_tick;		/* own clock */
	uint16_t	fetch_from;
} Node;

typedef enum PacketKind
{
	PACKET_MESSAGE,
	PACKET_APPEND,
	PACKET_ACK
} PacketKind;

typedef struct Packet
{
	uint8_t		kind;			/* PacketKind */
	bool		used;
	uint8_t		from;			/* node index */
	uint8_t		to;
	uint8_t		message[CONSENSUS_MESSAGE_LEN];
	uint64_t	term;
	int			len;			/* APPEND: frames before these; ACK: frames that the log has, -1 unknown */
	int			committed;		/* APPEND */
	int			flushed;		/* APPEND: frames that the primary has flushed */
	uint64_t	hash;			/* APPEND: of the frame before */
	uint32_t	lease;			/* APPEND */
	uint64_t	sent;			/* APPEND, ACK: when, by the primary's clock; ACK: 0 no promise */
	uint16_t	leader;			/* ACK: who leads `term`, as far as known */
	int			count;
	Frame		frame[BATCH];
} Packet;

typedef enum EventKind
{
	WORLD_PACKET,				/* index: packet */
	WORLD_TURN,					/* index: node */
	WORLD_FLUSHED,				/* index: node */
	WORLD_RESTART,				/* index: node */
	WORLD_CHAOS
} EventKind;

typedef struct WorldEvent
{
	uint64_t	at;
	uint64_t	number;			/* of events at one time the first comes first */
	uint64_t	turn;			/* FLUSHED */
	uint16_t	kind;
	uint16_t	index;
} WorldEvent;

#define MAX_EVENTS	1024

/* ---- what the checks remember ---- */

typedef struct Reign
{
	uint64_t	term;
	int			node;
} Reign;

typedef struct HandOver
{
	int			from;			/* the old primary voted ... */
	uint64_t	term;			/* ... for this term ... */
	int			len;			/* ... and its log was this */
	uint64_t	hash;
} HandOver;

typedef struct Vote
{
	int			node;
	uint64_t	term;
	uint16_t	voted_for;
} Vote;

/* A promise by true time: until then the leader may count on it. */
typedef struct Promised
{
	uint64_t	term;
	uint64_t	until;
} Promised;

typedef struct Ledger
{
	int			n_reigns;
	Reign		reign[MAX_REIGNS];
	int			n_hand_overs;
	HandOver	hand_over[MAX_REIGNS];
	int			committed;		/* frames that a majority has acknowledged */
	uint64_t	chain[MAX_FRAMES];	/* their hashes ... */
	uint64_t	committed_in[MAX_FRAMES];	/* ... and the term of the primary that it was to */
	int			n_votes;
	Vote		vote[MAX_VOTES];	/* for others; the latest */
	bool		settled[MAX_IDS];	/* frames, by id, that a primary has flushed */
	Promised	promised[MAX_NODES][MAX_NODES]; /* by whom, to whom */
	struct
	{
		int			n;
		uint64_t	term[MAX_VARIANTS];
		uint64_t	hash[MAX_VARIANTS];
	}			variants[MAX_FRAMES];	/* frames that were ever at this position */
} Ledger;

typedef struct Counts
{
	unsigned	outcome[OUTCOME_LEASE_LOST + 1];
	unsigned	steps;
	unsigned	changes;		/* of members, committed */
	unsigned	fetches;
	unsigned	copies;
	unsigned	ahead;			/* frames that came to a receiver before their primary had flushed them ... */
	unsigned	ahead_lost;		/* ... and were lost by that one in a crash */
	unsigned	frozen_open;	/* a server froze with its gate open */
	unsigned	acknowledged;	/* times that a majority had more */
	unsigned	excused;		/* no majority could come together in the calm */
	unsigned	elected_equal;	/* elections in which only the priority differed ... */
	unsigned	elected_lower;	/* ... and not the highest was elected */
	unsigned	settle_ms;		/* longest time to rest */
} Counts;

typedef struct World
{
	uint64_t	seed;
	uint64_t	random;
	bool		trace;
	bool		calm;			/* the end of a schedule: nothing breaks any more */
	Mode		mode;
	unsigned	drift;			/* largest deviation of a clock's rate, of RATE_TRUE */
	bool		count_unflushed;	/* broken on purpose: the primary's own place counts at once */
	bool		apply_unflushed;	/* broken on purpose: applied is what the node itself has flushed */
	uint64_t	now;			/* true time */
	uint64_t	next_id;
	int			n;				/* nodes that exist(ed); the rest joins */

	/* how rough this schedule is; per mille */
	unsigned	loss;
	unsigned	crash;			/* at each point of an update */
	unsigned	late;			/* packets that take as long as a lease */
	unsigned	chaos_ms;		/* mean time between two mishaps */
	bool		changes;		/* members change */
	bool		failovers;
	bool		same_timeouts;

	bool		cut[MAX_NODES][MAX_NODES];
	Node		node[MAX_NODES];
	int			n_memberships;
	ConsensusMembership membership[MAX_MEMBERSHIPS];
	Packet		packet[MAX_PACKETS];
	int			n_events;
	uint64_t	event_number;
	WorldEvent	event[MAX_EVENTS];

	char		failure[200];	/* "" as long as all is well */
	Ledger		ledger;
	Counts		counts;
} World;

/* world.c: chance, time, the queue, the beginning */
extern unsigned dice(World *w, unsigned sides);
extern bool chance(World *w, unsigned per_mille);
extern void trace(World *w, const char *format, ...);
extern void world_init(World *w, uint64_t seed, int mode);
extern void schedule(World *w, uint64_t at, EventKind kind, int index, uint64_t turn);
extern bool next_event(World *w, WorldEvent *out);
extern uint64_t node_clock(const World *w, int i);
extern uint64_t true_time(const World *w, int i, uint64_t clock);
extern bool loose(const World *w);

/* log.c: frames, and the members that they carry */
extern uint64_t log_hash(const Disk *disk, int len);
extern ConsensusPlace log_place(const Disk *disk);
extern bool log_has(const Disk *disk, int len, uint64_t hash);
extern int	log_common(const Disk *a, const Disk *b);
extern void log_put(World *w, int i, const Frame *f);
extern void log_cut(World *w, int i, int len);
extern int	members_len(const Disk *disk);
extern const ConsensusMembership *members_of(const World *w, const Disk *disk);
extern const ConsensusMembership *members_before(const World *w, const Disk *disk);
extern const ConsensusMember *member_of(const ConsensusMembership *m, int node);
extern bool is_voter(const ConsensusMember *m);
extern bool is_quorum(const ConsensusMembership *m, const bool *set);
extern int	count_voters(const ConsensusMembership *m);

/* node.c: a server and its coordinator */
extern bool node_runs(const World *w, int i);
extern bool node_may_lead(const World *w, int i);
extern bool gate_is_open(const World *w, int i);
extern bool crash_now(World *w, int i, const char *when);
extern bool node_step(World *w, int i, ConsensusEvent *e);
extern void node_crash(World *w, int i, const char *when);
extern void coordinator_crash(World *w, int i);
extern void node_start(World *w, int i);
extern bool node_append(World *w, int i, Frame frame);
extern void node_flush(World *w, int i);
extern bool node_adopt_members(World *w, int i);
extern bool node_members_committed(World *w, int i, int committed);

/* network.c: packets, shipping, receiving */
extern void message_post(World *w, int from, const ConsensusMessage *m);
extern void node_ship(World *w, int i);
extern bool node_contact(World *w, int i);
extern void node_commit(World *w, int i);
extern void deliver(World *w, int at);
extern void append_flushed(World *w, int i, uint64_t turn);

/* change.c: changes of members, failovers, copies */
extern void change_members(World *w, int i);
extern void begin_failover(World *w, int i);
extern void copy_begin(World *w, int i);
extern void copy_end(World *w, int i);
extern void fetch(World *w, int i);

/* act.c: what a server does in its turn, and what happens to it */
extern void node_turn(World *w, int i);
extern void person_promotes(World *w, int i, bool force);
extern void chaos(World *w);
extern void run_event(World *w, const WorldEvent *event);

/* calm.c: a schedule's end */
extern void calm_down(World *w);

/* check.c */
extern void fail(World *w, const char *format, ...);
extern void check_step(World *w, int i, const ConsensusEvent *e, const ConsensusUpdate *u);
extern void check_update(World *w, int i, const ConsensusUpdate *u);
extern void check_persist(World *w, int i, const ConsensusDurable *old, ConsensusOutcome outcome);
extern void check_message(World *w, int i, const ConsensusMessage *m);
extern void check_promise(World *w, int i, int leader, uint64_t term, uint64_t sent, uint32_t lease);
extern void check_primary(World *w, int i, ConsensusOutcome outcome);
extern void check_hand_over(World *w, int i);
extern void check_committed(World *w, int i, int len);
extern void check_cut(World *w, int i, int len);
extern void note_settled(World *w, int i);
extern void check_applied(World *w, int i);
extern void check_frame(World *w, int i);
extern void check_gates(World *w);

#endif							/* SIM_WORLD_H */
