# What lies in a real broker's log: compressed batches, holes where compaction
# was, the broker's own times, messages of megabytes, a backlog that is larger
# than all memory that a worker may take, and a byte that has turned over on the
# broker's disk.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

# The backlog, in messages of 50 kB
my $backlog = $ENV{STREAMCOUNT_BACKLOG_MESSAGES} // 1000;
# What a worker may take: the settings below, some 30 MB, and what malloc keeps
my $most_mb = 8 + 4 + 4 + 30 + 20;

my $kafka = StreamCount::Kafka->new(config => { 'log.cleaner.backoff.ms' => 300 })->start;
my $node = StreamCount::Node->new('log');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_statement = none\nstreamcount.metadata_interval = 1s\nmax_worker_processes = 20\n"
	  . "streamcount.max_workers = 12\n"
	  . "streamcount.fetch_mem = '8MB'\nstreamcount.batch_mem = '4MB'\nstreamcount.tally_mem = '4MB'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub tweet
{
	my ($number, %args) = @_;

	return {
		value => qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$number", "more": ")
		  . ($args{more} // '') . '"}', partition => 0, %{ $args{message} // {} } };
}

sub count_topic
{
	my ($topic, %args) = @_;

	$node->create_tweets_stream(name => $topic);
	$node->create_hashtags_rollup(name => "of_$topic", stream => $topic, %args);
	return;
}

sub exact
{
	my ($topic, $name) = @_;

	$node->wait_for_rollup($kafka, $topic, name => "of_$topic");
	is($node->differences($kafka, $topic, name => "of_$topic"), '', $name);
	return;
}

# ---------------------------------------------------------------------
# Compression
# ---------------------------------------------------------------------

my @codecs = qw(gzip snappy lz4 zstd);
for my $codec (@codecs)
{
	$kafka->create_topic($codec, 1, 'compression.type' => $codec);
	$kafka->produce_messages($codec, [ map { tweet($_, more => 'x' x 200) } 1 .. 300 ]);
	count_topic($codec);
}
exact($_, "K19: $_ is read exactly") for @codecs;

# ---------------------------------------------------------------------
# Times
# ---------------------------------------------------------------------

$kafka->create_topic('appended', 1, 'message.timestamp.type' => 'LogAppendTime');
$kafka->create_topic('created', 1);
$kafka->produce_messages($_, [ map { { partition => 0, timestamp => $_, value => "at $_" } } 1000, 1 << 62 ]) for qw(appended created);
$node->safe_psql('postgres', qq{
	CREATE FOREIGN TABLE $_ (line text, at timestamptz OPTIONS (metadata 'timestamp'))
		SERVER streamcount OPTIONS (topic '$_', format 'text');
	SELECT streamcount.create_rollup('of_$_', 'SELECT at, count(*) FROM $_ GROUP BY at')}) for qw(appended created);
$node->wait_for_rollup($kafka, $_, name => "of_$_") for qw(appended created);
is($node->safe_psql('postgres', q{SELECT sum(count) FROM of_appended WHERE at > now() - interval '1 hour' AND at <= now() + interval '1 minute'}),
	'2', 'D4: where the topic has the broker\'s time, that is the time');
is($node->safe_psql('postgres', q{SELECT extract(epoch FROM at)::int, count FROM of_created}), '1|1', 'D4: and else the producer\'s');
is( $node->safe_psql('postgres', q{SELECT "offset", sqlstate, "column" FROM streamcount.rejects}),
	'1|22008|at', 'D5: 2^62 ms go through a real broker, and reject their message');

# ---------------------------------------------------------------------
# Compaction
# ---------------------------------------------------------------------

sub messages_in
{
	my ($topic) = @_;
	my @lines = split /\n/, qx("$StreamCount::Broker::root/test/bin/count.py" --books @{[ $kafka->bootstrap ]} $topic);

	return (split ' ', $lines[0] // '0 0')[1];
}

$kafka->create_topic('compacted', 1, 'cleanup.policy' => 'compact', 'segment.ms' => 200, 'min.cleanable.dirty.ratio' => 0.01,
	'delete.retention.ms' => 0, 'max.compaction.lag.ms' => 500);
$kafka->produce_messages('compacted', [ map { tweet($_, message => { key => $_ % 7 }) } 1 .. 200 ]);
sleep 0.3;
$kafka->produce_messages('compacted', [ map { tweet($_, message => { key => 'last' }) } 201 .. 203 ]);
my $until = time + 60;
sleep 0.3 while messages_in('compacted') > 150 && time < $until;
my $left = messages_in('compacted');
cmp_ok($left, '<', 150, "K13: compaction has left $left of 203 messages");
count_topic('compacted');
exact('compacted', 'K13: and those are counted exactly, to the end');
$node->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup = 'of_compacted'::regclass}, 'idle');
pass('K13: what is not there is not waited for');

