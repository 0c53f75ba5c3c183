/*
 * frame_builder.c - see frame_builder.h.
 *
 * Places of open transactions: while records are collected nobody knows where
 * their frame will begin, since the coordinator may append a frame of its own
 * first.  A lower bound is good enough (whoever reads from there meets records of
 * no interest first), and the log's end when the frame is begun is one.
 */
#include "capture/frame_builder.h"

/* Enough of a long record to know its transaction and, of a message, its LSN. */
#define ENOUGH_LEN		(RECORD_HEADER_LEN + 8 + 8)
/* Header of a PART record and its `last` byte. */
#define PART_OVERHEAD	(RECORD_HEADER_LEN + 1)
/* Don't put a smaller piece of a long record at the end of a frame. */
#define PART_MIN		1024

void
frame_builder_reset(FrameBuilder *b, uint64 source_lsn)
{
	stream_buf_reset(&b->frame);
	stream_buf_reset(&b->partial);
	b->frame.failed = b->partial.failed = false;
	b->n_commits = 0;
	b->first_commit_lsn = 0;
	b->urgent = b->mixed = false;
	b->sequence_lsn = 0;
	b->frame_floor = 0;
	b->source_lsn = b->received_lsn = source_lsn;
	b->long_left = b->long_lsn = 0;
	b->n_open = 0;
}

void
frame_builder_free(FrameBuilder *b)
{
	stream_buf_free(&b->frame);
	stream_buf_free(&b->partial);
	free(b->open);
	b->open = NULL;
	b->n_open = b->max_open = 0;
}

StreamPos
frame_builder_oldest_open(const FrameBuilder *b)
{
	return b->n_open > 0 ? b->open[0].first : 0;
}

bool
frame_builder_busy(const FrameBuilder *b)
{
	return b->n_open > 0 || b->frame.len > 0 || b->partial.len > 0 || b->long_left > 0;
}

/* ---- open transactions ---- */

static StreamCode
note_open(FrameBuilder *b, uint32 xid, StreamError *err)
{
	for (int i = b->n_open - 1; i >= 0; i--)
		if (b->open[i].xid == xid)
			return STREAM_OK;
	if (b->n_open == b->max_open)
	{
		int			max = b->max_open ? b->max_open * 2 : 16;
		OpenTransaction *open = realloc(b->open, max * sizeof(OpenTransaction));

		if (open == NULL)
			return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
		b->open = open;
		b->max_open = max;
	}
	b->open[b->n_open].xid = xid;
	b->open[b->n_open].first = b->frame_floor;
	b->n_open++;
	return STREAM_OK;
}

static void
note_closed(FrameBuilder *b, uint32 xid)
{
	for (int i = 0; i < b->n_open; i++)
	{
		if (b->open[i].xid != xid)
			continue;
		memmove(&b->open[i], &b->open[i + 1], (b->n_open - i - 1) * sizeof(OpenTransaction));
		b->n_open--;
		return;
	}
}

/* ---- frames ---- */

StreamCode
frame_builder_finish(FrameBuilder *b, StreamError *err)
{
	BuiltFrame	built;
	StreamCode	code;

	if (b->frame.failed)
		return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
	if (b->frame.len == 0)
		return STREAM_OK;
	built.records = b->frame.data;
	built.len = b->frame.len;
	built.n_commits = b->n_commits;
	built.source_lsn = b->source_lsn;
	built.first_commit_lsn = b->first_commit_lsn;
	built.urgent = b->urgent;
	built.sequence_lsn = b->mixed ? 0 : b->sequence_lsn;
	code = b->emit(b->arg, &built, err);
	stream_buf_reset(&b->frame);
	b->n_commits = 0;
	b->first_commit_lsn = 0;
	b->urgent = b->mixed = false;
	b->sequence_lsn = 0;
	return code;
}

/* Make sure that the frame being filled has room for len more bytes. */
static StreamCode
make_room(FrameBuilder *b, size_t len, StreamError *err)
{
	StreamCode	code = STREAM_OK;

	if (b->frame.len + len > FRAME_MAX_RAW)
		code = frame_builder_finish(b, err);
	if (b->frame.len == 0)
		b->frame_floor = b->floor(b->arg);
	return code;
}

