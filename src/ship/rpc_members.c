/*
 * rpc_members.c - baton_rpc.members(): the primary tells the membership in force.
 */
#include "baton.h"

#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_rpc_members);

/* How long the coordinator may take to write it down, in milliseconds. */
#define MEMBERS_MS 4000

static void
decode_or_raise(bytea *bytes, Membership *m)
{
	if (!membership_decode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), m))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("not a membership of a group")));
}

/* Wait until the coordinator has dealt with the offer; false if it takes too long. */
static bool
wait_until_taken(NodeShared *node, uint64 id)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MEMBERS_MS);
	bool		taken;

	ConditionVariablePrepareToSleep(&node->state_cv);
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);

		LWLockAcquire(&node->state_lock, LW_SHARED);
		taken = node->offered.taken >= id;
		LWLockRelease(&node->state_lock);
		if (taken || left <= 0)
			break;
		ConditionVariableTimedSleep(&node->state_cv, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return taken;
}

/*
 * baton_rpc.members(from_id, term, membership, before): the membership of the
 * primary of `term`, and the one in force beside it, empty if it is committed.
 * Returns when it is in this node's control file.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the session is not the receiver of
 * that term, or the coordinator does not take it.
 */
Datum
baton_rpc_members(PG_FUNCTION_ARGS)
{
	int			from = PG_GETARG_INT32(0);
	uint64		term = (uint64) PG_GETARG_INT64(1);
	bytea	   *bytes = PG_GETARG_BYTEA_PP(2);
	bytea	   *before_bytes = PG_GETARG_BYTEA_PP(3);
	NodeShared *node = rpc_enter_peer(from);
	Membership *m = palloc(sizeof(Membership));
	Membership *before = NULL;
	bool		mine;

	decode_or_raise(bytes, m);
	if (VARSIZE_ANY_EXHDR(before_bytes) > 0)
	{
		before = palloc(sizeof(Membership));
		decode_or_raise(before_bytes, before);
	}
	LWLockAcquire(&node->log_lock, LW_SHARED);
	mine = node->receiver_pid == MyProcPid && node->append_term == term;
	LWLockRelease(&node->log_lock);
	if (!mine || !wait_until_taken(node, node_tell_membership(node, term, m, before)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node does not take the membership of term " UINT64_FORMAT " now", term)));
	pfree(m);
	if (before != NULL)
		pfree(before);
	PG_RETURN_VOID();
}
