-- A replica takes no write of any kind, a superuser's neither.
\c baton_regress_b
\set VERBOSITY terse
select current_setting('is_superuser') as superuser;
insert into parent values (100);
update parent set id = id;
delete from parent;
truncate parent cascade;
merge into parent using (values (100)) s(id) on parent.id = s.id when not matched then insert values (s.id);
copy parent from stdin;
\.
create table not_here(id int);
create table not_here as select 1 as id;
select 1 as id into not_here;
drop table parent cascade;
comment on table parent is 'no';
grant select on parent to public;
create role baton_regress_nobody;
select * from parent order by 1 for update;
select nextval('generated_id_seq');
select setval('generated_id_seq', 100);
select lo_creat(-1);
select pg_logical_emit_message(true, 'x', 'y');
set transaction read write;
begin;
set transaction read write;
insert into parent values (100);
rollback;
begin read write;
insert into parent values (100);
rollback;
set default_transaction_read_only = off;
insert into parent values (100);
prepare p as insert into parent values (100);
execute p;
do $$ begin insert into parent values (100); end $$;
do $$ begin perform nextval('generated_id_seq'); end $$;
with w as (insert into parent values (100) returning id) select * from w;
explain (analyze, costs off, timing off, summary off) insert into parent values (100);
refresh materialized view nothing;
-- reads, temporary tables and maintenance are allowed
select count(*) from parent;
create temp table mine(id int);
insert into mine values (1), (2);
select count(*) from mine;
declare c cursor with hold for select id from mine;
fetch c;
close c;
vacuum parent;
analyze parent;
reindex table parent;
\c baton_regress_a
select count(*) as on_the_primary_is_nothing_of_this from parent where id = 100;
