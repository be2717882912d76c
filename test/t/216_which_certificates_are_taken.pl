# Certificates of brokers: one that should not be taken is not, and what is wrong
# with it is named; where it is one broker's of two, the other is read meanwhile.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use File::Temp qw(tempdir);
use PostgreSQL::Test::Utils;
use StreamCount::Certificates;
use StreamCount::Fake;
use StreamCount::Node;
use Test::More;

foreach my $missing (StreamCount::Certificates::missing(), StreamCount::Fake->missing)
{
	plan skip_all => $missing if $missing;
}

my $dir = tempdir(CLEANUP => 1);
my $ca = StreamCount::Certificates->new($dir);
my $other = StreamCount::Certificates->new("$dir/other", 'Another authority');
my $half = StreamCount::Fake->new->start;
my $node = StreamCount::Node->new('certified');
$ca->issue('broker', hosts => 'IP:127.0.0.1');
$node->init(brokers => $half->bootstrap, conf => "log_statement = none\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# A server that speaks TLS, a stream and its rollup, of one name
sub create_stream
{
	my ($name, $address, $options) = @_;

	$node->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER streamcount
			OPTIONS ("bootstrap.servers" '$address', "security.protocol" 'ssl', $options);
		CREATE FOREIGN TABLE $name (text text, created_at timestamptz) SERVER $name OPTIONS (topic 'tweets')});
	$node->create_hashtags_rollup(name => "${name}_tags", stream => $name);
	return;
}

sub problems_of
{
	my ($stream) = @_;

	return "SELECT state || ': ' || reason FROM streamcount.problems WHERE rollup = '${stream}_tags'::regclass";
}

# To both partitions of the two brokers
sub append_to_half
{
	my @records = map { { value => qq({"created_at": "2014-09-21T10:00:00Z", "text": "#tag$_"}) } } @_;

	$half->append('tweets', $_, \@records) foreach 0, 1;
	return;
}

sub half_has_read
{
	my ($expected) = @_;

	$node->wait_for_sql(q{SELECT string_agg(next_offset || ' ' || state, ', ' ORDER BY partition)
		FROM streamcount.progress WHERE rollup = 'half_tags'::regclass}, $expected);
	return;
}

# ---------------------------------------------------------------------
# One broker of two
# ---------------------------------------------------------------------

# Two brokers, of which the second one's certificate is of an authority that is
# not in the client's file.  Now it is; the client reads its file once in its
# life, and goes on, for the sake of the first one, for two minutes.
$other->issue('stranger', hosts => 'IP:127.0.0.1');
$half->add_second;
$half->certify(1, $ca->file('broker.both'));
$half->certify(2, $other->file('stranger.both'));
$half->create_topic('tweets', 2);
$ca->write_file('trusted.pem', $ca->read_file('ca.pem'));
create_stream('half', $half->bootstrap, qq("ssl.ca.location" '$dir/trusted.pem'));
append_to_half(1 .. 5);
half_has_read('5 idle, 5 idle');
$half->lead('tweets', 1, 2);
append_to_half(6 .. 10);
like($node->wait_for_sql(problems_of('half'), qr/authority/), qr/^connecting: .*not trusted/,
	'K26: one broker of two is not to be trusted: it is named');
$ca->write_file('trusted.pem', $ca->read_file('ca.pem') . $other->read_file('ca.pem'));

# ---------------------------------------------------------------------
# Certificates that only a good list, clock and authority tell from good ones
# ---------------------------------------------------------------------

my $doubtful = StreamCount::Fake->new->start;
$doubtful->create_topic('tweets', 1);
$doubtful->append('tweets', 0, [ { value => '{"created_at": "2014-09-21T10:00:00Z", "text": "#tag"}' } ]);
$ca->issue('alone', hosts => 'IP:127.0.0.1', alone => 1);
$ca->issue('early', hosts => 'IP:127.0.0.1', early => 1);
$ca->issue('revoked', hosts => 'IP:127.0.0.1');
$ca->revoke('revoked');
foreach my $case ([ 'alone', 'is signed by itself alone' ], [ 'early', 'is not valid yet' ], [ 'revoked', 'has been revoked' ])
{
	my ($name, $cause) = @$case;

	$doubtful->certify(1, $ca->file("$name.both"));
	create_stream($name, $doubtful->bootstrap, qq("ssl.ca.location" '$dir/ca.pem', "ssl.crl.location" '$dir/crl.pem'));
	like($node->wait_for_sql(problems_of($name), qr/certificate/), qr/^connecting: .*the broker's certificate $cause/,
		"K26: a certificate that $cause: it is told");
	is($node->safe_psql('postgres', "SELECT coalesce(sum(mentions), 0) FROM ${name}_tags"), '0', '... and nothing is read');
}
$doubtful->certify(1, $ca->file('broker.both'));
$node->wait_for_sql(q{SELECT sum(mentions) FROM revoked_tags WHERE "interval" = 'ALL'}, '1');
pass('K26: ... and one that is not on the list of revoked ones is taken');

# ---------------------------------------------------------------------
# The file of certificates is read again
# ---------------------------------------------------------------------

half_has_read('10 idle, 10 idle');
pass('K26: what the other broker leads is read as soon as the file is read again');
is($node->log_count(qr/stream public\.half is/), 2, 'K26: and the log has but the beginning and the end');

$node->stop('fast');
$_->stop foreach $half, $doubtful;
done_testing();
