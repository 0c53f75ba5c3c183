/*
 * handshake.c - baton_rpc.handshake(): what must be clear between two nodes
 * before one believes the other.
 *
 * The caller says who it is, whom it means, and the term that it leads, or 0 if
 * it only has messages to deliver or wants to watch.  With a term this session
 * becomes the node's receiver, the one that may append: an older receiver is
 * ended first, and gone before the answer says so.  Whatever does not fit is told
 * as a status, for the caller to show, not as an error.
 */
#include "baton.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_rpc_handshake);

/* How long an older receiver may take to end, in milliseconds. */
#define OLD_RECEIVER_MS 5000

#define HANDSHAKE_COLUMNS 12

typedef struct HandshakeArgs
{
	const uint8 *group_id;
	int			from_id;
	char	   *from_name;
	int			to_id;
	int			protocol;
	char	   *architecture;
	char	   *encoding;
	uint64		term;			/* that the caller leads, 0 none */
	bytea	   *membership;		/* as the caller knows it */
	uint64		from_incarnation;	/* 0 not known */
	uint64		to_incarnation;
	char	   *collation;		/* "" not told */
	ConsensusPlace mark;		/* what this node has acknowledged to the caller, 0 nothing */
} HandshakeArgs;

typedef struct HandshakeAnswer
{
	const char *status;
	char		detail[BATON_ERROR_LEN];
	uint64		led_term;		/* led here when the caller came, with the gate open; 0 none */
	Membership *members;		/* status 'removed': as it is without the caller */
} HandshakeAnswer;

static bool
handshake_refuse(HandshakeAnswer *a, const char *status, const char *fmt,...) pg_attribute_printf(3, 4);

static bool
handshake_refuse(HandshakeAnswer *a, const char *status, const char *fmt,...)
{
	va_list		args;

	a->status = status;
	va_start(args, fmt);
	vsnprintf(a->detail, sizeof(a->detail), fmt, args);
	va_end(args);
	return false;
}

/* Is this the member that the caller says it is?  An incarnation of 0 is not known. */
static bool
handshake_is(const Member *member, const HandshakeArgs *args)
{
	return member != NULL && strcmp(member->name, args->from_name) == 0 &&
		(member->incarnation == 0 || args->from_incarnation == 0 ||
		 member->incarnation == args->from_incarnation);
}

/*
 * Has the group removed the caller, for certain?  Its id was given out, and it has
 * not heard of the membership that lacks it.
 */
static Membership *
handshake_removed(NodeShared *node, const HandshakeArgs *args, const Membership *theirs)
{
	Membership *out = NULL;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	if (node->membership_committed && args->from_id < node->membership.next_id &&
		membership_find(&node->membership, (uint16) args->from_id) == NULL &&
		theirs->version < node->membership.version)
	{
		out = palloc(sizeof(Membership));
		*out = node->membership;
	}
	LWLockRelease(&node->state_lock);
	return out;
}

/*
 * Do both sides claim to be the one that goes on alone?  A designation moves in two
 * steps that both have, so that cannot come about by itself: somebody has put an old
 * control file back.  Whose list of members is the older one, its node goes out of
 * service, before it elects itself.
 */
static bool
handshake_two_designated(NodeShared *node, const HandshakeArgs *args, const Membership *theirs)
{
	bool		both;
	bool		older;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	both = theirs->rule == RULE_DESIGNATED && node->membership.rule == RULE_DESIGNATED &&
		theirs->designated == args->from_id && node->membership.designated == node->self;
	older = node->membership.version < theirs->version;
	LWLockRelease(&node->state_lock);
	if (!both || !older)
		return both;
	SpinLockAcquire(&node->mutex);
	snprintf(node->sync_error, sizeof(node->sync_error),
			 "it believes that it is designated, as an older list of members says, but \"%s\" is; leave the group and join it again",
			 args->from_name);
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
	return true;
}

/*
 * Is the caller a member by that id, name and incarnation, for this node, or, if it
 * knows of a later membership than this node does, for itself?  A primary's
 * membership is offered to the coordinator.
 */
