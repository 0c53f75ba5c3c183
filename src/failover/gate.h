/*
 * gate.h - what lets client writes into the database, or keeps them out.
 *
 * The state of a database's gate lies in its NodeShared and is written by the
 * coordinator alone.  Hooks in every session look at it before each statement,
 * before each commit, and when a function that writes by itself is called; see
 * the head of gate.c for what they do in each state, and of gate_scan.c for what
 * the coordinator has to do in which order.
 */
#ifndef BATON_GATE_H
#define BATON_GATE_H

#include "postgres.h"

#include "nodes/nodes.h"
#include "shared_state.h"

/*
 * A process of baton's own that writes tables sets this before its first
 * transaction: the gate then does not look at it at all.
 */
extern bool baton_worker_exempt;

/* Called by _PG_init, and by the shared memory hooks of shared_state.c. */
extern void gate_install_hooks(void);
extern Size gate_shmem_size(void);
extern void gate_shmem_init(void);

/* ---- for the coordinator ---- */

extern PGDLLEXPORT void gate_set(NodeShared *node, GateState state);
extern PGDLLEXPORT int gate_writers(Oid dboid, bool include_lock_holders);
/* Send a backend a signal, as pg_terminate_backend() and pg_cancel_backend() do. */
extern bool gate_signal(pid_t pid, int signal);
extern PGDLLEXPORT int gate_terminate_writers(Oid dboid);
extern PGDLLEXPORT int gate_cancel_writers(Oid dboid);
extern PGDLLEXPORT int gate_terminate_sessions(Oid dboid, pid_t except);
extern PGDLLEXPORT int gate_terminate_committing(Oid dboid);
extern PGDLLEXPORT bool gate_barrier_passed(Oid dboid);

/* ---- for who commits ---- */

extern bool gate_lease_holds(NodeShared *node);

/* Pass with something that writes; raises ERRCODE_READ_ONLY_SQL_TRANSACTION, naming
 * `command`, where that is not allowed. */
extern void gate_enter_write(NodeShared *node, const char *command);

/* ---- for functions that write a table which is local to the node ---- */

extern void gate_note_local_table(Oid relid);

/* ---- for capture ---- */

/* Does this command change more than rows, temporary objects and modes? */
extern bool gate_command_changes_definitions(Node *parsetree);
/* Does the session show the token of baton's own restore? */
extern bool gate_session_writes_locally(NodeShared *node);

/* ---- for anybody who has to say where to go ---- */

extern char *gate_primary_hint(NodeShared *node);

#endif							/* BATON_GATE_H */
