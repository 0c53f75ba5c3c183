# A lost primary is replaced by itself: three nodes whose primary's server is killed,
# again and again, and what is left of two.
#
# The failures prevented: a group without a primary that waits for a person; two that
# lead; the wrong one that leads (priority 0, or an older log); a third node that takes
# a copy of all that it has, or follows nobody; a replica of two that takes over while
# its primary may be alive.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = BatonCluster->group(3, conf => <<'CONF', before => <<'SQL');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
CONF
create table writer_probe(id bigint primary key);
create table t(id int primary key, v text);
SQL
my ($n1, $n2, $n3) = @nodes;

sub full_members { my ($node) = @_; return $node->run('select count(*) from baton.nodes where not joining'); }
sub copies { my ($node) = @_; my @c = slurp_file($node->logfile) =~ /initial copy is complete/g; return scalar @c; }

sub primary_of
{
	my ($name, @of) = @_;
	my @p;
	ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } @of; @p == 1 }), "$name: one leads")
	  or die "nobody leads\n";
	return $p[0];
}

sub insert
{
	my ($primary, $v) = @_;
	$primary->run("insert into t select (select coalesce(max(id), 0) from t) + g, '$v ' || md5(g::text) from generate_series(1, 500) g");
	return;
}

# Priorities by name, known to all.
sub priorities
{
	my ($primary, %p) = @_;
	$primary->run("select baton.set_priority('$_', $p{$_})") for sort keys %p;
	for my $node (@nodes)
	{
		for my $name (sort keys %p)
		{
			eventually(sub { $node->run("select priority from baton.nodes where node_name = '$name'") == $p{$name} })
			  or die "a priority does not arrive\n";
		}
	}
	return;
}

# The primary dies while nothing is under way; the expected one takes over, the third
# follows it, and the old one comes back as a replica: none of them by a copy.
sub dies_idle
{
	my ($name, $from, $to, $third) = @_;
	my %copies = map { $_->name => copies($_) } @nodes;
	insert($from, "before $name");
	caught_up($from, $to, $third);
	my $term = $from->term;

	$from->crash;
	is(primary_of($name, $to, $third)->name, $to->name, "$name: " . $to->name . ' is elected');
	cmp_ok($to->term, '>', $term, "$name: in a new term");
	$third->wait_state('replica');
	insert($to, $name);
	caught_up($to, $third);
	same_data($to, $third, "$name: the third follows");
	only_primary($to, $third);

	$term = $to->term;
	$from->start;
	$from->wait_state('replica');
	caught_up($to, $from);
	same_data($to, $from, "$name: the old primary follows");
	is($to->term, $term, "$name: and has not disturbed the new one");
	is_deeply({ map { $_->name => copies($_) } @nodes }, \%copies, "$name: no copy was taken");
	return;
}

ok(eventually(sub { full_members($n1) == 3 }), 'all are full members');

priorities($n1, n2 => 0);
dies_idle('priority 0', $n1, $n3, $n2);
priorities($n3, n2 => 200);
dies_idle('the higher priority', $n3, $n2, $n1);

# ---- all at once ----
insert($n2, 'before the end of all');
caught_up($n2, $n1, $n3);
my $term = $n2->term;
$_->crash for @nodes;
$_->start for @nodes;
my $primary = primary_of('all restarted', @nodes);
cmp_ok($primary->term, '>', $term, 'all restarted: nobody leads in the old term');
my @others = grep { $_ != $primary } @nodes;
$_->wait_state('replica') for @others;
for my $node (@nodes)
{
	ok(eventually(sub {
		$node->run("select string_agg(detail, ', ' order by id) from (select id, detail from baton.events where event = 'state' order by id desc limit 4) e")
		  =~ /from down to unknown/;
	}), 'all restarted: ' . $node->name . ' began as unknown');
}
insert($primary, 'all restarted');
caught_up($primary, @others);
same_data($primary, $_, 'all restarted: ' . $_->name . ' is equal') for @others;

# ---- under load: the client finds the new primary ----
my $writer = start_writer(@nodes);
ok(eventually(sub { $primary->run('select count(*) from writer_probe') > 50 }), 'under load: the writer runs');
$primary->crash;
my $old = $primary;
$primary = primary_of('under load', @others);
my ($third) = grep { $_ != $primary } @others;
my $seen = $primary->run('select count(*) from writer_probe');
ok(eventually(sub { $primary->run('select count(*) from writer_probe') > $seen + 50 }), 'under load: the writer goes on');
my $result = $writer->stop;
note("longest gap $result->{longest_gap_ms} ms");
$third->wait_state('replica');
caught_up($primary, $third);
same_data($primary, $third, 'under load: the third has all that the new primary has');
is(BatonCluster::Writer->missing_on($result, $third), BatonCluster::Writer->missing_on($result, $primary),
	'under load: and lacks nothing else');
only_primary($primary, $third);

# What the old primary had not shipped, only it has.
$old->start;
ok(eventually(sub { $old->state eq 'replica' || ($old->state eq 'detached' && $old->run('select reason from baton.status') =~ /diverged/) }),
	'under load: the old primary follows, or says that it has diverged')
  or diag($old->try('select * from baton.status')->{out});
is($primary->state, 'primary', 'under load: the new primary goes on');

# ---- two: the replica does not take over ----
$old->stop('immediate');
$primary->run("select baton.remove_node('" . $old->name . "')");
ok(eventually(sub { $third->run('select count(*) from baton.nodes') == 2 }), 'two: both know that they are two');
caught_up($primary, $third);
$_->run(q(alter system set baton.election_timeout = '4s'; select pg_reload_conf())) for $primary, $third;
$primary->crash;
ok(eventually(sub { $third->state eq 'unknown' }), 'two: the replica misses its primary');
is($third->try('insert into t values (-1)')->{state}, '25006', 'two: it takes no writes');
$primary->start;
$primary->wait_state('primary');
$third->wait_state('replica');
insert($primary, 'two');
caught_up($primary, $third);
same_data($primary, $third, 'two: the primary leads again');
$_->run(q(alter system reset baton.election_timeout; select pg_reload_conf())) for $primary, $third;
$primary->crash;
ok(eventually(sub { $third->state eq 'unknown' }), 'two: the replica misses it again');
for my $round (1, 2)
{
	# each call asks for votes for one election timeout
	my $r = $third->try('select baton.promote()');
	is($r->{ok}, 0, 'two: it is not elected');
	is($third->state, 'unknown', 'two: and does not take over');
}
# what was asked for may reach the primary when it is back, and be granted
$primary->start;
($primary, $third) = ($third, $primary) if who_leads($primary, $third) == $third;
$third->wait_state('replica');
insert($primary, 'two again');
caught_up($primary, $third);
same_data($primary, $third, 'two: one of them leads, the other follows');
$third->crash;
insert($primary, 'alone');
is($primary->state, 'primary', 'two: the primary goes on without the replica');
$third->start;
$third->wait_state('replica');
caught_up($primary, $third);
same_data($primary, $third, 'two: which catches up');
only_primary($primary, $third);
done_testing();
