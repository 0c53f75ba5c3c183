# Levels change while clients write, while a replica is away, and before and after a
# failover; a node joins when tables have them.
#
# The failures prevented: a row that is committed beside the change of its table's level
# and is lost or doubled; a replica that cannot follow a change made in its absence; a
# failover that shows rows from before; an initial copy that fails at a foreign key.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "logical_decoding_work_mem = 64kB\nbaton.election_timeout = 5s";
my ($n1, $n2) = BatonCluster->group(2, conf => $conf, before => q{
	create table moved(id serial primary key, v text, n int default 0); create table other(id serial primary key, v text);
	create index on moved(n); insert into moved(v) select repeat('x', 300) || g from generate_series(1, 2000) g});

sub exists_on { my ($node, $name) = @_; return $node->run("select to_regclass('$name') is not null"); }
sub count_of { my ($node, $table) = @_; return $node->run("select count(*) from $table"); }

# ---- under load ----

my $script = File::Temp->new(DIR => $PostgreSQL::Test::Utils::tmp_check, SUFFIX => '.sql');
print $script <<'SQL';
\set k random(1, 2000)
begin;
insert into moved(v) values ('load');
insert into other(v) values ('load');
update moved set n = n + 1 where id = :k;
commit;
delete from moved where v = 'load' and id % 7 = 0 and id = (select max(id) from moved);
SQL
close $script;
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', '3', '-T', '600', '-f', "$script", $n1->connstr($BatonCluster::DB) ],
	'<', \undef, '>', \$out, '2>', \$err);
for my $level (qw(schema all none all schema none schema all))
{
	my $before = count_of($n1, 'other');
	my $r = $n1->try("select baton.set_replication('moved', '$level')");
	ok($r->{ok}, "to $level under load") or diag($r->{text});
	ok(eventually(sub { count_of($n1, 'other') > $before + 20 }), 'clients go on');
}
$load->signal('INT');
$load->finish;
unlike($err, qr/ERROR|FATAL/, 'no client has failed');
caught_up($n1, $n2);
same_dump($n1, $n2, 'all rows are there, once');

# While a large table is being added, other tables' commits go on to the replica, in a
# stream that has half of it.
$n1->run(q{select baton.set_replication('moved', 'schema'); insert into moved(v) select repeat('y', 500) from generate_series(1, 20000)});
my $session = $n1->session;
$session->query_safe(q{begin; select baton.set_replication('moved', 'all')});
$n1->run(q{insert into other(v) values ('beside')});
caught_up($n1, $n2);
is($n2->run(q{select count(*) from other where v = 'beside'}), 1, 'the stream is not stopped');
is(count_of($n2, 'moved'), 0, 'by rows that are not committed');
is($n1->try(q{set lock_timeout = '50ms'; insert into moved(v) values ('no')})->{state}, '55P03', 'writers of the table wait');
cmp_ok(count_of($n1, 'moved'), '>', 20000, 'readers do not');
$session->query_safe('commit');
caught_up($n1, $n2);
same_dump($n1, $n2, 'the large table is there');

# ---- a replica that is away ----

$n2->stop;
$n1->run(q{select baton.set_replication('moved', 'none'); update moved set n = -1 where id < 10;
	select baton.set_replication('moved', 'all'); insert into moved(v) values ('away');
	select baton.set_replication('other', 'schema'); insert into other(v) values ('away'); select baton.set_replication('other', 'all')});
$n2->start;
$n2->wait_state('replica');
caught_up($n1, $n2);
same_dump($n1, $n2, 'it follows when it is back');

# A change that crashes half way leaves nothing.
$session->query_safe(q{begin; select baton.set_replication('moved', 'schema'); insert into moved(v) values ('lost')});
$n1->run('insert into other(v) values (1)');
$n1->crash;
$session->{run}->kill_kill;
$n1->start;
$n1->wait_state('primary');
caught_up($n1, $n2);
same_dump($n1, $n2, 'a crash in the middle');

# ---- failover ----

$n1->run(q{select baton.set_replication('other', 'schema'); set baton.default_replication = 'none';
	create table cache(id serial primary key, v text); insert into cache(v) values ('of n1');
	create table scratch(id int primary key); insert into scratch values (1);
	create view over_cache as select * from cache});
my $own = count_of($n1, 'other');
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
is(count_of($n2, 'other'), 0, 'no stale row on the new primary');
is(exists_on($n2, $_), 'f', "$_ is not there") for qw(cache scratch over_cache);
is($n1->try('insert into scratch values (2)')->{state}, '25006', 'what is a node\'s own is not written while it is a replica');
is($n1->try(q{select baton.set_replication('moved', 'none')})->{state}, '25006', 'nor are levels changed there');

