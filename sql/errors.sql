-- Bad input: each error has its SQLSTATE, and names the thing.
\c baton_regress_a
\set VERBOSITY terse
set client_min_messages = warning;
select baton.create_group('again', 'a', 'dbname=baton_regress_a');
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('nobody');
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('a');
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('b', after => 'party');
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('b', timeout => '-1s');
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('b', timeout => NULL);
\echo :LAST_ERROR_SQLSTATE
begin;
insert into parent values (2000);
select * from baton.failover('b');
\echo :LAST_ERROR_SQLSTATE
rollback;
select baton.promote();
\echo :LAST_ERROR_SQLSTATE
select baton.remove_node('nobody');
\echo :LAST_ERROR_SQLSTATE
select baton.set_priority('nobody', 1);
\echo :LAST_ERROR_SQLSTATE
select baton.set_priority('b', -1);
\echo :LAST_ERROR_SQLSTATE
select baton.wait_for('nonsense', '1s');
\echo :LAST_ERROR_SQLSTATE
select baton.wait_for(NULL, '1s') is null as null_in_null_out;
drop extension baton;
\echo :LAST_ERROR_SQLSTATE
\c postgres
\set VERBOSITY terse
drop database baton_regress_a;
\echo :LAST_ERROR_SQLSTATE
\c baton_regress_b
\set VERBOSITY terse
select * from baton.failover('b');
\echo :LAST_ERROR_SQLSTATE
select baton.promote();
\echo :LAST_ERROR_SQLSTATE
-- an ordinary role
\c baton_regress_a
\set VERBOSITY terse
create role baton_regress_role;
set role baton_regress_role;
select baton.stop();
\echo :LAST_ERROR_SQLSTATE
select * from baton.failover('b');
\echo :LAST_ERROR_SQLSTATE
select * from baton.status;
\echo :LAST_ERROR_SQLSTATE
select * from baton_rpc.describe();
\echo :LAST_ERROR_SQLSTATE
reset role;
drop role baton_regress_role;
