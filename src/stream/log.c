/*
 * log.c - the log as a whole: making it, opening it after a restart, cutting
 * its end off, removing its beginning.
 *
 * Opening.  Segments that need no check only have to fit together: each must be
 * as long as the distance to the next one's name.  From check_from on every
 * frame is checked, and each must name the one before it.  The log ends where no
 * frame follows; in the last segment there may be zeros behind it.  Another fault
 *
 *   - in a segment before the last is corruption: it was fsynced whole before
 *     its successor was made
 *   - in the last segment before known_flushed is corruption: those bytes were
 *     on disk once
 *   - in the last segment behind known_flushed is what a crash leaves of an
 *     append: the log ends there, the rest is cut off
 *
 * Corruption is reported before anything is changed: which copy of the log is
 * the right one is for a person, or another node, to say.
 */
#include "stream/segment.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_WINDOW (1024 * 1024)

/* What the check of a log has found so far. */
typedef struct LogCheck
{
	const char *directory;
	const SegmentList *list;
	StreamPos	known_flushed;
	StreamFrameVisitor visit;
	void	   *arg;
	bool		has_last;		/* last_start, last_term are known */
	StreamPos	last_start;
	uint64		last_term;
	StreamPos	end;			/* behind the last good frame */
	StreamTerms terms;
	uint64		cut;			/* bytes of the last segment behind end that are no zeros' */
} LogCheck;

/* Make the directory, durable in its parent; one that exists is fine. */
static StreamCode
make_directory(const char *directory, StreamError *err)
{
	char		parent[1024];
	char	   *slash;

	if (mkdir(directory, 0700) < 0)
		return errno == EEXIST ? STREAM_OK : segment_io_error(err, 0, "create directory", directory);
	strlcpy(parent, directory, sizeof(parent));
	slash = strrchr(parent, '/');
	if (slash == NULL)
		strlcpy(parent, ".", sizeof(parent));
	else if (slash == parent)
		parent[1] = '\0';
	else
		*slash = '\0';
	return segment_sync_directory(parent, err);
}

StreamCode
stream_log_create(const char *directory, StreamPos start, StreamPos last_start,
				  uint64 last_term, StreamTail *tail, StreamError *err)
{
	SegmentList list = {0};
	StreamCode	code;
	int			fd;

	code = make_directory(directory, err);
	if (code == STREAM_OK)
		code = segment_list(directory, &list, err);
	if (code == STREAM_OK && list.count > 0)
		code = stream_fail(err, STREAM_MISMATCH, list.pos[0], 0,
						   "directory \"%s\" holds a stream log already", directory);
	segment_list_free(&list);
	if (code == STREAM_OK)
		code = segment_create(directory, start, &fd, err);
	if (code != STREAM_OK)
		return code;
	close(fd);

	memset(tail, 0, sizeof(*tail));
	tail->start = tail->segment = tail->end = tail->flushed = start;
	tail->last_start = last_start;
	tail->last_term = last_term;
	stream_terms_end(&tail->terms, start, last_start, last_term);
	return STREAM_OK;
}

/* Each segment must begin where the one before it ends. */
static StreamCode
check_chain(const LogCheck *check, StreamError *err)
{
	const SegmentList *list = check->list;

	for (int i = 0; i + 1 < list->count; i++)
	{
		uint64		size;
		StreamCode	code = segment_size(check->directory, list->pos[i], &size, err);

		if (code != STREAM_OK)
			return code;
		if (list->pos[i] + size != list->pos[i + 1])
			return stream_fail(err, STREAM_CORRUPT, list->pos[i] + size, 0,
							   "segment " STREAM_POS_FORMAT " ends at " STREAM_POS_FORMAT
							   ", but the next one begins at " STREAM_POS_FORMAT,
							   STREAM_POS_ARGS(list->pos[i]),
							   STREAM_POS_ARGS(list->pos[i] + size),
							   STREAM_POS_ARGS(list->pos[i + 1]));
	}
	return STREAM_OK;
}

