/*
 * stat_replication.c - the data of view baton.stat_replication: the primary's
 * links to the other members.
 */
#include "baton.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(baton_stat_replication);

#define STAT_REPLICATION_COLUMNS 13

/* How long something has been waiting: an interval, zero if nothing is. */
static Datum
waiting_interval(TimestampTz since, TimestampTz now)
{
	Interval   *result = palloc0(sizeof(Interval));

	if (since != 0 && now > since)
		result->time = now - since;
	return IntervalPGetDatum(result);
}

/* One row.  A member that was never reached has no places. */
static void
put_link(ReturnSetInfo *rsinfo, const PeerShared *peer, const char *name,
		 StreamPos own_flushed, TimestampTz now)
{
	Datum		values[STAT_REPLICATION_COLUMNS] = {0};
	bool		nulls[STAT_REPLICATION_COLUMNS] = {false};
	bool		known = peer->last_reply != 0;

	values[0] = Int32GetDatum(peer->id);
	values[1] = CStringGetTextDatum(name);
	values[2] = CStringGetTextDatum(link_state_name(peer->link));
	values[3] = CStringGetTextDatum(node_state_name(peer->state));
	values[4] = LSNGetDatum(peer->sent);
	values[5] = LSNGetDatum(peer->written);
	values[6] = LSNGetDatum(peer->flushed);
	values[7] = LSNGetDatum(peer->applied);
	values[8] = Int64GetDatum((int64) (own_flushed - Min(peer->applied, own_flushed)));
	values[9] = waiting_interval(peer->flush_waits_since, now);
	values[10] = waiting_interval(peer->apply_waits_since, now);
	values[11] = TimestampTzGetDatum(peer->last_reply);
	values[12] = CStringGetTextDatum(peer->error[0] ? peer->error : peer->apply_error);
	nulls[3] = !known;
	for (int i = 4; i <= 11; i++)
		nulls[i] = !known;
	nulls[12] = peer->error[0] == '\0' && peer->apply_error[0] == '\0';
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * baton.replication_links(): a row for each other member if this node is the
 * primary, none otherwise, or if the database is not a node.  lag_bytes counts
 * what is flushed here and not applied there.
 */
Datum
baton_stat_replication(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeShared *node;
	Membership *membership = palloc(sizeof(Membership));
	PeerShared *peers = palloc(sizeof(PeerShared) * CONSENSUS_MAX_MEMBERS);
	StreamPos	flushed;
	TimestampTz now = GetCurrentTimestamp();
	bool		primary;

	baton_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	node = node_mine();
	if (node == NULL)
		return (Datum) 0;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	primary = node->state == NODE_PRIMARY;
	*membership = node->membership;
	LWLockRelease(&node->state_lock);
	if (!primary)
		return (Datum) 0;
	LWLockAcquire(&node->peer_lock, LW_SHARED);
	memcpy(peers, node->peers, sizeof(PeerShared) * CONSENSUS_MAX_MEMBERS);
	LWLockRelease(&node->peer_lock);
	flushed = node_log_tail(node).flushed;

	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		const Member *member = membership_find(membership, peers[i].id);

		if (peers[i].id != 0 && member != NULL)
			put_link(rsinfo, &peers[i], member->name, flushed, now);
	}
	return (Datum) 0;
}
