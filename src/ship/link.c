/*
 * link.c - the link to one member: when to connect, when to give up, when to try
 * again, and what the others are told of it.  The states are drawn in link.h.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "ship/link.h"
#include "ship/rpc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

const char *const link_handshake_sql =
"SELECT status, detail, term, state, log_start, log_end, last_start, last_term, applied, "
"led_term, clock_us, members "
"FROM baton_rpc.handshake($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

void
link_init(Link *link, Shipper *ship, const Member *member)
{
	memset(link, 0, sizeof(*link));
	link->ship = ship;
	link->id = member->voter.id;
	link->detached = member->voter.detached;
	link->incarnation = member->incarnation;
	strlcpy(link->name, member->name, sizeof(link->name));
	strlcpy(link->conninfo, member->conninfo, sizeof(link->conninfo));
	link->pause = LINK_FIRST_PAUSE_MS;
	link->watch.pause = LINK_FIRST_PAUSE_MS;
	link->talk.set_index = -1;
	link->watch.talk.set_index = -1;
	node_log_directory(ship->node, link->reader.directory, sizeof(link->reader.directory));
	link->dirty = true;
}

int
link_answer_timeout(void)
{
	return Max(5000, 4 * baton_heartbeat_interval);
}

/* What the peer has acknowledged to this node, as far as it was written down. */
static void
link_mark_params(const Link *link, TalkParams *p)
{
	NodeShared *node = link->ship->node;
	ConsensusPlace mark = {0};
	PeerShared *peer;

	LWLockAcquire(&node->peer_lock, LW_SHARED);
	peer = node_peer(node, link->id);
	if (peer != NULL)
		mark = peer->mark;
	LWLockRelease(&node->peer_lock);
	talk_int8(p, mark.term);
	talk_lsn(p, mark.pos);
}

/* The handshake of either connection; term: led here, 0 none. */
void
link_handshake_params(const Link *link, uint64 term, TalkParams *p)
{
	const Shipper *ship = link->ship;
	const Member *self = membership_find((Membership *) &ship->membership, ship->view.self);

	talk_bytes(p, UUIDOID, ship->group_id, sizeof(ship->group_id));
	talk_int4(p, ship->view.self);
	talk_text(p, self ? self->name : "");
	talk_int4(p, link->id);
	talk_int4(p, BATON_PROTOCOL_VERSION);
	talk_text(p, rpc_architecture());
	talk_text(p, GetDatabaseEncodingName());
	talk_int8(p, term);
	talk_bytes(p, BYTEAOID, ship->membership_bytes, ship->membership_len);
	talk_int8(p, ship->incarnation);
	talk_int8(p, link->incarnation);
	talk_text(p, ship->collation);
	link_mark_params(link, p);
}

/*
 * The peer says in a handshake that the group has removed this node: the coordinator
 * takes the membership that says so.
 */
static void
link_was_removed(Link *link, const PGresult *r)
{
	Membership *m = palloc(sizeof(Membership));

	if (membership_decode(PQgetvalue(r, 0, HANDSHAKE_MEMBERS), PQgetlength(r, 0, HANDSHAKE_MEMBERS), m))
		node_offer_membership(link->ship->node, m);
	pfree(m);
}

/* The peer says which term it leads; 0 none. */
void
link_met_primary(Link *link, uint64 led_term)
{
	const ShipView *view = &link->ship->view;

	if (led_term != 0 && view->primary && led_term < view->term)
		node_met_primary(link->ship->node, link->id, led_term, view->term);
}

/*
 * What every handshake's answer says, on either connection.  False: the peer has
 * refused, or its clock is too far off; *why then says it, as its status.
 */
