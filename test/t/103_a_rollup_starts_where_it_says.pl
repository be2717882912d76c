# Where rollups begin: at the beginning, at the end, at a time, at offsets;
# each its own way, however late it is made; and in partitions and topics
# that come later, at their beginning.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $epoch_ms = 1_400_000_000_000;    # 2014-05-13 16:53:20+00, the time of offset 0
my %ends;                            # by topic: the end of each partition

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "streamcount.metadata_interval = '1s'\n"
	  . "streamcount.flush_interval = '20ms'\n"
	  . "streamcount.max_workers = 16\n"
	  . "max_worker_processes = 24\n"
	  . "max_prepared_transactions = 2\n"
	  . "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# The message at an offset says which it is, and was sent as many seconds
# after the epoch.
sub produce
{
	my ($topic, $count, @partitions) = @_;

	$kafka->produce_messages(
		$topic,
		[   map {
				my $partition = $_;

				map {
					my $offset = $ends{$topic}[$partition]++;
					{   partition => $partition,
						timestamp => $epoch_ms + 1000 * $offset,
						value => '{"n": ' . ($partition * 1_000_000 + $offset) . '}'
					}
				} 1 .. $count
			} @partitions
		]);
	return;
}

sub create_topic
{
	my ($topic, $partitions) = @_;

	$kafka->create_topic($topic, $partitions);
	$ends{$topic} = [ (0) x $partitions ];
	return;
}

sub create_stream
{
	my ($stream, $topic, $start) = @_;
	my $option = defined $start ? ", start '$start'" : '';

	$node->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE $stream (n bigint, part int OPTIONS (metadata 'partition'))
		SERVER streamcount OPTIONS (topic '$topic'$option)});
	return;
}

sub creation
{
	my ($rollup, $stream, %args) = @_;
	my $start = defined $args{start} ? "'$args{start}'" : 'NULL';
	my $paused = $args{paused} ? 'true' : 'false';

	return qq{SELECT streamcount.create_rollup('$rollup',
		'SELECT part, count(*) AS messages, sum(n) AS s FROM $stream GROUP BY part', $start, $paused);\n};
}

