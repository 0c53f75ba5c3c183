/*
 * test_log.c - the stream log on disk: what a crash, a full disk or a failing
 * medium leaves behind is either repaired or reported, never guessed at.
 */
#include "stream/log.h"
#include "stream/segment.h"
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#define TERM UINT64CONST(0x10001)
#define MAX_FRAMES 4096

/* A log in a directory of its own, and what was appended to it. */
typedef struct TestLog
{
	char		directory[64];
	StreamTail	tail;
	StreamWriter writer;
	FrameCodec	codec;
	FrameHeader frames[MAX_FRAMES];
	int			n;
} TestLog;

/* Field by field, for padding compares as it likes. */
static bool
same_header(const FrameHeader *a, const FrameHeader *b)
{
	return a->flags == b->flags && a->term == b->term && a->start == b->start &&
		a->prev_start == b->prev_start && a->prev_term == b->prev_term &&
		a->source_lsn == b->source_lsn && a->raw_len == b->raw_len &&
		a->stored_len == b->stored_len && a->n_commits == b->n_commits && a->crc == b->crc;
}

static TestLog *
log_new(StreamPos start)
{
	TestLog    *log = calloc(1, sizeof(TestLog));

	strcpy(log->directory, unit_directory());
	strcpy(log->writer.directory, log->directory);
	CHECK(stream_log_create(log->directory, start, 0, 0, &log->tail, NULL) == STREAM_OK);
	return log;
}

static void
log_free(TestLog *log)
{
	stream_writer_close(&log->writer);
	frame_codec_free(&log->codec);
	unit_remove_directory(log->directory);
	free(log);
}

/* Seal a frame of len random bytes, continuing `tail`, behind what is in out. */
static FrameHeader
seal(TestLog *log, StreamTail *tail, uint64 term, uint32 len, StreamBuf *out)
{
	char	   *records = malloc(len);
	FrameHeader h = {0};

	for (uint32 i = 0; i < len; i += 8)
	{
		uint64		v = unit_random();

		memcpy(records + i, &v, Min(8, len - i));
	}
	h.term = term;
	h.start = tail->end;
	h.prev_start = tail->last_start;
	h.prev_term = tail->last_term;
	h.n_commits = 1;
	CHECK(frame_seal(&log->codec, &h, records, len, 0, out, NULL) == STREAM_OK);
	tail->end = frame_end(&h);
	tail->last_start = h.start;
	tail->last_term = h.term;
	free(records);
	return h;
}

/* Append n frames of len bytes in one call. */
static StreamCode
append(TestLog *log, uint64 term, int n, uint32 len, StreamError *err)
{
	StreamTail	next = log->tail;
	StreamBuf	out = {0};
	int			first = log->n;
	StreamCode	code;

	for (int i = 0; i < n; i++)
		log->frames[log->n++] = seal(log, &next, term, len, &out);
	code = stream_append(&log->writer, &log->tail, out.data, out.len, err);
	if (code != STREAM_OK)
		log->n = first;
	stream_buf_free(&out);
	return code;
}

static void
flush(TestLog *log)
{
	CHECK(stream_flush(&log->writer, log->tail.segment, NULL) == STREAM_OK);
	log->tail.flushed = log->tail.end;
}

/* Every frame appended can be read, and nothing behind them. */
static void
check_readable(TestLog *log)
{
	StreamReader r = {0};
	FrameHeader h;
	const char *records;
	StreamPos	pos = log->tail.start;
	int			i = 0;
	StreamCode	code;

	strcpy(r.directory, log->directory);
	while (i < log->n && log->frames[i].start < pos)
		i++;
	while ((code = stream_read(&r, pos, log->tail.end, &h, &records, NULL)) == STREAM_OK)
	{
		if (i >= log->n || !same_header(&h, &log->frames[i]))
			CHECK(false);
		i++;
		pos = frame_end(&h);
	}
	CHECK(code == STREAM_END);
	CHECK(i == log->n && pos == log->tail.end);
	stream_reader_close(&r);
}

static int
count_segments(TestLog *log)
{
	SegmentList list = {0};
	int			n;

	CHECK(segment_list(log->directory, &list, NULL) == STREAM_OK);
	n = list.count;
	segment_list_free(&list);
	return n;
}

static StreamPos
nth_segment(TestLog *log, int n)
{
	SegmentList list = {0};
	StreamPos	pos;

	CHECK(segment_list(log->directory, &list, NULL) == STREAM_OK);
	pos = list.pos[n];
	segment_list_free(&list);
	return pos;
}

/* What a restarted process finds. */
static StreamCode
reopen(TestLog *log, StreamPos known_flushed, StreamPos check_from, uint64 *cut)
{
	StreamError err = {0};
	StreamCode	code;

	stream_writer_close(&log->writer);
	code = stream_log_open(log->directory, known_flushed, check_from, 0, 0, NULL, NULL, NULL,
						   &log->tail, cut, &err);
	CHECK(code == STREAM_OK || (err.code == code && err.message[0] != '\0'));
	return code;
}

static char *
read_whole(const char *path, size_t *len)
{
	FILE	   *f = fopen(path, "rb");
	char	   *data;
	struct stat st;

	if (f == NULL || fstat(fileno(f), &st) != 0)
		exit(2);
	data = malloc(st.st_size + 1);
	*len = fread(data, 1, st.st_size, f);
	fclose(f);
	return data;
}