/* A frame must name the one before it, if that is known. */
static StreamCode
check_link(const LogCheck *check, const FrameHeader *h, StreamError *err)
{
	if (check->has_last &&
		(h->prev_start != check->last_start || h->prev_term != check->last_term))
		return stream_fail(err, STREAM_TORN, h->start, 0,
						   "frame names another predecessor, " STREAM_POS_FORMAT,
						   STREAM_POS_ARGS(h->prev_start));
	return STREAM_OK;
}

/* Check the frames of one segment; ends at its end, or at the first fault if a
 * fault may be there. */
static StreamCode
check_segment(LogCheck *check, int index, StreamError *err)
{
	SegmentScan scan;
	FrameHeader h;
	bool		is_last = index == check->list->count - 1;
	StreamPos	pos = check->list->pos[index];
	StreamCode	code;

	code = segment_scan_open(&scan, check->directory, pos, OPEN_WINDOW, err);
	while (code == STREAM_OK)
	{
		code = segment_scan_frame(&scan, pos, true, &h, err);
		if (code == STREAM_OK)
			code = check_link(check, &h, err);
		if (code != STREAM_OK)
			break;
		if (check->visit != NULL)
			check->visit(&h, check->arg);
		stream_terms_note(&check->terms, &h);
		check->has_last = true;
		check->last_start = h.start;
		check->last_term = h.term;
		pos = frame_end(&h);
	}
	segment_scan_close(&scan);
	check->end = pos;
	if (code == STREAM_TORN && (!is_last || pos < check->known_flushed))
		code = STREAM_CORRUPT;
	if (code == STREAM_CORRUPT && err != NULL)
		err->code = code;
	if (code == STREAM_END || code == STREAM_TORN)
		code = is_last ? segment_rest(check->directory, check->list->pos[index],
									  pos - check->list->pos[index], &check->cut, err)
			: STREAM_OK;
	return code;
}

/* Check all that must be checked, and change nothing. */
static StreamCode
check_log(LogCheck *check, StreamPos check_from, StreamPos base_last_start,
		  uint64 base_last_term, StreamError *err)
{
	int			last = check->list->count - 1;
	int			first = Max(segment_list_find(check->list, check_from), 0);
	StreamPos	end;
	uint64		cut;
	StreamCode	code;

	code = check_chain(check, err);
	for (int i = first; code == STREAM_OK && i <= last; i++)
		code = check_segment(check, i, err);
	if (code != STREAM_OK)
		return code;
	end = check->end;
	cut = check->cut;

	/* no frame in the last segment, and none before it looked at */
	if (!check->has_last && first > 0)
	{
		code = check_segment(check, first - 1, err);
		check->end = end;
		check->cut = cut;
	}
	else if (!check->has_last)
	{
		check->last_start = base_last_start;
		check->last_term = base_last_term;
	}
	if (code == STREAM_OK && end < check->known_flushed)
		code = stream_fail(err, STREAM_CORRUPT, end, 0,
						   "stream log ends at " STREAM_POS_FORMAT
						   ", but was flushed up to " STREAM_POS_FORMAT,
						   STREAM_POS_ARGS(end), STREAM_POS_ARGS(check->known_flushed));
	return code;
}

