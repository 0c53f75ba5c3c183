# torture: three servers, clients that keep their own account, and a random
# schedule of what goes wrong with servers, processes and lines between them.
# Prints a summary, and PASS or FAIL.
#
#     torture.pl SECONDS SEED POLICY DIRECTORY CLIENT_PROGRAM
#
# DIRECTORY takes the clients' accounts and the journal, which has each fault.
# run.sh prepares what this needs.
use strict;
use warnings;

# PostgreSQL::Test::Utils sends standard output to a log
BEGIN { open our $screen, '>&', \*STDOUT or die; select((select($screen), $| = 1)[0]); }

use Account;
use BatonCluster;
use Faults;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);
use World;

our $screen;
my ($seconds, $seed, $policy, $directory, $client_program) = @ARGV;
my %CLIENTS = (transfer => 3, append => 3, read => 2, sum => 1);
my $PAUSE_US = 15_000;
my $PATIENCE = 120;    # seconds for a group that is left in peace

sub say_line { print {$screen} @_, "\n"; return; }

# ---- the run ----

sub make_group
{
	return BatonCluster->group(3, proxied => 1, conf => "autovacuum_naptime = 10s\nlog_connections = off", before => <<"SQL");
create table account(id int primary key, balance bigint not null);
insert into account select g, $Account::BALANCE from generate_series(1, $Account::ACCOUNTS) g;
create table transfer(id bigint primary key, source int not null, target int not null, amount bigint not null);
create table list(key bigint primary key, ids bigint[] not null);
create table reader(client int primary key, reads bigint not null);
insert into reader select g, 0 from generate_series(1, 100) g;
SQL
}

# Returns {pids, logs}.
sub start_clients
{
	my (@nodes) = @_;
	my ($n, @pids, @logs) = (0);
	for my $kind (sort keys %CLIENTS)
	{
		for (1 .. $CLIENTS{$kind})
		{
			$n++;
			my $log = "$directory/$kind$n.txt";
			my $pid = fork() // die "fork: $!";
			if ($pid == 0)
			{
				exec $client_program, $kind, $n, $seed + $n, $PAUSE_US,
				  join(',', map { $_->host } @nodes), join(',', map { $_->port } @nodes), $log;
			}
			push @pids, $pid;
			push @logs, $log;
		}
	}
	return { pids => \@pids, logs => \@logs };
}

sub stop_clients
{
	my ($clients) = @_;
	kill 'TERM', @{ $clients->{pids} };
	for my $pid (splice @{ $clients->{pids} })
	{
		waitpid $pid, 0;
		die "a client has failed\n" if $?;
	}
	return;
}

sub show_progress
{
	my ($world) = @_;
	my ($name) = $world->last_acknowledged;
	my $faults = 0;
	$faults += $_ for map { $world->{counts}{$_} } grep { !/^failover / } keys %{ $world->{counts} };
	say_line(sprintf '%5d s  primary %s  %d faults  under way: %s', $world->elapsed, $name, $faults,
		join('; ', map { "$_->{kind}: $_->{what}" } @{ $world->{faults} }) || 'none');
	return;
}

# Steps through the schedule.  False when the group does not find together, at the end
# or in a pause.
sub torture
{
	my ($world, @schedule) = @_;
	my ($next, $shown, $steps) = (time + 1, time, 0);
	while ($world->elapsed < $seconds)
	{
		$world->tick;
		if (time - $shown >= 15) { show_progress($world); $shown = time; }
		usleep(30_000);
		next if time < $next;
		my $draw = shift @schedule;
		if (++$steps % $Faults::CALM_EVERY == 0) { $world->converge($PATIENCE) or return 0; }
		else { Faults::step($world, $draw); }
		$next = time + Faults::pause($draw);
	}
	return $world->converge($PATIENCE);
}

# ---- the end ----

# [columns]... of a query
sub rows
{
	my ($node, $sql) = @_;
	return map { [ split /\|/ ] } split /\n/, $node->run($sql);
}

sub check_account
{
	my ($account, $node) = @_;
	my %accounts = map { $_->[0] => $_->[1] } rows($node, 'select id, balance from account');
	my @transfers = rows($node, 'select * from transfer');
	my %lists = map { $_->[0] => [ split /,/, $_->[1] ] } rows($node, q(select key, array_to_string(ids, ',') from list));
	my (%moved, %appended);
	$moved{ $_->[0] }++ for @transfers;
	$appended{$_}++ for map { @$_ } values %lists;

	my @wrong = (
		$account->check_balances(\%accounts, \@transfers), $account->check_sums,
		$account->check_order(\%lists), $account->check_notices);
	my @of_acks = ($account->check_ids('transfer', \%moved), $account->check_ids('append', \%appended), $account->check_reads(\%lists), $account->check_reigns);
	return (@wrong, @of_acks) if $policy =~ /^(majority|all)$/;
	say_line("with policy $policy this may be: $_") for @of_acks;
	return @wrong;
}

