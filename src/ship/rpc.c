/*
 * rpc.c - what the functions of schema baton_rpc share: the check of who calls,
 * the session's state and its end, and how a term reaches the coordinator.
 */
#include "baton.h"

#include "miscadmin.h"
#include "ship/rpc.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* baton.election_timeout cannot be longer. */
#define RPC_MAX_LEASE_MS (10 * 60 * 1000)

RpcSession	rpc_session;

void
rpc_require_peer_role(void)
{
	baton_require_preloaded();
	if (!has_rolreplication(GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the node-to-node functions of baton"),
				 errdetail("They are for roles with the REPLICATION attribute."),
				 errhint("Give the role in the node's conninfo that attribute: ALTER ROLE ... REPLICATION.")));
}

NodeShared *
rpc_enter(void)
{
	rpc_require_peer_role();
	return node_mine_or_error();
}

NodeShared *
rpc_enter_peer(int from)
{
	NodeShared *node = rpc_enter();

	if (rpc_session.peer == 0 || rpc_session.peer != from || rpc_session.node != node)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this session has not shaken hands with member %d", from),
				 errhint("Call baton_rpc.handshake() first.")));
	return node;
}

/* before_shmem_exit: let go of all that other processes could wait for. */
static void
rpc_session_end(int code, Datum arg)
{
	NodeShared *node = rpc_session.node;
	bool		was_receiver;

	if (node == NULL)
		return;
	/* an ERROR or FATAL inside a function may have left locks held */
	LWLockReleaseAll();

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	was_receiver = node->receiver_pid == MyProcPid;
	if (was_receiver)
		node->receiver_pid = 0;
	LWLockRelease(&node->log_lock);

	if (rpc_session.watching)
	{
		PeerShared *peer;

		SpinLockAcquire(&node->mutex);
		peer = node_peer(node, rpc_session.peer);
		if (peer != NULL && peer->watchers > 0)
			peer->watchers--;
		SpinLockRelease(&node->mutex);
		rpc_session.watching = false;
	}
	stream_writer_close(&rpc_session.writer);
	stream_reader_close(&rpc_session.reader);
	if (was_receiver)
		ConditionVariableBroadcast(&node->state_cv);
}

void
rpc_session_begin(NodeShared *node, uint16 peer)
{
	if (!rpc_session.exit_registered)
	{
		before_shmem_exit(rpc_session_end, (Datum) 0);
		rpc_session.exit_registered = true;
	}
	rpc_session.node = node;
	rpc_session.peer = peer;
	/* files that are still open may be of a log that was replaced since */
	stream_writer_close(&rpc_session.writer);
	stream_reader_close(&rpc_session.reader);
	node_log_directory(node, rpc_session.writer.directory, sizeof(rpc_session.writer.directory));
	node_log_directory(node, rpc_session.reader.directory, sizeof(rpc_session.reader.directory));
}

#ifdef WORDS_BIGENDIAN
#define RPC_BYTE_ORDER "big-endian"
#else
#define RPC_BYTE_ORDER "little-endian"
#endif

const char *
rpc_architecture(void)
{
	static char text[96];

	snprintf(text, sizeof(text), "%s, datum %d, alignment %d, name %d, %s float8",
			 RPC_BYTE_ORDER, (int) sizeof(Datum), MAXIMUM_ALIGNOF, NAMEDATALEN,
			 FLOAT8PASSBYVAL ? "by-value" : "by-reference");
	return text;
}

Datum
rpc_membership_datum(const Membership *m)
{
	StreamBuf	buf = {0};
	bytea	   *out;

	membership_encode(m, &buf);
	if (buf.failed)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	out = palloc(VARHDRSZ + buf.len);
	SET_VARSIZE(out, VARHDRSZ + buf.len);
	memcpy(VARDATA(out), buf.data, buf.len);
	stream_buf_free(&buf);
	return PointerGetDatum(out);
}

