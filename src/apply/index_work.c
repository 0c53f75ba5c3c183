/*
 * index_work.c - which indexes are to be built, or dropped, beside apply.
 *
 * CREATE INDEX CONCURRENTLY lets its primary go on writing for as long as the index takes
 * to be built.  Were it built here by apply, at its place in the stream, all that is
 * committed behind it would wait.  So apply makes an index that is not valid, marks it
 * in the same transaction, and goes on; a worker builds it (index_builder.c).  DROP INDEX
 * CONCURRENTLY is the like: apply takes the index out of use and away from its name, and
 * the worker drops it when nobody reads it any more.
 *
 * The mark is a security label of a provider of its own, which no command can write.
 * It belongs to the index as a comment does: it is gone with the index, and with the
 * transaction that was rolled back.  pg_dump writes labels of tables only, and no index
 * that is not valid: a node that joins asks for those that are to be built
 * (copy/copy_indexes.c).
 *
 * What needs the index does not wait for the worker in vain:
 *
 *	 a command of the stream, or a row, that fails while there is work to be done	is
 *				tried again when apply has done all of it (ADD PRIMARY KEY USING INDEX)
 *	 a reign of this node's own	begins when the unique ones are built: a primary must refuse
 *				what its predecessor would have refused.  A failover to this node is refused
 *				until then (failover/target.c), or waits for it, if it comes at that moment
 *	 apply, which wants a lock that the worker has	the worker is ended, and begins anew
 *				(coordinator_make_way)
 *
 * The index of a small table is built by apply itself: whoever waits for a place in the
 * stream finds it there.  Unique indexes are dropped by apply itself: until it is gone such
 * an index would refuse rows that the primary has taken.
 *
 * Crashes: a mark that is there with an index that is not valid means that the work begins
 * from nothing; see index_concurrent.c.
 */
#include "apply/index_work.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_seclabel.h"
#include "commands/defrem.h"
#include "commands/seclabel.h"
#include "executor/spi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Also named in the views of sql/parts/47-pending-indexes.sql. */
#define WORK_PROVIDER	"baton_index"
#define WORK_BUILD		"build "	/* and search_path */
#define WORK_DROP		"drop "

/* ---- marks ---- */

void
index_work_mark(Oid index, bool drop)
{
	ObjectAddress address = {RelationRelationId, index, 0};

	SetSecurityLabel(&address, WORK_PROVIDER,
					 psprintf("%s%s", drop ? WORK_DROP : WORK_BUILD, GetConfigOption("search_path", false, false)));
}

void
index_work_unmark(Oid index)
{
	ObjectAddress address = {RelationRelationId, index, 0};

	SetSecurityLabel(&address, WORK_PROVIDER, NULL);
}

/* False: the label is not one of ours. */
static bool
read_label(const char *label, IndexWork *work)
{
	if (strncmp(label, WORK_BUILD, strlen(WORK_BUILD)) == 0)
	{
		work->drop = false;
		work->search_path = label + strlen(WORK_BUILD);
		return true;
	}
	work->drop = true;
	work->search_path = label + strlen(WORK_DROP);
	return strncmp(label, WORK_DROP, strlen(WORK_DROP)) == 0;
}

bool
index_work_is_marked(const IndexWork *work)
{
	ObjectAddress address = {RelationRelationId, work->index, 0};
	char	   *label = GetSecurityLabel(&address, WORK_PROVIDER);
	IndexWork	now;

	return label != NULL && read_label(label, &now) && now.drop == work->drop;
}

static bool
is_unique(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		unique = HeapTupleIsValid(tuple) && ((Form_pg_index) GETSTRUCT(tuple))->indisunique;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return unique;
}

/* There are few labels in a database, and their key begins with the object. */
List *
index_work_list(void)
{
	Relation	rel = table_open(SecLabelRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *list = NIL;
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		FormData_pg_seclabel *form = (FormData_pg_seclabel *) GETSTRUCT(tuple);
		char	   *name;
		bool		isnull;
		char	   *provider = TextDatumGetCString(heap_getattr(tuple, Anum_pg_seclabel_provider,
																RelationGetDescr(rel), &isnull));
		IndexWork  *work;

		if (form->classoid != RelationRelationId || strcmp(provider, WORK_PROVIDER) != 0)
			continue;
		work = palloc(sizeof(IndexWork));
		work->index = form->objoid;
		name = get_rel_name(work->index);
		work->name = name != NULL ? name : "";
		work->unique = is_unique(work->index);
		if (read_label(TextDatumGetCString(heap_getattr(tuple, Anum_pg_seclabel_label,
														RelationGetDescr(rel), &isnull)), work))
			list = work->unique ? lcons(work, list) : lappend(list, work);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return list;
}

void
index_work_ask(NodeShared *node)
{
	pg_atomic_fetch_add_u32(&node->index_work_asked, 1);
	node_wake(node, WORKER_COORDINATOR);
	node_wake(node, WORKER_INDEX_BUILDER);
}

void
index_work_tell_unique(NodeShared *node, bool unique)
{
	if (pg_atomic_exchange_u32(&node->index_work_unique, unique) != unique)
		ConditionVariableBroadcast(&node->watch_cv);
}

bool
index_work_waits(NodeShared *node)
{
	return pg_atomic_read_u32(&node->index_work_asked) != pg_atomic_read_u32(&node->index_work_done);
}

/* ---- doing it at once ---- */

void
index_work_set_path(const IndexWork *work, int action)
{
	(void) set_config_option("search_path", work->search_path, PGC_SUSET, PGC_S_SESSION,
							 (GucAction) action, true, 0, false);
}

static void
reindex(Oid index)
{
	ReindexStmt *stmt = makeNode(ReindexStmt);

	stmt->kind = REINDEX_OBJECT_INDEX;
	stmt->relation = makeRangeVar(get_namespace_name(get_rel_namespace(index)), get_rel_name(index), -1);
	ExecReindex(NULL, stmt, false);
}

void
index_work_build(Oid index)
{
	if (!get_index_isvalid(index))
		reindex(index);
	CommandCounterIncrement();
}

static void
build_now(const IndexWork *work)
{
	int			level = NewGUCNestLevel();

	index_work_set_path(work, GUC_ACTION_SAVE);
	index_work_build(work->index);
	AtEOXact_GUC(true, level);
	index_work_unmark(work->index);
	index_work_validate_parent(work->index);
}

void
index_work_do_all(bool unique_only)
{
	ListCell   *lc;

	foreach(lc, index_work_list())
	{
		IndexWork  *work = lfirst(lc);

		if (unique_only && (work->drop || !work->unique))
			continue;
		if (work->drop)
		{
			ObjectAddress address = {RelationRelationId, work->index, 0};

			performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		}
		else
			build_now(work);
		CommandCounterIncrement();
	}
}

void
index_work_validate_parent(Oid index)
{
	Oid			parent = get_rel_relispartition(index) ? get_partition_parent(index, true) : InvalidOid;

	if (!OidIsValid(parent) || get_index_isvalid(parent))
		return;
	/* to attach it again is how PostgreSQL is asked to look */
	SPI_connect();
	if (SPI_execute(psprintf("ALTER INDEX %s ATTACH PARTITION %s",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(parent)), get_rel_name(parent)),
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(index)), get_rel_name(index))),
					false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not attach index %u to index %u", index, parent);
	SPI_finish();
	CommandCounterIncrement();
	index_work_validate_parent(parent);
}
