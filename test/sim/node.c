/*
 * node.c - a server: how it starts and goes down, and how its coordinator carries
 * out an update of the core (disk, gate, messages, in this order).
 */
#include "world.h"

#include <string.h>

/* Does its coordinator run, and take part? */
bool
node_runs(const World *w, int i)
{
	const Node *node = &w->node[i];

	return node->up && node->coordinator && node->core.role != ROLE_STOPPED;
}

bool
node_may_lead(const World *w, int i)
{
	const Node *node = &w->node[i];

	return w->now >= node->no_lead_until && !node->disk.copying &&
		consensus_place_cmp(log_place(&node->disk), node->disk.floor) >= 0;
}

/* Would a commit of this instant count?  A frozen server's gate is open by time alone. */
bool
gate_is_open(const World *w, int i)
{
	const Node *node = &w->node[i];

	return node->up && node->gate_open &&
		(node->lease_until == LEASE_UNLIMITED || node_clock(w, i) < node->lease_until);
}

/* ---- going down ---- */

static void
leads_no_more(Node *node)
{
	node->gate_open = false;
	node->lease_until = 0;
	node->lead_term = 0;
	node->held = false;
}

static void
core_forget(Node *node)
{
	memset(&node->core, 0, sizeof(node->core));
	node->coordinator = false;
	node->contact = false;
	node->fetch_from = 0;
	node->next_tick = 0;
}

/* What a crash may take from a primary although others have it. */
static void
note_lost(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;
	int			len = disk->flushed + 1;

	for (int k = 0; k < w->n && disk->len >= len; k++)
	{
		if (k != i && log_has(&w->node[k].disk, len, log_hash(disk, len)))
		{
			w->counts.ahead_lost++;
			return;
		}
	}
}

void
node_crash(World *w, int i, const char *when)
{
	Node	   *node = &w->node[i];
	Disk	   *disk = &node->disk;

	trace(w, "node %d crashes %s", i + 1, when);
	note_lost(w, i);
	disk->len = disk->flushed + (int) dice(w, (unsigned) (disk->len - disk->flushed + 1));
	disk->flushed = disk->len;
	if (disk->applied > disk->len)
		disk->applied = disk->len;
	if (disk->members_known > disk->len)
		disk->members_known = members_len(disk);
	node->up = false;
	leads_no_more(node);
	core_forget(node);
	node->appending.active = false;
	memset(&node->promise, 0, sizeof(node->promise));
	schedule(w, w->now + dice(w, MS(chance(w, 800) ? 1500 : 8000)), WORLD_RESTART, i, 0);
}

/* Shared memory stays: gate, lease, promise; shipper and receivers go on. */
void
coordinator_crash(World *w, int i)
{
	trace(w, "the coordinator of node %d crashes", i + 1);
	core_forget(&w->node[i]);
	schedule(w, w->now + dice(w, MS(600)), WORLD_RESTART, i, 0);
}

bool
crash_now(World *w, int i, const char *when)
{
	if (w->calm || !chance(w, w->crash))
		return false;
	if (chance(w, 300))
		coordinator_crash(w, i);
	else
		node_crash(w, i, when);
	return true;
}

/* ---- starting ---- */

/*
 * What of the log its primary has flushed, for certain: all but the last frame, which
 * it may have shipped ahead.  If that was this node, it has now.
 */
static int
surely_settled(World *w, int i)
{
	const Disk *disk = &w->node[i].disk;
	const Frame *last = &disk->log[disk->len > 0 ? disk->len - 1 : 0];

	if (disk->len > 0 && TERM_MEMBER(last->term) == i + 1)
		note_settled(w, i);
	else if (disk->len > 0 && last->ahead && !w->apply_unflushed)
		return disk->len - 1;
	return disk->len;
}

static void
server_start(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Disk *disk = &node->disk;

	node->up = true;
	node->committed = 0;
	node->apply_to = surely_settled(w, i);
	node->failover_seen = disk->len > 0 && disk->applied == disk->len &&
		disk->log[disk->len - 1].kind == FRAME_FAILOVER;
	if (!w->calm && chance(w, 100))
		node->no_lead_until = w->now + dice(w, MS(3000));
}

