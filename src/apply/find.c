/*
 * find.c - finding the row that an UPDATE or DELETE of the stream is about.
 *
 * The plan, made once per table: a unique index whose columns old rows give and
 * that has no NULLs says at once which row it is (the replica identity, or the
 * primary key).  Failing that, any btree index with leading columns that are
 * given, or a hash index, narrows the search, and the candidates are compared; failing
 * that too, or where a hash index would have to look for NULL, the whole table is read.
 * A reader that goes through the table keeps its
 * place from row to row and starts again from the beginning only if it does
 * not find what it looks for, so that deleting all rows reads the table twice
 * and not once per row.
 *
 * Among candidates the row with the same bytes is taken.  Only if there is none
 * a row that is equal by the types' own operators will do (1.0 and 1.00): values
 * of types without an equality operator must have the same bytes.
 *
 * Rows are looked up under SnapshotDirty, so that a row which somebody else is
 * changing is waited for.  Such a scan can miss a row whose new version goes
 * where it has already been; so a row that is not found is looked for once more
 * under an MVCC snapshot taken then, which sees one version of every row.
 */
#include "apply/apply.h"

#include "access/hash.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef enum RowMatch
{
	MATCH_NOT = 0,
	MATCH_EQUAL,				/* by operators */
	MATCH_IDENTICAL				/* by bytes */
} RowMatch;

/* ---- the plan ---- */

/* Leading columns of the index that are plain and given. */
static int
usable_columns(Relation index, const bool *given)
{
	Form_pg_index form = index->rd_index;
	int			n;

	for (n = 0; n < form->indnkeyatts; n++)
	{
		AttrNumber	att = form->indkey.values[n];

		if (att <= 0 || !given[att - 1])
			break;
	}
	return n;
}

/* Is the index enough to say which row it is? */
static bool
index_identifies(Relation rel, Relation index, int usable)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || usable != form->indnkeyatts)
		return false;
	for (int i = 0; i < usable; i++)
		if (!TupleDescAttr(RelationGetDescr(rel), form->indkey.values[i] - 1)->attnotnull)
			return false;
	return true;
}

static int
index_worth(Relation rel, Relation index, int usable)
{
	if (usable == 0)
		return 0;
	if (index_identifies(rel, index, usable))
		return 10000 + (RelationGetRelid(index) == RelationGetReplicaIndex(rel) ? 2 : 0) +
			(index->rd_index->indisprimary ? 1 : 0);
	if (index->rd_rel->relam == HASH_AM_OID)
		return 1;
	return (index->rd_index->indisunique && usable == index->rd_index->indnkeyatts ? 1000 : 0) + 1 + usable;
}

static StrategyNumber
equal_strategy(Oid access_method)
{
	return access_method == HASH_AM_OID ? HTEqualStrategyNumber : BTEqualStrategyNumber;
}

static void
use_index(FindPlan *plan, Relation rel, Relation index, int usable, MemoryContext cxt)
{
	plan->index = RelationGetRelid(index);
	plan->unique = index_identifies(rel, index, usable);
	plan->no_nulls = index->rd_rel->relam == HASH_AM_OID;
	plan->n_keys = usable;
	for (int i = 0; i < usable; i++)
	{
		Oid			family = index->rd_opfamily[i];
		Oid			type = index->rd_opcintype[i];
		StrategyNumber strategy = equal_strategy(index->rd_rel->relam);
		Oid			operator = get_opfamily_member(family, type, type, strategy);

		if (!OidIsValid(operator))
			elog(ERROR, "missing operator %d(%u,%u) in opfamily %u",
				 strategy, type, type, family);
		plan->attribute[i] = index->rd_index->indkey.values[i];
		plan->collation[i] = index->rd_indcollation[i];
		fmgr_info_cxt(get_opcode(operator), &plan->equal[i], cxt);
	}
}

void
find_make_plan(FindPlan *plan, Relation rel, const bool *given, MemoryContext cxt)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	int			best = 0;

	memset(plan, 0, sizeof(FindPlan));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			usable = 0;

		if ((index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			usable = usable_columns(index, given);
		if (index_worth(rel, index, usable) > best)
		{
			best = index_worth(rel, index, usable);
			use_index(plan, rel, index, usable, cxt);
		}
		index_close(index, NoLock);
	}
	list_free(indexes);
}

/* ---- comparing ---- */

static RowMatch
compare_column(ApplyColumn *c, Datum a, Datum b)
{
	if (datum_image_eq(a, b, c->byval, c->len))
		return MATCH_IDENTICAL;
	if (OidIsValid(c->equal.fn_oid) &&
		DatumGetBool(FunctionCall2Coll(&c->equal, c->collation, a, b)))
		return MATCH_EQUAL;
	return MATCH_NOT;
}

static RowMatch
compare_row(OpenRelation *o, TupleTableSlot *slot)
{
	RowMatch	match = MATCH_IDENTICAL;

	slot_getallattrs(slot);
	for (int i = 0; i < o->map->natts; i++)
	{
		RowMatch	column;

		if (!o->key_given[i])
			continue;
		if (slot->tts_isnull[i] != o->key_nulls[i])
			return MATCH_NOT;
		if (slot->tts_isnull[i])
			continue;
		column = compare_column(&o->map->columns[i], slot->tts_values[i], o->key_values[i]);
		if (column == MATCH_NOT)
			return MATCH_NOT;
		match = Min(match, column);
	}
	return match;
}

/* ---- scanning ---- */

static bool
uses_index(OpenRelation *o)
{
	FindPlan   *plan = &o->map->find;

	if (!OidIsValid(plan->index))
		return false;
	for (int i = 0; plan->no_nulls && i < plan->n_keys; i++)
		if (o->key_nulls[plan->attribute[i] - 1])
			return false;
	return true;
}

