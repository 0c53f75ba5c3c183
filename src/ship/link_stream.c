/*
 * link_stream.c - an open link: frames, signs of life and messages go into the
 * pipeline, answers come out of it in the same order.
 *
 * Frames are read from this node's own log, as they lie there: sealed once,
 * compressed once, never opened here.  What several replicas need at the same
 * time the page cache holds.  Each call carries all frames that are there, up to
 * 1 MB, and costs the replica one fsync; so two small calls may be under way (more if
 * the replica is far away), and what comes meanwhile waits and goes out as one.  At most
 * baton.ship_window is under way: a replica that does not answer costs that much
 * memory and no time of anybody's.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "ship/link.h"
#include "ship/rpc.h"
#include "utils/timestamp.h"

#define APPEND_STATEMENT	"baton_append"
#define DELIVER_STATEMENT	"baton_deliver"

static Call *
link_oldest_call(Link *link)
{
	return &link->calls[link->first_call];
}

static Call *
link_newest_call(Link *link)
{
	return &link->calls[(link->first_call + link->n_calls - 1) % LINK_MAX_CALLS];
}

/* Note a call that was put into the pipeline. */
void
link_note_call(Link *link, CallKind kind, StreamPos end, size_t bytes)
{
	Call	   *call = &link->calls[(link->first_call + link->n_calls) % LINK_MAX_CALLS];

	Assert(link->n_calls < LINK_MAX_CALLS);
	call->kind = kind;
	call->end = end;
	call->bytes = bytes;
	call->sent_at = link->ship->view.now;
	call->lease = link->ship->view.lease_ms;
	link->n_calls++;
	link->bytes_under_way += bytes;
	if (kind == CALL_DELIVER || bytes > 0)
		link->used_at = link->ship->view.now;
}

/* Forget the pipeline and the open file; the connection is closed or starts over. */
void
link_stream_reset(Link *link)
{
	link->first_call = 0;
	link->n_calls = 0;
	link->bytes_under_way = 0;
	stream_reader_close(&link->reader);
	stream_buf_free(&link->batch);
	link->told_version = 0;
	link->told_committed = false;
}

static void
link_stream_broken(Link *link)
{
	char		err[BATON_ERROR_LEN];

	peer_error_line(PQerrorMessage(link->talk.conn->pg), err, sizeof(err));
	link_fail(link, 0, "%s", err);
}

/* Send what is in the pipeline; false: the link has failed. */
bool
link_stream_flush(Link *link)
{
	char		err[BATON_ERROR_LEN];

	if (talk_flush(&link->talk, err, sizeof(err)))
		return true;
	link_fail(link, 0, "%s", err);
	return false;
}

/* The handshake is done: pipeline mode, and the statements, once per connection. */
void
link_stream_begin(Link *link)
{
	static const Oid append_types[] = {INT4OID, INT8OID, INT4OID, LSNOID, LSNOID, BYTEAOID};
	static const Oid deliver_types[] = {BYTEAOID};
	static const Oid members_types[] = {INT4OID, INT8OID, BYTEAOID, BYTEAOID};
	PGconn	   *pg = link->talk.conn->pg;

	link->step = STEP_OPEN;
	link->used_at = link->ship->view.now;
	link->beat_at = link->ship->view.now;
	link->dirty = true;
	if (!PQenterPipelineMode(pg))
	{
		link_stream_broken(link);
		return;
	}
	if (link->prepared)
		return;
	if (!PQsendPrepare(pg, APPEND_STATEMENT,
					   "SELECT status, term, flushed, applied, promised FROM baton_rpc.append($1, $2, $3, $4, $5, $6)",
					   lengthof(append_types), append_types) ||
		!PQsendPrepare(pg, DELIVER_STATEMENT, "SELECT baton_rpc.deliver($1)",
					   lengthof(deliver_types), deliver_types) ||
		!PQsendPrepare(pg, MEMBERS_STATEMENT, "SELECT baton_rpc.members($1, $2, $3, $4)",
					   lengthof(members_types), members_types) ||
		!PQpipelineSync(pg))
	{
		link_stream_broken(link);
		return;
	}
	link->prepared = true;
	link_note_call(link, CALL_PREPARE, 0, 0);
	link_stream_flush(link);
}

/* ---- sending ---- */

/* Put a call of a prepared statement into the pipeline; false: the link has failed. */
bool
link_stream_call(Link *link, const char *statement, const TalkParams *p)
{
	PGconn	   *pg = link->talk.conn->pg;

	if (PQsendQueryPrepared(pg, statement, p->n, p->values, p->lengths, p->formats, 1) &&
		PQpipelineSync(pg))
		return true;
	link_stream_broken(link);
	return false;
}

