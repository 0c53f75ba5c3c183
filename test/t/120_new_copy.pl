# A replica comes back after the primary has thrown away what it needs next.
#
# The failures prevented: a dead replica that fills the primary's disk, a person
# who has to drop and join by hand, and a node left with half of a database because
# the old data went before the new was there.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => <<'CONF', before => <<'SQL');
baton.stream_keep_size = 64MB
baton.compression_level = 0
baton.reconnect_max_delay = 500ms
CONF
create table bulk(id int primary key, v text);
alter table bulk alter v set storage external;
create table account(id int primary key, n int not null);
insert into account select g, 0 from generate_series(1, 100) g;
create view totals as select sum(n) from account;
create extension hstore;
create table stored(id int primary key, h hstore);
insert into stored values (1, 'a=>1');
grant usage on schema public to pg_monitor;
SQL

# More than the primary keeps for a replica that is away.
sub fall_behind
{
	my ($round) = @_;
	my $from = $round * 1000;
	$n1->run("insert into bulk select g, repeat('x', 1000000) from generate_series($from, $from + 109) g");
	$n1->run("update account set n = n + 1; delete from bulk where id < $from");
	$n1->run("drop view totals; create view totals as select $round as round, sum(n) from account");
	return;
}

my $copies = 0;

sub copied
{
	my ($name) = @_;
	$copies++;
	ok(eventually(sub { ($n2->try("select count(*) from baton.events where event = 'new copy'")->{out} || 0) >= $copies
			&& $n2->state eq 'replica' }, 120), "$name: a replica again, by itself") or diag($n2->run('select * from baton.stat_copy'));
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: the same rows");
	is($n2->run('select round from totals'), $n1->run('select round from totals'), "$name: the same definitions");
	return;
}

sub segments_from
{
	my ($node) = @_;
	my ($first) = sort map { s{.*/}{}r } glob($node->data_dir . '/baton/*/stream/*');
	return $first;
}

# ---- it takes a new copy by itself ----

my $before = segments_from($n1);
$n2->stop;
fall_behind(1);
ok(eventually(sub { segments_from($n1) ne $before }), 'the primary has removed what the replica needs');
$n2->start;
copied('fallen behind');
$n1->run('insert into account values (1001, 1); create table later(id int primary key)');
$n1->run('insert into account values (1002, 1)');
caught_up($n1, $n2);
is($n2->run('select count(*) from account where id > 1000'), 2, 'the stream goes on');
is($n2->run('select h from stored'), '"a"=>"1"', 'with its extension');

# ---- killed while the old data is replaced ----

$before = segments_from($n1);
$n2->stop;
fall_behind(2);
ok(eventually(sub { segments_from($n1) ne $before }), 'removed again');
$n2->start;
ok(eventually(sub { $n2->try("select 1 from baton.stat_copy where copy_phase = 'replacing the old data' limit 1")->{out} eq '1' }, 120),
	'the new copy replaces the old');
$n2->crash;
$n2->start;
# whatever moment that was: one of the two copies is there, whole
my $round = $n2->run('select round from totals');
like($round, qr/^[12]$/, "the data of round $round");
is($n2->run('select count(*) from bulk'), 110, 'all of it');
copied('killed');

# ---- a person decides ----

$n2->append_conf('postgresql.conf', 'baton.auto_copy = off');
$before = segments_from($n1);
$n2->stop;
fall_behind(3);
ok(eventually(sub { segments_from($n1) ne $before }), 'removed once more');
$n2->start;
$n2->wait_state('detached');
like($n2->run('select reason from baton.status'), qr/^needs a new copy: .*keeps it from.*baton\.auto_copy/, 'it says what it needs');
is($n2->run('select round from totals'), 2, 'and keeps what it has');
$n2->append_conf('postgresql.conf', 'baton.auto_copy = on');
$n2->reload;
$n2->run('select baton.start()');
copied('by a person');

# ---- it can lead ----

$n1->run("select baton.failover('n2', after => 'rejoin')");
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run('insert into account values (2001, 1)');
caught_up($n2, $n1);
same_data($n2, $n1, 'the new primary has the same rows');

done_testing();
