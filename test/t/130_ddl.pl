# Commands that change definitions travel in the stream: whatever the way in which a
# session gives them, the replica's dump is that of the primary, and after a failover
# they travel the other way.
#
# The failure prevented: a replica that lacks a column, an index or a grant is found
# out when it is needed, after a failover.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => "wal_level = logical\nlogical_decoding_work_mem = 64kB");

# Runs SQL in one session of the primary, errors included, and compares.
sub travels
{
	my ($from, $to, $name, $sql) = @_;
	$from->psql($BatonCluster::DB, $sql, on_error_stop => 0);
	caught_up($from, $to);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same_dump($from, $to, $name);
}

my @mix = (
	'types, tables and sequences' => q{
		create schema mix; set search_path = mix, public;
		create type mood as enum ('sad', 'ok', 'happy'); create type pair as (a int, b text);
		create domain posint as int check (value > 0);
		create sequence cached cache 20; create sequence down increment -2; create sequence round maxvalue 5 cycle;
		create table serials(id serial primary key, v text);
		create table ident(id bigint generated always as identity primary key, m mood, p pair, d posint, ms mood[],
			at timestamptz default now(), u uuid default gen_random_uuid(), f float8 default random());
		insert into serials(v) select 'v' || g from generate_series(1, 40) g;
		insert into ident(m, p, d, ms) select 'ok', row(g, 'x')::pair, g, array['sad', 'happy']::mood[] from generate_series(1, 35) g;
		select nextval('cached'), nextval('down') from generate_series(1, 37);
		select nextval('round') from generate_series(1, 7);
		alter type mood add value 'great' before 'happy';
		update ident set m = 'great' where id % 3 = 0;
		alter type pair add attribute c int; alter domain posint add constraint small check (value < 1000)},
	'tables without a key' => q{
		create table mix.nokey(a int, b text); insert into mix.nokey select g % 5, 'dup' from generate_series(1, 30) g;
		update mix.nokey set b = 'upd' where a = 2; delete from mix.nokey where a = 3;
		create table mix.lost(a int primary key, b text); insert into mix.lost values (1, 'x'), (2, 'y');
		alter table mix.lost drop constraint lost_pkey; update mix.lost set b = 'z' where a = 1; delete from mix.lost where a = 2},
	'partitions' => q{
		set search_path = mix;
		create table part(k int primary key, t text) partition by range (k);
		create table part1 partition of part for values from (0) to (100);
		create table part2 partition of part for values from (100) to (200);
		insert into part select g, repeat('t', 3000) from generate_series(0, 199) g;
		alter table part detach partition part2; create table part3 (like part including all);
		alter table part attach partition part3 for values from (200) to (300);
		insert into part values (250, 'x');
		alter table part detach partition part1 concurrently;
		create statistics st on k, t from part2; create index on part(t); drop table part2},
	'tables made of queries' => q{
		create table mix.ctas as select g as n, random() as r, g::numeric(8, 2) as m from generate_series(1, 20) g;
		select * into mix.into_it from mix.ctas where n < 5;
		prepare p(int) as select $1 as one, clock_timestamp() as at; create table mix.prepared as execute p(7);
		do $$ declare x int := 5; begin create table mix.in_do as select x as v, random() as r; end $$;
		create materialized view mix.mv as select count(*) n, random() r from mix.ctas; refresh materialized view mix.mv;
		create materialized view mix.later as select n from mix.ctas with no data;
		create table mix.some as select n from mix.ctas with no data;
		create table if not exists mix.some as select 1 as n; create temp table tmp_as as select 1 as n},
	'rewrites' => q{
		set search_path = mix;
		alter table ident add column added text default clock_timestamp()::text;
		alter table ident alter column d type bigint using d * 10;
		alter table ident rename column added to was_added;
		alter table serials add column vol double precision default random(), add column n bigserial;
		alter table serials alter v type text using v || random();
		create table logged(i int primary key); insert into logged values (1);
		alter table serials set (fillfactor = 70); alter table ctas add primary key (n)},
	'indexes' => q{
		create index concurrently on mix.ident(m); create unique index concurrently no_such on mix.nokey(b);
		drop index mix.no_such; create index plain on mix.serials(v); reindex index mix.plain;
		create index expr on mix.serials((lower(v))) where id > 3; drop index concurrently mix.plain},
	'functions and triggers' => q{
		set search_path = mix;
		create function bump() returns trigger language plpgsql as $$ begin new.v := coalesce(new.v, '') || '!'; return new; end $$;
		create trigger tr before insert on serials for each row execute function bump();
		insert into serials(v) values ('trig');
		create function makes() returns void language plpgsql as $$ begin
			create table in_function(i int primary key, at timestamptz default now()); insert into in_function values (1);
			execute 'alter table in_function add j int default 3'; end $$;
		select makes();
		create procedure pr() language plpgsql as $$ begin create table in_proc(x int primary key); commit;
			insert into in_proc values (1); commit; create table gone_in_proc(); rollback; end $$;
		call pr();
		do $$ begin for i in 1..3 loop execute format('create table loop_%s(i int primary key default %s)', i, i);
			execute format('insert into loop_%s default values', i); end loop; end $$;
		create function later() returns int language sql begin atomic select 1; end;
		create aggregate total(int) (sfunc = int4pl, stype = int); create operator === (leftarg = int, rightarg = int, function = int4eq)},
	'what fails leaves nothing' => q{
		create table mix.twice(i int primary key); create table mix.twice(i int);
		begin; create table mix.gone(i int); rollback;
		begin; savepoint a; create table mix.gone(x int); rollback to a; create table mix.stays(x int primary key);
		insert into mix.stays values (7); savepoint b; alter table mix.stays add y int; rollback to b; commit;
		do $$ begin begin create table mix.gone(i int); raise 'no'; exception when others then null; end; create table mix.kept(i int primary key); end $$;
		create table mix.half(i int references mix.nowhere)},
	'several in one string' => q{create table mix.m1(i int primary key)\; insert into mix.m1 values (1)\; alter table mix.m1 add j int default 2;},
	'temporary objects' => q{
		create temp table tmp(x int); insert into tmp values (1); create index on tmp(x); comment on table tmp is 'temporary';
		create view over_tmp as select * from tmp; create temp view tv as select 1 as one; comment on view tv is 'x';
		create temp sequence ts; alter table tmp add y int; grant select on tmp to public; drop view over_tmp; drop table tmp;
		create function pg_temp.tf() returns int language sql as 'select 1'; drop function pg_temp.tf();
		create type pg_temp.tt as (a int); create temp table t2(id serial primary key); alter table t2 rename to t3;
		create trigger x before insert on t3 for each row execute function mix.bump(); truncate t3; analyze t3;
		create table mix.beside(i int primary key)},
	'roles, grants and policies' => q{
		create role mix_reader; create role mix_owner login password 'secret' valid until '2040-01-01'; alter role mix_owner set work_mem = '8MB';
		grant mix_reader to mix_owner; grant usage, create on schema mix to mix_reader, mix_owner;
		grant select on all tables in schema mix to mix_reader; grant update (v) on mix.serials to mix_reader;
		alter default privileges in schema mix grant select on tables to mix_reader;
		create policy pol on mix.serials to mix_reader using (id > 0); alter table mix.serials enable row level security;
		alter table mix.kept owner to mix_owner; set role mix_owner; create table mix.owned(id serial primary key);
		insert into mix.owned default values; grant all on mix.owned to mix_reader; reset role;
		set session authorization mix_owner; create view mix.ov as select * from mix.owned; reset session authorization;
		reassign owned by mix_owner to mix_reader; create table mix.dropped(i int primary key); alter table mix.dropped owner to mix_owner;
		drop owned by mix_owner; drop role mix_owner},
	'comments, renames and settings' => q{
		comment on table mix.serials is 'a comment; with ''quotes'''; comment on column mix.serials.v is 'col';
		alter sequence mix.cached restart with 5000; select setval('mix.serials_id_seq', 700); alter sequence mix.down owned by mix.ctas.n;
		alter table mix.stays rename to stayed; alter schema mix rename to mix2; alter schema mix2 rename to mix;
		alter function mix.later() rename to now_renamed; alter database app set work_mem = '5MB';
		set datestyle = 'SQL, DMY'; create table mix.dates(d date primary key default '02/03/2020'); reset datestyle;
		set standard_conforming_strings = off; create view mix.esc as select 'a\\\\b'::text as t; reset standard_conforming_strings;
		set check_function_bodies = off; create function mix.unchecked() returns int language sql as 'select no_such()'; reset check_function_bodies;
		set timezone = 'Asia/Tokyo'; create table mix.zoned(t timestamptz primary key default '2020-01-01 00:00'); reset timezone;
		create view mix.vw as select * from mix.serials where id < 10; create or replace rule r as on insert to mix.vw do instead nothing;
		create publication pub for table mix.ctas; create collation mix.coll from "C"},
	'an extension' => q{create extension hstore schema mix; create table mix.hs(id int primary key, h mix.hstore); insert into mix.hs values (1, 'a=>1'); alter extension hstore update},
	'event triggers' => q{
		create table mix.seen(n serial primary key, tag text);
		create function mix.note() returns event_trigger language plpgsql as $$ begin insert into mix.seen(tag) values (tg_tag); end $$;
		create event trigger et on ddl_command_end execute function mix.note();
		create table mix.noticed(i int primary key); alter table mix.noticed add j int; drop event trigger et},
	'large rows and generated columns' => q{
		create table mix.gen(a int primary key, b int generated always as (a * 2) stored); insert into mix.gen values (1), (2); update mix.gen set a = 10 where a = 2;
		create table mix.big(id int primary key, body text); alter table mix.big alter body set storage external;
		insert into mix.big select g, repeat(md5(g::text), 2000) from generate_series(1, 20) g; update mix.big set id = id + 100;
		begin; create table mix.streamed(i int primary key, v text); insert into mix.streamed select g, repeat('x', 100) from generate_series(1, 3000) g;
		alter table mix.streamed add w float default random(); savepoint a; alter table mix.streamed drop v; rollback to a;
		update mix.streamed set v = 'y' where i < 100; commit; drop table mix.loop_3},
);
while (my ($name, $sql) = splice @mix, 0, 2)
{
	travels($n1, $n2, $name, $sql);
}

