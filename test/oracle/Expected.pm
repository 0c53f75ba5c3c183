# Expected: the list of what may differ (expected-differences).
#
# Its lines are   SUITE  PATTERN   # reason
# where SUITE is a name or *, and PATTERN a regular expression for the whole name of
# a difference.
package Expected;
use strict;
use warnings;

# new(path, path where lines that were needed are noted)
sub new
{
	my ($class, $path, $used) = @_;
	open my $f, '<', $path or die "$path: $!\n";
	my @lines;
	while (<$f>)
	{
		next if /^\s*(#|$)/;
		/^(\S+)\s+(.*?)\s+# (.+)$/ or die "$path, line $.: not SUITE PATTERN # reason\n";
		push @lines, { suite => $1, pattern => qr/\A(?:$2)\z/, text => "$1 $2", reason => $3 };
	}
	return bless { lines => \@lines, used => $used }, $class;
}

# Why this may differ; undef if it may not.
sub reason
{
	my ($self, $suite, $name) = @_;
	for my $line (@{ $self->{lines} })
	{
		next unless ($line->{suite} eq '*' || $line->{suite} eq $suite) && $name =~ $line->{pattern};
		if (!$line->{noted}++)
		{
			open my $f, '>>', $self->{used} or die "$self->{used}: $!\n";
			print $f "$line->{text}\n";
			close $f;
		}
		return $line->{reason};
	}
	return undef;
}

sub texts { return map { $_->{text} } @{ $_[0]{lines} }; }

1;
