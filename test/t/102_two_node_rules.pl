# Two voters and the rules that say who of them goes on alone; pause and resume.
#
# The failures prevented: a designation that both believe in at once; a survivor that
# leads although the other may; a preferred node that comes back, and stays behind or
# loses what it had committed; an election that a person had forbidden.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table t(id int primary key, v text)', conf => <<'CONF');
baton.heartbeat_interval = 200ms
baton.failover_on_shutdown = off
CONF

sub rule { return $_[0]->run("select concat_ws(' ', rule, rule_member) from baton.status") }
sub event { my ($n, $like) = @_; return $n->run("select count(*) from baton.events where concat_ws(' ', event, detail) like '$like'") > 0 }
ok(eventually(sub { $n1->run('select bool_and(not joining) and count(*) = 2 from baton.nodes') eq 't' && $n2->run('select members_committed from baton.status') eq 't' }), 'two full members');
is(rule($n1), 'strict', 'the rule is strict at first');

# ---- designated ----
$n1->run("select baton.set_designated('n2')");
my $removal = $n1->try("select baton.remove_node('n2')");
ok(!$removal->{ok}, 'the designated node cannot be removed from under its designation');
like($removal->{hint}, qr/set_designated/, 'and the hint says what comes first');
is(rule($n1), 'designated n2', 'n2 is designated');
ok(eventually(sub { rule($n2) eq 'designated n2' }), 'and knows it');
$n1->run("select baton.set_designated('n1')");
is(rule($n1), 'designated n1', 'the designation moves while both are up');
ok(event($n1, 'rule nobody is designated while%'), 'in two steps');
$n1->run("select baton.set_designated('n2')");
$n1->crash;
$n2->wait_state('primary');
ok($n2->try("insert into t values (1, 'n2 alone')")->{ok}, 'the designated node elects itself, and takes writes');
my $r = $n2->try("select baton.set_designated('n1')");
is($r->{state}, '55000', 'moving the designation while the other is away: refused');
like($r->{text}, qr/while both are up.*"n1"/s, 'and says why') or diag($r->{text});
$n1->start;
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'designated: equal again');
ok($n2->try('select baton.set_designated(null)')->{ok}, 'back to strict');
is(rule($n2), 'strict', 'strict again');

# ---- paused: nobody stands by itself, a planned failover works, promote() ends it ----
ok($n1->try('select baton.pause()')->{ok}, 'pause, asked of the replica');
ok(eventually(sub { $n1->run('select paused from baton.status') eq 't' && $n2->run('select paused from baton.status') eq 't' }), 'both show it');
ok($n2->try("select * from baton.failover('n1', 'rejoin')")->{ok}, 'paused: a planned failover works');
$n1->wait_state('primary');
$n2->wait_state('replica');
is($n1->run('select paused from baton.status'), 't', 'still paused');
ok($n1->try('select baton.resume()')->{ok}, 'resume');
ok(eventually(sub { $n2->run('select paused from baton.status') eq 'f' }), 'both know it');

# ---- preferred: only the survivor writes ----
$n1->run("select baton.set_preferred('n1')");
is(rule($n1), 'preferred n1', 'n1 is preferred');
ok(eventually(sub { rule($n2) eq 'preferred n1' && $n2->run('select members_committed from baton.status') eq 't' }), 'both know it');
caught_up($n1, $n2);
$n1->crash;
$n2->wait_state('primary');
$n2->run("insert into t values (2, 'the survivor')");
$n1->start;
$n1->wait_state('primary');
$n2->wait_state('replica');
ok(event($n2, 'preferred hands the lead over%'), 'the survivor has handed over by itself');
is($n1->run('select v from t where id = 2'), 'the survivor', 'nothing of the survivor is lost');
caught_up($n1, $n2);
same_data($n1, $n2, 'preferred: equal again');

done_testing();
