-- Indexes that this node has still to build, or to drop, beside apply: what their primary
-- did with CONCURRENTLY.  The marks are security labels that baton alone writes.
CREATE VIEW baton.pending_indexes AS
SELECT i.indexrelid::pg_catalog.regclass AS index, i.indrelid::pg_catalog.regclass AS "table",
    CASE WHEN l.label LIKE 'drop %' THEN 'DROP INDEX CONCURRENTLY' ELSE 'CREATE INDEX CONCURRENTLY' END AS command,
    i.indisunique AS is_unique
FROM pg_catalog.pg_seclabel l JOIN pg_catalog.pg_index i ON i.indexrelid = l.objoid
WHERE l.provider = 'baton_index' AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass;
COMMENT ON VIEW baton.pending_indexes IS 'indexes that this node has still to build, or to drop, beside apply';
GRANT SELECT ON baton.pending_indexes TO pg_monitor;

-- What pg_dump leaves out of them, for joining nodes: the command that builds the index,
-- and what makes it part of a partitioned one.
CREATE VIEW baton_rpc.pending_indexes AS
SELECT pg_catalog.pg_get_indexdef(i.indexrelid) AS build,
    (SELECT pg_catalog.format('ALTER INDEX %s ATTACH PARTITION %s', p.inhparent::pg_catalog.regclass, p.inhrelid::pg_catalog.regclass)
     FROM pg_catalog.pg_inherits p WHERE p.inhrelid = i.indexrelid) AS attach
FROM pg_catalog.pg_seclabel l JOIN pg_catalog.pg_index i ON i.indexrelid = l.objoid
WHERE l.provider = 'baton_index' AND l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND l.label LIKE 'build %' AND NOT i.indisvalid
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_seclabel n WHERE n.objoid = i.indrelid
        AND n.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND n.objsubid = 0
        AND n.provider = 'baton' AND n.label = 'none');
GRANT SELECT ON baton_rpc.pending_indexes TO PUBLIC;
