# The rule PREFERRED: either of two goes on alone, and the preferred one leads when both
# are there. Two primaries meet, under this rule and after a forced promotion.
#
# The failures prevented: a preferred node that comes back and stays behind, or takes the
# lead before it has what the survivor wrote; the transactions of the wrong one that are
# rolled back; two primaries that meet and both go on, or of which nobody is told.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, proxied => 1, before => 'create table t(id int primary key, v text)', conf => <<'CONF');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
baton.reconnect_max_delay = 500ms
CONF
$n1->run("insert into t select g, 'start' from generate_series(1, 100) g");

sub events { my ($n, $event, $like) = @_; return $n->run("select count(*) from baton.events where event = '$event' and detail like '$like'") }

# Test: the one that steps down says that they met, so many times; the other says it too, if
# it hears of its reign before that is over.
sub says_met
{
	my ($name, $lower, $higher, $like_lower, $like_higher, $times) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(eventually(sub { events($lower, 'two primaries', $like_lower) == $times }), "$name: an event on the one that steps down")
	  or diag(events($lower, 'two primaries', $like_lower));
	cmp_ok(events($higher, 'two primaries', $like_higher), '<=', $times, "$name: on the other no more than that");
	return;
}

sub rolled_back { return $_[0]->run('select count(distinct commit_lsn) from baton.rolled_back') }

# The rule is known to both, and committed.
sub rule
{
	my ($set, $shown) = @_;
	$n1->run("select $set");
	ok(eventually(sub { 2 == grep { $_->run("select concat_ws(' ', rule, rule_member, members_committed) from baton.status") eq "$shown t" } $n1, $n2 }), "both know: $shown");
	caught_up($n1, $n2);
	return;
}

# Test: both are there, and the preferred one leads.
sub together
{
	my ($name) = @_;
	ok(eventually(sub { $n1->state eq 'primary' && $n1->gate eq 'open' && $n2->state eq 'replica' }), "$name: n1 leads, n2 follows")
	  or diag($n1->run('select * from baton.status'), "\n", $n2->run('select * from baton.status'));
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: equal rows");
	only_primary($n1, $n2);
	return;
}

# No byte between the two, and both lead.
sub apart
{
	my ($name) = @_;
	$_->{proxy}->cut for $n1, $n2;
	$n2->wait_state('primary');
	is($n1->state, 'primary', "$name: both lead");
	cmp_ok($n2->term, '>', $n1->term, "$name: the survivor in the higher term");
	return;
}

sub met { heal_links($n1, $n2); return; }

ok(eventually(sub { $n1->run('select bool_and(not joining) and count(*) = 2 from baton.nodes') eq 't' && $n2->run('select members_committed from baton.status') eq 't' }), 'two full members');
rule("baton.set_preferred('n1')", 'preferred n1');

# ---- only the survivor wrote: the preferred node's server was lost ----
$n1->crash;
$n2->wait_state('primary');
$n2->run("insert into t values (1001, 'survivor'); update t set v = 'survivor' where id = 1");
$n1->start;
together('returned');
is($n1->run("select count(*) from t where v = 'survivor'"), 2, 'returned: with what the survivor wrote');
ok(eventually(sub { events($n2, 'preferred', 'hands the lead over%') == 1 }), 'returned: handed over by the survivor itself');
is(rolled_back($_), 0, 'returned: nothing is rolled back on ' . $_->name) for $n1, $n2;

# ---- only the survivor wrote: the link was cut, and both led ----
apart('quiet');
$n2->run("insert into t values (2001, 'survivor'); update t set v = 'survivor' where id = 2");
met();
together('quiet');
is($n1->run("select count(*) from t where v = 'survivor'"), 4, 'quiet: with what the survivor wrote');
says_met('quiet', $n1, $n2, '%', '%', 1);
is(rolled_back($_), 0, 'quiet: nothing is rolled back on ' . $_->name) for $n1, $n2;

# ---- both wrote ----
apart('both wrote');
for my $n ($n1, $n2)
{
	my $name = $n->name;
	$n->run("insert into t values (3001, '$name')");
	$n->run("update t set v = '$name' where id between 10 and 15");
	$n->run("delete from t where id = " . ($name eq 'n1' ? 20 : 21));
}
$n2->run("insert into t values (3002, 'n2')");
met();
together('both wrote');
is($n1->run("select string_agg(distinct v, ' ') from t where id = 3001 or id between 10 and 15"), 'n1', 'both wrote: the preferred node\'s transactions stay');
is($n1->run('select array_agg(id order by id) from t where id in (20, 21, 3002)'), '{21}', 'both wrote: all of them, and none of the survivor\'s');
is(rolled_back($n1), 0, 'both wrote: the preferred node has rolled nothing back');
is(rolled_back($n2), 4, 'both wrote: the survivor has, and all of its own');
ok(eventually(sub { events($n1, 'two primaries', '%') >= 2 && events($n2, 'two primaries', '%it steps down') >= 1 }), 'both wrote: events say that they met');

# ---- both wrote, and the preferred node's server was lost with what it had not shipped ----
$_->{proxy}->cut for $n1, $n2;
$n1->run("insert into t values (4001, 'n1')");
$n1->crash;
$n2->wait_state('primary');
$n2->run("insert into t values (4001, 'n2'), (4002, 'n2')");
met();
$n1->start;
together('lost with more');
is($n1->run("select string_agg(id || ' ' || v, ', ' order by id) from t where id > 4000"), '4001 n1', 'lost with more: the preferred node\'s transactions stay');
is(rolled_back($n1), 0, 'lost with more: it has rolled nothing back');
is(rolled_back($n2), 5, 'lost with more: the survivor has');

# ---- under the strict rule, after a forced promotion: the lower term gives way ----
rule('baton.set_preferred(null)', 'strict');
my %met = map { $_->name => events($_, 'two primaries', '%') } $n1, $n2;
my $term = $n1->term;
$_->{proxy}->cut for $n1, $n2;
$n2->run('select baton.promote(force => true)');
is($n1->state, 'primary', 'forced: both lead');
$n2->run("insert into t values (5001, 'n2')");
my $token = $n2->run('select baton.position()');
$n1->run("insert into t select 5001 + g, repeat('n1', 1000) from generate_series(0, 99) g");
$n1->run('select baton.position()');
my $r = $n1->try("select baton.wait_for('$token', '1s')");
is($r->{state}, '55000', 'forced: a place in the other history is not reached, however long the own one is') or diag($r->{text});
met();
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'forced: equal rows');
only_primary($n2, $n1);
is($n1->run('select v from t where id = 5001'), 'n2', 'forced: the higher term\'s transaction stays');
is(rolled_back($n1), 1, 'forced: the other is rolled back');
my $led = $n2->term;
says_met('forced', $n1, $n2, "\"n2\" leads in term $led, this node led in term $term %it steps down",
	"\"n1\" led in term $term when this node, which leads in term $led, met it%", 1);
is(events($n1, 'two primaries', '%'), $met{n1} + 1, 'forced: and no other');
cmp_ok(events($n2, 'two primaries', '%'), '<=', $met{n2} + 1, 'forced: nor there');

done_testing();
