# A node that is being mended, and whose primary is lost for good in the middle of
# that: a person can make it primary by force, and is told what became of the rows.
# And rows of baton.rolled_back can be forgotten on a node that is no primary.
#
# The failure prevented: a group with a single node left, which nobody can make
# writable; one that is made so with rows missing in silence; and a node that later
# follows it by a stream that does not say what the rows are.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Readers hold up what is to happen, for as long as the test wants.
my $conf = "baton.reconnect_max_delay = 300ms\nbaton.election_timeout = 3s\nbaton.apply_lock_timeout = -1";
my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => $conf, before => <<'SQL');
create table t(id int primary key, v text, u int unique);
create table big(id int primary key, body text, n int);
alter table big alter body set storage external;
create table trunc(id int primary key, v text);
insert into t select g, 'start', g from generate_series(1, 100) g;
insert into big select g, repeat('x', 20000), 0 from generate_series(1, 5) g;
insert into trunc select g, 'start' from generate_series(1, 5) g;
SQL
caught_up($n1, $n2);

sub cut { $_->{proxy}->cut for $n1, $n2; return; }
sub heal { $_->{proxy}->heal for $n1, $n2; return; }
sub reason { return $n1->run(q(select coalesce(reason, '') from baton.status)); }
sub row { return $n1->run("select v || ' ' || u from t where id = $_[0]"); }

my $copies = 'select count(*) from baton.events where event = $$new copy$$';

sub together
{
	my ($name, $want_copies) = @_;
	heal();
	$n2->start unless $n2->{_pid};
	ok(eventually(sub { my $c = $n2->try($copies); $c->{ok} && $c->{out} eq $want_copies && $n2->state eq 'replica' }, 120),
		"$name: the other one follows, after $want_copies copies in all") or diag($n2->run('select * from baton.status'));
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: the other one has the same");
	$n1->run(q(insert into t select max(id) + 1, 'goes on', max(u) + 1 from t));
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: the stream goes on");
	only_primary($n1, $n2);
	return;
}

# ---- saved, and the new primary is gone before its rows could be fetched ----
cut();
$n1->run($_) for
  q(update t set v = 'old' where id in (1, 5)), q(insert into t values (200, 'old', 200)),
  q(delete from t where id in (11, 12, 13)), q(update t set u = 777 where id = 30),
  q(delete from big where id in (2, 3)), q(update big set n = 7 where id = 1);
$n2->run('select baton.promote(force => true)');
$n2->run(<<'SQL');
update t set v = 'new' where id in (5, 11);
delete from t where id = 12;
insert into t values (200, 'new', 900), (501, 'new', 777);
update big set n = 8 where id in (1, 2);
truncate trunc;
insert into trunc values (1, 'new');
SQL
my $reader = $n1->session;
$reader->query_safe('begin; select count(*) from trunc');
$n1->{proxy}->heal;    # n2 ships to n1, which cannot ask n2
my $log_end = 'select log_end from baton.status';
ok(eventually(sub { reason() =~ /waiting for the primary/ || reason() =~ /could not be mended/ }), 'n1 waits for rows of the new primary')
  or diag(reason());
ok(eventually(sub { $n1->run($log_end) eq $n2->run($log_end) }), 'it has its stream');
$n2->crash;
$n1->wait_state('unknown');

my $r = $n1->try('select baton.promote()');
ok(!$r->{ok}, 'it cannot be promoted without force');
like($r->{detail}, qr/6 transactions .* baton\.rolled_back.* still to be fetched/, 'and says why');
like($r->{hint}, qr/force => true/, 'and what a person can do');
is($n1->run('select baton.forget_rolled_back(0)'), 0, 'baton.rolled_back can be written by its function only');
$r = $n1->try('delete from baton.rolled_back');
is($r->{state}, '25006', 'not by a DELETE');

my $later = $n1->try_later('select baton.promote(force => true)');
ok(eventually(sub { reason() =~ /applying what is left/ }), 'by force it leads, and waits for its applier') or diag(reason());
is($n1->gate, 'closed', 'with the gate closed');
$n1->crash;
eval { $reader->quit };
$later->();
$n1->start;
$n1->wait_state('primary');
ok(eventually(sub { $n1->gate eq 'open' }), 'over a crash');
is(reason(), '', 'without a reason');

is(row(1), 'old 1', 'a row that only the rolled back commits had changed is as they left it');
is(row(5), 'new 5', 'one that the stream has changed is as the stream has it');
is(row(11), 'new 11', 'also if it had been deleted');
is($n1->run('select count(*) from t where id in (12, 13)'), 0, 'deleted is deleted');
is(row(200), 'new 900', 'of two rows with one key the stream wins');
is(row(501), 'new 777', 'and of two with one unique value');
is($n1->run('select count(*) from t where id = 30'), 0, 'so that the other one has gone');
is($n1->run(q(select n || ' ' || length(body) from big where id = 1)), '8 20000', 'a long value that did not change is kept');
is($n1->run('select string_agg(v, $$,$$) from trunc'), 'new', 'a truncated table too is as the stream has it');
is($n1->run(q(select "table" || ' ' || (old_row->>'id') || ' ' || (old_row->>'u') from baton.rolled_back where operation = 'TAKEN OUT')),
	'public.t 30 777', 'what had to give way is in baton.rolled_back');
