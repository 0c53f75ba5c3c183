# No value of a sequence is handed out twice, whatever becomes of the primary.
#
# The failure prevented: a replica that takes over hands out values that clients of the
# lost primary have already; their rows collide, or worse, do not.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $ROUNDS = $ENV{BATON_SEQUENCE_ROUNDS} // 2;
my $CLIENTS = 8;
my $seed = srand($ENV{BATON_SEED} // time);
note("BATON_SEED=$seed");

my $conf = "baton.heartbeat_interval = 100ms\nbaton.election_timeout = 3s";
my @nodes = BatonCluster->group(3, conf => $conf);
my ($first) = @nodes;
$first->run(<<'SQL' . join '', map { "create sequence jumps_$_;" } 1 .. $CLIENTS);
create sequence plain; create sequence cached cache 10; create sequence down increment -3;
create table drawn(s text, v bigint, primary key (s, v));
create table identities(id bigint generated always as identity primary key);
create table serials(id bigserial primary key);
SQL
$first->run(q(select baton.set_ack_policy('majority')));

# ---- clients that draw while their primary is killed ----

# What one client runs, again and again.  Each line that it prints is a sequence, a
# value that it was told, and whether a committed row has that.
sub block
{
	my ($client) = @_;
	return <<"SQL";
insert into drawn values ('plain', nextval('plain')) returning s, v, 'row';
select 'plain', nextval('plain'), 'value';
insert into drawn values ('down', nextval('down')) returning s, v, 'row';
begin;
insert into drawn values ('plain', nextval('plain'));
rollback;
insert into drawn values ('cached', nextval('cached')) returning s, v, 'row';
select 'cached', nextval('cached'), 'value';
insert into identities default values returning 'identities', id, 'row';
insert into serials default values returning 'serials', id, 'row';
select 'jumps_$client', setval('jumps_$client', nextval('jumps_$client') + 100), 'value';
select 'jumps_$client', nextval('jumps_$client'), 'value';
SQL
}

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/client$_.sql", block($_) x 5000) for 1 .. $CLIENTS;
my @told;    # files

sub start_clients
{
	my ($primary, $round) = @_;
	return map {
		push @told, "$dir/told.$round.$_";
		IPC::Run::start([ 'psql', '-XAtq', '-F', ' ', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/client$_.sql",
				$primary->connstr($BatonCluster::DB) ], '<', \undef, '>', $told[-1], '2>', '/dev/null')
	} 1 .. $CLIENTS;
}

# The one that leads, and whose gate is open.
sub primary_among
{
	my @among = @_;
	my $primary;
	eventually(sub { ($primary) = grep { $_->state eq 'primary' && $_->gate eq 'open' } @among; $primary }) or die "nobody leads\n";
	return $primary;
}

my $rows = 0;
for my $round (1 .. $ROUNDS)
{
	my $primary = primary_among(@nodes);
	my @clients = start_clients($primary, $round);
	my $enough = $rows + 100 + int rand 400;
	eventually(sub { ($rows = $primary->run('select count(*) from drawn')) > $enough }) or die "no load\n";
	$primary->crash;
	eval { $_->finish } for @clients;
	primary_among(grep { $_ != $primary } @nodes);
	$primary->start;
	eventually(sub { $primary->state eq 'replica' }) or die $primary->name . " does not come back\n";
}

# Who leads in the end hands out some more.
my $last = primary_among(@nodes);
push @told, "$dir/told.last";
append_to_file($told[-1], join '', map { "$_\n" } $last->run(sprintf q(select format('%%s %%s value', s, nextval(s::regclass))
	from unnest(array[%s]) s, generate_series(1, 100)), join ',', map { "'$_'" } 'plain', 'down', 'cached', map { "jumps_$_" } 1 .. $CLIENTS));

my (%value, %row, @twice);
for my $line (map { split /\n/, slurp_file($_) } @told)
{
	my ($name, $value, $kind) = split / /, $line;
	push @twice, $line if $value{"$name $value"}++;
	$row{"$name $value"} = 1 if $kind eq 'row';
}
my %there = map { $_ => 1 } split /\n/, $last->run(q(select s || ' ' || v from drawn
	union all select 'identities ' || id from identities union all select 'serials ' || id from serials));
my $report = sprintf "%d kills: clients were told %d values, %d of them of a row; %d rows\n", $ROUNDS, scalar keys %value, scalar keys %row, scalar keys %there;
note($report);
append_to_file($ENV{BATON_SEQUENCE_REPORT}, $report) if $ENV{BATON_SEQUENCE_REPORT};
cmp_ok(scalar keys %value, '>', 200 * $ROUNDS, 'clients were told values');
is("@twice", '', 'no value was handed out twice');
is(join(' ', grep { !$there{$_} } sort keys %row), '', 'no row that a client was told of is lost');
is(join(' ', grep { $value{$_} && !$row{$_} } sort keys %there), '', 'no row has a value that somebody else was told');

# ---- a value out of a reserve that nobody else has yet ----

# The first one logs the reserve, and does not commit; the second one writes nothing.
$last->run('create sequence reserved');
my @others = grep { $_ != $last } @nodes;
my $holder = $last->session;
$_->freeze for @others;
$holder->query_safe(q(begin; select nextval('reserved')));
my $r = $last->try(q(select nextval('reserved')), seconds => 20);
$_->thaw for @others;
ok(!$r->{ok}, 'a client gets none that only the primary knows of') or diag($r->{out});
eval { $holder->quit };

# ---- quiet, and a planned failover: no gap ----

$last = primary_among(@nodes);
@others = grep { $_ != $last } @nodes;
$_->wait_state('replica') for @others;
$last->run(q(select nextval('plain')));
my @expected = map { $_ + 1 } $last->run(q(select nextval('plain')));
caught_up($last, @others);
same_dump($last, $_, 'the dump of ' . $_->name . ' is the same') for @others;
$last->run(sprintf q(select baton.failover('%s', after => 'rejoin')), $others[0]->name);
$others[0]->wait_state('primary');
is($others[0]->run(q(select nextval('plain'))), $expected[0], 'a planned failover leaves out no value');

# ---- a state that nothing is written behind ----

my $primary = $others[0];
$primary->run(q(select nextval('plain')));
my $state = $primary->run('select last_value, log_cnt from plain');
ok(eventually(sub { $last->run('select last_value, log_cnt from plain') eq $state }),
	'an exact state arrives by itself, and waits for no commit');

# ---- a node that joins while values are drawn ----

my $drawn = "$dir/draw.sql";
append_to_file($drawn, <<'SQL');
select nextval('plain') as v \gset
insert into drawn values ('plain', :v), ('down', nextval('down')), ('cached', nextval('cached'));
insert into identities default values;
select nextval('plain');
SQL

my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 60, '-f', $drawn, $primary->connstr($BatonCluster::DB) ],
	'<', \undef, '>', \my $out, '2>', \my $err);
my $joined = BatonCluster->node('n4', conf => $conf);
$joined->join_group($primary);
$load->signal('TERM');
$load->finish;
caught_up($primary, $joined);
same_dump($primary, $joined, 'one that joins under load is equal');

done_testing;
