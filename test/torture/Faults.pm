# Faults: what can happen, and how often.
#
# A step of the schedule is a list of numbers drawn before the run begins, so that
# a seed gives the same schedule whatever the servers do; which node is the primary
# when a step comes is theirs.
package Faults;

use strict;
use warnings;

our $DRAWS = 8;
our $CALM_EVERY = 14;    # steps

# name => [weight, function].  A function gets the world and the draws, and returns
# a fault (see World::begin_fault), or nothing if it finds nobody to harm.
my %KINDS = (
	'kill server' => [ 8, \&_kill_server ],
	'kill postmaster' => [ 4, \&_kill_postmaster ],
	'kill worker' => [ 7, \&_kill_worker ],
	'terminate worker' => [ 5, \&_terminate_worker ],
	'restart fast' => [ 4, sub { _restart(@_, 'fast') } ],
	'restart immediate' => [ 4, sub { _restart(@_, 'immediate') } ],
	'freeze server' => [ 9, \&_freeze_server ],
	'freeze worker' => [ 7, \&_freeze_worker ],
	'cut a link' => [ 7, \&_cut_link ],
	'one-way cut' => [ 10, \&_one_way ],
	'isolate' => [ 8, \&_isolate ],
	'one-way isolation' => [ 6, \&_isolate_one_way ],
	'delay' => [ 6, \&_delay ],
	'reset connections' => [ 6, \&_reset ],
	'failover' => [ 9, \&_failover ]);

sub schedule
{
	my ($seed, $seconds) = @_;
	srand($seed);
	return map { [ map { rand } 1 .. $DRAWS ] } 1 .. 10 + $seconds * 4;
}

# Seconds until the next step.
sub pause { my ($draw) = @_; return 0.2 + 2.8 * $draw->[0]**2; }

sub step
{
	my ($world, $draw) = @_;
	my $total = 0;
	my $only = $ENV{TORTURE_FAULTS} // '';
	$total += $_->[0] for values %KINDS;
	my $at = $draw->[1] * $total;
	for my $kind (sort keys %KINDS)
	{
		$at -= $KINDS{$kind}[0];
		next if $at >= 0;
		# with more at a time nothing is ever done
		my $fault = $kind =~ $only && @{ $world->{faults} } < 3 ? $KINDS{$kind}[1]->($world, $draw) : undef;
		if ($fault) { $world->begin_fault($kind, $fault); }
		else { $world->note("$kind: skipped"); }
		return;
	}
	return;
}

# ---- choices ----

# The primary, half of the time, if it is up.
sub _victim
{
	my ($world, $draw) = @_;
	my $primary = $world->primary;
	my @up = $world->up or return;
	return $primary if $primary && $draw->[2] < 0.5 && $primary->{condition} eq 'up';
	return $up[ $draw->[3] * @up ];
}

# Two nodes, in a drawn order.
sub _pair
{
	my ($world, $draw) = @_;
	my @nodes = @{ $world->{nodes} };
	my ($a) = splice @nodes, $draw->[2] * @nodes, 1;
	return ($a, $nodes[ $draw->[3] * @nodes ]);
}

sub _others
{
	my ($world, $node) = @_;
	return grep { $_ != $node } @{ $world->{nodes} };
}

# Short ones are more frequent; some outlast every timeout.
sub _seconds { my ($draw, $most) = @_; return 0.1 + ($most - 0.1) * $draw->[4]**2; }

sub _deaf { my ($draw) = @_; return $draw->[5] < 0.5 ? 'hold' : 'drop'; }

# ---- processes ----

sub _kill_server
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	my @old = $world->kill_node($node, 1);
	return { what => $node->name, seconds => _seconds($draw, 8), undo => sub { $world->start_node($node, @old) } };
}

sub _kill_postmaster
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	my @old = $world->kill_node($node, 0);
	return { what => $node->name, seconds => _seconds($draw, 5), undo => sub { $world->start_node($node, @old) } };
}

# One of baton's processes, or a session, with their peers' among them.
sub _process
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	my @all = $world->processes($node);
	my @baton = grep { $_->{title} =~ /^baton/ } @all;
	my @sessions = grep { $_->{title} =~ /^postgres app / } @all;
	my @from = $draw->[6] < 0.75 ? @baton : @sessions;
	return unless @from;
	return ($node, $from[ $draw->[7] * @from ]);
}

