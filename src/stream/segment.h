/*
 * segment.h - segment files: names, listing, system calls.  Private to stream/.
 *
 * A segment file is frames, back to back, and in the last segment zeros behind them
 * (log.h).  Its name is the position of its first byte, so a directory listing is
 * the map of the log.
 */
#ifndef BATON_SEGMENT_H
#define BATON_SEGMENT_H

#include "stream/log.h"

/* directory + "/" + sixteen digits + ".seg" */
#define SEGMENT_PATH_LEN	(1024 + 32)

/* Positions of the segments of a directory, ascending. */
typedef struct SegmentList
{
	StreamPos  *pos;
	int			count;
	int			cap;
} SegmentList;

extern void segment_path(const char *directory, StreamPos segment, char path[SEGMENT_PATH_LEN]);

/* STREAM_IO with errno in it: could not <what> "<path>". */
extern StreamCode segment_io_error(StreamError *err, StreamPos pos, const char *what,
								   const char *path);

/*
 * Fill list (zeroed by the caller, freed by segment_list_free, also after a
 * failure).  A directory that does not exist has no segments.
 */
extern StreamCode segment_list(const char *directory, SegmentList *list, StreamError *err);
extern void segment_list_free(SegmentList *list);
/* Index of the segment that pos lies in (the greatest start <= pos), or -1. */
extern int	segment_list_find(const SegmentList *list, StreamPos pos);

/* Open for reading (O_RDONLY) or appending (O_RDWR): the fd, or -1 with errno. */
extern int	segment_open(const char *directory, StreamPos segment, int flags);
/* Make an empty segment, durable with its directory entry: STREAM_OK and *fd. */
extern StreamCode segment_create(const char *directory, StreamPos segment, int *fd,
								 StreamError *err);
/* Remove a segment, durably; one that is gone already is fine. */
extern StreamCode segment_remove(const char *directory, StreamPos segment, StreamError *err);
/* Size in bytes of a segment file. */
extern StreamCode segment_size(const char *directory, StreamPos segment, uint64 *size,
							   StreamError *err);
/*
 * Bytes of a segment file behind `offset` up to the last one that is not zero: 0 if
 * there are only zeros, or nothing.
 */
extern StreamCode segment_rest(const char *directory, StreamPos segment, uint64 offset,
							   uint64 *rest, StreamError *err);
/* Cut a segment to size bytes and fsync it. */
extern StreamCode segment_cut(const char *directory, StreamPos segment, uint64 size,
							  StreamError *err);
extern StreamCode segment_sync_directory(const char *directory, StreamError *err);

/*
 * True if fd is still the file of that name.  A log that was cut may have grown
 * a new segment under an old name; an open file of the old one must not be used.
 * *size gets the file's size.
 */
extern bool segment_is_linked(int fd, uint64 *size);

/* All of it, whatever signals come: true, or false with errno. */
extern bool segment_write(int fd, const char *data, size_t len, uint64 offset);
/* Up to len bytes: the number read, less than len only at the file's end; -1 with errno. */
extern ssize_t segment_read(int fd, char *data, size_t len, uint64 offset);

/*
 * Walking the frames of one segment with few system calls.
 */
typedef struct SegmentScan
{
	int			fd;
	StreamPos	segment;
	size_t		window;			/* bytes to read at once */
	uint64		offset;			/* where in the file buf begins */
	StreamBuf	buf;
} SegmentScan;

extern StreamCode segment_scan_open(SegmentScan *scan, const char *directory,
									StreamPos segment, size_t window, StreamError *err);
extern void segment_scan_close(SegmentScan *scan);
/*
 * Header of the frame at pos; with whole, payload and CRC are checked too.
 * STREAM_OK, STREAM_END exactly at the file's end, STREAM_TORN (also at the zeros
 * behind the last frame), STREAM_IO, STREAM_NOMEM.
 */
extern StreamCode segment_scan_frame(SegmentScan *scan, StreamPos pos, bool whole,
									 FrameHeader *h, StreamError *err);

#endif							/* BATON_SEGMENT_H */
