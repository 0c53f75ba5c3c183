/*
 * lease.c - what leases ask of the coordinator, on both sides.
 *
 * The primary's side.  The shipper notes in PeerShared when the latest sign of life
 * that a voter has answered with its promise was sent; we tell the core, and publish
 * up to when the gate counts (node->lease_until).  A lease that is lost ends the reign;
 * the reason says from whom nothing was heard.
 *
 * The voter's side.  A promise must survive a restart, so the control file holds the
 * longest lease that may be promised.  A receiver that is asked for a longer one gives
 * no promise but says so (node->promise_asked); we write it down first.
 *
 * The length of the lease follows baton.election_timeout.  A longer one counts only
 * once no sign of life that stated the shorter one can count any more.
 */
#include "node/coordinator.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/*
 * Follow the setting, and publish what signs of life are to state: while the lease
 * grows they state the longer one already, but the core counts by the shorter.
 */
void
coordinator_lease_length(Coordinator *c, uint64 now)
{
	ConsensusConfig *config = &c->consensus.config;
	uint32		wanted = baton_effective_election_timeout();
	bool		longer = wanted > config->election_timeout;

	pg_atomic_write_u32(&c->node->lease_ms, Max(wanted, config->election_timeout));
	config->retry_interval = Max(baton_heartbeat_interval / 5, 10);
	if (longer && c->consensus.role == ROLE_CANDIDATE)
		return;					/* its requests state the shorter one */
	if (longer && c->consensus.role == ROLE_PRIMARY)
	{
		if (c->lease_longer_at == 0)
			c->lease_longer_at = now + wanted;
		if (now < c->lease_longer_at)
			return;
	}
	c->lease_longer_at = 0;
	config->election_timeout = wanted;
}

/* The latest answers of one peer, if they are news. */
static bool
heard_from(Coordinator *c, int index, ConsensusEvent *e)
{
	NodeShared *node = c->node;
	PeerShared *peer = &node->peers[index];
	uint32		lease;

	LWLockAcquire(&node->peer_lock, LW_SHARED);
	e->leader = peer->id;
	e->term = peer->heard_term;
	e->sent = peer->heard_sent;
	lease = peer->heard_lease;
	LWLockRelease(&node->peer_lock);

	if (e->leader == 0 || e->term != c->consensus.durable.term || e->sent == c->seen_heard_sent[index])
		return false;
	c->seen_heard_sent[index] = e->sent;
	/* a shorter lease than is in force, or soon will be, does not cover it */
	return lease >= pg_atomic_read_u32(&node->lease_ms);
}

/* Tell the core which voters have renewed the lease. */
void
coordinator_take_heard(Coordinator *c)
{
	if (c->consensus.role != ROLE_PRIMARY)
		return;
	for (int i = 0; i < CONSENSUS_MAX_MEMBERS; i++)
	{
		ConsensusEvent e = {EV_HEARD};

		if (heard_from(c, i, &e))
			coordinator_event(c, &e);
		if (c->consensus.role != ROLE_PRIMARY)
			return;
	}
}

/* A receiver could not promise as long a lease as the primary asks for. */
void
coordinator_take_promise(Coordinator *c)
{
	NodeShared *node = c->node;
	ConsensusDurable *durable = &c->consensus.durable;
	uint32		asked;

	SpinLockAcquire(&node->mutex);
	asked = node->promise_asked;
	node->promise_asked = 0;
	SpinLockRelease(&node->mutex);
	if (asked <= durable->promise_ms)
		return;
	durable->promise_ms = asked;
	c->control.durable.promise_ms = asked;
	coordinator_save(c);
	coordinator_publish_promise(c);
}

/* Called when the control file holds c->control.durable. */
void
coordinator_publish_promise(Coordinator *c)
{
	SpinLockAcquire(&c->node->mutex);
	c->node->promise_ms = c->control.durable.promise_ms;
	SpinLockRelease(&c->node->mutex);
}

/*
 * Up to when the gate counts.  Nothing is said of a node that does not take part: its
 * gate is closed, or open because the group is just being made.
 */
void
coordinator_publish_lease(Coordinator *c, uint64 lease_until)
{
	if (c->consensus.role == ROLE_PRIMARY)
		pg_atomic_write_u64(&c->node->lease_until, lease_until);
	else if (c->running)
		pg_atomic_write_u64(&c->node->lease_until, 0);
}

/*
 * The reason to show when the lease is lost at `now`.  heard: the core's, by index in
 * its members, as they were before.
 */
void
coordinator_lease_reason(Coordinator *c, const uint64 *heard, uint64 now, char *out, size_t size)
{
	const ConsensusMembership *m = &c->consensus.members;
	uint32		lease = c->consensus.config.election_timeout;
	int			n = 0;
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < m->count; i++)
	{
		Member	   *member = membership_find(&c->control.membership, m->member[i].id);

		if (m->member[i].type == CONSENSUS_SECONDARY || m->member[i].joining)
			continue;
		if (m->member[i].id == c->control.self || (heard[i] != 0 && heard[i] + lease > now))
			n++;
		else
			appendStringInfo(&missing, "%s\"%s\"", missing.len > 0 ? ", " : "", member ? member->name : "?");
	}
	snprintf(out, size, "lease lost: heard from %d of %d voters within %u ms; not from %s",
			 n, consensus_voters(m), lease, missing.data);
	/* cut in the middle of a name's character it would be no text */
	out[pg_mbcliplen(out, strlen(out), strlen(out))] = '\0';
	pfree(missing.data);
}
