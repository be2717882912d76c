# SELECT on a stream: all partitions from the start to the end as of now,
# metadata, formats, defaults and times; and what happens when it cannot.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Mock;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $mock = StreamCount::Mock->new->start;

my $node = PostgreSQL::Test::Cluster->new('select');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf',
	"streamcount.bootstrap_servers = '" . $mock->bootstrap . "'\ntimezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# The result, and what was said besides
sub query
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err);
	return ($out, $err);
}

# Several partitions
$mock->create_topic('parted', 4);
$mock->produce_values('parted', [ map { "{\"n\": $_}" } 1 .. 4000 ], 4);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE parted (
		n integer,
		part integer OPTIONS (metadata 'partition'),
		pos bigint OPTIONS (metadata 'offset'),
		topic text OPTIONS (metadata 'topic')
	) SERVER streamcount OPTIONS (topic 'parted')});
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n), sum(n), min(topic) FROM parted'),
	'4000|4000|8002000|parted', 'every message of four partitions once');
is($node->safe_psql('postgres', 'SELECT part, count(*), min(pos), max(pos) FROM parted GROUP BY part ORDER BY part'),
	join("\n", map { "$_|1000|0|999" } 0 .. 3), 'each partition from its first offset to its last');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT ctid) FROM parted'),
	'4000|4000', 'each row has a ctid of its own');
is($node->safe_psql('postgres', 'SELECT n FROM parted WHERE part = 2 AND pos = 5'), '23',
	'conditions on metadata');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT * FROM parted LIMIT 3) x'), '3',
	'a scan that is left early');

# Read again, within one query
is($node->safe_psql('postgres', q{
		SELECT g, count(p.n) FROM generate_series(1, 3) g, LATERAL
			(SELECT n FROM parted WHERE n % 3 = g % 3 OFFSET 0) p GROUP BY g ORDER BY g}),
	"1|1334\n2|1333\n3|1333", 'a scan that is begun again');

# Parallel queries
is($node->safe_psql('postgres', q{
		CREATE TABLE big AS SELECT g AS n FROM generate_series(1, 50000) g;
		ANALYZE big;
		SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0;
		SET min_parallel_table_scan_size = 0;
		SELECT count(*) FROM
			(SELECT count(*) AS n FROM big WHERE n > 0 UNION ALL SELECT n FROM parted) u;
		SELECT count(*) FROM parted JOIN big USING (n) }),
	"4001\n4000", 'beside tables that are read in parallel');

# Metadata
$mock->create_topic('meta', 1);
$mock->produce_messages('meta', [
	{ partition => 0, timestamp => 1411304700123, key => 'k', value => '{"a": 1}',
		headers => [ 'h' => '1', 'h' => '2', 'none' => undef, 'bin' => "\xff\0" ] },
	{ partition => 0, timestamp => 2, key => undef, value => undef },
	{ partition => 0, timestamp => 1, key => "\xff", value => '{}' } ]);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE meta (
		a integer DEFAULT 9,
		at timestamptz OPTIONS (metadata 'timestamp'),
		key bytea OPTIONS (metadata 'key'),
		key_text text OPTIONS (metadata 'key'),
		headers jsonb OPTIONS (metadata 'headers'),
		value bytea OPTIONS (metadata 'value')
	) SERVER streamcount OPTIONS (topic 'meta')});
is($node->safe_psql('postgres', 'SELECT a, at, key, headers, value FROM meta ORDER BY at DESC'),
	join("\n",
		'1|2014-09-21 13:05:00.123+00|\x6b|{"h": "2", "bin": "\\\\xff00", "none": null}|\x7b2261223a20317d',
		'|1970-01-01 00:00:00.002+00||{}|',
		'9|1970-01-01 00:00:00.001+00|\xff|{}|\x7b7d'),
	'times, keys, headers, values; a tombstone has no members and no default');
my ($out, $err) = query('SELECT key_text FROM meta ORDER BY at DESC');
is($out, "k\n", 'a key that is not text');
like($err, qr/WARNING: +1 message of stream public\.meta could not be decoded.*Partition 0, offset 2: invalid byte sequence/s,
	'is left out, and said so');

# Format text
$mock->create_topic('lines', 1);
$mock->produce_messages('lines', [ map { { partition => 0, value => $_ } }
	'one', '', undef, "bad \xff", "nul \0", "dr\xc3\xa9i" ]);
