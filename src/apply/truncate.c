/*
 * truncate.c - TRUNCATE of the stream, carried out.
 *
 * The record names every table with rows that was truncated, those that CASCADE drew
 * in included; partitions and what else CASCADE finds here are added.  A partitioned
 * table has no rows of its own and is not named, so one that has a foreign key counts
 * as truncated when a partition of it is.  Triggers
 * for TRUNCATE that fire here run with the rights of the table's owner.  Where
 * PostgreSQL does not see to that itself (before 16), a TRUNCATE that fires
 * triggers is carried out owner by owner.  PostgreSQL then refuses foreign keys
 * between tables of different owners, unless it believes to be cascading; so
 * they are checked for all tables together before.  (With assertions compiled
 * in, it checks each part all the same.)
 */
#include "apply/apply.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/heap.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

#define TRUNCATE_CASCADE	1
#define TRUNCATE_RESTART	2

typedef struct TruncateSet
{
	List	   *rels;
	List	   *relids;
	List	   *logged;			/* relids to be named in WAL */
} TruncateSet;

static void
add(TruncateSet *set, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);

	if (list_member_oid(set->relids, relid) || RELATION_IS_OTHER_TEMP(rel))
	{
		table_close(rel, NoLock);
		return;
	}
	set->rels = lappend(set->rels, rel);
	set->relids = lappend_oid(set->relids, relid);
	if (RelationIsLogicallyLogged(rel))
		set->logged = lappend_oid(set->logged, relid);
}

static void
add_partitions(TruncateSet *set, Oid parent)
{
	List	   *children = find_all_inheritors(parent, AccessExclusiveLock, NULL);
	ListCell   *lc;

	foreach(lc, children)
		add(set, table_open(lfirst_oid(lc), NoLock));
}

static void
add_referencing(TruncateSet *set)
{
	List	   *more;

	while ((more = heap_truncate_find_FKs(set->relids)) != NIL)
	{
		ListCell   *lc;

		foreach(lc, more)
			add(set, table_open(lfirst_oid(lc), AccessExclusiveLock));
	}
}

static bool
has_truncate_triggers(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];

		if (TRIGGER_FOR_TRUNCATE(trigger->tgtype) &&
			(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
			 trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA))
			return true;
	}
	return false;
}

static bool
fires_triggers(const TruncateSet *set)
{
	ListCell   *lc;

	foreach(lc, set->rels)
		if (has_truncate_triggers(lfirst(lc)))
			return true;
	return false;
}

/* The tables of one owner. */
static TruncateSet
tables_of(const TruncateSet *set, Oid owner)
{
	TruncateSet some = {NIL, NIL, NIL};
	ListCell   *lc;

	foreach(lc, set->rels)
	{
		Relation	rel = lfirst(lc);

		if (rel->rd_rel->relowner != owner)
			continue;
		some.rels = lappend(some.rels, rel);
		if (list_member_oid(set->logged, RelationGetRelid(rel)))
			some.logged = lappend_oid(some.logged, RelationGetRelid(rel));
	}
	return some;
}

/* The relids of the set, and those of the partitioned tables above them. */
static List *
with_ancestors(const TruncateSet *set)
{
	List	   *relids = list_copy(set->relids);
	ListCell   *lc;

	foreach(lc, set->rels)
	{
		Relation	rel = lfirst(lc);

		if (rel->rd_rel->relispartition)
			relids = list_concat_unique_oid(relids, get_partition_ancestors(RelationGetRelid(rel)));
	}
	return relids;
}

/*
 * Given all relids among which the foreign keys are, TRUNCATE finds no reference from
 * outside, and no table to cascade to.
 */
static void
truncate_tables(LocalTransaction *t, const TruncateSet *set, bool restart)
{
	List	   *owners = NIL;
	List	   *relids = with_ancestors(set);
	ListCell   *lc;

	/* says which reference is from outside */
	if (heap_truncate_find_FKs(relids) != NIL)
		heap_truncate_check_FKs(set->rels, false);
	if (BATON_TRUNCATE_CHANGES_USER || !fires_triggers(set))
	{
		baton_truncate(set->rels, relids, set->logged, DROP_CASCADE, restart);
		return;
	}
	foreach(lc, set->rels)
		owners = list_append_unique_oid(owners, ((Relation) lfirst(lc))->rd_rel->relowner);
	foreach(lc, owners)
	{
		TruncateSet some = tables_of(set, lfirst_oid(lc));

		local_become_owner(t, lfirst_oid(lc));
		baton_truncate(some.rels, relids, some.logged, DROP_CASCADE, restart);
	}
	local_become_self(t);
}

static void
open_tables(LocalTransaction *t, StreamCursor *c, TruncateSet *set)
{
	uint32		n = stream_get_u32(c);

	for (uint32 i = 0; i < n && !c->failed; i++)
	{
		uint32		relid = stream_get_u32(c);
		ApplyRelation *m;
		Relation	rel;

		if (c->failed)
			break;
		m = relation_map_get(t->relations, relid, t->source_txn);
		t->relation = m;
		rel = relation_map_open(m, AccessExclusiveLock);
		add(set, rel);
		if (m->relkind == RELKIND_PARTITIONED_TABLE)
			add_partitions(set, m->localoid);
	}
	if (c->failed)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream has a malformed TRUNCATE record")));
}

/* All tables that refer to those of relids, and those that refer to them, added. */
static List *
with_referencing(List *relids)
{
	List	   *more;

	while ((more = heap_truncate_find_FKs(relids)) != NIL)
		relids = list_concat(relids, more);
	return relids;
}

/*
 * Given the relids of whatever refers to the table, TRUNCATE finds no reference
 * from outside, and no table to cascade to.
 */
static void
empty(LocalTransaction *t, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	List	   *logged = RelationIsLogicallyLogged(rel) ? list_make1_oid(relid) : NIL;

	if (!BATON_TRUNCATE_CHANGES_USER)
		local_become_owner(t, rel->rd_rel->relowner);
	baton_truncate(list_make1(rel), with_referencing(list_make1_oid(relid)), logged,
				   DROP_CASCADE, false);
	local_become_self(t);
	t->written = true;
}

void
apply_empty_relation(LocalTransaction *t, Oid relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);

	if (rel->rd_rel->relkind == RELKIND_RELATION)
		empty(t, rel);
	table_close(rel, NoLock);
}

void
apply_empty_table(LocalTransaction *t, ApplyRelation *m)
{
	Relation	rel;

	apply_flush_inserts(t, NULL);
	open_relation_close_all(t);
	local_become_self(t);
	local_make_visible(t);
	t->relation = m;
	rel = relation_map_open(m, AccessExclusiveLock);
	empty(t, rel);
	table_close(rel, NoLock);
}

/* Raises what an ordinary TRUNCATE raises. */
void
apply_truncate(LocalTransaction *t, const Record *r)
{
	StreamCursor c = r->rest;
	uint8		flags = stream_get_u8(&c);
	TruncateSet set = {NIL, NIL, NIL};
	ListCell   *lc;

	/* storage and indexes are replaced: nothing may be held open */
	apply_flush_inserts(t, NULL);
	open_relation_close_all(t);
	local_become_self(t);
	local_make_visible(t);

	open_tables(t, &c, &set);
	if (flags & TRUNCATE_CASCADE)
		add_referencing(&set);
	truncate_tables(t, &set, (flags & TRUNCATE_RESTART) != 0);
	foreach(lc, set.rels)
		table_close((Relation) lfirst(lc), NoLock);
	t->written = true;
}
