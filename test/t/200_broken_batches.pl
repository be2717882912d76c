# What a broker serves may be broken on its way or in its log, odd, or a thing
# that this version has never heard of.  A batch that cannot be read halts its
# partition, with the reason in the views and one line in the log, after it was
# read again some times; everything else is counted exactly, and after resume()
# or skip_to() so is the rest.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Fake;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Fake->missing if StreamCount::Fake->missing;

# So soon after its beginning every fault is seen by whoever looks.
my $seen_within_s = 60;

my $fake = StreamCount::Fake->new->start;
my $node = StreamCount::Node->new('broken');
$node->init(
	brokers => $fake->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nmax_worker_processes = 40\n"
	  . "streamcount.max_workers = 24\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# ---------------------------------------------------------------------
# Topics of two partitions: three batches of five, and one
# ---------------------------------------------------------------------

sub tweets
{
	return [ map { { value => qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } } @_ ];
}

sub make_topic
{
	my ($topic) = @_;

	$fake->create_topic($topic, 2);
	$fake->append($topic, 0, tweets($_ * 5 + 1 .. $_ * 5 + 5)) for 0 .. 2;
	$fake->append($topic, 1, tweets(16 .. 20));
	return;
}

sub count_topic
{
	my ($topic) = @_;

	$node->create_tweets_stream(name => $topic);
	$node->create_hashtags_rollup(name => "of_$topic", stream => $topic);
	return;
}

# What is waited for in vain is a failure like any other: what was counted is
# compared all the same.  The next one is not waited for as long.
my %patience;

sub becomes
{
	my ($query, $expected, $name) = @_;
	my $seen = eval { $node->wait_for_sql($query, $expected, %patience) };

	ok(defined $seen, $name) or diag $@;
	%patience = (timeout => 15) if !defined $seen;
	return defined $seen;
}

sub offsets_are
{
	my ($topic, $offsets, $name) = @_;

	return becomes("SELECT string_agg(next_offset::text, ' ' ORDER BY partition)"
		  . " FROM streamcount.progress WHERE rollup = 'of_$topic'::regclass", $offsets, $name);
}

sub state_is
{
	my ($topic, $pattern, $name) = @_;

	return becomes("SELECT state || ': ' || coalesce(reason, '') FROM streamcount.rollups WHERE rollup = 'of_$topic'::regclass",
		$pattern, $name);
}

# The rollup is that of the messages with these numbers, no more and no less.
sub counts_are
{
	my ($topic, $numbers, $name) = @_;
	my %count = ('#first' => scalar @$numbers, map { ("#tag$_" => 1) } @$numbers);

	is( $node->safe_psql('postgres', qq{SELECT string_agg(hashtag || ' ' || "interval" || ' ' || mentions, ', '
			ORDER BY hashtag COLLATE "C", "interval") FROM of_$topic}),
		join(', ', map { ("$_ 2014-09-21 $count{$_}", "$_ ALL $count{$_}") } sort keys %count),
		$name);
	return;
}

sub exact
{
	my ($topic, $name) = @_;

	is($node->differences($fake, $topic, name => "of_$topic"), '', $name);
	return;
}

# ---------------------------------------------------------------------
# Batches that cannot be read
# ---------------------------------------------------------------------

my @broken = (
	[ 'crc', 'crc', 'failed CRC32C check', 'K18: a batch with a wrong checksum' ],
	[ 'flip', 'flip', 'failed CRC32C check', 'K18: a batch with a bit that has turned over' ],
	[ 'gzip', 'gzip', 'Decompression', 'K19: a batch with bad compressed data' ],
	[ 'codec', 'codec', 'Decompression', 'K19: a batch of an unknown compression' ],
	[ 'magic', 'magic', 'MagicByte 9', 'K20: a batch of an unknown format' ]);

my %halted;
my $log = $node->log_size;
my $begin = time;
for my $case (@broken)
{
	my ($topic, $kind) = @$case;

	make_topic($topic);
	$fake->fault($topic, 0, 7, $kind);
	count_topic($topic);
}
for my $case (@broken)
{
	my ($topic, $kind, $reason, $name) = @$case;

	$halted{$topic} =
	  state_is($topic, qr/^halted: the batch at offset 5 is broken: .*$reason/, "$name halts the partition");
	cmp_ok(
		$node->safe_psql('postgres', "SELECT coalesce(round(extract(epoch FROM max(since)) - $begin, 1), 9999)
			FROM streamcount.problems WHERE rollup = 'of_$topic'::regclass"),
		'<', $seen_within_s, "$name: seen in time");
	cmp_ok($fake->count($kind), '>', 3, "$name was read again before");
	like(
		$node->safe_psql('postgres', "SELECT statement, hint FROM streamcount.problems WHERE rollup = 'of_$topic'::regclass"),
		qr/^SELECT streamcount.resume\('of_$topic'\)\|.*skip_to/, "$name: streamcount.problems says what to do");
	offsets_are($topic, '5 5', "$name: what is before it is counted, and the other partition");
	counts_are($topic, [ 1 .. 5, 16 .. 20 ], "$name: nothing of it is counted");
}
for my $case (grep { $halted{ $_->[0] } } @broken)
{
	my ($topic, $kind, $reason, $name) = @$case;

	# The other partition goes on.
	$fake->append($topic, 1, tweets(21 .. 25));
	offsets_are($topic, '5 10', "$name: the other partition goes on");
	# It is still broken.
	$node->safe_psql('postgres', "SELECT streamcount.resume('of_$topic')");
	state_is($topic, qr/^halted: the batch at offset 5/, "$name: resumed too early, it halts again");
	counts_are($topic, [ 1 .. 5, 16 .. 25 ], "$name: ... and nothing is counted");
	# As does every offset inside of it; of the unknown format librdkafka then
	# says nothing any more.
	$node->safe_psql('postgres', "SELECT streamcount.skip_to('of_$topic', 0, 7)");
	state_is($topic, $kind eq 'magic' ? qr/^stalled: nothing comes from offset 7 on/ : qr/^halted: the batch at offset 7/,
		"$name: nor is it read from its middle");
	counts_are($topic, [ 1 .. 5, 16 .. 25 ], "$name: ... and nothing is counted either");
	$node->safe_psql('postgres', "SELECT streamcount.skip_to('of_$topic', 0, 10)");
	offsets_are($topic, '15 10', "$name: it goes on behind it");
	counts_are($topic, [ 1 .. 5, 11 .. 25 ], "$name: skipped, the rest is exact");
	is( $node->safe_psql('postgres', "SELECT kind, first_offset, end_offset FROM streamcount.gaps"
			  . " WHERE rollup = 'of_$topic'::regclass ORDER BY 2"),
		"skipped|5|7\nskipped|7|10", "$name: what was skipped is listed");
	$fake->heal($topic);
}
cmp_ok($node->log_count(qr/ERROR|WARNING|exited with/, $log), '<=', 10 * @broken, 'few lines in the log')
  or diag substr slurp_file($node->logfile, $log), 0, 3000;

# A broken wire, or a disk that is repaired
make_topic('repaired');
$fake->fault('repaired', 0, 7, 'flip', times => 2);
count_topic('repaired');
offsets_are('repaired', '15 5', 'K18: a batch that is broken twice and then is not goes by itself');
$fake->heal('repaired');
exact('repaired', 'K18: and is counted exactly');
is($fake->count('flip') > 2 ? 'served' : 'not served', 'served', 'K18: the broken batch was served');

make_topic('resumed');
$fake->fault('resumed', 0, 7, 'crc');
count_topic('resumed');
state_is('resumed', qr/^halted: the batch at offset 5/, 'K18: another one is halted');
$fake->heal('resumed');
$node->safe_psql('postgres', q{SELECT streamcount.resume('of_resumed')});
offsets_are('resumed', '15 5', 'K18: repaired and resumed, it goes on');
exact('resumed', 'K18: repaired and resumed, it is exact');

# Somebody skips it, in a transaction, just when a worker gives it up.
$fake->create_topic('skipped', 2);
$fake->append('skipped', 0, tweets(1 .. 5));
count_topic('skipped');
offsets_are('skipped', '5 0', 'K18: a topic is read');
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT FROM streamcount.rollup_progress
	WHERE rollup = 'of_skipped'::regclass AND partition = 0 FOR NO KEY UPDATE});
