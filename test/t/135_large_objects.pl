# Large objects travel: whichever way they are made and changed, the replica's dump is
# that of the primary, savepoints and failovers included; and also when PostgreSQL has
# moved their rows before they were decoded.
#
# The failure prevented: documents that an application keeps as large objects are gone,
# or half there, after a failover, since logical decoding does not see them.
use strict;
use warnings;
use BatonCluster;
use IPC::Run ();
use Test::More;

my ($n1, $n2) = map {
	BatonCluster->node("n$_", conf => "logical_decoding_work_mem = 64kB\nautovacuum_naptime = 1s\nbaton.auto_copy = on\nbaton.election_timeout = 10s")
} 1 .. 2;
$n1->run(q{create role lo_owner login; select lo_from_bytea(100, 'from before'); comment on large object 100 is 'old';
	alter large object 100 owner to lo_owner; create table docs(id int primary key, lo oid)});
$n1->create_group;
$n2->join_group($n1);
same_dump($n1, $n2, 'the initial copy has them');

sub arrives
{
	my ($name, @sql) = @_;
	$n1->run($_) for @sql;
	caught_up($n1, $n2);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same_dump($n1, $n2, $name);
}

# ---- SQL functions ----

arrives('made and changed', q{select lo_create(200)}, q{select lo_from_bytea(201, convert_to(repeat('text ', 5000), 'UTF8'))},
	q{select lo_put(201, 3000, 'changed')}, q{select lo_put(200, 100000, 'behind a hole')}, q{select lo_put(100, 5, 'BEFORE')},
	q{insert into docs values (1, lo_from_bytea(0, 'a new number'))});
is($n2->run(q{select encode(lo_get(200, 100000, 100), 'escape') || ' ' || (select count(*) from pg_largeobject where loid = 200) ||
	' ' || encode(lo_get(lo), 'escape') from docs}), 'behind a hole 1 a new number', 'a hole stays one, numbers are the same');
arrives('in pieces, cut and written again', q{do $$ declare fd int; begin
		fd := lo_open(201, 131072 + 262144); perform lowrite(fd, convert_to(repeat(i::text, 300), 'UTF8')) from generate_series(1, 40) i;
		perform lo_truncate(fd, 5000); perform lo_lseek(fd, 9000, 0); perform lowrite(fd, 'end'); perform lo_close(fd); end $$});
arrives('savepoints', q{begin; select lo_create(300); savepoint a; select lo_put(300, 0, 'gone'); select lo_unlink(201); select lo_create(301);
		rollback to a; select lo_put(300, 2, 'stays'); savepoint b; select lo_put(201, 4000, 'from b'); release b;
		savepoint c; select lo_put(300, 2, 'STAYS'); rollback to c; commit},
	q{begin; select lo_create(302); select lo_put(302, 0, 'x'); select lo_unlink(302); commit},
	q{begin; select lo_unlink(200); select lo_create(200); select lo_put(200, 3, 'anew'); commit},
	q{begin; select lo_create(303); rollback});
arrives('commands about them, between their changes', q{begin; select lo_create(310); comment on large object 310 is 'commented';
		alter large object 310 owner to lo_owner; grant select on large object 310 to public; select lo_put(310, 0, 'granted'); commit},
	q{begin; select lo_create(311); comment on large object 311 is 'x'; select lo_unlink(311); commit},
	q{set role lo_owner; select lo_from_bytea(312, 'mine')}, q{grant update on large object 312 to public});
is($n2->run(q{select string_agg(oid::text || ' ' || lomowner::regrole, ', ' order by oid) from pg_largeobject_metadata where oid in (100, 310, 312)}),
	'100 lo_owner, 310 lo_owner, 312 lo_owner', 'owners');
is($n2->try('drop role lo_owner')->{state}, '25006', 'a replica takes no commands');
arrives('dropped', q{select lo_unlink(310)}, q{select lo_unlink(lo) from docs}, q{drop owned by lo_owner}, 'delete from docs');
is($n2->run('select count(*) from pg_largeobject where loid in (310, 312)') . $n2->run("select count(*) from pg_shdepend where classid = 'pg_largeobject'::regclass and objid in (310, 312)"),
	'00', 'nothing is left of them');

