/*
 * frame.h - frames: the unit that is stored, shipped, checksummed, compressed.
 *
 * Layout on disk and on the wire, little-endian, no padding:
 *
 *   offset size field
 *        0    4 magic        FRAME_MAGIC
 *        4    2 version      FRAME_VERSION
 *        6    2 flags        FRAME_COMPRESSED, FRAME_AHEAD
 *        8    8 term         term of the primary that appended the frame
 *       16    8 start        stream position of this frame's first byte
 *       24    8 prev_start   start of the previous frame, 0 for the first
 *       32    8 prev_term    term of the previous frame, 0 for the first
 *       40    8 source_lsn   WAL position of the primary of `term`: all its
 *                            commits that end at or before it lie at or before
 *                            this frame (0: says nothing)
 *       48    4 raw_len      bytes of records
 *       52    4 stored_len   bytes of payload as stored
 *       56    4 n_commits    COMMIT records in the frame
 *       60    4 crc          CRC-32C over bytes 0..59 and the payload
 *       64      payload      records, deflated when FRAME_COMPRESSED is set
 *
 * A frame is valid when magic, version and lengths are in bounds, `start` is
 * where it was read from, and the CRC matches.  It continues a log when
 * prev_start and prev_term name the frame before it, and start is where that
 * one ended.
 *
 * The k-th COMMIT record of a frame (k from 1) has the stream position
 * start + k: every frame has n_commits < FRAME_HEADER_LEN + stored_len, so such
 * positions are unique and rise in commit order.  A frame that would break the
 * rule by compressing too well is stored raw (a COMMIT record is longer than a
 * byte).
 */
#ifndef BATON_FRAME_H
#define BATON_FRAME_H

#include "stream/stream.h"

#define FRAME_MAGIC			0x4E544142	/* "BATN" */
#define FRAME_VERSION		1
#define FRAME_HEADER_LEN	64
#define FRAME_COMPRESSED	0x0001
/* Its primary may have shipped it before it was flushed there; all before it was. */
#define FRAME_AHEAD			0x0002

/* A frame, header included, is never longer than this. */
#define FRAME_MAX_LEN		(1024 * 1024)
/* Records are collected up to this; a single longer record makes an oversized
 * RECORD_PART sequence, see record.h. */
#define FRAME_MAX_RAW		(FRAME_MAX_LEN - FRAME_HEADER_LEN)

typedef struct FrameHeader
{
	uint16		flags;
	uint64		term;
	StreamPos	start;
	StreamPos	prev_start;
	uint64		prev_term;
	uint64		source_lsn;
	uint32		raw_len;
	uint32		stored_len;
	uint32		n_commits;
	uint32		crc;
} FrameHeader;

#define frame_end(h) ((h)->start + FRAME_HEADER_LEN + (h)->stored_len)

/*
 * Compressor/decompressor state, reused from frame to frame; zeroed memory is
 * a fresh one.
 */
typedef struct FrameCodec
{
	void	   *deflate;
	int			deflate_level;
	void	   *inflate;
} FrameCodec;

extern void frame_codec_free(FrameCodec *codec);

/*
 * Seal records into one frame: fill in h (the caller has set term, start,
 * prev_start, prev_term, source_lsn, n_commits) and append header and payload
 * to out.
 *
 * level: zlib level 1..9, or 0 not to compress.  Payloads under 2048 bytes are
 * never compressed: a commit that waits would wait for it, and what is flushed are
 * whole pages anyway.  Nor are those that do not get at least an eighth smaller.
 */
extern StreamCode frame_seal(FrameCodec *codec, FrameHeader *h,
							 const char *records, uint32 raw_len, int level,
							 StreamBuf *out, StreamError *err);

/*
 * Write the header of a sealed frame, whose start, prev_start or prev_term in h
 * have changed, and its CRC.  So the slow part, compression, can be done before
 * the frame's place in the log is known.
 */
extern void frame_place(char *frame, FrameHeader *h);

/*
 * Read and check the fixed-size part.  `expected_start` is where the bytes were
 * read from.  Checks everything but the CRC (which needs the payload) and the
 * chain (which needs the previous frame).
 * Returns STREAM_OK, or STREAM_TORN with the reason.
 */
extern StreamCode frame_parse_header(const char *bytes, size_t len, StreamPos expected_start,
									 FrameHeader *h, StreamError *err);

/* Check the CRC of a whole frame (header bytes followed by payload). */
extern StreamCode frame_check_crc(const char *frame, const FrameHeader *h, StreamError *err);

/*
 * Give the records of a whole frame that has passed the checks: *records points
 * into the frame itself or, if it was compressed, into scratch.
 */
extern StreamCode frame_open(FrameCodec *codec, const char *frame, const FrameHeader *h,
							 StreamBuf *scratch, const char **records, StreamError *err);

#endif							/* BATON_FRAME_H */
