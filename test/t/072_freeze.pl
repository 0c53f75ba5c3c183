# A primary whose processes all stand still, as of a virtual machine that is paused, and
# wakes up when another leads.
#
# The failure prevented: commits that the woken one takes, and tells its clients of,
# although they can be in no later primary's log.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @nodes = BatonCluster->group(3, conf => <<'CONF', before => <<'SQL');
baton.heartbeat_interval = 200ms
baton.election_timeout = 2s
CONF
create table writer_probe(id bigint primary key);
create table t(id int primary key, v text);
SQL
my ($n1, $n2, $n3) = @nodes;
ok(eventually(sub { $n1->run('select count(*) from baton.nodes where not joining') == 3 }), 'all are full members');

# Sessions in the middle of what they do.
my @pending = map { $n1->session } 1 .. 3;
$pending[$_]->query("begin; insert into t values ($_, 'pending')") for 0 .. 2;
$n1->run("begin; insert into t values (10, 'prepared'); prepare transaction 'p1'");
my $idle = $n1->session;
$idle->query('select 1');
caught_up($n1, $n2, $n3);

$n1->freeze;
my @p;
ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } $n2, $n3; @p == 1 }), 'frozen: another leads')
  or die "nobody leads\n";
my $primary = $p[0];
my ($third) = grep { $_ != $primary } $n2, $n3;
$primary->run("insert into t select g, 'after' from generate_series(100, 200) g");
$n1->thaw;

# All of them at once, before anybody in there has had time to think.
for my $s (@pending)
{
	$s->query('commit');
	like($s->{stderr}, qr/25006|read-only|lease|not the primary|terminating/, 'thawed: a pending commit is refused');
	$s->{stderr} = '';
}
$idle->query("insert into t values (20, 'idle')");
like($idle->{stderr}, qr/lease|not the primary|read-only|terminating/, 'thawed: a new write is refused');
is($n1->try("commit prepared 'p1'")->{ok}, 0, 'thawed: a prepared transaction is not committed');
ok(eventually(sub { $n1->state eq 'replica' }), 'thawed: it follows') or diag($n1->try('select * from baton.status')->{out});
caught_up($primary, $n1, $third);
same_data($primary, $n1, 'thawed: it has what the new primary has');
is($n1->run("select count(*) from t where v <> 'after'"), 0, 'thawed: and nothing of its own');
ok(eventually(sub { $n1->run('select count(*) from pg_prepared_xacts') == 0 }), 'thawed: nor is anything prepared, which could never be committed');
same_data($primary, $third, 'thawed: so has the third');
only_primary($primary, $n1, $third);
eval { $_->quit } for @pending, $idle;

# ---- under load ----
my $term = $primary->term;
my $writer = start_writer($primary);
ok(eventually(sub { $primary->run('select count(*) from writer_probe') > 50 }), 'under load: the writer runs');
my $frozen = $primary;
$frozen->freeze;
ok(eventually(sub { @p = grep { $_->state eq 'primary' && $_->gate eq 'open' } grep { $_ != $frozen } @nodes; @p == 1 }), 'under load: another leads')
  or die "nobody leads\n";
$primary = $p[0];
# the answers that were on their way have arrived long since
my $acknowledged = () = slurp_file("$writer->{ids}") =~ /\n/g;
$frozen->thaw;
ok(eventually(sub { $frozen->state ne 'primary' }), 'under load: thawed: it leads no more');
my $result = $writer->stop;
is($result->{acknowledged}, $acknowledged, 'under load: no commit of the woken one was acknowledged');
ok(eventually(sub { $frozen->state eq 'replica' || ($frozen->state eq 'detached' && $frozen->run('select reason from baton.status') =~ /diverged/) }),
	'under load: it follows, or says that it has diverged') or diag($frozen->try('select * from baton.status')->{out});
is($primary->state, 'primary', 'under load: the new primary goes on');
done_testing();
