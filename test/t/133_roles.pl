# Roles, their passwords, memberships and settings, and what concerns this database:
# the replica's catalogs are those of the primary, whoever changed them in which
# database, and nothing that was typed as a password is anywhere but in the command.
#
# The failure prevented: after a failover nobody can log in, or somebody can who was
# shut out.
use strict;
use warnings;
use BatonCluster;
use Test::More;

# The coordinator is held for a while: its lease must not end meanwhile.
my ($n1, $n2) = map {
	BatonCluster->node("n$_", conf => "wal_level = logical\nlogical_decoding_work_mem = 64kB\nbaton.election_timeout = 60s")
} 1, 2;
# the replica's database has another name
$n2->safe_psql('postgres', 'create database app2');
$n1->create_group;

# n2's node is database app2
{
	my $dsn = $n2->dsn =~ s/dbname=\S+/dbname=app2/r;
	$n2->safe_psql('app2', 'create extension baton');
	$n2->safe_psql('app2', "select baton.join_group('" . $n1->dsn . "', 'n2', '$dsn')");
}
sub on2 { return $n2->safe_psql('app2', $_[0], timeout => 180); }
eventually(sub { on2('select state from baton.status') eq 'replica' }) or die 'n2 does not join';

# All that is told of roles, by names.
my $STATE = q{
	select 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
		rolconnlimit, rolpassword, rolvaliduntil::text, shobj_description(oid, 'pg_authid')
		from pg_authid where oid >= 16384 and rolname !~ '^local' order by 2;
	select 'member', r.rolname, m.rolname, g.rolname, admin_option from pg_auth_members a
		join pg_authid r on r.oid = roleid join pg_authid m on m.oid = a.member join pg_authid g on g.oid = grantor
		where m.oid >= 16384 and r.rolname !~ '^local' order by 2, 3;
	select 'setting', setrole::regrole, setdatabase = (select oid from pg_database where datname = current_database()), setconfig
		from pg_db_role_setting where setdatabase in (0, (select oid from pg_database where datname = current_database())) order by 2, 3;
	select 'database', datdba::regrole, datconnlimit, datacl, shobj_description(oid, 'pg_database') from pg_database where datname = current_database();
	select 'parameter', parname, paracl from pg_parameter_acl order by 2;
	select 'default', defaclrole::regrole, defaclobjtype, defaclacl from pg_default_acl order by 2, 3};

sub caught_up2
{
	my $token = $n1->run('select baton.position()');
	my ($out, $err) = ('', '');
	$n2->psql('app2', "select baton.wait_for('$token', '60s')", stdout => \$out, stderr => \$err, timeout => 100);
	diag($err, on2('select * from baton.stat_apply')) if $err =~ /ERROR/;
	return;
}

# Test: both servers have the same; a position covers what was given in other databases too.
sub same_roles
{
	my ($name) = @_;
	caught_up2();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my %on1 = map { $_ => 1 } split /\n/, $n1->run($STATE);
	my @only2 = grep { !delete $on1{$_} } split /\n/, on2($STATE);
	return is(join("\n", @only2), join("\n", sort keys %on1), $name);
}

