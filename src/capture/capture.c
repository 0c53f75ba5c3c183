/*
 * capture.c - the worker that brings this node's own commits into the stream.
 *
 * It talks to a walsender of its own server, behind the node's logical slot, whose
 * output plugin (output_plugin.c) sends records.  The progression:
 *
 *   wait       until the node has a slot and, to append, a log
 *   connect    START_REPLICATION from source_lsn: own commits up to there lie in
 *              the log.  What the log has left open goes void with an ABORT of
 *              everything, because the walsender sends it all again
 *   converse   read what the socket has; collect records into frames; append,
 *              flush once; publish captured_lsn; tell the walsender; wait
 *
 * until the connection is lost or the term changes while something is under way,
 * and then from the start.
 *
 * A commit of 100 bytes: the walsender, woken by the WAL flush, sends BEGIN,
 * RELATION, INSERT, COMMIT in one message, the commits that were flushed with it, and
 * a keepalive.  So the frame is sealed, appended and flushed; captured_lsn becomes the commit's end, which frees
 * whoever waits for it, and the walsender hears it.
 *
 * The same under an ack policy: appending it wakes the shipper, which sends the frame
 * while it is flushed (shared_log.c), and nothing is said yet.  The shipper counts the
 * answers, and lets the sessions go that wait in their commit (acked.c); the walsender
 * hears of it a little later.  Nothing is paced then.
 *
 * A bulk load of 1 GB: chunks of it come while it runs.  Frames of 1 MB are
 * appended as they fill up and flushed every BATCH_SIZE; there is no hurry, for
 * nobody waits for a transaction in progress.  Its COMMIT is handled as above.
 *
 * Not primary (capture_term 0): the conversation goes on, so that the slot follows
 * and a promotion need not wait for it.  What the applier writes is filtered out by
 * its replication origin.  An own commit that arrives all the same is diverged: it
 * is published as diverged_lsn and not confirmed, so that the slot stays before it,
 * and comes again if this node leads again (it may: a restarted primary has such
 * commits in its WAL, and appends them in its next reign).
 *
 * Positions: received is how far the walsender has told everything; captured_lsn
 * follows when no commit below it waits for a flush.  Commits without decodable
 * changes and applied ones show only as keepalives.
 */
#include "baton.h"

#include "access/xact.h"
#include "capture/acked.h"
#include "capture/capture_link.h"
#include "capture/frame_builder.h"
#include "capture/release.h"
#include "capture/ship_ahead.h"
#include "capture/slot.h"
#include "miscadmin.h"
#include "node/shutdown.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Records appended or collected before a flush is due in any case. */
#define BATCH_SIZE			(4 * 1024 * 1024)
/* Time between two flushes while commits keep coming, in us, unless somebody waits:
 * each costs an fsync on every node, and as many wake-ups.  A commit after a pause
 * is flushed at once. */
#define PACE_US				3000
/* How long commits wait for those that were flushed with them, in us: the walsender is
 * sending these, and says so when it has no more. */
#define GROUP_US			1000
/* How long records of transactions in progress may wait for more, in ms. */
#define LINGER_MS			20
/* A status is repeated, after this and then ever longer times, up to the maximum:
 * the walsender ignores what it hears before it has caught up. */
#define STATUS_MIN_MS		100
#define STATUS_MAX_MS		10000
#define STATUS_MAX_SYNC_MS	1000	/* while sessions may wait for it */
/* Time between attempts to connect. */
#define BACKOFF_MIN_MS		100
#define BACKOFF_MAX_MS		5000
/* Time between looks at a condition that only a person or the coordinator ends. */
#define IDLE_WAIT_MS		1000

/* SQLSTATE of a slot that another process uses */
#define ERRCODE_IN_USE		"55006"

