/*
 * copy_indexes.c - builds the indexes that the source has still to build itself
 * (apply/index_work.c): they are not valid there, so pg_dump leaves them out.
 */
#include "baton.h"

#include "copy/copy_internal.h"

void
copy_indexes_read(CopyContext *ctx)
{
	ctx->pending_indexes = copy_query(ctx->keeper, COPY_RPC_TIMEOUT,
									  "SELECT build, attach FROM baton_rpc.pending_indexes WHERE build IS NOT NULL");
}

void
copy_indexes_build(CopyContext *ctx)
{
	const CopyRows *rows = ctx->pending_indexes;

	if (rows->n_rows > 0)
		copy_progress_phase(ctx, "building indexes");
	for (int i = 0; i < rows->n_rows; i++)
	{
		copy_query(ctx->local, 0, "%s", rows->value[i][0]);
		if (rows->value[i][1] != NULL && rows->value[i][1][0] != '\0')
			copy_query(ctx->local, 0, "%s", rows->value[i][1]);
	}
}
