/*
 * group.c - baton.create_group(), join_group(), leave_group(): how a database
 * becomes a node and ceases to be one.
 */
#include "api/api.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "api/identity.h"
#include "api/member_client.h"
#include "api/unsupported.h"
#include "apply/index_work.h"
#include "commands/dbcommands.h"
#include "copy/copy.h"
#include "failover/gate.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "ship/rpc.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(baton_create_group);
PG_FUNCTION_INFO_V1(baton_join_group);
PG_FUNCTION_INFO_V1(baton_leave_group);

#define PEER_MS 10000

/* ---- the node's directory and first control file ---- */

static void
random_bytes(void *out, size_t len)
{
	if (!pg_strong_random(out, len))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
}

static ControlData *
new_control(void)
{
	ControlData *control = palloc0(sizeof(ControlData));

	control->system_identifier = GetSystemIdentifier();
	control->dboid = MyDatabaseId;
	random_bytes(&control->incarnation, sizeof(control->incarnation));
	random_bytes(control->ddl_key, sizeof(control->ddl_key));
	return control;
}

/* An empty directory of this name, whatever an abandoned attempt has left there. */
static void
make_empty_directory(const char *path)
{
	if (MakePGDirectory("baton") != 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", "baton")));
	if (access(path, F_OK) == 0)
		rmtree(path, true);
	if (MakePGDirectory(path) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", path)));
}

/*
 * Make the node's directory with its first control file and, unless the copy
 * worker will make it, an empty stream log; then let the launcher take over.  The
 * directory is made under another name, so that under its own it is never without
 * a control file.
 */
static void
establish(NodeShared *node, const ControlData *control, bool with_log)
{
	char		path[MAXPGPATH];
	char		log_path[MAXPGPATH + 16];
	StreamTail	tail;
	StreamError log_err = {0};
	ControlError err;

	snprintf(path, sizeof(path), "baton/%u" NODE_DIRECTORY_NEW, node->dboid);
	make_empty_directory(path);
	snprintf(log_path, sizeof(log_path), "%s/stream", path);
	if (with_log && stream_log_create(log_path, 0, 0, 0, &tail, &log_err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not create the stream log: %s", log_err.message)));
	if (control_write(path, control, &err) != CONTROL_OK)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not write the control file"),
				 errdetail("%s", err.message)));
	if (rename(path, node->directory) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename directory \"%s\" to \"%s\": %m", path, node->directory)));
	fsync_fname("baton", true);
	node->established = true;
	launcher_wake();
}

/* The session ends before its node is established: the slot is free again. */
static void
give_slot_back(int code, Datum arg)
{
	node_slot_release((NodeShared *) DatumGetPointer(arg));
}

static NodeState
current_state(NodeShared *node, char *reason)
{
	NodeState	state;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	state = node->state;
	if (reason)
		strlcpy(reason, node->reason, BATON_REASON_LEN);
	LWLockRelease(&node->state_lock);
	return state;
}

