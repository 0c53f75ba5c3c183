/*
 * shared_state.c - allocates baton's shared memory and finds nodes in it.
 *
 * At start-up the postmaster looks for control files under baton/ in the data
 * directory and fills a slot, its gate closed, for each database that has one:
 * clients may come in before any worker runs, and must find the gate closed.
 */
#include "baton.h"

/* How long after a commit under remote_apply others are expected. */
#define APPLY_WANTED_MS	5000

#include <time.h>

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "failover/gate.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

BatonShared *baton_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static Size
shared_state_size(void)
{
	return add_size(offsetof(BatonShared, nodes),
					mul_size(baton_max_nodes, sizeof(NodeShared)));
}

uint64
boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
baton_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shared_state_size());
	RequestAddinShmemSpace(gate_shmem_size());
}

/* Put a slot into its initial state: no database, gate closed. */
static void
node_slot_init(NodeShared *node, int tranche)
{
	memset(node, 0, sizeof(NodeShared));
	LWLockInitialize(&node->state_lock, tranche);
	LWLockInitialize(&node->log_lock, tranche);
	LWLockInitialize(&node->peer_lock, tranche);
	LWLockInitialize(&node->ack_lock, tranche);
	LWLockInitialize(&node->command_lock, tranche);
	ConditionVariableInit(&node->state_cv);
	ConditionVariableInit(&node->gate_cv);
	ConditionVariableInit(&node->applied_cv);
	ConditionVariableInit(&node->command_cv);
	ConditionVariableInit(&node->captured_cv);
	ConditionVariableInit(&node->watch_cv);
	ConditionVariableInit(&node->committed_cv);
	ConditionVariableInit(&node->sequences_cv);
	pg_atomic_init_u64(&node->lease_until, LEASE_UNLIMITED);
	pg_atomic_init_u32(&node->lease_ms, 0);
	pg_atomic_init_u32(&node->gate, GATE_CLOSED);
	pg_atomic_init_u32(&node->door_closed, 0);
	pg_atomic_init_u32(&node->mending, MENDING_NOT);
	pg_atomic_init_u64(&node->gate_closings, 0);
	pg_atomic_init_u32(&node->ack_policy, 0);
	pg_atomic_init_u32(&node->ack_enforced, 0);
	pg_atomic_init_u64(&node->apply_asked, 0);
	pg_atomic_init_u32(&node->watch_applied, 0);
	pg_atomic_init_u64(&node->sequence_uses, 0);
	pg_atomic_init_u32(&node->sequences_all, 0);
	pg_atomic_init_u32(&node->roles_changed, 0);
	pg_atomic_init_u32(&node->roles_logged, 0);
	pg_atomic_init_u32(&node->roles_told, 0);
	pg_atomic_init_u32(&node->apply_blocked, 0);
	pg_atomic_init_u32(&node->index_work_asked, 0);
	pg_atomic_init_u32(&node->index_work_unique, 0);
	pg_atomic_init_u32(&node->index_work_done, 0);
	SpinLockInit(&node->mutex);
}

/*
 * Occupy slots for the databases that have a directory under baton/, whatever is
 * in it: the directory comes and goes as a whole (see api/group.c), so one without
 * a control file is damage, and its database stays closed.  Runs in the postmaster
 * (or in a single-user backend), before anybody can connect.  The name of the database is filled in later, by the coordinator, which can read
 * the catalog; until then node_find_name() reports "unsure" slots by directory.
 */
static void
slots_from_disk(void)
{
	DIR		   *dir;
	struct dirent *de;
	int			used = 0;

	dir = AllocateDir("baton");
	if (dir == NULL)
		return;
	while ((de = ReadDirExtended(dir, "baton", LOG)) != NULL)
	{
		char	   *rest;
		unsigned long dboid = strtoul(de->d_name, &rest, 10);

		if (rest == de->d_name || dboid == 0)
			continue;
		if (strcmp(rest, NODE_DIRECTORY_NEW) == 0 || strcmp(rest, NODE_DIRECTORY_LEFT) == 0)
		{
			char		path[MAXPGPATH];

			snprintf(path, sizeof(path), "baton/%s", de->d_name);
			rmtree(path, true);
			continue;
		}
		if (*rest != '\0')
			continue;
		if (used == baton_shared->max_nodes)
		{
			ereport(LOG,
					(errmsg("too many baton nodes in this server"),
					 errdetail("The database with OID %lu stays out of its group.", dboid),
					 errhint("Raise \"baton.max_nodes\".")));
			break;
		}
		baton_shared->nodes[used].dboid = (Oid) dboid;
		snprintf(baton_shared->nodes[used].directory, MAXPGPATH, "baton/%lu", dboid);
		baton_shared->nodes[used].generation = ++baton_shared->generation;
		baton_shared->nodes[used].established = true;
		pg_atomic_write_u32(&baton_shared->nodes[used].mending, MENDING_NOT_KNOWN);
		used++;
	}
	FreeDir(dir);
}

