/*
 * consistency.c - read your own writes: position() gives a token, wait_for()
 * waits until this node has applied what the token stands for.
 *
 * A token is "term:position", both as the stream has them: the term is that of
 * the frame which holds the position or ends there.  Frames with the same term
 * and position are the same on every node, and a position of another term is
 * another history: the token's place was rolled back, and waiting for it must
 * not succeed.
 *
 * On the primary the token must stand for all that was committed before the
 * call.  Capture is behind the WAL by a little, so position() waits for it: if
 * capture has not yet passed the end of the WAL as it is at the call, a marker is
 * written there and waited for, since what lies behind the last commit
 * (checkpoints and the like) would not show.
 */
#include "api/consistency.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "capture/roles.h"
#include "capture/sequence.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/message.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(baton_position);
PG_FUNCTION_INFO_V1(baton_wait_for);

/* The exact states of sequences are not worth more, in ms; roles are. */
#define SEQUENCES_WAIT_MS	1000
#define ROLES_WAIT_MS		10000

typedef struct NodeView
{
	NodeState	state;
	bool		applies;		/* a replica, or on its way to be one from where it stands */
	uint64		lead_term;
	char		reason[BATON_REASON_LEN];
} NodeView;

static NodeView
look(NodeShared *node)
{
	NodeView	view;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	view.state = node->state;
	view.lead_term = node->lead_term;
	strlcpy(view.reason, node->reason, sizeof(view.reason));
	LWLockRelease(&node->state_lock);
	view.applies = view.state == NODE_REPLICA || view.state == NODE_UNKNOWN;
	if (view.state == NODE_COPYING)
	{
		/* rows that it has rolled back, not a whole copy */
		SpinLockAcquire(&node->mutex);
		view.applies = node->reconcile.pending;
		SpinLockRelease(&node->mutex);
	}
	return view;
}

static void
not_active(const NodeView *view)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this node does not take part in replication"),
			 errdetail("Its state is \"%s\"%s%s.", node_state_name(view->state),
					   view->reason[0] ? ": " : "", view->reason)));
}

/* ---- terms of positions ---- */

static void
close_reader(void *arg)
{
	stream_reader_close((StreamReader *) arg);
}

/*
 * Term of the frame that holds pos or ends there; 0: not known, for the log begins
 * behind pos, and so does what is remembered of its terms.  pos <= tail->flushed.
 */
static uint64
term_at(NodeShared *node, StreamPos pos, const StreamTail *tail)
{
	StreamReader *reader;
	MemoryContextCallback *callback;
	FrameHeader h;
	StreamError err = {0};
	StreamCode	code;
	uint64		term = 0;

	if (pos == tail->end && tail->flushed == tail->end)
		return tail->last_term;
	if (pos < tail->start)
		return stream_terms_at(&tail->terms, pos);
	reader = palloc0(sizeof(StreamReader));
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = close_reader;
	callback->arg = reader;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	node_log_directory(node, reader->directory, sizeof(reader->directory));
	code = stream_find(reader, pos, tail->flushed, &h, &err);
	if (code == STREAM_OK)
		term = h.start == pos ? h.prev_term : h.term;
	stream_reader_close(reader);
	memset(reader, 0, sizeof(StreamReader));
	if (code != STREAM_OK && code != STREAM_GONE && code != STREAM_END)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read the stream log at " STREAM_POS_FORMAT ": %s",
						STREAM_POS_ARGS(pos), err.message)));
	return term;
}

/* ---- position() ---- */

static XLogRecPtr
captured(NodeShared *node)
{
	XLogRecPtr	lsn;

	SpinLockAcquire(&node->mutex);
	lsn = node->captured_lsn;
	SpinLockRelease(&node->mutex);
	return lsn;
}

