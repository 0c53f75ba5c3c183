# kill -9 of each kind of worker, on both sides, and of whole servers, under load.
#
# The failure prevented: a transaction that is applied twice or not at all because
# a process died between two of its steps.
use strict;
use warnings;
use BatonCluster;
use Test::More;
use Time::HiRes ();

my ($n1, $n2) = BatonCluster->group(2, before => <<'SQL');
create table writer_probe(id bigint primary key);
create table bulk(round text, n int, v text);          -- no key: a row applied twice shows
create table counter(id int primary key, n bigint not null);
insert into counter select g, 0 from generate_series(1, 50) g;
SQL

# Load of several kinds: single rows, transactions of many frames, savepoints, and
# updates that collide.
sub load
{
	my ($round) = @_;
	return (
		$n1->try_later("insert into bulk select '$round', g, repeat(md5(g::text), 10) from generate_series(1, 8000) g"),
		$n1->try_later("do \$\$ begin for i in 1..400 loop
			update counter set n = n + 1 where id = 1 + i % 50;
			begin insert into bulk values ('$round sub', i, 'kept');
				if i % 3 = 0 then raise exception 'back'; end if;
			exception when others then null; end;
			commit; end loop; end \$\$"));
}

sub settled
{
	my ($name) = @_;
	$n1->wait_state('primary');
	$n2->wait_state('replica');
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: equal");
	return;
}

my $writer = start_writer($n1, $n2);
my @kinds = ([ $n1, 'coordinator' ], [ $n1, 'capture' ], [ $n1, 'shipper' ], [ $n1, 'walsender' ],
	[ $n2, 'coordinator' ], [ $n2, 'capture' ], [ $n2, 'applier' ], [ $n2, 'receiver' ]);

sub victim
{
	my ($node, $kind) = @_;
	return $node->run("select pid from pg_stat_replication where application_name like 'baton%' limit 1") if $kind eq 'walsender';
	return $node->run("select pid from pg_stat_activity where application_name like 'baton peer%' and backend_type = 'client backend' and pid <> pg_backend_pid() order by backend_start limit 1")
	  if $kind eq 'receiver';
	return $node->worker_pid($kind);
}

for my $k (@kinds)
{
	my ($node, $kind) = @$k;
	my $name = "kill -9 of $kind on " . $node->name;
	my @load = load($name);
	$node->kill_backend(sub { victim($node, $kind) });
	eval { $_->() } for @load;
	ok(eventually(sub { $node->try('select 1', seconds => 5)->{ok} }), "$name: the server is back");
	settled($name);
}

# A worker that is asked to end, without a crash of the server, is started again.
for my $k (grep { $_->[1] =~ /coordinator|capture|shipper|applier/ } @kinds)
{
	my ($node, $kind) = @$k;
	my $name = "end of $kind on " . $node->name;
	my $pid = $node->worker_pid($kind);
	my @load = load($name);
	is($node->run("select pg_terminate_backend($pid)"), 't', "$name: asked");
	ok(eventually(sub { my $now = $node->worker_pid($kind); $now && $now ne $pid }), "$name: another takes its place");
	eval { $_->() } for @load;
	settled($name);
}

# Coordinators outlive the launcher that has started them; the next launcher must
# not start a second one, which would vote and lead beside the first.
{
	my $launcher = "select pid from pg_stat_activity where backend_type = 'baton launcher' and wait_event_type = 'Extension'";
	my $coordinators = "select string_agg(pid::text, ' ') from pg_stat_activity where backend_type = 'baton coordinator'";
	my ($old, $coordinator) = ($n1->run($launcher), $n1->run($coordinators));
	$n1->run("select pg_terminate_backend($old)");
	ok(eventually(sub { my $new = $n1->run($launcher); $new ne '' && $new ne $old }), 'a new launcher has looked around');
	settled('end of the launcher');
	is($n1->run($coordinators), $coordinator, 'the coordinator is the one of before');
	$n1->run("select pg_terminate_backend($coordinator)");
	ok(eventually(sub { $n1->run($coordinators) =~ /^(\d+)$/ && $1 != $coordinator }), 'the new launcher starts the next coordinator');
	settled('a coordinator of another launcher ends');
}

for my $node ($n2, $n1)
{
	for my $how ('crash', 'immediate', 'fast')
	{
		my $name = "$how of server " . $node->name;
		my @load = load($name);
		if ($how eq 'crash') { $node->crash; }
		else { $node->stop($how); }
		eval { $_->() } for @load;
		$node->start;
		settled($name);
	}
}

my $result = $writer->stop;
cmp_ok($result->{acknowledged}, '>', 200, 'the writer has written');
is($writer->missing_on($result, $n1), 0, 'no acknowledged row is missing on the primary');
caught_up($n1, $n2);
is($writer->missing_on($result, $n2), 0, 'nor on the replica');
is($n2->run("select count(*) from (select round, n from bulk group by 1, 2 having count(*) > 1) d"), 0, 'and none was applied twice');
same_data($n1, $n2, 'both nodes are equal');

# A new primary that is lost at once: all of its log is in its tables, as its control file
# says, although it had applied the last of it without waiting for the disk.
{
	my $name = 'crash of a new primary';
	$n2->freeze_walwriter;
	$n1->run("insert into bulk select '$name', g, 'applied' from generate_series(1, 10) g");
	caught_up($n1, $n2);
	$n1->run(q(select baton.failover('n2', after => 'rejoin')));
	$n2->wait_state('primary');
	my $control = $n2->control_file;
	my $leads = q(select coalesce(extract(epoch from max(at)), 'infinity') from baton.events where event = 'primary' and term = (select term from baton.status));
	ok(eventually(sub { (Time::HiRes::stat($control))[9] > $n2->run($leads) }), "$name: its control file is of its reign");
	$n2->crash;
	$n2->start;
	my $primary = who_leads($n1, $n2);
	my $replica = $primary == $n1 ? $n2 : $n1;
	$replica->wait_state('replica');
	caught_up($primary, $replica);
	same_data($n1, $n2, "$name: equal");
}
done_testing();
