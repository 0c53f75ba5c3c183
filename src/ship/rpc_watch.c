/*
 * rpc_watch.c - how a node tells another what it does not ask for:
 * baton_rpc.watch(), a long poll, and baton_rpc.deliver().
 *
 * A member that leads watches each other member on a second connection: the call
 * waits here until something differs from what the caller knows, or messages for
 * it lie in the outbox, and gives them back.  So everything that goes to the
 * primary travels on a connection that the primary has opened: its vote in a
 * hand-over arrives even while its own server, shutting down, lets nobody in.
 *
 * Where the applier has got to changes with every transaction.  `settle_ms`
 * keeps a call that has nothing else to say from answering each time; a caller
 * that waits for the applier passes 0.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_rpc_watch);
PG_FUNCTION_INFO_V1(baton_rpc_deliver);

#define WATCH_COLUMNS 9

typedef struct WatchView
{
	uint64		term;
	NodeState	state;
	uint64		led_term;
	StreamPos	flushed;
	StreamPos	applied;
	TimestampTz applied_at;
	char		error[BATON_ERROR_LEN];
	bool		messages;		/* some wait for the caller */
} WatchView;

typedef struct WatchKnown		/* what the caller says it knows */
{
	uint64		term;
	char	   *state;
	uint64		led_term;
	StreamPos	applied;
	char	   *error;
} WatchKnown;

/* What the caller could want to know, right now. */
static void
watch_look(NodeShared *node, uint16 from, WatchView *v)
{
	PeerShared *peer;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	v->term = node->term;
	v->state = node->state;
	v->led_term = node->lead_term;
	LWLockRelease(&node->state_lock);

	v->flushed = node_log_tail(node).flushed;

	SpinLockAcquire(&node->mutex);
	v->applied = node->applied;
	v->applied_at = node->applied_commit_time;
	/* an applier that has stopped is the news; a node that cannot follow is worse */
	strlcpy(v->error, node->sync_error[0] ? node->sync_error : node->apply_error,
			sizeof(v->error));
	peer = node_peer(node, from);
	if (v->error[0] == '\0' && pg_atomic_read_u32(&node->apply_blocked) != 0)
		strlcpy(v->error, "apply waits for locks that other sessions have", sizeof(v->error));
	if (v->error[0] == '\0' && pg_atomic_read_u32(&node->index_work_unique) != 0)
		strlcpy(v->error, "unique indexes are still to be built, see baton.pending_indexes", sizeof(v->error));
	v->messages = peer != NULL && peer->outbox_len > 0;
	SpinLockRelease(&node->mutex);
	/* a message that was cut to fit may end in half a character */
	v->error[pg_mbcliplen(v->error, strlen(v->error), strlen(v->error))] = '\0';
}

/* Is there something that must be told at once? */
static bool
watch_news(const WatchView *v, const WatchKnown *known)
{
	return v->messages || v->term != known->term || v->led_term != known->led_term ||
		strcmp(node_state_name(v->state), known->state) != 0 ||
		strcmp(v->error, known->error) != 0;
}

/* Count this session among the peer's watchers, or no longer. */
static void
watch_count(NodeShared *node, uint16 from, bool watching)
{
	PeerShared *peer;

	if (rpc_session.watching == watching)
		return;
	SpinLockAcquire(&node->mutex);
	peer = node_peer(node, from);
	if (peer != NULL && watching)
		peer->watchers++;
	else if (peer != NULL && peer->watchers > 0)
		peer->watchers--;
	SpinLockRelease(&node->mutex);
	rpc_session.watching = watching;
}

