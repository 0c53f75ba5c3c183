/*
 * message.c - messages: filling in what every message says, and the wire form
 * (described in consensus.h).
 */
#include "consensus/step.h"

#include <assert.h>
#include <string.h>

#define MESSAGE_VERSION	1
#define FLAG_GRANTED	0x01
#define FLAG_PRE		0x02
#define FLAG_STANDS		0x04

/*
 * Puts a message into the update.  The caller has set `to` and what is special
 * to the type; what the sender knows about itself is filled in here, after
 * durable has been set, so that a message never says less than the disk.
 */
void
message_send(Step *s, ConsensusMessage *m)
{
	const Consensus *c = s->c;

	assert(s->u->n_messages < CONSENSUS_MAX_MESSAGES);
	assert(m->to != 0 && m->to != c->self);
	m->from = c->self;
	m->term = c->durable.term;
	m->place = c->log;
	if (leader_alive(c, s->e->now))
	{
		m->leader = c->leader;
		m->leader_term = c->durable.term;
	}
	s->u->message[s->u->n_messages++] = *m;
}

/* Answers a request: REFUSED_NOT grants it. */
void
message_reply(Step *s, const ConsensusMessage *request, ConsensusRefusal refusal)
{
	ConsensusMessage m = {0};

	m.type = request->type == MSG_VOTE_REQUEST ? MSG_VOTE_RESPONSE : MSG_TRANSFER_RESPONSE;
	m.to = request->from;
	m.granted = refusal == REFUSED_NOT;
	m.refusal = (uint8_t) refusal;
	m.pre = request->pre;
	m.ask_term = request->ask_term;
	m.attempt = request->attempt;
	m.sent = request->sent;
	m.stands = refusal == REFUSED_BEHIND && may_stand(s);
	message_send(s, &m);
}

static void
put(uint8_t *out, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t) (value >> (8 * i));
}

static uint64_t
get(const uint8_t *in, int bytes)
{
	uint64_t	value = 0;

	for (int i = 0; i < bytes; i++)
		value |= (uint64_t) in[i] << (8 * i);
	return value;
}

void
consensus_message_encode(const ConsensusMessage *m, uint8_t out[CONSENSUS_MESSAGE_LEN])
{
	memset(out, 0, CONSENSUS_MESSAGE_LEN);
	out[0] = MESSAGE_VERSION;
	out[1] = m->type;
	out[2] = (uint8_t) ((m->granted ? FLAG_GRANTED : 0) | (m->pre ? FLAG_PRE : 0) |
						(m->stands ? FLAG_STANDS : 0));
	out[3] = m->refusal;
	put(out + 4, m->from, 2);
	put(out + 6, m->to, 2);
	put(out + 8, m->release_from, 2);
	put(out + 10, m->leader, 2);
	put(out + 12, m->lease, 4);
	put(out + 16, m->term, 8);
	put(out + 24, m->ask_term, 8);
	put(out + 32, m->place.term, 8);
	put(out + 40, m->place.pos, 8);
	put(out + 48, m->attempt, 8);
	put(out + 56, m->leader_term, 8);
	put(out + 64, m->sent, 8);
}

bool
consensus_message_decode(const uint8_t *bytes, int len, ConsensusMessage *m)
{
	if (len != CONSENSUS_MESSAGE_LEN || bytes[0] != MESSAGE_VERSION)
		return false;
	if (bytes[1] < MSG_VOTE_REQUEST || bytes[1] > MSG_LEADER)
		return false;
	if ((bytes[2] & ~(FLAG_GRANTED | FLAG_PRE | FLAG_STANDS)) != 0 || bytes[3] > REFUSED_REMOVED)
		return false;

	memset(m, 0, sizeof(*m));
	m->type = bytes[1];
	m->granted = (bytes[2] & FLAG_GRANTED) != 0;
	m->pre = (bytes[2] & FLAG_PRE) != 0;
	m->stands = (bytes[2] & FLAG_STANDS) != 0;
	m->refusal = bytes[3];
	m->from = (uint16_t) get(bytes + 4, 2);
	m->to = (uint16_t) get(bytes + 6, 2);
	m->release_from = (uint16_t) get(bytes + 8, 2);
	m->leader = (uint16_t) get(bytes + 10, 2);
	m->lease = (uint32_t) get(bytes + 12, 4);
	m->term = get(bytes + 16, 8);
	m->ask_term = get(bytes + 24, 8);
	m->place.term = get(bytes + 32, 8);
	m->place.pos = get(bytes + 40, 8);
	m->attempt = get(bytes + 48, 8);
	m->leader_term = get(bytes + 56, 8);
	m->sent = get(bytes + 64, 8);
	return m->from != 0 && m->to != 0 && m->from != m->to;
}
