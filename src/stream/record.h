/*
 * record.h - records: what a frame carries.
 *
 * Every record is
 *
 *   u8 type, u32 body length, body
 *
 * with little-endian integers, and strings as u16 length + bytes.  Records of a
 * transaction begin their body with
 *
 *   u32 xid (top level), u32 subxid (the subtransaction, or the xid itself)
 *
 * so that transactions may interleave.  A transaction is self-contained: it
 * brings a RELATION record for each table before its first change of it.
 *
 *   BEGIN       xid, subxid; u8 streamed (1: sent while in progress: other
 *               transactions and ABORTs of its subtransactions may come between)
 *   RELATION    xid, subxid; u32 relid; string schema; string name; u8 replica
 *               identity; u16 n; n columns: u8 key; u8 format; string name; u32
 *               base type OID; i32 typmod; string type's schema; string type
 *   INSERT      xid, subxid; u32 relid; tuple new
 *   UPDATE      xid, subxid; u32 relid; u8 old kind ('K' key columns only, 'O'
 *               whole old row, 'N' none: the key did not change); [tuple old];
 *               tuple new
 *   DELETE      xid, subxid; u32 relid; u8 old kind ('K' or 'O'); tuple old
 *   TRUNCATE    xid, subxid; u8 flags (1 CASCADE, 2 RESTART IDENTITY); u32 n;
 *               n times u32 relid
 *   DDL         xid, subxid; u8 flags (RECORD_DDL_*); i64 start of the transaction;
 *               i64 start of the statement; string role; u16 n; n settings in force:
 *               string name; u32 length, value; u32 length; the statement's text
 *   SEQUENCE    xid, subxid (both 0: not transactional); u64 lsn; string schema;
 *               string name; i64 last value; u8 is called; u32 reserved
 *   ROLE        xid, subxid; u8 item (RoleItem); u32 flags (RECORD_ROLE_*); string
 *               name; string other; string grantor; i32 connection limit; i64 valid
 *               until; u16 n; n texts: u32 length, bytes
 *   MESSAGE     xid, subxid (both 0: not transactional); u64 lsn; string prefix;
 *               u32 length; bytes
 *   LARGE_OBJECT xid, subxid; u8 action; u32 OID; then, by action: 'c' created: string
 *               owner; 'd' dropped: nothing; 'p' a page has these bytes: i32 page, u32
 *               length, bytes; 'g' a page is gone: i32 page
 *   COMMIT      xid, subxid; u16 source member; u64 commit LSN (start of the
 *               commit record in the source's WAL); u64 end LSN; i64 commit time
 *               (PostgreSQL's microseconds); u64 oldest_open: stream position of
 *               the frame with the first record of the oldest transaction that is
 *               still open behind this COMMIT, 0 if none is
 *   ABORT       xid, subxid; xid = subxid: the whole transaction; both 0: every
 *               open transaction (a capture that starts again sends them anew)
 *   MEMBERSHIP  u32 length; bytes: the whole membership, control/control.h
 *   TERM        u64 term; u16 member: a reign begins, every open transaction of
 *               earlier ones is void; i64 time
 *   FAILOVER    u64 term; u64 attempt; u16 target; i64 deadline (time)
 *   PART        u8 last; bytes: a piece of a record that is too long for one
 *               frame.  The pieces of one record follow each other with nothing
 *               between them but frame borders and MEMBERSHIP records, which the
 *               coordinator appends when it must; their bytes, put together,
 *               are one record with its header.  Before the last piece, an ABORT
 *               or a TERM ends the record unfinished.
 *
 * tuple = u16 number of columns, then for each: u8 kind and, for 'b' and 't',
 * u32 length and that many bytes.
 *   'n' null   'u' unchanged TOAST value, not sent
 *   'b' PostgreSQL's own bytes: of a varlena without its length word, of a
 *       pass-by-value or fixed-length type its bytes, of a cstring with its zero
 *   't' text output
 */
#ifndef BATON_RECORD_H
#define BATON_RECORD_H

#include "stream/frame.h"

