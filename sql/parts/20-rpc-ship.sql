-- Shipping: what the primary's shipper calls on each other member.  These need
-- the REPLICATION attribute, which no GRANT can express: the functions check it
-- themselves, and PUBLIC keeps EXECUTE, so that such a role needs nothing else.
CREATE FUNCTION baton_rpc.handshake(group_id uuid, from_id integer, from_name text, to_id integer,
    protocol integer, architecture text, encoding text, term bigint, membership bytea,
    from_incarnation bigint DEFAULT 0, to_incarnation bigint DEFAULT 0, collation_text text DEFAULT '',
    mark_term bigint DEFAULT 0, mark_pos pg_lsn DEFAULT '0/0',
    OUT status text, OUT detail text, OUT term bigint, OUT state text,
    OUT log_start pg_lsn, OUT log_end pg_lsn, OUT last_start pg_lsn, OUT last_term bigint,
    OUT applied pg_lsn, OUT led_term bigint, OUT clock_us bigint, OUT members bytea)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_handshake' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.handshake(uuid, integer, text, integer, integer, text, text, bigint, bytea,
    bigint, bigint, text, bigint, pg_lsn)
    IS 'begin a session with this node: same group, members, protocol and bytes?';

CREATE FUNCTION baton_rpc.frame_before(pos pg_lsn,
    OUT start pg_lsn, OUT frame_end pg_lsn, OUT term bigint)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_frame_before' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.frame_before(pg_lsn)
    IS 'the last frame of this node''s log that ends at or before a position; nulls if not kept';

CREATE FUNCTION baton_rpc.sync_up(from_id integer, term bigint, pos pg_lsn,
    last_start pg_lsn, last_term bigint)
RETURNS text AS 'MODULE_PATHNAME', 'baton_rpc_sync_up' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.sync_up(integer, bigint, pg_lsn, pg_lsn, bigint)
    IS 'cut this node''s log at the last frame that it has in common with the primary''s';

CREATE FUNCTION baton_rpc.append(from_id integer, term bigint, lease_ms integer, committed pg_lsn,
    log_end pg_lsn, frames bytea,
    OUT status integer, OUT term bigint, OUT flushed pg_lsn, OUT applied pg_lsn, OUT promised boolean)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_append' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.append(integer, bigint, integer, pg_lsn, pg_lsn, bytea)
    IS 'append frames of the primary and flush them; without frames, a sign of life';

CREATE FUNCTION baton_rpc.renew_copy(from_id int, term bigint, log_start pg_lsn)
RETURNS void
AS 'MODULE_PATHNAME', 'baton_rpc_renew_copy' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION baton_rpc.renew_copy(int, bigint, pg_lsn) IS
	'the primary keeps its stream from a later place on than this node needs';

CREATE FUNCTION baton_rpc.members(from_id integer, term bigint, membership bytea, before bytea)
RETURNS void AS 'MODULE_PATHNAME', 'baton_rpc_members' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.members(integer, bigint, bytea, bytea)
    IS 'the primary tells the membership in force; back when it is in the control file';

CREATE FUNCTION baton_rpc.watch(from_id integer, lead_term bigint, lease_ms integer,
    committed pg_lsn, known_term bigint,
    known_state text, known_led_term bigint, known_applied pg_lsn, known_error text,
    timeout_ms integer, settle_ms integer,
    OUT term bigint, OUT state text, OUT led_term bigint, OUT flushed pg_lsn,
    OUT applied pg_lsn, OUT applied_at timestamptz, OUT error text, OUT messages bytea,
    OUT promised boolean)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_watch' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.watch(integer, bigint, integer, pg_lsn, bigint, text, bigint, pg_lsn, text, integer, integer)
    IS 'wait until this node has something to say that the caller does not know';

CREATE FUNCTION baton_rpc.fetch_frames(from_id integer, pos pg_lsn, last_start pg_lsn, last_term bigint,
    max_bytes integer, OUT frames bytea, OUT members bytea)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_fetch_frames' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.fetch_frames(integer, pg_lsn, pg_lsn, bigint, integer)
    IS 'frames of this node''s log behind that of a member, if that is the beginning of this one';

CREATE FUNCTION baton_rpc.deliver(messages bytea)
RETURNS void AS 'MODULE_PATHNAME', 'baton_rpc_deliver' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton_rpc.deliver(bytea)
    IS 'consensus messages for this node''s coordinator';
