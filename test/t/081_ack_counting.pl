# Who counts: one, majority and all in a group of three.
#
# The failure prevented: a policy that is met by fewer nodes than it says, so that
# the failure of one loses an acknowledged commit; or one that waits for more, so
# that it stops a group that it should not.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2, $n3) = BatonCluster->group(3,
	conf => "baton.heartbeat_interval = 100ms\nbaton.election_timeout = 60s\n",    # longer than all that is frozen
	before => 'create table t(id int primary key)');
my $id = 0;

sub policy { return $n1->try("select baton.set_ack_policy('$_[0]')"); }
sub waiting { return $n1->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"); }

# Test: a commit is answered, or waits until these nodes are back.
sub commits
{
	my ($name) = @_;
	my $r = $n1->try('insert into t values (' . ++$id . ')', seconds => 30);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($r->{ok}, "$name: a commit is acknowledged") or diag($r->{text});
}

sub waits
{
	my ($name, @until) = @_;
	my $later = $n1->try_later('insert into t values (' . ++$id . ')');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(eventually(sub { waiting() == 1 }), "$name: a commit waits");
	$_->thaw for @until;
	ok($later->()->{ok}, "$name: and goes on when they are back");
	return;
}

# ---- with all, all of them ----
for my $policy (qw(one majority all))
{
	my $r = policy($policy);
	ok($r->{ok}, "policy $policy") or diag($r->{text});
	commits($policy);
}
$n3->freeze;
waits('all, one is frozen', $n3);
$n2->freeze;
waits('all, the other is frozen', $n2);

# ---- with one, any of them ----
ok(policy('one')->{ok}, 'policy one');
$n3->freeze;
commits('one, one is frozen');
$n2->freeze;
waits('one, both are frozen', $n2);
commits('one, one of them is back');
$n3->thaw;
caught_up($n1, $n2, $n3);

# ---- with majority, one of two replicas in a group of three ----
ok(policy('majority')->{ok}, 'policy majority');
$n2->freeze;
commits('majority, one is frozen');
$n3->freeze;
waits('majority, both are frozen', $n2, $n3);

# ---- a lease that lapses while a commit waits ----
sub lease
{
	my ($length) = @_;
	for my $n ($n2, $n3, $n1)
	{
		$n->append_conf('postgresql.conf', "baton.election_timeout = $length");
		$n->reload;
	}
	eventually(sub { $n1->run('show baton.election_timeout') eq $length }) or die "the lease does not change\n";
	return;
}
lease('1s');
$n1->run("select baton.set_priority('$_', 0)") for qw(n2 n3);    # n1 is to lead again
$_->freeze for $n2, $n3;
my $late = $n1->try_later('insert into t values (' . ++$id . ')');
my $r = $late->();
ok(!$r->{ok}, 'both replicas are gone: a commit that waits, or comes late, is no success') or diag($r->{text});
ok(eventually(sub { $n1->gate eq 'closed' }), 'and the gate closes');
is(waiting(), 0, 'nobody waits any more');
$_->thaw for $n2, $n3;
ok(eventually(sub { $n1->state eq 'primary' && $n1->gate eq 'open' }), 'it leads again when they are back');
commits('majority, in the next reign');
lease('1min');

# ---- a replica that is stopped counts in the group's size ----
$n3->run('select baton.stop()');
commits('majority, one is stopped');
ok(policy('all')->{ok}, 'policy all');
my $later = $n1->try_later('insert into t values (' . ++$id . ')');
ok(eventually(sub { waiting() == 1 }), 'all, one is stopped: a commit waits');
$n3->run('select baton.start()');
ok($later->()->{ok}, 'and goes on when it has started');

# ---- fewer members ----
$n3->wait_state('replica');
ok(policy('one')->{ok}, 'policy one');
$n1->run("select baton.remove_node('n3')");
commits('one, two are left');
my $r = $n1->try("select baton.remove_node('n2')");
is($r->{state}, '55000', 'the last one that can acknowledge is not removed') or diag($r->{text});
like($r->{hint}, qr/set_ack_policy/, 'and the hint says what to do first');

# ---- a secondary has the data, and no say ----
$n3->try('select baton.leave_group(force => true)');
$n3->safe_psql('postgres', 'drop database app');
$n3->safe_psql('postgres', 'create database app');
$n3->run('create extension baton');
$n3->join_group($n1, "type => 'secondary'");
caught_up($n1, $n3);
$n2->freeze;
waits('one, a secondary is there', $n2);
ok(policy('all')->{ok}, 'policy all');
$n3->freeze;
commits('all, the secondary is frozen');
$n3->thaw;
caught_up($n1, $n2, $n3);
same_data($n1, $_, 'nothing is lost') for $n2, $n3;

done_testing();
