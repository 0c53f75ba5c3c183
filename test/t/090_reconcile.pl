# A lost primary comes back with commits that the new one does not have: they are
# saved in baton.rolled_back, and exactly the rows that they touched get the new
# primary's version, without a full copy and without a person.
#
# The failure prevented: a node that comes back with rows that nobody else has, and
# shows them to readers for ever; one that loses them without a trace; one that
# has to be copied again for a single row.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my $schema = <<'SQL';
create table t(id int primary key, v text, u int unique);
create table pair(a int, b text, v numeric, primary key (a, b));
create table num(n numeric primary key, v text);
create table keyless(x int, y text);
alter table keyless replica identity full;
create table full_pk(id int primary key, v text);
alter table full_pk replica identity full;
create table trunc(id int primary key, v text);
create table big(id int primary key, body text, n int);
alter table big alter body set storage external;
create table part(id int, k int, v text, primary key (id, k)) partition by list (k);
create table part1 partition of part for values in (1);
create table part2 partition of part for values in (2);
create type mood as enum ('sad', 'ok', 'happy');
create table moods(id int primary key, m mood, ms mood[], g int generated always as (id * 2) stored);
create table parent(id int primary key);
create table child(id int primary key, p int references parent);
create table quiet(id int primary key, v text);
create table ident(id int generated always as identity primary key, v text);
insert into t select g, 'start', g from generate_series(1, 100) g;
insert into pair select g, 'b' || g, g from generate_series(1, 20) g;
insert into num select g, 'start' from generate_series(1, 10) g;
insert into keyless select g % 5, 'y' || g from generate_series(1, 20) g;
insert into full_pk select g, 'start' from generate_series(1, 20) g;
insert into trunc select g, 'start' from generate_series(1, 20) g;
insert into big select g, repeat('x', 20000), 0 from generate_series(1, 10) g;
insert into part select g, 1 + g % 2, 'start' from generate_series(1, 20) g;
insert into moods select g, 'ok', '{sad,ok}' from generate_series(1, 10) g;
insert into parent select generate_series(1, 10);
insert into child select g, g from generate_series(1, 10) g;
insert into quiet select g, 'start' from generate_series(1, 10) g;
insert into ident(v) select 'start' from generate_series(1, 5) g;
SQL

# What the lost primary commits alone: one transaction each.
my @diverged = (
	q(insert into t values (200, 'old', 200)),
	q(update t set v = 'old' where id between 1 and 10),
	q(delete from t where id between 11 and 15),
	q(update t set id = 300, v = 'moved by old' where id = 20),
	q(update t set u = u + 1000 where id in (30, 31)),
	q(update pair set b = 'moved' where a = 5),
	q(update num set v = 'old', n = 1.00 where n = 1),
	q(insert into keyless values (99, 'old')),
	q(delete from keyless where x = 2),
	q(update full_pk set v = 'old' where id = 3),
	q(truncate trunc),
	q(update big set n = 7 where id = 1),
	q(insert into big values (50, repeat('z', 30000), 1)),
	q(update part set k = 2, v = 'old' where id = 2),
	q(update moods set m = 'happy', ms = '{happy}' where id = 4),
	q(begin; insert into parent values (77); insert into child values (77, 77); commit),
	q(begin; insert into t values (201, 'sub', 201); savepoint a; insert into t values (202, 'gone', 202);
	  rollback to a; insert into t values (203, 'sub', 203); commit),
	q(insert into ident overriding system value values (1000, 'old')));

# What the new primary commits meanwhile, to the same rows and to others.
my $meanwhile = <<'SQL';
insert into t values (200, 'new', 500), (203, 'new too', 503);
update t set v = 'new' where id between 5 and 8;
update t set id = 400, v = 'moved by new' where id = 9;
update t set id = 401 where id = 400;
delete from t where id = 20;
update t set id = 20, v = 'takes the key' where id = 40;
update t set u = -1 where id = 50; update t set u = 50 where id = 30; update t set u = 30 where id = 50;
update t set u = 2000 where id = 60;
update t set v = 'untouched by old' where id = 70;
insert into pair values (5, 'moved', 1);
update num set v = 'new' where n = 2;
insert into keyless values (2, 'new');
update keyless set y = 'new' where x = 3;
update full_pk set v = 'new' where id in (3, 4);
update trunc set v = 'new' where id = 1;
update big set n = 8 where id in (1, 2);
update part set k = 1 where id = 5;
update moods set m = 'sad' where id in (4, 5);
insert into parent values (78); insert into child values (78, 78);
update quiet set v = 'new';
insert into ident(v) values ('new');
SQL