typedef struct Capture
{
	NodeShared *node;
	StreamWriter writer;
	FrameCodec	codec;
	FrameBuilder builder;

	/* the conversation */
	PGconn	   *conn;
	WaitEventSet *events;
	uint64		term;			/* capture_term that it runs under */
	XLogRecPtr	start;			/* own commits up to here lay in the log when it began */
	LinkMessage message;
	XLogRecPtr	received;		/* all own commits up to here have been received */
	XLogRecPtr	captured;		/* ... and are flushed: what captured_lsn says */
	LinkStatus	status;			/* what the walsender is to be told ... */
	LinkStatus	told;			/* ... and has been */
	uint64		dropped_sequence;	/* LSN of the last state of a sequence that was thrown away */
	bool		dropped;		/* records were thrown away: to have them it must begin anew */
	bool		diverged;		/* own commits among them: captured stays */
	size_t		unflushed;		/* bytes appended since the last flush */
	bool		unflushed_urgent;	/* a COMMIT, or a message, among them */
	TimestampTz flushed_at;		/* the last flush of a commit */
	TimestampTz collecting_since;	/* when the oldest unflushed record came, 0: none */
	bool		more_follows;	/* the walsender has not said that it has sent all that it knows of */
	bool		reply_requested;
	int			status_delay;	/* ms */
	TimestampTz next_status;

	uint64		open_term;		/* term of a transaction left open in the log, 0: none */
	int			backoff;		/* ms */
	char		error[BATON_ERROR_LEN]; /* logged last */
} Capture;

PGDLLEXPORT void baton_capture_main(Datum main_arg);

/* In a conversation, which goes on while the server stops. */
static volatile sig_atomic_t conversing = false;

/*
 * SIGTERM ends this process, unless it is in the middle of a conversation: that is
 * looked at there, because a primary's server that stops still needs its commits
 * in the stream.
 */
static void
capture_sigterm(SIGNAL_ARGS)
{
	if (conversing)
		SignalHandlerForShutdownRequest(postgres_signal_arg);
	else
		die(postgres_signal_arg);
}

/* The place where this process ends, in a conversation or anywhere. */
static inline void
check_for_end(Capture *c)
{
	if (ShutdownRequestPending && !node_worker_outlives(c->node, WORKER_CAPTURE))
		die(SIGTERM);
	CHECK_FOR_INTERRUPTS();
}

/* ---- what others see ---- */

/* Publish an error for baton.status; the log hears of each one once. */
static void
report_error(Capture *c, const char *error)
{
	SpinLockAcquire(&c->node->mutex);
	strlcpy(c->node->capture_error, error, sizeof(c->node->capture_error));
	SpinLockRelease(&c->node->mutex);
	if (strcmp(error, c->error) == 0)
		return;
	strlcpy(c->error, error, sizeof(c->error));
	if (error[0] != '\0')
		ereport(LOG,
				(errmsg("capture of database \"%s\" is held up: %s", c->node->dbname, error)));
}

static void
report_activity(Capture *c)
{
	pgstat_report_activity(STATE_RUNNING, c->term != 0 ?
						   "capturing commits" : "following the WAL");
}

/* Publish how far capture is, and wake those who wait for it. */
static void
publish(Capture *c)
{
	NodeShared *node = c->node;
	StreamPos	oldest = c->term != 0 ? frame_builder_oldest_open(&c->builder) : 0;
	bool		moved;
	bool		notify = false;

	SpinLockAcquire(&node->mutex);
	moved = c->captured > node->captured_lsn;
	if (moved)
		node->captured_lsn = c->captured;
	node->oldest_open = oldest;
	if (node->capture_notify_lsn != InvalidXLogRecPtr &&
		node->captured_lsn >= node->capture_notify_lsn)
	{
		node->capture_notify_lsn = InvalidXLogRecPtr;
		notify = true;
	}
	SpinLockRelease(&node->mutex);
	if (moved)
		ConditionVariableBroadcast(&node->captured_cv);
	if (notify)
		node_wake(node, WORKER_COORDINATOR);
}

/* An own commit that cannot go into the log; stays set until this node leads. */
static void
publish_divergence(Capture *c, uint64 commit_lsn)
{
	NodeShared *node = c->node;
	bool		first;

	c->diverged = true;
	SpinLockAcquire(&node->mutex);
	first = node->diverged_lsn == InvalidXLogRecPtr;
	if (first)
		node->diverged_lsn = commit_lsn;
	SpinLockRelease(&node->mutex);
	if (!first)
		return;
	ereport(LOG,
			(errmsg("database \"%s\" has a commit of its own at %X/%X that is not in the replication stream",
					node->dbname, LSN_FORMAT_ARGS(commit_lsn)),
			 errdetail("This node is not primary.")));
	node_wake(node, WORKER_COORDINATOR);
}

static uint64
current_term(Capture *c)
{
	uint64		term;

	SpinLockAcquire(&c->node->mutex);
	term = c->node->capture_term;
	SpinLockRelease(&c->node->mutex);
	return term;
}