bool
link_handshake_accepted(Link *link, const PGresult *r, bool leads, char *why, size_t size)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		half = (now - link->asked_at) / 2;
	int64		delta = (int64) talk_get_int8(r, HANDSHAKE_CLOCK) - (link->asked_at + half);
	char		status[32];
	char		detail[BATON_ERROR_LEN];

	talk_get_text(r, 0, status, sizeof(status));
	talk_get_text(r, 1, detail, sizeof(detail));
	link_met_primary(link, talk_get_int8(r, HANDSHAKE_LED_TERM));
	if (strcmp(status, "removed") == 0)
		link_was_removed(link, r);
	if (strcmp(status, "ok") != 0)
	{
		snprintf(why, size, "%s: %s", status, detail);
		return false;
	}
	/* half of the way there and back is in favour of the peer */
	if (leads && i64abs(delta) - half > (int64) baton_max_clock_delta * 1000)
	{
		snprintf(why, size, "clock: its clock and this server's differ by " INT64_FORMAT " ms, more than the %d ms of baton.max_clock_delta",
				 i64abs(delta) / 1000, baton_max_clock_delta);
		return false;
	}
	return true;
}

/* ---- what the others are told ---- */

static LinkState
link_state(const Link *link)
{
	switch (link->step)
	{
		case STEP_OFF:
			return link->error[0] ? LINK_FAILED : LINK_OFF;
		case STEP_CONNECT:
			return LINK_CONNECTING;
		case STEP_HANDSHAKE:
		case STEP_SEARCH:
		case STEP_CUT:
		case STEP_GONE:
			return LINK_SYNCING;
		case STEP_OPEN:
			break;
	}
	return link->term != 0 ? LINK_STREAMING : LINK_OFF;
}

/* Has the peer's own part of PeerShared changed so that a role may hang on it? */
static bool
link_publish_told(NodeShared *node, const WatchLink *w, PeerShared *peer)
{
	NodeState	state;
	bool		news = false;

	if (w->step < WATCH_READY)
		return false;
	if (node_state_parse(w->state, &state) && state != peer->state)
	{
		/* a copy has made only those roles that were missing: they are all told again */
		if (state == NODE_REPLICA)
			pg_atomic_fetch_add_u32(&node->sequences_all, 1);
		peer->state = state;
		news = true;
	}
	if (w->term != peer->term || w->led_term != peer->led_term ||
		strcmp(w->error, peer->apply_error) != 0)
		news = true;
	peer->term = w->term;
	peer->led_term = w->led_term;
	peer->applied_at = w->applied_at;
	strlcpy(peer->apply_error, w->error, sizeof(peer->apply_error));
	return news;
}

/*
 * Publish what is known of the peer.  The coordinator is woken when something
 * has changed that it acts on, for a mere place only if it waits for one, and for
 * what renews the lease four times per heartbeat at most.
 */
void
link_publish(Link *link)
{
	NodeShared *node = link->ship->node;
	const char *error = link->error[0] ? link->error : link->watch.failure;
	LinkState	state = link_state(link);
	PeerShared *peer;
	bool		news = false;
	bool		moved = false;
	bool		heard = link->heard_sent > link->heard_told + baton_heartbeat_interval / 4;

	link->dirty = false;

	LWLockAcquire(&node->peer_lock, LW_EXCLUSIVE);
	peer = node_peer(node, link->id);
	if (peer != NULL)
	{
		news = peer->link != state;
		moved = peer->flushed != link->flushed || peer->applied != link->applied;
		peer->link = state;
		peer->sent = link->sent;
		peer->written = link->flushed;
		peer->flushed = link->flushed;
		if (link->term != 0)
			peer->stream_term = link->step == STEP_OPEN ? link->term : 0;
		peer->applied = link->applied;
		peer->last_reply = link->last_reply;
		peer->heard_term = link->heard_term;
		peer->heard_sent = link->heard_sent;
		peer->heard_lease = link->heard_lease;
		peer->flush_waits_since = lag_since(&link->ship->lag, link->flushed);
		peer->apply_waits_since = lag_since(&link->ship->lag, link->applied);
		strlcpy(peer->error, error, sizeof(peer->error));
		news |= link_publish_told(node, &link->watch, peer);
	}
	LWLockRelease(&node->peer_lock);

	if (heard)
		link->heard_told = link->heard_sent;
	if (news || heard || (moved && link->ship->view.peer_notify))
		node_wake(node, WORKER_COORDINATOR);
}

