# Selective replication: what replicas have of a table is as its level says, whatever
# commands, changes of levels under load, restarts, failovers and joins come by.
#
# The failures prevented: apply that stops at a table which is not there, rows that are
# missing or doubled after a change of levels, and stale rows that a failover brings up.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use Test::More;

my $conf = "logical_decoding_work_mem = 64kB\nbaton.election_timeout = 20s\nbaton.failover_on_shutdown = off";
my ($n1, $n2) = BatonCluster->group(2, conf => $conf);

sub exists_on { my ($node, $name) = @_; return $node->run("select to_regclass('$name') is not null"); }
sub rows { my ($node, $table) = @_; return $node->run("select count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from $table t"); }
sub level { my ($node, $name) = @_; return $node->run("select level from baton.tables where table_name = '$name'"); }

# Runs SQL of the primary, which must not fail; the replica follows.
sub does
{
	my ($from, $to, $sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $r = $from->try($sql);
	ok($r->{ok}, $name) or diag($r->{text});
	caught_up($from, $to);
	return $r;
}

# ---- new tables ----

does($n1, $n2, q{
	create schema other; create role reader;
	create table plain(id serial primary key, v text); insert into plain(v) select 'p' || g from generate_series(1, 10) g;
	set baton.default_replication = 'schema';
	create table bare(id serial primary key, v text); insert into bare(v) values ('b1'), ('b2');
	create table bare_as as select g as n from generate_series(1, 5) g; create index on bare(v);
	alter table bare_as add column r float default random();
	create table parted(k int primary key, v text) partition by range (k);
	set baton.default_replication = 'none';
	create table parted1 partition of parted for values from (0) to (100); insert into parted values (1, 'x');
	create table gone(id serial primary key, v text); insert into gone(v) values ('g1');
	create table gone_as as select 1 as n; select 2 as n into gone_into;
	create table kids() inherits (gone); create index gone_v on gone(v); comment on index gone_v is 'x';
	comment on table gone is 'c'; grant select on gone to reader; grant usage on sequence gone_id_seq to reader;
	alter table gone add column w int default 3; alter table gone rename column w to w2; alter table gone rename to gone2;
	alter table gone2 set schema other; alter table other.gone2 set schema public; alter table gone2 rename to gone;
	create statistics gone_st on id, v from gone; alter statistics gone_st set statistics 10;
	create function noop() returns trigger language plpgsql as 'begin return new; end';
	create trigger gone_tr before insert on gone for each row execute function noop();
	alter trigger gone_tr on gone rename to gone_tr2; create policy gone_p on gone; create rule gone_r as on delete to gone do also select 1;
	alter sequence gone_id_seq restart with 50; select setval('gone_id_seq', 60); insert into gone(v) values ('g2');
	create sequence gone_own owned by gone.id; cluster gone using gone_pkey; truncate kids;
	update gone set v = v || '!'; delete from gone where v = 'g1!'; create index concurrently gone_c on gone(w2);
	drop index concurrently gone_c; create table gone_p(k int) partition by list (k);
	create table gone_p1 partition of gone_p for values in (1); insert into gone_p values (1)},
	'tables at all levels');
is($n1->run("select string_agg(table_name || ' ' || level, ', ' order by table_name) from baton.tables"),
	'bare schema, bare_as schema, gone none, gone_as none, gone_into none, gone_p none, gone_p1 none, kids none, parted schema, parted1 schema, plain all',
	'the levels of new tables');
is($n2->run("select string_agg(table_name || ' ' || level, ', ' order by table_name) from baton.tables"),
	'bare schema, bare_as schema, parted schema, parted1 schema, plain all', 'what the replica has of them');
is(rows($n2, $_) =~ /^0/ ? 1 : 0, 1, "$_ is empty there") for qw(bare bare_as parted);
is(exists_on($n2, $_), 'f', "$_ is not there") for qw(gone_id_seq gone_own gone_v);

# ---- commands about several ----

my $r = does($n1, $n2, q{
	set baton.default_replication = 'none'; create table x1(id int primary key); create table x2(id int primary key, v text);
	create table x3(id int primary key); create sequence sq owned by x2.id;
	set baton.default_replication = 'schema'; create table s1(id int primary key, v text); reset baton.default_replication;
	create table a1(id int primary key, x int references x1, s int constraint to_s references s1);
	create table a2(id int primary key, constraint multi foreign key (id) references x2(id));
	create table a3(id int primary key); alter table a3 add column x int references x1, add y int;
	alter table a3 add constraint late foreign key (id) references s1(id) not valid;
	alter table a3 validate constraint late; comment on constraint late on a3 is 'not there'; alter table a3 rename constraint late to later;
	alter table a3 drop constraint later, add z int; insert into s1 values (1); insert into x1 values (7); insert into a1 values (1, 7, 1);
	grant select on x1, a1, s1 to reader; create publication pub for table a1, x1; alter publication pub add table x2;
	insert into x2 values (1); insert into a2 values (1); truncate a2, x2, s1 cascade; drop table x3, a2},
	'commands about tables of several levels');
like($r->{text}, qr/foreign key from table "a1" to table "x1" is left out on the replicas/, 'a foreign key into none gives a warning');
like($r->{text}, qr/replication level of "a1" is "all", that of "s1" is "schema"/, 'and so does one into schema');
is($n2->run(q{select count(*) from pg_constraint where contype = 'f'}), 0, 'foreign keys that cannot be there are not');
is($n2->run(q{select string_agg(attname, ' ' order by attnum) from pg_attribute where attrelid = 'a3'::regclass and attnum > 0}), 'id x y z',
	'the rest of such a command is carried out');
is($n2->run(q{select string_agg(tablename, ' ') from pg_publication_tables}), 'a1', 'a publication lacks what is left out');
is($n2->run(q{select has_table_privilege('reader', 'a1', 'select')}), 't', 'a grant on several');
is(exists_on($n2, $_), 'f', "$_ is dropped") for qw(a2 x3);

$r = does($n1, $n2, q{
	create view v1 as select * from x1; create view v2 as select v1.id from v1 join a1 using (id);
	create materialized view mv as select count(*) from x2; refresh materialized view mv;
	create view v3 as select * from a1; create or replace view v1 as select id from x1 where id > 0;
	comment on view v2 is 'x'; alter view v2 rename to v22; alter view v22 rename to v2; grant select on v1, v3 to reader},
	'views over what is left out');
like($r->{text}, qr/WARNING:.*view "v2" is left out of replication.*uses "v1"/s, 'are left out with a warning');
is(exists_on($n2, 'v3'), 't', 'others are there');
is(exists_on($n2, $_), 'f', "$_ is not") for qw(v1 v2 mv);

does($n1, $n2, q{create materialized view of_s1 as select id from s1; create unique index on of_s1(id);
	insert into s1 values (5), (6); refresh materialized view concurrently of_s1; create table if not exists x1(id int);
	create sequence if not exists sq; create table if not exists s1(i int)}, 'a view over a table without rows, and what exists');
is(rows($n2, 'of_s1'), rows($n1, 'of_s1'), 'has its rows');
is(exists_on($n2, $_), 'f', "$_ is not there") for qw(x1 sq);

for my $refused (
	[ 'a function', 'create function f() returns bigint language sql begin atomic select count(*) from x1; end' ],
	[ 'a row type', 'create table typed(c x1)' ],
	[ 'a rule', 'create rule r as on insert to a1 do also insert into x1 values (new.id)' ],
	[ 'a policy', 'create policy p on a1 using (exists (select 1 from x1))' ],
	[ 'a view that is there', 'create or replace view v3 as select a1.* from a1 join x1 on x = x1.id' ],
	[ 'a child', 'alter table a1 add column cid int; create table heir(id int primary key); alter table heir inherit x1' ],
	[ 'a partition', 'create table p1(k int); alter table gone_p attach partition p1 for values in (2)' ],
	[ 'a table made alike', 'create table alike(like x1 including all)', '0A000' ],
	[ 'a label in disguise', q(security label on table a1 is 'schema'), '0A000' ],
	[ 'a sequence', 'create sequence free; alter sequence free owned by x1.id' ])
{
	$r = $n1->try($refused->[1]);
	is($r->{state}, $refused->[2] // '2BP01', "$refused->[0] that needs what is left out is refused") or diag($r->{text});
}
caught_up($n1, $n2);

# ---- changes of levels ----

# Test: tables, and what belongs to them, are the same on both nodes.
sub same_table
{
	my ($a, $b, $name, @tables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same_dump($a, $b, $name, map { "--table=$_" } @tables);
}

does($n1, $n2, q{
	create type mood as enum ('low', 'high');
	create table full_of("Id" bigint generated by default as identity (start 100 increment 5) primary key, s serial, m mood default 'low',
		body text collate "C" default 'it''s \n', g int generated always as (s * 2) stored, n numeric(8, 2) check (n > 0), d date not null default '2020-01-02')
		with (fillfactor = 80);
	alter table full_of alter body set storage external, alter n set statistics 77;
	create index full_body on full_of(left(body, 20)) where s > 1; create unique index on full_of(s) include (n); alter table full_of cluster on full_of_pkey;
	comment on table full_of is 'all of it'; comment on column full_of.body is 'b'; comment on index full_body is 'i';
	grant select (body), update on full_of to reader; revoke delete on full_of from current_user; alter table full_of owner to reader;
	create trigger full_tr before insert on full_of for each row execute function noop(); alter table full_of disable trigger full_tr;
	alter table full_of enable row level security; create policy full_p on full_of to reader using (s > 0);
	create statistics full_st on s, n from full_of; insert into full_of(body, n) select repeat(md5(g::text), g * 20), g from generate_series(1, 200) g;
	alter table full_of drop column d; alter table full_of add column later int default 7;
	create table refers(id int primary key references full_of, v text); insert into refers select "Id", 'r' from full_of limit 5;
	create view over_full as select body from full_of; create materialized view mat as select count(*) n from full_of;
	create view over_mat as select * from mat; grant select on over_mat to reader; comment on view over_mat is 'om'},
	'a table with all that it can have');
my @family = qw(full_of refers over_full mat over_mat);
same_table($n1, $n2, 'is the same there', @family);

$r = does($n1, $n2, q{select baton.set_replication('full_of', 'schema')}, 'all to schema');
like($r->{text}, qr/foreign key from table "refers" to table "full_of" is left out/, 'the foreign key is named');
is(rows($n2, 'full_of'), '0|0', 'its rows are gone there');
is(level($n2, 'full_of'), 'schema', 'the replica knows the level');
is($n2->run(q{select count(*) from pg_constraint where conname = 'refers_id_fkey'}), 0, 'and has lost the foreign key');
does($n1, $n2, q{insert into full_of(n) values (1000); update full_of set n = n + 1 where s < 5; select baton.set_replication('full_of', 'all')}, 'and back');
same_table($n1, $n2, 'schema to all: the same again', @family);

$r = does($n1, $n2, q{select baton.set_replication('full_of', 'none')}, 'all to none');
like($r->{text}, qr/view "$_" is left out of replication/, "view $_ is named") for qw(over_full mat over_mat);
is(exists_on($n2, $_), 'f', "$_ is gone there") for qw(full_of full_of_s_seq over_full mat over_mat);
does($n1, $n2, q{insert into full_of(n) values (2000); alter table full_of add column more int default 5; refresh materialized view mat}, 'the table lives on');
does($n1, $n2, q{select baton.set_replication('full_of', 'all')}, 'none to all');
same_table($n1, $n2, 'none to all: the same again', @family);
is($n1->run(q{select string_agg(distinct level, ' ') from baton.tables where table_name in ('full_of', 'refers', 'over_full', 'mat', 'over_mat')}), 'all', 'all levels');
does($n1, $n2, q{insert into full_of(n) values (3000); delete from full_of where s = 3 and "Id" not in (select id from refers)}, 'it goes on');
same_table($n1, $n2, 'and stays the same', @family);
is($n1->run(q{select last_value from full_of_s_seq}), $n2->run(q{select last_value from full_of_s_seq}), 'its sequence too');

does($n1, $n2, q{begin; select baton.set_replication('full_of', 'schema'); insert into full_of(n) values (4000); rollback;
	begin; savepoint a; select baton.set_replication('full_of', 'none'); rollback to a; insert into full_of(n) values (5000); commit}, 'rolled back');
same_table($n1, $n2, 'nothing has happened', @family);
does($n1, $n2, q{begin; security label for baton on table plain is 'schema'; insert into plain(v) values ('in between');
	security label for baton on table plain is null; insert into plain(v) values ('behind'); commit}, 'there and back in one transaction');
same_table($n1, $n2, 'the same', 'plain');
does($n1, $n2, q{select baton.set_replication('parted1', 'none'); insert into parted values (2, 'y'); alter table parted add w int}, 'one partition');
is(exists_on($n2, 'parted1'), 'f', 'is left out');
does($n1, $n2, q{select baton.set_replication('parted', 'all'); insert into parted values (3, 'z')}, 'a partitioned table');
same_table($n1, $n2, 'with its partitions', 'parted', 'parted1');
does($n1, $n2, q{select baton.set_replication('gone', 'schema')}, 'none to schema');
same_table($n1, $n2, 'an empty one', 'gone') if $n1->run('truncate gone') eq '';

done_testing;
