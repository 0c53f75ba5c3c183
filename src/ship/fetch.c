/*
 * fetch.c - a worker that fetches the frames behind the own log's end from a member
 * that has more and does not lead: an arbiter, or a node with a lower priority.
 *
 * The core asks for it before this node stands for election (Consensus.fetch_from);
 * the coordinator starts this worker and shows the member in node->fetch_from, under
 * log_lock, for as long as it stays UNKNOWN and gives no vote.  Each append looks
 * there, with log_lock held: from the moment that something else decides about this
 * log nothing is added to it.  The member gives frames only if this log is the
 * beginning of its own.
 *
 * Progression: connect, shake hands without a term, then in turn: ask, take over a
 * newer membership if the member has one, append, flush; at the member's end wake
 * the coordinator, which lets the core look again.  Any failure ends the worker; it
 * is started again as long as the core wants it, which is a few election timeouts.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "ship/peer_conn.h"
#include "ship/rpc.h"
#include "ship/talk.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PGDLLEXPORT void baton_fetch_main(Datum main_arg);

#define FETCH_BYTES		(4 * 1024 * 1024)
#define FETCH_MS		10000
#define FETCH_ADOPT_MS	4000

typedef struct FetchContext
{
	NodeShared *node;
	uint16		from;			/* the member */
	uint16		self;
	Member		member;
	PeerConn   *peer;
	StreamWriter writer;
} FetchContext;

static void
fetch_failed(FetchContext *ctx, const char *why)
{
	ereport(LOG,
			(errmsg("cannot fetch the end of the stream from member \"%s\": %s", ctx->member.name, why)));
	proc_exit(0);
}

static uint16
fetch_wanted_from(NodeShared *node)
{
	uint16		from;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	from = node->fetch_from;
	LWLockRelease(&node->log_lock);
	return from;
}

/* Whom to ask; false if the coordinator wants nothing any more. */
static bool
fetch_look(FetchContext *ctx)
{
	Member	   *member;

	ctx->from = fetch_wanted_from(ctx->node);
	LWLockAcquire(&ctx->node->state_lock, LW_SHARED);
	ctx->self = ctx->node->self;
	member = membership_find(&ctx->node->membership, ctx->from);
	if (member != NULL)
		ctx->member = *member;
	LWLockRelease(&ctx->node->state_lock);
	return ctx->from != 0 && member != NULL;
}

static PGresult *
fetch_ask(FetchContext *ctx, const char *sql, const TalkParams *p, char *err, size_t errlen)
{
	return peer_query(ctx->peer, FETCH_MS, sql, p->n, p->types, p->values, p->lengths, p->formats,
					  1, err, errlen);
}

/* A handshake without a term: the session may only ask. */
static void
fetch_shake_hands(FetchContext *ctx)
{
	NodeShared *node = ctx->node;
	TalkParams	p = {0};
	StreamBuf	members = {0};
	char		err[BATON_ERROR_LEN];
	char		name[BATON_NAME_LEN] = "";
	char		status[32];
	uint8		group_id[16];
	uint64		incarnation;
	Member	   *me;
	PGresult   *r;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	memcpy(group_id, node->group_id, sizeof(group_id));
	incarnation = node->incarnation;
	me = membership_find(&node->membership, node->self);
	if (me != NULL)
		strlcpy(name, me->name, sizeof(name));
	membership_encode(&node->membership, &members);
	LWLockRelease(&node->state_lock);

	talk_bytes(&p, UUIDOID, group_id, sizeof(group_id));
	talk_int4(&p, ctx->self);
	talk_text(&p, name);
	talk_int4(&p, ctx->from);
	talk_int4(&p, BATON_PROTOCOL_VERSION);
	talk_text(&p, rpc_architecture());
	talk_text(&p, GetDatabaseEncodingName());
	talk_int8(&p, 0);
	talk_bytes(&p, BYTEAOID, members.data, members.len);
	talk_int8(&p, incarnation);
	talk_int8(&p, ctx->member.incarnation);
	r = fetch_ask(ctx, "SELECT status FROM baton_rpc.handshake($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
				  &p, err, sizeof(err));
	stream_buf_free(&members);
	if (r == NULL)
		fetch_failed(ctx, err);
	talk_get_text(r, 0, status, sizeof(status));
	if (strcmp(status, "ok") != 0)
		fetch_failed(ctx, status);
}

/*
 * What is fetched may hold a change of members: it is in force, and in the control
 * file, before this log holds it.
 */