/* Sum over names, lengths and bytes of all segments. */
static uint64
fingerprint(TestLog *log)
{
	SegmentList list = {0};
	uint64		sum = UINT64CONST(14695981039346656037);

	CHECK(segment_list(log->directory, &list, NULL) == STREAM_OK);
	for (int i = 0; i < list.count; i++)
	{
		char		path[SEGMENT_PATH_LEN];
		size_t		len;
		char	   *data;

		segment_path(log->directory, list.pos[i], path);
		data = read_whole(path, &len);
		sum = (sum ^ list.pos[i]) * UINT64CONST(1099511628211);
		for (size_t j = 0; j < len; j += 8)
		{
			uint64		v = 0;

			memcpy(&v, data + j, Min(8, len - j));
			sum = (sum ^ v) * UINT64CONST(1099511628211);
		}
		sum ^= len;
		free(data);
	}
	segment_list_free(&list);
	return sum;
}

static void
resize_segment(TestLog *log, StreamPos segment, uint64 size)
{
	char		path[SEGMENT_PATH_LEN];

	segment_path(log->directory, segment, path);
	CHECK(truncate(path, (off_t) size) == 0);
}

static uint64
file_size(TestLog *log, StreamPos segment)
{
	uint64		size = 0;

	CHECK(segment_size(log->directory, segment, &size, NULL) == STREAM_OK);
	return size;
}

/* Length of bytes without the zeros at their end. */
static uint64
used_length(const char *bytes, size_t len)
{
	while (len > 0 && bytes[len - 1] == 0)
		len--;
	return len;
}

static void
limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	limit.rlim_cur = bytes;
	CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* Flip one bit of the stream on disk. */
static void
damage(TestLog *log, StreamPos pos)
{
	SegmentList list = {0};
	StreamPos	segment;
	char		c;
	int			fd;

	CHECK(segment_list(log->directory, &list, NULL) == STREAM_OK);
	segment = list.pos[segment_list_find(&list, pos)];
	segment_list_free(&list);
	fd = segment_open(log->directory, segment, O_RDWR);
	CHECK(pread(fd, &c, 1, pos - segment) == 1);
	c ^= 0x10;
	CHECK(pwrite(fd, &c, 1, pos - segment) == 1);
	close(fd);
}

/* ---- tests ---- */

static void
append_and_read(void)
{
	TestLog    *log = log_new(0x100);

	CHECK(log->tail.start == 0x100 && log->tail.end == 0x100 && log->tail.flushed == 0x100);
	CHECK(append(log, TERM, 1, 100, NULL) == STREAM_OK);
	CHECK(append(log, TERM, 5, 3000, NULL) == STREAM_OK);
	CHECK(append(log, TERM, 1, FRAME_MAX_RAW, NULL) == STREAM_OK);
	CHECK(append(log, TERM + 0x10000, 2, 10, NULL) == STREAM_OK);
	CHECK(append(log, TERM, 0, 0, NULL) == STREAM_OK);
	CHECK(log->tail.flushed == 0x100);
	flush(log);
	CHECK(log->tail.last_start == log->frames[8].start);
	CHECK(log->tail.last_term == TERM + 0x10000);
	check_readable(log);
	log_free(log);
}

static void
create_refuses_an_old_log(void)
{
	TestLog    *log = log_new(0);
	StreamTail	tail;
	StreamError err;

	CHECK(stream_log_create(log->directory, 0, 0, 0, &tail, &err) == STREAM_MISMATCH);
	CHECK(stream_log_destroy(log->directory, NULL) == STREAM_OK);
	CHECK(stream_log_destroy(log->directory, NULL) == STREAM_OK);
	CHECK(stream_log_create(log->directory, 77, 5, TERM, &tail, &err) == STREAM_OK);
	CHECK(tail.end == 77 && tail.last_start == 5 && tail.last_term == TERM);
	log_free(log);
}

static void
append_takes_only_what_continues(void)
{
	TestLog    *log = log_new(0);
	StreamTail	next;
	StreamTail	before;
	StreamBuf	out = {0};
	StreamError err;
	uint64		sum;

	CHECK(append(log, TERM, 2, 200, NULL) == STREAM_OK);
	before = log->tail;
	sum = fingerprint(log);

#define REFUSED() \
	(CHECK(stream_append(&log->writer, &log->tail, out.data, out.len, &err) == STREAM_MISMATCH), \
	 CHECK(err.code == STREAM_MISMATCH && err.message[0] != '\0'), \
	 CHECK(memcmp(&before, &log->tail, sizeof(before)) == 0 && fingerprint(log) == sum), \
	 stream_buf_reset(&out))

	next = log->tail;
	next.end += 1;				/* another place */
	seal(log, &next, TERM, 50, &out);
	REFUSED();
	next = log->tail;
	next.last_start -= 1;		/* another predecessor */
	seal(log, &next, TERM, 50, &out);
	REFUSED();
	next = log->tail;
	next.last_term += 1;
	seal(log, &next, TERM + 5, 50, &out);
	REFUSED();
	next = log->tail;			/* a term that goes back */
	seal(log, &next, TERM - 1, 50, &out);
	REFUSED();
	next = log->tail;			/* damaged */
	seal(log, &next, TERM, 50, &out);
	out.data[70] ^= 1;
	REFUSED();
	next = log->tail;			/* the second of two is cut short */
	seal(log, &next, TERM, 50, &out);
	seal(log, &next, TERM, 50, &out);
	out.len--;
	REFUSED();
	next = log->tail;			/* only a piece of a header follows */
	seal(log, &next, TERM, 50, &out);
	stream_buf_append(&out, "BATN", 4);
	REFUSED();
#undef REFUSED

	CHECK(append(log, TERM, 1, 60, NULL) == STREAM_OK);
	check_readable(log);
	stream_buf_free(&out);
	log_free(log);
}

