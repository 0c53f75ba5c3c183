/*
 * commands.c - what SQL sessions ask of the coordinator, one command at a time.
 */
#include "node/coordinator.h"

#include <unistd.h>

#include "apply/origin.h"
#include "capture/slot.h"
#include "failover/gate.h"
#include "storage/fd.h"

/*
 * End the command under way: its session reports success, or an error with
 * this SQLSTATE, message, detail and hint (each may be NULL).
 */
void
command_finish(Coordinator *c, bool success, int sqlerrcode, const char *message,
			   const char *detail, const char *hint)
{
	CommandShared *cmd = &c->node->command;

	LWLockAcquire(&c->node->command_lock, LW_EXCLUSIVE);
	cmd->success = success;
	cmd->sqlerrcode = sqlerrcode;
	strlcpy(cmd->message, message ? message : "", sizeof(cmd->message));
	strlcpy(cmd->detail, detail ? detail : "", sizeof(cmd->detail));
	strlcpy(cmd->hint, hint ? hint : "", sizeof(cmd->hint));
	cmd->done = true;
	LWLockRelease(&c->node->command_lock);
	c->command_id = 0;
	ConditionVariableBroadcast(&c->node->command_cv);
}

static void
done(Coordinator *c)
{
	command_finish(c, true, 0, NULL, NULL, NULL);
}

static void
refuse(Coordinator *c, const char *message, const char *hint)
{
	command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, NULL, hint);
}

/* baton.start(): take part again, from wherever the node was left. */
static void
run_start(Coordinator *c)
{
	if (c->down)
	{
		refuse(c, psprintf("this node is down: %s", c->node->reason), "See the server log.");
		return;
	}
	if (c->control.intent == INTENT_COPYING || c->control.intent == INTENT_ACTIVE)
	{
		done(c);
		return;
	}
	if (!coordinator_is_arbiter(c) &&
		(c->control.slot_name[0] == '\0' || !capture_slot_exists(c->node)))
	{
		refuse(c, "this node cannot start: its replication slot is missing",
			   "Call baton.leave_group() and join the group again.");
		return;
	}
	c->control.intent = INTENT_ACTIVE;
	c->control.reason[0] = '\0';
	c->control.door_closed = false;
	coordinator_save(c);
	pg_atomic_write_u32(&c->node->door_closed, 0);
	coordinator_note(c, "start", "takes part in the group again");
	coordinator_start_consensus(c);
	done(c);
}

/* baton.rejoin(): as start(), and a person has seen what that costs. */
static void
run_rejoin(Coordinator *c, bool discard)
{
	if (!discard && c->control.intent == INTENT_DETACHED && strncmp(c->control.reason, "diverged", 8) == 0)
	{
		command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					   "this node has transactions that its group does not have", c->control.reason,
					   "baton.rejoin(discard => true) rolls them back; they are saved in baton.rolled_back first.");
		return;
	}
	if (discard && !c->down && c->control.intent == INTENT_DETACHED)
	{
		c->control.rollback_unlimited = true;
		coordinator_recover_reconcile(c);
	}
	run_start(c);
}

/* baton.stop(): out of replication, as it is, over restarts too. */
static void
run_stop(Coordinator *c)
{
	if (c->down || c->control.intent == INTENT_COPYING ||
		(c->control.intent == INTENT_ACTIVE && !c->running))
	{
		refuse(c, c->down ? "this node is down" :
			   c->running ? "this node is taking its initial copy" : "this node's group is still being made",
			   "baton.leave_group() gives the node up.");
		return;
	}
	/* a node that is out of service keeps the reason */
	if (c->control.intent == INTENT_ACTIVE)
	{
		coordinator_stop_consensus(c);
		coordinator_drop_sync_name(c);
		c->control.intent = INTENT_STOPPED;
		strlcpy(c->control.reason, "stopped by baton.stop()", BATON_REASON_LEN);
		coordinator_save(c);
		coordinator_note(c, "stop", "out of replication until baton.start()");
		coordinator_publish(c);
		coordinator_stop_replicating(c);
	}
	done(c);
}

/* A node that gets ready to be made primary by force: promote it when it is. */
static void
poll_alone(Coordinator *c)
{
	ConsensusEvent e = {EV_PROMOTE};

	if (coordinator_is_ready_alone(c))
	{
		e.force = true;
		coordinator_event(c, &e);
	}
	else if (c->node->command.cancel || !c->running || c->control.intent != INTENT_ACTIVE)
	{
		coordinator_give_up_alone(c);
		refuse(c, "the promotion was given up before it began", "See baton.status.");
	}
}

