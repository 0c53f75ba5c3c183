/*
 * check.c - what must hold in every schedule, whatever happens in it.  The checks
 * keep an account of their own (World.ledger), in true time; of the core's state
 * they use only what it says it is.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The first failure counts. */
void
fail(World *w, const char *format, ...)
{
	va_list		args;

	if (w->failure[0] != '\0')
		return;
	va_start(args, format);
	vsnprintf(w->failure, sizeof(w->failure), format, args);
	va_end(args);
	trace(w, "FAILED: %s", w->failure);
}

/* ---- a step ---- */

/* Who stands, and what a pre-vote may not do. */
void
check_step(World *w, int i, const ConsensusEvent *e, const ConsensusUpdate *u)
{
	const Node *node = &w->node[i];
	const Consensus *c = &node->core;
	const ConsensusMember *m = member_of(members_of(w, &node->disk), i);

	if (u->lease_until != 0 && c->role != ROLE_PRIMARY)
		fail(w, "node %d has a lease without leading", i + 1);
	if (u->fetch_from != 0 && (c->role != ROLE_UNKNOWN || u->fetch_from == i + 1))
		fail(w, "node %d fetches as %s", i + 1, consensus_role_name(c->role));
	if (u->role_changed && c->role == ROLE_CANDIDATE && c->campaign == CAMPAIGN_ELECT)
	{
		if (m == NULL || m->type != CONSENSUS_ELECTABLE || m->joining || m->detached || m->priority == 0)
			fail(w, "node %d stands, and must not", i + 1);
		if (!e->may_lead)
			fail(w, "node %d stands and cannot lead", i + 1);
		if (members_of(w, &node->disk)->paused)
			fail(w, "node %d stands while elections are paused", i + 1);
	}
	if (e->type == EV_MESSAGE && e->message.type == MSG_VOTE_REQUEST && e->message.pre &&
		(c->durable.term >= e->message.ask_term) != (node->disk.durable.term >= e->message.ask_term) &&
		c->durable.voted_for == e->message.from)
		fail(w, "node %d votes in the pre-vote round", i + 1);
}

/* Nothing that is to be remembered is left in memory only. */
void
check_update(World *w, int i, const ConsensusUpdate *u)
{
	const Node *node = &w->node[i];

	if (node->core.durable.term != node->disk.durable.term ||
		node->core.durable.voted_for != node->disk.durable.voted_for ||
		node->core.durable.promise_ms != node->disk.durable.promise_ms)
		fail(w, "node %d: term, vote or promise changed without persist", i + 1);
	if (node->core.may_resume != node->disk.was_primary)
		fail(w, "node %d: may_resume changed without persist", i + 1);
	if (u->n_messages > CONSENSUS_MAX_MESSAGES)
		fail(w, "node %d: too many messages", i + 1);
}

/* ---- votes and promises ---- */

static bool
led_above(const Ledger *l, uint64_t term)
{
	for (int k = 0; k < l->n_reigns; k++)
	{
		if (l->reign[k].term > term)
			return true;
	}
	return false;
}

static void
note_vote(Ledger *l, int node, const ConsensusDurable *d)
{
	Vote	   *v = &l->vote[l->n_votes++ % MAX_VOTES];

	v->node = node;
	v->term = d->term;
	v->voted_for = d->voted_for;
}

static bool
has_voted(const Ledger *l, int node, const ConsensusDurable *d)
{
	for (int k = 0; k < l->n_votes && k < MAX_VOTES; k++)
	{
		if (l->vote[k].node == node && l->vote[k].term == d->term && l->vote[k].voted_for == d->voted_for)
			return true;
	}
	return false;
}

/*
 * A vote against a running promise: the leader may count on it, by its own clock,
 * and has neither released it by its own vote for the same nor been followed by
 * another.
 */
static void
check_vote(World *w, int i)
{
	const ConsensusDurable *d = &w->node[i].disk.durable;

	for (int to = 0; to < w->n; to++)
	{
		const Promised *p = &w->ledger.promised[i][to];

		if (to == i || to + 1 == d->voted_for || w->now >= p->until || led_above(&w->ledger, p->term) ||
			has_voted(&w->ledger, to, d))
			continue;
		fail(w, "node %d votes for %d against its promise to %d", i + 1, d->voted_for, to + 1);
	}
}

