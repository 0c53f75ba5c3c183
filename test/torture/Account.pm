# Account: what the clients were told, held against what the group has in the end.
#
# A transaction's commit happened somewhere between SENT and DONE.  So two of them
# are in a known order only if one was done before the other began, and a reign
# (the acknowledged commits of a term) lasted at least from its first DONE to its
# last SENT.
package Account;

use strict;
use warnings;

our $ACCOUNTS = 100;
our $BALANCE = 1000;

# logs: file names.  Lines as client.c writes them.
sub read_logs
{
	my ($class, @logs) = @_;
	my $self = bless { all => [] }, $class;
	for my $file (@logs)
	{
		my ($kind) = $file =~ m{([a-z]+)\d+\.txt$} or die "what is $file?\n";
		my $notice = '';
		open my $fh, '<', $file or die "$file: $!\n";
		while (<$fh>)
		{
			chomp;
			# it came before the transaction's line
			if (/^# notice (.*)/) { $notice = $1; next; }
			my %t = (kind => $kind, notice => $notice);
			$notice = '';
			@t{qw(outcome id begun sent done node term data)} = split / /, $_, 8;
			push @{ $self->{all} }, \%t;
		}
	}
	return $self;
}

sub _of
{
	my ($self, $kinds, $outcome) = @_;
	return grep { $_->{kind} =~ /^(?:$kinds)$/ && (!$outcome || $_->{outcome} eq $outcome) } @{ $self->{all} };
}

sub number { return scalar _of(@_); }

sub _some
{
	my (@list) = @_;
	return @list . ' (' . join(', ', @list > 5 ? (@list[ 0 .. 4 ], '...') : @list) . ')';
}

sub _who { my ($t) = @_; return "$t->{id} on $t->{node} in term $t->{term} at $t->{done}"; }

# ---- the checks: each returns what is wrong, one line each ----

# have: id => how often, of the transfers or of all lists together
sub lost
{
	my ($self, $kind, $have) = @_;
	return map { $_->{id} } grep { !$have->{ $_->{id} } } $self->_of($kind, 'ack');
}

sub check_ids
{
	my ($self, $kind, $have) = @_;
	my @wrong;
	my @lost = grep { !$have->{ $_->{id} } } $self->_of($kind, 'ack');
	my @ghosts = grep { $have->{ $_->{id} } } $self->_of($kind, 'fail');
	my @doubled = grep { $have->{$_} > 1 } sort keys %$have;
	my %known = map { $_->{id} => 1 } $self->_of($kind);
	my @strange = grep { !$known{$_} } sort keys %$have;
	push @wrong, "acknowledged ${kind}s are lost: " . _some(map { _who($_) } @lost) if @lost;
	push @wrong, "failed ${kind}s are there: " . _some(map { _who($_) } @ghosts) if @ghosts;
	push @wrong, "${kind}s are there more than once: " . _some(@doubled) if @doubled;
	push @wrong, "${kind}s are there that nobody made: " . _some(@strange) if @strange;
	return @wrong;
}

# accounts: id => balance; transfers: [id, from, to, amount]...
sub check_balances
{
	my ($self, $accounts, $transfers) = @_;
	my %want = map { $_ => $BALANCE } 1 .. $ACCOUNTS;
	for (@$transfers)
	{
		$want{ $_->[1] } -= $_->[3];
		$want{ $_->[2] } += $_->[3];
	}
	my @off = grep { ($accounts->{$_} // 'none') ne $want{$_} } sort { $a <=> $b } keys %want;
	return @off ? 'balances do not follow from the transfers: ' . _some(map { "account $_: " . ($accounts->{$_} // 'none') . ", not $want{$_}" } @off) : ();
}

sub check_sums
{
	my ($self) = @_;
	my @off = grep { ($_->{data} // '') ne '' && $_->{data} != $ACCOUNTS * $BALANCE } $self->_of('sum', 'ack');
	return @off ? 'sums seen on the way are wrong: ' . _some(map { "$_->{data} on node $_->{node} at $_->{done}" } @off) : ();
}

# lists: key => [ids].  What was acknowledged before another began stands before it.
sub check_order
{
	my ($self, $lists) = @_;
	my %by_id = map { $_->{id} => $_ } $self->_of('append');
	my @wrong;
	for my $key (sort { $a <=> $b } keys %$lists)
	{
		my $earliest;
		for my $t (map { $by_id{$_} // () } reverse @{ $lists->{$key} })
		{
			push @wrong, "list $key: $t->{id} stands before $earliest->{id}, which was done before it began"
			  if $earliest && $earliest->{done} < $t->{begun};
			$earliest = $t if $t->{outcome} eq 'ack' && (!$earliest || $t->{done} < $earliest->{done});
		}
	}
	return @wrong ? 'lists are out of order: ' . _some(@wrong) : ();
}

# What a read saw is a beginning of what the list is in the end, and holds all that
# had been acknowledged when the read began.
sub check_reads
{
	my ($self, $lists) = @_;
	my %by_id = map { $_->{id} => $_ } $self->_of('append');
	my @wrong;
	for my $read ($self->_of('read', 'ack'))
	{
		my ($key, $ids) = $read->{data} =~ /^(\d+):\{?([^}]*)\}?$/;
		my @seen = split /,/, $ids;
		my @list = @{ $lists->{$key} // [] };
		my $who = 'list ' . $key . ' as read by ' . _who($read);
		my ($gone) = grep { $_ > $#list || $seen[$_] != $list[$_] } 0 .. $#seen;
		if (defined $gone) { push @wrong, "$who has $seen[$gone] at $gone, in the end there is " . ($list[$gone] // 'none'); next; }
		my ($missed) = grep { my $t = $by_id{$_}; $t && $t->{outcome} eq 'ack' && $t->{done} < $read->{begun} } @list[ @seen .. $#list ];
		push @wrong, "$who lacks $missed, acknowledged at $by_id{$missed}{done}, before it began at $read->{begun}" if $missed;
	}
	return @wrong ? 'reads are wrong: ' . _some(@wrong) : ();
}

# Acknowledged commits of each term, in the order of their first:
# {term, node, first, last, commits}; first and last as said above.
sub reigns
{
	my ($self) = @_;
	my %reigns;
	for my $t ($self->_of('transfer|append|read', 'ack'))
	{
		my $r = $reigns{"$t->{term} $t->{node}"} //= { term => $t->{term}, node => $t->{node}, first => $t->{done}, last => $t->{sent}, commits => 0 };
		$r->{first} = $t->{done} if $t->{done} < $r->{first};
		$r->{last} = $t->{sent} if $t->{sent} > $r->{last};
		$r->{commits}++;
	}
	return sort { $a->{first} <=> $b->{first} } values %reigns;
}

sub check_reigns
{
	my ($self) = @_;
	my @reigns = $self->reigns;
	my @wrong;
	for my $i (0 .. $#reigns)
	{
		for my $j ($i + 1 .. $#reigns)
		{
			my ($x, $y) = @reigns[ $i, $j ];
			my $who = "$x->{node} in term $x->{term} and $y->{node} in term $y->{term}";
			push @wrong, "two nodes in one term: $who" if $x->{term} == $y->{term};
			push @wrong, sprintf '%s both had commits acknowledged, for %.1f ms at %d', $who, ($x->{last} - $y->{first}) / 1000, $y->{first}
			  if $x->{node} ne $y->{node} && $x->{last} > $y->{first};
			push @wrong, "the later reign has the lower term: $who" if $x->{node} ne $y->{node} && $y->{term} < $x->{term};
		}
	}
	return @wrong ? 'reigns overlap: ' . _some(@wrong) : ();
}

# PostgreSQL alone makes a success with a warning of a wait that is cancelled.
sub check_notices
{
	my ($self) = @_;
	my @bad = grep { $_->{notice} =~ /synchronous replication/ } $self->_of('transfer|append|read', 'ack');
	return @bad ? 'acknowledged with a warning: ' . _some(map { _who($_) . ": $_->{notice}" } @bad) : ();
}

# The longest times without an acknowledged commit, longest first: [seconds, begin],
# where begin is in seconds of the clients' clock.
sub gaps
{
	my ($self) = @_;
	my ($last, @gaps);
	for my $t (sort { $a <=> $b } map { $_->{done} } $self->_of('transfer|append', 'ack'))
	{
		push @gaps, [ ($t - $last) / 1e6, $last / 1e6 ] if $last && $t - $last > 200_000;
		$last = $t;
	}
	return sort { $b->[0] <=> $a->[0] } @gaps;
}

1;
