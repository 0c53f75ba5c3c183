/*
 * reader.c - reading the log, frame by frame.
 *
 * A frame is read with one call when it is no longer than the one before it (or
 * than a few kB), else with two.  Only the open file is kept from call to call:
 * bytes read ahead could be of a tail that was cut off and written anew.
 */
#include "stream/segment.h"

#include <fcntl.h>
#include <unistd.h>

#define READ_MIN	8192
#define FIND_WINDOW (64 * 1024)

void
stream_reader_close(StreamReader *r)
{
	if (r->is_open)
		close(r->fd);
	r->is_open = false;
	stream_buf_free(&r->frame);
	stream_buf_free(&r->scratch);
	frame_codec_free(&r->codec);
	r->guess = 0;
}

static StreamCode
gone(StreamPos pos, StreamError *err)
{
	return stream_fail(err, STREAM_GONE, pos, 0,
					   "position " STREAM_POS_FORMAT " is no longer in the stream log",
					   STREAM_POS_ARGS(pos));
}

/* True if the open file is the segment that pos lies in, and still has its name. */
static bool
is_open_at(const StreamReader *r, StreamPos pos)
{
	uint64		size;

	return r->is_open && pos >= r->segment &&
		segment_is_linked(r->fd, &size) && pos - r->segment < size;
}

static StreamCode
open_at(StreamReader *r, StreamPos segment)
{
	if (r->is_open)
		close(r->fd);
	r->fd = segment_open(r->directory, segment, O_RDONLY);
	r->is_open = r->fd >= 0;
	r->segment = segment;
	return r->is_open ? STREAM_OK : STREAM_IO;
}

/*
 * Open the segment that pos lies in.  The usual way here is a reader that has
 * come to the end of its segment, and the next one is named by pos.
 */
static StreamCode
locate(StreamReader *r, StreamPos pos, StreamError *err)
{
	SegmentList list = {0};
	char		path[SEGMENT_PATH_LEN];
	int			i;
	StreamCode	code;

	if (open_at(r, pos) == STREAM_OK)
		return STREAM_OK;
	code = segment_list(r->directory, &list, err);
	if (code == STREAM_OK)
	{
		i = segment_list_find(&list, pos);
		errno = ENOENT;
		if (i >= 0 && open_at(r, list.pos[i]) == STREAM_OK)
			code = STREAM_OK;
		else if (errno == ENOENT)	/* or removed this moment */
			code = gone(pos, err);
		else
		{
			segment_path(r->directory, list.pos[i], path);
			code = segment_io_error(err, pos, "open file", path);
		}
	}
	segment_list_free(&list);
	return code;
}

/* Make reader->frame hold len bytes at pos, or what there is of them. */
static StreamCode
read_bytes(StreamReader *r, StreamPos pos, size_t have, size_t len, StreamError *err)
{
	char	   *p;
	ssize_t		n;

	r->frame.len = have;
	p = stream_buf_extend(&r->frame, len - have);
	if (p == NULL)
		return stream_fail(err, STREAM_NOMEM, pos, 0, "out of memory");
	n = segment_read(r->fd, p, len - have, pos - r->segment + have);
	if (n < 0)
	{
		char		path[SEGMENT_PATH_LEN];

		r->frame.len = have;
		segment_path(r->directory, r->segment, path);
		return segment_io_error(err, pos, "read file", path);
	}
	r->frame.len = have + n;
	return STREAM_OK;
}

/* A frame below the limit must be whole: whatever is torn there is corrupt. */
static StreamCode
torn_is_corrupt(StreamCode code, StreamError *err)
{
	if (code != STREAM_TORN)
		return code;
	if (err != NULL)
		err->code = STREAM_CORRUPT;
	return STREAM_CORRUPT;
}

