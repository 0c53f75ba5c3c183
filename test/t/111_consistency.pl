# What a session on a replica may count on: it sees its own writes, or data that is
# not older than it says, or gets an error; never a silent no, never a false yes.
#
# The failure prevented: a balance that is read on a replica before the deposit has
# arrived; a token of a rolled-back commit that is taken for reached.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = BatonCluster->group(2, proxied => 1,
	before => 'create table t (id int primary key, v text);
		create function rows_of_t() returns bigint language plpgsql as $$ begin return (select count(*) from t); end $$;
		create procedure twice(inout a bigint, inout b bigint) language plpgsql as $$
			begin a := (select count(*) from t); commit; b := (select count(*) from t); end $$');
caught_up($n1, $n2);
my $rows = 0;

# A write on the primary that the replica gets late; returns its token.
sub late_write
{
	$n2->{proxy}->to_server('delay 300');
	$rows++;
	$n1->run("insert into t values ($rows, 'late')");
	return $n1->run('select baton.position()');
}

# ---- position: every way to run a statement ----

my %ways = (
	'a simple query' => 'select count(*) from t',
	'several statements in one' => 'select 1; select count(*) from t',
	'a transaction' => 'begin; select count(*) from t; commit',
	'a repeatable read transaction' => 'begin isolation level repeatable read; select count(*) from t; commit',
	'a serializable one by default' => "set default_transaction_isolation = 'serializable'; begin; select count(*) from t; commit",
	'a function' => 'select rows_of_t()',
	'COPY' => 'copy t to stdout',
	'COPY of a query' => 'copy (select count(*) from t) to stdout',
	'a cursor' => 'begin; declare c cursor for select count(*) from t; fetch c; commit',
	'a prepared statement' => 'prepare p as select count(*) from t; execute p',
	'EXPLAIN ANALYZE' => 'explain (analyze, costs off, timing off, summary off) select * from t',
	'a procedure that commits' => 'call twice(0, 0)');
for my $way (sort keys %ways)
{
	my $token = late_write();
	my $r = $n2->try("set baton.consistency = 'position $token'; $ways{$way}");
	my ($first) = $way eq 'COPY' ? scalar(split /\n/, $r->{out}) : $r->{out} =~ /(?:rows=|\b)(\d+)(?: loops=1\))?(?:\|\d+)?\s*\z/m;
	$first = $1 if $way eq 'EXPLAIN ANALYZE' && $r->{out} =~ /rows=(\d+)/;
	is($first, $rows, "$way waits for the position") or diag("$r->{out} $r->{text}");
}

{
	my $token = late_write();
	like($n2->run("select set_config('baton.consistency', 'position $token', false); select count(*) from t"), qr/^$rows$/m,
		'a setting that a function makes counts too');
}

# a SET inside the transaction
my $token = late_write();
my $r = $n2->try("begin; select 1; set local baton.consistency = 'position $token'; select count(*) from t; commit");
like($r->{out}, qr/^$rows$/m, 'SET LOCAL is in time for the next statement');
$token = late_write();
$r = $n2->try("begin isolation level repeatable read; set local baton.consistency = 'position $token'; select count(*) from t; commit");
like($r->{out}, qr/^$rows$/m, 'in a repeatable read transaction before its first query');
$token = late_write();
$r = $n2->try("begin isolation level repeatable read; select count(*) from t; set local baton.consistency = 'position $token'; select count(*) from t");
is($r->{state}, '25001', 'but not after it: its snapshot is fixed');
like($r->{hint}, qr/begin the transaction with BEGIN/, 'and the hint says what to do');
caught_up($n1, $n2);

# ---- the limit, and what is exempt ----

$n2->{proxy}->to_server('hold');
$rows++;
$n1->run("insert into t values ($rows, 'held')");
$token = $n1->run('select baton.position()');
my $set = "set baton.consistency = 'position $token'; set baton.consistency_timeout = '300ms';";
$r = $n2->try("$set select count(*) from t");
is($r->{state}, '40001', 'beyond the limit the transaction fails');
like($r->{message}, qr/could not meet baton.consistency = 'position \Q$token\E' within 300 ms/, 'clearly');
$r = $n2->try("$set begin");
is($r->{state}, '40001', 'BEGIN fails too');
$r = $n2->try("$set show baton.consistency; select count(*) from baton.status; select count(*) from pg_class; reset baton.consistency; select count(*) from t");
ok($r->{ok}, 'settings, baton\'s views and the catalogs do not wait') or diag($r->{text});
$r = $n2->try("set baton.consistency = 'time 100ms'; set baton.consistency_timeout = '300ms'; select count(*) from t");
is($r->{state}, '40001', 'a replica that does not hear from its primary is not fresh');
$n2->{proxy}->heal;
is($n2->run("set baton.consistency = 'position $token'; set baton.consistency_timeout = '60s'; select count(*) from t"), $rows,
	'when the line is back it goes on');

# ---- time ----

is($n2->run("set baton.consistency = 'time 5s'; select count(*) from t"), $rows, 'an idle replica that hears its primary is fresh');
is($n2->run("set baton.consistency = 'time 5 seconds'; begin isolation level repeatable read; select count(*) from t; commit"), $rows, 'in every kind of transaction');

# ---- the primary does not wait ----

is($n1->run("set baton.consistency = 'time 0'; set baton.consistency_timeout = 0; select count(*) from t"), $rows, 'a primary is as fresh as can be');
is($n1->run("set baton.consistency = 'position $token'; set baton.consistency_timeout = 0; select count(*) from t"), $rows, 'and has what it wrote');

# ---- bad values ----

for my $bad ('', 'time', 'time -1s', 'time 1 mon', 'time x', 'position', 'position 1', 'position 1:x', 'nothing')
{
	$r = $n2->try("set baton.consistency = '$bad'");
	is($r->{state}, '22023', "'$bad' is refused");
}

# ---- a place that was rolled back ----

$n2->{proxy}->to_server('drop');
$rows++;
$n1->run("insert into t values (1000, 'lost')");
my $lost = $n1->run('select baton.position()');
$n1->crash;
$n2->{proxy}->heal;
$r = $n2->try('select baton.promote(force => true)');
ok($r->{ok}, 'the replica takes over without the last commit') or diag($r->{text});
$n2->wait_state('primary');
for my $sql ("select baton.wait_for('$lost', '5s')", "set baton.consistency = 'position $lost'; select count(*) from t")
{
	$r = $n2->try($sql);
	is($r->{state}, '40000', "a rolled-back place is an error on the new primary: $sql") or diag("$r->{out} $r->{text}");
}
$n2->run("insert into t select g, repeat('x', 1000) from generate_series(2000, 4000) g");
$r = $n2->try("select baton.wait_for('$lost', '5s')");
is($r->{state}, '40000', 'and when other frames have taken its place');

done_testing();
