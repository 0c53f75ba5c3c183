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

/* Executor functions that apply calls. */
#if PG_VERSION_NUM >= 160000
#define BatonUpdateIndexes TU_UpdateIndexes
#define baton_updates_indexes(u)		((u) != TU_None)
#define baton_updates_summarizing(u)	((u) == TU_Summarizing)
#define baton_insert_index_tuples(rri, slot, estate, update, summarizing) \
	ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL, summarizing)
#define baton_eval_plan_qual_init(epq, estate) \
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL)
#else
#define BatonUpdateIndexes bool
#define baton_updates_indexes(u)		(u)
#define baton_updates_summarizing(u)	false
#define baton_insert_index_tuples(rri, slot, estate, update, summarizing) \
	ExecInsertIndexTuples(rri, slot, estate, update, false, NULL, NIL)
#define baton_eval_plan_qual_init(epq, estate) \
	EvalPlanQualInit(epq, estate, NULL, NIL, -1)
#endif

/* False, and who it is: a row keeps this one out of the indexes named. */
#if PG_VERSION_NUM >= 180000
#define baton_check_index_constraints(rri, slot, estate, tid, indexes) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, NULL, indexes)
#else
#define baton_check_index_constraints(rri, slot, estate, tid, indexes) \
	ExecCheckIndexConstraints(rri, slot, estate, tid, indexes)
#endif

/* A range table of one table, of which these columns are updated. */
#if PG_VERSION_NUM >= 180000
#define baton_init_range_table(estate, rte, columns) \
	do { \
		List	   *infos_ = NIL; \
		addRTEPermissionInfo(&infos_, rte)->updatedCols = (columns); \
		ExecInitRangeTable(estate, list_make1(rte), infos_, bms_make_singleton(1)); \
	} while (0)
#elif PG_VERSION_NUM >= 160000
#define baton_init_range_table(estate, rte, columns) \
	do { \
		List	   *infos_ = NIL; \
		addRTEPermissionInfo(&infos_, rte)->updatedCols = (columns); \
		ExecInitRangeTable(estate, list_make1(rte), infos_); \
	} while (0)
#else
#define baton_init_range_table(estate, rte, columns) \
	do { \
		(rte)->updatedCols = (columns); \
		ExecInitRangeTable(estate, list_make1(rte)); \
	} while (0)
#endif

/* TRUNCATE: fires triggers with the rights of each table's owner since 16. */
#if PG_VERSION_NUM >= 160000
#define BATON_TRUNCATE_CHANGES_USER true
#define baton_truncate(rels, relids, logged, behavior, restart) \
	ExecuteTruncateGuts(rels, relids, logged, behavior, restart, true)
#else
#define BATON_TRUNCATE_CHANGES_USER false
#define baton_truncate(rels, relids, logged, behavior, restart) \
	ExecuteTruncateGuts(rels, relids, logged, behavior, restart)
#endif

/* The primary key's index, if it can be a replica identity; after RelationGetIndexList(). */
#if PG_VERSION_NUM >= 180000
#define baton_primary_key_index(rel)	RelationGetPrimaryKeyIndex(rel, false)
#elif PG_VERSION_NUM >= 170000
#define baton_primary_key_index(rel)	((rel)->rd_ispkdeferrable ? InvalidOid : (rel)->rd_pkindex)
#else
#define baton_primary_key_index(rel)	((rel)->rd_pkindex)
#endif

/* All functions of a name. */
#if PG_VERSION_NUM >= 140000
#define baton_functions_named(name) \
	FuncnameGetCandidates(name, -1, NIL, false, false, true, true)
#endif

/* Where the storage that a WAL record of a sequence is about lies. */
#if PG_VERSION_NUM >= 160000
#define BATON_FILE_DATABASE(seq)	((seq)->locator.dbOid)
#define BATON_FILE_TABLESPACE(seq)	((seq)->locator.spcOid)
#define BATON_FILE_NUMBER(seq)		((seq)->locator.relNumber)
#define RelidByRelfilenode			RelidByRelfilenumber
#include "utils/relfilenumbermap.h"
#else
#define BATON_FILE_DATABASE(seq)	((seq)->node.dbNode)
#define BATON_FILE_TABLESPACE(seq)	((seq)->node.spcNode)
#define BATON_FILE_NUMBER(seq)		((seq)->node.relNode)
#include "utils/relfilenodemap.h"
#endif

