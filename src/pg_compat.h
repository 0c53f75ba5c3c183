/*
 * pg_compat.h - the only place that knows differences between PostgreSQL versions.
 */
#ifndef BATON_PG_COMPAT_H
#define BATON_PG_COMPAT_H

/* Logical decoding: the HeapTuple, or NULL, of a change's old or new tuple. */
#if PG_VERSION_NUM >= 170000
#define baton_change_tuple(t)	(t)
#else
#define baton_change_tuple(t)	((t) != NULL ? &(t)->tuple : NULL)
#endif

/* A set of n events to wait for that lives as long as the process. */
#if PG_VERSION_NUM >= 170000
#define baton_create_wait_event_set(n)	CreateWaitEventSet(NULL, (n))
#else
#define baton_create_wait_event_set(n)	CreateWaitEventSet(TopMemoryContext, (n))
#endif

#endif							/* BATON_PG_COMPAT_H */
