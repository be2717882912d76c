# A broker that is down, frozen or without the topic: the views say so, the log
# stays short, nobody else is disturbed, the server stops at once, and as soon
# as the fault is over counting goes on, exactly.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

# How long a fault's log lines are counted
my $observed_s = 15;
my (@stops, @returns);

my $kafka = StreamCount::Kafka->new;
my $node = StreamCount::Node->new('away');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "log_statement = none\nlog_checkpoints = off\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# What the views say of a rollup: in all of its partitions, where it has any
sub state_is
{
	my ($rollup, $state, $reason, $name) = @_;
	my $seen = $node->wait_for_sql(
		"SELECT string_agg(DISTINCT state || ': ' || coalesce(reason, ''), '; ') FROM (
			SELECT state, reason FROM streamcount.rollups WHERE rollup = '$rollup'::regclass
			UNION ALL SELECT state, reason FROM streamcount.progress WHERE rollup = '$rollup'::regclass) s",
		qr/^$state: .*$reason[^;]*$/, timeout => 60);

	pass("$name: $seen");
	return;
}

sub problem_is
{
	my ($rollup, $state, $name) = @_;

	$node->wait_for_sql(
		"SELECT DISTINCT state, hint <> '' FROM streamcount.problems WHERE rollup = '$rollup'::regclass",
		"$state|t", timeout => 30);
	pass("$name: streamcount.problems says what to do");
	return;
}

# For some time: few lines in the log, and other databases come and go.
sub others_are_undisturbed
{
	my ($name) = @_;
	my $log = $node->log_size;
	my $until = time + $observed_s;
	my $worst = 0;
	my $entries;

	while (time < $until)
	{
		$node->safe_psql('postgres', 'CREATE DATABASE other');
		my $begin = time;
		$node->safe_psql('postgres', 'DROP DATABASE other');
		$worst = max $worst, time - $begin;
		sleep 0.5;
	}
	# Where a worker is deaf it takes for ever; the rest is how busy the machine is.
	cmp_ok($worst, '<', 3, "P14: $name: another database is dropped at once");
	$entries = $node->log_entries($log);
	cmp_ok($entries, '<=', 2, "$name: hardly an entry in the log")
	  or diag substr slurp_file($node->logfile, $log), 0, 3000;
	note sprintf '%s: %d entries of the log in %d s, DROP DATABASE %.2f s', $name, $entries, $observed_s, $worst;
	return;
}

sub stops_at_once
{
	my ($name) = @_;

	# Not what the checkpoint takes
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $begin = time;
	$node->stop('fast');
	push @stops, time - $begin;
	cmp_ok($stops[-1], '<', 1, "P5: $name: a fast stop takes less than a second");
	return;
}

sub counts_exactly
{
	my ($rollup, $topic, $name) = @_;
	my $begin = time;

	$node->wait_for_rollup($kafka, $topic, name => $rollup, timeout => 30);
	push @returns, time - $begin;
	is($node->differences($kafka, $topic, name => $rollup), '', "$name: exact");
	# Messages may come before the brokers have answered what was asked.
	is($node->wait_for_sql("SELECT count(*) FROM streamcount.problems WHERE rollup = '$rollup'::regclass", '0', timeout => 10),
		'0', "$name: nothing is left of the problem");
	return;
}

sub produce
{
	my ($topic, $n) = @_;

	$kafka->produce_values($topic,
		[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } 1 .. $n ], 2);
	return;
}

# ---------------------------------------------------------------------
# No broker from the beginning
# ---------------------------------------------------------------------

$node->create_tweets_stream;
$node->create_hashtags_rollup;
state_is('hashtags', 'connecting', '\S', 'K1: no broker yet');
problem_is('hashtags', 'connecting', 'K1: no broker yet');
others_are_undisturbed('K1: no broker yet');
stops_at_once('K1: no broker yet');
$node->start;
state_is('hashtags', 'connecting', '\S', 'K1: no broker at the start');

# ---------------------------------------------------------------------
# No topic yet
# ---------------------------------------------------------------------

