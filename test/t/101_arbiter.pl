# Two nodes with data and an arbiter: it votes, keeps the stream, and is asked for
# what a survivor lacks.
#
# The failures prevented: an acknowledged commit that only the arbiter has beside the
# lost primary, and a survivor that is elected without it; an arbiter that leads, or
# that fills up because it applies nothing.
use strict;
use warnings;
use BatonCluster;
use BatonProxy;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => 'baton.election_timeout = 3s', before => 'create table t(id int primary key)');
my $a = BatonCluster->node('a');

$a->join_group($n1, "type => 'arbiter'");
ok(eventually(sub { $n1->run("select count(*) from baton.nodes where not joining") == 3 }), 'the arbiter is a full member');
is($a->run("select type || ' ' || state || ' ' || gate from baton.status"), 'arbiter replica closed', 'it says what it is, and takes no writes');
is($a->worker_pid($_), '', "it has no $_") for qw(applier capture);
is($a->run("select count(*) from pg_replication_slots"), 0, 'and no slot');
is($a->run("select count(*) from pg_class where relname = 't'"), 0, 'and no tables');

$n1->run("select baton.set_ack_policy('majority')");
$n1->run('insert into t select generate_series(1, 1000)');
caught_up($n1, $n2);
ok(eventually(sub { $n1->run("select flushed_position = applied_position and lag_bytes = 0 from baton.stat_replication where node_name = 'a'") eq 't' }), 'the arbiter has all of the stream');

# ---- it never leads ----
like($n1->try("select * from baton.failover('a')")->{text}, qr/type does not let it lead/, 'it is no target');
my $r = $a->try('select baton.promote(true)');
ok(!$r->{ok}, 'it cannot be promoted');
like($r->{text}, qr/lives|alive|may not lead/, 'and says why') or diag($r->{text});

# ---- it comes back after a crash, and counts again ----
$a->crash;
ok($n1->try('insert into t values (2000)')->{ok}, 'without it the others are a majority');
$a->start;
$a->wait_state('replica');
ok(eventually(sub { $n1->run("select state = 'streaming' and lag_bytes = 0 from baton.stat_replication where node_name = 'a'") eq 't' }), 'back, it catches up');

# ---- the survivor lacks what the arbiter has ----
caught_up($n1, $n2);
$n2->{proxy}->cut;
ok(eventually(sub { $n1->run("select state from baton.stat_replication where node_name = 'n2'") ne 'streaming' }), 'n2 is cut off');
$n1->run('insert into t select generate_series(10001, 11000)');
is($n1->run('select count(*) from t where id > 10000'), 1000, 'primary and arbiter are a majority, and commit');
isnt($n2->run('select count(*) from t where id > 10000'), 1000, 'n2 has not got them');
$n1->crash;
$n2->{proxy}->heal;
$n2->wait_state('primary');
is($n2->run('select count(*) from t where id > 10000'), 1000, 'elected, n2 has all that was acknowledged');
ok(eventually(sub { $n2->run("select count(*) > 0 from baton.events where event = 'fetched' and detail like '%from \"a\"'") eq 't' }), 'it fetched it from the arbiter');
$n2->run('insert into t values (20000)');

# ---- the old primary finds its way back ----
$n1->start;
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'all are equal');
only_primary($n2, $n1, $a);

done_testing();