/* Wait until capture has passed everything that is in the WAL now. */
static void
wait_for_capture(NodeShared *node)
{
	XLogRecPtr	target = GetXLogInsertRecPtr();
	NodeView	view;

	if (captured(node) >= target)
		return;
	target = baton_log_marker("baton");
	XLogFlush(target);
	ConditionVariablePrepareToSleep(&node->captured_cv);
	while (captured(node) < target)
	{
		/* the state is looked at now and then even if capture is silent */
		(void) ConditionVariableTimedSleep(&node->captured_cv, 1000, PG_WAIT_EXTENSION);
		view = look(node);
		if (view.state != NODE_PRIMARY)
			not_active(&view);
	}
	ConditionVariableCancelSleep();
}

static Token
primary_token(NodeShared *node)
{
	StreamTail	tail;
	Token		token;

	sequences_ask(node, roles_pending(node) ? ROLES_WAIT_MS : SEQUENCES_WAIT_MS);
	wait_for_capture(node);
	tail = node_log_tail(node);
	token.pos = tail.flushed;
	token.term = term_at(node, tail.flushed, &tail);
	return token;
}

static Token
replica_token(NodeShared *node)
{
	StreamTail	tail = node_log_tail(node);
	Token		token;

	SpinLockAcquire(&node->mutex);
	token.pos = node->applied;
	SpinLockRelease(&node->mutex);
	token.pos = Min(token.pos, tail.flushed);
	token.term = term_at(node, token.pos, &tail);
	return token;
}

/*
 * baton.position() -> text: a token for all that was committed here before the
 * call (on the primary) or is applied here (elsewhere).  Bounded by
 * statement_timeout.  Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if this
 * node is not active.
 */
Datum
baton_position(PG_FUNCTION_ARGS)
{
	NodeShared *node;
	NodeView	view;
	Token		token;

	baton_require_preloaded();
	node = node_mine_or_error();
	view = look(node);
	if (view.state == NODE_PRIMARY)
		token = primary_token(node);
	else if (view.applies)
		token = replica_token(node);
	else
		not_active(&view);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT ":" STREAM_POS_FORMAT,
											  token.term, STREAM_POS_ARGS(token.pos))));
}

/* ---- wait_for() ---- */

/*
 * Reads "term:position"; false for anything else.
 */
bool
token_parse(const char *text, Token *token)
{
	char	   *end;
	unsigned int high;
	unsigned int low;
	int			len = 0;
	bool		fits = text[0] >= '0' && text[0] <= '9';

	errno = 0;
	token->term = strtou64(text, &end, 10);
	fits = fits && errno == 0 && *end == ':' &&
		strspn(end + 1, "0123456789ABCDEFabcdef/") == strlen(end + 1) &&
		strspn(end + 1, "0123456789ABCDEFabcdef") <= 8 &&
		sscanf(end + 1, "%X/%8X%n", &high, &low, &len) == 2 && end[1 + len] == '\0';
	if (fits)
		token->pos = (StreamPos) high << 32 | low;
	return fits;
}

static void
rolled_back(const Token *token)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_ROLLBACK),
			 errmsg("position " UINT64_FORMAT ":" STREAM_POS_FORMAT " was rolled back",
					token->term, STREAM_POS_ARGS(token->pos)),
			 errdetail("The replication stream has gone on from an earlier place in a later term.")));
}

/*
 * Raise an error if this log shows that the token's place is not part of the
 * history.  Terms never fall along the log.  False: the log has not come so far, or
 * not on the way that leads there.
 * Raises ERRCODE_TRANSACTION_ROLLBACK if the place was rolled back, and
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the log begins behind it in a later
 * term, and what is remembered of its terms too, so that nobody can tell.
 */
