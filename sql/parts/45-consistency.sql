
-- ---- reading your own writes ----

CREATE FUNCTION baton.position()
RETURNS text
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'baton_position';
COMMENT ON FUNCTION baton.position() IS
'token for everything committed here so far (primary) or applied here (replica); see baton.wait_for()';

CREATE FUNCTION baton.wait_for(token text, timeout interval DEFAULT '30s')
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'baton_wait_for';
COMMENT ON FUNCTION baton.wait_for(text, interval) IS
'wait until everything that a token of baton.position() stands for is visible on this node';

REVOKE ALL ON FUNCTION baton.position() FROM PUBLIC;
REVOKE ALL ON FUNCTION baton.wait_for(text, interval) FROM PUBLIC;
