/*
 * test_frame.c - frames: sealed and opened, and no damage goes unseen.
 */
#include "stream/frame.h"
#include "unit.h"

#define TERM UINT64CONST(0x10001)

static FrameHeader
header(StreamPos start, uint32 n_commits)
{
	FrameHeader h = {0};

	h.term = TERM;
	h.start = start;
	h.prev_start = start > 100 ? start - 100 : 0;
	h.prev_term = start > 100 ? TERM : 0;
	h.source_lsn = 0x5000;
	h.n_commits = n_commits;
	return h;
}

/* Field by field, for padding compares as it likes. */
static bool
same_header(const FrameHeader *a, const FrameHeader *b)
{
	return a->flags == b->flags && a->term == b->term && a->start == b->start &&
		a->prev_start == b->prev_start && a->prev_term == b->prev_term &&
		a->source_lsn == b->source_lsn && a->raw_len == b->raw_len &&
		a->stored_len == b->stored_len && a->n_commits == b->n_commits && a->crc == b->crc;
}

/* All that a reader does with bytes that may be a frame. */
static StreamCode
check_frame(FrameCodec *codec, const char *bytes, size_t len, StreamPos start,
			StreamBuf *scratch, const char **records, FrameHeader *h)
{
	StreamError err;
	StreamCode	code = frame_parse_header(bytes, len, start, h, &err);

	if (code == STREAM_OK && FRAME_HEADER_LEN + (size_t) h->stored_len > len)
		code = STREAM_TORN;
	if (code == STREAM_OK)
		code = frame_check_crc(bytes, h, &err);
	if (code == STREAM_OK)
		code = frame_open(codec, bytes, h, scratch, records, &err);
	return code;
}

static void
fill_random(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (char) unit_random();
}

static void
fill_text(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = "the quick brown fox "[(i + i / 97) % 20];
}

static void
round_trip(FrameCodec *codec, const char *records, uint32 len, int level, bool compressed)
{
	StreamBuf	out = {0};
	StreamBuf	scratch = {0};
	FrameHeader h = header(1000, 3);
	FrameHeader back;
	const char *opened;

	stream_buf_append(&out, "before", 6);
	CHECK(frame_seal(codec, &h, records, len, level, &out, NULL) == STREAM_OK);
	CHECK(out.len == 6 + FRAME_HEADER_LEN + h.stored_len);
	CHECK(frame_end(&h) == 1000 + out.len - 6);
	CHECK(((h.flags & FRAME_COMPRESSED) != 0) == compressed);
	CHECK(check_frame(codec, out.data + 6, out.len - 6, 1000, &scratch, &opened, &back) == STREAM_OK);
	CHECK(same_header(&h, &back));
	CHECK(back.raw_len == len && memcmp(opened, records, len) == 0);
	stream_buf_free(&out);
	stream_buf_free(&scratch);
}

static void
round_trips(void)
{
	static const uint32 lengths[] = {1, 2, 2047, 2048, 2049, 8192, 65536, 1000003, FRAME_MAX_RAW};
	char	   *records = malloc(FRAME_MAX_RAW);
	FrameCodec	codec = {0};

	unit_seed(1);
	for (int i = 0; i < (int) lengthof(lengths); i++)
	{
		uint32		len = lengths[i];

		fill_text(records, len);
		for (int level = 0; level <= 9; level += 3)
			round_trip(&codec, records, len, level, level > 0 && len >= 2048);
		fill_random(records, len);
		round_trip(&codec, records, len, 1, false);
		round_trip(&codec, records, len, 6, false);
	}
	frame_codec_free(&codec);
	free(records);
}

