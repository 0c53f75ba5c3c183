/*
 * sync_names.c - baton's name in synchronous_standby_names.
 *
 * PostgreSQL has one such list for a whole server.  baton's value is
 *
 *     FIRST n (baton_<oid of a database>, ...)
 *
 * with n names: all of them are needed, so that two databases of one server do not
 * stand in for each other.  Anything else is somebody else's value and is never
 * touched; it may name baton's walsenders itself, if it needs every name it has.
 *
 * Which of the server's nodes want their name in it stands in shared memory, under
 * baton_shared->lock, and the value is always made from that: so two coordinators
 * that change it at the same time do not undo each other's work.
 *
 * The file is written by the function behind ALTER SYSTEM, in this process: the
 * coordinator has more urgent things to do than to wait for a connection.
 */
#include "node/sync_names.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "replication/syncrep.h"
#include "replication/walsender_private.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include <signal.h>

#define SETTING "synchronous_standby_names"
#define NAME_PREFIX "baton_"

void
sync_name_of(Oid dboid, char *out, size_t size)
{
	snprintf(out, size, NAME_PREFIX "%u", dboid);
}

/* ---- reading ---- */

typedef struct NamesLook
{
	int			names;
	bool		only_ours;		/* no other name than baton's */
	bool		all_needed;
	bool		has_mine;
} NamesLook;

static bool
is_ours(const char *name)
{
	size_t		prefix = strlen(NAME_PREFIX);

	return pg_strncasecmp(name, NAME_PREFIX, prefix) == 0 && name[prefix] != '\0' &&
		strspn(name + prefix, "0123456789") == strlen(name + prefix);
}

/* The setting as this process has loaded it. */
static NamesLook
look(Oid dboid)
{
	NamesLook	l = {0, true, true, false};
	char		mine[NAMEDATALEN];
	const char *name;

	if (SyncRepConfig == NULL || SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0')
		return l;
	sync_name_of(dboid, mine, sizeof(mine));
	l.names = SyncRepConfig->nmembers;
	l.all_needed = SyncRepConfig->num_sync == l.names;
	name = SyncRepConfig->member_names;
	for (int i = 0; i < l.names; i++)
	{
		l.only_ours = l.only_ours && is_ours(name);
		l.has_mine = l.has_mine || pg_strcasecmp(name, mine) == 0;
		name += strlen(name) + 1;
	}
	return l;
}

bool
sync_names_wait_for(Oid dboid)
{
	NamesLook	l = look(dboid);

	return l.has_mine && l.all_needed;
}

bool
sync_names_alone(Oid dboid)
{
	NamesLook	l = look(dboid);

	return l.has_mine && l.names == 1;
}

/* A value that has all names of the present one and ours. */
static char *
value_to_suggest(Oid dboid)
{
	StringInfoData list;
	char		mine[NAMEDATALEN];
	const char *name = SyncRepConfig->member_names;
	int			n = 1;

	initStringInfo(&list);
	sync_name_of(dboid, mine, sizeof(mine));
	for (int i = 0; i < SyncRepConfig->nmembers; i++)
	{
		if (strcmp(name, "*") != 0 && pg_strcasecmp(name, mine) != 0)
		{
			appendStringInfo(&list, "\"%s\", ", name);
			n++;
		}
		name += strlen(name) + 1;
	}
	return psprintf("FIRST %d (%s%s)", n, list.data, mine);
}

bool
sync_names_obstacle(Oid dboid, char **detail, char **hint)
{
	NamesLook	l = look(dboid);

	if (l.only_ours || (l.has_mine && l.all_needed))
		return false;
	*detail = psprintf("It is \"%s\", which baton has not set.", SyncRepStandbyNames);
	*hint = psprintf("Empty it, or let it need every name it has and baton's among them: "
					 SETTING " = '%s'", value_to_suggest(dboid));
	return true;
}

bool
sync_names_in_effect(void)
{
	return baton_sync_standbys_defined();
}

bool
sync_names_waiters(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		volatile PGPROC *proc = &ProcGlobal->allProcs[i];

		if (proc->pid != 0 && proc->syncRepState == SYNC_REP_WAITING)
			return true;
	}
	return false;
}

/* ---- writing ---- */

/* Is the loaded value baton's, with this database's name in it? */
static bool
named(Oid dboid)
{
	NamesLook	l = look(dboid);

	return l.has_mine && l.only_ours;
}

/*
 * The value that all nodes of the server together want, NULL for none; `changes`
 * is about to want `wanted`.  The caller holds baton_shared->lock.
 */
