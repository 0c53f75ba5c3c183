-- What of this database is not carried to the replicas, as it is now.  Each kind has one
-- reason, and one thing that may be done.
CREATE VIEW baton.unsupported AS
SELECT o.kind, o.name, o.reason, o.hint FROM (
    SELECT 'unlogged table', c.oid::pg_catalog.regclass::text,
        'its rows are not in WAL: replicas have the table, empty',
        'ALTER TABLE ... SET LOGGED'
    FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.relpersistence = 'u'
    UNION ALL
    SELECT 'tablespace', pg_catalog.format('%s of %s', t.spcname, pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ' ORDER BY c.oid)),
        'a tablespace is a directory of one server; without it what lies in it goes into the database''s own',
        'create a tablespace of this name on every server'
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
    WHERE t.spcname <> 'pg_global' AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'i', 'I', 'm', 'S') GROUP BY t.spcname
    UNION ALL
    SELECT 'subscription', pg_catalog.quote_ident(s.subname),
        'on every node it would draw the same rows; its rows, once here, are carried',
        'create it on the new primary after a failover'
    FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
    WHERE d.datname = pg_catalog.current_database()
    UNION ALL
    SELECT 'replication slot', pg_catalog.quote_ident(s.slot_name),
        'a slot is a place in the WAL of one server',
        'create slots on a replica too, if its consumers are to go on there'
    FROM pg_catalog.pg_replication_slots s
    WHERE s.database = pg_catalog.current_database() AND s.plugin <> 'baton' AND NOT s.temporary
    UNION ALL
    SELECT 'prepared transaction', pg_catalog.quote_literal(p.gid),
        'it is carried when it is committed',
        'COMMIT PREPARED or ROLLBACK PREPARED; failover() refuses while there are any'
    FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()
    UNION ALL
    SELECT 'function in C', p.oid::pg_catalog.regprocedure::text,
        pg_catalog.format('it needs the library %s, a file of one server', p.probin),
        'install the library on every server'
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname = 'c'
    WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
        WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 'role', pg_catalog.quote_ident(r.rolname),
        'baton.replicate_roles is off',
        'create roles on every server'
    FROM pg_catalog.pg_roles r
    WHERE pg_catalog.current_setting('baton.replicate_roles', true) = 'off' AND r.oid >= 16384
) o(kind, name, reason, hint);
COMMENT ON VIEW baton.unsupported IS 'what of this database is not carried to the replicas, and why';
GRANT SELECT ON baton.unsupported TO pg_monitor;
