# Under an ack policy frames are shipped beside the primary's own flush: what others
# have, and the primary's disk has lost, is applied nowhere, acknowledged to nobody, and
# in nobody's way.
#
# The failures prevented: a commit that is answered before it is on the primary's disk
# too; a row on the replica that the primary has lost, and leads without; own commits that
# come back by way of another primary and are taken for diverged, or raised twice.
#
# The primary's flushes are held up by a shim in front of fdatasync(); what a power cut
# takes from its log is cut off by the test.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($shim, $hold) = ("$dir/slow_flush", "$dir/hold");
append_to_file("$shim.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int fdatasync(int fd)
{
	int (*flush)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
	char link[64], path[4096];
	ssize_t n;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	while (strstr(path, "/stream/") != NULL && access(getenv("HOLD_FLUSHES"), F_OK) == 0)
		usleep(1000);
	return flush(fd);
}
C
system_or_bail('gcc', '-shared', '-fPIC', '-o', "$shim.so", "$shim.c", '-ldl');

my ($n1, $n2) = BatonCluster->group(2,
	conf => "baton.heartbeat_interval = 100ms\n",
	before => 'create table t(id int primary key, v text)');

sub start_slow
{
	local $ENV{LD_PRELOAD} = "$shim.so";
	local $ENV{HOLD_FLUSHES} = $hold;
	$n1->start;
	return;
}
sub hold { append_to_file($hold, ''); return; }
sub let_go { unlink $hold; return; }
sub log_end { return $_[0]->run('select log_end from baton.status'); }
sub has { return $_[0]->run("select count(*) from t where id = $_[1]"); }
sub rolled_back { return $_[0]->run('select count(*) from baton.rolled_back'); }
sub number { my ($high, $low) = map { hex } split m{/}, $_[0]; return $high << 32 | $low; }
sub ahead { return number(log_end($n2)) > number(log_end($n1)); }

# A primary takes writes a moment after its election.
sub insert_into
{
	my ($node, $id, $level) = @_;
	my $r;
	ok(eventually(sub {
		$r = $node->try("set synchronous_commit = $level; insert into t values ($id, 'x')", seconds => 30);
		$r->{ok} || ($r->{state} // '') ne '25006';
	}) && $r->{ok}, "commit $id") or diag($r->{text});
	return;
}

# A commit whose frame the replica has flushed, and the primary has not.
sub commit_ahead
{
	my ($id) = @_;
	hold();
	my $later = $n1->try_later("insert into t values ($id, 'x')");
	ok(eventually(\&ahead), "commit $id: the replica has it on disk, the primary has not");
	return $later;
}

# The primary's machine loses power: what is not flushed is gone.
sub power_cut
{
	my $end = number(log_end($n1));
	$n1->crash;
	let_go();
	my ($file) = reverse sort glob($n1->data_dir . '/baton/*/stream/*.seg');
	my ($start) = $file =~ m{([0-9A-F]+)\.seg$};
	truncate($file, $end - hex $start) or die "$file: $!";
	return;
}

$n1->stop;
start_slow();
$n1->wait_state('primary');
ok($n1->try("select baton.set_ack_policy('majority')")->{ok}, 'policy majority');
insert_into($n1, 1, 'on');
caught_up($n1, $n2);

# ---- held up ----
my $later = commit_ahead(10);
ok(eventually(sub { $n1->run("select flushed_position > '" . log_end($n1) . "' from baton.stat_replication where node_name = 'n2'") eq 't' }),
	'and has said so');
is($n1->run("select count(*) from pg_stat_activity where wait_event = 'SyncRep'"), 1, 'the commit waits all the same');
is(has($n1, 10), 0, 'nobody sees it');
is(has($n2, 10), 0, 'nor is it applied');
let_go();
ok($later->()->{ok}, 'with the flush it is answered');
ok(eventually(sub { has($n2, 10) == 1 }), 'and applied');

# ---- lost, and the primary leads again ----
$later = commit_ahead(20);
$n2->freeze;
power_cut();
ok(!$later->()->{ok}, 'its client hears nothing');
start_slow();
$n1->wait_state('primary');
insert_into($n1, 21, 'local');
$n2->thaw;
caught_up($n1, $n2);
like(slurp_file($n2->logfile), qr/stream log of database "app" cut from/, 'the replica cuts it off');
is(has($n2, 20), 1, 'it comes again, from the WAL');
same_data($n1, $n2, 'both have the same');
is(rolled_back($_), 0, 'nothing was rolled back on ' . $_->name) for $n1, $n2;

# ---- lost, and the replica leads ----
$later = commit_ahead(30);
power_cut();
ok(!$later->()->{ok}, 'its client hears nothing');
$n2->run('select baton.promote(force => true)');
$n2->wait_state('primary');
ok(eventually(sub { has($n2, 30) == 1 }), 'the new primary applies it');
insert_into($n2, 31, 'local');
start_slow();
$n1->wait_state('replica');
caught_up($n2, $n1);
same_data($n2, $n1, 'the old primary gets its own commit back');
is(rolled_back($_), 0, 'nothing was rolled back on ' . $_->name) for $n1, $n2;
ok(eventually(sub { $n2->try("select * from baton.failover('n1', after => 'rejoin')")->{ok} }), 'it leads again');
$n1->wait_state('primary');
$n2->wait_state('replica');
insert_into($n1, 32, 'on');
caught_up($n1, $n2);
same_data($n1, $n2, 'none is raised twice');

done_testing();
