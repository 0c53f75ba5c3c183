# Corners of commands that change definitions, most of them found by PostgreSQL's own
# regression suite (make regress-oracle, which takes too long for every day).
#
# The failure prevented: apply that stops on a command, or a primary that refuses or
# crashes on one, because of how it is written.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => 'fsync = off');

# Runs SQL in one session of the primary, which must take it, and compares.
sub travels
{
	my ($name, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $r = $n1->try($sql);
	is($r->{text} =~ /ERROR:(.*)/ ? $1 : '', '', "$name: the primary takes it");
	caught_up($n1, $n2);
	same_dump($n1, $n2, "$name: definitions");
	return same_data($n1, $n2, "$name: rows");
}

travels('new names and owners of types', q{
	create role more_owner;
	create type colour as enum ('red'); alter type colour rename to hue; alter type hue owner to more_owner;
	create domain small as int constraint positive check (value > 0); alter domain small rename to tiny;
	alter domain tiny rename constraint positive to above_zero; alter domain tiny owner to more_owner;
	create type pair as (a int, b int); alter type pair rename attribute b to c; alter type pair owner to more_owner});

travels('what lives no longer than a temporary table', q{
	create temp table t(a int); create table lasting(a int); create table lasting_too(a int primary key); create table lasting_too_2(l int);
	create function takes(t) returns int language sql as 'select 1'; comment on function takes(t) is 'x';
	create function gives() returns setof t language sql as 'select * from t'; drop function gives();
	create domain over_t as t[]; comment on domain over_t is 'x'; drop domain over_t;
	create function reads() returns bigint language sql as 'select count(*) from t';
	create type pg_temp.e as enum ('a'); alter type pg_temp.e add value 'b'; alter type pg_temp.e rename to f;
	create schema beside; create table beside.t(a int primary key); set search_path = public, beside;
	drop table t, lasting cascade});

my $spaces = '-c allow_in_place_tablespaces=on';
{
	local $ENV{PGOPTIONS} = $spaces;
	$n1->safe_psql('postgres', "create tablespace only_here location ''");
	travels('tablespaces that the replica lacks', q{
		create table placed(a int primary key using index tablespace only_here, b int) tablespace only_here;
		create index on placed(b) tablespace only_here; alter table lasting_too set tablespace only_here;
		create table placed_parts(a int) partition by list (a) tablespace only_here;
		set default_tablespace = 'pg_global'; create table placed_1 partition of placed_parts for values in (1);
		set default_tablespace = 'pg_default'; create table placed_2 partition of placed_parts for values in (2) partition by list (a) tablespace only_here;
		set default_tablespace = 'only_here'; create table by_default(a int primary key); reset default_tablespace;
		create table placed_as tablespace only_here as select 1 as one;
		create schema placed_in create table inside(a int primary key) tablespace only_here;
		alter table all in tablespace only_here set tablespace pg_default; alter index all in tablespace only_here set tablespace pg_default;
		drop table placed, placed_parts, by_default});
}

travels('functions that set a role', q{
	create function as_owner() returns text language sql set role = 'more_owner' return current_user;
	alter function as_owner() set work_mem = '8MB'});

travels('EXPLAIN ANALYZE that makes something', q{
	explain (analyze, costs off, summary off, timing off) create materialized view explained as select random() as r;
	explain (analyze, costs off, summary off, timing off) create table explained_table as select random() as r});

travels('TRUNCATE of partitions with a foreign key', q{
	create table referred(a int primary key); create table parts(a int references referred) partition by range (a);
	create table parts_1 partition of parts for values from (0) to (100);
	create table parts_2 partition of parts for values from (100) to (200) partition by range (a);
	create table parts_21 partition of parts_2 for values from (100) to (200);
	insert into referred values (1), (150); insert into parts values (1), (150); truncate parts_1;
	truncate referred, parts; insert into referred values (2); insert into parts values (2)});

# Tests what is said of a table's indexes on the replica.
sub indexes_are
{
	my ($table, $wanted, $name) = @_;
	caught_up($n1, $n2);
	my $query = "select string_agg(indexrelid::regclass || ' ' || indisvalid, ', ' order by 1) from pg_index where indrelid = '$table'::regclass";
	is($n2->run($query), $wanted, "$name: on the replica");
	return is($n1->run($query), $wanted, "$name: on the primary");
}

$n1->run('create table twins(a int, b int) partition by list (b); create table twins_1 partition of twins for values in (0); insert into twins values (1, 0), (1, 0)');
ok(!$n1->try('create unique index concurrently on twins_1(a, b)')->{ok}, 'an index cannot be built');
indexes_are('twins_1', 'twins_1_a_b_idx false', 'the invalid index');
$n1->run('create unique index whole on only twins(a, b); alter index whole attach partition twins_1_a_b_idx');
$n1->run('insert into twins values (2, 0)');
$n1->run(q{delete from twins where ctid = '(0,1)'});
$n1->run('reindex index concurrently twins_1_a_b_idx');
indexes_are('twins_1', 'twins_1_a_b_idx true', 'REINDEX makes it valid');
$n1->run('create index concurrently if not exists made_apart on twins_1(b); create index concurrently if not exists made_apart on twins_1(b)');
$n1->run('create table its_name(i int primary key); create index concurrently if not exists its_name on twins_1(b)');
travels('indexes that were invalid', 'alter index whole attach partition twins_1_a_b_idx; drop index concurrently made_apart');

travels('the order of CLUSTER', q{
	cluster lasting_too using lasting_too_pkey; create table heaps(a int primary key) partition by range (a);
	create table heaps_1 partition of heaps for values from (0) to (10); create temp table own(a int primary key); cluster own using own_pkey});
$n1->run('cluster heaps using heaps_pkey');

travels('values without an input function', q{
	create table trees as select relname, relpartbound from pg_class where relname like 'parts%' order by 1});

travels('LIKE a temporary table', q{
	select 1\; create temp table model(a int default 7 primary key, b text collate "C" not null, c int generated always as (a * 2) stored,
		d int, constraint big check (a > 0));
	create table like_it(x int, like model including all, y int)\; insert into like_it(x, b) values (1, 'b')\; create table like_2(LIKE pg_temp.model);
	create table like_both(like model including defaults excluding constraints, like lasting_too_2); });

travels('commands whose functions write', q{
	create table counter(n int); insert into counter values (0); create table counter_log(id serial primary key);
	create function count_up() returns int language plpgsql as $$ begin
		update counter set n = n + 1; insert into counter_log default values;
		return (select n from counter); end $$;
	create table counted(a int primary key); insert into counted values (1), (2);
	alter table counted add column number int default count_up(); update counter set n = n + 1;
	create table by_bound(a int) partition by range (a);
	create or replace function makes() returns int language plpgsql as $$ begin create table made_too(a int primary key); return 5; end $$;
	create table bound_2 partition of by_bound for values from (100) to (100 + makes())});

travels('the schema public', q{drop schema public cascade; create schema public});

done_testing;
