/*
 * gate_login.c - the gate at the door: sessions that begin.
 *
 * A session of a database that is not open begins with
 * default_transaction_read_only = on, so that target_session_attrs=read-write
 * finds the primary by itself.  While a failover is under way the old primary
 * still counts as one: its sessions wait when they write.
 *
 * A closed door (after a failover that put this node out of service) refuses
 * connections with SQLSTATE 57P03 before authentication is complete: only then
 * does libpq go on to its next host.  Superusers come in, to administer; so do
 * baton's own connections.
 */
#include "failover/gate_internal.h"

/* libpq/auth.h would want the headers of GSSAPI. */
#undef ENABLE_GSS
#include "commands/dbcommands.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "replication/walsender.h"
#include "utils/acl.h"
#include "utils/relcache.h"

#define PEER_APPLICATION_PREFIX "baton "

static ClientAuthentication_hook_type prev_client_authentication = NULL;

/*
 * The node that a connection asks for.  By OID, since a name can change and is
 * not known to the slot right after a start; the shared catalogs can be read
 * here as soon as their indexes are known.
 */
static NodeShared *
node_asked_for(Port *port)
{
	Oid			dboid;

	if (baton_shared == NULL || port->database_name == NULL ||
		port->database_name[0] == '\0' || (am_walsender && !am_db_walsender))
		return NULL;
	if (!criticalSharedRelcachesBuilt)
		return node_find_name(port->database_name);
	dboid = get_database_oid(port->database_name, true);
	return OidIsValid(dboid) ? node_find(dboid) : NULL;
}

/* Another node, or a loopback connection of baton's own. */
static bool
is_peer(Port *port, Oid role)
{
	return port->application_name != NULL &&
		strncmp(port->application_name, PEER_APPLICATION_PREFIX,
				strlen(PEER_APPLICATION_PREFIX)) == 0 &&
		(superuser_arg(role) || has_rolreplication(role));
}

/* Does the start-up packet show the token of the node's initial copy? */
static bool
shows_token(Port *port, NodeShared *node)
{
	char		token[sizeof(node->session_token)];
	ListCell   *lc;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	strlcpy(token, node->session_token, sizeof(token));
	LWLockRelease(&node->state_lock);
	if (token[0] == '\0')
		return false;
	if (port->cmdline_options != NULL && strstr(port->cmdline_options, token) != NULL)
		return true;
	foreach(lc, port->guc_options)
		if (strcmp((char *) lfirst(lc), token) == 0)
			return true;
	return false;
}

static void
check_door(Port *port, NodeShared *node, Oid role, bool peer)
{
	if (pg_atomic_read_u32(&node->door_closed) == 0 || peer ||
		superuser_arg(role) || shows_token(port, node))
		return;
	ereport(FATAL,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("database \"%s\" is out of service on this server", port->database_name),
			 errhint("%s", gate_primary_hint(node))));
}

static void
gate_client_authentication(Port *port, int status)
{
	NodeShared *node;
	Oid			role;
	bool		peer;

	if (prev_client_authentication)
		prev_client_authentication(port, status);
	if (status != STATUS_OK || baton_shared == NULL)
		return;
	role = get_role_oid(port->user_name, true);
	peer = is_peer(port, role);
	gate_show_session(am_walsender ? SESSION_WALSENDER :
					  peer ? SESSION_PEER : SESSION_CLIENT);
	node = node_asked_for(port);
	if (node == NULL)
		return;
	check_door(port, node, role, peer);
	if (pg_atomic_read_u32(&node->gate) == GATE_CLOSED)
		gate_set_session_default(true);
}

void
gate_install_login_hook(void)
{
	prev_client_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = gate_client_authentication;
}
