/*
 * operate.c - baton.start(), stop(), promote(), failover(): operating a node.
 */
#include "api/api.h"

#include "api/member_client.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "ship/peer_conn.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(baton_start);
PG_FUNCTION_INFO_V1(baton_stop);
PG_FUNCTION_INFO_V1(baton_rejoin);
PG_FUNCTION_INFO_V1(baton_promote);
PG_FUNCTION_INFO_V1(baton_failover);

static void
run_simple(NodeShared *node, CommandKind kind)
{
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	cmd->kind = kind;
	command_run(node, cmd, NULL);
	command_raise(cmd);
}

/*
 * baton.start() returns void
 *
 * This node takes part in its group again, from wherever stop() or a failover
 * left it.  Returns once it does; which state it then reaches is in
 * baton.status.  Does nothing if it takes part already.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if it is down or its slot is gone.
 */
Datum
baton_start(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();

	api_require_no_transaction("baton.start()");
	run_simple(node, COMMAND_START);
	PG_RETURN_VOID();
}

/*
 * baton.rejoin(discard boolean) returns void
 *
 * As start(), on a node that is out of service because the group does not have
 * more of its transactions than baton.rollback_limit: with discard they are rolled
 * back whatever their number, once they are saved in baton.rolled_back.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE without discard, with their number;
 * and as start().
 */
Datum
baton_rejoin(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	api_require_no_transaction("baton.rejoin()");
	cmd->kind = COMMAND_REJOIN;
	cmd->force = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	command_run(node, cmd, NULL);
	command_raise(cmd);
	PG_RETURN_VOID();
}

/*
 * baton.stop() returns void
 *
 * Takes this node out of replication, as it is, until baton.start(), over
 * restarts too.  It serves reads meanwhile.  A primary that is stopped takes no
 * writes: hand over first.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE while it takes its initial copy.
 */
Datum
baton_stop(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	bool		leads;

	api_require_no_transaction("baton.stop()");
	LWLockAcquire(&node->state_lock, LW_SHARED);
	leads = node->state == NODE_PRIMARY;
	LWLockRelease(&node->state_lock);
	run_simple(node, COMMAND_STOP);
	if (leads)
		ereport(NOTICE,
				(errmsg("this node was the primary: nobody can write until baton.start() is called here or another node is promoted")));
	PG_RETURN_VOID();
}

/* ---- promote ---- */

/* The primary that this node knows of, unless it is this node itself. */
static char *
known_primary(NodeShared *node, char *name)
{
	Member	   *leader;
	uint16		id;
	char	   *conninfo = NULL;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	/* while no primary is heard, the term still names whoever led it last */
	id = node->leader != 0 ? node->leader : TERM_MEMBER(node->term);
	leader = membership_find(&node->membership, id);
	if (leader != NULL && id != node->self)
	{
		conninfo = pstrdup(leader->conninfo);
		strlcpy(name, leader->name, BATON_NAME_LEN);
	}
	LWLockRelease(&node->state_lock);
	return conninfo;
}

static void
refuse_if_primary_lives(NodeShared *node)
{
	char		name[BATON_NAME_LEN];
	char		err[BATON_ERROR_LEN];
	char	   *conninfo = known_primary(node, name);
	GroupInfo  *g;

	if (conninfo == NULL)
		return;
	g = member_describe(conninfo, err, sizeof(err));
	if (g != NULL && g->state != NULL && strcmp(g->state, "primary") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary of this group is alive"),
				 errdetail("Node \"%s\" answers and leads.", name),
				 errhint("Call baton.failover() there to hand the lead over.")));
}

/*
 * baton.promote(force boolean) returns void
 *
 * On a replica whose primary is gone: become primary by an election, which needs
 * a majority of the voters; with force at once and without one, for a person who
 * knows that the old primary is gone or cut off from its clients.  What the old
 * primary had not shipped stays behind on it.  Returns when the gate is open.  A node
 * that is being mended can be promoted by force alone; a NOTICE says what became of the
 * transactions that it was to roll back.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the primary is alive, if
 * this node leads already, or if it was not elected.
 */
Datum
baton_promote(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	api_require_no_transaction("baton.promote()");
	refuse_if_primary_lives(node);
	cmd->kind = COMMAND_PROMOTE;
	cmd->force = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	command_run(node, cmd, NULL);
	command_raise(cmd);
	if (cmd->message[0] != '\0')
		ereport(NOTICE,
				(errmsg("%s", cmd->message),
				 errdetail("See baton.rolled_back, and baton.events.")));
	PG_RETURN_VOID();
}