/* 40 MB in frames of different lengths, some appends spanning a segment's end. */
static void
fill_segments(TestLog *log)
{
	static const uint32 lengths[] = {900000, 70, 300000, 5000, 1000000};

	for (int i = 0; log->tail.end - log->tail.start < 40 * 1024 * 1024; i++)
		CHECK(append(log, TERM, 3, lengths[i % lengthof(lengths)], NULL) == STREAM_OK);
	flush(log);
}

static void
segments_roll_over(void)
{
	TestLog    *log = log_new(0x123);
	uint64		cut;
	StreamTail	before;

	fill_segments(log);
	CHECK(count_segments(log) == 3);
	check_readable(log);
	for (int i = 0; i < 3; i++)
		CHECK(file_size(log, nth_segment(log, i)) <= STREAM_SEGMENT_SIZE);
	/* a finished one holds its frames and nothing else */
	for (int i = 0; i < 2; i++)
		CHECK(file_size(log, nth_segment(log, i)) == nth_segment(log, i + 1) - nth_segment(log, i));
	before = log->tail;
	CHECK(reopen(log, before.flushed, 0, &cut) == STREAM_OK && cut == 0);
	CHECK(memcmp(&before, &log->tail, sizeof(before)) == 0);
	CHECK(append(log, TERM, 1, 10, NULL) == STREAM_OK);
	check_readable(log);
	log_free(log);
}

/* Small appends find their place written already; large ones make the file grow. */
static void
the_file_grows_in_steps(void)
{
	TestLog    *log = log_new(0x123);
	StreamTail	before;
	uint64		cut;

	CHECK(file_size(log, 0x123) == 0);
	CHECK(append(log, TERM, 1, 100, NULL) == STREAM_OK);
	for (int i = 0; i < 300; i++)
	{
		CHECK(append(log, TERM, 1, 10000, NULL) == STREAM_OK);
		CHECK(file_size(log, 0x123) % STREAM_GROWTH == 0);
		CHECK(file_size(log, 0x123) > log->tail.end - 0x123);
	}
	CHECK(file_size(log, 0x123) == 3 * STREAM_GROWTH);
	check_readable(log);
	/* the zeros are no torn end */
	before = log->tail;
	flush(log);
	CHECK(reopen(log, before.end, 0, &cut) == STREAM_OK && cut == 0);
	CHECK(log->tail.end == before.end && log->tail.last_start == before.last_start);
	CHECK(append(log, TERM, 4, 500000, NULL) == STREAM_OK);
	CHECK(file_size(log, 0x123) == log->tail.end - 0x123);
	/* up to the segment's end, where the next one begins with a step */
	while (log->tail.segment == 0x123)
		CHECK(append(log, TERM, 1, 60000, NULL) == STREAM_OK);
	CHECK(file_size(log, 0x123) == log->tail.segment - 0x123);
	CHECK(file_size(log, log->tail.segment) == STREAM_GROWTH);
	check_readable(log);
	CHECK(reopen(log, before.end, 0, &cut) == STREAM_OK && cut == 0);
	check_readable(log);
	log_free(log);
}

/* A disk that has room for the frames, but for no zeros behind them. */
static void
no_room_for_zeros(void)
{
	TestLog    *log = log_new(0);

	signal(SIGXFSZ, SIG_IGN);
	limit_file_size(100000);
	for (int i = 0; i < 9; i++)
		CHECK(append(log, TERM, 1, 10000, NULL) == STREAM_OK);
	CHECK(append(log, TERM, 1, 10000, NULL) == STREAM_IO);
	limit_file_size(RLIM_INFINITY);
	CHECK(append(log, TERM, 1, 10000, NULL) == STREAM_OK);
	check_readable(log);
	log_free(log);
}

/*
 * Frames of a former history must not come back behind a cut: not at once, and not
 * behind others of the same lengths.
 */
static void
nothing_is_left_behind_a_cut(void)
{
	TestLog    *log = log_new(0);
	StreamTail	whole;
	StreamPos	end;
	uint64		cut;

	CHECK(append(log, TERM, 6, 1000, NULL) == STREAM_OK);
	whole = log->tail;
	end = frame_end(&log->frames[2]);
	CHECK(file_size(log, 0) == STREAM_GROWTH);
	CHECK(stream_truncate(&log->writer, &log->tail, end, log->frames[2].start, TERM, NULL) == STREAM_OK);
	CHECK(reopen(log, end, 0, &cut) == STREAM_OK && cut == 0 && log->tail.end == end);
	/* even the very frame that was cut off does not bring its successor back */
	log->n = 3;
	CHECK(append(log, TERM, 1, 1000, NULL) == STREAM_OK);
	CHECK(log->tail.end == log->frames[3].start + 1064 && log->tail.end < whole.end);
	CHECK(reopen(log, 0, 0, &cut) == STREAM_OK && cut == 0);
	CHECK(log->tail.end == frame_end(&log->frames[3]));
	check_readable(log);
	log_free(log);
}

static void
a_batch_longer_than_a_segment(void)
{
	TestLog    *log = log_new(0);
	uint64		cut;

	CHECK(append(log, TERM, 1, 100, NULL) == STREAM_OK);
	CHECK(append(log, TERM, 36, 1000000, NULL) == STREAM_OK);
	CHECK(count_segments(log) == 3);
	flush(log);
	check_readable(log);
	CHECK(reopen(log, log->tail.end, 0, &cut) == STREAM_OK && cut == 0);
	log_free(log);
}

