/*
 * member_client.c - asking another member of a group, or of one to join.
 */
#include "api/member_client.h"

#include "api/api.h"
#include "catalog/pg_type.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "ship/peer_conn.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define ASK_MS 10000

static char *
text_or_null(PGresult *res, int col)
{
	return PQgetisnull(res, 0, col) ? NULL : pstrdup(PQgetvalue(res, 0, col));
}

static GroupInfo *
parse_describe(const char *conninfo, PGresult *res, TimestampTz asked, TimestampTz answered)
{
	GroupInfo  *g = palloc0(sizeof(GroupInfo));
	int64		theirs = strtoll(PQgetvalue(res, 0, 12), NULL, 10);

	g->conninfo = pstrdup(conninfo);
	g->group_name = text_or_null(res, 0);
	if (!PQgetisnull(res, 0, 1))
	{
		Datum		id = DirectFunctionCall1(uuid_in, CStringGetDatum(PQgetvalue(res, 0, 1)));

		memcpy(g->group_id, DatumGetUUIDP(id)->data, UUID_LEN);
	}
	g->node_id = (uint16) atoi(PQgetvalue(res, 0, 2));
	g->node_name = text_or_null(res, 3);
	g->state = text_or_null(res, 4);
	g->term = strtoull(PQgetvalue(res, 0, 5), NULL, 10);
	g->leader_name = text_or_null(res, 6);
	g->leader_conninfo = text_or_null(res, 7);
	g->protocol = atoi(PQgetvalue(res, 0, 8));
	g->server_version = atoi(PQgetvalue(res, 0, 9));
	g->architecture = text_or_null(res, 10);
	g->encoding = text_or_null(res, 11);
	g->clock_delta_us = theirs - (asked + (answered - asked) / 2);
	return g;
}

GroupInfo *
member_describe(const char *conninfo, char *err, size_t errlen)
{
	PeerConn   *peer = peer_connect(conninfo, 0, err, errlen);
	PGresult   *res;
	GroupInfo  *g = NULL;
	TimestampTz asked;

	if (peer == NULL)
		return NULL;
	asked = GetCurrentTimestamp();
	res = peer_query(peer, ASK_MS,
					 "SELECT group_name, group_id, node_id, node_name, state, term, leader_name, leader_conninfo, "
					 "protocol, server_version, architecture, encoding, clock_us FROM baton_rpc.describe()",
					 0, NULL, NULL, NULL, NULL, 0, err, errlen);
	if (res != NULL && PQntuples(res) == 1)
		g = parse_describe(conninfo, res, asked, GetCurrentTimestamp());
	peer_close(peer);
	return g;
}

GroupInfo *
member_find_primary(const char *conninfo)
{
	char		err[BATON_ERROR_LEN];
	GroupInfo  *g = conninfo ? member_describe(conninfo, err, sizeof(err)) : NULL;

	if (g == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("the member of the group cannot be asked"),
				 errdetail("%s", conninfo ? err : "No connection string was given."),
				 errhint("Give the connection string of a running member, with a role that has the REPLICATION attribute.")));
	if (g->group_name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database at that connection string is not a node of a group"),
				 errhint("Call baton.create_group() there first, or name another member.")));
	if (strcmp(g->state, "primary") == 0)
		return g;
	if (g->leader_conninfo == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" knows no primary of group \"%s\"", g->node_name, g->group_name),
				 errdetail("Its state is %s.", g->state),
				 errhint("A group needs a primary to take in a new member.")));
	conninfo = g->leader_conninfo;
	g = member_describe(conninfo, err, sizeof(err));
	if (g == NULL || g->state == NULL || strcmp(g->state, "primary") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("the primary of the group cannot be asked"),
				 errdetail("%s", g == NULL ? err : "That node does not lead."),
				 errhint("The connection string it was added with must work from this server.")));
	return g;
}

void
member_check_alike(const GroupInfo *g)
{
	const char *encoding = GetDatabaseEncodingName();

	if (g->protocol != BATON_PROTOCOL_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary speaks another version of baton's protocol"),
				 errdetail("It speaks %d, this server %d.", g->protocol, BATON_PROTOCOL_VERSION),
				 errhint("Install the same version of baton on both.")));
	if (strcmp(g->architecture, rpc_architecture()) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary runs on another architecture"),
				 errdetail("It is \"%s\", this server \"%s\".", g->architecture, rpc_architecture())));
	if (strcmp(g->encoding, encoding) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the primary's database has another encoding"),
				 errdetail("It is \"%s\", this database's is \"%s\".", g->encoding, encoding),
				 errhint("Create this database with ENCODING '%s' TEMPLATE template0.", g->encoding)));
	if (i64abs(g->clock_delta_us) > (int64) baton_max_clock_delta * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the clocks of the primary and of this server differ by " INT64_FORMAT " ms",
						i64abs(g->clock_delta_us) / 1000),
				 errdetail("At most %d ms are allowed.", baton_max_clock_delta),
				 errhint("Synchronize the clocks, or raise \"baton.max_clock_delta\".")));
}