static void
baton_shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	baton_shared = ShmemInitStruct("baton", shared_state_size(), &found);
	if (!found)
	{
		int			tranche = LWLockNewTrancheId();

		memset(baton_shared, 0, offsetof(BatonShared, nodes));
		baton_shared->tranche = tranche;
		pg_atomic_init_u32(&baton_shared->roles_changing, 0);
		baton_shared->max_nodes = baton_max_nodes;
		LWLockInitialize(&baton_shared->lock, tranche);
		SpinLockInit(&baton_shared->mutex);
		for (int i = 0; i < baton_max_nodes; i++)
			node_slot_init(&baton_shared->nodes[i], tranche);
		slots_from_disk();
	}
	gate_shmem_init();
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(baton_shared->tranche, "baton");
}

/*
 * Install the shared memory hooks; called by _PG_init.
 */
void
shared_state_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = baton_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = baton_shmem_startup;
}

/* ---- finding nodes ---- */

/*
 * The node of a database, or NULL.  Takes no lock: a slot's dboid is set last
 * when it is taken, and cleared first when it is given back.
 */
NodeShared *
node_find(Oid dboid)
{
	if (baton_shared == NULL || !OidIsValid(dboid))
		return NULL;
	for (int i = 0; i < baton_shared->max_nodes; i++)
		if (baton_shared->nodes[i].dboid == dboid)
			return &baton_shared->nodes[i];
	return NULL;
}

/* The node whose database has this name, or NULL. */
NodeShared *
node_find_name(const char *dbname)
{
	if (baton_shared == NULL || dbname == NULL)
		return NULL;
	for (int i = 0; i < baton_shared->max_nodes; i++)
	{
		NodeShared *node = &baton_shared->nodes[i];

		if (OidIsValid(node->dboid) && strcmp(node->dbname, dbname) == 0)
			return node;
	}
	return NULL;
}

NodeShared *
node_mine(void)
{
	return node_find(MyDatabaseId);
}

/*
 * The node of the session's database; raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if it is none.
 */
NodeShared *
node_mine_or_error(void)
{
	NodeShared *node;

	baton_require_preloaded();
	node = node_mine();
	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not a node of a replication group"),
				 errhint("Call baton.create_group() or baton.join_group() first.")));
	return node;
}

/*
 * Take a free slot for a database, with its gate in the given state (OPEN for the
 * first node of a group, which goes on being written to).  Raises
 * ERRCODE_CONFIGURATION_LIMIT_EXCEEDED if there is none, and
 * ERRCODE_DUPLICATE_OBJECT if the database has one.
 */
NodeShared *
node_slot_acquire(Oid dboid, const char *dbname, GateState gate)
{
	NodeShared *free_slot = NULL;

	LWLockAcquire(&baton_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < baton_shared->max_nodes; i++)
	{
		NodeShared *node = &baton_shared->nodes[i];

		if (node->dboid == dboid)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("database \"%s\" is a node of a group already", dbname)));
		if (!OidIsValid(node->dboid) && free_slot == NULL)
			free_slot = node;
	}
	if (free_slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("all %d node slots of this server are in use", baton_shared->max_nodes),
				 errhint("Raise \"baton.max_nodes\" and restart the server.")));
	node_slot_init(free_slot, baton_shared->tranche);
	free_slot->generation = ++baton_shared->generation;
	strlcpy(free_slot->dbname, dbname, NAMEDATALEN);
	snprintf(free_slot->directory, MAXPGPATH, "baton/%u", dboid);
	pg_atomic_write_u32(&free_slot->gate, gate);
	pg_write_barrier();
	free_slot->dboid = dboid;
	LWLockRelease(&baton_shared->lock);
	return free_slot;
}

/* Give a slot back; the node's workers are gone. */
void
node_slot_release(NodeShared *node)
{
	LWLockAcquire(&baton_shared->lock, LW_EXCLUSIVE);
	node->dboid = InvalidOid;
	LWLockRelease(&baton_shared->lock);
	ConditionVariableBroadcast(&node->state_cv);
	ConditionVariableBroadcast(&node->gate_cv);
	ConditionVariableBroadcast(&node->command_cv);
	ConditionVariableBroadcast(&node->applied_cv);
	ConditionVariableBroadcast(&node->watch_cv);
}