/* ---- into the log ---- */

/* The builder's FrameFloor. */
static StreamPos
log_floor(void *arg)
{
	return node_log_tail(((Capture *) arg)->node).end;
}

/* The builder's FrameEmitter: append the frame, or throw it away while not primary. */
static StreamCode
emit_frame(void *arg, const BuiltFrame *frame, StreamError *err)
{
	Capture    *c = arg;
	StreamCode	code;

	if (c->term == 0)
	{
		if (frame->sequence_lsn != 0)
			c->dropped_sequence = frame->sequence_lsn;
		else
			c->dropped = true;
		if (frame->n_commits > 0)
			publish_divergence(c, frame->first_commit_lsn);
		return STREAM_OK;
	}
	code = node_log_seal_append(c->node, &c->writer, &c->codec, c->term, frame->source_lsn,
								frame->n_commits, frame->records, frame->len,
								frame->urgent && capture_may_ship_ahead(c->node), NULL, err);
	if (code == STREAM_OK)
	{
		c->unflushed += frame->len;
		c->unflushed_urgent |= frame->urgent;
		c->open_term = c->term;
	}
	else if (code == STREAM_MISMATCH && frame->n_commits > 0)
		publish_divergence(c, frame->first_commit_lsn);
	return code;
}

static StreamCode
flush_log(Capture *c, StreamError *err)
{
	StreamCode	code = STREAM_OK;

	if (c->unflushed > 0)
	{
		code = node_log_flush(c->node, &c->writer, true, err);
		c->flushed_at = GetCurrentTimestamp();
	}
	if (code == STREAM_OK)
	{
		c->unflushed = 0;
		c->unflushed_urgent = false;
		c->collecting_since = 0;
		c->open_term = frame_builder_busy(&c->builder) ? c->term : 0;
	}
	return code;
}

static bool
has_policy(Capture *c)
{
	return pg_atomic_read_u32(&c->node->ack_policy) != ACK_NONE;
}

/* Commits that are not flushed, though nobody waits and the last flush is fresh. */
static bool
may_pace(Capture *c, TimestampTz now)
{
	return !has_policy(c) && c->node->capture_notify_lsn == InvalidXLogRecPtr &&
		now >= c->flushed_at && now - c->flushed_at < PACE_US;
}

/*
 * Commits that came to the WAL's disk together are to come to the log's together: each
 * flush costs every node one.  When the walsender has sent all that it knew of it
 * sends a keepalive, in the same breath.
 */
static bool
may_group(Capture *c, TimestampTz now)
{
	return c->more_follows && now >= c->collecting_since && now - c->collecting_since < GROUP_US;
}

/*
 * What is received is to be settled now if somebody may wait for it (a commit) or
 * if it has become much or old.
 */
static bool
flush_is_due(Capture *c)
{
	TimestampTz now = GetCurrentTimestamp();

	if (c->unflushed + c->builder.frame.len >= BATCH_SIZE)
		return true;
	if (c->builder.urgent || c->unflushed_urgent)
		return !may_pace(c, now) && !may_group(c, now);
	return c->collecting_since != 0 &&
		TimestampDifferenceExceeds(c->collecting_since, now, LINGER_MS);
}

/* Bring the log and captured_lsn up to what has been received, if it is time. */
static StreamCode
settle(Capture *c, StreamError *err)
{
	StreamCode	code = STREAM_OK;
	XLogRecPtr	before = c->captured;
	bool		flushed = false;

	if (c->collecting_since == 0 && (c->unflushed > 0 || c->builder.frame.len > 0))
		c->collecting_since = GetCurrentTimestamp();
	if (flush_is_due(c))
	{
		code = frame_builder_finish(&c->builder, err);
		if (code == STREAM_OK)
			code = flush_log(c, err);
		flushed = true;
	}
	if (code != STREAM_OK)
		return code;
	/* a commit that is held back for a moment is not in the log yet */
	if (c->builder.urgent || c->unflushed_urgent)
		return STREAM_OK;
	if (!c->diverged)
		c->captured = Max(c->captured, c->received);
	if (flushed || c->captured > before)
		acked_note(c->node, flushed && c->term != 0 ? node_log_tail(c->node).flushed : 0,
				   c->captured);
	if (c->captured > before || flushed || c->node->capture_notify_lsn != InvalidXLogRecPtr)
		publish(c);
	return STREAM_OK;
}