static void
run_promote(Coordinator *c, bool force)
{
	ConsensusEvent e = {EV_PROMOTE};

	c->alone_account[0] = '\0';
	if (!c->running || c->control.intent != INTENT_ACTIVE)
	{
		refuse(c, "this node does not take part in its group", "Call baton.start() first.");
		return;
	}
	if (c->consensus.role == ROLE_PRIMARY)
	{
		refuse(c, "this node is the primary", NULL);
		return;
	}
	c->promoted = true;
	if (force)
	{
		coordinator_begin_alone(c);
		poll_alone(c);
	}
	else
		coordinator_event(c, &e);
}

/*
 * A promotion is over when the gate is open; a lost one has been answered.  It can
 * also end by something else: another node that leads, a node that is detached.
 */
static void
poll_promote(Coordinator *c)
{
	if (c->consensus.role == ROLE_PRIMARY && c->term_end == 0)
		command_finish(c, true, 0, c->alone_account, NULL, NULL);
	else if (c->consensus.role != ROLE_PRIMARY && c->consensus.role != ROLE_CANDIDATE)
	{
		c->promoted = false;
		refuse(c, "this node was not elected", "See baton.status and baton.events for what came in between.");
	}
	else if (c->node->command.cancel)
		refuse(c, "the call was cancelled; the promotion goes on", "See baton.status.");
}

/*
 * baton.leave_group(): the session has told the others.  Ends the workers, drops
 * slot and origin, takes the node's directory its name and removes it, gives the
 * slot in shared memory back, which opens the database to ordinary use.  A crash or
 * a failure before the directory has lost its name leaves a node that cannot do
 * anything but leave again.
 */
static void
run_leave(Coordinator *c)
{
	NodeShared *node = c->node;
	char		left[MAXPGPATH + 16];
	char		err[BATON_ERROR_LEN];

	if (!c->down)
		coordinator_stop_consensus(c);
	c->running = false;
	coordinator_drop_sync_name(c);
	coordinator_stop_workers(c);
	LWLockAcquire(&node->log_lock, LW_EXCLUSIVE);
	node->log_ready = false;
	LWLockRelease(&node->log_lock);
	stream_writer_close(&c->writer);
	if (!capture_slot_drop(node, err, sizeof(err)))
	{
		command_finish(c, false, ERRCODE_OBJECT_IN_USE,
					   "could not drop the node's replication slot", err, "Call baton.leave_group() again.");
		return;
	}
	apply_origin_drop(node);
	snprintf(left, sizeof(left), "%s" NODE_DIRECTORY_LEFT, node->directory);
	if (access(left, F_OK) == 0)
		rmtree(left, true);
	if (rename(node->directory, left) != 0 && errno != ENOENT)
	{
		command_finish(c, false, ERRCODE_IO_ERROR,
					   psprintf("could not rename directory \"%s\": %m", node->directory), NULL, NULL);
		return;
	}
	fsync_fname("baton", true);
	if (access(left, F_OK) == 0)
		rmtree(left, true);
	c->released = true;
	done(c);
	node_slot_release(node);
}

static void
begin_command(Coordinator *c)
{
	CommandShared *cmd = &c->node->command;

	switch (cmd->kind)
	{
		case COMMAND_FAILOVER:
			failover_start(c);
			break;
		case COMMAND_PROMOTE:
			run_promote(c, cmd->force);
			break;
		case COMMAND_START:
			run_start(c);
			break;
		case COMMAND_REJOIN:
			run_rejoin(c, cmd->force);
			break;
		case COMMAND_STOP:
			run_stop(c);
			break;
		case COMMAND_LEAVE:
			run_leave(c);
			break;
		case COMMAND_ADD_MEMBER:
		case COMMAND_CHANGE_MEMBER:
		case COMMAND_REMOVE_MEMBER:
		case COMMAND_SET_RULE:
		case COMMAND_SET_PAUSED:
		case COMMAND_SET_ACK_POLICY:
			change_begin(c);
			break;
		case COMMAND_NONE:
			done(c);
			break;
	}
}

/*
 * Take a waiting command up, or look whether the one under way is over.
 */
void
coordinator_commands(Coordinator *c)
{
	CommandShared *cmd = &c->node->command;
	bool		fresh;

	LWLockAcquire(&c->node->command_lock, LW_SHARED);
	fresh = cmd->kind != COMMAND_NONE && !cmd->done && cmd->id != c->command_id;
	LWLockRelease(&c->node->command_lock);
	if (fresh)
	{
		c->command_id = cmd->id;
		begin_command(c);
	}
	if (c->command_id != 0 && cmd->kind == COMMAND_PROMOTE && c->alone)
		poll_alone(c);
	if (c->command_id != 0 && cmd->kind == COMMAND_PROMOTE && !cmd->done && !c->alone)
		poll_promote(c);
	if (c->command_id != 0 && !fresh && change_is_command(cmd->kind) && !cmd->done)
		change_poll(c);
}
