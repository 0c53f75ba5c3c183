# Replica identity: a table without a key gets FULL from baton and loses it when its key
# comes; what a user has set stays; and rows of such tables are found whatever their
# types, values and indexes are.
#
# The failures prevented: changes that cannot be found on the replica, a table that logs
# whole rows for ever because pgbench makes its key last, and an index that narrows the
# search to the wrong rows.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my $n1 = BatonCluster->node('n1');
my $n2 = BatonCluster->node('n2');
$n1->run(<<'SQL');
create table before_group(i int, v text);
create table full_by_user(i int, v text);
alter table full_by_user replica identity full;
SQL
$n1->create_group;
$n1->run('create table before_join(i int, v text)');
$n2->join_group($n1);

sub identity_of
{
	my ($node, $table) = @_;
	return $node->run("select relreplident from pg_class where oid = '$table'::regclass");
}

# Test: the replica identity of a table on both sides.
sub identity_is
{
	my ($table, $expected, $name) = @_;
	caught_up($n1, $n2);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(identity_of($n1, $table) . identity_of($n2, $table), $expected x 2, $name);
}

# ---- what baton sets, and takes back ----

my $r = $n1->try('create table late(i int not null, v text)');
like($r->{text}, qr/NOTICE:.*late has no primary key/, 'a table without a key: NOTICE');
identity_is('late', 'f', '... and FULL');
$n1->run('insert into late select g, g from generate_series(1, 10) g; update late set v = v || v; alter table late add primary key (i); update late set v = null where i < 3');
identity_is('late', 'd', 'its key comes, in the same transaction as changes: the key is the identity');
$n1->run('begin; alter table late drop constraint late_pkey; update late set v = 7 where i = 4; rollback');
identity_is('late', 'd', 'a key that was dropped and rolled back');
$n1->run('alter table late drop constraint late_pkey; delete from late where i = 5');
identity_is('late', 'f', 'a key that was dropped');
$n1->run('create unique index late_i on late(i); alter table late add constraint by_index primary key using index late_i');
identity_is('late', 'd', 'a key made of an index');

$n1->run('alter table late drop constraint by_index; alter table late replica identity full; alter table late add primary key (i)');
identity_is('late', 'f', 'FULL that a user has set over ours stays');
$n1->run('alter table full_by_user add primary key (i)');
identity_is('full_by_user', 'f', 'so does one that was there before');
$n1->run('alter table before_group add primary key (i)');
identity_is('before_group', 'd', 'what was set when the group was made is taken back');

$n1->run('create table deferred(i int, v text); alter table deferred add primary key (i) deferrable');
identity_is('deferred', 'f', 'a deferrable key is none');
$r = $n1->try('alter table before_group replica identity nothing');
like($r->{text}, qr/NOTICE:.*before_group is its primary key/, 'NOTHING is not left at that: NOTICE');
identity_is('before_group', 'd', '... and the key');
$r = $n1->try('create table nothing(i int); alter table nothing replica identity nothing');
like($r->{text}, qr/NOTICE:.*nothing has no primary key/, 'nor without a key');
identity_is('nothing', 'f', '... FULL');

