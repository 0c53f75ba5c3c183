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

my $conf = 'baton.election_timeout = 5s';
my ($n1, $n2) = BatonCluster->group(2, conf => $conf, before => 'create table t (id int primary key)');
my $n3 = BatonCluster->node('n3', conf => $conf);

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
		my $found = eventually(sub { $heard .= $s->query('select 1'); $heard =~ $pattern });
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
my $mine = '';
ok(eventually(sub { $mine .= $own->query('select 1'); $mine =~ /"mine" with payload "x"/ }), 'and is heard');
$own->quit;
$_->() for @listeners;

# ---- baton.on_role_change ----

my $told = PostgreSQL::Test::Utils::tempdir() . "/it's told";
sub on_role_change
{
	my ($node, $command) = @_;
	my $seen = -s $node->logfile;
	$command =~ s/([\\'])/$1$1/g;
	$node->append_conf('postgresql.conf', "baton.on_role_change = '$command'");
	$node->reload;
	ok(eventually(sub { $node->worker_pid_anywhere('notifier') ne '' }), 'a notifier runs') if $command ne '';
	return $seen;
}
sub BatonCluster::worker_pid_anywhere { return $_[0]->run("select pid from pg_stat_activity where backend_type = 'baton $_[1]'"); }
sub told { return -e $told ? slurp_file($told) : ''; }
(my $file = $told) =~ s/'/'\\''/g;

# commands that end when they may; values stand bare, in quotes, and in quotes of the other kind
my $may_end = PostgreSQL::Test::Utils::tempdir() . '/may_end';
on_role_change($n1, qq{while ! [ -e $may_end ]; do sleep 0.1; done; echo %o-%r '%n' "%g" %d l=%l t=%t c=%c 100%% >> '$file'});
$n1->run('select baton.stop()');
$n1->run('select baton.start()');
$n1->wait_state('replica');
my $dsn = $n2->dsn;
is(told(), '', 'nobody waits for the command');
append_to_file($may_end, '');
ok(eventually(sub { told() =~ /unknown-replica/ }), 'which is told of each change');
my $term = $n1->term;
like(told(), qr/\Areplica-detached n1 shop app l=n2 t=$term c=\Q$dsn\E 100%\ndetached-unknown n1 shop app l= t=\d+ c= 100%\nunknown-replica n1 shop app l=n2 t=$term c=\Q$dsn\E 100%\n\z/,
	'in order, with every placeholder filled in');

# what is wrong with a command is said, and holds nothing up
sub stop_and_start
{
	my ($pattern, $seen, $name) = @_;
	$n1->run('select baton.stop()');
	$n1->run('select baton.start()');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(eventually(sub { slurp_file($n1->logfile, $seen) =~ $pattern }), $name) or diag(slurp_file($n1->logfile, $seen));
	$n1->wait_state('replica');
	return;
}
stop_and_start(qr/WARNING:  baton\.on_role_change was not run.*\n.*"%x" is no placeholder/, on_role_change($n1, 'touch /nowhere/%x'),
	'an unknown placeholder is a warning');
stop_and_start(qr/command substitution/, on_role_change($n1, 'x="$(echo %n)"'), 'so is one that cannot be quoted');
stop_and_start(qr/baton\.on_role_change has failed: child process exited with exit code 3\n.*The command was: exit 3 'replica'/,
	on_role_change($n1, 'exit 3 %r'), 'a failure is logged with the command');
my $sleeper = "$told.pid";
$n1->append_conf('postgresql.conf', 'baton.on_role_change_timeout = 1s');
(my $quoted = $sleeper) =~ s/'/'\\''/g;
stop_and_start(qr/was ended after 1000 ms/, on_role_change($n1, "sleep 1000 & echo \$! > '$quoted'; wait"), 'a command that takes too long is ended');
on_role_change($n1, '');
chomp(my $pid = slurp_file($sleeper));
ok(eventually(sub { !kill(0, $pid) }), 'with what it has started');
ok(eventually(sub { $n1->worker_pid_anywhere('notifier') eq '' }), 'without a command there is no notifier');
$r = $n1->try(q{set baton.on_role_change = 'true'});
is($r->{state}, '55P02', 'a session cannot set it');
$n2->run('create role plain login');
$r = $n2->try('show baton.on_role_change', user => 'plain');
is($r->{state}, '42501', 'nor can an ordinary role see it');

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
