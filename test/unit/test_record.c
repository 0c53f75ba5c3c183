/*
 * test_record.c - records: what is written is read back, and no bytes, cut
 * short, mutated or random, make the decoder read outside them or loop.
 *
 * The bytes under test are always copied to an allocation of just their length,
 * so that valgrind or the address sanitizer sees a single byte too much.
 */
#include "stream/record.h"
#include "unit.h"

static RecordColumn columns[RECORD_MAX_ATTS];
static RecordValue values[RECORD_MAX_ATTS];

static void
put_sample_relation(StreamBuf *buf)
{
	RecordColumn cols[2] = {
		{true, 'b', "id", 23, -1, "pg_catalog", "int4"},
		{false, 't', "mood", 16400, 7, "public", "mood"}
	};
	RecordRelation rel = {16384, "public", "people", 'd', 2, cols};

	record_put_relation(buf, 700, 701, &rel);
}

static void
put_sample_ddl(StreamBuf *buf)
{
	RecordSetting settings[2] = {{"search_path", 6, "public"}, {"datestyle", 0, ""}};
	RecordDdl	ddl = {RECORD_DDL_ROWS, -3, 4, "joe", 2, {NULL, NULL, false}, 9, "drop it;\n"};
	size_t		at = record_begin(buf, RECORD_DDL, 700, 702);

	record_put_ddl_body(buf, &ddl, settings);
	record_end(buf, at);
}

static void
put_sample_role(StreamBuf *buf)
{
	RecordText	texts[2] = {{3, "a=b"}, {0, ""}};
	RecordRole	role = {ROLE_SETTINGS, RECORD_ROLE_HERE | RECORD_ROLE_POWERFUL, "joe", "jane", "admin", -1, -5, 2};
	size_t		at = record_begin(buf, RECORD_ROLE, 700, 703);

	record_put_role_body(buf, &role, texts);
	record_end(buf, at);
}

/* One record of each kind that has an encoder. */
static void
put_samples(StreamBuf *buf)
{
	RecordCommit commit = {3, 0x1122334455667788, 0x1122334455667799, -5, 0x4000};
	RecordTerm	term = {0x10001, 1, 123456789};
	RecordFailover failover = {0x10001, 42, 2, -1};
	RecordMessage message = {99, "app", 4, "ping"};
	RecordSequence sequence = {98, "public", "s", -7, true, 32};
	RecordLargeObject created = {'c', 40000, "joe"};
	RecordLargeObject page = {'p', 40000, "", 7, 3, "\0ab"};
	RecordLargeObject gone = {'g', 40000, "", 8};
	RecordLargeObject dropped = {'d', 40000};
	size_t		at;

	at = record_begin(buf, RECORD_BEGIN, 700, 700);
	stream_buf_u8(buf, 1);
	record_end(buf, at);
	put_sample_relation(buf);
	at = record_begin(buf, RECORD_UPDATE, 700, 701);
	stream_buf_u32(buf, 16384);
	stream_buf_u8(buf, 'N');
	record_put_natts(buf, 4);
	record_put_value(buf, 'b', "\1\0\0\0", 4);
	record_put_null(buf);
	record_put_unchanged(buf);
	record_put_value(buf, 't', "", 0);
	record_end(buf, at);
	record_put_commit(buf, 700, &commit);
	record_put_abort(buf, 800, 801);
	record_put_membership(buf, "bytes", 5);
	record_put_term(buf, &term);
	record_put_failover(buf, &failover);
	record_put_message(buf, 0, 0, &message);
	put_sample_ddl(buf);
	record_put_sequence(buf, 0, 0, &sequence);
	record_put_large_object(buf, 700, 702, &created);
	record_put_large_object(buf, 700, 702, &page);
	record_put_large_object(buf, 700, 702, &gone);
	record_put_large_object(buf, 700, 702, &dropped);
	put_sample_role(buf);
	record_put_part(buf, true, "piece", 5);
}

