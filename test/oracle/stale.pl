# stale.pl LIST USED: says which lines of the list nothing has needed.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Expected;

my ($list, $used) = @ARGV;
my %used;
if (open my $f, '<', $used)
{
	chomp(my @lines = <$f>);
	@used{@lines} = ();
}
my @stale = grep { !exists $used{$_} } Expected->new($list, $used)->texts;
print "not needed any more: $_\n" for @stale;
exit(@stale ? 1 : 0);
