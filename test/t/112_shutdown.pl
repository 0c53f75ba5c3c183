# A primary's server is shut down, by a person or by the init system: the lead is
# handed over first, with nothing lost, and where nobody can take it the replicas get
# what is committed before the server goes.
#
# The failure prevented: a restart for a minor update that costs an election, or the
# last second of commits.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => "baton.failover_on_shutdown = on\n",
	before => 'create table t (id int primary key, v text); create table writer_probe (id bigint primary key)');

sub stop_takes
{
	my ($node, $mode) = @_;
	my $start = time;
	$node->stop($mode);
	return time - $start;
}

# The one that leads and the one that follows, once both do.
sub settled
{
	my ($p, $r);
	eventually(sub {
		($p) = grep { $_->state eq 'primary' } $n1, $n2;
		($r) = grep { $_->state eq 'replica' } $n1, $n2;
		return $p && $r; }) or die "no primary with a replica\n";
	caught_up($p, $r);
	return ($p, $r);
}

sub events { my ($node, $event) = @_; return $node->run("select count(*) from baton.events where event = '$event'"); }

# ---- a restart under load: the lead moves, nothing is lost ----

# load that is still under way when the stop comes, and is rolled back
my $open = $n1->session;
$open->query_safe("begin; insert into t values (1, 'never')");
my $writer = start_writer($n1, $n2);
$n1->run("insert into t select g, 'before' from generate_series(10, 2000) g");
$n1->restart;
$n1->wait_state('replica');
is($n2->state, 'primary', 'a restarted primary has handed over');
ok(eventually(sub { events($n2, 'took over') == 1 }), 'by the planned sequence, not by an election');
is(events($n2, 'elected'), 0, 'nobody was elected');
is(events($n1, 'handed over'), 1, 'and said so');
is($n1->run('select reason is null from baton.status'), 't', 'the old primary is in service by itself');
$n2->run("insert into t values (3, 'after')");
my $result = $writer->stop;
cmp_ok($result->{acknowledged}, '>', 10, 'the writer went on');
note("longest gap of a client: $result->{longest_gap_ms} ms");
is($writer->missing_on($result, $n2), 0, 'no acknowledged row is missing on the new primary');
caught_up($n2, $n1);
same_data($n2, $n1, 'both have the same');
is($n1->run('select count(*) from t where id = 1'), 0, 'what was not committed is nowhere');
eval { $open->quit };
only_primary($n2, $n1);

# ---- a replica's shutdown does not wait ----

cmp_ok(stop_takes($n1, 'fast'), '<', 9, "a replica stops at once");

# ---- nor does a primary that is alone ----

cmp_ok(stop_takes($n2, 'fast'), '<', 9, 'so does a primary whose replica is gone');
$n2->start;
$n2->wait_state('primary');
$n1->start;
$n1->wait_state('replica');
caught_up($n2, $n1);

# ---- a smart shutdown waits for the clients, then hands over ----

my $client = $n2->session;
$client->query_safe("insert into t values (4, 'smart')");
my $stopping = IPC::Run::start([ 'pg_ctl', '-D', $n2->data_dir, '-m', 'smart', '-w', 'stop' ], '>', \my $out, '2>', \my $err);
ok(eventually(sub { slurp_file($n2->data_dir . '/postmaster.pid') =~ /stopping/ }), 'a smart shutdown begins');
$client->query_safe("insert into t values (5, 'smart')");
is($n1->state, 'replica', 'while clients are there the lead stays');
$client->quit;
$stopping->finish;
$n2->{_pid} = undef;
$n1->wait_state('primary');
is($n1->run("select count(*) from t where v = 'smart'"), 2, 'a smart shutdown hands over too, with all that was written');
$n2->start;
$n2->wait_state('replica');
only_primary($n1, $n2);

# ---- failover_on_shutdown = off: the replicas get everything ----

$n1->append_conf('postgresql.conf', 'baton.failover_on_shutdown = off');
$n1->reload;
$n1->run("insert into t select g, md5(g::text) from generate_series(10001, 60000) g");
$n1->run("insert into t values (60001, 'the last')");
cmp_ok(stop_takes($n1, 'fast'), '<', 15, 'a primary that does not hand over ships and stops');
ok(eventually(sub { $n2->run('select count(*) from t where id > 10000') == 50001 }), 'its replica has all that was committed');
$n1->start;
my ($primary, $replica) = settled();
ok(1, 'and the group is back with it');

# ---- the replica is deaf: not beyond the deadline ----

$_->append_conf('postgresql.conf', "baton.failover_on_shutdown = on\nbaton.shutdown_timeout = 2s") for $n1, $n2;
$_->reload for $n1, $n2;
$replica->{proxy}->to_server('hold');
$primary->run("insert into t values (60002, 'into the air')");
cmp_ok(stop_takes($primary, 'fast'), '<', 15, 'with a deaf replica the server stops after baton.shutdown_timeout');
$replica->{proxy}->heal;
$primary->start;
($primary, $replica) = settled();
same_data($primary, $replica, 'and both have the same after it');

# ---- both at once ----

my @stops = map { my $d = $_->data_dir; IPC::Run::start([ 'pg_ctl', '-D', $d, '-m', 'fast', '-w', 'stop' ], '>', \my $o, '2>', \my $e) } $n1, $n2;
my $start = time;
$_->finish for @stops;
cmp_ok(time - $start, '<', 15, 'both servers at once stop in time');
$_->{_pid} = undef for $n1, $n2;
$_->start for $n1, $n2;
($primary, $replica) = settled();
same_data($primary, $replica, 'and come back as a group with the same data');

# ---- a prepared transaction cannot be handed over ----

$primary->run("begin; insert into t values (70000, 'prepared'); prepare transaction 'p'");
cmp_ok(stop_takes($primary, 'fast'), '<', 15, 'with a prepared transaction the server stops without a hand-over');
is($replica->run(q{select count(*) from baton.events where event = 'took over' and at > now() - interval '5 s'}), 0, 'nobody has taken over');
$primary->start;
($primary, $replica) = settled();

for my $node ($n1, $n2)
{
	unlike(slurp_file($node->logfile), qr/no row in baton\.transitions|TRAP|PANIC/, $node->name . "'s log is clean");
}

done_testing();
