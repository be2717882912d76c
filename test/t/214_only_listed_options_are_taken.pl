# Options of servers and user mappings are librdkafka's properties, among which
# are a library to load, a shell command to run and files to read and write.
# Only names that are listed come through, however they are spelled, and no
# value of those that do brings the server down.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use File::Temp qw(tempdir);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Broker;
use Test::More;

my $seed = $ENV{STREAMCOUNT_SEED} // 1;
my $values = $ENV{STREAMCOUNT_VALUES} // 20;    # for each option

my @of_servers = qw(
  bootstrap.servers broker.address.family broker.address.ttl client.id client.rack connections.max.idle.ms
  fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.wait.max.ms
  metadata.max.age.ms queued.max.messages.kbytes queued.min.messages receive.message.max.bytes
  reconnect.backoff.max.ms reconnect.backoff.ms sasl.mechanism security.protocol
  socket.connection.setup.timeout.ms socket.keepalive.enable socket.nagle.disable
  socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms
  ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.cipher.suites
  ssl.crl.location ssl.curves.list ssl.key.location ssl.keystore.location ssl.sigalgs.list
  topic.metadata.refresh.interval.ms);
my @of_mappings = qw(
  sasl.password sasl.username ssl.certificate.pem ssl.key.password ssl.key.pem ssl.keystore.password);

my $dir = tempdir(CLEANUP => 1);
my $node = PostgreSQL::Test::Cluster->new('options');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_error_statement = panic\nlog_min_messages = log\n");
$node->start;

# What is said of each (kind, name, value) of a list: "taken", or the error's
# SQLSTATE and hint.  (PostgreSQL itself refuses names with "=" by 22023.)
$node->safe_psql('postgres', q{
	CREATE EXTENSION streamcount;
	CREATE SERVER s FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '127.0.0.1:1');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;
	CREATE TABLE tried (kind text, name text, value text, said text, hint text);
	CREATE FUNCTION try() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		target text := CASE NEW.kind WHEN 'server' THEN 'SERVER s' ELSE 'USER MAPPING FOR CURRENT_USER SERVER s' END;
	BEGIN
		BEGIN
			EXECUTE format('ALTER %s OPTIONS (%s %I %L)', target,
				CASE WHEN NEW.kind = 'server' AND NEW.name = 'bootstrap.servers' THEN 'SET' ELSE 'ADD' END,
				NEW.name, NEW.value);
			NEW.said := 'taken';
			-- what a client makes of it
			RAISE EXCEPTION USING ERRCODE = 'P0099';
		EXCEPTION
			WHEN SQLSTATE 'P0099' THEN
				NULL;
			WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS NEW.said = RETURNED_SQLSTATE, NEW.hint = PG_EXCEPTION_HINT;
		END;
		RETURN NEW;
	END $$;
	CREATE TRIGGER try BEFORE INSERT ON tried FOR EACH ROW EXECUTE FUNCTION try()});

sub copy_line
{
	return join("\t", map { s/\\/\\\\/gr =~ s/\t/\\t/gr =~ s/\n/\\n/gr =~ s/\r/\\r/gr } @_) . "\n";
}

sub try_all
{
	my (@lines) = @_;
	my $file = "$dir/lines";

	open my $out, '>:raw', $file or die $!;
	print $out @lines;
	close $out or die $!;
	$node->safe_psql('postgres', "SET client_min_messages = error; TRUNCATE tried; COPY tried (kind, name, value) FROM '$file'");
	unlink $file;
	return;
}

# ---------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------

# All that librdkafka has, with the names that it hides, and some that only
# other versions have
my %known = map { $_ => 1 } qw(
  plugin.library.paths sasl.kerberos.kinit.cmd ssl.engine.location ssl.engine.id ssl.providers offset.store.path
  offset.store.method enable.ssl.certificate.verification ssl.endpoint.identification.algorithm
  sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.assertion.algorithm https.ca.location https.ca.pem
  ssl.ca.certificate.stores group.id auto.offset.reset isolation.level enable.auto.commit test.mock.num.brokers
  debug log_cb opaque ssl_key ssl_ca interceptors socket_cb open_cb connect_cb compression.codec),
  @of_servers, @of_mappings;
$known{$_} = 1 foreach map { /^(\S+)\s+\|/ ? $1 : () } split /\n/, properties();
delete $known{$_} foreach qw(Property);
cmp_ok(scalar keys %known, '>', 130, 'librdkafka has told what it knows');

sub properties
{
	return StreamCount::Broker::tool({ bootstrap => '-' }, undef, 'properties');
}

# A library that leaves a trace when it is loaded, a command that does, a file
# to write
open my $c, '>', "$dir/evil.c" or die $!;
print $c qq{
	#include <fcntl.h>
	__attribute__((constructor)) static void evil(void) { (void) creat("$dir/trace.library", 0600); }
	int conf_init(void *conf, void **opaque, char *errstr, unsigned long size) { return 0; }
};
close $c;
is(system('cc', '-shared', '-fPIC', '-o', "$dir/evil.so", "$dir/evil.c"), 0, 'a library that leaves a trace');
mkdir "$dir/empty";
chmod 0777, $dir, "$dir/empty";
chmod 0755, "$dir/evil.so";

