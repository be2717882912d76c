# Brokers that ask who comes: passwords over TLS, certificates, access lists.
# What is wrong is named, is tried again, never by a weaker way; the log stays
# short; as soon as it is mended counting goes on by itself, exactly; and
# through all of it nobody gets to see a password.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use File::Temp qw(tempdir);
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use StreamCount::Broker;
use StreamCount::Certificates;
use StreamCount::Node;
use StreamCount::SecuredKafka;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::SecuredKafka::missing() if StreamCount::SecuredKafka::missing();

# A login that fails is named so soon after it.
my $named_within_s = 20;
# Who is let in again counts so soon after it: with another password, and after
# an access that is looked for now and then.
my $let_in_within_s = 10;
my $allowed_within_s = 60;
# How long a fault's log lines are counted
my $observed_s = $ENV{STREAMCOUNT_OBSERVED_S} // 10;

# All passwords begin alike, so that they can be looked for.
my %password = map { $_ => "canary-$_" } qw(alice bob dora new wrong key otherkey);
my $kafka = StreamCount::SecuredKafka->new(
	users => { map { $_ => $password{$_} } qw(alice bob dora) })->start;
my $ca = $kafka->ca;
my $other = StreamCount::Certificates->new("$kafka->{dir}/other", 'Another authority');

$ca->issue('carol', password => $password{key});
$ca->issue('lapsed', expired => 1);
$ca->issue('renewed');
$kafka->create_topic('tweets', 2);
$kafka->allow($_, 'read', 'topic', 'tweets') foreach qw(alice carol lapsed renewed);
$kafka->allow('dora', 'describe', 'topic', 'tweets');

# Not every server has what PostgreSQL adds to itself.
my $has_statements = -f qx{$ENV{PG_CONFIG} --pkglibdir} =~ s/\s+$//r . '/pg_stat_statements.so';
my $node = StreamCount::Node->new('secured');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "log_statement = none\nlog_checkpoints = off\nmax_worker_processes = 40\n"
	  . ($has_statements ? "shared_preload_libraries = 'streamcount,pg_stat_statements'\n" : '')
	  . "streamcount.max_workers = 24\nstreamcount.metadata_interval = 1s\n");
$node->start;
my $superuser = $node->superuser;
query('CREATE EXTENSION streamcount; CREATE ROLE reader LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor');

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub within
{
	my ($seconds, $since, $name) = @_;
	my $took = time - $since;

	cmp_ok($took, '<=', $seconds, sprintf '%s after %.1f s', $name, $took);
	return;
}

sub options
{
	my (%options) = @_;

	return join ', ', map { qq("$_" ) . quoted($options{$_}) } sort keys %options;
}

