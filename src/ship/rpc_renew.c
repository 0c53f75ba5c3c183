/*
 * rpc_renew.c - baton_rpc.renew_copy(): the primary says that this node has fallen
 * out of what it keeps of the stream.
 */
#include "baton.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/pg_lsn.h"

PG_FUNCTION_INFO_V1(baton_rpc_renew_copy);

/*
 * baton_rpc.renew_copy(from_id, term, log_start): the primary of `term` keeps its
 * stream log from log_start on only, and this log ends before.  The coordinator
 * takes a new copy, or takes the node out of service (baton.auto_copy).  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if this session is not the receiver of
 * that term.
 */
Datum
baton_rpc_renew_copy(PG_FUNCTION_ARGS)
{
	int			from = PG_GETARG_INT32(0);
	uint64		term = (uint64) PG_GETARG_INT64(1);
	StreamPos	log_start = PG_GETARG_LSN(2);
	NodeShared *node = rpc_enter_peer(from);
	StreamPos	end = node_log_tail(node).end;
	bool		receiver;

	LWLockAcquire(&node->log_lock, LW_SHARED);
	receiver = node->receiver_pid == MyProcPid && node->append_term == term;
	LWLockRelease(&node->log_lock);
	if (!receiver)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this session is not the receiver of term " UINT64_FORMAT, term)));

	SpinLockAcquire(&node->mutex);
	snprintf(node->copy.wanted, sizeof(node->copy.wanted),
			 "its stream log ends at %X/%X, and the primary keeps it from %X/%X on",
			 STREAM_POS_ARGS(end), STREAM_POS_ARGS(log_start));
	SpinLockRelease(&node->mutex);
	node_wake(node, WORKER_COORDINATOR);
	PG_RETURN_VOID();
}
