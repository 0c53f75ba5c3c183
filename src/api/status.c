/*
 * status.c - the functions behind baton.status and baton.nodes.
 */
#include "api/api.h"

#include "funcapi.h"
#include "ship/acks.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(baton_status);
PG_FUNCTION_INFO_V1(baton_nodes);

static Datum
text_or_null(const char *s, bool *isnull)
{
	*isnull = s == NULL || s[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(s);
}

static const char *
rule_name(uint8 rule)
{
	return rule == RULE_DESIGNATED ? "designated" : rule == RULE_PREFERRED ? "preferred" : "strict";
}

static void
status_group(NodeShared *node, Datum *v, bool *n)
{
	Member	   *me;
	Member	   *one;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	me = membership_find(&node->membership, node->self);
	one = membership_find(&node->membership, node->membership.designated);
	v[16] = text_or_null(me ? api_type_name(me->voter.type) : NULL, &n[16]);
	v[17] = CStringGetTextDatum(rule_name(node->membership.rule));
	v[18] = text_or_null(one ? one->name : NULL, &n[18]);
	v[19] = BoolGetDatum(node->membership.paused);
	v[20] = BoolGetDatum(node->membership_committed);
	LWLockRelease(&node->state_lock);
}

static void
status_identity(NodeShared *node, Datum *v, bool *n)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));
	Member	   *me;
	Member	   *leader;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	me = membership_find(&node->membership, node->self);
	leader = membership_find(&node->membership, node->leader);
	v[0] = text_or_null(node->group_name, &n[0]);
	memcpy(uuid->data, node->group_id, UUID_LEN);
	v[1] = UUIDPGetDatum(uuid);
	v[2] = Int32GetDatum(node->self);
	v[3] = text_or_null(me ? me->name : NULL, &n[3]);
	v[4] = CStringGetTextDatum(node_state_name(node->state));
	v[5] = Int64GetDatum((int64) node->term);
	v[6] = text_or_null(leader ? leader->name : NULL, &n[6]);
	v[14] = text_or_null(node->reason, &n[14]);
	v[15] = CStringGetTextDatum(ack_policy_name(node->membership.ack_policy));
	LWLockRelease(&node->state_lock);
	v[7] = CStringGetTextDatum(gate_state_name(pg_atomic_read_u32(&node->gate)));
}

static void
status_positions(NodeShared *node, Datum *v, bool *n)
{
	StreamTail	tail;
	char		log_error[BATON_ERROR_LEN];
	char		apply_error[BATON_ERROR_LEN];
	char		capture_error[BATON_ERROR_LEN];
	StreamPos	applied;
	uint64		captured;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	tail = node->tail;
	strlcpy(log_error, node->log_error, sizeof(log_error));
	n[8] = n[9] = n[10] = !node->log_ready;
	LWLockRelease(&node->log_lock);
	SpinLockAcquire(&node->mutex);
	applied = node->applied;
	captured = node->captured_lsn;
	strlcpy(apply_error, node->apply_error, sizeof(apply_error));
	strlcpy(capture_error, node->capture_error, sizeof(capture_error));
	SpinLockRelease(&node->mutex);
	v[8] = LSNGetDatum(tail.start);
	v[9] = LSNGetDatum(tail.flushed);
	v[10] = LSNGetDatum(applied);
	v[11] = LSNGetDatum(captured);
	n[11] = captured == 0;
	v[12] = text_or_null(apply_error, &n[12]);
	v[13] = text_or_null(capture_error[0] ? capture_error : log_error, &n[13]);
}

/*
 * baton.node_status(): one row for the session's database, none if it is no
 * node; see the view baton.status.
 */
Datum
baton_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeShared *node;
	Datum		values[21];
	bool		nulls[21] = {false};

	baton_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	node = node_mine();
	if (node == NULL)
		return (Datum) 0;
	status_identity(node, values, nulls);
	status_positions(node, values, nulls);
	status_group(node, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/* How a member is seen from here. */
static const char *
seen_state(NodeShared *node, const Member *m, const Membership *all, uint16 self, uint16 leader)
{
	NodeState	state = NODE_DOWN;
	bool		linked = false;
	PeerShared *peer;

	if (m->voter.id == self)
		return node_state_name(node->state);
	LWLockAcquire(&node->peer_lock, LW_SHARED);
	peer = node_peer(node, m->voter.id);
	if (peer != NULL && peer->link == LINK_STREAMING)
	{
		linked = true;
		state = peer->state;
	}
	LWLockRelease(&node->peer_lock);
	if (linked)
		return node_state_name(state);
	/* a replica hears of its primary, but not of the other members */
	return m->voter.id == leader && leader != self ? "primary" : NULL;
}

/*
 * Up to where a member has acknowledged the stream, as far as this node knows: its
 * own place, and on a primary that of the others; 0 not known.
 */
static StreamPos
acknowledged(NodeShared *node, uint16 id, uint16 self)
{
	PeerShared *peer;
	StreamPos	pos;

	if (id == self)
		return node_log_tail(node).flushed;
	LWLockAcquire(&node->peer_lock, LW_SHARED);
	peer = node_peer(node, id);
	pos = peer == NULL ? 0 : peer->stream_term != 0 ? peer->flushed : peer->mark.pos;
	LWLockRelease(&node->peer_lock);
	return pos;
}

/*
 * baton.node_list(): one row per member; see the view baton.nodes.
 */
Datum
baton_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeShared *node;
	Membership *m = palloc(sizeof(Membership));
	uint16		self,
				leader;

	baton_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	node = node_mine();
	if (node == NULL)
		return (Datum) 0;
	LWLockAcquire(&node->state_lock, LW_SHARED);
	*m = node->membership;
	self = node->self;
	leader = node->leader;
	LWLockRelease(&node->state_lock);

	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];
		Datum		v[11];
		bool		n[11] = {false};

		v[0] = Int32GetDatum(member->voter.id);
		v[1] = CStringGetTextDatum(member->name);
		v[2] = CStringGetTextDatum(api_type_name(member->voter.type));
		v[3] = Int32GetDatum(member->voter.priority);
		v[4] = text_or_null(seen_state(node, member, m, self, leader), &n[4]);
		v[5] = BoolGetDatum(member->voter.joining != 0);
		v[6] = BoolGetDatum(member->voter.id == self);
		v[7] = CStringGetTextDatum(api_conninfo_public(member->conninfo));
		v[8] = BoolGetDatum(member->voter.detached != 0);
		v[9] = text_or_null(m->designated == member->voter.id ? rule_name(m->rule) : NULL, &n[9]);
		v[10] = LSNGetDatum(acknowledged(node, member->voter.id, self));
		n[10] = DatumGetLSN(v[10]) == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
	}
	return (Datum) 0;
}
