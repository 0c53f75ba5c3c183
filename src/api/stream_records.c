/*
 * stream_records.c - baton.stream_records(): this node's stream log as rows, for
 * people and tests.
 *
 * Reads like any other reader, beside the log's lock and only what is flushed.
 * Whatever the bytes are, the worst that can come of it is an error: every record
 * is taken apart by stream/record.h, and values are shown only if they are text or
 * of a few plain types.
 */
#include "api/api.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "stream/record.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

/* Longer values are cut off. */
#define SHOWN_VALUE_LEN 64

#define STREAM_RECORDS_COLUMNS 7

/* A table, as the last RELATION record of its number described it. */
typedef struct KnownRelation
{
	uint32		relid;			/* hash key */
	char		name[2 * RECORD_NAME_LEN + 2];
	int			ncolumns;
	uint32	   *types;			/* by column */
} KnownRelation;

typedef struct RecordLister
{
	ReturnSetInfo *rsinfo;
	NodeShared *node;
	uint64		cuts;			/* tail.cuts when reading began */
	StreamReader reader;
	HTAB	   *relations;
	RecordColumn *columns;		/* RECORD_MAX_ATTS, for parsing */
	RecordValue *values;
	StringInfoData relation;	/* columns of the row being made ... */
	StringInfoData detail;
} RecordLister;

PG_FUNCTION_INFO_V1(baton_stream_records);

/* ---- values ---- */

static void
append_text_value(StringInfo out, const char *data, uint32 len)
{
	int			shown = Min(len, SHOWN_VALUE_LEN);

	if (pg_verify_mbstr(GetDatabaseEncoding(), data, len, true))
	{
		shown = pg_mbcliplen(data, len, shown);
		appendStringInfoChar(out, '\'');
		appendBinaryStringInfo(out, data, shown);
		appendStringInfoString(out, shown < len ? "...'" : "'");
	}
	else
		appendStringInfo(out, "<%u bytes>", len);
}

/* Native bytes, if they are of a plain type; else only how many there are. */
static void
append_native_value(StringInfo out, uint32 typid, const char *data, uint32 len)
{
	int64		i8;
	int32		i4;
	int16		i2;

	if (typid == INT8OID && len == sizeof(i8))
	{
		memcpy(&i8, data, sizeof(i8));
		appendStringInfo(out, INT64_FORMAT, i8);
	}
	else if (typid == INT4OID && len == sizeof(i4))
	{
		memcpy(&i4, data, sizeof(i4));
		appendStringInfo(out, "%d", i4);
	}
	else if (typid == INT2OID && len == sizeof(i2))
	{
		memcpy(&i2, data, sizeof(i2));
		appendStringInfo(out, "%d", i2);
	}
	else if (typid == BOOLOID && len == 1)
		appendStringInfoString(out, data[0] ? "true" : "false");
	else if (typid == TEXTOID || typid == VARCHAROID || typid == BPCHAROID)
		append_text_value(out, data, len);
	else
		appendStringInfo(out, "<%u bytes>", len);
}

/* One tuple as "(1, 'a', null)"; false if the bytes don't hold together. */
static bool
append_tuple(RecordLister *l, StreamCursor *c, const KnownRelation *rel)
{
	int			n = record_get_tuple(c, l->values, RECORD_MAX_ATTS);

	if (n < 0)
		return false;
	appendStringInfoChar(&l->detail, '(');
	for (int i = 0; i < n; i++)
	{
		const RecordValue *v = &l->values[i];
		uint32		typid = rel != NULL && i < rel->ncolumns ? rel->types[i] : InvalidOid;

		if (i > 0)
			appendStringInfoString(&l->detail, ", ");
		if (v->kind == 'n')
			appendStringInfoString(&l->detail, "null");
		else if (v->kind == 'u')
			appendStringInfoString(&l->detail, "unchanged");
		else if (v->kind == 't')
			append_text_value(&l->detail, v->data, v->len);
		else
			append_native_value(&l->detail, typid, v->data, v->len);
	}
	appendStringInfoChar(&l->detail, ')');
	return true;
}

/* ---- records ---- */

static const KnownRelation *
show_relation_name(RecordLister *l, uint32 relid)
{
	KnownRelation *rel = hash_search(l->relations, &relid, HASH_FIND, NULL);

	if (l->relation.len > 0)
		appendStringInfoString(&l->relation, ", ");
	if (rel != NULL)
		appendStringInfoString(&l->relation, rel->name);
	else
		appendStringInfo(&l->relation, "%u", relid);
	return rel;
}

