# Rejects are no dead end: what can be counted by now is counted by
# retry_rejects(), also what was not kept and has to be read from Kafka again,
# while workers go on; the rest may be discarded.  What is kept of rejects is
# bounded in all, and their offsets are listed without bound.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

# How many messages are read again, and how many rejects one call judges
my $many = $ENV{STREAMCOUNT_REJECTS} // 3000;
my $rejects = $ENV{STREAMCOUNT_REJECTS} // 20_000;

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_min_messages = warning\nstreamcount.flush_interval = '20ms'\n"
	  . "max_worker_processes = 24\nstreamcount.max_workers = 16\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub error_of
{
	my ($status, $out, $errors) = $node->psql('postgres', $_[0]);

	return $status == 0 ? "no error, but $out" : $errors;
}

sub set
{
	my ($name, $value) = @_;

	sql("ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	$node->wait_for_sql("SHOW $name", $value);
	return;
}

# What is wrong in the books of any rollup, in one snapshot
my $unbalanced = q{
	SELECT coalesce(string_agg(format('%s %s: %s to %s, but %s + %s + %s + %s + %s; %s listed, %s bytes of %s', p.rollup, p.partition,
		start_offset, next_offset, counted, filtered, rejected, discarded, l.other, l.n, p.reject_bytes, l.bytes), E'\n'), '')
	FROM streamcount.rollup_progress p, LATERAL (
		SELECT count(*) FILTER (WHERE kind = 'rejected') AS n,
			coalesce(sum(end_offset - first_offset) FILTER (WHERE kind = 'discarded'), 0) AS discards,
			coalesce(sum(end_offset - first_offset) FILTER (WHERE kind IN ('skipped', 'lost')), 0) AS other,
			coalesce(sum(coalesce(octet_length(payload), 0) + coalesce(octet_length(key), 0)
				+ coalesce(octet_length(headers::text), 0)), 0) AS bytes
		FROM streamcount.left_out_data l WHERE l.rollup = p.rollup AND l.partition = p.partition) l
	WHERE partition >= 0 AND (next_offset - start_offset <> counted + filtered + rejected + discarded + l.other
		OR l.n <> rejected OR l.discards <> discarded OR l.bytes <> reject_bytes)};

sub books_balance
{
	my ($name) = @_;

	return is(sql($unbalanced), '', "$name: the books balance");
}

sub create_rollup
{
	my ($name, $query, $way) = @_;

	sql(($way ? "SET streamcount.way = '$way';" : '') . "SELECT streamcount.create_rollup('$name', \$\$ $query \$\$)");
	return;
}

sub retry
{
	my ($rollup, $ids) = @_;

	return sql("SELECT * FROM streamcount.retry_rejects('$rollup'" . ($ids ? ", ARRAY($ids)" : '') . ')');
}

# ---------------------------------------------------------------------
# Beside workers that count
# ---------------------------------------------------------------------

$kafka->create_topic('tweets', 3);
sql(q{
	CREATE TABLE door (is_open boolean);
	INSERT INTO door VALUES (false);
	-- Some texts do not pass while it is closed.
	CREATE FUNCTION pass(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF $1 ~ '7$' AND NOT (SELECT is_open FROM public.door) THEN
			RAISE EXCEPTION 'the door is closed';
		END IF;
		RETURN $1;
	END $$;
	CREATE FOREIGN TABLE doors (text text, created_at timestamptz, part int OPTIONS (metadata 'partition'))
		SERVER streamcount OPTIONS (topic 'tweets', reject_limit '0');
	CREATE FOREIGN TABLE times (text text, created_at timestamptz OPTIONS (time_format 'epoch_ms'))
		SERVER streamcount OPTIONS (topic 'tweets', reject_limit '0')});
create_rollup('by_executor', q{SELECT hashtag, w.interval, count(*) AS mentions FROM doors,
	streamcount.hashtags(pass(text)) AS hashtag, streamcount.windows(created_at, '{day,ALL}') AS w GROUP BY hashtag, w.interval});
create_rollup('by_tally', q{SELECT hashtag, w.interval, count(*) AS mentions FROM times,
	streamcount.hashtags(text) AS hashtag, streamcount.windows(created_at, '{day,ALL}') AS w GROUP BY hashtag, w.interval}, 'tally');
create_rollup('by_partition', q{SELECT part, count(pass(text)) AS n FROM doors GROUP BY part});
my @live = qw(by_executor by_tally);
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 300, partitions => 3, seed => 121);

$node->wait_for_sql("SELECT count(*) > 30 FROM streamcount.rejects WHERE rollup = '$_'::regclass", 't') foreach @live;
my $ids = sql(q{SELECT string_agg(id::text, ',') FROM (SELECT id FROM streamcount.rejects
	WHERE rollup = 'by_executor'::regclass AND sqlstate = 'P0001' ORDER BY id LIMIT 20) AS r});
is(retry('by_executor', "SELECT unnest('{$ids}'::bigint[])"), '0|20', 'what is still wrong stays a reject');
is(sql("SELECT DISTINCT attempts, reason FROM streamcount.rejects WHERE id = ANY ('{$ids}')"), '2|the door is closed',
	'... with its reason, and one more attempt');
sql(q{ALTER FOREIGN TABLE times ALTER created_at OPTIONS (SET time_format 'iso8601');
	SELECT streamcount.resume('by_tally')});

# Snapshots in which rows, books and rejects did not agree
my @broken;
my ($rounds, $counted) = (0, 0);
for (my $until = time + 6; time < $until || $rounds < 6; $rounds++)
{
	sql('UPDATE door SET is_open = ' . ($rounds % 2 ? 'false' : 'true'));
	$counted += (split /\|/, retry($_))[0] foreach @live, 'by_partition';
	my $wrong = sql(qq{BEGIN ISOLATION LEVEL REPEATABLE READ;
		SELECT string_agg(format('partition %s: %s rows, %s counted', part, n, counted), E'\n') FROM by_partition
			JOIN streamcount.progress p ON p.rollup = 'by_partition'::regclass AND p.partition = part AND p.counted <> n;
		$unbalanced;
		COMMIT});
	push @broken, $wrong if $wrong =~ /\S/;
}
ok($load->goes_on, 'the producer has lived');
$load->stop;
note "$rounds rounds, $counted rejects were counted";
cmp_ok($counted, '>', 100, 'rejects are counted while workers count what comes');
is("@broken", '', 'in every snapshot rows, offsets and rejects are of one moment');
# Where the door was shut between the search for what fails and the merge, it is
# the merge that has failed.
sql(q{UPDATE door SET is_open = true;
	SELECT streamcount.resume('doors')});
$node->wait_for_rollup($kafka, 'tweets', name => $_, timeout => 120) foreach @live, 'by_partition';
retry($_) foreach @live, 'by_partition';
is($node->differences($kafka, 'tweets', name => $_), '', "$_: in the end it is the independent count") foreach @live;
is(sql(q{SELECT count(*) FROM streamcount.rejects WHERE sqlstate NOT LIKE '22%'}), '0', '... what is left cannot be counted');
books_balance('beside workers');
is($node->log_count(qr/deadlock detected/), 0, 'nobody has waited for nobody');

my $left = sql(q{SELECT count(*) FROM streamcount.rejects WHERE rollup = 'by_tally'::regclass});
is(sql(q{SELECT streamcount.discard_rejects('by_tally')}), $left, 'they are discarded');
is(sql(q{SELECT sum(rejected), sum(discarded) FROM streamcount.progress WHERE rollup = 'by_tally'::regclass}), "0|$left",
	'... which the books say');
is(sql(q{SELECT sum(end_offset - first_offset), bool_and(reason ~ '^discarded by') FROM streamcount.gaps
	WHERE rollup = 'by_tally'::regclass AND kind = 'discarded'}), "$left|t", '... and each offset stays listed');
is($node->differences($kafka, 'tweets', name => 'by_tally'), '', '... while nothing else changes');
books_balance('discarded');
sql("SELECT streamcount.drop_rollup('$_')") foreach @live, 'by_partition';

# ---------------------------------------------------------------------
# What was not kept
# ---------------------------------------------------------------------

# Payloads with a body, of which every third is bad for those who read n.
sub bodies
{
	my ($topic, $partitions, $count, %args) = @_;

	$kafka->produce_messages($topic,
		[   map {
				my $n = $_ % 3 == 0 ? "\"bad $_\"" : $_;
				{
					partition => $_ % $partitions,
					key => "key $_",
					headers => [ number => $_, number => $_ + 1, raw => "\xff\0" ],
					timestamp => 1_411_257_600_000 + $_ + ($args{later} // 0),
					value => sprintf('{"body": "%s", "n": %s}', 'x' x ($args{length} // 1500), $n)
				}
			} 0 .. $count - 1
		]);
	return;
}

sub create_bodies
{
	my ($stream, $partitions, @ways) = @_;

	$kafka->create_topic($stream, $partitions);
	sql(qq{CREATE FOREIGN TABLE $stream (body text, n int, part int OPTIONS (metadata 'partition'), k text OPTIONS (metadata 'key'))
		SERVER streamcount OPTIONS (topic '$stream', reject_limit '0')});
	create_rollup("${stream}_$_", "SELECT part, count(*) AS c, count(n) AS n, sum(length(body)) AS l, min(k) AS k FROM $stream GROUP BY part", $_)
	  foreach @ways;
	return;
}

# A rollup is its query, read from the topic as anybody reads it.
sub is_its_query
{
	my ($rollup, $name) = @_;

	return is(sql("TABLE $rollup ORDER BY 1"), sql("TABLE ${rollup}_query ORDER BY 1"), $name);
}

set('streamcount.reject_payload_limit', '1kB');
create_bodies('cut', 2, qw(executor tally));
bodies('cut', 2, 300);
foreach my $way (qw(executor tally))
{
	my $rollup = "cut_$way";

	$node->wait_for_rollup($kafka, 'cut', name => $rollup);
	is(sql("SELECT count(*), bool_and(trimmed), max(octet_length(payload)) FROM streamcount.rejects WHERE rollup = '$rollup'::regclass"),
		'100|t|1024', "$way: of long payloads the beginning is kept");
}
is(retry($_), '0|100', "$_: they are judged as a whole") foreach qw(cut_executor cut_tally);
is(sql(q{SELECT count(*) FROM streamcount.rejects WHERE stream = 'cut'::regclass AND sqlstate = '22P02' AND "column" = 'n' AND attempts = 2}),
	'200', '... and rejected for what is wrong, not for what is missing');
sql(q{ALTER FOREIGN TABLE cut ALTER n OPTIONS (ADD on_error 'null');
	SELECT streamcount.resume('cut')});

# Only those that Kafka still has
$kafka->delete_records('cut', 0, 60);
is(retry('cut_executor'), '80|20', 'what Kafka has no more stays a reject');
is(sql(q{SELECT DISTINCT trimmed, sqlstate, "column", attempts, detail, "offset" < 60, partition FROM streamcount.rejects
	WHERE rollup = 'cut_executor'::regclass}),
	't|22P02|n|3|It could not be tried again: the message is no longer in Kafka, and not all of it was kept.|t|0',
	'... with the reason that it had, and the one why it could not be tried');
is(sql('SELECT part, c FROM cut_executor ORDER BY 1'), "0|130\n1|150", '... and all others are counted');

# Another message at the same offset is not counted for the lost one.
sql(q{SELECT streamcount.pause('cut_tally')});
$kafka->delete_topic('cut');
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.stat_workers WHERE stream = 'cut'::regclass AND state = 'running'}, '0');
eval { $kafka->create_topic('cut', 2); 1 } or do { select undef, undef, undef, 1; $kafka->create_topic('cut', 2) };
bodies('cut', 2, 300, later => 1);
is(retry('cut_tally'), '0|100', 'another message at the same offset is not taken for the one that was rejected');
sql("SELECT streamcount.drop_rollup('cut_$_')") foreach qw(executor tally);
books_balance('cut');

# ---------------------------------------------------------------------
# How much is kept in all
# ---------------------------------------------------------------------

set('streamcount.reject_payload_limit', '64kB');
set('streamcount.reject_payload_total', '64kB');
create_bodies('brim', 2, qw(executor tally));
bodies('brim', 2, $many);
my $bad = int(($many + 2) / 3);
my @brim = qw(brim_executor brim_tally);
foreach my $rollup (@brim)
{
	$node->wait_for_rollup($kafka, 'brim', name => $rollup, timeout => 300);
	is(sql(qq{SELECT count(*), count(*) FILTER (WHERE NOT trimmed) BETWEEN 30 AND 45, bool_and(trimmed = (payload IS NULL)),
			sum(coalesce(octet_length(payload), 0) + coalesce(octet_length(key), 0)) <= 65536
		FROM streamcount.rejects WHERE rollup = '$rollup'::regclass}),
		"$bad|t|t|t", "$rollup: no more is kept of all rejects than reject_payload_total, and each is listed");
}
books_balance('brim');

# An error half-way, in a session that goes on
sql(q{ALTER FOREIGN TABLE brim ALTER n OPTIONS (ADD on_error 'null');
	SELECT streamcount.resume('brim');
	ALTER TABLE brim_executor_data ADD CHECK (part = 0 OR c < 0) NOT VALID});
my ($status, $out, $errors) = $node->psql('postgres', q{
	SELECT * FROM streamcount.retry_rejects('brim_executor');
	SELECT count(*) FROM brim}, on_error_stop => 0);
like($errors, qr/violates check constraint/, 'where the merge fails, so does all of it');
is($out, $many, '... and the session reads the stream as before');
books_balance('a failed merge');
sql('ALTER TABLE brim_executor_data DROP CONSTRAINT brim_executor_data_check');

# Kafka does not answer
$kafka->freeze;
my $begin = time;
like(error_of(q{SET statement_timeout = '1s'; SELECT * FROM streamcount.retry_rejects('brim_executor')}),
	qr/canceling statement due to statement timeout/, 'it can be interrupted while it reads from Kafka');
cmp_ok(time - $begin, '<', 25, '... soon');
$kafka->thaw;
books_balance('an interrupted retry');

foreach my $rollup (@brim)
{
	my $from = time;
	my $answer = sql(qq{SELECT * FROM streamcount.retry_rejects('$rollup');
		SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\\s+(\\d+)')});
	my ($tried, $memory) = split /\n/, $answer;

	is($tried, "$bad|0", "$rollup: all are read again, and counted");
	note sprintf '%d rejects read again and counted: %.1f s, %d MB at most', $bad, time - $from, $memory / 1024;
	cmp_ok($memory, '<', 400 * 1024, '... in bounded memory');
	is_its_query($rollup, "$rollup: it is its query");
	is(sql(qq{SELECT count(*) FROM streamcount.left_out WHERE rollup = '$rollup'::regclass}), '0', '... with nothing left out');
}
books_balance('brim, retried');
set('streamcount.reject_payload_total', '64MB');

# ---------------------------------------------------------------------
# Many, of which the query fails on some: no worker would have to be there
# ---------------------------------------------------------------------

sql(qq{
	CREATE FOREIGN TABLE prices (item text, price int) SERVER streamcount OPTIONS (topic 'prices');
	SELECT streamcount.create_rollup('prices_by_item',
		'SELECT item, sum(100 / price) AS s, count(*) AS c FROM prices GROUP BY item', paused => true);
	INSERT INTO streamcount.rollup_progress (rollup, partition, start_offset, next_offset, rejected, reject_bytes)
		VALUES ('prices_by_item', 0, 0, $rejects, $rejects, 26 * $rejects);
	INSERT INTO streamcount.left_out_data (rollup, kind, partition, first_offset, end_offset, payload)
		SELECT 'prices_by_item'::regclass, 'rejected', 0, i, i + 1,
			convert_to(format('{"item": "i%s", "price": %s}', i % 10, CASE i % 20 WHEN 7 THEN 0 ELSE 5 END), 'UTF8')
		FROM generate_series(0, $rejects - 1) AS i});
my $from = time;
my ($answer, $memory) = split /\n/, sql(q{SELECT * FROM streamcount.retry_rejects('prices_by_item');
	SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')});
is($answer, join('|', $rejects - int($rejects / 20), int($rejects / 20)), 'of many rejects those that are still bad are found');
note sprintf '%d rejects judged: %.1f s, %d MB at most', $rejects, time - $from, $memory / 1024;
cmp_ok($memory, '<', 150 * 1024, '... in bounded memory');
is(sql('SELECT sum(c), sum(s) FROM prices_by_item'), join('|', map { ($rejects - int($rejects / 20)) * $_ } 1, 20),
	'... and the others counted');
books_balance('many');

# ---------------------------------------------------------------------
# Headers
# ---------------------------------------------------------------------

$kafka->create_topic('heads', 1);
sql(q{
	UPDATE door SET is_open = false;
	CREATE FUNCTION pass_headers(jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF NOT (SELECT is_open FROM public.door) THEN
			RAISE EXCEPTION 'the door is closed';
		END IF;
		RETURN $1;
	END $$;
	CREATE FOREIGN TABLE heads (h jsonb OPTIONS (metadata 'headers'), t timestamptz OPTIONS (metadata 'timestamp'),
		k text OPTIONS (metadata 'key')) SERVER streamcount OPTIONS (topic 'heads', reject_limit '0')});
create_rollup('heads_kept', q{SELECT h ->> 'raw' AS raw, count(*) AS c, sum((pass_headers(h) ->> 'number')::int) AS s, max(t) AS t,
	max(k) AS k FROM heads GROUP BY 1});
bodies('heads', 1, 50);
$node->wait_for_rollup($kafka, 'heads', name => 'heads_kept');
is(sql(q{SELECT count(*), bool_or(trimmed), min(headers ->> 'number') FROM streamcount.rejects WHERE rollup = 'heads_kept'::regclass}),
	'50|f|1', 'headers are kept where the stream has a column of them');
sql('UPDATE door SET is_open = true');
is(retry('heads_kept'), '50|0', '... and read from Kafka to be judged');
is_its_query('heads_kept', '... as they were');
is(sql('SELECT raw, c, s FROM heads_kept'), '\xff00|50|1275', '... every one of them');
books_balance('headers');

# ---------------------------------------------------------------------
# Before a wrong format eats a topic
# ---------------------------------------------------------------------

$kafka->create_topic('wrong', 1);
sql(q{CREATE FOREIGN TABLE wrong (n int) SERVER streamcount OPTIONS (topic 'wrong', reject_limit '50')});
create_rollup("wrong_$_", 'SELECT n, count(*) AS c FROM wrong GROUP BY n', $_) foreach qw(executor tally);
$kafka->produce_messages('wrong', [ (map { { value => "{\"n\": $_}" } } 1 .. 10), (map { { value => '{"n": "one"}' } } 1 .. 3000) ]);
foreach my $way (qw(executor tally))
{
	$node->wait_for_sql("SELECT state FROM streamcount.progress WHERE rollup = 'wrong_$way'::regclass", 'halted');
	is(sql("SELECT next_offset, counted, rejected FROM streamcount.progress WHERE rollup = 'wrong_$way'::regclass"),
		'60|10|50', "$way: after reject_limit rejects in a row the partition is halted, and no further reject is made");
}
sql(q{ALTER FOREIGN TABLE wrong ALTER n OPTIONS (ADD on_error 'null')});
is(retry('wrong_executor'), '50|0', 'the rejects of a halted partition are counted');
is(sql("SELECT state, next_offset FROM streamcount.progress WHERE rollup = 'wrong_executor'::regclass"), 'halted|60',
	'... which does not move it');
sql(q{SELECT streamcount.resume('wrong')});
is(retry('wrong_tally'), '50|0', '... or after it was resumed');
foreach my $rollup (qw(wrong_executor wrong_tally))
{
	$node->wait_for_rollup($kafka, 'wrong', name => $rollup);
	is_its_query($rollup, "$rollup: in the end it is its query");
}
books_balance('in the end');
is($node->log_count(qr/PANIC|was terminated by signal/), 0, 'no process has died');

$node->stop('fast');
$kafka->stop;
done_testing();