/* The outbox's messages, ahead of further frames. */
static bool
link_send_messages(Link *link)
{
	ConsensusMessage messages[BATON_OUTBOX_SIZE];
	uint8_t		bytes[BATON_OUTBOX_SIZE * CONSENSUS_MESSAGE_LEN];
	TalkParams	p = {0};
	int			n;

	if (link->outbox_since == 0 || link->n_calls == LINK_MAX_CALLS)
		return true;
	n = node_take_outbox(link->ship->node, link->id, messages, BATON_OUTBOX_SIZE);
	link->outbox_since = 0;
	if (n == 0)
		return true;
	for (int i = 0; i < n; i++)
		consensus_message_encode(&messages[i], bytes + i * CONSENSUS_MESSAGE_LEN);
	talk_bytes(&p, BYTEAOID, bytes, n * CONSENSUS_MESSAGE_LEN);
	if (!link_stream_call(link, DELIVER_STATEMENT, &p))
		return false;
	link_note_call(link, CALL_DELIVER, 0, 0);
	return true;
}

/* Read frames from link->sent on into link->batch; false: the link has failed. */
static bool
link_read_batch(Link *link, StreamPos *end)
{
	StreamPos	limit = link->ship->view.ship_end;
	StreamPos	pos = link->sent;

	stream_buf_reset(&link->batch);
	while (pos < limit)
	{
		FrameHeader h;
		StreamError err = {0};
		StreamCode	code = stream_read(&link->reader, pos, limit, &h, NULL, &err);

		if (code == STREAM_GONE)
		{
			link_fail(link, baton_reconnect_max_delay,
					  "needs a new initial copy: position %X/%X is no longer kept (baton.stream_keep_size)",
					  STREAM_POS_ARGS(pos));
			return false;
		}
		if (code != STREAM_OK)
		{
			link_fail(link, baton_reconnect_max_delay, "own stream log cannot be read at %X/%X: %s",
					  STREAM_POS_ARGS(pos), err.message);
			return false;
		}
		if (link->batch.len > 0 && link->batch.len + link->reader.frame.len > LINK_BATCH)
			break;
		stream_buf_append(&link->batch, link->reader.frame.data, link->reader.frame.len);
		pos = frame_end(&h);
	}
	if (link->batch.failed)
	{
		link_fail(link, 0, "out of memory");
		return false;
	}
	*end = pos;
	return true;
}

/* One append; with nothing in the batch it is a heartbeat. */
static bool
link_send_append(Link *link, StreamPos end)
{
	TalkParams	p = {0};

	talk_int4(&p, link->ship->view.self);
	talk_int8(&p, link->term);
	talk_int4(&p, (int32) link->ship->view.lease_ms);
	talk_lsn(&p, link->ship->view.committed);
	link->told = link->ship->view.tail.flushed;
	talk_lsn(&p, link->told);
	talk_bytes(&p, BYTEAOID, link->batch.data, link->batch.len);
	if (!link_stream_call(link, APPEND_STATEMENT, &p))
		return false;
	link_note_call(link, CALL_APPEND, end, link->batch.len);
	return true;
}

/*
 * May another small batch follow those under way?  The replica's next flush is to find
 * one waiting, lest its disk is idle; more would only be more flushes.
 */
static bool
link_may_follow(Link *link)
{
	uint64		due;

	if (link->n_calls < LINK_SMALL_CALLS)
		return true;
	if (link->n_calls >= LINK_FAR_CALLS)
		return false;
	due = link_newest_call(link)->sent_at + LINK_NEAR_MS;
	link_due(link, due);
	return link->ship->view.now >= due;
}

/* Is there room for another append of what may be shipped and is not sent? */
static bool
link_may_append(Link *link)
{
	StreamPos	end = link->ship->view.ship_end;

	if (link->sent >= end || link->n_calls == LINK_MAX_CALLS)
		return false;
	if (link->bytes_under_way > 0 &&
		link->bytes_under_way + Min(end - link->sent, LINK_BATCH) >
		(size_t) baton_ship_window * 1024)
		return false;
	return end - link->sent >= LINK_LARGE_BATCH || link_may_follow(link);
}

/* Has the peer frames, and is to hear at last that they are flushed here? */
static bool
link_news_due(Link *link)
{
	const ShipView *view = &link->ship->view;

	if (link->told >= link->sent || link->n_calls >= LINK_BEAT_CALLS)
		return false;
	if (view->now < link->tell_at)
	{
		link_due(link, link->tell_at);
		return false;
	}
	/* the flush takes its time: look again */
	link->tell_at = view->now + LINK_TELL_MS;
	link_due(link, link->tell_at);
	return view->tail.flushed > link->told;
}

