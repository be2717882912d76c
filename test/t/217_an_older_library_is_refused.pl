# A library of librdkafka that is older than what streamcount was made for is
# known before anything is asked of it, and named.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Node;
use Test::More;

plan skip_all => 'the sanitizers want to be loaded first' if $ENV{SANITIZE};

my $node = StreamCount::Node->new('older');
$node->init(conf => "fsync = off\n");
{
	local $ENV{LD_PRELOAD} = "$FindBin::RealBin/../kafka/older_library.so";
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream;
$node->create_hashtags_rollup;

my (undef, undef, $error) = $node->psql('postgres', 'SELECT * FROM tweets');
like($error, qr/librdkafka 1\.9\.2 is too old for streamcount\nHINT:  Install librdkafka 2\.0\.2 or later/, 'a SELECT says so');
like($node->wait_for_sql("SELECT state || ': ' || reason FROM streamcount.rollups", qr/^down: librdkafka 1\.9\.2 is too old/),
	qr/./, '... and what its rollup waits for');

$node->stop('fast');
$node->start;
$node->wait_for_sql('SELECT state FROM streamcount.rollups', 'connecting');
pass('with one that will do it goes on');
$node->stop('fast');
done_testing();