$log = $node->log_size;
$fake->fault('skipped', 0, 7, 'crc');
$fake->append('skipped', 0, tweets($_ * 5 + 1 .. $_ * 5 + 5)) for 1, 2;
becomes(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker' AND wait_event_type = 'Lock'}, '1',
	'K18: a worker is about to halt a partition');
$session->query_safe(q{SELECT streamcount.skip_to('of_skipped', 0, 10); COMMIT});
$session->quit;
offsets_are('skipped', '15 0', 'K18: what is skipped while a worker is about to halt there is skipped, and it goes on behind it');
counts_are('skipped', [ 1 .. 5, 11 .. 15 ], 'K18: ... and the rest is exact');
is($node->log_count(qr/rollup public\.of_skipped is halted/, $log), 0, 'K18: ... and nobody says that it was halted');

# ---------------------------------------------------------------------
# What is odd, and right
# ---------------------------------------------------------------------

# It is at rest until the seek is looked at, below.
make_topic('sought');
count_topic('sought');
offsets_are('sought', '15 5', 'K35: a topic is read');
my $rested_since = time;

make_topic('old');
$fake->fault('old', 0, 7, 'old');
count_topic('old');
offsets_are('old', '15 5', 'K34: the first batch comes again before the second');
cmp_ok($fake->count('old'), '>', 0, 'K34: it came again');
$fake->heal('old');
exact('old', 'K34: and is counted once');

