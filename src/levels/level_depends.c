/*
 * level_depends.c - what hangs on what, as far as levels are concerned.
 *
 * A table that is left out takes with it what is a part of it, and the views over it.
 * Foreign keys between tables of unlike levels stay behind.  Anything else that needs
 * it would leave the replicas with commands that cannot be carried out.
 */
#include "levels/level.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* ---- the table that something is part of ---- */

/* The catalogs of things that are part of a table, and the column that names it. */
static const struct
{
	Oid			class_id;
	AttrNumber	table;
}			parts[] =
{
	{ConstraintRelationId, Anum_pg_constraint_conrelid},
	{PolicyRelationId, Anum_pg_policy_polrelid},
	{RewriteRelationId, Anum_pg_rewrite_ev_class},
	{StatisticExtRelationId, Anum_pg_statistic_ext_stxrelid},
	{TriggerRelationId, Anum_pg_trigger_tgrelid},
	{TypeRelationId, Anum_pg_type_typrelid},
};

static Oid
table_of_part(Oid class_id, Oid object_id, AttrNumber column)
{
	Relation	catalog = table_open(class_id, AccessShareLock);
	HeapTuple	tuple = get_catalog_object_by_oid(catalog, get_object_attnum_oid(class_id), object_id);
	Oid			table = InvalidOid;
	bool		isnull;

	if (HeapTupleIsValid(tuple))
		table = DatumGetObjectId(heap_getattr(tuple, column, RelationGetDescr(catalog), &isnull));
	table_close(catalog, AccessShareLock);
	return table;
}

static Oid
table_of_relation(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	Oid			owner;
	int32		column;

	if (relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX)
		return IndexGetRelation(relid, true);
	if (relkind == RELKIND_SEQUENCE &&
		(sequenceIsOwned(relid, DEPENDENCY_AUTO, &owner, &column) ||
		 sequenceIsOwned(relid, DEPENDENCY_INTERNAL, &owner, &column)))
		return owner;
	return relkind == '\0' || relkind == RELKIND_TOASTVALUE ? InvalidOid : relid;
}

static Oid
table_of_publication(Oid object_id)
{
	HeapTuple	tuple = SearchSysCache1(PUBLICATIONREL, ObjectIdGetDatum(object_id));
	Oid			table = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		table = ((Form_pg_publication_rel) GETSTRUCT(tuple))->prrelid;
		ReleaseSysCache(tuple);
	}
	return table;
}

Oid
level_table_of(Oid class_id, Oid object_id)
{
	if (class_id == RelationRelationId)
		return table_of_relation(object_id);
	if (class_id == PublicationRelRelationId)
		return table_of_publication(object_id);
	if (class_id == AttrDefaultRelationId)
		return GetAttrDefaultColumnAddress(object_id).objectId;
	if (class_id == TypeRelationId && OidIsValid(get_element_type(object_id)))
		object_id = get_element_type(object_id);
	for (int i = 0; i < lengthof(parts); i++)
		if (parts[i].class_id == class_id)
			return table_of_part(class_id, object_id, parts[i].table);
	return InvalidOid;
}

/* ---- what depends on tables that are to be left out ---- */

static bool
is_foreign_key(Oid class_id, Oid object_id)
{
	HeapTuple	tuple;
	bool		is;

	if (class_id != ConstraintRelationId)
		return false;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(object_id));
	is = HeapTupleIsValid(tuple) &&
		((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return is;
}

/* Sort one dependent object of a table: a view joins the list. */
static void
sort_dependent(const ObjectAddress *dependent, Oid on, List *left_out, List **views)
{
	Oid			table = level_table_of(dependent->classId, dependent->objectId);
	char		relkind = OidIsValid(table) ? get_rel_relkind(table) : '\0';
	bool		is_view = relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW;

	if (dependent->classId == PublicationRelRelationId ||
		is_foreign_key(dependent->classId, dependent->objectId) ||
		list_member_oid(left_out, table) || list_member_oid(*views, table) ||
		(OidIsValid(table) && level_of(table) == LEVEL_NONE))
		return;
	if (is_view)
	{
		*views = lappend_oid(*views, table);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot leave %s out of replication because %s depends on it",
					getObjectDescription(&(ObjectAddress) {RelationRelationId, on, 0}, false),
					getObjectDescription(dependent, false)),
			 errhint("The level \"schema\" keeps the definition on the replicas.")));
}

