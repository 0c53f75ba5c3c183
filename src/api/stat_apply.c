/*
 * stat_apply.c - the view baton.stat_apply: how far apply has got on this node.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(baton_stat_apply);

#define STAT_APPLY_COLUMNS 8

/*
 * baton.stat_apply(): one row, or a row of NULLs if this database is not a node.
 * Columns as declared in sql/parts/41-stat-apply.sql.
 */
Datum
baton_stat_apply(PG_FUNCTION_ARGS)
{
	NodeShared *node;
	TupleDesc	desc;
	Datum		values[STAT_APPLY_COLUMNS] = {0};
	bool		nulls[STAT_APPLY_COLUMNS] = {false};
	StreamTail	tail;
	StreamPos	applied;
	TimestampTz commit_time;
	char		error[BATON_ERROR_LEN];

	baton_require_preloaded();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	node = node_mine();
	if (node == NULL)
	{
		memset(nulls, true, sizeof(nulls));
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
	}

	tail = node_log_tail(node);
	SpinLockAcquire(&node->mutex);
	values[0] = BoolGetDatum(node->applier_running);
	applied = node->applied;
	commit_time = node->applied_commit_time;
	values[5] = Int64GetDatum((int64) node->applied_txns);
	values[6] = Int64GetDatum((int64) node->applied_rows);
	strlcpy(error, node->apply_error, sizeof(error));
	SpinLockRelease(&node->mutex);

	values[1] = LSNGetDatum(applied);
	values[2] = LSNGetDatum(tail.flushed);
	values[3] = Int64GetDatum(tail.flushed > applied ? (int64) (tail.flushed - applied) : 0);
	values[4] = TimestampTzGetDatum(commit_time);
	nulls[4] = commit_time == 0;
	nulls[7] = error[0] == '\0';
	if (!nulls[7])
		values[7] = CStringGetTextDatum(error);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