sub _kill_worker
{
	my ($world, $draw) = @_;
	my ($node, $process) = _process($world, $draw) or return;
	$world->{killed}{ $process->{pid} } = 1;
	kill 'KILL', $process->{pid};
	return { what => $node->name . " $process->{title}" };
}

sub _terminate_worker
{
	my ($world, $draw) = @_;
	my ($node, $process) = _process($world, $draw) or return;
	kill 'TERM', $process->{pid};
	return { what => $node->name . " $process->{title}" };
}

sub _freeze_worker
{
	my ($world, $draw) = @_;
	my ($node, $process) = _process($world, $draw) or return;
	kill 'STOP', $process->{pid};
	return { what => $node->name . " $process->{title}", seconds => _seconds($draw, 8), undo => sub { kill 'CONT', $process->{pid} } };
}

sub _freeze_server
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	$node->{condition} = 'frozen';
	$node->freeze;
	return { what => $node->name, seconds => _seconds($draw, 10), undo => sub { $node->thaw; $node->{condition} = 'up'; } };
}

sub _restart
{
	my ($world, $draw, $mode) = @_;
	my $node = _victim($world, $draw) or return;
	$world->stop_node($node, $mode, sub { $world->start_node($node) });
	return { what => $node->name };
}

# ---- the network ----

sub _network
{
	my ($world, $draw, $what, $mode, @ways) = @_;
	$world->network($mode, @ways);
	return { what => "$what, $mode", seconds => _seconds($draw, 12), undo => sub { $world->heal($mode, @ways) } };
}

sub _cut_link
{
	my ($world, $draw) = @_;
	my ($a, $b) = _pair($world, $draw);
	return _network($world, $draw, $a->name . ' - ' . $b->name, _deaf($draw), [ $a, $b ], [ $b, $a ]);
}

sub _one_way
{
	my ($world, $draw) = @_;
	my ($a, $b) = _pair($world, $draw);
	return _network($world, $draw, $a->name . ' -> ' . $b->name, _deaf($draw), [ $a, $b ]);
}

sub _isolate
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	return _network($world, $draw, $node->name, _deaf($draw), map { [ $node, $_ ], [ $_, $node ] } _others($world, $node));
}

sub _isolate_one_way
{
	my ($world, $draw) = @_;
	my $node = _victim($world, $draw) or return;
	my $out = $draw->[6] < 0.5;
	return _network($world, $draw, $node->name . ($out ? ' is not heard' : ' hears nobody'), _deaf($draw),
		map { $out ? [ $node, $_ ] : [ $_, $node ] } _others($world, $node));
}

sub _delay
{
	my ($world, $draw) = @_;
	my ($a, $b) = _pair($world, $draw);
	my $ms = int(5 + 400 * $draw->[6]**2);
	return _network($world, $draw, $a->name . ' - ' . $b->name, "delay $ms", [ $a, $b ], [ $b, $a ]);
}

sub _reset
{
	my ($world, $draw) = @_;
	my ($a, $b) = _pair($world, $draw);
	$a->reset_link($b);
	return { what => $a->name . ' - ' . $b->name };
}

# ---- planned ----

sub _failover
{
	my ($world, $draw) = @_;
	my $from = $world->primary;
	return unless $from && $from->{condition} eq 'up';
	my $after = $draw->[6] < 0.7 ? 'rejoin' : 'shutdown';
	my @others = _others($world, $from);
	my $target = $draw->[5] < 0.5 ? 'NULL' : "'" . $others[ $draw->[7] * @others ]->name . "'";
	$world->sql($from, "select count(*) from baton.failover($target, after => '$after', timeout => '15s', drain_timeout => '2s')",
		$World::LIMIT{failover}, sub {
			my ($status, $out) = @_;
			my ($error) = $out =~ /((?:ERROR|FATAL):.*)/;
			$world->note('failover from ' . $from->name . ': ' . ($status == 0 ? 'done' : $error // $out));
			$world->count($status == 0 ? 'failover done' : 'failover given up');
			$from->{shut_down} = 1 if $after eq 'shutdown';
		});
	return { what => $from->name . " to $target, $after" };
}

1;