static void
sort_dependents(Oid class_id, Oid object_id, Oid on, List *left_out, List **views)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(class_id));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress dependent = {depend->classid, depend->objid, depend->objsubid};

		/* what is internal to the object is no other one */
		if (depend->deptype != DEPENDENCY_INTERNAL)
			sort_dependent(&dependent, on, left_out, views);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
sort_dependents_of_table(Oid relid, List *left_out, List **views)
{
	Oid			type = get_rel_type_id(relid);
	List	   *sequences = getOwnedSequences(relid);
	ListCell   *lc;

	sort_dependents(RelationRelationId, relid, relid, left_out, views);
	if (OidIsValid(type))
	{
		sort_dependents(TypeRelationId, type, relid, left_out, views);
		if (OidIsValid(get_array_type(type)))
			sort_dependents(TypeRelationId, get_array_type(type), relid, left_out, views);
	}
	foreach(lc, sequences)
		sort_dependents(RelationRelationId, lfirst_oid(lc), relid, left_out, views);
}

List *
level_dependent_views(List *tables)
{
	List	   *views = NIL;
	ListCell   *lc;

	foreach(lc, tables)
		sort_dependents_of_table(lfirst_oid(lc), tables, &views);
	/* the list grows while it is walked */
	for (int i = 0; i < list_length(views); i++)
		sort_dependents_of_table(list_nth_oid(views, i), tables, &views);
	return views;
}

/* ---- views that come back ---- */

/* Does the view use anything at level none but what returns with it? */
static bool
reads_left_out(Oid view, List *returning)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	HeapTuple	rule;
	Oid			rule_id;
	bool		reads = false;

	rule = SearchSysCacheCopy2(RULERELNAME, ObjectIdGetDatum(view), CStringGetDatum("_RETURN"));
	rule_id = HeapTupleIsValid(rule) ? ((Form_pg_rewrite) GETSTRUCT(rule))->oid : InvalidOid;
	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RewriteRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(rule_id));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			table = level_table_of(depend->refclassid, depend->refobjid);

		if (OidIsValid(table) && table != view && !list_member_oid(returning, table) &&
			level_of(table) == LEVEL_NONE)
			reads = true;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return reads;
}

/* Add the views at level none that use the table or view. */
static void
add_returning(Oid relid, List **all)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			view;
		char		relkind;

		if (depend->classid != RewriteRelationId)
			continue;
		view = level_table_of(RewriteRelationId, depend->objid);
		relkind = get_rel_relkind(view);
		if ((relkind == RELKIND_VIEW || relkind == RELKIND_MATVIEW) &&
			!list_member_oid(*all, view) && level_of(view) == LEVEL_NONE &&
			!reads_left_out(view, *all))
			*all = lappend_oid(*all, view);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

List *
level_returning_views(List *tables)
{
	List	   *all = list_copy(tables);
	int			n;

	/* a view may wait for another one that comes later: until none is added */
	do
	{
		n = list_length(all);
		for (int i = 0; i < list_length(all); i++)
			add_returning(list_nth_oid(all, i), &all);
	} while (list_length(all) > n);
	return list_copy_tail(all, list_length(tables));
}

/* ---- foreign keys ---- */

static bool
is_carried(Oid from, Oid to)
{
	ReplicationLevel level = level_of(from);

	return level != LEVEL_NONE && level_of_rows(to) >= level;
}

bool
level_key_is_carried(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint key;
	bool		carried = true;

	if (!HeapTupleIsValid(tuple))
		return true;
	key = (Form_pg_constraint) GETSTRUCT(tuple);
	if (key->contype == CONSTRAINT_FOREIGN)
		carried = is_carried(key->conrelid, key->confrelid);
	ReleaseSysCache(tuple);
	return carried;
}

List *
level_carried_keys(List *tables)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List	   *keys = NIL;
	List	   *all = list_copy(tables);
	ListCell   *lc;
	HeapTuple	tuple;

	/* what refers to a partitioned table counts on the rows of all partitions */
	foreach(lc, tables)
		if (get_rel_relispartition(lfirst_oid(lc)))
			all = list_concat_unique_oid(all, get_partition_ancestors(lfirst_oid(lc)));
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint key = (Form_pg_constraint) GETSTRUCT(tuple);

		if (key->contype == CONSTRAINT_FOREIGN && !OidIsValid(key->conparentid) &&
			(list_member_oid(all, key->conrelid) || list_member_oid(all, key->confrelid)) &&
			is_carried(key->conrelid, key->confrelid))
			keys = lappend_oid(keys, key->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return keys;
}