typedef enum RecordType
{
	RECORD_BEGIN = 1,
	RECORD_RELATION,
	RECORD_INSERT,
	RECORD_UPDATE,
	RECORD_DELETE,
	RECORD_TRUNCATE,
	RECORD_DDL,
	RECORD_SEQUENCE,
	RECORD_ROLE,
	RECORD_MESSAGE,
	RECORD_COMMIT,
	RECORD_ABORT,
	RECORD_MEMBERSHIP,
	RECORD_TERM,
	RECORD_FAILOVER,
	RECORD_PART,
	RECORD_LARGE_OBJECT
} RecordType;

#define RECORD_LAST_TYPE	RECORD_LARGE_OBJECT
#define RECORD_HEADER_LEN	5
/* Bytes of a PART record that fills a frame. */
#define RECORD_PART_MAX		(FRAME_MAX_RAW - RECORD_HEADER_LEN - 1)
/* Length of a COMMIT record. */
#define RECORD_COMMIT_LEN	(RECORD_HEADER_LEN + 8 + 2 + 8 + 8 + 8 + 8)

/* True of types whose body begins with xid and subxid. */
#define RECORD_HAS_XID(type) \
	(((type) >= RECORD_BEGIN && (type) <= RECORD_ABORT) || (type) == RECORD_LARGE_OBJECT)

/* Name of a record type in upper case, or NULL if there is no such type. */
extern const char *record_type_name(int type);

#define RECORD_MAX_ATTS		1664
#define RECORD_NAME_LEN		64	/* NAMEDATALEN */
#define RECORD_PREFIX_LEN	256	/* of messages */

typedef struct RecordColumn
{
	bool		key;			/* part of the replica identity */
	char		format;			/* 'b' or 't': how its values travel */
	char		name[RECORD_NAME_LEN];
	uint32		typid;			/* OID of its base type on the source */
	int32		typmod;
	char		typnsp[RECORD_NAME_LEN];	/* type (not base type) by name */
	char		typname[RECORD_NAME_LEN];
} RecordColumn;

typedef struct RecordRelation
{
	uint32		relid;
	char		nspname[RECORD_NAME_LEN];
	char		relname[RECORD_NAME_LEN];
	char		replident;		/* relreplident */
	uint16		natts;
	RecordColumn *columns;		/* natts of them; owned by the caller */
} RecordRelation;

typedef struct RecordValue
{
	char		kind;			/* n, u, b, t */
	uint32		len;
	const char *data;
} RecordValue;

/* A record, its body not yet looked into. */
typedef struct Record
{
	RecordType	type;
	const char *body;
	uint32		body_len;
	/* of transactional records (BEGIN to ABORT), else 0 */
	uint32		xid;
	uint32		subxid;
	/* where the rest of the body begins, behind xid and subxid if there are */
	StreamCursor rest;
} Record;

typedef struct RecordCommit
{
	uint16		source;
	uint64		commit_lsn;
	uint64		end_lsn;
	int64		commit_time;
	StreamPos	oldest_open;
} RecordCommit;

/* A command that changes definitions, as text with all that gives it its meaning. */
typedef struct RecordDdl
{
	uint8		flags;
	int64		transaction_start;	/* now() */
	int64		statement_start;
	char		role[RECORD_NAME_LEN];
	uint16		n_settings;
	StreamCursor settings;		/* read with record_get_setting() */
	uint32		len;
	const char *text;
} RecordDdl;

#define RECORD_DDL_NO_DATA	0x01	/* make it WITH NO DATA: its rows follow */
#define RECORD_DDL_ROWS		0x02	/* the rows of the tables that it rewrites follow, whole */
#define RECORD_DDL_ALONE	0x04	/* it commits by itself, and has done so on the source */
#define RECORD_DDL_BY_BATON	0x08	/* REPLICA IDENTITY FULL that nobody has asked for */
#define RECORD_DDL_INVALID	0x10	/* an index that has no contents yet, and may never get them */
#define RECORD_DDL_ALL_FLAGS \
	(RECORD_DDL_NO_DATA | RECORD_DDL_ROWS | RECORD_DDL_ALONE | RECORD_DDL_BY_BATON | \
	 RECORD_DDL_INVALID)

typedef struct RecordSetting
{
	char		name[RECORD_NAME_LEN];
	uint32		len;
	const char *value;
} RecordSetting;

/*
 * The state of a sequence.  It may have handed out values beyond last_value, but no
 * more than `reserved` of them without another record of it.
 */
