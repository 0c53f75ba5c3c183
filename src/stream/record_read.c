/*
 * record_read.c - reading records.
 *
 * The bytes may come from a damaged file or from a peer of another version, so
 * every length and every enumeration is checked before it is used, and no
 * parser looks beyond the body that it was given.
 */
#include "stream/record.h"

static StreamCode
bad_body(const Record *r, StreamError *err)
{
	return stream_fail(err, STREAM_CORRUPT, 0, 0, "malformed %s record of %u bytes",
					   record_type_name(r->type), r->body_len);
}

/* The end of every parser: the body must have been enough, and no more. */
static StreamCode
check_consumed(const Record *r, const StreamCursor *c, StreamError *err)
{
	if (c->failed || c->p != c->end)
		return bad_body(r, err);
	return STREAM_OK;
}

StreamCode
record_next(StreamCursor *c, Record *record, StreamError *err)
{
	size_t		left = c->end - c->p;
	uint8		type;
	uint32		body_len;

	if (left == 0)
		return STREAM_END;
	if (left < RECORD_HEADER_LEN)
		return stream_fail(err, STREAM_CORRUPT, 0, 0,
						   "incomplete record header: %zu bytes", left);
	type = (uint8) c->p[0];
	body_len = stream_load_u32(c->p + 1);
	if (record_type_name(type) == NULL)
		return stream_fail(err, STREAM_CORRUPT, 0, 0, "unknown record type %u", type);
	if (body_len > left - RECORD_HEADER_LEN)
		return stream_fail(err, STREAM_CORRUPT, 0, 0,
						   "%s record claims %u bytes, %zu are there",
						   record_type_name(type), body_len, left - RECORD_HEADER_LEN);

	record->type = (RecordType) type;
	record->body = c->p + RECORD_HEADER_LEN;
	record->body_len = body_len;
	record->xid = 0;
	record->subxid = 0;
	record->rest.p = record->body;
	record->rest.end = record->body + body_len;
	record->rest.failed = false;
	if (RECORD_HAS_XID(type))
	{
		record->xid = stream_get_u32(&record->rest);
		record->subxid = stream_get_u32(&record->rest);
		if (record->rest.failed)
			return bad_body(record, err);
	}
	c->p = record->rest.end;
	return STREAM_OK;
}

static void
get_column(StreamCursor *c, RecordColumn *col)
{
	uint8		key = stream_get_u8(c);

	col->key = key == 1;
	col->format = (char) stream_get_u8(c);
	stream_get_string(c, col->name, sizeof(col->name));
	col->typid = stream_get_u32(c);
	col->typmod = (int32) stream_get_u32(c);
	stream_get_string(c, col->typnsp, sizeof(col->typnsp));
	stream_get_string(c, col->typname, sizeof(col->typname));
	if (key > 1 || (col->format != 'b' && col->format != 't'))
		c->failed = true;
}

StreamCode
record_get_relation(const Record *r, RecordRelation *rel,
					RecordColumn *columns, int max_columns, StreamError *err)
{
	StreamCursor c = r->rest;

	rel->relid = stream_get_u32(&c);
	stream_get_string(&c, rel->nspname, sizeof(rel->nspname));
	stream_get_string(&c, rel->relname, sizeof(rel->relname));
	rel->replident = (char) stream_get_u8(&c);
	rel->natts = stream_get_u16(&c);
	rel->columns = columns;
	if (c.failed || rel->natts > max_columns)
		return bad_body(r, err);
	for (int i = 0; i < rel->natts; i++)
	{
		get_column(&c, &columns[i]);
		if (c.failed)
			return bad_body(r, err);
	}
	return check_consumed(r, &c, err);
}

StreamCode
record_get_commit(const Record *r, RecordCommit *commit, StreamError *err)
{
	StreamCursor c = r->rest;

	commit->source = stream_get_u16(&c);
	commit->commit_lsn = stream_get_u64(&c);
	commit->end_lsn = stream_get_u64(&c);
	commit->commit_time = (int64) stream_get_u64(&c);
	commit->oldest_open = stream_get_u64(&c);
	return check_consumed(r, &c, err);
}

StreamCode
record_get_term(const Record *r, RecordTerm *term, StreamError *err)
{
	StreamCursor c = r->rest;

	term->term = stream_get_u64(&c);
	term->member = stream_get_u16(&c);
	term->time = (int64) stream_get_u64(&c);
	return check_consumed(r, &c, err);
}

StreamCode
record_get_failover(const Record *r, RecordFailover *failover, StreamError *err)
{
	StreamCursor c = r->rest;

	failover->term = stream_get_u64(&c);
	failover->attempt = stream_get_u64(&c);
	failover->target = stream_get_u16(&c);
	failover->deadline = (int64) stream_get_u64(&c);
	return check_consumed(r, &c, err);
}

StreamCode
record_get_message(const Record *r, RecordMessage *m, StreamError *err)
{
	StreamCursor c = r->rest;

	m->lsn = stream_get_u64(&c);
	stream_get_string(&c, m->prefix, sizeof(m->prefix));
	m->len = stream_get_u32(&c);
	m->data = stream_get_bytes(&c, m->len);
	return check_consumed(r, &c, err);
}