sub quoted
{
	my ($text) = @_;

	return q(') . $text =~ s/'/''/gr . q(');
}

# A server, the owner's user mapping, a stream and its rollup, of one name
sub create_stream
{
	my ($name, $address, $server, $mapping) = @_;
	my $options = options('bootstrap.servers' => $address, %$server);
	my $secrets = options(%$mapping);

	query(qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER streamcount OPTIONS ($options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name} . ($secrets && " OPTIONS ($secrets)") . qq{;
		CREATE FOREIGN TABLE $name (text text, created_at timestamptz) SERVER $name OPTIONS (topic 'tweets')});
	$node->create_hashtags_rollup(name => "${name}_tags", stream => $name);
	return;
}

# To another door, with other secrets
sub move
{
	my ($server, $door, %mapping) = @_;
	my $secrets = options(%mapping);

	query(qq{BEGIN; ALTER SERVER $server OPTIONS (SET "bootstrap.servers" '} . $kafka->address($door) . q{');}
		  . ($secrets && "ALTER USER MAPPING FOR CURRENT_USER SERVER $server OPTIONS ($secrets);") . 'COMMIT');
	return;
}

sub use_ca
{
	my ($server, $verb) = @_;

	query(qq{ALTER SERVER $server OPTIONS ($verb "ssl.ca.location" } . quoted($ca->file('ca.pem')) . ')');
	return;
}

# Files that a server's options name, made those of somebody else
sub copy_certificate
{
	my ($from, $to) = @_;

	$ca->write_file("$to.$_", $ca->read_file("$from.$_")) foreach qw(key pem);
	return;
}

sub produce
{
	my ($n) = @_;

	$kafka->produce_values('tweets',
		[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } 1 .. $n ], 2);
	return;
}

sub problems_of
{
	my ($stream) = @_;

	return "SELECT state || ': ' || reason FROM streamcount.problems WHERE rollup = '${stream}_tags'::regclass";
}

sub counts_exactly
{
	my ($stream, $name) = @_;

	$node->wait_for_rollup($kafka, 'tweets', name => "${stream}_tags");
	is($node->differences($kafka, 'tweets', name => "${stream}_tags"), '', "$name: exact");
	is($node->wait_for_sql("SELECT count(*) FROM streamcount.problems WHERE rollup = '${stream}_tags'::regclass", '0'),
		'0', "$name: nothing is left of a problem");
	return;
}

# The error of a SELECT
sub select_error
{
	my ($stream) = @_;
	my (undef, undef, $err) = $node->psql('postgres', "SELECT count(*) FROM $stream");

	return $err;
}

my %tls = ('security.protocol' => 'ssl', 'ssl.ca.location' => $ca->file('ca.pem'));
my %sasl = (%tls, 'security.protocol' => 'sasl_ssl', 'sasl.mechanism' => 'PLAIN');
my %alice = ('sasl.username' => 'alice', 'sasl.password' => $password{alice});
my %carol = (
	'ssl.certificate.pem' => $ca->read_file('carol.pem'),
	'ssl.key.pem' => $ca->read_file('carol.key'),
	'ssl.key.password' => $password{key});

# ---------------------------------------------------------------------
# Who may
# ---------------------------------------------------------------------

produce(100);
create_stream('by_password', $kafka->address('SASL'), \%sasl, \%alice);
create_stream('by_certificate', $kafka->address('MTLS'), \%tls, \%carol);
counts_exactly('by_password', 'SASL/PLAIN over TLS, a private authority');
counts_exactly('by_certificate', 'a certificate of the client');
is(query('SELECT count(*) FROM by_password'), '100', 'SELECT with a password');
is(query('SELECT count(*) FROM by_certificate'), '100', 'SELECT with a certificate');

# ---------------------------------------------------------------------
# Who may not
# ---------------------------------------------------------------------

# Who listens here gets to see all that is sent to him.
my $heard = tempdir(CLEANUP => 1) . '/heard';
my $eavesdropper = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20) or die $!;
open my $sockets, '<&', $eavesdropper or die $!;
open my $bytes, '>', $heard or die $!;
StreamCount::Broker::spawn($bytes, \*STDERR, $sockets, $^X, '-MIO::Socket::INET', '-e',
	'my $door = IO::Socket::INET->new_from_fd(0, "r+");
	while (my $client = $door->accept) { sysread $client, my $bytes, 65536; syswrite STDOUT, $bytes }');

copy_certificate('lapsed', 'file');
my %file = ('ssl.certificate.location' => $ca->file('file.pem'), 'ssl.key.location' => $ca->file('file.key'));
my $not_verified = "the broker's certificate is of an authority that is not trusted";
my $refused = 'the broker wants another certificate of the client, or any';
my $no_connection = 'could not connect to Kafka for stream public.\w+\nDETAIL:  .*';
my $denied = 'Kafka denies access to topic "tweets" of stream';

# Newer libraries keep some of it to themselves, and take a handshake that is
# cut for a broker that is not there yet.
my $old = StreamCount::Broker::tool({ bootstrap => '-' }, undef, 'version') =~ /^2\.0\./;
my $guess = $old ? 'security\.protocol' : '\S';

# name: the matrix's row, address, server, user mapping, state and reason,
# error of SELECT, how it is mended
my %faults = (
	wrong_password => [ 'K25', $kafka->address('SASL'), \%sasl, { %alice, 'sasl.password' => $password{wrong} },
		'connecting: .*Authentication failed: Invalid username or password', "$no_connection Invalid username or password",
		sub { query(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER wrong_password OPTIONS (SET "sasl.password" '$password{alice}')}) } ],
	no_password => [ 'K25', $kafka->address('SASL'), \%sasl, {},
		'connecting: .*sasl.username', 'could not start the Kafka client of stream .*sasl.username',
		sub { query('ALTER USER MAPPING FOR CURRENT_USER SERVER no_password OPTIONS (' . options(%alice) . ')') } ],
	wrong_authority => [ 'K26', $kafka->address('SASL'), { %sasl, 'ssl.ca.location' => $other->file('ca.pem') }, \%alice,
		"connecting: .*$not_verified", "$no_connection$not_verified",
		sub { use_ca('wrong_authority', 'SET') } ],
	no_authority => [ 'K26', $kafka->address('SASL'), { 'security.protocol' => 'sasl_ssl', 'sasl.mechanism' => 'PLAIN' }, \%alice,
		"connecting: .*$not_verified", "$no_connection$not_verified",
		sub { use_ca('no_authority', 'ADD') } ],
	missing_authority => [ 'K26', $kafka->address('SASL'), { %sasl, 'ssl.ca.location' => $ca->file('later.pem') }, \%alice,
		'connecting: ssl.ca.location failed', 'could not start the Kafka client of stream .*ssl.ca.location failed',
		sub { $ca->write_file('later.pem', $ca->read_file('ca.pem')) } ],
	expired => [ 'K26', $kafka->address('EXPIRED'), \%tls, {},
		"connecting: .*the broker's certificate has expired", "$no_connection: the broker's certificate has expired",
		sub { move('expired', 'MTLS', %carol) } ],
	elsewhere => [ 'K26', $kafka->address('ELSEWHERE'), \%tls, {},
		"connecting: .*the broker's certificate is for another (host name|IP address)",
		"$no_connection: the broker's certificate is for another",
		sub { move('elsewhere', 'MTLS', %carol) } ],
	no_certificate => [ 'K26', $kafka->address('MTLS'), \%tls, {},
		"connecting: .*$refused", "$no_connection$refused",
		sub { move('no_certificate', 'MTLS', %carol) } ],
	lapsed => [ 'K26', $kafka->address('MTLS'), { %tls, %file }, {},
		"connecting: .*$refused", "$no_connection$refused",
		sub { copy_certificate('renewed', 'file') } ],
	wrong_key_password => [ 'K26', $kafka->address('MTLS'), \%tls, { %carol, 'ssl.key.password' => $password{otherkey} },
		'connecting: ssl.key.pem failed', 'could not start the Kafka client of stream .*ssl.key.pem failed',
		sub { query(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER wrong_key_password OPTIONS (SET "ssl.key.password" '$password{key}')}) } ],
	no_tls => [ 'K26', $kafka->address('MTLS'), {}, {},
		"connecting: .*$guess", undef,
		sub { query('ALTER SERVER no_tls OPTIONS (' . options(%tls) . ')'); move('no_tls', 'MTLS', %carol) } ],
	tls_to_none => [ 'K26', $kafka->bootstrap, \%tls, {},
		'connecting: .*SSL', "$no_connection.*SSL",
		sub { move('tls_to_none', 'MTLS', %carol) } ],
	eavesdropped => [ 'K26', '127.0.0.1:' . $eavesdropper->sockport, \%sasl, \%alice,
		'connecting: .*SSL', '(?:could not connect to|no answer from) Kafka .*\nDETAIL:  .*SSL',
		sub { move('eavesdropped', 'SASL') } ],
	topic_denied => [ 'K27', $kafka->address('SASL'), \%sasl, { 'sasl.username' => 'bob', 'sasl.password' => $password{bob} },
		'stalled: access to Kafka topic "tweets" was denied', $denied,
		sub { $kafka->allow('bob', 'read', 'topic', 'tweets') } ],
	read_denied => [ 'K27', $kafka->address('SASL'), \%sasl, { 'sasl.username' => 'dora', 'sasl.password' => $password{dora} },
		'stalled: access to Kafka topic "tweets" was denied', $denied,
		sub { $kafka->allow('dora', 'read', 'topic', 'tweets') } ],
);

