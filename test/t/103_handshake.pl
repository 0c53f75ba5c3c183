# What two nodes find out about each other before one believes the other: a data
# directory from an old backup, a clock that is off, texts that sort differently.
#
# The failures prevented: a node that has forgotten what it acknowledged, and counts
# all the same; clocks that nobody looks at until times in the data make no sense.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, before => 'create table t(id int primary key)', conf => <<'CONF');
baton.failover_on_shutdown = off
baton.reconnect_max_delay = 1s
CONF

sub link_error { return $n1->run("select coalesce(error, '') from baton.stat_replication where node_name = 'n2'") }
sub streams { return eventually(sub { $n1->run("select state = 'streaming' and lag_bytes = 0 from baton.stat_replication where node_name = 'n2'") eq 't' }) }
ok(streams(), 'streaming');

# ---- texts that sort differently: said once, and not refused ----
$n2->safe_psql('postgres', "set allow_system_table_mods = on; update pg_database set datcollversion = '1.2.3' where datname = 'app'");
$n2->restart;
ok(streams(), 'another collation version is not refused');
ok(eventually(sub { $n2->run("select count(*) from baton.events where event = 'collation' and detail like '%1.2.3%'") == 1 }), 'but said once');
like(slurp_file($n2->logfile), qr/WARNING:.*sorts text in another way/, 'and in the log');

# ---- a clock that is off ----
my $shim = PostgreSQL::Test::Utils::tempdir() . '/clock';
append_to_file("$shim.c", <<'C');
#define _GNU_SOURCE
#include <sys/time.h>
#include <time.h>
int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	tv->tv_sec = t.tv_sec + 3600;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}
C
system_or_bail('gcc', '-shared', '-fPIC', '-o', "$shim.so", "$shim.c");
$n2->stop;
{
	local $ENV{LD_PRELOAD} = "$shim.so";
	$n2->start;
}
ok(eventually(sub { link_error() =~ /^clock: .* differ by 3[56]\d{5} ms/ }), 'a clock that is an hour ahead is refused') or diag(link_error());
$n2->restart;
ok(streams(), 'with the right time it is back');

# ---- a data directory from an old backup ----
$n1->run('insert into t select generate_series(1, 100)');
caught_up($n1, $n2);
$n2->stop;
my $backup = PostgreSQL::Test::Utils::tempdir() . '/backup';
PostgreSQL::Test::RecursiveCopy::copypath($n2->data_dir, $backup);
$n2->start;
$n1->run('insert into t select generate_series(101, 200)');
caught_up($n1, $n2);
my $end = $n1->run("select flushed_position from baton.stat_replication where node_name = 'n2'");
# the mark is written each second: a restart shows what is on disk
ok(eventually(sub { $n1->run("select acknowledged >= '$end' from baton.nodes where node_name = 'n2'") eq 't' }), 'the primary knows its place');
$n1->stop;
$n2->stop;
rename($n2->data_dir, $n2->data_dir . '.new') or die $!;
PostgreSQL::Test::RecursiveCopy::copypath($backup, $n2->data_dir);
chmod(0700, $n2->data_dir);
$n1->start;
$n1->wait_state('primary');
$n2->start;
$n2->wait_state('detached');
like($n2->run('select reason from baton.status'), qr/restored from an old backup/, 'restored: the node says so');
ok(eventually(sub { link_error() =~ /restored|out of replication|old backup/ }), 'restored: so does the primary') or diag(link_error());
only_primary($n1, $n2);

done_testing();
