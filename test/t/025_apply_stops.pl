# Where the replica is not like the primary, apply stops, says where, and waits; it
# goes on by itself once the cause is mended.
#
# The failure prevented: a change that is skipped, or carried out on another row,
# because the right one is missing; and a node that becomes primary in that state.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create table t(id int primary key, v text);
insert into t select g, 'v' || g from generate_series(1, 10) g;
create table removed(id int primary key, v text);
insert into removed values (4, 'v4'), (5, 'v5');
create table extra(id int primary key, v text);
create table pair(a int, b text, v int, primary key (a, b));
insert into pair values (1, 'x y', 0), (2, 'z', 0);
create table keyless(a int, b text);
insert into keyless values (1, 'one'), (2, null), (2, null);
create table later(id int primary key);
create table large(id int primary key, v text);
alter table large alter v set storage external;
SQL
my $dboid = $n2->run("select oid from pg_database where datname = current_database()");

# What baton keeps everybody from doing on a replica, its administrator too: with the
# server stopped, and without baton.  Writes carry an origin of baton's, or the node
# would take them for commits that only it has.
sub tamper
{
	my @sql = @_;
	my ($out, $err) = ('', '');
	my $origin = "baton_${dboid}_tamper";
	unshift @sql, "select pg_replication_origin_create('$origin') where not exists (select from pg_replication_origin where roname = '$origin')",
	  "select pg_replication_origin_session_setup('$origin')";
	$n2->stop;
	IPC::Run::run([ 'postgres', '--single', '-j', '-D', $n2->data_dir, '-c', 'shared_preload_libraries=', '-c', 'log_min_messages=warning', $BatonCluster::DB ],
		'<', \join('', map { "$_;\n\n" } @sql), '>', \$out, '2>', \$err)
	  or die "single-user mode: $err\n";
	die "single-user mode: $err\n" if $err =~ /ERROR|FATAL/;
	$n2->start;
	return;
}

sub status { return $n2->run('select coalesce(apply_error, \'\') from baton.status'); }

# All rows of a table, whatever the order of its columns.
sub rows_of
{
	my ($node, $table) = @_;
	return [ split /\n/, $node->run("select to_jsonb(t) from $table t order by 1") ];
}

# Test: n1's change of a table, which n2 cannot apply, stops it there; it goes on once
# that is mended by SQL; and what comes behind the change has waited.
my $marker = 0;

sub stops
{
	my ($name, $table, $change, $like, @mend) = @_;
	$marker++;
	$n1->run($change);
	$n1->run("insert into later values ($marker)");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(eventually(sub { status() =~ $like }), "$name: apply stops and says why") or diag(status());
	like($n2->run('select error from baton.stat_apply'), $like, "$name: so does baton.stat_apply");
	ok(eventually(sub { $n1->run("select coalesce(string_agg(error, ''), '') from baton.stat_replication") =~ $like }), "$name: and the primary knows");
	is($n2->run("select count(*) from later where id = $marker"), 0, "$name: what comes behind it waits");
	if ($marker % 5 == 1)    # not each time: it is waited some seconds for a better state
	{
		my $r = $n1->try("select * from baton.failover('n2')");
		is($r->{ok}, 0, "$name: a failover to it is refused");
		like($r->{text}, $like, "$name: with the reason");
	}
	is($n1->state, 'primary', "$name: the primary goes on");

	tamper(@mend);
	$n2->wait_state('replica');
	caught_up($n1, $n2);
	is(status(), '', "$name: apply goes on once it is mended");
	is($n2->run("select count(*) from later where id = $marker"), 1, "$name: nothing was skipped");
	is_deeply(rows_of($n2, $table), rows_of($n1, $table), "$name: equal again");
	return;
}

tamper(q(delete from t where id = 3), q(delete from removed where id = 4), q(insert into extra values (100, 'extra')), q(delete from pair where a = 1), q(delete from keyless where ctid = (select min(ctid) from keyless where a = 2)));
$n2->wait_state('replica');
is($n2->run('select coalesce(reason, \'\') from baton.status'), '', 'the node takes nothing of it for its own commits');

stops('a row to update is missing', 't', q(begin; update t set v = 'before' where id = 1; update t set v = 'new' where id = 3; update t set v = 'behind' where id = 2; commit),
	qr/update.*public\.t.*key \(id\)=\(3\)/, q(insert into t values (3, 'v3')));