int
member_ack_obstacle(const char *conninfo, char **detail, char **hint, char *err, size_t errlen)
{
	PeerConn   *peer = peer_connect(conninfo, 0, err, errlen);
	PGresult   *res;
	int			answer = -1;

	if (peer == NULL)
		return -1;
	res = peer_query(peer, ASK_MS, "SELECT o[1], o[2] FROM baton_rpc.ack_obstacle() AS o",
					 0, NULL, NULL, NULL, NULL, 0, err, errlen);
	if (res != NULL && PQntuples(res) == 1)
	{
		*detail = text_or_null(res, 0);
		*hint = text_or_null(res, 1);
		answer = *detail != NULL && *hint != NULL ? 1 : 0;
	}
	peer_close(peer);
	return answer;
}

/* Raise the primary's answer as our own error. */
static void
raise_answer(PeerConn *peer, const char *what, const char *err)
{
	char	   *state = pstrdup(peer->sqlstate);
	char	   *hint = pstrdup(peer->hint);

	peer_close(peer);
	ereport(ERROR,
			(errcode(strlen(state) == 5 ?
					 MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]) :
					 ERRCODE_CONNECTION_EXCEPTION),
			 errmsg("%s: %s", what, err),
			 hint[0] ? errhint("%s", hint) : 0));
}

uint16
member_add(const GroupInfo *g, const char *name, const char *conninfo,
		   uint8 type, int32 priority, uint64 incarnation, Membership *membership)
{
	char		err[BATON_ERROR_LEN];
	const char *values[7];
	PeerConn   *peer = peer_connect(g->conninfo, 0, err, sizeof(err));
	PGresult   *res;
	unsigned char *bytes;
	size_t		len;
	uint16		id;
	bool		ok;

	if (peer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("the primary cannot be reached"),
				 errdetail("%s", err)));
	values[0] = name;
	values[1] = conninfo;
	values[2] = api_type_name(type);
	values[3] = psprintf("%d", priority);
	values[4] = psprintf(INT64_FORMAT, (int64) incarnation);
	res = peer_query(peer, ASK_MS,
					 "SELECT node_id, membership FROM baton_rpc.add_member($1, $2, $3, $4::integer, $5::bigint)",
					 5, NULL, values, NULL, NULL, 0, err, sizeof(err));
	if (res == NULL)
		raise_answer(peer, "the primary did not add this node", err);
	id = (uint16) atoi(PQgetvalue(res, 0, 0));
	bytes = PQunescapeBytea((unsigned char *) PQgetvalue(res, 0, 1), &len);
	ok = bytes != NULL && membership_decode((char *) bytes, len, membership);
	PQfreemem(bytes);
	peer_close(peer);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the primary's answer cannot be understood")));
	return id;
}

bool
member_remove(const char *conninfo, uint16 id, int elevel)
{
	char		err[BATON_ERROR_LEN];
	char		text[16];
	const char *values[1] = {text};
	PeerConn   *peer = peer_connect(conninfo, 0, err, sizeof(err));
	bool		ok = false;

	snprintf(text, sizeof(text), "%d", id);
	if (peer != NULL)
	{
		ok = peer_query(peer, ASK_MS, "SELECT baton_rpc.remove_member($1::integer)",
						1, NULL, values, NULL, NULL, 0, err, sizeof(err)) != NULL;
		peer_close(peer);
	}
	if (!ok)
		ereport(elevel,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("the primary could not be told to forget this node"),
				 errdetail("%s", err),
				 elevel >= ERROR ?
				 errhint("baton.leave_group(force => true) leaves all the same; call baton.remove_node() on the primary afterwards.") :
				 errhint("Call baton.remove_node() on the primary.")));
	return ok;
}

void
member_remove_or_explain(const char *primary, uint16 id, bool force)
{
	if (primary != NULL)
	{
		char		err[BATON_ERROR_LEN];
		GroupInfo  *g = member_describe(primary, err, sizeof(err));

		/* the one we know may have handed over since */
		if (g != NULL && g->state != NULL && strcmp(g->state, "primary") != 0 && g->leader_conninfo != NULL)
			primary = g->leader_conninfo;
		member_remove(primary, id, force ? WARNING : ERROR);
		return;
	}
	ereport(force ? WARNING : ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no primary is known that could be told to forget this node"),
			 errhint("baton.leave_group(force => true) leaves all the same; call baton.remove_node() on the primary afterwards.")));
}

void
member_set_paused(const char *conninfo, bool paused)
{
	char		err[BATON_ERROR_LEN];
	const char *values[1] = {paused ? "true" : "false"};
	PeerConn   *peer = peer_connect(conninfo, 0, err, sizeof(err));

	if (peer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("the primary, through which the group is told, cannot be reached"),
				 errdetail("%s", err),
				 errhint("baton.promote() makes a primary where the old one is gone, and ends a pause.")));
	if (peer_query(peer, ASK_MS, "SELECT baton_rpc.set_paused($1::boolean)",
				   1, NULL, values, NULL, NULL, 0, err, sizeof(err)) == NULL)
		raise_answer(peer, "the primary did not tell the group", err);
	peer_close(peer);
}
