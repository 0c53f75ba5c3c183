# Indexes that the primary builds, or drops, CONCURRENTLY: a replica does it beside apply.
#
# The failures prevented: apply stands still for as long as an index takes to be built, or
# its table is read; an index is forgotten, or lacks rows; a new primary takes what a
# unique index of its predecessor would have refused.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => 'baton.min_concurrent_build_size = 0', before => q{
	create extension amcheck;
	create table t(id int primary key, v int, u int, e text);
	insert into t select g, g % 100, g, 'e' || g from generate_series(1, 5000) g;
	create table other(id int primary key);
	create function shout(text) returns text language plpgsql immutable as $$ begin
		if current_setting('app.broken', true) = 'yes' then raise 'cannot shout'; end if; return upper($1); end $$});

sub pending { return $_[0]->run(q{select string_agg(index || ' ' || command, ', ' order by index::text) from baton.pending_indexes}); }
sub builder { return $_[0]->worker_pid('index builder'); }
sub done { my ($node) = @_; return eventually(sub { pending($node) eq '' && builder($node) eq '' }); }

# Is it valid, and has it all rows?
sub whole
{
	my ($node, $index) = @_;
	return $node->run("select count(*) from pg_index where indexrelid = '$index'::regclass and indisvalid and indisready") eq '1' &&
	  $node->try("select bt_index_check('$index', true)")->{ok};
}

# A reader whose snapshot no index that is built meanwhile serves: the builder waits for it.
sub old_reader
{
	my ($node) = @_;
	my $reader = $node->session;
	$reader->query_safe('begin isolation level repeatable read; select count(*) from other');
	return $reader;
}

# ---- apply goes on ----

my $reader = old_reader($n2);
$n1->run('create index concurrently t_v on t(v)');
caught_up($n1, $n2);
is(pending($n2), 't_v CREATE INDEX CONCURRENTLY', 'the replica builds the index beside apply');
ok(eventually(sub { $n2->run(q{select phase from pg_stat_progress_create_index}) eq 'waiting for old snapshots' }), '... and shows how far it is');
$n1->run('insert into t select g, g % 100, g, \'late\' from generate_series(5001, 5100) g; update t set v = v + 1 where id < 100; delete from t where id between 200 and 250');
$n1->run('create table after_it(id int primary key); insert into after_it values (1)');
caught_up($n1, $n2);
same_data($n1, $n2, 'apply has gone on');
is(pending($n2), 't_v CREATE INDEX CONCURRENTLY', '... meanwhile');

# ---- a command wants the table ----

$n1->run('alter table t add column w int default 7; insert into other values (2)');
caught_up($n1, $n2);
same_data($n1, $n2, 'a command on the table does not wait for the builder');
ok(eventually(sub { builder($n2) ne '' && $n2->run('select phase from pg_stat_progress_create_index') eq 'waiting for old snapshots' }), '... which begins anew');
is(pending($n2), 't_v CREATE INDEX CONCURRENTLY', '... with the same index');

# ---- crashes ----

$n2->kill_backend(builder($n2));
eventually(sub { $n2->state eq 'replica' }) or die "n2 does not come back\n";
$reader->quit;
$n1->run('update t set v = v + 1 where id > 4000');
caught_up($n1, $n2);
ok(done($n2), 'the builder is killed with its server: it builds the index all the same');
ok(whole($n2, 't_v'), '... with all rows');
is($n2->run(q{set enable_seqscan = off; select count(*) from t where v = 7}), $n1->run('select count(*) from t where v = 7'), '... and queries use it');

$reader = old_reader($n2);
$n1->run('create index concurrently t_e on t(e)');
caught_up($n1, $n2);
eventually(sub { builder($n2) ne '' }) or die "no builder\n";
$n2->crash;
eval { $reader->quit };
$n2->start;
$n2->wait_state('replica');
$n1->run(q{insert into t values (6001, 1, 6001, 'after the crash')});
caught_up($n1, $n2);
ok(done($n2), 'the server is killed: the index is built after its start');
ok(whole($n2, 't_e'), '... with all rows');

# a small one is there with its place in the stream
$n2->append_conf('postgresql.conf', 'baton.min_concurrent_build_size = 100MB');
$n2->reload;
$n1->run('create index concurrently t_small on t(v, id)');
caught_up($n1, $n2);
ok(whole($n2, 't_small'), 'the index of a small table is built by apply');
$n2->append_conf('postgresql.conf', 'baton.min_concurrent_build_size = 0');
$n2->reload;

# ---- what needs the index ----

$reader = old_reader($n2);
$n1->run('create table k(a int not null, b int); insert into k select g, g from generate_series(1, 100) g');
$n1->run('create unique index concurrently k_a on k(a)');
caught_up($n1, $n2);
is(pending($n2), 'k_a CREATE INDEX CONCURRENTLY', 'a unique index is built beside apply too');
$n1->run('alter table k add primary key using index k_a; insert into k values (101, 1)');
caught_up($n1, $n2);
is(pending($n2), '', 'a command that needs it finds it built');
ok(whole($n2, 'k_a'), '... with all rows');
same_data($n1, $n2, '... and apply goes on');

# ---- partitions ----