static void
fetch_adopt(FetchContext *ctx, const char *bytes, int len)
{
	NodeShared *node = ctx->node;
	Membership *m = palloc(sizeof(Membership));
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FETCH_ADOPT_MS);
	uint64		version = 0;

	if (!membership_decode(bytes, len, m))
		fetch_failed(ctx, "its membership cannot be read");
	node_offer_membership(node, m);
	ConditionVariablePrepareToSleep(&node->state_cv);
	for (;;)
	{
		LWLockAcquire(&node->state_lock, LW_SHARED);
		version = node->membership.version;
		LWLockRelease(&node->state_lock);
		if (version >= m->version || GetCurrentTimestamp() >= until)
			break;
		ConditionVariableTimedSleep(&node->state_cv, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	if (version < m->version)
		fetch_failed(ctx, "a newer membership was not adopted");
	pfree(m);
}

/* Append frames, if this node still wants them. */
static void
fetch_append(FetchContext *ctx, const char *frames, int len)
{
	NodeShared *node = ctx->node;
	StreamError err = {0};
	StreamCode	code;

	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	if (node->fetch_from != ctx->from || !node->log_ready || node->log_error[0] != '\0')
		code = stream_fail(&err, STREAM_MISMATCH, 0, 0, "it is not wanted any more");
	else
		code = stream_append(&ctx->writer, &node->tail, frames, len, &err);
	if (code == STREAM_OK)
		node_log_has_own(node, frames, len);
	LWLockRelease(&node->log_lock);
	if (code == STREAM_OK)
		code = node_log_flush(node, &ctx->writer, false, &err);
	if (code != STREAM_OK)
		fetch_failed(ctx, err.message);
}

/* One round; false when there is nothing more to fetch. */
static bool
fetch_some(FetchContext *ctx)
{
	StreamTail	tail = node_log_tail(ctx->node);
	TalkParams	p = {0};
	char		err[BATON_ERROR_LEN];
	PGresult   *r;

	talk_int4(&p, ctx->self);
	talk_lsn(&p, tail.end);
	talk_lsn(&p, tail.last_start);
	talk_int8(&p, tail.last_term);
	talk_int4(&p, FETCH_BYTES);
	r = fetch_ask(ctx, "SELECT frames, members FROM baton_rpc.fetch_frames($1, $2, $3, $4, $5)",
				  &p, err, sizeof(err));
	if (r == NULL)
		fetch_failed(ctx, err);
	if (PQgetisnull(r, 0, 0))
		fetch_failed(ctx, "the own log is not the beginning of its log");
	fetch_adopt(ctx, PQgetvalue(r, 0, 1), PQgetlength(r, 0, 1));
	if (PQgetlength(r, 0, 0) == 0)
		return false;
	fetch_append(ctx, PQgetvalue(r, 0, 0), PQgetlength(r, 0, 0));
	return true;
}

/*
 * Background worker entry point; main_arg is the oid of the node's database.
 */
void
baton_fetch_main(Datum main_arg)
{
	FetchContext *ctx = palloc0(sizeof(FetchContext));
	Oid			dboid = DatumGetObjectId(main_arg);
	char		err[BATON_ERROR_LEN];
	StreamPos	start;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	pgstat_report_appname("baton fetch");
	ctx->node = node_find(dboid);
	if (ctx->node == NULL || !fetch_look(ctx))
		proc_exit(0);
	node_worker_attach(ctx->node, WORKER_FETCH);
	node_log_directory(ctx->node, ctx->writer.directory, sizeof(ctx->writer.directory));

	ctx->peer = peer_connect(ctx->member.conninfo, 0, err, sizeof(err));
	if (ctx->peer == NULL)
		fetch_failed(ctx, err);
	fetch_shake_hands(ctx);
	start = node_log_tail(ctx->node).end;
	while (fetch_wanted_from(ctx->node) == ctx->from && fetch_some(ctx))
		CHECK_FOR_INTERRUPTS();
	node_note(ctx->node, "fetched", "has fetched the stream from " STREAM_POS_FORMAT " to " STREAM_POS_FORMAT " from \"%s\"",
			  STREAM_POS_ARGS(start), STREAM_POS_ARGS(node_log_tail(ctx->node).end), ctx->member.name);
	stream_writer_close(&ctx->writer);
	node_wake(ctx->node, WORKER_COORDINATOR);
	proc_exit(0);
}
