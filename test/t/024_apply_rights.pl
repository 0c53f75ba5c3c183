# Code of users on the replica: which triggers fire, how often, and as whom.
#
# The failures prevented: a trigger or an index expression that becomes superuser
# because a background worker applies the row, a trigger whose work is done twice, and
# a foreign key that refuses what the primary has let in.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create role holder;
create role other_holder;
grant all on schema public to holder, other_holder;
set role holder;
create table fired(trigger_name text, op text, level text, side text, who text, powers text);
-- writes down who it runs as, and tries to become more than that
create function note() returns trigger language plpgsql as $$
declare
	powers text := 'none';
begin
	begin
		set local role postgres;
		powers := 'can become ' || current_user;
		raise exception 'and back';
	exception when others then null;
	end;
	insert into public.fired values (tg_name, tg_op, tg_level, current_setting('session_replication_role'), current_user, powers);
	if tg_level = 'STATEMENT' then return null; end if;
	if tg_op = 'DELETE' then return old; end if;
	return new;
end $$;
-- says in a row who computed it
create function who(int) returns text language plpgsql immutable as $$ begin return current_user; end $$;
create function is_holder(int) returns bool language plpgsql immutable as $$ begin return current_user = 'holder'; end $$;

create table ordinary(id int primary key);
create trigger ordinary_row before insert or update or delete on ordinary for each row execute function note();
create table on_replica(id int primary key, v int);
create trigger replica_before before insert or update or delete on on_replica for each row execute function note();
create trigger replica_after after insert or update or delete on on_replica for each row execute function note();
create trigger replica_statement after insert on on_replica for each statement execute function note();
create trigger replica_truncate before truncate on on_replica for each statement execute function note();
alter table on_replica enable replica trigger replica_before, enable replica trigger replica_after,
	enable replica trigger replica_statement, enable replica trigger replica_truncate;
create table on_both(id int primary key);
create trigger both_after after insert on on_both for each row execute function note();
alter table on_both enable always trigger both_after;
create table on_commit(id int primary key);
create constraint trigger on_commit after insert on on_commit deferrable initially deferred for each row execute function note();
alter table on_commit enable always trigger on_commit;

create table computed(id int primary key, v int, made_by text generated always as (who(id)) stored);
create index computed_by on computed(who(id));
create index computed_part on computed(v) where is_holder(id);
create table checked(id int primary key check (is_holder(id)));

create table parent(id int primary key);
create table child(id int primary key, parent int references parent);
reset role;
create table other_on_replica(id int primary key references on_replica);
alter table other_on_replica owner to other_holder;
grant references on on_replica to other_holder;
SQL

sub fired
{
	my ($node, $like) = @_;
	return $node->run("select string_agg(distinct concat_ws(' ', trigger_name, op, side, who, powers, n), '; ') from
		(select trigger_name, op, side, who, powers, count(*) n from fired where trigger_name like '$like' group by 1, 2, 3, 4, 5) f");
}

# One transaction for several tables, as the rights change from table to table.
$n1->run(<<'SQL');
begin;
insert into ordinary values (1), (2);
set role holder;
insert into on_replica values (1, 1), (2, 2), (3, 3);
update on_replica set v = v + 1 where id < 3;
delete from on_replica where id = 1;
insert into on_both values (1), (2);
insert into on_commit values (1), (2);
insert into computed select g, g from generate_series(1, 10) g;
update computed set v = 0 where id = 5;
insert into checked select generate_series(1, 5);
commit;
SQL
caught_up($n1, $n2);
is($n1->run('select count(*) from ordinary'), 2, 'an ordinary trigger has let the rows in');
is(fired($n1, 'ordinary%'), 'ordinary_row INSERT origin postgres can become postgres 2', 'it fires on the primary');
is(fired($n2, 'ordinary%'), 'ordinary_row INSERT origin postgres can become postgres 2', 'and on the replica only its row arrives');
is(fired($n1, 'replica%'), '', 'a REPLICA trigger does not fire on the primary');
is(fired($n2, 'replica%'), join('; ', map { my $t = $_; map { "replica_$t $$_[0] replica holder none $$_[1]" } [ 'DELETE', 1 ], [ 'INSERT', 3 ], [ 'UPDATE', 2 ] } 'after', 'before'),
	'on the replica it fires once per row, as the owner; one for statements does not');
is(fired($n2, 'both%'), 'both_after INSERT origin holder can become postgres 2; both_after INSERT replica holder none 2',
	'an ALWAYS trigger fires once on either side, there as the owner');
is(fired($n2, 'on_commit'), 'on_commit INSERT origin holder can become postgres 2; on_commit INSERT replica holder none 2',
	'a deferred constraint trigger fires as the owner too');

is($n2->run('select string_agg(distinct made_by, \',\') from computed'), 'holder', 'generated columns are computed as the owner');
is($n2->run("set enable_seqscan = off; select count(*) from computed where who(id) = 'holder'"), $n1->run("set enable_seqscan = off; select count(*) from computed where who(id) = 'holder'"),
	'index expressions too');
is($n2->run("set enable_seqscan = off; select count(*) from computed where v > 0 and is_holder(id)"), 9, 'and predicates of indexes');
is($n2->run('select count(*) from checked'), 5, 'and check constraints');

# TRUNCATE fires triggers, as each table's owner, in a transaction that also changes rows.
$n1->run('begin; insert into on_replica values (9, 9); truncate on_replica cascade; insert into on_replica values (10, 10); commit');
caught_up($n1, $n2);
is(fired($n2, 'replica_truncate'), 'replica_truncate TRUNCATE replica holder none 1', 'a TRUNCATE trigger runs as the owner');
is($n2->run('select string_agg(id::text, \',\') from on_replica'), '10', 'and the table is truncated');

# Rows whose parent is missing.
$n1->run('set session_replication_role = replica; insert into child values (1, 4711)');
caught_up($n1, $n2);
is($n2->run('select parent from child'), 4711, 'foreign keys are not checked');
is($n2->run('select coalesce(apply_error, reason) from baton.status'), '', 'what triggers have written there counts as applied');

# The replica becomes primary: now it is its triggers that fire, and only once more.
my $failover = $n1->try("select * from baton.failover('n2', after => 'rejoin')");
ok($failover->{ok}, 'it takes over') or diag($failover->{text});
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run('insert into ordinary values (3)');
$n2->run('set role holder; insert into on_both values (3)');
caught_up($n2, $n1);
is(fired($n1, 'both%'), 'both_after INSERT origin holder can become postgres 3; both_after INSERT replica holder none 1', 'the roles of the two are exchanged');
is($n1->run('select count(*) from ordinary'), 3, 'rows arrive');

$_->stop for $n1, $n2;
done_testing();