/* Fill the place of the offer; the caller holds state_lock. */
static void
put_offer(NodeShared *node, uint64 term, const Membership *m, const Membership *before)
{
	MembershipOffer *offer = &node->offered;

	offer->id++;
	offer->waiting = true;
	offer->term = term;
	offer->committed = before == NULL;
	offer->membership = *m;
	if (before != NULL)
		offer->before = *before;
}

/*
 * A membership was seen, by handshake or in the stream: if it is newer than what
 * is known, the coordinator adopts it.
 */
void
node_offer_membership(NodeShared *node, const Membership *m)
{
	bool		newer;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	newer = m->version > node->membership.version &&
		!(node->offered.waiting &&
		  (node->offered.term != 0 || node->offered.membership.version >= m->version));
	if (newer)
		put_offer(node, 0, m, NULL);
	LWLockRelease(&node->state_lock);
	if (newer)
		node_wake(node, WORKER_COORDINATOR);
}

uint64
node_tell_membership(NodeShared *node, uint64 term, const Membership *m, const Membership *before)
{
	uint64		id;

	LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
	put_offer(node, term, m, before);
	id = node->offered.id;
	LWLockRelease(&node->state_lock);
	node_wake(node, WORKER_COORDINATOR);
	return id;
}

void
node_note(NodeShared *node, const char *kind, const char *fmt,...)
{
	NodeNote	note;
	va_list		args;

	strlcpy(note.kind, kind, sizeof(note.kind));
	va_start(args, fmt);
	vsnprintf(note.detail, sizeof(note.detail), fmt, args);
	va_end(args);
	SpinLockAcquire(&node->mutex);
	if (node->n_notes < BATON_MAX_NOTES)
		node->notes[node->n_notes++] = note;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
}

void
node_met_primary(NodeShared *node, uint16 id, uint64 led_term, uint64 own_term)
{
	char		name[BATON_NAME_LEN] = "?";
	Member	   *member;
	PeerShared *peer;
	bool		news = false;

	LWLockAcquire(&node->peer_lock, LW_EXCLUSIVE);
	peer = node_peer(node, id);
	if (peer != NULL && peer->met_term != led_term)
	{
		peer->met_term = led_term;
		news = true;
	}
	LWLockRelease(&node->peer_lock);
	if (!news)
		return;
	LWLockAcquire(&node->state_lock, LW_SHARED);
	member = membership_find(&node->membership, id);
	if (member != NULL)
		strlcpy(name, member->name, sizeof(name));
	LWLockRelease(&node->state_lock);
	node_note(node, "two primaries",
			  "\"%s\" led in term " UINT64_FORMAT " when this node, which leads in term " UINT64_FORMAT ", met it; it steps down",
			  name, led_term, own_term);
}

PeerShared *
node_peer(NodeShared *node, uint16 id)
{
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
		if (id != 0 && node->peers[i].id == id)
			return &node->peers[i];
	return NULL;
}

bool
node_apply_wanted(NodeShared *node)
{
	bool		notify;

	SpinLockAcquire(&node->mutex);
	notify = node->peer_notify;
	SpinLockRelease(&node->mutex);
	return notify || boot_ms() < pg_atomic_read_u64(&node->apply_asked) + APPLY_WANTED_MS;
}

/* ---- workers ---- */

static void
node_worker_detach(int code, Datum arg)
{
	NodeShared *node = (NodeShared *) DatumGetPointer(arg);

	SpinLockAcquire(&node->mutex);
	for (int kind = 0; kind < WORKER_KINDS; kind++)
	{
		if (node->worker_pid[kind] == MyProcPid)
		{
			node->worker_pid[kind] = 0;
			node->worker_latch[kind] = NULL;
		}
	}
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
}

/*
 * Register the calling process as this node's worker of a kind, until it exits.
 */
bool
node_worker_attach(NodeShared *node, WorkerKind kind)
{
	bool		free;

	SpinLockAcquire(&node->mutex);
	free = kind != WORKER_COORDINATOR || node->worker_pid[kind] == 0;
	if (free)
	{
		node->worker_pid[kind] = MyProcPid;
		node->worker_latch[kind] = &MyProc->procLatch;
	}
	SpinLockRelease(&node->mutex);
	if (free)
		before_shmem_exit(node_worker_detach, PointerGetDatum(node));
	return free;
}

