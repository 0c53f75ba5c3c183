/*
 * record.c - writing records.  Their layout is told in record.h.
 */
#include "stream/record.h"

static const char *const record_names[RECORD_LAST_TYPE + 1] = {
	NULL, "BEGIN", "RELATION", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "DDL",
	"SEQUENCE", "ROLE", "MESSAGE", "COMMIT", "ABORT", "MEMBERSHIP", "TERM", "FAILOVER", "PART",
	"LARGE_OBJECT"
};

const char *
record_type_name(int type)
{
	if (type < RECORD_BEGIN || type > RECORD_LAST_TYPE)
		return NULL;
	return record_names[type];
}

size_t
record_begin(StreamBuf *buf, RecordType type, uint32 xid, uint32 subxid)
{
	size_t		offset = buf->len;
	size_t		len = RECORD_HEADER_LEN + (RECORD_HAS_XID(type) ? 8 : 0);
	char	   *p = stream_buf_extend(buf, len);

	if (p == NULL)
		return offset;
	p[0] = (char) type;
	stream_store_u32(p + 1, 0);
	if (RECORD_HAS_XID(type))
	{
		stream_store_u32(p + 5, xid);
		stream_store_u32(p + 9, subxid);
	}
	return offset;
}

void
record_end(StreamBuf *buf, size_t offset)
{
	size_t		body_len;

	if (buf->failed)
		return;
	body_len = buf->len - offset - RECORD_HEADER_LEN;
	if (body_len > PG_UINT32_MAX)
	{
		buf->failed = true;
		return;
	}
	stream_store_u32(buf->data + offset + 1, (uint32) body_len);
}

void
record_put_relation(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordRelation *rel)
{
	size_t		offset = record_begin(buf, RECORD_RELATION, xid, subxid);

	stream_buf_u32(buf, rel->relid);
	stream_buf_string(buf, rel->nspname);
	stream_buf_string(buf, rel->relname);
	stream_buf_u8(buf, (uint8) rel->replident);
	stream_buf_u16(buf, rel->natts);
	for (int i = 0; i < rel->natts; i++)
	{
		const RecordColumn *col = &rel->columns[i];

		stream_buf_u8(buf, col->key ? 1 : 0);
		stream_buf_u8(buf, (uint8) col->format);
		stream_buf_string(buf, col->name);
		stream_buf_u32(buf, col->typid);
		stream_buf_u32(buf, (uint32) col->typmod);
		stream_buf_string(buf, col->typnsp);
		stream_buf_string(buf, col->typname);
	}
	record_end(buf, offset);
}

void
record_put_commit(StreamBuf *buf, uint32 xid, const RecordCommit *commit)
{
	size_t		offset = record_begin(buf, RECORD_COMMIT, xid, xid);

	stream_buf_u16(buf, commit->source);
	stream_buf_u64(buf, commit->commit_lsn);
	stream_buf_u64(buf, commit->end_lsn);
	stream_buf_u64(buf, (uint64) commit->commit_time);
	stream_buf_u64(buf, commit->oldest_open);
	record_end(buf, offset);
}

void
record_patch_commit(char *record, StreamPos oldest_open)
{
	Assert(record[0] == RECORD_COMMIT);
	stream_store_u64(record + RECORD_COMMIT_LEN - 8, oldest_open);
}

void
record_put_abort(StreamBuf *buf, uint32 xid, uint32 subxid)
{
	record_end(buf, record_begin(buf, RECORD_ABORT, xid, subxid));
}

void
record_put_term(StreamBuf *buf, const RecordTerm *term)
{
	size_t		offset = record_begin(buf, RECORD_TERM, 0, 0);

	stream_buf_u64(buf, term->term);
	stream_buf_u16(buf, term->member);
	stream_buf_u64(buf, (uint64) term->time);
	record_end(buf, offset);
}

