# A failover whose target is frozen is given up at its deadline.
#
# The failure prevented: the classic handover on a timeout, in which the old
# primary gives up although the target has taken over (two primaries), or in
# which clients see errors although nothing was handed over.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table writer_probe(id bigint primary key); create table t(id int primary key)');
my $term = $n1->term;

my $writer = start_writer($n1, $n2);
ok(eventually(sub { $n1->run('select count(*) from writer_probe') > 20 }), 'the writer runs');
$n2->freeze;
my $failover = $n1->try_later("select * from baton.failover('n2', timeout => '3s')");
my $insert = $n1->try_later('insert into t values (1)');

my $r = $failover->();
is($r->{ok}, 0, 'the failover is given up');
like($r->{text}, qr/n2/, 'and its error names the target');
$n1->wait_state('primary');
$r = $insert->();
ok($r->{ok}, 'a writer that came meanwhile has only waited') or diag($r->{text});
ok($n1->try('insert into t values (2)')->{ok}, 'the primary goes on');

# The target wakes with the failover command in its stream: too late.
$n2->thaw;
$n1->run('insert into t values (3)');
caught_up($n1, $n2);
only_primary($n1, $n2);
is($n2->state, 'replica', 'the target is still a replica');
is($n1->term, $term, 'the term has not changed');

my $result = $writer->stop;
is($result->{errors}, 0, 'no client saw an error');
is($writer->missing_on($result, $n1), 0, 'no acknowledged row is missing');
caught_up($n1, $n2);
same_data($n1, $n2, 'both nodes are equal');

# And it works when tried again.
$r = $n1->try("select * from baton.failover('n2')");
ok($r->{ok}, 'a later failover succeeds') or diag($r->{text});
$n2->wait_state('primary');
only_primary($n2, $n1);
done_testing();
