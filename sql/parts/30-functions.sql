-- Functions for people.  EXECUTE is revoked from PUBLIC for all of schema baton
-- in the last part.

CREATE FUNCTION baton.create_group(group_name text, node_name text, conninfo text, priority integer DEFAULT 100)
RETURNS uuid AS 'MODULE_PATHNAME', 'baton_create_group' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.create_group(text, text, text, integer) IS
'make this database the first node of a new group, and its primary';

CREATE FUNCTION baton.join_group(member_conninfo text, node_name text, conninfo text,
                                 type text DEFAULT 'electable', priority integer DEFAULT 100)
RETURNS integer AS 'MODULE_PATHNAME', 'baton_join_group' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.join_group(text, text, text, text, integer) IS
'make this empty database a replica of a group';

CREATE FUNCTION baton.leave_group(force boolean DEFAULT false)
RETURNS void AS 'MODULE_PATHNAME', 'baton_leave_group' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.leave_group(boolean) IS
'make this node an ordinary database again';

CREATE FUNCTION baton.start()
RETURNS void AS 'MODULE_PATHNAME', 'baton_start' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.start() IS 'take part in the group again';

CREATE FUNCTION baton.rejoin(discard boolean DEFAULT false)
RETURNS void AS 'MODULE_PATHNAME', 'baton_rejoin' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.rejoin(boolean) IS
'take part in the group again; with discard, whatever the number of own transactions that the group does not have';

CREATE FUNCTION baton.stop()
RETURNS void AS 'MODULE_PATHNAME', 'baton_stop' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.stop() IS 'take this node out of replication, as it is';

CREATE FUNCTION baton.failover(target text DEFAULT NULL, after text DEFAULT 'shutdown',
                               timeout interval DEFAULT '30s', drain_timeout interval DEFAULT '5s',
                               OUT step integer, OUT name text, OUT ms double precision, OUT detail text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'baton_failover' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.failover(text, text, interval, interval) IS
'hand the lead over to a replica, without losing a commit';

CREATE FUNCTION baton.promote(force boolean DEFAULT false)
RETURNS void AS 'MODULE_PATHNAME', 'baton_promote' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.promote(boolean) IS
'make this replica primary because the primary is gone';

CREATE FUNCTION baton.remove_node(name text)
RETURNS void AS 'MODULE_PATHNAME', 'baton_remove_node' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.remove_node(text) IS 'on the primary: forget another member';

CREATE FUNCTION baton.set_priority(name text, priority integer)
RETURNS void AS 'MODULE_PATHNAME', 'baton_set_priority' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.set_priority(text, integer) IS
'on the primary: 0 never leads, higher is preferred';

CREATE FUNCTION baton.set_ack_policy(policy text)
RETURNS void AS 'MODULE_PATHNAME', 'baton_set_ack_policy' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.set_ack_policy(text) IS
'on the primary: what commits wait for, none, one, majority or all';

CREATE FUNCTION baton.set_designated(name text)
RETURNS void AS 'MODULE_PATHNAME', 'baton_set_designated' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.set_designated(text) IS
'on the primary of a group of two voters: this one alone is a quorum; NULL for the strict rule';

CREATE FUNCTION baton.set_preferred(name text)
RETURNS void AS 'MODULE_PATHNAME', 'baton_set_preferred' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.set_preferred(text) IS
'on the primary of a group of two voters: either goes on alone, and this one leads when it returns; NULL for the strict rule';

CREATE FUNCTION baton.pause()
RETURNS void AS 'MODULE_PATHNAME', 'baton_pause' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.pause() IS
'no member stands for election by itself, until resume() or promote()';

CREATE FUNCTION baton.resume()
RETURNS void AS 'MODULE_PATHNAME', 'baton_resume' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION baton.resume() IS 'members stand for election by themselves again';

-- Behind the views
CREATE FUNCTION baton.node_status(OUT group_name text, OUT group_id uuid, OUT node_id integer,
    OUT node_name text, OUT state text, OUT term bigint, OUT primary_name text, OUT gate text,
    OUT log_start pg_lsn, OUT log_end pg_lsn, OUT applied pg_lsn, OUT captured_lsn pg_lsn,
    OUT apply_error text, OUT log_error text, OUT reason text, OUT ack_policy text,
    OUT type text, OUT rule text, OUT rule_member text, OUT paused boolean,
    OUT members_committed boolean)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'baton_status' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION baton.node_list(OUT node_id integer, OUT node_name text, OUT type text,
    OUT priority integer, OUT state text, OUT joining boolean, OUT is_self boolean, OUT conninfo text,
    OUT detached boolean, OUT rule text, OUT acknowledged pg_lsn)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'baton_nodes' LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE VIEW baton.status AS SELECT * FROM baton.node_status();
COMMENT ON VIEW baton.status IS 'this node: its state, who leads, how far its log and its tables are';
CREATE VIEW baton.nodes AS SELECT * FROM baton.node_list();
COMMENT ON VIEW baton.nodes IS 'the members of the group, with the state in which this node sees them';

-- Between nodes
CREATE FUNCTION baton_rpc.describe(OUT group_name text, OUT group_id uuid, OUT node_id integer,
    OUT node_name text, OUT state text, OUT term bigint, OUT leader_name text, OUT leader_conninfo text,
    OUT protocol integer, OUT server_version integer, OUT architecture text, OUT encoding text,
    OUT clock_us bigint)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_describe' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION baton_rpc.add_member(name text, conninfo text, type text, priority integer,
    incarnation bigint,
    OUT node_id integer, OUT membership bytea)
RETURNS record AS 'MODULE_PATHNAME', 'baton_rpc_add_member' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION baton_rpc.remove_member(node_id integer)
RETURNS void AS 'MODULE_PATHNAME', 'baton_rpc_remove_member' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION baton_rpc.ack_obstacle()
RETURNS text[] AS 'MODULE_PATHNAME', 'baton_rpc_ack_obstacle' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION baton_rpc.set_paused(paused boolean)
RETURNS void AS 'MODULE_PATHNAME', 'baton_rpc_set_paused' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
