/*
 * forget.c - baton.forget_rolled_back(): rows of baton.rolled_back that a person has
 * dealt with are deleted, on any node.
 *
 * The table is local to its node, and so is this: nothing of it enters the stream.  On
 * a node that is not primary every transaction of a client is read-only; this function
 * lifts that for its one command, and tells the gate which table it was.
 */
#include "api/api.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "failover/gate.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(baton_forget_rolled_back);

static uint64
delete_rows(int64 up_to)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(up_to)};
	uint64		n;

	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("DELETE FROM baton.rolled_back WHERE id <= $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from baton.rolled_back");
	n = SPI_processed;
	SPI_finish();
	return n;
}

/*
 * baton.forget_rolled_back(up_to bigint) returns bigint
 *
 * Deletes the rows of baton.rolled_back whose id is up_to or less, all if it is null,
 * and returns their number.  An ordinary part of its transaction: it can be rolled
 * back.  Runs with the rights of the extension's owner, so that EXECUTE can be granted.
 */
Datum
baton_forget_rolled_back(PG_FUNCTION_ARGS)
{
	int64		up_to = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT64(0);
	bool		read_only = XactReadOnly;
	bool		exempt = baton_worker_exempt;
	volatile uint64 n = 0;

	gate_note_local_table(get_relname_relid("rolled_back", get_namespace_oid("baton", false)));
	PG_TRY();
	{
		XactReadOnly = false;
		baton_worker_exempt = true;
		n = delete_rows(up_to);
	}
	PG_FINALLY();
	{
		XactReadOnly = read_only;
		baton_worker_exempt = exempt;
	}
	PG_END_TRY();
	PG_RETURN_INT64((int64) n);
}
