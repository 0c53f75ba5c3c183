# Messages of pg_logical_emit_message() reach the WAL of a replica, where logical decoding
# finds them: those of a transaction with it, the others at their place, each once,
# whatever happens to the replica's server; and a promoted node does not ship them anew.
#
# The failure prevented: whoever feeds on messages by logical decoding (an outbox) gets
# none after a failover, or old ones again.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, conf => "logical_decoding_work_mem = 64kB\nbaton.election_timeout = 10s",
	before => 'create table t(id int primary key)');
$n1->run(q{select pg_logical_emit_message(false, 'shop', 'before the slot')});
caught_up($n1, $n2);
$n2->run(q{select pg_create_logical_replication_slot('outbox', 'test_decoding')});

my @seen;

# What decoding on the replica finds since the last call: messages, and rows as numbers.
sub decoded
{
	caught_up($n1, $n2);
	$n2->run('checkpoint');    # decoding sees what is flushed
	my @new;
	for (split /\n/, $n2->run(q{select data from pg_logical_slot_get_changes('outbox', null, null, 'include-xids', '0')}))
	{
		push @new, $2 . ($1 ? '' : '*') if /^message: transactional: (\d) prefix: shop, sz: \d+ content:(.{0,40})/;
		push @new, $1 if /INSERT: id\[integer\]:(\d+)/;
	}
	push @seen, @new;
	return "@new";
}

$n1->run($_) for q{begin; insert into t values (1); select pg_logical_emit_message(true, 'shop', 'a'); insert into t values (2);
		savepoint s; select pg_logical_emit_message(true, 'shop', 'no'); rollback to s; select pg_logical_emit_message(true, 'shop', 'b'); commit},
	q{begin; select pg_logical_emit_message(true, 'shop', 'no'); rollback},
	q{select pg_logical_emit_message(false, 'shop', 'c')}, q{insert into t values (3)},
	q{begin; select pg_logical_emit_message(false, 'shop', 'd'); insert into t values (4); rollback},
	q{select pg_logical_emit_message(true, 'shop', 'e')};
is(decoded(), '1 a 2 b c* 3 d* e', 'of transactions and of none, in order');

$n1->run(q{begin; insert into t select g from generate_series(1000, 2999) g; select pg_logical_emit_message(false, 'shop', 'in the middle');
	select pg_logical_emit_message(true, 'shop', 'f'); insert into t select g from generate_series(3000, 4999) g;
	select pg_logical_emit_message(true, 'shop', repeat('large', 500000)); commit});
my $got = decoded();
ok($got =~ /^in the middle\* 1000 .* 2999 f 3000 .* 4999 largelarge/, 'around a large transaction');
$n1->run(sprintf q{select pg_logical_emit_message(false, '%s', 'x')}, 'p' x 200);
caught_up($n1, $n2);
$n2->run('checkpoint');
is($n2->run(q{select count(*) from pg_logical_slot_get_changes('outbox', null, null) where data ~ 'prefix: p{200},'}), 1, 'a long prefix');

# ---- once, whatever happens to the replica ----

$n1->run(q{select pg_logical_emit_message(false, 'shop', 'g')}) for 1 .. 3;
caught_up($n1, $n2);
$n2->restart;
$n2->wait_state('replica');
is(decoded(), 'g* g* g*', 'after a restart');
$n1->run(q{select pg_logical_emit_message(false, 'shop', 'h')});
decoded();
$n2->run('checkpoint');
$n2->crash;
$n1->run(q{select pg_logical_emit_message(false, 'shop', 'i'); insert into t values (5)});
$n2->start;
$n2->wait_state('replica');
decoded();
is(join(' ', @seen[ -3 .. -1 ]), 'h* i* 5', 'after a crash');
$n2->kill_backend(sub { $n2->worker_pid('applier') });    # and with it, for PostgreSQL, all of the server's
eventually(sub { my $r = $n2->try('select 1', seconds => 5); $r->{ok} && $n2->worker_pid('applier') });
$n1->run(q{select pg_logical_emit_message(false, 'shop', 'j')});
is(decoded(), 'j*', 'after a crash of the applier');

# ---- a promoted node does not ship what it was shipped ----

$n1->run(q{select pg_logical_emit_message(true, 'shop', 'last one'); insert into t values (6)});
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run(q{select pg_logical_emit_message(true, 'shop', 'of n2'); select pg_logical_emit_message(false, 'shop', 'of n2, too'); insert into t values (7)});
caught_up($n2, $n1);
my $count = q{select count(*) from baton.stream_records() where type = 'MESSAGE' and detail ~ '%s'};
is($n2->run(sprintf $count, 'last one'), 1, 'in the stream once');
is($n2->run(sprintf $count, 'of n2'), 2, 'and so are its own');
same_data($n2, $n1, 'equal after the failover');

done_testing;
