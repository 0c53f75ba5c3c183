/*
 * reconcile.h - mending of commits that this node has and the elected stream has
 * not: what the rest of baton calls.
 *
 *	 receiver     finds that the log is to be cut in front of commits (ship/sync_up.c)
 *	 coordinator  starts the worker (baton_reconcile_main), carries out what it asks
 *				  for (node/reconcile.c)
 *	 applier      finishes the mending (apply/fill.c)
 */
#ifndef BATON_RECONCILE_H
#define BATON_RECONCILE_H

#include "baton.h"

extern PGDLLEXPORT void baton_reconcile_main(Datum main_arg);

#endif							/* BATON_RECONCILE_H */