sub travels
{
	my ($name, $sql, $db) = @_;
	$n1->psql($db // $BatonCluster::DB, $sql, on_error_stop => 0);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same_roles($name);
}

sub events { return on2("select string_agg(detail, ' / ' order by id) from baton.events where event = 'role'"); }

# ---- in this database ----

same_roles('a group that has just been made');
is(on2('select count(*) from pg_authid where oid >= 16384'), 0, 'there is no role yet');
travels('passwords', q{
	create role scram login password 'clear-scram'; create user md with password null; set password_encryption = 'md5';
	alter user md password 'clear-md5'; reset password_encryption; create role hashed login password 'md5c5b34fdd6a5a3a6a2c5f5b0a1b2c3d4e';
	create role none login password 'clear-gone'; alter role none password null; create role dated login password 'clear-dated' valid until '2040-01-01 00:00+05';
	create role again login password 'clear-first'; alter role again password 'clear-second';
	do $$ begin execute 'create role in_do login password ''clear-do'''; end $$;
	begin; create role in_tx login password 'clear-tx'; savepoint a; alter role in_tx password 'clear-undone' createdb; rollback to a; commit;});
isnt($n1->run("select rolpassword from pg_authid where rolname = 'scram'"), '', 'there are passwords to compare');
travels('attributes', q{
	create role many superuser createdb createrole noinherit login replication bypassrls connection limit 5 valid until 'infinity';
	alter role many nosuperuser nocreatedb connection limit -1 noreplication; create group g1; create user u1; alter group g1 add user u1;
	alter user u1 with connection limit 3 nologin; create role owner_of_db login; create role "Odd "" name" login});
travels('memberships', q{
	create role r1; create role r2; create role r3 in role r1 role r2 admin u1; grant r1, g1 to many, md with admin option; grant r2 to md granted by many;
	revoke admin option for r1 from md; alter group g1 drop user u1; grant pg_monitor to u1; revoke g1 from many; grant r1 to r2; grant r1 to r2});
travels('settings', q{
	alter role u1 set work_mem = '8MB'; alter role u1 set search_path = 'a b', "C"; alter role u1 in database app set statement_timeout = '1h';
	alter role all set lock_timeout = '1h'; alter role all in database app set deadlock_timeout = '2s'; alter database app set work_mem = '5MB';
	alter role many set work_mem = '1MB'; alter role many set temp_buffers = '9MB'; alter role many reset work_mem; alter role r1 set work_mem = '3MB'; alter role r1 reset all;
	alter role u1 set my.own = 'x, y'});
like(on2('show deadlock_timeout'), qr/2s/, 'a setting of the database holds in one of another name');
travels('names', q{
	create table owned(i int primary key); alter table owned owner to scram; alter role scram rename to scram2; alter role md rename to md2;
	alter role r1 rename to tmp; alter role r2 rename to r1; alter role tmp rename to r2});
is(on2(q{select tableowner from pg_tables where tablename = 'owned'}), 'scram2', 'what it owns stays its own');
is(on2(q{select rolpassword is null from pg_authid where rolname = 'md2'}), 't', 'a new name makes an md5 password void');
travels('comments and the database', q{
	comment on role u1 is 'a ''comment'''; comment on role r1 is 'gone'; comment on role r1 is null; comment on database app is 'ours';
	alter database app owner to owner_of_db; alter database app connection limit 50; grant create, connect on database app, postgres to u1 with grant option;
	set role u1; grant connect on database app to r1; reset role; revoke temporary on database app from public; alter database app is_template false});
travels('privileges', q{
	grant set on parameter work_mem to u1; alter default privileges for role u1 grant select on tables to r1; grant select on owned to u1 with grant option;
	create role gone; create table ofgone(i int primary key); alter table ofgone owner to gone; grant all on database app to gone; reassign owned by gone to u1;
	drop owned by gone; drop role gone; create role gone2; drop role gone2, "Odd "" name"; drop role if exists never, again;
	grant pg_read_all_data to r1; revoke grant option for create on database app from u1 cascade});
is($n1->run('select pg_get_userbyid(relowner), relacl from pg_class where relname in (\'owned\', \'ofgone\') order by relname'),
	on2('select pg_get_userbyid(relowner), relacl from pg_class where relname in (\'owned\', \'ofgone\') order by relname'), 'owners and grants of tables');
travels('what fails leaves nothing', q{
	begin; create role undone login password 'clear-rollback'; alter role u1 createdb; rollback; create role u1 password 'clear-twice'; drop role scram2; drop role never;
	begin; savepoint a; create role undone; grant undone to u1; rollback to a; commit; alter role never password 'clear-never'; alter database app rename to app3;
	do $$ begin begin create role undone password 'clear-inner'; raise 'no'; exception when others then null; end; end $$;
	begin; create role prepared_one login password 'clear-prepared'; prepare transaction 'p1'; begin; create role prepared_none; prepare transaction 'p2'; rollback prepared 'p2'; commit prepared 'p1'});
is(on2(q{select count(*) from pg_authid where rolname = 'undone'}), 0, 'nor is there what was undone');
travels('a large transaction that is undone in part', q{
	create table big(i int primary key, t text); begin; create role streamed1; insert into big select g, repeat('x', 100) from generate_series(1, 3000) g;
	savepoint a; create role streamed2; insert into big select g, repeat('x', 100) from generate_series(3001, 6000) g; rollback to a; grant streamed1 to u1; commit});
travels('tablespaces stay', q{set allow_in_place_tablespaces = on; create tablespace ts location ''; alter tablespace ts owner to u1; grant create on tablespace ts to r1; comment on tablespace ts is 'x'});

# ---- logging in ----

sub logs_in
{
	my ($user, $password) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGPASSWORD} = $password;
	$n2->psql('postgres', 'select current_user', extra_params => [ '-U', $user, '-w' ], stdout => \$out, stderr => \$err);
	return $out eq $user ? 1 : 0;
}
$n1->run(q{create role enters login password 'clear-enters'});
caught_up2();
{
	my $hba = $n2->data_dir . '/pg_hba.conf';
	my $old = PostgreSQL::Test::Utils::slurp_file($hba);
	open my $f, '>', $hba; print $f "local all scram2,enters,prepared_one scram-sha-256\n$old"; close $f;
	$n2->reload;
}
ok(eventually(sub { !logs_in('enters', 'wrong') }), 'a wrong password does not let in');
is(logs_in('enters', 'clear-enters') + logs_in('prepared_one', 'clear-prepared') + logs_in('scram2', 'clear-scram'), 3, 'the password from the primary does');

