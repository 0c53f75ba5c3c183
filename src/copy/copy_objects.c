/*
 * copy_objects.c - what a user can have made in a database, kind by kind.
 *
 * One table with two uses: join_group() refuses a database in which anything of
 * it is found, and therefore an initial copy that starts over may drop all of it
 * as its own.  What initdb made has OIDs below FirstNormalObjectId; members of
 * extensions come and go with these; plpgsql and baton stay.
 *
 * Each query gives two columns: the object as a person reads it, and a statement
 * that drops it (null: it cannot be the copy's, and is left alone).  The order is
 * that of dropping: event triggers first, so that they do not fire, containers
 * behind what they hold.  Objects are dropped one by one, not by schema, for a
 * large schema's locks would not fit the lock table.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "copy/copy_objects.h"
#include "executor/spi.h"
#include "utils/guc.h"

#define NOT_A_MEMBER(class, oid) \
	"NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = '" class "'::regclass " \
	"AND e.objid = " oid " AND e.deptype = 'e')"

#define USER_SCHEMA(name) \
	name " NOT IN ('baton', 'baton_rpc', 'pg_catalog', 'information_schema', 'pg_toast') " \
	"AND " name " !~ '^pg_(temp|toast_temp)_'"

const char *const copy_object_queries[] = {
	/* event triggers */
	"SELECT 'event trigger ' || quote_ident(evtname), "
	"  format('DROP EVENT TRIGGER IF EXISTS %I CASCADE', evtname) "
	"FROM pg_event_trigger t WHERE " NOT_A_MEMBER("pg_event_trigger", "t.oid"),

	"SELECT 'publication ' || quote_ident(pubname), "
	"  format('DROP PUBLICATION IF EXISTS %I', pubname) FROM pg_publication",

	"SELECT 'subscription ' || quote_ident(subname), NULL FROM pg_subscription s "
	"JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()",

	"SELECT 'extension ' || quote_ident(extname), "
	"  format('DROP EXTENSION IF EXISTS %I CASCADE', extname) "
	"FROM pg_extension WHERE extname NOT IN ('plpgsql', 'baton')",

	/* everything that lies in a schema: relations, types, routines, operators, ... */
	"SELECT i.type || ' ' || i.identity, format('DROP %s IF EXISTS %s CASCADE', "
	"    CASE WHEN i.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE' "
	"         WHEN i.type = 'composite type' THEN 'TYPE' "
	"         WHEN i.type = 'statistics object' THEN 'STATISTICS' "
	"         ELSE upper(i.type) END, i.identity) "
	"FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid, "
	"  pg_identify_object(d.classid, d.objid, 0) i "
	"WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype = 'n' "
	"  AND d.classid <> 'pg_extension'::regclass AND " USER_SCHEMA("n.nspname")
	"  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = d.classid "
	"    AND e.objid = d.objid AND e.objsubid = 0 AND e.deptype IN ('e', 'i', 'P', 'S'))",

	"SELECT 'schema ' || quote_ident(nspname), format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) "
	"FROM pg_namespace n WHERE nspname <> 'public' AND " USER_SCHEMA("nspname")
	"  AND " NOT_A_MEMBER("pg_namespace", "n.oid"),

	"SELECT 'foreign-data wrapper ' || quote_ident(fdwname), "
	"  format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', fdwname) "
	"FROM pg_foreign_data_wrapper f WHERE " NOT_A_MEMBER("pg_foreign_data_wrapper", "f.oid"),

	"SELECT 'cast from ' || castsource::regtype || ' to ' || casttarget::regtype, "
	"  format('DROP CAST IF EXISTS (%s AS %s) CASCADE', castsource::regtype, casttarget::regtype) "
	"FROM pg_cast c WHERE oid >= 16384 AND " NOT_A_MEMBER("pg_cast", "c.oid"),

	"SELECT 'transform for ' || trftype::regtype || ' language ' || quote_ident(lanname), "
	"  format('DROP TRANSFORM IF EXISTS FOR %s LANGUAGE %I CASCADE', trftype::regtype, lanname) "
	"FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang "
	"WHERE " NOT_A_MEMBER("pg_transform", "t.oid"),

	"SELECT 'language ' || quote_ident(lanname), format('DROP LANGUAGE IF EXISTS %I CASCADE', lanname) "
	"FROM pg_language l WHERE oid >= 16384 AND " NOT_A_MEMBER("pg_language", "l.oid"),

	"SELECT 'access method ' || quote_ident(amname), "
	"  format('DROP ACCESS METHOD IF EXISTS %I CASCADE', amname) "
	"FROM pg_am a WHERE oid >= 16384 AND " NOT_A_MEMBER("pg_am", "a.oid"),

	"SELECT 'large object ' || oid, format('SELECT pg_catalog.lo_unlink(%s)', oid) "
	"FROM pg_largeobject_metadata",

	/* An entry vanishes when it says what holds without it: in a schema nothing,
	 * else all for the owner and PostgreSQL's own grants to everybody. */
	"SELECT 'default privileges of role ' || a.defaclrole::regrole, "
	"  (SELECT coalesce(string_agg(format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s REVOKE ALL ON %s FROM %s; ', "
	"      a.defaclrole::regrole, k.place, k.what, "
	"      CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END), ''), '') "
	"     FROM (SELECT DISTINCT grantee FROM aclexplode(a.defaclacl)) x) || "
	"  CASE WHEN a.defaclnamespace <> 0 THEN '' ELSE "
	"    format('ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT ALL ON %s TO %s; ', "
	"      a.defaclrole::regrole, k.what, a.defaclrole::regrole) || "
	"    CASE WHEN k.public IS NULL THEN '' ELSE "
	"      format('ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT %s ON %s TO PUBLIC; ', "
	"        a.defaclrole::regrole, k.public, k.what) END END "
	"FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace, "
	"  LATERAL (SELECT CASE a.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' "
	"      WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END AS what, "
	"    CASE a.defaclobjtype WHEN 'f' THEN 'EXECUTE' WHEN 'T' THEN 'USAGE' END AS public, "
	"    coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '') AS place) k",

	NULL
};

bool
copy_database_is_empty(char *what, size_t size)
{
	int			nest = NewGUCNestLevel();
	bool		empty = true;

	/* names and operators in the queries must mean PostgreSQL's own */
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	what[0] = '\0';
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; empty && copy_object_queries[i] != NULL; i++)
	{
		if (SPI_execute(copy_object_queries[i], true, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not look for objects in the database");
		if (SPI_processed > 0)
		{
			char	   *found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

			strlcpy(what, found ? found : "an object", size);
			empty = false;
		}
	}
	SPI_finish();
	AtEOXact_GUC(false, nest);
	return empty;
}
