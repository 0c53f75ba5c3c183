-- The primary's view of its replicas.
CREATE FUNCTION baton.replication_links(OUT node_id integer, OUT node_name text,
    OUT state text, OUT peer_state text,
    OUT sent_position pg_lsn, OUT written_position pg_lsn, OUT flushed_position pg_lsn,
    OUT applied_position pg_lsn, OUT lag_bytes bigint, OUT flush_lag interval,
    OUT apply_lag interval, OUT last_reply timestamptz, OUT error text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'baton_stat_replication' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.replication_links()
    IS 'data behind the view baton.stat_replication';

CREATE VIEW baton.stat_replication AS
    SELECT node_id, node_name, state, peer_state, sent_position, written_position,
           flushed_position, applied_position, lag_bytes, flush_lag, apply_lag, last_reply, error
    FROM baton.replication_links();
COMMENT ON VIEW baton.stat_replication
    IS 'on the primary, one row per other member: how far it has got, and how long the oldest thing it lacks has waited';

REVOKE ALL ON FUNCTION baton.replication_links() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION baton.replication_links() TO pg_monitor;
GRANT SELECT ON baton.stat_replication TO pg_monitor;
