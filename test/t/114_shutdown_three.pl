# The primary of three is stopped by pg_ctl stop -m fast under load: one of the two
# others takes the lead by the planned sequence, the third follows it from its log,
# and the old one follows when it is back.
#
# The failure prevented: an update of the server that costs an election, an acknowledged
# row, or a copy.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = BatonCluster->group(3, conf => "baton.failover_on_shutdown = on\nbaton.election_timeout = 5s",
	before => 'create table writer_probe(id bigint primary key)');
$nodes[0]->run(q(select baton.set_ack_policy('majority')));
ok(eventually(sub { 3 == grep { $_->run('select count(*) from baton.nodes where not joining') == 3 } @nodes }), 'three full members');

sub events { my ($node, $event) = @_; return $node->run("select count(*) from baton.events where event = '$event'"); }

# the slot of a replica keeps up with its own WAL, so that whoever takes over has
# nothing to make up for
for my $replica (@nodes[ 1, 2 ])
{
	$nodes[0]->run('insert into writer_probe select max(id) + 1 from (select 0 as id union select id from writer_probe) p');
	caught_up($nodes[0], $replica);
	my $lsn = $replica->run('select pg_current_wal_lsn()');
	ok(eventually(sub { $replica->run("select bool_and(confirmed_flush_lsn >= '$lsn') from pg_replication_slots where slot_name ~ '^baton'") eq 't' }),
		'the slot of ' . $replica->name . ' is current');
}

my $old = $nodes[0];
for my $round (1, 2)
{
	my @others = grep { $_ != $old } @nodes;
	my %took = map { $_->name => events($_, 'took over') } @others;
	my $writer = start_writer(@nodes);
	$old->run("insert into writer_probe select g from generate_series($round * 10000, $round * 10000 + 5000) g");
	$old->stop('fast');
	my ($new) = grep { $_->state eq 'primary' } @others;
	ok($new, "$round: another leads as soon as the server has stopped") or BAIL_OUT('nobody leads');
	my ($third) = grep { $_ != $new } @others;
	ok(eventually(sub { events($new, 'took over') == $took{ $new->name } + 1 }), "$round: it was handed the lead");
	is(events($third, 'took over'), $took{ $third->name }, "$round: and nobody else");
	ok(eventually(sub { $third->state eq 'replica' && $third->run('select primary_name from baton.status') eq $new->name }), "$round: the third follows");
	my $before = $new->run('select count(*) from writer_probe');
	ok(eventually(sub { $new->run('select count(*) from writer_probe') > $before + 20 }), "$round: clients go on");
	$old->start;
	$old->wait_state('replica');
	my $result = $writer->stop;
	is($writer->missing_on($result, $new), 0, "$round: no acknowledged row is lost");
	note("longest gap of a client: $result->{longest_gap_ms} ms");
	caught_up($new, $third, $old);
	same_data($new, $_, "$round: the same rows on " . $_->name) for $third, $old;
	only_primary($new, $third, $old);
	$old = $new;
}
is(events($_, 'elected'), 0, 'nobody was elected: ' . $_->name) for @nodes;
is(events($_, 'new copy'), 0, 'nobody took a copy: ' . $_->name) for @nodes;
is($nodes[0]->run('select count(*) from baton.rolled_back'), 0, 'and nothing was rolled back');
done_testing;
