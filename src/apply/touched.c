/*
 * touched.c - the set of touched rows in memory; see touched.h.
 *
 * Keys are compared by the types' own hash and equality functions, as indexes
 * do it: 1.0 and 1.00 are the same row.
 */
#include "apply/touched.h"

#include "access/table.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

TouchedSet *
touched_create(MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "baton touched rows", ALLOCSET_DEFAULT_SIZES);
	TouchedSet *set = MemoryContextAllocZero(cxt, sizeof(TouchedSet));
	HASHCTL		ctl = {0};

	set->cxt = cxt;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(TouchedTable);
	ctl.hcxt = cxt;
	set->tables = hash_create("baton touched tables", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return set;
}

void
touched_free(TouchedSet *set)
{
	MemoryContextDelete(set->cxt);
}

TouchedTable *
touched_find(TouchedSet *set, Oid localoid)
{
	return hash_search(set->tables, &localoid, HASH_FIND, NULL);
}

/* The index that says which row is which, or InvalidOid. */
static Oid
key_index(Relation rel)
{
	Oid			index = RelationGetReplicaIndex(rel);

	return OidIsValid(index) ? index : baton_primary_key_index(rel);
}

/* Fill in the key's columns; none if a type of them cannot be hashed. */
static void
find_key_columns(TouchedTable *table, Relation rel, MemoryContext cxt)
{
	Oid			index = key_index(rel);
	Relation	irel;

	if (!OidIsValid(index))
		return;
	irel = index_open(index, AccessShareLock);
	for (int i = 0; i < irel->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = irel->rd_index->indkey.values[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		TypeCacheEntry *entry = lookup_type_cache(att->atttypid, TYPECACHE_HASH_PROC | TYPECACHE_EQ_OPR_FINFO);

		if (!OidIsValid(entry->hash_proc) || !OidIsValid(entry->eq_opr_finfo.fn_oid) ||
			att->attgenerated)
		{
			table->n_keys = 0;
			break;
		}
		table->attribute[i] = attnum;
		table->type[i] = att->atttypid;
		table->len[i] = att->attlen;
		table->byval[i] = att->attbyval;
		table->collation[i] = att->attcollation;
		fmgr_info_cxt(entry->hash_proc, &table->hash[i], cxt);
		fmgr_info_cxt(entry->eq_opr_finfo.fn_oid, &table->equal[i], cxt);
		table->n_keys = i + 1;
	}
	index_close(irel, NoLock);
}

TouchedTable *
touched_table(TouchedSet *set, Relation rel)
{
	Oid			oid = RelationGetRelid(rel);
	TouchedTable *table;
	HASHCTL		ctl = {0};
	bool		found;

	table = hash_search(set->tables, &oid, HASH_ENTER, &found);
	if (found)
		return table;
	memset((char *) table + sizeof(Oid), 0, sizeof(TouchedTable) - sizeof(Oid));
	table->number = ++set->n_tables;
	table->nspname = MemoryContextStrdup(set->cxt, get_namespace_name(RelationGetNamespace(rel)));
	table->relname = MemoryContextStrdup(set->cxt, RelationGetRelationName(rel));
	find_key_columns(table, rel, set->cxt);
	table->whole = table->n_keys == 0;
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(TouchedChain);
	ctl.hcxt = set->cxt;
	table->keys = hash_create("baton touched keys", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return table;
}

void
touched_make_whole(TouchedTable *table)
{
	table->whole = true;
}

/* ---- keys ---- */

static uint32
hash_of_key(TouchedTable *table, const Datum *key)
{
	uint32		hash = 0;

	for (int i = 0; i < table->n_keys; i++)
	{
		hash = (hash << 5) | (hash >> 27);
		hash ^= DatumGetUInt32(FunctionCall1Coll(&table->hash[i], table->collation[i], key[i]));
	}
	return hash;
}

static bool
chain_has(TouchedTable *table, const TouchedChain *chain, const Datum *key)
{
	for (TouchedKey *k = chain->first; k != NULL; k = k->next)
	{
		int			i;

		for (i = 0; i < table->n_keys; i++)
			if (!DatumGetBool(FunctionCall2Coll(&table->equal[i], table->collation[i], k->values[i], key[i])))
				break;
		if (i == table->n_keys)
			return true;
	}
	return false;
}

bool
touched_has(TouchedTable *table, const Datum *key)
{
	uint32		hash = hash_of_key(table, key);
	TouchedChain   *chain = hash_search(table->keys, &hash, HASH_FIND, NULL);

	return chain != NULL && chain_has(table, chain, key);
}

bool
touched_add(TouchedSet *set, TouchedTable *table, const Datum *key)
{
	uint32		hash;
	TouchedChain   *chain;
	TouchedKey *k;
	MemoryContext old;
	bool		found;

	if (table->whole)
		return false;
	if (table->count >= TOUCHED_MAX_KEYS)
	{
		table->whole = true;
		return false;
	}
	hash = hash_of_key(table, key);
	chain = hash_search(table->keys, &hash, HASH_ENTER, &found);
	if (!found)
		chain->first = NULL;
	if (chain_has(table, chain, key))
		return false;
	old = MemoryContextSwitchTo(set->cxt);
	k = palloc(offsetof(TouchedKey, values) + table->n_keys * sizeof(Datum));
	for (int i = 0; i < table->n_keys; i++)
		k->values[i] = datumCopy(key[i], table->byval[i], table->len[i]);
	MemoryContextSwitchTo(old);
	k->next = chain->first;
	chain->first = k;
	table->count++;
	return true;
}

/* ---- records ---- */

/* The key among the values of a row, one per column of the source; false: not given. */
static bool
key_from_values(const TouchedTable *table, const ApplyRelation *m, const RecordValue *values, Datum *key)
{
	if (table->n_keys == 0)
		return false;
	for (int i = 0; i < table->n_keys; i++)
	{
		ApplyColumn *column = &m->columns[table->attribute[i] - 1];
		const RecordValue *value;

		if (column->source < 0)
			return false;
		value = &values[column->source];
		if (value->kind != 'b' && value->kind != 't')
			return false;
		key[i] = apply_value(column, value, m->source.columns[column->source].name);
	}
	return true;
}

static void
read_keys(LocalTransaction *t, const ApplyRelation *m, const Record *r, TouchedChange *change)
{
	char		kind = apply_read_values(m, r, t->old_values, t->new_values);

	change->has_old = r->type != RECORD_INSERT;
	change->has_new = r->type != RECORD_DELETE;
	change->readable = true;
	if (change->has_new)
		change->readable = key_from_values(change->table, m, t->new_values, change->new_key);
	if (!change->has_old || !change->readable)
		return;
	if (kind == 'N')
		memcpy(change->old_key, change->new_key, sizeof(change->old_key));
	else
		change->readable = key_from_values(change->table, m, t->old_values, change->old_key);
}

void
touched_read_change(LocalTransaction *t, TouchedSet *set, const Record *r, bool make,
					TouchedChange *change)
{
	StreamCursor c = r->rest;
	ApplyRelation *m = relation_map_get(t->relations, stream_get_u32(&c), t->source_txn);
	Relation	rel;

	t->relation = m;
	if (m->open)
		rel = m->open->rel;
	else
		rel = relation_map_open(m, RowExclusiveLock);
	change->table = make ? touched_table(set, rel) : touched_find(set, RelationGetRelid(rel));
	change->readable = false;
	if (change->table != NULL && !change->table->whole)
		read_keys(t, m, r, change);
	if (!m->open)
		table_close(rel, NoLock);
}

bool
touched_skips(LocalTransaction *t, const Record *r)
{
	TouchedChange change;

	if (t->touched == NULL)
		return false;
	touched_read_change(t, t->touched, r, false, &change);
	if (change.table == NULL)
		return false;
	if (change.table->whole)
		return true;
	if (!change.readable)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream does not give the key of a row of table \"%s.%s\"",
						change.table->nspname, change.table->relname)));
	return touched_has(change.table, change.has_old ? change.old_key : change.new_key);
}
