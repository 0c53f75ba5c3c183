/*
 * frame.c - sealing records into frames, checking and opening frames.
 *
 * A frame is compressed once, by the primary, and travels and lies on every
 * disk in that form.  Deflate without zlib's own header and checksum: the
 * frame's CRC covers the payload already.
 */
#include "stream/frame.h"

#include <zlib.h>

#include "port/pg_crc32c.h"

/* Below this deflate costs more than it saves. */
#define COMPRESS_MIN_LEN	2048

/* Negative: raw deflate, with the largest window. */
#define WINDOW_BITS			(-MAX_WBITS)
#define MEM_LEVEL			8

#define OFF_CRC				60

static pg_crc32c
frame_crc(const char *frame, uint32 stored_len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, frame, OFF_CRC);
	COMP_CRC32C(crc, frame + FRAME_HEADER_LEN, stored_len);
	FIN_CRC32C(crc);
	return crc;
}

static void
put_header(char *p, const FrameHeader *h)
{
	stream_store_u32(p, FRAME_MAGIC);
	stream_store_u16(p + 4, FRAME_VERSION);
	stream_store_u16(p + 6, h->flags);
	stream_store_u64(p + 8, h->term);
	stream_store_u64(p + 16, h->start);
	stream_store_u64(p + 24, h->prev_start);
	stream_store_u64(p + 32, h->prev_term);
	stream_store_u64(p + 40, h->source_lsn);
	stream_store_u32(p + 48, h->raw_len);
	stream_store_u32(p + 52, h->stored_len);
	stream_store_u32(p + 56, h->n_commits);
	stream_store_u32(p + OFF_CRC, h->crc);
}

static void
get_header(const char *p, FrameHeader *h)
{
	h->flags = stream_load_u16(p + 6);
	h->term = stream_load_u64(p + 8);
	h->start = stream_load_u64(p + 16);
	h->prev_start = stream_load_u64(p + 24);
	h->prev_term = stream_load_u64(p + 32);
	h->source_lsn = stream_load_u64(p + 40);
	h->raw_len = stream_load_u32(p + 48);
	h->stored_len = stream_load_u32(p + 52);
	h->n_commits = stream_load_u32(p + 56);
	h->crc = stream_load_u32(p + OFF_CRC);
}

