# A worker is killed by signal 9, the server starts anew, and what was produced
# since is counted: how soon?
#
#	STREAMCOUNT_KILLS		how many times (3; published: 100)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kills = $ENV{STREAMCOUNT_KILLS} // 3;
my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('killed');
$node->init(brokers => $kafka->bootstrap, conf => "restart_after_crash = on\nlog_statement = none\n"
	  # Whoever is killed as often is held back after a while, and then stopped.
	  . "streamcount.crash_window = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$kafka->create_topic('tweets', 4);
$node->create_tweets_stream;
$node->create_hashtags_rollup;

my $load = StreamCount::Load->start($kafka, 'tweets', rate => 500, seed => 115);
my $mentions = q{SELECT coalesce(sum(mentions), 0) FROM hashtags WHERE "interval" = 'ALL'};
my @seconds;

$node->wait_for_sql("SELECT ($mentions) > 500", 't');
for my $kill (1 .. $kills)
{
	# A worker that runs for some seconds, like any other
	sleep 3;
	my ($pid) = $node->pids_of('worker');

	# Nothing that is counted after this can be counted without a new worker.
	kill 'KILL', $pid;
	sleep 0.005 while kill 0, $pid;
	my $begin = time;
	my $before = $node->wait_for_sql($mentions, qr/^\d+$/);
	$node->wait_for_sql("SELECT ($mentions) > $before", 't');
	push @seconds, time - $begin;
}
@seconds = sort { $a <=> $b } @seconds;

# The p-th percentile, by nearest rank
sub percentile { return $seconds[ int(($_[0] * @seconds + 99) / 100) - 1 ] }

$load->stop;
$node->wait_for_rollup($kafka, 'tweets');
is($node->differences($kafka, 'tweets'), '', "P1: exact after $kills kills of a worker");
cmp_ok($seconds[-1], '<', 60, 'P1: each time it went on');
cmp_ok(percentile(99), '<', 5, 'P1: soon, but for one in a hundred') if $kills >= 100;
is($node->log_count(qr/was terminated by signal 9/), $kills, 'nothing else was killed');
diag sprintf 'new messages were counted %.2f s (p50), %.2f s (p99), %.2f s (at most) after a kill; %d kills',
  percentile(50), percentile(99), $seconds[-1], $kills;

$node->stop('fast');
$kafka->stop;
done_testing();