static void
remove_old_segments(void)
{
	TestLog    *log = log_new(0);
	StreamPos	second;
	StreamPos	third;
	StreamReader r = {0};
	FrameHeader h;
	uint64		cut;

	fill_segments(log);
	second = nth_segment(log, 1);
	third = nth_segment(log, 2);
	CHECK(stream_remove_before(log->directory, &log->tail, second - 1, NULL) == STREAM_OK);
	CHECK(log->tail.start == 0 && count_segments(log) == 3);
	strcpy(r.directory, log->directory);
	CHECK(stream_read(&r, 0, log->tail.end, &h, NULL, NULL) == STREAM_OK);
	CHECK(stream_remove_before(log->directory, &log->tail, second, NULL) == STREAM_OK);
	CHECK(log->tail.start == second && count_segments(log) == 2);
	CHECK(stream_read(&r, 0, log->tail.end, &h, NULL, NULL) == STREAM_GONE);
	CHECK(stream_find(&r, second - 1, log->tail.end, &h, NULL) == STREAM_GONE);
	CHECK(stream_read(&r, second, log->tail.end, &h, NULL, NULL) == STREAM_OK);
	CHECK(stream_remove_before(log->directory, &log->tail, log->tail.end, NULL) == STREAM_OK);
	CHECK(log->tail.start == third && count_segments(log) == 1);
	check_readable(log);
	CHECK(reopen(log, log->tail.end, 0, &cut) == STREAM_OK && log->tail.start == third);
	stream_reader_close(&r);
	log_free(log);
}

static void
find_frames(void)
{
	TestLog    *log = log_new(0x40);
	StreamReader r = {0};
	FrameHeader h;
	StreamPos	end;

	strcpy(r.directory, log->directory);
	CHECK(stream_find(&r, 0x40, 0x40, &h, NULL) == STREAM_END);
	CHECK(stream_find(&r, 0x3f, 0x40, &h, NULL) == STREAM_GONE);
	CHECK(stream_find(&r, 0x41, 0x40, &h, NULL) == STREAM_END);
	fill_segments(log);
	end = log->tail.end;
	for (int i = 0; i < log->n; i++)
	{
		FrameHeader *f = &log->frames[i];

		CHECK(stream_find(&r, f->start, end, &h, NULL) == STREAM_OK && h.start == f->start);
		CHECK(stream_find(&r, frame_end(f) - 1, end, &h, NULL) == STREAM_OK && h.start == f->start);
		CHECK(r.frame.len == FRAME_HEADER_LEN + f->stored_len);
		/* with an earlier limit the frame that ends there */
		CHECK(stream_find(&r, frame_end(f), frame_end(f), &h, NULL) == STREAM_OK);
		CHECK(h.start == f->start);
	}
	CHECK(stream_find(&r, end + 1, end, &h, NULL) == STREAM_END);
	CHECK(stream_read(&r, end, end, &h, NULL, NULL) == STREAM_END);
	stream_reader_close(&r);
	log_free(log);
}

static void
truncate_and_go_on(void)
{
	TestLog    *log = log_new(0);
	StreamWriter other = {0};
	StreamReader r = {0};
	FrameHeader h;
	StreamBuf	out = {0};
	StreamPos	old_segment;
	StreamTail	next;
	uint64		cut;
	int			keep;

	fill_segments(log);
	strcpy(other.directory, log->directory);
	strcpy(r.directory, log->directory);
	old_segment = log->tail.segment;
	/* another process has the last segment open for writing, a third one reads it */
	CHECK(stream_flush(&other, old_segment, NULL) == STREAM_OK);
	CHECK(stream_read(&r, old_segment, log->tail.end, &h, NULL, NULL) == STREAM_OK);

	CHECK(stream_truncate(&log->writer, &log->tail, log->tail.end + 1, 0, 0, NULL) == STREAM_MISMATCH);
	for (keep = log->n - 1; log->frames[keep].start > old_segment - 2000000; keep--)
		;
	CHECK(stream_truncate(&log->writer, &log->tail, frame_end(&log->frames[keep]),
						  log->frames[keep].start, log->frames[keep].term, NULL) == STREAM_OK);
	CHECK(log->tail.cuts == 1 && !log->tail.broken);
	log->n = keep + 1;
	CHECK(count_segments(log) == 2);
	CHECK(log->tail.end == frame_end(&log->frames[keep]) && log->tail.flushed == log->tail.end);
	check_readable(log);
	/* somebody who took note of the tail before the cut, and flushes after it */
	CHECK(stream_flush(&log->writer, old_segment, NULL) == STREAM_GONE);

	/* a new reign writes other frames of the same lengths, so that a new segment
	 * takes the old one's name */
	while (log->tail.segment < old_segment)
	{
		next = log->tail;
		stream_buf_reset(&out);
		log->frames[log->n] = seal(log, &next, TERM + 1, log->frames[log->n].raw_len, &out);
		log->n++;
		CHECK(stream_append(&log->writer, &log->tail, out.data, out.len, NULL) == STREAM_OK);
	}
	CHECK(log->tail.segment == old_segment);
	/* the other process must not write into the file that has lost its name */
	next = log->tail;
	stream_buf_reset(&out);
	log->frames[log->n++] = seal(log, &next, TERM + 1, 500, &out);
	CHECK(stream_append(&other, &log->tail, out.data, out.len, NULL) == STREAM_OK);
	CHECK(stream_flush(&other, log->tail.segment, NULL) == STREAM_OK);
	check_readable(log);
	CHECK(stream_read(&r, log->tail.last_start, log->tail.end, &h, NULL, NULL) == STREAM_OK);
	CHECK(h.term == TERM + 1);
	CHECK(stream_read(&r, old_segment, log->tail.end, &h, NULL, NULL) == STREAM_OK);
	CHECK(h.term == TERM + 1);
	CHECK(reopen(log, log->tail.end, 0, &cut) == STREAM_OK && cut == 0);
	check_readable(log);
	stream_reader_close(&r);
	stream_writer_close(&other);
	stream_buf_free(&out);
	log_free(log);
}