/* ---- failover ---- */

static FailoverAfter
parse_after(const char *after)
{
	if (after == NULL || strcmp(after, "shutdown") == 0)
		return AFTER_SHUTDOWN;
	if (strcmp(after, "rejoin") == 0)
		return AFTER_REJOIN;
	if (strcmp(after, "stop_server") == 0)
		return AFTER_STOP_SERVER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for parameter \"after\": \"%s\"", after),
			 errhint("Use \"shutdown\", \"rejoin\" or \"stop_server\".")));
	return AFTER_SHUTDOWN;		/* not reached */
}

/* Member id of the named target, 0 for NULL. */
static uint16
parse_target(NodeShared *node, const char *target)
{
	Member	   *member;
	uint16		id = 0;
	bool		me;

	if (target == NULL)
		return 0;
	LWLockAcquire(&node->state_lock, LW_SHARED);
	member = membership_find_name(&node->membership, target);
	if (member != NULL)
		id = member->voter.id;
	me = id == node->self;
	LWLockRelease(&node->state_lock);
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the group has no node named \"%s\"", target),
				 errhint("See baton.nodes for the members.")));
	if (me)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("node \"%s\" is this node", target),
				 errhint("Name the node that is to take over.")));
	return id;
}

/* Only the primary can hand over; a replica says where that is. */
static void
require_primary(NodeShared *node)
{
	Member	   *leader;
	NodeState	state;
	char		name[BATON_NAME_LEN] = "";
	char	   *conninfo = NULL;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	state = node->state;
	leader = membership_find(&node->membership, node->leader);
	if (leader != NULL && leader->voter.id != node->self)
	{
		strlcpy(name, leader->name, sizeof(name));
		conninfo = pstrdup(leader->conninfo);
	}
	LWLockRelease(&node->state_lock);
	if (state == NODE_PRIMARY)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this node is not the primary of its group"),
			 errdetail("Its state is %s.", node_state_name(state)),
			 name[0] ? errhint("Call baton.failover() on the primary \"%s\": %s", name,
							   api_conninfo_public(conninfo)) :
			 errhint("No primary is known. For a primary that is lost see baton.promote().")));
}

static void
notice_step(const CommandStep *step, int number)
{
	ereport(NOTICE,
			(errmsg("%d. %s: %s (%.1f ms)", number, step->name,
					step->failed ? "failed" : "done", step->usec / 1000.0),
			 errdetail("%s.", step->detail)));
}

static void
return_steps(ReturnSetInfo *rsinfo, const CommandShared *cmd)
{
	for (int i = 0; i < cmd->n_steps; i++)
	{
		const CommandStep *step = &cmd->steps[i];
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = Int32GetDatum(i + 1);
		values[1] = CStringGetTextDatum(step->name);
		values[2] = Float8GetDatum(step->usec / 1000.0);
		values[3] = CStringGetTextDatum(step->detail);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * baton.failover(target text, after text, timeout interval, drain_timeout interval)
 *   returns table (step integer, name text, ms double precision, detail text)
 *
 * The planned failover, see failover/command.c.  Reports each step as a NOTICE
 * when it is done and all of them as rows.  Cancelling the call gives the failover
 * up as long as that is possible.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if this node does not lead or
 * the target cannot take over; ERRCODE_UNDEFINED_OBJECT, ERRCODE_INVALID_PARAMETER_VALUE
 * for the arguments.  After an error this node is still the primary, unless the
 * error says that its vote was given.
 */
Datum
baton_failover(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	api_require_no_transaction("baton.failover()");
	cmd->after = parse_after(api_text(fcinfo, 1));
	cmd->timeout_ms = api_interval_ms(fcinfo, 2, "timeout");
	cmd->drain_timeout_ms = api_interval_ms(fcinfo, 3, "drain_timeout");
	require_primary(node);
	cmd->target = parse_target(node, api_text(fcinfo, 0));
	cmd->kind = COMMAND_FAILOVER;

	InitMaterializedSRF(fcinfo, 0);
	command_run(node, cmd, notice_step);
	command_raise(cmd);
	return_steps((ReturnSetInfo *) fcinfo->resultinfo, cmd);
	return (Datum) 0;
}
