/*
 * nodes.c - what the nodes of a conversation do: one step of the core, carried out
 * and told, and the network and the clock between them.
 */
#include "play.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

void
bad_script(Play *p, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", p->file, p->line, what);
	exit(2);
}

void
put(Play *p, const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	p->n_text += vsnprintf(p->text + p->n_text, (size_t) (MAX_TEXT - p->n_text), format, args);
	va_end(args);
	if (p->n_text >= MAX_TEXT)
		bad_script(p, "too much output");
}

const char *
term_text(uint64_t term)
{
	static char text[8][32];
	static int	next;

	next = (next + 1) % 8;
	snprintf(text[next], sizeof(text[next]), "%u.%lu.%u", (unsigned) TERM_FORCED(term),
			 (unsigned long) TERM_REIGN(term), (unsigned) TERM_MEMBER(term));
	return text[next];
}

static const char *const campaign_names[] = {"", " (resume)", " (promote)", " (transfer)",
" (elect)"};

static void
put_message(Play *p, const ConsensusMessage *m)
{
	static const char *const names[] = {"", "vote request", "vote response",
	"transfer request", "transfer response", "leader"};

	put(p, "  %d -> %d: %s%s", m->from, m->to, m->pre ? "pre-" : "", names[m->type]);
	if (m->ask_term != 0)
		put(p, " %s", term_text(m->ask_term));
	if (m->type == MSG_VOTE_REQUEST || m->type == MSG_TRANSFER_REQUEST)
		put(p, " log %s:%lu", term_text(m->place.term), (unsigned long) m->place.pos);
	if (m->attempt != 0)
		put(p, " attempt %lu", (unsigned long) m->attempt);
	if (m->release_from != 0)
		put(p, " released by %d", m->release_from);
	if (m->type == MSG_VOTE_RESPONSE || m->type == MSG_TRANSFER_RESPONSE)
	{
		put(p, m->granted ? " granted" : " refused: %s",
			consensus_refusal_text((ConsensusRefusal) m->refusal));
		if (m->stands)
			put(p, ", and stands itself");
	}
	if (m->type == MSG_LEADER && m->leader == 0)
		put(p, "?");
	if (m->leader != 0)
		put(p, ", %d leads %s", m->leader, term_text(m->leader_term));
	put(p, "\n");
}

static void
put_update(Play *p, int n, ConsensusRole before, const ConsensusUpdate *u)
{
	static const char *const outcomes[] = {"", "elected", "resumed", "forced", "transferred",
	"handed over", "stepped down", "attempt void", "lost", "lease lost"};
	const Node *node = &p->node[n];
	const Consensus *c = &node->core;

	if (u->persist)
	{
		put(p, "  %d persists term %s vote %d%s", n, term_text(c->durable.term),
			c->durable.voted_for, c->may_resume ? ", may resume" : "");
		if (c->durable.promise_ms != node->disk.promise_ms)
			put(p, ", promises %u", (unsigned) c->durable.promise_ms);
		put(p, "\n");
	}
	if (u->role_changed)
		put(p, "  %d: %s -> %s%s\n", n, consensus_role_name(before),
			consensus_role_name(c->role), campaign_names[c->campaign]);
	if (u->outcome == OUTCOME_LOST)
		put(p, "  %d: lost: %s\n", n, consensus_refusal_text(u->refusal));
	else if (u->outcome != OUTCOME_NONE)
		put(p, "  %d: %s\n", n, outcomes[u->outcome]);
	if (u->fetch_from != node->fetch_from && u->fetch_from != 0)
		put(p, "  %d fetches from %d\n", n, u->fetch_from);
	else if (u->fetch_from != node->fetch_from)
		put(p, "  %d does not fetch any more\n", n);
}

void
put_state(Play *p)
{
	for (int i = 1; i <= p->n; i++)
	{
		const Node *node = &p->node[i];

		put(p, "  %d: %s%s term %s vote %d log %s:%lu", i,
			node->up ? consensus_role_name(node->core.role) : "down",
			campaign_names[node->core.campaign], term_text(node->disk.term),
			node->disk.voted_for, term_text(node->log.term), (unsigned long) node->log.pos);
		if (node->up && node->core.leader != 0)
			put(p, " leader %d", node->core.leader);
		put(p, "\n");
	}
}

/* The gates that leases hold open. */
void
put_leases(Play *p)
{
	for (int i = 1; i <= p->n; i++)
	{
		const Consensus *c = &p->node[i].core;

		if (!p->node[i].up || c->role != ROLE_PRIMARY)
			continue;
		if (c->lease_until == LEASE_UNLIMITED)
			put(p, "  %d leads without limit\n", i);
		else if (c->lease_until <= p->now)
			put(p, "  %d has no lease\n", i);
		else
			put(p, "  %d has a lease for %lu\n", i, (unsigned long) (c->lease_until - p->now));
	}
}

/* ---- steps ---- */

static void
post(Play *p, const ConsensusMessage *m)
{
	uint8_t		bytes[CONSENSUS_MESSAGE_LEN];
	int			start = p->n_text;
	char		line[256];

	put_message(p, m);
	snprintf(line, sizeof(line), "%s", p->text + start);
	p->n_text = start;
	p->text[start] = '\0';
	if (p->n_before == 0 || strstr(p->text + p->n_before, line) == NULL)
		put(p, "%s", line);
	if (p->n_pending == MAX_PENDING)
		bad_script(p, "too many messages wait");
	consensus_message_encode(m, bytes);
	if (!consensus_message_decode(bytes, sizeof(bytes), &p->pending[p->n_pending++]))
		bad_script(p, "a message does not decode");
}

