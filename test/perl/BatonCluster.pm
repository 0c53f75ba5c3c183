# BatonCluster: a PostgreSQL::Test::Cluster that is prepared to be a node, with
# the helpers that tests of a group share.
#
#     my ($n1, $n2) = BatonCluster->group(2);
#     $n1->run('create table t(id int primary key)');
#     caught_up($n1, $n2);
#     same_data($n1, $n2, 'after ...');
#
# A test waits on conditions (eventually, wait_state, caught_up), never for a time.
package BatonCluster;

use strict;
use warnings;
use parent -norequire, 'PostgreSQL::Test::Cluster';

use Exporter 'import';
use File::Temp ();
use IPC::Run ();
use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(eventually caught_up same_data same_dump who_leads only_primary start_writer link_mode heal_links);
our $DB = 'app';
our $PATIENCE = 60;    # seconds, for things that take moments

# A signal must not leave servers behind: die runs END.
$SIG{TERM} = $SIG{INT} = sub { die "ended by a signal\n" };

# ---- nodes ----

# A started server with database app and the extension.  Options: conf => extra
# configuration, extension => 0, initdb => [options].  A primary that a test stops
# leads again when it is started.
sub node
{
	my ($class, $name, %opt) = @_;
	my $self = $class->new($name);
	$self->init(extra => [ '-E', 'UTF8', '--locale=C', @{ $opt{initdb} // [] } ]);
	$self->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'baton'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_worker_processes = 32
max_prepared_transactions = 5
restart_after_crash = on
baton.failover_on_shutdown = off
log_statement = none
log_line_prefix = '%m [%p] %b %a '
shared_buffers = 32MB
@{[ $opt{conf} // '' ]}
CONF
	$self->start;
	$self->safe_psql('postgres', "create database $DB");
	$self->run('create extension baton') if $opt{extension} // 1;
	return $self;
}

# N nodes n1, n2, ... of one group, n1 its primary.  Options as for node, and
# before => SQL that n1 runs before the group is created,
# proxied => 1: nodes reach each other through $node->{proxy}.
sub group
{
	my ($class, $n, %opt) = @_;
	my $before = delete $opt{before};
	my $proxied = delete $opt{proxied};
	my @nodes = map { $class->node("n$_", %opt) } 1 .. $n;

	if ($proxied)
	{
		require BatonProxy;
		$_->{proxy} = BatonProxy->new($_->host, $_->port) for @nodes;
	}
	$nodes[0]->run($before) if $before;
	$nodes[0]->create_group;
	$_->join_group($nodes[0]) for @nodes[ 1 .. $#nodes ];
	return @nodes;
}

# What others reach this node by.
sub dsn
{
	my ($self) = @_;
	my $host = $self->{proxy} ? $self->{proxy}->host : $self->host;
	return sprintf 'host=%s port=%d dbname=%s', $host, $self->port, $DB;
}

# What a client reaches the primary among some nodes by.
sub client_dsn
{
	my @nodes = @_;
	return sprintf 'host=%s port=%s dbname=%s target_session_attrs=read-write connect_timeout=2',
	  join(',', map { $_->host } @nodes), join(',', map { $_->port } @nodes), $DB;
}

sub create_group
{
	my ($self) = @_;
	$self->run(sprintf "select baton.create_group('shop', '%s', '%s')", $self->name, $self->dsn);
	$self->wait_state('primary');
	return;
}

sub join_group
{
	my ($self, $member, $options) = @_;
	$self->run(sprintf "select baton.join_group('%s', '%s', '%s'%s)",
		$member->dsn, $self->name, $self->dsn, $options ? ", $options" : '');
	$self->wait_state('replica');
	return;
}

# ---- SQL ----

# Runs SQL in database app and returns what it prints; dies if it fails.
sub run
{
	my ($self, $sql) = @_;
	return $self->safe_psql($DB, $sql, timeout => $PATIENCE * 3);
}

# Runs SQL that may fail.  Returns a hash: ok, out, state (SQLSTATE), message,
# detail, hint, text (all of stderr).  Options: user, db, seconds.
sub try
{
	my ($self, $sql, %opt) = @_;
	my ($out, $err, $timed_out) = ('', '', 0);
	my $rc = eval {
		$self->psql(
			$opt{db} // $DB, $sql,
			stdout => \$out, stderr => \$err,
			timeout => $opt{seconds} // $PATIENCE * 3, timed_out => \$timed_out,
			extra_params => [ '-v', 'VERBOSITY=verbose', $opt{user} ? ('-U', $opt{user}) : () ]);
	};
	# psql got no connection, and ended before it was told anything
	die $@ if $@ && $@ !~ /Broken pipe/;
	my %r = (ok => (defined $rc && $rc == 0) ? 1 : 0, out => $out, text => $err, timed_out => $timed_out);
	@r{qw(state message)} = ($1, $2) if $err =~ /(?:ERROR|FATAL):  (\w{5}): (.*)/;
	$r{detail} = $1 if $err =~ /^DETAIL:  (.*)/m;
	$r{hint} = $1 if $err =~ /^HINT:  (.*)/m;
	return \%r;
}

# The same in the background: returns a function that waits for the result.
# Called with a pattern it waits only until stderr matches that (a NOTICE), and
# says whether it did before the end.
sub try_later
{
	my ($self, $sql) = @_;
	my ($out, $err) = ('', '');
	my $h = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $self->connstr($DB), '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PATIENCE * 3));
	return sub {
		my ($pattern) = @_;
		if ($pattern)
		{
			$h->pump while $err !~ $pattern && $h->pumpable;
			return $err =~ $pattern ? 1 : 0;
		}
		$h->finish;
		my %r = (ok => $h->result(0) == 0 ? 1 : 0, out => $out, text => $err);
		@r{qw(state message)} = ($1, $2) if $err =~ /(?:ERROR|FATAL):  (\w{5}): (.*)/;
		return \%r;
	};
}

# A session that stays open; it goes on after an error.
sub session
{
	my ($self) = @_;
	return $self->background_psql($DB, on_error_stop => 0);
}

# ---- states ----

sub state
{
	my ($self) = @_;
	my $r = $self->try('select state from baton.status', seconds => 10);
	return $r->{ok} ? $r->{out} : 'unreachable';
}

sub gate { return $_[0]->run('select gate from baton.status'); }
sub term { return $_[0]->run('select term from baton.status'); }

sub wait_state
{
	my ($self, $wanted, $seconds) = @_;
	my $got = '';
	return 1 if eventually(sub { ($got = $self->state) eq $wanted }, $seconds);
	diag($self->try('select * from baton.status', seconds => 10)->{out});
	die sprintf "%s is %s, not %s\n", $self->name, $got, $wanted;
}

# Calls a function until it is true; false if that takes longer than some seconds.  On a
# machine that is busy the function takes long itself: what is waited for gets as much time.
sub eventually
{
	my ($condition, $seconds) = @_;
	my $end = time + ($seconds // $PATIENCE);
	while (1)
	{
		my $asked = time;
		return 1 if $condition->();
		return 0 if time > $end;
		usleep(1_000_000 * min(max(time - $asked, 0.05), 0.5));
	}
}

# Waits until one of the nodes leads, with its gate open, and returns that.  A primary
# that comes back in time for an election may have voted for a replica that is as new.
sub who_leads
{
	my @nodes = @_;
	my @lead;
	eventually(sub { @lead = grep { $_->state eq 'primary' && $_->gate eq 'open' } @nodes; @lead == 1 })
	  or die 'of ' . join(', ', map { $_->name . ' (' . $_->state . ')' } @nodes) . " none leads\n";
	return $lead[0];
}

# The replicas have applied all that the primary has committed.
sub caught_up
{
	my ($primary, @replicas) = @_;
	my $token = $primary->run('select baton.position()');
	$_->run("select baton.wait_for('$token', '${PATIENCE}s')") for @replicas;
	return;
}

# Test: every user table has the same rows on both nodes; without the writer's
# table while a writer runs.
sub same_data
{
	my ($a, $b, $name) = @_;
	my ($of_a, $of_b) = ($a->contents, $b->contents);
	delete @$_{'writer_probe'} for $BatonCluster::Writer::running ? ($of_a, $of_b) : ();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_deeply($of_b, $of_a, $name);
}

# A dump whose rows come in a definite order, and not in that of the table's file.
sub sorted_dump
{
	my ($self, @options) = @_;
	my ($dump, $err, @sorted, $rows) = ('', '');
	IPC::Run::run([ 'pg_dump', '--no-sync', @options, '-d', $self->connstr($DB) ], '>', \$dump, '2>', \$err) or die "pg_dump: $err\n";
	# line by line: a pattern that repeats over lines gives up silently at 65,536
	for my $line (split /^/m, $dump)
	{
		push(@sorted, sort @$rows), undef $rows if $rows && $line eq "\\.\n";
		push @{ $rows // \@sorted }, $line unless $line =~ /^\\(un)?restrict /;
		$rows = [] if !$rows && $line =~ /^COPY .* FROM stdin;$/;
	}
	die "the dump ends within a table\n" if $rows;
	return join '', @sorted;
}

# Test: pg_dump makes the same of both nodes, definitions, rows and sequences, once
# the replica has applied all; @options: of pg_dump.
sub same_dump
{
	my ($a, $b, $name, @options) = @_;
	my @files;
	for my $node ($a, $b)
	{
		push @files, File::Temp->new(DIR => $PostgreSQL::Test::Utils::tmp_check, SUFFIX => '.sql');
		print { $files[-1] } $node->sorted_dump(@options);
		$files[-1]->flush;
	}
	my $diff = `diff @files | head -40`;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($diff, '', $name);
}

# table => "count hash" of every permanent table outside baton's own schemas.
sub contents
{
	my ($self) = @_;
	my %contents = map { split /\|/, $_, 2 } split /\n/, $self->run(<<'SQL');
select format('select %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from %s t', c.oid::regclass, c.oid::regclass)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p'
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^(pg_toast|baton)'
order by n.nspname, c.relname \gexec
SQL
	return \%contents;
}

# Test: exactly one of the nodes is primary, namely this one, and takes a write.
sub only_primary
{
	my ($expected, @others) = @_;
	my @primaries = map { $_->name } grep { $_->state eq 'primary' } $expected, @others;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("@primaries", $expected->name, $expected->name . ' is the only primary');
	my $r = $expected->try('begin; create table only_primary_probe(); rollback');
	ok($r->{ok}, $expected->name . ' takes writes') or diag($r->{text});
	for my $other (@others)
	{
		$r = $other->try('begin; create table only_primary_probe(); rollback', seconds => 20);
		ok(!$r->{ok}, $other->name . ' takes none');
	}
	return;
}

# ---- harm ----

# Process id of a worker: coordinator, capture, shipper, applier, ...; "" if not running,
# and it may have ended by itself before the caller looks at it.
sub worker_pid
{
	my ($self, $kind) = @_;
	return $self->run("select pid from pg_stat_activity where backend_type = 'baton $kind' and datname = '$DB'");
}

# kill -9 of a process: the server restarts all its backends.  Given as a process id, or
# as a function that finds it, again if the one that it has found ends by itself.
sub kill_backend
{
	my ($self, $process) = @_;
	my $pid;
	my $kill = sub { $pid = ref $process ? $process->() : $process; return $pid && kill('KILL', $pid) == 1; };
	eventually($kill, ref $process ? $PATIENCE : 0) or die 'no process to kill: ' . ($pid || 'not found') . "\n";
	eventually(sub { !kill(0, $pid) }) or die "$pid does not go away\n";
	return;
}

# The process that keeps writing WAL to disk stands still until the server ends: what was
# committed asynchronously is lost in a crash, if nobody else has seen to it.
sub freeze_walwriter
{
	my ($self) = @_;
	kill('STOP', $self->run(q(select pid from pg_stat_activity where backend_type = 'walwriter'))) == 1 or die "no walwriter\n";
	return;
}

sub control_file
{
	my ($self) = @_;
	return $self->data_dir . '/baton/' . $self->run('select oid from pg_database where datname = current_database()') . '/control';
}

sub _processes
{
	my ($self) = @_;
	my ($pm) = split /\n/, slurp_file($self->data_dir . '/postmaster.pid');
	my @children = split ' ', `ps -o pid= --ppid $pm`;
	return ($pm, @children);
}

# The whole server stops dead, as kill -9 of all its processes.
sub crash
{
	my ($self) = @_;
	my ($pm) = $self->_processes;
	kill 'STOP', $pm;    # so that no child comes after they are listed
	my @pids = $self->_processes;
	$self->kill9;
	kill 'KILL', @pids;
	eventually(sub { !kill(0, @pids) }) or die 'some processes do not go away';
	return;
}

sub freeze
{
	my ($self) = @_;
	my ($pm) = $self->_processes;
	kill 'STOP', $pm;    # first, so that no child comes after
	$self->{frozen} = [ $self->_processes ];
	kill 'STOP', @{ $self->{frozen} };
	return;
}

sub thaw
{
	my ($self) = @_;
	kill 'CONT', @{ delete $self->{frozen} // [] };
	return;
}

# A frozen server could not be stopped at the end.
sub teardown_node
{
	my ($self, @args) = @_;
	$self->thaw;
	return $self->SUPER::teardown_node(@args);
}

# The network between nodes made with proxied => 1, one direction at a time: what
# happens to bytes on their way from one node to another, whoever has opened the
# connection.  Modes are the proxy's: pass, hold, drop, delay MS.
sub link_mode
{
	my ($from, $to, $mode) = @_;
	$to->{proxy}->to_server($mode, $from->name);
	$from->{proxy}->to_client($mode, $to->name);
	return;
}

# No byte between a node and some others, in neither direction.
sub partition
{
	my ($self, $mode, @others) = @_;
	for my $other (@others)
	{
		link_mode($self, $other, $mode);
		link_mode($other, $self, $mode);
	}
	return;
}

# Every connection between two nodes breaks; new ones may come.
sub reset_link
{
	my ($self, $other) = @_;
	$self->{proxy}->reset($other->name);
	$other->{proxy}->reset($self->name);
	return;
}

sub heal_links { $_->{proxy}->heal for @_; return; }

# ---- a client under load ----

# Starts test/bench/writer.c against the primary among some nodes; it writes to
# table writer_probe(id bigint primary key).  Returns an object whose stop() gives
# {acknowledged, errors, longest_gap_ms, ids => [...]}.
sub start_writer
{
	my (@nodes) = @_;
	my $ids = File::Temp->new(DIR => $PostgreSQL::Test::Utils::tmp_check);
	my $self = bless { ids => $ids, out => '' }, 'BatonCluster::Writer';
	$self->{first} = ++$BatonCluster::Writer::count * 1_000_000_000;
	$self->{run} = IPC::Run::start(
		[ _writer_program(), '-f', $self->{first}, '-i', "$ids", 600, client_dsn(@nodes) ],
		'<', \undef, '>', \$self->{out}, IPC::Run::timeout($PATIENCE * 10));
	$BatonCluster::Writer::running++;
	return $self;
}

my $built;

sub _writer_program
{
	return $ENV{BATON_WRITER} if $ENV{BATON_WRITER};
	return $built if $built;
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my ($include, $lib) = map { scalar `$config --$_` } qw(includedir libdir));
	$built = PostgreSQL::Test::Utils::tempdir() . '/writer';
	system_or_bail('gcc', '-std=gnu99', '-O2', "-I$include", 'test/bench/writer.c', "-L$lib", '-lpq', '-o', $built);
	return $built;
}

package BatonCluster::Writer;

our ($count, $running) = (0, 0);

sub stop
{
	my ($self) = @_;
	$self->{run}->signal('TERM');
	eval { $self->{run}->finish; 1 } or die "the writer does not end: $@";
	$running--;
	my %r = $self->{out} =~ /^(\w+) ([\d.]+)$/mg;
	$r{ids} = [ split /\n/, PostgreSQL::Test::Utils::slurp_file("$self->{ids}") ];
	return \%r;
}

# How many of the ids that the writer was told are committed a node lacks.
sub missing_on
{
	my ($class, $result, $node) = @_;
	my %have = map { $_ => 1 } split /\n/, $node->run('select id from writer_probe');
	return scalar grep { !$have{$_} } @{ $result->{ids} };
}

1;