static char *
wanted_value(const NodeShared *changes, SyncName wanted)
{
	StringInfoData list;
	int			n = 0;

	initStringInfo(&list);
	for (int i = 0; i < baton_shared->max_nodes; i++)
	{
		const NodeShared *node = &baton_shared->nodes[i];
		SyncName	wants = node == changes ? wanted : node->sync_name;
		char		name[NAMEDATALEN];

		if (!OidIsValid(node->dboid) || wants == SYNC_NAME_OUT ||
			(wants == SYNC_NAME_UNDECIDED && !named(node->dboid)))
			continue;
		sync_name_of(node->dboid, name, sizeof(name));
		appendStringInfo(&list, "%s%s", n++ > 0 ? ", " : "", name);
	}
	return n > 0 ? psprintf("FIRST %d (%s)", n, list.data) : NULL;
}

static void
alter_system(char *value)
{
	AlterSystemStmt *stmt = makeNode(AlterSystemStmt);

	stmt->setstmt = makeNode(VariableSetStmt);
	stmt->setstmt->kind = value ? VAR_SET_VALUE : VAR_RESET;
	stmt->setstmt->name = pstrdup(SETTING);
	if (value)
	{
		A_Const    *literal = makeNode(A_Const);

		literal->val.sval.type = T_String;
		literal->val.sval.sval = value;
		literal->location = -1;
		stmt->setstmt->args = list_make1(literal);
	}
	AlterSystemSetConfigFile(stmt);
}

bool
sync_names_is_in(NodeShared *node)
{
	SyncName	name;

	LWLockAcquire(&baton_shared->lock, LW_SHARED);
	name = node->sync_name;
	LWLockRelease(&baton_shared->lock);
	return name == SYNC_NAME_UNDECIDED ? named(node->dboid) : name == SYNC_NAME_IN;
}

void
sync_names_claim(NodeShared *node)
{
	SyncName	name = named(node->dboid) ? SYNC_NAME_IN : SYNC_NAME_OUT;

	LWLockAcquire(&baton_shared->lock, LW_EXCLUSIVE);
	node->sync_name = name;
	LWLockRelease(&baton_shared->lock);
}

/* node: NULL for what the others want. */
static void
write_value(NodeShared *node, SyncName wanted)
{
	StartTransactionCommand();
	LWLockAcquire(&baton_shared->lock, LW_EXCLUSIVE);
	alter_system(wanted_value(node, wanted));
	if (node != NULL)
		node->sync_name = wanted;
	LWLockRelease(&baton_shared->lock);
	CommitTransactionCommand();
	kill(PostmasterPid, SIGHUP);
}

bool
sync_names_write(NodeShared *node, SyncName wanted, char *err, size_t errlen)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;

	PG_TRY();
	{
		write_value(node, wanted);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		strlcpy(err, error->message, errlen);
		FreeErrorData(error);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return ok;
}

static bool
is_of_a_node(const char *name)
{
	for (int i = 0; i < baton_shared->max_nodes; i++)
	{
		char		mine[NAMEDATALEN];

		if (!OidIsValid(baton_shared->nodes[i].dboid))
			continue;
		sync_name_of(baton_shared->nodes[i].dboid, mine, sizeof(mine));
		if (pg_strcasecmp(name, mine) == 0)
			return true;
	}
	return false;
}

/* Is the loaded value baton's own, with a name in it that no node of the server has? */
static bool
has_stale(void)
{
	const char *name;
	bool		stale = false;

	if (SyncRepConfig == NULL || SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0')
		return false;
	name = SyncRepConfig->member_names;
	LWLockAcquire(&baton_shared->lock, LW_SHARED);
	for (int i = 0; i < SyncRepConfig->nmembers; i++)
	{
		if (!is_ours(name))
		{
			stale = false;
			break;
		}
		stale = stale || !is_of_a_node(name);
		name += strlen(name) + 1;
	}
	LWLockRelease(&baton_shared->lock);
	return stale;
}

void
sync_names_drop_stale(void)
{
	char	   *before;
	char		err[BATON_ERROR_LEN];

	if (!has_stale())
		return;
	before = pstrdup(SyncRepStandbyNames);
	if (sync_names_write(NULL, SYNC_NAME_OUT, err, sizeof(err)))
		ereport(LOG,
				(errmsg("baton has taken names of nodes that do not exist out of \"" SETTING "\""),
				 errdetail("It was \"%s\".", before)));
	else
		ereport(LOG,
				(errmsg("baton could not take names of nodes that do not exist out of \"" SETTING "\": %s", err),
				 errdetail("Commits wait for them."),
				 errhint("Use ALTER SYSTEM RESET " SETTING " and reload.")));
}