/* Parse a record with the parser of its type, as the applier would. */
static StreamCode
parse(const Record *r)
{
	StreamCursor c = r->rest;
	RecordRelation rel;
	RecordCommit commit;
	RecordTerm	term;
	RecordFailover failover;
	RecordMessage message;
	RecordDdl	ddl;
	RecordSequence sequence;
	RecordLargeObject object;
	RecordRole	role;
	const char *bytes;
	uint32		len;
	bool		last;

	switch (r->type)
	{
		case RECORD_RELATION:
			return record_get_relation(r, &rel, columns, RECORD_MAX_ATTS, NULL);
		case RECORD_COMMIT:
			return record_get_commit(r, &commit, NULL);
		case RECORD_TERM:
			return record_get_term(r, &term, NULL);
		case RECORD_FAILOVER:
			return record_get_failover(r, &failover, NULL);
		case RECORD_MESSAGE:
			return record_get_message(r, &message, NULL);
		case RECORD_DDL:
			return record_get_ddl(r, &ddl, NULL);
		case RECORD_SEQUENCE:
			return record_get_sequence(r, &sequence, NULL);
		case RECORD_LARGE_OBJECT:
			return record_get_large_object(r, &object, NULL);
		case RECORD_ROLE:
			return record_get_role(r, &role, NULL);
		case RECORD_MEMBERSHIP:
			return record_get_membership(r, &bytes, &len, NULL);
		case RECORD_PART:
			return record_get_part(r, &last, &bytes, &len, NULL);
		case RECORD_INSERT:
		case RECORD_UPDATE:
		case RECORD_DELETE:
			stream_get_u32(&c);
			if (r->type != RECORD_INSERT)
				stream_get_u8(&c);
			return record_get_tuple(&c, values, RECORD_MAX_ATTS) < 0 ? STREAM_CORRUPT : STREAM_OK;
		default:
			return STREAM_OK;
	}
}

/* Read all records; what the data of each points to must lie in the input. */
static StreamCode
read_all(const char *bytes, size_t len, int *count)
{
	char	   *exact = malloc(len > 0 ? len : 1);
	StreamCursor c;
	Record		r;
	StreamCode	code;
	StreamError err;

	memcpy(exact, bytes, len);
	c.p = exact;
	c.end = exact + len;
	c.failed = false;
	*count = 0;
	while ((code = record_next(&c, &r, &err)) == STREAM_OK)
	{
		(*count)++;
		if (r.body < exact || r.body + r.body_len > exact + len)
			CHECK(false);
		code = parse(&r);
		if (code != STREAM_OK)
			break;
	}
	free(exact);
	return code;
}

static void
names(void)
{
	CHECK(record_type_name(0) == NULL);
	CHECK(record_type_name(-1) == NULL);
	CHECK(record_type_name(RECORD_LAST_TYPE + 1) == NULL);
	CHECK(strcmp(record_type_name(RECORD_BEGIN), "BEGIN") == 0);
	CHECK(strcmp(record_type_name(RECORD_MESSAGE), "MESSAGE") == 0);
	CHECK(strcmp(record_type_name(RECORD_PART), "PART") == 0);
}

static void
integers_are_little_endian(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;

	stream_buf_u8(&buf, 0xab);
	stream_buf_u16(&buf, 0x0102);
	stream_buf_u32(&buf, 0x03040506);
	stream_buf_u64(&buf, UINT64CONST(0x0708090a0b0c0d0e));
	CHECK(buf.len == 15);
	CHECK(memcmp(buf.data, "\xab\2\1\6\5\4\3\xe\xd\xc\xb\xa\x9\x8\x7", 15) == 0);
	c.p = buf.data;
	c.end = buf.data + buf.len;
	c.failed = false;
	CHECK(stream_get_u8(&c) == 0xab);
	CHECK(stream_get_u16(&c) == 0x0102);
	CHECK(stream_get_u32(&c) == 0x03040506);
	CHECK(stream_get_u64(&c) == UINT64CONST(0x0708090a0b0c0d0e));
	CHECK(!c.failed);
	CHECK(stream_get_u32(&c) == 0 && c.failed);
	stream_buf_free(&buf);
}

