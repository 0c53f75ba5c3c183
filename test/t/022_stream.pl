# The stream log on real servers: what it shows, what becomes of it when its end is
# torn or a byte of it has rotted, and that a replica that is away holds nothing back.
#
# The failures prevented: a node that goes on with a log that is not the others', or
# that "repairs" damage by throwing away what was acknowledged; a damaged database
# that takes writes; a dead replica that fills the primary's disk or stops vacuum.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => <<'CONF', before => <<'SQL');
baton.stream_keep_size = 64MB
baton.reconnect_max_delay = 500ms
baton.apply_retry_interval = 500ms
baton.election_timeout = 5s
max_wal_size = 64MB
min_wal_size = 32MB
CONF
create table t(id int primary key, v text);
create table keyless(a int, b text);
create table blob(id int primary key, v bytea);
alter table blob alter v set storage external;
SQL

sub status { my ($node, $column) = @_; return $node->run("select $column from baton.status"); }
sub directory { my ($node) = @_; return (glob($node->data_dir . '/baton/*'))[0]; }
sub segments { my ($node) = @_; return sort glob(directory($node) . '/stream/*.seg'); }

# name => bytes of all that a node keeps under baton/.
sub files
{
	my ($node) = @_;
	my $d = directory($node);
	return { map { substr($_, length $d) => slurp_file($_) } grep { -f } glob("$d/* $d/stream/*") };
}

# Turns one bit of a file over; done twice it is as it was.
sub flip
{
	my ($file, $offset) = @_;
	open my $fh, '+<:raw', $file or die "$file: $!";
	seek $fh, $offset, 0;
	read $fh, my $byte, 1;
	seek $fh, $offset, 0;
	print {$fh} chr(ord($byte) ^ 0x10);
	close $fh or die "$file: $!";
	return;
}

# Writes bytes over a file's, from an offset on.
sub put_bytes
{
	my ($file, $offset, $bytes) = @_;
	open my $fh, '+<:raw', $file or die "$file: $!";
	seek $fh, $offset, 0;
	print {$fh} $bytes;
	close $fh or die "$file: $!";
	return;
}

# Where in a segment file its last frame begins and ends; behind it are zeros.
sub last_frame
{
	my ($file) = @_;
	my $bytes = slurp_file($file);
	my $start = rindex $bytes, 'BATN';
	return ($start, $start + 64 + unpack 'V', substr $bytes, $start + 52, 4);
}

sub truncate_by
{
	my ($file, $bytes) = @_;
	truncate $file, (-s $file) - $bytes or die "$file: $!";
	return;
}

sub append_bytes
{
	my ($file, $bytes) = @_;
	open my $fh, '>>:raw', $file or die "$file: $!";
	print {$fh} $bytes;
	close $fh or die "$file: $!";
	return;
}

# A stream position as a number, and back.
sub number { my ($hi, $lo) = split m{/}, $_[0]; return hex($hi) * 2**32 + hex($lo); }
sub position { return sprintf '%X/%X', $_[0] >> 32, $_[0] & 0xffffffff; }

# File and offset of a stream position.
sub place
{
	my ($node, $pos) = @_;
	my $n = number($pos);
	my ($file) = grep { m{/([0-9A-F]{16})\.seg$}i && hex($1) <= $n } reverse segments($node);
	my ($start) = $file =~ m{/([0-9A-F]{16})\.seg$}i;
	return ($file, $n - hex $start);
}

sub records
{
	my ($node, $arguments) = @_;
	return $node->run("select * from baton.stream_records($arguments)");
}

# Test: from where the replica's log begins, both show the same records at the same positions.
sub same_stream
{
	my ($name) = @_;
	caught_up($n1, $n2);
	my $from = $n1->run("select greatest('" . status($n1, 'log_start') . "'::pg_lsn, '" . status($n2, 'log_start') . "')");
	my $to = status($n2, 'log_end');
	my @digest = map {
		$_->run("select count(*), md5(string_agg(r::text, E'\\n' order by position, record_no)) from baton.stream_records('$from', '$to') r")
	} $n1, $n2;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok((split /\|/, $digest[0])[0], '>', 0, "$name: there are records");
	return is($digest[1], $digest[0], "$name: both nodes have the same stream");
}

