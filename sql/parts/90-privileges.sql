-- Who may call and read what.  Superusers may grant more; functions behind
-- pg_monitor's views are granted to it, because a view's functions run with the
-- rights of whoever reads the view.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA baton FROM PUBLIC;
GRANT USAGE ON SCHEMA baton TO pg_monitor;
GRANT EXECUTE ON FUNCTION baton.node_status(), baton.node_list() TO pg_monitor;
GRANT SELECT ON baton.status, baton.nodes, baton.events TO pg_monitor;

-- Node-to-node functions check for the REPLICATION attribute themselves, which
-- cannot be granted on.
GRANT USAGE ON SCHEMA baton_rpc TO PUBLIC;
