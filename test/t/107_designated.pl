# The rule designated on real servers: under an ack policy the designated node counts
# alone when the other is gone, and the other never does; and two members that both
# claim the designation, which only an old control file can bring about, do not follow
# each other, nor lead side by side.
#
# The failure prevented: a designated node that waits for ever for the one that is gone;
# two that each go on alone.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => "baton.reconnect_max_delay = 500ms\nbaton.heartbeat_interval = 500ms", before => 'create table t(id int primary key, v text)');
ok(eventually(sub { $n1->run('select bool_and(not joining) and count(*) = 2 from baton.nodes') eq 't' && $n2->run('select members_committed from baton.status') eq 't' }), 'two full members');

# ---- counting alone ----
$n1->run("select baton.set_designated('n1')");
$n1->run("select baton.set_ack_policy('all')");
$n1->run("insert into t values (1, 'both')");
is($n2->run(sprintf q(select log_end >= '%s' from baton.status), $n1->run("select max(position) from baton.stream_records() where type = 'COMMIT'")), 't',
	'a commit waits for the other while that answers');
$n2->stop('immediate');
my $r = $n1->try("insert into t values (2, 'alone')", seconds => 30);
ok($r->{ok}, 'the designated node counts alone when the other is gone') or diag($r->{text});
$n2->start;
$n2->wait_state('replica');
caught_up($n1, $n2);
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run("insert into t values (3, 'n2 leads')");
$n1->stop('immediate');
my $waiting = $n2->try("set statement_timeout = '20s'; insert into t values (4, 'n2 alone')", seconds => 60);
ok(!$waiting->{ok}, 'the other one, which leads, does not count alone') or diag($waiting->{out});
$n1->start;
ok(eventually(sub { $n1->state eq 'primary' || $n2->state eq 'primary' }), 'together they have a primary');
my ($p, $other) = $n1->state eq 'primary' ? ($n1, $n2) : ($n2, $n1);
$other->wait_state('replica');
caught_up($p, $other);
same_data($p, $other, 'and the same rows');
$p->run("select baton.set_ack_policy('none')");
if ($p != $n1)
{
	$p->run(q(select baton.failover('n1', after => 'rejoin')));
	$n1->wait_state('primary');
	$n2->wait_state('replica');
}

# ---- both claim to be designated ----
$n1->run("select baton.set_designated('n2')");
caught_up($n1, $n2);
ok(eventually(sub { $n2->run('select rule_member from baton.status') eq 'n2' && $n2->run('select members_committed from baton.status') eq 't' }), 'n2 is designated');
$n2->stop;
my ($control) = glob($n2->data_dir . '/baton/*/control');
my $old = PostgreSQL::Test::Utils::tempdir() . '/control';
system_or_bail('cp', $control, $old);
$n2->start;
$n2->wait_state('replica');
$n1->run("select baton.set_designated('n1')");
$n1->run("insert into t values (5, 'n1 is designated')");
caught_up($n1, $n2);
$n2->stop;
system_or_bail('cp', $old, $control);
my $term = $n1->term;
$n2->start;
$n2->wait_state('detached');
like($n2->run('select reason from baton.status'), qr/designated/, 'the one with the older list of members steps out of service');
ok(eventually(sub { $n1->run("select error from baton.stat_replication where node_name = 'n2'") =~ /designated|out of replication|out of service/ }), 'the primary says so');
is($n1->term . ' ' . $n1->state, "$term primary", 'and goes on');
only_primary($n1, $n2);

done_testing;