# ---- other databases ----

$n1->safe_psql('postgres', 'create database other');
$n1->run('create role owns_far; grant temporary on database app to owns_far; alter database app owner to owns_far');
travels('given up in another database', q{drop owned by owns_far; reassign owned by owns_far to owner_of_db}, 'postgres');
travels('in another database', q{
	create role elsewhere login password 'clear-elsewhere'; grant r1 to elsewhere; alter role elsewhere set work_mem = '2MB'; comment on role elsewhere is 'far';
	create role elsewhere2; create role elsewhere3; grant elsewhere2 to elsewhere3; alter role u1 createdb; grant connect on database app to elsewhere;
	alter database app set temp_buffers = '10MB'; alter role u1 in database app reset statement_timeout}, 'postgres');
is(on2(q{select count(*) from pg_authid where rolname ~ '^elsewhere'}), 3, 'they are there');
travels('changed and gone in another database', q{
	alter role elsewhere rename to elsewhere1; revoke elsewhere2 from elsewhere3; drop role elsewhere2; alter role elsewhere1 reset work_mem; comment on role elsewhere1 is null;
	revoke connect on database app from elsewhere1; alter role u1 in database other set work_mem = '4MB';
	begin; create role undone; rollback; begin; create role elsewhere4; grant elsewhere4 to u1; prepare transaction 'p'; commit prepared 'p'; drop role elsewhere3; create role elsewhere3 login}, 'other');
is(on2(q{select string_agg(rolname, ' ' order by rolname) from pg_authid where rolname ~ '^elsewhere'}), 'elsewhere1 elsewhere3 elsewhere4', 'they are as they are');

# used before the coordinator has told: it stands still
{
	my $pid = $n1->worker_pid('coordinator');
	kill 'STOP', $pid;
	my $open = $n1->session;
	$n1->safe_psql('postgres', 'create role hurry login; create role hurried; grant hurried to hurry');
	$n1->run('create schema h; grant create, usage on schema h to hurried');
	$n1->safe_psql($BatonCluster::DB, 'create table h.by_hurry(i int primary key)', extra_params => [ '-U', 'hurry' ]);
	kill 'CONT', $pid;
	$open->quit;
}
same_roles('a role of another database is used at once');
is(on2(q{select tableowner from pg_tables where tablename = 'by_hurry'}), 'hurry', 'and what it has made is there');

# an open transaction here that has changed a role holds up nobody
{
	my $open = $n1->session;
	$open->query_safe('begin; create role held; alter role u1 connection limit 7');
	$n1->safe_psql('postgres', 'create role meanwhile; grant meanwhile to r1; drop role elsewhere4');
	$n1->run('create table by_meanwhile(i int primary key); alter table by_meanwhile owner to meanwhile');
	caught_up2();
	is(on2(q{select tableowner from pg_tables where tablename = 'by_meanwhile'}), 'meanwhile', 'a transaction that has changed roles is open');
	$open->query_safe('commit');
	$open->quit;
}
ok(eventually(sub { on2($STATE) eq $n1->run($STATE) }), 'equal when it has ended') or same_roles('equal when it has ended');

# ---- roles that are here already, or needed here ----

$n2->safe_psql('postgres', q{
	create role present createdb connection limit 9 valid until '2030-01-01'; create role local_role; grant local_role to present;
	create role local_bound; create table of_bound(i int); alter table of_bound owner to local_bound; create role local_super superuser login; create role local_twin superuser; create role local_renamed});
travels('a role that is here already is altered', q{
	create role present login password 'clear-present'; create role local_bound; create role renamed_a; drop role local_bound});
is(on2(q{select rolcreatedb, rolconnlimit, rolvaliduntil is null from pg_authid where rolname = 'present'}), 'f|-1|t', 'in all its attributes');
ok(eventually(sub { events() =~ qr/role "local_bound" is dropped on the primary and stays here, because objects of this server depend on it/ }), 'one that is needed is kept, and an event says so') or diag(events());
is(on2(q{select count(*) from pg_authid where rolname = 'local_bound'}), 1, 'it is kept');
$n2->safe_psql('postgres', 'drop table of_bound; drop role local_bound');

