# No value of a sequence is handed out twice, whatever becomes of the primary.
#
# The failure prevented: a replica that takes over hands out values that clients of the
# lost primary have already; their rows collide, or worse, do not.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $ROUNDS = $ENV{BATON_SEQUENCE_ROUNDS} // 2;
my @nodes = BatonCluster->group(3, conf => 'baton.heartbeat_interval = 100ms');
my ($first) = @nodes;
$first->run(<<'SQL');
create sequence plain; create sequence cached cache 10; create sequence down increment -3;
create table drawn(id bigint generated always as identity primary key, s text not null, v bigint not null, round int not null);
create unique index on drawn(s, v);
SQL
caught_up($first, @nodes[ 1, 2 ]);

# Values that reached a client without a row: a read-only draw commits nothing.
my $drawn = PostgreSQL::Test::Utils::tempdir() . '/draw.sql';
append_to_file($drawn, <<'SQL');
select nextval('plain') as v \gset
insert into drawn(s, v, round) values ('plain', :v, :round);
insert into drawn(s, v, round) values ('down', nextval('down'), :round), ('cached', nextval('cached'), :round);
select nextval('plain');
SQL

sub primary_of
{
	my $primary;
	eventually(sub { ($primary) = grep { $_->state eq 'primary' && $_->gate eq 'open' } @nodes; $primary }) or die "nobody leads\n";
	return $primary;
}

my %last;
for my $round (1 .. $ROUNDS)
{
	my $primary = primary_of();
	my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-j', 2, '-T', 60, '-D', "round=$round", '-f', $drawn, $primary->connstr($BatonCluster::DB) ],
		'<', \undef, '>', \my $out, '2>', \my $err);
	eventually(sub { $primary->run("select count(*) from drawn where round = $round") > 200 }) or die "no load\n";
	# the last values that a client has for sure: committed, and then some within the reserve
	my @seen = split /\|/, $primary->run(q(select nextval('plain'), nextval('down'), nextval('cached')));
	my $token = $primary->run('select baton.position()');
	eventually(sub { grep { $_ != $primary && $_->try("select baton.wait_for('$token', '5s')")->{ok} } @nodes });
	$primary->crash;
	$load->finish;
	my @others = grep { $_ != $primary } @nodes;
	my $next;
	eventually(sub { ($next) = grep { $_->state eq 'primary' && $_->gate eq 'open' } @others; $next }) or die "nobody takes over\n";
	my @new = split /\|/, $next->run(q(select nextval('plain'), nextval('down'), nextval('cached')));
	cmp_ok($new[0], '>', $seen[0], "round $round: behind what a client has");
	cmp_ok($new[1], '<', $seen[1], "round $round: a descending one too");
	cmp_ok($new[2], '>', $seen[2], "round $round: and a cached one");
	is($next->run(q(select count(*) from (values ('plain', (select max(v) from drawn where s = 'plain') < (select last_value from plain)),
		('down', (select min(v) from drawn where s = 'down') > (select last_value from down))) x(s, ok) where not ok)), 0, "round $round: and behind all rows");
	$primary->start;
	eventually(sub { $primary->state eq 'replica' }) or die "does not come back\n";
}
my $last = primary_of();
is($last->run('select count(*) from (select s, v from drawn group by 1, 2 having count(*) > 1) x'), 0, 'no value is there twice');

# ---- quiet, and a planned failover: no gap ----

$last->run(q(select nextval('plain')));
my @expected = map { $_ + 1 } $last->run(q(select nextval('plain')));
my @others = grep { $_ != $last } @nodes;
caught_up($last, @others);
same_dump($last, $_, 'the dump of ' . $_->name . ' is the same') for @others;
$last->run(sprintf q(select baton.failover('%s', after => 'rejoin')), $others[0]->name);
$others[0]->wait_state('primary');
is($others[0]->run(q(select nextval('plain'))), $expected[0], 'a planned failover leaves out no value');

# ---- a state that nothing is written behind ----

my $primary = $others[0];
$primary->run(q(select nextval('plain')));
my $state = $primary->run('select last_value, log_cnt from plain');
ok(eventually(sub { $last->run('select last_value, log_cnt from plain') eq $state }, 30),
	'an exact state arrives by itself, and waits for no commit');

# ---- a node that joins while values are drawn ----

my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 60, '-D', 'round=99', '-f', $drawn, $primary->connstr($BatonCluster::DB) ],
	'<', \undef, '>', \my $out, '2>', \my $err);
my $joined = BatonCluster->node('n4', conf => 'baton.heartbeat_interval = 100ms');
$joined->join_group($primary);
$load->signal('TERM');
$load->finish;
caught_up($primary, $joined);
same_dump($primary, $joined, 'one that joins under load is equal');

done_testing;