# ---- files, libpq's own calls, large transactions ----

my $file = $PostgreSQL::Test::Utils::tmp_check . '/document';
{ open my $f, '>', $file or die; print $f map { chr($_ % 256) } 1 .. 300_000; close $f }
for (1 .. 2)
{
	IPC::Run::run([ 'psql', '-XAtq', '-d', $n1->connstr($BatonCluster::DB) ], '<', \"\\lo_import '$file'\n", '>', \my $out) or die;
}
arrives('imported by psql, and by the server', "select lo_import('$file', 400)");
arrives('a transaction that is streamed while it runs', q{begin; create table big(i int primary key, v text);
		insert into big select g, repeat('x', 100) from generate_series(1, 2000) g; select lo_from_bytea(410, convert_to(repeat('large', 100000), 'UTF8'));
		savepoint a; select lo_put(410, 10, 'rolled back'); select lo_unlink(400); insert into big select g, repeat('y', 100) from generate_series(2001, 4000) g; rollback to a;
		insert into big select g, repeat('z', 100) from generate_series(4001, 6000) g; select lo_put(410, 20, 'stays'); select lo_put(400, 20, 'stays too'); commit});
arrives('a prepared transaction', q{begin; select lo_from_bytea(420, 'prepared'); prepare transaction 'lo'}, q{commit prepared 'lo'});
like($n1->run(q{select string_agg(detail, '|') from baton.stream_records() where type = 'LARGE_OBJECT'}), qr/420 created, owner \S+\|420 page 0, 8 bytes/, 'the stream shows them');

# ---- rows that have moved before they were decoded ----

my $walsender = $n1->run("select active_pid from pg_replication_slots where slot_name like 'baton%'");
kill 'STOP', $walsender;
$n1->run($_) for q{begin; select lo_create(500); select lo_put(500, 0, 'moved'); savepoint a; select lo_put(500, 0, 'MOVED'); release a; savepoint b; select lo_put(500, 0, 'nothing'); rollback to b; commit},
	q{begin; select lo_unlink(420); select lo_put(410, 5000, 'moved'); comment on large object 500 is 'moved'; commit},
	'vacuum full pg_largeobject', 'vacuum full pg_largeobject_metadata', 'vacuum pg_largeobject',
	q{begin; select lo_put(500, 3, '!'); select lo_create(501); commit}, 'vacuum full pg_largeobject', q{select lo_put(501, 0, 'last')};
kill 'CONT', $walsender;
arrives('VACUUM FULL has come between', 'select 1');
is($n2->run(q{select encode(lo_get(500), 'escape') || encode(lo_get(501), 'escape')}), 'MOV!Dlast', '... and nothing is lost');

# ---- failover, and commits that nobody else got ----

$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n1->wait_state('replica');
$n2->run(q{select lo_put(500, 0, 'other way'); select lo_from_bytea(0, 'by n2'); select lo_unlink(200)});
caught_up($n2, $n1);
same_dump($n2, $n1, 'the other way');

$n1->freeze;
$n2->run(q{select lo_put(500, 0, 'lost'); select lo_create(600); select lo_unlink(501)});
$n2->crash;
$n1->thaw;
$n1->run('select baton.promote(force => true)');
$n1->wait_state('primary');
$n1->run(q{select lo_put(500, 20, 'kept')});
$n2->start;
eventually(sub { $n2->try('select count(*) from pg_largeobject_metadata where oid = 600', seconds => 10)->{out} eq '0' });
$n2->wait_state('replica');
caught_up($n1, $n2);
same_dump($n1, $n2, 'what only a lost primary had is gone after a new copy');
is($n2->run(q{select count(*) from pg_largeobject_metadata where oid in (501, 600)}), 1, '... made, or dropped');

done_testing;
