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
#     $proxy->reset;                 # closes every connection
#     $proxy->heal;
#
# Each takes the name of a node as a last argument, and then concerns only the
# connections that come from that node, as their application_name says.  Without
# one, all of them: that is the mode of those that no other has been given for.
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
sub to_server { my ($self, $mode, $from) = @_; return $self->_tell("server $mode", $from); }
sub to_client { my ($self, $mode, $from) = @_; return $self->_tell("client $mode", $from); }
sub cut { my ($self, $from) = @_; return $self->_tell('cut', $from); }
sub reset { my ($self, $from) = @_; return $self->_tell('reset', $from); }
sub heal { my ($self, $from) = @_; return $self->_tell('heal', $from); }

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
	my ($self, $line, $from) = @_;
	print { $self->{control} } $line, defined $from ? " from $from" : '', "\n";
	my $answer = readline $self->{control};
	die "the proxy has died" unless defined $answer && $answer eq "ok\n";
	return;
}

# ---- the relay's own process ----

# A pipe is one direction of a connection: {conn, from, to, side, queue => [[due, bytes]...],
# lost}.  Both pipes of a connection share conn: {source, start}, where start is
# what has come of the startup packet as long as the source is not known.
#
# A rule is what holds for the connections from one node, or in $rules->{''} from
# any: {server => [mode, ms], client => [mode, ms], cut}; what is not there falls
# back to ''.
sub _serve
{
	my ($listener, $target, $control) = @_;
	my ($rules, @pipes) = ({ '' => _healthy() });

	$SIG{PIPE} = 'IGNORE';
	$control->autoflush(1);
	while (1)
	{
		my $read = IO::Select->new($listener, $control);
		my $write = IO::Select->new();
		my ($now, $wait) = (time, 1);

		for my $p (@pipes)
		{
			my $unknown = !defined $p->{conn}{source};
			my $held = !$unknown && _rule($rules, $p)->[0] eq 'hold';
			$read->add($p->{from}) unless $held || $p->{eof} || @{ $p->{queue} } > 256;
			next if $unknown || $held || !@{ $p->{queue} };
			my $due = $p->{queue}[0][0] - $now;
			if ($due <= 0) { $write->add($p->{to}); }
			elsif ($due < $wait) { $wait = $due; }
		}
		my ($readable, $writable) = IO::Select->select($read, $write, undef, $wait);
		my %readable = map { fileno($_) => 1 } @{ $readable // [] };
		my %writable = map { fileno($_) => 1 } @{ $writable // [] };

		for my $p (@pipes)
		{
			_fill($p, $rules) if $readable{ fileno $p->{from} };
			_drain($p) if $writable{ fileno $p->{to} };
		}
		push @pipes, _accept($listener, $target, $rules) if $readable{ fileno $listener };
		if ($readable{ fileno $control })
		{
			my $line = readline $control;
			return unless defined $line;    # the test has ended
			_obey($line, $rules, \@pipes);
			print {$control} "ok\n";
		}
		_close_broken(\@pipes);
	}
	return;
}

sub _healthy { return { server => [ 'pass', 0 ], client => [ 'pass', 0 ], cut => 0 }; }

# What holds for a pipe: [mode, ms].
sub _rule
{
	my ($rules, $p) = @_;
	return ($rules->{ $p->{conn}{source} // '' } // {})->{ $p->{side} } // $rules->{''}{ $p->{side} };
}

sub _is_cut
{
	my ($rules, $source) = @_;
	return ($rules->{$source} // {})->{cut} // $rules->{''}{cut};
}

sub _accept
{
	my ($listener, $target, $rules) = @_;
	my $client = $listener->accept or return;
	return if $rules->{''}{cut} && keys %$rules == 1;
	my $server = IO::Socket::UNIX->new(Peer => $target, Type => SOCK_STREAM) or return;
	my $conn = { start => '' };

	$_->blocking(0) for $client, $server;
	return (
		{ conn => $conn, from => $client, to => $server, side => 'server', queue => [] },
		{ conn => $conn, from => $server, to => $client, side => 'client', queue => [] });
}

# Reads the name of the node in a startup packet (length, version, then names and
# values, each with a zero byte); a connection that is not a node's has source "".
sub _identify
{
	my ($conn, $bytes) = @_;
	$conn->{start} .= $bytes;
	return if length $conn->{start} < 4;
	my $length = unpack 'N', $conn->{start};
	return if length $conn->{start} < $length;
	my %said = split /\0/, substr($conn->{start}, 8, $length - 8);
	my $name = $said{application_name} // '';
	$conn->{source} = $name =~ /^baton peer (.+)/ ? $1 : '';
	delete $conn->{start};
	return;
}

sub _fill
{
	my ($p, $rules) = @_;
	my $n = sysread $p->{from}, my $bytes, 65536;
	if (!defined $n) { $p->{broken} = 1 unless $! == EAGAIN || $! == EINTR || $! == EWOULDBLOCK; return; }
	if ($n == 0) { $p->{eof} = 1; return; }
	if (!defined $p->{conn}{source} && $p->{side} eq 'server')
	{
		_identify($p->{conn}, $bytes);
		$p->{broken} = 1 if defined $p->{conn}{source} && _is_cut($rules, $p->{conn}{source});
	}
	my $rule = _rule($rules, $p);
	if ($rule->[0] eq 'drop' && defined $p->{conn}{source}) { $p->{lost} = 1; }
	else { push @{ $p->{queue} }, [ time + $rule->[1] / 1000, $bytes ]; }
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
	my ($line, $rules, $pipes) = @_;
	my $from = $line =~ s/ from (.*)$// ? $1 : '';
	my @mine = grep { $from eq '' || ($_->{conn}{source} // '') eq $from } @$pipes;
	my $rule = $rules->{$from} //= {};

	if ($line =~ /^(server|client) delay (\d+)/) { $rule->{$1} = [ 'pass', $2 ]; }
	elsif ($line =~ /^(server|client) (pass|hold|drop)/) { $rule->{$1} = [ $2, 0 ]; }
	elsif ($line =~ /^cut/) { $rule->{cut} = 1; $_->{broken} = 1 for @mine; }
	elsif ($line =~ /^reset/) { $_->{broken} = 1 for @mine; }
	elsif ($line =~ /^heal/)
	{
		if ($from eq '') { %$rules = ('' => _healthy()); }
		else { delete $rules->{$from}; }
		for my $p (@mine) { $p->{broken} = 1 if $p->{lost}; }
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
		$gone{ $p->{conn} } = 1 if $p->{broken} || ($p->{eof} && !@{ $p->{queue} });
	}
	@$pipes = grep { !$gone{ $_->{conn} } } @$pipes if %gone;
	return;
}

1;
