# Values of every type arrive on the replica as they were, whatever the two servers'
# settings and OIDs are.
#
# The failure prevented: a value that is changed on its way, because its bytes hold
# an OID of the other server, its text depends on a setting, or a TOASTed value
# that an update left alone did not travel.
use strict;
use warnings;
use BatonCluster;
use Test::More;

# Values of each type.  The first two are inserted, the third comes by an update.
my %values = (
	'bool' => [ 't', 'f', 't' ],
	'bytea' => [ '\x00ff5c27', '\x', '\x0102' ],
	'char' => [ 'x', '', '\377' ],
	'name' => [ 'Some "Name"', '', 'n' x 63 ],
	'int2' => [ -32768, 32767, 0 ],
	'int4' => [ -2147483648, 2147483647, 0 ],
	'int8' => [ '-9223372036854775808', '9223372036854775807', 0 ],
	'int2vector' => [ '1 -2 3', '', '7' ],
	'oidvector' => [ '1 2 4294967295', '', '7' ],
	'oid' => [ '4294967295', 0, 17 ],
	'tid' => [ '(0,1)', '(4294967294,65535)', '(3,4)' ],
	'xid' => [ '4294967295', 0, 3 ],
	'cid' => [ '4294967295', 0, 3 ],
	'xid8' => [ '18446744073709551615', 0, 3 ],
	'text' => [ "line\nwith \\ ' \" {},()", '', "\x{e4}\x{20ac}\x{1f600}" ],
	'varchar' => [ 'NULL', ' ', 'null' ],
	'bpchar' => [ 'padded  ', '', 'x' ],
	'refcursor' => [ 'c', '', 'd' ],
	'json' => [ '{"b": 1,  "a": [1.0, null], "a": 2}', 'null', '"\u0041"' ],
	'jsonb' => [ '{"b": 1e100, "a": [1.00, null, {}]}', 'null', '[]' ],
	'jsonpath' => [ '$.a[*] ? (@ > 1)', 'strict $', '$."x y"' ],
	'xml' => [ '<a b="c">text &amp; more</a>', 'content only', '<x/><y/>' ],
	'float4' => [ 'NaN', '-0', '3.4028235e+38' ],
	'float8' => [ '-Infinity', '0.1', '5e-324' ],
	'numeric' => [ 'NaN', '-Infinity', '1' . '0' x 200 . '.000' ],
	'money' => [ '-92233720368547758.08', '0.01', '12.30' ],
	'date' => [ 'infinity', '4713-01-01 BC', '5874897-12-31' ],
	'time' => [ '24:00:00', '00:00:00.000001', '12:34' ],
	'timetz' => [ '23:59:59.999999+15:59', '00:00-13', '12:00+00' ],
	'timestamp' => [ '-infinity', '4713-01-01 00:00:00 BC', '2024-02-03 04:05:06.789' ],
	'timestamptz' => [ 'infinity', '0044-03-15 12:00+00 BC', '2024-02-03 04:05:06.789+05' ],
	'interval' => [ '-1 year -2 mons +3 days -04:05:06.789', '0', '178000000 years' ],
	'bit' => [ '1', '0', '1' ],
	'varbit' => [ '101010101', '', '0' ],
	'inet' => [ '192.168.0.1/24', '::ffff:1.2.3.4', '10.0.0.1' ],
	'cidr' => [ '10.0.0.0/8', '2001:db8::/32', '0.0.0.0/0' ],
	'macaddr' => [ '08:00:2b:01:02:03', '00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff' ],
	'macaddr8' => [ '08:00:2b:01:02:03:04:05', '00:00:00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff:ff:ff' ],
	'point' => [ '(NaN,1e300)', '(0,-0)', '(0.1,0.2)' ],
	'line' => [ '{1,-1,0}', '{0,1,2}', '{0.1,0.2,0.3}' ],
	'lseg' => [ '[(1,2),(3,4)]', '[(0,0),(0,0)]', '[(-1,0.1),(2,3)]' ],
	'box' => [ '(3,4),(1,2)', '(0,0),(0,0)', '(2,5),(1,1)' ],
	'path' => [ '[(1,2),(3,4)]', '((1,2),(3,4),(5,6))', '((0,0))' ],
	'polygon' => [ '((0,0),(1,0),(1,1))', '((0,0))', '((1,1),(2,2),(3,1))' ],
	'circle' => [ '<(1,2),3>', '<(0,0),0>', '<(0.1,0.2),0.3>' ],
	'uuid' => [ 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '0' x 32, 'f' x 32 ],
	'pg_lsn' => [ 'FFFFFFFF/FFFFFFFF', '0/0', '1/2' ],
	'tsvector' => [ q('it''s':3A 'cat':1,2B), '', 'x' ],
	'tsquery' => [ q('a' & !'b':A <2> 'c':*), '', 'x' ],
	'txid_snapshot' => [ '10:20:10,14,15', '1:1:', '3:4:3' ],
	'pg_snapshot' => [ '10:20:10,14,15', '1:1:', '3:4:3' ],
	'aclitem' => [ '=r/postgres', 'some_role=arwdDxt/postgres', '"Some Role"=r/some_role' ],
	'regproc' => [ 'pg_catalog.now', 's.f', '-' ],
	'regprocedure' => [ 'pg_catalog.abs(integer)', 's.f(s.mood)', '-' ],
	'regoper' => [ 'pg_catalog.||/', '0', 's.##' ],
	'regoperator' => [ 'pg_catalog.+(integer,integer)', '0', 's.##(integer,integer)' ],
	'regclass' => [ 'pg_class', 'public.plain', 's."Odd name"' ],
	'regcollation' => [ '"C"', 's.collation', '-' ],
	'regtype' => [ 'integer[]', 's.mood', 's.pair[]' ],
	'regconfig' => [ 'simple', 's.config', 'english' ],
	'regdictionary' => [ 'simple', 'english_stem', 's.dict' ],
	'regnamespace' => [ 'pg_catalog', 's', 'public' ],
	'regrole' => [ 'postgres', 'some_role', '"Some Role"' ],
	'int4range' => [ '[1,5)', 'empty', '(,)' ],
	'int8range' => [ '[1,9223372036854775807)', 'empty', '(,5)' ],
	'numrange' => [ '[1.10,2.200]', 'empty', '(NaN,NaN]' ],
	'daterange' => [ '[2024-01-01,infinity)', 'empty', '[,2024-01-01)' ],
	'tsrange' => [ '[2024-01-01 00:00,2024-01-02 00:00]', 'empty', '(,infinity)' ],
	'tstzrange' => [ '[2024-01-01 00:00+00,2024-01-02 00:00+00]', 'empty', '(,infinity)' ],
	'int4multirange' => [ '{[1,2),[5,9)}', '{}', '{(,)}' ],
	'int8multirange' => [ '{[1,2),[5,9)}', '{}', '{(,)}' ],
	'nummultirange' => [ '{[1.0,2],[5,9]}', '{}', '{(,)}' ],
	'datemultirange' => [ '{[2024-01-01,2024-02-01)}', '{}', '{(,)}' ],
	'tsmultirange' => [ '{["2024-01-01 00:00","2024-01-02 00:00"]}', '{}', '{(,)}' ],
	'tstzmultirange' => [ '{["2024-01-01 00:00+00","2024-01-02 00:00+00"]}', '{}', '{(,)}' ],

	# those of users
	's.mood' => [ 'sad', 'glad', 'so "so"' ],
	's.pair' => [ '(sad,"{glad,NULL}","2024-02-03 04:05:06+00",$12.34,"1 mon -1 day")', '(,,,,)', '(glad,{},infinity,-$0.01,00:00:01)' ],
	's.posint' => [ 1, 7, 3 ],
	's.moods' => [ '{sad,NULL}', '{}', '{"so \"so\""}' ],
	's.when' => [ '2024-02-03', 'infinity', '0001-01-01 BC' ],
	's.cash' => [ '1.00', '-3.33', '0' ],
	's.dpair' => [ '(glad,,,,)', '(sad,,,,)', '(glad,{sad},,,)' ],
	's.moodrange' => [ '[sad,glad]', 'empty', '(,glad)' ],
	's.floatrange' => [ '[0.1,0.30000000000000004)', 'empty', '[-Infinity,NaN]' ],
	's.moodmultirange' => [ '{[sad,sad]}', '{}', '{(,)}' ],
	's.dated' => [ '(2024-02-03,"[2024-01-01,2024-02-01)","{[""2024-01-01 00:00+00"",)}")', '(,,)', '(infinity,empty,{})' ],
);
# In PostgreSQL's list of types, but nobody can make a value of them.
my %no_input = map { $_ => 1 } qw(gtsvector pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list
  pg_brin_bloom_summary pg_brin_minmax_multi_summary);

