# What a person can do to a rollup that lives: pause, resume, skip, wait,
# drop; and what needs a person: halted partitions, changed streams, lost
# messages.  Whatever is done, the rest is counted exactly.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;
use Time::HiRes 'time';

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my %end;    # by topic and partition

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "streamcount.flush_interval = '20ms'\n"
	  . "streamcount.metadata_interval = '1s'\n"
	  . "streamcount.max_workers = 16\n"
	  . "max_worker_processes = 24\n"
	  . "max_prepared_transactions = 2\n"
	  . "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The error of a statement that must fail, without its position
sub error_of
{
	my ($status, $out, $errors) = $node->psql('postgres', $_[0]);

	return $status == 0 ? "no error, but $out" : $errors;
}

sub becomes
{
	my ($query, $expected, $name) = @_;

	return ok(eval { $node->wait_for_sql($query, $expected, timeout => 20); 1 }, $name) || diag $@;
}

# A topic, a stream of numbers over it, and rollups of the stream
sub create
{
	my ($stream, $partitions, $options, @rollups) = @_;

	$kafka->create_topic($stream, $partitions);
	$end{$stream} = [ (0) x $partitions ];
	sql(qq{CREATE FOREIGN TABLE $stream (n int, part int OPTIONS (metadata 'partition'))
		SERVER streamcount OPTIONS (topic '$stream'$options)});
	create_rollup($_, $stream) foreach @rollups;
	return;
}

sub create_rollup
{
	my ($rollup, $stream) = @_;

	sql(qq{SELECT streamcount.create_rollup('$rollup',
		'SELECT part, count(*) AS messages, sum(n) AS s FROM $stream GROUP BY part')});
	return;
}

