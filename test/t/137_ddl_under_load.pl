# Definitions change while clients write, and in the middle of a failover: both sides
# stay equal.
#
# The failures prevented: a row is applied to a table that has not come so far, or has
# gone further, than it had when the row was written; a command's lock and the applier's
# stand in each other's way; a failover hangs on a command, or loses it.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $ROUNDS = $ENV{BATON_DDL_ROUNDS} // 2;
my ($n1, $n2) = BatonCluster->group(2, conf => "max_connections = 60\nbaton.election_timeout = 10s");
my $dir = PostgreSQL::Test::Utils::tempdir();

$n1->run(<<'SQL');
create table plain(id bigserial primary key, v int not null default 0, note text);
create table keyless(v int, note text);
create table parted(id int, v int, note text, primary key (id)) partition by range (id);
create table parted0 partition of parted for values from (0) to (1000);
create table parted1 partition of parted for values from (1000) to (2000);
create table totals(id int primary key, n bigint not null);
create table writer_probe(id bigint primary key);
insert into totals select g, 0 from generate_series(1, 10) g;
insert into plain(v, note) select g, repeat('n', g) from generate_series(1, 500) g;
insert into parted select g, g, 'p' from generate_series(0, 1999) g;
create function count_up() returns trigger language plpgsql as $$begin update totals set n = n + 1 where id = 1 + abs(new.v) % 10; return new; end$$;
create trigger counts after insert on plain for each row execute function count_up();
SQL

# One of four, of a few statements each.  No client fails but by a deadlock with a
# command, after which pgbench tries again.
my %load = (
	plain => q{
		insert into plain(v, note) values (:r % 100, repeat('x', :r % 50));
		update plain set v = (v + 1) % 1000, note = 'u' where id = :r % 500 + 1;},
	mixed => q{
		begin; insert into plain(v) values (:r % 7); insert into keyless values (:r, 'k');
		delete from plain where id = :r + 500; update totals set n = n + 1 where id = :r % 10 + 1; end;},
	parted => q{
		update parted set v = v + 1 where id = :r % 2000;
		insert into parted(id, v, note) values (:r % 2000, :r, 'again') on conflict (id) do update set note = 'c' || parted.v;},
	savepoint => q{
		begin; insert into keyless values (:r, 's'); savepoint a; update plain set v = 0 where id = :r % 500 + 1; rollback to a;
		insert into keyless values (:r, 't'); end;},
);
append_to_file("$dir/$_.sql", "\\set r random(0, 1000000)\n$load{$_}\n") for keys %load;

sub start_load
{
	my ($node) = @_;
	return IPC::Run::start([ 'pgbench', '-n', '-c', 6, '-T', 600, '--max-tries=1000', (map { ('-f', "$dir/$_.sql") } sort keys %load), $node->connstr($BatonCluster::DB) ],
		'<', \undef, '>', '/dev/null', '2>', \my $err);
}

sub stop_load
{
	my ($h) = @_;
	$h->signal('INT');
	eval { $h->finish };
	return;
}

# The commands of one round; each is given so long until no deadlock hits it.
sub commands
{
	my ($n) = @_;
	my $from = 1000 + 1000 * $n;
	my $to = $from + 1000;
	return split /;\s*/, <<"SQL";
alter table plain add c$n int not null default $n;
alter table plain add r$n float default random(), add s$n timestamptz default now();
create index concurrently plain_v$n on plain(v);
alter table plain alter v type bigint;
alter table plain alter v type int, alter c$n type text using 'c' || c$n;
create table fresh$n(like parted including defaults);
insert into fresh$n select g, g, 'fresh' from generate_series($from, $from + 999) g;
alter table fresh$n add primary key (id);
alter table parted attach partition fresh$n for values from ($from) to ($to);
alter table parted detach partition parted1;
alter table parted attach partition parted1 for values from (1000) to (2000);
alter table parted add p$n int default 5;
create unique index concurrently plain_u$n on plain(id, v);
alter table plain add constraint positive$n check (v >= 0) not valid;
alter table plain validate constraint positive$n;
alter table keyless add extra$n text default 'e', alter note type varchar(20);
alter table keyless rename v to w$n;
alter table keyless rename w$n to v;
vacuum full plain;
reindex index concurrently plain_v$n;
drop index concurrently plain_v$n;
alter table parted0 cluster on parted0_pkey;
cluster parted0;
create view over$n as select id, v, c$n from plain;
create materialized view stored$n as select count(*) as n, note from parted group by note;
truncate keyless;
alter table plain drop column r$n;
alter table parted detach partition fresh$n concurrently;
drop table fresh$n;
drop view over$n;
SQL
}

sub carry_out
{
	my ($node, $sql) = @_;
	my $r;
	eventually(sub { $r = $node->try($sql); $r->{ok} || ($r->{state} // '') !~ /^(40P01|40001|23514)$/ });
	$r->{ok} or die "$sql: $r->{text}\n";
	return;
}

sub rounds
{
	my ($node, @rounds) = @_;
	for my $n (@rounds)
	{
		carry_out($node, $_) for commands($n);
	}
	return;
}

# ---- commands under load ----

my $load = start_load($n1);
rounds($n1, 1 .. $ROUNDS);
ok($load->pumpable, 'the load runs to the end');
stop_load($load);
caught_up($n1, $n2);
same_dump($n1, $n2, 'equal after commands under load');

# ---- a failover in the middle of it ----

my $writer = start_writer($n1, $n2);
$load = start_load($n1);
my $script = "$dir/commands.sql";
append_to_file($script, join '', map { "alter table plain add f$_ int default $_;\nalter table parted add f$_ int;\n"
	. "begin; alter table totals add f$_ int default 7; insert into totals values (100 + $_, 1); commit;\ncreate index on keyless(v);\n" } 1 .. 300);
my ($out, $err) = ('', '');
my $ddl = IPC::Run::start([ 'psql', '-Xaq', '-v', 'ON_ERROR_STOP=1', '-f', $script, $n1->connstr($BatonCluster::DB) ], '<', \undef, '>', \$out, '2>', \$err);
eventually(sub { $n1->run('select count(*) from totals') > 15 }) or die "no commands: $err\n";
my $r = $n1->try(q(select baton.failover('n2', after => 'rejoin')));
ok($r->{ok}, 'a failover while definitions change') or diag($r->{text});
eval { $_->finish } for $ddl, $load;
$n2->wait_state('primary');
my $done = $n2->run('select count(*) from totals') - 10;
cmp_ok($done, '<', 300, 'it came in the middle');
is($n2->run(q(select count(*) from pg_attribute where attrelid = 'totals'::regclass and attname ~ '^f\d+$' and not attisdropped)), $done, 'a command and its rows are there, or neither');

# and on the new primary
$load = start_load($n2);
rounds($n2, $ROUNDS + 1);
stop_load($load);
my $written = $writer->stop;
is(BatonCluster::Writer->missing_on($written, $n2), 0, 'no acknowledged row is lost');
$n1->wait_state('replica');
caught_up($n2, $n1);
same_dump($n2, $n1, 'equal after the failover');

done_testing;