/* ---- the conversation ---- */

static void
disconnect(Capture *c)
{
	if (c->message.buffer != NULL)
		PQfreemem(c->message.buffer);
	c->message.buffer = NULL;
	if (c->events != NULL)
		FreeWaitEventSet(c->events);
	c->events = NULL;
	PQfinish(c->conn);
	c->conn = NULL;
}

/* Where the walsender is to begin: own commits up to there are taken care of. */
static XLogRecPtr
start_lsn(Capture *c)
{
	NodeShared *node = c->node;
	XLogRecPtr	start;
	XLogRecPtr	floor;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	start = node->source_lsn;
	LWLockRelease(&node->log_lock);
	SpinLockAcquire(&node->mutex);
	floor = node->own_floor;
	SpinLockRelease(&node->mutex);
	return Max(start, floor);
}

/*
 * Void what an earlier conversation has left open in the log; the walsender sends
 * it again.  What was open in an earlier term is void already, by the TERM record.
 */
static StreamCode
abort_open(Capture *c, StreamError *err)
{
	StreamBuf	record = {0};
	StreamCode	code;

	record_put_abort(&record, 0, 0);
	if (record.failed)
		return stream_fail(err, STREAM_NOMEM, 0, 0, "out of memory");
	code = node_log_seal_append(c->node, &c->writer, &c->codec, c->term, 0, 0,
								record.data, record.len, false, NULL, err);
	stream_buf_free(&record);
	return code;
}

/*
 * Before the walsender's first record: the log is in order, all of it is flushed
 * (start_lsn() counted on it), and a new reign takes up the commits that could not
 * be appended before.
 */
static StreamCode
begin_appending(Capture *c, StreamError *err)
{
	StreamTail	tail;
	StreamCode	code = STREAM_OK;

	/* the segment may have been cut off and made anew by others */
	stream_writer_close(&c->writer);
	if (c->term != 0 && c->open_term == c->term)
		code = abort_open(c, err);
	tail = node_log_tail(c->node);
	if (code == STREAM_OK && tail.flushed < tail.end)
		code = node_log_flush(c->node, &c->writer, true, err);
	if (code != STREAM_OK)
		return code;
	c->open_term = 0;
	if (c->term != 0)
	{
		SpinLockAcquire(&c->node->mutex);
		c->node->diverged_lsn = InvalidXLogRecPtr;
		SpinLockRelease(&c->node->mutex);
	}
	return STREAM_OK;
}