# What a rollup must hold that began at these offsets: "partition|count|sum"
sub expected
{
	my ($topic, @starts) = @_;
	my @lines;

	foreach my $partition (0 .. $#starts)
	{
		my $count = $ends{$topic}[$partition] - $starts[$partition];
		my $sum = 0;

		next if $count == 0;
		$sum += $partition * 1_000_000 + $_ foreach $starts[$partition] .. $ends{$topic}[$partition] - 1;
		push @lines, "$partition|$count|$sum";
	}
	return join "\n", @lines;
}

sub starts_are
{
	my ($rollup, $starts, $name) = @_;
	my $answer = eval {
		$node->wait_for_sql(
			"SELECT string_agg(start_offset::text, ' ' ORDER BY partition)"
			  . " FROM streamcount.progress WHERE rollup = '$rollup'::regclass",
			"@$starts", timeout => 20);
	};

	return ok($answer, $name) || diag $@;
}

sub holds
{
	my ($rollup, $topic, $starts, $name) = @_;

	eval { $node->wait_for_rollup($kafka, $topic, name => $rollup, timeout => 30); 1 } or diag $@;
	return is($node->safe_psql('postgres', "SELECT part, messages, s FROM $rollup ORDER BY part"),
		expected($topic, @$starts), $name);
}

# ---------------------------------------------------------------------
# Each start, by the function's argument and by the stream's option
# ---------------------------------------------------------------------

create_topic('seasons', 2);
produce('seasons', 10, 0, 1);

my %starts = (
	earliest => [ 'earliest', 0, 0 ],
	latest => [ 'latest', 10, 10 ],
	time => [ '2014-05-13 16:53:24.5+00', 5, 5 ],
	zoned_time => [ '2014-05-13T12:53:23-04:00', 3, 3 ],
	time_before => [ '1999-12-31', 0, 0 ],
	time_after => [ '2033-01-01', 10, 10 ],
	offsets => [ '{"0": 3, "1": 7}', 3, 7 ],
	some_offsets => [ '{"1": 9}', 0, 9 ]);
my @options = qw(latest time offsets);

create_stream('seasons', 'seasons');
create_stream("seasons_$_", 'seasons', $starts{$_}[0]) foreach @options;
$node->safe_psql('postgres', 'BEGIN;' . creation('by_default', 'seasons')
	  . join('', map { creation("from_$_", 'seasons', start => $starts{$_}[0]) } sort keys %starts)
	  . join('', map { creation("option_$_", "seasons_$_") } @options)
	  . creation('argument_wins', 'seasons_latest', start => 'earliest')
	  . 'COMMIT');
starts_are('by_default', [ 0, 0 ], 'a rollup starts at the beginning');
starts_are("from_$_", [ @{ $starts{$_} }[ 1, 2 ] ], "the argument start: $_") foreach sort keys %starts;
starts_are("option_$_", [ @{ $starts{$_} }[ 1, 2 ] ], "the option start: $_") foreach @options;
starts_are('argument_wins', [ 0, 0 ], 'the argument start is stronger than the option');

produce('seasons', 3, 0, 1);
holds('by_default', 'seasons', [ 0, 0 ], 'all of it is counted from the beginning');
holds("from_$_", 'seasons', [ @{ $starts{$_} }[ 1, 2 ] ], "and from the argument's start: $_") foreach sort keys %starts;
holds("option_$_", 'seasons', [ @{ $starts{$_} }[ 1, 2 ] ], "and from the option's start: $_") foreach @options;
holds('argument_wins', 'seasons', [ 0, 0 ], 'and where the argument is stronger');

# Symbols are numbers from the first moment on.
$node->stop;
produce('seasons', 2, 0, 1);
$node->start;
holds('from_latest', 'seasons', [ 10, 10 ], 'the end is what it was at first, not what it is after a restart');
holds('option_latest', 'seasons', [ 10, 10 ], 'by the option, too');

# Beyond the end there is nothing to begin with.
$node->safe_psql('postgres', creation('beyond', 'seasons', start => '{"0": 1000}'));
ok(eval { $node->wait_for_sql(
	q{SELECT partition, state, reason ~ 'offset 1000 is beyond the end', hint ~ 'skip_to|[Dd]rop'
	FROM streamcount.problems WHERE rollup = 'beyond'::regclass}, '0|halted|t|t', timeout => 20) },
	'a start beyond the end halts that partition') or diag $@;
is($node->safe_psql('postgres', q{SELECT part, messages FROM beyond}), '1|15', '... and no other') 
  if eval { $node->wait_for_sql(q{SELECT next_offset FROM streamcount.progress WHERE rollup = 'beyond'::regclass AND partition = 1}, '15', timeout => 20) };
produce('seasons', 1, 0, 1);
holds('by_default', 'seasons', [ 0, 0 ], '... and no other rollup');

# ---------------------------------------------------------------------
# Committed before the first read
# ---------------------------------------------------------------------

create_topic('held', 1);
produce('held', 4, 0);
create_stream('held', 'held');
$node->safe_psql('postgres', creation('held_latest', 'held', start => 'latest', paused => 1)
	  . "BEGIN; LOCK TABLE held_latest_data; PREPARE TRANSACTION 'held';");
is($node->safe_psql('postgres', "SELECT count(*) FROM streamcount.progress WHERE rollup = 'held_latest'::regclass"),
	'0', 'a rollup that is made paused has not begun');
produce('held', 1, 0);
$node->safe_psql('postgres', "SELECT streamcount.resume('held_latest')");
starts_are('held_latest', [5], 'a start is committed before there is a message to read');
produce('held', 2, 0);
ok(eval { $node->wait_for_sql(
	q{SELECT state, next_offset, counted FROM streamcount.progress WHERE rollup = 'held_latest'::regclass},
	'blocked|5|0', timeout => 20) }, '... and while the first of them cannot be counted') or diag $@;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers WHERE stream = 'held'::regclass");
produce('held', 2, 0);
$node->safe_psql('postgres', "COMMIT PREPARED 'held'");
holds('held_latest', 'held', [5], '... and stands when the worker ends before that');

# ---------------------------------------------------------------------
# A later rollup has its own start, and holds up no other
# ---------------------------------------------------------------------

create_topic('river', 2);
produce('river', 7000, 0, 1);
create_stream('river', 'river');
$node->safe_psql('postgres', creation('first', 'river'));
holds('first', 'river', [ 0, 0 ], 'the first rollup has read all');

# Its data table is locked, so that it can be watched.
$node->safe_psql('postgres', creation('second', 'river', paused => 1)
	  . "BEGIN; LOCK TABLE second_data; PREPARE TRANSACTION 'second';\n"
	  . "SELECT streamcount.resume('second')");
ok(eval { $node->wait_for_sql(
	q{SELECT array_agg(apart ORDER BY apart) FROM streamcount.stat_workers WHERE stream = 'river'::regclass},
	'{second,NULL}', timeout => 20) }, 'one that is far behind is served apart') or diag $@;
ok(eval { $node->wait_for_sql(
	q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'second'::regclass},
	'blocked', timeout => 20) }, '... and blocked where its table is locked') or diag $@;