# a rename onto a role of the replica's own: apply stops, says so, and goes on
$n1->run('alter role renamed_a rename to local_renamed');
ok(eventually(sub { on2('select error from baton.stat_apply') =~ /role "renamed_a" has been renamed to "local_renamed" on the primary, and both are here/ }), 'two roles where there should be one stop apply');
like(on2('select error from baton.stat_apply'), qr/Rename or drop the one/, 'with a hint');
$n2->safe_psql('postgres', 'drop role local_renamed');
same_roles('it goes on when one is gone');

# ---- nobody becomes more than he is on the primary ----

$n1->run(q{create role maker createrole login});
my $bootstrap = $n2->safe_psql('postgres', 'select rolname from pg_authid where oid = 10');
my $r = $n1->try(q{create role local_super login password 'clear-taken'; create role local_twin; grant local_super, local_twin to maker; alter role local_twin set work_mem = '7MB'; alter role local_super password 'clear-taken2'}, user => 'maker');
ok($r->{ok}, 'a role with CREATEROLE makes roles that are superusers on the replica') or diag($r->{text});
caught_up2();
is(on2(q{select rolsuper, rolpassword is null from pg_authid where rolname in ('local_super', 'local_twin')}), "t|t\nt|t", 'these stay as they are');
is(on2(q{select count(*) from pg_auth_members where member = 'maker'::regrole}), 0, 'it is no member of them');
is(on2(q{select count(*) from pg_db_role_setting where setrole = 'local_twin'::regrole}), 0, 'and cannot set them up');
ok(eventually(sub { events() =~ qr/role "local_twin" is a superuser here and not where the change comes from/ }), 'an event says so') or diag(events());
$n1->try(q{select pg_logical_emit_message(true, 'baton.role', repeat('x', 60)); select 1}, user => 'maker');
$n1->run('drop role local_super, local_twin');
caught_up2();
is(on2(q{select count(*) from pg_authid where rolname in ('local_super', 'local_twin')}), 2, 'nor dropped');
$n2->safe_psql('postgres', 'drop role local_super, local_twin');
$n1->run(q{create role was_super superuser});
travels('who was a superuser on the primary is none any more', 'alter role was_super nosuperuser');
$n1->safe_psql('postgres', 'alter role was_super superuser');
same_roles('and is again, from another database');
$n1->safe_psql('postgres', 'alter role was_super nosuperuser');
same_roles('and not');

# ---- nothing that was typed is anywhere ----

$n1->run('select pg_switch_wal()');
for my $node ($n1, $n2)
{
	my $dir = $node->data_dir;
	my $found = `grep -rlE 'clear-[a-z0-9]+' $dir/pg_wal $dir/baton $dir/base @{[ $node->logfile ]} 2>/dev/null`;
	# errors of the tests' own commands stand in the primary's log, as PostgreSQL puts them there
	$found =~ s/^\Q@{[ $node->logfile ]}\E\n//m if $node == $n1;
	is($found, '', 'no clear text on ' . $node->name);
}
is($n1->run(q{select count(*) from baton.stream_records() where detail ~ 'SCRAM-SHA|md5|clear-'}), 0, 'stream_records() shows no hash');

# ---- off ----

$n1->append_conf('postgresql.conf', 'baton.replicate_roles = off');
$n1->reload;
ok(eventually(sub { $n1->run('show baton.replicate_roles') eq 'off' }), 'turned off on the primary');
$n1->run(q{create role only_here login password 'clear-off'; alter role u1 connection limit 77; alter database app connection limit 51; comment on role u1 is 'not told'});
$n1->safe_psql('postgres', 'create role only_there');
caught_up2();
is(on2(q{select count(*) from pg_authid where rolname ~ '^only'}), 0, 'no roles are told');
is(on2(q{select datconnlimit from pg_database where datname = 'app2'}), 51, 'what is the database\'s own is');
$n1->run('grant select on owned to only_here');
ok(eventually(sub { on2('select error from baton.stat_apply') =~ /role "only_here" does not exist.*If a role is missing here, create it/ }), 'a grant to a role that is missing stops apply and says what to do');
$n1->append_conf('postgresql.conf', 'baton.replicate_roles = on');
$n1->reload;
$n2->safe_psql('postgres', 'create role only_here');
ok(eventually(sub { on2($STATE) eq $n1->run($STATE) }), 'told when it is on again') or same_roles('told when it is on again');
$n2->append_conf('postgresql.conf', 'baton.replicate_roles = off');
$n2->reload;
$n1->run('create role not_applied');
caught_up2();
is(on2(q{select count(*) from pg_authid where rolname = 'not_applied'}), 0, 'turned off on the replica nothing is applied');

done_testing;