/*
 * Set a worker's latch, if it runs.  The latch lies in shared memory, and at
 * worst, when the worker has just gone, its successor in that slot of PGPROC is
 * woken for nothing.
 */
void
node_wake(NodeShared *node, WorkerKind kind)
{
	Latch	   *latch;

	SpinLockAcquire(&node->mutex);
	latch = node->worker_latch[kind];
	SpinLockRelease(&node->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

void
launcher_wake(void)
{
	Latch	   *latch;

	SpinLockAcquire(&baton_shared->mutex);
	latch = baton_shared->launcher_latch;
	SpinLockRelease(&baton_shared->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

bool
node_command_waits(NodeShared *node)
{
	bool		waits;

	LWLockAcquire(&node->command_lock, LW_SHARED);
	waits = node->command.kind != COMMAND_NONE && !node->command.done;
	LWLockRelease(&node->command_lock);
	return waits;
}

/* ---- messages ---- */

/*
 * Put a message into the coordinator's inbox and wake it.  If the inbox is full
 * the oldest message is lost; whoever sent it asks again.
 */
void
node_post(NodeShared *node, const ConsensusMessage *m)
{
	SpinLockAcquire(&node->mutex);
	if (node->inbox_len == BATON_INBOX_SIZE)
	{
		memmove(&node->inbox[0], &node->inbox[1],
				sizeof(ConsensusMessage) * (BATON_INBOX_SIZE - 1));
		node->inbox_len--;
	}
	node->inbox[node->inbox_len++] = *m;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
}

/*
 * Put a message into the outbox of the member it is addressed to; wakes the
 * shipper and that member's watchers.
 */
void
node_send(NodeShared *node, const ConsensusMessage *m)
{
	PeerShared *peer;

	SpinLockAcquire(&node->mutex);
	peer = node_peer(node, m->to);
	if (peer != NULL)
	{
		if (peer->outbox_len == BATON_OUTBOX_SIZE)
		{
			memmove(&peer->outbox[0], &peer->outbox[1],
					sizeof(ConsensusMessage) * (BATON_OUTBOX_SIZE - 1));
			peer->outbox_len--;
		}
		peer->outbox[peer->outbox_len++] = *m;
	}
	SpinLockRelease(&node->mutex);
	if (peer == NULL)
		return;
	node_wake(node, WORKER_SHIPPER);
	ConditionVariableBroadcast(&node->watch_cv);
}

/*
 * Take the messages for a peer out of its outbox, at most max (the caller's
 * array holds BATON_OUTBOX_SIZE to get all).  Returns how many.
 */
int
node_take_outbox(NodeShared *node, uint16 peer_id, ConsensusMessage *out, int max)
{
	PeerShared *peer;
	int			n = 0;

	SpinLockAcquire(&node->mutex);
	peer = node_peer(node, peer_id);
	if (peer != NULL)
	{
		n = Min(peer->outbox_len, max);
		memcpy(out, peer->outbox, sizeof(ConsensusMessage) * n);
		memmove(&peer->outbox[0], &peer->outbox[n],
				sizeof(ConsensusMessage) * (peer->outbox_len - n));
		peer->outbox_len -= n;
	}
	SpinLockRelease(&node->mutex);
	return n;
}

/* ---- names ---- */

static const char *const node_state_names[] = {
	[NODE_DOWN] = "down",
	[NODE_UNKNOWN] = "unknown",
	[NODE_PRIMARY] = "primary",
	[NODE_REPLICA] = "replica",
	[NODE_DETACHED] = "detached",
	[NODE_COPYING] = "copying",
};

const char *
node_state_name(NodeState state)
{
	return node_state_names[state];
}

bool
node_state_parse(const char *name, NodeState *state)
{
	for (int i = 0; i < lengthof(node_state_names); i++)
	{
		if (strcmp(name, node_state_names[i]) == 0)
		{
			*state = (NodeState) i;
			return true;
		}
	}
	return false;
}

const char *
link_state_name(LinkState link)
{
	switch (link)
	{
		case LINK_OFF:
			return "off";
		case LINK_CONNECTING:
			return "connecting";
		case LINK_SYNCING:
			return "syncing";
		case LINK_STREAMING:
			return "streaming";
		case LINK_FAILED:
			return "failed";
	}
	return "?";
}

const char *
gate_state_name(GateState gate)
{
	switch (gate)
	{
		case GATE_CLOSED:
			return "closed";
		case GATE_OPEN:
			return "open";
		case GATE_DRAIN:
			return "draining";
		case GATE_HELD:
			return "held";
	}
	return "?";
}
