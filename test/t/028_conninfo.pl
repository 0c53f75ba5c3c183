# Nodes that reach each other over TLS, with a password from a file, through a service
# file, and as a role that is no superuser.
#
# The failures prevented: a group that works as long as everybody trusts everybody; a
# password that can be read in a view, a hint or a server log.
use strict;
use warnings;
use BatonCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $password = 'gEheim-4711';
my $wrong = 'vErkehrt-4712';
system_or_bail(qw(openssl req -new -x509 -days 10 -nodes -newkey rsa:2048 -subj /CN=localhost),
	'-out', "$dir/server.crt", '-keyout', "$dir/server.key");
append_to_file("$dir/passfile", "*:*:*:peer:$password\n");
chmod 0600, "$dir/server.key", "$dir/passfile";
$ENV{PGSERVICEFILE} = "$dir/services";
delete $ENV{PGPASSFILE};

# Local connections are the tests' own and baton's loopback; others come over TLS, with
# a password.
sub node
{
	my ($name) = @_;
	my $node = BatonCluster->node($name, conf => <<"CONF");
listen_addresses = '127.0.0.1'
ssl = on
ssl_cert_file = '$dir/server.crt'
ssl_key_file = '$dir/server.key'
password_encryption = scram-sha-256
baton.reconnect_max_delay = 500ms
baton.election_timeout = 5s
log_connections = on
CONF
	unlink $node->data_dir . '/pg_hba.conf';
	append_to_file($node->data_dir . '/pg_hba.conf', <<'HBA');
local all all trust
hostssl all peer 127.0.0.1/32 scram-sha-256
HBA
	$node->run("select pg_reload_conf(); set log_min_error_statement = panic; create role peer login replication password '$password'");
	append_to_file("$dir/services", sprintf "[%s]\nhost=127.0.0.1\nport=%d\ndbname=app\nuser=peer\nsslmode=verify-ca\nsslrootcert=%s\npassfile=%s\n",
		$name, $node->port, "$dir/server.crt", "$dir/passfile");
	return $node;
}

my @n = map { node("n$_") } 1 .. 3;
my ($n1, $n2, $n3) = @n;

# How others reach a node: one way each.
my %dsn = (
	n1 => "service=n1",
	n2 => sprintf('host=127.0.0.1 port=%d dbname=app user=peer sslmode=require passfile=%s', $n2->port, "$dir/passfile"),
	n3 => sprintf('host=127.0.0.1 port=%d dbname=app user=peer sslmode=require password=%s', $n3->port, $password));

sub join_n { my ($node) = @_; return sprintf "select baton.join_group('%s', '%s', '%s')", $dsn{n1}, $node->name, $dsn{ $node->name }; }

