/*
 * index_concurrent.c - builds, or drops, one index while others read and write its table.
 *
 * The phases of CREATE INDEX CONCURRENTLY (DefineIndex, PostgreSQL's
 * commands/indexcmds.c), by its own functions, upon an index that is there already:
 *
 *	 begin		if an earlier attempt has left something in the index: nobody inserts into it
 *				any more, and when that has gone round, it gets new storage.  Nobody reads
 *				an index that is not valid, so this needs no lock that a reader would feel.
 *	 build		when all who write to the table know of the index, so that no HOT chain is
 *				made that it could not serve: fill it from a snapshot.  From here on
 *				writers insert into it.
 *	 validate	when all writers do: add what was committed in between
 *	 finish		when nobody is left with a snapshot older than that: it is valid, and the
 *				mark goes, in one commit
 *
 * A session lock of the kind that CONCURRENTLY takes keeps the table and the index there
 * from the one transaction to the next.  A crash anywhere leaves an index that is not
 * valid, which no query uses, with its mark: the next attempt begins at the first phase.
 *
 * Functions of the index are run with the rights of the table's owner, as PostgreSQL
 * does it.
 */
#include "apply/index_work.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "apply/ddl_index.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/progress.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Build
{
	const IndexWork *work;
	Oid			table;
	LockRelId	id;				/* of the table */
	LOCKTAG		tag;
} Build;

static void
show_phase(int phase)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_PHASE, phase);
}

/* ---- begin ---- */

/* Lock the table until the end of the work; false: there is nothing to be done. */
static bool
take_table(Build *b)
{
	Relation	rel;

	b->table = IndexGetRelation(b->work->index, true);
	if (!OidIsValid(b->table))
		return false;
	LockRelationOid(b->table, ShareUpdateExclusiveLock);
	/* whoever had it locked may have dropped it */
	if (IndexGetRelation(b->work->index, true) != b->table || !index_work_is_marked(b->work))
		return false;
	rel = table_open(b->table, NoLock);
	b->id = rel->rd_lockInfo.lockRelId;
	table_close(rel, NoLock);
	SET_LOCKTAG_RELATION(b->tag, b->id.dbId, b->id.relId);
	LockRelationIdForSession(&b->id, ShareUpdateExclusiveLock);
	return true;
}

/* Writers put no entries into it; true: some have. */
static bool
close_to_writers(Build *b)
{
	Relation	index = index_open(b->work->index, ShareUpdateExclusiveLock);
	bool		ready = index->rd_index->indisready;

	index_close(index, NoLock);
	if (ready)
		ddl_index_mark_invalid(b->work->index, b->table);
	return ready;
}

/* Nobody uses it. */
static void
empty(Build *b)
{
	Relation	index = index_open(b->work->index, ShareUpdateExclusiveLock);

	if (RelationGetNumberOfBlocks(index) > 0)
		baton_set_new_storage(index);
	index_close(index, NoLock);
}

/* ---- the transactions ---- */

static bool
begin(Build *b)
{
	bool		wanted;
	bool		was_ready = false;

	StartTransactionCommand();
	wanted = take_table(b);
	if (wanted && get_index_isvalid(b->work->index))
	{
		/* a TRUNCATE, or a command that has rewritten the table, has built it */
		index_work_unmark(b->work->index);
		wanted = false;
		UnlockRelationIdForSession(&b->id, ShareUpdateExclusiveLock);
	}
	if (wanted)
		was_ready = close_to_writers(b);
	CommitTransactionCommand();
	if (!wanted)
		return false;

	StartTransactionCommand();
	if (was_ready)
		WaitForLockers(b->tag, ShareLock, true);
	empty(b);
	CommitTransactionCommand();
	return true;
}

static void
build(Build *b)
{
	StartTransactionCommand();
	show_phase(PROGRESS_CREATEIDX_PHASE_WAIT_1);
	WaitForLockers(b->tag, ShareLock, true);
	CommitTransactionCommand();

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	index_concurrently_build(b->table, b->work->index);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Returns the xmin of snapshots that the index does not serve. */
static TransactionId
validate(Build *b)
{
	Snapshot	snapshot;
	TransactionId limit;

	StartTransactionCommand();
	show_phase(PROGRESS_CREATEIDX_PHASE_WAIT_2);
	WaitForLockers(b->tag, ShareLock, true);
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	PushActiveSnapshot(snapshot);
	validate_index(b->table, b->work->index, snapshot);
	limit = snapshot->xmin;
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	CommitTransactionCommand();
	return limit;
}

static void
finish(Build *b, TransactionId limit)
{
	/* without a snapshot: two that wait for each other's would wait for ever */
	StartTransactionCommand();
	show_phase(PROGRESS_CREATEIDX_PHASE_WAIT_3);
	WaitForOlderSnapshots(limit, true);
	index_set_state_flags(b->work->index, INDEX_CREATE_SET_VALID);
	index_work_unmark(b->work->index);
	CacheInvalidateRelcacheByRelid(b->table);
	CommitTransactionCommand();
	UnlockRelationIdForSession(&b->id, ShareUpdateExclusiveLock);
}

void
index_build_concurrently(const IndexWork *work)
{
	Build		b = {.work = work};

	index_work_set_path(work, GUC_ACTION_SET);
	if (!begin(&b))
		return;
	pgstat_progress_start_command(PROGRESS_COMMAND_CREATE_INDEX, b.table);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_COMMAND, PROGRESS_CREATEIDX_COMMAND_CREATE_CONCURRENTLY);
	pgstat_progress_update_param(PROGRESS_CREATEIDX_INDEX_OID, work->index);
	build(&b);
	finish(&b, validate(&b));
	pgstat_progress_end_command();

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	index_work_validate_parent(work->index);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

void
index_drop_concurrently(const IndexWork *work)
{
	ObjectAddress address = {RelationRelationId, work->index, 0};
	ObjectAddresses *objects;
	MemoryContext cxt = CurrentMemoryContext;

	StartTransactionCommand();
	/* the list outlives the first of the transactions */
	MemoryContextSwitchTo(cxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	objects = new_object_addresses();
	add_exact_object_address(&address, objects);
	/* the function for one object locks it exclusively */
	if (get_rel_relkind(work->index) == RELKIND_INDEX && index_work_is_marked(work))
		performMultipleDeletions(objects, DROP_RESTRICT,
								 PERFORM_DELETION_INTERNAL | PERFORM_DELETION_CONCURRENTLY);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}
