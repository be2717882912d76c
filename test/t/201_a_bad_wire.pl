# The wire between streamcount and the brokers is slow, freezes, breaks or turns
# bits over.  What comes through is counted exactly, nobody waits for the rest,
# and nothing has to be done when the wire is good again.
#
# The wire freezes for longer than the client waits for an answer, which is made
# short for it.  STREAMCOUNT_FROZEN_SECONDS=90 leaves librdkafka its own 60 s.

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
use StreamCount::Proxy;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

# 100 ms each way and 3 Mbit/s
my %slow = (delay => 0.1, rate => 375_000);
# How long it is frozen, at least, and how long a client waits for an answer
my $frozen_s = $ENV{STREAMCOUNT_FROZEN_SECONDS} // 12;
my $timeout_s = $ENV{STREAMCOUNT_FROZEN_SECONDS} ? 60 : 4;

my $proxy = StreamCount::Proxy->new->start;
my $kafka = StreamCount::Kafka->new(behind => $proxy)->start;
$kafka->create_topic('tweets', 2);
my $node = StreamCount::Node->new('wired');
$node->init(
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION streamcount;
	CREATE SERVER wire FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '@{[ $proxy->bootstrap ]}');
	CREATE FOREIGN TABLE tweets (text text, created_at timestamptz) SERVER wire OPTIONS (topic 'tweets')});
$node->create_hashtags_rollup;

my $number = 0;

# So many messages, of 1,000 bytes and more
sub produce
{
	my ($n) = @_;

	$kafka->produce_values('tweets',
		[ map {
			$number++;
			qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$number", "more": ")
			  . join('', map { chr 97 + rand 26 } 1 .. 50) . 'x' x 1000 . '"}'
		} 1 .. $n ], 2);
	return;
}

sub exact
{
	my ($name) = @_;

	$node->wait_for_rollup($kafka, 'tweets', timeout => 120);
	is($node->differences($kafka, 'tweets'), '', $name);
	return;
}

sub position
{
	return $node->safe_psql('postgres', 'SELECT sum(next_offset) FROM streamcount.progress');
}

sub await_position
{
	my ($least) = @_;

	$node->wait_for_sql("SELECT sum(next_offset) >= $least FROM streamcount.progress", 't', timeout => 120);
	return;
}

# Another setting of the server's, which takes another worker
sub set_timeout
{
	my ($option) = @_;
	my $pid = $node->safe_psql('postgres', 'SELECT pid FROM streamcount.stat_workers');

	$node->safe_psql('postgres', "ALTER SERVER wire OPTIONS ($option)");
	$node->wait_for_sql("SELECT pid <> $pid FROM streamcount.stat_workers", 't', timeout => 60);
	return;
}

sub others_are_undisturbed
{
	my ($name) = @_;

	$node->safe_psql('postgres', 'CREATE DATABASE other');
	my $begin = time;
	$node->safe_psql('postgres', 'DROP DATABASE other');
	# Where a worker is deaf it takes for ever; the rest is how busy the machine is.
	cmp_ok(time - $begin, '<', 3, "$name: another database is dropped at once");
	return;
}

sub stops_at_once
{
	my ($name) = @_;

	$node->safe_psql('postgres', 'CHECKPOINT');
	my $begin = time;
	$node->stop('fast');
	cmp_ok(time - $begin, '<', 1, "$name: a fast stop takes less than a second");
	$node->start;
	return;
}

# The states that are seen until all is read
sub states_until_read
{
	my ($n) = @_;
	my $end = position() + $n;
	my %seen;

	produce($n);
	my $until = time + 120;
	while (position() < $end && time < $until)
	{
		$seen{$_} = 1 for split /\n/, $node->safe_psql('postgres', 'SELECT DISTINCT state FROM streamcount.progress');
		sleep 0.1;
	}
	return join ' ', sort keys %seen;
}

produce(100);
exact('a good wire');

# ---------------------------------------------------------------------
# Slow
# ---------------------------------------------------------------------

$proxy->wire(%slow);
my $log = $node->log_size;
my $begin = time;
my $before = $proxy->count('bytes');
my $states = states_until_read(2000);
my $took = time - $begin;
unlike($states, qr/connecting|stalled|down/, "K29: a slow wire is no fault: $states");
cmp_ok($took, '>', 5, sprintf 'K29: 2 MB took %.1f s, at %.0f kB/s', $took,
	($proxy->count('bytes') - $before) / 1000 / $took);