# Within its time
sub is_named
{
	my ($stream, $reason, $since, $name) = @_;
	my $seen = $node->wait_for_sql(problems_of($stream), qr/$reason/);

	within($named_within_s, $since, "$name is named: $seen,");
	return;
}

my $tried_at = time;
create_stream('wrong_password', @{ $faults{wrong_password} }[1 .. 3]);
is_named('wrong_password', "^$faults{wrong_password}[4]", $tried_at, 'K25: a wrong password');
create_stream($_, @{ $faults{$_} }[1 .. 3]) foreach grep { $_ ne 'wrong_password' } sort keys %faults;
foreach my $name (sort keys %faults)
{
	my ($row, undef, undef, undef, $reason, $error) = @{ $faults{$name} };

	like($node->wait_for_sql(problems_of($name), qr/^$reason/), qr/^$reason/, "$row: $name: streamcount.problems names the cause");
	like(select_error($name), qr/ERROR:  $error/, "$row: $name: so does a SELECT") if defined $error;
}

# librdkafka takes that for a broker which is not there yet, so it takes a time.
my ($patient_out, $patient_err) = ('', '');
my $patient = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', 'SELECT count(*) FROM no_tls' ],
	'>', \$patient_out, '2>', \$patient_err);

# ---------------------------------------------------------------------
# In the long run
# ---------------------------------------------------------------------