void
step(Play *p, int n, ConsensusEvent *e)
{
	Node	   *node = &p->node[n];
	ConsensusRole before = node->core.role;
	ConsensusUpdate u;

	if (!node->up)
		return;
	e->now = p->now;
	e->log = node->log;
	e->floor = node->floor;
	e->promise = node->promise;
	e->random = p->random;
	e->may_lead = !node->cannot_lead;
	consensus_step(&node->core, e, &u);
	node->next_tick = u.next_tick;
	put_update(p, n, before, &u);
	node->fetch_from = u.fetch_from;
	if (u.persist)
	{
		node->disk = node->core.durable;
		node->was_primary = node->core.may_resume;
	}
	else if (memcmp(&node->disk, &node->core.durable, sizeof(node->disk)) != 0)
		bad_script(p, "what is to be on disk is in memory only");
	for (int i = 0; i < u.n_messages; i++)
		post(p, &u.message[i]);
	if (u.role_changed && node->core.role == ROLE_PRIMARY)
	{
		node->log.term = node->core.durable.term;
		node->log.pos += 10;
	}
}

void
step_type(Play *p, int n, ConsensusEventType type)
{
	ConsensusEvent e = {0};

	e.type = type;
	step(p, n, &e);
}

/* Time goes on to the next moment that a node asked for, until it is over. */
void
pass_time(Play *p, uint64_t ms)
{
	uint64_t	end = p->now + ms;
	int			before = p->n_before;

	if (before == 0)
		p->n_before = p->n_text;
	for (;;)
	{
		int			next = 0;

		for (int i = 1; i <= p->n; i++)
		{
			if (p->node[i].up && p->node[i].next_tick != 0 &&
				(next == 0 || p->node[i].next_tick < p->node[next].next_tick))
				next = i;
		}
		if (next == 0 || p->node[next].next_tick > end)
			break;
		if (p->node[next].next_tick > p->now)
			p->now = p->node[next].next_tick;
		step_type(p, next, EV_TICK);
		if (p->node[next].next_tick != 0 && p->node[next].next_tick <= p->now)
			bad_script(p, "a node asks for a moment that has passed");
	}
	p->now = end;
	p->n_before = before;
}

/* ---- the network; 0 stands for any node ---- */

/* Takes the first of the first *limit waiting messages on a path out. */
static bool
take(Play *p, int from, int to, int *limit, ConsensusMessage *m)
{
	for (int i = 0; i < *limit; i++)
	{
		if ((from != 0 && p->pending[i].from != from) || (to != 0 && p->pending[i].to != to))
			continue;
		*m = p->pending[i];
		memmove(&p->pending[i], &p->pending[i + 1],
				sizeof(*m) * (size_t) (--p->n_pending - i));
		--*limit;
		return true;
	}
	return false;
}

void
deliver(Play *p, int from, int to, bool answers)
{
	ConsensusEvent e = {0};
	int			limit = p->n_pending;

	e.type = EV_MESSAGE;
	while (take(p, from, to, &limit, &e.message))
	{
		if (e.message.to <= p->n && !p->cut[e.message.from][e.message.to])
			step(p, e.message.to, &e);
		if (answers)
			limit = p->n_pending;
	}
}

void
lose(Play *p, int from, int to)
{
	ConsensusMessage m;
	int			limit = p->n_pending;

	while (take(p, from, to, &limit, &m))
		;
}

void
repeat(Play *p, int from, int to)
{
	int			n = p->n_pending;

	for (int i = 0; i < n && p->n_pending < MAX_PENDING; i++)
	{
		if ((from == 0 || p->pending[i].from == from) && (to == 0 || p->pending[i].to == to))
			p->pending[p->n_pending++] = p->pending[i];
	}
}

/* A sign of life of `from`, and its answer from those who follow it. */
void
contact(Play *p, int from, int to, uint64_t term, uint32_t lease, bool answer)
{
	for (int i = 1; i <= p->n; i++)
	{
		ConsensusEvent e = {0};
		const Consensus *c = &p->node[i].core;

		if (i == from || (to != 0 && i != to) || p->cut[from][i])
			continue;
		e.type = EV_LEADER_CONTACT;
		e.leader = (uint16_t) from;
		e.term = term;
		e.lease = lease;
		step(p, i, &e);
		if (!answer || p->cut[i][from] || !p->node[i].up)
			continue;
		memset(&e, 0, sizeof(e));
		e.type = c->durable.term > term ? EV_PEER_TERM : EV_HEARD;
		e.leader = e.type == EV_HEARD ? (uint16_t) i : 0;
		e.term = c->durable.term;
		e.sent = p->now;
		if (e.type == EV_PEER_TERM || c->leader == from)
			step(p, from, &e);
	}
}

/* All primaries send heartbeats. */
void
beat(Play *p)
{
	for (int i = 1; i <= p->n; i++)
	{
		const Node *node = &p->node[i];

		if (node->up && node->core.role == ROLE_PRIMARY)
			contact(p, i, 0, node->core.durable.term, node->timeout, true);
	}
}