# ---- who may give commands ----

my $r = $n1->try(q{create role plain login; grant all on schema mix to plain});
ok($r->{ok}, 'a plain role') or diag($r->{text});
$r = $n1->try(q{select pg_logical_emit_message(true, 'baton.ddl', repeat('x', 32) || 'create table forged()'); select 1}, user => 'plain');
$n1->try(q{select pg_logical_emit_message(false, 'baton.sequence', repeat('y', 52))}, user => 'plain');
$n1->try(q{select pg_logical_emit_message(true, 'shop', 'order 1')}, user => 'plain');
$n1->try('create table mix.by_plain(id serial primary key)', user => 'plain');
travels($n1, $n2, 'a forged message does no harm', 'create table mix.behind(i int primary key)');
is($n2->run(q(select count(*) from pg_class where relname = 'forged')), 0, 'nor is it run');
# who may read messages can write them again, and it is worth nothing
$n1->run(q{create role reader login replication; select pg_create_logical_replication_slot('reader', 'test_decoding'); select baton.position()});
$n1->run(q{create table mix.counted(n serial primary key); drop table mix.counted; create table mix.counted(n serial primary key)});
$r = $n1->try(q{select pg_logical_emit_message(true, 'baton.ddl', substr(data, position('content:'::bytea in data) + 8))
	from pg_logical_slot_get_binary_changes('reader', null, null) where position('baton.ddl'::bytea in data) > 0 and position('drop table mix.counted'::bytea in data) > 0; select 1}, user => 'reader');
ok($r->{ok}, 'a message is written again') or diag($r->{text});
travels($n1, $n2, 'and not carried out', q{insert into mix.counted default values});
like($n1->run(q(select string_agg(detail, ' ') from baton.stream_records() where type = 'MESSAGE')), qr/baton\.ddl/, 'it is a message like others');
is($n2->run('select count(*) from mix.counted'), 1, 'the table is there');
is($n1->run(q(select string_agg(substr(detail, 1, 16), ' ') from baton.stream_records() where type = 'MESSAGE' and detail ~ '^(baton.ddl|shop)')) =~ /shop/ ? 1 : 0, 1,
	'messages of applications are carried');
is($n2->run(q(select tableowner from pg_tables where tablename = 'by_plain')), 'plain', 'a plain role\'s table is its own');

# ---- the other way ----

$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
caught_up($n2, $n1);
same_dump($n2, $n1, 'equal after a failover');
is($n2->run(q(select nextval('mix.serials_id_seq'))), 701, 'a sequence goes on without a gap');
travels($n2, $n1, 'commands the other way', q{
	create table mix.after(id serial primary key, v text default now()::text); insert into mix.after default values;
	alter table mix.after add w float default random(); create index on mix.after(v); drop table mix.big});

done_testing;
