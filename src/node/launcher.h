/*
 * launcher.h - the one process per server that keeps coordinators running.
 */
#ifndef BATON_LAUNCHER_H
#define BATON_LAUNCHER_H

/* Registers the launcher; called by _PG_init in the postmaster. */
extern void launcher_register(void);

#endif							/* BATON_LAUNCHER_H */
