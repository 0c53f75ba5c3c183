# kill -9 on the replica, again and again, at any moment of a stream of transactions
# that never pauses.  (020 kills each kind of process once, on both sides.)
#
# The failure prevented: a transaction that is applied twice, or not at all, because
# the applier, the receiver or the server died between two of its steps.
use strict;
use warnings;
use BatonCluster;
use Test::More;
use Time::HiRes qw(usleep);

my $ROUNDS = $ENV{BATON_KILLS} // 20;

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create table singles(n bigint, v text);         -- no key: a row applied twice shows
create table batches(n bigint, v text);
create table total(id int primary key, n bigint not null, sum bigint not null);
insert into total values (1, 0, 0), (2, 0, 0);
create table stop();
SQL

# Small transactions, and some that are streamed; the totals are kept with them.
# They end when the table "stop" is gone.
my $small = $n1->try_later(<<'SQL');
do $$ declare i bigint := 0; begin
	while to_regclass('stop') is not null loop
		i := i + 1;
		insert into singles values (i, 'v');
		update total set n = n + 1, sum = sum + i where id = 1;
		commit;
		perform pg_sleep(0.001);    -- or all that the test does is catch up
	end loop;
end $$
SQL
my $large = $n1->try_later(<<'SQL');
do $$ declare i bigint := 0; begin
	while to_regclass('stop') is not null loop
		i := i + 1;
		insert into batches select i, repeat(md5(g::text), 20) from generate_series(1, 2000) g;
		begin
			insert into batches select -i, repeat(md5(g::text), 20) from generate_series(1, 8000) g;
			raise exception 'back';
		exception when raise_exception then null;
		end;
		update total set n = n + 2000, sum = sum + 2000 * i where id = 2;
		commit;
		perform pg_sleep(0.2);
	end loop;
end $$
SQL

sub applied { my $r = $n2->try('select n from total where id = 1', seconds => 10); return $r->{ok} && $r->{out} ne '' ? $r->{out} : -1; }

# Reads the totals and what they count in one snapshot: true if they fit.
my $consistent = <<'SQL';
select count(*) from total t join (select 1 as id, count(*) n, coalesce(sum(n), 0) s from singles
	union all select 2, count(*), coalesce(sum(n), 0) from batches) c using (id) where c.n = t.n and c.s = t.sum
SQL

my %victim = (
	applier => sub { $n2->worker_pid('applier') },
	receiver => sub { $n2->run("select pid from pg_stat_activity where application_name like 'baton peer%' and query like '%append%' limit 1") });
my @kinds = ('applier', 'receiver', 'server');
my $wrong = 0;

srand($ENV{BATON_SEED} // 1);
for my $round (1 .. $ROUNDS)
{
	my $kind = $kinds[ $round % @kinds ];
	my $before = applied();

	eventually(sub { applied() > $before }) or die "round $round: nothing is applied\n";
	usleep(rand(200_000));    # not to wait for something, but to hit any moment
	if ($kind eq 'server')
	{
		$n2->crash;
		$n2->start;
	}
	else
	{
		$n2->kill_backend($victim{$kind});
		eventually(sub { applied() >= 0 }) or die "round $round: the server does not come back\n";
	}
	$wrong++ if $n2->run($consistent) != 2;
}
is($wrong, 0, "after each of $ROUNDS kills the replica shows whole transactions, each once");

$n1->run('drop table stop');
ok($_->()->{ok}, 'the primary was not troubled') for $small, $large;
$n2->wait_state('replica');
caught_up($n1, $n2);
is($n1->run($consistent), 2, 'the primary has what it has counted');
is($n2->run($consistent), 2, 'so has the replica');
is($n2->run('select string_agg(total::text, \' \' order by id) from total'), $n1->run('select string_agg(total::text, \' \' order by id) from total'), 'counts and sums are equal');
$n1->run('create table stop()');
same_data($n1, $n2, 'and so are the rows');
$_->stop for $n2, $n1;
done_testing();
