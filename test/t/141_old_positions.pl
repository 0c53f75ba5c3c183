# A position can be waited for when the log has long lost the frames that it names.
#
# The failures prevented: a client that keeps a token of an earlier reign is refused for
# ever; or it is told yes for a place in a history that was rolled back.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => 'baton.stream_keep_size = 64MB');
$n1->run('create table block(b bytea); create table pile(id serial primary key, b bytea); alter table pile alter b set storage external');
# longer than what zlib looks back
$n1->run(q(insert into block select string_agg(decode(md5(g::text), 'hex'), '') from generate_series(1, 65536) g));

sub pos_of { return $_[0]->run(sprintf q(select '%s'::pg_lsn - '0/0'), (split /:/, $_[1])[1]) }

# So much that the log of both begins behind a position; the replica must see to it by
# itself that what is in the frames that go is in its tables for good.
sub pile_up
{
	my ($primary, $replica) = @_;
	my $token = $primary->run('select baton.position()');
	$replica->freeze_walwriter;
	$primary->run('insert into pile(b) select b from block, generate_series(1, 84)');
	caught_up($primary, $replica);
	for my $node ($primary, $replica)
	{
		eventually(sub { first_segment($node) > pos_of($node, $token) }) or die $node->name . " keeps its log\n";
	}
	return;
}

# Where the first segment begins, by the file's name.
sub first_segment
{
	my ($node) = @_;
	my $directory = $node->data_dir . '/baton/' . $node->run('select oid from pg_database where datname = current_database()') . '/stream';
	my ($first) = sort map { /([0-9A-Fa-f]{16})\.seg$/ ? hex $1 : () } glob "$directory/*.seg";
	return $first;
}

my @tokens = $n1->run('select baton.position()');
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
push @tokens, $n2->run('select baton.position()');
$n2->run(q(select baton.failover('n1', after => 'rejoin')));
$n1->wait_state('primary');
$n2->wait_state('replica');
push @tokens, $n1->run('select baton.position()');
pile_up($n1, $n2);

sub all_known
{
	my ($when) = @_;
	for my $node ($n1, $n2)
	{
		for my $reign (0 .. 2)
		{
			my $r = $node->try("select baton.wait_for('$tokens[$reign]', '20s')");
			ok($r->{ok}, "$when: " . $node->name . ' knows the position of reign ' . ($reign + 1)) or diag($r->{text});
		}
	}
	return;
}

all_known('log removed');
for my $node ($n1, $n2)
{
	my ($first, $second) = map { [ split /:/ ] } @tokens;
	my $r = $node->try("select baton.wait_for('$second->[0]:$first->[1]', '5s')");
	is($r->{state}, '40000', $node->name . ': the same place in another term was rolled back') or diag($r->{text});
	$r = $node->try("select baton.wait_for('$first->[0]:$second->[1]', '5s')");
	is($r->{state}, '40000', $node->name . ': a place that an earlier term did not come to') or diag($r->{text});
}

# the control file keeps it
$n2->crash;
$n2->start;
$n2->wait_state('replica');
$n1->crash;
$n1->start;
$n1->wait_state('primary');
all_known('restarted');

# one that joins is told
$n1->run('truncate pile');
my $n3 = BatonCluster->node('n3');
$n3->join_group($n1);
is(join(' ', grep { !$n3->try("select baton.wait_for('$_', '20s')")->{ok} } @tokens), '', 'a node that joins knows them, too');
my ($first, $second) = map { [ split /:/ ] } @tokens;
is($n3->try("select baton.wait_for('$second->[0]:$first->[1]', '5s')")->{state}, '40000', 'and what was rolled back');

done_testing;
