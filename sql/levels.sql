-- Replication levels: who may set what, and what cannot have one.
\c baton_regress_a
\set VERBOSITY terse
set client_min_messages = warning;
create table leveled(id serial primary key, v text);
create table pointer(id int primary key, leveled int references leveled);
create view seen as select * from leveled;
create temp table passing(id int);
select baton.set_replication('leveled', 'most');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('leveled', NULL);
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication(NULL, 'all');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('seen', 'none');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('leveled_id_seq', 'none');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('passing', 'none');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('pg_class', 'none');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication('baton.events', 'none');
\echo :LAST_ERROR_SQLSTATE
select baton.set_replication(1, 'none');
\echo :LAST_ERROR_SQLSTATE
security label for baton on view seen is 'none';
\echo :LAST_ERROR_SQLSTATE
security label for baton on column leveled.v is 'none';
\echo :LAST_ERROR_SQLSTATE
security label for baton on schema public is 'none';
\echo :LAST_ERROR_SQLSTATE
security label for baton on table leveled is 'x';
\echo :LAST_ERROR_SQLSTATE
set baton.default_replication = 'some';
\echo :LAST_ERROR_SQLSTATE
-- the owner of the table, with the right to call the function
create role baton_regress_owner;
create role baton_regress_other;
grant usage on schema baton to baton_regress_owner, baton_regress_other;
alter table leveled owner to baton_regress_owner;
set role baton_regress_owner;
select baton.set_replication('leveled', 'schema');
\echo :LAST_ERROR_SQLSTATE
reset role;
grant execute on function baton.set_replication(regclass, text) to baton_regress_owner, baton_regress_other;
set role baton_regress_other;
select baton.set_replication('leveled', 'schema');
\echo :LAST_ERROR_SQLSTATE
security label for baton on table leveled is 'schema';
\echo :LAST_ERROR_SQLSTATE
set role baton_regress_owner;
select baton.set_replication('leveled', 'schema');
insert into leveled(v) values ('only here');
reset role;
select table_name, kind, level from baton.tables where table_name in ('leveled', 'pointer', 'seen') order by 1;
-- back, and left out, with what hangs on it named
select baton.set_replication('leveled', 'all');
create function counts() returns bigint language sql begin atomic select count(*) from leveled; end;
select baton.set_replication('leveled', 'none');
\echo :LAST_ERROR_SQLSTATE
drop function counts();
select baton.set_replication('leveled', 'none');
create table heir() inherits (leveled);
begin;
select baton.set_replication('heir', 'all');
\echo :LAST_ERROR_SQLSTATE
rollback;
begin;
select baton.set_replication('leveled', 'all');
\echo :LAST_ERROR_SQLSTATE
rollback;
select table_name, kind, level from baton.tables where table_name in ('heir', 'leveled', 'pointer', 'seen') order by 1;
select baton.position() as token \gset
\c baton_regress_b
select baton.wait_for(:'token', '60s');
select table_name, kind, level from baton.tables where table_name in ('heir', 'leveled', 'pointer', 'seen') order by 1;
\set VERBOSITY terse
select baton.set_replication('pointer', 'none');
\echo :LAST_ERROR_SQLSTATE
security label for baton on table pointer is 'none';
\echo :LAST_ERROR_SQLSTATE
\c baton_regress_a
set client_min_messages = warning;
select baton.set_replication('leveled', 'all');
select baton.position() as token \gset
\c baton_regress_b
select baton.wait_for(:'token', '60s');
select * from seen;
select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'pointer'::regclass and contype = 'f';
\c baton_regress_a
set client_min_messages = warning;
drop table leveled, heir, pointer cascade;
drop owned by baton_regress_owner, baton_regress_other;
select baton.position() as token \gset
\c baton_regress_b
select baton.wait_for(:'token', '60s');
\c baton_regress_a
drop role baton_regress_owner, baton_regress_other;