typedef struct RecordSequence
{
	uint64		lsn;			/* end of its WAL record on the source */
	char		nspname[RECORD_NAME_LEN];
	char		relname[RECORD_NAME_LEN];
	int64		last_value;
	bool		is_called;
	uint32		reserved;
} RecordSequence;

typedef struct RecordLargeObject
{
	uint8		action;			/* 'c' created, 'd' dropped, 'p' page, 'g' page is gone */
	uint32		oid;
	char		owner[RECORD_NAME_LEN];	/* 'c' */
	int32		page;			/* 'p' and 'g' */
	uint32		len;			/* 'p' */
	const char *data;
} RecordLargeObject;

/*
 * One row of the catalogs that all databases of a server share, as it is: of a role,
 * or of the database itself, whose name may differ from node to node.
 */
typedef enum RoleItem
{
	ROLE_ATTRIBUTES = 1,		/* role `name`; text: its password's hash */
	ROLE_GONE,					/* there is no role `name` any more */
	ROLE_RENAMED,				/* role `name` is called `other` */
	ROLE_MEMBER,				/* `other` is a member of `name` */
	ROLE_NO_MEMBER,
	ROLE_SETTINGS,				/* of `name` ("" all roles): texts "setting=value", none: none */
	ROLE_COMMENT,				/* on `name` ("" the database); text: it, none: none */
	ROLE_DATABASE				/* owner `name`; texts: grantee ("" PUBLIC), grantor, rights */
} RoleItem;

#define RECORD_ROLE_SUPERUSER	0x0001
#define RECORD_ROLE_INHERIT		0x0002
#define RECORD_ROLE_CREATEROLE	0x0004
#define RECORD_ROLE_CREATEDB	0x0008
#define RECORD_ROLE_LOGIN		0x0010
#define RECORD_ROLE_REPLICATION 0x0020
#define RECORD_ROLE_BYPASSRLS	0x0040
#define RECORD_ROLE_VALID_UNTIL 0x0080	/* `until` is set */
#define RECORD_ROLE_TEXTS		0x0100	/* a password, a comment, an access list that is not
										 * the default */
#define RECORD_ROLE_ADMIN		0x0200	/* membership: ADMIN OPTION */
#define RECORD_ROLE_INHERITS	0x0400	/* membership: INHERIT OPTION */
#define RECORD_ROLE_SETS		0x0800	/* membership: SET OPTION */
#define RECORD_ROLE_HERE		0x1000	/* settings: in this database only */
#define RECORD_ROLE_IF_MISSING	0x2000	/* a role that is there stays as it is */
#define RECORD_ROLE_POWERFUL	0x4000	/* `name` is a superuser on the source, or was one
										 * before this change */
#define RECORD_ROLE_ALL_FLAGS	0x7FFF

typedef struct RecordRole
{
	RoleItem	item;
	uint32		flags;
	char		name[RECORD_NAME_LEN];
	char		other[RECORD_NAME_LEN];
	char		grantor[RECORD_NAME_LEN];
	int32		connection_limit;
	int64		until;
	uint16		n_texts;
	StreamCursor texts;			/* read with record_get_text() */
} RecordRole;

typedef struct RecordText
{
	uint32		len;
	const char *text;
} RecordText;

typedef struct RecordTerm
{
	uint64		term;
	uint16		member;
	int64		time;
} RecordTerm;

typedef struct RecordFailover
{
	uint64		term;
	uint64		attempt;
	uint16		target;
	int64		deadline;
} RecordFailover;

typedef struct RecordMessage
{
	uint64		lsn;
	char		prefix[RECORD_PREFIX_LEN];
	uint32		len;
	const char *data;
} RecordMessage;

/*
 * Writing.  record_begin() appends type, a length to be filled in, and xid and
 * subxid if the type has them; the caller appends the rest with stream_buf_*;
 * record_end() fills in the length.  Returns the record's offset in buf.
 */
extern size_t record_begin(StreamBuf *buf, RecordType type, uint32 xid, uint32 subxid);
extern void record_end(StreamBuf *buf, size_t offset);