/* ---- records that fit ---- */

static StreamCode
take_message(FrameBuilder *b, const Record *record, const char *bytes, size_t len,
			 StreamError *err)
{
	RecordMessage message;
	StreamCode	code = record_get_message(record, &message, err);

	if (code != STREAM_OK)
		return code;
	if (strcmp(message.prefix, WAL_MARKER_PREFIX) != 0)
	{
		code = make_room(b, len, err);
		stream_buf_append(&b->frame, bytes, len);
		b->source_lsn = Max(b->source_lsn, message.lsn);
		b->urgent = b->mixed = true;
	}
	b->received_lsn = Max(b->received_lsn, message.lsn);
	return code;
}

/*
 * What the applier has set while another led is in the log already, and so is what a
 * walsender sends again: an older state must not follow a newer one.
 */
static StreamCode
take_sequence(FrameBuilder *b, const Record *record, const char *bytes, size_t len,
			  StreamError *err)
{
	RecordSequence sequence;
	StreamCode	code = record_get_sequence(record, &sequence, err);

	if (code != STREAM_OK)
		return code;
	if (sequence.lsn >= b->sequence_floor && sequence.lsn > b->source_lsn)
	{
		code = make_room(b, len, err);
		stream_buf_append(&b->frame, bytes, len);
		b->source_lsn = b->sequence_lsn = sequence.lsn;
		b->urgent = true;
	}
	b->received_lsn = Max(b->received_lsn, sequence.lsn);
	return code;
}

static StreamCode
take_commit(FrameBuilder *b, const Record *record, const char *bytes, size_t len,
			StreamError *err)
{
	RecordCommit commit;
	StreamCode	code = record_get_commit(record, &commit, err);
	size_t		at;

	if (code == STREAM_OK)
		code = make_room(b, len, err);
	if (code != STREAM_OK)
		return code;
	note_closed(b, record->xid);
	at = b->frame.len;
	stream_buf_append(&b->frame, bytes, len);
	if (b->frame.failed)
		return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
	record_patch_commit(b->frame.data + at, frame_builder_oldest_open(b));
	b->source_lsn = Max(b->source_lsn, commit.end_lsn);
	b->received_lsn = Max(b->received_lsn, commit.end_lsn);
	b->urgent = b->mixed = true;
	if (b->n_commits++ == 0)
		b->first_commit_lsn = commit.commit_lsn;
	return STREAM_OK;
}

/* One whole record that a frame can hold. */
static StreamCode
take_record(FrameBuilder *b, const char *bytes, size_t len, StreamError *err)
{
	StreamCursor c = {bytes, bytes + len, false};
	Record		record;
	StreamCode	code = record_next(&c, &record, err);

	if (code != STREAM_OK)
		return code == STREAM_END ? STREAM_CORRUPT : code;
	if (record.type == RECORD_COMMIT)
		return take_commit(b, &record, bytes, len, err);
	if (record.type == RECORD_MESSAGE && record.xid == 0)
		return take_message(b, &record, bytes, len, err);
	if (record.type == RECORD_SEQUENCE && record.xid == 0)
		return take_sequence(b, &record, bytes, len, err);

	code = make_room(b, len, err);
	if (code != STREAM_OK)
		return code;
	if (record.type != RECORD_ABORT)
		code = note_open(b, record.xid, err);
	else if (record.xid == record.subxid)
		note_closed(b, record.xid);
	b->mixed = true;
	stream_buf_append(&b->frame, bytes, len);
	return code;
}

/* ---- records that no frame can hold ---- */

static StreamCode
begin_long(FrameBuilder *b, const char *bytes, uint64 len, StreamError *err)
{
	StreamCursor c = {bytes + RECORD_HEADER_LEN, bytes + ENOUGH_LEN, false};
	uint32		xid = stream_get_u32(&c);
	uint64		lsn;
	StreamCode	code;

	(void) stream_get_u32(&c);
	lsn = stream_get_u64(&c);
	b->long_left = len;
	b->long_lsn = (bytes[0] == RECORD_MESSAGE && xid == 0) ? lsn : 0;
	code = make_room(b, PART_OVERHEAD + PART_MIN, err);
	if (code == STREAM_OK && xid != 0)
		code = note_open(b, xid, err);
	return code;
}

