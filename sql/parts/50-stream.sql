-- The stream log, to look at.

CREATE FUNCTION baton.stream_records("from" pg_lsn DEFAULT NULL, "to" pg_lsn DEFAULT NULL)
RETURNS TABLE ("position" pg_lsn, term bigint, record_no integer, type text, xid bigint, relation text, detail text)
AS 'MODULE_PATHNAME', 'baton_stream_records' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION baton.stream_records(pg_lsn, pg_lsn) IS
'records of this node''s stream log, frame by frame, between two stream positions';
REVOKE ALL ON FUNCTION baton.stream_records(pg_lsn, pg_lsn) FROM PUBLIC;