bool
token_check(NodeShared *node, const Token *token)
{
	StreamTail	tail = node_log_tail(node);
	uint64		term;
	bool		known;

	if (token->pos > tail.flushed)
	{
		if (tail.last_term > token->term)
			rolled_back(token);
		return false;
	}
	term = term_at(node, token->pos, &tail);
	known = term != 0;
	/* of the token's term at a later place: then at its place, too */
	if (!known)
		term = term_at(node, tail.start, &tail);
	if (term == token->term)
		return true;
	/* a branch of an earlier term, which may be cut off yet and give way to the token's */
	if (term != 0 && term < token->term && tail.last_term < token->term)
		return false;
	if (known)
		rolled_back(token);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("position " UINT64_FORMAT ":" STREAM_POS_FORMAT " is too old to be verified",
					token->term, STREAM_POS_ARGS(token->pos)),
			 errdetail("The stream log of this node begins at " STREAM_POS_FORMAT ".",
					   STREAM_POS_ARGS(tail.start)),
			 errhint("Take a new position with baton.position().")));
	return false;				/* keep compiler quiet */
}

/* Is everything before pos visible here?  Raises an error if the node is out of service. */
bool
token_reached(NodeShared *node, StreamPos pos)
{
	NodeView	view = look(node);
	StreamPos	applied;

	if (view.state != NODE_PRIMARY && !view.applies)
		not_active(&view);
	/* a primary has applied all of the log that it did not write itself */
	if (view.state == NODE_PRIMARY && view.lead_term != 0 &&
		pg_atomic_read_u32(&node->gate) == GATE_OPEN)
		return node_log_tail(node).flushed >= pos;
	SpinLockAcquire(&node->mutex);
	applied = node->applied;
	SpinLockRelease(&node->mutex);
	return applied >= pos;
}

static void
timed_out(NodeShared *node, const Token *token)
{
	StreamPos	applied;
	char		error[BATON_ERROR_LEN];

	SpinLockAcquire(&node->mutex);
	applied = node->applied;
	strlcpy(error, node->apply_error, sizeof(error));
	SpinLockRelease(&node->mutex);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this node has not reached position " UINT64_FORMAT ":" STREAM_POS_FORMAT " in time",
					token->term, STREAM_POS_ARGS(token->pos)),
			 error[0] ?
			 errdetail("It has applied up to " STREAM_POS_FORMAT " and is stopped: %s",
					   STREAM_POS_ARGS(applied), error) :
			 errdetail("It has applied up to " STREAM_POS_FORMAT ".", STREAM_POS_ARGS(applied)),
			 errhint("Read from the primary, or wait longer.")));
}

static TimestampTz
deadline_after(Interval *timeout)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
																   TimestampTzGetDatum(now),
																   IntervalPGetDatum(timeout)));

	if (deadline < now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must not be negative")));
	return deadline;
}

/*
 * baton.wait_for(token text, timeout interval): returns when everything before
 * the token's position is visible here.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE for what is no token,
 * ERRCODE_TRANSACTION_ROLLBACK if that place was rolled back,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE at the timeout and on a node that
 * does not take part, ERRCODE_ACTIVE_SQL_TRANSACTION where the caller's
 * snapshot is fixed already and so could not show what was waited for.
 */
Datum
baton_wait_for(PG_FUNCTION_ARGS)
{
	Token		token;
	TimestampTz deadline;
	NodeShared *node;
	bool		known = false;

	baton_require_preloaded();
	node = node_mine_or_error();
	if (!token_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a position", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("Positions are what baton.position() returns.")));
	deadline = deadline_after(PG_GETARG_INTERVAL_P(1));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("baton.wait_for() cannot be used in a REPEATABLE READ or SERIALIZABLE transaction"),
				 errdetail("The transaction's snapshot is older than what it waits for."),
				 errhint("Call it on its own, before the transaction.")));

	ConditionVariablePrepareToSleep(&node->applied_cv);
	for (;;)
	{
		long		left;

		known = known || token_check(node, &token);
		if (token_reached(node, token.pos) && known)
		{
			/* the log may have been cut meanwhile */
			known = token_check(node, &token);
			if (known)
				break;
		}
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0)
			timed_out(node, &token);
		/* a cut of the log and a change of state say nothing here: look each second */
		(void) ConditionVariableTimedSleep(&node->applied_cv, Min(left, 1000), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	PG_RETURN_VOID();
}
