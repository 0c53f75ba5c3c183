/*
 * world.h - the simulated world: nodes with a disk and a consensus core, a
 * network that loses, delays, doubles and reorders, and one clock per node.
 *
 * What is on a node's disk (vote, log, applied place) survives a crash, all else
 * is lost.  A log is a list of frames; a frame carries the hash of all before it,
 * so two logs are the same up to a frame if that frame is the same.
 *
 * What a schedule may do depends on its mode:
 *   transfer  planned failovers, stop and start; nothing may ever be lost, and
 *             there is never more than one primary
 *   promote   promotions by majority as well; what a majority has, stays
 *   forced    promotions by force as well; terms, votes and logs still hold
 * Everything in all of them: crashes at any point of an update, partitions, bad
 * clocks, loss.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "consensus/consensus.h"

#define MAX_NODES	5
#define MAX_FRAMES	400
#define MAX_PACKETS 192
#define MAX_REIGNS	2048
#define BATCH		4

typedef enum Mode
{
	MODE_TRANSFER,
	MODE_PROMOTE,
	MODE_FORCED,
	MODES
} Mode;

typedef enum FrameKind
{
	FRAME_TERM,
	FRAME_DATA,
	FRAME_FAILOVER
} FrameKind;

typedef struct Frame
{
	FrameKind	kind;
	uint64_t	term;
	uint64_t	id;				/* never used twice */
	uint16_t	target;			/* FAILOVER */
	uint64_t	attempt;		/* FAILOVER */
	uint64_t	hash;			/* over this frame and all before it */
} Frame;

typedef struct Disk
{
	ConsensusDurable durable;
	bool		was_primary;
	int			len;
	Frame		log[MAX_FRAMES];
	int			applied;		/* frames */
} Disk;

typedef struct Node
{
	Disk		disk;

	/* lost in a crash */
	bool		up;
	Consensus	core;
	bool		gate_open;
	bool		may_lead;
	bool		failover_seen;	/* the last applied frame is to be reported */
	uint64_t	next_tick;		/* own clock */
	int			acked[MAX_NODES];	/* primary: what the others have, in frames */

	uint64_t	clock_offset;
	unsigned	clock_rate;		/* per mille */
} Node;

typedef enum PacketKind
{
	PACKET_MESSAGE,
	PACKET_APPEND,
	PACKET_ACK
} PacketKind;

typedef struct Packet
{
	PacketKind	kind;
	int			from;			/* node index */
	int			to;
	uint8_t		message[CONSENSUS_MESSAGE_LEN];
	uint64_t	term;
	int			len;			/* APPEND: frames before these; ACK: frames that the log has, -1 stale */
	uint64_t	hash;			/* APPEND: of the frame before */
	uint16_t	leader;			/* ACK, stale: who leads, as far as known */
	int			count;
	Frame		frame[BATCH];
} Packet;

typedef struct Reign
{
	uint64_t	term;
	int			node;
} Reign;

typedef struct HandOver
{
	uint64_t	term;			/* the old primary voted for this one ... */
	int			len;			/* ... and its log was this */
	uint64_t	hash;
} HandOver;

typedef struct World
{
	uint64_t	seed;
	uint64_t	random;
	bool		trace;
	bool		calm;			/* the end of a schedule: nothing breaks any more */
	Mode		mode;
	int			n;
	uint64_t	now;
	uint64_t	next_id;
	unsigned	loss;			/* per mille */
	unsigned	crash;			/* per mille, at each point of an update */
	bool		cut[MAX_NODES][MAX_NODES];
	Node		node[MAX_NODES];
	ConsensusMembership members;
	ConsensusConfig config;
	int			n_packets;
	Packet		packet[MAX_PACKETS];

	/* what the checks remember */
	char		failure[200];	/* "" as long as all is well */
	int			n_reigns;
	Reign		reign[MAX_REIGNS];
	int			committed;		/* frames that a majority has */
	uint64_t	committed_hash;
	int			last_len;		/* end of the log of the last primary that wrote */
	uint64_t	last_hash;
	int			n_hand_overs;
	HandOver	hand_over[MAX_REIGNS];
	unsigned	outcomes[OUTCOME_LOST + 1];
} World;

/* world.c */
extern unsigned dice(World *w, unsigned sides);
extern bool chance(World *w, unsigned per_mille);
extern void trace(World *w, const char *format, ...);
extern void world_init(World *w, uint64_t seed, int mode);
extern uint64_t node_clock(const World *w, int i);
extern uint64_t log_hash(const Disk *disk, int len);
extern ConsensusPlace log_place(const Disk *disk);
extern bool node_step(World *w, int i, ConsensusEvent *e);
extern void node_crash(World *w, int i, const char *when);
extern void node_start(World *w, int i);
extern bool node_append(World *w, int i, Frame frame);
extern void node_ship(World *w, int i, int to);
extern void deliver(World *w);

/* check.c */
extern void fail(World *w, const char *format, ...);
extern void check_update(World *w, int i, const ConsensusUpdate *u);
extern void check_persist(World *w, int i, const ConsensusDurable *old);
extern void check_message(World *w, int i, const ConsensusMessage *m);
extern void check_primary(World *w, int i, ConsensusOutcome outcome);
extern void check_hand_over(World *w, int i);
extern void check_commit(World *w, int i);
extern void check_cut(World *w, int i, int len);
extern void check_frame(World *w, int i);
extern void check_world(World *w);

#endif							/* SIM_WORLD_H */