void
rpc_heard(NodeShared *node, uint64 term, uint16 leader, uint32 lease_ms)
{
	uint64		now = boot_ms();
	bool		follows;
	bool		changed;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	follows = node->term == term && (node->leader == leader || node->leader == 0);
	LWLockRelease(&node->state_lock);
	if (!follows)
		return;

	SpinLockAcquire(&node->mutex);
	changed = node->heard_term != term || node->heard_leader != leader;
	node->heard_term = term;
	node->heard_leader = leader;
	node->heard_lease = lease_ms;
	node->heard_at = now;
	SpinLockRelease(&node->mutex);

	if (changed || now >= rpc_session.woke_at + baton_heartbeat_interval / 2)
	{
		rpc_session.woke_at = now;
		node_wake(node, WORKER_COORDINATOR);
	}
}

uint32
rpc_lease(int32 lease_ms)
{
	if (lease_ms < 0 || lease_ms > RPC_MAX_LEASE_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a lease of %d ms is out of range", lease_ms)));
	return (uint32) lease_ms;
}

/*
 * Promise to respect the lease, if the control file covers one that long; else ask
 * the coordinator for that.  The caller holds log_lock and the spinlock.  A promise
 * to the primary of an older term means nothing any more: a majority was free of it.
 */
static bool
rpc_promise(NodeShared *node, const RpcLead *lead, uint64 now)
{
	ConsensusPromise *p = &node->promise;
	uint64		until = now + CONSENSUS_PROMISE_MS(lead->lease_ms);

	if (lead->lease_ms > node->promise_ms)
	{
		node->promise_asked = Max(node->promise_asked, lead->lease_ms);
		return false;
	}
	if (p->term == lead->term && p->leader == lead->leader)
		until = Max(until, p->until);
	p->term = lead->term;
	p->leader = lead->leader;
	p->until = until;
	return true;
}

bool
rpc_lead(NodeShared *node, const RpcLead *lead, bool *promised)
{
	uint64		now = boot_ms();
	bool		current;
	bool		moved = false;

	*promised = false;
	LWLockAcquire(&node->log_lock, LW_SHARED);
	current = node->append_term == lead->term;
	if (current)
	{
		SpinLockAcquire(&node->mutex);
		if (lead->lease_ms != 0)
			*promised = rpc_promise(node, lead, now);
		if (lead->committed != 0 &&
			(node->committed_term != lead->term || node->committed < lead->committed))
		{
			node->committed_term = lead->term;
			node->committed = lead->committed;
			moved = true;
		}
		SpinLockRelease(&node->mutex);
	}
	LWLockRelease(&node->log_lock);

	if (moved)
		ConditionVariableBroadcast(&node->committed_cv);
	if (lead->lease_ms == 0)
		return current;
	rpc_heard(node, lead->term, lead->leader, lead->lease_ms);
	if (current && !*promised)
		node_wake(node, WORKER_COORDINATOR);
	return current;
}

/*
 * Does this node follow `leader` in `term`, or *beyond: will it not, because it is
 * past that term or out of service?
 */
static bool
rpc_follows(NodeShared *node, uint64 term, uint16 leader, bool *beyond)
{
	uint64		own_term;
	uint16		own_leader;
	uint64		append_term;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	own_term = node->term;
	own_leader = node->leader;
	*beyond = node->intent == INTENT_STOPPED || node->intent == INTENT_DETACHED;
	LWLockRelease(&node->state_lock);
	LWLockAcquire(&node->log_lock, LW_SHARED);
	append_term = node->append_term;
	LWLockRelease(&node->log_lock);

	*beyond = *beyond || own_term > term || append_term > term;
	return own_term == term && own_leader == leader && append_term == term;
}

bool
rpc_accept_leader(NodeShared *node, uint64 term, uint16 leader)
{
	ConsensusMessage m = {0};
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RPC_ACCEPT_MS);
	bool		beyond;
	bool		follows;

	if (rpc_follows(node, term, leader, &beyond) || beyond)
		return !beyond;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	m.to = node->self;
	LWLockRelease(&node->state_lock);
	m.type = MSG_LEADER;
	m.from = leader;
	m.term = term;
	m.leader = leader;
	m.leader_term = term;
	node_post(node, &m);

	ConditionVariablePrepareToSleep(&node->state_cv);
	while (!(follows = rpc_follows(node, term, leader, &beyond)) && !beyond)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		if (left <= 0 ||
			ConditionVariableTimedSleep(&node->state_cv, left, PG_WAIT_EXTENSION))
			break;
	}
	ConditionVariableCancelSleep();
	return follows;
}