static void
strings(void)
{
	StreamBuf	buf = {0};
	char		out[8];
	StreamCursor c;

	stream_buf_string(&buf, "seven77");
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	stream_get_string(&c, out, sizeof(out));
	CHECK(!c.failed && strcmp(out, "seven77") == 0);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	stream_get_string(&c, out, 7);
	CHECK(c.failed && out[0] == '\0');
	buf.data[4] = '\0';
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	stream_get_string(&c, out, sizeof(out));
	CHECK(c.failed && out[0] == '\0');
	stream_buf_free(&buf);
}

static void
relation_round_trip(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	RecordRelation rel;
	StreamError err;

	put_sample_relation(&buf);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK);
	CHECK(r.type == RECORD_RELATION && r.xid == 700 && r.subxid == 701);
	CHECK(record_get_relation(&r, &rel, columns, 2, NULL) == STREAM_OK);
	CHECK(rel.relid == 16384 && rel.replident == 'd' && rel.natts == 2);
	CHECK(strcmp(rel.nspname, "public") == 0 && strcmp(rel.relname, "people") == 0);
	CHECK(rel.columns[0].key && rel.columns[0].format == 'b');
	CHECK(!rel.columns[1].key && rel.columns[1].format == 't');
	CHECK(rel.columns[0].typmod == -1 && rel.columns[1].typmod == 7);
	CHECK(rel.columns[1].typid == 16400 && strcmp(rel.columns[1].typname, "mood") == 0);
	CHECK(strcmp(rel.columns[0].typnsp, "pg_catalog") == 0);
	CHECK(strcmp(rel.columns[0].name, "id") == 0);
	CHECK(record_get_relation(&r, &rel, columns, 1, &err) == STREAM_CORRUPT);
	CHECK(err.code == STREAM_CORRUPT && err.message[0] != '\0');
	CHECK(record_next(&c, &r, NULL) == STREAM_END);
	stream_buf_free(&buf);
}

static void
commit_round_trip(void)
{
	RecordCommit in = {3, 0x1122334455667788, 0x1122334455667799, -5, 0};
	RecordCommit out;
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;

	record_put_commit(&buf, 700, &in);
	CHECK(buf.len == RECORD_COMMIT_LEN);
	record_patch_commit(buf.data, UINT64CONST(0xfedcba9876543210));
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK);
	CHECK(r.type == RECORD_COMMIT && r.xid == 700 && r.subxid == 700);
	CHECK(record_get_commit(&r, &out, NULL) == STREAM_OK);
	CHECK(out.source == 3 && out.commit_lsn == in.commit_lsn && out.end_lsn == in.end_lsn);
	CHECK(out.commit_time == -5 && out.oldest_open == UINT64CONST(0xfedcba9876543210));
	stream_buf_free(&buf);
}

static void
control_records_round_trip(void)
{
	RecordTerm	term;
	RecordFailover failover;
	RecordMessage message;
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	const char *bytes;
	uint32		len;
	bool		last;

	put_samples(&buf);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	while (record_next(&c, &r, NULL) == STREAM_OK && r.type != RECORD_ABORT)
		;
	CHECK(r.xid == 800 && r.subxid == 801 && r.rest.p == r.rest.end);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_MEMBERSHIP && r.xid == 0);
	CHECK(record_get_membership(&r, &bytes, &len, NULL) == STREAM_OK);
	CHECK(len == 5 && memcmp(bytes, "bytes", 5) == 0);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_TERM);
	CHECK(record_get_term(&r, &term, NULL) == STREAM_OK);
	CHECK(term.term == 0x10001 && term.member == 1 && term.time == 123456789);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_FAILOVER);
	CHECK(record_get_failover(&r, &failover, NULL) == STREAM_OK);
	CHECK(failover.term == 0x10001 && failover.attempt == 42);
	CHECK(failover.target == 2 && failover.deadline == -1);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_MESSAGE);
	CHECK(record_get_message(&r, &message, NULL) == STREAM_OK);
	CHECK(message.lsn == 99 && message.len == 4 && memcmp(message.data, "ping", 4) == 0);
	CHECK(strcmp(message.prefix, "app") == 0);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_DDL);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_SEQUENCE);
	for (int i = 0; i < 4; i++)
		CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_LARGE_OBJECT);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_ROLE);
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_PART);
	CHECK(record_get_part(&r, &last, &bytes, &len, NULL) == STREAM_OK);
	CHECK(last && len == 5 && memcmp(bytes, "piece", 5) == 0);
	CHECK(record_next(&c, &r, NULL) == STREAM_END);
	stream_buf_free(&buf);
}