my $log_size = $node->log_size;
my $until = time + $observed_s;
my %lost;

while (time < $until)
{
	foreach my $name (keys %faults)
	{
		my $problem = query(problems_of($name));

		# A worker that begins anew is away for a moment.
		$lost{$name} = $problem if $problem ne '' && $problem !~ qr/^(?:$faults{$name}[4]|down: )/;
	}
}
is_deeply(\%lost, {}, 'the reasons stay');
foreach my $name (sort keys %faults)
{
	cmp_ok($node->log_count(qr/LOG: .*\b$name\b/, $log_size) * 3600 / $observed_s, '<=', 10,
		"$faults{$name}[0]: $name: no more than ten lines an hour in the log");
}
is($node->log_count(qr/WARNING|FATAL|exit code/, $log_size), 0, 'and nothing else')
  or diag substr slurp_file($node->logfile, $log_size), 0, 3000;
is(query(q{SELECT count(*) FROM streamcount.progress WHERE next_offset > start_offset
	AND rollup NOT IN ('by_password_tags'::regclass, 'by_certificate_tags'::regclass)}),
	'0', 'nobody who may not has counted anything');
my $sent = slurp_file($heard);
like($sent, qr/^\x16\x03/, 'K26: to somebody who only listens, TLS is spoken');
unlike($sent, qr/$password{alice}|alice/, 'K26: and neither name nor password');
my (undef, undef, $err) = $node->psql('postgres', q{
	CREATE SERVER in_clear FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" 'x:1',
		"security.protocol" 'sasl_plaintext', "sasl.mechanism" 'PLAIN')});
like($err, qr/ERROR:  options do not go together\nDETAIL: .* would send the password unprotected/,
	'K26: a server that would send passwords in clear is refused');

# ---------------------------------------------------------------------
# Secrets
# ---------------------------------------------------------------------

my $key = (split /\n/, $ca->read_file('carol.key'))[1];
my $secret = qr/canary|\Q$key\E/;