# Makes commits on a primary that nobody else gets: no link leads to another node.
sub diverge
{
	my ($old, @others) = @_;
	$_->{proxy}->cut for $old, @others;
	$old->run($_) for @diverged;
	return;
}

sub join_again
{
	$_->{proxy}->heal for @_;
	return;
}

sub no_copy
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->run(q(select count(*) from baton.events where event = 'new copy')), 0, $name);
}

my ($n1, $n2) = BatonCluster->group(2, before => $schema, proxied => 1, conf => 'baton.reconnect_max_delay = 500ms');
caught_up($n1, $n2);

# ---- the old primary lives on, cut off; the other one is promoted by force ----
diverge($n1, $n2);
$n2->run('select baton.promote(force => true)');
$n2->run($meanwhile);
is($n1->state, 'primary', 'two primaries, for nobody could tell the old one');
join_again($n1, $n2);
$n1->wait_state('replica');
ok(eventually(sub { $n1->run(q(select count(*) from baton.events where event = 'rolled back')) > 0 }),
	'the old primary has rolled its commits back');
caught_up($n2, $n1);
same_data($n2, $n1, 'both have what the new primary has');
no_copy($n1, 'without a copy');
is($n1->run('select count(distinct commit_lsn) from baton.rolled_back'), scalar @diverged,
	'every transaction is in baton.rolled_back');
is($n1->run(q(select string_agg(operation || ':' || n, ' ' order by operation) from
	(select operation, count(*) n from baton.rolled_back group by 1) o)),
	'DELETE:10 INSERT:9 TRUNCATE:1 UPDATE:18', 'with every operation');
is($n1->run(q(select key::text || ' ' || (old_row->>'id') || ' ' || (new_row->>'v') from baton.rolled_back
	where "table" = 'public.t' and operation = 'UPDATE' and new_row->>'id' = '300')),
	'{"id": 20} 20 moved by old', 'with keys, old and new rows');
is($n1->run(q(select new_row->'body' is null from baton.rolled_back where "table" = 'public.big' and operation = 'UPDATE')), 't',
	'less what the WAL does not have');
is($n1->run(q(select new_row from baton.rolled_back where "table" = 'public.moods')),
	'{"m": "happy", "id": 4, "ms": "{happy}"}', 'values of all kinds');
is($n1->run('select count(*) from baton.mending_row'), 0, 'nothing is left to mend');
is($n1->run('select coalesce(reason, $$$$) from baton.status'), '', 'and no reason shown');

# ---- replication goes on, and the lead comes back ----
$n2->run(q(insert into t values (600, 'after', 600); update trunc set v = 'after'; delete from keyless where x = 1));
caught_up($n2, $n1);
same_data($n2, $n1, 'the stream goes on');
$n2->run(q(select baton.failover(after => 'rejoin')));
$n1->wait_state('primary');
$n1->run(q(insert into t values (601, 'back', 601); update part set v = 'back'));
$n2->wait_state('replica');
caught_up($n1, $n2);
same_data($n1, $n2, 'and the other way, after a failover back');
only_primary($n1, $n2);
ok(eventually(sub { $n1->run(q(select count(*) from pg_replication_origin where roname ~ '^baton_')) == 1 }),
	'one origin is left');

# ---- the old primary's server is lost, with a prepared transaction ----
$n2->{proxy}->cut;
$n1->run($_) for q(insert into t values (700, 'lost', 700)), q(delete from quiet where id = 1);
$n1->run(q(begin; update quiet set v = 'prepared' where id = 2; prepare transaction 'p'));
$n1->crash;
$n2->run('select baton.promote(force => true)');
$n2->run(q(update quiet set v = 'newest'));
$n1->{proxy}->cut;
$n2->{proxy}->heal;
$n1->start;
$n1->{proxy}->heal;
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'the same after a crash');
is($n1->run('select count(*) from pg_prepared_xacts'), 0, 'the prepared transaction is rolled back');
ok(eventually(sub { $n1->run(q(select count(*) from baton.events where detail ~ 'prepared transaction "p"')) == 1 }), 'with an event');
is($n1->run(q(select count(*) from baton.rolled_back where new_row->>'id' = '700' or key->>'id' = '1' and "table" = 'public.quiet' and operation = 'DELETE')),
	2, 'both commits are saved');
no_copy($n1, 'still without a copy');
$n2->run(q(insert into t values (701, 'goes on', 701)));
caught_up($n2, $n1);
same_data($n2, $n1, 'and goes on');

done_testing;
