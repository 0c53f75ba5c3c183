# Who is in the group, by a majority: changes that are made while somebody is away,
# a secondary, and nodes that are removed, one that hears of it and one that does not.
#
# The failures prevented: a change that one node alone believes in; a removed node
# that goes on asking for votes, or that serves its clients for ever as if nothing
# had happened; a node without a vote that is counted.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => 'baton.election_timeout = 3s', before => 'create table t(id int primary key)');

sub committed { return $_[0]->run('select members_committed from baton.status') eq 't' }
sub reason { return $_[0]->run("select coalesce(reason, '') from baton.status") }

ok(eventually(sub { $n1->run('select count(*) from baton.nodes where not joining') == 2 && committed($n1) }), 'both are full members');
ok(eventually(sub { $n2->run('select count(*) from baton.nodes where not joining') == 2 && committed($n2) }), 'the replica knows, and that it is committed');

# ---- a majority must agree ----
$n2->stop('immediate');
my $r = $n1->try("select baton.set_priority('n2', 50)");
ok(!$r->{ok}, 'change alone: not acknowledged');
is($r->{state}, '55000', 'change alone: SQLSTATE');
like($r->{detail}, qr/"n2"/, 'change alone: names who is missing') or diag($r->{text});
ok(!committed($n1), 'change alone: shown as not committed');
is($n1->run("select priority from baton.nodes where node_name = 'n2'"), 50, 'change alone: in force here');

my $n3 = BatonCluster->node('n3');
my $join = sprintf "select baton.join_group('%s', 'n3', '%s'", $n1->dsn, $n3->dsn;
$r = $n3->try("$join)");
ok(!$r->{ok}, 'joining without a majority: refused');
like($r->{text}, qr/majority of the voters is up/, 'joining without a majority: says why') or diag($r->{text});
is($n3->run('select count(*) from baton.status'), 0, 'joining without a majority: nothing is left of it');

$n2->start;
ok(eventually(sub { committed($n1) && committed($n2) }), 'when the other is back the change is committed on both');
is($n2->run("select priority from baton.nodes where node_name = 'n2'"), 50, 'and it knows it');

# ---- a secondary: data, no vote, never leads ----
$n3->join_group($n1, "type => 'secondary'");
ok(eventually(sub { $n1->run("select not joining from baton.nodes where node_name = 'n3'") eq 't' && committed($n1) }), 'a secondary joins');
is($n3->run('select type from baton.status'), 'secondary', 'secondary: says so');
$n1->run('insert into t select generate_series(1, 100)');
caught_up($n1, $n2, $n3);
same_data($n1, $n3, 'secondary: has the data');
$r = $n1->try("select * from baton.failover('n3')");
like($r->{text}, qr/type does not let it lead/, 'secondary: is no target') or diag($r->{text});
$r = $n1->try("select baton.set_priority('n3', 7)");
like($r->{text}, qr/never leads/, 'secondary: has no priority') or diag($r->{text});
$r = $n1->try("select baton.set_designated('n3')");
like($r->{text}, qr/no electable full member/, 'secondary: cannot be designated') or diag($r->{text});

# its loss is nothing to the voters, and a change needs it not
$n3->stop;
ok($n1->try("select baton.set_priority('n2', 60)")->{ok}, 'secondary away: changes are committed');
ok($n1->try('insert into t values (1001)')->{ok}, 'secondary away: writes go on');
$n3->start;
caught_up($n1, $n3);

# ---- removed while it is there ----
my $term = $n1->term;
$n1->run("select baton.remove_node('n3')");
$n3->wait_state('detached');
like(reason($n3), qr/the group has removed it/, 'removed: the node learns it at once');
$r = $n3->try('select baton.promote(true)');
ok(!$r->{ok}, 'removed: cannot promote itself');
is($n3->run('select count(*) from t'), 101, 'removed: can still be read');
$n3->run('select baton.leave_group(force => true)');
ok($n3->try('insert into t values (5000)')->{ok}, 'removed, and left: an ordinary database');
is($n1->term, $term, 'removed: the reign goes on');

# ---- removed while it is away ----
my $n4 = BatonCluster->node('n4');
$n4->join_group($n1);
ok(eventually(sub { $n1->run("select not joining from baton.nodes where node_name = 'n4'") eq 't' && committed($n1) }), 'a third voter joins');
ok($n1->try("select baton.set_designated('n2')")->{text} =~ /groups of two voters only/, 'three voters: nobody can be designated');
$n4->stop;
$n1->run("select baton.remove_node('n4')");
is($n1->run('select count(*) from baton.nodes'), 2, 'removed while away: two are left');
$n4->start;
$n4->wait_state('detached');
like(reason($n4), qr/the group has removed it/, 'removed while away: learns it when it asks');
is($n1->term, $term, 'removed while away: disturbs nobody');
only_primary($n1, $n2, $n4);

# ---- all of it over restarts ----
for my $n ($n2, $n1) { $n->restart; }
$n1->wait_state('primary');
$n2->wait_state('replica');
is($n2->run("select string_agg(node_name || ' ' || priority, ', ' order by node_id) from baton.nodes"), 'n1 100, n2 60', 'after restarts: the same members');
ok(eventually(sub { committed($n1) && committed($n2) }), 'after restarts: committed');

# ---- the last other voter is lost for good ----
$n2->stop('immediate');
$n1->run("select baton.remove_node('n2')");
ok(committed($n1), 'a primary of two can always remove the other');
$n1->run('insert into t values (2000)');

done_testing();
