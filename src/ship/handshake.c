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

#define HANDSHAKE_COLUMNS 9

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
} HandshakeArgs;

typedef struct HandshakeAnswer
{
	const char *status;
	char		detail[BATON_ERROR_LEN];
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

/*
 * Is the caller a member by that id and name, for this node, or, if it knows of
 * a later membership than this node does, for itself?  A primary's membership is
 * offered to the coordinator.
 */
static bool
handshake_member_known(NodeShared *node, const HandshakeArgs *args)
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
	known = member != NULL && strcmp(member->name, args->from_name) == 0;
	LWLockRelease(&node->state_lock);

	readable = membership_decode(VARDATA_ANY(args->membership),
								 VARSIZE_ANY_EXHDR(args->membership), theirs);
	if (!known && readable && theirs->version > own_version)
	{
		member = membership_find(theirs, (uint16) args->from_id);
		known = member != NULL && strcmp(member->name, args->from_name) == 0;
	}
	if (known && readable && args->term != 0 && args->term >= own_term)
		node_offer_membership(node, theirs);
	pfree(theirs);
	return known;
}

/* Do both sides mean the same group, the same members, and the same bytes? */
static bool
handshake_identity(NodeShared *node, const HandshakeArgs *args, HandshakeAnswer *a)
{
	char		group_name[BATON_NAME_LEN];
	bool		same_group;
	uint16		self;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	strlcpy(group_name, node->group_name, sizeof(group_name));
	same_group = memcmp(node->group_id, args->group_id, UUID_LEN) == 0;
	self = node->self;
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
	if (strcmp(args->architecture, rpc_architecture()) != 0)
		return handshake_refuse(a, "architecture", "this node is %s, the caller %s",
								rpc_architecture(), args->architecture);
	if (strcmp(args->encoding, GetDatabaseEncodingName()) != 0)
		return handshake_refuse(a, "encoding", "this database is in %s, the caller's in %s",
								GetDatabaseEncodingName(), args->encoding);
	if (!handshake_member_known(node, args))
		return handshake_refuse(a, "wrong node", "member %d \"%s\" is not known here",
								args->from_id, args->from_name);
	return true;
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
		return handshake_refuse(a, "stale term", "this node knows of term " UINT64_FORMAT, term);
	if (log_error[0] != '\0')
		return handshake_refuse(a, "stopped", "%s", log_error);
	if (state == NODE_DOWN || (intent != INTENT_ACTIVE && intent != INTENT_COPYING))
		return handshake_refuse(a, "stopped", "%s", reason[0] ? reason :
								"the node is out of replication");
	if (!log_ready)
		return handshake_refuse(a, "no log", "the node has no stream log yet");
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
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * baton_rpc.handshake(group_id, from_id, from_name, to_id, protocol,
 * architecture, encoding, term, membership): see the file's head.  status is
 * 'ok', or what does not fit, with the reason in detail.  The place columns are
 * this node's log when it answers.
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

	if (handshake_identity(node, &args, &answer))
	{
		handshake_quiet_session();
		rpc_session_begin(node, (uint16) args.from_id);
		if (args.term != 0 && handshake_term(node, &args, &answer) &&
			handshake_take_over(node, &answer))
			rpc_heard(node, args.term, (uint16) args.from_id, 0);
	}
	return handshake_result(fcinfo, node, &answer);
}