StreamCode
stream_log_open(const char *directory, StreamPos known_flushed, StreamPos check_from,
				StreamPos base_last_start, uint64 base_last_term,
				const StreamTerms *terms,
				StreamFrameVisitor visit, void *arg,
				StreamTail *tail, uint64 *cut, StreamError *err)
{
	SegmentList list = {0};
	LogCheck	check = {0};
	StreamCode	code;

	*cut = 0;
	code = segment_list(directory, &list, err);
	if (code == STREAM_OK && list.count == 0)
		code = stream_fail(err, STREAM_CORRUPT, 0, 0,
						   "directory \"%s\" holds no stream log", directory);
	if (code == STREAM_OK)
	{
		check.directory = directory;
		check.list = &list;
		check.known_flushed = known_flushed;
		check.visit = visit;
		check.arg = arg;
		if (terms != NULL)
			check.terms = *terms;
		stream_terms_cut(&check.terms, check_from);
		code = check_log(&check, check_from, base_last_start, base_last_term, err);
	}
	if (code == STREAM_OK)
	{
		StreamPos	segment = list.pos[list.count - 1];

		/* also when nothing is cut: what was read may not have been flushed */
		code = segment_cut(directory, segment, check.end - segment, err);
		memset(tail, 0, sizeof(*tail));
		tail->start = list.pos[0];
		tail->segment = segment;
		tail->end = tail->flushed = check.end;
		tail->last_start = check.last_start;
		tail->last_term = check.last_term;
		tail->terms = check.terms;
		stream_terms_end(&tail->terms, tail->end, tail->last_start, tail->last_term);
		*cut = check.cut;
	}
	segment_list_free(&list);
	return code;
}

StreamCode
stream_truncate(StreamWriter *w, StreamTail *tail, StreamPos pos,
				StreamPos last_start, uint64 last_term, StreamError *err)
{
	SegmentList list = {0};
	int			holds;
	StreamCode	code;

	if (pos < tail->start || pos > tail->end)
		return stream_fail(err, STREAM_MISMATCH, pos, 0,
						   "cannot cut the stream log at " STREAM_POS_FORMAT
						   ": it reaches from " STREAM_POS_FORMAT " to " STREAM_POS_FORMAT,
						   STREAM_POS_ARGS(pos), STREAM_POS_ARGS(tail->start),
						   STREAM_POS_ARGS(tail->end));
	stream_writer_close(w);
	code = segment_list(w->directory, &list, err);
	holds = code == STREAM_OK ? segment_list_find(&list, pos) : -1;
	if (code == STREAM_OK && holds < 0)
		code = stream_fail(err, STREAM_IO, pos, ENOENT, "segment of position "
						   STREAM_POS_FORMAT " is missing", STREAM_POS_ARGS(pos));

	/* from here on nobody may rely on what he has read behind pos */
	tail->cuts++;
	for (int i = list.count - 1; code == STREAM_OK && i > holds; i--)
		code = segment_remove(w->directory, list.pos[i], err);
	if (code == STREAM_OK)
		code = segment_cut(w->directory, list.pos[holds], pos - list.pos[holds], err);
	if (code == STREAM_OK)
	{
		tail->segment = list.pos[holds];
		tail->end = tail->flushed = pos;
		tail->last_start = last_start;
		tail->last_term = last_term;
		stream_terms_end(&tail->terms, pos, last_start, last_term);
		tail->litter = false;
	}
	else
		tail->broken = true;
	segment_list_free(&list);
	return code;
}

StreamCode
stream_remove_before(const char *directory, StreamTail *tail, StreamPos keep_from,
					 StreamError *err)
{
	SegmentList list = {0};
	StreamCode	code = segment_list(directory, &list, err);

	for (int i = 0; code == STREAM_OK && i + 1 < list.count; i++)
	{
		if (list.pos[i + 1] > keep_from || list.pos[i + 1] > tail->segment)
			break;
		code = segment_remove(directory, list.pos[i], err);
		if (code == STREAM_OK)
			tail->start = list.pos[i + 1];
	}
	segment_list_free(&list);
	return code;
}

StreamCode
stream_log_destroy(const char *directory, StreamError *err)
{
	SegmentList list = {0};
	StreamCode	code = segment_list(directory, &list, err);

	for (int i = list.count - 1; code == STREAM_OK && i >= 0; i--)
		code = segment_remove(directory, list.pos[i], err);
	segment_list_free(&list);
	return code;
}