extern void record_put_relation(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordRelation *rel);
extern void record_put_commit(StreamBuf *buf, uint32 xid, const RecordCommit *commit);
extern void record_put_abort(StreamBuf *buf, uint32 xid, uint32 subxid);
extern void record_put_term(StreamBuf *buf, const RecordTerm *term);
extern void record_put_failover(StreamBuf *buf, const RecordFailover *failover);
extern void record_put_sequence(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordSequence *s);
extern void record_put_large_object(StreamBuf *buf, uint32 xid, uint32 subxid,
									const RecordLargeObject *o);
/* A DDL record's body behind xid and subxid; d->n_settings from `settings`. */
extern void record_put_ddl_body(StreamBuf *buf, const RecordDdl *d, const RecordSetting *settings);
/* A ROLE record's body behind xid and subxid; r->n_texts from `texts`. */
extern void record_put_role_body(StreamBuf *buf, const RecordRole *r, const RecordText *texts);
extern void record_put_membership(StreamBuf *buf, const char *bytes, uint32 len);
extern void record_put_message(StreamBuf *buf, uint32 xid, uint32 subxid, const RecordMessage *m);
/* One piece, of at most RECORD_PART_MAX bytes, of a record that is too long for a frame. */
extern void record_put_part(StreamBuf *buf, bool last, const char *bytes, uint32 len);

/* tuple parts: number of columns, then each value */
static inline void
record_put_natts(StreamBuf *buf, uint16 natts)
{
	stream_buf_u16(buf, natts);
}

static inline void
record_put_null(StreamBuf *buf)
{
	stream_buf_u8(buf, 'n');
}

static inline void
record_put_unchanged(StreamBuf *buf)
{
	stream_buf_u8(buf, 'u');
}

/* kind: 'b' or 't' */
static inline void
record_put_value(StreamBuf *buf, char kind, const void *data, uint32 len)
{
	char	   *p = stream_buf_extend(buf, 5 + (size_t) len);

	if (p == NULL)
		return;
	p[0] = kind;
	stream_store_u32(p + 1, len);
	if (len > 0)
		memcpy(p + 5, data, len);
}

/*
 * Overwrite oldest_open in an encoded COMMIT record that starts at `record`.
 */
extern void record_patch_commit(char *record, StreamPos oldest_open);

/*
 * Reading.  record_next() gives the next record at *c: STREAM_OK, STREAM_END at
 * the end, STREAM_CORRUPT for lengths or types that cannot be.  The parsers
 * below return STREAM_CORRUPT for a body that does not hold together; no input,
 * however damaged, makes them read outside it.
 */
extern StreamCode record_next(StreamCursor *c, Record *record, StreamError *err);
extern StreamCode record_get_relation(const Record *r, RecordRelation *rel,
									  RecordColumn *columns, int max_columns, StreamError *err);
extern StreamCode record_get_commit(const Record *r, RecordCommit *commit, StreamError *err);
extern StreamCode record_get_term(const Record *r, RecordTerm *term, StreamError *err);
extern StreamCode record_get_failover(const Record *r, RecordFailover *failover, StreamError *err);
extern StreamCode record_get_message(const Record *r, RecordMessage *m, StreamError *err);
extern StreamCode record_get_sequence(const Record *r, RecordSequence *s, StreamError *err);
extern StreamCode record_get_large_object(const Record *r, RecordLargeObject *o, StreamError *err);
extern StreamCode record_get_ddl(const Record *r, RecordDdl *d, StreamError *err);
/* The next of d->n_settings settings. */
extern void record_get_setting(StreamCursor *c, RecordSetting *setting);
extern StreamCode record_get_role(const Record *r, RecordRole *role, StreamError *err);
/* The next of role->n_texts texts. */
extern void record_get_text(StreamCursor *c, RecordText *text);
extern StreamCode record_get_membership(const Record *r, const char **bytes, uint32 *len,
										StreamError *err);
/* bytes: the piece; the caller puts the pieces together and reads them with record_next. */
extern StreamCode record_get_part(const Record *r, bool *last, const char **bytes, uint32 *len,
								  StreamError *err);
/* Reads one tuple at c: returns the number of values, at most max, or -1. */
extern int	record_get_tuple(StreamCursor *c, RecordValue *values, int max);

#endif							/* BATON_RECORD_H */
