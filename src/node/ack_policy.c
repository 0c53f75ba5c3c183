/*
 * ack_policy.c - keeps what this server does in step with the group's ack policy.
 *
 * The policy travels with the membership.  Each node that may lead has its name in
 * synchronous_standby_names as long as the policy asks for acknowledgements: the
 * name follows the policy, not the role, because taking it out releases everybody
 * who waits as if all were well.  (Capture on a replica reports everything as
 * flushed, so nobody waits there.)  It is out while this node has no capture, or
 * one that cannot get past a commit: every database of the server would hang.
 *
 *   wanted, not in effect   write it, look again after each reload
 *   in effect               ack_enforced: a commit that comes back without being
 *                           acknowledged was cancelled (failover/commit_guard.c)
 *   not wanted              ack_enforced is taken back; then, when no session
 *                           waits, or after DROP_MS, the name is taken out
 */
#include "node/coordinator.h"

#include "node/sync_names.h"
#include "ship/acks.h"

/* How long sessions are given to hear that they need not wait any more, in ms. */
#define DROP_MS			2000
/* How long a reload may take before the setting is written again, in ms. */
#define RELOAD_MS		2000
/* Other processes may take up the setting this much later, in ms. */
#define OTHERS_MS		100

static bool
wants_name(const Coordinator *c)
{
	const Membership *m = &c->control.membership;
	const Member *me = membership_find((Membership *) m, c->control.self);
	bool		stuck;

	if (c->down || m->ack_policy == ACK_NONE || !c->running ||
		c->control.intent != INTENT_ACTIVE || c->control.slot_name[0] == '\0' ||
		me == NULL || me->voter.type != CONSENSUS_ELECTABLE)
		return false;
	SpinLockAcquire(&c->node->mutex);
	stuck = c->node->diverged_lsn != 0 && c->consensus.role != ROLE_PRIMARY;
	SpinLockRelease(&c->node->mutex);
	return !stuck;
}

/* Why the policy has no effect here, for baton.status; said once in the events. */
static void
show_trouble(Coordinator *c, const char *why)
{
	if (strcmp(c->ack_trouble, why) == 0)
		return;
	strlcpy(c->ack_trouble, why, BATON_REASON_LEN);
	if (why[0] != '\0')
		coordinator_note(c, "ack policy", "\"%s\" has no effect on this node: %s",
						 ack_policy_name(c->control.membership.ack_policy), why);
	coordinator_publish(c);
}

static void
write_name(Coordinator *c, SyncName wanted, uint64 now)
{
	char		err[BATON_REASON_LEN / 2];

	c->sync_written_at = now;
	if (!sync_names_write(c->node, wanted, err, sizeof(err)))
		show_trouble(c, psprintf("synchronous_standby_names cannot be set: %s", err));
}

static void
put_name_in(Coordinator *c, uint64 now)
{
	Oid			dboid = c->node->dboid;
	char	   *detail;
	char	   *hint;

	c->sync_drop_at = 0;
	if (!sync_names_in_effect() || !sync_names_wait_for(dboid))
	{
		pg_atomic_write_u32(&c->node->ack_enforced, 0);
		c->sync_effect_at = 0;
		if (sync_names_obstacle(dboid, &detail, &hint))
			show_trouble(c, "synchronous_standby_names is somebody else's");
		else if (c->sync_written_at == 0 || now >= c->sync_written_at + RELOAD_MS)
		{
			if (c->sync_written_at != 0)
				show_trouble(c, "synchronous_standby_names is set where ALTER SYSTEM does not reach");
			write_name(c, SYNC_NAME_IN, now);
		}
		return;
	}
	if (c->sync_effect_at == 0)
		c->sync_effect_at = now + (c->sync_written_at != 0 ? OTHERS_MS : 0);
	sync_names_claim(c->node);
	if (now < c->sync_effect_at)
		return;
	pg_atomic_write_u32(&c->node->ack_enforced, 1);
	c->sync_written_at = 0;
	show_trouble(c, "");
}

/* True when it is out, or nothing of ours. */
static bool
take_name_out(Coordinator *c, uint64 now)
{
	pg_atomic_write_u32(&c->node->ack_enforced, 0);
	c->sync_effect_at = 0;
	c->sync_written_at = 0;
	show_trouble(c, "");
	if (!sync_names_is_in(c->node))
		return true;
	if (c->sync_drop_at == 0)
		c->sync_drop_at = now + DROP_MS;
	if (sync_names_waiters() && now < c->sync_drop_at)
	{
		node_wake(c->node, WORKER_CAPTURE);
		return false;
	}
	write_name(c, SYNC_NAME_OUT, now);
	c->sync_written_at = 0;
	c->sync_drop_at = 0;
	return true;
}

/* Once each turn.  now: boot_ms(). */
void
coordinator_follow_policy(Coordinator *c, uint64 now)
{
	if (wants_name(c))
		put_name_in(c, now);
	else
		(void) take_name_out(c, now);
}

/* Do commits wait as the policy asks for, or is it known that they cannot? */
bool
coordinator_policy_holds(Coordinator *c)
{
	return !wants_name(c) || c->ack_trouble[0] != '\0' ||
		pg_atomic_read_u32(&c->node->ack_enforced) == 1;
}

/* The same after a change: acknowledgements are counted by it, and old names are out. */
bool
coordinator_policy_settled(Coordinator *c)
{
	uint64		version;

	SpinLockAcquire(&c->node->mutex);
	version = c->node->ack_version;
	SpinLockRelease(&c->node->mutex);
	return version >= c->control.membership.version && coordinator_policy_holds(c) &&
		(wants_name(c) || !sync_names_is_in(c->node));
}

/* Before capture ends: nobody waits for it any more.  Takes DROP_MS at most. */
void
coordinator_drop_sync_name(Coordinator *c)
{
	while (!take_name_out(c, boot_ms()))
		pg_usleep(1000);
}
