/*
 * durability.c - baton.set_ack_policy(): how many nodes have a commit before its
 * client hears of it.
 */
#include "api/api.h"

#include "api/member_client.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "node/sync_names.h"
#include "ship/acks.h"
#include "ship/rpc.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(baton_set_ack_policy);
PG_FUNCTION_INFO_V1(baton_rpc_ack_obstacle);

static uint8
parse_policy(const char *name)
{
	int			policy = name ? ack_policy_parse(name) : -1;

	if (policy < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"policy\": \"%s\"", name ? name : "null"),
				 errhint("Use \"none\", \"one\", \"majority\" or \"all\".")));
	return (uint8) policy;
}

static void
refuse_foreign_names(const char *where, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"synchronous_standby_names\" of %s does not allow it", where),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

/* This server's setting, as this session has loaded it. */
static void
check_own_names(void)
{
	char	   *detail;
	char	   *hint;

	if (sync_names_obstacle(MyDatabaseId, &detail, &hint))
		refuse_foreign_names("this server", detail, hint);
}

/* The others', as far as they answer: each may have to make commits wait one day. */
static void
check_other_names(NodeShared *node)
{
	Membership *m = palloc(sizeof(Membership));
	uint16		self;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	*m = node->membership;
	self = node->self;
	LWLockRelease(&node->state_lock);
	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];
		char		err[BATON_ERROR_LEN];
		char	   *detail;
		char	   *hint;

		if (member->voter.id == self || member->voter.type != CONSENSUS_ELECTABLE)
			continue;
		switch (member_ack_obstacle(member->conninfo, &detail, &hint, err, sizeof(err)))
		{
			case -1:
				ereport(NOTICE,
						(errmsg("node \"%s\" cannot be asked whether its configuration allows it",
								member->name),
						 errdetail("%s", err)));
				break;
			case 1:
				refuse_foreign_names(psprintf("node \"%s\"", member->name), detail, hint);
				break;
		}
	}
}

/*
 * baton.set_ack_policy(policy text) returns void
 *
 * On the primary: what a commit of this group waits for, 'none', 'one', 'majority'
 * or 'all'; see the README.  Returns when commits on this node do.
 *
 * Errors: ERRCODE_INVALID_PARAMETER_VALUE; ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
 * if this node does not lead, if the group has too few voters, or if somebody else
 * has set synchronous_standby_names on a node.
 */
Datum
baton_set_ack_policy(PG_FUNCTION_ARGS)
{
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));

	api_require_no_transaction("baton.set_ack_policy()");
	cmd->kind = COMMAND_SET_ACK_POLICY;
	cmd->ack_policy = parse_policy(api_text(fcinfo, 0));
	if (cmd->ack_policy != ACK_NONE)
	{
		check_own_names();
		check_other_names(node);
	}
	command_run(node, cmd, NULL);
	command_raise(cmd);
	PG_RETURN_VOID();
}

/*
 * baton_rpc.ack_obstacle() returns text[]: what of this server's configuration is
 * in the way of an ack policy (detail, hint), NULL if nothing.
 */
Datum
baton_rpc_ack_obstacle(PG_FUNCTION_ARGS)
{
	char	   *texts[2];
	Datum		values[2];

	(void) rpc_enter();
	if (!sync_names_obstacle(MyDatabaseId, &texts[0], &texts[1]))
		PG_RETURN_NULL();
	for (int i = 0; i < 2; i++)
		values[i] = CStringGetTextDatum(texts[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, 2, TEXTOID, -1, false, TYPALIGN_INT));
}