static void
role_round_trip(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	RecordRole	role;
	RecordText	text;

	put_sample_role(&buf);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK);
	CHECK(r.type == RECORD_ROLE && r.xid == 700 && r.subxid == 703);
	CHECK(record_get_role(&r, &role, NULL) == STREAM_OK);
	CHECK(role.item == ROLE_SETTINGS && role.flags == (RECORD_ROLE_HERE | RECORD_ROLE_POWERFUL));
	CHECK(strcmp(role.name, "joe") == 0 && strcmp(role.other, "jane") == 0 && strcmp(role.grantor, "admin") == 0);
	CHECK(role.connection_limit == -1 && role.until == -5 && role.n_texts == 2);
	record_get_text(&role.texts, &text);
	CHECK(text.len == 3 && memcmp(text.text, "a=b", 3) == 0);
	record_get_text(&role.texts, &text);
	CHECK(text.len == 0 && !role.texts.failed);
	buf.data[RECORD_HEADER_LEN + 8] = 0;	/* an item that nobody knows */
	CHECK(record_get_role(&r, &role, NULL) == STREAM_CORRUPT);
	buf.data[RECORD_HEADER_LEN + 8] = ROLE_SETTINGS;
	buf.data[RECORD_HEADER_LEN + 12] = (char) 0x80;	/* a flag that nobody knows */
	CHECK(record_get_role(&r, &role, NULL) == STREAM_CORRUPT);
	stream_buf_free(&buf);
}

static void
ddl_round_trip(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	RecordDdl	ddl;
	RecordSetting setting;

	put_sample_ddl(&buf);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK);
	CHECK(r.type == RECORD_DDL && r.xid == 700 && r.subxid == 702);
	CHECK(record_get_ddl(&r, &ddl, NULL) == STREAM_OK);
	CHECK(ddl.flags == RECORD_DDL_ROWS && ddl.transaction_start == -3 && ddl.statement_start == 4);
	CHECK(strcmp(ddl.role, "joe") == 0 && ddl.len == 9 && memcmp(ddl.text, "drop it;\n", 9) == 0);
	CHECK(ddl.n_settings == 2);
	record_get_setting(&ddl.settings, &setting);
	CHECK(strcmp(setting.name, "search_path") == 0 && setting.len == 6 && memcmp(setting.value, "public", 6) == 0);
	record_get_setting(&ddl.settings, &setting);
	CHECK(strcmp(setting.name, "datestyle") == 0 && setting.len == 0);
	buf.data[RECORD_HEADER_LEN + 8] = (char) 0x80;	/* a flag that nobody knows */
	CHECK(record_get_ddl(&r, &ddl, NULL) == STREAM_CORRUPT);
	stream_buf_free(&buf);
}

