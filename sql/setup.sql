-- Two databases of one server become a group: a is created with tables of every
-- kind and some rows, b joins and gets them.
\c baton_regress_a
set client_min_messages = warning;
create extension baton;
select state, group_name from baton.status;

create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create domain posint as int check (value > 0);
create table everything(
	id int primary key,
	b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(20,5), m money,
	t text, v varchar(20), c char(5), name name, by bytea, bit5 bit(5), vb varbit,
	d date, ts timestamp, tz timestamptz, ti time, tt timetz, iv interval,
	u uuid, j json, jb jsonb, x xml, ip inet, ci cidr, mac macaddr,
	p point, bx box, pg polygon, tsv tsvector, tsq tsquery,
	ar int[], at text[][], r int4range, mr int8multirange, oid_ oid, rc regclass, lsn pg_lsn,
	e mood, co pair, po posint, ea mood[], ca pair[], er numrange);
create table toasted(id int primary key, small int, big text);
alter table toasted alter big set storage external;
create table nokey(a int, b text);
create table parent(id int primary key);
create table child(id int primary key, parent int references parent on delete cascade);
create table parts(k int primary key, t text) partition by range (k);
create table parts_low partition of parts for values from (0) to (100);
create table parts_high partition of parts for values from (100) to (200);
create table generated(a int primary key, twice int generated always as (a * 2) stored, id int generated always as identity);
create table replident(a int, b int not null, c text);
create unique index replident_b on replident(b);
alter table replident replica identity using index replident_b;
create table audited(id int primary key, v text);
create table audit(who text, what text);
create function note_it() returns trigger language plpgsql as $$
begin insert into audit values (tg_op, new.v); return new; end $$;
create trigger note_it after insert on audited for each row execute function note_it();
insert into parent values (1), (2);
insert into child values (10, 1), (20, 2);
insert into nokey select g % 3, 'copied' from generate_series(1, 6) g;

-- Count and hash of every table of this database.
create function contents(out "table" text, out "rows" bigint, out hash text) returns setof record language plpgsql as $$
begin
	for "table" in select c.oid::regclass::text from pg_class c
		where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by c.relname collate "C"
	loop
		execute format('select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text from %s t', "table")
			into "rows", hash;
		return next;
	end loop;
end $$;
-- Waits until this node is in a state.
create function await(wanted text) returns text language plpgsql as $$
declare got text;
begin
	for i in 1..1200 loop
		select state into got from baton.status;
		exit when got = wanted;
		perform pg_sleep(0.05);
	end loop;
	return got;
end $$;

select format('host=%s port=%s user=%s', split_part(current_setting('unix_socket_directories'), ',', 1),
	current_setting('port'), session_user) as server \gset
\set dsn_a :server ' dbname=baton_regress_a'
\set dsn_b :server ' dbname=baton_regress_b'
select baton.create_group('regress', 'a', :'dsn_a') is not null as created;
select await('primary');
select group_name, node_name, state from baton.status;

\c baton_regress_b
set client_min_messages = warning;
create extension baton;
select baton.join_group(:'dsn_a', 'b', :'dsn_b') is not null as joined;
do $$
begin
	for i in 1..1200 loop
		exit when (select state from baton.status) = 'replica';
		perform pg_sleep(0.05);
	end loop;
end $$;
select group_name, node_name, state from baton.status;
select * from contents();
\c baton_regress_a
select * from contents();
select node_name, type, priority from baton.nodes order by node_name;
