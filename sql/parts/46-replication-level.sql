-- What replicas have of a table.  The level is the table's security label.
CREATE FUNCTION baton.set_replication("table" regclass, level text)
RETURNS void AS 'MODULE_PATHNAME', 'baton_set_replication' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.set_replication(regclass, text) IS
    'what replicas have of a table: ''all'', ''schema'' (no rows) or ''none''';

CREATE VIEW baton.tables AS
SELECT n.nspname AS schema_name, c.relname AS table_name,
    CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
        WHEN 'm' THEN 'materialized view' ELSE 'view' END AS kind,
    coalesce(l.label, 'all') AS level
FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_seclabel l ON l.objoid = c.oid
        AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND l.objsubid = 0 AND l.provider = 'baton'
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'baton', 'baton_rpc')
    AND n.nspname !~ '^pg_toast';
COMMENT ON VIEW baton.tables IS
    'each table and view with what replicas have of it: all, schema (no rows), none';
GRANT SELECT ON baton.tables TO pg_monitor;
