/*
 * play.h - a conversation between nodes that each run the consensus core: their
 * disks, one clock, and a network in which messages wait until they are delivered.
 */
#ifndef PLAY_H
#define PLAY_H

#include "consensus/consensus.h"

#define MAX_WORDS	16
#define MAX_PENDING 256
#define MAX_TEXT	(1 << 18)

typedef struct Node
{
	/* on disk */
	ConsensusDurable disk;
	bool		was_primary;
	ConsensusPlace log;
	ConsensusPlace floor;
	ConsensusMembership members;
	bool		has_before;
	ConsensusMembership before;

	bool		up;
	Consensus	core;
	ConsensusPromise promise;	/* given by a receiver, beside the core */
	bool		cannot_lead;
	uint32_t	timeout;
	uint64_t	next_tick;
	uint16_t	fetch_from;
} Node;

typedef struct Play
{
	const char *file;
	int			line;
	uint64_t	now;
	uint32_t	random;
	int			n;				/* nodes; node 1 is node[1] */
	Node		node[CONSENSUS_MAX_MEMBERS + 1];
	ConsensusMembership members;	/* all nodes, also those that are removed */
	bool		removed[CONSENSUS_MAX_MEMBERS + 1];
	bool		cut[CONSENSUS_MAX_MEMBERS + 1][CONSENSUS_MAX_MEMBERS + 1];
	int			n_pending;
	ConsensusMessage pending[MAX_PENDING];
	int			n_text;
	int			n_before;		/* time passes: where its text begins, else 0 */
	char		text[MAX_TEXT];
} Play;

/* nodes.c */
extern void bad_script(Play *p, const char *what);
extern void put(Play *p, const char *format, ...);
extern const char *term_text(uint64_t term);
extern void step(Play *p, int n, ConsensusEvent *e);
extern void step_type(Play *p, int n, ConsensusEventType type);
extern void put_state(Play *p);
extern void put_leases(Play *p);
extern void pass_time(Play *p, uint64_t ms);
extern void deliver(Play *p, int from, int to, bool answers);
extern void lose(Play *p, int from, int to);
extern void repeat(Play *p, int from, int to);
extern void contact(Play *p, int from, int to, uint64_t term, uint32_t lease, bool answer);
extern void beat(Play *p);

/* commands.c */
extern void command(Play *p, char **word, int n);

#endif							/* PLAY_H */
