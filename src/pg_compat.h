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

/* What a plan wants to do with each table: relid and requiredPerms. */
#if PG_VERSION_NUM >= 160000
#define BatonPermission RTEPermissionInfo
#define baton_plan_permissions(plan)	((plan)->permInfos)
#else
#define BatonPermission RangeTblEntry
#define baton_plan_permissions(plan)	((plan)->rtable)
#endif

/* pg_logical_emit_message() got an argument, and so its symbols other names. */
#if PG_VERSION_NUM >= 170000
#define BATON_F_EMIT_MESSAGE_TEXT	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL
#define BATON_F_EMIT_MESSAGE_BYTEA	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL
#else
#define BATON_F_EMIT_MESSAGE_TEXT	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT
#define BATON_F_EMIT_MESSAGE_BYTEA	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA
#endif

#if PG_VERSION_NUM >= 170000
#define baton_am_autovacuum_worker()	AmAutoVacuumWorkerProcess()
#else
#define baton_am_autovacuum_worker()	IsAutoVacuumWorkerProcess()
#endif

#endif							/* BATON_PG_COMPAT_H */
