/*
 * events.c - the table baton.events: what has happened to this node, and the
 * notification baton_events that goes with each row.
 *
 * Notes are taken at once, in memory and in the server log, and written to the
 * table when the coordinator has nothing more urgent to do.  The rows are local
 * to the node: they carry the origin that capture leaves out.  Row and
 * notification are one transaction, so whoever is notified finds the row.
 */
#include "node/coordinator.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "failover/gate.h"
#include "mb/pg_wchar.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The table keeps this many rows. */
#define EVENTS_KEPT 10000
/* Pause after a failure, in ms. */
#define RETRY_MS	10000

/*
 * Note an event.  kind: a word or two; fmt: one sentence without a full stop.
 */
void
coordinator_note(Coordinator *c, const char *kind, const char *fmt,...)
{
	PendingEvent *e;
	va_list		args;

	if (c->n_events == COORDINATOR_MAX_EVENTS)
	{
		memmove(&c->events[0], &c->events[1],
				sizeof(PendingEvent) * (COORDINATOR_MAX_EVENTS - 1));
		c->n_events--;
	}
	e = &c->events[c->n_events++];
	e->at = GetCurrentTimestamp();
	e->term = c->consensus.durable.term;
	strlcpy(e->kind, kind, sizeof(e->kind));
	va_start(args, fmt);
	vsnprintf(e->detail, sizeof(e->detail), fmt, args);
	va_end(args);
	/* what did not fit must not end within a character */
	e->detail[pg_mbcliplen(e->detail, strlen(e->detail), sizeof(e->detail) - 1)] = '\0';

	ereport(LOG,
			(errmsg("baton node \"%s\" of database \"%s\": %s",
					membership_find(&c->control.membership, c->control.self) ?
					membership_find(&c->control.membership, c->control.self)->name : "?",
					c->node->dbname, e->detail)));
}

/*
 * Note what other processes of this node have seen.
 */
void
coordinator_take_notes(Coordinator *c)
{
	NodeShared *node = c->node;
	NodeNote	notes[BATON_MAX_NOTES];
	int			n;

	SpinLockAcquire(&node->mutex);
	n = node->n_notes;
	memcpy(notes, node->notes, sizeof(NodeNote) * n);
	node->n_notes = 0;
	SpinLockRelease(&node->mutex);
	for (int i = 0; i < n; i++)
		coordinator_note(c, notes[i].kind, "%s", notes[i].detail);
}

/*
 * The row, and its notification with what the row says as JSON: some 600 bytes at
 * most, or twice that where characters have to be escaped; 8000 would be too many.
 */
#define INSERT_AND_NOTIFY \
	"WITH row AS (INSERT INTO baton.events (at, event, term, detail) " \
	"VALUES ($1, $2, $3, $4) RETURNING *) " \
	"SELECT pg_catalog.pg_notify('baton_events', pg_catalog.json_build_object(" \
	"'id', id, 'at', at, 'event', event, 'term', term, 'detail', detail)::pg_catalog.text) FROM row"

static void
insert_event(const PendingEvent *e)
{
	Oid			types[4] = {TIMESTAMPTZOID, TEXTOID, INT8OID, TEXTOID};
	Datum		values[4];

	values[0] = TimestampTzGetDatum(e->at);
	values[1] = CStringGetTextDatum(e->kind);
	values[2] = Int64GetDatum((int64) e->term);
	values[3] = CStringGetTextDatum(e->detail);
	SPI_execute_with_args(INSERT_AND_NOTIFY, 4, types, values, NULL, false, 0);
}

static void
write_all(Coordinator *c)
{
	StartTransactionCommand();
	replorigin_session_origin = DoNotReplicateId;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	for (int i = 0; i < c->n_events; i++)
		insert_event(&c->events[i]);
	SPI_execute(psprintf("DELETE FROM baton.events WHERE id <= (SELECT pg_catalog.max(id) FROM baton.events) - %d",
						 EVENTS_KEPT), false, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	replorigin_session_origin = InvalidRepOriginId;
}

/*
 * Write the notes to the table.  A failure (the disk is full, somebody holds a lock
 * on the table) is logged, and it is tried again after a while; the latest notes are
 * kept until then, and all of them stand in the server log.
 */
void
coordinator_write_events(Coordinator *c)
{
	MemoryContext context = CurrentMemoryContext;

	if (c->n_events == 0 || boot_ms() < c->events_retry_at)
		return;
	PG_TRY();
	{
		write_all(c);
		c->n_events = 0;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		replorigin_session_origin = InvalidRepOriginId;
		c->events_retry_at = boot_ms() + RETRY_MS;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}
