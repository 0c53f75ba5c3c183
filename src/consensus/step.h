/*
 * step.h - what the files of consensus/ share: one step, from event to update.
 *
 * consensus.c takes the event and hands it to the file of its duty: term.c
 * (terms, who leads), vote.c (the voter), lease.c (promises, the primary's lease),
 * stand.c (when to stand for election), election.c (campaigns), transfer.c (planned
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
extern int32_t quorum_priority(const ConsensusMembership *m, uint16_t id);
extern bool quorum_precedes(const ConsensusMembership *m, uint16_t a, uint16_t b);
extern int	quorum_rank(const ConsensusMembership *m, uint16_t id, uint16_t leader);
extern bool quorum_alone(const Consensus *c, bool resume);
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
extern void leader_contact(Step *s);
extern void become_unknown(Step *s);
extern void become_follower(Step *s);

/* vote.c */
extern void vote_request(Step *s, const ConsensusMessage *m);

/* lease.c */
extern void promise_take(Consensus *c, const ConsensusPromise *p);
extern void promise_give(Step *s, uint64_t term, uint16_t leader, uint32_t lease, uint64_t from);
extern bool promise_binds(const Consensus *c, uint16_t candidate, uint64_t now);
extern void promise_clear(Consensus *c);
extern uint64_t bound_until(const Consensus *c);
extern void heard_from(Step *s, uint16_t member, uint64_t sent);
extern void lease_begin(Step *s, bool waived);
extern void lease_renew(Step *s);
extern void lease_expire(Step *s);

/* stand.c */
extern bool may_stand(const Step *s);
extern void campaign_expire(Step *s);
extern void stand_plan(Step *s, uint64_t from);
extern void stand_soon(Step *s);
extern void stand_again(Step *s, ConsensusRefusal refusal);
extern void stand_tick(Step *s);
extern void silence(Step *s);
extern void leaderless(Step *s);
extern void fetch_begin(Step *s, const ConsensusMessage *m);

/* election.c */
extern void campaign_begin(Step *s, ConsensusCampaign kind);
extern void campaign_clear(Consensus *c);
extern void campaign_lost(Step *s, ConsensusRefusal refusal);
extern void campaign_ask(Step *s);
extern void campaign_advance(Step *s);
extern void campaign_tick(Step *s);
extern void campaign_members(Step *s);
extern void promote(Step *s);
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
