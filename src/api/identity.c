/*
 * identity.c - gives tables without a key a replica identity, so that their
 * updates and deletes can be found again on a replica.
 */
#include "api/identity.h"

#include "capture/local_conn.h"
#include "commands/dbcommands.h"
#include "libpq-fe.h"
#include "miscadmin.h"

/*
 * Ordinary tables whose old rows would not be in WAL: no usable replica identity
 * (a primary key that is DEFERRABLE is none).  The leaves of a partitioned table
 * are ordinary tables.
 */
static const char *const tables_without_identity =
	"SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) "
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
	"WHERE c.relkind = 'r' AND c.relpersistence = 'p' "
	"AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'baton', 'baton_rpc') "
	"AND n.nspname NOT LIKE 'pg\\_toast%' "
	"AND (c.relreplident = 'n' "
	"  OR (c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i "
	"      WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate)) "
	"  OR (c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i "
	"      WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid))) "
	"ORDER BY 1";

/* How long one table's lock is waited for, in ms. */
#define LOCK_MS 30000

static void
give_full_identity(PGconn *conn, const char *table)
{
	char		err[BATON_ERROR_LEN];
	char	   *literal = PQescapeLiteral(conn, table, strlen(table));
	PGresult   *res = local_exec(conn, psprintf("ALTER TABLE %s REPLICA IDENTITY FULL; "
												"INSERT INTO baton.full_identity "
												"VALUES (%s::pg_catalog.regclass) ON CONFLICT DO NOTHING",
												table, literal ? literal : "NULL"),
								 LOCK_MS, err, sizeof(err));
	bool		ok = res != NULL && PQresultStatus(res) == PGRES_COMMAND_OK;

	PQfreemem(literal);
	PQclear(res);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no key, and could not be given REPLICA IDENTITY FULL", table),
				 errdetail("%s", err),
				 errhint("Give it a primary key, or a replica identity, and try again.")));
	ereport(NOTICE,
			(errmsg("table %s has no key: REPLICA IDENTITY FULL is set for it", table)));
}

static void
walk_tables(PGconn *conn)
{
	char		err[BATON_ERROR_LEN];
	PGresult   *res = local_exec(conn, tables_without_identity, LOCK_MS, err, sizeof(err));
	int			n;
	char	  **tables;

	if (res == NULL || PQresultStatus(res) != PGRES_TUPLES_OK)
	{
		PQclear(res);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("could not look for tables without a key: %s", err)));
	}
	n = PQntuples(res);
	tables = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		tables[i] = pstrdup(PQgetvalue(res, i, 0));
	PQclear(res);
	for (int i = 0; i < n; i++)
		give_full_identity(conn, tables[i]);
}

/*
 * Set REPLICA IDENTITY FULL, each with a NOTICE, for the tables of the session's
 * database whose changes could not be found again otherwise.  Runs over the
 * loopback connection, table by table in transactions of their own: the caller's
 * must have no xid, or the replication slot that is made next would wait for it.
 *
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE naming a table that could not be
 * locked within 30 s.
 */
void
identity_ensure_all(void)
{
	char		err[BATON_ERROR_LEN];
	PGconn	   *conn = local_connect(get_database_name(MyDatabaseId), false,
									 "baton create_group", NULL, err, sizeof(err));

	if (conn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_EXCEPTION),
				 errmsg("baton cannot connect to its own server"),
				 errdetail("%s", err),
				 errhint("Check \"baton.local_conninfo\" and pg_hba.conf.")));
	PG_TRY();
	{
		walk_tables(conn);
	}
	PG_FINALLY();
	{
		PQfinish(conn);
	}
	PG_END_TRY();
}
