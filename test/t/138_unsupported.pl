# What cannot be carried is named: when the group is created, by the statement that makes
# it, and as long as it is there in baton.unsupported.
#
# The failure prevented: an unlogged table, a subscription or a slot is found missing
# after a failover.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my $n1 = BatonCluster->node('n1', conf => 'allow_in_place_tablespaces = on');
my $view = q{select string_agg(kind || ' ' || name, '; ' order by kind, name) from baton.unsupported};
is($n1->run($view), '', 'nothing at first');
$n1->run("create unlogged table u$_(i int primary key)") for 1 .. 7;
$n1->run(q{create table t(i int primary key); insert into t values (1); create temp table tmp(i int)});
$n1->run(q{select pg_create_logical_replication_slot('mine', 'test_decoding')});

my $r = $n1->try(sprintf q{select baton.create_group('shop', 'n1', '%s')}, $n1->dsn);
like($r->{text}, qr/WARNING:.*not carried to replicas: unlogged table u1, u2, u3, u4, u5 and 2 more\n/, 'named when the group is created: some, and how many more');
like($r->{text}, qr/HINT:.*SET LOGGED.*baton\.unsupported/, '... and what can be done');
like($r->{text}, qr/WARNING:.*not carried to replicas: replication slot mine/, '... each kind by itself');
$n1->wait_state('primary');
$n1->run("drop table u$_") for 2 .. 7;

# Test: a statement succeeds, with a warning or (undef) with none.
sub warns
{
	my ($sql, $expected) = @_;
	my $got = $n1->try($sql);
	my @warnings = $got->{text} =~ /^(?:psql:\S+ )?WARNING:  \w+: (.*)/mg;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($got->{ok} && (defined $expected ? @warnings == 1 && $warnings[0] =~ $expected : @warnings == 0), $sql)
	  or diag($got->{text});
	return;
}

warns(q{create unlogged table v(i int primary key)}, qr/rows of unlogged table "v" are not carried/);
warns(q{create unlogged table w as select 1 as i}, qr/rows of unlogged table "w"/);
warns(q{create schema s create unlogged table x(i int primary key)}, qr/rows of unlogged table "x"/);
warns(q{alter table t set unlogged}, qr/rows of unlogged table "t"/);
warns(q{alter table t set logged}, undef);
warns(q{create tablespace ts location ''}, qr/tablespace "ts" is made on this server only/);
warns(q{create table in_ts(i int primary key) tablespace ts}, qr/tablespace "ts" is used only by/);
warns(q{create index t_i on t(i) tablespace ts}, qr/tablespace "ts"/);
warns(q{create table plain(i int primary key)}, undef);
warns(q{create temp table tmp(i int) tablespace ts}, undef);
$r = $n1->try(q{create subscription sub connection 'dbname=none' publication p with (connect = false, slot_name = none)});
like($r->{text}, qr/WARNING:.*subscription "sub" is made on this node only/, 'create subscription');
warns(q{create function c_function() returns int language c as '$libdir/baton', 'baton_status'}, qr/function "c_function" needs its library/);
warns(q{create function sql_function() returns int language sql as 'select 1'}, undef);
$n1->run(q{begin; insert into plain values (1); prepare transaction 'p1'});
is($n1->run($view), q{function in C c_function(); prepared transaction 'p1'; replication slot mine; subscription sub; } .
	q{tablespace ts of in_ts, t_i; unlogged table s.x; unlogged table u1; unlogged table v; unlogged table w}, 'all of it is listed');
$n1->run(q{create role watcher login; grant pg_monitor to watcher});
is($n1->try('select count(*) > 5 from baton.unsupported', user => 'watcher')->{out}, 't', 'pg_monitor may look');
$n1->run($_) for q{rollback prepared 'p1'}, 'drop table v, w, u1, s.x, in_ts', 'drop index t_i', 'drop function c_function', 'drop subscription sub',
	q{select pg_drop_replication_slot('mine')};
is($n1->run($view), '', 'and is not, when it is gone');

done_testing;