$kafka->start;
state_is('hashtags', 'stalled', 'topic "tweets" does not exist', 'K6: no topic yet');
problem_is('hashtags', 'stalled', 'K6: no topic yet');
others_are_undisturbed('K6: no topic yet');
stops_at_once('K6: no topic yet');
$node->start;
state_is('hashtags', 'stalled', 'topic "tweets" does not exist', 'K6: no topic at the start');
$kafka->create_topic('tweets', 2);
produce('tweets', 100);
counts_exactly('hashtags', 'tweets', 'K6: the topic was made');

# ---------------------------------------------------------------------
# The broker is killed
# ---------------------------------------------------------------------

my $load = StreamCount::Load->start($kafka, 'tweets', rate => 200, partitions => 2);
$node->wait_for_sql("SELECT sum(next_offset) > 500 FROM streamcount.progress", 't');
$kafka->kill9;
state_is('hashtags', 'connecting', '\S', 'K2: broker killed');
problem_is('hashtags', 'connecting', 'K2: broker killed');
others_are_undisturbed('K2: broker killed');
stops_at_once('K2: broker killed');
$node->start;
state_is('hashtags', 'connecting', '\S', 'K2: broker still away');
$kafka->start;
$load->stop;
counts_exactly('hashtags', 'tweets', 'K2: the broker is back');

# ---------------------------------------------------------------------
# The broker is frozen: connections are accepted, nothing is answered
# ---------------------------------------------------------------------

$load = StreamCount::Load->start($kafka, 'tweets', rate => 200, partitions => 2);
my $position = $node->safe_psql('postgres', 'SELECT sum(next_offset) FROM streamcount.progress');
$node->wait_for_sql("SELECT sum(next_offset) > $position + 500 FROM streamcount.progress", 't');
$kafka->freeze;
state_is('hashtags', 'connecting', '\S', 'K3: broker frozen');
problem_is('hashtags', 'connecting', 'K3: broker frozen');
others_are_undisturbed('K3: broker frozen');
stops_at_once('K3: broker frozen');
$node->start;
state_is('hashtags', 'connecting', '\S', 'K3: broker frozen at the start');
$kafka->thaw;
$load->stop;
counts_exactly('hashtags', 'tweets', 'K3: the broker has thawed');

# Frozen and thawed, without a restart in between
$kafka->freeze;
state_is('hashtags', 'connecting', '\S', 'K3: broker frozen again');
$kafka->thaw;
produce('tweets', 100);
counts_exactly('hashtags', 'tweets', 'K3: the broker has thawed again');

# ---------------------------------------------------------------------
# The topic is deleted
# ---------------------------------------------------------------------

$kafka->create_topic('staying', 2);
$node->create_tweets_stream(name => 'staying');
$node->create_hashtags_rollup(name => 'others', stream => 'staying');
produce('staying', 100);
counts_exactly('others', 'staying', 'another stream');

my $counted = $node->safe_psql('postgres', 'SELECT * FROM hashtags ORDER BY 1, 2');
$kafka->delete_topic('tweets');
state_is('hashtags', 'stalled', 'topic "tweets" does not exist', 'K7: topic deleted');
problem_is('hashtags', 'stalled', 'K7: topic deleted');
produce('staying', 100);
counts_exactly('others', 'staying', 'K7: topic deleted, another stream');
others_are_undisturbed('K7: topic deleted');
stops_at_once('K7: topic deleted');
$node->start;
state_is('hashtags', 'stalled', 'topic "tweets" does not exist', 'K7: topic still deleted');
is($node->safe_psql('postgres', 'SELECT * FROM hashtags ORDER BY 1, 2'), $counted,
	'K7: the counts of a deleted topic stay');

# The topic of the same name is another one, and its offsets mean nothing here.
$kafka->create_topic('tweets', 2);
produce('tweets', 10);
state_is('hashtags', 'halted', 'beyond the end', 'K8: topic made anew');
problem_is('hashtags', 'halted', 'K8: topic made anew');
is($node->safe_psql('postgres', 'SELECT * FROM hashtags ORDER BY 1, 2'), $counted,
	'K8: nothing of the other topic is counted');
stops_at_once('K8: topic made anew');
$node->start;
produce('staying', 100);
counts_exactly('others', 'staying', 'K8: topic made anew, another stream');

# ---------------------------------------------------------------------

diag sprintf 'fast stops took at most %.2f s; counting went on within %.1f s', max(@stops), max(@returns);
stops_at_once('all well');
$kafka->stop;
done_testing();
