/*
 * rpc_member.c - what members ask each other outside the stream: who are you,
 * take this node in, forget that one.
 */
#include "api/api.h"

#include "access/xlog.h"
#include "api/members.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(baton_rpc_describe);
PG_FUNCTION_INFO_V1(baton_rpc_add_member);
PG_FUNCTION_INFO_V1(baton_rpc_remove_member);
PG_FUNCTION_INFO_V1(baton_rpc_set_paused);

static Datum
uuid_datum(const uint8 *bytes)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, bytes, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

/* The columns that only a node has; the others stay as they are. */
static void
describe_node(NodeShared *node, Datum *values, bool *nulls)
{
	Membership *m = palloc(sizeof(Membership));
	NodeState	state;
	uint16		self,
				leader;
	Member	   *member;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	*m = node->membership;
	state = node->state;
	self = node->self;
	leader = node->leader;
	values[0] = CStringGetTextDatum(node->group_name);
	values[1] = uuid_datum(node->group_id);
	values[5] = Int64GetDatum((int64) node->term);
	LWLockRelease(&node->state_lock);
	for (int i = 0; i <= 5; i++)
		nulls[i] = false;
	values[2] = Int32GetDatum(self);
	member = membership_find(m, self);
	values[3] = CStringGetTextDatum(member ? member->name : "");
	values[4] = CStringGetTextDatum(node_state_name(state));
	member = membership_find(m, leader);
	if (member != NULL)
	{
		nulls[6] = nulls[7] = false;
		values[6] = CStringGetTextDatum(member->name);
		values[7] = CStringGetTextDatum(member->conninfo);
	}
}

/*
 * baton_rpc.describe() returns record: this database and, if it is a node, its
 * group; NULLs if it is none.
 */
Datum
baton_rpc_describe(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[13];
	bool		nulls[13];
	NodeShared *node;

	rpc_require_peer_role();
	node = node_mine();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (node != NULL)
		describe_node(node, values, nulls);
	for (int i = 8; i < 13; i++)
		nulls[i] = false;
	values[8] = Int32GetDatum(BATON_PROTOCOL_VERSION);
	values[9] = Int32GetDatum(PG_VERSION_NUM);
	values[10] = CStringGetTextDatum(rpc_architecture());
	values[11] = CStringGetTextDatum(GetDatabaseEncodingName());
	values[12] = Int64GetDatum(GetCurrentTimestamp());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static Datum
membership_datum(NodeShared *node)
{
	Membership *m = palloc(sizeof(Membership));

	LWLockAcquire(&node->state_lock, LW_SHARED);
	*m = node->membership;
	LWLockRelease(&node->state_lock);
	return rpc_membership_datum(m);
}

/*
 * baton_rpc.add_member(name text, conninfo text, type text, priority integer,
 *						incarnation bigint)
 *   returns record (node_id integer, membership bytea)
 *
 * On the primary: a new node joins.  Errors: ERRCODE_DUPLICATE_OBJECT for a
 * name that is taken, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE elsewhere.
 */
Datum
baton_rpc_add_member(PG_FUNCTION_ARGS)
{
	NodeShared *node = rpc_enter();
	CommandShared *cmd = palloc0(sizeof(CommandShared));
	char	   *name = api_text(fcinfo, 0);
	char	   *conninfo = api_text(fcinfo, 1);
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false};

	preflight_name("node", name);
	if (conninfo == NULL || strlen(conninfo) >= BATON_CONNINFO_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the connection string must have 1 to %d bytes", BATON_CONNINFO_LEN - 1)));
	cmd->kind = COMMAND_ADD_MEMBER;
	strlcpy(cmd->member.name, name, BATON_NAME_LEN);
	strlcpy(cmd->member.conninfo, conninfo, BATON_CONNINFO_LEN);
	cmd->member.voter.type = api_type_parse(api_text(fcinfo, 2));
	preflight_priority(PG_GETARG_INT32(3));
	/* nobody else ever leads */
	if (cmd->member.voter.type == CONSENSUS_ELECTABLE)
		cmd->member.voter.priority = PG_GETARG_INT32(3);
	cmd->member.incarnation = (uint64) PG_GETARG_INT64(4);
	command_run(node, cmd, NULL);
	command_raise(cmd);

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int32GetDatum(cmd->target);
	values[1] = membership_datum(node);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* baton_rpc.remove_member(node_id integer) returns void: on the primary. */
Datum
baton_rpc_remove_member(PG_FUNCTION_ARGS)
{
	members_remove(rpc_enter(), (uint16) PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/* baton_rpc.set_paused(paused boolean) returns void: on the primary. */
Datum
baton_rpc_set_paused(PG_FUNCTION_ARGS)
{
	members_set_paused(rpc_enter(), PG_GETARG_BOOL(0));
	PG_RETURN_VOID();
}
