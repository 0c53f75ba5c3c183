# BatonProxy: a relay between two nodes that can be slow, deaf or dead, each
# direction by itself.  It listens on a Unix socket of its own directory, under
# the port of the server that it stands before, so a conninfo needs only another
# "host" to go through it.
#
#     my $proxy = BatonProxy->new($node->host, $node->port);
#     ... conninfo "host=" . $proxy->host . " port=" . $node->port
#     $proxy->to_server('hold');     # pass | hold | drop | delay MS
#     $proxy->to_client('drop');
#     $proxy->cut;                   # closes every connection, refuses new ones
#     $proxy->heal;
#
# hold: bytes wait, and arrive after heal.  drop: bytes are lost; a connection
# that lost some is closed at heal, as a network would have broken it.
package BatonProxy;

use strict;
use warnings;
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use IO::Handle;
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils ();
use Socket qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Time::HiRes qw(time);

sub new
{
	my ($class, $server_dir, $port) = @_;
	my $self = bless {
		host => PostgreSQL::Test::Utils::tempdir_short(),
		owner => $$ }, $class;
	my $name = ".s.PGSQL.$port";
	my $listener = IO::Socket::UNIX->new(
		Local => "$self->{host}/$name", Listen => 50, Type => SOCK_STREAM)
	  or die "cannot listen on $self->{host}/$name: $!";

	socketpair(my $mine, my $theirs, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die "socketpair: $!";
	$self->{pid} = fork() // die "fork: $!";
	if ($self->{pid} == 0)
	{
		close $mine;
		eval { _serve($listener, "$server_dir/$name", $theirs) };
		POSIX::_exit(0);
	}
	close $theirs;
	close $listener;
	$mine->autoflush(1);
	$self->{control} = $mine;
	return $self;
}

sub host { return $_[0]->{host}; }
sub to_server { my ($self, $mode) = @_; return $self->_tell("server $mode"); }
sub to_client { my ($self, $mode) = @_; return $self->_tell("client $mode"); }
sub cut { return $_[0]->_tell('cut'); }
sub heal { return $_[0]->_tell('heal'); }

sub stop
{
	my ($self) = @_;
	return unless $self->{pid} && $self->{owner} == $$;
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	return;
}

sub DESTROY { local ($?, $@); $_[0]->stop; return; }

# In force once it returns.
sub _tell
{
	my ($self, $line) = @_;
	print { $self->{control} } "$line\n";
	my $answer = readline $self->{control};
	die "the proxy has died" unless defined $answer && $answer eq "ok\n";
	return;
}

# ---- the relay's own process ----

# A pipe is one direction of a connection: {from, to, side, queue => [[due, bytes]...], lost}
sub _serve
{
	my ($listener, $target, $control) = @_;
	my %mode = (server => ['pass', 0], client => ['pass', 0]);
	my ($cut, @pipes) = (0);

	$SIG{PIPE} = 'IGNORE';
	$control->autoflush(1);
	while (1)
	{
		my $read = IO::Select->new($listener, $control);
		my $write = IO::Select->new();
		my ($now, $wait) = (time, 1);

		for my $p (@pipes)
		{
			my $held = $mode{ $p->{side} }[0] eq 'hold';
			$read->add($p->{from}) unless $held || $p->{eof} || @{ $p->{queue} } > 256;
			next if $held || !@{ $p->{queue} };
			my $due = $p->{queue}[0][0] - $now;
			if ($due <= 0) { $write->add($p->{to}); }
			elsif ($due < $wait) { $wait = $due; }
		}
		my ($readable, $writable) = IO::Select->select($read, $write, undef, $wait);
		my %readable = map { fileno($_) => 1 } @{ $readable // [] };
		my %writable = map { fileno($_) => 1 } @{ $writable // [] };

		for my $p (@pipes)
		{
			_fill($p, $mode{ $p->{side} }) if $readable{ fileno $p->{from} };
			_drain($p) if $writable{ fileno $p->{to} };
		}
		if ($readable{ fileno $listener })
		{
			my $client = $listener->accept;
			my $server = $cut ? undef : IO::Socket::UNIX->new(Peer => $target, Type => SOCK_STREAM);
			if ($server)
			{
				$_->blocking(0) for $client, $server;
				push @pipes,
				  { from => $client, to => $server, side => 'server', queue => [] },
				  { from => $server, to => $client, side => 'client', queue => [] };
			}
		}
		if ($readable{ fileno $control })
		{
			my $line = readline $control;
			return unless defined $line;    # the test has ended
			_obey($line, \%mode, \$cut, \@pipes);
			print {$control} "ok\n";
		}
		_close_broken(\@pipes);
	}
	return;
}

sub _fill
{
	my ($p, $mode) = @_;
	my $n = sysread $p->{from}, my $bytes, 65536;
	if (!defined $n) { $p->{broken} = 1 unless $! == EAGAIN || $! == EINTR || $! == EWOULDBLOCK; }
	elsif ($n == 0) { $p->{eof} = 1; }
	elsif ($mode->[0] eq 'drop') { $p->{lost} = 1; }
	else { push @{ $p->{queue} }, [ time + $mode->[1] / 1000, $bytes ]; }
	return;
}

sub _drain
{
	my ($p) = @_;
	my $n = syswrite $p->{to}, $p->{queue}[0][1];
	if (!defined $n) { $p->{broken} = 1 unless $! == EAGAIN || $! == EINTR || $! == EWOULDBLOCK; return; }
	substr($p->{queue}[0][1], 0, $n) = '';
	shift @{ $p->{queue} } if $p->{queue}[0][1] eq '';
	return;
}

sub _obey
{
	my ($line, $mode, $cut, $pipes) = @_;
	if ($line =~ /^(server|client) delay (\d+)/) { $mode->{$1} = [ 'pass', $2 ]; }
	elsif ($line =~ /^(server|client) (pass|hold|drop)/) { $mode->{$1} = [ $2, 0 ]; }
	elsif ($line =~ /^cut/) { $$cut = 1; $_->{broken} = 1 for @$pipes; }
	elsif ($line =~ /^heal/)
	{
		$$cut = 0;
		$mode->{$_} = [ 'pass', 0 ] for qw(server client);
		for my $p (@$pipes) { $p->{broken} = 1 if $p->{lost}; }
	}
	return;
}

# Both directions of a connection go together, once what was read is delivered.
sub _close_broken
{
	my ($pipes) = @_;
	my %gone;
	for my $p (@$pipes)
	{
		$gone{ fileno $p->{from} } = $gone{ fileno $p->{to} } = 1
		  if $p->{broken} || ($p->{eof} && !@{ $p->{queue} });
	}
	return unless %gone;
	my @kept = grep { !$gone{ fileno $_->{from} } } @$pipes;
	@$pipes = @kept;
	return;
}

1;