# Messages that carry their offset, or the payloads that are given
sub produce
{
	my ($stream, $partition, $count, @payloads) = @_;

	$kafka->produce_messages(
		$stream,
		[   map {
				my $offset = $end{$stream}[$partition]++;
				{ partition => $partition, value => $payloads[$_] // "{\"n\": $offset}" }
			} 0 .. $count - 1
		]);
	return;
}

# "messages|sum" of partition 0 becomes that of these offsets
sub counts
{
	my ($rollup, $offsets, $name) = @_;
	my $sum = 0;

	$sum += $_ foreach @$offsets;
	return becomes("SELECT messages, s FROM $rollup WHERE part = 0", @$offsets . "|$sum", $name);
}

sub state_becomes
{
	my ($rollup, $partition, $expected, $name) = @_;

	return becomes("SELECT state FROM streamcount.progress WHERE rollup = '$rollup'::regclass AND partition = $partition",
		$expected, $name);
}

# What the view of problems says is to be typed
sub type_statement
{
	my ($rollup, $expected) = @_;
	my $statement = sql("SELECT statement FROM streamcount.problems WHERE rollup = '$rollup'::regclass");

	is($statement, $expected, "the statement for $rollup is told");
	sql($statement);
	return;
}

# ---------------------------------------------------------------------
# pause, resume
# ---------------------------------------------------------------------

create('rest', 2, '', qw(rested busy));
produce('rest', $_, 10) foreach 0, 1;
counts('rested', [ 0 .. 9 ], 'both rollups count');
counts('busy', [ 0 .. 9 ], '... both');
sql("SELECT streamcount.pause('rested')");
produce('rest', $_, 10) foreach 0, 1;
counts('busy', [ 0 .. 19 ], 'while one is paused, the other one counts');
is(sql('SELECT part, messages FROM rested ORDER BY 1'), "0|10\n1|10", '... and the paused one does not');
is(sql(q{SELECT DISTINCT state, next_offset, counted, since IS NOT NULL FROM streamcount.progress WHERE rollup = 'rested'::regclass}),
	'paused|10|10|t', '... and says so');
is(sql('SELECT count(*) FROM streamcount.problems'), '0', '... which is no problem');
like(error_of("SELECT streamcount.wait('rested')"), qr/rested: it is paused\n.*resume/,
	'... but nothing to wait for');
sql("SELECT streamcount.resume('rested')");
counts('rested', [ 0 .. 19 ], 'after resume() nothing is missing');

sql("SELECT streamcount.pause('rest')");
produce('rest', 0, 5);
is(sql(q{SELECT string_agg(DISTINCT state, ' ') FROM streamcount.rollups}), 'paused', 'a stream is paused as a whole');
$node->restart;
is(sql(q{SELECT string_agg(DISTINCT state, ' ') FROM streamcount.rollups}), 'paused', '... over a restart, too');
sql("SELECT streamcount.resume('rest')");
counts($_, [ 0 .. 24 ], "... and resumed: $_") foreach qw(rested busy);

# ---------------------------------------------------------------------
# wait
# ---------------------------------------------------------------------

produce('rest', 0, 2000);
is(sql(q{SELECT streamcount.wait('rested')}), 't', 'wait() is true');
is(sql(q{SELECT messages FROM rested WHERE part = 0}), '2025', '... and everything is visible then');
sql(q{BEGIN; LOCK TABLE rested_data; PREPARE TRANSACTION 'rested'});
produce('rest', 0, 1);
my $begin = time;
is(sql(q{SELECT streamcount.wait('rested', '300 ms')}), 'f', 'it is false when the time is over');
cmp_ok(time - $begin, '<', 5, '... at once');
sql(q{COMMIT PREPARED 'rested'});
is(sql(q{SELECT streamcount.wait('rested', '20 s')}), 't', 'true when what was in the way has gone');
like(error_of("SELECT streamcount.wait('rest')"), qr/is not a rollup|neither/, 'a stream is nothing to wait for');

sql('ALTER SYSTEM SET streamcount.enabled = off');
$node->reload;
becomes('SELECT DISTINCT state, reason FROM streamcount.rollups', 'down|streamcount.enabled is off', 'workers can be turned off');
like(error_of("SELECT streamcount.wait('rested')"), qr/it is down/, '... which is told to who waits');
sql('ALTER SYSTEM RESET streamcount.enabled');
$node->reload;
produce('rest', 0, 1);
counts('rested', [ 0 .. 2026 ], '... and on again');

# ---------------------------------------------------------------------
# skip_to
# ---------------------------------------------------------------------

create('jump', 1, '', 'jumper');
produce('jump', 0, 100);
counts('jumper', [ 0 .. 99 ], 'all is counted');
sql("SELECT streamcount.pause('jumper')");
produce('jump', 0, 100);
like(error_of("SELECT streamcount.skip_to('jumper', 0, 100)"), qr/cannot skip to offset 100 of partition 0/,
	'nothing that was counted can be skipped');
like(error_of("SELECT streamcount.skip_to('jumper', 7, 150)"), qr/cannot skip to offset 150 of partition 7/,
	'nor what is not there');
like(error_of("SELECT streamcount.skip_to('jumper', 0, 201)"), qr/cannot skip to offset 201 of partition 0\n.*ends at offset 200/,
	'nor what is yet to come');
sql("SELECT streamcount.skip_to('jumper', 0, 150)");
is(sql(q{SELECT rollup, kind, partition, first_offset, end_offset, reason ~ 'skipped by' FROM streamcount.gaps}),
	'jumper|skipped|0|100|150|t', 'what is skipped is noted');
is(sql(q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'jumper'::regclass}), 'paused',
	'what is paused stays so');
sql("SELECT streamcount.resume('jumper')");
counts('jumper', [ 0 .. 99, 150 .. 199 ], '... and the rest is counted');

# While the worker has them in hand.
sql(q{BEGIN; LOCK TABLE jumper_data; PREPARE TRANSACTION 'jumper'});
produce('jump', 0, 1000);
state_becomes('jumper', 0, 'blocked', 'a worker has messages in hand');
sql("SELECT streamcount.skip_to('jump', 0, 700)");
sql(q{COMMIT PREPARED 'jumper'});
counts('jumper', [ 0 .. 99, 150 .. 199, 700 .. 1199 ], '... of which some are skipped under its hands');
is(sql(q{SELECT p.next_offset - p.start_offset - p.counted - p.filtered - p.rejected - sum(g.end_offset - g.first_offset)
		FROM streamcount.progress p JOIN streamcount.gaps g USING (rollup)
		WHERE rollup = 'jumper'::regclass GROUP BY p.next_offset, p.start_offset, p.counted, p.filtered, p.rejected}),
	'0', 'the books balance with the gaps');