static void
truncate_to_a_segment_border(void)
{
	TestLog    *log = log_new(0);
	StreamPos	third;
	uint64		cut;
	int			keep = 0;

	fill_segments(log);
	third = nth_segment(log, 2);
	while (frame_end(&log->frames[keep]) != third)
		keep++;
	CHECK(stream_truncate(&log->writer, &log->tail, third, log->frames[keep].start,
						  log->frames[keep].term, NULL) == STREAM_OK);
	log->n = keep + 1;
	/* the last segment is empty now: its predecessor says what came last */
	CHECK(reopen(log, third, third, &cut) == STREAM_OK && cut == 0);
	CHECK(log->tail.end == third && log->tail.segment == third);
	CHECK(log->tail.last_start == log->frames[keep].start && log->tail.last_term == TERM);
	CHECK(append(log, TERM, 1, 100, NULL) == STREAM_OK);
	check_readable(log);
	CHECK(stream_truncate(&log->writer, &log->tail, 0, 0, 0, NULL) == STREAM_OK);
	log->n = 0;
	CHECK(count_segments(log) == 1);
	CHECK(append(log, TERM, 1, 100, NULL) == STREAM_OK);
	check_readable(log);
	log_free(log);
}

static void
count_visit(const FrameHeader *h, void *arg)
{
	(*(int *) arg)++;
}

static void
restart_checks_from_where_it_is_told(void)
{
	TestLog    *log = log_new(0);
	StreamPos	second;
	uint64		cut;
	int			visited = 0;
	StreamTail	before;
	StreamTail	tail;

	fill_segments(log);
	before = log->tail;
	second = nth_segment(log, 1);
	CHECK(stream_log_open(log->directory, before.end, 0, 0, 0, NULL, count_visit, &visited,
						  &tail, &cut, NULL) == STREAM_OK);
	CHECK(visited == log->n);
	visited = 0;
	CHECK(stream_log_open(log->directory, before.end, second + 5, 0, 0, &before.terms, count_visit, &visited,
						  &tail, &cut, NULL) == STREAM_OK);
	CHECK(visited > 0 && visited < log->n);
	CHECK(memcmp(&before, &tail, sizeof(tail)) == 0);
	/* damage in a segment that is not looked at waits for its reader */
	damage(log, 5000);
	CHECK(reopen(log, before.end, second, &cut) == STREAM_OK);
	CHECK(reopen(log, before.end, before.end + 1000, &cut) == STREAM_OK);
	CHECK(reopen(log, before.end, 0, &cut) == STREAM_CORRUPT);
	log_free(log);
}

static void
an_empty_log_restarts(void)
{
	TestLog    *log = log_new(0x1000);
	StreamTail	tail;
	uint64		cut;

	CHECK(stream_log_open(log->directory, 0x1000, 0, 0x900, TERM, NULL, NULL, NULL,
						  &tail, &cut, NULL) == STREAM_OK);
	CHECK(tail.start == 0x1000 && tail.end == 0x1000 && tail.segment == 0x1000);
	CHECK(tail.last_start == 0x900 && tail.last_term == TERM && cut == 0);
	CHECK(stream_log_destroy(log->directory, NULL) == STREAM_OK);
	CHECK(stream_log_open(log->directory, 0, 0, 0, 0, NULL, NULL, NULL, &tail, &cut, NULL) == STREAM_CORRUPT);
	log_free(log);
}

/*
 * A machine that loses power in the middle of a write, at every byte of it.  Half of
 * the time the zeros behind it have reached the disk.
 */
static void
torn_tail_at_every_length(void)
{
	TestLog    *log = log_new(0);
	FrameHeader *last;
	StreamTail	whole;
	StreamTail	tail;
	uint64		cut;
	char		path[SEGMENT_PATH_LEN];
	char	   *bytes;
	size_t		len;
	StreamPos	good;

	CHECK(append(log, TERM, 3, 100, NULL) == STREAM_OK);
	good = log->tail.end;
	CHECK(append(log, TERM, 1, 150, NULL) == STREAM_OK);
	flush(log);
	whole = log->tail;
	last = &log->frames[3];
	segment_path(log->directory, 0, path);
	bytes = read_whole(path, &len);
	for (size_t n = 0; n < FRAME_HEADER_LEN + last->stored_len; n++)
	{
		int			fd = open(path, O_WRONLY | O_TRUNC);

		CHECK(pwrite(fd, bytes, good + n, 0) == (ssize_t) (good + n));
		if (n % 2 == 1)
			CHECK(ftruncate(fd, (off_t) len) == 0);
		close(fd);
		CHECK(stream_log_open(log->directory, good, 0, 0, 0, NULL, NULL, NULL, &tail, &cut, NULL) == STREAM_OK);
		CHECK(tail.end == good && tail.flushed == good && tail.last_start == log->frames[2].start);
		CHECK(cut == used_length(bytes + good, n));
		log->tail = tail;
		log->n = 3;
		stream_writer_close(&log->writer);
		CHECK(append(log, TERM + 1, 1, 40, NULL) == STREAM_OK);
		check_readable(log);
	}
	/* the same bytes missing from a tail that was flushed are corruption */
	for (size_t n = 0; n < FRAME_HEADER_LEN + last->stored_len; n++)
	{
		int			fd = open(path, O_WRONLY | O_TRUNC);
		uint64		sum;

		CHECK(pwrite(fd, bytes, good + n, 0) == (ssize_t) (good + n));
		if (n % 2 == 1)
			CHECK(ftruncate(fd, (off_t) len) == 0);
		close(fd);
		sum = fingerprint(log);
		CHECK(reopen(log, whole.end, 0, &cut) == STREAM_CORRUPT);
		CHECK(fingerprint(log) == sum);
	}
	free(bytes);
	log_free(log);
}

