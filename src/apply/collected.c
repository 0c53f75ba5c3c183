/*
 * collected.c - transactions of the stream that span frames: which frames their
 * records lie in is noted as these go by, and at the COMMIT the frames are read again.
 *
 * So a transaction of any size needs a list of frames in memory and no more.  A record
 * that is longer than a frame comes in PARTs; whose it is stands in its first bytes,
 * and frames that hold none of its pieces but lie between them are noted too.
 */
#include "apply/applier.h"

#include "miscadmin.h"

/* ---- as the records go by ---- */

/* Note where a record lies; BEGIN makes its transaction one that is known from the start. */
void
collected_note(Applier *a, const Record *r)
{
	TransactionFrame frame = {a->h.start, a->mid_record};
	OpenTransaction *txn;

	if (r->xid == 0)
		return;					/* a sequence that was not carried out in a run */
	if (r->type == RECORD_BEGIN)
		open_transactions_remove(a->open, r->xid);
	txn = open_transactions_note(a->open, r->xid, frame);
	if (r->type == RECORD_BEGIN)
		txn->complete = true;
}

void
collected_abort(Applier *a, const Record *r)
{
	OpenTransaction *txn;

	if (r->xid == 0)
		open_transactions_clear(a->open);
	else if (r->xid == r->subxid)
		open_transactions_remove(a->open, r->xid);
	else if ((txn = open_transactions_find(a->open, r->xid)) != NULL)
		open_transaction_abort_sub(a->open, txn, r->subxid);
}

/* Frame `frame` holds PARTs of a record whose head is known. */
static void
note_part(Applier *a, TransactionFrame frame)
{
	uint32		xid = stream_load_u32(a->part.head + RECORD_HEADER_LEN);

	if (xid != 0)
		open_transactions_note(a->open, xid, frame);
}

/*
 * Note the frames of a record in PARTs, those without a piece of it between them
 * too: once enough is seen to know whose it is.
 */
void
collected_add_part_frame(Applier *a, const char *bytes, uint32 len)
{
	PartState  *part = &a->part;
	TransactionFrame frame = {a->h.start, a->mid_record};

	if (part->len >= sizeof(part->head))
	{
		note_part(a, frame);
		return;
	}
	if (part->n_frames == lengthof(part->frames))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream has a record in too many pieces at " STREAM_POS_FORMAT,
						STREAM_POS_ARGS(a->h.start))));
	memcpy(part->head + part->len, bytes, Min(len, sizeof(part->head) - part->len));
	part->frames[part->n_frames++] = frame;
	part->len += len;
	for (int i = 0; part->len >= sizeof(part->head) && i < part->n_frames; i++)
		note_part(a, part->frames[i]);
}

void
collected_part(Applier *a, const Record *r)
{
	PartState  *part = &a->part;
	StreamError err = {0};
	const char *bytes;
	uint32		len;
	bool		last;

	if (record_get_part(r, &last, &bytes, &len, &err) != STREAM_OK)
		applier_stream_error(STREAM_CORRUPT, &err);
	if (part->skipping)
		return;
	if (!part->open)
		part->len = part->n_frames = 0;
	part->open = !last;
	if (len > 0)
		collected_add_part_frame(a, bytes, len);
}

/* ---- at the COMMIT ---- */

/* Apply r if it is a record of txn that counts; true: it was the COMMIT. */
static bool
apply_collected_record(Applier *a, OpenTransaction *txn, const Record *r)
{
	if (!RECORD_HAS_XID(r->type) || r->xid != txn->xid || r->type == RECORD_BEGIN ||
		r->type == RECORD_ABORT)
		return false;
	if (r->type == RECORD_COMMIT)
		return true;
	CHECK_FOR_INTERRUPTS();
	/* what a table is stays said, even by a subtransaction that was rolled back */
	if (r->type == RECORD_RELATION || !open_transaction_is_aborted(txn, r->subxid))
		local_apply(&a->local, r);
	return false;
}

/* Add a PART; if it is the last one, *whole is the record and the result is true. */
static bool
put_together(Applier *a, const Record *part, Record *whole)
{
	StreamError err = {0};
	StreamCode	code;
	const char *bytes;
	uint32		len;
	bool		last;
	StreamCursor c;

	code = record_get_part(part, &last, &bytes, &len, &err);
	if (code != STREAM_OK)
		applier_stream_error(code, &err);
	stream_buf_append(&a->record, bytes, len);
	if (a->record.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("A record of the stream has more than %zu bytes.", a->record.len)));
	if (!last)
		return false;
	c.p = a->record.data;
	c.end = a->record.data + a->record.len;
	c.failed = false;
	return applier_next_record(&c, whole);
}

static bool
is_last_part(const Record *part)
{
	bool		last = true;
	const char *bytes;
	uint32		len;
	StreamError err = {0};

	if (record_get_part(part, &last, &bytes, &len, &err) != STREAM_OK)
		applier_stream_error(STREAM_CORRUPT, &err);
	return last;
}

/* The record being put together, if *together, does not go on.  That may happen to
 * those of other transactions, whose frames are not all read here. */
static void
drop_half(Applier *a, OpenTransaction *txn, bool *together)
{
	if (*together && a->record.len >= RECORD_HEADER_LEN + 4 &&
		stream_load_u32(a->record.data + RECORD_HEADER_LEN) == txn->xid)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream lacks the end of a record of transaction %u", txn->xid)));
	*together = false;
}

/* One frame of a collected transaction; true: its COMMIT was met.  *together: a
 * record in PARTs is being put together. */
static bool
apply_collected_frame(Applier *a, OpenTransaction *txn, const FrameHeader *h,
					  const char *records, bool skip_parts, bool *together)
{
	StreamCursor c = {records, records + h->raw_len, false};
	Record		r;

	while (applier_next_record(&c, &r))
	{
		if (r.type == RECORD_PART)
		{
			Record		whole;

			if (skip_parts)
			{
				skip_parts = !is_last_part(&r);
				continue;
			}
			if (!*together)
				stream_buf_reset(&a->record);
			*together = true;
			if (!put_together(a, &r, &whole))
				continue;
			*together = false;
			r = whole;
		}
		else if (r.type != RECORD_MEMBERSHIP)
		{
			/* an ABORT ended what the frame began in */
			skip_parts = false;
			drop_half(a, txn, together);
		}
		if (apply_collected_record(a, txn, &r))
			return true;
	}
	return false;
}

/* Read the transaction's frames again, and apply its records. */
void
collected_apply(Applier *a, OpenTransaction *txn)
{
	bool		together = false;
	StreamPos	expected = 0;

	local_next_source(&a->local);
	for (int i = 0; i < txn->n_frames; i++)
	{
		TransactionFrame *f = &txn->frames[i];
		FrameHeader h;
		const char *records;
		StreamError err = {0};
		StreamCode	code = stream_read(&a->again, f->start, frame_end(&a->h), &h, &records, &err);

		if (code != STREAM_OK)
			applier_stream_error(code, &err);
		if (f->start != expected)
			drop_half(a, txn, &together);
		if (apply_collected_frame(a, txn, &h, records, f->mid_record && !together, &together))
			break;
		expected = frame_end(&h);
	}
}
