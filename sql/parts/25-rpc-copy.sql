/* Initial copy: what a joining node asks the primary.  Like the functions of shipping
 * they check for the REPLICATION attribute themselves, and PUBLIC keeps EXECUTE. */

CREATE FUNCTION baton_rpc.copy_start(
	OUT pos pg_lsn, OUT last_start pg_lsn, OUT last_term bigint, OUT term bigint, OUT node_id int,
	OUT terms text)
RETURNS record
AS 'MODULE_PATHNAME', 'baton_rpc_copy_start' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION baton_rpc.copy_start() IS
	'where the stream begins for an initial copy taken from this primary now';

CREATE FUNCTION baton_rpc.copy_covered(lsn pg_lsn, OUT pos pg_lsn, OUT term bigint)
RETURNS record
AS 'MODULE_PATHNAME', 'baton_rpc_copy_covered' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION baton_rpc.copy_covered(pg_lsn) IS
	'up to where the stream log holds all commits of this primary that begin before an LSN';
