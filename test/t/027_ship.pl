# Three nodes: one that freezes, lines that break, stall and lose what they carry,
# and a lead that moves while the third looks on.
#
# The failures prevented: one slow replica that holds up the others; a connection
# that was given up and delivers its bytes all the same; a replica that after a
# failover takes a copy of all that it has, or follows nobody.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The lease is so long that a primary outlives the loss of all its links.
my ($n1, $n2, $n3) = BatonCluster->group(3, proxied => 1, conf => <<'CONF', before => <<'SQL');
baton.reconnect_max_delay = 1s
baton.election_timeout = 60s
CONF
create table writer_probe(id bigint primary key);
create table t(id int primary key, v text);
SQL

# A column of the primary's row for a replica.
sub link_of
{
	my ($primary, $replica, $column) = @_;
	return $primary->run("select $column from baton.stat_replication where node_name = '" . $replica->name . "'");
}

sub insert
{
	my ($primary, $v) = @_;
	$primary->run("insert into t select (select coalesce(max(id), 0) from t) + g, '$v ' || md5(g::text) from generate_series(1, 1000) g");
	return;
}

# Test: all replicas catch up and have what the primary has, and the view says so.
sub all_equal
{
	my ($name, $primary, @replicas) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $replica (@replicas)
	{
		$replica->wait_state('replica');
		caught_up($primary, $replica);
		same_data($primary, $replica, "$name: " . $replica->name . ' is equal');
		ok(eventually(sub {
			link_of($primary, $replica, "state = 'streaming' and peer_state = 'replica' and error is null and lag_bytes = 0 and flush_lag = '0' and apply_lag = '0' and flushed_position = applied_position") eq 't'
		}), "$name: no lag is shown of " . $replica->name) or diag(link_of($primary, $replica, '*'));
	}
	return;
}

ok(eventually(sub { $n1->run('select count(*) from baton.nodes where not joining') == 3 }), 'all are full members');
insert($n1, 'at first');
all_equal('at first', $n1, $n2, $n3);