$fake->create_topic('gaps', 1);
$fake->append('gaps', 0, [ map { { %{ tweets($_)->[0] }, offset => 3 * $_ } } 1 .. 5 ], first => 0, last => 19);
$fake->append('gaps', 0, [], first => 20, last => 29);
$fake->append('gaps', 0, [ map { { %{ tweets($_)->[0] }, offset => 100 + 10 * $_ } } 6 .. 8 ], last => 250);
$fake->append('gaps', 0, [], first => 251, last => 299);
count_topic('gaps');
offsets_are('gaps', '300', 'K13: holes in a batch, an emptied batch, a gap between two, an emptied end: read to the end');
exact('gaps', 'K13: and exact');
state_is('gaps', qr/^idle/, 'K13: what is not there is not waited for');

# What is deleted ends in the middle of a batch, which is served as a whole.
make_topic('trimmed');
count_topic('trimmed');
offsets_are('trimmed', '15 5', 'K11: a topic is read');
$node->safe_psql('postgres', q{SELECT streamcount.pause('of_trimmed')});
$fake->append('trimmed', 0, tweets(21 .. 25));
$fake->append('trimmed', 0, tweets(26 .. 30));
$fake->trim('trimmed', 0, 22);
$fake->append('trimmed', 1, tweets(31 .. 35));
$node->safe_psql('postgres', q{SELECT streamcount.resume('of_trimmed')});
state_is('trimmed', qr/^halted: messages from offset 15 to before 22 are lost/,
	'K11: messages that are deleted before they are read halt the partition');
offsets_are('trimmed', '15 10', 'K11: ... and no other');
counts_are('trimmed', [ 1 .. 20, 31 .. 35 ], 'K11: ... nothing of the batch is counted');
like($node->safe_psql('postgres', q{SELECT hint FROM streamcount.problems WHERE rollup = 'of_trimmed'::regclass}), qr/\bskip_to\(rollup, 0, 22\)/,
	'K11: ... streamcount.problems says how to go on behind them');
$node->safe_psql('postgres', q{SELECT streamcount.skip_to('of_trimmed', 0, 22)});
offsets_are('trimmed', '25 10', 'K11: ... where it goes on');
counts_are('trimmed', [ 1 .. 20, 28 .. 35 ], 'K11: ... and what is left of the batch is counted, exactly');
is($node->safe_psql('postgres', q{SELECT kind, first_offset, end_offset FROM streamcount.gaps WHERE rollup = 'of_trimmed'::regclass}),
	'skipped|15|22', 'K11: ... and the others are listed');

# Messages that librdkafka hands out in batches can be lost beside these calls.
# The one seek is at a partition's end, where all that comes before what it asks
# for is dropped, by the offset that is expected.
my @calls = sort map { slurp_file($_) =~ /(rd_kafka_(?:seek|pause|resume|incremental|consume_batch)\w*)/g }
  glob "$StreamCount::Broker::root/src/source*.c";
is("@calls", 'rd_kafka_consume_batch_queue rd_kafka_seek_partitions',
	'K35: beside the batch call there is one seek, and no pause');

# By the first message behind a rest it goes back to the one before: what has
# come by then is left, and has to come again.
sleep 0.1 while time < $rested_since + 2;
foreach (21 .. 40)
{
	$fake->append('sought', 0, tweets($_));
	sleep 0.05;
}
offsets_are('sought', '35 5', 'K35: messages behind a rest are read');
exact('sought', 'K35: ... none is left out by the seek, and none is counted twice');

# ---------------------------------------------------------------------
# Times
# ---------------------------------------------------------------------

my %time = (none => -1, epoch => 0, far => 1 << 62, past => -(1 << 62), good => 1411293600000);
$fake->create_topic('times', 1);
$fake->append('times', 0, [ map { { value => $_, timestamp => $time{$_} } } sort keys %time ]);
$fake->append('times', 0, [ { value => 'appended', timestamp => 5 } ], log_append_time => 1411297200000);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE times (line text, at timestamptz OPTIONS (metadata 'timestamp'))
		SERVER streamcount OPTIONS (topic 'times', format 'text');
	SELECT streamcount.create_rollup('of_times', 'SELECT line, at, count(*) FROM times GROUP BY 1, 2');
	SELECT streamcount.create_rollup('lines_of_times', 'SELECT line, count(*) FROM times GROUP BY 1')});
offsets_are('times', '6', 'D3, D5: no time stands still');
is( $node->safe_psql('postgres', q{SELECT line, at AT TIME ZONE 'UTC' FROM of_times ORDER BY 1}),
	"appended|2014-09-21 11:00:00\nepoch|1970-01-01 00:00:00\ngood|2014-09-21 10:00:00\nnone|",
	'D3: a message without a time has none; D4: the time of the broker, where the topic has that');
is( $node->safe_psql('postgres', q{SELECT "offset", sqlstate, "column" FROM streamcount.rejects
		WHERE rollup = 'of_times'::regclass ORDER BY 1}),
	"1|22008|at\n4|22008|at",
	'D5: times that PostgreSQL cannot hold reject their message, with the reason');
is( $node->safe_psql('postgres', q{SELECT sum(count) FROM lines_of_times}), '6',
	'D5: and only where the time is read');

is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$fake->stop;
done_testing();