/* A term never goes back, a vote is never changed, a promise is never made smaller. */
void
check_persist(World *w, int i, const ConsensusDurable *old, ConsensusOutcome outcome)
{
	const ConsensusDurable *new = &w->node[i].disk.durable;

	if (new->term < old->term)
		fail(w, "node %d: its term goes back", i + 1);
	if (new->promise_ms < old->promise_ms)
		fail(w, "node %d forgets how long it has promised", i + 1);
	if (new->term == old->term && old->voted_for != 0 && new->voted_for != old->voted_for)
		fail(w, "node %d votes twice in a term", i + 1);
	if (new->voted_for == 0 || (new->term == old->term && old->voted_for != 0))
		return;
	note_vote(&w->ledger, i, new);
	if (outcome != OUTCOME_FORCED)
		check_vote(w, i);
}

/* Node i has promised `lease` ms from `sent` on, by the clock of the leader. */
void
check_promise(World *w, int i, int leader, uint64_t term, uint64_t sent, uint32_t lease)
{
	Promised   *p = &w->ledger.promised[i][leader];
	uint64_t	until = true_time(w, leader, sent + lease);

	if (p->term != term || p->until < until)
		p->until = until;
	p->term = term;
	if (w->node[i].disk.durable.promise_ms < lease)
		fail(w, "node %d promises more than its disk says", i + 1);
}

/* What is said is on disk, and survives the wire. */
void
check_message(World *w, int i, const ConsensusMessage *m)
{
	const Disk *disk = &w->node[i].disk;
	uint8_t		bytes[CONSENSUS_MESSAGE_LEN];
	uint8_t		again[CONSENSUS_MESSAGE_LEN];
	ConsensusMessage decoded;

	if (m->term > disk->durable.term)
		fail(w, "node %d speaks in a term that is not on its disk", i + 1);
	if ((m->type == MSG_VOTE_RESPONSE || m->type == MSG_TRANSFER_RESPONSE) &&
		m->granted && !m->pre &&
		(disk->durable.term != m->ask_term || disk->durable.voted_for != m->to))
		fail(w, "node %d grants a vote that is not on its disk", i + 1);
	if (m->type == MSG_VOTE_REQUEST && !m->pre &&
		(disk->durable.term != m->ask_term || disk->durable.voted_for != i + 1))
		fail(w, "node %d asks for votes without its own on disk", i + 1);
	consensus_message_encode(m, bytes);
	if (!consensus_message_decode(bytes, CONSENSUS_MESSAGE_LEN, &decoded))
		fail(w, "node %d sends what does not decode", i + 1);
	consensus_message_encode(&decoded, again);
	if (memcmp(bytes, again, sizeof(bytes)) != 0 || memcmp(&decoded.place, &m->place, sizeof(m->place)) != 0 ||
		decoded.sent != m->sent || decoded.lease != m->lease)
		fail(w, "a message changes on the wire");
}

/* ---- reigns ---- */

/*
 * A failover has come to its end: the log is the old primary's.  The old primary
 * may also have given the same vote to the same node in a plain election, which the
 * rules for elections then cover.
 */
static void
check_transferred(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;

	for (int k = 0; k < w->ledger.n_hand_overs; k++)
	{
		const HandOver *h = &w->ledger.hand_over[k];

		if (h->term == disk->durable.term && (disk->flushed != h->len || log_hash(disk, h->len) != h->hash))
			fail(w, "node %d takes over with a log that is not the old primary's", i + 1);
	}
}

/* How much was acknowledged to primaries of lower terms than this. */
static int
committed_below(const Ledger *l, uint64_t term)
{
	int			len = l->committed;

	while (len > 0 && l->committed_in[len - 1] >= term)
		len--;
	return len;
}

/*
 * A node leads: in a term of its own, and with all that must not be lost.  Votes that
 * were long on their way can still elect for a term that has been passed; that one
 * finds its lease run out, and commits nothing.
 */
void
check_primary(World *w, int i, ConsensusOutcome outcome)
{
	const Disk *disk = &w->node[i].disk;
	const ConsensusMember *m = member_of(members_of(w, disk), i);
	Ledger	   *l = &w->ledger;
	uint64_t	term = disk->durable.term;
	int			committed = committed_below(l, term);

	for (int k = 0; k < l->n_reigns; k++)
	{
		if (l->reign[k].term == term)
			fail(w, "term %llx is led twice, by node %d and node %d",
				 (unsigned long long) term, l->reign[k].node + 1, i + 1);
	}
	if (l->n_reigns < MAX_REIGNS)
	{
		l->reign[l->n_reigns].term = term;
		l->reign[l->n_reigns++].node = i;
	}
	if (TERM_MEMBER(term) != i + 1)
		fail(w, "node %d leads a term of another", i + 1);
	if (!loose(w) && committed > 0 && !log_has(disk, committed, l->chain[committed - 1]))
		fail(w, "node %d leads without what a majority has acknowledged", i + 1);
	if (w->mode != MODE_FORCED && outcome == OUTCOME_FORCED)
		fail(w, "node %d leads by force", i + 1);
	if (outcome != OUTCOME_FORCED &&
		(m == NULL || m->type != CONSENSUS_ELECTABLE || m->joining || m->detached))
		fail(w, "node %d leads, and must not", i + 1);
	if (outcome != OUTCOME_FORCED && !node_may_lead(w, i) && outcome != OUTCOME_TRANSFERRED)
		fail(w, "node %d leads and cannot", i + 1);
	if (outcome == OUTCOME_TRANSFERRED)
		check_transferred(w, i);
}

