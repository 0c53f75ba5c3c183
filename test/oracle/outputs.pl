# outputs.pl SUITE LIST USED RESULTS BASELINE EXPECTED
#
# Compares what each test of a suite has printed with what it prints on a server
# without baton, and with the outputs that PostgreSQL expects (some differ from run to
# run); shows what differs.  Exit status 1 if something does that is not in the list.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Expected;

my $MAX_SHOWN = 60;    # lines of one test

my ($suite, $list, $used, $results, $baseline, $wanted) = @ARGV;
my $expected = Expected->new($list, $used);
my $bad = 0;

opendir my $d, $results or die "$results: $!\n";
for my $file (sort grep { /\.out$/ } readdir $d)
{
	my $got = cleaned("$results/$file");
	(my $test = $file) =~ s/\.out$//;
	next if grep { -e $_ && cleaned($_) eq $got } "$baseline/$file", glob("$wanted/$test.out $wanted/${test}_[0-9].out");
	my $reason = $expected->reason($suite, "OUTPUT $test");
	if (defined $reason)
	{
		print "listed      OUTPUT $test: $reason\n";
		next;
	}
	$bad++;
	print "DIFFERENT   OUTPUT $test\n";
	my @lines = difference("$baseline/$file", $got);
	print "    $_" for @lines > $MAX_SHOWN ? (@lines[ 0 .. $MAX_SHOWN - 1 ], sprintf("(%d more)\n", @lines - $MAX_SHOWN)) : @lines;
}
exit($bad ? 1 : 0);

# Without what baton's replica identity adds, and its warnings of what a replica may lack.
sub cleaned
{
	my ($path) = @_;
	open my $f, '<', $path or die "$path: $!\n";
	local $/;
	my $text = <$f>;
	$text =~ s/^(psql:\S+ )?NOTICE:  table .* has no primary key: its replica identity is FULL\n(DETAIL:  Otherwise its changed rows .*\n)?//mg;
	$text =~ s/^(psql:\S+ )?WARNING:  .*\nHINT:  See baton\.unsupported\.\n//mg;
	$text =~ s/^(psql:\S+ )?NOTICE:  the replica identity of table .* is its primary key\n(DETAIL:  Otherwise its changed rows .*\n)?//mg;
	$text =~ s/^Replica Identity: FULL\n//mg;
	return $text;
}

sub difference
{
	my ($path, $got) = @_;
	my $base = -e $path ? cleaned($path) : '';
	my $dir = $used;
	$dir =~ s{[^/]*$}{};
	write_file("$dir/diff.base", $base);
	write_file("$dir/diff.got", $got);
	my @lines = `diff -U2 $dir/diff.base $dir/diff.got`;
	return @lines[ 2 .. $#lines ];
}

sub write_file
{
	my ($path, $text) = @_;
	open my $f, '>', $path or die "$path: $!\n";
	print $f $text;
	close $f or die "$path: $!\n";
	return;
}