void
link_heard(Link *link, uint64 term, uint64 sent_at, uint32 lease)
{
	if (term < link->heard_term || (term == link->heard_term && sent_at <= link->heard_sent))
		return;
	if (term > link->heard_term)
		link->heard_told = 0;
	link->heard_term = term;
	link->heard_sent = sent_at;
	link->heard_lease = lease;
	link->dirty = true;
}

/*
 * A term above this node's was seen: the coordinator is told, again each second
 * as long as it has not taken it over.
 */
void
link_saw_term(Link *link, uint64 term, uint64 led_term)
{
	Shipper    *ship = link->ship;
	ConsensusMessage m = {0};

	if (term <= ship->view.term ||
		(ship->told_term == term && ship->view.now < ship->told_at + 1000))
		return;
	ship->told_term = term;
	ship->told_at = ship->view.now;
	m.type = MSG_LEADER;
	m.from = link->id;
	m.to = ship->view.self;
	m.term = term;
	m.leader_term = led_term == term ? term : 0;
	m.leader = led_term == term ? TERM_MEMBER(term) : 0;
	node_post(ship->node, &m);
}

/* ---- closing and failing ---- */

/* Close the data connection; why: shown as the peer's error, NULL none. */
void
link_close(Link *link, const char *why)
{
	talk_close(&link->talk);
	link_stream_reset(link);
	link->step = STEP_OFF;
	link->term = 0;
	link->prepared = false;
	strlcpy(link->error, why ? why : "", sizeof(link->error));
	link->dirty = true;
}

/*
 * Give the data connection up for now.  pause: ms until the next attempt, or 0
 * for the pause that doubles.  The server log has each reason once in a row.
 */
void
link_fail(Link *link, int pause, const char *fmt,...)
{
	char		why[BATON_ERROR_LEN];
	bool		streaming = link->step == STEP_OPEN && link->term != 0;
	va_list		args;

	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);

	if (pause <= 0)
	{
		pause = Min(link->pause, baton_reconnect_max_delay);
		link->pause = Min(link->pause * 2, baton_reconnect_max_delay);
	}
	/* a quarter of jitter keeps members from knocking in step */
	pause += (int) (pg_prng_uint64(&pg_global_prng_state) % (pause / 4 + 1));
	link->retry_at = link->ship->view.now + pause;

	if (strcmp(link->logged, why) != 0)
	{
		ereport(LOG,
				(streaming ? errmsg("streaming to member \"%s\" has stopped: %s", link->name, why)
				 : errmsg("cannot stream to member \"%s\": %s", link->name, why)));
		strlcpy(link->logged, why, sizeof(link->logged));
	}
	link_close(link, why);
}

/* ---- turning ---- */

static void
link_connect(Link *link)
{
	char		err[BATON_ERROR_LEN];

	if (!talk_open(&link->talk, link->conninfo, err, sizeof(err)))
	{
		link_fail(link, 0, "%s", err);
		return;
	}
	link->step = STEP_CONNECT;
	link->deadline = link->ship->view.now + baton_connect_timeout;
	link->dirty = true;
}

/*
 * Do messages wait for the peer, and does it fetch them itself?  A peer that has
 * sent a message is there: what is left of a pause before it is tried again ends.
 */
static void
link_look_at_outbox(Link *link)
{
	NodeShared *node = link->ship->node;
	PeerShared *peer;
	bool		waiting;
	bool		knocked;

	SpinLockAcquire(&node->mutex);
	peer = node_peer(node, link->id);
	waiting = peer != NULL && peer->outbox_len > 0;
	link->watched = peer != NULL && peer->watchers > 0;
	knocked = peer != NULL && peer->knocked;
	if (knocked)
		peer->knocked = false;
	SpinLockRelease(&node->mutex);

	if (knocked)
	{
		link->retry_at = Min(link->retry_at, link->ship->view.now);
		link->watch.retry_at = Min(link->watch.retry_at, link->ship->view.now);
	}

	if (!waiting)
		link->outbox_since = 0;
	else if (link->outbox_since == 0)
		link->outbox_since = link->ship->view.now;
}

