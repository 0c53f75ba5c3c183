/*
 * members.c - baton.remove_node(), set_priority(), set_designated(),
 * set_preferred(), pause(), resume(): who is in the group, and by which rules it
 * goes on.
 *
 * Each returns when a majority of the voters has the change on disk.
 */
#include "api/members.h"

#include "api/api.h"
#include "api/member_client.h"

PG_FUNCTION_INFO_V1(baton_remove_node);
PG_FUNCTION_INFO_V1(baton_set_priority);
PG_FUNCTION_INFO_V1(baton_set_designated);
PG_FUNCTION_INFO_V1(baton_set_preferred);
PG_FUNCTION_INFO_V1(baton_pause);
PG_FUNCTION_INFO_V1(baton_resume);

void
members_remove(NodeShared *node, uint16 id)
{
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	cmd->kind = COMMAND_REMOVE_MEMBER;
	cmd->target = id;
	command_run(node, cmd, NULL);
	command_raise(cmd);
}

void
members_set_paused(NodeShared *node, bool paused)
{
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	cmd->kind = COMMAND_SET_PAUSED;
	cmd->force = paused;
	command_run(node, cmd, NULL);
	command_raise(cmd);
}

/* Member by name, or ERRCODE_UNDEFINED_OBJECT. */
static Member
named_member(NodeShared *node, const char *name)
{
	Member	   *found;
	Member		copy = {{0}};

	LWLockAcquire(&node->state_lock, LW_SHARED);
	found = name ? membership_find_name(&node->membership, name) : NULL;
	if (found != NULL)
		copy = *found;
	LWLockRelease(&node->state_lock);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the group has no node named \"%s\"", name ? name : "null"),
				 errhint("See baton.nodes for the members.")));
	return copy;
}

/*
 * baton.remove_node(name text) returns void
 *
 * On the primary: the group forgets another member.  Errors:
 * ERRCODE_UNDEFINED_OBJECT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
Datum
baton_remove_node(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();

	api_require_no_transaction("baton.remove_node()");
	members_remove(node, named_member(node, api_text(fcinfo, 0)).voter.id);
	PG_RETURN_VOID();
}

/*
 * baton.set_priority(name text, priority integer) returns void
 *
 * On the primary: 0 never leads, higher is preferred.  Errors:
 * ERRCODE_UNDEFINED_OBJECT, ERRCODE_INVALID_PARAMETER_VALUE,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
Datum
baton_set_priority(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	api_require_no_transaction("baton.set_priority()");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("priority must not be null")));
	preflight_priority(PG_GETARG_INT32(1));
	cmd->kind = COMMAND_CHANGE_MEMBER;
	cmd->member = named_member(node, api_text(fcinfo, 0));
	cmd->member.voter.priority = PG_GETARG_INT32(1);
	command_run(node, cmd, NULL);
	command_raise(cmd);
	PG_RETURN_VOID();
}

/* ---- rules for two voters ---- */

static void
set_rule(FunctionCallInfo fcinfo, const char *function, ConsensusRule rule)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));
	char	   *name = api_text(fcinfo, 0);

	api_require_no_transaction(function);
	cmd->kind = COMMAND_SET_RULE;
	if (name != NULL && name[0] != '\0')
	{
		cmd->rule = rule;
		cmd->target = named_member(node, name).voter.id;
	}
	else
		cmd->rule = RULE_STRICT;
	command_run(node, cmd, NULL);
	command_raise(cmd);
}

/*
 * baton.set_designated(name text) returns void
 *
 * On the primary of a group of two voters: this member alone is a quorum, so it goes
 * on, and may elect itself, without the other; the other never does.  NULL or ''
 * returns to the strict rule.  Moves in two committed steps, so both must be up.
 *
 * Errors: ERRCODE_UNDEFINED_OBJECT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
Datum
baton_set_designated(PG_FUNCTION_ARGS)
{
	set_rule(fcinfo, "baton.set_designated()", RULE_DESIGNATED);
	PG_RETURN_VOID();
}

/*
 * baton.set_preferred(name text) returns void
 *
 * On the primary of a group of two voters: either goes on alone when it does not
 * hear the other, knowingly; when they meet again this member leads, and its
 * transactions stay.  NULL or '' returns to the strict rule.
 *
 * Errors: as set_designated().
 */
Datum
baton_set_preferred(PG_FUNCTION_ARGS)
{
	set_rule(fcinfo, "baton.set_preferred()", RULE_PREFERRED);
	PG_RETURN_VOID();
}

/* ---- pause and resume ---- */

/* Where to ask: NULL if this node leads; raises if no primary is known. */
static char *
primary_elsewhere(NodeShared *node)
{
	Member	   *leader;
	char	   *conninfo = NULL;
	bool		leads;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	leads = node->state == NODE_PRIMARY;
	leader = membership_find(&node->membership, node->leader);
	if (!leads && leader != NULL && leader->voter.id != node->self)
		conninfo = pstrdup(leader->conninfo);
	LWLockRelease(&node->state_lock);
	if (!leads && conninfo == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no primary is known, through which the group could be told"),
				 errhint("baton.promote() makes a primary where the old one is gone, and ends a pause.")));
	return conninfo;
}

static void
set_paused(const char *function, bool paused)
{
	NodeShared *node = node_mine_or_error();
	char	   *primary;

	api_require_no_transaction(function);
	primary = primary_elsewhere(node);
	if (primary == NULL)
		members_set_paused(node, paused);
	else
		member_set_paused(primary, paused);
}

/*
 * baton.pause() returns void
 *
 * No member of the group stands for election by itself any more, until resume() or
 * promote().  Everything else goes on; a planned failover works.  On any node, as
 * long as there is a primary.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE without a primary.
 */
Datum
baton_pause(PG_FUNCTION_ARGS)
{
	set_paused("baton.pause()", true);
	PG_RETURN_VOID();
}

/* baton.resume() returns void: elections by themselves again, see pause(). */
Datum
baton_resume(PG_FUNCTION_ARGS)
{
	set_paused("baton.resume()", false);
	PG_RETURN_VOID();
}
