/*
 * world.c - nodes, disks and the network of the simulation.
 */
#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- chance ---- */

/* splitmix64: the whole schedule follows from the seed. */
unsigned
dice(World *w, unsigned sides)
{
	uint64_t	z = (w->random += 0x9E3779B97F4A7C15ULL);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
	return (unsigned) ((z ^ (z >> 31)) % sides);
}

bool
chance(World *w, unsigned per_mille)
{
	return dice(w, 1000) < per_mille;
}

void
trace(World *w, const char *format, ...)
{
	va_list		args;

	if (!w->trace)
		return;
	printf("%8llu  ", (unsigned long long) w->now);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- logs ---- */

uint64_t
log_hash(const Disk *disk, int len)
{
	return len == 0 ? 0 : disk->log[len - 1].hash;
}

ConsensusPlace
log_place(const Disk *disk)
{
	ConsensusPlace place = {0, (uint64_t) disk->len};

	if (disk->len > 0)
		place.term = disk->log[disk->len - 1].term;
	return place;
}

static uint64_t
frame_hash(uint64_t before, const Frame *f)
{
	uint64_t	z = (before ^ f->id * 0x9E3779B97F4A7C15ULL) + f->term;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	return (z ^ (z >> 27)) | 1;
}

static void
log_put(Disk *disk, const Frame *f)
{
	Frame	   *new = &disk->log[disk->len];

	*new = *f;
	new->hash = frame_hash(log_hash(disk, disk->len), f);
	disk->len++;
}

/* A primary writes one frame; false if the schedule's log is full. */
bool
node_append(World *w, int i, Frame frame)
{
	Disk	   *disk = &w->node[i].disk;

	if (disk->len >= MAX_FRAMES)
		return false;
	frame.term = w->node[i].core.durable.term;
	frame.id = ++w->next_id;
	log_put(disk, &frame);
	check_frame(w, i);
	return true;
}

/* ---- start and crash ---- */

static void
members_init(World *w)
{
	w->members.count = w->n;
	for (int i = 0; i < w->n; i++)
	{
		w->members.member[i].id = (uint16_t) (i + 1);
		w->members.member[i].type = CONSENSUS_ELECTABLE;
		w->members.member[i].priority = 100;
	}
	if (w->n == 2 && chance(w, 300))
	{
		w->members.rule = RULE_DESIGNATED;
		w->members.designated = (uint16_t) (1 + dice(w, 2));
	}
	if (w->n > 2 && chance(w, 300))
		w->members.member[w->n - 1].type = chance(w, 500) ? CONSENSUS_ARBITER : CONSENSUS_SECONDARY;
}

void
world_init(World *w, uint64_t seed, int mode)
{
	static const int sizes[] = {2, 3, 5};
	bool		tracing = w->trace;

	memset(w, 0, sizeof(*w));
	w->trace = tracing;
	w->seed = seed;
	w->random = seed;
	w->mode = mode < 0 ? (Mode) dice(w, MODES) : (Mode) mode;
	w->n = sizes[dice(w, 3)];
	w->now = 1;
	w->loss = dice(w, 4) * 100;
	w->crash = dice(w, 4) * 4;
	w->config.election_timeout = 1000;
	w->config.retry_interval = 200;
	members_init(w);
	for (int i = 0; i < w->n; i++)
	{
		w->node[i].clock_offset = dice(w, 100000);
		w->node[i].clock_rate = 950 + dice(w, 101);
	}
	w->node[0].disk.was_primary = true;	/* the node that made the group */
	trace(w, "seed %llu: %d nodes, mode %d", (unsigned long long) seed, w->n, (int) w->mode);
	for (int i = 0; i < w->n; i++)
		node_start(w, i);
}

uint64_t
node_clock(const World *w, int i)
{
	return w->node[i].clock_offset + w->now * w->node[i].clock_rate / 1000;
}

void
node_crash(World *w, int i, const char *when)
{
	Node	   *node = &w->node[i];

	trace(w, "node %d crashes %s", i + 1, when);
	node->up = false;
	node->gate_open = false;
	memset(&node->core, 0, sizeof(node->core));
}

/* Starts what is down or stopped: all that the core gets is what the disk says. */
void
node_start(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Disk *disk = &node->disk;
	ConsensusEvent e = {0};

	if (!node->up)
		consensus_init(&node->core, (uint16_t) (i + 1), &disk->durable, &w->members, &w->config);
	node->up = true;
	node->may_lead = w->calm || chance(w, 900);
	node->failover_seen = disk->len > 0 && disk->applied == disk->len &&
		disk->log[disk->len - 1].kind == FRAME_FAILOVER;
	trace(w, "node %d starts%s", i + 1, disk->was_primary ? ", was primary" : "");
	e.type = EV_START;
	e.was_primary = disk->was_primary;
	node_step(w, i, &e);
}

/* ---- the network ---- */

static void
packet_post(World *w, const Packet *p)
{
	int			at = w->n_packets < MAX_PACKETS ? w->n_packets++ : (int) dice(w, MAX_PACKETS);

	w->packet[at] = *p;
}

static void
message_post(World *w, int from, const ConsensusMessage *m)
{
	Packet		p = {0};

	p.kind = PACKET_MESSAGE;
	p.from = from;
	p.to = m->to - 1;
	consensus_message_encode(m, p.message);
	packet_post(w, &p);
}

/* ---- one step of a node, carried out in the order that the coordinator keeps ---- */

static void
trace_update(World *w, int i, const ConsensusEvent *e, const ConsensusUpdate *u)
{
	const Consensus *c = &w->node[i].core;

	if (!w->trace || (e->type == EV_TICK && !u->persist && !u->role_changed && !u->n_messages))
		return;
	trace(w, "node %d event %d%s -> %s term %llx vote %d log %d:%llx%s outcome %d refusal %d messages %d",
		  i + 1, e->type, u->persist ? " persist" : "", consensus_role_name(c->role),
		  (unsigned long long) c->durable.term, c->durable.voted_for, w->node[i].disk.len,
		  (unsigned long long) log_place(&w->node[i].disk).term,
		  c->may_resume ? " may resume" : "", u->outcome, u->refusal, u->n_messages);
	for (int k = 0; k < u->n_messages; k++)
	{
		const ConsensusMessage *m = &u->message[k];

		trace(w, "    to %d: type %d%s ask %llx granted %d refusal %d leader %d release %d", m->to,
			  m->type, m->pre ? " pre" : "", (unsigned long long) m->ask_term, m->granted,
			  m->refusal, m->leader, m->release_from);
	}
}

static bool
crash_now(World *w, int i, const char *when)
{
	if (w->calm || !chance(w, w->crash))
		return false;
	node_crash(w, i, when);
	return true;
}

static void
persist(World *w, int i)
{
	Node	   *node = &w->node[i];
	ConsensusDurable old = node->disk.durable;

	node->disk.durable = node->core.durable;
	node->disk.was_primary = node->core.may_resume;
	check_persist(w, i, &old);
}

/* Steps the core; false if the node crashed on the way. */
bool
node_step(World *w, int i, ConsensusEvent *e)
{
	Node	   *node = &w->node[i];
	ConsensusUpdate u;

	e->now = node_clock(w, i);
	e->log = log_place(&node->disk);
	e->may_lead = node->may_lead;
	consensus_step(&node->core, e, &u);
	trace_update(w, i, e, &u);
	w->outcomes[u.outcome]++;
	node->next_tick = u.next_tick;

	if (u.persist && crash_now(w, i, "before it persists"))
		return false;
	if (u.persist)
		persist(w, i);
	check_update(w, i, &u);
	if (u.outcome == OUTCOME_HANDED_OVER)
		check_hand_over(w, i);
	if (u.role_changed && node->core.role == ROLE_PRIMARY)
		check_primary(w, i, u.outcome);
	if (u.persist && crash_now(w, i, "before it speaks"))
		return false;
	if (node->core.role != ROLE_PRIMARY)
		node->gate_open = false;
	for (int k = 0; k < u.n_messages; k++)
	{
		check_message(w, i, &u.message[k]);
		message_post(w, i, &u.message[k]);
		if (crash_now(w, i, "while it speaks"))
			return false;
	}
	if (u.role_changed && node->core.role == ROLE_PRIMARY)
	{
		Frame		f = {FRAME_TERM, 0, 0, 0, 0, 0};

		memset(node->acked, 0, sizeof(node->acked));
		if (crash_now(w, i, "before its TERM record"))
			return false;
		node_append(w, i, f);
	}
	return true;
}

/* ---- replication ---- */

/* The primary sends what the other lacks; the last common frame is found beforehand. */
void
node_ship(World *w, int i, int to)
{
	const Disk *mine = &w->node[i].disk;
	const Disk *theirs = &w->node[to].disk;
	Packet		p = {0};
	int			len = mine->len < theirs->len ? mine->len : theirs->len;

	while (len > 0 && log_hash(mine, len) != log_hash(theirs, len))
		len--;
	p.kind = PACKET_APPEND;
	p.from = i;
	p.to = to;
	p.term = w->node[i].core.durable.term;
	p.len = len;
	p.hash = log_hash(mine, len);
	for (p.count = 0; p.count < BATCH && len + p.count < mine->len; p.count++)
		p.frame[p.count] = mine->log[len + p.count];
	packet_post(w, &p);
}

/* Appends what is new, cuts only where the logs differ; returns frames known to be common. */
static int
receive(World *w, int i, const Packet *p)
{
	Disk	   *disk = &w->node[i].disk;
	int			end = p->len;

	if (p->len > disk->len || log_hash(disk, p->len) != p->hash)
		return -1;
	for (int k = 0; k < p->count; k++, end++)
	{
		if (end < disk->len && disk->log[end].hash == p->frame[k].hash)
			continue;
		if (end < disk->len)
		{
			check_cut(w, i, end);
			disk->len = end;
			if (disk->applied > end)
				disk->applied = end;
		}
		log_put(disk, &p->frame[k]);
		if (disk->log[end].hash != p->frame[k].hash)
			fail(w, "node %d: the same frame behind different logs", i + 1);
	}
	return end;
}

static void
deliver_append(World *w, const Packet *p)
{
	Node	   *node = &w->node[p->to];
	Packet		ack = {0};
	ConsensusEvent e = {0};

	if (node->core.role == ROLE_STOPPED)
		return;
	ack.kind = PACKET_ACK;
	ack.from = p->to;
	ack.to = p->from;
	ack.len = -1;
	if (p->term >= node->core.durable.term)
	{
		e.type = EV_LEADER_CONTACT;
		e.term = p->term;
		e.leader = (uint16_t) (p->from + 1);
		if (!node_step(w, p->to, &e))
			return;
	}
	if (node->core.durable.term == p->term && node->core.leader == p->from + 1)
	{
		ack.len = receive(w, p->to, p);
		if (ack.len < 0)
			return;
	}
	else if (chance(w, 500) && node->core.role == ROLE_REPLICA)
		ack.leader = node->core.leader;
	ack.term = node->core.durable.term;
	packet_post(w, &ack);
}

static void
deliver_ack(World *w, const Packet *p)
{
	Node	   *node = &w->node[p->to];
	ConsensusEvent e = {0};

	if (p->term == node->core.durable.term && node->core.role == ROLE_PRIMARY)
	{
		if (p->len > node->acked[p->from])
			node->acked[p->from] = p->len;
		check_commit(w, p->to);
	}
	else if (p->term > node->core.durable.term)
	{
		e.type = EV_PEER_TERM;
		e.term = p->term;
		e.leader = p->leader;
		node_step(w, p->to, &e);
	}
}

/* One packet arrives, any of those on the way; it may be lost, or arrive again. */
void
deliver(World *w)
{
	int			at;
	Packet		p;
	ConsensusEvent e = {0};

	if (w->n_packets == 0)
		return;
	at = (int) dice(w, (unsigned) w->n_packets);
	p = w->packet[at];
	if (w->calm || !chance(w, 100))
		w->packet[at] = w->packet[--w->n_packets];
	if (!w->node[p.to].up || w->cut[p.from][p.to] || (!w->calm && chance(w, w->loss)))
		return;
	switch (p.kind)
	{
		case PACKET_MESSAGE:
			e.type = EV_MESSAGE;
			if (!consensus_message_decode(p.message, CONSENSUS_MESSAGE_LEN, &e.message))
				fail(w, "a message does not decode");
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
