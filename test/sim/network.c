/*
 * network.c - packets and their fate, shipping, receiving, acknowledging.
 *
 * The receiver is a process of its own: it appends, flushes, and answers, with a
 * promise if it may give one, and tells the coordinator some time later.  Between
 * append and answer a vote may raise the term; then there is no answer.
 */
#include "world.h"

#include <string.h>

/* ---- packets ---- */

static uint64_t
delay(World *w)
{
	if (w->calm)
		return 200 + dice(w, MS(4));
	if (chance(w, w->late))
		return dice(w, MS(3000));
	return 200 + dice(w, MS(chance(w, 900) ? 8 : 150));
}

static void
packet_post(World *w, const Packet *p)
{
	for (int copies = !w->calm && chance(w, 60) ? 2 : 1; copies > 0; copies--)
	{
		int			at = 0;

		while (at < MAX_PACKETS && w->packet[at].used)
			at++;
		if (at == MAX_PACKETS || (!w->calm && chance(w, w->loss)))
			continue;
		w->packet[at] = *p;
		w->packet[at].used = true;
		schedule(w, w->now + delay(w), WORLD_PACKET, at, 0);
	}
}

void
message_post(World *w, int from, const ConsensusMessage *m)
{
	Packet		p = {0};

	p.kind = PACKET_MESSAGE;
	p.from = (uint8_t) from;
	p.to = (uint8_t) (m->to - 1);
	consensus_message_encode(m, p.message);
	packet_post(w, &p);
}

/* ---- the primary ---- */

/* What may be shipped: see the head of world.h. */
static int
ship_end(const Disk *disk)
{
	int			next = disk->flushed;

	return next < disk->len && disk->log[next].ahead ? next + 1 : next;
}

/* Sends what the other lacks; the last common frame is found beforehand. */
static void
ship_to(World *w, int i, int to)
{
	const Node *node = &w->node[i];
	const Disk *mine = &node->disk;
	Packet		p = {0};
	int			len = log_common(mine, &w->node[to].disk);
	int			end = ship_end(mine);

	if (len > end)
		len = end;
	p.kind = PACKET_APPEND;
	p.from = (uint8_t) i;
	p.to = (uint8_t) to;
	p.term = node->lead_term;
	p.len = len;
	p.hash = log_hash(mine, len);
	p.committed = node->committed;
	p.flushed = mine->flushed;
	p.lease = node->config.election_timeout;
	p.sent = node_clock(w, i);
	for (p.count = 0; p.count < BATCH && len + p.count < end; p.count++)
		p.frame[p.count] = mine->log[len + p.count];
	packet_post(w, &p);
}

/* Heartbeats, with frames or without, to all members. */
void
node_ship(World *w, int i)
{
	const ConsensusMembership *m = members_of(w, &w->node[i].disk);

	for (int k = 0; k < m->count; k++)
	{
		if (m->member[k].id != i + 1)
			ship_to(w, i, m->member[k].id - 1);
	}
}

/*
 * Do these nodes commit?  A majority does; while a change of members is not committed
 * they must also be such that nobody is elected without them under those before.
 */
static bool
commits(const World *w, const Disk *disk, const bool *set)
{
	const ConsensusMembership *before = members_before(w, disk);
	uint16_t	ids[MAX_NODES];
	int			n = 0;

	for (int k = 0; k < MAX_NODES; k++)
	{
		if (set[k])
			ids[n++] = (uint16_t) (k + 1);
	}
	return is_quorum(members_of(w, disk), set) &&
		(before == NULL || consensus_blocks(before, ids, n));
}

/* How much is committed of the log, in the term that the node leads. */
void
node_commit(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Disk *disk = &node->disk;
	int			len = w->count_unflushed ? disk->len : disk->flushed;

	for (; len > node->committed; len--)
	{
		bool		set[MAX_NODES] = {false};

		if (disk->log[len - 1].term != node->lead_term)
			return;
		for (int k = 0; k < MAX_NODES; k++)
			set[k] = k == i || node->acked[k] >= len;
		if (commits(w, disk, set))
			break;
	}
	if (len <= node->committed)
		return;
	node->committed = len;
	check_committed(w, i, len);
	node_members_committed(w, i, len);
}

static void
deliver_ack(World *w, const Packet *p)
{
	Node	   *node = &w->node[p->to];
	ConsensusEvent e = {0};

	if (p->term == node->lead_term)
	{
		if (p->len > node->acked[p->from])
			node->acked[p->from] = p->len;
		node_commit(w, p->to);
		if (p->sent == 0 || !node_runs(w, p->to))
			return;
		e.type = EV_HEARD;
		e.term = p->term;
		e.leader = (uint16_t) (p->from + 1);
		e.sent = p->sent;
		node_step(w, p->to, &e);
	}
	else if (node->coordinator && p->term > node->core.durable.term)
	{
		e.type = EV_PEER_TERM;
		e.term = p->term;
		e.leader = p->leader;
		node_step(w, p->to, &e);
	}
}

/* ---- the receiver ---- */

/* Appends what is new, cuts only where the logs differ; returns frames known to be common. */
static int
receive(World *w, int i, const Packet *p)
{
	Disk	   *disk = &w->node[i].disk;
	int			end = p->len;

	if (disk->copying || p->len > disk->len || log_hash(disk, p->len) != p->hash)
		return -1;
	for (int k = 0; k < p->count; k++, end++)
	{
		if (end < disk->len && disk->log[end].hash == p->frame[k].hash)
			continue;
		if (end < disk->len)
		{
			log_cut(w, i, end);
			w->node[i].no_lead_until = w->now + (chance(w, 500) ? 0 : dice(w, MS(1000)));
		}
		log_put(w, i, &p->frame[k]);
		if (disk->log[end].hash != p->frame[k].hash)
			fail(w, "node %d: the same frame behind different logs", i + 1);
	}
	return end;
}