# What a role gets by a program of PostgreSQL's: its status, and all that it says
sub as
{
	my ($role, @command) = @_;
	my $said = '';

	IPC::Run::run([ @command, '-h', $node->host, '-p', $node->port, '-U', $role ], '>', \$said, '2>&1');
	return ($? >> 8, $said);
}

# One without rights
sub as_reader
{
	return (as('reader', @_))[1];
}

my @seen = split /\n/, query(q{
	SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'v') AND n.nspname IN ('streamcount', 'pg_catalog', 'information_schema')
		AND (n.nspname <> 'pg_catalog' OR c.relname ~ '^pg_(stat|settings|user_mapping|foreign|db_role|prepared|cursors)')
		AND (n.nspname <> 'information_schema' OR c.relname ~ '(user|foreign|option)')
		AND has_table_privilege('reader', c.oid, 'SELECT')});
cmp_ok(scalar @seen, '>', 50, 'there is much to look into');
my $all = join ' ', map { "SELECT v::text FROM $_ AS v;" } @seen;
unlike(as_reader('psql', '-X', '-d', 'postgres', '-c', '\deu+', '-c', '\des+', '-c', '\det+', '-c', 'SHOW ALL'),
	$secret, 'psql shows a normal role no secret');
unlike(as_reader('psql', '-X', '-d', 'postgres', '-c', $all), $secret, 'nor does any view or catalog that it may read');

# Who may read all tables and use all servers may dump, and his dump has the
# user mappings of others, without what is in them.
query(q{CREATE ROLE dumper LOGIN IN ROLE pg_read_all_data; GRANT USAGE ON FOREIGN SERVER }
	  . join(', ', query('SELECT srvname FROM pg_foreign_server') =~ /(\S+)/g) . ' TO dumper');
foreach my $dump ([qw(pg_dump -d postgres)], [qw(pg_dump -d postgres --schema-only --no-owner)], [qw(pg_dumpall --no-role-passwords)])
{
	my ($status, $dumped) = as('dumper', @$dump);

	is($status, 0, "a normal role that may dump: @$dump") or diag substr $dumped, -1000;
	like($dumped, qr/^CREATE USER MAPPING FOR \S+ SERVER wrong_password;$/m, "@$dump: user mappings are in it");
	unlike($dumped, $secret, "@$dump: and no secret");
	like((as($superuser, @$dump))[1], $secret, "@$dump: which a superuser's has");
}
unlike(as_reader('psql', '-X', '-d', 'postgres', '-c', $_), $secret, "nor $_")
  foreach 'SELECT * FROM wrong_password', q{SELECT streamcount.wait('wrong_password_tags')},
  qq(ALTER USER MAPPING FOR "$superuser" SERVER wrong_password OPTIONS (DROP "sasl.password")),
  'SELECT umoptions FROM pg_user_mapping';
unlike(query("SELECT r::text FROM streamcount.$_ AS r"), $secret, "streamcount.$_ has none for anybody")
  foreach qw(rollups progress problems stat_workers left_out);

