/*
 * alone.c - a person makes the node primary by force, and it is to be mended: the
 * primary that has the other versions of the touched rows is lost for good, and
 * this node goes on with what it has.
 *
 * What it has depends on how far the mending was:
 *
 *	 rows out, and the log holds all that the fetched rows do
 *		Nothing is missing.  The applier puts them in (FILL), which needs nobody.
 *	 rows in their tables, as the diverged commits have left them
 *		Those commits stay in effect, where the stream does not say otherwise: taking
 *		them back would need versions that nobody has.  They are marked in
 *		baton.rolled_back as kept.
 *	 rows out, fetched for a stream that was cut since (the new primary was lost as
 *	 well, and another came and went)
 *		They are put back as they were fetched.
 *
 * In the last two cases the tables are not what the stream makes of them.  So the
 * applier goes on from the cut with lenience (apply/lenient.c) to the end of the log
 * and to the TERM record of the own reign; only then the gate opens.  And from there
 * on nobody may follow this node's stream from a place before that record, nor this
 * node another's: `share_floor`, beyond which only a new copy helps.
 *
 * On disk, and what a restart sees: 1. rows put back, marks, the next origin, in one
 * transaction: it is done again, with no difference.  2. control: ALONE.  From here on
 * the node leads, or takes a new copy: it never follows with such tables.  3. the
 * reign, as any by force.  4. control: share_floor.  5. the applier has come to the
 * TERM record: the keys are forgotten.  6. control: NONE.
 */
#include "reconcile/reconcile_internal.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "apply/origin.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"

/*
 * Does the log hold all that the fetched rows do?  A frame of the term in which they
 * were fetched that ends there is that very frame, and so is all before it.
 */
static bool
log_holds(Reconcile *rec, const TouchedMark *mark)
{
	StreamTail	tail = node_log_tail(rec->node);
	StreamReader reader = {0};
	StreamError err = {0};
	FrameHeader h;
	bool		holds;

	if (mark->until > tail.flushed || mark->until <= tail.start)
		return false;
	node_log_directory(rec->node, reader.directory, sizeof(reader.directory));
	holds = stream_find(&reader, mark->until - 1, tail.flushed, &h, &err) == STREAM_OK &&
		frame_end(&h) == mark->until && h.term == mark->term;
	stream_reader_close(&reader);
	return holds;
}

/* The commits that were saved last stay in effect. */
static uint32
keep(Reconcile *rec)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum((int64) rec->order.attempt)};
	bool		isnull;
	uint32		n;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("WITH kept AS (UPDATE baton.rolled_back SET kept = true WHERE attempt = $1 "
							  "RETURNING source_node, commit_lsn) "
							  "SELECT count(DISTINCT (source_node, commit_lsn))::int4 FROM kept",
							  1, types, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not update baton.rolled_back");
	n = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return n;
}

static void
put_back(Reconcile *rec)
{
	Lenience	lenience = {""};

	strlcpy(lenience.node_name, reconcile_node_name(rec), sizeof(lenience.node_name));
	rec->local.lenient = &lenience;
	touched_put_back(&rec->local);
	rec->local.lenient = NULL;
}

void
reconcile_alone(Reconcile *rec)
{
	ReconcileRequest request = {RECONCILE_REQUEST_ALONE};
	TouchedMark mark;
	bool		out;

	reconcile_phase(rec, "getting ready to lead without the primary's version of the touched rows");
	request.origin_number = rec->order.origin_number + 1;
	local_begin(&rec->local);
	out = touched_load_mark(&mark);
	if (out && mark.attempt == rec->order.attempt && log_holds(rec, &mark))
	{
		request.kind = RECONCILE_REQUEST_MENDED;
		request.until = mark.until;
	}
	else
	{
		if (!out || mark.attempt != rec->order.attempt)
			request.txns = keep(rec);
		if (out)
			put_back(rec);
	}
	(void) apply_origin_make(rec->node->dboid, request.origin_number);
	local_commit(&rec->local, 0, 0);
	XLogFlush(XactLastCommitEnd);
	reconcile_request(rec, &request);
}