void
record_put_failover(StreamBuf *buf, const RecordFailover *failover)
{
	size_t		offset = record_begin(buf, RECORD_FAILOVER, 0, 0);

	stream_buf_u64(buf, failover->term);
	stream_buf_u64(buf, failover->attempt);
	stream_buf_u16(buf, failover->target);
	stream_buf_u64(buf, (uint64) failover->deadline);
	record_end(buf, offset);
}

void
record_put_sequence(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordSequence *s)
{
	size_t		offset = record_begin(buf, RECORD_SEQUENCE, xid, subxid);

	stream_buf_u64(buf, s->lsn);
	stream_buf_string(buf, s->nspname);
	stream_buf_string(buf, s->relname);
	stream_buf_u64(buf, (uint64) s->last_value);
	stream_buf_u8(buf, s->is_called ? 1 : 0);
	stream_buf_u32(buf, s->reserved);
	record_end(buf, offset);
}

void
record_put_large_object(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordLargeObject *o)
{
	size_t		offset = record_begin(buf, RECORD_LARGE_OBJECT, xid, subxid);

	stream_buf_u8(buf, o->action);
	stream_buf_u32(buf, o->oid);
	if (o->action == 'c')
		stream_buf_string(buf, o->owner);
	else if (o->action != 'd')
		stream_buf_u32(buf, (uint32) o->page);
	if (o->action == 'p')
	{
		stream_buf_u32(buf, o->len);
		stream_buf_append(buf, o->data, o->len);
	}
	record_end(buf, offset);
}

void
record_put_ddl_body(StreamBuf *buf, const RecordDdl *d, const RecordSetting *settings)
{
	stream_buf_u8(buf, d->flags);
	stream_buf_u64(buf, (uint64) d->transaction_start);
	stream_buf_u64(buf, (uint64) d->statement_start);
	stream_buf_string(buf, d->role);
	stream_buf_u16(buf, d->n_settings);
	for (int i = 0; i < d->n_settings; i++)
	{
		stream_buf_string(buf, settings[i].name);
		stream_buf_u32(buf, settings[i].len);
		stream_buf_append(buf, settings[i].value, settings[i].len);
	}
	stream_buf_u32(buf, d->len);
	stream_buf_append(buf, d->text, d->len);
}

void
record_put_role_body(StreamBuf *buf, const RecordRole *r, const RecordText *texts)
{
	stream_buf_u8(buf, r->item);
	stream_buf_u32(buf, r->flags);
	stream_buf_string(buf, r->name);
	stream_buf_string(buf, r->other);
	stream_buf_string(buf, r->grantor);
	stream_buf_u32(buf, (uint32) r->connection_limit);
	stream_buf_u64(buf, (uint64) r->until);
	stream_buf_u16(buf, r->n_texts);
	for (int i = 0; i < r->n_texts; i++)
	{
		stream_buf_u32(buf, texts[i].len);
		stream_buf_append(buf, texts[i].text, texts[i].len);
	}
}

void
record_put_membership(StreamBuf *buf, const char *bytes, uint32 len)
{
	size_t		offset = record_begin(buf, RECORD_MEMBERSHIP, 0, 0);

	stream_buf_u32(buf, len);
	stream_buf_append(buf, bytes, len);
	record_end(buf, offset);
}

void
record_put_message(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordMessage *m)
{
	size_t		offset = record_begin(buf, RECORD_MESSAGE, xid, subxid);

	stream_buf_u64(buf, m->lsn);
	stream_buf_string(buf, m->prefix);
	stream_buf_u32(buf, m->len);
	stream_buf_append(buf, m->data, m->len);
	record_end(buf, offset);
}

void
record_put_part(StreamBuf *buf, bool last, const char *bytes, uint32 len)
{
	size_t		offset = record_begin(buf, RECORD_PART, 0, 0);

	stream_buf_u8(buf, last ? 1 : 0);
	stream_buf_append(buf, bytes, len);
	record_end(buf, offset);
}
