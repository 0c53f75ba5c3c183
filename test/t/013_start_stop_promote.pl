# stop() and start(), promote() on a replica whose primary is gone, and a primary
# that comes back.
#
# The failure prevented: a node that forgets across a restart that it was taken
# out; a restarted old primary that comes up as primary beside the new one; a
# promotion beside a living primary.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table t(id int primary key, v text)');

# ---- stop and start ----
$n1->run("insert into t values (1, 'before stop')");
caught_up($n1, $n2);
$n2->run('select baton.stop()');
$n2->wait_state('detached');
$n1->run("insert into t select g, 'while stopped' from generate_series(2, 5000) g");
is($n2->run('select count(*) from t'), 1, 'a stopped replica stays as it is');
is($n2->try('insert into t values (0)')->{ok}, 0, 'and takes no writes');
$n2->restart;
$n2->wait_state('detached');
$n1->run("insert into t values (5001, 'after restart')");
is($n2->run('select count(*) from t'), 1, 'also across a restart');
$n2->run('select baton.start()');
$n2->wait_state('replica');
caught_up($n1, $n2);
same_data($n1, $n2, 'start() takes it up where it left');
$n2->run('select baton.start()');
is($n2->state, 'replica', 'start() on a running node changes nothing');

# ---- a restarted primary resumes, in a new term or the same, and nobody else ----
my $term = $n1->term;
$n1->restart;
$n1->wait_state('primary');
cmp_ok($n1->term, '>', $term, 'a restarted primary does not go on in its old term');
$n2->wait_state('replica');
only_primary($n1, $n2);
$n1->run("insert into t values (6000, 'resumed')");
caught_up($n1, $n2);
same_data($n1, $n2, 'equal after the primary has resumed');

# ---- promote beside a living primary ----
for my $call ('promote()', 'promote(force => true)')
{
	my $r = $n2->try("select baton.$call");
	is($r->{ok}, 0, "$call beside a living primary is refused");
	like($r->{hint} // '', qr/failover/, "$call: the hint says what to call");
}
is($n1->try('select baton.promote()')->{ok}, 0, 'promote() on a primary is refused');
only_primary($n1, $n2);

# ---- promote when the primary is gone ----
caught_up($n1, $n2);
$term = $n2->term;
$n1->crash;
my $r = $n2->try('select baton.promote()');
is($r->{ok}, 0, 'without force it needs a majority');
isnt($n2->state, 'primary', 'and changes nothing');
$r = $n2->try('select baton.promote(force => true)');
ok($r->{ok}, 'by force it takes over') or diag($r->{text});
$n2->wait_state('primary');
cmp_ok($n2->term, '>', $term, 'in a new term');
ok($n2->try("insert into t values (7000, 'in the new reign')")->{ok}, 'and takes writes');

# ---- the lost primary comes back ----
$n1->start;
ok(eventually(sub { $n1->state =~ /^(replica|detached)$/ && $n1->term >= $n2->term }), 'the lost primary sees the higher term')
  or diag($n1->try('select * from baton.status')->{out});
only_primary($n2, $n1);
$n1->run('select baton.start()') if $n1->state eq 'detached';
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'and follows');

# ---- both restart at once: the primary leads again, the replica follows ----
$_->crash for $n1, $n2;
$_->start for $n1, $n2;
ok(eventually(sub { (grep { $_->state eq 'primary' } $n1, $n2) == 1 && (grep { $_->state eq 'replica' } $n1, $n2) == 1 }),
	'both crashed: one primary, one replica');
my ($p, $other) = sort { ($b->state eq 'primary') <=> ($a->state eq 'primary') } $n1, $n2;
only_primary($p, $other);
caught_up($p, $other);
same_data($p, $other, 'and equal');
done_testing();
