/*
 * plugin_relation.c - the output plugin's cache of tables.
 *
 * An entry holds what a change needs without a catalog look-up: which columns
 * travel and how, and the RELATION record ready to be copied.  Invalidation
 * messages only mark entries (an entry may be in use); plugin_relation_get()
 * builds a marked one again.
 */
#include "capture/plugin.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "levels/level.h"
#include "nodes/bitmapset.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/* Entries of tables that are gone are thrown out when there are this many. */
#define CACHE_SWEEP_SIZE 4096

/*
 * Invalidation callbacks cannot be unregistered, so they find the plugin of the
 * decoding that is going on, if any, here.
 */
static Plugin *active_plugin = NULL;
static bool callbacks_registered = false;

static void
invalidate_all(Plugin *plugin)
{
	HASH_SEQ_STATUS status;
	PluginRelation *entry;

	hash_seq_init(&status, plugin->relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
	plugin->last_relation = NULL;
}

static void
relcache_callback(Datum arg, Oid relid)
{
	PluginRelation *entry;

	if (active_plugin == NULL)
		return;
	if (!OidIsValid(relid))
	{
		invalidate_all(active_plugin);
		return;
	}
	entry = hash_search(active_plugin->relations, &relid, HASH_FIND, NULL);
	if (entry != NULL)
		entry->valid = false;
	active_plugin->last_relation = NULL;
}

/* A schema was renamed: of a table, or of a column's type. */
static void
namespace_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (active_plugin != NULL)
		invalidate_all(active_plugin);
}

/*
 * A type has changed, which every CREATE TABLE causes too; only a type that a
 * cached table has in a column matters.
 */
static void
type_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS status;
	PluginRelation *entry;

	if (active_plugin == NULL)
		return;
	hash_seq_init(&status, active_plugin->relations);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (hashvalue == 0)
			entry->valid = false;
		for (int i = 0; i < entry->n_user_types && entry->valid; i++)
			if (entry->type_hashes[i] == hashvalue)
				entry->valid = false;
	}
	active_plugin->last_relation = NULL;
}

void
plugin_relation_init(Plugin *plugin)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(PluginRelation);
	ctl.hcxt = plugin->context;
	plugin->sweep_at = CACHE_SWEEP_SIZE;
	plugin->relations = hash_create("baton relations", 128, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	active_plugin = plugin;
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, type_callback, (Datum) 0);
		callbacks_registered = true;
	}
}

void
plugin_relation_shutdown(void)
{
	active_plugin = NULL;
}

/* ---- types ---- */

/* Types whose bytes, or whose meaning, hold OIDs that differ between nodes.  (Those in a
 * pg_node_tree go as they are, for nobody can enter such a value as text.) */
static bool
type_embeds_oids(Oid typid)
{
	switch (typid)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGNAMESPACEOID:
		case REGROLEOID:
		case REGCOLLATIONOID:
		case ACLITEMOID:
		case PG_DDL_COMMANDOID:
			return true;
		default:
			return false;
	}
}

/*
 * Whether the bytes of a base type mean the same on every node.  OIDs below
 * FirstGenbkiObjectId are assigned by hand and never change.
 */
static bool
type_is_portable(Oid typid)
{
	HeapTuple	tuple;
	Form_pg_type type;
	bool		portable;
	Oid			element = InvalidOid;

	if (typid >= FirstGenbkiObjectId || type_embeds_oids(typid))
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", typid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	portable = type->typtype == TYPTYPE_BASE || type->typtype == TYPTYPE_RANGE ||
		type->typtype == TYPTYPE_MULTIRANGE;
	if (IsTrueArrayType(type))
		element = type->typelem;
	ReleaseSysCache(tuple);

	if (portable && OidIsValid(element))
		return type_is_portable(element);
	return portable;
}

/* ---- building an entry ---- */

/* Fill in both views of one column. */
static void
build_column(Form_pg_attribute att, bool key, PluginColumn *column, RecordColumn *rc)
{
	HeapTuple	tuple;
	Form_pg_type type;
	char	   *nspname;
	int32		typmod = att->atttypmod;
	Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);

	column->attidx = att->attnum - 1;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;
	column->key = key;
	column->format = type_is_portable(base) ? 'b' : 't';
	if (column->format == 't')
	{
		Oid			function;
		bool		is_varlena;

		getTypeOutputInfo(att->atttypid, &function, &is_varlena);
		fmgr_info(function, &column->out);
	}

	rc->key = key;
	rc->format = column->format;
	strlcpy(rc->name, NameStr(att->attname), sizeof(rc->name));
	rc->typid = base;
	rc->typmod = typmod;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(att->atttypid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", att->atttypid);
	type = (Form_pg_type) GETSTRUCT(tuple);
	strlcpy(rc->typname, NameStr(type->typname), sizeof(rc->typname));
	nspname = get_namespace_name(type->typnamespace);
	if (nspname == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", type->typnamespace);
	strlcpy(rc->typnsp, nspname, sizeof(rc->typnsp));
	ReleaseSysCache(tuple);
}

static bool
is_key_column(Relation rel, Bitmapset *key, AttrNumber attnum)
{
	return rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL ||
		bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, key);
}

