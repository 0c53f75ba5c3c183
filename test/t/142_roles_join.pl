# Roles when a node joins, when the lead changes, and where two nodes of a group are
# databases of one server.
#
# The failure prevented: a command of the stream names a role that was made before
# the node joined, or in another database of a server that was a replica's, and apply
# stops for ever.
use strict;
use warnings;
use BatonCluster;
use Test::More;

my ($n1, $n2) = map { BatonCluster->node("n$_", conf => 'baton.election_timeout = 5s') } 1, 2;
my $ROLES = q{
	select rolname, rolsuper, rolcreatedb, rolcanlogin, rolconnlimit, rolpassword, shobj_description(oid, 'pg_authid')
		from pg_authid where oid >= 16384 order by 1;
	select r.rolname, m.rolname, g.rolname, admin_option from pg_auth_members a
		join pg_authid r on r.oid = roleid join pg_authid m on m.oid = a.member join pg_authid g on g.oid = grantor where m.oid >= 16384 order by 1, 2;
	select setrole::regrole, setdatabase <> 0, setconfig from pg_db_role_setting where setdatabase in (0, (select oid from pg_database where datname = 'app')) order by setrole::regrole::text, 2;
	select datdba::regrole, datacl from pg_database where datname = 'app'};
sub same_roles
{
	my ($from, $to, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return 1 if ok(eventually(sub { $from->run($ROLES) eq $to->run($ROLES) }), $name);
	my %to = map { $_ => 1 } split /\n/, $to->run($ROLES);
	diag(join("\n", (grep { !delete $to{$_} } split /\n/, $from->run($ROLES)), 'but', keys %to));
	return 0;
}

# ---- joining ----

$n1->safe_psql('postgres', q{
	create role unused login password 'x'; create role team; grant team to unused with admin option; comment on role team is 'a team'; create role granted; grant pg_monitor to granted;
	set role unused; grant team to granted; reset role; alter role unused set work_mem = '3MB'; alter role all in database app set work_mem = '4MB'; alter database app owner to team});
$n1->run('create table t(i int primary key); alter table t owner to granted');
$n1->create_group;
$n2->safe_psql('postgres', q{create role team createdb login password 'of n2'});
$n2->append_conf('postgresql.conf', 'baton.replicate_roles = off');
$n2->reload;
$n2->run(sprintf "select baton.join_group('%s', 'n2', '%s')", $n1->dsn, $n2->dsn);
my $missing = qr/role "granted", which the copied database uses, does not exist in this server/;
ok(eventually(sub { PostgreSQL::Test::Utils::slurp_file($n2->logfile) =~ $missing }), 'without roles a copy says which it needs');
$n2->append_conf('postgresql.conf', 'baton.replicate_roles = on');
$n2->reload;
$n2->wait_state('replica');
same_roles($n1, $n2, 'all roles come with the copy, and those that were there are altered');
$n1->run('create table made_by(i int primary key); alter table made_by owner to unused');
caught_up($n1, $n2);
is($n2->run(q{select tableowner from pg_tables where tablename = 'made_by'}), 'unused', 'a role that nothing used is there');

# ---- the lead changes ----

$n2->safe_psql('postgres', 'create role of_n2 login; create role of_n2_group; grant of_n2_group to of_n2');
$n1->run(q(select baton.failover('n2', after => 'rejoin')));
$n2->wait_state('primary');
$n2->run('create table by_n2(i int primary key); alter table by_n2 owner to of_n2');
$n1->wait_state('replica');
caught_up($n2, $n1);
is($n1->run(q{select tableowner from pg_tables where tablename = 'by_n2'}), 'of_n2', 'a role that the replica\'s server had alone is told when it leads');
same_roles($n2, $n1, 'and all of its roles');

# ---- two nodes in one server ----

$n1->safe_psql('postgres', 'create database app2');
$n1->safe_psql('app2', 'create extension baton');
my $dsn = $n1->dsn =~ s/dbname=\S+/dbname=app2/r;
$n1->safe_psql('app2', sprintf "select baton.join_group('%s', 'n3', '%s')", $n2->dsn, $dsn);
ok(eventually(sub { $n1->safe_psql('app2', 'select state from baton.status') eq 'replica' }), 'a third node, in the first one\'s server');
$n2->run(q{do $$ begin for i in 1..300 loop execute format('create role many_%s login password ''p'' in role team', i); execute format('alter role many_%s set work_mem = %s', i, 64 + i); end loop; end $$});
$n2->run('alter role many_7 rename to seven; drop role many_8; alter role many_9 createdb');
$n2->run('select baton.position()');
$n2->safe_psql('postgres', 'drop role many_10; alter role many_11 rename to eleven; create role made_elsewhere');
same_roles($n2, $n1, 'many roles, for two nodes of one server');
my $token = $n2->run('select baton.position()');
$n1->safe_psql('app2', "select baton.wait_for('$token', '60s')");
is($n1->safe_psql('app2', 'select error from baton.stat_apply') . $n1->run('select error from baton.stat_apply'), '', 'neither of them stops');
is($n1->run(q{select count(*) from baton.events where event = 'role'}) + $n1->safe_psql('app2', q{select count(*) from baton.events where event = 'role'}), 0, 'nothing was left out');
sub told { return $_[0]->run(q{select count(*) from baton.stream_records() where type = 'ROLE' and detail ~ '^attributes'}); }
my $told = told($n2);
$n2->run('select baton.position()') for 1 .. 3;
is(told($n2), $told, 'all is told, and not again');

# the node that shares its server leads, and the other one follows it
my $roles = $n2->run('select count(*) from pg_authid where oid >= 16384');
$n2->run(q(select baton.failover('n1', after => 'rejoin')));
$n1->wait_state('primary');
# it tells them all when its reign begins; a position waits for that a moment only
ok(eventually(sub { told($n1) >= $told + $roles }), 'the new primary tells all roles');
$n1->run('select baton.position()');
$told = told($n1);
$n1->run(q{create role last_one login password 'q' in role team; alter role seven password 'r'; drop role many_12});
same_roles($n1, $n2, 'the server of two nodes leads');
$token = $n1->run('select baton.position()');
$n1->safe_psql('app2', "select baton.wait_for('$token', '60s')");
is($n1->safe_psql('app2', 'select error from baton.stat_apply'), '', 'the other one of them has nothing to do');
cmp_ok(told($n1), '<', $told + 20, 'what this database tells does not make all be told again');

done_testing;