static bool
show_relation(RecordLister *l, const Record *r, StreamError *err)
{
	RecordRelation rr;
	KnownRelation *rel;
	bool		found;

	if (record_get_relation(r, &rr, l->columns, RECORD_MAX_ATTS, err) != STREAM_OK)
		return false;
	rel = hash_search(l->relations, &rr.relid, HASH_ENTER, &found);
	if (found)
		pfree(rel->types);
	snprintf(rel->name, sizeof(rel->name), "%s.%s", rr.nspname, rr.relname);
	rel->ncolumns = rr.natts;
	rel->types = palloc(sizeof(uint32) * Max(rr.natts, 1));
	show_relation_name(l, rr.relid);
	for (int i = 0; i < rr.natts; i++)
	{
		const RecordColumn *column = &rr.columns[i];

		rel->types[i] = column->typid;
		appendStringInfo(&l->detail, "%s%s%s %s.%s %c", i > 0 ? ", " : "",
						 column->key ? "*" : "", column->name,
						 column->typnsp, column->typname, column->format);
	}
	return true;
}

/* INSERT, UPDATE, DELETE */
static bool
show_change(RecordLister *l, const Record *r)
{
	StreamCursor c = r->rest;
	const KnownRelation *rel = show_relation_name(l, stream_get_u32(&c));
	char		old = 'N';

	if (r->type != RECORD_INSERT)
	{
		old = stream_get_u8(&c);
		if (old != 'K' && old != 'O' && old != 'N')
			return false;
	}
	if (old != 'N')
	{
		appendStringInfoString(&l->detail, old == 'K' ? "key " : "old ");
		if (!append_tuple(l, &c, rel))
			return false;
	}
	if (r->type != RECORD_DELETE)
	{
		appendStringInfoString(&l->detail, old != 'N' ? " new " : "new ");
		if (!append_tuple(l, &c, rel))
			return false;
	}
	return !c.failed;
}

static bool
show_truncate(RecordLister *l, const Record *r)
{
	StreamCursor c = r->rest;
	uint8		flags = stream_get_u8(&c);
	uint32		n = stream_get_u32(&c);

	for (uint32 i = 0; i < n && !c.failed; i++)
		show_relation_name(l, stream_get_u32(&c));
	appendStringInfo(&l->detail, "%s%s", flags & 1 ? "cascade " : "",
					 flags & 2 ? "restart identity" : "");
	return !c.failed;
}