static void
encode_relation(PluginRelation *entry, const RecordRelation *rr)
{
	StreamBuf	buf = {0};

	record_put_relation(&buf, 0, 0, rr);
	if (buf.failed)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	entry->encoded_len = buf.len;
	entry->encoded = MemoryContextAllocExtended(entry->context, buf.len, MCXT_ALLOC_NO_OOM);
	if (entry->encoded != NULL)
		memcpy(entry->encoded, buf.data, buf.len);
	stream_buf_free(&buf);
	if (entry->encoded == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* Columns, their types' hashes and the RELATION record; in entry->context. */
static void
build_columns(PluginRelation *entry, Relation rel, const char *nspname)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Bitmapset  *key = RelationGetIdentityKeyBitmap(rel);
	RecordRelation rr;
	int			n = 0;

	entry->columns = palloc0(sizeof(PluginColumn) * Max(desc->natts, 1));
	entry->type_hashes = palloc(sizeof(uint32) * Max(desc->natts, 1));
	rr.columns = palloc0(sizeof(RecordColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || att->attgenerated)
			continue;
		build_column(att, is_key_column(rel, key, att->attnum), &entry->columns[n], &rr.columns[n]);
		if (att->atttypid >= FirstGenbkiObjectId)
			entry->type_hashes[entry->n_user_types++] =
				GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(att->atttypid));
		n++;
	}
	entry->ncolumns = n;

	rr.relid = entry->relid;
	strlcpy(rr.nspname, nspname, sizeof(rr.nspname));
	strlcpy(rr.relname, RelationGetRelationName(rel), sizeof(rr.relname));
	rr.replident = rel->rd_rel->relreplident;
	rr.natts = n;
	encode_relation(entry, &rr);
	pfree(rr.columns);
	bms_free(key);
}

/* baton's own tables, what is no table, and rows that replicas don't have stay out of
 * the stream. */
static bool
relation_is_skipped(Relation rel, const char *nspname)
{
	return (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_MATVIEW) ||
		strcmp(nspname, "baton") == 0 || strcmp(nspname, "baton_rpc") == 0 ||
		level_of(RelationGetRelid(rel)) != LEVEL_ALL;
}

/*
 * Build an entry.  It becomes valid at the very end: a look-up may raise an
 * error that decoding survives (the transaction being streamed has aborted).
 */
static void
build_entry(Plugin *plugin, PluginRelation *entry, Relation rel)
{
	MemoryContext old;
	char	   *nspname;

	entry->sent_xid = InvalidTransactionId;
	entry->n_user_types = 0;
	if (entry->context != NULL)
		MemoryContextReset(entry->context);
	else
		entry->context = AllocSetContextCreate(plugin->context, "baton relation",
											   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(entry->context);
	nspname = get_namespace_name(RelationGetNamespace(rel));
	if (nspname == NULL)
		elog(ERROR, "cache lookup failed for namespace %u", RelationGetNamespace(rel));
	entry->skip = relation_is_skipped(rel, nspname);
	entry->view = rel->rd_rel->relkind == RELKIND_MATVIEW;
	entry->full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	if (!entry->skip)
		build_columns(entry, rel, nspname);
	MemoryContextSwitchTo(old);
	entry->valid = true;
}

/* Throw out what is not valid: mostly tables that were dropped.  If little was,
 * the next time is put off. */
static void
sweep(Plugin *plugin)
{
	HASH_SEQ_STATUS status;
	PluginRelation *entry;

	hash_seq_init(&status, plugin->relations);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->valid)
			continue;
		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
		hash_search(plugin->relations, &entry->relid, HASH_REMOVE, NULL);
	}
	plugin->sweep_at = Max(CACHE_SWEEP_SIZE, 2 * hash_get_num_entries(plugin->relations));
}

PluginRelation *
plugin_relation_get(Plugin *plugin, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	PluginRelation *entry = plugin->last_relation;

	if (entry != NULL && entry->relid == relid)
		return entry;

	entry = hash_search(plugin->relations, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		bool		found;

		if (hash_get_num_entries(plugin->relations) >= plugin->sweep_at)
			sweep(plugin);
		entry = hash_search(plugin->relations, &relid, HASH_ENTER, &found);
		memset((char *) entry + sizeof(Oid), 0, sizeof(PluginRelation) - sizeof(Oid));
	}
	if (!entry->valid)
		build_entry(plugin, entry, rel);
	plugin->last_relation = entry;
	return entry;
}