my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
my @processes = ($postmaster, split /\s+/, slurp_file("/proc/$postmaster/task/$postmaster/children"));
cmp_ok(scalar @processes, '>', keys %faults, 'processes to look into');
foreach my $file (qw(cmdline environ))
{
	my $read = 0;

	is(scalar(grep { my $text = eval { slurp_file("/proc/$_/$file") }; $read += defined $text; ($text // '') =~ $secret } @processes),
		0, "no process has one in its $file");
	# Of the workers, which come and go, some may have ended.
	cmp_ok($read, '>', @processes / 2, "... and $read of them could be looked into");
}

$patient->finish;
like($patient_err, qr/ERROR:  no answer from Kafka .* within 30 seconds\nDETAIL: .*$guess/,
	'K26: no_tls: so does a SELECT, after a time');

# A server that logs and keeps every statement, and what the README says for that
query('CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()') if $has_statements;
query(q{ALTER ROLE CURRENT_USER SET log_statement = 'all'; ALTER ROLE CURRENT_USER SET log_min_duration_statement = 0});
my ($quiet) = slurp_file("$StreamCount::Broker::root/README.md") =~ /^(SET log_statement = none;.*?)^```/ms;
my $session = $node->background_psql('postgres');
$session->query_safe($quiet);
my ($pid) = $session->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
$session->query_safe(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER by_password OPTIONS (SET "sasl.password" '$password{alice}')});

# While that session is there
my ($status, $activity) = as('monitor', 'psql', '-X', '-A', '-t', '-d', 'postgres', '-c', 'SELECT pid, state, query FROM pg_stat_activity');
like($activity, qr/^$pid\|disabled\|$/m, 'a member of pg_monitor sees the session that has set a password');
unlike($activity, $secret, 'and not the password');
$session->query_safe('ALTER ROLE CURRENT_USER RESET ALL');
$session->quit;
SKIP:
{
	skip 'this server has no pg_stat_statements', 4 unless $has_statements;
	my $statements = 'SELECT query FROM pg_stat_statements';
	my $kept = query($statements);

	like($kept, qr/^SELECT pg_backend_pid\(\)$/m, 'pg_stat_statements keeps statements of that session');
	unlike($kept, $secret, 'and not the password');
	query(qq{ALTER USER MAPPING FOR CURRENT_USER SERVER by_password OPTIONS (SET "sasl.password" '$password{alice}')});
	like(query($statements), $secret, 'which it keeps of one that has not been told to be quiet');
	unlike(as_reader('psql', '-X', '-d', 'postgres', '-c', $statements), $secret, 'and does not show a normal role');
}

# ---------------------------------------------------------------------
# Mended
# ---------------------------------------------------------------------

produce(50);
my $mended_at = time;
$faults{wrong_password}[6]->();
$node->wait_for_rollup($kafka, 'tweets', name => 'wrong_password_tags');
within($let_in_within_s, $mended_at, 'K25: with the right password it counts');
$faults{$_}[6]->() foreach grep { $_ ne 'wrong_password' } sort keys %faults;
counts_exactly($_, "$faults{$_}[0]: $_, mended") foreach sort keys %faults;
is($node->log_count(qr/starts anew/), 0, 'a new worker says nothing of it');

my $group = $node->group_of('by_password');
like(slurp_file($kafka->{log}), qr/User:alice is Denied .* Group:LITERAL:$group\b/, 'K27: a group is denied to everybody here, and nothing came of it');

# A password that is changed at the broker: who is in stays in, until he has
# to come in again.
$kafka->set_passwords(%password{qw(bob dora)}, alice => $password{new});
$kafka->restart;
is_named('by_password', '^connecting: .*Authentication failed', time, 'K25: a password that was changed at the broker');
produce(50);
$mended_at = time;
$node->safe_psql('postgres', qq{
	ALTER USER MAPPING FOR CURRENT_USER SERVER by_password OPTIONS (SET "sasl.password" '$password{new}')});
$node->wait_for_rollup($kafka, 'tweets', name => 'by_password_tags');
within($let_in_within_s, $mended_at, 'K25: with the new password it counts');
counts_exactly('by_password', 'K25: the new password');

# An access that is taken away, from one who reads, and who asks as often as
# everybody does
$node->set_up('streamcount.metadata_interval' => '30s');
my $forbidden_at = time;
$kafka->forbid('carol', 'read', 'topic', 'tweets');
is_named('by_certificate', '^stalled: .*denied', $forbidden_at, 'K27: an access that is taken away');
produce(50);
my $allowed_at = time;
$kafka->allow('carol', 'read', 'topic', 'tweets');
$node->wait_for_rollup($kafka, 'tweets', name => 'by_certificate_tags');
within($allowed_within_s, $allowed_at, 'K27: with the access that is given back it counts');
counts_exactly('by_certificate', 'K27: the access that is given back');

$node->stop('fast');
is($node->log_count($secret), 0, 'no secret is in the log');
$kafka->stop;
done_testing();