# ---- what a role needs ----
$n1->run('create table t(id int primary key, v text); insert into t select g, md5(g::text) from generate_series(1, 100) g');
$n1->run("alter role peer noreplication");
my $r = $n1->try("select baton.create_group('shop', 'n1', '$dsn{n1}')");
is($r->{ok}, 0, 'a role without REPLICATION: create_group() refuses its conninfo');
is($r->{state}, '42501', 'with the fitting SQLSTATE') or diag($r->{text});
like($r->{hint} // '', qr/REPLICATION/, 'and says what it needs');
$n1->run("alter role peer replication");
$r = $n1->try("select baton.create_group('shop', 'n1', '" . $dsn{n1} =~ s/n1/nowhere/r . "')");
like($r->{state} // '', qr/^(08|22)/, 'an unknown service is refused') or diag($r->{text});
$r = $n1->try("select baton.create_group('shop', 'n1', 'host=127.0.0.1 port=" . $n1->port . " dbname=app user=peer password=$wrong')");
like($r->{state} // '', qr/^08/, 'a wrong password is refused') or diag($r->{text});
like($r->{text}, qr/password authentication failed for user "peer"/, 'and the error says so');
unlike(join(' ', map { $_ // '' } @$r{qw(message detail hint)}), qr/\Q$wrong\E/, 'but not which');
$n1->run("select baton.create_group('shop', 'n1', '$dsn{n1}')");
$n1->wait_state('primary');

my $join = $n2->try_later(join_n($n2));
ok(eventually(sub { $n2->run('select error from baton.stat_copy') =~ /permission denied for table t/ }),
	'a role that may not read: the joining node says which table') or diag($n2->run('select * from baton.stat_copy'));
like(slurp_file($n2->logfile), qr/HINT: .*pg_read_all_data/, 'and what to grant');
$n1->run('grant pg_read_all_data to peer');
$join->();
$n2->wait_state('replica');
$n3->run(join_n($n3));
$n3->wait_state('replica');

sub all_equal
{
	my ($name, $primary, @replicas) = @_;
	$primary->run("insert into t select max(id) + 1, '$name' from t");
	caught_up($primary, @replicas);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	same_data($primary, $_, "$name: " . $_->name) for @replicas;
	return;
}
all_equal('joined', $n1, $n2, $n3);
for my $node ($n2, $n3)
{
	is($node->run("select count(*) > 0 and bool_and(s.ssl and a.usename = 'peer') from pg_stat_activity a join pg_stat_ssl s using (pid)
		where a.application_name like 'baton peer%'"), 't', $node->name . ' hears the primary over TLS, as the role in its conninfo');
}

# ---- the lead goes round, so that everybody connects to everybody ----
my ($p, @others) = @n;
for my $next ($n2, $n3, $n1)
{
	$r = $p->try("select * from baton.failover('" . $next->name . "', after => 'rejoin')");
	ok($r->{ok}, $next->name . ' takes over') or diag($r->{text});
	$next->wait_state('primary');
	$p->wait_state('replica');
	@others = grep { $_ != $next } @n;
	$p = $next;
	all_equal('led by ' . $p->name, $p, @others);
}

# ---- a password that changes ----
sub change_password
{
	my ($new) = @_;
	$n2->safe_psql('postgres', "set log_min_error_statement = panic; alter role peer password '$new'");
	$n2->run("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'baton peer%'");
	return;
}
change_password($wrong);
ok(eventually(sub { $n1->run("select error from baton.stat_replication where node_name = 'n2'") =~ /password authentication failed for user "peer"/ }),
	'a password that is not valid any more: the primary says so');
all_equal('the other goes on', $n1, $n3);
change_password($password);
all_equal('connected anew', $n1, $n2, $n3);

# ---- who may read the password: nobody ----
# a refused client is told where the primary is: node n3's conninfo has the password
$r = $n1->try("select * from baton.failover('n3', after => 'rejoin')");
ok($r->{ok}, 'n3 leads') or diag($r->{text});
$n3->wait_state('primary');
for my $node ($n1, $n2)
{
	ok(eventually(sub { $node->run('select primary_name from baton.status') eq 'n3' }), $node->name . ' follows n3');
	my $write = $node->try('insert into t values (-1)');
	like($write->{text}, qr/HINT: .*"n3".* port=/, $node->name . ': the hint has the address');
	unlike($write->{text}, qr/$password|passfile|user=/, $node->name . ': and only that');
	unlike($node->try("select baton.failover('n1')")->{text}, qr/$password|passfile/, $node->name . ': nor does another error tell more');
}
for my $node (@n)
{
	my $shown = join "\n", map { $node->run("select * from $_") }
	  qw(baton.nodes baton.status baton.events baton.stat_replication baton.stat_apply baton.stat_copy baton.copy_progress baton.stream_records());
	unlike($shown, qr/$password/, $node->name . ': no view shows the password');
	like($node->run("select conninfo from baton.nodes where node_name = 'n3'"), qr/host=127.0.0.1/, $node->name . ': baton.nodes shows the rest');
	is($node->run("select count(*) from pg_stat_activity where query ~ '$password' and pid <> pg_backend_pid()"), 0, $node->name . ': nor does a running query');
	# (what a client writes into a statement that fails is in the log: that is PostgreSQL's)
	my @lines = grep { /$password/ } split /\n/, slurp_file($node->logfile);
	is(scalar @lines, 0, $node->name . ': the server log does not have it') or diag(@lines);
}
$n3->safe_psql('postgres', 'create role anybody login');
is($n3->try('select * from baton_rpc.describe()', user => 'anybody')->{state}, '42501', 'an ordinary role does not get it from another node');
done_testing();