/* Starts what is down or stopped: all that the core gets is what disk and shared memory say. */
void
node_start(World *w, int i)
{
	Node	   *node = &w->node[i];
	const Disk *disk = &node->disk;
	ConsensusEvent e = {0};

	if (!node->exists || node_runs(w, i))
		return;
	if (!node->up)
		server_start(w, i);
	if (!node->coordinator)
	{
		leads_no_more(node);
		node->append_term = 0;
		node->coordinator = true;
		consensus_init(&node->core, (uint16_t) (i + 1), &disk->durable, members_of(w, disk), &node->config);
		node->core_members = members_len(disk);
		node->core_before = members_before(w, disk) != NULL;
	}
	trace(w, "node %d starts%s", i + 1, disk->was_primary ? ", was primary" : "");
	e.type = EV_START;
	e.was_primary = disk->was_primary;
	e.before = members_before(w, disk);
	node_step(w, i, &e);
}

/* ---- one step of the core ---- */

static void
trace_update(World *w, int i, const ConsensusEvent *e, const ConsensusUpdate *u)
{
	static const char *const events[] = {"", "start", "stop", "tick", "message", "contact",
		"peer term", "membership", "promote", "failover begin", "failover abandon",
	"failover seen", "heard", "membership committed"};
	const Consensus *c = &w->node[i].core;

	if (!w->trace || (e->type == EV_TICK && u->n_messages == 0 && !u->role_changed && !u->persist) ||
		(e->type == EV_HEARD && !u->role_changed) || (e->type == EV_LEADER_CONTACT && !u->persist && !u->role_changed))
		return;
	trace(w, "node %d (%llu) %s: %s term %llx vote %d leader %d log %llx:%llu lease %lld%s%s%s", i + 1,
		  (unsigned long long) e->now, events[e->type], consensus_role_name(c->role),
		  (unsigned long long) c->durable.term, c->durable.voted_for, c->leader,
		  (unsigned long long) c->log.term, (unsigned long long) c->log.pos,
		  (long long) u->lease_until, u->persist ? ", persist" : "",
		  u->outcome == OUTCOME_NONE ? "" : ", outcome", u->fetch_from != 0 ? ", fetches" : "");
	for (int k = 0; k < u->n_messages; k++)
	{
		const ConsensusMessage *m = &u->message[k];

		trace(w, "    to %d: type %d%s ask %llx granted %d refusal %d leader %d release %d", m->to,
			  m->type, m->pre ? " pre" : "", (unsigned long long) m->ask_term, m->granted,
			  m->refusal, m->leader, m->release_from);
	}
}

static void
persist(World *w, int i, ConsensusOutcome outcome)
{
	Node	   *node = &w->node[i];
	ConsensusDurable old = node->disk.durable;

	node->disk.durable = node->core.durable;
	node->disk.was_primary = node->core.may_resume;
	check_persist(w, i, &old, outcome);
}

/* The first frame of a reign; false if the node crashed on the way. */
static bool
write_term_record(World *w, int i)
{
	Node	   *node = &w->node[i];
	Frame		f = {.kind = FRAME_TERM};

	if (crash_now(w, i, "before its TERM record"))
		return false;
	memset(node->acked, 0, sizeof(node->acked));
	node->lead_term = node->core.durable.term;
	node->committed = 0;
	node->ship_next = w->now;
	node->appending.active = false;
	if (!node_append(w, i, f))
		return false;
	node->lead_len = node->disk.len;
	node_commit(w, i);
	return node_runs(w, i);
}

static bool
speak(World *w, int i, const ConsensusUpdate *u)
{
	for (int k = 0; k < u->n_messages; k++)
	{
		check_message(w, i, &u->message[k]);
		message_post(w, i, &u->message[k]);
		if (crash_now(w, i, "while it speaks"))
			return false;
	}
	return true;
}

/* A granted vote is a promise too; what the candidate may make of it. */
static void
note_vote_promise(World *w, int i, const ConsensusEvent *e, const ConsensusUpdate *u)
{
	const ConsensusMessage *m = &e->message;

	if (e->type != EV_MESSAGE || m->type != MSG_VOTE_REQUEST || m->pre)
		return;
	for (int k = 0; k < u->n_messages; k++)
	{
		if (u->message[k].type == MSG_VOTE_RESPONSE && u->message[k].granted)
			check_promise(w, i, m->from - 1, m->ask_term, m->sent, m->lease);
	}
}

/* The term whose frames may be appended, 0 none. */
static uint64_t
append_term(const Consensus *c)
{
	bool		follows = c->role == ROLE_REPLICA ||
		(c->campaign == CAMPAIGN_TRANSFER && !c->campaign_released);

	return follows || c->role == ROLE_PRIMARY ? c->durable.term : 0;
}

/*
 * What breaks at the worst moment: a candidate freezes while its votes are on their way
 * to it, a primary is cut off when it has just been elected.
 */
