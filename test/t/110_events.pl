# Who must be told hears of it: each change of role and of the members is a row of
# baton.events and a notification, on every node.
#
# The failure prevented: a load balancer or a person that learns of a failover from
# its errors; a table of states that is only a comment.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table t (id int primary key)');
my $n3 = BatonCluster->node('n3');

# A session that listens; returns a function: has it been notified of this by now?
sub listener
{
	my ($node) = @_;
	my $s = $node->session;
	my $heard = '';
	$s->query_safe('listen baton_events');
	return sub {
		my ($pattern) = @_;
		return $s->quit unless $pattern;
		my $found = eventually(sub { $heard .= $s->query('select 1'); $heard =~ $pattern }, 30);
		diag("heard: $heard") unless $found;
		return $found;
	};
}

sub notification { my ($event, $detail) = @_; return qr/"baton_events" with payload.*"event" : "$event".*"detail" : "[^}]*$detail/; }

my @listeners = map { listener($_) } $n1, $n2;
ok(1, 'a replica lets its sessions listen');

# ---- members come and go ----

$n3->join_group($n1);
for my $i (0, 1)
{
	ok($listeners[$i]->(notification('member', '\\\\"n3\\\\" joins')), 'n' . ($i + 1) . ' hears of a new member');
	ok($listeners[$i]->(notification('member', '\\\\"n3\\\\" has caught up')), 'and that it is a full one');
}
$n1->run(q{select baton.set_priority('n3', 7)});
ok($listeners[$_]->(notification('member', '\\\\"n3\\\\" has priority 7')), 'n' . ($_ + 1) . ' hears of a changed one') for 0, 1;
push @listeners, listener($n3);

# ---- the lead moves ----

caught_up($n1, $n2, $n3);
$n1->run(q{select * from baton.failover('n2', after => 'rejoin')});
$n1->wait_state('replica');
ok($listeners[1]->(notification('state', 'from replica to primary')), 'the new primary notifies');
ok($listeners[1]->(notification('took over', 'handed the lead')), 'and says how it came to lead');
ok($listeners[2]->(notification('leader', '\\\\"n2\\\\" is the primary')), 'a replica hears who leads');
# the old primary has ended its sessions
$listeners[0] = listener($n1);
ok(eventually(sub { $n1->run(q{select count(*) from baton.events where event = 'leader' and detail ~ '"n2"'}) >= 1 }),
	'so does the old primary');
ok(eventually(sub { $n1->run(q{select count(*) from baton.events where event = 'state' and detail ~ 'from primary to unknown'}) == 1 }),
	'which has a row for its own change');

$n2->run(q{select baton.remove_node('n3')});
ok($listeners[0]->(notification('member', '\\\\"n3\\\\" has left')), 'a replica hears that a member has gone');

# ---- the other way: a session of a replica notifies ----

my $own = $n1->session;
$own->query_safe('listen mine');
my $r = $n1->try(q{notify mine, 'x'});
ok($r->{ok}, 'NOTIFY works on a replica') or diag($r->{text});
like($own->query('select 1'), qr/"mine" with payload "x"/, 'and is heard');
$own->quit;
$_->() for @listeners;

# ---- every change has its row in the table, everywhere ----

for my $node ($n1, $n2, $n3)
{
	unlike(slurp_file($node->logfile), qr/no row in baton\.transitions/, $node->name . ' made no change that has no row');
	is($node->run(<<'SQL'), '', 'the events say the same');
select e.detail from baton.events e, regexp_match(detail, '^from (\w+) to (\w+)') m
where event = 'state' and not exists (select from baton.transitions() where from_state = m[1] and to_state = m[2])
SQL
}

done_testing();