# ---- what stream_records() shows ----
ok(eventually(sub { $n1->run('select bool_or(joining) from baton.nodes') eq 'f' }), 'the replica is a full member');
# what the primary tells of itself, its roles, is told by then
caught_up($n1, $n2);
my $from = status($n1, 'log_end');
$n1->run(<<'SQL');
begin;
insert into t values (1, 'one'), (2, null);
update t set v = 'uno' where id = 1;
update t set id = 3 where id = 2;
delete from t where id = 1;
savepoint s;
insert into t values (9, 'taken back');
rollback to s;
insert into keyless values (1, 'a');
update keyless set b = 'b';
select pg_logical_emit_message(true, 'test', 'hello');
commit;
truncate t, keyless restart identity cascade;
SQL
caught_up($n1, $n2);
my $to = status($n1, 'log_end');
my $shown = $n1->run("select type, relation, detail from baton.stream_records('$from', '$to') where xid is not null");
$shown =~ s/^(COMMIT\|\|).*/$1.../mg;
is($shown, <<'ROWS' =~ s/\n\z//r, 'transactions: their records in order');
BEGIN||
RELATION|public.t|*id pg_catalog.int4 b, v pg_catalog.text b
INSERT|public.t|new (1, 'one')
INSERT|public.t|new (2, null)
UPDATE|public.t|new (1, 'uno')
UPDATE|public.t|key (2, null) new (3, null)
DELETE|public.t|key (1, null)
RELATION|public.keyless|*a pg_catalog.int4 b, *b pg_catalog.text b
INSERT|public.keyless|new (1, 'a')
UPDATE|public.keyless|old (1, 'a') new (1, 'b')
MESSAGE||test: 'hello'
COMMIT||...
BEGIN||
RELATION|public.t|*id pg_catalog.int4 b, v pg_catalog.text b
RELATION|public.keyless|*a pg_catalog.int4 b, *b pg_catalog.text b
TRUNCATE|public.t, public.keyless|cascade restart identity
COMMIT||...
ROWS
like($n1->run("select detail from baton.stream_records('$from', '$to') where type = 'COMMIT'"),
	qr{^source 1, commit \w+/\w+, end \w+/\w+, at \d{4}-.*, oldest open }, 'a COMMIT names source, places and time');
is($n1->run("select count(distinct xid), count(distinct term) from baton.stream_records('$from', '$to') where xid is not null"), '2|1', 'all of two transactions, in one term');
is($n1->run("select type from baton.stream_records() limit 1"), 'TERM', 'without bounds it begins at the beginning: the first TERM');
is(records($n1, 'NULL, NULL'), records($n1, ''), 'NULL bounds are none');
is(records($n1, "'0/0', 'FFFFFFFF/FFFFFFFF'"), records($n1, ''), 'nor are bounds beyond the log');
is(records($n1, "'$to'"), '', 'from the end on there is nothing');
is(records($n1, "'$from', '$from'"), '', 'an empty range is empty');
is($n1->run("select count(*) from baton.stream_records(NULL, '$from') where position >= '$from'"), 0, 'to is exclusive');
is($n1->run("select min(position) from baton.stream_records('$from'::pg_lsn + 5)"), $from, 'from within a frame shows that frame');
my $r = $n1->try("select * from baton.stream_records('$to', '$from')");
is($r->{state}, '22023', 'a range that ends before it begins is an error') or diag($r->{text});
$n1->safe_psql('postgres', 'create extension baton');
$r = $n1->try('select * from baton.stream_records()', db => 'postgres');
is($r->{state}, '55000', 'in a database that is no node: an error') or diag($r->{text});
like($r->{hint} // '', qr/create_group|join_group/, 'and a hint');
same_stream('at first');

# ---- a transaction in progress is in the stream before it commits, and void when
# whoever brings it there starts over ----
for my $kind ('walsender', 'capture', 'coordinator')
{
	my $session = $n1->session;
	my $at = status($n1, 'log_end');
	$session->query_safe("begin; insert into blob select g, decode(repeat(md5('$kind' || g), 1000), 'hex') from generate_series(1, 600) g");
	ok(eventually(sub { number(status($n1, 'log_end')) > number($at) }), "$kind: records come before the commit");
	my $xid = $session->query_safe('select txid_current()');
	my $before = $kind eq 'walsender'
	  ? $n1->run("select pid from pg_stat_replication where application_name like 'baton%'") : $n1->worker_pid($kind);
	$n1->run("select pg_terminate_backend($before, 10000)");
	ok($kind eq 'walsender' || eventually(sub { $n1->worker_pid($kind) }, 15), "$kind: another takes its place at once");
	$session->query_safe('savepoint s; delete from blob where id % 2 = 0; rollback to s; update blob set id = id + 1000; commit');
	$session->quit;
	caught_up($n1, $n2);
	same_data($n1, $n2, "$kind ended in the middle of a transaction: equal");
	$n1->run('delete from blob');
	cmp_ok($n1->run("select count(*) from baton.stream_records('$at') where type = 'BEGIN' and xid = $xid"), '>', 1, "$kind: it was sent again");
	is($n1->run("select count(*) > 0 from baton.stream_records('$at') where type in ('ABORT', 'TERM') and coalesce(detail, '') !~ 'subtransaction'"), 't', "$kind: what came first is void");
}
same_stream('with transactions that started over');

# ---- compression ----
for my $level (0, 9)
{
	$n1->run("alter system set baton.compression_level = $level");
	$n1->run('select pg_reload_conf()');
	my $growth = 0;
	# capture hears of the new setting a moment later
	ok(eventually(sub {
		my $at = number(status($n1, 'log_end'));
		$n1->run("insert into t select coalesce(max(id), 0) + 1, repeat('x', 100000) from t");
		caught_up($n1, $n2);
		$growth = number(status($n1, 'log_end')) - $at;
		return $level == 0 ? $growth > 100_000 : $growth < 5_000;
	}), "compression_level $level takes effect") or diag("100 kB take $growth bytes");
	same_data($n1, $n2, "compression_level $level: equal");
}
same_stream('compressed and not');

# ---- a torn end is cut off at restart, and zeros are none ----
# tear: gets the last segment, where in it the log ends, and part of the last frame.
sub torn
{
	my ($node, $name, $is_torn, $tear) = @_;
	# without its coordinator a node writes no marks, but goes on: what follows is
	# behind the place that it knows to be flushed
	kill 'STOP', $node->worker_pid('coordinator');
	$n1->run("insert into t select coalesce(max(id), 0) + 1, '$name' from t");
	caught_up($n1, $n2);
	my $end = status($node, 'log_end');
	my $log = -s $node->logfile;
	$node->crash;
	my $file = (segments($node))[-1];
	my ($last, $offset) = last_frame($file);
	$tear->($file, $offset, substr slurp_file($file), $last, 200);
	$node->start;
	$node->wait_state($node == $n1 ? 'primary' : 'replica');
	$n2->wait_state('replica');
	if ($is_torn)
	{
		ok(eventually(sub { $node->run("select count(*) from baton.events where event = 'log cut' and detail like '% $end'") == 1 }), "$name: an event names the position")
		  or diag("wanted $end: " . $node->run('select * from baton.events order by id desc limit 5'));
		like(slurp_file($node->logfile, $log), qr{LOG:.*torn end of \d+ bytes.* \Q$end\E$}m, "$name: so does the log");
	}
	else
	{
		unlike(slurp_file($node->logfile, $log), qr/torn end/, "$name: that is how a log ends");
	}
	$n1->run("insert into t select coalesce(max(id), 0) + 1, 'after $name' from t");
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: equal afterwards");
	same_stream($name);
	return;
}
torn($n2, 'a replica wrote part of a frame', 1, sub { put_bytes(@_) });
torn($n1, 'the primary wrote garbage far behind the end', 1, sub { put_bytes($_[0], $_[1] + 100_000, $_[2]) });
torn($n1, 'the primary wrote zeros', 0, sub { append_bytes($_[0], "\0" x 8192) });
torn($n2, 'a replica has no zeros behind the end', 0, sub { truncate $_[0], $_[1] or die "$_[0]: $!" });

# ---- damage before the end: the node stays down, and touches nothing ----
# harm is done to the files of a stopped server, and taken back afterwards.
sub stays_down
{
	my ($node, $name, $harm, $mend, $message) = @_;
	$node->stop('fast');
	$harm->();
	my $before = files($node);
	my $log = -s $node->logfile;
	$node->start;
	ok(eventually(sub { slurp_file($node->logfile, $log) =~ /stays down/ }), "$name: the log says so");
	$node->wait_state('down');
	like(status($node, 'reason'), $message, "$name: so does status");
	is($node->try('insert into t values (-1)')->{ok}, 0, "$name: it takes no writes");
	$node->try('select baton.start()');
	is($node->state, 'down', "$name: start() changes nothing");
	is($node->safe_psql('postgres', 'create table elsewhere(); drop table elsewhere; select 1'), 1, "$name: other databases run on");
	$node->stop('fast');
	is_deeply([ sort keys %{ files($node) } ], [ sort keys %$before ], "$name: no file came or went");
	ok(!(grep { files($node)->{$_} ne $before->{$_} } keys %$before), "$name: no file has changed");
	my $said = slurp_file($node->logfile, $log);
	my @lines = $said =~ /^(.*stays down.*)$/mg;
	is(scalar @lines, 1, "$name: in one line") or diag(join "\n", @lines);
	like($said, qr/DETAIL: .*$message/, "$name: which says what it is");
	$mend->();
	$node->start;
	$node->wait_state($node == $n1 ? 'primary' : 'replica');
	$n2->wait_state('replica');
	$n1->run("insert into t select max(id) + 1, 'after $name' from t");
	caught_up($n1, $n2);
	same_data($n1, $n2, "$name: it goes on once that is mended");
	return;
}
for my $node ($n2, $n1)
{
	my $pos = status($node, "(select position from baton.stream_records() group by 1 order by 1 offset 3 limit 1)");
	my ($file, $offset) = place($node, $pos);
	my $flip = sub { flip($file, $offset + 66) };
	stays_down($node, 'a rotten byte in the log of ' . $node->name, $flip, $flip, qr{\Q$pos\E\b});
}
{
	my ($end, $file);
	stays_down($n2, 'the end of the log is gone', sub {
		$file = (segments($n2))[-1];
		$end = slurp_file($file);
		truncate $file, (last_frame($file))[1] - 30 or die "$file: $!";
	}, sub { unlink $file; append_bytes($file, $end) }, qr{incomplete frame});
	stays_down($n2, 'there are zeros where the log ended', sub {
		$file = (segments($n2))[-1];
		$end = slurp_file($file);
		my ($last) = last_frame($file);
		put_bytes($file, $last, "\0" x (length($end) - $last));
	}, sub { unlink $file; append_bytes($file, $end) }, qr{bad magic number|was flushed up to});
}
{
	my $file = directory($n1) . '/control';
	my $flip = sub { flip($file, 100) };
	my $content;
	stays_down($n1, 'a rotten byte in the control file', $flip, $flip, qr/control/);
	stays_down($n1, 'an empty control file', sub {
		$content = slurp_file($file);
		truncate_by($file, -s $file);
	}, sub { append_bytes($file, $content) }, qr/control/);
}
same_stream('after all that');

# ---- a dead replica holds nothing back ----
$n2->crash;
my %mark = (
	wal => $n1->run('select pg_current_wal_lsn()'),
	stream => number(status($n1, 'log_end')),
	xid => $n1->run('select txid_current()'));
# 120 MB that cannot be compressed: the window of zlib is far smaller than a value
$n1->run("create temp table seed as select string_agg(decode(md5(random()::text), 'hex'), '') v from generate_series(1, 12500);
	insert into blob select g, v from seed, generate_series(1, 600) g");
$n1->run("delete from t where v ~ '^after'");
$n1->run('select baton.position()');
cmp_ok(number(status($n1, 'log_end')) - $mark{stream}, '>', 110e6, 'a dead replica: more than is kept was written');
my $size = 0;
ok(eventually(sub {
	$size = 0;
	$size += -s $_ // 0 for segments($n1);
	return $size < 64 * 2**20 + 2 * 16 * 2**20;
}), 'a dead replica: the stream log stays within bounds') or diag("$size bytes");
cmp_ok($size, '>', 32 * 2**20, 'and what can be kept is kept');
# (a checkpoint writes the record of running transactions that slots move on by)
my $moved = "$mark{wal}'::pg_lsn + 100 * 1024 * 1024";
ok(eventually(sub {
	$n1->run("insert into keyless values (1, 'x')");
	$n1->run('checkpoint');
	return $n1->run("select bool_and(restart_lsn > '$moved) from pg_replication_slots") eq 't'
	  && $n1->run("select count(*) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}\$' and name < pg_walfile_name('$moved)") == 0;
}), 'a dead replica: the slot moves on, and old WAL goes') or diag($n1->run('select * from pg_replication_slots; select * from pg_ls_waldir()'));
is($n1->run('select count(*) from pg_replication_slots where xmin is not null'), 0, 'a dead replica: no slot holds an xmin');
ok(eventually(sub {
	$n1->run("insert into keyless values (1, 'x')");
	$n1->run('checkpoint');
	return $n1->run("select bool_and(age(catalog_xmin) <= age('$mark{xid}'::xid)) from pg_replication_slots") eq 't';
}), 'a dead replica: the catalog_xmin moves on') or diag($n1->run('select * from pg_replication_slots'));
ok(eventually(sub { $n1->run("select count(*) from pg_stat_activity where age(backend_xmin) > age('$mark{xid}'::xid)") == 0 }),
	'a dead replica: no process holds an old snapshot') or diag($n1->run('select * from pg_stat_activity where backend_xmin is not null'));
$r = $n1->try('vacuum verbose t');
like($r->{text}, qr/tuples: [1-9]\d* removed, \d+ remain, 0 are dead but not yet removable/, 'a dead replica: vacuum removes what is dead');
ok($n1->try("insert into t values (600000, 'unharmed')")->{ok}, 'a dead replica: the primary takes writes');

# (that it takes a new copy by itself is another test's)
$n2->append_conf('postgresql.conf', 'baton.auto_copy = off');
$n2->start;
$n2->wait_state('detached');
like($n2->run('select reason from baton.status'), qr{^needs a new copy: its stream log ends at \w+/\w+, and the primary keeps it from \w+/\w+ on},
	'when it comes back, it says what it needs');
is($n2->try('insert into t values (-1)')->{ok}, 0, 'the replica takes no writes');
only_primary($n1, $n2);

# ---- damage in a segment that nobody looks at when the server starts ----
# the oldest one may go at any moment
my (undef, $old) = segments($n1);
flip($old, 4_000_000);
$r = $n1->try('select count(*) from baton.stream_records()');
is($r->{state}, 'XX001', 'a rotten byte far back: reading it is an error') or diag($r->{text});
like($r->{message}, qr{damaged at position (\w+/\w+)}, 'which names the position');
$n1->restart;
$n1->wait_state('primary');
ok($n1->try("insert into t values (700000, 'unharmed')")->{ok}, 'the primary goes on');
flip($old, 4_000_000);
ok($n1->try('select count(*) from baton.stream_records()')->{ok}, 'and reads it again once that is mended');

# ---- and the replica takes its new copy ----
$n2->run('select baton.leave_group()');
$n2->run('drop table t, keyless, blob');
$n1->run('truncate blob');
$n2->join_group($n1);
$n1->run("insert into t values (800000, 'after the copy')");
caught_up($n1, $n2);
same_data($n1, $n2, 'a new copy makes the replica equal');
same_stream('after a new copy');
done_testing();
