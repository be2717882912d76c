# Where there are more partitions than streamcount.max_partitions has room for,
# all are counted, those that have room are shown, and it is told once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use StreamCount::Mock;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $mock = StreamCount::Mock->new->start;
my $node = StreamCount::Node->new('many');
$node->init(brokers => $mock->bootstrap, conf => "fsync = off\nlog_statement = none\nstreamcount.max_partitions = 16\n");
$node->start;
$mock->create_topic('tweets', 20);
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream;
$node->create_hashtags_rollup;
$mock->produce_values('tweets', [ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "#tag$_"}) } 1 .. 400 ], 20);
$node->wait_for_sql('SELECT sum(next_offset) FROM streamcount.progress', '400');
is($node->differences($mock, 'tweets'), '', 'all partitions are counted exactly');
is($node->wait_for_sql('SELECT count(*), count(high_watermark), count(lag) FROM streamcount.progress', '20|16|16'), '20|16|16',
	'all are listed, and as many as there is room for with their lag');
is($node->safe_psql('postgres', q{SELECT streamcount.wait('hashtags', '2 seconds')}), 'f', 'the others cannot be waited for');
is($node->log_count(qr/WARNING:  cannot show the state of more than 16 partitions of rollups/), 1, 'which is told once');

$node->stop('fast');
$mock->stop;
done_testing();