static void
large_object_round_trip(void)
{
	RecordLargeObject in[] = {
		{'c', 40000, "joe"}, {'p', 40000, "", -7, 3, "\0ab"}, {'g', 4294967295u, "", 8}, {'d', 1}
	};
	RecordLargeObject out;
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;

	for (int i = 0; i < 4; i++)
		record_put_large_object(&buf, 700, 702, &in[i]);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	for (int i = 0; i < 4; i++)
	{
		CHECK(record_next(&c, &r, NULL) == STREAM_OK);
		CHECK(r.type == RECORD_LARGE_OBJECT && r.xid == 700 && r.subxid == 702);
		CHECK(record_get_large_object(&r, &out, NULL) == STREAM_OK);
		CHECK(out.action == in[i].action && out.oid == in[i].oid && out.page == in[i].page);
		CHECK(strcmp(out.owner, in[i].owner) == 0 && out.len == in[i].len);
		CHECK(out.len == 0 || memcmp(out.data, in[i].data, out.len) == 0);
	}
	buf.data[RECORD_HEADER_LEN + 8] = 'x';	/* an action that nobody knows */
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK);
	CHECK(record_get_large_object(&r, &out, NULL) == STREAM_CORRUPT);
	stream_buf_free(&buf);
}

static void
sequence_round_trip(void)
{
	RecordSequence in = {98, "public", "s", -7, true, 32};
	RecordSequence out;
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;

	record_put_sequence(&buf, 0, 0, &in);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_SEQUENCE && r.xid == 0);
	CHECK(record_get_sequence(&r, &out, NULL) == STREAM_OK);
	CHECK(out.lsn == 98 && strcmp(out.nspname, "public") == 0 && strcmp(out.relname, "s") == 0);
	CHECK(out.last_value == -7 && out.is_called && out.reserved == 32);
	stream_buf_free(&buf);
}

static void
tuple_round_trip(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;

	record_put_natts(&buf, 4);
	record_put_value(&buf, 'b', "\1\0\2", 3);
	record_put_null(&buf);
	record_put_unchanged(&buf);
	record_put_value(&buf, 't', "", 0);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_get_tuple(&c, values, 4) == 4);
	CHECK(values[0].kind == 'b' && values[0].len == 3 && memcmp(values[0].data, "\1\0\2", 3) == 0);
	CHECK(values[1].kind == 'n' && values[2].kind == 'u');
	CHECK(values[3].kind == 't' && values[3].len == 0);
	CHECK(c.p == c.end);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_get_tuple(&c, values, 3) == -1);
	buf.data[2] = 'x';
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	CHECK(record_get_tuple(&c, values, 4) == -1);
	stream_buf_free(&buf);
}

static void
long_records_in_parts(void)
{
	size_t		len = 3 * FRAME_MAX_RAW + 17;
	char	   *big = malloc(len);
	StreamBuf	whole = {0};
	StreamBuf	together = {0};
	StreamCursor c;
	Record		r;
	RecordMessage in = {7, "big", (uint32) len, big};
	RecordMessage out;
	bool		last = false;

	for (size_t i = 0; i < len; i++)
		big[i] = (char) (i * 31);
	record_put_message(&whole, 5, 6, &in);
	for (size_t at = 0; at < whole.len; at += RECORD_PART_MAX)
	{
		StreamBuf	part = {0};
		const char *bytes;
		uint32		n = (uint32) Min(RECORD_PART_MAX, whole.len - at);

		record_put_part(&part, at + n == whole.len, whole.data + at, n);
		CHECK(part.len <= FRAME_MAX_RAW);
		c = (StreamCursor) {part.data, part.data + part.len, false};
		CHECK(record_next(&c, &r, NULL) == STREAM_OK);
		CHECK(record_get_part(&r, &last, &bytes, &n, NULL) == STREAM_OK);
		stream_buf_append(&together, bytes, n);
		stream_buf_free(&part);
	}
	CHECK(last);
	c = (StreamCursor) {together.data, together.data + together.len, false};
	CHECK(record_next(&c, &r, NULL) == STREAM_OK && r.type == RECORD_MESSAGE);
	CHECK(record_get_message(&r, &out, NULL) == STREAM_OK);
	CHECK(out.len == len && memcmp(out.data, big, len) == 0);
	stream_buf_free(&whole);
	stream_buf_free(&together);
	free(big);
}

