/*
 * segment.c - segment files: names, listing, system calls.
 *
 * Every call that makes, cuts or removes a file ends with the fsyncs that make
 * it durable, one file at a time, so that what a crash leaves is always the
 * state before or after one such step.
 */
#include "stream/segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_NAME_LEN	20
#define REST_CHUNK			(256 * 1024)

void
segment_path(const char *directory, StreamPos segment, char path[SEGMENT_PATH_LEN])
{
	snprintf(path, SEGMENT_PATH_LEN, "%s/%08X%08X.seg", directory, STREAM_POS_ARGS(segment));
}

StreamCode
segment_io_error(StreamError *err, StreamPos pos, const char *what, const char *path)
{
	int			save_errno = errno;

	return stream_fail(err, save_errno == ENOMEM ? STREAM_NOMEM : STREAM_IO, pos, save_errno,
					   "could not %s \"%s\": %s", what, path, strerror(save_errno));
}

/* The position in a segment's name; false for any other file's name. */
static bool
parse_name(const char *name, StreamPos *pos)
{
	uint64		v = 0;

	if (strlen(name) != SEGMENT_NAME_LEN || strcmp(name + 16, ".seg") != 0)
		return false;
	for (int i = 0; i < 16; i++)
	{
		char		c = name[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64) (c - '0');
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (uint64) (c - 'A' + 10);
		else
			return false;
	}
	*pos = v;
	return true;
}

static bool
list_add(SegmentList *list, StreamPos pos)
{
	if (list->count == list->cap)
	{
		int			cap = list->cap > 0 ? list->cap * 2 : 64;
		StreamPos  *p = realloc(list->pos, cap * sizeof(StreamPos));

		if (p == NULL)
			return false;
		list->pos = p;
		list->cap = cap;
	}
	list->pos[list->count++] = pos;
	return true;
}

static int
compare_pos(const void *a, const void *b)
{
	StreamPos	x = *(const StreamPos *) a;
	StreamPos	y = *(const StreamPos *) b;

	return x < y ? -1 : x > y;
}

StreamCode
segment_list(const char *directory, SegmentList *list, StreamError *err)
{
	DIR		   *dir = opendir(directory);
	struct dirent *entry;
	StreamPos	pos;

	list->count = 0;
	if (dir == NULL)
		return errno == ENOENT ? STREAM_OK : segment_io_error(err, 0, "open directory", directory);
	while (errno = 0, (entry = readdir(dir)) != NULL)
	{
		if (parse_name(entry->d_name, &pos) && !list_add(list, pos))
		{
			closedir(dir);
			return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
		}
	}
	if (errno != 0)
	{
		StreamCode	code = segment_io_error(err, 0, "read directory", directory);

		closedir(dir);
		return code;
	}
	closedir(dir);
	if (list->count > 1)
		qsort(list->pos, list->count, sizeof(StreamPos), compare_pos);
	return STREAM_OK;
}

void
segment_list_free(SegmentList *list)
{
	free(list->pos);
	memset(list, 0, sizeof(*list));
}

int
segment_list_find(const SegmentList *list, StreamPos pos)
{
	int			i = list->count - 1;

	/* what is looked for is nearly always near the end */
	while (i >= 0 && list->pos[i] > pos)
		i--;
	return i;
}

