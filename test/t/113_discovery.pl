# A node that is started, and has only one member to talk to, which is no primary, finds
# out through it who leads, serves reads meanwhile, and follows as soon as the primary
# reaches it.
#
# The failure prevented: a restarted replica that waits for ever because the primary
# has moved while it was away, and the only address it can reach is another replica's.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2, $n3) = BatonCluster->group(3, proxied => 1, conf => 'baton.election_timeout = 3s', before => 'create table t (id int primary key)');
$n1->run('insert into t select generate_series(1, 100)');
caught_up($n1, $n2, $n3);

# n3 goes; the lead moves meanwhile
$n3->stop;
$n1->run(q{select * from baton.failover('n2', after => 'rejoin')});
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run('insert into t values (101)');

# the line between n3 and the primary is dead; n1, which follows that, is all it has
$n3->{proxy}->cut('n2');
$n2->{proxy}->cut('n3');
$n3->start;
ok(eventually(sub { $n3->run('select primary_name from baton.status') eq 'n2' }), 'it learns from a replica who leads')
  or diag($n3->run('select * from baton.status'));
is($n3->state, 'unknown', 'which it does not hear, so it is unknown');
is($n3->run('select count(*) from t'), 100, 'and serves reads');
my $r = $n3->try('insert into t values (500)');
is($r->{state}, '25006', 'but no writes');
like($r->{hint}, qr/primary "n2"/, 'and says where to go');
ok(eventually(sub { $n3->run(q{select count(*) from baton.events where event = 'leader' and detail ~ '"n2"'}) >= 1 }), 'an event names the primary');

# the primary reaches it, not the other way round
$n3->{proxy}->heal('n2');
$n3->wait_state('replica');
ok(eventually(sub { $n3->run('select count(*) from t') == 101 }), 'it follows, though it still cannot reach the primary');
ok($n2->state eq 'primary' && $n1->state eq 'replica', 'and has disturbed nobody');
is($n2->term, $n3->term, 'in the same term');
$n2->{proxy}->heal('n3');
caught_up($n2, $n1, $n3);
same_data($n2, $n3, 'all have the same');
same_data($n2, $n1, 'everywhere');

# ---- nobody reaches it, and it reaches all ----
$n3->stop;
$n2->run(q{select * from baton.failover('n1', after => 'rejoin')});
$n1->wait_state('primary');
$n2->wait_state('replica');
my $term = $n1->term;
$n3->{proxy}->cut($_) for 'n1', 'n2';
$n3->start;
ok(eventually(sub { $n3->run('select primary_name from baton.status') eq 'n1' }), 'a node that nobody reaches learns who leads')
  or diag($n3->run('select * from baton.status'));
ok(eventually(sub { $n3->state eq 'replica' }), 'and that it is alive');
my $changes = q(select count(*) from baton.events where event = 'state');
my $before = $n3->run($changes);
$n1->run('insert into t values (102)');
is($n3->run('select pg_sleep(3); select count(*) from t'), "\n101", 'it has not what nobody brings');
is($n3->run($changes), $before, 'but stays what it is');
is($n1->term, $term, 'and disturbs nobody');
$n3->{proxy}->heal($_) for 'n1', 'n2';
caught_up($n1, $n2, $n3);
same_data($n1, $n3, 'until it is reached, and follows');
done_testing();
