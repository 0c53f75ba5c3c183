# A node from its first moment to its last: groups that are slow to make, workers
# that cannot start, coordinators and callers that die, files that are damaged,
# databases that are gone, nodes that leave.
#
# The failure prevented: a node that nobody can get rid of, a wait without a word
# or an end, a lost control file that makes a replica an ordinary writable database.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Test: a condition becomes true.
sub becomes
{
	my ($node, $sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(eventually(sub { my $r = $node->try($sql); $r->{ok} && $r->{out} eq 't' }), $name)
	  || diag($node->try('select * from baton.status')->{out});
}

# A session with an xid of its own.
sub open_transaction
{
	my ($node) = @_;
	my $s = $node->session;
	$s->query_safe('begin; select pg_current_xact_id()');
	return $s;
}

# Test: a fast shutdown ends within the time that pg_ctl waits for.
sub stops_fast
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->stop('fast', fail_ok => 1), "fast shutdown $name");
}

sub directory { return $_[0]->data_dir . '/baton/' . $_[0]->run('select oid from pg_database where datname = current_database()'); }

# ---- a group whose slot waits for somebody's transaction ----

my $n1 = BatonCluster->node('n1');
my $n2 = BatonCluster->node('n2');
my $create = sprintf "select baton.create_group('shop', 'n1', '%s')", $n1->dsn;

my $open = open_transaction($n1);
my $creating = $n1->try_later($create);
becomes($n1, q{select reason ~ 'waits for the transaction of session \d+' from baton.status},
	'a group that waits for its slot says for whom');
my $r = $n1->try('select baton.stop()');
is($r->{state}, '55000', 'it cannot be stopped yet');
$r = $n1->try('select baton.leave_group()');
ok($r->{ok}, 'but given up') or diag($r->{text});
ok(!$creating->()->{ok}, 'create_group() ends with that');
is($n1->run('select count(*) from baton.status'), '0', 'no node is left');
is($n1->run('select count(*) from pg_replication_slots'), '0', 'no slot either');

$creating = $n1->try_later($create);
becomes($n1, q{select reason ~ 'waits for the transaction' from baton.status}, 'again it waits');
stops_fast($n1, 'while a slot is waited for');
$open->quit;
$creating->();
$n1->start;
ok($n1->wait_state('primary'), 'after the restart the group is made');

$n1->run('create table t (id int primary key)');
$n2->join_group($n1);
$n1->run('insert into t select generate_series(1, 100)');
caught_up($n1, $n2);

# ---- a caller that is killed ----

$open = $n1->session;
$open->query_safe('begin; insert into t values (1000)');
my $failing = $n1->try_later(q{select * from baton.failover(timeout => '120s', drain_timeout => '120s')});
becomes($n1, q{select gate = 'draining' from baton.status}, 'a failover waits for a transaction');
$n1->run(q{select pg_terminate_backend(pid) from pg_stat_activity where query ~ '^select \* from baton.failover'});
$failing->();
becomes($n1, q{select gate = 'open' from baton.status}, 'its caller is killed: it is given up');
$open->query_safe('commit');
$open->quit;
only_primary($n1, $n2);

# ---- a coordinator that dies while another is promoted ----

my $launcher = $n1->run(q{select pid from pg_stat_activity where backend_type = 'baton launcher'});
kill 'STOP', $launcher;
$n1->run('select pg_terminate_backend(' . $n1->worker_pid('coordinator') . ')');
becomes($n1, q{select state = 'down' and gate = 'held' from baton.status}, 'without a coordinator the gate is held');
my $waiting = $n1->try_later('insert into t values (1001)');
becomes($n1, q{select count(*) = 1 from pg_stat_activity where query ~ '^insert into t' and wait_event_type = 'Extension'},
	'a client waits');
$r = $n1->try('select baton.stop()');
is($r->{state}, '55000', 'a command says that there is no coordinator');
$r = $n2->try('select baton.promote(force => true)');
ok($r->{ok}, 'meanwhile the other is promoted') or diag($r->{text});
kill 'CONT', $launcher;
$r = $waiting->();
is($r->{state}, '25006', 'who has waited is refused');
$n1->wait_state('replica');
only_primary($n2, $n1);
$n2->run('insert into t values (1001)');
caught_up($n2, $n1);
same_data($n2, $n1, 'both have the same');

# ---- events wait for nobody ----

