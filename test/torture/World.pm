# World: three servers, the network between them, and what is being done to them.
#
# Nothing here waits: what takes time (a server that starts, a failover) is a task,
# looked at in each tick(); a fault has an end, at which it is undone.  A node is up,
# frozen, or in somebody's hands (down, stopping, starting), and only those that
# are up are chosen for the next harm.
package World;

use strict;
use warnings;
use BatonCluster;
use File::Temp ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(CLOCK_MONOTONIC clock_gettime time usleep);

# Longer than this, and what should end by itself is a finding.
our %LIMIT = (start => 60, stop => 90, failover => 60, sql => 20);

sub new
{
	my ($class, %opt) = @_;
	my $self = bless {
		nodes => $opt{nodes}, journal => $opt{journal}, began => time, began_monotonic => clock_gettime(CLOCK_MONOTONIC),
		faults => [], tasks => [], counts => {}, findings => [], killed => {}, client_logs => $opt{client_logs} }, $class;
	$_->{condition} = 'up' for @{ $self->{nodes} };
	return $self;
}

sub elapsed { return time - $_[0]->{began}; }

# Wall clock time beside ours, to find the place in the servers' logs.
sub note
{
	my ($self, $what) = @_;
	my $now = time;
	my $clock = POSIX::strftime('%H:%M:%S', gmtime $now) . sprintf '.%03d', ($now - int $now) * 1000;
	print { $self->{journal} } sprintf "%s %8.2f  %s\n", $clock, $self->elapsed, $what;
	return;
}

sub count { my ($self, $what) = @_; $self->{counts}{$what}++; return; }

sub finding
{
	my ($self, $what) = @_;
	push @{ $self->{findings} }, $what;
	$self->note("FINDING: $what");
	return;
}

sub up { return grep { $_->{condition} eq 'up' } @{ $_[0]->{nodes} }; }

# ---- time ----

# fault: {what, seconds, undo}.  Its undo is called once.
sub begin_fault
{
	my ($self, $kind, $fault) = @_;
	$self->count($kind);
	$self->note(sprintf '%s: %s%s', $kind, $fault->{what}, $fault->{undo} ? sprintf(' for %.1f s', $fault->{seconds}) : '');
	push @{ $self->{faults} }, { %$fault, kind => $kind, end => time + $fault->{seconds} } if $fault->{undo};
	return;
}

sub end_faults
{
	my ($self, $all) = @_;
	my $now = $all ? 9e9 : time;
	my @due = grep { $_->{end} <= $now } @{ $self->{faults} };
	@{ $self->{faults} } = grep { $_->{end} > $now } @{ $self->{faults} };
	for my $fault (@due)
	{
		$self->note("end of $fault->{kind}: $fault->{what}");
		$fault->{undo}->();
	}
	return;
}

# A task is called until it returns true.
sub task
{
	my ($self, $what, $limit, $step) = @_;
	push @{ $self->{tasks} }, { what => $what, step => $step, late => time + $limit };
	return;
}

sub tick
{
	my ($self) = @_;
	$self->end_faults;
	my @tasks = splice @{ $self->{tasks} };
	for my $task (@tasks)
	{
		next if $task->{step}->();
		push @{ $self->{tasks} }, $task;
		next if $task->{late} > time;
		$self->finding("$task->{what} takes too long");
		$task->{late} = time + 1e6;
	}
	return;
}

sub quiet { my ($self) = @_; return !@{ $self->{faults} } && !@{ $self->{tasks} }; }

# Runs a program; then calls $done with its exit status and what it printed.
sub command
{
	my ($self, $what, $limit, $argv, $done) = @_;
	my $out = File::Temp->new(DIR => $PostgreSQL::Test::Utils::tmp_check);
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$out";
		open STDERR, '>&', \*STDOUT;
		{ no warnings; exec @$argv; }
		POSIX::_exit(127);
	}
	$self->task($what, $limit, sub {
		return 0 unless waitpid($pid, POSIX::WNOHANG()) == $pid;
		my $status = $?;
		$done->($status, slurp_file("$out"));
		return 1;
	});
	return;
}

sub sql
{
	my ($self, $node, $sql, $limit, $done) = @_;
	$self->command($node->name . ": $sql", $limit,
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($BatonCluster::DB) . ' connect_timeout=5', '-c', $sql ], $done);
	return;
}

# ---- servers ----

# {pid, title} of the processes of a server, without the postmaster.
sub processes
{
	my ($self, $node) = @_;
	my ($pm) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	return map { /^\s*(\d+) postgres: (?:n\d+: )?(.*)/ ? { pid => $1, title => $2 } : () } `ps -ww -o pid=,args= --ppid $pm`;
}

