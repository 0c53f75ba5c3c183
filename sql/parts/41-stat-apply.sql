
-- ---- how far apply has got ----

CREATE FUNCTION baton.stat_apply(
	OUT running bool,
	OUT applied_position pg_lsn,
	OUT received_position pg_lsn,
	OUT lag_bytes bigint,
	OUT last_commit_time timestamptz,
	OUT transactions bigint,
	OUT rows bigint,
	OUT error text)
RETURNS record
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'baton_stat_apply';
REVOKE ALL ON FUNCTION baton.stat_apply() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION baton.stat_apply() TO pg_monitor;

CREATE VIEW baton.stat_apply AS SELECT * FROM baton.stat_apply();
COMMENT ON VIEW baton.stat_apply IS
'apply on this node: positions, lag, totals since the server started, and why it has stopped';
REVOKE ALL ON baton.stat_apply FROM PUBLIC;
GRANT SELECT ON baton.stat_apply TO pg_monitor;
