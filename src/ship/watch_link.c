/*
 * watch_link.c - the second connection to a member: one long poll after the
 * other, so that its news and its messages are here the moment they exist.
 *
 * A primary watches every member; one that has handed over goes on for a while,
 * to see its successor lead; a node that no primary has reached for long does, to get
 * answers that nobody can bring, and to know that there is a primary.  The connection shakes hands
 * without a term: it never appends.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "ship/link.h"
#include "utils/timestamp.h"

#define WATCH_STATEMENT "baton_watch"
/* A member that only applies has this long, in ms, to have more to say. */
#define WATCH_SETTLE_MS 20

static const char watch_sql[] =
"SELECT term, state, led_term, applied, applied_at, error, messages, promised "
"FROM baton_rpc.watch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
static const Oid watch_types[] = {INT4OID, INT8OID, INT4OID, LSNOID, INT8OID, TEXTOID, INT8OID, LSNOID,
TEXTOID, INT4OID, INT4OID};

void
watch_close(Link *link)
{
	WatchLink  *w = &link->watch;

	talk_close(&w->talk);
	w->step = WATCH_OFF;
	w->failure[0] = '\0';
	link->dirty = true;
}

static void
watch_fail(Link *link, const char *why)
{
	WatchLink  *w = &link->watch;

	w->retry_at = link->ship->view.now + w->pause;
	w->pause = Min(w->pause * 2, baton_reconnect_max_delay);
	elog(DEBUG1, "watching member \"%s\" has failed: %s", link->name, why);
	watch_close(link);
	strlcpy(w->failure, why, sizeof(w->failure));
}

static void
watch_step(Link *link, WatchStep step, int timeout_ms)
{
	link->watch.step = step;
	link->watch.deadline = link->ship->view.now + timeout_ms;
}

static void
watch_connect(Link *link)
{
	char		err[BATON_ERROR_LEN];

	/* what an earlier connection told does not count */
	link->watch.term = 0;
	link->watch.state[0] = '\0';
	link->watch.led_term = 0;
	link->watch.applied = 0;
	link->watch.error[0] = '\0';
	if (talk_open(&link->watch.talk, link->conninfo, err, sizeof(err)))
		watch_step(link, WATCH_CONNECT, baton_connect_timeout);
	else
		watch_fail(link, err);
}

static void
watch_handshake(Link *link)
{
	TalkParams	p = {0};
	char		err[BATON_ERROR_LEN];

	link_handshake_params(link, 0, &p);
	watch_step(link, WATCH_HANDSHAKE, link_answer_timeout());
	if (!talk_ask(&link->watch.talk, link_handshake_sql, &p, err, sizeof(err)))
		watch_fail(link, err);
}

static void
watch_prepare(Link *link)
{
	WatchLink  *w = &link->watch;
	char		err[BATON_ERROR_LEN];

	watch_step(link, WATCH_PREPARE, link_answer_timeout());
	if (!PQsendPrepare(w->talk.conn->pg, WATCH_STATEMENT, watch_sql,
					   lengthof(watch_types), watch_types))
	{
		peer_error_line(PQerrorMessage(w->talk.conn->pg), err, sizeof(err));
		watch_fail(link, err);
	}
	else if (!talk_flush(&w->talk, err, sizeof(err)))
		watch_fail(link, err);
}

/*
 * The next call: what is known, and how long it may wait for anything else.  Its
 * answer renews the lease, so it has to come in time for that.
 */
static void
watch_ask(Link *link)
{
	WatchLink  *w = &link->watch;
	const ShipView *view = &link->ship->view;
	int			timeout_ms = baton_heartbeat_interval;
	TalkParams	p = {0};
	char		err[BATON_ERROR_LEN];

	w->asked_at = view->now;
	w->asked_term = link_leads(link) ? view->term : 0;
	w->asked_lease = view->lease_ms;
	talk_int4(&p, view->self);
	talk_int8(&p, w->asked_term);
	talk_int4(&p, (int32) w->asked_lease);
	talk_lsn(&p, view->committed);
	talk_int8(&p, w->term);
	talk_text(&p, w->state);
	talk_int8(&p, w->led_term);
	talk_lsn(&p, w->applied);
	talk_text(&p, w->error);
	talk_int4(&p, timeout_ms);
	talk_int4(&p, view->apply_wanted ? 0 : WATCH_SETTLE_MS);

	PQclear(w->talk.result);
	w->talk.result = NULL;
	watch_step(link, WATCH_ASKED, timeout_ms + link_answer_timeout());
	if (!PQsendQueryPrepared(w->talk.conn->pg, WATCH_STATEMENT, p.n, p.values, p.lengths,
							 p.formats, 1))
	{
		peer_error_line(PQerrorMessage(w->talk.conn->pg), err, sizeof(err));
		watch_fail(link, err);
	}
	else if (!talk_flush(&w->talk, err, sizeof(err)))
		watch_fail(link, err);
}