produce('river', 5, 0, 1);
holds('first', 'river', [ 0, 0 ], '... while the first one goes on');
$node->safe_psql('postgres', "COMMIT PREPARED 'second'");
holds('second', 'river', [ 0, 0 ], 'it catches up');
ok(eval { $node->wait_for_sql(
	q{SELECT array_agg(apart) FROM streamcount.stat_workers WHERE stream = 'river'::regclass},
	'{NULL}', timeout => 20) }, '... and joins the first') or diag $@;
$node->safe_psql('postgres', creation('third', 'river', start => '{"0": 7001, "1": 6500}')
	. creation('fourth', 'river', start => 'latest'));
starts_are('fourth', [ 7005, 7005 ], 'a late rollup starts at the end that is there now');
produce('river', 5, 0, 1);
holds('first', 'river', [ 0, 0 ], 'the first is exact in the end');
holds('second', 'river', [ 0, 0 ], 'the one that was apart, too');
holds('third', 'river', [ 7001, 6500 ], 'one that was a little behind, too');
holds('fourth', 'river', [ 7005, 7005 ], 'one that was not behind, too');

# ---------------------------------------------------------------------
# What comes later
# ---------------------------------------------------------------------

create_topic('growing', 1);
produce('growing', 3, 0);
create_stream('growing', 'growing');
$node->safe_psql('postgres', creation('growing_all', 'growing')
	. creation('growing_latest', 'growing', start => 'latest')
	. creation('growing_offsets', 'growing', start => '{"0": 1, "2": 3}'));
starts_are('growing_latest', [3], 'one partition is there at first');
starts_are('growing_offsets', [1], 'for offsets, too');
$kafka->add_partitions('growing', 3);
push @{ $ends{growing} }, 0, 0;
produce('growing', 4, 0, 1, 2);
holds('growing_all', 'growing', [ 0, 0, 0 ], 'K10: new partitions are found');
holds('growing_latest', 'growing', [ 3, 0, 0 ], 'K10: ... and read from their beginning, whatever the start was');
holds('growing_offsets', 'growing', [ 1, 0, 0 ], 'K10: ... and offsets were');

create_stream('unborn', 'unborn');
$node->safe_psql('postgres', creation('unborn_all', 'unborn') . creation('unborn_latest', 'unborn', start => 'latest'));
ok(eval { $node->wait_for_sql(
	q{SELECT rollup, state, reason FROM streamcount.rollups WHERE stream = 'unborn'::regclass ORDER BY rollup::text},
	qq{unborn_all|stalled|Kafka topic "unborn" does not exist\nunborn_latest|stalled|Kafka topic "unborn" does not exist},
	timeout => 20) }, 'K6: a topic that is missing is told') or diag $@;
create_topic('unborn', 2);
produce('unborn', 5, 0, 1);
holds('unborn_all', 'unborn', [ 0, 0 ], 'K6: ... and read when it comes');
holds('unborn_latest', 'unborn', [ 0, 0 ], 'K6: ... from its beginning, for all of it came later');

is($node->safe_psql('postgres', q{
		SELECT rollup, partition FROM streamcount.progress
		WHERE counted + filtered + rejected <> next_offset - start_offset}),
	'', 'the books balance');
is($node->safe_psql('postgres', q{SELECT DISTINCT rollup FROM streamcount.problems}),
	'beyond', 'nothing else needs a person');

$node->stop;
done_testing();
