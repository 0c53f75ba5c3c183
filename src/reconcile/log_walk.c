/*
 * log_walk.c - reading the stream log record by record, PARTs put together.
 */
#include "reconcile/reconcile_internal.h"

#include "miscadmin.h"

typedef struct Walk
{
	Reconcile  *rec;
	WalkedRecordFn fn;
	bool		skipping;		/* it began inside a record in PARTs */
	StreamBuf	whole;			/* a record that is being put together */
	uint32		commits;		/* COMMITs so far in the frame */
} Walk;

static void
raise_stream_error(StreamCode code, const StreamError *err, StreamPos pos)
{
	ereport(ERROR,
			(errcode(code == STREAM_IO ? ERRCODE_IO_ERROR :
					 code == STREAM_NOMEM ? ERRCODE_OUT_OF_MEMORY : ERRCODE_DATA_CORRUPTED),
			 errmsg("could not read the stream log at " STREAM_POS_FORMAT ": %s",
					STREAM_POS_ARGS(pos), err->message)));
}

/* Add a PART; true: it was the last one, and w is the record. */
static bool
put_together(Walk *walk, WalkedRecord *w)
{
	StreamError err = {0};
	const char *bytes;
	uint32		len;
	bool		last;
	StreamCursor c;

	if (record_get_part(&w->r, &last, &bytes, &len, &err) != STREAM_OK)
		raise_stream_error(STREAM_CORRUPT, &err, w->frame->start);
	if (walk->skipping)
	{
		walk->skipping = !last;
		return false;
	}
	stream_buf_append(&walk->whole, bytes, len);
	if (walk->whole.failed)
		raise_stream_error(STREAM_NOMEM, &err, w->frame->start);
	if (!last)
		return false;
	w->bytes = walk->whole.data;
	w->len = walk->whole.len;
	c.p = w->bytes;
	c.end = w->bytes + w->len;
	c.failed = false;
	if (record_next(&c, &w->r, &err) != STREAM_OK)
		raise_stream_error(STREAM_CORRUPT, &err, w->frame->start);
	return true;
}

static void
walk_frame(Walk *walk, const FrameHeader *h, const char *records)
{
	StreamCursor c = {records, records + h->raw_len, false};
	StreamError err = {0};
	WalkedRecord w = {h};
	StreamCode	code;

	walk->commits = 0;
	for (;;)
	{
		bool		part;

		w.bytes = c.p;
		w.commit_pos = 0;
		code = record_next(&c, &w.r, &err);
		if (code != STREAM_OK)
			break;
		w.len = c.p - w.bytes;
		CHECK_FOR_INTERRUPTS();
		part = w.r.type == RECORD_PART;
		if (part && !put_together(walk, &w))
			continue;
		if (!part && w.r.type != RECORD_MEMBERSHIP)
			walk->skipping = false;
		if (w.r.type == RECORD_COMMIT)
			w.commit_pos = h->start + ++walk->commits;
		walk->fn(walk->rec, &w);
		/* a record that was left unfinished goes too */
		if (w.r.type != RECORD_MEMBERSHIP)
			stream_buf_reset(&walk->whole);
	}
	if (code != STREAM_END)
		raise_stream_error(code, &err, h->start);
}

void
reconcile_walk_log(Reconcile *rec, StreamPos from, StreamPos to, WalkedRecordFn fn)
{
	StreamReader reader = {0};
	Walk		walk = {rec, fn, true};
	StreamPos	pos = from;

	node_log_directory(rec->node, reader.directory, sizeof(reader.directory));
	while (pos < to)
	{
		FrameHeader h;
		const char *records;
		StreamError err = {0};
		StreamCode	code = stream_read(&reader, pos, to, &h, &records, &err);

		if (code != STREAM_OK)
			raise_stream_error(code, &err, pos);
		walk_frame(&walk, &h, records);
		pos = frame_end(&h);
	}
	stream_reader_close(&reader);
	stream_buf_free(&walk.whole);
}
