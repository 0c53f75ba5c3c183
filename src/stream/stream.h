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

extern void stream_buf_free(StreamBuf *buf);
/* Slow path of the appenders: make room for `more` bytes; false (and failed) if it cannot. */
extern bool stream_buf_grow(StreamBuf *buf, size_t more);
extern void stream_buf_string(StreamBuf *buf, const char *s);	/* u16 length + bytes */

/* Empty, keeps the memory. */
static inline void
stream_buf_reset(StreamBuf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

/* Where the next `len` bytes go (the caller fills all of them), or NULL if there is no memory. */
static inline char *
stream_buf_extend(StreamBuf *buf, size_t len)
{
	char	   *p;

	if (buf->failed || (buf->cap - buf->len < len && !stream_buf_grow(buf, len)))
		return NULL;
	p = buf->data + buf->len;
	buf->len += len;
	return p;
}

static inline void
stream_buf_append(StreamBuf *buf, const void *data, size_t len)
{
	char	   *p = stream_buf_extend(buf, len);

	if (p != NULL && len > 0)
		memcpy(p, data, len);
}

/*
 * Little-endian integers at any address.  Shifts, because compilers make one
 * move of them where that is right.
 */
static inline void
stream_store_u16(char *p, uint16 v)
{
	unsigned char *u = (unsigned char *) p;

	u[0] = (unsigned char) v;
	u[1] = (unsigned char) (v >> 8);
}

static inline void
stream_store_u32(char *p, uint32 v)
{
	unsigned char *u = (unsigned char *) p;

	u[0] = (unsigned char) v;
	u[1] = (unsigned char) (v >> 8);
	u[2] = (unsigned char) (v >> 16);
	u[3] = (unsigned char) (v >> 24);
}

static inline void
stream_store_u64(char *p, uint64 v)
{
	stream_store_u32(p, (uint32) v);
	stream_store_u32(p + 4, (uint32) (v >> 32));
}

static inline uint16
stream_load_u16(const char *p)
{
	const unsigned char *u = (const unsigned char *) p;

	return (uint16) (u[0] | u[1] << 8);
}

static inline uint32
stream_load_u32(const char *p)
{
	const unsigned char *u = (const unsigned char *) p;

	return (uint32) u[0] | (uint32) u[1] << 8 | (uint32) u[2] << 16 | (uint32) u[3] << 24;
}

static inline uint64
stream_load_u64(const char *p)
{
	return (uint64) stream_load_u32(p) | (uint64) stream_load_u32(p + 4) << 32;
}

static inline void
stream_buf_u8(StreamBuf *buf, uint8 v)
{
	char	   *p = stream_buf_extend(buf, 1);

	if (p != NULL)
		*p = (char) v;
}

static inline void
stream_buf_u16(StreamBuf *buf, uint16 v)
{
	char	   *p = stream_buf_extend(buf, 2);

	if (p != NULL)
		stream_store_u16(p, v);
}

static inline void
stream_buf_u32(StreamBuf *buf, uint32 v)
{
	char	   *p = stream_buf_extend(buf, 4);

	if (p != NULL)
		stream_store_u32(p, v);
}

static inline void
stream_buf_u64(StreamBuf *buf, uint64 v)
{
	char	   *p = stream_buf_extend(buf, 8);

	if (p != NULL)
		stream_store_u64(p, v);
}

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

/* Copies a string into out (always terminated); one that is too long, or holds a
 * zero byte, is a failure. */
extern void stream_get_string(StreamCursor *c, char *out, size_t outsize);

/* The next len bytes, or NULL (and failed) if there are not so many. */
static inline const char *
stream_get_bytes(StreamCursor *c, size_t len)
{
	const char *p = c->p;

	if (c->failed || (size_t) (c->end - p) < len)
	{
		c->failed = true;
		return NULL;
	}
	c->p += len;
	return p;
}

static inline uint8
stream_get_u8(StreamCursor *c)
{
	const char *p = stream_get_bytes(c, 1);

	return p != NULL ? (uint8) *p : 0;
}

static inline uint16
stream_get_u16(StreamCursor *c)
{
	const char *p = stream_get_bytes(c, 2);

	return p != NULL ? stream_load_u16(p) : 0;
}

static inline uint32
stream_get_u32(StreamCursor *c)
{
	const char *p = stream_get_bytes(c, 4);

	return p != NULL ? stream_load_u32(p) : 0;
}

static inline uint64
stream_get_u64(StreamCursor *c)
{
	const char *p = stream_get_bytes(c, 8);

	return p != NULL ? stream_load_u64(p) : 0;
}

#endif							/* BATON_STREAM_H */