/* No prefix may read as complete, except one that ends between two records. */
static void
every_truncated_prefix(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	bool	   *border;
	int			total;

	put_samples(&buf);
	border = calloc(buf.len + 1, sizeof(bool));
	border[0] = true;
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	while (record_next(&c, &r, NULL) == STREAM_OK)
		border[c.p - buf.data] = true;
	for (size_t len = 0; len <= buf.len; len++)
	{
		StreamCode	code = read_all(buf.data, len, &total);

		CHECK(code == (border[len] ? STREAM_END : STREAM_CORRUPT));
	}
	CHECK(total == 17);
	free(border);
	stream_buf_free(&buf);
}

/* A body that is cut short inside a record whose header was cut along. */
static void
every_shortened_body(void)
{
	StreamBuf	buf = {0};
	StreamCursor c;
	Record		r;
	int			n;

	put_samples(&buf);
	c = (StreamCursor) {buf.data, buf.data + buf.len, false};
	while (record_next(&c, &r, NULL) == STREAM_OK)
	{
		bool		free_form = r.type == RECORD_BEGIN || r.type == RECORD_ABORT ||
			r.type == RECORD_PART;

		for (uint32 len = 0; len < r.body_len; len++)
		{
			StreamBuf	cut = {0};
			StreamCode	code;

			stream_buf_u8(&cut, r.type);
			stream_buf_u32(&cut, len);
			stream_buf_append(&cut, r.body, len);
			code = read_all(cut.data, cut.len, &n);
			CHECK(code == STREAM_CORRUPT || (free_form && code == STREAM_END));
			stream_buf_free(&cut);
		}
	}
	stream_buf_free(&buf);
}

static void
mutations(void)
{
	StreamBuf	buf = {0};
	int			n;

	put_samples(&buf);
	unit_seed(20261122);
	for (int round = 0; round < 200000; round++)
	{
		StreamBuf	copy = {0};
		int			edits = 1 + unit_random() % 4;
		StreamCode	code;

		stream_buf_append(&copy, buf.data, buf.len);
		while (edits-- > 0)
		{
			size_t		at = unit_random() % copy.len;

			switch (unit_random() % 4)
			{
				case 0:
					copy.data[at] ^= 1 << unit_random() % 8;
					break;
				case 1:
					copy.data[at] = (char) unit_random();
					break;
				case 2:
					copy.data[at] = (char) 0xff;
					break;
				default:
					copy.len = at + 1;
			}
		}
		code = read_all(copy.data, copy.len, &n);
		if (code != STREAM_END && code != STREAM_CORRUPT)
			CHECK(false);
		stream_buf_free(&copy);
	}
	CHECK(true);
	stream_buf_free(&buf);
}

static void
random_bytes(void)
{
	char		bytes[256];
	int			n;

	unit_seed(77);
	for (int round = 0; round < 200000; round++)
	{
		size_t		len = unit_random() % sizeof(bytes);
		StreamCode	code;

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char) unit_random();
		/* a believable header lets the body's parser have its turn */
		if (len > RECORD_HEADER_LEN && round % 2 == 0)
		{
			bytes[0] = 1 + unit_random() % RECORD_LAST_TYPE;
			stream_store_u32(bytes + 1, (uint32) (len - RECORD_HEADER_LEN));
		}
		code = read_all(bytes, len, &n);
		if (code != STREAM_END && code != STREAM_CORRUPT)
			CHECK(false);
	}
	CHECK(true);
}

int
main(void)
{
	TEST(names);
	TEST(integers_are_little_endian);
	TEST(strings);
	TEST(relation_round_trip);
	TEST(commit_round_trip);
	TEST(control_records_round_trip);
	TEST(ddl_round_trip);
	TEST(role_round_trip);
	TEST(sequence_round_trip);
	TEST(large_object_round_trip);
	TEST(tuple_round_trip);
	TEST(long_records_in_parts);
	TEST(every_truncated_prefix);
	TEST(every_shortened_body);
	TEST(mutations);
	TEST(random_bytes);
	return unit_done();
}
