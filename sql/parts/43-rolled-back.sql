-- Transactions that this node had and its group has not: saved before they were
-- rolled back.  Local: the rows are not replicated.  They stay until somebody has
-- forget_rolled_back() delete them, which works on every node.
CREATE TABLE baton.rolled_back (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt bigint NOT NULL,
    node_name text NOT NULL,
    source_node text NOT NULL,
    term bigint,
    xid bigint NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    commit_position pg_lsn,
    commit_time timestamptz NOT NULL,
    "table" text,
    key jsonb,
    operation text NOT NULL,
    old_row jsonb,
    new_row jsonb,
    saved_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    kept boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE baton.rolled_back IS
    'changes of transactions that this node has rolled back because its group does not have them; see baton.forget_rolled_back()';
COMMENT ON COLUMN baton.rolled_back.kept IS
    'not rolled back after all: the node was made primary by force before it was';

CREATE FUNCTION baton.forget_rolled_back(up_to bigint DEFAULT NULL)
RETURNS bigint AS 'MODULE_PATHNAME', 'baton_forget_rolled_back' LANGUAGE C VOLATILE PARALLEL UNSAFE
SECURITY DEFINER SET search_path = pg_catalog;
COMMENT ON FUNCTION baton.forget_rolled_back(bigint) IS
'delete the rows of baton.rolled_back up to this id, or all, on this node; returns their number';

-- What is being mended; written by baton alone.
CREATE TABLE baton.mending (source integer NOT NULL, term bigint NOT NULL, lsn pg_lsn NOT NULL, until pg_lsn NOT NULL,
    attempt bigint NOT NULL);
CREATE TABLE baton.mending_table (number integer PRIMARY KEY, definition bytea NOT NULL, whole boolean NOT NULL);
CREATE TABLE baton.mending_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number integer NOT NULL, kind "char" NOT NULL, record bytea NOT NULL);
GRANT SELECT ON baton.rolled_back TO pg_monitor;
