-- baton: schemas and tables
\echo Use "CREATE EXTENSION baton" to load this file. \quit

CREATE SCHEMA baton;
COMMENT ON SCHEMA baton IS 'replication groups: functions and views for people';
CREATE SCHEMA baton_rpc;
COMMENT ON SCHEMA baton_rpc IS 'replication groups: what nodes call of each other';

-- What has happened to this node.  Local: its rows are not replicated.
CREATE TABLE baton.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    term bigint NOT NULL,
    detail text NOT NULL
);
COMMENT ON TABLE baton.events IS 'what has happened to this node, newest last';

-- Tables that have got REPLICA IDENTITY FULL from baton, by OID, to be taken back when
-- they get a primary key.  Local: written by baton alone on every node.
CREATE TABLE baton.full_identity (relation oid PRIMARY KEY);
-- By name, for joining nodes.
CREATE VIEW baton_rpc.full_identity AS
SELECT i.relation, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
FROM baton.full_identity i JOIN pg_catalog.pg_class c ON c.oid = i.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace;
GRANT SELECT ON baton_rpc.full_identity TO PUBLIC;

-- The last message of the stream that belongs to no transaction and was written to this
-- server's WAL.  One row, local, written by the applier alone.
CREATE TABLE baton.message_mark (term bigint NOT NULL, frame pg_lsn NOT NULL, number bigint NOT NULL);