static bool
handshake_member_known(NodeShared *node, const HandshakeArgs *args, HandshakeAnswer *a)
{
	Membership *theirs = palloc(sizeof(Membership));
	uint64		own_version;
	uint64		own_term;
	Member	   *member;
	bool		known;
	bool		readable;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	own_version = node->membership.version;
	own_term = node->term;
	member = membership_find(&node->membership, (uint16) args->from_id);
	known = handshake_is(member, args);
	LWLockRelease(&node->state_lock);

	readable = membership_decode(VARDATA_ANY(args->membership),
								 VARSIZE_ANY_EXHDR(args->membership), theirs);
	if (!known && readable && theirs->version > own_version)
	{
		member = membership_find(theirs, (uint16) args->from_id);
		known = handshake_is(member, args);
	}
	if (!known && readable)
		a->members = handshake_removed(node, args, theirs);
	if (a->members != NULL)
		(void) handshake_refuse(a, "removed", "the group has removed this node");
	else if (!known)
		(void) handshake_refuse(a, "wrong node", "member %d \"%s\" is not known here as that node",
								args->from_id, args->from_name);
	else if (readable && handshake_two_designated(node, args, theirs))
		known = handshake_refuse(a, "two designated", "this node and the caller are each designated to go on alone");
	if (known && readable && args->term != 0 && args->term >= own_term)
		node_offer_membership(node, theirs);
	pfree(theirs);
	return known;
}

/*
 * The caller counts what this log has as flushed: an older receiver may have ended between
 * append and flush.
 */
static bool
handshake_flush(NodeShared *node, HandshakeAnswer *a)
{
	StreamTail	tail = node_log_tail(node);
	StreamError err = {0};

	if (tail.flushed == tail.end ||
		node_log_flush(node, &rpc_session.writer, false, &err) == STREAM_OK)
		return true;
	return handshake_refuse(a, "stopped", "its stream log cannot be flushed: %s", err.message);
}

/* Do both sides mean the same group, the same members, and the same bytes? */
static bool
handshake_identity(NodeShared *node, const HandshakeArgs *args, HandshakeAnswer *a)
{
	char		group_name[BATON_NAME_LEN];
	bool		same_group;
	uint16		self;
	uint64		incarnation;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	strlcpy(group_name, node->group_name, sizeof(group_name));
	same_group = memcmp(node->group_id, args->group_id, UUID_LEN) == 0;
	self = node->self;
	incarnation = node->incarnation;
	LWLockRelease(&node->state_lock);

	if (self == 0)
		return handshake_refuse(a, "stopped", "the node has just started");
	if (args->protocol != BATON_PROTOCOL_VERSION)
		return handshake_refuse(a, "protocol", "this node speaks protocol %d, the caller %d",
								BATON_PROTOCOL_VERSION, args->protocol);
	if (!same_group)
		return handshake_refuse(a, "wrong group", "this node belongs to group \"%s\"", group_name);
	if (args->to_id != self || args->from_id == self)
		return handshake_refuse(a, "wrong node", "this node is member %u, not %d",
								self, args->to_id);
	if (args->to_incarnation != 0 && args->to_incarnation != incarnation)
		return handshake_refuse(a, "wrong node", "this node has joined under the same number in another life");
	if (strcmp(args->architecture, rpc_architecture()) != 0)
		return handshake_refuse(a, "architecture", "this node is %s, the caller %s",
								rpc_architecture(), args->architecture);
	if (strcmp(args->encoding, GetDatabaseEncodingName()) != 0)
		return handshake_refuse(a, "encoding", "this database is in %s, the caller's in %s",
								GetDatabaseEncodingName(), args->encoding);
	return handshake_member_known(node, args, a);
}

/*
 * Is this log behind what it has acknowledged to the caller?  Copies and cuts are
 * known here; what else puts a node back is an old backup, and who has forgotten
 * what it promised must not count.
 */
static bool
handshake_restored(NodeShared *node, const HandshakeArgs *args, HandshakeAnswer *a)
{
	StreamTail	tail = node_log_tail(node);
	ConsensusPlace best = {tail.last_term, tail.flushed};
	bool		copying;
	char		why[BATON_REASON_LEN];

	LWLockAcquire(&node->state_lock, LW_SHARED);
	copying = node->intent == INTENT_COPYING;
	if (consensus_place_cmp(node->was_at, best) > 0)
		best = node->was_at;
	LWLockRelease(&node->state_lock);
	if (copying || consensus_place_cmp(args->mark, best) <= 0)
		return false;
	snprintf(why, sizeof(why), "it was restored from an old backup: its stream log ends at " STREAM_POS_FORMAT
			 ", but it had acknowledged " STREAM_POS_FORMAT "; leave the group and join it again",
			 STREAM_POS_ARGS(tail.flushed), STREAM_POS_ARGS(args->mark.pos));
	SpinLockAcquire(&node->mutex);
	strlcpy(node->sync_error, why, sizeof(node->sync_error));
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
	(void) handshake_refuse(a, "restored", "%s", why);
	return true;
}

