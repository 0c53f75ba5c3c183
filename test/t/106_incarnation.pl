# A node that has joined under the same name and number before: once through a primary
# that was cut off, in vain, and then through the one that was promoted meanwhile.
#
# The failure prevented: a primary that takes a node for the one of that name and number
# that it knows, and sends it a stream that does not continue what it has.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = <<'CONF';
baton.heartbeat_interval = 200ms
baton.election_timeout = 1s
baton.reconnect_max_delay = 500ms
CONF
my ($n1, $n2) = BatonCluster->group(2, proxied => 1, before => 'create table t(id int primary key, v text)', conf => $conf);
my $n3 = BatonCluster->node('n3', conf => $conf);
ok(eventually(sub { 2 == grep { $_->run('select bool_and(not joining) and count(*) = 2 from baton.nodes') eq 't' } $n1, $n2 }), 'two full members');
caught_up($n1, $n2);

# ---- the cut off primary lists it, and cannot have it confirmed ----
$n1->{proxy}->cut('n2');
$n2->{proxy}->cut('n1');
$n2->run('select baton.promote(force => true)');
$n2->run("select baton.remove_node('n1')");
my $join = sub { return sprintf "select baton.join_group('%s', 'n3', '%s', type => 'secondary')", $_[0]->dsn, $n3->dsn };
my $r = $n3->try($join->($n1));
ok(!$r->{ok}, 'no majority confirms the first join');
like($r->{text}, qr/a majority has not acknowledged it/, 'and the error says so') or diag($r->{text});
is($n1->run("select node_id from baton.nodes where node_name = 'n3'"), 3, 'the primary that is cut off knows it as member 3');

# ---- it joins through the other, as the same ----
$r = $n3->try($join->($n2));
ok($r->{ok}, 'it joins through the one that was promoted') or diag($r->{text});
$n3->wait_state('replica');
$n2->run("insert into t values (2, 'n2')");
caught_up($n2, $n3);
is($n3->run("select node_id || ' ' || node_name from baton.status"), '3 n3', 'as member 3 again');
ok(eventually(sub { slurp_file($n1->logfile) =~ /cannot stream to member "n3": wrong node: .*in another life/ }),
	'the first primary is told that this is another');
is($n3->run('select string_agg(id::text, $$ $$ order by id) from t'), '2', 'and nothing of it arrives');

# ---- met: the first primary learns that the group goes on without it ----
heal_links($n1, $n2);
$n1->wait_state('detached');
like($n1->run('select reason from baton.status'), qr/the group has removed it/, 'met: the first primary is out of the group');
$n2->run("insert into t values (3, 'n2')");
caught_up($n2, $n3);
same_data($n2, $n3, 'met: the member has the stream of its own group');
only_primary($n2, $n1, $n3);
done_testing();
