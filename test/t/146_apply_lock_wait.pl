# A command of the stream needs a lock that a session on the replica has.
#
# The failure prevented: a session that has read a table, and sits in its transaction,
# stops the replica for good, and with it the failover that everybody waits for.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table t(id int primary key); insert into t select generate_series(1, 100)');

# Seen by sessions that begin from here on, and by the workers.
sub set
{
	my ($node, $setting, $value) = @_;
	$node->append_conf('postgresql.conf', "$setting = $value");
	$node->reload;
	eventually(sub { $node->run("show $setting") eq $value }) or die "$setting is not $value\n";
	return;
}

sub reader
{
	my ($node) = @_;
	my $session = $node->session;
	$session->query_safe('begin; select count(*) from t');
	return $session;
}

# The session's pid is not there any more.
sub pid_of { return $_[0]->query_safe('select pg_backend_pid()'); }
sub is_gone { my ($node, $pid) = @_; return eventually(sub { $node->run("select count(*) from pg_stat_activity where pid = $pid") eq '0' }); }
sub blocked { return $_[0]->run(q{select count(*) from pg_stat_activity where backend_type = 'baton applier' and wait_event_type = 'Lock'}) eq '1'; }
sub events { return $_[0]->run(q{select count(*) from baton.events where event = 'apply'}); }

# ---- the wait is told, and nothing is handed over to such a node ----

my $idle = reader($n2);
my $pid = pid_of($idle);
$n1->run('alter table t add column a int default 1');
ok(eventually(sub { blocked($n2) }), 'apply waits for a reader');
ok(eventually(sub { $n1->run('select error from baton.stat_replication') eq 'apply waits for locks that other sessions have' }), '... and the primary knows');
my $r = $n1->try(q{select * from baton.failover('n2', after => 'rejoin')});
like($r->{text}, qr/apply waits for locks that other sessions have/, '... and does not hand over to that node');
$n1->run('insert into t values (101)');
$idle->query_safe('commit');
caught_up($n1, $n2);
same_data($n1, $n2, 'it goes on when the reader ends');
is(events($n2), '0', '... and nobody was cancelled');
ok(eventually(sub { $n1->run('select error from baton.stat_replication') eq '' }), '... which the primary knows');

# ---- the time is up ----

set($n2, 'baton.apply_lock_timeout', '200ms');
my $busy = $n2->try_later('select pg_sleep(600) from t limit 1');
eventually(sub { $n2->run(q{select count(*) from pg_stat_activity where query like 'select pg_sleep(600)%' and wait_event = 'PgSleep'}) eq '1' }) or die "no reader\n";
$n1->run('alter table t add column b int default 2');
caught_up($n1, $n2);
is($busy->()->{state}, '57014', 'a query that is in the way is cancelled');
same_data($n1, $n2, '... and apply goes on');

$idle->query_safe('begin; select count(*) from t');
$n1->run('truncate t; insert into t select generate_series(1, 10)');
caught_up($n1, $n2);
ok(is_gone($n2, $pid), 'a session that is idle in its transaction is ended');
same_data($n1, $n2, '... and apply goes on');
ok(events($n2) >= 2, '... which baton.events has');
eval { $idle->quit };

# ---- sessions of other databases, and those that hold nothing that is needed, stay ----

my $other = $n2->session;
my $other_pid = pid_of($other);
$other->query_safe('create temporary table mine(i int); begin; select count(*) from mine');

# ---- a node that is to lead ----

set($n2, 'baton.apply_lock_timeout', '1h');
$idle = reader($n2);
$pid = pid_of($idle);
$n1->run('alter table t add column c int default 3; insert into t values (11)');
ok(eventually(sub { blocked($n2) }), 'apply waits, as it is told to');
my ($end) = $n1->run('select baton.position()') =~ /:(.*)/;
ok(eventually(sub { $n1->run("select flushed_position >= '$end'::pg_lsn from baton.stat_replication") eq 't' }), '... and has it all in its log');
$n1->crash;
$n2->run('select baton.promote(force => true)');
$n2->wait_state('primary');
ok(eventually(sub { $n2->gate eq 'open' }), 'it leads, and takes writes');
ok(is_gone($n2, $pid), '... the reader has been ended');
is($n2->run('select count(*) from t where c = 3'), '11', '... with all that was in the stream');
is($n2->run("select count(*) from pg_stat_activity where pid = $other_pid"), '1', 'who was not in the way is still there');

done_testing;