my $n1 = BatonCluster->node('n1');
my $n2 = BatonCluster->node('n2');

# The same objects are to get other OIDs there.
$n2->safe_psql('postgres', 'do $$ begin for i in 1..40 loop
	execute format($q$create type t%s as enum (\'a\', \'b\', \'c\'); create role r%s$q$, i, i); end loop; end $$');

$n1->run('create table plain(id int)');
delete $values{xml} unless $n1->try(q(select xml '<a/>'))->{ok};
$n1->run(<<'SQL');
create role some_role;
create role "Some Role";
grant usage on schema public to some_role, "Some Role";    -- the copy brings roles that have to do with the database
create schema s;
create type s.mood as enum ('sad', 'glad', 'so "so"');
create type s.pair as (m s.mood, ms s.mood[], t timestamptz, c money, i interval);
create domain s.posint as int check (value > 0);
create domain s.moods as s.mood[];
create domain s.when as date;
create domain s.cash as money;
create domain s.dpair as s.pair check ((value).m is distinct from 'so "so"');
create type s.moodrange as range (subtype = s.mood, multirange_type_name = s.moodmultirange);
create type s.floatrange as range (subtype = float8);
create type s.dated as (d date, r daterange, m tstzmultirange);
create table s."Odd name"(id int primary key);
create function s.f(s.mood) returns int language sql as 'select 1';
create function s.plus(int, int) returns int language sql immutable as 'select $1 + $2';
create operator s.## (leftarg = int, rightarg = int, function = s.plus);
create collation s.collation from "C";
create text search configuration s.config (copy = simple);
create text search dictionary s.dict (template = simple);
SQL

is($n1->run(<<"SQL"), '', 'the test has values of every type that a column can have');
select typname from pg_type t where typtype in ('b', 'r', 'm') and typnamespace = 'pg_catalog'::regnamespace
  and not (typelem <> 0 and typsubscript = 'array_subscript_handler'::regproc and typlen = -1 and typname ~ '^_')
  and typname <> all ('{@{[ join ',', keys %no_input, map { $_ } keys %values ]}}') and typname <> 'unknown' order by 1
SQL

# ---- one table with a key, one without, a column and an array of each type ----
my @types = sort keys %values;
my %column = map { my $c = $_; $c =~ s/^s\./u_/; ($_ => $c) } @types;
my %sql = map { my $t = /\./ || /^(bit|char)$/ ? $_ : "pg_catalog.$_"; ($_ => $_ eq 'char' ? '"char"' : $_ eq 'bit' ? 'bit(1)' : $t) } @types;

sub literal
{
	my ($type, $i) = @_;
	my $v = $values{$type}[$i];
	$v =~ s/'/''/g;
	$v =~ s/\\/\\\\/g;
	return "E'$v'::$sql{$type}";
}

sub array_of
{
	my ($t, $i) = @_;
	# PostgreSQL takes an array of a domain of arrays for one of more dimensions
	return "E'" . '{NULL}' . "'::s.moods[]" if $t eq 's.moods';
	return "array[[" . literal($t, $i) . ", null], [" . literal($t, ($i + 1) % 3) . ', ' . literal($t, 0) . "]]";
}

my $columns = join ', ', map { (qq("$column{$_}" $sql{$_}), qq("a_$column{$_}" $sql{$_}\[])) } @types;
my @rows = map { my $i = $_; join(', ', map { (literal($_, $i), array_of($_, $i)) } @types) } 0 .. 2;
my $set = join ', ', map { (qq("$column{$_}" = ) . literal($_, 2), qq("a_$column{$_}" = ) . array_of($_, 2)) } @types;

# Settings that differ, and that would spoil text if the workers let them.
my $hostile = <<'CONF';
intervalstyle = 'sql_standard'
bytea_output = 'escape'
extra_float_digits = -15
array_nulls = off
xmloption = document
quote_all_identifiers = on
CONF

# All rows, a line per value, with the same settings on both nodes.
sub rows_of
{
	my ($node, $table) = @_;
	return [ split /\n/, $node->run("set datestyle = iso; set intervalstyle = postgres; set timezone = utc;
		set extra_float_digits = 3; set bytea_output = hex; set lc_monetary = 'C'; set search_path = ''; set quote_all_identifiers = off;
		select t.id, j.key, j.value from (select * from public.$table) t, pg_catalog.json_each_text(pg_catalog.row_to_json(t)) j order by 1, 2") ];
}

sub same_rows
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	caught_up($n1, $n2);
	for my $t ('keyed', 'keyless')
	{
		my ($a, $b) = (rows_of($n1, $t), rows_of($n2, $t));
		my @differ = grep { ($a->[$_] // '') ne ($b->[$_] // '') } 0 .. ($#$a > $#$b ? $#$a : $#$b);
		ok(!@differ, "$name: $t equal, " . @$a . ' values')
		  or diag(join "\n", map { ($a->[$_] // 'none') . ' became ' . ($b->[$_] // 'none') } @differ[ 0 .. (@differ > 9 ? 9 : $#differ) ]);
	}
	return;
}

$n1->run("create table keyed(id int primary key, n int, $columns); create table keyless(id int, n int, $columns)");
$n1->run("insert into keyed values (1, 0, $rows[0]); insert into keyless values (1, 0, $rows[0])");
$n1->create_group;
$n2->join_group($n1);
same_rows('copied');
isnt($n2->run("select 's.mood'::regtype::oid || ' ' || 'some_role'::regrole::oid"),
	$n1->run("select 's.mood'::regtype::oid || ' ' || 'some_role'::regrole::oid"), 'OIDs differ');

$n1->append_conf('postgresql.conf', "datestyle = 'german'\ntimezone = 'Asia/Kolkata'\n$hostile");
$n2->append_conf('postgresql.conf', "datestyle = 'sql, mdy'\ntimezone = 'America/St_Johns'\n$hostile");
$_->restart for $n1, $n2;
$n1->wait_state('primary');

my $plain = "set array_nulls = on; set datestyle = iso; set intervalstyle = postgres; set xmloption = content;";
for my $t ('keyed', 'keyless')
{
	$n1->run("$plain insert into $t values (2, 0, $rows[0]), (3, 0, $rows[1])");
	$n1->run("insert into $t select 4; insert into $t select 5");
}
same_rows('inserted');
is($n2->run("select count(*) from keyed where a_int4[1][2] is null and array_ndims(a_int4) = 2"), 3, 'arrays keep nulls and dimensions');

for my $t ('keyed', 'keyless')
{
	$n1->run("update $t set n = 1");
	$n1->run("$plain update $t set $set where id in (2, 3, 4)");
}
same_rows('updated');
$n1->run("delete from $_ where id in (1, 3, 5)") for 'keyed', 'keyless';
same_rows('deleted');
is($n2->run('select count(*) from keyless'), 2, 'rows without a key and of every type are found');

$_->stop for $n2, $n1;
done_testing();
