/*
 * roles.h - roles and what else all databases of a server share: how it comes into
 * the stream.
 */
#ifndef BATON_ROLES_H
#define BATON_ROLES_H

#include "baton.h"

#include "access/htup.h"
#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* The message that a row is in WAL: its mark (message_mac.h); u32 subxid; a ROLE record's
 * body. */
#define ROLE_MESSAGE_PREFIX "baton.role"

/* ---- role_state.c: rows of the shared catalogs, as they travel ---- */

/* Which row: it keeps these whatever names change. */
typedef struct RoleKey
{
	RoleItem	item;
	Oid			role;			/* InvalidOid: all roles; a comment's: the database */
	Oid			member;
	Oid			grantor;		/* where several may grant one membership */
	Oid			database;		/* InvalidOid: every database */
} RoleKey;

typedef struct RoleState
{
	RoleKey		key;
	RecordRole	record;
	RecordText *texts;
} RoleState;

typedef void (*RoleStateFn) (RoleState *state, Relation catalog, HeapTuple row, void *arg);

/*
 * Call fn for each row that may travel: roles first, then memberships, settings,
 * comments, this database.  Rows that PostgreSQL brings along itself are left out.
 * Needs a transaction; `state` lives as long as the call.
 */
extern void role_states_each(RoleStateFn fn, void *arg);
/* The same for the rows that are about one role, as itself, group or member; InvalidOid:
 * about this database, and settings of all roles. */
extern void role_states_of(Oid role, RoleStateFn fn, void *arg);
/* Is it a row of what the databases share, and not of this database alone?  These
 * travel only if baton.replicate_roles is on. */
extern bool role_item_is_shared(const RecordRole *record);
/* The comment on a role or database, palloc'd, or NULL. */
extern char *role_comment(Oid class_id, Oid object_id);

/* ---- role_command.c: which rows does a command change? ---- */

typedef struct RoleCommand
{
	bool		known;			/* it is about such rows */
	NodeShared *node;			/* whose stream gets them, or NULL */
	Node	   *parsetree;
	List	   *before;			/* of RoleBefore */
} RoleCommand;

/* Is the command about what all databases share?  It does not travel as text then. */
extern bool role_command_is(Node *parsetree);
/* Is it about something of the server that has no place in the stream at all? */
extern bool role_command_stays(Node *parsetree);
/* Around the command: what it has changed is written to WAL when it is over. */
extern void role_command_begin(RoleCommand *command, Node *parsetree, NodeShared *node);
extern void role_command_end(RoleCommand *command);

/* ---- roles.c ---- */

extern void roles_install_hooks(void);
/* Write a row to WAL, as part of the transaction. */
extern void roles_log(NodeShared *node, const RoleState *state);
/* The transaction has changed such rows: on commit the server's nodes are told.
 * logged: what it has changed is in this database's stream. */
extern void roles_touched(bool logged);
/* A prepared transaction, which may have done that, is about to be committed. */
extern void roles_commit_prepared(bool logged);
/* Does this node's stream lack what was changed somewhere else in the server? */
extern bool roles_pending(NodeShared *node);
/* A command of the stream is about to be written: bring first what it may need. */
extern void roles_log_needed(NodeShared *node);
/* The same before a command that changes roles: these OIDs are all that it names. */
extern void roles_log_named(NodeShared *node, const List *roles);
/* Make sure that nobody changes the row before the transaction ends; false: somebody
 * is doing that. */
extern bool roles_lock_row(Relation catalog, HeapTuple row);
/* Held by who has written rows to WAL, so that nobody can tell them to be gone. */
extern void roles_lock_shared(void);
extern bool roles_lock_exclusive(void);
/* Held by who renames or drops a role, in whatever database.  Waits for those who hold
 * roles_lock_names(). */
extern void roles_lock_rename(void);
/* Make sure that roles keep the names that can be seen from here on before the transaction
 * ends; false: somebody is renaming or dropping one. */
extern bool roles_lock_names(void);

/* ---- role_publish.c: called by the coordinator ---- */

typedef struct RolePublisher RolePublisher;

extern RolePublisher *role_publisher_create(NodeShared *node, MemoryContext cxt);
/* Forget what was told: a reign begins. */
extern void role_publisher_forget(RolePublisher *p);
/*
 * Bring into the stream what was changed in other databases of the server; cheap if
 * nothing was.  What cannot be told yet, since somebody is changing it or an error has
 * come (which is logged), is told by a later call.  Unless it is urgent, a call soon
 * behind another one does nothing.
 */
extern void roles_publish(RolePublisher *p, bool urgent);

#endif							/* BATON_ROLES_H */
