/*
 * copy_source.c - asking the copy's source: is it the primary, where does the
 * stream begin for a copy, and how far does it hold all that the snapshot left out.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "utils/timestamp.h"

/* A source whose capture does not get to the snapshot's place is of no use. */
#define COVER_TIMEOUT_MS	60000

/*
 * Connect to the member named by node->copy_conninfo and make sure that it is the
 * primary; if it is not but knows it, go there.
 */
void
copy_source_connect(CopyContext *ctx)
{
	LWLockAcquire(&ctx->node->state_lock, LW_SHARED);
	strlcpy(ctx->conninfo, ctx->node->copy_conninfo, sizeof(ctx->conninfo));
	LWLockRelease(&ctx->node->state_lock);
	if (ctx->conninfo[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known yet where to take the initial copy from")));

	/* one step of the way is enough: every member knows its primary or none */
	for (int hop = 0;; hop++)
	{
		CopyRows   *rows;

		ctx->source = copy_connect(ctx->conninfo, NULL, false);
		rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
						  "SELECT node_name, state, leader_conninfo, leader_name "
						  "FROM baton_rpc.describe()");
		if (rows->n_rows == 1 && rows->value[0][1] && strcmp(rows->value[0][1], "primary") == 0)
		{
			SpinLockAcquire(&ctx->node->mutex);
			strlcpy(ctx->node->copy.source_name, rows->value[0][0],
					sizeof(ctx->node->copy.source_name));
			SpinLockRelease(&ctx->node->mutex);
			return;
		}
		if (hop > 0 || rows->n_rows != 1 || !rows->value[0][2] || rows->value[0][2][0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the copy's source is not the primary, and knows none"),
					 errdetail("The state of node \"%s\" is \"%s\".",
							   rows->n_rows == 1 && rows->value[0][0] ? rows->value[0][0] : "",
							   rows->n_rows == 1 && rows->value[0][1] ? rows->value[0][1] : "")));
		strlcpy(ctx->conninfo, rows->value[0][2], sizeof(ctx->conninfo));
		copy_close(&ctx->source);
	}
}

/*
 * Ask where the stream begins for a copy whose snapshot is taken later: P0, the
 * frame before it, the term, and the terms of what lies before P0.  See baton_rpc.copy_start().
 */
void
copy_source_start(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
								  "SELECT pos, last_start, last_term, term, node_id, terms "
								  "FROM baton_rpc.copy_start()");

	if (rows->n_rows != 1 || rows->value[0][5] == NULL ||
		!stream_terms_parse(rows->value[0][5], &ctx->terms))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the copy's source did not say where the stream begins")));
	ctx->start = copy_parse_lsn(rows->value[0][0]);
	ctx->last_start = copy_parse_lsn(rows->value[0][1]);
	ctx->last_term = (uint64) strtoll(rows->value[0][2], NULL, 10);
	ctx->term = (uint64) strtoll(rows->value[0][3], NULL, 10);
	stream_terms_end(&ctx->terms, ctx->start, ctx->last_start, ctx->last_term);
	ctx->source_id = (uint16) atoi(rows->value[0][4]);
}

/*
 * Wait until the source's log holds every commit that begins before the snapshot's
 * place, and note up to where.  That it is still primary of the same term then
 * proves that it was when the snapshot was taken.
 */
void
copy_source_covered(CopyContext *ctx)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), COVER_TIMEOUT_MS);

	for (;;)
	{
		CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
									  "SELECT pos, term FROM baton_rpc.copy_covered('%X/%X')",
									  LSN_FORMAT_ARGS(ctx->copy_lsn));

		if (rows->n_rows != 1 || rows->value[0][1] == NULL ||
			(uint64) strtoll(rows->value[0][1], NULL, 10) != ctx->term)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the term changed while the copy's snapshot was taken")));
		if (rows->value[0][0] != NULL)
		{
			ctx->covered = copy_parse_lsn(rows->value[0][0]);
			return;
		}
		if (GetCurrentTimestamp() > give_up)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("capture on the copy's source does not reach the snapshot's place %X/%X",
							LSN_FORMAT_ARGS(ctx->copy_lsn)),
					 errhint("See baton.status and baton.stat_replication on the source.")));
		copy_sleep(100);
	}
}

/* Give the snapshot, and with it all locks on the source, back. */
void
copy_source_release(CopyContext *ctx)
{
	copy_close(&ctx->slot);
	copy_close(&ctx->keeper);
	copy_close(&ctx->locker);
	copy_close(&ctx->source);
}