# ---- who calls must mean this node, and speak its language ----
{
	my ($gid) = $n2->run('select group_id from baton.status');
	my $status = sub {
		my %a = (group => "'$gid'", from => 1, name => "'n1'", to => 2, protocol => 'd.protocol',
			architecture => 'd.architecture', encoding => 'd.encoding', @_);
		return $n2->run("select h.status || ': ' || h.detail from baton_rpc.describe() d,
			baton_rpc.handshake($a{group}, $a{from}, $a{name}, $a{to}, $a{protocol}, $a{architecture}, $a{encoding}, 0, '') h");
	};
	is($status->(), 'ok: ', 'handshake: ok');
	like($status->(group => 'gen_random_uuid()'), qr/^wrong group: .*"shop"/, 'handshake: another group');
	like($status->(to => 3), qr/^wrong node: .* member 2, not 3/, 'handshake: meant for another');
	like($status->(from => 2), qr/^wrong node: /, 'handshake: from itself');
	like($status->(from => 77), qr/^wrong node: member 77/, 'handshake: from a stranger');
	like($status->(name => "'n9'"), qr/^wrong node: member 1 "n9"/, 'handshake: under another name');
	like($status->(protocol => 999), qr/^protocol: .* caller 999/, 'handshake: another protocol');
	like($status->(architecture => "'pdp11'"), qr/^architecture: .*pdp11/, 'handshake: another architecture');
	like($status->(encoding => "'LATIN1'"), qr/^encoding: .*UTF8.*LATIN1/, 'handshake: another encoding');
}

# ---- a frozen replica ----
$n3->freeze;
my $lag = 0;
for my $round (1 .. 5)
{
	insert($n1, "frozen $round");
	caught_up($n1, $n2);
	my $now = link_of($n1, $n3, 'lag_bytes');
	cmp_ok($now, '>', $lag, "frozen: round $round: lag in bytes grows, and the other keeps up");
	$lag = $now;
}
ok(eventually(sub { link_of($n1, $n3, "flush_lag > '1s' and apply_lag > '1s'") eq 't' }), 'frozen: lag in time grows') or diag(link_of($n1, $n3, '*'));
is(link_of($n1, $n2, "coalesce(error, '')"), '', 'frozen: the other has no error');
same_data($n1, $n2, 'frozen: the other is equal');
ok(eventually(sub { link_of($n1, $n3, 'error') =~ /no answer|no connection/ }), 'frozen: the primary says that it does not answer') or diag(link_of($n1, $n3, '*'));
isnt(link_of($n1, $n3, 'state'), 'streaming', 'frozen: and gives the connection up');
cmp_ok(link_of($n1, $n3, 'lag_bytes'), '>=', $lag, 'frozen: lag is shown on');
$n3->thaw;
all_equal('thawed', $n1, $n2, $n3);

# ---- lines that fail: under load, and each in its own way ----
sub line_fails
{
	my ($name, $break, %opt) = @_;
	my $writer = start_writer($n1, $n2, $n3);
	ok(eventually(sub { $n1->run("select count(*) from writer_probe where id >= $writer->{first}") > 20 }), "$name: the writer runs");
	my $log = -s $n1->logfile;
	$break->();
	insert($n1, $name);
	$opt{until}->() if $opt{until};
	my $seen = $n1->run('select count(*) from writer_probe');
	ok(eventually(sub { $n1->run('select count(*) from writer_probe') > $seen + 20 }), "$name: the primary's clients don't notice");
	my @lines = slurp_file($n1->logfile, $log) =~ /^(.* baton shipper .*)$/mg;
	cmp_ok(scalar @lines, '<=', 6, "$name: the log is not flooded") or diag(join "\n", @lines);
	$_->{proxy}->heal for $n2, $n3;
	my $result = $writer->stop;
	is($result->{errors}, 0, "$name: no client saw an error");
	all_equal($name, $n1, $n2, $n3);
	is(BatonCluster::Writer->missing_on($result, $_), 0, "$name: no acknowledged row is missing on " . $_->name) for $n2, $n3;
	return;
}

# (it is tried again and again, so its state changes all the time)
sub given_up
{
	my ($name, @nodes) = @_;
	ok(eventually(sub { link_of($n1, $_, "error is not null") eq 't' }), "$name: " . $_->name . ' is given up') for @nodes;
	return;
}

line_fails('cut', sub { $n2->{proxy}->cut; }, until => sub {
	given_up('cut', $n2);
	insert($n1, 'while one is away');
	caught_up($n1, $n3);
	is(link_of($n1, $n3, 'state'), 'streaming', 'cut: the other goes on');
});
# what was held back arrives after the connection has been given up
line_fails('deaf', sub { $n2->{proxy}->to_server('hold'); $n3->{proxy}->to_client('hold'); }, until => sub { given_up('deaf', $n2, $n3); });
line_fails('dumb', sub { $n2->{proxy}->to_server('drop'); $n3->{proxy}->to_client('drop'); }, until => sub { given_up('dumb', $n2, $n3); });
line_fails('slow', sub { $_->('delay 150') for map { my $p = $_->{proxy}; (sub { $p->to_server(@_) }, sub { $p->to_client(@_) }) } $n2, $n3; }, until => sub {
	caught_up($n1, $n2, $n3);
	is(link_of($n1, $_, 'state'), 'streaming', 'slow: ' . $_->name . ' is not given up') for $n2, $n3;
});

# ---- the lead moves ----
# A replica that follows from its log has had one initial copy, once and for all.
sub copies { my ($node) = @_; my @c = slurp_file($node->logfile) =~ /initial copy is complete/g; return scalar @c; }

sub handed_over
{
	my ($name, $from, $call, $to, $third) = @_;
	my $copies = copies($third);
	my $writer = start_writer($n1, $n2, $n3);
	ok(eventually(sub { $from->run("select count(*) from writer_probe where id >= $writer->{first}") > 20 }), "$name: the writer runs");
	my $r = $from->try("select * from baton.failover($call)");
	ok($r->{ok}, "$name: succeeds") or diag($r->{text});
	$to->wait_state('primary');
	my $seen = $to->run('select count(*) from writer_probe');
	ok(eventually(sub { $to->run('select count(*) from writer_probe') > $seen + 20 }), "$name: the writer goes on there");
	if ($from->state eq 'detached')
	{
		caught_up($to, $third);
		$from->run('select baton.start()');
	}
	my $result = $writer->stop;
	insert($to, $name);
	all_equal($name, $to, $from, $third);
	is(BatonCluster::Writer->missing_on($result, $to), 0, "$name: no acknowledged row is missing");
	is(copies($third), $copies, "$name: the third follows without a new copy");
	only_primary($to, $from, $third);
	return;
}
handed_over('to n2, rejoin', $n1, "'n2', after => 'rejoin'", $n2, $n3);
handed_over('to n1, shutdown', $n2, "'n1'", $n1, $n3);

$n1->run("select baton.set_priority('n3', 200)");
ok(eventually(sub { $n2->run("select priority from baton.nodes where node_name = 'n3'") == 200 }), 'a priority is known to all');
handed_over('the highest priority', $n1, "after => 'rejoin'", $n3, $n2);
$n3->run("select baton.set_priority('n1', 0)");
my $r = $n3->try("select * from baton.failover('n1')");
is($r->{ok}, 0, 'priority 0: cannot be a target');
like($r->{detail} // '', qr/priority is 0/, 'priority 0: which the error says');
handed_over('not to priority 0', $n3, "NULL, 'shutdown'", $n2, $n1);
$n2->run("select baton.set_priority('n1', 100)");

# ---- a member is removed, and comes back ----
$n2->run("select baton.remove_node('n3')");
is($n2->run("select string_agg(node_name, ' ' order by node_name) from baton.nodes"), 'n1 n2', 'a removed node is no member');
ok(eventually(sub { $n1->run("select count(*) from baton.nodes") == 2 }), 'on the other too');
is($n2->run("select count(*) from baton.stat_replication where node_name = 'n3'"), 0, 'nothing is shipped to it');
insert($n2, 'without n3');
all_equal('without n3', $n2, $n1);
is($n3->run("select count(*) from t where v ~ '^without'"), 0, 'it does not get what is written since');
is($n3->try("insert into t values (-1, 'x')")->{ok}, 0, 'and takes no writes');
$r = $n3->try('select baton.promote(force => true)');
is($r->{ok}, 0, 'nor can it be promoted');
$n3->run('select baton.leave_group(force => true)');
ok($n3->try("insert into t values (-1, 'x')")->{ok}, 'once it has left, it is an ordinary database');
$n3->run('drop table t, writer_probe');
$n3->join_group($n1);
all_equal('n3 has joined again', $n2, $n1, $n3);
handed_over('after all that', $n2, "'n3'", $n3, $n1);
done_testing();