/* Read header and payload of the frame at pos into reader->frame, and check them. */
static StreamCode
read_frame(StreamReader *r, StreamPos pos, StreamPos limit, FrameHeader *h, StreamError *err)
{
	size_t		first = Min(limit - pos, Max(r->guess, READ_MIN));
	size_t		whole;
	StreamCode	code;

	stream_buf_reset(&r->frame);
	code = read_bytes(r, pos, 0, first, err);
	if (code == STREAM_OK)
		code = frame_parse_header(r->frame.data, r->frame.len, pos, h, err);
	if (code != STREAM_OK)
		return torn_is_corrupt(code, err);

	whole = FRAME_HEADER_LEN + (size_t) h->stored_len;
	if (whole > limit - pos)
		return stream_fail(err, STREAM_CORRUPT, pos, 0,
						   "frame reaches beyond the end of the log, " STREAM_POS_FORMAT,
						   STREAM_POS_ARGS(limit));
	if (whole > r->frame.len)
		code = read_bytes(r, pos, r->frame.len, whole, err);
	if (code != STREAM_OK)
		return code;
	if (r->frame.len < whole)
		return stream_fail(err, STREAM_CORRUPT, pos, 0,
						   "incomplete frame: %zu of %zu bytes", r->frame.len, whole);
	r->frame.len = whole;
	r->guess = whole;
	return torn_is_corrupt(frame_check_crc(r->frame.data, h, err), err);
}

StreamCode
stream_read(StreamReader *r, StreamPos pos, StreamPos limit,
			FrameHeader *h, const char **records, StreamError *err)
{
	StreamCode	code = STREAM_OK;

	if (pos >= limit)
		return STREAM_END;
	if (!is_open_at(r, pos))
		code = locate(r, pos, err);
	if (code == STREAM_OK)
		code = read_frame(r, pos, limit, h, err);
	if (code == STREAM_OK && records != NULL)
		code = frame_open(&r->codec, r->frame.data, h, &r->scratch, records, err);
	return code;
}

/* Start of the frame in `segment` that holds byte `byte`. */
static StreamCode
find_in_segment(const char *directory, StreamPos segment, StreamPos byte,
				StreamPos *start, StreamError *err)
{
	SegmentScan scan;
	FrameHeader h;
	StreamPos	pos = segment;
	StreamCode	code;

	code = segment_scan_open(&scan, directory, segment, FIND_WINDOW, err);
	while (code == STREAM_OK)
	{
		code = segment_scan_frame(&scan, pos, false, &h, err);
		if (code == STREAM_OK && frame_end(&h) > byte)
			break;
		if (code == STREAM_OK)
			pos = frame_end(&h);
	}
	segment_scan_close(&scan);
	*start = pos;
	if (code == STREAM_END)
		return stream_fail(err, STREAM_CORRUPT, pos, 0,
						   "segment " STREAM_POS_FORMAT " ends at " STREAM_POS_FORMAT
						   ", before the end of the log",
						   STREAM_POS_ARGS(segment), STREAM_POS_ARGS(pos));
	return torn_is_corrupt(code, err);
}

StreamCode
stream_find(StreamReader *r, StreamPos pos, StreamPos limit, FrameHeader *h, StreamError *err)
{
	SegmentList list = {0};
	StreamPos	byte = pos;
	StreamPos	start = 0;
	int			i;
	StreamCode	code;

	if (pos > limit)
		return STREAM_END;
	code = segment_list(r->directory, &list, err);
	if (code != STREAM_OK)
	{
		segment_list_free(&list);
		return code;
	}

	/* the frame that ends at the limit holds the byte before it */
	if (pos == limit)
		byte = pos > 0 ? pos - 1 : 0;
	i = segment_list_find(&list, byte);
	if (list.count > 0 && pos == limit && pos == list.pos[0])
		code = STREAM_END;
	else if (i < 0)
		code = gone(pos, err);
	else
		code = find_in_segment(r->directory, list.pos[i], byte, &start, err);
	segment_list_free(&list);
	return code == STREAM_OK ? stream_read(r, start, limit, h, NULL, err) : code;
}
