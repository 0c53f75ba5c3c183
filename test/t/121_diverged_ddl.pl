# A lost primary comes back with a change of definitions that nobody else has: that
# cannot be mended row by row.  With baton.auto_copy it takes a new copy by itself,
# without it stays out of service, and says what to do.
#
# The failure prevented: a node that is mended by rows while a column, or a table, is
# not what the primary has.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => "baton.reconnect_max_delay = 500ms\nbaton.election_timeout = 5s", before => <<'SQL');
create table t(id int primary key, v text);
insert into t select g, 'start' from generate_series(1, 100) g;
create table other(id int primary key);
SQL
caught_up($n1, $n2);

sub part_ways
{
	my (@diverged) = @_;
	$_->{proxy}->cut for $n1, $n2;
	$n1->run($_) for @diverged;
	$n2->run('select baton.promote(force => true)');
	$n2->run(q(insert into t select max(id) + 1, 'new' from t));
	$_->{proxy}->heal for $n1, $n2;
	return;
}

my $copies = q(select count(*) from baton.events where event = 'new copy');

sub copied
{
	my ($name, $n) = @_;
	ok(eventually(sub { my $r = $n1->try($copies, seconds => 10); $r->{ok} && $r->{out} == $n && $n1->state eq 'replica' }, 120), "$name: it has taken a new copy")
	  or diag($n1->run('select * from baton.status'));
	caught_up($n2, $n1);
	same_dump($n2, $n1, "$name: definitions and rows are the primary's");
	$n2->run(q(insert into t select max(id) + 1, 'goes on' from t));
	caught_up($n2, $n1);
	same_data($n2, $n1, "$name: the stream goes on");
	return;
}

# ---- by itself ----
part_ways(q(update t set v = 'lost' where id = 1), q(alter table t add column lost int default 7), q(drop table other), q(create table mine(id int)));
copied('a new copy', 1);
like($n1->run(q(select detail from baton.events where event = 'new copy')), qr/cannot be mended row by row: .*DDL/, 'and an event says why');

# ---- a person decides ----
$n1->run('alter system set baton.auto_copy = off');
$n1->reload;
$n2->run(q(select baton.failover('n1', after => 'rejoin')));
$n1->wait_state('primary');
$n2->wait_state('replica');
$n1->run('create role keeper');
caught_up($n1, $n2);
part_ways(q(alter role keeper createdb), q(create table lost_too(id int)), q(alter table t rename v to lost), q(update t set lost = 'lost' where id = 2));
$n1->wait_state('detached');
like($n1->run('select reason from baton.status'), qr/needs a new copy: diverged.*DDL.*set baton\.auto_copy and call baton\.start\(\)/, 'without baton.auto_copy it stops, with a hint');
is($n1->run(q(select lost from t where id = 2)), 'lost', 'nothing is changed');
is($n1->run($copies), 1, 'no copy is taken');
$n1->run('alter system reset baton.auto_copy');
$n1->reload;
$n1->run('select baton.start()');
copied('as the hint says', 2);
only_primary($n2, $n1);
done_testing;