$n1->run('create table p(id int, v int) partition by range (id); create table p1 partition of p for values from (0) to (100);
	create table p2 partition of p for values from (100) to (200); insert into p select g, g from generate_series(0, 199) g; create index p_v on only p(v)');
$n1->run('create index concurrently p1_v on p1(v)');
$n1->run('create index concurrently p2_v on p2(v)');
$n1->run('alter index p_v attach partition p1_v; alter index p_v attach partition p2_v');
caught_up($n1, $n2);
$reader->quit;
ok(done($n2), 'partitions: the indexes are built');
is($n2->run(q{select string_agg(indisvalid::text, ' ') from pg_index where indexrelid in ('p_v'::regclass, 'p1_v'::regclass, 'p2_v'::regclass)}), 'true true true', '... and the partitioned one is valid');
same_dump($n1, $n2, '... as on the primary', '--schema-only');

# ---- a build that fails ----

$n2->append_conf('postgresql.conf', "app.broken = 'yes'");
$n2->reload;
$n1->run('create index concurrently t_shout on t(shout(e))');
caught_up($n1, $n2);
ok(eventually(sub { $n2->run(q{select count(*) from baton.events where event = 'index' and detail like '%cannot shout%'}) > 0 }), 'a build that fails is told');
$n1->run(q{delete from t where id = 1});
caught_up($n1, $n2);
same_data($n1, $n2, '... and holds up nothing');
$n2->append_conf('postgresql.conf', "app.broken = 'no'");
$n2->reload;
ok(done($n2), '... and comes to its end when it can');
ok(whole($n2, 't_shout'), '... with all rows');

# ---- DROP INDEX CONCURRENTLY ----

my $holder = $n2->session;
$holder->query_safe('begin; select count(*) from t');
$n1->run('drop index concurrently t_e');
$n1->run('create index t_e on t(v, e); insert into t values (7001)');
caught_up($n1, $n2);
same_data($n1, $n2, 'DROP INDEX CONCURRENTLY does not wait for readers');
like(pending($n2), qr/^t_e_dropped DROP INDEX CONCURRENTLY$/, '... the index is dropped beside apply');
$holder->query_safe('commit');
ok(done($n2), '... when nobody reads it');
is($n2->run(q{select count(*) from pg_class where relname like '%dropped%'}), '0', '... and is gone');
same_dump($n1, $n2, 'both sides are equal', '--schema-only');

# ---- the baton is passed on meanwhile ----

$reader = old_reader($n2);
$n1->run('create unique index concurrently t_u on t(u)');
caught_up($n1, $n2);
ok(eventually(sub { $n1->run('select error from baton.stat_replication') =~ /unique indexes are still to be built/ }), 'the primary knows that its replica lacks a unique index');
my $r = $n1->try(q{select * from baton.failover('n2', after => 'rejoin')});
like($r->{text}, qr/unique indexes are still to be built, see baton.pending_indexes/, '... and does not hand over to it');
$n1->run('insert into t(id, u) values (8000, 8000)');
$reader->quit;
ok(done($n2), '... until it is built');
ok(eventually(sub { $n1->run('select error from baton.stat_replication') eq '' }), '... and known to be');

$reader = old_reader($n2);
$n1->run('create index concurrently t_v2 on t(v)');
caught_up($n1, $n2);
$r = $n1->try(q{select * from baton.failover('n2', after => 'rejoin')});
ok($r->{ok}, 'failover') or diag($r->{text});
$n2->wait_state('primary');
is(pending($n2), 't_v2 CREATE INDEX CONCURRENTLY', 'another index may follow later');
$r = $n2->try('insert into t(id, u) values (8001, 5)');
is($r->{state}, '23505', 'the new primary refuses what its predecessor would');

# a node that joins is to have the index, which pg_dump leaves out
my $n3 = BatonCluster->node('n3', conf => 'baton.min_concurrent_build_size = 0');
$n3->join_group($n2);
ok(whole($n3, 't_v2'), 'a node that joins has the index that its primary has not yet');
$n2->run('insert into t(id, v) values (9001, 77)');
$reader->quit;
ok(done($n2), 'the new primary builds the rest');
ok(whole($n2, 't_v2'), '... with all rows');
$n1->wait_state('replica');
caught_up($n2, $n1, $n3);
same_data($n2, $_, $_->name . ' has the same rows') for $n1, $n3;
same_dump($n2, $_, $_->name . ' has the same definitions', '--schema-only') for $n1, $n3;

# ---- a primary that is lost ----

$reader = old_reader($n1);
$n2->run('create unique index concurrently t_u2 on t(u, id)');
caught_up($n2, $n1, $n3);
is(pending($n1), 't_u2 CREATE INDEX CONCURRENTLY', 'n1 has a unique index to build');
$n2->run(q{select baton.set_priority('n1', 200)});
caught_up($n2, $n1, $n3);
$n2->crash;
$n1->wait_state('primary');
is(pending($n1), '', 'elected, it has built it before it takes writes');
ok(whole($n1, 't_u2'), '... with all rows');
$reader->quit;

# ---- a node that leaves ----

$reader = old_reader($n3);
$n1->run('create index concurrently t_left on t(w)');
caught_up($n1, $n3);
$r = $n3->try('select baton.leave_group(force => true)');
like($r->{text}, qr/WARNING: .*index "t_left" is not built yet\n.*REINDEX/s, 'a node that leaves names what it has not built');
$reader->quit;

done_testing;