$n1->run('create table using_index(i int not null, v text); create unique index on using_index(i); alter table using_index replica identity using index using_index_i_idx; insert into using_index values (1, 1), (2, 2); update using_index set v = 9 where i = 1');
identity_is('using_index', 'i', 'an index chosen by a user');
$r = $n1->try('alter table using_index alter i drop not null');
like($r->{message} // '', qr/is in index used as replica identity/, 'its columns stay NOT NULL');
$n1->run('drop index using_index_i_idx; update using_index set v = 10 where i = 1; delete from using_index where i = 2');
identity_is('using_index', 'f', 'its index is dropped: FULL');
$n1->run('alter table using_index add primary key (i)');
identity_is('using_index', 'd', '... until a key comes');

$n1->run('create table parent(i int, v text) partition by range (i); create table child partition of parent for values from (0) to (10)');
identity_is('child', 'f', 'a partition');
$n1->run('alter table parent add primary key (i); insert into parent values (1, 1); update parent set v = 2');
identity_is('child', 'd', '... gets its key through its parent');
$n1->run('create table gone(i int); drop table gone; create table gone2(i int); begin; drop table gone2; rollback');
caught_up($n1, $n2);
my $kept = $n1->run('select string_agg(c.relname, \' \' order by c.relname) from baton.full_identity i left join pg_class c on c.oid = i.relation');
is($kept, 'before_join deferred gone2 nothing', 'remembered are those that are still there');
is($n2->run('select string_agg(c.relname, \' \' order by c.relname) from baton.full_identity i left join pg_class c on c.oid = i.relation'), $kept, '... on the replica too');

# ---- finding rows ----

$n1->run(<<'SQL');
create table plain(i int, j json, p point, x xml, b bytea, n numeric, a int[], r int4range, v varchar(5));
create table btree(like plain); create index btree_n on btree(n, i);
create table expression(like plain); create index expression_e on expression((i + 1));
create table partial(like plain); create index partial_p on partial(i) where i > 3;
create table gist(like plain); create index gist_p on gist using gist(p);
create table hash(like plain); create index hash_i on hash using hash(i);
create table unique_nulls(like plain); create unique index unique_nulls_i on unique_nulls(i, n);
create table unique_deferred(like plain); alter table unique_deferred add constraint unique_deferred_c unique (i, n) deferrable initially deferred;
SQL
my @tables = qw(plain btree expression partial gist hash unique_nulls unique_deferred);
for my $t (@tables)
{
	my $dup = $t =~ /^unique_deferred/ ? 'g' : 'g % 4';
	$n1->run(<<"SQL");
insert into $t select $dup, format('{"a": %s}', g % 3)::json, point(g % 3, 0), format('<a>%s</a>', g % 3)::xml, decode('00ff', 'hex'),
	(case when g % 2 = 0 then '1.0' else '1.00' end)::numeric, array[g, null], int4range(g, g + 2), 'v' from generate_series(1, 12) g @{[ $t =~ /^unique_nulls/ ? 'where false' : '' ]};
insert into $t(i, j) select null, '{"b":  1}' from generate_series(1, 4);
insert into $t(i, n, p) values (1, null, '(0,0)'), (1, null, '(0,0)'), (1, null, '(-0,0)'), (100, 2.0, null), (200, 2.00, null);
update $t set v = 'one' where ctid = (select min(ctid) from $t where i is null);
delete from $t where ctid = (select max(ctid) from $t where i is null);
update $t set j = '{"b": 2}' where ctid = (select min(ctid) from $t where i = 1 and n is null);
delete from $t where ctid = (select max(ctid) from $t where i = 1 and n is null);
update $t set i = i + 50, a = null where i in (2, 100);
delete from $t where n::text = '1.00' and i = 3;
update $t set x = null, n = n + 1;
SQL
}
caught_up($n1, $n2);
same_data($n1, $n2, 'rows of any type, doubled ones and nulls too, under indexes of any kind');
my ($used, $expected) = ('', 'btree_n hash_i unique_deferred_c unique_nulls_i');
eventually(sub {
	$n1->run('insert into plain(i) values (0)');    # counters are told at the end of a transaction, now and then
	$used = $n2->run(q(select string_agg(indexrelname, ' ' order by indexrelname) from pg_stat_user_indexes
		where idx_scan > 0 and relname in ('btree', 'expression', 'partial', 'gist', 'hash', 'unique_nulls', 'unique_deferred')));
	$used eq $expected;
});
is($used, $expected, 'only indexes that hold every row help');

# ---- the replica remembers ----

$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run('alter table before_join add primary key (i); insert into before_join values (1, 1); update before_join set v = 2');
$n2->run('alter table gone2 add primary key (i); alter table late drop constraint late_pkey');
caught_up($n2, $n1);
is(join('', map { identity_of($_, 'before_join') } $n1, $n2), 'dd', 'after a failover what a copy has brought is taken back');
is(join('', map { identity_of($_, 'gone2') } $n1, $n2), 'dd', '... and what the stream has');
same_dump($n2, $n1, 'equal in the end');

done_testing;
