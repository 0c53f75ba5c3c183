# A process, or the server, is killed while the applier puts fetched rows in, half of
# them in their tables: it is done again, as a whole.
#
# The failure prevented: a node that counts as mended with rows missing, or has them
# twice.
use strict;
use warnings;
use BatonCluster;
use Test::More;

# The trigger holds whoever inserts row 50 of t up while somebody has the lock.
my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => "baton.reconnect_max_delay = 300ms\nbaton.election_timeout = 5s", before => <<'SQL');
create table a(id int primary key, v text);
create table t(id int primary key, v text);
create function hold() returns trigger language plpgsql as
$$begin perform pg_advisory_xact_lock_shared(42); return new; end$$;
create trigger hold before insert on t for each row when (new.id = 50) execute function hold();
alter table t enable always trigger hold;
insert into a select g, 'start' from generate_series(1, 100) g;
insert into t select g, 'start' from generate_series(1, 100) g;
SQL
caught_up($n1, $n2);
my $filling = q(select count(*) from pg_locks where locktype = 'advisory' and not granted);

for my $victim ('applier', 'server')
{
	$_->{proxy}->cut for $n1, $n2;
	$n1->run(q(update a set v = 'lost' where id between 1 and 20; update t set v = 'lost' where id between 40 and 60));
	$n1->run(q(insert into a values (200, 'lost'); delete from t where id = 41));
	$n2->run('select baton.promote(force => true)');
	$n2->run(q(update t set v = 'new ' || v where id in (50, 51); update a set v = 'new' where id = 1));
	my $holder = $n1->session;
	$holder->query_safe('select pg_advisory_lock(42)');
	$_->{proxy}->heal for $n1, $n2;
	ok(eventually(sub { my $r = $n1->try($filling, seconds => 10); $r->{ok} && $r->{out} == 1 }), "$victim: the fill is under way");
	is($n1->run('select count(*) > 0 from baton.mending_row'), 't', "$victim: and not done");
	if ($victim eq 'applier')
	{
		$n1->kill_backend(sub { $n1->worker_pid('applier') });
	}
	else
	{
		$n1->crash;
		$n1->start;
	}
	eval { $holder->quit };
	$n1->wait_state('replica');
	ok(eventually(sub { my $r = $n1->try('select count(*) from baton.mending_row', seconds => 10); $r->{ok} && $r->{out} == 0 }), "$victim: then it is done");
	caught_up($n2, $n1);
	same_data($n2, $n1, "$victim: with every row, once");
	is($n1->run(q(select count(*) from baton.events where event = 'new copy')), 0, "$victim: without a copy");
	$n2->run(q(insert into a values (200, 'goes on')));
	caught_up($n2, $n1);
	same_data($n2, $n1, "$victim: the stream goes on");
	$n2->run('delete from a where id = 200');
	$n2->run(q(select baton.failover('n1', after => 'rejoin')));
	$n1->wait_state('primary');
}
is($n1->run(q(select count(distinct commit_lsn) from baton.rolled_back)), 2 * 4, 'every transaction is saved');
only_primary($n1, $n2);
done_testing;