static bool
show_commit(RecordLister *l, const Record *r, StreamError *err)
{
	RecordCommit commit;

	if (record_get_commit(r, &commit, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "source %u, commit %X/%X, end %X/%X, at %s, oldest open %X/%X",
					 commit.source, LSN_FORMAT_ARGS(commit.commit_lsn),
					 LSN_FORMAT_ARGS(commit.end_lsn),
					 timestamptz_to_str(commit.commit_time),
					 STREAM_POS_ARGS(commit.oldest_open));
	return true;
}

static bool
show_ddl(RecordLister *l, const Record *r, StreamError *err)
{
	RecordDdl	ddl;

	if (record_get_ddl(r, &ddl, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "by %s: %.*s", ddl.role, (int) ddl.len, ddl.text);
	return true;
}

/* Without its texts: a password's hash is nobody's business. */
static bool
show_role(RecordLister *l, const Record *r, StreamError *err)
{
	static const char *const items[] = {
		"", "attributes", "gone", "renamed", "member", "no member", "settings", "comment", "database"
	};
	RecordRole	role;

	if (record_get_role(r, &role, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "%s: %s", items[role.item], role.name);
	if (role.other[0] != '\0')
		appendStringInfo(&l->detail, ", %s", role.other);
	return true;
}

static bool
show_sequence(RecordLister *l, const Record *r, StreamError *err)
{
	RecordSequence s;

	if (record_get_sequence(r, &s, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "%s.%s: " INT64_FORMAT "%s", s.nspname, s.relname, s.last_value,
					 s.is_called ? "" : ", not called");
	if (s.reserved > 0)
		appendStringInfo(&l->detail, ", %u more reserved", s.reserved);
	return true;
}

static bool
show_large_object(RecordLister *l, const Record *r, StreamError *err)
{
	RecordLargeObject o;

	if (record_get_large_object(r, &o, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "%u ", o.oid);
	switch (o.action)
	{
		case 'c':
			appendStringInfo(&l->detail, "created, owner %s", o.owner);
			break;
		case 'd':
			appendStringInfoString(&l->detail, "dropped");
			break;
		case 'p':
			appendStringInfo(&l->detail, "page %d, %u bytes", o.page, o.len);
			break;
		default:
			appendStringInfo(&l->detail, "page %d is gone", o.page);
	}
	return true;
}

static bool
show_message(RecordLister *l, const Record *r, StreamError *err)
{
	RecordMessage message;

	if (record_get_message(r, &message, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "%s: ", message.prefix);
	append_text_value(&l->detail, message.data, message.len);
	return true;
}

static bool
show_failover(RecordLister *l, const Record *r, StreamError *err)
{
	RecordFailover failover;

	if (record_get_failover(r, &failover, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "term " UINT64_FORMAT ", attempt " UINT64_FORMAT
					 ", target %u, deadline %s", failover.term, failover.attempt,
					 failover.target, timestamptz_to_str(failover.deadline));
	return true;
}

static bool
show_term(RecordLister *l, const Record *r, StreamError *err)
{
	RecordTerm	term;

	if (record_get_term(r, &term, err) != STREAM_OK)
		return false;
	appendStringInfo(&l->detail, "member %u, at %s", term.member,
					 timestamptz_to_str(term.time));
	return true;
}

/* Fill relation and detail; false if the record does not hold together. */
static bool
show_record(RecordLister *l, const Record *r, StreamError *err)
{
	StreamCursor c = r->rest;

	switch (r->type)
	{
		case RECORD_BEGIN:
			if (stream_get_u8(&c) != 0)
				appendStringInfoString(&l->detail, "streamed");
			return !c.failed;
		case RECORD_RELATION:
			return show_relation(l, r, err);
		case RECORD_INSERT:
		case RECORD_UPDATE:
		case RECORD_DELETE:
			return show_change(l, r);
		case RECORD_TRUNCATE:
			return show_truncate(l, r);
		case RECORD_MESSAGE:
			return show_message(l, r, err);
		case RECORD_COMMIT:
			return show_commit(l, r, err);
		case RECORD_ABORT:
			if (r->xid == 0)
				appendStringInfoString(&l->detail, "everything open");
			else if (r->xid != r->subxid)
				appendStringInfo(&l->detail, "subtransaction %u", r->subxid);
			return true;
		case RECORD_TERM:
			return show_term(l, r, err);
		case RECORD_FAILOVER:
			return show_failover(l, r, err);
		case RECORD_PART:
			appendStringInfo(&l->detail, "%s%u bytes of a long record",
							 stream_get_u8(&c) ? "last " : "", r->body_len - 1);
			return !c.failed;
		case RECORD_DDL:
			return show_ddl(l, r, err);
		case RECORD_ROLE:
			return show_role(l, r, err);
		case RECORD_SEQUENCE:
			return show_sequence(l, r, err);
		case RECORD_LARGE_OBJECT:
			return show_large_object(l, r, err);
		case RECORD_MEMBERSHIP:
			appendStringInfo(&l->detail, "%u bytes", r->body_len);
			return true;
	}
	return false;
}

/* ---- rows ---- */

static void
emit_row(RecordLister *l, const FrameHeader *h, int number, const Record *r)
{
	Datum		values[STREAM_RECORDS_COLUMNS] = {0};
	bool		nulls[STREAM_RECORDS_COLUMNS] = {0};
	const char *type = record_type_name(r->type);

	values[0] = LSNGetDatum(h->start);
	values[1] = Int64GetDatum((int64) h->term);
	values[2] = Int32GetDatum(number);
	values[3] = CStringGetTextDatum(type ? type : "?");
	values[4] = Int64GetDatum((int64) r->xid);
	nulls[4] = r->xid == 0;
	values[5] = CStringGetTextDatum(l->relation.data);
	nulls[5] = l->relation.len == 0;
	values[6] = CStringGetTextDatum(l->detail.data);
	nulls[6] = l->detail.len == 0;
	tuplestore_putvalues(l->rsinfo->setResult, l->rsinfo->setDesc, values, nulls);
	pfree(DatumGetPointer(values[3]));
	pfree(DatumGetPointer(values[5]));
	pfree(DatumGetPointer(values[6]));
}

static void
raise_read_error(RecordLister *l, StreamPos pos, StreamCode code, const StreamError *err)
{
	/* a replica cuts its log when it syncs up: what was read is then void */
	if (node_log_tail(l->node).cuts != l->cuts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the stream log was cut while it was being read"),
				 errhint("Try again.")));
	if (code == STREAM_IO || code == STREAM_NOMEM)
	{
		errno = err->sys_errno;
		ereport(ERROR,
				(errcode(code == STREAM_IO ? ERRCODE_IO_ERROR : ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not read the stream log at position %X/%X: %s",
						STREAM_POS_ARGS(pos), err->message)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the stream log is damaged at position %X/%X: %s",
					STREAM_POS_ARGS(pos), err->message[0] ? err->message : "malformed record")));
}

/* All records of one frame. */
static void
list_frame(RecordLister *l, const FrameHeader *h, const char *records)
{
	StreamCursor c = {records, records + h->raw_len, false};
	StreamError err = {0};
	int			number = 0;

	for (;;)
	{
		Record		r;
		StreamCode	code = record_next(&c, &r, &err);

		CHECK_FOR_INTERRUPTS();
		if (code == STREAM_END)
			return;
		resetStringInfo(&l->relation);
		resetStringInfo(&l->detail);
		if (code != STREAM_OK || !show_record(l, &r, &err))
			raise_read_error(l, h->start, STREAM_CORRUPT, &err);
		emit_row(l, h, ++number, &r);
	}
}

/* All frames that hold a position from `from` on and begin before `to`. */
static void
list_frames(RecordLister *l, StreamPos from, StreamPos to, StreamPos limit)
{
	FrameHeader h;
	StreamError err = {0};
	StreamCode	code;
	StreamPos	pos;

	if (from >= to)
		return;
	code = stream_find(&l->reader, from, limit, &h, &err);
	if (code == STREAM_END)
		return;
	if (code != STREAM_OK)
		raise_read_error(l, from, code, &err);
	for (pos = h.start; pos < to; pos = frame_end(&h))
	{
		const char *records;

		code = stream_read(&l->reader, pos, limit, &h, &records, &err);
		if (code == STREAM_END)
			return;
		if (code != STREAM_OK)
			raise_read_error(l, pos, code, &err);
		list_frame(l, &h, records);
	}
}

static void
lister_init(RecordLister *l, FunctionCallInfo fcinfo)
{
	HASHCTL		ctl;

	l->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	l->node = node_mine_or_error();
	node_log_directory(l->node, l->reader.directory, sizeof(l->reader.directory));
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownRelation);
	l->relations = hash_create("stream relations", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	l->columns = palloc(sizeof(RecordColumn) * RECORD_MAX_ATTS);
	l->values = palloc(sizeof(RecordValue) * RECORD_MAX_ATTS);
	initStringInfo(&l->relation);
	initStringInfo(&l->detail);
}

/*
 * baton.stream_records(from, to): records of the frames between two stream
 * positions; null means the bound of what is kept and flushed.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE if `from` lies behind `to`,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the database has no stream log in use, ERRCODE_DATA_CORRUPTED with the position for damage,
 * ERRCODE_OBJECT_IN_USE if the log is cut meanwhile, ERRCODE_IO_ERROR.
 */
Datum
baton_stream_records(PG_FUNCTION_ARGS)
{
	RecordLister *l = palloc0(sizeof(RecordLister));
	StreamTail	tail;
	StreamPos	from;
	StreamPos	to;

	InitMaterializedSRF(fcinfo, 0);
	lister_init(l, fcinfo);
	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1) && PG_GETARG_LSN(0) > PG_GETARG_LSN(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from\" %X/%X must not lie behind \"to\" %X/%X",
						LSN_FORMAT_ARGS(PG_GETARG_LSN(0)), LSN_FORMAT_ARGS(PG_GETARG_LSN(1)))));
	LWLockAcquire(&l->node->log_lock, LW_SHARED);
	tail = l->node->tail;
	if (!l->node->log_ready)
	{
		LWLockRelease(&l->node->log_lock);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the stream log of this node is not in use"),
				 l->node->log_error[0] ? errdetail("%s", l->node->log_error) : 0));
	}
	LWLockRelease(&l->node->log_lock);

	l->cuts = tail.cuts;
	from = PG_ARGISNULL(0) ? tail.start : Max(PG_GETARG_LSN(0), tail.start);
	to = PG_ARGISNULL(1) ? tail.flushed : Min(PG_GETARG_LSN(1), tail.flushed);
	PG_TRY();
	{
		list_frames(l, from, to, tail.flushed);
	}
	PG_FINALLY();
	{
		stream_reader_close(&l->reader);
	}
	PG_END_TRY();
	return (Datum) 0;
}