# ---------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------

# What the worker of a stream has of its own, in MB, at most, until all is read
sub memory_until_read
{
	my ($topic) = @_;
	my ($end) = $kafka->ends($topic);
	my $most = 0;
	my $until = time + 180;

	while (time < $until)
	{
		my ($pid, $next) = split /\|/, $node->safe_psql('postgres', qq{
			SELECT (SELECT pid FROM streamcount.stat_workers WHERE stream = '$topic'::regclass), next_offset
			FROM streamcount.progress WHERE rollup = 'of_$topic'::regclass});

		if ($pid && open my $status, '<', "/proc/$pid/status")
		{
			my ($kb) = map { /^RssAnon:\s+(\d+)/ } <$status>;
			$most = $kb / 1024 if defined $kb && $kb / 1024 > $most;
		}
		return $most if defined $next && $next == $end;
		sleep 0.02;
	}
	die "the backlog is not read:\n" . $node->state_of_rollups;
}

$kafka->create_topic('backlog', 1);
$kafka->produce_messages('backlog', [ map { tweet($_, more => 'y' x 50_000) } 1 .. 500 ]) for 1 .. $backlog / 500;
count_topic('backlog', way => 'executor');
my $most = memory_until_read('backlog');
cmp_ok($most, '<', $most_mb, sprintf 'K31: a backlog of %.0f MB took %.0f MB of memory', $backlog * 0.05, $most);
exact('backlog', 'K31: and is counted exactly');

$kafka->create_topic('large', 1, 'max.message.bytes' => 20_000_000);
$kafka->produce_messages('large', [ tweet($_, more => 'z' x 8_000_000) ]) for 1 .. 24;
count_topic('large');
$most = memory_until_read('large');
# Responses have at least one message, whatever was asked for: three of them are alive.
cmp_ok($most, '<', $most_mb + 6 * 8, sprintf 'K16: messages of 8 MB took %.0f MB of memory', $most);
exact('large', 'K16: and are counted exactly');

# ---------------------------------------------------------------------
# A byte turns over on the broker's disk
# ---------------------------------------------------------------------

$kafka->create_topic('flipped', 1);
$kafka->produce_messages('flipped', [ map { tweet($_) } $_ * 10 + 1 .. $_ * 10 + 10 ]) for 0 .. 2;
$kafka->stop;
my ($file) = glob "$kafka->{dir}/data/flipped-0/*.log";
my $bytes = slurp_file($file);
my $at = index $bytes, '#tag15"';
cmp_ok($at, '>', 0, 'K18: the batch is in the log');
substr($bytes, $at + 4, 1) ^= "\1";
open my $out, '+<:raw', $file or die "$file: $!";
seek $out, $at, 0;
print $out substr $bytes, $at, 6;
close $out or die "$file: $!";
$kafka->start;
my $begin = time;
count_topic('flipped');
$node->wait_for_sql(q{SELECT state, reason FROM streamcount.rollups WHERE rollup = 'of_flipped'::regclass},
	qr/^halted\|the batch at offset 10 is broken: .*failed CRC32C check/);
pass('K18: a byte turned over in the log of a stopped broker: it serves it, and the partition halts');
cmp_ok(time - $begin, '<', 60, 'K18: seen in time');
is( $node->safe_psql('postgres', q{SELECT next_offset FROM streamcount.progress WHERE rollup = 'of_flipped'::regclass}),
	'10', 'K18: what is before it is counted');
is($node->differences($kafka, 'flipped', name => 'of_flipped'), '', 'K18: exactly');
$node->safe_psql('postgres', q{SELECT streamcount.skip_to('of_flipped', 0, 20)});
$node->wait_for_rollup($kafka, 'flipped', name => 'of_flipped');
is( $node->safe_psql('postgres', q{SELECT string_agg(hashtag, ' ' ORDER BY hashtag) FROM of_flipped
		WHERE "interval" = 'ALL' AND mentions = 1}),
	join(' ', sort map { "#tag$_" } 1 .. 10, 21 .. 30), 'K18: skipped, the rest is exact');
exact($_, "the broker was restarted: $_ is still exact") for qw(zstd compacted large);

is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$kafka->stop;
done_testing();