$open = $n2->session;
$open->query_safe('begin; lock table baton.events in access exclusive mode');
$r = $n2->try(q{select baton.set_priority('n1', 90)}, seconds => 20);
ok($r->{ok}, 'a lock on baton.events holds nothing up') or diag($r->{text});
$open->query_safe('rollback');
$open->quit;
becomes($n2, q{select count(*) = 1 from baton.events where detail ~ 'priority 90'}, 'the row comes later');

# ---- too few background workers ----

$n1->adjust_conf('postgresql.conf', 'max_worker_processes', 3);
stops_fast($n1, 'of a replica');
$n1->start;
becomes($n1, q{select reason ~ 'max_worker_processes' from baton.status}, 'a node without workers says so');
stops_fast($n1, 'without workers');
$n1->adjust_conf('postgresql.conf', 'max_worker_processes', 32);
$n1->start;
$n1->wait_state('replica');

# ---- a lost control file ----

my $directory = directory($n1);
for my $damage ('removed', 'cut short')
{
	my $control = slurp_file("$directory/control");
	$n1->stop;
	$damage eq 'removed' ? unlink "$directory/control" : truncate("$directory/control", 40);
	$n1->start;
	becomes($n1, q{select state = 'down' and gate = 'closed' and reason ~ 'control' from baton.status},
		"a control file is $damage: the node stays down");
	$r = $n1->try('insert into t values (2000)');
	is($r->{state}, '25006', 'its database takes no writes');
	is($n1->run('select count(*) from t where id <= 100'), '100', 'and serves reads');
	$n1->stop;
	open my $fh, '>:raw', "$directory/control" or die $!;
	print $fh $control;
	close $fh;
	$n1->start;
	$n1->wait_state('replica');
}
$n1->stop;
truncate("$directory/control", 40);
$n1->start;
becomes($n1, q{select state = 'down' from baton.status}, 'damaged once more');
$r = $n1->try('select baton.leave_group()');
ok($r->{ok} && $r->{text} =~ /remove_node/, 'such a node can be given up') or diag($r->{text});
ok(!-e $directory, 'its directory is gone');
$n1->run('insert into t values (2000)');
pass('its database is an ordinary one');
$n2->run(q{select baton.remove_node('n1')});
is($n2->run('select string_agg(node_name, $$,$$) from baton.nodes'), 'n2', 'the group forgets it');

# ---- a database that was dropped while baton was not loaded ----

$n1->run('drop table t');
$n1->join_group($n2);
$directory = directory($n1);
$n1->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$n1->restart;
$n1->safe_psql('postgres', "drop database $BatonCluster::DB");
$n1->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'baton'");
my $seen = -s $n1->logfile;
$n1->restart;
ok(eventually(sub { slurp_file($n1->logfile, $seen) =~ /belongs to a database that does not exist/ }),
	'a directory without a database is named in the log');
ok(-e $directory, 'and left alone');
$n1->safe_psql('postgres', "create database $BatonCluster::DB");
$n1->run('create extension baton');
$n2->run(q{select baton.remove_node('n1')});

# ---- leaving while copying, and twice ----

$open = $n1->background_psql('postgres');
$open->query_safe('begin; select pg_current_xact_id()');
$n1->run(sprintf "select baton.join_group('%s', 'n1', '%s')", $n2->dsn, $n1->dsn);
becomes($n1, q{select phase = 'creating the replication slot' from baton.copy_state()}, 'a copy waits for its slot');
my $reader = $n1->session;
is($reader->query_safe('select count(*) from pg_class where false; show default_transaction_read_only'), "0\non", 'a session sees the closed gate');
$n2->run(q{select baton.remove_node('n1')});
$r = $n1->try('select baton.leave_group()');
ok($r->{ok}, 'who was removed can leave') or diag($r->{text});
is($reader->query_safe('create table freed(i int); drop table freed; show default_transaction_read_only'), 'off', 'and that session writes');
$reader->quit;
$n1->run('drop table t');    # what was copied stays
$n1->run(sprintf "select baton.join_group('%s', 'n1', '%s')", $n2->dsn, $n1->dsn);
becomes($n1, q{select phase = 'creating the replication slot' from baton.copy_state()}, 'a copy waits again');
stops_fast($n1, 'while copying');
$open->quit;
$n1->start;
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'the copy was taken after all');

# ---- stop() forgets no reason ----

$n2->run('select * from baton.failover()');
my $reason = $n2->run('select reason from baton.status');
$n2->run('select baton.stop()');
is($n2->run('select reason from baton.status'), $reason, 'a detached node that is stopped keeps its reason');
$n2->run('select baton.start()');
$n2->wait_state('replica');
only_primary($n1, $n2);
stops_fast($n2, 'of a replica');
stops_fast($n1, 'of a primary');

done_testing();