/* Tells the coordinator of the latest sign of life; false if it crashed on the way. */
bool
node_contact(World *w, int i)
{
	Node	   *node = &w->node[i];
	ConsensusEvent e = {0};

	if (!node->contact || !node_runs(w, i))
		return true;
	node->contact = false;
	e.type = EV_LEADER_CONTACT;
	e.term = node->contact_term;
	e.leader = TERM_MEMBER(node->contact_term);
	e.lease = node->contact_lease;
	return node_step(w, i, &e);
}

static void
ack_post(World *w, int i, int to, int len, uint64_t sent)
{
	const Node *node = &w->node[i];
	Packet		ack = {0};

	ack.kind = PACKET_ACK;
	ack.from = (uint8_t) i;
	ack.to = (uint8_t) to;
	ack.len = len;
	ack.sent = sent;
	ack.term = node->disk.durable.term;
	if (node->coordinator && node->core.role == ROLE_REPLICA && node->core.durable.term == ack.term)
		ack.leader = node->core.leader;
	if (node->coordinator && node->core.role == ROLE_PRIMARY && node->core.durable.term == ack.term)
		ack.leader = (uint16_t) (i + 1);
	packet_post(w, &ack);
}

/* So much of the log that both have is flushed at the primary, and may be applied. */
static void
note_told(World *w, int i, const Appending *a)
{
	Node	   *node = &w->node[i];
	int			told = a->flushed < a->end ? a->flushed : a->end;

	if (w->apply_unflushed)
		told = a->end;
	if (told > node->apply_to)
		node->apply_to = told;
}

static void
deliver_append(World *w, const Packet *p)
{
	int			i = p->to;
	Node	   *node = &w->node[i];
	Appending	a = {true, p->from, p->term, -1, p->committed, p->flushed, p->sent, p->lease, 0};

	if (node->coordinator && node->core.role == ROLE_STOPPED)
		return;
	if (p->term < node->disk.durable.term)
	{
		ack_post(w, i, p->from, -1, 0);
		return;
	}
	if (!node->contact || p->term >= node->contact_term)
	{
		node->contact = true;
		node->contact_term = p->term;
		node->contact_lease = p->lease;
		if (chance(w, 600) && !node_contact(w, i) && !node->up)
			return;
	}
	if (p->term != node->append_term)
		return;
	node->appending.active = false; /* an older receiver is gone */
	a.end = receive(w, i, p);
	if (a.end > a.flushed)
		w->counts.ahead++;
	note_told(w, i, &a);
	a.turn = ++w->event_number;
	node->appending = a;
	if (!node_adopt_members(w, i))
		return;
	schedule(w, w->now + (w->calm || chance(w, 950) ? dice(w, 1500) : dice(w, MS(300))),
			 WORLD_FLUSHED, i, a.turn);
}

/* May the receiver promise?  Only what the disk already says for the case of a restart. */
static bool
receiver_promise(World *w, int i, const Appending *a)
{
	Node	   *node = &w->node[i];
	uint64_t	until = node_clock(w, i) + CONSENSUS_PROMISE_MS(a->lease);

	if (a->lease > node->disk.durable.promise_ms)
		return false;
	if (node->promise.term == a->term && node->promise.until > until)
		until = node->promise.until;
	node->promise.term = a->term;
	node->promise.leader = (uint16_t) (a->from + 1);
	node->promise.until = until;
	check_promise(w, i, a->from, a->term, a->sent, a->lease);
	return true;
}

/* Is the term still this one, and on disk? */
static bool
may_answer(const Node *node, const Appending *a)
{
	return a->term == node->append_term && a->term == node->disk.durable.term;
}

/* What the receiver has appended is on disk: it looks at the term again, and answers. */
void
append_flushed(World *w, int i, uint64_t turn)
{
	Node	   *node = &w->node[i];
	Appending	a = node->appending;

	if (!node->up || !a.active || a.turn != turn)
		return;
	if (w->now < node->frozen_until)
	{
		schedule(w, node->frozen_until + dice(w, MS(5)), WORLD_FLUSHED, i, turn);
		return;
	}
	node->appending.active = false;
	if (a.end > node->disk.flushed)
		node->disk.flushed = node->disk.len;
	if (!node_adopt_members(w, i) && !node->up)
		return;
	if (!may_answer(node, &a))
		return;
	if (!node_members_committed(w, i, a.committed < a.end ? a.committed : a.end) && !node->up)
		return;
	if (!may_answer(node, &a))
		return;
	ack_post(w, i, a.from, a.end, receiver_promise(w, i, &a) ? a.sent : 0);
}

/* ---- arrival ---- */

/* A packet arrives, unless the way is cut. */
void
deliver(World *w, int at)
{
	Packet		p = w->packet[at];
	Node	   *node = &w->node[p.to];
	ConsensusEvent e = {0};

	if (node->up && w->now < node->frozen_until)
	{
		schedule(w, node->frozen_until + dice(w, MS(20)), WORLD_PACKET, at, 0);
		return;
	}
	w->packet[at].used = false;
	if (!node->up || w->cut[p.from][p.to])
		return;
	switch ((PacketKind) p.kind)
	{
		case PACKET_MESSAGE:
			e.type = EV_MESSAGE;
			if (!consensus_message_decode(p.message, CONSENSUS_MESSAGE_LEN, &e.message))
				fail(w, "a message does not decode");
			if (node->coordinator)
				node_step(w, p.to, &e);
			break;
		case PACKET_APPEND:
			deliver_append(w, &p);
			break;
		case PACKET_ACK:
			deliver_ack(w, &p);
			break;
	}
}