/* Connect and begin; false with the reason in err. */
static bool
begin_conversation(Capture *c, char *err, size_t errlen)
{
	StreamError stream_err = {0};
	StreamCode	code;
	char		sqlstate[6];

	/* in this order: what is in the log when a reign begins counts */
	c->term = current_term(c);
	c->start = start_lsn(c);
	c->conn = capture_link_open(c->node, c->start, sqlstate, err, errlen);
	if (c->conn == NULL)
	{
		/* the walsender of the last conversation may need a moment to go */
		if (strcmp(sqlstate, ERRCODE_IN_USE) == 0 && c->backoff < BACKOFF_MAX_MS)
			err[0] = '\0';
		return false;
	}
	c->events = baton_create_wait_event_set(3);
	AddWaitEventToSet(c->events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(c->events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(c->events, WL_SOCKET_READABLE, PQsocket(c->conn), NULL, NULL);

	frame_builder_reset(&c->builder, c->start);
	c->received = InvalidXLogRecPtr;
	memset(&c->told, 0, sizeof(c->told));
	SpinLockAcquire(&c->node->mutex);
	c->builder.sequence_floor = c->node->sequence_floor;
	c->captured = c->node->captured_lsn;
	SpinLockRelease(&c->node->mutex);
	c->dropped_sequence = 0;
	c->dropped = c->diverged = c->reply_requested = c->unflushed_urgent = c->more_follows = false;
	c->unflushed = 0;
	c->collecting_since = 0;
	c->status_delay = STATUS_MIN_MS;
	c->next_status = GetCurrentTimestamp();
	code = begin_appending(c, &stream_err);
	if (code != STREAM_OK)
	{
		strlcpy(err, code == STREAM_MISMATCH ? "" : stream_err.message, errlen);
		return false;
	}
	acked_begin(c->node, c->term, node_log_tail(c->node).flushed, c->captured);
	publish(c);
	return true;
}

/*
 * Follow a change of capture_term.  Returns false if the conversation must begin
 * anew: something is half done under the old term, or was thrown away.
 */
static bool
follow_term(Capture *c)
{
	uint64		term = current_term(c);
	uint64		sequence_floor;

	if (term == c->term)
		return true;
	SpinLockAcquire(&c->node->mutex);
	sequence_floor = c->node->sequence_floor;
	SpinLockRelease(&c->node->mutex);
	/* own commits that another node has brought back are in the log, and yet to come by */
	if (term != 0 && start_lsn(c) > Max(c->start, c->captured))
		return false;
	/* a replica throws away what its applier has set */
	if (c->dropped || (c->dropped_sequence != 0 && c->dropped_sequence >= sequence_floor) || c->unflushed > 0 || frame_builder_busy(&c->builder))
		return false;
	c->term = term;
	acked_begin(c->node, c->term, node_log_tail(c->node).flushed, c->captured);
	c->builder.sequence_floor = sequence_floor;
	stream_writer_close(&c->writer);
	report_activity(c);
	return true;
}

/* Handle one message.  Returns what the log said. */
static StreamCode
take_message(Capture *c, LinkMessageKind kind, StreamError *err)
{
	StreamCode	code;

	if (kind == LINK_KEEPALIVE)
	{
		c->received = Max(c->received, c->message.wal_end);
		c->reply_requested |= c->message.reply_requested;
		c->more_follows = false;
		return STREAM_OK;
	}
	c->more_follows = true;
	code = frame_builder_add(&c->builder, c->message.data, c->message.len, err);
	if (code == STREAM_OK)
		c->received = Max(c->received, c->builder.received_lsn);
	if (code == STREAM_OK && c->unflushed + c->builder.frame.len >= BATCH_SIZE)
		code = settle(c, err);
	return code;
}

/*
 * Read all that the socket has.  Returns false if the conversation is over, with
 * the reason in err ("" if that is only another term).
 */
static bool
read_all(Capture *c, char *err, size_t errlen)
{
	bool		drained = false;

	for (;;)
	{
		LinkMessageKind kind = capture_link_read(c->conn, &c->message, err, errlen);
		StreamError stream_err = {0};
		StreamCode	code;

		check_for_end(c);
		if (kind == LINK_OVER)
			return false;
		if (kind == LINK_NOTHING)
		{
			if (drained)
				return true;
			if (!PQconsumeInput(c->conn))
			{
				strlcpy(err, "the connection to the walsender was lost", errlen);
				return false;
			}
			drained = true;
			continue;
		}
		drained = false;
		c->backoff = BACKOFF_MIN_MS;
		code = take_message(c, kind, &stream_err);
		if (code != STREAM_OK)
		{
			strlcpy(err, code == STREAM_MISMATCH ? "" : stream_err.message, errlen);
			return false;
		}
	}
}

/* Is it the walsender that lets sessions go, so that it must hear news at once? */
static bool
walsender_releases(Capture *c)
{
	return baton_sync_standbys_defined() && !release_is_ours(c->node);
}

/*
 * Let sessions go whose commits are acknowledged, and tell the walsender how far we
 * are: news (with the next repetition, if nobody waits for it), an answer, or a
 * repetition.
 */
static void
tell_status(Capture *c)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		news;

	(void) acked_follow(c->node);
	acked_status(c->node, &c->told, &c->status);
	news = memcmp(&c->status, &c->told, sizeof(LinkStatus)) != 0;
	if (news)
	{
		c->status_delay = STATUS_MIN_MS;
		c->next_status = Min(c->next_status, TimestampTzPlusMilliseconds(now, STATUS_MIN_MS));
	}
	if (!c->reply_requested && !(news && walsender_releases(c)))
	{
		if (now < c->next_status)
			return;
		if (!news)
			c->status_delay = Min(c->status_delay * 2,
								  has_policy(c) ? STATUS_MAX_SYNC_MS : STATUS_MAX_MS);
	}
	if (c->status.write != InvalidXLogRecPtr && capture_link_status(c->conn, &c->status))
	{
		c->told = c->status;
		c->reply_requested = false;
	}
	c->next_status = TimestampTzPlusMilliseconds(now, c->status_delay);
}

/* Wait for the socket, for the latch, or for what has its time. */
static void
wait_for_more(Capture *c)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = TimestampDifferenceMilliseconds(now, c->next_status);
	WaitEvent	event;

	if (c->builder.urgent || c->unflushed_urgent)
		timeout = Min(timeout, (may_pace(c, now) ? PACE_US : GROUP_US) / 1000);
	else if (c->collecting_since != 0)
		timeout = Min(timeout, LINGER_MS);
	/* at least one: a deadline that rounds to zero would make this spin */
	if (WaitEventSetWait(c->events, Max(timeout, 1), &event, 1, PG_WAIT_EXTENSION) == 1 &&
		event.events == WL_LATCH_SET)
		ResetLatch(MyLatch);
}