/* Messages from the member, to this node's coordinator. */
static bool
watch_post_messages(Link *link, const char *bytes, int len)
{
	for (int at = 0; at < len; at += CONSENSUS_MESSAGE_LEN)
	{
		ConsensusMessage m;

		if (!consensus_message_decode((const uint8_t *) bytes + at,
									  Min(len - at, CONSENSUS_MESSAGE_LEN), &m) ||
			m.from != link->id || m.to != link->ship->view.self)
			return false;
		node_post(link->ship->node, &m);
	}
	return true;
}

/*
 * This node does not lead, and watches a member that does, with its gate open: a sign of
 * life, though it asks for no lease and brings no frames.
 */
static void
watch_heard_primary(Link *link)
{
	NodeShared *node = link->ship->node;
	uint64		term = link->watch.led_term;

	if (link->ship->view.primary || term == 0 || TERM_MEMBER(term) != link->id || term < link->ship->view.term)
		return;
	SpinLockAcquire(&node->mutex);
	node->heard_term = term;
	node->heard_leader = link->id;
	node->heard_lease = 0;
	node->heard_at = boot_ms();
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
}

static void
watch_answer(Link *link)
{
	WatchLink  *w = &link->watch;
	const PGresult *r = w->talk.result;

	w->term = talk_get_int8(r, 0);
	talk_get_text(r, 1, w->state, sizeof(w->state));
	w->led_term = talk_get_int8(r, 2);
	w->applied = talk_get_int8(r, 3);
	w->applied_at = (TimestampTz) talk_get_int8(r, 4);
	talk_get_text(r, 5, w->error, sizeof(w->error));
	w->failure[0] = '\0';
	w->pause = LINK_FIRST_PAUSE_MS;
	w->step = WATCH_READY;

	if (w->asked_term != 0 && talk_get_bool(r, 7))
		link_heard(link, w->asked_term, w->asked_at, w->asked_lease);
	link_note_applied(link, w->applied);
	link->last_reply = link->ship->view.wall;
	link->dirty = true;
	link_saw_term(link, w->term, w->led_term);
	watch_heard_primary(link);
	/* published before the messages are posted: they may refer to it */
	link_publish(link);
	if (!watch_post_messages(link, PQgetvalue(r, 0, 6), PQgetlength(r, 0, 6)))
		watch_fail(link, "it has sent messages that are none");
}

/* An answer of the connection's own steps is here. */
static void
watch_advance(Link *link)
{
	char		why[BATON_ERROR_LEN + 40];

	switch (link->watch.step)
	{
		case WATCH_HANDSHAKE:
			if (link_handshake_accepted(link, link->watch.talk.result, false, why, sizeof(why)))
				watch_prepare(link);
			else
				watch_fail(link, why);
			break;
		case WATCH_PREPARE:
			link->watch.step = WATCH_READY;
			break;
		case WATCH_ASKED:
			watch_answer(link);
			break;
		default:
			break;
	}
	/* ask again at once: messages may be on their way */
	if (link->watch.step == WATCH_READY && link->ship->view.watching && !link->detached)
		watch_ask(link);
}

/* The watch connection's socket is ready. */
void
watch_ready(Link *link)
{
	WatchLink  *w = &link->watch;
	char		err[BATON_ERROR_LEN];
	TalkProgress progress;

	if (w->step == WATCH_OFF)
		return;
	progress = w->step == WATCH_CONNECT ? talk_connect(&w->talk, err, sizeof(err))
		: talk_answer(&w->talk, err, sizeof(err));
	if (progress == TALK_FAILED)
		watch_fail(link, err);
	else if (progress == TALK_DONE && w->step == WATCH_CONNECT)
		watch_handshake(link);
	else if (progress == TALK_DONE)
		watch_advance(link);
}

/* Timers: connect, ask, give up. */
void
watch_turn(Link *link)
{
	WatchLink  *w = &link->watch;
	const ShipView *view = &link->ship->view;
	bool		wanted = view->watching && !link->detached;

	if (w->step == WATCH_OFF && wanted)
	{
		if (view->now >= w->retry_at)
			watch_connect(link);
		else
			link_due(link, w->retry_at);
	}
	else if (w->step == WATCH_READY)
	{
		if (wanted)
			watch_ask(link);
		else
			watch_close(link);
	}
	else if (w->step != WATCH_OFF && view->now >= w->deadline)
		watch_fail(link, "no answer in time");
	if (w->step != WATCH_OFF)
		link_due(link, w->deadline);
}
