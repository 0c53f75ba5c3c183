/*
 * message.c - writes messages of pg_logical_emit_message() into this server's WAL, for
 * logical decoding here to find, as it would on a physical standby.
 *
 * Those of a transaction come and go with it.  One that belongs to none takes effect
 * where it is written, whether or not the transaction around it commits, and nothing
 * of the replication origin says that it was.  So it is written in a small local
 * transaction that notes its place in baton.message_mark, the note first, the message
 * just before the commit.  A crash of the server that falls between these two in its
 * WAL makes the message appear twice; it is never lost.
 *
 * Places are compared by term first: after a cut, the same position holds another
 * frame of a later term.
 *
 * This node's own messages are in its WAL, and an initial copy's source has those
 * before the copy in its own.  What is longer than a frame and no transaction's is
 * passed over (take_part() does not even put it together).
 */
#include "apply/applier.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "replication/message.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"

static RecordMessage
read_message(const Record *r)
{
	RecordMessage m;
	StreamError err = {0};
	StreamCode	code = record_get_message(r, &m, &err);

	if (code != STREAM_OK)
		applier_stream_error(code, &err);
	return m;
}

void
apply_message(LocalTransaction *t, const Record *r)
{
	RecordMessage m = read_message(r);

	/* rows that came before it are in front of it in WAL */
	apply_flush_inserts(t, NULL);
	(void) baton_log_message(m.prefix, m.data, m.len, true);
}

/* ---- messages that are no transaction's ---- */

static Relation
open_mark(void)
{
	return table_open(get_relname_relid("message_mark", get_namespace_oid("baton", false)),
					  RowExclusiveLock);
}

/* Values of the row, if there is one. */
static void
read_mark(Applier *a)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		null;

	rel = open_mark();
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	tuple = systable_getnext(scan);
	memset(&a->message_mark, 0, sizeof(a->message_mark));
	if (tuple != NULL)
	{
		TupleDesc	desc = RelationGetDescr(rel);

		a->message_mark.term = (uint64) DatumGetInt64(heap_getattr(tuple, 1, desc, &null));
		a->message_mark.frame = DatumGetLSN(heap_getattr(tuple, 2, desc, &null));
		a->message_mark.number = (uint64) DatumGetInt64(heap_getattr(tuple, 3, desc, &null));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	a->message_mark_read = true;
}

static void
write_mark(const MessageMark *mark)
{
	Relation	rel = open_mark();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	old = systable_getnext(scan);
	Datum		values[3];
	bool		nulls[3] = {0};
	HeapTuple	tuple;

	values[0] = Int64GetDatum((int64) mark->term);
	values[1] = LSNGetDatum(mark->frame);
	values[2] = Int64GetDatum((int64) mark->number);
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	if (old != NULL)
		CatalogTupleUpdate(rel, &old->t_self, tuple);
	else
		CatalogTupleInsert(rel, tuple);
	systable_endscan(scan);
	table_close(rel, NoLock);
}

static bool
is_later(const MessageMark *a, const MessageMark *b)
{
	if (a->term != b->term)
		return a->term > b->term;
	if (a->frame != b->frame)
		return a->frame > b->frame;
	return a->number > b->number;
}

/* Is it in this server's WAL, or older than all that this node has? */
static bool
is_left_out(Applier *a, const RecordMessage *m)
{
	NodeShared *node = a->node;

	if (TERM_MEMBER(a->h.term) == node->self)
		return true;
	return TERM_MEMBER(a->h.term) == node->copy_source && a->h.term == node->copy_term &&
		m->lsn <= node->copy_lsn;
}

/*
 * Raises what the stream's reader and the local transaction raise; then the message is
 * tried again.
 */
void
applier_write_message(Applier *a, const Record *r)
{
	RecordMessage m = read_message(r);
	MessageMark place;

	if (is_left_out(a, &m))
		return;
	memset(&place, 0, sizeof(place));
	place.term = a->h.term;
	place.frame = a->h.start;
	place.number = a->at.offset;
	if (a->message_mark_read && !is_later(&place, &a->message_mark))
		return;
	local_begin(&a->local);
	if (!a->message_mark_read)
		read_mark(a);
	if (is_later(&place, &a->message_mark))
	{
		write_mark(&place);
		(void) baton_log_message(m.prefix, m.data, m.len, false);
	}
	local_commit(&a->local, a->done, 0);
	a->message_mark = is_later(&place, &a->message_mark) ? place : a->message_mark;
	applier_succeeded(a);
}