$n2->run(q{insert into other(v) values ('of n2'); insert into moved(v) values ('of n2'); drop table if exists scratch;
	alter table if exists scratch add column x int; create table cache(id serial primary key, w text);
	insert into cache(w) values ('of n2'); create view over_cache as select w from cache});
caught_up($n2, $n1);
is(count_of($n1, 'scratch'), 1, 'DROP TABLE IF EXISTS of what the primary has not leaves a node\'s own alone');
is($n1->run('select w from over_cache'), 'of n2', 'the group\'s table has its name');
my $kept = $n1->run(q{select schema_name from baton.tables where table_name = 'cache' and level = 'none'});
is($n1->run("select v from $kept.cache"), 'of n1', 'and the own one is kept');
is(count_of($n1, 'other'), $own, 'the rows of a table at level schema are each node\'s own');
$n2->run(q{select baton.set_replication('other', 'all')});
caught_up($n2, $n1);
is($n1->run('select v from other'), 'of n2', 'until they are replicated');
same_dump($n2, $n1, 'the rest is the same', "--exclude-table=$kept.*", '--exclude-table=scratch', "--exclude-schema=baton_kept_*");

# ---- diverged commits ----

# What a lost primary alone has committed is rolled back; its own rows are not.  The
# elected one has changed the level meanwhile of a table whose rows are to be mended.
$n1->stop;
$n2->run(q{set baton.default_replication = 'none'; create table mine(id int primary key); insert into mine values (1)});
$n2->run(q{insert into moved(v) values ('diverged'); update other set v = 'diverged'; insert into mine values (2)});
$n2->crash;
$n1->start;
$n1->run('select baton.promote(force => true)') if eventually(sub { $n1->state eq 'unknown' });
$n1->wait_state('primary');
$n1->run(q{select baton.set_replication('moved', 'schema'); update moved set n = n + 1; insert into other(v) values ('elected')});
$n2->start;
$n2->wait_state('replica');
caught_up($n1, $n2);
is($n2->run(q{select count(distinct xid) from baton.rolled_back}), 2, 'diverged transactions are rolled back');
is(count_of($n2, 'moved'), 0, 'no row is brought back that is not replicated any more');
is($n2->run('select string_agg(v, $$ $$ order by v) from other'), 'elected of n2', 'others are the primary\'s');
is(count_of($n2, 'mine'), 2, 'what is a node\'s own is not rolled back');
$n1->run(q{select baton.set_replication('moved', 'all')});
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
caught_up($n2, $n1);
same_dump($n2, $n1, 'the same again', '--exclude-table=mine', "--exclude-table=$kept.*", '--exclude-table=scratch', "--exclude-schema=baton_kept_*");

# ---- a node joins ----

$n2->run(q{drop table mine; set baton.default_replication = 'none'; create table own(id serial primary key, v text); insert into own(v) values ('x');
	create statistics own_st on id, v from own; create table "we ird""s"(id int primary key); create view over_own as select * from own;
	create function of_own() returns trigger language plpgsql as 'begin return new; end'; create trigger t before insert on own for each row execute function of_own();
	set baton.default_replication = 'schema'; create table empty(id serial primary key, v text); insert into empty(v) values ('x');
	create table "we ird"(id int primary key); insert into "we ird" values (1);
	reset baton.default_replication; create table pointing(id int primary key, o int references own, e int references empty);
	comment on constraint pointing_o_fkey on pointing is 'c'; create publication pub for table own, pointing; insert into pointing values (1, 1, 1)});
my $n3 = BatonCluster->node('n3', conf => $conf);
$n3->join_group($n2);
caught_up($n2, $n3, $n1);
is($n3->run(q{select string_agg(table_name || ' ' || level, ', ' order by table_name) from baton.tables}),
	'cache all, empty schema, moved all, other all, over_cache all, pointing all, we ird schema', 'what a joining node gets');
is(count_of($n3, $_), 0, "$_ is empty") for ('empty', '"we ird"');
is(exists_on($n3, 'own_id_seq'), 'f', 'no sequence of what is left out');
same_dump($n3, $n1, 'it has what the other replica has', "--exclude-table=$kept.*", '--exclude-table=scratch', "--exclude-schema=baton_kept_*");
$n2->run(q{drop table pointing, own cascade; insert into moved(v) values ('for n3'); select baton.set_replication('empty', 'all')});
caught_up($n2, $n3, $n1);
same_dump($n2, $n3, 'and follows', '--exclude-table="we ird"*');

done_testing;
