/*
 * copy_identity.c - carries over which tables have got REPLICA IDENTITY FULL from
 * baton: by name, since pg_dump brings the identity itself but not whose will it is.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "lib/stringinfo.h"

CopyRows *
copy_identity_read(CopyContext *ctx)
{
	return copy_query(ctx->keeper, COPY_RPC_TIMEOUT,
					  "SELECT i.name FROM baton_rpc.full_identity i "
					  "WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_seclabel l WHERE l.objoid = i.relation "
					  "  AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND l.objsubid = 0 "
					  "  AND l.provider = 'baton' AND l.label = 'none')");
}

void
copy_identity_write(CopyContext *ctx, const CopyRows *rows)
{
	StringInfoData sql;

	copy_query(ctx->local, 0, "DELETE FROM baton.full_identity");
	if (rows->n_rows == 0)
		return;
	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO baton.full_identity VALUES ");
	for (int i = 0; i < rows->n_rows; i++)
		appendStringInfo(&sql, "%s(%s::pg_catalog.regclass)", i > 0 ? ", " : "",
						 copy_literal(ctx->local, rows->value[i][0]));
	copy_query(ctx->local, 0, "%s", sql.data);
}