static void
bad_luck(World *w, int i, const ConsensusUpdate *u)
{
	Node	   *node = &w->node[i];
	const ConsensusMessage *m = &u->message[0];

	if (w->calm)
		return;
	if (u->n_messages > 0 && m->type == MSG_VOTE_REQUEST && !m->pre && chance(w, 40))
	{
		trace(w, "node %d freezes while it is voted for", i + 1);
		node->frozen_until = w->now + MS(200) + dice(w, MS(3000));
	}
	if (u->role_changed && node->core.role == ROLE_PRIMARY && chance(w, 60))
	{
		trace(w, "node %d is cut off as it is elected", i + 1);
		for (int k = 0; k < MAX_NODES; k++)
			w->cut[i][k] = w->cut[k][i] = true;
	}
}

/* Steps the core; false if the node, or its coordinator, crashed on the way. */
bool
node_step(World *w, int i, ConsensusEvent *e)
{
	Node	   *node = &w->node[i];
	bool		leads;
	ConsensusUpdate u;

	e->now = node_clock(w, i);
	e->log = log_place(&node->disk);
	e->floor = node->disk.floor;
	e->promise = node->promise;
	e->random = dice(w, UINT32_MAX);
	e->may_lead = node_may_lead(w, i);
	consensus_step(&node->core, e, &u);
	node->append_term = append_term(&node->core);	/* under the log's lock, with the log's end */
	w->counts.steps++;
	w->counts.outcome[u.outcome]++;
	trace_update(w, i, e, &u);
	check_step(w, i, e, &u);
	node->next_tick = u.next_tick;
	node->fetch_from = u.fetch_from;
	leads = node->core.role == ROLE_PRIMARY;

	if (u.persist && crash_now(w, i, "before it persists"))
		return false;
	if (u.persist)
		persist(w, i, u.outcome);
	check_update(w, i, &u);
	if (u.outcome == OUTCOME_HANDED_OVER)
		check_hand_over(w, i);
	if (u.role_changed && leads)
		check_primary(w, i, u.outcome);
	if (u.persist && crash_now(w, i, "before it speaks"))
		return false;
	if (!leads || u.role_changed)
		leads_no_more(node);
	if (leads)
		node->lease_until = u.lease_until;
	note_vote_promise(w, i, e, &u);
	bad_luck(w, i, &u);
	if (!speak(w, i, &u))
		return false;
	return !(u.role_changed && leads) || write_term_record(w, i);
}

/* ---- the log ---- */

/* A primary writes and flushes one frame; false if it crashed on the way. */
bool
node_append(World *w, int i, Frame frame)
{
	Node	   *node = &w->node[i];

	if (node->disk.len >= MAX_FRAMES)
	{
		fail(w, "the log is full");
		return false;
	}
	if (node->lead_term == 0 || TERM_MEMBER(node->lead_term) != i + 1)
		fail(w, "node %d writes without leading", i + 1);
	frame.term = node->lead_term;
	frame.id = ++w->next_id;
	frame.ahead = frame.kind == FRAME_DATA && node->disk.flushed == node->disk.len;
	log_put(w, i, &frame);
	if (frame.kind != FRAME_DATA && crash_now(w, i, "before it flushes its log"))
		return false;
	if (frame.kind != FRAME_DATA)
		node_flush(w, i);
	return true;
}

/* A primary flushes its log: what is there may be applied, by anybody. */
void
node_flush(World *w, int i)
{
	Node	   *node = &w->node[i];

	node->disk.flushed = node->apply_to = node->disk.len;
	note_settled(w, i);
}

/* Tells the core about the members of the log; false if it crashed on the way. */
bool
node_adopt_members(World *w, int i)
{
	Node	   *node = &w->node[i];
	int			len = members_len(&node->disk);
	const ConsensusMembership *before = members_before(w, &node->disk);
	ConsensusEvent e = {0};

	if (!node->coordinator || (node->core_members == len && node->core_before == (before != NULL)))
		return true;
	e.type = node->core_members == len && before == NULL ? EV_MEMBERSHIP_COMMITTED : EV_MEMBERSHIP;
	e.members = members_of(w, &node->disk);
	e.before = before;
	node->core_members = len;
	node->core_before = before != NULL;
	return node_step(w, i, &e);
}

/* So many frames are known to be committed. */
bool
node_members_committed(World *w, int i, int committed)
{
	Disk	   *disk = &w->node[i].disk;
	int			len = members_len(disk);

	if (len > committed || len <= disk->members_known)
		return true;
	disk->members_known = len;
	w->counts.changes++;
	return node_adopt_members(w, i);
}
