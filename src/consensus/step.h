/*
 * step.h - what the files of consensus/ share: one step, from event to update.
 *
 * consensus.c takes the event and hands it to the file of its duty: term.c
 * (terms, who leads), election.c (votes and campaigns), transfer.c (planned
 * failover), message.c (sending, wire form), quorum.c (who counts).
 */
#ifndef BATON_CONSENSUS_STEP_H
#define BATON_CONSENSUS_STEP_H

#include "consensus/consensus.h"

typedef struct Step
{
	Consensus  *c;
	const ConsensusEvent *e;
	ConsensusUpdate *u;
} Step;

/* quorum.c */
extern int	quorum_index(const ConsensusMembership *m, uint16_t id);
extern bool quorum_votes(const ConsensusMembership *m, uint16_t id);
extern bool quorum_may_lead(const ConsensusMembership *m, uint16_t id);
extern bool quorum_may_be_forced(const ConsensusMembership *m, uint16_t id);
extern bool quorum_solo(const ConsensusMembership *m, uint16_t id);
extern bool quorum_won(const Consensus *c);

/* message.c */
extern void message_send(Step *s, ConsensusMessage *m);
extern void message_reply(Step *s, const ConsensusMessage *request, ConsensusRefusal refusal);

/* term.c */
extern bool leader_alive(const Consensus *c, uint64_t now);
extern void durable_set(Step *s, uint64_t term, uint16_t voted_for);
extern void resume_forbid(Step *s);
extern void term_seen(Step *s, uint64_t term);
extern void leader_seen(Step *s, uint64_t term, uint16_t leader, bool direct);
extern void become_unknown(Step *s);

/* election.c */
extern void campaign_begin(Step *s, ConsensusCampaign kind);
extern void campaign_clear(Consensus *c);
extern void campaign_lost(Step *s, ConsensusRefusal refusal);
extern void campaign_ask(Step *s);
extern void campaign_advance(Step *s);
extern void campaign_tick(Step *s);
extern void campaign_members(Step *s, const ConsensusMembership *new_members);
extern void promote(Step *s);
extern void vote_request(Step *s, const ConsensusMessage *m);
extern void vote_response(Step *s, const ConsensusMessage *m);

/* transfer.c */
extern void failover_begin(Step *s);
extern void failover_void(Step *s);
extern void failover_tick(Step *s);
extern void transfer_request(Step *s, const ConsensusMessage *m);
extern void failover_seen(Step *s);
extern bool transfer_begin(Step *s);
extern void transfer_tick(Step *s);
extern void transfer_response(Step *s, const ConsensusMessage *m);

#endif							/* BATON_CONSENSUS_STEP_H */