($out, $err) = query(q{
	CREATE FOREIGN TABLE lines (line text, pos bigint OPTIONS (metadata 'offset'))
		SERVER streamcount OPTIONS (topic 'lines', format 'text');
	SELECT pos, line, line IS NULL FROM lines ORDER BY pos});
is($out, "0|one|f\n1||f\n2||t\n5|dr\xc3\xa9i|f", 'lines of text');
like($err, qr/2 messages of stream public\.lines could not be decoded/, 'without those that are none');

$mock->create_topic('limits', 1);
$mock->produce_values('limits', [ '{"limit": "abc"}', '{"limit": "abcd"}' ]);

# Defaults, NOT NULL, on_error, and members of another case
$mock->create_topic('rules', 1);
$mock->produce_values('rules', [
	'{"n": 1, "word": "a", "d": 5}', '{"n": 2, "word": null, "d": null}', '{"n": 3}',
	'{"n": "x", "word": "b"}', '{"n": 4, "Word": "c"}' ]);
($out, $err) = query(q{
	CREATE FOREIGN TABLE rules (n integer OPTIONS (on_error 'null'), word text NOT NULL,
		d integer DEFAULT 7, pos bigint OPTIONS (metadata 'offset'))
		SERVER streamcount OPTIONS (topic 'rules');
	SELECT pos, n, word, d FROM rules ORDER BY pos;
	SELECT pos, n, d FROM rules ORDER BY pos});
is($out, join("\n", '0|1|a|5', '3||b|7', '0|1|5', '1|2|', '2|3|7', '3||7', '4|4|7'),
	'only the columns that the query reads are judged');
like($err, qr/have a member "Word", but column "word" reads "word".*option "path"/s,
	'another case is told');
is(() = $err =~ /have a member/g, 1, 'once');
like($err, qr/null value in column "word" of stream public\.rules violates not-null constraint/,
	'a missing member that is required');

# A type's length is a limit, as it is for INSERT
($out, $err) = query(q{
	CREATE FOREIGN TABLE limits (word varchar(3) OPTIONS (path 'limit'), pos bigint OPTIONS (metadata 'offset'))
		SERVER streamcount OPTIONS (topic 'limits');
	SELECT pos, word FROM limits ORDER BY pos});
is($out, '0|abc', 'a length that fits');
like($err, qr/value too long for type character varying\(3\)/, 'and one that does not');

# Times
$mock->create_topic('times', 1);
$mock->produce_values('times', [
	'{"t": "2014-09-21T13:05:00"}', '{"t": "2014-09-21T13:05:00+02:00"}', '{"t": "03/04/2014"}',
	'{"t": 1411304700.123456}', '{"t": "1411304700"}', '{"t": 1411304700123}', '{"t": 1e300}',
	'{"t": "Wed Aug 27 13:08:45 +0000 2008"}', '{"t": "now"}', '{"t": "Today"}', '{"t": "NaN"}',
	'{"t": "infinity"}' ]);
sub read_times
{
	my ($type, $options, $settings) = @_;

	return (query(qq{
		DROP FOREIGN TABLE IF EXISTS times;
		CREATE FOREIGN TABLE times (t $type OPTIONS ($options), pos bigint OPTIONS (metadata 'offset'))
			SERVER streamcount OPTIONS (topic 'times');
		$settings;
		CREATE TEMP TABLE got AS SELECT pos, t FROM times;
		SET timezone = 'UTC';
		SET datestyle = 'ISO';
		SELECT pos, t FROM got ORDER BY pos}))[0];
}
my $berlin = join "\n", '0|2014-09-21 11:05:00+00', '1|2014-09-21 11:05:00+00', '2|2014-03-03 23:00:00+00',
	'7|2008-08-27 13:08:45+00', '11|infinity';