static bool
link_send_frames(Link *link)
{
	const ShipView *view = &link->ship->view;

	/* frames of a reign go out under its own handshake only, and a change of members
	 * is told ahead of them */
	if (link->term == 0 || !link_leads(link) || link->term != view->term || link_members_due(link))
		return true;
	while (link_may_append(link))
	{
		StreamPos	end;

		if (!link_read_batch(link, &end) || !link_send_append(link, end))
			return false;
		link->sent = end;
		link->tell_at = view->now + LINK_TELL_MS;
		link->dirty = true;
	}
	if (view->now >= link->beat_at || link_news_due(link))
	{
		link->beat_at = (view->now / baton_heartbeat_interval + 1) * baton_heartbeat_interval;
		stream_buf_reset(&link->batch);
		if (link->n_calls < LINK_BEAT_CALLS && !link_send_append(link, 0))
			return false;
	}
	link_due(link, link->beat_at);
	return true;
}

/* Timers, and whatever can be sent now. */
void
link_stream_turn(Link *link)
{
	int			n_before = link->n_calls;

	if (link->n_calls > 0)
	{
		uint64		late = link_oldest_call(link)->sent_at + link_answer_timeout();

		if (link->ship->view.now >= late)
		{
			link_fail(link, 0, "no answer within %d ms", link_answer_timeout());
			return;
		}
	}
	if (!link_send_messages(link) || !link_tell_members(link) || !link_send_frames(link))
		return;
	if (link->n_calls != n_before && !link_stream_flush(link))
		return;
	if (link->n_calls > 0)
		link_due(link, link_oldest_call(link)->sent_at + link_answer_timeout());
}

/* ---- answers ---- */

/* An append is answered; false: the link was given up. */
static bool
link_append_answer(Link *link, const Call *call, const PGresult *r)
{
	AppendStatus status = (AppendStatus) talk_get_int4(r, 0);
	uint64		term = talk_get_int8(r, 1);

	link->last_reply = link->ship->view.wall;
	link->dirty = true;
	link_saw_term(link, term, 0);
	if (status == APPEND_OK && talk_get_bool(r, 4))
		link_heard(link, link->term, call->sent_at, call->lease);
	switch (status)
	{
		case APPEND_OK:
			/* only what this session sent counts: a place beyond it is another reign's */
			link->flushed = Max(link->flushed, Min(talk_get_int8(r, 2), link->sent));
			link_note_applied(link, talk_get_int8(r, 3));
			link->pause = LINK_FIRST_PAUSE_MS;
			return true;
		case APPEND_STALE_TERM:
			link_fail(link, 0, "it follows a later term");
			break;
		case APPEND_MISMATCH:
			link_fail(link, LINK_FIRST_PAUSE_MS, "its stream log is at another place than expected");
			break;
		case APPEND_STOPPED:
			link_fail(link, 0, "it has stopped using its stream log");
			break;
		default:
			link_fail(link, 0, "its answer %d is not known", (int) status);
			break;
	}
	return false;
}

/* One result of the pipeline; false: the link was given up. */
static bool
link_stream_result(Link *link, const PGresult *r)
{
	Call	   *call = link_oldest_call(link);
	char		err[BATON_ERROR_LEN];

	switch (PQresultStatus(r))
	{
		case PGRES_PIPELINE_SYNC:
			link->bytes_under_way -= call->bytes;
			link->first_call = (link->first_call + 1) % LINK_MAX_CALLS;
			link->n_calls--;
			return true;
		case PGRES_COMMAND_OK:
			return true;
		case PGRES_TUPLES_OK:
			return call->kind != CALL_APPEND || link_append_answer(link, call, r);
		default:
			peer_error_line(PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) ?
							PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) :
							PQresultErrorMessage(r), err, sizeof(err));
			link_fail(link, 0, "%s", err);
			return false;
	}
}

/* The socket is ready: take all answers that are there. */
void
link_stream_read(Link *link)
{
	int			empty = 0;

	if (!PQconsumeInput(link->talk.conn->pg))
	{
		link_stream_broken(link);
		return;
	}
	/* a NULL ends one statement's results; two in a row: nothing more is here */
	while (link->n_calls > 0 && empty < 2 && !PQisBusy(link->talk.conn->pg))
	{
		PGresult   *r = PQgetResult(link->talk.conn->pg);
		bool		good;

		if (r == NULL)
		{
			empty++;
			continue;
		}
		empty = 0;
		good = link_stream_result(link, r);
		PQclear(r);
		if (!good)
			return;
	}
	link_stream_flush(link);
}
