# The name of a broker leads to another address from now on, as it does where
# brokers run in containers: counting goes on there, by itself.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use StreamCount::Proxy;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();
my ($wrapper) = glob '/usr/lib/*/libnss_wrapper.so';
plan skip_all => 'libnss-wrapper is not installed' unless $wrapper;

my $hosts = PostgreSQL::Test::Utils::tempdir() . '/hosts';

sub leads_to
{
	my ($address) = @_;

	PostgreSQL::Test::Utils::append_to_file("$hosts.new", "$address broker.example\n");
	rename "$hosts.new", $hosts or die "$hosts: $!";
	return;
}

my $here = StreamCount::Proxy->new(name => 'broker.example')->start;
my $kafka = StreamCount::Kafka->new(behind => $here)->start;
$kafka->create_topic('tweets', 2);
leads_to('127.0.0.1');

my $node = StreamCount::Node->new('moved');
$node->init(
	brokers => $here->bootstrap,
	conf => "streamcount.metadata_interval = '1s'\nlog_statement = none\nfsync = off\n");
{
	local $ENV{LD_PRELOAD} = $wrapper;
	local $ENV{NSS_WRAPPER_HOSTS} = $hosts;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream;
$node->create_hashtags_rollup;
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 200, partitions => 2);

my $position = 'SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress';

sub goes_on
{
	my ($name) = @_;
	my $stood = $node->safe_psql('postgres', $position);

	$node->wait_for_sql("SELECT ($position) > $stood + 200", 't', timeout => 60);
	is($node->differences($kafka, 'tweets'), '', "K5: $name: it goes on, and is exact");
	return;
}

goes_on('behind a name');

my $there = StreamCount::Proxy->new(host => '127.0.0.2', port => $here->port, name => 'broker.example')->start;
$there->target($here->target);
leads_to('127.0.0.2');
goes_on('the name leads elsewhere, the connection stays');
is($there->count('accept'), 0, 'K5: nobody has gone there yet');
$here->stop;
goes_on('the old address is gone');
cmp_ok($there->count('accept'), '>', 0, 'K5: the new one was found');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'K5: and no person was needed');

$load->stop;
$node->wait_for_rollup($kafka, 'tweets');
is($node->differences($kafka, 'tweets'), '', 'K5: exact at the end');
$node->stop('fast');
$kafka->stop;
$there->stop;
done_testing();
