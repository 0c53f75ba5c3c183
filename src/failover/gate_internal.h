/*
 * gate_internal.h - what the gate's files share among themselves.
 */
#ifndef BATON_GATE_INTERNAL_H
#define BATON_GATE_INTERNAL_H

#include "baton.h"

#include "failover/gate.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"

/*
 * What a backend shows of its transaction.  Others read it in gate_scan.c.
 *
 *   IDLE      nothing passed the gate in this transaction
 *   WRITER    a statement passed that writes, or locks more than ACCESS SHARE
 *   WAITING   a statement waits at the gate; its transaction has written nothing
 *   COMMITTING  has passed the check before commit
 *   COMMIT_PREPARED  the same for COMMIT PREPARED, which has no xid of its own
 *   EXEMPT    its xid comes from maintenance or temporary tables
 */
typedef enum GateMark
{
	MARK_IDLE = 0,
	MARK_WRITER,
	MARK_WAITING,
	MARK_COMMITTING,
	MARK_COMMIT_PREPARED,
	MARK_EXEMPT
} GateMark;

typedef enum GateSession
{
	SESSION_NONE = 0,			/* no login: a background process */
	SESSION_CLIENT,
	SESSION_PEER,				/* another node, or a loopback connection of baton */
	SESSION_WALSENDER
} GateSession;

/* One per PGPROC that can be a backend; only its own process writes it. */
typedef struct GateSlot
{
	pg_atomic_uint32 mark;		/* GateMark */
	uint32		session;		/* GateSession */
	pid_t		pid;			/* whose slot it is; differs: left by an earlier process */
} GateSlot;

/* This backend's transaction. */
typedef struct GateXact
{
	bool		writer;			/* has passed as a writer */
	bool		temporary;		/* used temporary tables, or asked for a bare xid */
	bool		maintenance;	/* ran VACUUM and its kind */
	Oid			local_table;	/* a table of baton's that is local to the node, and was written */
	bool		sequences;		/* has used nextval() or setval() */
	bool		read_only_seen; /* gate_force_read_only has looked at it */
	bool		read_only_forced;	/* XactReadOnly is the gate's doing, not the user's */
} GateXact;

extern GateXact gate_xact;
extern int	gate_maintenance_depth; /* maintenance commands that are running */
extern NodeShared *gate_my_node;

/* What a utility command needs of the gate. */
typedef enum GateNeed
{
	NEED_READ = 0,				/* changes nothing by itself */
	NEED_OWN_MODE,				/* looks at, or sets, the transaction's own modes */
	NEED_WRITE,
	NEED_LOCK,					/* takes a lock that a standby would allow */
	NEED_TEMPORARY,				/* changes temporary objects only */
	NEED_MAINTENANCE,			/* changes no data */
	NEED_COMMIT_PREPARED
} GateNeed;

/* gate.c */
extern NodeShared *gate_find_node(void);
extern bool gate_session_exempt(NodeShared *node);
extern GateSlot *gate_slot(int procno);
extern int	gate_slots(void);
extern void gate_show_session(GateSession session);
extern GateState gate_state(NodeShared *node);
extern void gate_follow(NodeShared *node);
extern void gate_enter_read(NodeShared *node);
extern void gate_enter_commit_prepared(NodeShared *node, const char *command);
extern void gate_note_temporary(void);
extern void gate_note_sequence(NodeShared *node);
extern void gate_make_draws_wait(void);
extern void gate_maintenance_begin(void);
extern void gate_maintenance_end(void);
extern void gate_pre_commit(NodeShared *node);
extern void gate_xact_end(void);
extern char *gate_reason(NodeShared *node);
pg_noreturn extern void gate_refuse(NodeShared *node, const char *command);

/* gate_readonly.c */
extern void gate_force_read_only(void);
extern void gate_release_read_only(void);
extern bool gate_read_only_is_ours(void);
extern void gate_set_session_default(bool read_only);

/* gate_classify.c */
extern bool gate_plan_may_write(const PlannedStmt *plan);
extern bool gate_plan_writes(const PlannedStmt *plan);
extern GateNeed gate_classify_utility(Node *parsetree);
extern bool gate_changes_are_harmless(void);

/* gate_login.c */
extern void gate_install_login_hook(void);

/*
 * The node whose gate this backend has to pass, or NULL if there is none or the
 * backend is exempt.  Called at every statement, so the usual way is short.
 */
static inline NodeShared *
gate_node(void)
{
	NodeShared *node = gate_my_node;

	if (unlikely(node == NULL || node->dboid != MyDatabaseId))
	{
		node = gate_find_node();
		if (node == NULL)
			return NULL;
	}
	if (unlikely(baton_worker_exempt))
		return NULL;
	if (unlikely(baton_session_token != NULL && baton_session_token[0] != '\0') &&
		gate_session_exempt(node))
		return NULL;
	return node;
}

#endif							/* BATON_GATE_INTERNAL_H */
