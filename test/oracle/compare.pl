# compare.pl SUITE LIST A.sql A.more A.globals B.sql B.more B.globals
#
# Compares two sides entry by entry, prints what differs, and last
# "DIFFERENCES LISTED".  Exit status 1 if one is not in the list.
#
# Of a dump, an entry is what stands under one "-- Name: ...; Type: ..." line.  Rows of
# a table are sorted, for where they lie in the heap is each server's own.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Expected;

my $MAX_SHOWN = 12;    # lines of one difference

my ($suite, $list, @files) = @ARGV;
my $expected = Expected->new($list, do { (my $used = $files[0]) =~ s{[^/]*$}{used}; $used });
my %side = (a => {}, b => {});
for my $s ('a', 'b')
{
	read_dump(shift @files, $side{$s});
	read_lines(shift @files, $side{$s}, '');
	read_lines(shift @files, $side{$s}, 'GLOBAL ');
}
exit report();

sub slurp
{
	my ($path) = @_;
	open my $f, '<', $path or die "$path: $!\n";
	return <$f>;
}

# Adds the dump's entries to a hash of name => [lines].
sub read_dump
{
	my ($path, $entries) = @_;
	my ($name, @data) = ('start');
	my $in_data = 0;
	for (slurp($path))
	{
		if ($in_data)
		{
			if ($_ eq "\\.\n")
			{
				push @{ $entries->{$name} }, sort @data;
				$in_data = 0;
				next;
			}
			push @data, $_;
			next;
		}
		if (/^-- (Data for )?Name: (.*); Type: ([^;]*); Schema: ([^;]*); Owner: ?(.*)$/)
		{
			$name = "$3 $4.$2" . ($1 ? ' (rows)' : '');
			next;
		}
		next if /^\s*$/ || /^--/ || /^\\(un)?restrict /;
		push @{ $entries->{$name} }, $_;
		($in_data, @data) = (1) if /^COPY .* FROM stdin;$/;
	}
	return;
}

# Each line is an entry of its own: "what: value", or only a name.
sub read_lines
{
	my ($path, $entries, $prefix) = @_;
	for (slurp($path))
	{
		next if /^\s*$/ || /^--/ || /^\\(un)?restrict /;
		my ($name) = /^((?:INDEX STATE|MATVIEW ROWS) .*?): / ? $1 : /^(.*)$/;
		push @{ $entries->{"$prefix$name"} }, $_;
	}
	return;
}

# Lines of one list that the other lacks, each as often as it is missing.
sub minus
{
	my ($x, $y) = @_;
	my %n;
	$n{$_}++ for @$y;
	return grep { !($n{$_} && $n{$_}--) } @$x;
}

sub show
{
	my ($sign, @lines) = @_;
	for my $i (0 .. $#lines)
	{
		if ($i == $MAX_SHOWN)
		{
			printf "    %s (%d more)\n", $sign, @lines - $MAX_SHOWN;
			last;
		}
		chomp(my $line = $lines[$i]);
		print "    $sign " . substr($line, 0, 300) . "\n";
	}
	return;
}

sub report
{
	my ($differ, $listed) = (0, 0);
	my %names = map { $_ => 1 } keys %{ $side{a} }, keys %{ $side{b} };
	for my $name (sort keys %names)
	{
		my ($x, $y) = ($side{a}{$name} // [], $side{b}{$name} // []);
		next if "@$x" eq "@$y";
		$differ++;
		my $reason = $expected->reason($suite, $name);
		if (defined $reason)
		{
			$listed++;
			print "listed      $name: $reason\n";
			next;
		}
		print "DIFFERENT   $name\n";
		show('<', minus($x, $y));
		show('>', minus($y, $x));
	}
	print "$differ $listed\n";
	return $differ > $listed ? 1 : 0;
}
