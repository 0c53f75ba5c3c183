/*
 * copy.h - the initial copy of a joining node: what the rest of baton calls.
 *
 * For join_group():
 *	 - copy_database_is_empty() before anything is written; refuse if it is not.
 *	 - the first control file has intent = INTENT_COPYING and copy_conninfo = a
 *	   conninfo that leads to the primary.  The other copy fields and log_base
 *	   stay 0.  No stream log is created: the copy worker does that.
 *
 * For the coordinator, while control.intent == INTENT_COPYING (state COPYING):
 *	 - it does not open the stream log, and leaves log_ready false: the worker
 *	   destroys what there is and creates a new one.  Neither capture nor applier
 *	   run.  The node takes up the primary's term as any follower does, and the
 *	   primary ships to it as soon as log_ready is true, long before the copy is
 *	   complete.
 *	 - before it starts the worker, and whenever the primary's address changes,
 *	   it publishes node->copy_conninfo (under state_lock).
 *	 - it keeps the worker running as it does the others (baton_copy_main; the
 *	   worker itself repeats a failed attempt, with a growing delay).
 *	 - at each turn of its loop:
 *
 *		   bool dirty = false;
 *		   copy_serve_coordinator(node, &control, &dirty);
 *		   if (dirty) { write the control file; copy_serve_done(node); }
 *
 *	   The worker wakes it (node_wake COORDINATOR) for each request.  If writing
 *	   fails, copy_serve_done() is simply not called and the request is taken
 *	   again at the next turn.
 *	 - when control.intent has turned INTENT_ACTIVE that way, the worker ends
 *	   (exit code 0).  copy_serve_done() has then published copy_source,
 *	   copy_term, copy_lsn, own_floor, slot_name and applied; the coordinator sets
 *	   intent and state, tells the primary (baton_rpc.member_ready), and starts
 *	   capture and applier.
 *
 * For the coordinator at its start, with any other intent: copy_forget(node).
 */
#ifndef BATON_COPY_H
#define BATON_COPY_H

#include "baton.h"

#include "nodes/pg_list.h"

extern PGDLLEXPORT void baton_copy_main(Datum main_arg);

/*
 * Is the session's database empty, apart from baton, plpgsql and what initdb
 * makes?  If not, what (of `size` bytes) says what was found, such as
 * "table public.t".  Needs a transaction with a snapshot, and sees as much as
 * the current user may (catalogs only).
 */
extern bool copy_database_is_empty(char *what, size_t size);

/*
 * The definitions of relations of this database as committed, without rows, as pg_dump
 * writes them: a string of SQL commands, palloc'd.  Called by a session.  Raises
 * ERRCODE_UNDEFINED_FILE if there is no pg_dump, and ERRCODE_EXTERNAL_ROUTINE_EXCEPTION
 * if it fails, for instance because it gets no lock within 10 s.
 */
extern char *copy_definition(NodeShared *node, List *relids);

/*
 * Put a request of the copy worker, if there is one, into the control data.
 * Sets *dirty (never clears it) if control must be written now.
 */
extern void copy_serve_coordinator(NodeShared *node, ControlData *control, bool *dirty);

/* The control file with what copy_serve_coordinator() put in is on disk. */
extern void copy_serve_done(NodeShared *node);

/*
 * Remove what a finished copy may have left behind: the directory
 * <node directory>/copy.  Never raises; a failure is logged.
 */
extern void copy_forget(NodeShared *node);

#endif							/* BATON_COPY_H */
