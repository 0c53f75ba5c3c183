/*
 * link_sync.c - the handshake, and the last frame that both logs have.
 *
 * Two logs that have a frame of the same (place, term) in common are the same up
 * to there, so "is in both logs" is true up to some border and false behind it.
 * Mostly the replica's last frame is ours and nothing is asked.  Otherwise the
 * border is looked for: `high` is a place behind which nothing can be common,
 * `low` one before which it need not be looked for.  The replica is asked for its
 * last frame before `high`; if that is ours, it is the border; if not, `high`
 * moves to its start, and the next question is about the middle, and so on in
 * turn.  So a border that is near is found at once, one that is far in a number
 * of questions that grows with the logarithm of the distance.
 */
#include "baton.h"

#include "ship/link.h"
#include "utils/timestamp.h"

/* What this log says of a frame that the replica has. */
typedef enum FrameVerdict
{
	FRAME_OURS,
	FRAME_NOT_OURS,
	FRAME_NOT_KEPT,				/* from a time that this log does not reach back to */
	FRAME_UNREADABLE			/* own log is damaged, link has failed */
} FrameVerdict;

/* How long to wait for a replica that saves what is to be cut, in ms. */
#define WAIT_PAUSE_MS 100

static const char search_sql[] =
"SELECT start, frame_end, term FROM baton_rpc.frame_before($1)";
static const char cut_sql[] =
"SELECT baton_rpc.sync_up($1, $2, $3, $4, $5)";
static const char gone_sql[] =
"SELECT baton_rpc.renew_copy($1, $2, $3)";

static void
link_sync_ask(Link *link, LinkStep step, const char *sql, const TalkParams *p)
{
	char		err[BATON_ERROR_LEN];

	link->step = step;
	link->deadline = link->ship->view.now + LINK_SYNC_MS;
	link->dirty = true;
	if (!talk_ask(&link->talk, sql, p, err, sizeof(err)))
		link_fail(link, 0, "%s", err);
}

/* Shake hands: as the primary, or only to deliver messages. */
void
link_sync_begin(Link *link)
{
	TalkParams	p = {0};

	link->term = link_leads(link) ? link->ship->view.term : 0;
	link_stream_reset(link);
	link_handshake_params(link, link->term, &p);
	link->asked_at = GetCurrentTimestamp();
	link_sync_ask(link, STEP_HANDSHAKE, link_handshake_sql, &p);
}

/* Is the frame (start, term) that ends at `end` in this log? */
static FrameVerdict
link_sync_judge(Link *link, StreamPos start, StreamPos end, uint64 term)
{
	const StreamTail *tail = &link->ship->view.tail;
	FrameHeader h;
	StreamError err = {0};

	/* rows here are not what the stream up to there makes of them */
	if (end < link->ship->view.share_floor)
		return FRAME_NOT_KEPT;
	if (end > tail->end)
		return FRAME_NOT_OURS;
	if (end == tail->end)
		return start == tail->last_start && term == tail->last_term ? FRAME_OURS : FRAME_NOT_OURS;
	if (end < tail->start)
		return FRAME_NOT_KEPT;

	/* the frame that begins at `end` names the one before it */
	switch (stream_find(&link->reader, end, tail->end, &h, &err))
	{
		case STREAM_OK:
			return h.start == end && h.prev_start == start && h.prev_term == term ?
				FRAME_OURS : FRAME_NOT_OURS;
		case STREAM_GONE:
			return FRAME_NOT_KEPT;
		default:
			link_fail(link, baton_reconnect_max_delay,
					  "own stream log cannot be read at %X/%X: %s",
					  STREAM_POS_ARGS(end), err.message);
			return FRAME_UNREADABLE;
	}
}

/* What comes behind pos is not kept: the replica needs a copy that is newer. */
static void
link_sync_gone(Link *link, StreamPos pos)
{
	TalkParams	p = {0};

	link->search.high = pos;
	talk_int4(&p, link->ship->view.self);
	talk_int8(&p, link->term);
	talk_lsn(&p, Max(link->ship->view.tail.start, link->ship->view.share_floor));
	link_sync_ask(link, STEP_GONE, gone_sql, &p);
}

static void
link_sync_gone_answer(Link *link)
{
	link_fail(link, baton_reconnect_max_delay,
			  "needs a new copy: position %X/%X is no longer kept (baton.stream_keep_size)",
			  STREAM_POS_ARGS(link->search.high));
}

/* Ask for the replica's last frame before the next place of the search. */
static void
link_sync_search(Link *link)
{
	LinkSearch *s = &link->search;
	TalkParams	p = {0};

	if (s->high < s->low)
	{
		link_sync_gone(link, s->high);
		return;
	}
	talk_lsn(&p, s->at_high ? s->high : s->low + (s->high - s->low) / 2);
	link_sync_ask(link, STEP_SEARCH, search_sql, &p);
}

