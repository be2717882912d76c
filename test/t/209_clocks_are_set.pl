# Whatever the clocks say: a server whose clock is set back or forth goes on at
# once, in the same worker; and messages are counted under the times that they
# carry, by their producer's clock or by their broker's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();
my ($faketime) = glob '/usr/lib/*/faketime/libfaketimeMT.so.1';
plan skip_all => 'libfaketime is not installed' unless $faketime;
plan skip_all => 'libfaketime and the sanitizers do not go together' if $ENV{SANITIZE};
my $waits = "$FindBin::RealBin/../kafka/stepped_waits.so";
plan skip_all => "$waits is not built" unless -f $waits;

my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';

# Atomically: it is read at every question for the time.
sub set_clock
{
	my ($offset) = @_;

	PostgreSQL::Test::Utils::append_to_file("$clock.new", "$offset\n");
	rename "$clock.new", $clock or die "$clock: $!";
	return;
}

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "streamcount.metadata_interval = '1s'\nlog_statement = none\nfsync = off\n");
set_clock('+0');
{
	local $ENV{LD_PRELOAD} = "$faketime $waits";
	local $ENV{FAKETIME_TIMESTAMP_FILE} = $clock;
	local $ENV{FAKETIME_NO_CACHE} = 1;
	# What a step leaves alone
	local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
	$node->start;
}
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub becomes
{
	my ($query, $expected, $name) = @_;

	return ok(eval { $node->wait_for_sql($query, $expected, timeout => 150); 1 }, $name) || diag $@;
}

# ---------------------------------------------------------------------
# The server's clock
# ---------------------------------------------------------------------

$kafka->create_topic('tweets', 2);
$node->create_tweets_stream;
$node->create_hashtags_rollup;
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 200, partitions => 2);
my $position = 'SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress';
becomes("SELECT ($position) > 200", 't', 'a load is counted');

# libfaketime's hours and years
my %seconds = (h => 3600, y => 365 * 86400, '' => 1);
foreach my $step ('-3h', '+0', '+3h', '-2y', '+2y', '+0')
{
	set_clock($step);
	my $now = $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())');
	my $from = $node->safe_psql('postgres', $position);

	my ($n, $unit) = $step =~ /^([+-]\d+)(\w?)$/;
	cmp_ok(abs($now - time - $n * $seconds{$unit}), '<', 60, sprintf 'K30: the clock is %.0f s off', $now - time);
	becomes("SELECT ($position) > $from + 300", 't', "K30: the clock is set to $step: it goes on");
	# A client whose waits the step has upset is given up for a new one; how soon
	# that one gets an answer is a matter of libfaketime's, which meddles with waits.
	my ($asked, $started) = split /\|/, $node->safe_psql('postgres',
		'SELECT max(checked_at), max(started_at) FROM streamcount.progress, streamcount.stat_workers');
	becomes("SELECT max(checked_at) <> nullif('$asked', '')::timestamptz OR max(started_at) <> '$started'
		FROM streamcount.progress, streamcount.stat_workers", 't', 'K30: ... and looks for partitions, or has a new worker do it');
}
set_clock('-1h');
is($node->safe_psql('postgres', q{SELECT streamcount.wait('hashtags')}), 't', 'K30: wait() does not mind either');
$load->stop;
$node->wait_for_rollup($kafka, 'tweets', timeout => 60);
is($node->differences($kafka, 'tweets'), '', 'K30: exact');
is($node->log_count(qr/stalled|ERROR|WARNING/), 0, 'K30: and nothing was complained of');

# ---------------------------------------------------------------------
# Messages' clocks
# ---------------------------------------------------------------------

$kafka->create_topic('created', 1);
$kafka->create_topic('appended', 1, 'message.timestamp.type' => 'LogAppendTime');
foreach my $topic (qw(created appended))
{
	$kafka->produce_messages($topic, [ map { { partition => 0, timestamp => $_, value => '{}' } }
		# 1970-01-02, 2014-09-21, 2199-12-31
		86_400_000, 1_411_257_600_000, 7_258_032_000_000, 1_411_257_600_001 ]);
	$node->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE ${topic}_stream (ts timestamptz OPTIONS (metadata 'timestamp'))
		SERVER streamcount OPTIONS (topic '$topic');
		SELECT streamcount.create_rollup('$topic', \$\$SELECT w.interval, count(*) AS n
			FROM ${topic}_stream, streamcount.windows(ts, '{year}') AS w GROUP BY w.interval\$\$)});
	$node->wait_for_rollup($kafka, $topic, name => $topic, timeout => 60);
}
is($node->safe_psql('postgres', q{SELECT string_agg("interval" || ' ' || n, ', ' ORDER BY "interval") FROM created}),
	'1970 1, 2014 2, 2199 1', 'K30: CreateTime: the producer\'s clock decides, however wrong');
is($node->safe_psql('postgres', q{SELECT string_agg("interval" || ' ' || n, ', ') FROM appended}),
	(1900 + (gmtime)[5]) . ' 4', 'K30: LogAppendTime: the broker\'s clock decides');
becomes('SELECT count(*) FROM streamcount.problems', '0', 'K30: in the end, all is well');

$node->stop;
done_testing();
