# pause() and resume(): a group that elects nobody until somebody says so.
#
# The failures prevented: an election in the middle of maintenance; a pause that outlives
# its purpose because nobody can end it; a pause that stops what a person asks for.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my @nodes = BatonCluster->group(3, before => 'create table t(id int primary key, v text)', conf => <<'CONF');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
baton.reconnect_max_delay = 500ms
CONF
my ($n1, $n2, $n3) = @nodes;
my $TIMEOUTS = 5;    # election timeouts in which nothing may happen

sub paused_on
{
	my ($wanted, @on) = @_;
	return eventually(sub { @on == grep { $_->run('select paused from baton.status') eq $wanted } @on });
}

# Test: these know that their primary is gone, for some election timeouts, and nobody stands.
sub nobody_leads
{
	my ($name, $term, @left) = @_;
	for my $n (@left)
	{
		ok(eventually(sub { $n->state eq 'unknown' }), "$name: " . $n->name . ' misses its primary');
	}
	for my $n (@left)
	{
		# voters are bound by no promise for as long, and elect within two timeouts otherwise
		ok(eventually(sub {
			$n->run("select clock_timestamp() - max(at) > $TIMEOUTS * interval '2 s' from baton.events where event = 'state'") eq 't';
		}), "$name: $TIMEOUTS election timeouts pass on " . $n->name);
	}
	for my $n (@left)
	{
		is($n->state . ' ' . $n->gate, 'unknown closed', "$name: " . $n->name . ' has not stood');
		is($n->term, $term, "$name: and is in the term that it was in");
	}
	return;
}

# Test: one of these is elected by itself.
sub elected
{
	my ($name, @of) = @_;
	my @p;
	ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } @of; @p == 1 }), "$name: one is elected")
	  or die "nobody leads\n";
	return $p[0];
}

ok(eventually(sub { 3 == grep { $_->run('select count(*) from baton.nodes where not joining') == 3 } @nodes }), 'all are full members');
is($_->run('select paused from baton.status'), 'f', 'not paused on ' . $_->name) for @nodes;
$n1->run("insert into t values (1, 'start')");

# ---- paused: a planned failover works, and the pause stays ----
$n1->run('select baton.pause()');
ok(paused_on('t', @nodes), 'paused: all show it');
for my $node (@nodes)
{
	ok(eventually(sub { $node->run("select count(*) from baton.events where event = 'pause' and detail like '%paused%'") == 1 }), 'paused: an event on ' . $node->name);
}
$n1->run('select baton.pause()');
is($n1->run('select paused from baton.status'), 't', 'paused: again changes nothing');
my $r = $n1->try("select * from baton.failover('n2', 'rejoin')");
ok($r->{ok}, 'paused: a planned failover works') or diag($r->{text});
$n2->wait_state('primary');
$_->wait_state('replica') for $n1, $n3;
ok(paused_on('t', @nodes), 'paused: still, after the failover');
$n2->run("insert into t values (2, 'after the failover')");
caught_up($n2, $n1, $n3);

# ---- paused: the primary dies, and nobody stands; when it is back it leads again ----
my $term = $n2->term;
$n2->crash;
nobody_leads('paused, dead', $term, $n1, $n3);
for my $f (qw(pause resume))
{
	$r = $n1->try("select baton.$f()");
	like($r->{text}, qr/ERROR:  (55000: no primary is known|08000: the primary.* cannot be reached)/, "paused, dead: $f() needs a primary");
	like($r->{hint} // '', qr/promote\(\)/, "paused, dead: $f() says what does without");
}
$n2->start;
$n2->wait_state('primary');
cmp_ok($n2->term, '>', $term, 'paused, back: the old primary leads again, with the votes of the others');
$_->wait_state('replica') for $n1, $n3;
ok(paused_on('t', @nodes), 'paused, back: still paused');

# ---- promote() works, and ends the pause ----
$n2->run("insert into t values (3, 'back')");
caught_up($n2, $n1, $n3);
$n2->crash;
$n3->wait_state('unknown');
$r = $n3->try('select baton.promote()');
ok($r->{ok}, 'promoted: a person may') or diag($r->{text});
$n3->wait_state('primary');
$n2->start;
$_->wait_state('replica') for $n1, $n2;
ok(paused_on('f', @nodes), 'promoted: the pause is over, on all');
ok(eventually(sub { $n3->run("select count(*) from baton.events where event = 'pause' and detail like 'promote() has ended the pause%'") == 1 }), 'promoted: an event says why');
caught_up($n3, $n1, $n2);
same_data($n3, $_, 'promoted: ' . $_->name . ' is equal') for $n1, $n2;

# ---- resume(), asked of a replica: elections happen again ----
$n1->run('select baton.pause()');
ok(paused_on('t', @nodes), 'paused by a replica: all show it');
$n2->run('select baton.resume()');
ok(paused_on('f', @nodes), 'resumed by a replica: all show it');
$n3->run("insert into t values (4, 'resumed')");
caught_up($n3, $n1, $n2);
$n3->crash;
my $primary = elected('resumed', $n1, $n2);
$n3->start;
$n3->wait_state('replica');
caught_up($primary, $n3);
same_data($primary, $n3, 'resumed: equal again');
only_primary($primary, grep { $_ != $primary } @nodes);

# ---- the pause is in the stream: it outlives all servers ----
$primary->run('select baton.pause()');
ok(paused_on('t', @nodes), 'restarted: paused');
$_->crash for @nodes;
$_->start for @nodes;
$primary->wait_state('primary');
$_->wait_state('replica') for grep { $_ != $primary } @nodes;
ok(paused_on('t', @nodes), 'restarted: the same one leads, and all are still paused');
$primary->run('select baton.resume()');
ok(paused_on('f', @nodes), 'restarted: until somebody resumes');
only_primary($primary, grep { $_ != $primary } @nodes);
done_testing();