static void
same_bytes_from_a_reused_codec(void)
{
	char		records[4096];
	FrameCodec	codec = {0};
	StreamBuf	first = {0};
	StreamBuf	second = {0};
	FrameHeader h = header(0, 1);

	fill_text(records, sizeof(records));
	CHECK(frame_seal(&codec, &h, records, sizeof(records), 1, &first, NULL) == STREAM_OK);
	h = header(5000, 1);
	CHECK(frame_seal(&codec, &h, records, 900, 1, &second, NULL) == STREAM_OK);
	stream_buf_reset(&second);
	h = header(0, 1);
	CHECK(frame_seal(&codec, &h, records, sizeof(records), 1, &second, NULL) == STREAM_OK);
	CHECK(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);

	/* put in its place it may get one flag more */
	h.flags |= FRAME_AHEAD;
	frame_place(second.data, &h);
	CHECK(frame_parse_header(second.data, second.len, 0, &h, NULL) == STREAM_OK &&
		  frame_check_crc(second.data, &h, NULL) == STREAM_OK &&
		  h.flags == (FRAME_COMPRESSED | FRAME_AHEAD));
	stream_store_u16(second.data + 6, 0x0004);
	CHECK(frame_parse_header(second.data, second.len, 0, &h, NULL) == STREAM_TORN);
	stream_buf_free(&first);
	stream_buf_free(&second);
	frame_codec_free(&codec);
}

static void
what_cannot_be_sealed(void)
{
	char		records[600] = {0};
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	FrameHeader h = header(0, 0);
	StreamError err;

	CHECK(frame_seal(&codec, &h, records, 0, 1, &out, &err) == STREAM_MISMATCH);
	CHECK(frame_seal(&codec, &h, records, FRAME_MAX_RAW + 1, 1, &out, &err) == STREAM_MISMATCH);
	h = header(0, FRAME_HEADER_LEN + 10);
	CHECK(frame_seal(&codec, &h, records, 10, 1, &out, &err) == STREAM_MISMATCH);
	h = header(0, 0);
	h.term = 0;
	CHECK(frame_seal(&codec, &h, records, 10, 1, &out, &err) == STREAM_MISMATCH);
	CHECK(out.len == 0);
	stream_buf_free(&out);
}

/* Every COMMIT needs a position inside the frame of its own. */
static void
commits_keep_a_frame_long(void)
{
	uint32		len = 500000;
	uint32		n_commits = len / 47;
	char	   *records = calloc(1, len);
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	FrameHeader h = header(0, 1);

	CHECK(frame_seal(&codec, &h, records, len, 9, &out, NULL) == STREAM_OK);
	CHECK((h.flags & FRAME_COMPRESSED) && FRAME_HEADER_LEN + h.stored_len < n_commits);
	stream_buf_reset(&out);
	h = header(0, n_commits);
	CHECK(frame_seal(&codec, &h, records, len, 9, &out, NULL) == STREAM_OK);
	CHECK(!(h.flags & FRAME_COMPRESSED) && h.stored_len == len);
	CHECK(h.n_commits < FRAME_HEADER_LEN + h.stored_len);

	/* nor does a reader take such a header */
	stream_store_u32(out.data + 56, FRAME_HEADER_LEN + len);
	CHECK(frame_parse_header(out.data, out.len, 0, &h, NULL) == STREAM_TORN);
	stream_buf_free(&out);
	frame_codec_free(&codec);
	free(records);
}

static void
wrong_place(void)
{
	char		records[64] = {0};
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	FrameHeader h = header(1000, 0);
	StreamError err;

	CHECK(frame_seal(&codec, &h, records, sizeof(records), 0, &out, NULL) == STREAM_OK);
	CHECK(frame_parse_header(out.data, out.len, 1001, &h, &err) == STREAM_TORN);
	CHECK(err.pos == 1001 && err.message[0] != '\0');
	CHECK(frame_parse_header(out.data, out.len, 1000, &h, &err) == STREAM_OK);
	for (size_t len = 0; len < FRAME_HEADER_LEN; len++)
		CHECK(frame_parse_header(out.data, len, 1000, &h, NULL) == STREAM_TORN);
	stream_buf_free(&out);
}

/* Flip single bits: all of the header's, and `step` apart in the payload. */
static void
flip_bits(int level, size_t step)
{
	char		records[5000];
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	StreamBuf	scratch = {0};
	FrameHeader h = header(1000, 2);
	const char *opened;
	int			unseen = 0;
	size_t		header_bits = FRAME_HEADER_LEN * 8;

	fill_text(records, sizeof(records));
	CHECK(frame_seal(&codec, &h, records, sizeof(records), level, &out, NULL) == STREAM_OK);
	for (size_t bit = 0; bit < out.len * 8; bit += bit < header_bits ? 1 : step)
	{
		out.data[bit / 8] ^= 1 << bit % 8;
		if (check_frame(&codec, out.data, out.len, 1000, &scratch, &opened, &h) == STREAM_OK)
			unseen++;
		out.data[bit / 8] ^= 1 << bit % 8;
	}
	CHECK(unseen == 0);
	CHECK(check_frame(&codec, out.data, out.len, 1000, &scratch, &opened, &h) == STREAM_OK);
	stream_buf_free(&out);
	stream_buf_free(&scratch);
	frame_codec_free(&codec);
}