#if PG_VERSION_NUM >= 160000
#define BATON_REL_FILE_NUMBER(rel)	((rel)->rd_locator.relNumber)
#define BATON_REL_FILE_TABLESPACE(rel)	((rel)->rd_locator.spcOid)
#define BATON_SET_FILE(seq, rel)	((seq)->locator = (rel)->rd_locator)
#else
#define BATON_REL_FILE_NUMBER(rel)	((rel)->rd_node.relNode)
#define BATON_REL_FILE_TABLESPACE(rel)	((rel)->rd_node.spcNode)
#define BATON_SET_FILE(seq, rel)	((seq)->node = (rel)->rd_node)
#endif

/* The file that a WAL record's block belongs to, for the macros above. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
#else
#include "storage/relfilenode.h"
#endif
typedef struct BatonFile
{
#if PG_VERSION_NUM >= 160000
	RelFileLocator locator;
#else
	RelFileNode node;
#endif
} BatonFile;

#if PG_VERSION_NUM >= 160000
#define baton_block_file(record, id, file, block) \
	XLogRecGetBlockTag(record, id, &(file)->locator, NULL, block)
#else
#define baton_block_file(record, id, file, block) \
	XLogRecGetBlockTag(record, id, &(file)->node, NULL, block)
#endif

/* The constraint that ALTER CONSTRAINT names. */
#if PG_VERSION_NUM >= 180000
#define baton_altered_constraint(def)	(((ATAlterConstraint *) (def))->conname)
#else
#define baton_altered_constraint(def)	(((Constraint *) (def))->conname)
#endif

/* Does the user own the relation, or may act as if? */
#if PG_VERSION_NUM >= 160000
#define baton_owns_relation(relid, user)	object_ownercheck(RelationRelationId, relid, user)
#else
#define baton_owns_relation(relid, user)	pg_class_ownercheck(relid, user)
#endif

/* A logical message into WAL; returns the end of its record. */
#if PG_VERSION_NUM >= 170000
#define baton_log_message(prefix, data, len, transactional) \
	LogLogicalMessage(prefix, data, len, transactional, false)
#else
#define baton_log_message(prefix, data, len, transactional) \
	LogLogicalMessage(prefix, data, len, transactional)
#endif

/* A WAL marker that belongs to no transaction; returns its position. */
#if PG_VERSION_NUM >= 170000
#define baton_log_marker(prefix)	LogLogicalMessage(prefix, "", 0, false, false)
#else
#define baton_log_marker(prefix)	LogLogicalMessage(prefix, "", 0, false)
#endif

/*
 * Do commits wait for synchronous standbys?  (Minor releases of 2025 have made the
 * flag a bit mask.)
 */
#include "replication/walsender_private.h"
#ifdef SYNC_STANDBY_DEFINED
#define baton_sync_standbys_defined() \
	((((volatile WalSndCtlData *) WalSndCtl)->sync_standbys_status & SYNC_STANDBY_DEFINED) != 0)
#else
#define baton_sync_standbys_defined() \
	(((volatile WalSndCtlData *) WalSndCtl)->sync_standbys_defined)
#endif

/* Sessions that wait in their commit: the first at a level, NULL if none does. */
#include "storage/proc.h"
static inline PGPROC *
baton_syncrep_first(int mode)
{
#if PG_VERSION_NUM >= 160000
	dlist_head *queue = &WalSndCtl->SyncRepQueue[mode];

	return dlist_is_empty(queue) ? NULL : dlist_head_element(PGPROC, syncRepLinks, queue);
#else
	SHM_QUEUE  *queue = &WalSndCtl->SyncRepQueue[mode];

	return (PGPROC *) SHMQueueNext(queue, queue, offsetof(PGPROC, syncRepLinks));
#endif
}

/* Take a session out of that queue. */
#if PG_VERSION_NUM >= 160000
#define baton_syncrep_remove(proc)	dlist_delete_thoroughly(&(proc)->syncRepLinks)
#else
#define baton_syncrep_remove(proc)	SHMQueueDelete(&(proc)->syncRepLinks)
#endif

/* The locale of a database whose provider is not libc. */
#if PG_VERSION_NUM >= 170000
#define BATON_DATABASE_LOCALE	Anum_pg_database_datlocale
#else
#define BATON_DATABASE_LOCALE	Anum_pg_database_daticulocale
#endif

