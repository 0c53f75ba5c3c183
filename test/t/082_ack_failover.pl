# Policy majority in a group of three: what becomes of a commit that waits when its
# primary is cut off, and of all that was acknowledged when all three servers are lost.
#
# The failures prevented: a client that is told of a commit which another primary's
# history does not have; a commit that is half there; acknowledged commits that are lost
# when nobody is left who remembers them but the disks.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = BatonCluster->group(3, proxied => 1, conf => <<'CONF', before => <<'SQL');
baton.heartbeat_interval = 200ms
baton.election_timeout = 3s
baton.reconnect_max_delay = 500ms
CONF
create table writer_probe(id bigint primary key);
create table t(id int primary key, v text);
create table u(id int primary key, v text);
SQL
ok(eventually(sub { 3 == grep { $_->run('select count(*) from baton.nodes where not joining') == 3 } @nodes }), 'all are full members');
$nodes[0]->run("select baton.set_ack_policy('majority')");

sub others { my ($node) = @_; return grep { $_ != $node } @nodes; }

sub primary_of
{
	my ($name, @of) = @_;
	my @p;
	ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } @of; @p == 1 }), "$name: one leads")
	  or die "nobody leads\n";
	return $p[0];
}

# Both halves of transaction $id are there, or none: "t", "f".  Anything else is neither.
sub whole
{
	my ($node, $id) = @_;
	my $n = $node->run("select (select count(*) from t where id = $id) || ' ' || (select count(*) from u where id = $id)");
	return $n eq '1 1' ? 't' : $n eq '0 0' ? 'f' : "half: $n";
}

sub both { my ($id) = @_; return "begin; insert into t values ($id, 'waits'); insert into u values ($id, 'waits'); commit"; }

# Test: the primary is cut off by $break; a commit that it takes then waits, and ends
# without success; the lease is lost before another leads.
sub cut_off
{
	my ($name, $id, $break) = @_;
	my $primary = primary_of($name, @nodes);
	my @others = others($primary);
	my $term = $primary->term;
	$primary->run(both($id));
	caught_up($primary, @others);

	$break->($primary, @others);
	my $waiting = $primary->try_later(both($id + 1));
	ok(eventually(sub { $primary->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'") == 1 }), "$name: a commit waits");
	my $r = $waiting->();
	is($r->{ok}, 0, "$name: it is no success");
	like($r->{text}, qr/terminating connection|server closed the connection/, "$name: its session has ended") or diag($r->{text});

	my $new = primary_of($name, @others);
	my $closed;
	ok(eventually(sub { $closed = $primary->run("select max(at) from baton.events where event = 'lease lost' and term = $term") }), "$name: it has lost its lease");
	ok(eventually(sub { $new->run("select max(at) > '$closed'::timestamptz from baton.events where event = 'primary'") eq 't' }), "$name: the gate was closed before another led");
	$new->run("insert into t values ($id + 2, 'new')");
	heal_links(@nodes);
	$primary->wait_state('replica');
	caught_up($new, others($new));
	my $kept = whole($new, $id + 1);
	like($kept, qr/^[tf]$/, "$name: the commit is there or not, never half");
	is(whole($_, $id + 1), $kept, "$name: the same on " . $_->name) for others($new);
	is($primary->run("select count(distinct commit_lsn) from baton.rolled_back where new_row->>'id' = '" . ($id + 1) . "'"), $kept eq 't' ? 0 : 1,
		"$name: where it is not there, it is in rolled_back");
	is($primary->run("select count(*) from baton.rolled_back where new_row->>'id' = '" . ($id + 1) . "'"), $kept eq 't' ? 0 : 2,
		"$name: with both rows");
	is(whole($_, $id), 't', "$name: what was acknowledged before is on " . $_->name) for @nodes;
	same_data($new, $_, "$name: " . $_->name . ' is equal') for others($new);
	return $kept;
}

# nobody gets it: it is rolled back
is(cut_off('isolated', 100, sub { my ($p, @o) = @_; $p->partition('hold', @o); $_->{proxy}->reset($p->name) for @o; }), 'f', 'isolated: nobody had it');
# the others get it, and their answers are lost: the group has it, and the client does not know
is(cut_off('unheard', 200, sub { my ($p, @o) = @_; BatonCluster::link_mode($_, $p, 'hold') for @o; }), 't', 'unheard: the others had it');

# ---- all three servers are lost at the same time, under load ----
my $writer = start_writer(@nodes);
my $primary = primary_of('all lost', @nodes);
ok(eventually(sub { $primary->run('select count(*) from writer_probe') > 100 }), 'all lost: the writer runs');
my $term = $primary->term;
my %started = map { $_->name => $_->run('select max(id) from baton.events') } @nodes;
$_->crash for @nodes;
my $acknowledged = () = slurp_file("$writer->{ids}") =~ /\n/g;
cmp_ok($acknowledged, '>', 0, 'all lost: some were acknowledged');
$_->start for @nodes;
$primary = primary_of('all lost', @nodes);
cmp_ok($primary->term, '>', $term, 'all lost: in a new term');
for my $n (@nodes)
{
	ok(eventually(sub { $n->run("select count(*) from baton.events where event = 'state' and detail ~ '^from down to unknown' and id > " . $started{ $n->name }) == 1 }),
		'all lost: ' . $n->name . ' started as unknown');
}
my $seen = $primary->run('select count(*) from writer_probe');
ok(eventually(sub { $primary->run('select count(*) from writer_probe') > $seen + 50 }), 'all lost: the writer goes on');
my $result = $writer->stop;
$_->wait_state('replica') for others($primary);
caught_up($primary, others($primary));
cmp_ok(scalar @{ $result->{ids} }, '>=', $acknowledged, 'all lost: the writer has its account');
is(BatonCluster::Writer->missing_on($result, $_), 0, 'all lost: ' . $_->name . ' has all that was acknowledged') for @nodes;
same_data($primary, $_, 'all lost: ' . $_->name . ' is equal') for others($primary);
only_primary($primary, others($primary));
done_testing();
