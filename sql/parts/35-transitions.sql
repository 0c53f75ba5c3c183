
-- ---- the states of a node ----

CREATE FUNCTION baton.transitions(OUT number integer, OUT from_state text, OUT to_state text,
    OUT cause text, OUT action text)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'baton_transitions' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION baton.transitions() IS
'every way from one state of a node to another: what causes it, and what is done';