/* Number of this backend's transaction. */
#if PG_VERSION_NUM >= 170000
#define baton_my_lxid()		(MyProc->vxid.lxid)
#else
#define baton_my_lxid()		(MyProc->lxid)
#endif

/* What a setting's check hook gives to its assign hook; NULL without memory. */
#if PG_VERSION_NUM >= 160000
#define baton_guc_alloc(size)	guc_malloc(LOG, size)
#else
#define baton_guc_alloc(size)	malloc(size)
#endif

/*
 * Memberships in roles.  Since 16 they have options of their own, and each grantor
 * has a row of its own; before, the member's attribute decides, and SET is free.
 */
#if PG_VERSION_NUM >= 160000
#define BATON_MEMBERSHIP_KEY_GRANTOR(form)	((form)->grantor)
#define BATON_MEMBERSHIP_INHERITS(form)		((form)->inherit_option)
#define BATON_MEMBERSHIP_SETS(form)			((form)->set_option)
#define baton_may_grant(grantor, role)		is_admin_of_role(grantor, role)
#define baton_grant_role(stmt, admin, inherits, sets) \
	do { \
		if ((stmt)->is_grant) \
			(stmt)->opt = list_make3(makeDefElem("admin", (Node *) makeBoolean(admin), -1), \
									 makeDefElem("inherit", (Node *) makeBoolean(inherits), -1), \
									 makeDefElem("set", (Node *) makeBoolean(sets), -1)); \
		GrantRole(NULL, stmt); \
	} while (0)
#else
#define BATON_MEMBERSHIP_KEY_GRANTOR(form)	InvalidOid
#define BATON_MEMBERSHIP_INHERITS(form)		true
#define BATON_MEMBERSHIP_SETS(form)			true
#define baton_may_grant(grantor, role)		true
#define baton_grant_role(stmt, admin, inherits, sets) \
	do { \
		(stmt)->admin_opt = (stmt)->is_grant && (admin); \
		GrantRole(stmt); \
	} while (0)
#endif

/* Values of variable length; postgres.h has brought it itself before. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM >= 170000
#define baton_decoding_snapshot(builder, xid)	SnapBuildGetOrBuildSnapshot(builder)
#else
#define baton_decoding_snapshot(builder, xid)	SnapBuildGetOrBuildSnapshot(builder, xid)
#endif

/* Stands in front of a declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* The absolute value of an int64. */
#ifndef i64abs
#define i64abs(i)	((int64) ((i) < 0 ? -(i) : (i)))
#endif

/* What the executor's run hook gets, and hands on. */
#if PG_VERSION_NUM >= 180000
#define BATON_EXECUTOR_RUN_PARAMETERS	QueryDesc *query, ScanDirection direction, uint64 count
#define BATON_EXECUTOR_RUN_ARGUMENTS	query, direction, count
#else
#define BATON_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define BATON_EXECUTOR_RUN_ARGUMENTS	query, direction, count, execute_once
#endif

/* This process alone applies under the origin. */
#if PG_VERSION_NUM >= 160000
#define baton_origin_session_setup(origin)	replorigin_session_setup(origin, 0)
#else
#define baton_origin_session_setup(origin)	replorigin_session_setup(origin)
#endif

#if PG_VERSION_NUM >= 180000
#define baton_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define baton_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#endif

/* A background worker, not a session. */
#if PG_VERSION_NUM >= 180000
#define baton_proc_is_worker(proc)	(!(proc)->isRegularBackend)
#else
#define baton_proc_is_worker(proc)	((proc)->isBackgroundWorker)
#endif

/* New, empty storage for an index. */
#include "utils/relcache.h"
#if PG_VERSION_NUM >= 160000
#define baton_set_new_storage(rel)	RelationSetNewRelfilenumber(rel, (rel)->rd_rel->relpersistence)
#else
#define baton_set_new_storage(rel)	RelationSetNewRelfilenode(rel, (rel)->rd_rel->relpersistence)
#endif

/* CREATE INDEX by nobody in particular; skip_build: without contents. */
#include "commands/defrem.h"
static inline ObjectAddress
baton_define_index(Oid table, IndexStmt *stmt, bool skip_build)
{
	return DefineIndex(table, stmt, InvalidOid, InvalidOid, InvalidOid,
#if PG_VERSION_NUM >= 160000
					   -1,
#endif
					   false, true, true, skip_build, true);
}

#endif							/* BATON_PG_COMPAT_H */
