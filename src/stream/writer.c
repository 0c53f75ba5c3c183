/*
 * writer.c - appending to the log.
 *
 * Several processes append in turn, each with its own open file, under the lock
 * that protects the tail.  So before each append the file is looked at again:
 * another process may have cut the log and made a new segment of the same name
 * (then this file has no name any more), or may have failed in the middle of an
 * append (tail->litter; then what it left goes away first, lest a recovery takes it
 * for frames).
 */
#include "stream/segment.h"

#include <fcntl.h>
#include <unistd.h>

void
stream_writer_close(StreamWriter *w)
{
	if (w->is_open)
		close(w->fd);
	w->is_open = false;
}

/* Open `segment` for appending unless it is open; *size gets the file's size. */
static StreamCode
open_segment(StreamWriter *w, StreamPos segment, uint64 *size, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];

	if (w->is_open && w->segment == segment && segment_is_linked(w->fd, size))
		return STREAM_OK;
	stream_writer_close(w);
	w->fd = segment_open(w->directory, segment, O_RDWR);
	if (w->fd >= 0)
	{
		w->is_open = true;
		w->segment = segment;
		if (segment_is_linked(w->fd, size))
			return STREAM_OK;
		stream_writer_close(w);
		errno = ENOENT;
	}
	segment_path(w->directory, segment, path);
	return segment_io_error(err, segment, "open file", path);
}

/* Open the segment at the tail; *size gets the file's size. */
static StreamCode
open_last(StreamWriter *w, const StreamTail *tail, uint64 *size, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	StreamCode	code = open_segment(w, tail->segment, size, err);

	if (code != STREAM_OK || *size >= tail->end - tail->segment)
		return code;
	segment_path(w->directory, tail->segment, path);
	return stream_fail(err, STREAM_IO, tail->segment + *size, 0,
					   "file \"%s\" has become shorter than the stream log", path);
}

/* Make the segment being written exactly as long as its frames, which end at pos. */
static StreamCode
trim_segment(StreamWriter *w, StreamPos pos, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];

	if (ftruncate(w->fd, (off_t) (pos - w->segment)) == 0)
		return STREAM_OK;
	segment_path(w->directory, w->segment, path);
	return segment_io_error(err, pos, "truncate file", path);
}

/*
 * Undo the traces of an append that has failed.  If that fails too, the next
 * append tries again before it writes anything.
 */
static StreamCode
undo_append(StreamWriter *w, StreamTail *tail, StreamError *err)
{
	SegmentList list = {0};
	uint64		size;
	StreamCode	code = segment_list(w->directory, &list, err);

	for (int i = list.count - 1; code == STREAM_OK && i >= 0 && list.pos[i] > tail->segment; i--)
		code = segment_remove(w->directory, list.pos[i], err);
	segment_list_free(&list);
	if (code == STREAM_OK)
		code = open_last(w, tail, &size, err);
	if (code == STREAM_OK)
		code = trim_segment(w, tail->end, err);
	if (code == STREAM_OK)
		tail->litter = false;
	return code;
}

/* Finish the segment being written and begin one at pos. */
static StreamCode
next_segment(StreamWriter *w, StreamTail *tail, StreamPos pos, StreamError *err)
{
	StreamCode	code;
	int			fd;

	code = trim_segment(w, pos, err);
	if (code != STREAM_OK)
		return code;
	code = stream_flush(w, w->segment, err);
	if (code != STREAM_OK)
		tail->broken = true;
	else
		code = segment_create(w->directory, pos, &fd, err);
	if (code != STREAM_OK)
		return code;
	stream_writer_close(w);
	w->fd = fd;
	w->segment = pos;
	w->is_open = true;
	return STREAM_OK;
}

/*
 * Check that the frames are whole and continue the log; *after gets what the
 * tail will be, apart from its segment.
 */
static StreamCode
check_frames(const StreamTail *tail, const char *frames, size_t len,
			 StreamTail *after, StreamError *err)
{
	FrameHeader h;
	size_t		done = 0;

	*after = *tail;
	while (done < len)
	{
		if (frame_parse_header(frames + done, len - done, after->end, &h, err) != STREAM_OK)
			break;
		if (len - done - FRAME_HEADER_LEN < h.stored_len)
			return stream_fail(err, STREAM_MISMATCH, h.start, 0, "incomplete frame");
		if (h.prev_start != after->last_start || h.prev_term != after->last_term)
			return stream_fail(err, STREAM_MISMATCH, h.start, 0,
							   "frame continues the frame at " STREAM_POS_FORMAT
							   ", but the log's last one is at " STREAM_POS_FORMAT,
							   STREAM_POS_ARGS(h.prev_start), STREAM_POS_ARGS(after->last_start));
		if (h.term < h.prev_term)
			return stream_fail(err, STREAM_MISMATCH, h.start, 0,
							   "frame has a lower term than the one before it");
		if (frame_check_crc(frames + done, &h, err) != STREAM_OK)
			break;
		after->end = frame_end(&h);
		after->last_start = h.start;
		after->last_term = h.term;
		stream_terms_note(&after->terms, &h);
		done += FRAME_HEADER_LEN + h.stored_len;
	}
	if (done == len)
		return STREAM_OK;
	if (err != NULL)
		err->code = STREAM_MISMATCH;
	return STREAM_MISMATCH;
}

