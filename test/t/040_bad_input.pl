# What a person can get wrong: each with an SQLSTATE that a program can act on, a
# message that names the thing, and a hint that says what to do.
#
# The failure prevented: a node that is half set up, a server that does not start,
# a crash, or "internal error".
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Test: the call fails with this SQLSTATE, this text in message or detail, and a hint.
sub refused
{
	my ($name, $node, $sql, $state, $like, $hint, %opt) = @_;
	my $r = $node->try($sql, %opt);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($r->{ok}, 0, "$name: refused");
	like($r->{state} // '', $state, "$name: SQLSTATE") or diag($r->{text});
	like(join(' ', map { $_ // '' } @$r{qw(message detail)}), $like, "$name: message") if $like;
	like($r->{hint} // '', $hint, "$name: hint") if $hint;
	return;
}

my $E_SETUP = qr/^(55000|53400|F0000)$/;    # not in prerequisite state, configuration limit

# ---- servers that are not set up for it ----
{
	my $bare = BatonCluster->node('bare', extension => 0, conf => "shared_preload_libraries = ''");
	$bare->try('create extension baton');
	refused('not preloaded', $bare, "select baton.create_group('g', 'x', '" . $bare->dsn . "')",
		$E_SETUP, qr/not loaded/, qr/shared_preload_libraries/);
	$bare->stop;
}
{
	my $node = BatonCluster->node('replica_level', conf => 'wal_level = replica');
	refused('wal_level', $node, "select baton.create_group('g', 'x', '" . $node->dsn . "')", $E_SETUP, qr/wal_level/, qr/logical/);
	$node->stop;
}
for my $limit ([ 'max_replication_slots', 0 ], [ 'max_wal_senders', 0 ])
{
	my ($setting, $value) = @$limit;
	my $node = BatonCluster->node($setting, conf => "$setting = $value");
	refused($setting, $node, "select baton.create_group('g', 'x', '" . $node->dsn . "')", $E_SETUP, qr/$setting|slot|sender/, qr/$setting/);
	is($node->run('select count(*) from baton.nodes'), 0, "$setting: nothing is left behind");
	$node->stop;
}
{
	my $node = BatonCluster->node('max_worker_processes', conf => 'max_worker_processes = 2');
	refused('max_worker_processes', $node, "select baton.create_group('g', 'x', '" . $node->dsn . "')", $E_SETUP, qr/worker/, qr/max_worker_processes/);
	$node->stop;
}

# ---- a group, and what does not fit into it ----
my ($n1, $n2) = BatonCluster->group(2, before => 'create table t(id int primary key)');
my $dsn1 = $n1->dsn;

refused('already a node', $n1, "select baton.create_group('other', 'n1', '$dsn1')", qr/^(55000|42710)$/, qr/shop|already/);
refused('already a node, join', $n2, "select baton.join_group('$dsn1', 'n2', '" . $n2->dsn . "')", qr/^(55000|42710)$/, qr/shop|already/);

my $n3 = BatonCluster->node('n3');
my $dsn3 = $n3->dsn;
$n3->run('create table something(id int)');
refused('not empty', $n3, "select baton.join_group('$dsn1', 'n3', '$dsn3')", qr/^55000$/, qr/empty|something/, qr/./);
$n3->run('drop table something');
refused('name taken', $n3, "select baton.join_group('$dsn1', 'n2', '$dsn3')", qr/^42710$/, qr/n2/);
refused('empty name', $n3, "select baton.join_group('$dsn1', '', '$dsn3')", qr/^(22023|42602)$/, qr/name/);
refused('name too long', $n3, "select baton.join_group('$dsn1', repeat('x', 300), '$dsn3')", qr/^(22023|42622|42602)$/, qr/name/);
refused('unreachable member', $n3, "select baton.join_group('host=/nowhere port=1 dbname=app', 'n3', '$dsn3')", qr/^08/, qr/nowhere/);
refused('bad conninfo', $n3, "select baton.join_group('nonsense', 'n3', '$dsn3')", qr/^(22023|42601|08\w{3})$/, qr/nonsense|missing "="/);
refused('own conninfo unreachable', $n3, "select baton.join_group('$dsn1', 'n3', 'host=/nowhere port=1 dbname=app')", qr/^08/, qr/nowhere/);
refused('bad type', $n3, "select baton.join_group('$dsn1', 'n3', '$dsn3', type => 'boss')", qr/^22023$/, qr/boss/, qr/electable/);
refused('bad priority', $n3, "select baton.join_group('$dsn1', 'n3', '$dsn3', priority => -1)", qr/^22023$|^22003$/, qr/priority/);
refused('a member that is no node', $n3, "select baton.join_group('$dsn3', 'n3', '$dsn3')", qr/^55000$/, qr/./);
is($n3->run('select count(*) from baton.nodes'), 0, 'after all that nothing is left behind');
is($n1->run('select count(*) from baton.nodes'), 2, 'nor in the group');
refused("another node's conninfo", $n3, "select baton.join_group('$dsn1', 'n3', '" . $n2->dsn . "')", qr/./, qr/./);

my $latin = BatonCluster->node('latin', initdb => [ '-E', 'LATIN1' ]);
refused('encoding', $latin, "select baton.join_group('$dsn1', 'latin', '" . $latin->dsn . "')", qr/^(55000|22023|0A000)$/, qr/encoding|LATIN1/);
$latin->stop;

# ---- calls on the wrong node, and wrong arguments ----
refused('failover on a replica', $n2, "select * from baton.failover('n1')", qr/^(55000|25006)$/, qr/./, qr/n1/);
refused('failover to nobody', $n1, "select * from baton.failover('nobody')", qr/^42704$/, qr/nobody/);
refused('bad after', $n1, "select * from baton.failover('n2', after => 'party')", qr/^22023$/, qr/party/, qr/shutdown/);
refused('bad timeout', $n1, "select * from baton.failover('n2', timeout => '-1s')", qr/^22023$/, qr/timeout/);
refused('unknown node', $n1, "select baton.remove_node('nobody')", qr/^42704$/, qr/nobody/);
refused('unknown node', $n1, "select baton.set_priority('nobody', 5)", qr/^42704$/, qr/nobody/);
refused('bad token', $n2, "select baton.wait_for('nonsense', '1s')", qr/^22P02$|^22023$/, qr/nonsense/);
refused('not a node: position', $n3, 'select baton.position()', qr/^55000$/, qr/./, qr/create_group|join_group/);
refused('not a node: failover', $n3, "select * from baton.failover('x')", qr/^55000$/, qr/./, qr/create_group|join_group/);
refused('not a node: start', $n3, 'select baton.start()', qr/^55000$/, qr/./);
refused('not a node: stop', $n3, 'select baton.stop()', qr/^55000$/, qr/./);
refused('wait_for in vain', $n2, "select baton.wait_for((select split_part(baton.position(), ':', 1)) || ':FFFFFFFF/0', '200ms')", qr/^(57014|55000|22023|08\w{3})$/, qr/./);

# ---- an ordinary role may do none of it ----
$n1->run('create role ordinary login');
for my $call ("create_group('g', 'x', 'dbname=x')", 'stop()', 'start()', "remove_node('n2')", 'promote()', 'leave_group()')
{
	refused("ordinary role: $call", $n1, "select baton.$call", qr/^42501$/, qr/permission/, undef, user => 'ordinary');
}
refused('ordinary role: failover', $n1, "select * from baton.failover('n2')", qr/^42501$/, qr/permission/, undef, user => 'ordinary');
refused('ordinary role: node-to-node calls', $n1, 'select * from baton_rpc.describe()', qr/^42501$/, qr/permission|REPLICATION/, undef, user => 'ordinary');
refused('ordinary role: status', $n1, 'select * from baton.status', qr/^42501$/, qr/permission/, undef, user => 'ordinary');
$n1->safe_psql('postgres', 'create role watcher login in role pg_monitor');
ok($n1->try('select * from baton.status', user => 'watcher')->{ok}, 'pg_monitor may look');

# ---- dropping what is in use ----
refused('drop extension', $n1, 'drop extension baton cascade', qr/^55(000|006)$/, qr/node|group/, qr/leave_group|remove_node|stop/);
refused('drop database', $n1, 'drop database app', qr/^55(000|006)$/, qr/node|group|app/, qr/leave_group|remove_node/, db => 'postgres');
refused('drop database by force', $n1, 'drop database app with (force)', qr/^55(000|006)$/, qr/node|group|app/, qr/./, db => 'postgres');
only_primary($n1, $n2);
$n1->run('insert into t values (1)');
caught_up($n1, $n2);
same_data($n1, $n2, 'after all that the group works');

# ---- node-to-node calls with rubbish ----
for my $call (
	"baton_rpc.handshake('00000000-0000-0000-0000-000000000000', 1, 'x', 1, 1, 'x', 'x', 1, '')",
	"baton_rpc.append(1, 1, 1000, '0/0', '0/0', 'rubbish')", "baton_rpc.append(77, 0, 0, '0/0', '0/0', '')",
	"baton_rpc.append(1, 9223372036854775807, 1000, 'FFFFFFFF/FFFFFFFF', 'FFFFFFFF/FFFFFFFF', '\\x00')", "baton_rpc.append(1, 1, -1, '0/0', '0/0', '')", "baton_rpc.deliver('rubbish')",
	"baton_rpc.frame_before('FFFFFFFF/FFFFFFFF')", "baton_rpc.sync_up(77, 0, '0/0', '0/0', 0)",
	"baton_rpc.watch(77, 0, 0, '0/0', 0, 'x', 0, '0/0', 'nonsense', 10, 10)")
{
	$_->try("select * from $call", seconds => 30) for $n1, $n2;
}
only_primary($n1, $n2);
$n1->run('insert into t values (2)');
$n2->wait_state('replica');
caught_up($n1, $n2);
same_data($n1, $n2, 'rubbish in node-to-node calls does no harm');

# ---- a corrupted control file: this node stays down, the server does not ----
my $oid = $n2->run("select oid from pg_database where datname = 'app'");
$n2->stop;
my @control = glob($n2->data_dir . "/baton/$oid/control*");
cmp_ok(scalar @control, '>', 0, 'there is a control file');
for my $file (@control)
{
	open my $fh, '+<', $file or die "$file: $!";
	binmode $fh;
	seek $fh, 20, 0;
	print {$fh} "\xff" x 16;
	close $fh;
}
my $log_start = -s $n2->logfile;
$n2->start;
is($n2->safe_psql('postgres', 'select 1'), 1, 'other databases of the server run on');
ok(eventually(sub { slurp_file($n2->logfile, $log_start) =~ /control/ }), 'the log names the control file');
is($n2->state, 'down', 'the node is down');
is($n2->try('insert into t values (3)')->{ok}, 0, 'and takes no writes');
my @lines = slurp_file($n2->logfile, $log_start) =~ /^(.*(?:LOG|WARNING|ERROR|FATAL):.*control.*)$/mg;
is(scalar @lines, 1, 'in one line') or diag(join "\n", @lines);
only_primary($n1);
done_testing();
