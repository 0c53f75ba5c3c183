/*
 * roles.c - brings roles, and what else all databases of a server share, into the
 * stream.
 *
 * Roles belong to the server, so their rows can change in any of its databases, and
 * logical decoding sees what this database's sessions write to WAL, no more.  Hence
 * two ways:
 *
 *   in this database	role_command.c looks at the rows behind each command, and they
 *						are written to WAL there and then, as messages of the same
 *						transaction.
 *   in another one		the transaction counts itself in roles_changed of each node, and
 *						the coordinator of each that leads looks at all rows and writes
 *						those that differ from what it has told (role_publish.c).
 *
 * What is in the stream twice does no harm: a row says what is, not what was done.
 * But an old state must never come behind a newer one, and what counts for that is the
 * order of commits.  Rows of the first kind are those that the transaction itself has
 * changed, so nobody else changes them before it ends.  Rows of the second kind are
 * locked (roles_lock_row) until the message is committed.  That a row is gone can be told
 * by the coordinator only while no transaction of this database holds
 * roles_lock_shared(): it may be making it anew.
 *
 * Rows name roles, and a name may be another role's by the time that the message comes.
 * So who renames or drops a role holds roles_lock_rename() until the end, and who writes
 * rows of the second kind asks for roles_lock_names(): if granted, no name changes before
 * that message is in the stream, and if not, only rows are written whose names cannot
 * change, since the roles' own rows are locked.  It is never waited for: a transaction that
 * has changed roles, and stays open, would hold up every command.
 *
 * A session may use a role that another database has just made before the
 * coordinator has told it; replicas would look for it in vain, for ever, since it
 * comes behind.  So while anything is to be told yet, roles_pending(), each command
 * that travels waits a moment for the coordinator, and if that cannot tell all, is
 * preceded by what its session sees of all roles (roles_log_needed).
 * roles_changing covers the moment in which a commit is visible and not counted yet.
 *
 * Such a role is told as one to be made where it is missing: its row is not locked, and
 * the newer state, which may be in the stream by then, is left alone.  While some role is
 * being renamed or dropped, one is told only if its row can be locked.  Were it made on
 * the replicas behind its end, it would stay there for ever, and be in the way of the
 * next role with its name.
 */
#include "capture/roles.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "capture/message_mac.h"
#include "capture/sequence.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/snapmgr.h"

/* A session that needs roles waits so long for the coordinator to tell them. */
#define TELL_MS		300

/* This transaction has changed such rows, ... */
static bool touched = false;

/* ... also some that this database's stream does not show, ... */
static bool unlogged = false;

/* ... and is counted in roles_changing. */
static bool counted = false;

/* ---- into WAL ---- */

void
roles_log(NodeShared *node, const RoleState *state)
{
	StreamBuf	buf = {0};

	message_begin(&buf);
	record_put_role_body(&buf, &state->record, state->texts);
	message_log(node, ROLE_MESSAGE_PREFIX, &buf);
}

/* ---- locks ---- */

bool
roles_lock_row(Relation catalog, HeapTuple row)
{
	HeapTupleData tuple = {0};
	TM_FailureData failure;
	TM_Result	result;
	Buffer		buffer;

	tuple.t_self = row->t_self;
	result = heap_lock_tuple(catalog, &tuple, GetCurrentCommandId(true), LockTupleShare,
							 LockWaitSkip, false, &buffer, &failure);
	ReleaseBuffer(buffer);
	return result == TM_Ok || result == TM_SelfModified;
}

/*
 * An object that there is none of stands for the roles as this database sees them, or for
 * the names of all roles of the server (database: InvalidOid).
 */
static bool
lock_roles(Oid database, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, database, AuthIdRelationId, database, 0);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
roles_lock_shared(void)
{
	(void) lock_roles(MyDatabaseId, RowExclusiveLock, true);
}

bool
roles_lock_exclusive(void)
{
	return lock_roles(MyDatabaseId, ShareLock, false);
}

void
roles_lock_rename(void)
{
	(void) lock_roles(InvalidOid, RowExclusiveLock, true);
}

bool
roles_lock_names(void)
{
	return lock_roles(InvalidOid, ShareLock, false);
}

/* ---- what another database has changed ---- */