/* The deflate state of a codec, made at first use or when the level changes. */
static z_stream *
get_deflate(FrameCodec *codec, int level)
{
	z_stream   *z = codec->deflate;

	if (z != NULL && codec->deflate_level == level)
		return deflateReset(z) == Z_OK ? z : NULL;
	if (z != NULL)
	{
		deflateEnd(z);
		free(z);
		codec->deflate = NULL;
	}
	z = calloc(1, sizeof(z_stream));
	if (z == NULL)
		return NULL;
	if (deflateInit2(z, level, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
	{
		free(z);
		return NULL;
	}
	codec->deflate = z;
	codec->deflate_level = level;
	return z;
}

static z_stream *
get_inflate(FrameCodec *codec)
{
	z_stream   *z = codec->inflate;

	if (z != NULL)
		return inflateReset(z) == Z_OK ? z : NULL;
	z = calloc(1, sizeof(z_stream));
	if (z == NULL)
		return NULL;
	if (inflateInit2(z, WINDOW_BITS) != Z_OK)
	{
		free(z);
		return NULL;
	}
	codec->inflate = z;
	return z;
}

void
frame_codec_free(FrameCodec *codec)
{
	if (codec->deflate != NULL)
	{
		deflateEnd((z_stream *) codec->deflate);
		free(codec->deflate);
	}
	if (codec->inflate != NULL)
	{
		inflateEnd((z_stream *) codec->inflate);
		free(codec->inflate);
	}
	memset(codec, 0, sizeof(*codec));
}

/*
 * Deflate into out, which has room for raw_len bytes.  Returns the compressed
 * length, or 0 if it is not worth it: then the caller stores the records raw.
 * Running out of memory is no reason to fail either.
 */
static uint32
compress_records(FrameCodec *codec, const char *records, uint32 raw_len, int level,
				 uint32 n_commits, char *out)
{
	z_stream   *z;
	uint32		limit = raw_len - raw_len / 8;
	uint32		stored;

	if (level <= 0 || raw_len < COMPRESS_MIN_LEN)
		return 0;
	z = get_deflate(codec, level);
	if (z == NULL)
		return 0;
	z->next_in = (Bytef *) records;
	z->avail_in = raw_len;
	z->next_out = (Bytef *) out;
	z->avail_out = limit;
	if (deflate(z, Z_FINISH) != Z_STREAM_END)
		return 0;
	stored = limit - z->avail_out;

	/* each COMMIT needs a byte of its own to be a position */
	if (n_commits >= FRAME_HEADER_LEN + stored)
		return 0;
	return stored;
}

StreamCode
frame_seal(FrameCodec *codec, FrameHeader *h, const char *records, uint32 raw_len,
		   int level, StreamBuf *out, StreamError *err)
{
	char	   *frame;

	if (raw_len == 0 || raw_len > FRAME_MAX_RAW)
		return stream_fail(err, STREAM_MISMATCH, h->start, 0,
						   "a frame cannot hold %u bytes of records", raw_len);
	if (h->term == 0 || h->n_commits >= FRAME_HEADER_LEN + raw_len)
		return stream_fail(err, STREAM_MISMATCH, h->start, 0,
						   "a frame cannot have %u commits in %u bytes", h->n_commits, raw_len);

	frame = stream_buf_extend(out, FRAME_HEADER_LEN + (size_t) raw_len);
	if (frame == NULL)
		return stream_fail(err, STREAM_NOMEM, h->start, 0, "out of memory");

	h->raw_len = raw_len;
	h->stored_len = compress_records(codec, records, raw_len, level, h->n_commits,
									 frame + FRAME_HEADER_LEN);
	if (h->stored_len > 0)
		h->flags = FRAME_COMPRESSED;
	else
	{
		h->flags = 0;
		h->stored_len = raw_len;
		memcpy(frame + FRAME_HEADER_LEN, records, raw_len);
	}
	out->len -= raw_len - h->stored_len;
	frame_place(frame, h);
	return STREAM_OK;
}

void
frame_place(char *frame, FrameHeader *h)
{
	h->crc = 0;
	put_header(frame, h);
	h->crc = frame_crc(frame, h->stored_len);
	stream_store_u32(frame + OFF_CRC, h->crc);
}

/* Why the lengths and counts of a header cannot be, or NULL. */
static const char *
header_fault(const FrameHeader *h)
{
	if (h->flags & ~(FRAME_COMPRESSED | FRAME_AHEAD))
		return "unknown flags";
	if (h->term == 0)
		return "no term";
	if (h->raw_len == 0 || h->raw_len > FRAME_MAX_RAW)
		return "bad length of records";
	if (h->flags & FRAME_COMPRESSED)
	{
		if (h->stored_len == 0 || h->stored_len >= h->raw_len)
			return "bad length of payload";
	}
	else if (h->stored_len != h->raw_len)
		return "bad length of payload";
	if (h->n_commits >= FRAME_HEADER_LEN + h->stored_len)
		return "too many commits";
	if (h->start + FRAME_HEADER_LEN + h->stored_len < h->start)
		return "position out of range";
	return NULL;
}

StreamCode
frame_parse_header(const char *bytes, size_t len, StreamPos expected_start,
				   FrameHeader *h, StreamError *err)
{
	const char *fault;

	memset(h, 0, sizeof(*h));
	if (len < FRAME_HEADER_LEN)
		return stream_fail(err, STREAM_TORN, expected_start, 0,
						   "incomplete frame header: %zu bytes", len);
	if (stream_load_u32(bytes) != FRAME_MAGIC)
		return stream_fail(err, STREAM_TORN, expected_start, 0,
						   "bad magic number %08X in frame header", stream_load_u32(bytes));
	if (stream_load_u16(bytes + 4) != FRAME_VERSION)
		return stream_fail(err, STREAM_TORN, expected_start, 0,
						   "unknown frame version %u", stream_load_u16(bytes + 4));
	get_header(bytes, h);
	if (h->start != expected_start)
		return stream_fail(err, STREAM_TORN, expected_start, 0,
						   "frame header names another position, " STREAM_POS_FORMAT,
						   STREAM_POS_ARGS(h->start));
	fault = header_fault(h);
	if (fault != NULL)
		return stream_fail(err, STREAM_TORN, expected_start, 0,
						   "bad frame header: %s", fault);
	return STREAM_OK;
}

StreamCode
frame_check_crc(const char *frame, const FrameHeader *h, StreamError *err)
{
	pg_crc32c	crc = frame_crc(frame, h->stored_len);

	if (!EQ_CRC32C(crc, h->crc))
		return stream_fail(err, STREAM_TORN, h->start, 0,
						   "checksum of frame does not match: %08X, expected %08X",
						   crc, h->crc);
	return STREAM_OK;
}

StreamCode
frame_open(FrameCodec *codec, const char *frame, const FrameHeader *h,
		   StreamBuf *scratch, const char **records, StreamError *err)
{
	z_stream   *z;
	char	   *out;
	int			rc;

	if (!(h->flags & FRAME_COMPRESSED))
	{
		*records = frame + FRAME_HEADER_LEN;
		return STREAM_OK;
	}

	stream_buf_reset(scratch);
	out = stream_buf_extend(scratch, h->raw_len);
	z = get_inflate(codec);
	if (out == NULL || z == NULL)
		return stream_fail(err, STREAM_NOMEM, h->start, 0, "out of memory");
	z->next_in = (Bytef *) (frame + FRAME_HEADER_LEN);
	z->avail_in = h->stored_len;
	z->next_out = (Bytef *) out;
	z->avail_out = h->raw_len;
	rc = inflate(z, Z_FINISH);
	if (rc == Z_MEM_ERROR)
		return stream_fail(err, STREAM_NOMEM, h->start, 0, "out of memory");
	if (rc != Z_STREAM_END || z->avail_in != 0 || z->avail_out != 0)
		return stream_fail(err, STREAM_CORRUPT, h->start, 0,
						   "payload of frame does not decompress to %u bytes", h->raw_len);
	*records = out;
	return STREAM_OK;
}