exact('K29: over a slow wire, exact');
is($node->log_count(qr/./, $log), 0, 'K29: no line in the log')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;
produce(2000);
others_are_undisturbed('K29: a slow wire');
stops_at_once('K29: a slow wire');
exact('K29: stopped in the middle and started again, exact');

# ---------------------------------------------------------------------
# Broken, again and again
# ---------------------------------------------------------------------

$proxy->wire(rate => 2_000_000);
$log = $node->log_size;
my $end = position() + 6000;
produce(6000);
for my $i (1 .. 20)
{
	# Somewhere in a response, or between two
	$proxy->cut($i % 4 ? (after => int rand 400_000) : ());
	sleep 0.1 + rand 0.2;
}
$proxy->wire;
exact('K29: connections that break off at any byte cost nothing');
cmp_ok($proxy->count('cut'), '>', 5, 'K29: ' . $proxy->count('cut') . ' connections broke off');
cmp_ok($node->log_count(qr/ (?:LOG|WARNING|ERROR|FATAL):  /, $log), '<=', 2 * $proxy->count('cut'),
	'K29: no more than two entries in the log for each')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;

# ---------------------------------------------------------------------
# Frozen
# ---------------------------------------------------------------------

set_timeout(qq(ADD "socket.timeout.ms" '@{[ 1000 * $timeout_s ]}'));
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 200, partitions => 2);
await_position($end + 300);
$proxy->wire(freeze => 1);
$log = $node->log_size;
$begin = time;
$node->wait_for_sql(q{SELECT DISTINCT state, reason <> '' FROM streamcount.progress}, 'connecting|t', timeout => 60);
pass('K3: nothing is answered: connecting, with a reason');
others_are_undisturbed('K3: nothing is answered');
sleep 0.1 while time < $begin + $frozen_s;
cmp_ok(time - $begin, '>', $timeout_s, 'K3: for longer than the client waits for an answer');
is($node->safe_psql('postgres', q{SELECT DISTINCT state FROM streamcount.progress}), 'connecting', 'K3: it is still connecting then');
cmp_ok($node->log_entries($log), '<=', 3, 'K3: few entries in the log')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;
stops_at_once('K3: nothing is answered');
$node->wait_for_sql('SELECT DISTINCT state FROM streamcount.rollups', 'connecting', timeout => 60);
$proxy->wire;
$before = position();
await_position($before + 500);
pass('K3: thawed, it goes on');
$load->stop;
exact('K3: frozen and thawed, exact');

# And without a restart in between
$proxy->wire(freeze => 1);
$begin = time;
produce(100);
sleep 0.1 while time < $begin + $frozen_s;
$proxy->wire;
exact('K3: frozen again for as long, and thawed: it goes on, exact');
set_timeout('DROP "socket.timeout.ms"');

# ---------------------------------------------------------------------
# Bits that turn over
# ---------------------------------------------------------------------

$log = $node->log_size;
for my $i (1 .. 5)
{
	my $corrupted = $proxy->count('corrupt');

	# Behind a batch's header: in what the checksum guards.
	$proxy->corrupt(1000 + int rand 2000);
	produce(40);
	sleep 0.02 until $proxy->count('corrupt') > $corrupted;
	exact("K18: a bit of a batch turns over on the wire, $i: exact");
}
cmp_ok($node->log_count(qr/is stalled: MessageSet at offset \d+ .* failed CRC32C check/, $log), '>', 0,
	'K18: it was found by its checksum, and said so');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'K18: none of it needs a person');

# ---------------------------------------------------------------------
# A quota
# ---------------------------------------------------------------------

$kafka->limit_consumers('streamcount', 200_000);
$log = $node->log_size;
$begin = time;
$states = states_until_read(1000);
$took = time - $begin;
unlike($states, qr/connecting|stalled|down/, "K28: a quota is no fault: $states");
cmp_ok($took, '>', 2, sprintf 'K28: 1 MB took %.1f s', $took);
exact('K28: under a quota, exact');
is($node->log_count(qr/./, $log), 0, 'K28: no line in the log')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;

is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$kafka->stop;
$proxy->stop;
done_testing();