/* A closed link: is it wanted, and is it time? */
static void
link_turn_off(Link *link)
{
	const ShipView *view = &link->ship->view;
	bool		wanted = link_leads(link);

	if (!wanted && link->outbox_since != 0 && !link->watched)
	{
		if (view->now >= link->outbox_since + LINK_WATCHER_MS)
			wanted = true;
		else
			link_due(link, link->outbox_since + LINK_WATCHER_MS);
	}
	if (!wanted)
	{
		if (link->error[0] != '\0' && !view->primary)
			link_close(link, NULL); /* an old error means nothing to who does not lead */
		return;
	}
	if (!view->primary)
		link->retry_at = Min(link->retry_at, view->now + LINK_MESSAGE_PAUSE_MS);
	if (view->now >= link->retry_at)
		link_connect(link);
	else
		link_due(link, link->retry_at);
}

/* A link between connecting and OPEN: has its time come, or its term gone? */
static void
link_turn_sync(Link *link)
{
	const ShipView *view = &link->ship->view;

	if (view->now >= link->deadline)
	{
		if (link->step == STEP_CONNECT)
			link_fail(link, 0, "no connection within %d ms", baton_connect_timeout);
		else
			link_fail(link, 0, "no answer to the handshake within %d ms", LINK_SYNC_MS);
	}
	else if (link->term != 0 && (!link_leads(link) || link->term != view->term))
	{
		link->retry_at = view->now;
		link_close(link, NULL);
		link_due(link, view->now);
	}
}

/* An open link: another term to lead, things to send, or idle for good? */
static void
link_turn_open(Link *link)
{
	const ShipView *view = &link->ship->view;

	if (link_leads(link) && link->term != view->term)
	{
		/* shake hands anew on this connection, once all calls are answered */
		if (link->n_calls == 0)
		{
			if (PQexitPipelineMode(link->talk.conn->pg))
				link_sync_begin(link);
			else
				link_fail(link, 0, "%s", "the connection cannot be used again");
			return;
		}
	}
	link_stream_turn(link);
	if (link->step == STEP_OPEN && !link_leads(link))
	{
		uint64		idle_at = link->used_at + LINK_IDLE_MS;

		if (view->now >= idle_at && link->n_calls == 0 && link->outbox_since == 0)
			link_close(link, NULL);
		else
			link_due(link, Max(idle_at, view->now + 100));
	}
}

void
link_turn(Link *link)
{
	link->wake_at = PG_UINT64_MAX;
	if (link->leaving_until != 0)
	{
		link_turn_leaving(link);
		return;
	}
	link_look_at_outbox(link);
	if (link->step == STEP_OFF)
		link_turn_off(link);
	if (link->step == STEP_OPEN)
		link_turn_open(link);
	else if (link->step != STEP_OFF)
		link_turn_sync(link);

	if (link->step == STEP_OFF)
	{
		if (link_leads(link))
			link_due(link, link->retry_at);
	}
	else if (link->step != STEP_OPEN)
		link_due(link, link->deadline);
	watch_turn(link);
	if (link->dirty)
		link_publish(link);
}

/* The data connection's socket is ready. */
void
link_ready(Link *link)
{
	char		err[BATON_ERROR_LEN];

	switch (link->step)
	{
		case STEP_OFF:
			break;
		case STEP_CONNECT:
			switch (talk_connect(&link->talk, err, sizeof(err)))
			{
				case TALK_FAILED:
					link_fail(link, 0, "%s", err);
					break;
				case TALK_PENDING:
					break;
				case TALK_DONE:
					link_sync_begin(link);
					break;
			}
			break;
		case STEP_HANDSHAKE:
		case STEP_SEARCH:
		case STEP_CUT:
		case STEP_GONE:
			switch (talk_answer(&link->talk, err, sizeof(err)))
			{
				case TALK_FAILED:
					link_fail(link, 0, "%s", err);
					break;
				case TALK_PENDING:
					break;
				case TALK_DONE:
					link_sync_answer(link);
					break;
			}
			break;
		case STEP_OPEN:
			link_stream_read(link);
			break;
	}
}
