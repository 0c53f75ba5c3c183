/*
 * stream.c - errors, byte buffers and cursors for all of stream/ and control/.
 */
#include "stream/stream.h"

#include <stdarg.h>

#define STREAM_BUF_FIRST 256

StreamCode
stream_fail(StreamError *err, StreamCode code, StreamPos pos, int sys_errno,
			const char *fmt,...)
{
	va_list		args;

	if (err != NULL)
	{
		err->code = code;
		err->pos = pos;
		err->sys_errno = sys_errno;
		va_start(args, fmt);
		vsnprintf(err->message, sizeof(err->message), fmt, args);
		va_end(args);
	}
	return code;
}

void
stream_buf_free(StreamBuf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof(*buf));
}

bool
stream_buf_grow(StreamBuf *buf, size_t more)
{
	size_t		need = buf->len + more;
	size_t		cap = buf->cap > 0 ? buf->cap : STREAM_BUF_FIRST;
	char	   *data = NULL;

	if (need >= buf->len && need <= SIZE_MAX / 2)
	{
		while (cap < need)
			cap *= 2;
		data = realloc(buf->data, cap);
	}
	if (data == NULL)
	{
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->cap = cap;
	return true;
}

void
stream_buf_string(StreamBuf *buf, const char *s)
{
	size_t		len = strlen(s);

	if (len > PG_UINT16_MAX)
	{
		buf->failed = true;
		return;
	}
	stream_buf_u16(buf, (uint16) len);
	stream_buf_append(buf, s, len);
}

void
stream_get_string(StreamCursor *c, char *out, size_t outsize)
{
	size_t		len = stream_get_u16(c);
	const char *bytes = stream_get_bytes(c, len);

	if (bytes == NULL || len >= outsize || memchr(bytes, '\0', len) != NULL)
	{
		c->failed = true;
		out[0] = '\0';
		return;
	}
	memcpy(out, bytes, len);
	out[len] = '\0';
}
