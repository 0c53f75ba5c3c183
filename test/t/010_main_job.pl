# The main job: a database is replicated live and handed over under load, the old
# primary comes back as a replica, and the baton goes back.
#
# The failure prevented: a planned switchover that loses rows a client was told
# are committed, leaves two primaries, or leaves clients with the wrong one.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create table writer_probe(id bigint primary key, at timestamptz default clock_timestamp());
create table accounts(id int primary key, balance bigint not null, note text);
insert into accounts select g, 0, repeat('x', g % 50) from generate_series(1, 1000) g;
SQL
$n1->run('create role client login');
caught_up($n1, $n2);

same_data($n1, $n2, 'the initial copy brings the rows');
ok($n1->try('select 1', user => 'client')->{ok}, 'an ordinary role connects to the primary');

# Several sessions that update the same rows, and one that writes new ones.
my $writer = start_writer($n1, $n2);
my @updates = map {
	$n1->try_later("do \$\$ begin for i in 1..300 loop
		update accounts set balance = balance + 1 where id = 1 + (i * 7 + $_ * 13) % 1000; commit; end loop; end \$\$")
} 1 .. 3;
ok($_->()->{ok}, 'updates run') for @updates;

my $r = $n1->try("select * from baton.failover('n2')");
ok($r->{ok}, 'failover succeeds') or diag($r->{text});
like($r->{out}, qr/$_/, "step '$_' is reported")
  for 'stop clients', 'flush', 'failover command', 'acknowledge', 'stop replication', 'shut down';
like($r->{text}, qr/NOTICE.*stop clients/, 'steps are told when they happen');
$n2->wait_state('primary');
is($n1->state, 'detached', 'the old primary is detached');
only_primary($n2, $n1);

# The old primary is shut to clients, and says where to go.
$r = $n1->try('select 1', user => 'client');
is($r->{ok}, 0, 'the old primary lets no client in');
like($r->{text}, qr/n2/, 'and names the new primary');
is($n1->run('select count(*) from accounts'), 1000, 'a superuser may look at it');

# The writer finds the new primary by itself.
my $reached = $n2->run('select count(*) from writer_probe');
ok(eventually(sub { $n2->run('select count(*) from writer_probe') > $reached + 50 }),
	'the writer goes on at the new primary');

$n1->run('select baton.start()');
$n1->wait_state('replica');
ok($n1->run('select count(*) from writer_probe') > 0, 'the old primary serves reads as a replica');
caught_up($n2, $n1);

# Back again, with a role change instead of a shutdown.
$r = $n2->try("select * from baton.failover('n1', after => 'rejoin')");
ok($r->{ok}, 'the way back succeeds') or diag($r->{text});
$n1->wait_state('primary');
$n2->wait_state('replica');
only_primary($n1, $n2);

# NULL is the most caught-up replica.
caught_up($n1, $n2);
$r = $n1->try("select * from baton.failover(after => 'rejoin')");
ok($r->{ok}, 'failover without a target chooses one') or diag($r->{text});
$n2->wait_state('primary');
$n1->wait_state('replica');

caught_up($n2, $n1);

my $result = $writer->stop;
cmp_ok($result->{acknowledged}, '>', 100, 'the writer has written');
is($writer->missing_on($result, $n2), 0, 'no acknowledged row is missing');
note("longest gap $result->{longest_gap_ms} ms, $result->{acknowledged} rows");
caught_up($n2, $n1);
same_data($n2, $n1, 'both nodes are equal');

# stop_server: the old primary's server ends cleanly.
$r = $n2->try("select * from baton.failover('n1', after => 'stop_server')");
$n1->wait_state('primary');
ok(eventually(sub { !-e $n2->data_dir . '/postmaster.pid' }), 'the server of the old primary has stopped');
like(slurp_file($n2->logfile), qr/database system is shut down/, 'cleanly');
$n2->{_pid} = undef;
ok($n1->try('insert into accounts values (2000, 0)')->{ok}, 'the new primary takes writes');
$n2->start;
ok(eventually(sub { $n2->state =~ /^(detached|replica)$/ }), 'it comes up again, not as a primary');
$n2->run('select baton.start()') if $n2->state eq 'detached';
$n2->wait_state('replica');
caught_up($n1, $n2);
same_data($n1, $n2, 'and catches up');

done_testing();
