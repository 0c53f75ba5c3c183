/*
 * recovery.c - what a coordinator does first: read the control file, check that
 * it belongs here, open the stream log.
 *
 * Whatever is wrong ends in one clear log line and a node that is down or
 * detached; the server and its other databases run on, and nothing on disk has
 * been changed.
 */
#include "node/coordinator.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "capture/slot.h"
#include "commands/dbcommands.h"
#include "copy/copy.h"
#include "miscadmin.h"

/* The node stays down: no worker runs, the gate stays closed. */
static void
stay_down(Coordinator *c, const char *what, const char *why, const char *hint)
{
	c->down = true;
	pg_atomic_write_u32(&c->node->mending, MENDING_NOT);
	LWLockAcquire(&c->node->state_lock, LW_EXCLUSIVE);
	c->node->state = NODE_DOWN;
	snprintf(c->node->reason, BATON_REASON_LEN, "%s: %s", what, why);
	LWLockRelease(&c->node->state_lock);
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the baton node of database \"%s\" stays down: %s", c->node->dbname, what),
			 errdetail("%s", why),
			 errhint("%s", hint)));
}

/* The node is out of service until a person calls baton.start(). */
static void
stay_detached(Coordinator *c, const char *why)
{
	if (c->control.intent == INTENT_DETACHED && strcmp(c->control.reason, why) == 0)
		return;
	c->control.intent = INTENT_DETACHED;
	strlcpy(c->control.reason, why, BATON_REASON_LEN);
	coordinator_save(c);
	coordinator_note(c, "detached", "out of service: %s", why);
}

static bool
read_control(Coordinator *c)
{
	ControlError err;
	ControlCode code = control_read(c->node->directory, &c->control, &err);
	const char *restore = "An older copy of the file would forget votes: call baton.leave_group(force => true), and join the group again with an empty database.";

	if (code != CONTROL_OK)
	{
		stay_down(c, "its control file cannot be used", err.message, restore);
		return false;
	}
	if (c->control.dboid != c->node->dboid)
	{
		stay_down(c, "its control file belongs to another database",
				  psprintf("The file names the database with OID %u.", c->control.dboid), restore);
		return false;
	}
	return true;
}

/*
 * Remembers up to where this node's own commits lie in the log, and whether the last frame
 * came from a primary that may have shipped it ahead of its flush (shared_log.c).
 */
typedef struct OwnScan
{
	uint16		self;
	uint64		own_lsn;
	bool		last_is_ahead;
} OwnScan;

static void
note_own_frames(const FrameHeader *h, void *arg)
{
	OwnScan    *scan = (OwnScan *) arg;

	scan->last_is_ahead = (h->flags & FRAME_AHEAD) != 0 && TERM_MEMBER(h->term) != scan->self;
	if (TERM_MEMBER(h->term) == scan->self && h->source_lsn > scan->own_lsn)
		scan->own_lsn = h->source_lsn;
}

/*
 * Has a flush of the log failed since the server started?  What could not be
 * written looks fine in the kernel's cache all the same, and the next flush would
 * succeed: so the log is taken up again only when a person has restarted the server.
 */
static bool
flush_has_failed(Coordinator *c)
{
	bool		broken;

	LWLockAcquire(&c->node->log_lock, LW_SHARED);
	broken = c->node->tail.broken;
	LWLockRelease(&c->node->log_lock);
	if (broken)
		stay_down(c, "its stream log could not be flushed to disk",
				  "What was written last may be lost, although it can still be read.",
				  "Look after the disk, then restart the server.");
	return broken;
}

static bool
open_log(Coordinator *c)
{
	NodeShared *node = c->node;
	OwnScan		scan = {c->control.self, c->control.own_lsn, false};
	StreamTail	tail;
	StreamError err = {0};
	uint64		cut = 0;
	char		directory[MAXPGPATH];

	if (flush_has_failed(c))
		return false;
	node_log_directory(node, directory, sizeof(directory));
	if (stream_log_open(directory, c->control.known_flushed, c->control.known_flushed,
						c->control.base_last_start, c->control.base_last_term,
						&c->control.terms,
						note_own_frames, &scan, &tail, &cut, &err) != STREAM_OK)
	{
		LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
		snprintf(node->log_error, BATON_ERROR_LEN, "%s", err.message);
		LWLockRelease(&node->log_lock);
		stay_down(c, "its stream log cannot be used",
				  psprintf("At position " STREAM_POS_FORMAT ": %s", STREAM_POS_ARGS(err.pos), err.message),
				  "Call baton.leave_group(force => true), and join the group again with an empty database.");
		return false;
	}
	if (cut > 0)
		coordinator_note(c, "log cut", "a torn end of " UINT64_FORMAT " bytes was cut off the stream log at " STREAM_POS_FORMAT,
						 cut, STREAM_POS_ARGS(tail.end));

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->tail = tail;
	node->ship_ahead = 0;
	node->apply_to = scan.last_is_ahead ? tail.last_start : tail.end;
	node->apply_told = 0;
	node->source_lsn = Max(scan.own_lsn, c->control.own_floor);
	node->flushed_source_lsn = node->source_lsn;
	node->append_term = 0;
	node->log_ready = true;
	node->log_error[0] = '\0';
	node->share_floor = c->control.share_floor;
	LWLockRelease(&node->log_lock);
	return true;
}

static void
publish_marks(Coordinator *c)
{
	NodeShared *node = c->node;
	StreamPos	end = node_log_tail(node).end;

	SpinLockAcquire(&node->mutex);
	node->copy_source = c->control.copy_source;
	node->copy_term = c->control.copy_term;
	node->copy_lsn = c->control.copy_lsn;
	node->own_floor = c->control.own_floor;
	node->sequence_floor = c->control.sequence_floor;
	strlcpy(node->slot_name, c->control.slot_name, NAMEDATALEN);
	node->applied = Min(c->control.applied_floor, end);
	node->capture_term = 0;
	node->failover_seen = false;
	SpinLockRelease(&node->mutex);
	coordinator_recover_reconcile(c);
}

/* Reasons why an active node has to wait for a person, or NULL. */
static const char *
not_fit(Coordinator *c)
{
	if (c->control.system_identifier != GetSystemIdentifier())
		return "the data directory is a copy of another server's";
	if (c->control.slot_name[0] != '\0' && !capture_slot_exists(c->node))
		return "the replication slot of this node is missing (the data directory was restored or cloned, or the slot was dropped)";
	return NULL;
}

/*
 * Fill the coordinator from disk and publish what the workers need.  Sets
 * c->down if the node cannot be used.
 */
void
coordinator_recover(Coordinator *c)
{
	const char *why;

	StartTransactionCommand();
	strlcpy(c->node->dbname, get_database_name(c->node->dboid), NAMEDATALEN);
	CommitTransactionCommand();

	if (!read_control(c))
		return;
	node_log_directory(c->node, c->writer.directory, sizeof(c->writer.directory));
	if (c->control.intent == INTENT_COPYING)
	{
		c->node->copy.replaces = c->control.copy_replaces;
		publish_marks(c);
		return;
	}
	copy_forget(c->node);
	why = not_fit(c);
	if (why != NULL)
		stay_detached(c, why);
	if (!open_log(c))
		return;
	publish_marks(c);
}