/* Wait for news, for timeout_ms at most; *v is what there is at the end. */
static void
watch_wait(NodeShared *node, uint16 from, const WatchKnown *known,
		   int timeout_ms, int settle_ms, WatchView *v)
{
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(start, timeout_ms);
	TimestampTz settled = TimestampTzPlusMilliseconds(start, settle_ms);
	bool		moved = false;

	ConditionVariablePrepareToSleep(&node->watch_cv);
	for (;;)
	{
		TimestampTz now;
		TimestampTz wake = until;

		/* once applied has moved, only time and other news count */
		if (!moved)
			pg_atomic_exchange_u32(&node->watch_applied, 1);
		watch_look(node, from, v);
		moved = v->applied != known->applied;
		if (watch_news(v, known))
			break;
		now = GetCurrentTimestamp();
		if (moved)
			wake = Min(settled, until);
		if (now >= wake)
			break;
		/* at least 1 ms, or the last fraction of one is spent spinning */
		ConditionVariableTimedSleep(&node->watch_cv,
									Max(1, TimestampDifferenceMilliseconds(now, wake)),
									PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* The messages that wait for the caller, as bytes; they are taken out here. */
static bytea *
watch_take_messages(NodeShared *node, uint16 from)
{
	ConsensusMessage messages[BATON_OUTBOX_SIZE];
	int			n = node_take_outbox(node, from, messages, BATON_OUTBOX_SIZE);
	bytea	   *out = palloc(VARHDRSZ + n * CONSENSUS_MESSAGE_LEN);

	SET_VARSIZE(out, VARHDRSZ + n * CONSENSUS_MESSAGE_LEN);
	for (int i = 0; i < n; i++)
		consensus_message_encode(&messages[i],
								 (uint8_t *) VARDATA(out) + i * CONSENSUS_MESSAGE_LEN);
	return out;
}

/*
 * baton_rpc.watch(from_id, lead_term, lease_ms, committed, known_term, known_state,
 * known_led_term, known_applied, known_error, timeout_ms, settle_ms): see the file's
 * head.  lead_term: the term that the caller leads, 0 none; the call is a sign of life
 * then, and its answer says whether the lease was promised when the call came: it
 * renews the lease also while the other connection is busy with frames.
 *
 * If the answer is lost with messages in it, their senders ask again.
 */
Datum
baton_rpc_watch(PG_FUNCTION_ARGS)
{
	int			from = PG_GETARG_INT32(0);
	RpcLead		lead = {(uint64) PG_GETARG_INT64(1), (uint16) from,
		rpc_lease(PG_GETARG_INT32(2)), PG_GETARG_LSN(3)};
	int			timeout_ms = Max(0, PG_GETARG_INT32(9));
	int			settle_ms = Max(0, PG_GETARG_INT32(10));
	NodeShared *node = rpc_enter_peer(from);
	bool		promised = false;
	WatchKnown	known;
	WatchView	v;
	TupleDesc	desc;
	Datum		values[WATCH_COLUMNS];
	bool		nulls[WATCH_COLUMNS] = {false};

	known.term = (uint64) PG_GETARG_INT64(4);
	known.state = text_to_cstring(PG_GETARG_TEXT_PP(5));
	known.led_term = (uint64) PG_GETARG_INT64(6);
	known.applied = PG_GETARG_LSN(7);
	known.error = text_to_cstring(PG_GETARG_TEXT_PP(8));

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != WATCH_COLUMNS)
		elog(ERROR, "baton_rpc.watch is declared wrongly");

	if (lead.term != 0)
		(void) rpc_lead(node, &lead, &promised);

	watch_count(node, (uint16) from, true);
	PG_TRY();
	{
		watch_wait(node, (uint16) from, &known, timeout_ms, settle_ms, &v);
	}
	PG_FINALLY();
	{
		watch_count(node, (uint16) from, false);
	}
	PG_END_TRY();

	values[0] = Int64GetDatum((int64) v.term);
	values[1] = CStringGetTextDatum(node_state_name(v.state));
	values[2] = Int64GetDatum((int64) v.led_term);
	values[3] = LSNGetDatum(v.flushed);
	values[4] = LSNGetDatum(v.applied);
	values[5] = TimestampTzGetDatum(v.applied_at);
	nulls[5] = v.applied_at == 0;
	values[6] = CStringGetTextDatum(v.error);
	values[7] = PointerGetDatum(watch_take_messages(node, (uint16) from));
	values[8] = BoolGetDatum(promised);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * baton_rpc.deliver(messages): consensus messages from the member that this
 * session shook hands with, to this node's coordinator.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE for bytes that are none, or are addressed to
 * or sent by anybody else.
 */
Datum
baton_rpc_deliver(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	NodeShared *node = rpc_enter_peer(rpc_session.peer);
	int			len = VARSIZE_ANY_EXHDR(bytes);
	uint16		self;
	PeerShared *peer;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	self = node->self;
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	peer = node_peer(node, rpc_session.peer);
	if (peer != NULL)
		peer->knocked = true;
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_SHIPPER);

	for (int at = 0; at < len; at += CONSENSUS_MESSAGE_LEN)
	{
		ConsensusMessage m;

		if (!consensus_message_decode((const uint8_t *) VARDATA_ANY(bytes) + at,
									  Min(len - at, CONSENSUS_MESSAGE_LEN), &m) ||
			m.to != self || m.from != rpc_session.peer)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("not a message from member %u to member %u",
							rpc_session.peer, self)));
		node_post(node, &m);
	}
	PG_RETURN_VOID();
}