static void
link_sync_search_answer(Link *link)
{
	LinkSearch *s = &link->search;
	const PGresult *r = link->talk.result;
	StreamPos	start = talk_get_int8(r, 0);
	StreamPos	end = talk_get_int8(r, 1);
	uint64		term = talk_get_int8(r, 2);
	FrameVerdict verdict;

	if (PQgetisnull(r, 0, 0))
	{
		link_sync_gone(link, s->high);
		return;
	}
	verdict = link_sync_judge(link, start, end, term);
	if (verdict == FRAME_UNREADABLE)
		return;
	if (verdict == FRAME_NOT_KEPT)
	{
		/* nothing at or before `end`; at the upper limit that was the last hope */
		if (s->at_high)
		{
			link_sync_gone(link, end);
			return;
		}
		s->low = Max(s->low, end + 1);
	}
	else if (verdict == FRAME_OURS && s->at_high)
	{
		TalkParams	p = {0};

		s->start = start;
		s->end = end;
		s->frame_term = term;
		talk_int4(&p, link->ship->view.self);
		talk_int8(&p, link->term);
		talk_lsn(&p, end);
		talk_lsn(&p, start);
		talk_int8(&p, term);
		link_sync_ask(link, STEP_CUT, cut_sql, &p);
		return;
	}
	else if (verdict == FRAME_OURS)
		s->low = Max(s->low, end);
	else
		s->high = Min(s->high, start);
	s->at_high = !s->at_high;
	link_sync_search(link);
}

/* From here on the replica takes frames, or messages only. */
static void
link_sync_done(Link *link, StreamPos pos)
{
	link->sent = pos;
	link->told = 0;
	link->tell_at = link->ship->view.now;
	link->error[0] = '\0';
	if (link->term != 0)
	{
		link->flushed = pos;
		link->applied = Min(link->applied, pos);
		link->logged[0] = '\0';
		/* it may have sequences that are ahead, by values that it drew alone */
		pg_atomic_fetch_add_u32(&link->ship->node->sequences_all, 1);
		ereport(LOG,
				(errmsg("streaming to member \"%s\" from %X/%X on", link->name,
						STREAM_POS_ARGS(pos))));
	}
	else
		link->pause = LINK_FIRST_PAUSE_MS;
	link_stream_begin(link);
}

/* How long to wait before a node that has refused is asked again, in ms. */
static int
link_sync_patience(const char *status)
{
	/* these pass by themselves, or by what somebody is just doing over there */
	if (strcmp(status, "no log") == 0 || strcmp(status, "stopped") == 0)
		return Min(500, baton_reconnect_max_delay);
	return baton_reconnect_max_delay;
}

static void
link_sync_handshake_answer(Link *link)
{
	const PGresult *r = link->talk.result;
	char		status[32];
	char		why[BATON_ERROR_LEN + 40];
	StreamPos	start = talk_get_int8(r, 6);
	StreamPos	end = talk_get_int8(r, 5);
	uint64		term = talk_get_int8(r, 7);

	talk_get_text(r, 0, status, sizeof(status));
	link_saw_term(link, talk_get_int8(r, 2), 0);
	if (!link_handshake_accepted(link, r, link->term != 0, why, sizeof(why)))
	{
		link_fail(link, link_sync_patience(status), "%s", why);
		return;
	}
	if (link->term == 0)
	{
		link_sync_done(link, 0);
		return;
	}
	link->applied = talk_get_int8(r, 8);
	switch (link_sync_judge(link, start, end, term))
	{
		case FRAME_OURS:
			link_sync_done(link, end);
			break;
		case FRAME_NOT_OURS:
			link->search.low = Max(link->ship->view.tail.start, talk_get_int8(r, 4));
			link->search.high = Min(link->ship->view.tail.end, start);
			link->search.at_high = true;
			link_sync_search(link);
			break;
		case FRAME_NOT_KEPT:
			link_sync_gone(link, end);
			break;
		case FRAME_UNREADABLE:
			break;
	}
}

static void
link_sync_cut_answer(Link *link)
{
	char		text[BATON_ERROR_LEN];

	talk_get_text(link->talk.result, 0, text, sizeof(text));
	if (strcmp(text, "ok") == 0)
		link_sync_done(link, link->search.end);
	else
		link_fail(link, strncmp(text, "wait", 4) == 0 ? Min(WAIT_PAUSE_MS, baton_reconnect_max_delay) :
				  baton_reconnect_max_delay, "%s", text);
}

/* The question under way is answered, with a good result. */
void
link_sync_answer(Link *link)
{
	switch (link->step)
	{
		case STEP_HANDSHAKE:
			link_sync_handshake_answer(link);
			break;
		case STEP_SEARCH:
			link_sync_search_answer(link);
			break;
		case STEP_CUT:
			link_sync_cut_answer(link);
			break;
		case STEP_GONE:
			link_sync_gone_answer(link);
			break;
		default:
			Assert(false);
	}
}
