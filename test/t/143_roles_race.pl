# The order of roles' states in the stream when transactions overlap: one that tells first
# what the replicas may need, since another database has made roles just before, and one
# that alters, renames or drops roles meanwhile.
#
# The failure prevented: an old state behind a newer one.  A role that was dropped, or its
# old name, is on the replica again, where it can log in, is a member of what it must not be,
# and stops apply when its name is given anew.
use strict;
use warnings;
use BatonCluster;
use Test::More;

# The coordinator is held for the whole test: its lease must not end meanwhile.
my ($n1, $n2) = map { BatonCluster->node("n$_", conf => 'baton.election_timeout = 120s') } 1, 2;
$n1->create_group;
$n2->join_group($n1);

my $STATE = q{
	select 'role', rolname, rolsuper, rolcreatedb, rolcanlogin, rolconnlimit from pg_authid where oid >= 16384 order by 2;
	select 'member', r.rolname, m.rolname from pg_auth_members a join pg_authid r on r.oid = roleid join pg_authid m on m.oid = a.member
		where m.oid >= 16384 order by 2, 3;
	select 'owner', tablename, tableowner from pg_tables where schemaname = 'public' order by 2};

# Test: both servers have the same, and apply goes on.
sub same_roles
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$n1->run('insert into goes_on select count(*) from goes_on');
	ok(eventually(sub { $n2->run($STATE . '; select count(*) from goes_on') eq $n1->run($STATE . '; select count(*) from goes_on') }), $name)
		or diag($n1->run($STATE), "\n---\n", $n2->run($STATE), "\n", $n2->run('select error from baton.stat_apply'));
	return;
}

# A command that waits for a lock; the session goes on with it in the background.
sub waits
{
	my ($session, $sql, $name) = @_;
	$session->query_until(qr/given/, "\\echo given\n$sql;\n");
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(eventually(sub { $n1->run(q{select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query = '} . $sql . q{;'}) }), $name);
	return;
}

$n1->run(q{
	create table goes_on(i int primary key);
	create role altered login; create role renamed_old login; create role dropped login; create role owner_old; create role in_use_old;
	create role swap_a; create role swap_b; create role swap_0; create role swap_1; create role joins; grant swap_a to joins});
same_roles('as it begins');

# From here on something of another database is to be told, and the coordinator, which would
# do it, stands still: each command here tells all roles that it can.
my $pid = $n1->worker_pid('coordinator');
kill 'STOP', $pid;
$n1->safe_psql('postgres', 'create role elsewhere login');

my ($changer, $teller) = map { $n1->session } 1, 2;

# ---- the change is under way when the roles are told, and is committed first ----

$changer->query_safe('begin; alter role altered connection limit 5; alter role renamed_old rename to renamed_new; drop role dropped');
$changer->query_safe('alter role swap_a rename to swap_c; alter role swap_b rename to swap_a; alter role swap_c rename to swap_b');
$teller->query_safe('begin; create table told_behind(i int primary key)');
$changer->query_safe('commit');
$teller->query_safe('commit');
is($n1->run(q{select count(*) from pg_authid where rolname in ('renamed_old', 'dropped')}), 0, 'renamed and dropped');
same_roles('what a role was before a new name or its end does not come behind that');

# the old name is free
$n1->run('alter role renamed_new rename to renamed_old; create role dropped');
same_roles('names are given anew');

# ---- sessions that each tell what they need, and change a role then, are in nobody's way ----

{
	my @sessions = ($changer, $teller);
	$sessions[$_]->query_safe("begin; create role made_$_ in role swap_$_") for 0, 1;
	$sessions[$_]->query_safe("alter role swap_$_ connection limit 3") for 0, 1;
	$_->query_safe('commit') for @sessions;
	is($n1->run(q{select string_agg(rolconnlimit::text, ' ') from pg_roles where rolname ~ '^swap_[01]$'}), '3 3', 'both have changed a role');
	same_roles('two that change roles side by side');
}

# ---- the role has been altered when it is told, and is to get its name, or go, then ----

for my $command ('alter role altered rename to altered_new', 'drop role altered_new')
{
	my $role = (split ' ', $command)[2];
	$changer->query_safe("begin; alter role $role connection limit 6");
	$teller->query_safe('begin; create table told_before_' . length($role) . '(i int primary key)');
	waits($changer, $command, "$command: waits for who has told it");
	$teller->query_safe('commit');
	$changer->query_safe('commit');
	same_roles("$command: it comes behind");
}

# ---- a command that is not committed names the role ----

$teller->query_safe('begin; create table of_owner(i int primary key); alter table of_owner owner to in_use_old');
waits($changer, 'alter role in_use_old rename to in_use_new', 'a new name waits for who uses the old one');
$teller->query_safe('commit');
$changer->query_safe('select 1');
is($n1->run(q{select tableowner from pg_tables where tablename = 'of_owner'}), 'in_use_new', 'and is given then');
same_roles('the command comes before the new name');

# who may not rename it holds up nobody
$n1->run('grant create on schema public to elsewhere');
{
	my $open = $n1->background_psql($BatonCluster::DB, on_error_stop => 0, extra_params => [ '-U', 'elsewhere' ]);
	$open->query('begin; savepoint a; drop role if exists not_there; rollback to a');
	is($n1->run(q{select count(*) from pg_locks where locktype = 'object' and database = 0 and objid = 0}), 0, 'no lock for who may not drop roles');
	$open->quit;
}

# ---- what was not told is told when the coordinator goes on ----

my $elsewhere = $n1->background_psql('postgres');
$elsewhere->query_safe('begin; alter role owner_old rename to owner_new');
$n1->safe_psql('postgres', 'grant swap_b to elsewhere; create role elsewhere2');
kill 'CONT', $pid;
ok(eventually(sub { $n2->run(q{select count(*) from pg_authid where rolname = 'elsewhere2'}) }), 'a rename that stays open does not hold up roles');
is($n2->run(q{select count(*) from pg_auth_members where member = 'elsewhere'::regrole}), 0, 'what only names roles comes behind it');
$elsewhere->query_safe('commit');
$_->quit for $changer, $teller, $elsewhere;
same_roles('and memberships come when it has ended');

done_testing;