/* Databases that sort differently: said once for each difference. */
static void
handshake_compare_collation(NodeShared *node, const HandshakeArgs *args)
{
	char	   *own = rpc_collation();
	uint32		difference;
	PeerShared *peer;
	bool		news = false;

	if (args->collation[0] == '\0' || strcmp(own, args->collation) == 0)
		return;
	difference = DatumGetUInt32(hash_any((unsigned char *) args->collation, strlen(args->collation))) | 1;
	LWLockAcquire(&node->peer_lock, LW_EXCLUSIVE);
	peer = node_peer(node, (uint16) args->from_id);
	if (peer != NULL && peer->collation_noted != difference)
	{
		peer->collation_noted = difference;
		news = true;
	}
	LWLockRelease(&node->peer_lock);
	if (!news)
		return;
	ereport(WARNING,
			(errmsg("database \"%s\" sorts text in another way than that of member \"%s\"",
					node->dbname, args->from_name),
			 errdetail("Here: %s; there: %s.", own, args->collation)));
	node_note(node, "collation", "sorts text in another way than \"%s\": here %s; there %s",
			  args->from_name, own, args->collation);
}

/* The term that is led here with the gate open, 0 none. */
static uint64
handshake_led_term(NodeShared *node)
{
	uint64		term;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	term = node->lead_term;
	LWLockRelease(&node->state_lock);
	if (pg_atomic_read_u32(&node->gate) != GATE_OPEN ||
		pg_atomic_read_u64(&node->lease_until) <= boot_ms())
		return 0;
	return term;
}

/*
 * The caller leads in a lower term than this node does.  It may be long ago that it
 * asked, so that counts only where two can lead: under the rule PREFERRED, and after
 * a forced promotion.
 */
static void
handshake_met_lower(NodeShared *node, const HandshakeArgs *args, uint64 led_term)
{
	bool		preferred;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	preferred = node->membership.rule == RULE_PREFERRED;
	LWLockRelease(&node->state_lock);
	if (args->term < led_term && (preferred || TERM_FORCED(args->term) < TERM_FORCED(led_term)))
		node_met_primary(node, (uint16) args->from_id, args->term, led_term);
}

/* May the caller's stream come in: is the node active, its log good, the term right? */
static bool
handshake_term(NodeShared *node, const HandshakeArgs *args, HandshakeAnswer *a)
{
	NodeState	state;
	NodeIntent	intent;
	uint64		term;
	char		reason[BATON_REASON_LEN];
	char		log_error[BATON_ERROR_LEN];
	bool		log_ready;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	state = node->state;
	intent = node->intent;
	term = node->term;
	strlcpy(reason, node->reason, sizeof(reason));
	LWLockRelease(&node->state_lock);
	LWLockAcquire(&node->log_lock, LW_SHARED);
	log_ready = node->log_ready;
	strlcpy(log_error, node->log_error, sizeof(log_error));
	LWLockRelease(&node->log_lock);

	if (args->term < term)
	{
		handshake_met_lower(node, args, a->led_term);
		return handshake_refuse(a, "stale term", "this node knows of term " UINT64_FORMAT, term);
	}
	if (log_error[0] != '\0')
		return handshake_refuse(a, "stopped", "%s", log_error);
	if (state == NODE_DOWN || (intent != INTENT_ACTIVE && intent != INTENT_COPYING))
		return handshake_refuse(a, "stopped", "%s", reason[0] ? reason :
								"the node is out of replication");
	if (!log_ready)
		return handshake_refuse(a, "no log", "the node has no stream log yet");
	if (handshake_restored(node, args, a))
		return false;
	if (!rpc_accept_leader(node, args->term, (uint16) args->from_id))
		return handshake_refuse(a, "stopped",
								"the node has not accepted the term within %d ms", RPC_ACCEPT_MS);
	return true;
}