int
segment_open(const char *directory, StreamPos segment, int flags)
{
	char		path[SEGMENT_PATH_LEN];
	int			fd;

	segment_path(directory, segment, path);
	do
		fd = open(path, flags | O_CLOEXEC, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int
sync_fd(int fd)
{
	int			rc;

	do
		rc = fsync(fd);
	while (rc < 0 && errno == EINTR);
	return rc;
}

StreamCode
segment_sync_directory(const char *directory, StreamError *err)
{
	int			fd = open(directory, O_RDONLY | O_CLOEXEC);
	StreamCode	code = STREAM_OK;

	if (fd < 0)
		return segment_io_error(err, 0, "open directory", directory);
	if (sync_fd(fd) < 0)
		code = segment_io_error(err, 0, "fsync directory", directory);
	close(fd);
	return code;
}

StreamCode
segment_create(const char *directory, StreamPos segment, int *fd, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	StreamCode	code;

	segment_path(directory, segment, path);
	*fd = segment_open(directory, segment, O_RDWR | O_CREAT | O_TRUNC);
	if (*fd < 0)
		return segment_io_error(err, segment, "create file", path);
	if (sync_fd(*fd) < 0)
		code = segment_io_error(err, segment, "fsync file", path);
	else
		code = segment_sync_directory(directory, err);
	if (code != STREAM_OK)
	{
		close(*fd);
		*fd = -1;
		unlink(path);
	}
	return code;
}

StreamCode
segment_remove(const char *directory, StreamPos segment, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];

	segment_path(directory, segment, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return segment_io_error(err, segment, "remove file", path);
	return segment_sync_directory(directory, err);
}

StreamCode
segment_size(const char *directory, StreamPos segment, uint64 *size, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	struct stat st;

	segment_path(directory, segment, path);
	if (stat(path, &st) < 0)
		return segment_io_error(err, segment, "stat file", path);
	*size = (uint64) st.st_size;
	return STREAM_OK;
}

StreamCode
segment_rest(const char *directory, StreamPos segment, uint64 offset, uint64 *rest,
			 StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	char	   *chunk = malloc(REST_CHUNK);
	int			fd = segment_open(directory, segment, O_RDONLY);
	uint64		from = offset;
	ssize_t		n = -1;
	StreamCode	code = STREAM_OK;

	*rest = 0;
	if (fd >= 0 && chunk != NULL)
	{
		while ((n = segment_read(fd, chunk, REST_CHUNK, from)) > 0)
		{
			ssize_t		used = n;

			while (used > 0 && chunk[used - 1] == 0)
				used--;
			if (used > 0)
				*rest = from + used - offset;
			from += n;
		}
	}
	if (n < 0)
	{
		segment_path(directory, segment, path);
		code = segment_io_error(err, segment, "read file", path);
	}
	if (fd >= 0)
		close(fd);
	free(chunk);
	return code;
}

StreamCode
segment_cut(const char *directory, StreamPos segment, uint64 size, StreamError *err)
{
	char		path[SEGMENT_PATH_LEN];
	int			fd = segment_open(directory, segment, O_RDWR);
	StreamCode	code = STREAM_OK;

	segment_path(directory, segment, path);
	if (fd < 0)
		return segment_io_error(err, segment, "open file", path);
	if (ftruncate(fd, (off_t) size) < 0)
		code = segment_io_error(err, segment, "truncate file", path);
	else if (sync_fd(fd) < 0)
		code = segment_io_error(err, segment, "fsync file", path);
	close(fd);
	return code;
}

bool
segment_is_linked(int fd, uint64 *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_nlink == 0)
		return false;
	*size = (uint64) st.st_size;
	return true;
}

bool
segment_write(int fd, const char *data, size_t len, uint64 offset)
{
	while (len > 0)
	{
		ssize_t		n;

		errno = 0;
		n = pwrite(fd, data, len, (off_t) offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			/* a write of nothing without an error is a full disk */
			if (errno == 0)
				errno = ENOSPC;
			return false;
		}
		data += n;
		len -= n;
		offset += n;
	}
	return true;
}

ssize_t
segment_read(int fd, char *data, size_t len, uint64 offset)
{
	size_t		done = 0;

	while (done < len)
	{
		ssize_t		n = pread(fd, data + done, len - done, (off_t) (offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += n;
	}
	return (ssize_t) done;
}

StreamCode
segment_scan_open(SegmentScan *scan, const char *directory, StreamPos segment,
				  size_t window, StreamError *err)
{
	memset(scan, 0, sizeof(*scan));
	scan->segment = segment;
	scan->window = window;
	scan->fd = segment_open(directory, segment, O_RDONLY);
	if (scan->fd < 0)
	{
		char		path[SEGMENT_PATH_LEN];

		segment_path(directory, segment, path);
		return segment_io_error(err, segment, "open file", path);
	}
	return STREAM_OK;
}

void
segment_scan_close(SegmentScan *scan)
{
	if (scan->fd >= 0)
		close(scan->fd);
	scan->fd = -1;
	stream_buf_free(&scan->buf);
}

/*
 * The bytes at pos: *bytes, and in *avail how many, less than len only at the
 * file's end.
 */
static StreamCode
scan_bytes(SegmentScan *scan, StreamPos pos, size_t len,
		   const char **bytes, size_t *avail, StreamError *err)
{
	uint64		offset = pos - scan->segment;
	size_t		want = Max(len, scan->window);
	ssize_t		n;

	if (offset < scan->offset || offset + len > scan->offset + scan->buf.len)
	{
		stream_buf_reset(&scan->buf);
		if (stream_buf_extend(&scan->buf, want) == NULL)
			return stream_fail(err, STREAM_NOMEM, pos, 0, "out of memory");
		n = segment_read(scan->fd, scan->buf.data, want, offset);
		scan->buf.len = n > 0 ? n : 0;
		scan->offset = offset;
		if (n < 0)
			return stream_fail(err, STREAM_IO, pos, errno,
							   "could not read stream log: %s", strerror(errno));
	}
	*bytes = scan->buf.data + (offset - scan->offset);
	*avail = scan->buf.len - (offset - scan->offset);
	return STREAM_OK;
}

StreamCode
segment_scan_frame(SegmentScan *scan, StreamPos pos, bool whole,
				   FrameHeader *h, StreamError *err)
{
	const char *bytes;
	size_t		avail;
	StreamCode	code;

	code = scan_bytes(scan, pos, FRAME_HEADER_LEN, &bytes, &avail, err);
	if (code != STREAM_OK)
		return code;
	if (avail == 0)
		return STREAM_END;
	code = frame_parse_header(bytes, avail, pos, h, err);
	if (code != STREAM_OK || !whole)
		return code;
	code = scan_bytes(scan, pos, FRAME_HEADER_LEN + h->stored_len, &bytes, &avail, err);
	if (code != STREAM_OK)
		return code;
	if (avail < FRAME_HEADER_LEN + h->stored_len)
		return stream_fail(err, STREAM_TORN, pos, 0,
						   "incomplete frame: %zu of %u bytes",
						   avail, FRAME_HEADER_LEN + h->stored_len);
	return frame_check_crc(bytes, h, err);
}