is($n1->run(q(select "table" || ' ' || (new_row->>'id') || ' ' || (new_row->>'n') from baton.rolled_back where operation = 'NOT WHOLE')),
	'public.big 2 8', 'and what the stream does not give whole');
is($n1->run(q(select count(distinct commit_lsn) from baton.rolled_back where kept)), 6, 'with the transactions that stay in effect');
ok(eventually(sub { $n1->run(q(select detail from baton.events where event = 'kept')) =~ /^6 transactions .* 2 rows/ }), 'an event tells of it');
is($n1->run('select count(*) from baton.mending_row'), 0, 'nothing is left to mend');
together('kept', 1);

# ---- the rows are out, and the fetched ones are there ----
cut();
$reader = $n1->session;
$reader->query_safe('begin; select count(*) from trunc');
$n1->run($_) for q(update t set v = 'old again' where id = 1), q(delete from t where id = 2), q(insert into t values (300, 'old', 300));
$n2->run('select baton.promote(force => true)');
$n2->run(q(truncate trunc; update t set v = 'newer' where id in (2, 3)));
heal();
ok(eventually(sub { reason() =~ /applying the stream up to the fetched rows/ }), 'n1 has the rows, and cannot apply what comes before them')
  or diag(reason());
$n2->crash;
$n1->wait_state('unknown');
$r = $n1->try('select baton.promote()');
like($r->{detail}, qr/3 transactions .* not in the tables yet/, 'not without force');
$later = $n1->try_later('select baton.promote(force => true)');
ok(eventually(sub { $n1->state eq 'primary' }), 'by force');
is($n1->gate, 'closed', 'it waits for them');
$reader->query_safe('commit');
$reader->quit;
$r = $later->();
ok($r->{ok}, 'and then it is done') or diag($r->{text});
like($r->{text}, qr/NOTICE:.*are rolled back, with the other versions/, 'a notice says that nothing is missing');
is(row(1), 'old 1', 'a row of the lost primary');
is(row(2), 'newer 2', 'another');
is($n1->run('select count(*) from t where id = 300'), 0, 'and none that it did not have');
together('fetched', 1);

# ---- nothing is saved yet: own commits that are in the WAL alone ----
$n1->run('alter system set baton.rollback_limit = 0; select pg_reload_conf()');
kill 'STOP', $n1->worker_pid('capture');
$n1->run(q(update t set v = 'in the WAL alone' where id = 40));
$n1->crash;
$n2->run('select baton.promote(force => true)');
$n2->run(q(insert into t values (400, 'in the stream alone', 400)));
$n1->start;
$n1->wait_state('detached');
like(reason(), qr/1 of its transactions/, 'n1 stops in front of it');
$n2->crash;
# n2 counts as alive for a lease, and n1 stops again
ok(eventually(sub { $n1->run('select baton.start()'); my $p = $n1->try('select baton.promote()'); $p->{text} =~ /commits of its own/ && $p->{hint} =~ /force => true/ }),
	'it cannot be promoted without force');
$r = $n1->try('select baton.promote(force => true)');
ok($r->{ok}, 'by force it can') or diag($r->{text});
is(row(40), 'in the WAL alone 40', 'with its own commit');
$n1->run('alter system reset baton.rollback_limit; select pg_reload_conf()');
# what n1 had received of the stream by then is a question of time
together('not saved', $n1->run('select 1 + count(*) from t where id = 400'));

# ---- what has been dealt with is forgotten, on any node ----
my $saved = 'select count(*) from baton.rolled_back';
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n1->wait_state('replica');
my ($total, $first) = split /\|/, $n1->run('select count(*), min(id) from baton.rolled_back');
ok($total > 10, 'there is something to be forgotten');
is($n1->run("select baton.forget_rolled_back($first)"), 1, 'a replica forgets a row');
is($n1->run("begin; select baton.forget_rolled_back(); rollback; $saved"), ($total - 1) . "\n" . ($total - 1), 'in its transaction');
$r = $n1->try(q(select baton.forget_rolled_back(0); update t set v = 'x' where id = 1));
is($r->{state}, '25006', 'and nothing else is writable for it');
is($n1->run('select baton.forget_rolled_back()'), $total - 1, 'all of them');
is($n1->run($saved), 0, 'are gone');
$n2->run(q(insert into t values (700, 'after', 700)));
caught_up($n2, $n1);
same_data($n2, $n1, 'and the node goes on as a replica');
is($n1->run(q(select count(*) from baton.events where event = 'diverged' and at > now() - interval '5 seconds')), 0, 'it has made nothing of its own by that');
done_testing;