/* The next bytes of the long record; all of them belong to it. */
static StreamCode
add_parts(FrameBuilder *b, const char *bytes, size_t len, StreamError *err)
{
	while (len > 0)
	{
		StreamCode	code = make_room(b, PART_OVERHEAD + Min(len, PART_MIN), err);
		size_t		piece;
		size_t		record;

		if (code != STREAM_OK)
			return code;
		piece = Min(len, FRAME_MAX_RAW - b->frame.len - PART_OVERHEAD);
		record = record_begin(&b->frame, RECORD_PART, 0, 0);
		stream_buf_u8(&b->frame, piece == b->long_left ? 1 : 0);
		stream_buf_append(&b->frame, bytes, piece);
		b->mixed = true;
		record_end(&b->frame, record);
		b->long_left -= piece;
		bytes += piece;
		len -= piece;
	}
	if (b->long_left == 0 && b->long_lsn != 0)
	{
		b->source_lsn = Max(b->source_lsn, b->long_lsn);
		b->received_lsn = Max(b->received_lsn, b->long_lsn);
		b->urgent = true;
	}
	return STREAM_OK;
}

/* ---- bytes ---- */

/* Length of the record that begins here, header included. */
static uint64
record_length(const char *bytes)
{
	StreamCursor c = {bytes + 1, bytes + RECORD_HEADER_LEN, false};

	return RECORD_HEADER_LEN + (uint64) stream_get_u32(&c);
}

/* The first bytes of a record that no frame can hold: those in `partial`, if any,
 * go out as its first part. */
static StreamCode
start_parts(FrameBuilder *b, const char *start, uint64 total, StreamError *err)
{
	StreamCode	code = begin_long(b, start, total, err);

	if (code == STREAM_OK && b->partial.len > 0)
		code = add_parts(b, b->partial.data, b->partial.len, err);
	stream_buf_reset(&b->partial);
	return code;
}

/*
 * Take bytes at the start of a record, or behind those in `partial`, which never
 * holds more than one record.  *used says how many were taken.
 */
static StreamCode
take_bytes(FrameBuilder *b, const char *bytes, size_t len, size_t *used, StreamError *err)
{
	bool		direct = b->partial.len == 0;
	const char *start = direct ? bytes : b->partial.data;
	size_t		there = direct ? len : b->partial.len;
	uint64		total = there >= RECORD_HEADER_LEN ? record_length(start) : 0;
	uint64		need = RECORD_HEADER_LEN;
	StreamCode	code;

	*used = 0;
	if (total > FRAME_MAX_RAW)
	{
		if (there >= ENOUGH_LEN)
			return start_parts(b, start, total, err);
		need = ENOUGH_LEN;
	}
	else if (total > 0)
		need = total;

	if (direct && total > 0 && total <= len)
	{
		*used = total;
		return take_record(b, bytes, total, err);
	}
	*used = Min(len, need - b->partial.len);
	stream_buf_append(&b->partial, bytes, *used);
	if (b->partial.failed)
		return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
	if (b->partial.len != total)
		return STREAM_OK;
	code = take_record(b, b->partial.data, b->partial.len, err);
	stream_buf_reset(&b->partial);
	return code;
}

StreamCode
frame_builder_add(FrameBuilder *b, const char *bytes, size_t len, StreamError *err)
{
	while (len > 0)
	{
		StreamCode	code;
		size_t		used;

		if (b->long_left > 0)
		{
			used = (size_t) Min((uint64) len, b->long_left);
			code = add_parts(b, bytes, used, err);
		}
		else
			code = take_bytes(b, bytes, len, &used, err);
		if (code != STREAM_OK)
			return code;
		bytes += used;
		len -= used;
	}
	return STREAM_OK;
}
