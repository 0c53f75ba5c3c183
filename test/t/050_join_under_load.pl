# A node joins while its primary is under load.
#
# The failures prevented: rows lost or doubled between the copy's snapshot and the
# stream (seen elsewhere: spock PR#392, #416), a table that is empty because it was
# rewritten between snapshot and dump, and an interrupted join that leaves half a
# database, a slot, a directory or a process behind.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $JOINS = $ENV{BATON_JOINS} // 20;

my $n1 = BatonCluster->node('n1');
my $target = BatonCluster->node('n2', conf => <<'CONF');
baton.max_nodes = 4
CONF

system_or_bail('pgbench', '-i', '-q', '-s', '2', $n1->connstr($BatonCluster::DB));
$n1->run(<<'SQL');
create table large(id int primary key, v text);
alter table large alter v set storage external;
insert into large select g, repeat(md5(g::text), 20000) from generate_series(1, 60) g;
create schema "Odd schema";
create table "Odd schema"."Odd ""table" (id int primary key, v text default 'd');
insert into "Odd schema"."Odd ""table" values (1, 'one');
create role copied_owner login password 'secret';
create role copied_group;
grant copied_group to copied_owner;
alter table large owner to copied_owner;
alter default privileges for role copied_owner grant select on tables to copied_group;
create type mood as enum ('glad', 'sad');
create table moods(m mood primary key);
insert into moods values ('sad');
create function twice(int) returns int language sql immutable as 'select 2 * $1';
create table parted(id int primary key, v int) partition by range (id);
create table parted1 partition of parted for values from (0) to (100);
insert into parted values (7, 8);
select lo_create(4711);
SQL
$n1->create_group;

# pgbench runs until it is told to stop.
sub load
{
	my $h = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '3', '-T', '600', $n1->connstr($BatonCluster::DB) ],
		'<', \undef, '>', '/dev/null', '2>', '/dev/null');
	return sub {
		$h->signal('INT');
		eval { $h->finish };
		return;
	};
}

# What an earlier join has left: the extension is dropped with the database.
sub leave
{
	$target->run('select baton.leave_group()');
	BatonCluster::eventually(
		sub { $target->run("select count(*) from pg_replication_slots where slot_name like 'baton%'") eq '0' });
	ok(BatonCluster::eventually(sub {
		$target->try('drop database ' . $BatonCluster::DB, db => 'postgres')->{ok} }), 'the database can be dropped');
	$target->safe_psql('postgres', 'create database ' . $BatonCluster::DB);
	$target->run('create extension baton');
	return;
}

sub join_begun
{
	my ($name) = @_;
	$target->run(sprintf "select baton.join_group('%s', '%s', '%s')", $n1->dsn, $name, $target->dsn);
	return;
}

sub equal
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up($n1, $target);
	return same_data($n1, $target, $what);
}

# ---- into a database that is not empty ----

for my $case ([ 'create table t(i int)', qr/table public\.t/, 'drop table t' ],
	[ 'create schema s', qr/schema s/, 'drop schema s' ],
	[ 'create extension pg_trgm', qr/extension pg_trgm/, 'drop extension pg_trgm' ],
	[ "create type mood as enum ('a')", qr/type public\.mood/, 'drop type mood' ],
	[ 'select lo_create(815)', qr/large object 815/, 'select lo_unlink(815)' ],
	[ 'create publication p', qr/publication p/, 'drop publication p' ])
{
	my ($make, $found, $drop) = @$case;
	if ($make =~ /extension (\w+)/
		&& $target->run("select count(*) from pg_available_extensions where name = '$1'") eq '0')
	{
		note("$1 is not installed");
		next;
	}
	$target->run($make);
	my $r = $target->try(sprintf "select baton.join_group('%s', 'n2', '%s')", $n1->dsn, $target->dsn);
	ok(!$r->{ok}, "refused: $make");
	like($r->{text}, $found, 'and says what it has found');
	$target->run($drop);
}

# ---- again and again, under load ----

my $stop = load();
for my $i (1 .. $JOINS)
{
	join_begun("r$i");
	$target->wait_state('replica', 180);
	if ($i == 1)
	{
		is($target->run("select count(*) from baton.stat_copy where phase <> 'done' or percent <> 100"),
			'0', 'stat_copy: all is done');
		is($target->run("select count(*) from baton.stat_copy where table_name = 'public.pgbench_accounts'"),
			'1', 'stat_copy: a row per table');
		is($target->safe_psql('postgres', "select rolcanlogin from pg_roles where rolname = 'copied_owner'"),
			't', 'a role that the database uses is there');
		is($target->safe_psql('postgres',
				"select pg_has_role('copied_owner', 'copied_group', 'member')"), 't', 'with its membership');
		is($target->run("select m from moods where twice(2) = 4"), 'sad', 'types and functions are there');
		is($target->run('select v from parted where id = 7'), '8', 'partitions are there');
		is($target->run('select count(*) from pg_largeobject_metadata where oid = 4711'), '1', 'large objects are there');
	}
	$stop->();
	equal("join $i under load ends equal");
	ok(!-e $target->data_dir . '/baton/' . $target->run(
			"select oid from pg_database where datname = current_database()") . '/copy',
		'no scratch directory is left');
	$stop = load();
	leave() if $i < $JOINS;
}
$stop->();
leave();
is($n1->run("select count(*) from pg_replication_slots where slot_name like 'baton_copy%'"), '0',
	'no temporary slot is left at the source');

