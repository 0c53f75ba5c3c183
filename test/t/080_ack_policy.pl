# The ack policy on two nodes: a commit is seen by nobody, and answered to nobody,
# before the replica has it; and whatever ends a wait, the client is told of no
# success that may not last.
#
# The failure prevented: a client that was told "committed" and whose row is gone
# after a failover.  PostgreSQL itself says so to a client whose wait was cancelled,
# and to everybody when synchronous_standby_names is emptied.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2,
	conf => "baton.heartbeat_interval = 100ms\n",
	before => 'create table t(id int primary key, v text)');

sub names { return $_[0]->run('show synchronous_standby_names'); }
sub waiting { return $n1->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"); }
sub has { return $n1->run("select count(*) from t where id = $_[0]"); }
sub policy { my ($p, $n) = @_; return ($n // $n1)->try("select baton.set_ack_policy('$p')"); }
sub oid { return $_[0]->run("select oid from pg_database where datname = 'app'"); }
sub insert_later
{
	my ($id, $level) = @_;
	return $n1->try_later(($level ? "set synchronous_commit = $level; " : '') . "insert into t values ($id, 'x')");
}

# ---- without a policy, and mistakes ----
is(names($n1), '', 'no policy: the setting is untouched');
is($n1->run('select ack_policy from baton.status'), 'none', 'and the status says so');
my $r = policy('some');
is($r->{state}, '22023', 'an unknown policy is refused');
$r = policy('one', $n2);
is($r->{state}, '55000', 'a replica refuses') or diag($r->{text});
is($n1->run('select ack_policy from baton.status'), 'none', 'and nothing has changed');

# ---- set ----
$r = policy('majority');
ok($r->{ok}, 'set_ack_policy') or diag($r->{text});
is(names($n1), 'FIRST 1 (baton_' . oid($n1) . ')', 'the name is set on the primary');
ok(eventually(sub { names($n2) eq 'FIRST 1 (baton_' . oid($n2) . ')' }), 'and on the replica');
is($n1->run("select sync_state from pg_stat_replication where application_name = 'baton_" . oid($n1) . "'"),
	'sync', 'PostgreSQL shows the walsender as synchronous');
is($n2->run('select ack_policy from baton.status'), 'majority', 'the replica knows the policy');
$n1->run("insert into t values (1, 'a')");
is($n2->run('select v from t where id = 1'), 'a', 'a commit that was answered is there')
  if eventually(sub { $n2->run('select count(*) from t') == 1 });
ok($n1->run("create table plain(i int); drop table plain; select 1"), 'DDL');
$n1->run('vacuum t; analyze t');
ok($n2->try('create temp table tt(i int); insert into tt values (1)')->{ok}, 'a temporary table on the replica');
$n1->run("begin; insert into t values (2, 'p'); prepare transaction 'p'; commit prepared 'p'");
is(has(2), 1, 'a prepared transaction');
ok($n1->try('create database other', db => 'postgres')->{ok}, 'another database of the server');
ok($n1->try('create table o(i int); insert into o values (1)', db => 'other')->{ok}, 'and commits there');

# ---- the replica does not answer ----
$n2->freeze;
my $later = insert_later(10);
ok(eventually(sub { waiting() == 1 }), 'a commit waits for the frozen replica');
is(has(10), 0, 'and nobody sees it');
$r = $n1->try("set synchronous_commit = local; insert into t values (11, 'l')", seconds => 20);
ok($r->{ok}, 'synchronous_commit = local does not wait');
is(has(11), 1, 'and is seen');
$r = $n1->try("set synchronous_commit = off; insert into t values (12, 'o')", seconds => 20);
ok($r->{ok}, 'nor does off');
my $written = insert_later(13, 'remote_write');
ok(eventually(sub { waiting() == 2 }), 'remote_write waits too');
$n2->thaw;
ok($later->()->{ok}, 'it goes on when the replica is back');
ok($written->()->{ok}, 'both do');
is(has(10), 1, 'and is seen');

# ---- a wait that is cut short ----
$n2->freeze;
for my $how (qw(cancel terminate))
{
	my $id = $how eq 'cancel' ? 20 : 21;
	$later = insert_later($id);
	ok(eventually(sub { waiting() == 1 }), "$how: a commit waits");
	$n1->run("select pg_${how}_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
	$r = $later->();
	ok(!$r->{ok}, "$how: the client is told of no success");
	like($r->{text}, qr/server closed the connection|connection to server was lost/, "$how: its session has ended");
	is(has($id), 1, "$how: the row is there, as PostgreSQL shows it");
}
like(slurp_file($n1->logfile), qr/this session ends without an answer to its commit: it was not acknowledged/,
	'the log says why');
$later = $n1->try_later("begin; insert into t values (22, 'p'); prepare transaction 'p2'");
ok(eventually(sub { waiting() == 1 }), 'PREPARE TRANSACTION waits');
$n2->thaw;
ok($later->()->{ok}, 'and goes on');
$n2->freeze;
$later = $n1->try_later("commit prepared 'p2'");
ok(eventually(sub { waiting() == 1 }), 'COMMIT PREPARED waits');
$n1->run("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
$r = $later->();
ok(!$r->{ok}, 'cancelled, it is no success either') or diag($r->{out});
$n2->thaw;
caught_up($n1, $n2);

# ---- remote_apply ----
my $applier = $n2->worker_pid('applier');
kill('STOP', $applier) == 1 or die "no applier\n";
$later = insert_later(30, 'remote_apply');
ok(eventually(sub { waiting() == 1 }), 'remote_apply waits for a stopped applier');
ok($n1->try("insert into t values (31, 'f')", seconds => 20)->{ok}, 'synchronous_commit = on does not');
kill 'CONT', $applier;
ok($later->()->{ok}, 'it goes on when the applier does');
is($n2->run('select count(*) from t where id = 30'), 1, 'and its row is in the tables of the replica');

# ---- who lets it go ----
sub lag { return $n1->run("select sent_position > flushed_position from baton.stat_replication where node_name = 'n2'"); }
my $name = 'baton_' . oid($n1);
$n2->freeze;
$later = insert_later(32);
ok(eventually(sub { waiting() == 1 && lag() eq 't' }), 'a commit is on its way');
my @aside = ($n1->worker_pid('capture'), $n1->run("select pid from pg_stat_replication where application_name = '$name'"));
is(kill('STOP', @aside), 2, 'capture and the walsender are stopped');
$n2->thaw;
ok($later->()->{ok}, 'the shipper lets it go by itself');
kill 'CONT', @aside;
$n1->run("alter system set synchronous_standby_names = 'FIRST 2 ($name, elsewhere)'");
$n1->reload;
ok(eventually(sub { names($n1) =~ /elsewhere/ }), 'another name is asked for too');
$later = insert_later(33);
ok(eventually(sub { $n2->run('select count(*) from t where id = 33') == 1 }), 'the group has a commit');
is(waiting(), 1, 'and it still waits for the other name');
$n1->run("alter system set synchronous_standby_names = 'FIRST 1 ($name)'");
$n1->reload;
ok($later->()->{ok}, 'it goes on when that is asked for no more');

# ---- capture is killed while commits wait ----
$n2->freeze;
$later = insert_later(40);
ok(eventually(sub { waiting() == 1 }), 'a commit waits');
my $capture = $n1->worker_pid('capture');
$n1->run("select pg_terminate_backend($capture)");
ok(eventually(sub { my $p = $n1->worker_pid('capture'); $p && $p ne $capture }), 'capture is started again');
is(waiting(), 1, 'it still waits');
$n2->thaw;
ok($later->()->{ok}, 'it goes on when the replica is back');
ok($n1->try("insert into t values (41, 'x')", seconds => 30)->{ok}, 'and so do others');

# ---- the policy is changed while commits wait ----
$n2->freeze;
$later = insert_later(50);
ok(eventually(sub { waiting() == 1 }), 'a commit waits');
ok(policy('none')->{ok}, 'the policy is taken back');
ok($later->()->{ok}, 'whoever waits goes on');
is(names($n1), '', 'the name is out');
ok($n1->try("insert into t values (51, 'x')", seconds => 20)->{ok}, 'nobody waits');
$n2->thaw;
ok(eventually(sub { names($n2) eq '' }), 'on the replica too');

# ---- what somebody else has set ----
$n1->append_conf('postgresql.conf', "synchronous_standby_names = 's1'");
$n1->reload;
ok(eventually(sub { names($n1) eq 's1' }), "somebody else's synchronous_standby_names");
$r = policy('one');
is($r->{state}, '55000', 'the policy is refused') or diag($r->{text});
like($r->{hint}, qr/FIRST 2 \("s1", baton_\d+\)/, 'and the hint says what to add');
is(names($n1), 's1', 'it is untouched');
$n1->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$n1->reload;
ok(eventually(sub { names($n1) eq '' }), 'it is gone');
$n2->append_conf('postgresql.conf', "synchronous_standby_names = 's2'");
$n2->reload;
ok(eventually(sub { names($n2) eq 's2' }), "the same on the replica");
$r = policy('one');
is($r->{state}, '55000', 'refused') or diag($r->{text});
like($r->{message}, qr/node "n2"/, 'with its name');
$n2->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$n2->reload;
ok(eventually(sub { names($n2) eq '' }), 'it is gone');

# ---- failover ----
$r = policy('all');
ok($r->{ok}, 'policy all') or diag($r->{text});
$r = $n1->try("select * from baton.failover('n2', after => 'shutdown')");
is($r->{state}, '55000', 'a failover that leaves one node in service is refused');
like($r->{hint}, qr/after => 'rejoin'/, 'with what to do');
$r = $n1->try("select * from baton.failover('n2', after => 'rejoin')");
ok($r->{ok}, 'and done with rejoin') or diag($r->{text});
$n1->wait_state('replica');
ok($n2->try("insert into t values (60, 'x')", seconds => 30)->{ok}, 'commits on the new primary are acknowledged');
only_primary($n2, $n1);
ok($n1->try('create table o2(i int)', db => 'other', seconds => 30)->{ok}, "another database of a replica's server does not wait");

# ---- stop() ----
$n1->freeze;
$later = $n2->try_later("insert into t values (70, 'x')");
ok(eventually(sub { $n2->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'") == 1 }),
	'a commit waits');
$n2->run('select baton.stop()');
$r = $later->();
ok(!$r->{ok}, 'stop(): it ends without success');
ok(eventually(sub { names($n2) eq '' }), 'the name is out');
ok($n2->try('create database d2', db => 'postgres', seconds => 30)->{ok}, 'other databases do not hang');
$n1->thaw;
$n2->run('select baton.start()');
$n2->wait_state('primary');
ok(eventually(sub { names($n2) =~ /baton/ }), 'start(): it is back');
# (a primary takes writes a moment after its election)
ok(eventually(sub { ($r = $n2->try("insert into t values (71, 'x')", seconds => 30))->{ok} || $r->{state} ne '25006' }), 'it takes writes');
ok($r->{ok}, 'and commits are acknowledged') or diag($r->{text});

# ---- leave_group() ----
caught_up($n2, $n1);
ok(policy('one', $n2)->{ok}, 'policy one');
$r = $n1->try('select baton.leave_group()');
ok(!$r->{ok}, 'the last other voter may not leave under it');
like($r->{detail}, qr/too few voters for the ack policy "one"/, 'and the error says why');
ok(policy('majority', $n2)->{ok}, 'policy majority');
$r = $n1->try('select baton.leave_group()');
ok($r->{ok}, 'leave_group()') or diag($r->{text});
is(names($n1), '', 'its name is out');
ok($n1->try("insert into t values (80, 'x')", seconds => 30)->{ok}, 'it is an ordinary database');
ok($n2->try("insert into t values (80, 'x')", seconds => 30)->{ok}, 'a group of one is its own majority');
$r = policy('one', $n2);
is($r->{state}, '55000', 'policy one needs another node');
like($r->{message}, qr/too few voters/, 'and says so');

# ---- a name is left, and the node is not (its directory was not copied with the data) ----
$n1->safe_psql('postgres', "set synchronous_commit = local; alter system set synchronous_standby_names = 'FIRST 1 (baton_4242)'");
$n1->restart;
ok($n1->try("insert into t values (90, 'x')", seconds => 30)->{ok}, 'nobody waits for a node that does not exist');
is(names($n1), '', 'its name is out');
$n1->safe_psql('postgres', "set synchronous_commit = local; alter system set synchronous_standby_names = 'FIRST 1 (baton_4242, s1)'");
$n1->restart;
is(names($n1), 'FIRST 1 (baton_4242, s1)', "what is not baton's alone is left as it is");
$n1->safe_psql('postgres', 'set synchronous_commit = local; alter system reset synchronous_standby_names');
$n1->reload;

done_testing();