static void
damage_in_the_middle(void)
{
	TestLog    *log = log_new(0);
	StreamPos	end;
	uint64		cut;

	fill_segments(log);
	end = log->tail.end;
	for (int i = 0; i < 12; i++)
	{
		StreamPos	at = log->frames[i * (log->n - 1) / 11].start + i * 7;
		StreamReader r = {0};
		FrameHeader h;
		uint64		sum;

		damage(log, at);
		sum = fingerprint(log);
		CHECK(reopen(log, end, 0, &cut) == STREAM_CORRUPT);
		CHECK(fingerprint(log) == sum);
		/* in an old segment it is corruption whatever is known to be flushed */
		if (at < nth_segment(log, 2))
		{
			CHECK(reopen(log, 0, 0, &cut) == STREAM_CORRUPT);
			CHECK(fingerprint(log) == sum);
		}
		strcpy(r.directory, log->directory);
		CHECK(stream_read(&r, log->frames[i * (log->n - 1) / 11].start, end, &h, NULL, NULL) == STREAM_CORRUPT);
		stream_reader_close(&r);
		damage(log, at);		/* flips it back */
	}
	CHECK(reopen(log, end, 0, &cut) == STREAM_OK && cut == 0);
	check_readable(log);
	log_free(log);
}

/* Behind what is known to be flushed, damage ends the log, with all that follows it. */
static void
damage_behind_the_flushed_place(void)
{
	TestLog    *log = log_new(0);
	uint64		cut;
	StreamPos	end;

	CHECK(append(log, TERM, 6, 1000, NULL) == STREAM_OK);
	end = log->tail.end;
	damage(log, log->frames[4].start + 100);
	CHECK(reopen(log, log->frames[4].start, 0, &cut) == STREAM_OK);
	CHECK(log->tail.end == log->frames[4].start);
	CHECK(cut > 1064 && cut <= end - log->frames[4].start);
	log->n = 4;
	check_readable(log);
	log_free(log);
}

/* A whole frame that lies where it says, but continues another history. */
static void
a_frame_of_another_history(void)
{
	TestLog    *log = log_new(0);
	StreamTail	next;
	StreamBuf	out = {0};
	StreamPos	end;
	uint64		cut;
	int			fd;

	CHECK(append(log, TERM, 2, 500, NULL) == STREAM_OK);
	end = log->tail.end;
	next = log->tail;
	next.last_term = TERM - 1;
	seal(log, &next, TERM, 300, &out);
	fd = segment_open(log->directory, 0, O_RDWR);
	CHECK(pwrite(fd, out.data, out.len, end) == (ssize_t) out.len);
	close(fd);
	CHECK(reopen(log, end + out.len, 0, &cut) == STREAM_CORRUPT);
	CHECK(reopen(log, end, 0, &cut) == STREAM_OK && cut == used_length(out.data, out.len));
	CHECK(log->tail.end == end);
	check_readable(log);
	stream_buf_free(&out);
	log_free(log);
}

static void
a_missing_segment(void)
{
	TestLog    *log = log_new(0);
	char		path[SEGMENT_PATH_LEN];
	StreamPos	end;
	uint64		sum;
	uint64		cut;

	fill_segments(log);
	end = log->tail.end;
	segment_path(log->directory, nth_segment(log, 1), path);
	CHECK(unlink(path) == 0);
	sum = fingerprint(log);
	/* also when only the last segment is to be checked */
	CHECK(reopen(log, end, end, &cut) == STREAM_CORRUPT);
	CHECK(reopen(log, 0, 0, &cut) == STREAM_CORRUPT);
	CHECK(fingerprint(log) == sum);
	log_free(log);
}

static void
a_missing_last_segment(void)
{
	TestLog    *log = log_new(0);
	char		path[SEGMENT_PATH_LEN];
	StreamPos	end;
	uint64		cut;

	fill_segments(log);
	end = log->tail.end;
	segment_path(log->directory, nth_segment(log, 2), path);
	CHECK(unlink(path) == 0);
	CHECK(reopen(log, end, 0, &cut) == STREAM_CORRUPT);
	log_free(log);
}

static void
a_shortened_old_segment(void)
{
	TestLog    *log = log_new(0);
	StreamPos	end;
	uint64		cut;

	fill_segments(log);
	end = log->tail.end;
	resize_segment(log, 0, log->frames[1].start);
	CHECK(reopen(log, end, end, &cut) == STREAM_CORRUPT);
	log_free(log);
}

/* Files that are none of the log's are left alone. */
static void
foreign_files(void)
{
	TestLog    *log = log_new(0);
	char		path[128];
	uint64		cut;
	int			fd;

	CHECK(append(log, TERM, 2, 100, NULL) == STREAM_OK);
	snprintf(path, sizeof(path), "%s/0000000000000G00.seg", log->directory);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	CHECK(reopen(log, 0, 0, &cut) == STREAM_OK && cut == 0);
	CHECK(stream_log_destroy(log->directory, NULL) == STREAM_OK);
	CHECK(access(path, F_OK) == 0);
	log_free(log);
}