# ---- interrupted ----

# Slow enough to be caught in each phase.
$n1->run('insert into large select g, repeat(md5(g::text), 20000) from generate_series(61, 300) g');

sub copy_phase
{
	my $r = $target->try('select phase from baton.copy_state()', seconds => 10);
	return $r->{ok} ? $r->{out} : '';
}

sub programs
{
	my ($name) = @_;
	my $dir = $target->data_dir;
	return grep {
		my $cwd = readlink("/proc/$_/cwd") // '';
		$cwd eq $dir
	} split ' ', `pgrep -x $name`;
}

my $n = 0;
for my $case ([ 'dumping', 'copy worker' ], [ 'restoring', 'copy worker' ],
	[ 'dumping', 'pg_dump' ], [ 'restoring', 'pg_restore' ],
	[ 'dumping', 'server' ], [ 'restoring', 'server' ])
{
	my ($phase, $what) = @$case;
	my $done = 0;

	$stop = load();
	join_begun('i' . ++$n);
	ok(BatonCluster::eventually(sub { copy_phase() eq $phase }, 120), "a copy is $phase");
	if ($what eq 'server')
	{
		$target->crash;
		$target->start;
	}
	elsif ($what eq 'copy worker')
	{
		my $pid = $target->try("select pid from pg_stat_activity where backend_type = 'baton copy'")->{out};
		kill 'KILL', $pid if $pid;
	}
	else
	{
		kill 'KILL', programs($what);
	}
	$target->wait_state('replica', 240);
	is(join(' ', programs('pg_dump'), programs('pg_restore')), '', "no process is left");
	$stop->();
	equal("$what killed while $phase: the copy is repeated and ends equal");
	leave();
}

$n1->run('create table rewritten(id int primary key, v int)');
$n1->run('insert into rewritten select g, 1 from generate_series(1, 5000) g');

# ---- while it waits for a transaction of the source ----

# A transaction that keeps the snapshot waiting, and then itself waits for the
# copy's lock: a circle that PostgreSQL cannot see.
my $session = $n1->session;
$session->query('begin; select txid_current()');
join_begun('w');
ok(BatonCluster::eventually(sub { copy_phase() eq 'waiting for running transactions' }), 'a copy waits for a transaction');
$session->query("set lock_timeout = '20s'; alter table rewritten alter v type bigint");
$session->query('commit');
is($n1->run("select format_type(atttypid, null) from pg_attribute where attrelid = 'rewritten'::regclass and attname = 'v'"),
	'bigint', 'a copy makes way for a transaction that wants its lock');
$target->wait_state('replica', 120);
equal('and ends equal');
leave();

$session->query('begin; select txid_current()');
join_begun('k');
ok(BatonCluster::eventually(sub { copy_phase() eq 'waiting for running transactions' }), 'a copy waits for a transaction');
$target->crash;
$target->start;
$session->query('commit');
$session->quit;
$target->wait_state('replica', 120);
equal('server killed while waiting: the copy is repeated and ends equal');
ok(BatonCluster::eventually(sub {
	$n1->run("select count(*) from pg_replication_slots where slot_name like 'baton_copy%'") eq '0' }),
	'the temporary slots of interrupted copies are gone at the source');
leave();

# ---- a rewriting ALTER TABLE, again and again ----

my $script = PostgreSQL::Test::Utils::tempdir() . '/rewrite.sql';
append_to_file($script, "set lock_timeout = '2s';\nalter table rewritten alter v type int using v + 0;\n"
	. "\\sleep 300 ms\n");
my $rewriter = IPC::Run::start([ 'pgbench', '-n', '-c', '1', '-T', '600', '--max-tries=1', '-f', $script,
		$n1->connstr($BatonCluster::DB) ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
join_begun('rewrite');
$target->wait_state('replica', 240);
is($target->run('select count(*) from rewritten'), '5000', 'a table that is rewritten is not copied empty');
$rewriter->signal('INT');
eval { $rewriter->finish };
leave();

done_testing();
