# The lease: a primary that the others cannot be heard from closes its gate before one
# of them can lead, and says why; whoever was away does no harm when it is back.
#
# The failures prevented: two nodes that take writes at the same time; a write that
# hangs for lack of replicas; a commit that waits for an acknowledgement, and is told
# to be good because its server gave up waiting; a node that comes back with a high
# term and unseats a healthy primary.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = BatonCluster->group(3, proxied => 1, conf => <<'CONF', before => 'create table t(id int primary key, v text)');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
baton.reconnect_max_delay = 1s
CONF

sub insert
{
	my ($primary, $v) = @_;
	$primary->run("insert into t select (select coalesce(max(id), 0) from t) + g, '$v ' || md5(g::text) from generate_series(1, 200) g");
	return;
}

sub others { my ($node) = @_; return grep { $_ != $node } @nodes; }

sub primary_of
{
	my ($name, @of) = @_;
	my @p;
	ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } @of; @p == 1 }), "$name: one leads")
	  or die "nobody leads\n";
	return $p[0];
}

# When the gate opened for the reign that a node leads in now; the row comes a moment later.
sub opened
{
	my ($node) = @_;
	my $at;
	eventually(sub { $at = $node->run("select max(at) from baton.events where event = 'primary' and term = (select term from baton.status)") })
	  or die "there is no event of its reign\n";
	return $at;
}

# Test: a primary that is cut off by $break closes its gate before another leads, with
# the reason; heal, and it follows.  Returns the new primary.
sub cut_off
{
	my ($name, $primary, $break) = @_;
	my @others = others($primary);
	insert($primary, "before $name");
	caught_up($primary, @others);
	my $term = $primary->term;

	$break->($primary, @others);
	# each attempt tells when the gate let it pass
	my ($last, $r) = ('');
	ok(eventually(sub {
		$r = $primary->try("begin; insert into t values (-1) returning clock_timestamp(); rollback");
		$last = $1 if $r->{out} =~ /^(\d{4}-.*)$/m;
		return !$r->{ok};
	}), "$name: its gate closes");
	is($r->{state}, '25006', "$name: writes are refused");
	# the first refusals may be the clock's, before the coordinator has closed the gate
	ok(eventually(sub { $r = $primary->try('insert into t values (-1)'); ($r->{detail} // '') =~ /^Reason: lease lost/ }),
		"$name: with the reason") or diag($r->{text});
	my $names = join ', ', map { '"' . $_->name . '"' } sort { $a->name cmp $b->name } @others;
	like($r->{detail}, qr/heard from 1 of 3 voters within 2000 ms; not from $names\.$/, "$name: which names who is missing");
	like($primary->run('select reason from baton.status'), qr/^lease lost/, "$name: status has it too");
	is($primary->state, 'unknown', "$name: it leads no more");
	is($primary->run('select count(*) > 0 from t'), 't', "$name: and serves reads");

	my $new = primary_of($name, @others);
	cmp_ok($new->term, '>', $term, "$name: another leads");
	is($new->run("select '$last'::timestamptz < '" . opened($new) . "'::timestamptz"), 't', "$name: but not before the gate was closed")
	  if $last ne '';
	insert($new, $name);
	my ($third) = grep { $_ != $new } @others;
	caught_up($new, $third);
	is($primary->try('insert into t values (-1)')->{state}, '25006', "$name: it still takes no writes");

	heal_links(@nodes);
	$primary->wait_state('replica');
	caught_up($new, $primary);
	same_data($new, $primary, "$name: healed: it follows");
	is($primary->run("select coalesce(reason, '')"  . ' from baton.status'), '', "$name: healed: the reason is gone");
	is($primary->run("select count(*) from baton.events where event = 'lease lost' and term = $term"), 1, "$name: an event keeps it");
	only_primary($new, others($new));
	return $new;
}

ok(eventually(sub { $nodes[0]->run('select count(*) from baton.nodes where not joining') == 3 }), 'all are full members');

# ---- no byte in either direction; a commit waits for a standby that never answers ----
my $n1 = $nodes[0];
$n1->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$n1->reload;
my $waiting = $n1->try_later(q{set synchronous_commit = 'on'; insert into t values (100000, 'waits')});
ok(eventually(sub { $n1->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'") >= 1 }), 'a commit waits');
$n1->run('set synchronous_commit = local; insert into t values (100001)');
caught_up($n1, others($n1));
{
	my $primary = $n1;
	my $insert = \&insert;
	no warnings 'redefine';
	local *insert = sub { my ($p, @rest) = @_; $p == $primary ? $p->run("set synchronous_commit = local; insert into t values (100002) on conflict do nothing") : $insert->($p, @rest); };
	$primary = cut_off('isolated', $n1, sub { my ($p, @o) = @_; $p->partition('hold', @o); });
	my $r = $waiting->();
	is($r->{ok}, 0, 'isolated: the commit that waited is no success');
	like($r->{text}, qr/terminating connection|server closed the connection/, 'isolated: its session has ended') or diag($r->{text});
	$n1->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$n1->reload;
}

# ---- it is heard, and hears nothing ----
my $primary = primary_of('now', @nodes);
$primary = cut_off('deaf', $primary, sub { my ($p, @o) = @_; BatonCluster::link_mode($_, $p, 'hold') for @o; });

# ---- it hears, and is not heard; what it says is lost ----
$primary = cut_off('dumb', $primary, sub { my ($p, @o) = @_; BatonCluster::link_mode($p, $_, 'drop') for @o; });

# ---- a replica is away, and asks for votes all the time ----
my ($away, $other) = others($primary);
my $term = $primary->term;
my $lost = sub { return $primary->run("select count(*) from baton.events where event in ('lease lost', 'stepped down')"); };
my $lost_before = $lost->();
$away->partition('hold', $primary, $other);
ok(eventually(sub { $away->state eq 'unknown' }), 'a replica away: it hears no primary');
for my $round (1 .. 3)
{
	is($away->try('select baton.promote()')->{ok}, 0, 'a replica away: it is not elected');
	insert($primary, "away $round");
}
is($away->term, $term, 'a replica away: it has not raised its term');
heal_links(@nodes);
$away->wait_state('replica');
caught_up($primary, $away, $other);
same_data($primary, $_, 'a replica away: ' . $_->name . ' is equal again') for $away, $other;
is($primary->term, $term, 'a replica away: the primary goes on in its term');
is($lost->(), $lost_before, 'a replica away: and has never ceased to lead');
only_primary($primary, others($primary));
done_testing();