static void
start_index_scan(OpenRelation *o)
{
	FindPlan   *plan = &o->map->find;
	ScanKeyData keys[INDEX_MAX_KEYS];
	MemoryContext old;

	for (int i = 0; i < plan->n_keys; i++)
	{
		int			att = plan->attribute[i] - 1;

		ScanKeyEntryInitializeWithInfo(&keys[i],
									   o->key_nulls[att] ? SK_ISNULL | SK_SEARCHNULL : 0,
									   i + 1,
									   o->key_nulls[att] ? InvalidStrategy :
									   plan->no_nulls ? HTEqualStrategyNumber : BTEqualStrategyNumber,
									   InvalidOid, plan->collation[i], &plan->equal[i],
									   o->key_values[att]);
	}
	old = MemoryContextSwitchTo(o->estate->es_query_cxt);
	if (o->index_scan == NULL)
	{
		o->index = index_open(plan->index, RowExclusiveLock);
		o->index_scan = baton_index_beginscan(o->rel, o->index, &o->dirty, plan->n_keys);
	}
	index_rescan(o->index_scan, keys, plan->n_keys, NULL, 0);
	MemoryContextSwitchTo(old);
}

static void
start_table_scan(OpenRelation *o, bool from_start)
{
	if (o->table_scan == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(o->estate->es_query_cxt);

		o->table_scan = table_beginscan_strat(o->rel, &o->dirty, 0, NULL, true, false);
		MemoryContextSwitchTo(old);
	}
	else if (from_start)
		table_rescan(o->table_scan, NULL);
}

/*
 * A scan keeps what it allocates on its way (nbtree: the list of dead entries)
 * until it is closed, so it must not come from the memory of one row.
 */
static bool
next_candidate(OpenRelation *o)
{
	MemoryContext old = MemoryContextSwitchTo(o->estate->es_query_cxt);
	bool		found;

	if (o->by_index)
		found = index_getnext_slot(o->index_scan, ForwardScanDirection, o->found);
	else
		found = table_scan_getnextslot(o->table_scan, ForwardScanDirection, o->found);
	MemoryContextSwitchTo(old);
	return found;
}

/* Wait for whoever is changing the row that the scan gave last; false: nobody is. */
static bool
wait_for_other(OpenRelation *o)
{
	TransactionId other = TransactionIdIsValid(o->dirty.xmin) ? o->dirty.xmin : o->dirty.xmax;

	if (!TransactionIdIsValid(other))
		return false;
	XactLockTableWait(other, NULL, NULL, XLTW_None);
	return true;
}

typedef enum ScanResult
{
	SCAN_FOUND,
	SCAN_NOTHING,
	SCAN_AGAIN					/* waited for somebody */
} ScanResult;

/* Go on to the end of the scan; o->found gets the best row. */
static ScanResult
scan(OpenRelation *o)
{
	ItemPointerData equal;

	ItemPointerSetInvalid(&equal);
	while (next_candidate(o))
	{
		RowMatch	match = o->map->find.unique ? MATCH_IDENTICAL : compare_row(o, o->found);

		if (match == MATCH_NOT)
		{
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		if (wait_for_other(o))
			return SCAN_AGAIN;
		if (match == MATCH_IDENTICAL)
			return SCAN_FOUND;
		if (!ItemPointerIsValid(&equal))
			equal = o->found->tts_tid;
	}
	if (!ItemPointerIsValid(&equal))
		return SCAN_NOTHING;
	return table_tuple_fetch_row_version(o->rel, &equal, SnapshotAny, o->found) ?
		SCAN_FOUND : SCAN_AGAIN;
}

static bool
find_dirty(OpenRelation *o)
{
	bool		from_start = o->table_scan == NULL;

	o->by_index = uses_index(o);
	for (;;)
	{
		ScanResult	result;

		CHECK_FOR_INTERRUPTS();
		if (o->by_index)
			start_index_scan(o);
		else
			start_table_scan(o, from_start);
		result = scan(o);
		if (result == SCAN_FOUND)
			return true;
		if (result == SCAN_NOTHING && (from_start || o->by_index))
			return false;
		from_start = true;
	}
}

/*
 * The second look.  The scan is made for it alone, as it is rare; the row may
 * be changed again at once, which the caller finds out when it changes it.
 */
static bool
find_under_snapshot(OpenRelation *o)
{
	bool		found;

	find_close(o);
	PushActiveSnapshot(GetLatestSnapshot());
	if (o->by_index)
	{
		start_index_scan(o);
		o->index_scan->xs_snapshot = GetActiveSnapshot();
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(o->estate->es_query_cxt);

		o->table_scan = table_beginscan_strat(o->rel, GetActiveSnapshot(), 0, NULL, true, false);
		MemoryContextSwitchTo(old);
	}
	o->dirty.xmin = o->dirty.xmax = InvalidTransactionId;
	found = scan(o) == SCAN_FOUND;
	if (found)
		ExecMaterializeSlot(o->found);
	find_close(o);
	PopActiveSnapshot();
	return found;
}

/*
 * Returns false if there is no such row.  Waits for transactions that are
 * changing it.
 */
bool
find_row(OpenRelation *o)
{
	return find_dirty(o) || find_under_snapshot(o);
}

void
find_close(OpenRelation *o)
{
	if (o->index_scan)
		index_endscan(o->index_scan);
	if (o->index)
		index_close(o->index, NoLock);
	if (o->table_scan)
		table_endscan(o->table_scan);
	o->index_scan = NULL;
	o->index = NULL;
	o->table_scan = NULL;
}