StreamCode
record_get_sequence(const Record *r, RecordSequence *s, StreamError *err)
{
	StreamCursor c = r->rest;
	uint8		called;

	memset(s, 0, sizeof(*s));
	s->lsn = stream_get_u64(&c);
	stream_get_string(&c, s->nspname, sizeof(s->nspname));
	stream_get_string(&c, s->relname, sizeof(s->relname));
	s->last_value = (int64) stream_get_u64(&c);
	called = stream_get_u8(&c);
	s->is_called = called == 1;
	s->reserved = stream_get_u32(&c);
	if (called > 1)
		c.failed = true;
	return check_consumed(r, &c, err);
}

StreamCode
record_get_large_object(const Record *r, RecordLargeObject *o, StreamError *err)
{
	StreamCursor c = r->rest;

	memset(o, 0, sizeof(*o));
	o->action = stream_get_u8(&c);
	o->oid = stream_get_u32(&c);
	switch (o->action)
	{
		case 'c':
			stream_get_string(&c, o->owner, sizeof(o->owner));
			break;
		case 'd':
			break;
		case 'p':
			o->page = (int32) stream_get_u32(&c);
			o->len = stream_get_u32(&c);
			o->data = stream_get_bytes(&c, o->len);
			break;
		case 'g':
			o->page = (int32) stream_get_u32(&c);
			break;
		default:
			c.failed = true;
	}
	return check_consumed(r, &c, err);
}

void
record_get_setting(StreamCursor *c, RecordSetting *setting)
{
	stream_get_string(c, setting->name, sizeof(setting->name));
	setting->len = stream_get_u32(c);
	setting->value = stream_get_bytes(c, setting->len);
}

StreamCode
record_get_ddl(const Record *r, RecordDdl *d, StreamError *err)
{
	StreamCursor c = r->rest;
	RecordSetting setting;

	memset(d, 0, sizeof(*d));
	d->flags = stream_get_u8(&c);
	d->transaction_start = (int64) stream_get_u64(&c);
	d->statement_start = (int64) stream_get_u64(&c);
	stream_get_string(&c, d->role, sizeof(d->role));
	d->n_settings = stream_get_u16(&c);
	d->settings = c;
	for (int i = 0; i < d->n_settings && !c.failed; i++)
		record_get_setting(&c, &setting);
	d->len = stream_get_u32(&c);
	d->text = stream_get_bytes(&c, d->len);
	if ((d->flags & ~RECORD_DDL_ALL_FLAGS) != 0)
		c.failed = true;
	return check_consumed(r, &c, err);
}

void
record_get_text(StreamCursor *c, RecordText *text)
{
	text->len = stream_get_u32(c);
	text->text = stream_get_bytes(c, text->len);
}

StreamCode
record_get_role(const Record *r, RecordRole *role, StreamError *err)
{
	StreamCursor c = r->rest;
	RecordText	text;

	memset(role, 0, sizeof(*role));
	role->item = (RoleItem) stream_get_u8(&c);
	role->flags = stream_get_u32(&c);
	stream_get_string(&c, role->name, sizeof(role->name));
	stream_get_string(&c, role->other, sizeof(role->other));
	stream_get_string(&c, role->grantor, sizeof(role->grantor));
	role->connection_limit = (int32) stream_get_u32(&c);
	role->until = (int64) stream_get_u64(&c);
	role->n_texts = stream_get_u16(&c);
	role->texts = c;
	for (int i = 0; i < role->n_texts && !c.failed; i++)
		record_get_text(&c, &text);
	if (role->item < ROLE_ATTRIBUTES || role->item > ROLE_DATABASE ||
		(role->flags & ~RECORD_ROLE_ALL_FLAGS) != 0)
		c.failed = true;
	return check_consumed(r, &c, err);
}

StreamCode
record_get_membership(const Record *r, const char **bytes, uint32 *len, StreamError *err)
{
	StreamCursor c = r->rest;

	*len = stream_get_u32(&c);
	*bytes = stream_get_bytes(&c, *len);
	return check_consumed(r, &c, err);
}

StreamCode
record_get_part(const Record *r, bool *last, const char **bytes, uint32 *len,
				StreamError *err)
{
	StreamCursor c = r->rest;
	uint8		flag = stream_get_u8(&c);

	if (c.failed || flag > 1)
		return bad_body(r, err);
	*last = flag == 1;
	*len = (uint32) (c.end - c.p);
	*bytes = c.p;
	return STREAM_OK;
}

int
record_get_tuple(StreamCursor *c, RecordValue *values, int max)
{
	int			natts = stream_get_u16(c);

	if (c->failed || natts > max)
		return -1;
	for (int i = 0; i < natts; i++)
	{
		RecordValue *v = &values[i];

		v->kind = (char) stream_get_u8(c);
		v->len = 0;
		v->data = NULL;
		if (v->kind == 'b' || v->kind == 't')
		{
			v->len = stream_get_u32(c);
			v->data = stream_get_bytes(c, v->len);
		}
		else if (v->kind != 'n' && v->kind != 'u')
			c->failed = true;
		if (c->failed)
			return -1;
	}
	return natts;
}
