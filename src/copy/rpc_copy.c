/*
 * rpc_copy.c - what a joining node asks the primary for its initial copy.
 *
 * A copy consists of a snapshot, at the place L of the source's WAL, and of the
 * stream from P0 on; commits that begin before L are in the snapshot and are not
 * applied again.  Nothing is lost if the stream from P0 on has every transaction,
 * whole, that the snapshot does not see.  copy_start() is therefore called before
 * the snapshot is taken: what commits behind L has its records either behind the
 * end of the log as it is now, or belongs to a transaction that is open in the log
 * now.  So P0 is the frame in which the oldest such transaction begins.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "replication/message.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_rpc_copy_start);
PG_FUNCTION_INFO_V1(baton_rpc_copy_covered);

/* how long one call waits for capture, in ms */
#define START_WAIT_MS	20000
#define COVERED_WAIT_MS 1000

static TupleDesc
result_desc(FunctionCallInfo fcinfo)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(desc);
}

/*
 * The term that this node leads, with its TERM record flushed and all before it
 * applied, which its gate tells: a snapshot lacks nothing of earlier terms.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if it leads none: copies are taken from
 * the primary only.
 */
static uint64
led_term(NodeShared *node)
{
	NodeState	state;
	uint64		term;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	state = node->state;
	term = node->lead_term;
	LWLockRelease(&node->state_lock);
	if (state != NODE_PRIMARY || term == 0 || pg_atomic_read_u32(&node->gate) == GATE_CLOSED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("initial copies are taken from the primary"),
				 errdetail("The state of this node is \"%s\".", node_state_name(state))));
	return term;
}

/*
 * Start and term of the frame before `pos`, a frame border of the log.
 */
static void
frame_before(NodeShared *node, const StreamTail *tail, StreamPos pos,
			 StreamPos *last_start, uint64 *last_term)
{
	StreamReader reader = {0};
	StreamError err;
	FrameHeader h;
	StreamCode	code;

	if (pos == tail->end)
	{
		*last_start = tail->last_start;
		*last_term = tail->last_term;
		return;
	}
	/* the frame that begins there names the one before it */
	node_log_directory(node, reader.directory, sizeof(reader.directory));
	code = stream_read(&reader, pos, tail->end, &h, NULL, &err);
	stream_reader_close(&reader);
	if (code != STREAM_OK)
		ereport(ERROR,
				(errcode(code == STREAM_GONE ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE : ERRCODE_IO_ERROR),
				 errmsg("could not read the stream log at " STREAM_POS_FORMAT ": %s",
						STREAM_POS_ARGS(pos), err.message)));
	*last_start = h.prev_start;
	*last_term = h.prev_term;
}

/* Wait at most ms milliseconds for capture to pass lsn; says whether it has. */
static bool
wait_captured(NodeShared *node, XLogRecPtr lsn, long ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	bool		passed = false;

	ConditionVariablePrepareToSleep(&node->captured_cv);
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		SpinLockAcquire(&node->mutex);
		passed = node->captured_lsn >= lsn;
		SpinLockRelease(&node->mutex);
		if (passed || left <= 0)
			break;
		ConditionVariableTimedSleep(&node->captured_cv, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return passed;
}

/*
 * baton_rpc.copy_start(): where the stream begins for a copy that is taken from this
 * primary now: position, frame before it, term, which member this is, and what is known
 * of the terms of the log.
 */
Datum
baton_rpc_copy_start(PG_FUNCTION_ARGS)
{
	NodeShared *node = rpc_enter();
	TupleDesc	desc = result_desc(fcinfo);
	Datum		values[6];
	bool		nulls[6] = {false};
	char		terms[STREAM_TERMS_TEXT_LEN];
	uint64		term = led_term(node);
	XLogRecPtr	marker;
	StreamTail	tail;
	StreamPos	pos;
	StreamPos	last_start;
	uint64		last_term;

	/*
	 * The tail first, then what is open, as capture publishes it together with
	 * a captured_lsn behind the marker.  A transaction whose records begin before
	 * the tail had come to capture by then: it is either named there, or has ended,
	 * and then commits before any snapshot that is still to be taken.
	 */
	tail = node_log_tail(node);
	/* the copy's values of sequences are older than what they have reserved by then */
	pg_atomic_fetch_add_u32(&node->sequences_all, 1);
	marker = baton_log_marker("baton");
	XLogFlush(marker);
	if (!wait_captured(node, marker, START_WAIT_MS))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("capture on the primary does not keep up"),
				 errdetail("It did not reach %X/%X within %d s.",
						   LSN_FORMAT_ARGS(marker), START_WAIT_MS / 1000),
				 errhint("See baton.status on the primary, and try again.")));
	pos = tail.flushed;
	SpinLockAcquire(&node->mutex);
	if (node->oldest_open != 0 && node->oldest_open < pos)
		pos = node->oldest_open;
	SpinLockRelease(&node->mutex);
	if (led_term(node) != term)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the term changed while the copy's start was looked for")));
	frame_before(node, &tail, pos, &last_start, &last_term);

	values[0] = LSNGetDatum(pos);
	values[1] = LSNGetDatum(last_start);
	values[2] = Int64GetDatum((int64) last_term);
	values[3] = Int64GetDatum((int64) term);
	values[4] = Int32GetDatum(node->self);
	stream_terms_print(&tail.terms, terms);
	values[5] = CStringGetTextDatum(terms);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * baton_rpc.copy_covered(lsn): a position of the stream up to which it holds all own
 * commits that begin before lsn, null if it does not hold them yet; and the term.
 */
Datum
baton_rpc_copy_covered(PG_FUNCTION_ARGS)
{
	NodeShared *node = rpc_enter();
	XLogRecPtr	lsn = PG_GETARG_LSN(0);
	TupleDesc	desc = result_desc(fcinfo);
	Datum		values[2];
	bool		nulls[2] = {false};

	if (!wait_captured(node, lsn, COVERED_WAIT_MS))
	{
		/* an idle database gives capture nothing to pass: write a marker */
		XLogFlush(baton_log_marker("baton"));
		nulls[0] = !wait_captured(node, lsn, COVERED_WAIT_MS);
	}
	values[0] = LSNGetDatum(nulls[0] ? 0 : node_log_tail(node).flushed);
	/* read last: still leading means that the log is still that of the term */
	values[1] = Int64GetDatum((int64) led_term(node));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