# What a node says it has rolled back is gone; what it has rolled back, of what
# somebody was told is committed, it says (unless a policy has kept it at all).
sub check_rolled_back
{
	my ($world, $account, $primary) = @_;
	my %there = map { $_->[0] => 1 } rows($primary, 'select id from transfer');
	my %told = map { $_ => 1 } $account->lost('transfer', \%there);
	my (%listed, @wrong);
	for my $node (@{ $world->{nodes} })
	{
		$listed{ $_->[0] } = $node->name for rows($node, q(select new_row->>'id' from baton.rolled_back
			where "table" ~ 'transfer' and operation ilike 'insert'));
	}
	my @back = grep { $there{$_} } sort keys %listed;
	my @silent = grep { !$listed{$_} } sort keys %told;
	say_line(sprintf '%-18s %d transfers, of which %d had been acknowledged', 'rolled back', scalar keys %listed, scalar grep { $listed{$_} } keys %told);
	push @wrong, 'rolled back, and there all the same: ' . join ' ', map { "$_ ($listed{$_})" } @back if @back;
	push @wrong, 'acknowledged, gone, and in no baton.rolled_back: ' . join ' ', @silent if @silent;
	return @wrong;
}

# Row by row where the checksums differ.
sub check_equal
{
	my ($world, $primary, @replicas) = @_;
	my @wrong;
	my $want = $primary->contents;
	for my $replica (@replicas)
	{
		my $have = $replica->contents;
		my %tables = (%$want, %$have);
		for my $table (sort grep { ($want->{$_} // '') ne ($have->{$_} // '') } keys %tables)
		{
			my %rows;
			$rows{ $_->[0] }++ for rows($primary, "select t::text from $table t");
			$rows{ $_->[0] }-- for rows($replica, "select t::text from $table t");
			my @only = sort grep { $rows{$_} } keys %rows;
			my $which = join ' ', map { ($rows{$_} > 0 ? $primary->name : $replica->name) . ": $_" } @only > 5 ? @only[ 0 .. 4 ] : @only;
			push @wrong, sprintf '%s of %s is not as on %s, in %d rows: %s', $table, $replica->name, $primary->name, scalar @only, $which;
			$world->note("$table differs in " . $replica->name . ': ' . join ' ', @only);
		}
	}
	return @wrong;
}

# PANIC, failed assertions, and crashes that we have not caused.
sub check_server_logs
{
	my ($world) = @_;
	my @wrong;
	for my $node (@{ $world->{nodes} })
	{
		open my $fh, '<', $node->logfile or die $node->logfile . ": $!\n";
		while (<$fh>)
		{
			my $died = /process(?: \(PID|.*\(PID) (\d+)\) was terminated by signal (\d+)/ ? "$1 $2" : '';
			my ($pid, $signal) = split / /, $died;
			push @wrong, 'log of ' . $node->name . ": $_"
			  if /PANIC|TRAP:|corrupt/ || ($pid && !$world->{killed}{$pid} && $signal != 15);
		}
	}
	chomp @wrong;
	return @wrong;
}

sub summary
{
	my ($world, $account) = @_;
	say_line('');
	for my $kind (sort keys %CLIENTS)
	{
		say_line(sprintf '%-18s %7d acknowledged %6d unknown %6d failed', $kind, map { $account->number($kind, $_) } qw(ack unknown fail));
	}
	say_line(sprintf '%-18s %s', 'faults', join ', ', map { "$_ $world->{counts}{$_}" } sort keys %{ $world->{counts} });
	my @reigns = $account->reigns;
	my %by_node;
	$by_node{ $_->{node} }++ for @reigns;
	say_line(sprintf '%-18s %d (%s)', 'reigns', scalar @reigns, join ', ', map { "$_: $by_node{$_}" } sort keys %by_node);
	my @gaps = $account->gaps;
	splice @gaps, 5 if @gaps > 5;
	say_line(sprintf '%-18s %s', 'without commits', join(', ', map { sprintf '%.1f s (from %.1f)', $_->[0], $_->[1] - $world->{began_monotonic} } @gaps) || 'never for 0.2 s');
	return;
}

# Returns what is wrong.
sub judge
{
	my ($world, $clients, $together) = @_;
	stop_clients($clients);
	my $account = Account->read_logs(@{ $clients->{logs} });
	summary($world, $account);
	my @wrong = (@{ $world->{findings} }, check_server_logs($world));
	return @wrong unless $together;
	my $primary = $world->primary;
	my @replicas = grep { $_ != $primary } @{ $world->{nodes} };
	caught_up($primary, @replicas);
	return (@wrong, check_account($account, $primary), check_rolled_back($world, $account, $primary), check_equal($world, $primary, @replicas));
}

my @schedule = Faults::schedule($seed, $seconds);
my @nodes = make_group();
$nodes[0]->run("select baton.set_ack_policy('$policy')") unless $policy eq 'none';
open my $journal, '>', "$directory/journal.txt" or die "journal: $!\n";
$journal->autoflush(1);
my $clients = start_clients(@nodes);
my @writers = grep { /(?:transfer|append)\d+\.txt$/ } @{ $clients->{logs} };
my $world = World->new(nodes => \@nodes, journal => $journal, client_logs => \@writers);
my @wrong;

eval { @wrong = judge($world, $clients, torture($world, @schedule)); 1 }
  or push @wrong, "the torture itself failed: $@";
kill 'KILL', @{ $clients->{pids} };
say_line("WRONG: $_") for @wrong;
say_line(sprintf '%s, seed %d', @wrong ? 'FAIL' : 'PASS', $seed);
exit(@wrong ? 1 : 0);
