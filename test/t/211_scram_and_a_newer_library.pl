# SASL/SCRAM: an old librdkafka cannot log in to brokers of today by it, and
# CREATE SERVER says so; with a newer one in its place everything that waited
# goes on.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Node;
use StreamCount::SecuredKafka;
use Test::More;

plan skip_all => StreamCount::SecuredKafka::missing() if StreamCount::SecuredKafka::missing();

my $newer = ($ENV{STREAMCOUNT_TOOLS} // "$StreamCount::Broker::root/tmp_check/tools") . '/librdkafka';
my $kafka = StreamCount::SecuredKafka->new(users => { alice => 'first', bob => 'second' })->start;
my $node = StreamCount::Node->new('scram');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "log_statement = none\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$kafka->create_topic('tweets', 2);
$kafka->allow($_, 'read', 'topic', 'tweets') foreach qw(alice bob);

# Returns what is said of the server
sub create_stream
{
	my ($name, $door, $protocol, $mechanism, $user, $password) = @_;
	my $err;

	$node->psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER streamcount OPTIONS (
			"bootstrap.servers" '} . $kafka->address($door) . qq{', "security.protocol" '$protocol',
			"sasl.mechanism" '$mechanism', "ssl.ca.location" '} . $kafka->ca->file('ca.pem') . qq{')},
		stderr => \$err);
	$node->safe_psql('postgres', qq{
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name
			OPTIONS ("sasl.username" '$user', "sasl.password" '$password');
		CREATE FOREIGN TABLE $name (text text, created_at timestamptz) SERVER $name OPTIONS (topic 'tweets')});
	$node->create_hashtags_rollup(name => "${name}_tags", stream => $name);
	return $err;
}

sub produce
{
	my ($n) = @_;

	$kafka->produce_values('tweets',
		[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } 1 .. $n ], 2);
	return;
}

sub counts_exactly
{
	my ($stream, $name) = @_;

	$node->wait_for_rollup($kafka, 'tweets', name => "${stream}_tags");
	is($node->differences($kafka, 'tweets', name => "${stream}_tags"), '', "$name: exact");
	return;
}

sub problem_is
{
	my ($stream, $pattern, $name) = @_;

	like($node->wait_for_sql("SELECT state || ': ' || reason FROM streamcount.problems WHERE rollup = '${stream}_tags'::regclass",
		$pattern), $pattern, $name);
	return;
}

# ---------------------------------------------------------------------
# As it is installed here
# ---------------------------------------------------------------------

produce(100);
my ($version) = StreamCount::Broker::tool({ bootstrap => '-' }, undef, 'version') =~ /(\S+)/;
my $warning = create_stream('by_256', 'SASL', 'sasl_ssl', 'SCRAM-SHA-256', 'alice', 'first');

SKIP:
{
	my @number = $version =~ /(\d+)\.(\d+)\.(\d+)/;

	skip "librdkafka $version is new enough", 2 if $number[0] * 1000000 + $number[1] * 1000 + $number[2] >= 2006001;
	like($warning, qr/WARNING:  librdkafka $version cannot log in to Kafka 4 by SCRAM-SHA-256\nDETAIL: .*\nHINT:  Use librdkafka 2\.6\.1 or later/,
		'CREATE SERVER says what an old librdkafka cannot do');
	problem_is('by_256', qr/^connecting: .*SASL mechanism SCRAM-SHA-256/, 'and it cannot');
}

# ---------------------------------------------------------------------
# With a newer one
# ---------------------------------------------------------------------

SKIP:
{
	skip "K25: there is no newer librdkafka in $newer", 10 unless -f "$newer/librdkafka.so.1";
	$node->stop('fast');
	{
		local $ENV{LD_LIBRARY_PATH} = $newer;
		$node->start;
	}
	my $pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	like(slurp_file("/proc/$pid/maps"), qr/\Q$newer\E/, 'the server has loaded the newer library');
	counts_exactly('by_256', 'SCRAM-SHA-256, as soon as the library can');
	is(create_stream('by_512', 'SASL', 'sasl_ssl', 'SCRAM-SHA-512', 'bob', 'second'), '', 'nothing is to be said of it');
	counts_exactly('by_512', 'SCRAM-SHA-512');
	create_stream('in_clear', 'OPEN', 'sasl_plaintext', 'SCRAM-SHA-512', 'bob', 'second');
	counts_exactly('in_clear', 'SCRAM, which never sends a password, without TLS');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM by_512'), '100', 'SELECT');

	create_stream('wrong', 'SASL', 'sasl_ssl', 'SCRAM-SHA-512', 'bob', 'first');
	problem_is('wrong', qr/^connecting: .*SASL mechanism SCRAM-SHA-512/, 'a wrong password is named');

	# Who is in stays in; who comes anew is asked anew.
	$kafka->set_scram_password('alice', 'third');
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers WHERE stream = 'by_256'::regclass});
	problem_is('by_256', qr/^connecting: .*SASL mechanism SCRAM-SHA-256/, 'K25: a password that was changed at the broker is named');
	produce(50);
	$node->safe_psql('postgres', q{ALTER USER MAPPING FOR CURRENT_USER SERVER by_256 OPTIONS (SET "sasl.password" 'third')});
	counts_exactly('by_256', 'K25: the new password');
	counts_exactly('by_512', 'K25: and nobody else noticed');
}

$node->stop('fast');
$kafka->stop;
done_testing();
