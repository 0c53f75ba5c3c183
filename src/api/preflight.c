/*
 * preflight.c - what is checked before a database becomes a node, so that a
 * mistake is named at once and nothing is left behind.
 */
#include "api/api.h"

#include "access/xlog.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "ship/peer_conn.h"
#include "utils/builtins.h"
#include "utils/guc.h"

/* coordinator, capture, shipper, applier, and one to spare for the copy */
#define WORKERS_PER_NODE 5
#define PREFLIGHT_MS 10000

static void
too_low(const char *setting, int have, int need)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("\"%s\" is too low for baton", setting),
			 errdetail("It is %d; with this node at least %d is needed.", have, need),
			 errhint("Raise \"%s\" and restart the server.", setting)));
}

static int
nodes_of_this_server(void)
{
	int			n = 0;

	for (int i = 0; i < baton_shared->max_nodes; i++)
		if (OidIsValid(baton_shared->nodes[i].dboid))
			n++;
	return n;
}

static int
slots_in_use(void)
{
	int			n = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
		if (ReplicationSlotCtl->replication_slots[i].in_use)
			n++;
	LWLockRelease(ReplicationSlotControlLock);
	return n;
}

/*
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE or
 * ERRCODE_CONFIGURATION_LIMIT_EXCEEDED if the server cannot carry another node.
 */
void
preflight_server(void)
{
	int			nodes = nodes_of_this_server() + 1;
	int			slots = slots_in_use() + 1;

	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("baton needs \"wal_level\" to be \"logical\""),
				 errdetail("It is \"%s\".", GetConfigOption("wal_level", false, false)),
				 errhint("Set \"wal_level\" to \"logical\" and restart the server.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a physical standby cannot be a baton node")));
	/* one more slot for the moment in which a replica takes its snapshot */
	if (max_replication_slots < slots + 1)
		too_low("max_replication_slots", max_replication_slots, slots + 1);
	if (max_wal_senders < 2 * nodes)
		too_low("max_wal_senders", max_wal_senders, 2 * nodes);
	if (max_worker_processes < 1 + WORKERS_PER_NODE * nodes)
		too_low("max_worker_processes", max_worker_processes, 1 + WORKERS_PER_NODE * nodes);
}

/*
 * Raises ERRCODE_INVALID_NAME for a name that is empty, too long or has
 * characters that cannot be printed.  what: "node" or "group".
 */
void
preflight_name(const char *what, const char *name)
{
	if (name == NULL || name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of the %s must not be empty", what)));
	if (strlen(name) >= BATON_NAME_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the name of the %s is too long", what),
				 errdetail("At most %d bytes are allowed.", BATON_NAME_LEN - 1)));
	for (const char *p = name; *p; p++)
		if ((unsigned char) *p < ' ' || *p == 127)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("the name of the %s has a control character in it", what)));
}

/*
 * Raises ERRCODE_INVALID_PARAMETER_VALUE for a priority outside 0..1000.
 */
void
preflight_priority(int32 priority)
{
	if (priority < 0 || priority > 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority must be between 0 and 1000"),
				 errdetail("0 means that the node never leads.")));
}

/* A connection by the own conninfo: does it lead here, as a role that may? */
static void
check_reached(PeerConn *peer)
{
	char		err[BATON_ERROR_LEN];
	char		here[64];
	PGresult   *res = peer_query(peer, PREFLIGHT_MS,
								 "SELECT c.system_identifier::text || ' ' || d.oid, r.rolreplication OR r.rolsuper, r.rolname "
								 "FROM pg_control_system() c, pg_database d, pg_roles r "
								 "WHERE d.datname = current_database() AND r.rolname = current_user",
								 0, NULL, NULL, NULL, NULL, 0, err, sizeof(err));

	snprintf(here, sizeof(here), UINT64_FORMAT " %u", GetSystemIdentifier(), MyDatabaseId);
	if (res == NULL || PQntuples(res) != 1 || strcmp(PQgetvalue(res, 0, 0), here) != 0)
	{
		bool		failed = res == NULL;

		peer_close(peer);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the connection string of this node leads to another database"),
				 failed ? errdetail("%s", err) : 0,
				 errhint("It must name this server and this database, as the other nodes see them.")));
	}
	if (strcmp(PQgetvalue(res, 0, 1), "t") != 0)
	{
		char	   *role = pstrdup(PQgetvalue(res, 0, 2));

		peer_close(peer);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" in the connection string of this node lacks the REPLICATION attribute", role),
				 errhint("The other nodes connect as this role: ALTER ROLE ... REPLICATION.")));
	}
}

/*
 * The conninfo by which the others will reach this node must lead to this very
 * database.  Raises ERRCODE_INVALID_PARAMETER_VALUE if it cannot be parsed or
 * leads elsewhere, ERRCODE_CONNECTION_EXCEPTION if nobody answers,
 * ERRCODE_INSUFFICIENT_PRIVILEGE if its role is not one for nodes.
 */
void
preflight_conninfo(const char *conninfo)
{
	char	   *parse_error = NULL;
	PQconninfoOption *options;
	PeerConn   *peer;
	char		err[BATON_ERROR_LEN];

	if (conninfo == NULL || strlen(conninfo) >= BATON_CONNINFO_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the connection string must have 1 to %d bytes", BATON_CONNINFO_LEN - 1)));
	options = PQconninfoParse(conninfo, &parse_error);
	if (options == NULL)
	{
		char	   *why = pstrdup(parse_error ? parse_error : "out of memory");

		PQfreemem(parse_error);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid connection string: %s", why)));
	}
	PQconninfoFree(options);

	peer = peer_connect(conninfo, PREFLIGHT_MS, err, sizeof(err));
	if (peer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("this node cannot be reached by its own connection string"),
				 errdetail("%s", err),
				 errhint("The other nodes will use it, so it must name this server, this database and a role with the REPLICATION attribute.")));
	check_reached(peer);
	peer_close(peer);
}

const char *
api_type_name(uint8 type)
{
	switch (type)
	{
		case CONSENSUS_ELECTABLE:
			return "electable";
		case CONSENSUS_SECONDARY:
			return "secondary";
		case CONSENSUS_ARBITER:
			return "arbiter";
	}
	return "?";
}

uint8
api_type_parse(const char *name)
{
	if (name != NULL && strcmp(name, "electable") == 0)
		return CONSENSUS_ELECTABLE;
	if (name != NULL && strcmp(name, "secondary") == 0)
		return CONSENSUS_SECONDARY;
	if (name != NULL && strcmp(name, "arbiter") == 0)
		return CONSENSUS_ARBITER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid node type: \"%s\"", name ? name : "null"),
			 errhint("Node types are \"electable\", \"secondary\" and \"arbiter\".")));
	return 0;					/* not reached */
}

/* A conninfo without what must stay secret. */
char *
api_conninfo_public(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	StringInfoData out;

	initStringInfo(&out);
	if (options == NULL)
		return out.data;
	for (PQconninfoOption *o = options; o->keyword; o++)
	{
		if (o->val == NULL || o->val[0] == '\0' || strchr(o->dispchar, '*') != NULL ||
			strcmp(o->keyword, "sslpassword") == 0)
			continue;
		if (out.len > 0)
			appendStringInfoChar(&out, ' ');
		peer_append_option(&out, o->keyword, o->val);
	}
	PQconninfoFree(options);
	return out.data;
}
