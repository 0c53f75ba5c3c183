# Links that break and come back, and members that find nobody, round after round, while
# the primary is healthy and hears from a majority.
#
# The failures prevented: a primary that loses its lease, or is unseated, because some
# link is bad; clients that notice; a term that grows with each round.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my $ROUNDS = 3;
my @nodes = BatonCluster->group(3, proxied => 1, conf => <<'CONF', before => <<'SQL');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
baton.reconnect_max_delay = 500ms
CONF
create table writer_probe(id bigint primary key);
create table t(id int primary key, v text);
SQL
my ($n1, $n2, $n3) = @nodes;
ok(eventually(sub { 3 == grep { $_->run('select count(*) from baton.nodes where not joining') == 3 } @nodes }), 'all are full members');
caught_up($n1, $n2, $n3);

my $term = $n1->term;
my $writer = start_writer(@nodes);

sub cut { my ($x, $y) = @_; $x->{proxy}->cut($y->name); $y->{proxy}->cut($x->name); return; }
sub heal { my ($x, $y) = @_; $x->{proxy}->heal($y->name); $y->{proxy}->heal($x->name); return; }

sub streams
{
	my ($to, $wanted) = @_;
	my $name = $to->name;
	return eventually(sub { $n1->run("select state = 'streaming' from baton.stat_replication where node_name = '$name'") eq $wanted });
}

sub harm { return $n1->run("select count(*) from baton.events where event in ('lease lost', 'stepped down', 'two primaries')") }

# Test: nothing has happened to the primary.
sub healthy
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($n1->state . ' ' . $n1->gate . ' ' . $n1->term . ' ' . harm(), "primary open $term 0", "$name: the primary has noticed nothing");
}

# Test: so many more writes are committed.
sub writes_go_on
{
	my ($name) = @_;
	my $seen = $n1->run('select count(*) from writer_probe');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(eventually(sub { $n1->run('select count(*) from writer_probe') > $seen + 20 }), "$name: writes go on");
}

# ---- one link at a time is cut until the node has missed the primary ----
for my $round (1 .. $ROUNDS)
{
	my $victim = $round % 2 ? $n2 : $n3;
	cut($n1, $victim);
	ok(eventually(sub { $victim->state eq 'unknown' }), "round $round: " . $victim->name . ' hears no primary');
	healthy("round $round, cut");
	heal($n1, $victim);
	$victim->wait_state('replica');
	ok(streams($victim, 't'), "round $round: and is back");
}
healthy('one link');
writes_go_on('one link');

# ---- connections break, and come at once ----
for my $round (1 .. 3 * $ROUNDS)
{
	my $victim = $round % 2 ? $n2 : $n3;
	BatonCluster::reset_link($n1, $victim);
	ok(streams($victim, 't'), "reset $round: it streams again");
}
healthy('resets');

# ---- a node whose list of members fails: it reaches nobody, or only another replica ----
$n3->partition('drop', $n1, $n2);
ok(eventually(sub { $n3->state eq 'unknown' }), 'no member answers: n3 hears no primary');
for my $round (1 .. $ROUNDS)
{
	is($n3->try('select baton.promote()')->{ok}, 0, "no member answers, round $round: it is not elected");
	$n2->{proxy}->heal('n3');
	$n3->{proxy}->heal('n2');
	is($n3->try('select baton.promote()')->{ok}, 0, "only a replica answers, round $round: it is not elected");
	BatonCluster::link_mode($n3, $n2, 'drop');
	BatonCluster::link_mode($n2, $n3, 'drop');
	healthy("a failing list, round $round");
}
is($n3->term, $term, 'a failing list: the node has not raised its term');
heal_links(@nodes);
$n3->wait_state('replica');
writes_go_on('a failing list');

my $result = $writer->stop;
is($result->{errors}, 0, 'the writer has seen no error');
is(BatonCluster::Writer->missing_on($result, $n1), 0, 'and nothing is lost');
caught_up($n1, $n2, $n3);
same_data($n1, $_, $_->name . ' is equal') for $n2, $n3;
healthy('at the end');
only_primary($n1, $n2, $n3);
done_testing();