/* A disk that is full in the middle of a write. */
static void
full_disk(void)
{
	TestLog    *log = log_new(0);
	StreamTail	before;
	StreamError err;
	uint64		size;
	uint64		cut;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(append(log, TERM, 5, 10000, NULL) == STREAM_OK);
	before = log->tail;
	for (int room = 0; room < 30000; room += 777)
	{
		limit_file_size(before.end + room);
		CHECK(append(log, TERM, 3, 10000, &err) == STREAM_IO);
		limit_file_size(RLIM_INFINITY);
		CHECK(err.sys_errno == EFBIG);
		CHECK(memcmp(&before, &log->tail, sizeof(before)) == 0);
		CHECK(segment_size(log->directory, 0, &size, NULL) == STREAM_OK && size == before.end);
	}
	CHECK(append(log, TERM, 3, 5000, NULL) == STREAM_OK);
	check_readable(log);
	CHECK(reopen(log, log->tail.end, 0, &cut) == STREAM_OK && cut == 0);
	log_free(log);
}

/* The same where the append has begun a new segment already. */
static void
full_disk_in_a_new_segment(void)
{
	TestLog    *log = log_new(0);
	StreamTail	before;
	uint64		cut;

	CHECK(append(log, TERM, 15, 1000000, NULL) == STREAM_OK);
	before = log->tail;
	/* one frame more fits; ten need the next segment, whose first write fails */
	limit_file_size(before.end + 1000000 + FRAME_HEADER_LEN);
	CHECK(append(log, TERM, 40, 900000, NULL) == STREAM_IO);
	limit_file_size(RLIM_INFINITY);
	CHECK(memcmp(&before, &log->tail, sizeof(before)) == 0);
	CHECK(count_segments(log) == 1);
	CHECK(append(log, TERM, 4, 700000, NULL) == STREAM_OK);
	CHECK(count_segments(log) == 2);
	check_readable(log);
	CHECK(reopen(log, log->tail.end, 0, &cut) == STREAM_OK && cut == 0);
	log_free(log);
}

/* What a process that failed, and could not clean up, left behind the tail. */
static void
leftovers_are_overwritten(void)
{
	TestLog    *log = log_new(0);
	StreamTail	before;
	StreamTail	next;
	StreamBuf	out = {0};
	uint64		cut;
	int			fd;

	CHECK(append(log, TERM, 2, 500, NULL) == STREAM_OK);
	before = log->tail;
	next = before;
	seal(log, &next, TERM, 300, &out);
	seal(log, &next, TERM, 300, &out);
	fd = segment_open(log->directory, 0, O_RDWR);
	CHECK(pwrite(fd, out.data, out.len, before.end) == (ssize_t) out.len);
	close(fd);
	log->tail.litter = true;
	/* a frame of the same length: the leftover second one would fit behind it */
	CHECK(append(log, TERM, 1, 300, NULL) == STREAM_OK);
	CHECK(reopen(log, 0, 0, &cut) == STREAM_OK && cut == 0);
	check_readable(log);
	stream_buf_free(&out);
	log_free(log);
}

static void
a_file_that_shrank(void)
{
	TestLog    *log = log_new(0);
	StreamError err;

	CHECK(append(log, TERM, 2, 500, NULL) == STREAM_OK);
	resize_segment(log, 0, 100);
	CHECK(append(log, TERM, 1, 500, &err) == STREAM_IO);
	log_free(log);
}

static void
a_broken_log_takes_nothing(void)
{
	TestLog    *log = log_new(0);
	StreamError err;

	log->tail.broken = true;
	CHECK(append(log, TERM, 1, 100, &err) == STREAM_IO);
	CHECK(err.message[0] != '\0');
	log_free(log);
}

static bool
reopen_with(TestLog *log, StreamPos flushed, const StreamTerms *terms)
{
	uint64		cut;

	return stream_log_open(log->directory, flushed, flushed, 0, 0, terms, NULL, NULL,
						   &log->tail, &cut, NULL) == STREAM_OK;
}

static void
check_terms_as_text(const StreamTerms *t)
{
	static const char *const bad[] = {"x", "1", "1:", "1:2 ", "1:2x", "1:2 1:3", "2:3 3:3", "2:3  3:4", "-", ":1"};
	char		text[STREAM_TERMS_TEXT_LEN];
	StreamTerms back;

	stream_terms_print(t, text);
	CHECK(stream_terms_parse(text, &back) && back.n == t->n &&
		  memcmp(back.part, t->part, sizeof(t->part[0]) * t->n) == 0);
	CHECK(stream_terms_parse("", &back) && back.n == 0);
	for (int i = 0; i < lengthof(bad); i++)
		CHECK(!stream_terms_parse(bad[i], &back) && back.n == 0);
}