/* End an older receiver; false if it did not let go in time. */
static bool
handshake_take_over(NodeShared *node, HandshakeAnswer *a)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), OLD_RECEIVER_MS);
	int			signalled = 0;
	bool		mine = false;

	ConditionVariablePrepareToSleep(&node->state_cv);
	for (;;)
	{
		int			other;
		long		left;

		LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
		other = node->receiver_pid;
		/* a pid that is no backend was lost by one that died without cleaning up */
		if (other == 0 || other == MyProcPid || BackendPidGetProc(other) == NULL)
		{
			node->receiver_pid = MyProcPid;
			mine = true;
		}
		LWLockRelease(&node->log_lock);
		if (mine)
			break;

		if (signalled != other && kill(other, SIGTERM) == 0)
			signalled = other;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		ConditionVariableTimedSleep(&node->state_cv, Min(left, 100), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	if (!mine)
		handshake_refuse(a, "stopped", "an older receiver did not end within %d ms", OLD_RECEIVER_MS);
	return mine;
}

/*
 * Logging each frame's statement, or ending the session because it is idle,
 * would harm; what the caller may not set itself is set here.  Settings that
 * this server does not have are passed over.
 */
static void
handshake_quiet_session(void)
{
	static const char *const settings[][2] = {
		{"log_statement", "none"},
		{"log_duration", "off"},
		{"log_min_duration_statement", "-1"},
		{"log_min_duration_sample", "-1"},
		{"log_transaction_sample_rate", "0"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
	};

	for (int i = 0; i < lengthof(settings); i++)
	{
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
	}
}

static Datum
handshake_result(FunctionCallInfo fcinfo, NodeShared *node, const HandshakeAnswer *a)
{
	TupleDesc	desc;
	Datum		values[HANDSHAKE_COLUMNS];
	bool		nulls[HANDSHAKE_COLUMNS] = {false};
	StreamTail	tail = node_log_tail(node);
	uint64		term;
	NodeState	state;
	StreamPos	applied;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	term = node->term;
	state = node->state;
	LWLockRelease(&node->state_lock);
	SpinLockAcquire(&node->mutex);
	applied = node->applied;
	SpinLockRelease(&node->mutex);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != HANDSHAKE_COLUMNS)
		elog(ERROR, "baton_rpc.handshake is declared wrongly");
	values[0] = CStringGetTextDatum(a->status);
	values[1] = CStringGetTextDatum(a->detail);
	values[2] = Int64GetDatum((int64) term);
	values[3] = CStringGetTextDatum(node_state_name(state));
	values[4] = LSNGetDatum(tail.start);
	values[5] = LSNGetDatum(tail.end);
	values[6] = LSNGetDatum(tail.last_start);
	values[7] = Int64GetDatum((int64) tail.last_term);
	values[8] = LSNGetDatum(applied);
	values[9] = Int64GetDatum((int64) a->led_term);
	values[10] = Int64GetDatum(GetCurrentTimestamp());
	nulls[11] = a->members == NULL;
	values[11] = nulls[11] ? (Datum) 0 : rpc_membership_datum(a->members);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * baton_rpc.handshake(group_id, from_id, from_name, to_id, protocol,
 * architecture, encoding, term, membership, from_incarnation, to_incarnation,
 * collation_text, mark_term, mark_pos): see the file's head.  status is 'ok', or
 * what does not fit, with the reason in detail.  The place columns are this node's
 * log when it answers; led_term is what it led, gate open, when the caller came;
 * clock_us is its clock, for the caller to compare.
 */
Datum
baton_rpc_handshake(PG_FUNCTION_ARGS)
{
	NodeShared *node = rpc_enter();
	HandshakeAnswer answer = {"ok", ""};
	HandshakeArgs args;

	args.group_id = PG_GETARG_UUID_P(0)->data;
	args.from_id = PG_GETARG_INT32(1);
	args.from_name = text_to_cstring(PG_GETARG_TEXT_PP(2));
	args.to_id = PG_GETARG_INT32(3);
	args.protocol = PG_GETARG_INT32(4);
	args.architecture = text_to_cstring(PG_GETARG_TEXT_PP(5));
	args.encoding = text_to_cstring(PG_GETARG_TEXT_PP(6));
	args.term = (uint64) PG_GETARG_INT64(7);
	args.membership = PG_GETARG_BYTEA_PP(8);
	args.from_incarnation = (uint64) PG_GETARG_INT64(9);
	args.to_incarnation = (uint64) PG_GETARG_INT64(10);
	args.collation = text_to_cstring(PG_GETARG_TEXT_PP(11));
	args.mark.term = (uint64) PG_GETARG_INT64(12);
	args.mark.pos = PG_GETARG_LSN(13);
	answer.led_term = handshake_led_term(node);

	if (handshake_identity(node, &args, &answer))
	{
		handshake_quiet_session();
		rpc_session_begin(node, (uint16) args.from_id);
		handshake_compare_collation(node, &args);
		if (args.term != 0 && handshake_term(node, &args, &answer) &&
			handshake_take_over(node, &answer) && handshake_flush(node, &answer))
			rpc_heard(node, args.term, (uint16) args.from_id, 0);
	}
	return handshake_result(fcinfo, node, &answer);
}