/* The old primary's vote is given. */
void
check_hand_over(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;
	HandOver   *h = &w->ledger.hand_over[w->ledger.n_hand_overs];

	if (w->ledger.n_hand_overs == MAX_REIGNS)
		return;
	w->ledger.n_hand_overs++;
	h->from = i;
	h->term = disk->durable.term;
	h->len = disk->flushed;
	h->hash = log_hash(disk, disk->flushed);
}

/* ---- the log ---- */

/* A majority has acknowledged so many frames to the primary i: they stay for ever. */
void
check_committed(World *w, int i, int len)
{
	const Disk *disk = &w->node[i].disk;
	Ledger	   *l = &w->ledger;

	w->counts.acknowledged++;
	if (loose(w))
		return;
	for (int k = 0; k < len && k < l->committed; k++)
	{
		if (disk->log[k].hash != l->chain[k])
			fail(w, "node %d commits beside what was committed", i + 1);
	}
	for (; l->committed < len; l->committed++)
	{
		l->chain[l->committed] = disk->log[l->committed].hash;
		l->committed_in[l->committed] = w->node[i].lead_term;
	}
}

/* A log is about to be cut behind `len` frames. */
void
check_cut(World *w, int i, int len)
{
	const Disk *disk = &w->node[i].disk;

	trace(w, "node %d cuts its log to %d", i + 1, len);
	if (!loose(w) && len < disk->flushed && len < w->ledger.committed &&
		disk->log[len].hash == w->ledger.chain[len])
		fail(w, "node %d cuts what a majority has", i + 1);
}

/* A primary has flushed its log. */
void
note_settled(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;

	for (int k = disk->flushed - 1; k >= 0; k--)
	{
		uint64_t	id = disk->log[k].id;

		if (id >= MAX_IDS)
			fail(w, "too many frames");
		else if (!w->ledger.settled[id])
			w->ledger.settled[id] = true;
		else
			break;
	}
}

/*
 * A node has applied a frame.  Others may be elected without it, and then it has to be
 * mended, as ever; but no primary may have lost it in a crash and be right not to know it.
 */
void
check_applied(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;
	uint64_t	id = disk->log[disk->applied - 1].id;

	if (id >= MAX_IDS || !w->ledger.settled[id])
		fail(w, "node %d applies what no primary has flushed", i + 1);
}

/* A frame was put at the end of a log: the same place is the same log, everywhere. */
void
check_frame(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;
	const Frame *f = &disk->log[disk->len - 1];
	uint64_t   *terms = w->ledger.variants[disk->len - 1].term;
	uint64_t   *hashes = w->ledger.variants[disk->len - 1].hash;
	int		   *n = &w->ledger.variants[disk->len - 1].n;

	for (int k = 0; k < *n; k++)
	{
		if (terms[k] == f->term)
		{
			if (hashes[k] != f->hash)
				fail(w, "node %d: two logs of one place", i + 1);
			return;
		}
	}
	if (*n < MAX_VARIANTS)
	{
		terms[*n] = f->term;
		hashes[(*n)++] = f->hash;
	}
	if (disk->len > 1 && f->term < disk->log[disk->len - 2].term)
		fail(w, "node %d: terms go back in its log", i + 1);
}

/* ---- gates ---- */

/*
 * Gates open by events only, and close by time alone at the latest, so two that are
 * open at one instant are so right behind an event.
 */
void
check_gates(World *w)
{
	int			first = -1;

	if (loose(w))
		return;
	for (int i = 0; i < w->n; i++)
	{
		if (!gate_is_open(w, i))
			continue;
		if (first >= 0)
			fail(w, "the gates of node %d and node %d are open", first + 1, i + 1);
		first = i;
	}
}
