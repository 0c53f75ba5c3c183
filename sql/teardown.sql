-- The group is taken apart; what remains are two ordinary databases.
\c baton_regress_b
set client_min_messages = warning;
select baton.leave_group();
select count(*) as nodes from baton.nodes;
\c -
set client_min_messages = warning;
\set VERBOSITY terse
select baton.set_replication('parent', 'none');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
security label for baton on table parent is 'none';
select level from baton.tables where table_name = 'parent';
security label for baton on table parent is null;
insert into parent values (3000);
drop extension baton;
\c baton_regress_a
set client_min_messages = warning;
select node_name from baton.nodes;
select baton.leave_group();
insert into parent values (3001);
drop extension baton;
select count(*) as slots from pg_replication_slots where slot_name like 'baton%' and database like 'baton_regress%';
select nspname from pg_namespace where nspname like 'baton%';
