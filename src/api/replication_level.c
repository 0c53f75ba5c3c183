/*
 * replication_level.c - baton.set_replication().
 */
#include "api/api.h"

#include "failover/gate.h"
#include "levels/level.h"

PG_FUNCTION_INFO_V1(baton_set_replication);

/*
 * baton.set_replication(table regclass, level text) returns void
 *
 * What replicas have of a table and its partitions: "all", "schema" (no rows), or
 * "none".  Part of the session's transaction.  The same as SECURITY LABEL FOR baton.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if this database is no node,
 * ERRCODE_READ_ONLY_SQL_TRANSACTION if it is not the primary,
 * ERRCODE_INVALID_PARAMETER_VALUE for the level, and those of level_change().
 */
Datum
baton_set_replication(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	char	   *level = api_text(fcinfo, 1);

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the table must not be null")));
	(void) level_parse(level);
	gate_enter_write(node, "baton.set_replication()");
	level_change(node, PG_GETARG_OID(0), level_parse(level));
	PG_RETURN_VOID();
}
