/*
 * copy_roles.c - what pg_dump takes for granted in the target's server: roles and
 * tablespaces.
 *
 * All roles of the source are made here if they are missing, with the same attributes
 * and memberships, for the stream that follows may use any of them; the source's
 * bootstrap superuser too, whose ownership the catalogs do not record.  A role that is
 * here is left alone until the stream tells of it.  With baton.replicate_roles off
 * none is made, and those that the database uses must be here: that they own something
 * in it, are granted something, or have such a member.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "nodes/pg_list.h"

#define ROLES_QUERY \
	"WITH RECURSIVE used(oid) AS (" \
	"  SELECT oid FROM pg_catalog.pg_roles WHERE %s OR oid = 10 OR oid IN (" \
	"    SELECT d.refobjid FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_database b ON b.oid = d.dbid " \
	"    WHERE b.datname = pg_catalog.current_database() " \
	"      AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass) " \
	"  UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN used u ON m.member = u.oid) " \
	"SELECT r.rolname, pg_catalog.format('CREATE ROLE %%I WITH %%s %%s %%s %%s %%s %%s %%s CONNECTION LIMIT %%s%%s%%s', " \
	"    r.rolname, " \
	"    CASE WHEN r.rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, " \
	"    CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END, " \
	"    CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, " \
	"    CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, " \
	"    CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, " \
	"    CASE WHEN r.rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END, " \
	"    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, " \
	"    r.rolconnlimit, " \
	"    ' VALID UNTIL ' || pg_catalog.quote_literal(r.rolvaliduntil), " \
	"    ' PASSWORD ' || pg_catalog.quote_literal(%s)) " \
	"FROM pg_catalog.%s r JOIN used u ON u.oid = r.oid " \
	"WHERE r.oid = 10 OR r.oid >= 16384 ORDER BY r.oid"

/*
 * Run a statement that may hold a password: neither its text nor libpq's report of
 * it goes into a message.
 */
static void
run_quietly(CopyContext *ctx, const char *what, const char *role, const char *sql)
{
	CopyRows   *rows = copy_try(ctx->local, COPY_RPC_TIMEOUT, sql);

	if (rows->error != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not %s role \"%s\", which is one of the source's: %s",
						what, role, rows->error)));
}

/* Memberships of a role that was just created. */
static void
grant_memberships(CopyContext *ctx, const char *role)
{
	CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
								  "SELECT g.rolname, pg_catalog.format('GRANT %%I TO %%I%%s', g.rolname, r.rolname, "
								  "  CASE WHEN m.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END) "
								  "FROM pg_catalog.pg_auth_members m "
								  "JOIN pg_catalog.pg_roles g ON g.oid = m.roleid "
								  "JOIN pg_catalog.pg_roles r ON r.oid = m.member WHERE r.rolname = %s",
								  copy_literal(ctx->source, role));

	for (int i = 0; i < rows->n_rows; i++)
		run_quietly(ctx, "grant a membership to", role, rows->value[i][1]);
}

/*
 * Make what is missing, or raise ERRCODE_UNDEFINED_OBJECT if that is not wanted.  The source's passwords come along if the role of the
 * connection may read them.
 */
void
copy_roles(CopyContext *ctx)
{
	CopyRows   *readable = copy_query(ctx->source, COPY_RPC_TIMEOUT,
									  "SELECT pg_catalog.has_column_privilege('pg_catalog.pg_authid', "
									  "'rolpassword', 'SELECT')");
	bool		passwords = readable->n_rows == 1 && readable->value[0][0][0] == 't';
	CopyRows   *roles = copy_query(ctx->source, COPY_RPC_TIMEOUT, ROLES_QUERY,
								   baton_replicate_roles ? "true" : "false",
								   passwords ? "r.rolpassword" : "NULL::pg_catalog.text",
								   passwords ? "pg_authid" : "pg_roles");
	List	   *created = NIL;
	ListCell   *cell;

	copy_query(ctx->local, COPY_RPC_TIMEOUT, "SET log_min_error_statement = panic; SET log_statement = none; "
			   "SET log_min_duration_statement = -1");
	for (int i = 0; i < roles->n_rows; i++)
	{
		char	   *name = roles->value[i][0];
		CopyRows   *there = copy_query(ctx->local, COPY_RPC_TIMEOUT,
									   "SELECT 1 FROM pg_roles WHERE rolname = %s",
									   copy_literal(ctx->local, name));

		if (there->n_rows > 0)
			continue;
		if (!baton_replicate_roles)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role \"%s\", which the copied database uses, does not exist in this server", name),
					 errhint("Create it, or turn on baton.replicate_roles.")));
		run_quietly(ctx, "create", name, roles->value[i][1]);
		ereport(LOG,
				(errmsg("initial copy: created role \"%s\"", name)));
		created = lappend(created, name);
	}
	foreach(cell, created)
		grant_memberships(ctx, (char *) lfirst(cell));
	copy_query(ctx->local, COPY_RPC_TIMEOUT, "RESET ALL");
}

/*
 * Sets ctx->skip_tablespaces if the source's database uses a tablespace that this
 * server lacks: then everything goes into the database's own.
 */
void
copy_check_tablespaces(CopyContext *ctx)
{
	CopyRows   *rows = copy_query(ctx->source, COPY_RPC_TIMEOUT,
								  "SELECT DISTINCT t.spcname FROM pg_catalog.pg_class c "
								  "JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace "
								  "WHERE t.spcname <> 'pg_global'");

	ctx->skip_tablespaces = false;
	for (int i = 0; i < rows->n_rows; i++)
	{
		CopyRows   *there = copy_query(ctx->local, COPY_RPC_TIMEOUT,
									   "SELECT 1 FROM pg_tablespace WHERE spcname = %s",
									   copy_literal(ctx->local, rows->value[i][0]));

		if (there->n_rows > 0)
			continue;
		ctx->skip_tablespaces = true;
		ereport(LOG,
				(errmsg("initial copy: tablespace \"%s\" does not exist in this server, all tables go into the database's own",
						rows->value[i][0])));
	}
}
