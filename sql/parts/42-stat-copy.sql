/* Progress of this node's initial copy. */

CREATE TABLE baton.copy_progress (
	table_name	text PRIMARY KEY,
	bytes_total	bigint NOT NULL,
	bytes_done	bigint NOT NULL,
	phase		text NOT NULL
);
COMMENT ON TABLE baton.copy_progress IS
	'tables of this node''s last initial copy; written by baton alone';

CREATE FUNCTION baton.copy_state(
	OUT phase text, OUT source text, OUT attempt int, OUT started_at timestamptz,
	OUT phase_since timestamptz, OUT snapshot_lsn pg_lsn, OUT error text)
RETURNS record
AS 'MODULE_PATHNAME', 'baton_copy_state' LANGUAGE C VOLATILE;
REVOKE ALL ON FUNCTION baton.copy_state() FROM PUBLIC;
COMMENT ON FUNCTION baton.copy_state() IS
	'this node''s initial copy as a whole; all null if none has run since the server''s start';

CREATE VIEW baton.stat_copy AS
SELECT p.table_name,
	p.phase,
	p.bytes_total,
	p.bytes_done,
	CASE p.phase
		WHEN 'done' THEN 100.0
		WHEN 'waiting' THEN 0.0
		WHEN 'dumping' THEN round(50 * least(p.bytes_done::numeric / greatest(p.bytes_total, 1), 1), 1)
		WHEN 'dumped' THEN 50.0
		WHEN 'restoring' THEN round(50 + 50 * least(p.bytes_done::numeric / greatest(p.bytes_total, 1), 1), 1)
	END AS percent,
	s.phase AS copy_phase,
	s.source,
	s.attempt,
	s.started_at,
	s.phase_since,
	s.snapshot_lsn,
	s.error
FROM baton.copy_state() s
LEFT JOIN baton.copy_progress p ON true
WHERE s.phase IS NOT NULL OR p.table_name IS NOT NULL;
COMMENT ON VIEW baton.stat_copy IS
	'progress of this node''s initial copy: one row per table, bytes and percent estimated from the table''s size on the source';

GRANT EXECUTE ON FUNCTION baton.copy_state() TO pg_monitor;
GRANT SELECT ON baton.stat_copy, baton.copy_progress TO pg_monitor;