/* Length of the frames (at least one) that fit into `room` bytes; 0: not even one. */
static size_t
frames_that_fit(const char *frames, size_t len, size_t room)
{
	size_t		done = 0;

	while (done < len)
	{
		size_t		frame_len = FRAME_HEADER_LEN + stream_load_u32(frames + done + 52);

		if (done + frame_len > room)
			break;
		done += frame_len;
	}
	return done;
}

/*
 * Lengthen the segment's file beyond `end`, its frames' end, with zeros.  This is
 * no more than a help for the flushes to come: if the disk is full, they get along
 * without.
 */
static void
grow_segment(StreamWriter *w, uint64 end)
{
	static const char zeros[64 * 1024];
	uint64		until = Min((end / STREAM_GROWTH + 1) * STREAM_GROWTH, STREAM_SEGMENT_SIZE);

	while (end < until)
	{
		size_t		len = Min(until - end, sizeof(zeros) - end % sizeof(zeros));

		if (!segment_write(w->fd, zeros, len, end))
			return;
		end += len;
	}
}

/*
 * Write checked frames behind the tail, over as many segments as it takes.  size:
 * of the file that is open.
 */
static StreamCode
write_frames(StreamWriter *w, StreamTail *tail, uint64 size,
			 const char *frames, size_t len, StreamError *err)
{
	StreamPos	pos = tail->end;
	bool		small = len <= STREAM_SMALL_APPEND;

	while (len > 0)
	{
		uint64		offset = pos - w->segment;
		size_t		room = offset < STREAM_SEGMENT_SIZE ? STREAM_SEGMENT_SIZE - offset : 0;
		size_t		run = frames_that_fit(frames, len, room);

		if (run == 0)
		{
			StreamCode	code = next_segment(w, tail, pos, err);

			if (code != STREAM_OK)
				return code;
			size = 0;
			continue;
		}
		if (!segment_write(w->fd, frames, run, offset))
		{
			char		path[SEGMENT_PATH_LEN];

			segment_path(w->directory, w->segment, path);
			return segment_io_error(err, pos, "write to file", path);
		}
		if (small && offset + run > size)
			grow_segment(w, offset + run);
		frames += run;
		len -= run;
		pos += run;
	}
	return STREAM_OK;
}

StreamCode
stream_append(StreamWriter *w, StreamTail *tail, const char *frames, size_t len,
			  StreamError *err)
{
	StreamTail	after;
	uint64		size;
	StreamCode	code;

	if (tail->broken)
		return stream_fail(err, STREAM_IO, tail->end, 0,
						   "the stream log has failed and must be opened anew");
	code = check_frames(tail, frames, len, &after, err);
	if (code != STREAM_OK || len == 0)
		return code;
	if (tail->litter)
		code = undo_append(w, tail, err);
	if (code == STREAM_OK)
		code = open_last(w, tail, &size, err);
	if (code != STREAM_OK)
		return code;
	code = write_frames(w, tail, size, frames, len, err);
	if (code != STREAM_OK)
	{
		tail->litter = true;
		(void) undo_append(w, tail, NULL);
		return code;
	}
	after.litter = false;
	after.segment = w->segment;
	*tail = after;
	return STREAM_OK;
}

StreamCode
stream_flush(StreamWriter *w, StreamPos segment, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	uint64		size;
	int			rc;
	StreamError local;
	StreamCode	code;

	if (err == NULL)
		err = &local;
	code = open_segment(w, segment, &size, err);
	segment_path(w->directory, segment, path);
	if (code == STREAM_IO && err->sys_errno == ENOENT)
		return stream_fail(err, STREAM_GONE, segment, ENOENT,
						   "segment \"%s\" was cut off meanwhile", path);
	if (code != STREAM_OK)
		return code;
	do
		rc = fdatasync(w->fd);
	while (rc < 0 && errno == EINTR);
	return rc == 0 ? STREAM_OK : segment_io_error(err, segment, "fdatasync file", path);
}
