# A streaming standby reads nothing from Kafka; when it is promoted it goes on
# from exactly where it stands.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
$kafka->create_topic('tweets', 3);

my $primary = StreamCount::Node->new('primary');
$primary->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_statement = none\n",
	allows_streaming => 1,
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$primary->create_tweets_stream(options => "reject_limit '0'");
$primary->create_hashtags_rollup;

my $load = StreamCount::Load->start($kafka, 'tweets', rate => 500, partitions => 3, seed => 131);
my $position = q{SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress};

# Where it stands, all partitions together, once it is past an offset
sub beyond
{
	my ($node, $offset) = @_;

	$node->wait_for_sql("SELECT ($position) > $offset", 't');
	return $node->safe_psql('postgres', $position);
}

sub processes
{
	my ($node) = @_;

	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'streamcount %'});
}

beyond($primary, 300);
$primary->backup('base');
my $standby = StreamCount::Node->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $start = $standby->log_size // 0;
$standby->start;

# It follows, and that is all that it does.
beyond($standby, beyond($primary, 600));
is(processes($standby), '0', 'P22: no process of ours runs on a standby');
is($standby->safe_psql('postgres', 'SELECT state, reason FROM streamcount.rollups'), 'down|the server is a standby',
	'P22: its views say so');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'which is no problem');
is($standby->differences($kafka, 'tweets'), '', 'P22: what it shows is exact, for where it stands');
my ($status, undef, $error) = $standby->psql('postgres', q{SELECT streamcount.wait('hashtags', '5 s')});
like($error, qr/it is down\nDETAIL:  the server is a standby/, 'P22: nobody waits there for what cannot come');
($status, undef, $error) = $standby->psql('postgres', q{SELECT streamcount.pause('hashtags')});
like($error, qr/read-only transaction/, 'and nothing can be steered');
is($standby->safe_psql('postgres', q{SELECT count(*) > 0 FROM streamcount.rejects}), 't', 'rejects are there, too');

# The old primary may be ahead of what it has sent: both fall back together.
$primary->stop('immediate');
my $stood = $standby->safe_psql('postgres', $position);
is(processes($standby), '0', 'P22: without a primary it still waits');
$standby->promote;
beyond($standby, $stood + 500);
is($standby->differences($kafka, 'tweets'), '', 'P23: after the promotion it goes on exactly');
$load->stop;
$standby->wait_for_rollup($kafka, 'tweets');
is($standby->differences($kafka, 'tweets'), '', 'P23: to the end');
is($standby->safe_psql('postgres', q{
	SELECT count(*) FROM streamcount.progress p WHERE start_offset <> 0 OR next_offset <> counted + filtered + rejected
		OR rejected <> (SELECT count(*) FROM streamcount.rejects r WHERE r.partition = p.partition)}), '0',
	'P23: the books balance, from the first message on');
is($standby->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT id) FROM streamcount.rejects'), '0',
	'each reject has an id of its own');

$standby->stop('fast');
$kafka->stop;
done_testing();
