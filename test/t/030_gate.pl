# Every way to write, tried on a node whose gate is closed; and what the gate does
# to sessions before, during and after a failover.
#
# The failure prevented: a write that gets into a database that is not the primary
# is lost or makes the nodes differ for ever, and nobody is told.  A superuser, a
# prepared statement, a transaction opened earlier, a function, a large object, a
# background worker: each of them has gone past some read-only switch.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create table t(id int primary key, v text);
insert into t values (1, 'a'), (2, 'b');
create sequence s;
create table ser(id serial primary key, v int);
create materialized view mv as select * from t;
create function draw() returns bigint language plpgsql as $$ declare x bigint; begin x := nextval('s'); return x; end $$;
create function put() returns void language sql as $$ insert into t values (90, 'put') $$;
create function put_own_mode() returns void language plpgsql set transaction_read_only = off as
  $$ begin insert into t values (91, 'put') ; end $$;
create procedure put_after_commit() language plpgsql as
  $$ begin commit; set transaction read write; insert into t values (92, 'put'); end $$;
select lo_create(4711);
SQL
caught_up($n1, $n2);

# Test: a superuser's SQL on the replica fails with SQLSTATE 25006 or, where
# PostgreSQL's own rules come first, 25001.
sub refused
{
	my ($name, $sql) = @_;
	my $r = $n2->try($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like($r->{state} // $r->{text}, qr/^2500[16]$/, "closed: $name") or diag("$r->{out}$r->{text}");
	return $r;
}

sub allowed
{
	my ($name, $sql) = @_;
	my $r = $n2->try($sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($r->{ok}, "closed, but allowed: $name") or diag($r->{text});
	return;
}

# ---- a closed gate: writes ----
my @writes = (
	'INSERT' => q{insert into t values (3, 'c')},
	'UPDATE' => q{update t set v = 'z'},
	'DELETE' => q{delete from t},
	'modifying WITH' => q{with w as (insert into t values (4, 'd') returning *) select * from w},
	'TRUNCATE' => q{truncate t},
	'COPY FROM' => qq{copy t from stdin;\n5\te\n\\.\n},
	'SELECT FOR UPDATE' => q{select * from t for update},
	'SELECT FOR KEY SHARE' => q{select * from t for key share},
	'CREATE TABLE' => q{create table c(i int)},
	'CREATE TABLE AS' => q{create table c as select 1},
	'SELECT INTO' => q{select 1 into c},
	'EXPLAIN ANALYZE INSERT' => q{explain analyze insert into t values (8, 'h')},
	'EXPLAIN ANALYZE CREATE TABLE AS' => q{explain analyze create table c as select 1},
	'CREATE INDEX' => q{create index on t(v)},
	'ALTER TABLE' => q{alter table t add x int},
	'DROP TABLE' => q{drop table t},
	'COMMENT' => q{comment on table t is 'x'},
	'GRANT' => q{grant select on t to public},
	'CREATE ROLE' => q{create role nobody},
	'CREATE FUNCTION' => q{create function g() returns int language sql as 'select 1'},
	'REFRESH MATERIALIZED VIEW' => q{refresh materialized view mv},
	'LOCK TABLE' => q{lock table t in share mode},
	'nextval' => q{select nextval('s')},
	'setval' => q{select setval('s', 5)},
	'nextval in a plpgsql assignment' => q{select draw()},
	'nextval after SET TRANSACTION in DO' =>
	  q{do $$ declare x int; begin set transaction read write; x := nextval('s'); end $$},
	'a function that writes' => q{select put()},
	'a function with its own mode' => q{select put_own_mode()},
	'a procedure that commits first' => q{call put_after_commit()},
	'set_config in DO' =>
	  q{do $$ begin perform set_config('transaction_read_only', 'off', false); insert into t values (9, 'x'); end $$},
	'SET TRANSACTION READ WRITE' => q{begin; set transaction read write; insert into t values (6, 'f')},
	'BEGIN READ WRITE' => q{begin read write; insert into t values (6, 'f')},
	'default_transaction_read_only = off' => q{set default_transaction_read_only = off; insert into t values (6, 'f')},
	'mode restored by ROLLBACK TO' =>
	  q{begin; set transaction read write; savepoint a; select 1; rollback to a; insert into t values (6, 'f')},
	'a prepared statement' => q{prepare p as insert into t values (7, 'g'); execute p},
	'a cursor that draws' => q{begin; declare c cursor for select nextval('s'); fetch c},
	'PREPARE TRANSACTION' => q{begin; select pg_current_xact_id(); prepare transaction 'p'},
	'COMMIT PREPARED' => q{commit prepared 'p'},
	'ROLLBACK PREPARED' => q{rollback prepared 'p'},
	'lo_create' => q{select lo_create(0)},
	'lo_from_bytea' => q{select lo_from_bytea(0, 'x')},
	'lo_put' => q{select lo_put(4711, 0, 'x')},
	'lo_unlink' => q{select lo_unlink(4711)},
	'lowrite' => q{begin; select lowrite(lo_open(4711, x'20000'::int), 'abc')},
	'lo_truncate' => q{begin; select lo_truncate(lo_open(4711, x'20000'::int), 0)},
	'pg_logical_emit_message' => q{select pg_logical_emit_message(true, 'x', 'y')},
	'the same, not transactional' => q{select pg_logical_emit_message(false, 'x', 'y')},
	'a function that writes a catalog by itself' => q{select pg_import_system_collations('public')},
	'temporary and permanent together' => q{create temp table a(i int); begin; insert into a values (1); insert into t values (5, 'e'); commit},
	'CREATE TABLE with a temporary twin' => q{create temp table c(i int); create table public.c(i int)},
);
while (my ($name, $sql) = splice(@writes, 0, 2)) { refused($name, $sql); }

my $r = $n2->try(q{insert into t values (3, 'c')});
like($r->{message}, qr/cannot execute INSERT.*"app" is not the primary/, 'the message names the database');
like($r->{hint}, qr/"n1": host=\S+ port=\d+ dbname=app/, 'and the hint the primary');
unlike($r->{hint}, qr/password|user=/, 'but no more than its address');
$r = $n2->try(q{select nextval('s')});
like($r->{hint}, qr/"n1"/, "PostgreSQL's own refusal has the hint too");

# The large object functions of libpq use the fast path.
$r = $n2->try('\lo_unlink 4711');
like($r->{text}, qr/cannot execute lo_unlink/, 'closed: lo_unlink on the fast path');
$r = $n2->try('\lo_import ' . $n2->data_dir . '/PG_VERSION');
like($r->{text}, qr/cannot execute lo_creat/, 'closed: lo_creat on the fast path');

# ---- a closed gate: what changes no data ----
my @harmless = (
	'SELECT' => q{select count(*) from t},
	'VACUUM' => q{vacuum t},
	'VACUUM FULL' => q{vacuum full t},
	'ANALYZE' => q{analyze},
	'ANALYZE in a block' => q{begin; analyze t; commit},
	'REINDEX' => q{reindex table t},
	'REINDEX CONCURRENTLY' => q{reindex table concurrently t},
	'CLUSTER' => q{cluster t using t_pkey},
	'CHECKPOINT' => q{checkpoint},
	'LISTEN and NOTIFY' => q{listen a; notify a},
	'advisory locks' => q{select pg_advisory_lock(1)},
	'LOCK TABLE as on a standby' => q{begin; lock table t in row exclusive mode; commit},
	'a bare transaction id' => q{select pg_current_xact_id()},
	'READ ONLY transactions' => q{begin read only; select 1; commit},
	'temporary tables' => q{create temp table a(id serial primary key, v text); insert into a(v) values ('x'), ('y');
		update a set v = 'z'; create index on a(v); alter table a add w int; analyze a; truncate a; drop table a},
	'temporary copies' => q{create temp table a as select * from t; select * into temp b from t; discard temp},
	'ON COMMIT DROP' => q{begin; create temp table a(i int) on commit drop; insert into a values (1); commit},
	'temporary tables left to the end of the session' => q{create temp table a(i int); insert into a values (1)},
);
while (my ($name, $sql) = splice(@harmless, 0, 2)) { allowed($name, $sql); }
is($n2->run(q{select count(*) from pg_class where relpersistence = 't'}), 0, 'and they are dropped at its end');
unlike(slurp_file($n2->logfile), qr/FATAL.*cannot execute COMMIT/, 'without an error');

same_data($n1, $n2, 'nothing has got through');
is($n2->run('select is_called from s'), 'f', 'nor a value drawn');

# ---- who finds what at the door ----
is($n2->run('show default_transaction_read_only'), 'on', 'a replica tells libpq that it is one');
is($n1->run('show default_transaction_read_only'), 'off', 'and the primary that it is one');
my $either = BatonCluster::client_dsn($n2, $n1);
is((run_command([ 'psql', '-XAtq', '-d', $either, '-c', 'select inet_server_port() is null and node_name = $$n1$$ from baton.status' ]))[0],
	't', 'target_session_attrs=read-write finds the primary');

# ---- a failover that is given up: who waited goes on ----
sub query_waits
{
	my ($node, $pattern) = @_;
	return eventually(sub {
		$node->run("select count(*) from pg_stat_activity where wait_event_type = 'Extension'
			and wait_event = 'Extension' and query like '$pattern' and pid <> pg_backend_pid()") >= 1;
	});
}

sub gate_is
{
	my ($node, $wanted) = @_;
	return eventually(sub { $node->gate eq $wanted });
}

# A query in an open session; its error if it has one, else what it prints.
sub ask
{
	my ($session, $sql) = @_;
	$session->{stderr} = '';
	my $out = $session->query($sql);
	return $session->{stderr} ne '' ? $session->{stderr} : $out;
}

my $writer = $n1->session;
my $locker = $n1->session;
my $reader = $n1->session;
ask($writer, q{begin; insert into t values (10, 'writer')});
ask($locker, q{begin; lock table ser in share mode});
ask($reader, q{begin; select count(*) from t});
my $failover = $n1->try_later(q{select * from baton.failover(timeout => '10s', drain_timeout => '10s')});
ok(gate_is($n1, 'draining'), 'a failover waits for the running writers');
my $late = $n1->try_later(q{insert into t values (11, 'late')});
ok(query_waits($n1, 'insert into t values (11%'), 'a new writer waits');
my $drawer = $n1->try_later(q{select draw()});
ok(query_waits($n1, 'select draw%'), 'so does one that would draw from a sequence');
is(ask($reader, 'select count(*) from t'), '2', 'readers go on');
is(ask($writer, q{insert into t values (12, 'writer'); select 'fine'}), 'fine', 'so does a running writer');
is(ask($locker, q{insert into ser(v) values (1); select 'fine'}), 'fine', 'and who holds a lock');
is($failover->()->{ok}, 0, 'the failover is given up');
ok(gate_is($n1, 'open'), 'the gate opens');
ok($late->()->{ok}, 'the writer that waited has written');
is($drawer->()->{ok}, 1, 'the one that draws has drawn');
is(ask($writer, q{commit; select 'fine'}), 'fine', 'the running writer commits');
is(ask($locker, q{rollback; select 'fine'}), 'fine', 'and the lock holder ends as it likes');
is($n1->run('select count(*) from t where id in (10, 11, 12)'), 3, 'all rows are there');
ask($reader, 'commit');

# ---- a failover that succeeds ----
# A loop that asks the gate only once, a transaction that ends in time, sessions
# on the replica, and a background worker that is not baton's.
$n1->run('create table feed_target(id int primary key)');
$n2->run('select 1');
$n1->safe_psql('postgres', 'create database feed');
$n1->safe_psql('feed', 'create table t(id int primary key, v text); create publication p for table t');
$n1->safe_psql('feed', q{select pg_create_logical_replication_slot('feed', 'pgoutput')});
$n1->run(sprintf q{create subscription feed connection '%s' publication p with (create_slot = false, copy_data = false)},
	$n1->connstr('feed') =~ s/'/''/gr);
$n1->safe_psql('feed', q{insert into t values (50, 'fed')});
ok(eventually(sub { $n1->run('select count(*) from t where id = 50') == 1 }), 'a subscription feeds the primary');
caught_up($n1, $n2);

my $on_replica = $n2->session;
my $asked_read_only = $n2->session;
is(ask($on_replica, 'begin; show transaction_read_only'), 'on', 'a session on the replica is read-only');
ask($asked_read_only, 'set default_transaction_read_only = on; select 1');
my $loop = $n1->try_later(q{do $$ declare x bigint; begin loop x := nextval('s'); end loop; end $$});
ok(eventually(sub { $n1->run('select is_called from s') eq 't' }), 'a loop draws');
ask($writer, q{begin; insert into t values (20, 'in time')});
$failover = $n1->try_later(q{select * from baton.failover('n2', after => 'rejoin', drain_timeout => '5s')});
ok(gate_is($n1, 'draining'), 'the failover drains');
is(ask($writer, q{commit; select 'fine'}), 'fine', 'a transaction that ends in time commits');
$r = $failover->();
ok($r->{ok}, 'the failover succeeds') or diag($r->{text});
like($loop->()->{text}, qr/57P01|closed the connection/, 'the loop has been ended');
$n2->wait_state('primary');
$n1->wait_state('replica');

is(ask($on_replica, q{insert into t values (21, 'promoted'); select 'fine'}), 'fine', 'the session on the replica may write, in the same transaction');
is(ask($on_replica, q{commit; show default_transaction_read_only}), 'off', 'and after it');
like(ask($asked_read_only, q{insert into t values (22, 'not')}), qr/read-only transaction/, 'one that asked for READ ONLY keeps it');
is($n2->run('select count(*) from t where id in (20, 21)'), 2, 'nothing is lost');
$r = $n1->try(q{insert into t values (23, 'old')});
is($r->{state}, '25006', 'the old primary refuses writes');
like($r->{hint}, qr/"n2"/, 'and names the new one');

my $offset = -s $n1->logfile;
$n1->safe_psql('feed', q{insert into t values (51, 'fed')});
ok($n1->wait_for_log(qr/cannot execute COMMIT: database "app" is not the primary/, $offset), 'the subscription is refused at its commit');
is($n1->run('select count(*) from t where id = 51'), 0, 'and writes nothing');

# ---- a closed door ----
$n2->run('create role joe login');
caught_up($n2, $n1);
$r = $n2->try(q{select * from baton.failover('n1', after => 'shutdown')});
ok($r->{ok}, 'failed back, with shutdown') or diag($r->{text});
$n1->wait_state('primary');
$n2->wait_state('detached');
my ($out, $err) = ('', '');
run_log([ 'psql', '-XAtq', '-d', $n2->connstr('app') . ' user=joe', '-c', 'select 1' ], '>', \$out, '2>', \$err);
like($err, qr/out of service.*Connect to the primary "n1"/s, 'a closed database refuses a client and names the primary');
is((run_command([ 'psql', '-XAtq', '-d', BatonCluster::client_dsn($n2, $n1) . ' user=joe', '-c', 'select 1' ]))[0], '1', 'libpq goes on to the next host');
is($n2->try('select 1')->{out}, '1', 'a superuser comes in');
is($n2->try('delete from t')->{state}, '25006', 'and writes nothing');
done_testing();
