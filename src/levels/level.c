/*
 * level.c - where the replication level of a table is kept: in its security label of
 * provider "baton".
 *
 * A label belongs to the table as a comment does: it goes with a rename, is gone with a
 * DROP, is written by pg_dump, so a node that joins has it, and is set by a command, so
 * it travels in the stream, inside its transaction.  The owner of the table sets it.
 * Catalogs are versioned: the output plugin, which looks at them as of the change that it
 * decodes, finds the level that held for that change.
 *
 * pg_seclabel has no cache, and who caches what follows from it needs to hear of a
 * change: so whoever sets a label invalidates the table's relation cache entry.
 */
#include "levels/level.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_seclabel.h"
#include "commands/seclabel.h"
#include "failover/gate.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

int			baton_default_replication = LEVEL_ALL;

static const struct config_enum_entry level_options[] = {
	{"all", LEVEL_ALL, false},
	{"schema", LEVEL_SCHEMA, false},
	{"none", LEVEL_NONE, false},
	{NULL, 0, false}
};

void
levels_define_settings(void)
{
	DefineCustomEnumVariable("baton.default_replication",
							 "Sets the replication level of new tables.",
							 "\"all\": replicas have the table; \"schema\": without rows; \"none\": not at all.",
							 &baton_default_replication, LEVEL_ALL, level_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

const char *
level_name(ReplicationLevel level)
{
	for (int i = 0; level_options[i].name != NULL; i++)
		if (level_options[i].val == (int) level)
			return level_options[i].name;
	return "?";
}

ReplicationLevel
level_parse(const char *text)
{
	for (int i = 0; text != NULL && level_options[i].name != NULL; i++)
		if (strcmp(level_options[i].name, text) == 0)
			return (ReplicationLevel) level_options[i].val;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid replication level: \"%s\"", text ? text : "null"),
			 errhint("Levels are \"all\", \"schema\" and \"none\".")));
	return LEVEL_ALL;			/* not reached */
}

ReplicationLevel
level_of(Oid relid)
{
	ObjectAddress address = {RelationRelationId, relid, 0};
	char	   *label = GetSecurityLabel(&address, LEVEL_PROVIDER);
	ReplicationLevel level = label == NULL ? LEVEL_ALL : level_parse(label);

	if (label != NULL)
		pfree(label);
	return level;
}

ReplicationLevel
level_of_rows(Oid relid)
{
	ReplicationLevel lowest = level_of(relid);
	List	   *partitions;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return lowest;
	partitions = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, partitions)
		lowest = Min(lowest, level_of(lfirst_oid(lc)));
	return lowest;
}

bool
level_leaves_out(Oid relid)
{
	Oid			table = level_table_of(RelationRelationId, relid);

	return OidIsValid(table) && level_of(table) == LEVEL_NONE;
}

bool
levels_in_use(void)
{
	Relation	catalog = table_open(SecLabelRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	ScanKeyInit(&key, Anum_pg_seclabel_provider, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(LEVEL_PROVIDER));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

void
level_store(Oid relid, ReplicationLevel level)
{
	ObjectAddress address = {RelationRelationId, relid, 0};

	SetSecurityLabel(&address, LEVEL_PROVIDER, level == LEVEL_ALL ? NULL : level_name(level));
}

char *
level_label_text(Relation rel, ReplicationLevel level)
{
	return psprintf("SECURITY LABEL FOR " LEVEL_PROVIDER " ON TABLE %s IS %s",
					quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											   RelationGetRelationName(rel)),
					level == LEVEL_ALL ? "NULL" : quote_literal_cstr(level_name(level)));
}

/* Is this a session of a primary, whose label command level_label() should have taken? */
static bool
is_passed_by(void)
{
	NodeShared *node = node_mine();

	return node != NULL && !baton_worker_exempt && !gate_session_writes_locally(node);
}

/*
 * PostgreSQL asks whether a label may be set: by the applier, by a restore, or in a
 * database that is no node.  On a primary the command does not come here, unless it
 * does not name the provider, or is part of another command.
 */
static void
check_label(const ObjectAddress *object, const char *label)
{
	char		relkind = object->classId == RelationRelationId && object->objectSubId == 0 ?
		get_rel_relkind(object->objectId) : '\0';

	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("only tables have a replication level")));
	if (is_passed_by())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a replication level cannot be set in this way"),
				 errhint("Use baton.set_replication() or SECURITY LABEL FOR " LEVEL_PROVIDER ".")));
	if (label != NULL)
		(void) level_parse(label);
	CacheInvalidateRelcacheByRelid(object->objectId);
}

void
levels_install_hooks(void)
{
	register_label_provider(LEVEL_PROVIDER, check_label);
	level_command_install_hooks();
}
