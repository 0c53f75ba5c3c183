/*
 * relation_map.c - tables of the source, and what they are here.
 *
 * A RELATION record says what a table is on the source; its like here is the
 * table of the same schema and name.  Columns go together by name.  A column's
 * type must have the same name here, and where values travel in native form
 * ('b') also the same base type, or the bytes would be read as something else.
 *
 * The source's side of an entry lives until a RELATION record for the relid
 * differs from it by a byte (another source, or the table has changed).  The
 * local side lives until the relation cache says that the table has changed;
 * it is built when the table is next opened.  Each transaction of the stream
 * describes its tables anew, and an entry is only used by transactions that
 * have done so.
 */
#include "apply/apply.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* ---- invalidation ---- */

static void
invalidate(RelationMap *map, Oid localoid)
{
	HASH_SEQ_STATUS seq;
	ApplyRelation *m;

	hash_seq_init(&seq, map->relations);
	while ((m = hash_seq_search(&seq)) != NULL)
		if (localoid == InvalidOid || m->localoid == localoid)
			m->valid = false;
}

static void
relcache_changed(Datum arg, Oid relid)
{
	invalidate((RelationMap *) DatumGetPointer(arg), relid);
}

/* A schema or a type was renamed or replaced. */
static void
syscache_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidate((RelationMap *) DatumGetPointer(arg), InvalidOid);
}

RelationMap *
relation_map_create(MemoryContext parent)
{
	RelationMap *map = MemoryContextAllocZero(parent, sizeof(RelationMap));
	HASHCTL		ctl = {0};

	map->cxt = AllocSetContextCreate(parent, "baton relation map", ALLOCSET_DEFAULT_SIZES);
	map->columns = MemoryContextAlloc(map->cxt, RECORD_MAX_ATTS * sizeof(RecordColumn));
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(ApplyRelation);
	ctl.hcxt = map->cxt;
	map->relations = hash_create("baton relation map", 128, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relcache_changed, PointerGetDatum(map));
	CacheRegisterSyscacheCallback(NAMESPACEOID, syscache_changed, PointerGetDatum(map));
	CacheRegisterSyscacheCallback(TYPEOID, syscache_changed, PointerGetDatum(map));
	return map;
}

/* ---- the source's side ---- */

static void
take_definition(RelationMap *map, ApplyRelation *m, const Record *r)
{
	StreamError err = {0};
	RecordRelation source;

	if (record_get_relation(r, &source, map->columns, RECORD_MAX_ATTS, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("%s", err.message)));

	m->valid = false;
	m->definition_len = 0;
	MemoryContextReset(m->source_cxt);
	m->source = source;
	m->source.columns = MemoryContextAlloc(m->source_cxt,
										   Max(source.natts, 1) * sizeof(RecordColumn));
	memcpy(m->source.columns, map->columns, source.natts * sizeof(RecordColumn));
	m->n_key_columns = 0;
	for (int i = 0; i < source.natts; i++)
		if (source.columns[i].key)
			m->n_key_columns++;
	m->definition = MemoryContextAlloc(m->source_cxt, r->rest.end - r->rest.p);
	memcpy(m->definition, r->rest.p, r->rest.end - r->rest.p);
	m->definition_len = r->rest.end - r->rest.p;
}

ApplyRelation *
relation_map_describe(RelationMap *map, const Record *r, uint64 txn)
{
	StreamCursor c = r->rest;
	uint32		relid = stream_get_u32(&c);
	size_t		len = r->rest.end - r->rest.p;
	ApplyRelation *m;
	bool		found;

	m = hash_search(map->relations, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(m, 0, sizeof(ApplyRelation));
		m->relid = relid;
		m->source_cxt = AllocSetContextCreate(map->cxt, "baton source relation",
											  ALLOCSET_SMALL_SIZES);
		m->local_cxt = AllocSetContextCreate(map->cxt, "baton local relation",
											 ALLOCSET_SMALL_SIZES);
	}
	if (m->definition_len != len || memcmp(m->definition, r->rest.p, len) != 0)
	{
		if (m->open)
			return NULL;
		take_definition(map, m, r);
	}
	m->described_in = txn;
	return m;
}

ApplyRelation *
relation_map_get(RelationMap *map, uint32 relid, uint64 txn)
{
	ApplyRelation *m = map->last;

	if (m == NULL || m->relid != relid)
		m = hash_search(map->relations, &relid, HASH_FIND, NULL);
	if (m == NULL || m->described_in != txn || m->definition_len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stream changes relation %u without having described it", relid)));
	map->last = m;
	return m;
}

/* ---- the local side ---- */

static void
mismatch(const ApplyRelation *m, const char *column, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table \"%s.%s\" differs from the one of the stream",
					column, m->source.nspname, m->source.relname),
			 errdetail_internal("%s", detail)));
}

static void
check_type(const ApplyRelation *m, const RecordColumn *col, Form_pg_attribute att)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(att->atttypid));
	Form_pg_type type;
	char	   *schema;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", att->atttypid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	schema = get_namespace_name(type->typnamespace);
	if (schema == NULL || strcmp(schema, col->typnsp) != 0 ||
		strcmp(NameStr(type->typname), col->typname) != 0)
		mismatch(m, col->name, psprintf("Its type here is %s.%s, in the stream %s.%s.",
										schema ? schema : "?", NameStr(type->typname),
										col->typnsp, col->typname));
	ReleaseSysCache(tuple);
	if (col->format == 'b' && getBaseType(att->atttypid) != col->typid)
		mismatch(m, col->name, psprintf("Type %s.%s is another type here: its base type is %u, not %u.",
										col->typnsp, col->typname,
										getBaseType(att->atttypid), col->typid));
}

