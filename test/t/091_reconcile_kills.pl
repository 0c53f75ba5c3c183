# Diverged commits are mended whatever is killed meanwhile; more of them than
# baton.rollback_limit wait for a person; and a node that had applied commits of a
# lost primary, which nobody else has, is mended too.
#
# The failure prevented: a crash in the midst that leaves rows of neither side, or
# forgets what was to be mended; thousands of commits that are thrown away before
# anybody has seen them.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my $conf = "baton.reconnect_max_delay = 300ms\nbaton.election_timeout = 5s\nbaton.rollback_limit = 2";
my ($n1, $n2, $n3) = BatonCluster->group(3, proxied => 1, conf => $conf, before => <<'SQL');
create table t(id int primary key, v text, u int unique);
create table trunc(id int primary key, v text);
insert into t select g, 'start', g from generate_series(1, 200) g;
insert into trunc select g, 'start' from generate_series(1, 20) g;
SQL
caught_up($n1, $n2, $n3);

sub rolled_back { return $_[0]->run('select count(distinct (source_node, commit_lsn)) from baton.rolled_back'); }

sub cut { $_->{proxy}->cut for @_; return; }
sub heal { $_->{proxy}->heal for @_; return; }

# ---- a third node has applied what the lost primary shipped to it alone; the limit ----
cut($n2);
$n1->run($_) for q(update t set v = 'lost' where id = 1), q(insert into t values (500, 'lost', 500)), q(truncate trunc);
caught_up($n1, $n3);
cut($n1, $n3);
$n2->run('select baton.promote(force => true)');
$n2->run(q(update t set v = 'new' where id in (1, 2); insert into t values (501, 'new', 500); delete from trunc where id = 1));
heal($n1, $n2, $n3);
for my $node ($n1, $n3)
{
	my $name = $node->name;
	$node->wait_state('detached');
	like($node->run('select reason from baton.status'), qr/does not have 3 of its transactions/,
		"$name stops: more than baton.rollback_limit");
	is($node->run('select count(*) from t where v = $$lost$$'), 2, "$name has not changed anything");
	my $r = $node->try('select baton.rejoin()');
	ok(!$r->{ok} && $r->{text} =~ /3 of its transactions/ && $r->{hint} =~ /discard/,
		"$name: rejoin() says what would be lost") or diag($r->{text});
	$node->run('select baton.rejoin(discard => true)');
	$node->wait_state('replica');
	caught_up($n2, $node);
	same_data($n2, $node, "$name: with discard it has what the new primary has");
	is(rolled_back($node), 3, "$name: all are saved");
	is($node->run('select string_agg(distinct source_node, $$,$$) from baton.rolled_back'), 'n1',
		"$name: they were the lost primary's");
}
only_primary($n2, $n1, $n3);

# ---- a node that has received such commits, and not applied them, only cuts its log ----
my $reader = $n3->session;
$reader->query_safe('begin; select count(*) from trunc');
cut($n1);
my $log_end = 'select log_end from baton.status';
$n2->run(q(truncate trunc; insert into t values (510, 'not applied', 510)));
my $end = $n2->run($log_end);
ok(eventually(sub { $n3->run($log_end) eq $end }), 'n3 has received what it cannot apply');
cut($n2, $n3);
$n1->run('select baton.promote(force => true)');
$n1->run(q(insert into t values (511, 'n1 again', 511)));
heal($n1, $n2, $n3);
ok(eventually(sub { $n3->run('select term from baton.status') eq $n1->term && $n3->run($log_end) eq $n1->run($log_end) }),
	'its log is cut, and goes on');
$reader->query_safe('commit');
$reader->quit;
caught_up($n1, $n2, $n3);
same_data($n1, $n3, 'n3 has what the new primary has');
same_data($n1, $n2, 'and so has the lost primary');
is(rolled_back($n3), 3, 'n3 has rolled nothing more back');
is(rolled_back($n2), 2, 'the lost primary has');
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');

# ---- killed at every stage ----
# n2 leads; what it commits alone is lost.  The stage is told by what status shows.
$_->run('alter system set baton.rollback_limit = -1; select pg_reload_conf()') for $n1, $n2, $n3;
my ($old, $new) = ($n2, $n1);
my $row = 1000;
my $lost = 2;

# The old primary gets commits that nobody has, the other one leads, and has
# commits of its own.
sub part_ways
{
	cut($n1, $n2, $n3);
	$row++;
	$old->run("insert into t values ($row, 'lost', $row)");
	$old->run("update t set v = 'lost $row' where id between 10 and 20");
	$lost += 2;
	$new->run('select baton.promote(force => true)');
	$new->run("insert into t values ($row, 'new', -$row); update t set id = id + 10000 where id = 15; update t set id = 15 where id = 30;
		insert into t values (30, 'again', 100000 + $row)");
	return;
}

sub mended
{
	my ($name) = @_;
	heal($n1, $n2, $n3);
	$old->wait_state('replica');
	caught_up($new, $old);
	same_data($new, $old, $name);
	is(rolled_back($old), $lost, "$name: all transactions are saved, each once");
	is($old->run(q(select count(*) from baton.events where event = 'new copy')), 0, "$name: no copy");
	$new->run("delete from t where id > 10000; insert into t values (-$row, 'goes on', -100000 - $row)");
	caught_up($new, $old);
	same_data($new, $old, "$name: the stream goes on");
	return;
}

# The worker cannot reach the new primary: it waits in MEND, everything is saved.
sub wait_saved
{
	heal($old);
	eventually(sub { rolled_back($old) == $lost && $old->run('select reason from baton.status') =~ /diverged/ })
	  or die 'nothing is saved';
	return;
}

# The lead goes back to the node that was mended.
sub hand_back
{
	$new->run(sprintf "select baton.failover('%s', after => 'rejoin')", $old->name);
	$old->wait_state('primary');
	return;
}

part_ways();
wait_saved();
# a worker that is not refused, and gets no answer, is there for longer
$new->{proxy}->heal;
$new->{proxy}->to_server('hold');
$old->kill_backend(sub { $old->worker_pid('reconcile') });
eventually(sub { $old->state ne 'unreachable' });
mended('worker killed in the midst');
hand_back();

part_ways();
wait_saved();
$old->crash;
$old->start;
mended('server crashed, commits saved');
hand_back();

for my $stage ('saved', 'rows out')
{
	part_ways();
	heal($n1, $n2, $n3);
	my $query = $stage eq 'saved' ? 'select count(*) from baton.mending_row' : 'select count(*) from baton.mending';
	eventually(sub { my $r = $old->try($query, seconds => 10); ($r->{ok} && $r->{out} > 0) || rolled_back($old) == $lost });
	$old->crash;
	$old->start;
	mended("server crashed, $stage");
	hand_back();
}
only_primary($n2, $n1);

done_testing;
