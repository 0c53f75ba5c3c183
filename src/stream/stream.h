/*
 * stream.h - the replication stream: what all of stream/ shares.
 *
 * The stream is one ordered log of records, the same bytes on every node of a
 * group.  A place in it is a byte position (StreamPos), printed like an LSN.
 * Records travel in frames (frame.h), frames lie in segment files (segment.h).
 *
 * Nothing here needs a running server: the same sources are built into the
 * extension and into the unit tests.  So nothing here raises errors; a function
 * that can fail returns a StreamCode and fills a StreamError.
 */
#ifndef BATON_STREAM_H
#define BATON_STREAM_H

#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

/* Bytes of the stream before this place, as stored (header and payload). */
typedef uint64 StreamPos;

#define STREAM_POS_FORMAT "%X/%X"
#define STREAM_POS_ARGS(pos) (uint32) ((pos) >> 32), (uint32) (pos)

typedef enum StreamCode
{
	STREAM_OK = 0,
	STREAM_END,					/* nothing more here (yet) */
	STREAM_TORN,				/* an incomplete or damaged frame at the end of the log */
	STREAM_CORRUPT,				/* damage in the middle of the log: nothing may be cut */
	STREAM_MISMATCH,			/* the frame does not continue this log */
	STREAM_GONE,				/* the position is older than what is kept */
	STREAM_IO,					/* a system call failed; err.sys_errno says why */
	STREAM_NOMEM
} StreamCode;

typedef struct StreamError
{
	StreamCode	code;
	StreamPos	pos;			/* where in the stream, 0 if that means nothing */
	int			sys_errno;		/* errno of the failed call, 0 if none failed */
	char		message[256];	/* one line, no trailing newline, untranslated */
} StreamError;

/*
 * Fill err and return code.  err may be NULL.
 */
extern StreamCode stream_fail(StreamError *err, StreamCode code, StreamPos pos,
							  int sys_errno, const char *fmt,...) pg_attribute_printf(5, 6);

/*
 * A byte buffer that grows, on malloc so that it works without a server.
 * Zeroed memory is an empty buffer.  Appending to a buffer that could not grow
 * is ignored and leaves `failed` set; check it once, when the work is done.
 */
typedef struct StreamBuf
{
	char	   *data;
	size_t		len;
	size_t		cap;
	bool		failed;
} StreamBuf;

extern void stream_buf_reset(StreamBuf *buf);	/* empty, keeps the memory */
extern void stream_buf_free(StreamBuf *buf);
extern void stream_buf_append(StreamBuf *buf, const void *data, size_t len);
extern void stream_buf_u8(StreamBuf *buf, uint8 v);
extern void stream_buf_u16(StreamBuf *buf, uint16 v);
extern void stream_buf_u32(StreamBuf *buf, uint32 v);
extern void stream_buf_u64(StreamBuf *buf, uint64 v);
extern void stream_buf_string(StreamBuf *buf, const char *s);	/* u16 length + bytes */

/*
 * A cursor over bytes that may be damaged.  Reading beyond the end gives zeros
 * and sets `failed`; check it once, when the work is done.
 */
typedef struct StreamCursor
{
	const char *p;
	const char *end;
	bool		failed;
} StreamCursor;

extern uint8 stream_get_u8(StreamCursor *c);
extern uint16 stream_get_u16(StreamCursor *c);
extern uint32 stream_get_u32(StreamCursor *c);
extern uint64 stream_get_u64(StreamCursor *c);
extern const char *stream_get_bytes(StreamCursor *c, size_t len);
/* Copies a string into out (always terminated); too long a string is a failure. */
extern void stream_get_string(StreamCursor *c, char *out, size_t outsize);

#endif							/* BATON_STREAM_H */