static void
make_column(ApplyRelation *m, ApplyColumn *c, Form_pg_attribute att)
{
	const RecordColumn *col = &m->source.columns[c->source];
	TypeCacheEntry *entry = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR_FINFO);
	Oid			input;
	Oid			coerce;

	c->byval = att->attbyval;
	c->len = att->attlen;
	c->type = att->atttypid;
	c->collation = att->attcollation;
	c->typmod = att->atttypmod;
	c->compared = !att->attgenerated;
	getTypeInputInfo(att->atttypid, &input, &c->ioparam);
	fmgr_info_cxt(input, &c->input, m->local_cxt);
	if (OidIsValid(entry->eq_opr_finfo.fn_oid))
		fmgr_info_cxt(entry->eq_opr_finfo.fn_oid, &c->equal, m->local_cxt);
	if (col->format == 'b' && att->atttypmod >= 0 && att->atttypmod != col->typmod &&
		find_typmod_coercion_function(getBaseType(att->atttypid), &coerce) == COERCION_PATH_FUNC)
	{
		fmgr_info_cxt(coerce, &c->coerce, m->local_cxt);
		c->coerces = true;
	}
}

static void
missing_columns(const ApplyRelation *m, const bool *mapped)
{
	for (int i = 0; i < m->source.natts; i++)
		if (!mapped[i])
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s.%s\" has no column \"%s\", which the stream has",
							m->source.nspname, m->source.relname, m->source.columns[i].name)));
}

static void
map_columns(ApplyRelation *m, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool	   *mapped = palloc0(Max(m->source.natts, 1) * sizeof(bool));

	m->natts = desc->natts;
	m->columns = MemoryContextAllocZero(m->local_cxt, Max(desc->natts, 1) * sizeof(ApplyColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		ApplyColumn *c = &m->columns[i];

		c->source = -1;
		if (att->attisdropped)
			continue;
		for (int j = 0; j < m->source.natts; j++)
		{
			if (strcmp(NameStr(att->attname), m->source.columns[j].name) != 0)
				continue;
			mapped[j] = true;
			/* the value of a generated column is computed here */
			if (!att->attgenerated)
				c->source = j;
			break;
		}
		if (c->source >= 0)
		{
			check_type(m, &m->source.columns[c->source], att);
			make_column(m, c, att);
		}
	}
	missing_columns(m, mapped);
	pfree(mapped);
}

/* Which local columns an old row of the stream gives. */
static void
plan_lookup(ApplyRelation *m, Relation rel)
{
	bool	   *given = palloc0(Max(m->natts, 1) * sizeof(bool));

	for (int i = 0; i < m->natts; i++)
		if (m->columns[i].source >= 0)
			given[i] = m->source.replident == REPLICA_IDENTITY_FULL ||
				m->source.columns[m->columns[i].source].key;
	find_make_plan(&m->find, rel, given, m->local_cxt);
	pfree(given);
}

static void
resolve(ApplyRelation *m, Relation rel)
{
	MemoryContextReset(m->local_cxt);
	m->valid = true;			/* an invalidation that arrives from here on counts */
	m->localoid = RelationGetRelid(rel);
	m->owner = rel->rd_rel->relowner;
	m->relkind = rel->rd_rel->relkind;
	if (m->relkind != RELKIND_RELATION && m->relkind != RELKIND_PARTITIONED_TABLE &&
		m->relkind != RELKIND_MATVIEW)
	{
		m->valid = false;
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table here", m->source.nspname, m->source.relname)));
	}
	PG_TRY();
	{
		map_columns(m, rel);
		if (m->relkind == RELKIND_RELATION)
			plan_lookup(m, rel);
	}
	PG_CATCH();
	{
		m->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static Oid
find_by_name(const ApplyRelation *m, LOCKMODE lockmode)
{
	RangeVar   *name = makeRangeVar(pstrdup(m->source.nspname), pstrdup(m->source.relname), -1);
	Oid			oid = RangeVarGetRelid(name, lockmode, true);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" of the stream does not exist here",
						m->source.nspname, m->source.relname)));
	return oid;
}

/*
 * Raises ERRCODE_UNDEFINED_TABLE, ERRCODE_WRONG_OBJECT_TYPE,
 * ERRCODE_UNDEFINED_COLUMN and ERRCODE_DATATYPE_MISMATCH where the local table
 * does not fit.
 */
Relation
relation_map_open(ApplyRelation *m, LOCKMODE lockmode)
{
	Relation	rel = NULL;

	if (m->valid)
	{
		rel = try_table_open(m->localoid, lockmode);
		/* taking the lock may have brought news */
		if (rel != NULL && !m->valid)
		{
			table_close(rel, lockmode);
			rel = NULL;
		}
	}
	if (rel == NULL)
	{
		rel = table_open(find_by_name(m, lockmode), NoLock);
		resolve(m, rel);
	}
	return rel;
}