static void
every_flipped_bit_is_seen(void)
{
	flip_bits(0, 7);
	flip_bits(6, 1);
}

static void
every_truncation_is_seen(void)
{
	char		records[2000];
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	StreamBuf	scratch = {0};
	FrameHeader h = header(1000, 2);
	const char *opened;

	fill_text(records, sizeof(records));
	CHECK(frame_seal(&codec, &h, records, sizeof(records), 6, &out, NULL) == STREAM_OK);
	for (size_t len = 0; len < out.len; len++)
		CHECK(check_frame(&codec, out.data, len, 1000, &scratch, &opened, &h) == STREAM_TORN);
	stream_buf_free(&out);
	stream_buf_free(&scratch);
	frame_codec_free(&codec);
}

/* Damage that the CRC does not see (it was made with it): deflate must not run over. */
static void
mutated_deflate_streams(void)
{
	char		records[3000];
	FrameCodec	codec = {0};
	StreamBuf	out = {0};
	StreamBuf	scratch = {0};
	FrameHeader h = header(0, 0);
	FrameHeader sealed;
	const char *opened;

	unit_seed(4711);
	fill_text(records, sizeof(records));
	CHECK(frame_seal(&codec, &h, records, sizeof(records), 6, &out, NULL) == STREAM_OK);
	sealed = h;
	for (int round = 0; round < 20000; round++)
	{
		size_t		at = FRAME_HEADER_LEN + unit_random() % h.stored_len;
		char		old = out.data[at];
		StreamCode	code;

		out.data[at] = (char) unit_random();
		h.raw_len = round % 3 == 0 ? 1 + unit_random() % 6000 : sealed.raw_len;
		code = frame_open(&codec, out.data, &h, &scratch, &opened, NULL);
		if (code != STREAM_OK && code != STREAM_CORRUPT)
			CHECK(false);
		out.data[at] = old;
	}
	CHECK(frame_open(&codec, out.data, &sealed, &scratch, &opened, NULL) == STREAM_OK);
	CHECK(memcmp(opened, records, sizeof(records)) == 0);
	stream_buf_free(&out);
	stream_buf_free(&scratch);
	frame_codec_free(&codec);
}

static void
random_garbage(void)
{
	FrameCodec	codec = {0};
	StreamBuf	scratch = {0};
	FrameHeader h;
	const char *opened;

	unit_seed(99);
	for (int round = 0; round < 100000; round++)
	{
		size_t		len = unit_random() % 200;
		char	   *bytes = malloc(len > 0 ? len : 1);

		fill_random(bytes, len);
		if (round % 2 == 0 && len >= FRAME_HEADER_LEN)
		{
			stream_store_u32(bytes, FRAME_MAGIC);
			stream_store_u16(bytes + 4, FRAME_VERSION);
			stream_store_u16(bytes + 6, round % 4 == 0 ? FRAME_COMPRESSED : 0);
			stream_store_u64(bytes + 16, 0);
			stream_store_u32(bytes + 48, unit_random() % 300);
			stream_store_u32(bytes + 52, unit_random() % 300);
			stream_store_u32(bytes + 56, 0);
		}
		if (check_frame(&codec, bytes, len, 0, &scratch, &opened, &h) == STREAM_OK)
			CHECK(false);
		free(bytes);
	}
	CHECK(true);
	stream_buf_free(&scratch);
	frame_codec_free(&codec);
}

int
main(void)
{
	TEST(round_trips);
	TEST(same_bytes_from_a_reused_codec);
	TEST(what_cannot_be_sealed);
	TEST(commits_keep_a_frame_long);
	TEST(wrong_place);
	TEST(every_flipped_bit_is_seen);
	TEST(every_truncation_is_seen);
	TEST(mutated_deflate_streams);
	TEST(random_garbage);
	return unit_done();
}
