# Every way in which a planned failover can end other than well.
#
# The failure prevented: a branch that leaves no primary, two primaries, a waiting
# client with an error, or a database without rows that were acknowledged.  After
# each branch the same questions are asked: who is primary, does it take writes,
# do the others not, are both equal.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, proxied => 1, before => <<'SQL');
create table writer_probe(id bigint primary key);
create table t(id serial primary key, v text);
create table blocker(id int primary key);
insert into blocker values (1);
SQL

# A failover that must be refused or given up; n1 stays primary, no client of it
# sees an error.  While it runs, or before, something is done to the group.
sub fails_ok
{
	my ($name, $call, %opt) = @_;
	my $term = $n1->term;
	my $writer = start_writer($n1, $n2);
	ok(eventually(sub { $n1->run("select count(*) from writer_probe where id >= $writer->{first}") > 5 }), "$name: the writer runs");
	my $wait = $n1->try_later("select * from baton.failover($call)");
	$opt{meanwhile}->() if $opt{meanwhile};
	my $r = $wait->();
	is($r->{ok}, 0, "$name: fails");
	like($r->{text}, $opt{like}, "$name: says why") if $opt{like};
	isnt($r->{state} // '', 'XX000', "$name: is no internal error") or diag($r->{text});
	$n1->wait_state('primary');
	my $seen = $n1->run('select count(*) from writer_probe');
	ok(eventually(sub { $n1->run('select count(*) from writer_probe') > $seen }), "$name: clients go on");
	my $result = $writer->stop;
	is($result->{errors}, 0, "$name: no client saw an error");
	is($writer->missing_on($result, $n1), 0, "$name: no acknowledged row is missing");
	is($n1->term, $term, "$name: the term is the same");
	return;
}

sub recovered
{
	my ($name) = @_;
	$n2->wait_state('replica');
	caught_up($n1, $n2);
	only_primary($n1, $n2);
	same_data($n1, $n2, "$name: equal afterwards");
	return;
}

# Stops n2's applier short of what n1 has just committed; returns a function that lets it go on.
sub block_applier
{
	my $pid = $n2->worker_pid('applier');
	kill('STOP', $pid) == 1 or die "no applier\n";
	$n1->run('truncate blocker');
	return sub { kill 'CONT', $pid };
}

# ---- refused up front ----
my $r = $n2->try("select * from baton.failover('n2')");
is($r->{ok}, 0, 'on a replica: refused');
like($r->{hint} // '', qr/n1/, 'on a replica: the hint names the primary');
fails_ok('unknown target', "'nobody'", like => qr/nobody/);
fails_ok('target is me', "'n1'", like => qr/n1/);
$r = $n1->try("begin; insert into t(v) values ('x'); select * from baton.failover('n2')");
is($r->{ok}, 0, 'in a transaction that has written: refused');
$n1->run("begin; insert into t(v) values ('prepared'); prepare transaction 'left over'");
fails_ok('prepared transaction', "'n2'", like => qr/left over|prepared/);
$n1->run("rollback prepared 'left over'");
recovered('after refusals');

my $n3 = BatonCluster->node('n3');
$n3->join_group($n1, "type => 'secondary'");
fails_ok('target is a secondary', "'n3'", like => qr/n3/);
recovered('secondary');

# ---- the target does not get there ----
{
	my $go_on = block_applier();
	fails_ok('lagging target', "'n2', timeout => '2s'", like => qr/n2/);
	$go_on->();
	recovered('lagging target');
}
{
	$n2->freeze;
	fails_ok('frozen target', "'n2', timeout => '2s'");
	$n2->thaw;
	recovered('frozen target');
}
{
	# Frozen in the middle: the command is under way.
	my $go_on = block_applier();
	fails_ok('frozen in the middle', "'n2', timeout => '4s'", meanwhile => sub {
		ok(eventually(sub { $n1->gate ne 'open' }), 'frozen in the middle: it has begun');
		$n2->freeze;
	});
	$n2->thaw;
	$go_on->();
	recovered('frozen in the middle');
}
{
	# The target applies the command and asks; its question is lost, and comes late.
	$n2->{proxy}->to_client('hold');
	fails_ok('answer held back', "'n2', timeout => '3s'");
	$n2->{proxy}->heal;
	recovered('answer held back');
	$n2->{proxy}->to_client('drop');
	fails_ok('answer lost', "'n2', timeout => '3s'");
	$n2->{proxy}->heal;
	recovered('answer lost');
}
{
	# Killed before it acknowledged.
	block_applier();
	fails_ok('target killed', "'n2', timeout => '5s'", meanwhile => sub {
		ok(eventually(sub { $n1->gate ne 'open' }), 'target killed: the failover has begun');
		$n2->crash;
	});
	$n2->start;
	recovered('target killed');
}
{
	$n2->stop('fast');
	fails_ok('unreachable target', "'n2', timeout => '3s'");
	$n2->start;
	recovered('unreachable target');
}

# ---- transactions that are running ----
{
	my $short = $n1->session;
	$short->query_safe("begin; insert into t(v) values ('short')");
	my $wait = $n1->try_later("select * from baton.failover('n2', drain_timeout => '20s', after => 'rejoin')");
	ok(eventually(sub { $n1->gate ne 'open' }), 'drain: it has begun');
	$short->query_safe("insert into t(v) values ('short, too'); commit");
	my $out = $wait->();
	ok($out->{ok}, 'drain: a running transaction gets its time') or diag($out->{text});
	$short->quit;
	$n2->wait_state('primary');
	$n1->wait_state('replica');
	is($n2->run("select count(*) from t where v like 'short%'"), 2, 'drain: and its rows are on the new primary');
	caught_up($n2, $n1);
}
{
	my $endless = $n2->session;
	$endless->query_safe("begin; insert into t(v) values ('endless')");
	my $out = $n2->try("select * from baton.failover('n1', drain_timeout => '500ms', after => 'rejoin')");
	ok($out->{ok}, 'a transaction that does not end is ended') or diag($out->{text});
	$n1->wait_state('primary');
	eval { $endless->query('commit') };
	eval { $endless->quit };
	is($n1->run("select count(*) from t where v = 'endless'"), 0, 'and is not on the new primary');
	recovered('endless transaction');
}

# ---- the target dies after it took over ----
{
	$r = $n1->try("select * from baton.failover('n2')");
	ok($r->{ok}, 'handed to n2') or diag($r->{text});
	$n2->crash;
	isnt($n1->state, 'primary', 'the old primary stays what it is');
	$n2->start;
	$n2->wait_state('primary');
	only_primary($n2, $n1);
	$n1->run('select baton.start()');
	$n1->wait_state('replica');
	caught_up($n2, $n1);
	$r = $n2->try("select * from baton.failover('n1', after => 'rejoin')");
	ok($r->{ok}, 'and back') or diag($r->{text});
	$n1->wait_state('primary');
	recovered('killed after it took over');
}

# ---- the old primary dies on the way ----
sub settle
{
	my ($name) = @_;
	my @primary;
	ok(eventually(sub { (@primary = grep { $_->state eq 'primary' } $n1, $n2) == 1 }), "$name: one primary")
	  or diag(map { $_->name . ' ' . $_->run('select * from baton.status') . "\n" } $n1, $n2);
	my ($p) = @primary;
	my $other = $p == $n1 ? $n2 : $n1;
	$other->run('select baton.start()') if $other->state eq 'detached';
	$other->wait_state('replica');
	caught_up($p, $other);
	only_primary($p, $other);
	same_data($p, $other, "$name: equal afterwards");
	return ($p, $other);
}
{
	# while it drains
	my $open = $n1->session;
	$open->query_safe("begin; insert into t(v) values ('open')");
	my $wait = $n1->try_later("select * from baton.failover('n2', drain_timeout => '30s')");
	ok(eventually(sub { $n1->gate ne 'open' }), 'killed in drain: it has begun');
	$n1->crash;
	eval { $wait->() };
	eval { $open->quit };
	$n1->start;
	my ($p) = settle('killed in drain');
	is($p->name, 'n1', 'killed in drain: n1 resumes');
}
{
	# while it waits for the acknowledgement
	my $go_on = block_applier();
	my $wait = $n1->try_later("select * from baton.failover('n2')");
	ok(eventually(sub { $n1->gate ne 'open' }), 'killed in acknowledge: it has begun');
	$n1->crash;
	eval { $wait->() };
	$go_on->();
	$n1->start;
	my ($p, $other) = settle('killed in acknowledge');
	if ($p == $n2)
	{
		ok($p->try("select * from baton.failover('n1', after => 'rejoin')")->{ok}, 'back to n1');
		$n1->wait_state('primary');
		recovered('killed in acknowledge');
	}
}
# and right after each step has been reported
my ($p, $other) = ($n1, $n2);
for my $step ('stop clients', 'flush', 'failover command', 'acknowledge', 'stop replication')
{
	my $name = "killed after '$step'";
	my $writer = start_writer($n1, $n2);
	ok(eventually(sub { $p->run("select count(*) from writer_probe where id >= $writer->{first}") > 5 }), "$name: the writer runs");
	my $wait = $p->try_later(sprintf "select * from baton.failover('%s')", $other->name);
	ok($wait->(qr/NOTICE.*\Q$step\E/), "$name: it got there");
	my $killed = $p;
	$killed->crash;
	eval { $wait->() };
	$killed->start;
	($p, $other) = settle($name);
	my $result = $writer->stop;
	is($writer->missing_on($result, $p), 0, "$name: no acknowledged row is missing");
	caught_up($p, $other);
	same_data($p, $other, "$name: equal, the writer's rows too");
	is($p == $killed ? 'the old one' : 'the target', 'the target', "$name: the vote was on disk, so the target leads")
	  if $step eq 'stop replication';
	diag("$name: primary is " . ($p == $killed ? 'the old one' : 'the target'));
}
done_testing();