/* What was noted of a log that is gone, or of another one, is never believed. */
static void
terms_of_places(void)
{
	TestLog    *log = log_new(0);
	StreamTerms known;
	StreamPos	second;
	StreamPos	third;

	CHECK(append(log, TERM, 2, 100, NULL) == STREAM_OK);
	second = log->tail.end;
	CHECK(append(log, TERM + 3, 2, 100, NULL) == STREAM_OK);
	third = log->tail.end;
	known = log->tail.terms;
	CHECK(append(log, TERM + 5, 1, 100, NULL) == STREAM_OK);
	check_terms_as_text(&log->tail.terms);
	CHECK(stream_terms_at(&log->tail.terms, 0) == 0);
	CHECK(stream_terms_at(&log->tail.terms, 1) == TERM);
	CHECK(stream_terms_at(&log->tail.terms, second) == TERM);
	CHECK(stream_terms_at(&log->tail.terms, second + 1) == TERM + 3);
	CHECK(stream_terms_at(&log->tail.terms, third) == TERM + 3);
	CHECK(stream_terms_at(&log->tail.terms, log->tail.end) == TERM + 5);

	/* noted up to `third`; what begins there is found again */
	CHECK(reopen_with(log, third, &known));
	CHECK(log->tail.terms.n == 3 && stream_terms_at(&log->tail.terms, 1) == TERM);
	/* one that begins behind the place up to which it was noted does not count */
	known = log->tail.terms;
	known.part[2].term = TERM + 4;
	CHECK(reopen_with(log, third, &known));
	CHECK(log->tail.terms.n == 3 && log->tail.last_term == TERM + 5 &&
		  stream_terms_at(&log->tail.terms, log->tail.end) == TERM + 5);
	/* of another log: a term is missing, or one is too much */
	known.n = 1;
	known.part[0].term = TERM + 1;
	CHECK(reopen_with(log, third, &known));
	for (StreamPos pos = 1; pos <= second; pos++)
		CHECK(stream_terms_at(&log->tail.terms, pos) != TERM + 1);
	known.n = 3;
	known.part[1].term = TERM + 1;
	known.part[2].term = TERM + 9;
	known.part[2].start = second + 1;
	CHECK(reopen_with(log, log->tail.end, &known));
	CHECK(stream_terms_at(&log->tail.terms, second) != TERM + 1);

	/* a cut */
	known = log->tail.terms;
	CHECK(reopen_with(log, 0, NULL) && log->tail.terms.n == 3);
	CHECK(stream_truncate(&log->writer, &log->tail, second, log->frames[1].start, TERM, NULL) == STREAM_OK);
	CHECK(log->tail.terms.n == 1 && stream_terms_at(&log->tail.terms, second) == TERM);
	log->n = 2;
	CHECK(append(log, TERM + 4, 1, 100, NULL) == STREAM_OK);
	CHECK(stream_terms_at(&log->tail.terms, second + 1) == TERM + 4);
	log_free(log);
}

static void
more_terms_than_are_kept(void)
{
	TestLog    *log = log_new(0);
	StreamPos	ends[STREAM_TERMS_MAX + 5];

	for (int i = 0; i < lengthof(ends); i++)
	{
		CHECK(append(log, TERM + i, 1, 64, NULL) == STREAM_OK);
		ends[i] = log->tail.end;
	}
	for (int i = 0; i < lengthof(ends); i++)
		CHECK(stream_terms_at(&log->tail.terms, ends[i]) == (i < 5 ? 0 : TERM + i));
	check_terms_as_text(&log->tail.terms);
	log_free(log);
}

/* Random lengths, restarts, cuts and removals; the log always reads back whole. */
static void
random_walk(void)
{
	TestLog    *log = log_new(0);
	uint64		cut;

	for (int step = 0; step < 1500 && log->n < MAX_FRAMES - 20; step++)
	{
		int			what = unit_random() % 100;

		if (what < 80)
			CHECK(append(log, TERM, 1 + unit_random() % 4,
						 1 + unit_random() % (unit_random() % 8 == 0 ? 900000 : 2000), NULL) == STREAM_OK);
		else if (what < 85)
			CHECK(reopen(log, log->tail.end, log->tail.end / 2, &cut) == STREAM_OK && cut == 0);
		else if (what < 90 && log->n > 3)
		{
			FrameHeader *f = &log->frames[log->n - 2 - unit_random() % 2];

			if (f->start < log->tail.start)
				continue;
			log->n = (int) (f - log->frames) + 1;
			CHECK(stream_truncate(&log->writer, &log->tail, frame_end(f), f->start, f->term, NULL) == STREAM_OK);
		}
		else if (what == 90)
			CHECK(stream_remove_before(log->directory, &log->tail, log->tail.end / 2, NULL) == STREAM_OK);
		else
			flush(log);
	}
	check_readable(log);
	log_free(log);
}

int
main(void)
{
	unit_seed(31);
	TEST(append_and_read);
	TEST(create_refuses_an_old_log);
	TEST(append_takes_only_what_continues);
	TEST(segments_roll_over);
	TEST(the_file_grows_in_steps);
	TEST(no_room_for_zeros);
	TEST(nothing_is_left_behind_a_cut);
	TEST(a_batch_longer_than_a_segment);
	TEST(remove_old_segments);
	TEST(find_frames);
	TEST(truncate_and_go_on);
	TEST(truncate_to_a_segment_border);
	TEST(restart_checks_from_where_it_is_told);
	TEST(an_empty_log_restarts);
	TEST(torn_tail_at_every_length);
	TEST(damage_in_the_middle);
	TEST(damage_behind_the_flushed_place);
	TEST(a_frame_of_another_history);
	TEST(a_missing_segment);
	TEST(a_missing_last_segment);
	TEST(a_shortened_old_segment);
	TEST(foreign_files);
	TEST(full_disk);
	TEST(full_disk_in_a_new_segment);
	TEST(leftovers_are_overwritten);
	TEST(a_file_that_shrank);
	TEST(a_broken_log_takes_nothing);
	TEST(terms_of_places);
	TEST(more_terms_than_are_kept);
	TEST(random_walk);
	return unit_done();
}