sub start_node
{
	my ($self, $node, @old) = @_;
	my $started = 0;
	$node->{condition} = 'starting';
	# a new postmaster wants the memory of the old one's children
	$self->task($node->name . ' starts', $LIMIT{start}, sub {
		return 0 if grep { kill 0, $_ } @old;
		return 1 if $started++;
		$self->command($node->name . ': pg_ctl start', $LIMIT{start},
			[ 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '--cluster-name=' . $node->name, 'start' ],
			sub {
				my ($status, $out) = @_;
				if ($status != 0)
				{
					$self->finding($node->name . ' does not start: ' . substr($out, -300));
					return;
				}
				$node->_update_pid(1);
				$node->{condition} = 'up';
				$self->note($node->name . ' is up');
			});
		return 1;
	});
	return;
}

sub stop_node
{
	my ($self, $node, $mode, $then) = @_;
	$node->{condition} = 'stopping';
	$self->command($node->name . ": pg_ctl stop -m $mode", $LIMIT{stop},
		[ 'pg_ctl', '-w', '-t', 600, '-D', $node->data_dir, '-m', $mode, 'stop' ],
		sub {
			my ($status, $out) = @_;
			if ($status != 0) { $self->finding($node->name . " does not stop: $out"); return; }
			$node->{_pid} = undef;
			$node->{condition} = 'down';
			$then->();
		});
	return;
}

# kill -9 of a server, of all its processes or of the postmaster alone.  Returns
# the processes that must be gone before it can start again.
sub kill_node
{
	my ($self, $node, $all) = @_;
	my ($pm) = $node->_processes;
	kill 'STOP', $pm;    # so that no child comes after they are listed
	my (undef, @children) = $node->_processes;
	$node->{condition} = 'down';
	$node->{_pid} = undef;
	$self->{killed}{$_} = 1 for $pm, @children;
	kill 'KILL', $pm, $all ? @children : ();
	return ($pm, @children);
}

# ---- network ----

# ways: [from, to]...  mode as BatonProxy's.
sub network
{
	my ($self, $mode, @ways) = @_;
	link_mode(@$_, $mode) for @ways;
	return;
}

# Connections that lost bytes break.
sub heal
{
	my ($self, $mode, @ways) = @_;
	for (@ways)
	{
		link_mode(@$_, 'pass');
		$_->[0]->reset_link($_->[1]) if $mode eq 'drop';
	}
	return;
}

# ---- looking ----

# The node whose commit was acknowledged last, as the clients' accounts say.
sub last_acknowledged
{
	my ($self) = @_;
	my ($name, $at) = ('', 0);
	for my $file (@{ $self->{client_logs} })
	{
		open my $fh, '<', $file or next;
		seek $fh, -4096, 2;
		while (<$fh>)
		{
			my @f = split ' ';
			($name, $at) = ($f[5], $f[4]) if @f >= 7 && $f[0] eq 'ack' && $f[4] =~ /^\d+$/ && $f[4] > $at;
		}
	}
	return ($name, $at);
}

sub primary
{
	my ($self) = @_;
	my ($name) = $self->last_acknowledged;
	my ($node) = grep { $_->name eq $name } @{ $self->{nodes} };
	return $node;
}

# Everything is healed and started; true once one node is primary, takes commits,
# and the others are replicas without error.  Otherwise a finding.
sub converge
{
	my ($self, $seconds) = @_;
	my ($wrong, $end) = ('', time + $seconds);
	$self->note('all is healed');
	$self->end_faults(1);
	heal_links(@{ $self->{nodes} });
	my (undef, $before) = $self->last_acknowledged;
	while (time < $end)
	{
		$self->tick;
		usleep(100_000);
		next unless $self->quiet && $self->up == @{ $self->{nodes} };
		$wrong = $self->_what_is_wrong($before);
		if ($wrong eq '')
		{
			$self->note('the group has found together');
			return 1;
		}
	}
	$self->finding(sprintf '%d s after all was healed: %s', $seconds, $wrong || 'tasks have not ended');
	$self->note($_->name . ":\n" . $_->try('select * from baton.status; select * from baton.nodes', seconds => 10)->{out}) for $self->up;
	return 0;
}

# What a failover has put out of service is started on the way.
sub _what_is_wrong
{
	my ($self, $before) = @_;
	my %states;
	for my $node (@{ $self->{nodes} })
	{
		my $r = $node->try("select state, coalesce(apply_error, log_error, reason, '') from baton.status", seconds => 10);
		return $node->name . ": $r->{text}" unless $r->{ok};
		my ($state, $error) = split /\|/, $r->{out}, 2;
		if ($state eq 'detached' && delete $node->{shut_down}) { $node->try('select baton.start()', seconds => 10); }
		return $node->name . " is $state: $error" unless $state =~ /^(primary|replica)$/;
		push @{ $states{$state} }, $node->name;
	}
	return 'primaries: ' . join(' ', @{ $states{primary} // [] }) unless @{ $states{primary} // [] } == 1;
	my ($name, $after) = $self->last_acknowledged;
	return "no commit is acknowledged on $states{primary}[0]" unless $after > $before && $name eq $states{primary}[0];
	return '';
}

1;