/*
 * Converse until it is over.  err: the reason, "" if it is only to begin anew.
 */
static void
converse(Capture *c, char *err, size_t errlen)
{
	StreamError stream_err = {0};
	StreamCode	code;

	err[0] = '\0';
	for (;;)
	{
		check_for_end(c);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!follow_term(c))
			return;
		if (!read_all(c, err, errlen))
			return;
		code = settle(c, &stream_err);
		if (code != STREAM_OK)
		{
			if (code != STREAM_MISMATCH)
				strlcpy(err, stream_err.message, errlen);
			return;
		}
		tell_status(c);
		wait_for_more(c);
	}
}

/* ---- the worker ---- */

static void
nap(long ms)
{
	if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
				  PG_WAIT_EXTENSION) & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Whether there is anything to converse about; if not, capture_error says why. */
static bool
ready(Capture *c)
{
	char		name[NAMEDATALEN];
	char		error[BATON_ERROR_LEN];
	bool		has_slot;
	bool		log_ready;
	bool		explained;

	SpinLockAcquire(&c->node->mutex);
	has_slot = c->node->slot_name[0] != '\0';
	explained = strstr(c->node->capture_error, CAPTURE_SLOT_TOO_LARGE) != NULL;
	SpinLockRelease(&c->node->mutex);
	LWLockAcquire(&c->node->log_lock, LW_SHARED);
	log_ready = c->node->log_ready;
	LWLockRelease(&c->node->log_lock);
	/* the coordinator has not come that far */
	if (!has_slot || !log_ready)
		return false;
	if (!capture_slot_exists(c->node))
	{
		capture_slot_name(c->node, name);
		snprintf(error, sizeof(error), "replication slot \"%s\" is missing", name);
		if (!explained)
			report_error(c, error);
		return false;
	}
	return true;
}

static void
run(Capture *c)
{
	char		err[BATON_ERROR_LEN];

	for (;;)
	{
		if (!ready(c))
		{
			pgstat_report_activity(STATE_IDLE, "waiting for the slot and the log");
			nap(IDLE_WAIT_MS);
			continue;
		}
		err[0] = '\0';
		if (begin_conversation(c, err, sizeof(err)))
		{
			report_error(c, "");
			report_activity(c);
			conversing = true;
			converse(c, err, sizeof(err));
			conversing = false;
			/* what came meanwhile: a server that stops takes no new connection */
			if (ShutdownRequestPending)
				die(SIGTERM);
		}
		disconnect(c);
		/* without an error the term has changed, or is about to: no need to hurry */
		if (err[0] != '\0')
			report_error(c, err);
		nap(err[0] != '\0' ? c->backoff : Min(c->backoff, BACKOFF_MIN_MS));
		c->backoff = Min(c->backoff * 2, BACKOFF_MAX_MS);
	}
}

/*
 * Entry point of the background worker; main_arg is the database's oid.
 */
void
baton_capture_main(Datum main_arg)
{
	Oid			dboid = DatumGetObjectId(main_arg);
	Capture    *c;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, capture_sigterm);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	SetConfigOption("application_name", "baton capture", PGC_USERSET, PGC_S_SESSION);

	c = MemoryContextAllocZero(TopMemoryContext, sizeof(Capture));
	c->node = node_find(dboid);
	if (c->node == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database with OID %u is not a node of a replication group", dboid)));
	node_worker_attach(c->node, WORKER_CAPTURE);
	node_log_directory(c->node, c->writer.directory, sizeof(c->writer.directory));
	c->builder.emit = emit_frame;
	c->builder.floor = log_floor;
	c->builder.arg = c;
	/* an earlier capture of this reign may have ended in the middle of a transaction */
	c->open_term = current_term(c);
	c->backoff = BACKOFF_MIN_MS;
	run(c);
}