is(read_times('timestamptz', q{time_zone 'Europe/Berlin'}, 'SET timezone = DEFAULT'), $berlin, 'times of a zone');
is(read_times('timestamptz', q{time_zone 'Europe/Berlin'}, q{SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'}),
	$berlin, 'whatever the session has set');
is(read_times('timestamptz', q{time_format 'epoch_s'}, 'SET timezone = DEFAULT'),
	join("\n", '3|2014-09-21 13:05:00.123456+00', '4|2014-09-21 13:05:00+00', '5|46692-06-19 03:22:03+00'),
	'seconds, exact to the microsecond');
is(read_times('timestamptz(0)', q{time_format 'epoch_ms'}, 'SET timezone = DEFAULT'),
	join("\n", '3|1970-01-17 08:01:45+00', '4|1970-01-17 08:01:45+00', '5|2014-09-21 13:05:00+00'),
	'milliseconds, rounded as the type says');
is(read_times('timestamp', q{time_format 'epoch_ms', time_zone 'Europe/Berlin'}, 'SET timezone = DEFAULT'),
	join("\n", '3|1970-01-17 09:01:44.700123', '4|1970-01-17 09:01:44.7', '5|2014-09-21 15:05:00.123'),
	'the local time of a zone');
is(read_times('timestamptz', q{time_format 'twitter'}, 'SET timezone = DEFAULT'), '7|2008-08-27 13:08:45+00', q{Twitter's});
is($node->safe_psql('postgres', q{
		DO $$ BEGIN PERFORM FROM times; END $$;
		SHOW timezone; SHOW datestyle}), "UTC\nISO, MDY", 'the settings are what they were');

# Where the reading begins
sub count_from
{
	my ($start) = @_;

	return $node->safe_psql('postgres', qq{
		ALTER FOREIGN TABLE parted OPTIONS (ADD start '$start');
		SELECT count(*) FROM parted;
		ALTER FOREIGN TABLE parted OPTIONS (DROP start)});
}
is(count_from('latest'), '0', 'from the end');
is(count_from('{"0": 990, "3": 1000, "17": 5}'), '2010', 'from offsets, else from the beginning');

# A stream is what its owner may read; whoever has SELECT reads it.
is($node->safe_psql('postgres', q{
		CREATE ROLE reader;
		GRANT SELECT ON parted TO reader;
		SET ROLE reader;
		SELECT count(*) FROM parted}), '4000', 'SELECT is enough to read');

# Errors, and what they leave behind
$node->safe_psql('postgres', q{
	CREATE FUNCTION fails(n integer) RETURNS integer LANGUAGE plpgsql AS
		$$ BEGIN RETURN 1 / (n - 2000); END $$});
# asked of the kernel: the backend's own memory of them may be wrong
($out, $err) = query(q{
	SELECT count(*) FROM pg_ls_dir('/proc/self/task');
	SELECT count(*) FROM parted;
	SELECT count(*) FROM pg_ls_dir('/proc/self/task');
	DO $$ BEGIN PERFORM fails(n) FROM parted; EXCEPTION WHEN division_by_zero THEN NULL; END $$;
	SELECT count(*) FROM pg_ls_dir('/proc/self/task')});
is($out, "1\n4000\n1\n1", 'no thread outlives its scan, even after an error');

# Cancelled: while brokers are away, refuse, or say nothing
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die $!;
my ($refused) = StreamCount::Kafka::free_ports(1);
$node->safe_psql('postgres', qq{
	CREATE SERVER silent FOREIGN DATA WRAPPER streamcount
		OPTIONS ("bootstrap.servers" '127.0.0.1:@{[ $silent->sockport ]}');
	CREATE SERVER refused FOREIGN DATA WRAPPER streamcount
		OPTIONS ("bootstrap.servers" '127.0.0.1:$refused');
	CREATE FOREIGN TABLE from_silent (a text) SERVER silent OPTIONS (topic 't');
	CREATE FOREIGN TABLE from_refused (a text) SERVER refused OPTIONS (topic 't')});
for my $stream (qw(from_silent from_refused))
{
	my $begin = time;

	like((query("SET statement_timeout = 700; SELECT * FROM $stream"))[1],
		qr/canceling statement due to statement timeout/, "$stream is cancelled");
	cmp_ok(time - $begin, '<', 4, 'at once');
}

# In the middle of a topic, with the broker gone
$mock->create_topic('wide', 1);
$mock->produce_values('wide', [ map { '{"x": "' . 'y' x 900 . '"}' } 1 .. 4000 ]);
my $begin = time;
like((query(q{
		CREATE FOREIGN TABLE wide (x text) SERVER streamcount OPTIONS (topic 'wide');
		SET statement_timeout = 700;
		SELECT pg_sleep(0.01), x FROM wide}))[1],
	qr/canceling statement due to statement timeout/, 'a reader is cancelled');
cmp_ok(time - $begin, '<', 4, 'at once');

# What the mock broker does not have
SKIP:
{
	my $missing = StreamCount::Kafka::missing();

	skip $missing, 9 if $missing;
	my $kafka = StreamCount::Kafka->new->start;
	$node->safe_psql('postgres', qq{
		CREATE SERVER kafka FOREIGN DATA WRAPPER streamcount
			OPTIONS ("bootstrap.servers" '@{[ $kafka->bootstrap ]}')});

	like((query(q{
			CREATE FOREIGN TABLE absent (a text) SERVER kafka OPTIONS (topic 'absent');
			SELECT * FROM absent}))[1],
		qr/ERROR: +topic "absent" of stream public\.absent does not exist/, 'a topic that is not there');

	$kafka->create_topic('timed', 2);
	$kafka->produce_messages('timed', [ map {
		{ partition => $_ % 2, timestamp => 1411304700_000 + $_, value => "{\"n\": $_}" } } 0 .. 99 ]);
	$node->safe_psql('postgres', q{
		CREATE FOREIGN TABLE timed (n integer) SERVER kafka
			OPTIONS (topic 'timed', start '2014-09-21 13:05:00.040')});
	is($node->safe_psql('postgres', 'SELECT count(*), min(n) FROM timed'), '60|40', 'from a time');
	is($node->safe_psql('postgres', q{
			ALTER FOREIGN TABLE timed OPTIONS (SET start '2014-09-21 13:05:00.0985');
			SELECT count(*), min(n) FROM timed}), '1|99', 'from a time between two messages');
	is($node->safe_psql('postgres', q{
			ALTER FOREIGN TABLE timed OPTIONS (SET start '2030-01-01');
			SELECT count(*) FROM timed}), '0', 'from a time after the last');

	$kafka->delete_records('timed', 0, 30);
	is($node->safe_psql('postgres', q{
			ALTER FOREIGN TABLE timed OPTIONS (SET start 'earliest');
			SELECT count(*), min(n) FROM timed}), '70|1', 'from what retention has left');
	($out, $err) = query(q{
		ALTER FOREIGN TABLE timed OPTIONS (SET start '{"0": 5}');
		SELECT count(*) FROM timed});
	like($err, qr/ERROR: +Kafka does not have the offset to read in topic "timed".*Partition 0, offset 5/s,
		'from what it has not');

	# A log may end in the marker of a transaction, which is no message.
	$kafka->create_topic('moved', 1);
	$kafka->produce_messages('moved', [ map { { partition => 0, value => '{"n": 1}' } } 1 .. 5 ], 'commit');
	$kafka->produce_messages('moved', [ map { { partition => 0, value => '{"n": 2}' } } 1 .. 5 ], 'abort');
	$node->safe_psql('postgres',
		q{CREATE FOREIGN TABLE moved (n integer) SERVER kafka OPTIONS (topic 'moved')});
	is($node->safe_psql('postgres', 'SELECT count(*), sum(n) FROM moved'), '5|5',
		'only what was committed, to an end without a message');

	# Frozen between two batches
	$kafka->create_topic('frozen', 1);
	$kafka->produce_values('frozen', [ map { "{\"n\": $_}" } 1 .. 10 ], 1);
	$node->safe_psql('postgres',
		q{CREATE FOREIGN TABLE frozen (n integer) SERVER kafka OPTIONS (topic 'frozen')});
	$kafka->freeze;
	$begin = time;
	like((query('SET statement_timeout = 700; SELECT count(*) FROM frozen'))[1],
		qr/canceling statement due to statement timeout/, 'a frozen broker: cancelled');
	cmp_ok(time - $begin, '<', 4, 'at once');
	$kafka->thaw;
	$kafka->stop;
}

# Other encodings
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
$node->psql('latin', q{
	CREATE EXTENSION streamcount;
	CREATE FOREIGN TABLE s (a text) SERVER streamcount OPTIONS (topic 't')}, stderr => \$err);
like($err, qr/streams need a database with encoding UTF8.*LATIN1/s, 'a database of another encoding');

$node->stop;
$mock->stop;
done_testing();