# Where there is no client to ask with
sql(q{CREATE SERVER mended FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '} . $kafka->bootstrap . q{');
	CREATE USER MAPPING FOR CURRENT_USER SERVER mended;
	CREATE FOREIGN TABLE mended (n integer) SERVER mended OPTIONS (topic 'jump');
	SELECT streamcount.create_rollup('mended_n', 'SELECT n, count(*) AS times FROM mended GROUP BY n')});
becomes(q{SELECT next_offset FROM streamcount.progress WHERE rollup = 'mended_n'::regclass}, '1200', 'all of it is counted');
sql(q{ALTER SERVER mended OPTIONS (ADD "security.protocol" 'ssl', ADD "ssl.ca.location" '/nowhere/ca.pem')});
becomes(q{SELECT state, reason ~ 'ssl.ca.location' FROM streamcount.rollups WHERE rollup = 'mended_n'::regclass}, 'connecting|t',
	'a file that is missing is told');
produce('jump', 0, 50);
my ($status, undef, $notices) = $node->psql('postgres', "SELECT streamcount.skip_to('mended_n', 0, 1210)");
is($status, 0, '... and no obstacle to skipping');
like($notices, qr/WARNING:  .*1210/, '... but that nobody has compared it with the end');
sql(q{ALTER SERVER mended OPTIONS (DROP "security.protocol", DROP "ssl.ca.location")});
becomes(q{SELECT next_offset, counted FROM streamcount.progress WHERE rollup = 'mended_n'::regclass}, '1250|1240',
	'... and the rest is counted when it is there');
sql('DROP FOREIGN TABLE mended CASCADE; DROP SERVER mended CASCADE');

# ---------------------------------------------------------------------
# Halts by bad messages
# ---------------------------------------------------------------------

create('strict', 2, q{, on_error 'halt'}, 'stopper');
produce('strict', 0, 6, undef, undef, undef, '{"n": "no number"}');
produce('strict', 1, 5);
state_becomes('stopper', 0, 'halted', 'a bad message halts its partition');
becomes(q{SELECT messages FROM stopper WHERE part = 1}, '5', '... and no other');
counts('stopper', [ 0 .. 2 ], '... which is counted up to there');
is(sql(q{SELECT partition, state, reason ~ 'offset 3.*no number', hint ~ 'skip_to' FROM streamcount.problems}),
	'0|halted|t|t', '... and told');
like(error_of("SELECT streamcount.wait('stopper')"), qr/it is halted/, '... to who waits, too');
sql("SELECT streamcount.resume('stopper')");
state_becomes('stopper', 0, 'halted', 'nothing is better by trying again');
type_statement('stopper', q{SELECT streamcount.skip_to('stopper', 0, 4)});
counts('stopper', [ 0 .. 2, 4, 5 ], '... and behind it everything is counted');
is(sql(q{SELECT kind, first_offset, end_offset FROM streamcount.gaps WHERE rollup = 'stopper'::regclass}),
	'skipped|3|4', '... and it is noted');

create('limited', 1, q{, reject_limit '5'}, 'limiter');
produce('limited', 0, 20, (undef) x 3, ('rubbish') x 4, undef, ('rubbish') x 8);
state_becomes('limiter', 0, 'halted', 'so many rejects in a row halt a partition');
is(sql(q{SELECT reason ~ '^5 messages in a row', hint ~ 'rejects' FROM streamcount.problems}), 't|t', '... and it is told');
is(sql(q{SELECT next_offset, counted, rejected FROM streamcount.progress WHERE rollup = 'limiter'::regclass}),
	'13|4|9', '... just then, and no sooner');
