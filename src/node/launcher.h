/*
 * launcher.h - the one process per server that keeps coordinators running.
 */
#ifndef BATON_LAUNCHER_H
#define BATON_LAUNCHER_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/* Registers the launcher; called by _PG_init in the postmaster. */
extern void launcher_register(void);

extern bool launch_worker(const char *function, const char *kind, Oid dboid,
						  BackgroundWorkerHandle **handle);

#endif							/* BATON_LAUNCHER_H */
