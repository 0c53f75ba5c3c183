# See rejoin.sh.
use strict;
use warnings;
use BatonCluster;
use Test::More;
use Time::HiRes qw(time);

my ($mb, $txns) = @ENV{qw(SIZE_MB TXNS)};
my $rows = $mb * 1024;
$BatonCluster::PATIENCE = 600;
my ($n1, $n2) = BatonCluster->group(2, proxied => 1, conf => 'shared_buffers = 256MB', before => <<"SQL");
create table account(id int primary key, filler text, n int default 0);
alter table account alter filler set storage plain;
insert into account select g, repeat('x', 960) from generate_series(1, $rows) g;
SQL
caught_up($n1, $n2);
$_->{proxy}->cut for $n1, $n2;
my $script = PostgreSQL::Test::Utils::tempdir() . '/script';
PostgreSQL::Test::Utils::append_to_file($script,
	"\\set id random(1, $rows)\nupdate account set n = n + 1 where id = :id;\n");
PostgreSQL::Test::Utils::system_or_bail('pgbench', '-n', '-c', 1, '-t', $txns, '-f', $script, $n1->connstr($BatonCluster::DB));
$n1->crash;
$n2->run('select baton.promote(force => true)');
$n2->run('update account set n = -1 where id <= 1000');
$_->{proxy}->heal for $n1, $n2;
my $from = time;
$n1->start;
$n1->wait_state('replica');
eventually(sub { $n1->run(q(select count(*) from baton.events where event = 'rolled back')) > 0 }, 600);
caught_up($n2, $n1);
diag sprintf "rejoined in %.2f s (%d MB, %d diverged transactions)", time - $from, $mb, $txns;
is($n1->run('select count(distinct commit_lsn) from baton.rolled_back'), $txns, 'every transaction is in baton.rolled_back');
is($n1->run(q(select count(*) from baton.events where event = 'new copy')), 0, 'no full copy');
same_data($n2, $n1, 'the same rows on both');
done_testing;