type_statement('limiter', q{SELECT streamcount.resume('limiter')});
counts('limiter', [ 0 .. 2, 7, 16 .. 19 ], '... after which it goes on');
is(sql(q{SELECT count(*), min("offset"), max("offset"), min(convert_from(payload, 'UTF8')), min(sqlstate), bool_and(reason <> '')
		FROM streamcount.rejects WHERE rollup = 'limiter'::regclass}),
	'12|3|15|rubbish|22P02|t', 'all rejects are there, with payload and reason');

# ---------------------------------------------------------------------
# Halts by a changed stream
# ---------------------------------------------------------------------

create('fickle', 1, '', 'reader');
sql(q{SELECT streamcount.create_rollup('bystander', 'SELECT part, count(*) AS messages FROM fickle GROUP BY part')});
produce('fickle', 0, 3, ('{"n": 1, "m": 100}') x 3);
becomes('SELECT s FROM reader', '3', 'a column is read');
sql(q{ALTER FOREIGN TABLE fickle ALTER COLUMN n OPTIONS (ADD path 'm')});
state_becomes('reader', 0, 'halted', 'when it reads something else, its readers halt');
is(sql(q{SELECT rollup, reason ~ 'stream_changed' FROM streamcount.problems}), 'reader|t', '... and the reason is told');
produce('fickle', 0, 2, ('{"n": 1, "m": 100}') x 2);
becomes('SELECT messages FROM bystander', '5', '... others go on');
is(sql('SELECT s FROM reader'), '3', '... the reader does not');
type_statement('reader', q{SELECT streamcount.resume('reader')});
becomes('SELECT s FROM reader', '203', '... until the change is accepted, from then on');

# ---------------------------------------------------------------------
# Messages that Kafka has deleted
# ---------------------------------------------------------------------

create('leaky', 1, '', qw(loser keeper));
create('drip', 1, q{, on_gap 'skip'}, 'forgiver');
foreach my $stream (qw(leaky drip))
{
	produce($stream, 0, 10);
}
counts($_, [ 0 .. 9 ], "$_ has counted some") foreach qw(loser keeper forgiver);
sql("SELECT streamcount.pause('loser'), streamcount.pause('forgiver')");
foreach my $stream (qw(leaky drip))
{
	produce($stream, 0, 90);
}
counts('keeper', [ 0 .. 99 ], 'one has counted all');
$kafka->delete_records($_, 0, 50) foreach qw(leaky drip);
sql("SELECT streamcount.resume('loser'), streamcount.resume('forgiver')");
state_becomes('loser', 0, 'halted', 'K11: messages that are lost halt the partition');
is(sql(q{SELECT rollup, reason ~ 'offset 10 to before 50 are lost', hint ~ 'skip_to' FROM streamcount.problems}),
	'loser|t|t', 'K11: ... for the rollup that has missed them');
produce('leaky', 0, 1);
counts('keeper', [ 0 .. 100 ], 'K11: ... and no other');
type_statement('loser', q{SELECT streamcount.skip_to('loser', 0, 50)});
counts('loser', [ 0 .. 9, 50 .. 100 ], 'K11: ... and the rest is counted');
counts('forgiver', [ 0 .. 9, 50 .. 99 ], 'K11: or are skipped, where the stream says so');
is(sql(q{SELECT rollup, kind, partition, first_offset, end_offset FROM streamcount.gaps
		WHERE first_offset = 10 ORDER BY rollup::text}),
	"forgiver|lost|0|10|50\nloser|skipped|0|10|50", 'K11: ... and all gaps are noted');

# ---------------------------------------------------------------------
# drop_rollup
# ---------------------------------------------------------------------

sql("SELECT streamcount.drop_rollup('loser')");
produce('leaky', 0, 1);
counts('keeper', [ 0 .. 101 ], 'where one is dropped, the other goes on');
is(sql(q{SELECT count(*) FROM streamcount.left_out_data WHERE rollup::text !~ '^[a-z]'}), '0', '... and nothing is left of the one');
sql("SELECT streamcount.drop_rollup('keeper')");
becomes(q{SELECT count(*) FROM streamcount.stat_workers WHERE stream = 'leaky'::regclass}, '0',
	'the last one takes the worker with it');
becomes('SELECT count(*) FROM streamcount.problems', '0', 'in the end, all is well');

$node->stop;
done_testing();