is($n2->run('select string_agg(v, \' \' order by id) from t where id < 4'), 'before behind new', 'the whole transaction is applied');
stops('a row to delete is missing', 'removed', q(delete from removed where id = 4), qr/delete.*public\.removed.*key \(id\)=\(4\)/, q(insert into removed values (4, 'v4')));
stops('a row too many', 'extra', q(insert into extra values (99, 'a'), (100, 'b'), (101, 'c')), qr/extra_pkey.*public\.extra.*\(id\)=\(100\)/, q(delete from extra where id = 100));
stops('a row with a key of two columns is missing', 'pair', q(update pair set v = 1 where a = 1), qr/public\.pair.*key \(a, b\)=\(1, x y\)/, q(insert into pair values (1, 'x y', 0)));
stops('one of several equal rows is missing', 'keyless', q(delete from keyless where a = 2), qr/public\.keyless.*\(a, b\)=\(2, null\)/, q(insert into keyless values (2, null)));
# What the replica is to lack comes with the stream first.
sub lacks
{
	my ($sql, @tamper) = @_;
	$n1->run($sql);
	caught_up($n1, $n2);
	tamper(@tamper);
	$n2->wait_state('replica');
	return;
}
lacks('create table young(id int primary key, v text)', 'drop table young');
stops('a table is missing', 'young', q(insert into young values (1, 'a')), qr/public\.young.*does not exist/,
	q(create table young(v text, id int primary key)));
lacks('alter table young add n int', 'alter table young drop n');
stops('a column is missing', 'young', q(insert into young values (2, 'b', 3)), qr/public\.young.*no column "n"/, q(alter table young add n int));
lacks('alter table young alter n type bigint', 'alter table young alter n type int');
stops('a column has another type', 'young', q(insert into young values (3, 'c', 4)), qr/"n".*public\.young.*int4/, q(alter table young alter n type bigint));
tamper(q(alter table young add here text default 'default'));
$n1->run(q(insert into young values (4, 'd', 5); update young set v = 'e' where id = 4));
caught_up($n1, $n2);
is($n2->run('select v || here from young where id = 4'), 'edefault', 'a column that only the replica has gets its default, and keeps it');
$n1->run('drop table young');
caught_up($n1, $n2);
same_data($n1, $n2, 'everything is mended');

# ---- a long record in pieces, and what comes between them ----
# SQL that n1 runs once the first piece of large rows is there, until it falls between
# two pieces; the pattern is for types of records, P and L (last) for pieces.
my $tries = 0;

sub between_pieces
{
	my ($name, $pattern, $sql) = @_;
	my ($found, $records) = (0, '');
	for (1 .. 30)
	{
		$tries++;
		my ($position) = $n1->run('select baton.position()') =~ /:(.*)/;
		my $happens = $n1->try_later("do \$\$ begin
			while (select log_end < pg_lsn '$position' + 100000 from baton.status) loop perform pg_sleep(0.001); end loop;
			$sql end \$\$");
		$n1->run("insert into large select $tries * 100 + g, string_agg(md5(i::text), '') from generate_series(1, 2) g, generate_series(1, 250000) i group by g");
		$happens->()->{ok} or die "could not do: $sql\n";
		caught_up($n1, $n2);
		# the log may be removed up to where n2 is
		$records = $n1->try("select string_agg(case when r.type <> 'PART' then left(r.type, 1) when r.detail ~ '^last' then 'L' else 'P' end, '' order by position, record_no)
			from baton.status, baton.stream_records(greatest('$position', log_start)) r")->{out};
		last if $found = $records =~ $pattern;
	}
	ok($found, "$name between the pieces of a long record") or diag($records);
	same_data($n1, $n2, "$name: the record is put together all the same");
	return;
}
between_pieces('a change of members', qr/PM+[PL]/, "for i in 1..4 loop perform baton.set_priority('n2', 90 + i); end loop;");
between_pieces('a new capture', qr/PAB/, "perform pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'baton capture';");

# ---- a table that has lost its replica identity: only a new copy helps ----
$n1->run('insert into keyless values (7, null)');
caught_up($n1, $n2);
# which takes more than ALTER TABLE
$n1->run("update pg_class set relreplident = 'n' where relname = 'keyless'");
$n1->run('delete from keyless where a = 7; insert into later values (1000)');
ok(eventually(sub { status() =~ /public\.keyless.*no replica identity.*REPLICA IDENTITY FULL/ }), 'a deleted row that the stream does not name stops apply, with the remedy')
  or diag(status());
is($n2->run('select count(*) from keyless where a = 7'), 1, 'no row is guessed');
is($n2->run('select count(*) from later where id = 1000'), 0, 'nothing behind it is applied');
$n1->run('alter table keyless replica identity full');
$n2->run('select baton.leave_group(force => true)');
ok(eventually(sub { $n2->try("drop database $BatonCluster::DB", db => 'postgres')->{ok} }), 'its database can be dropped');
$n2->safe_psql('postgres', "create database $BatonCluster::DB");
$n2->run('create extension baton');
$n2->join_group($n1);
$n1->run('delete from keyless where a = 1');
caught_up($n1, $n2);
same_data($n1, $n2, 'equal after a new copy');
$_->stop for $n2, $n1;
done_testing();