/* Wait until the coordinator shows the state; tells what it waits for. */
static void
wait_for_state(NodeShared *node, NodeState wanted)
{
	uint64		generation = node->generation;
	char		told[BATON_REASON_LEN] = "";
	char		reason[BATON_REASON_LEN];

	ConditionVariablePrepareToSleep(&node->state_cv);
	while (current_state(node, reason) != wanted || pg_atomic_read_u32(&node->gate) != GATE_OPEN)
	{
		if (reason[0] != '\0' && strcmp(reason, told) != 0)
			ereport(NOTICE, (errmsg("%s", reason)));
		strlcpy(told, reason, sizeof(told));
		if (node_mine() != node || node->generation != generation)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the node was given up by baton.leave_group() before it was ready")));
		ConditionVariableTimedSleep(&node->state_cv, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* ---- create_group ---- */

/*
 * baton.create_group(group_name text, node_name text, conninfo text,
 *                    priority int) returns uuid
 *
 * Makes this database the first node of a new group, and its primary.  The
 * database stays writable all the while.  Tables without a key are given REPLICA
 * IDENTITY FULL.  Returns the group's UUID.
 *
 * Errors: see preflight.c; ERRCODE_DUPLICATE_OBJECT if it is a node already,
 * ERRCODE_ACTIVE_SQL_TRANSACTION inside a transaction block.
 */
Datum
baton_create_group(PG_FUNCTION_ARGS)
{
	char	   *group = api_text(fcinfo, 0);
	char	   *name = api_text(fcinfo, 1);
	char	   *conninfo = api_text(fcinfo, 2);
	int32		priority = PG_ARGISNULL(3) ? 100 : PG_GETARG_INT32(3);
	ControlData *control;
	Member	   *me;
	NodeShared *node;
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	baton_require_preloaded();
	api_require_no_transaction("baton.create_group()");
	preflight_name("group", group);
	preflight_name("node", name);
	preflight_priority(priority);
	if (node_mine() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("this database is a node of a group already"),
				 errhint("See baton.status. baton.leave_group() gives it up.")));
	preflight_server();
	preflight_conninfo(conninfo);
	identity_ensure_all();
	unsupported_warn();

	control = new_control();
	random_bytes(control->group_id, sizeof(control->group_id));
	/* RFC 4122: version 4, variant 1 */
	control->group_id[6] = (control->group_id[6] & 0x0f) | 0x40;
	control->group_id[8] = (control->group_id[8] & 0x3f) | 0x80;
	strlcpy(control->group_name, group, BATON_NAME_LEN);
	control->self = 1;
	control->intent = INTENT_ACTIVE;
	control->was_primary = true;
	control->membership_committed = true;
	control->own_floor = GetXLogInsertRecPtr();
	control->membership.version = 1;
	control->membership.next_id = 2;
	control->membership.count = 1;
	me = &control->membership.members[0];
	me->voter.id = 1;
	me->voter.type = CONSENSUS_ELECTABLE;
	me->voter.priority = priority;
	me->incarnation = control->incarnation;
	strlcpy(me->name, name, BATON_NAME_LEN);
	strlcpy(me->conninfo, conninfo, BATON_CONNINFO_LEN);

	node = node_slot_acquire(MyDatabaseId, get_database_name(MyDatabaseId), GATE_OPEN);
	PG_ENSURE_ERROR_CLEANUP(give_slot_back, PointerGetDatum(node));
	{
		establish(node, control, true);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_slot_back, PointerGetDatum(node));
	wait_for_state(node, NODE_PRIMARY);
	memcpy(uuid->data, control->group_id, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}

/* ---- join_group ---- */

static void
check_joinable(void)
{
	char		what[256];

	if (node_mine() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("this database is a node of a group already"),
				 errhint("See baton.status. baton.leave_group() gives it up.")));
	if (!copy_database_is_empty(what, sizeof(what)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database is not empty"),
				 errdetail("It has %s.", what),
				 errhint("A joining node takes a copy of everything: create a new database with only the extension baton in it.")));
}

/*
 * Have the group take this node in, and establish it: both, or none of them.
 * Returns the member id.
 */
static uint16
become_member(NodeShared *node, const GroupInfo *group, const char *name,
			  const char *conninfo, uint8 type, int32 priority)
{
	ControlData *control = new_control();
	uint16		id = member_add(group, name, conninfo, type, priority, control->incarnation,
									&control->membership);

	control->membership_committed = true;
	memcpy(control->group_id, group->group_id, sizeof(control->group_id));
	strlcpy(control->group_name, group->group_name, BATON_NAME_LEN);
	control->self = id;
	control->intent = INTENT_COPYING;
	control->durable.term = group->term;
	strlcpy(control->copy_conninfo, group->conninfo, BATON_CONNINFO_LEN);
	PG_TRY();
	{
		establish(node, control, false);
	}
	PG_CATCH();
	{
		member_remove(group->conninfo, id, WARNING);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return id;
}

/*
 * baton.join_group(member_conninfo text, node_name text, conninfo text,
 *                  type text, priority int) returns integer
 *
 * Makes this empty database a replica of the group that the member at
 * member_conninfo belongs to, or its arbiter, which has no tables.  Returns the new node's member id once the group
 * knows it; the initial copy goes on in the background, see baton.stat_copy.
 *
 * Errors: see preflight.c and member_client.c; ERRCODE_DUPLICATE_OBJECT for a
 * name that is taken, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE for a database
 * that is not empty.
 */
Datum
baton_join_group(PG_FUNCTION_ARGS)
{
	char	   *member = api_text(fcinfo, 0);
	char	   *name = api_text(fcinfo, 1);
	char	   *conninfo = api_text(fcinfo, 2);
	uint8		type = api_type_parse(api_text(fcinfo, 3));
	int32		priority = PG_ARGISNULL(4) ? 100 : PG_GETARG_INT32(4);
	NodeShared *node;
	GroupInfo  *group;
	uint16		id;

	baton_require_preloaded();
	api_require_no_transaction("baton.join_group()");
	preflight_name("node", name);
	preflight_priority(priority);
	check_joinable();
	preflight_server();
	preflight_conninfo(conninfo);
	group = member_find_primary(member);
	member_check_alike(group);

	node = node_slot_acquire(MyDatabaseId, get_database_name(MyDatabaseId), GATE_CLOSED);
	PG_ENSURE_ERROR_CLEANUP(give_slot_back, PointerGetDatum(node));
	{
		id = become_member(node, group, name, conninfo, type, priority);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_slot_back, PointerGetDatum(node));
	PG_RETURN_INT32(id);
}

/* ---- leave_group ---- */

/* The coordinator answers, and then gives the slot back. */
static void
wait_until_gone(NodeShared *node)
{
	ConditionVariablePrepareToSleep(&node->state_cv);
	while (node_mine() == node)
		ConditionVariableTimedSleep(&node->state_cv, 100, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
}

/*
 * The primary's conninfo as this node knows it, or NULL: this node leads, or is
 * alone, or knows nobody.
 */
static char *
primary_conninfo(NodeShared *node)
{
	Member	   *leader;
	char	   *out = NULL;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	leader = membership_find(&node->membership, node->leader);
	if (leader == NULL && node->copy_conninfo[0] != '\0')
		out = pstrdup(node->copy_conninfo);
	else if (leader != NULL && leader->voter.id != node->self)
		out = pstrdup(leader->conninfo);
	LWLockRelease(&node->state_lock);
	return out;
}

/* Nobody builds them any more. */
static void
name_unfinished_indexes(void)
{
	ListCell   *lc;

	foreach(lc, index_work_list())
	{
		const IndexWork *work = lfirst(lc);

		if (work->name[0] != '\0')
			ereport(WARNING,
					(errmsg("index \"%s\" is not %s yet", work->name, work->drop ? "dropped" : "built"),
					 errhint("%s it.", work->drop ? "DROP" : "REINDEX")));
	}
}

/*
 * baton.leave_group(force boolean) returns void
 *
 * This database ceases to be a node: the group forgets it, its slot, origin and
 * stream log go; its tables stay as they are, and writable.  With force the group
 * need not be reachable, and a primary may leave its replicas behind.
 *
 * Errors: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE for a primary with other
 * members, or if the primary cannot be told (without force).
 */
Datum
baton_leave_group(PG_FUNCTION_ARGS)
{
	bool		force = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	NodeShared *node = node_mine_or_error();
	CommandShared *cmd = palloc0(sizeof(CommandShared));
	NodeState	state = current_state(node, NULL);
	int			members;
	uint16		self;
	char	   *primary = primary_conninfo(node);

	api_require_no_transaction("baton.leave_group()");
	LWLockAcquire(&node->state_lock, LW_SHARED);
	members = node->membership.count;
	self = node->self;
	LWLockRelease(&node->state_lock);

	if (state == NODE_PRIMARY && members > 1 && !force)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary cannot leave a group that has other members"),
				 errhint("Hand the lead over with baton.failover(after => 'rejoin') first, or remove the others with baton.remove_node().")));
	if (state != NODE_PRIMARY && members > 1)
		member_remove_or_explain(primary, self, force);

	else if (members == 0)
		ereport(WARNING,
				(errmsg("this node does not know its group, which cannot be told to forget it"),
				 errhint("Call baton.remove_node() on the primary.")));

	cmd->kind = COMMAND_LEAVE;
	command_run(node, cmd, NULL);
	command_raise(cmd);
	wait_until_gone(node);
	name_unfinished_indexes();
	PG_RETURN_VOID();
}
