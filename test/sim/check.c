/*
 * check.c - what must hold in every schedule, whatever happens in it.
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

/* Never two primaries at a time, where nothing but a primary's own vote ends its reign. */
static bool
one_primary_only(const World *w)
{
	return w->mode == MODE_TRANSFER || (w->mode == MODE_PROMOTE && w->n == 2);
}

/* Nothing that is to be remembered is left in memory only. */
void
check_update(World *w, int i, const ConsensusUpdate *u)
{
	const Node *node = &w->node[i];

	if (node->core.durable.term != node->disk.durable.term ||
		node->core.durable.voted_for != node->disk.durable.voted_for)
		fail(w, "node %d: term or vote changed without persist", i + 1);
	/* EV_START may take back what the disk says; it then says so to the disk */
	if (node->core.may_resume != node->disk.was_primary)
		fail(w, "node %d: may_resume changed without persist", i + 1);
	if (u->n_messages > CONSENSUS_MAX_MESSAGES)
		fail(w, "node %d: too many messages", i + 1);
}

/* A term never goes back, a vote is never changed. */
void
check_persist(World *w, int i, const ConsensusDurable *old)
{
	const ConsensusDurable *new = &w->node[i].disk.durable;

	if (new->term < old->term)
		fail(w, "node %d: its term goes back", i + 1);
	if (new->term == old->term && old->voted_for != 0 && new->voted_for != old->voted_for)
		fail(w, "node %d votes twice in a term", i + 1);
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
	if (memcmp(bytes, again, sizeof(bytes)) != 0 || memcmp(&decoded.place, &m->place, sizeof(m->place)) != 0)
		fail(w, "a message changes on the wire");
}

static bool
has(const Disk *disk, int len, uint64_t hash)
{
	return disk->len >= len && log_hash(disk, len) == hash;
}

/*
 * A failover has come to its end: the log is the old primary's.  Where people
 * promote, the old primary may have given the same vote to the same node in a
 * plain election, which the rules for elections then cover.
 */
static void
check_transferred(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;

	for (int k = 0; k < w->n_hand_overs; k++)
	{
		const HandOver *h = &w->hand_over[k];

		if (h->term != disk->durable.term)
			continue;
		if (disk->len != h->len || log_hash(disk, disk->len) != h->hash)
			fail(w, "node %d takes over with a log that is not the old primary's", i + 1);
		return;
	}
	if (w->mode == MODE_TRANSFER)
		fail(w, "node %d takes over what nobody handed over", i + 1);
}

/* A node leads: in a term of its own, and with all that must not be lost. */
void
check_primary(World *w, int i, ConsensusOutcome outcome)
{
	const Disk *disk = &w->node[i].disk;
	uint64_t	term = disk->durable.term;

	for (int k = 0; k < w->n_reigns; k++)
	{
		if (w->reign[k].term == term)
			fail(w, "term %llx is led twice, by node %d and node %d",
				 (unsigned long long) term, w->reign[k].node + 1, i + 1);
	}
	if (w->n_reigns < MAX_REIGNS)
	{
		w->reign[w->n_reigns].term = term;
		w->reign[w->n_reigns++].node = i;
	}
	if (w->mode != MODE_FORCED && !has(disk, w->committed, w->committed_hash))
		fail(w, "node %d leads without what a majority had", i + 1);
	if (one_primary_only(w) && !has(disk, w->last_len, w->last_hash))
		fail(w, "node %d leads without all that was written", i + 1);
	if (w->mode != MODE_FORCED && outcome == OUTCOME_FORCED)
		fail(w, "node %d leads by force", i + 1);
	if (outcome == OUTCOME_TRANSFERRED)
		check_transferred(w, i);
}

/* The old primary's vote is given. */
void
check_hand_over(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;

	HandOver   *h = &w->hand_over[w->n_hand_overs];

	if (w->n_hand_overs == MAX_REIGNS)
		return;
	w->n_hand_overs++;
	h->term = disk->durable.term;
	h->len = disk->len;
	h->hash = log_hash(disk, disk->len);
}

/* What a majority has acknowledged in the current term stays for ever. */
void
check_commit(World *w, int i)
{
	const Node *node = &w->node[i];

	for (int len = node->disk.len; len > w->committed; len--)
	{
		int			votes = 0;

		if (node->disk.log[len - 1].term != node->core.durable.term)
			return;
		for (int k = 0; k < w->n; k++)
		{
			if (w->members.member[k].type != CONSENSUS_SECONDARY)
				votes += k == i || node->acked[k] >= len;
		}
		if (votes < consensus_majority(&w->members))
			continue;
		if (w->mode != MODE_FORCED && !has(&node->disk, w->committed, w->committed_hash))
			fail(w, "node %d commits beside what was committed", i + 1);
		w->committed = len;
		w->committed_hash = log_hash(&node->disk, len);
		return;
	}
}

/* A log is cut behind `len` frames. */
void
check_cut(World *w, int i, int len)
{
	trace(w, "node %d cuts its log to %d", i + 1, len);
	if (one_primary_only(w))
		fail(w, "node %d cuts its log although nobody can have diverged", i + 1);
	if (w->mode != MODE_FORCED && len < w->committed &&
		has(&w->node[i].disk, w->committed, w->committed_hash))
		fail(w, "node %d cuts what a majority has", i + 1);
}

/* A frame was written by node i. */
void
check_frame(World *w, int i)
{
	const Node *node = &w->node[i];

	if (node->core.role != ROLE_PRIMARY || TERM_MEMBER(node->core.durable.term) != i + 1)
		fail(w, "node %d writes without leading", i + 1);
	w->last_len = node->disk.len;
	w->last_hash = log_hash(&node->disk, node->disk.len);
}

/* After each action. */
void
check_world(World *w)
{
	int			primaries = 0;
	int			gates = 0;

	for (int i = 0; i < w->n; i++)
	{
		primaries += w->node[i].up && w->node[i].core.role == ROLE_PRIMARY;
		gates += w->node[i].up && w->node[i].gate_open;
	}
	if (one_primary_only(w) && (primaries > 1 || gates > 1))
		fail(w, "%d primaries, %d open gates", primaries, gates);
}