my @bait = ("$dir/evil.so", "touch $dir/trace.command", "$dir/empty", "file://$dir/evil.so", 'none', 'true', '1');
my @lines;
foreach my $name (sort keys %known)
{
	foreach my $kind (qw(server mapping))
	{
		my @spellings = (
			uc $name, ucfirst $name, " $name", "$name ", "$name\t", "\n$name", "topic.$name", "default.topic.$name",
			"{topic}.$name", ".$name", "$name.", $name =~ tr/./_/r, $name =~ tr/./-/r, "$name=", "$name\x{200b}",
			"$name;plugin.library.paths", "rdkafka.$name", $name =~ s/o/\x{43e}/r);

		utf8::encode($_) foreach @spellings;
		push @lines, map { copy_line($kind, $name, $_) } @bait;
		push @lines, map { copy_line($kind, $_, $bait[0]) } grep { !$known{$_} } @spellings;
	}
}
try_all(@lines);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM tried'), '==', scalar @lines, scalar(@lines) . ' options were tried');

sub quoted_list
{
	return join ', ', map { "'$_'" } @_;
}

my $listed = "(kind = 'server' AND name IN (" . quoted_list(@of_servers) . ") OR kind = 'mapping' AND name IN ("
  . quoted_list(@of_mappings) . '))';
is($node->safe_psql('postgres', "SELECT kind, name, said FROM tried WHERE NOT $listed AND said NOT IN ('HV00D', '22023') LIMIT 5"), '',
	'every name that is not listed is refused as invalid');
is($node->safe_psql('postgres', "SELECT DISTINCT kind, name FROM tried WHERE $listed AND said = 'HV00D' LIMIT 5"), '',
	'and none that is listed');
is($node->safe_psql('postgres', q{SELECT DISTINCT said FROM tried WHERE said NOT IN ('taken', 'HV00D', 'HV024', '22023')}), '',
	'by no other error than those');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tried WHERE kind = 'server' AND name = 'sasl.password' AND hint LIKE '%CREATE USER MAPPING%'}),
	scalar @bait, 'secrets in a server are told where to go');
is(join(' ', map { s{.*/}{}r } grep { !m{/evil\.(?:c|so)$} } glob "$dir/* $dir/empty/*"), 'empty',
	'nothing was loaded, run or written');

# ---------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------

srand $seed;

sub random_value
{
	my $kind = int rand 10;

	return join '', map { chr(1 + int rand 255) } 0 .. rand 40 if $kind == 0;
	return (qw(0 -1 1 2147483647 2147483648 -2147483648 9223372036854775808 1e9 0x10 007 1.5 NaN), '')[rand 13] if $kind == 1;
	return int rand 2**31 if $kind == 2;
	return 'x' x rand 100000 if $kind == 3;
	return join ',', map { join ':', 'h' x rand 5, int rand 99999 } 0 .. rand 200 if $kind == 4;
	return (qw(plaintext ssl sasl_ssl sasl_plaintext PLAIN SCRAM-SHA-256 GSSAPI OAUTHBEARER any v4 v6 true false), ' ssl')[rand 14]
	  if $kind == 5;
	return '%s%n%p' x (1 + rand 20) if $kind == 6;
	return "-----BEGIN CERTIFICATE-----\n" . join('', map { chr(32 + rand 90) } 0 .. rand 300) . "\n-----END CERTIFICATE-----\n"
	  if $kind == 7;
	return "${\ chr(1 + rand 31)}a\n\\\x{1F4A9}" if $kind == 8;
	return join ',', map { "$of_servers[rand @of_servers]=1" } 0 .. 3;
}

@lines = ();
foreach my $option (map({ [ 'server', $_ ] } @of_servers), map({ [ 'mapping', $_ ] } @of_mappings))
{
	foreach (1 .. $values)
	{
		my $value = random_value();

		utf8::encode($value);
		push @lines, copy_line(@$option, $value);
	}
}
try_all(@lines);
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT said) > 1 FROM tried WHERE said IN ('taken', 'HV024')"),
	scalar(@lines) . '|t', 'of ' . @lines . " random values each is taken, or refused as invalid (seed $seed)");

# What was taken is what a client begins with: no broker is there, but its
# options are read.
my @taken = split /\n/, $node->safe_psql('postgres', q{
	SELECT format('ALTER %s OPTIONS (ADD %I %s)', CASE kind WHEN 'server' THEN 'SERVER s'
		ELSE 'USER MAPPING FOR CURRENT_USER SERVER s' END, name, replace(replace(quote_literal(value), E'\n', ' '), E'\r', ' '))
	FROM tried WHERE said = 'taken' AND name NOT IN ('bootstrap.servers', 'security.protocol', 'sasl.mechanism')
	ORDER BY md5(name || value) LIMIT 40});
my ($out, $err);
$node->safe_psql('postgres', q{CREATE FOREIGN TABLE f (t text) SERVER s OPTIONS (topic 't')});
$node->psql('postgres',
	join('', map { "BEGIN; SET LOCAL statement_timeout = '150ms'; $_; SELECT * FROM f; ROLLBACK;\n" } @taken),
	stdout => \$out, stderr => \$err, on_error_stop => 0);
my $errors = () = $err =~ /ERROR:/g;
is($errors, scalar @taken, scalar(@taken) . ' clients were begun with them, and ended');
unlike($err, qr/terminat|server closed|crash/, 'and the server is the same');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_foreign_server WHERE srvname = $$s$$'), '1', 'it answers');
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|was terminated by|signal 11/, 'nothing of that is in the log');
done_testing();