bool
roles_pending(NodeShared *node)
{
	return pg_atomic_read_u32(&baton_shared->roles_changing) > 0 ||
		pg_atomic_read_u32(&node->roles_told) != pg_atomic_read_u32(&node->roles_changed);
}

typedef struct NeededRoles
{
	NodeShared *node;
	bool		names_stay;		/* until this transaction ends */
	bool		only_named;		/* these, and no memberships */
	const List *named;
	List	   *left_out;		/* OIDs of roles that may be called otherwise by then */
	MemoryContext cxt;			/* of left_out */
} NeededRoles;

static void
leave_out(NeededRoles *needed, Oid role)
{
	MemoryContext old = MemoryContextSwitchTo(needed->cxt);

	needed->left_out = lappend_oid(needed->left_out, role);
	MemoryContextSwitchTo(old);
}

/* Roles come before the memberships. */
static void
log_needed(RoleState *state, Relation catalog, HeapTuple row, void *arg)
{
	NeededRoles *needed = arg;

	switch (state->record.item)
	{
		case ROLE_ATTRIBUTES:
			if (needed->only_named && !list_member_oid(needed->named, state->key.role))
				return;
			if (needed->names_stay)
				state->record.flags |= RECORD_ROLE_IF_MISSING;
			else if (!roles_lock_row(catalog, row))
			{
				leave_out(needed, state->key.role);
				return;
			}
			break;
		case ROLE_MEMBER:
			if (needed->only_named || list_member_oid(needed->left_out, state->key.role) ||
				list_member_oid(needed->left_out, state->key.member) ||
				!roles_lock_row(catalog, row))
				return;
			break;
		default:
			return;
	}
	roles_log(needed->node, state);
}

/*
 * Best told by the coordinator, which knows what a role was called before.
 *
 * The names are locked before the rows are looked at: what was renamed or dropped before
 * that is seen as it is.
 */
static void
log_all_needed(NeededRoles *needed)
{
	NodeShared *node = needed->node;

	if (!baton_replicate_roles || !roles_pending(node))
		return;
	if (pg_atomic_read_u32(&node->roles_told) != pg_atomic_read_u32(&node->roles_changed))
		sequences_ask(node, TELL_MS);
	if (!roles_pending(node))
		return;
	roles_lock_shared();
	needed->names_stay = roles_lock_names();
	role_states_each(log_needed, needed);
	list_free(needed->left_out);
}

void
roles_log_needed(NodeShared *node)
{
	NeededRoles needed = {.node = node, .cxt = CurrentMemoryContext};

	log_all_needed(&needed);
}

/* Rows of others are not locked: of two sessions that each change a role next, neither
 * could go on. */
void
roles_log_named(NodeShared *node, const List *roles)
{
	NeededRoles needed = {.node = node, .only_named = true, .named = roles, .cxt = CurrentMemoryContext};

	log_all_needed(&needed);
}

static void
roles_changed(bool logged)
{
	for (int i = 0; i < baton_shared->max_nodes; i++)
	{
		NodeShared *node = &baton_shared->nodes[i];

		if (!OidIsValid(node->dboid))
			continue;
		pg_atomic_fetch_add_u32(logged && node->dboid == MyDatabaseId ? &node->roles_logged :
								&node->roles_changed, 1);
		node_wake(node, WORKER_COORDINATOR);
	}
}

void
roles_touched(bool logged)
{
	touched = true;
	unlogged = unlogged || !logged;
}

static void
count_changing(void)
{
	if (!counted)
		pg_atomic_fetch_add_u32(&baton_shared->roles_changing, 1);
	counted = true;
}

/* What was prepared can be seen before the command's own transaction ends. */
void
roles_commit_prepared(bool logged)
{
	roles_touched(logged);
	count_changing();
}

static void
end_transaction(XactEvent event, void *arg)
{
	if (!touched)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			count_changing();
			return;
		case XACT_EVENT_COMMIT:
			roles_changed(!unlogged);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	if (counted)
		pg_atomic_fetch_sub_u32(&baton_shared->roles_changing, 1);
	touched = unlogged = counted = false;
}

/* Called by _PG_init. */
void
roles_install_hooks(void)
{
	RegisterXactCallback(end_transaction, NULL);
}
