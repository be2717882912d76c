# A rollup is its query: over random messages, the rollup, its query over the
# topic and the same query over an ordinary table of the same messages give
# the same rows; and its books balance.
#
# The ordinary table is loaded from what was produced, by what StreamCount::Events
# says that a message means.  STREAMCOUNT_SEED repeats a run.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Encode;
use List::Util qw(sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Events qw(columns metadata may_be_bad);
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $partitions = 3;
my $waves = 6;
my $wave_size = 250;
my $seed = $ENV{STREAMCOUNT_SEED} // (time ^ $$);

srand($seed);
note "STREAMCOUNT_SEED=$seed";

my @table;    # rows of the ordinary table
my @end = (0) x $partitions;
my $rubbish = 0;

sub message
{
	my $partition = int rand $partitions;
	my ($message, $row) = StreamCount::Events::message($partition, $end[$partition]++);

	push @table, $row // ();
	$rubbish++ unless defined $row;
	return $message;
}

# ---------------------------------------------------------------------
# Queries
# ---------------------------------------------------------------------

# Functions in FROM
my $hashtags = 'streamcount.hashtags(text) AS hashtag';
my $items = q[jsonb_array_elements_text(CASE WHEN jsonb_typeof(items) = 'array' THEN items END) AS item];

# name => query, or [query, option => value, ...]:
#	compare		select list of the comparison, where * would be too exact
#	timezone	of the session that creates the rollup
#	reads		the columns that may be bad that it reads, where its text does not say
my @queries = (
	the_example => "SELECT hashtag, w.interval, count(*) AS mentions
		FROM events, $hashtags, streamcount.windows(moment, '{day,ALL}') AS w GROUP BY hashtag, w.interval",
	many_windows => "SELECT granularity, w.interval, window_start, window_end, count(*), sum(n) AS s
		FROM events, streamcount.windows(moment, '{second,minute,hour,day,week,month,quarter,year,ALL,15 minutes}') AS w
		GROUP BY granularity, w.interval, window_start, window_end",
	windows_of_a_zone => "SELECT w.interval, window_start, count(*)
		FROM events, streamcount.windows(moment, '{hour,day,week}', 'America/New_York') AS w
		GROUP BY w.interval, window_start, granularity",
	tumbling => "SELECT window_start, window_end, count(*), avg(n) AS mean
		FROM events, streamcount.tumble(moment, '6 hours', '1 hour') GROUP BY window_start, window_end",
	hopping => "SELECT window_start, count(*) FROM events, streamcount.hop(moment, '1 day', '8 hours', time_zone => 'Asia/Kolkata')
		GROUP BY window_start",
	cumulating => "SELECT window_end, sum(small) AS s FROM events, streamcount.cumulate(moment, '1 day', '6 hours')
		GROUP BY window_start, window_end",
	other_tokens => "SELECT word, count(*) FROM events, streamcount.words(text) AS word GROUP BY word",
	pairs_of_tokens => "SELECT hashtag, mention, count(*) FROM events, $hashtags, streamcount.mentions(text) AS mention
		GROUP BY hashtag, mention",
	token_normalized => "SELECT h, count(*) FROM events, streamcount.hashtags(normalize(text)) AS h GROUP BY h",
	left_join_of_tokens => "SELECT hashtag, count(*), count(hashtag) AS tagged
		FROM events LEFT JOIN LATERAL $hashtags ON true GROUP BY hashtag",
	numbered_tokens => "SELECT t.i, count(*) FROM events, streamcount.hashtags(text) WITH ORDINALITY AS t(tag, i) GROUP BY t.i",
	text_key => 'SELECT who, count(*) FROM events GROUP BY who',
	int_key => 'SELECT n, count(*) FROM events GROUP BY n',
	small_key => 'SELECT small, count(*), min(who) AS first, max(who) AS last FROM events GROUP BY small',
	big_key => 'SELECT big % 10 AS b, count(*) FROM events GROUP BY 1',
	numeric_key => 'SELECT amount, count(*), sum(amount) AS s FROM events GROUP BY amount',
	numeric_odd => 'SELECT odd, n % 3 AS m, sum(odd) AS s, max(odd) AS most, avg(odd) AS mean FROM events GROUP BY odd, n % 3',
	float_key => 'SELECT x, f, count(*) FROM events GROUP BY x, f',
	bool_key => 'SELECT flag, count(*), bool_and(n > 0) AS every_one, bool_or(n > 39) AS any_one, every(flag) AS e FROM events GROUP BY flag',
	date_key => 'SELECT day, count(*), min(moment) AS first, max(day + 1) AS last FROM events GROUP BY day',
	time_key => "SELECT date_trunc('hour', moment, 'UTC') AS hour, count(*) FROM events GROUP BY 1",
	zone_of_creation => [ "SELECT date_trunc('day', moment) AS d, to_char(moment, 'TZH') AS z, count(*) FROM events GROUP BY 1, 2",
		timezone => 'America/New_York' ],
	interval_key => 'SELECT span, count(*), sum(span) AS s, avg(span) AS mean, min(span) AS least FROM events GROUP BY span',
	uuid_key => 'SELECT id, count(*) FROM events GROUP BY id',
	jsonb_key => 'SELECT doc, count(*) FROM events GROUP BY doc',
	member_key => "SELECT doc ->> 'lang' AS lang, doc -> 'n' AS n, count(*) FROM events GROUP BY 1, 2",
	array_key => 'SELECT labels, count(*) FROM events GROUP BY labels',
	padded_key => 'SELECT who::char(3) AS w, count(*), min(who::char(2)) AS least FROM events GROUP BY who::char(3)',
	range_key => 'SELECT int4range(small, n) AS r, count(*) FROM events WHERE small < n GROUP BY 1',
	enum_key => "SELECT (CASE WHEN small < 0 THEN 'sad' ELSE 'ok' END)::mood AS mood, count(*),
		max((CASE WHEN flag THEN 'ok' ELSE 'sad' END)::mood) AS most FROM events GROUP BY 1",
	domain_key => 'SELECT small::percent AS p, count(*), sum(small::percent) AS s FROM events WHERE small >= 0 GROUP BY 1',
	local_time_key => [ 'SELECT moment::timestamp AS t, moment::date AS d, max(moment::time) AS latest, count(*)
		FROM events WHERE moment < $x$3000-01-01$x$ GROUP BY 1, 2', timezone => 'Asia/Kolkata' ],
	network_key => "SELECT ('10.0.0.' || small + 5)::inet AS a, max(('::' || n % 7 + 10)::inet) AS m, sum(n::money) AS cost
		FROM events GROUP BY 1",
	bytes_key => 'SELECT msgkey::bytea AS b, n::bit(6) AS bits, md5(who)::uuid AS hash, count(*) FROM events GROUP BY 1, 2, 3',
	nested_key => 'SELECT ARRAY[[small, n], [n, small]] AS a, ARRAY[flag, NULL] AS b, count(*) FROM events GROUP BY 1, 2',
	collated_key => 'SELECT who COLLATE fuzzy AS w, count(*), max(who COLLATE fuzzy) AS most FROM events GROUP BY 1',
	three_keys => 'SELECT flag, small, who, count(*), sum(n) AS s FROM events GROUP BY flag, small, who',
	hidden_key => 'SELECT count(*), sum(n) AS s FROM events GROUP BY small',
	key_twice => 'SELECT small AS a, small AS b, small + 1 AS c, count(*) FROM events GROUP BY small',
	constant_key => "SELECT 'ALL'::text AS key, count(*), count(n) AS n, count(who) AS who FROM events GROUP BY 1",
	only_keys => 'SELECT small, flag FROM events GROUP BY small, flag',
	expression_key => 'SELECT upper(who) AS loud, lower(left(who, 1)) || $x$!$x$ AS l, count(*) FROM events GROUP BY upper(who), lower(left(who, 1))',
	key_in_expression => 'SELECT who, upper(who) AS loud, length(who) + count(*) AS l FROM events GROUP BY who',
	case_key => "SELECT CASE WHEN n < 0 THEN 'less' WHEN n = 0 THEN 'none' ELSE 'more' END AS c, count(*) FROM events GROUP BY 1",
	sums => 'SELECT flag, sum(n) AS n, sum(small) AS small, sum(big) AS big, sum(amount) AS amount, sum(x) AS x, sum(f) AS f FROM events GROUP BY flag',
	averages => 'SELECT small, avg(n) AS n, avg(small) AS s, avg(big) AS big, avg(amount) AS amount, avg(x) AS x, avg(f) AS f FROM events GROUP BY small',
	wild_floats => [ 'SELECT small, sum(wild) AS s, avg(wild) AS mean, min(wild) AS least FROM events GROUP BY small',
		compare => 'small, round(s::numeric, 4), round(mean::numeric, 6), least' ],
	extremes => 'SELECT flag, min(n) AS a, max(big) AS b, min(amount) AS c, max(x) AS d, min(f) AS e, max(who) AS g, min(labels) AS h FROM events GROUP BY flag',
	bits => 'SELECT flag, bit_and(n) AS a, bit_or(small) AS b, bit_xor(big) AS c, bit_or(n::bit(8)) AS d FROM events GROUP BY flag',
	filters => "SELECT small, count(*) FILTER (WHERE flag) AS yes, count(*) FILTER (WHERE NOT flag) AS no,
		sum(n) FILTER (WHERE who = 'Ann') AS ann, avg(n) FILTER (WHERE n > 100) AS never, count(*) FROM events GROUP BY small",
	over_aggregates => 'SELECT small, count(*) + 1 AS more, sum(n) * 1.0 / nullif(count(n), 0) AS mean,
		CASE WHEN count(*) > 10 THEN $x$many$x$ ELSE $x$few$x$ END AS c, round(avg(n), 2) AS r, max(n) - min(n) AS span,
		coalesce(sum(n) FILTER (WHERE flag), 0)::float8 / count(*) AS share FROM events GROUP BY small',
	conditional_sum => 'SELECT who, sum(CASE WHEN flag THEN n ELSE -n END) AS s FROM events GROUP BY who',
	where_clause => "SELECT who, count(*) FROM events WHERE n > 5 AND (text LIKE '%#i%' OR flag) GROUP BY who",
	where_null => 'SELECT n, count(*) FROM events WHERE who IS NULL OR day IS NULL GROUP BY n',
	where_nothing => 'SELECT n, count(*) FROM events WHERE false GROUP BY n',
	of_array => 'SELECT label, count(*) FROM events, unnest(labels) AS label GROUP BY label',
	of_json => "SELECT item, count(*) FROM events, $items GROUP BY item",
	of_both => "SELECT item, label, hashtag, count(*) FROM events, $items, unnest(labels) AS label, $hashtags
		GROUP BY item, label, hashtag",
	series => 'SELECT g, count(*) FROM events, generate_series(1, n % 4) AS g GROUP BY g',
	inner_join => 'SELECT p.team, count(*), sum(p.weight) AS w FROM events e JOIN people p ON p.name = e.who GROUP BY p.team',
	left_join => 'SELECT p.team, e.flag, count(*), count(p.name) AS known FROM events e LEFT JOIN people p ON p.name = e.who GROUP BY p.team, e.flag',
	join_that_multiplies => 'SELECT t.tier, count(*), sum(e.n) AS s FROM events e, tiers t WHERE e.n >= t.least GROUP BY t.tier',
	join_with_tokens => "SELECT p.team, hashtag, count(*) FROM events e LEFT JOIN people p ON p.name = e.who, $hashtags GROUP BY p.team, hashtag",
	semi_join => 'SELECT who, count(*) FROM events WHERE who IN (SELECT name FROM people WHERE weight > 1) GROUP BY who',
	anti_join => 'SELECT flag, count(*) FROM events e WHERE NOT EXISTS (SELECT FROM people p WHERE p.name = e.who) GROUP BY flag',
	of_subquery => 'SELECT s.w, count(*), sum(s.m) AS m FROM (SELECT upper(who) AS w, n + small AS m, flag FROM events WHERE n > 3) s WHERE s.flag GROUP BY s.w',
	of_view => [ 'SELECT loud, count(*), sum(twice) AS t FROM loud_events GROUP BY loud', reads => 'n' ],
	of_view_and_join => [ 'SELECT p.team, v.loud, count(*) FROM (SELECT * FROM loud_events WHERE twice > 4) v
		JOIN people p ON upper(p.name) = v.loud GROUP BY p.team, v.loud', reads => 'n' ],
	ranges => "SELECT small, range_agg(int4range(n, n + 2)) AS r FROM events WHERE n IS NOT NULL GROUP BY small",
	sessions => "SELECT who, range_agg(tstzrange(moment, moment + '30 min')) AS r FROM events WHERE moment IS NOT NULL GROUP BY who",
	metadata => 'SELECT part, min(pos) AS first, max(pos) AS last, count(*), min(sent) AS sent FROM events GROUP BY part',
	headers_and_key => "SELECT msgkey, head ->> 'lang' AS lang, count(*) FROM events GROUP BY msgkey, head ->> 'lang'",
	whole_row => [ 'SELECT (e IS NOT NULL) AS complete, count(*) FROM events e GROUP BY 1', reads => join(' ', may_be_bad()) ]);

my @names = map { $queries[ 2 * $_ ] } 0 .. $#queries / 2;
my %query = @queries;
foreach my $name (@names)
{
	my ($sql, %options) = ref $query{$name} ? @{ $query{$name} } : ($query{$name});
	(my $text = $sql) =~ s/'[^']*'| AS \w+//g;

	$query{$name} = {
		sql => $sql,
		compare => '*',
		timezone => 'UTC',
		reads => join(' ', grep { $text =~ /\b$_\b/ } may_be_bad()),
		%options };
}

# ---------------------------------------------------------------------
# The two worlds: streams in public, ordinary tables in plain
# ---------------------------------------------------------------------

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
$kafka->create_topic('events', $partitions);

my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ],
	conf => "streamcount.flush_interval = '20ms'\nfsync = off\n");
$node->start;

my $column_list = join ', ', map { $_->[0] } columns(), metadata();
my $loud = 'SELECT upper(who) AS loud, n * 2 AS twice, flag FROM events WHERE small <> 0';
my $stream_columns = join ', ', map({ "$_->[0] $_->[1]" } columns()),
  map { "$_->[0] $_->[1] OPTIONS (metadata '$_->[2]')" } metadata();
my $table_columns = join ', ', map { "$_->[0] $_->[1]" } columns(), metadata();

$node->safe_psql('postgres', encode('UTF-8', qq{
	CREATE EXTENSION streamcount;
	CREATE FOREIGN TABLE events ($stream_columns) SERVER streamcount OPTIONS (topic 'events', reject_limit '0');
	CREATE VIEW loud_events AS $loud;
	CREATE TYPE mood AS ENUM ('sad', 'ok');
	CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
	CREATE TABLE people (name text, team text, weight int);
	INSERT INTO people VALUES ('Ann', 'red', 1), ('ann', 'blue', 2), ('Zoë', 'red', 3), ('Zoë', NULL, 4), ('', 'none', 5);
	CREATE TABLE tiers (tier text, least int);
	INSERT INTO tiers VALUES ('low', 0), ('high', 20);
	CREATE SCHEMA plain;
	CREATE TABLE plain.messages ($table_columns, broken text);
	CREATE VIEW plain.events AS SELECT $column_list FROM plain.messages
		WHERE broken IS NULL OR broken <> ALL (string_to_array(current_setting('test.reads'), ' '));
	SET search_path = plain, public;
	CREATE VIEW plain.loud_events AS $loud;
	SET search_path = public;
	CREATE TABLE plain.outcome (name text, kept bigint, batch bigint, wanted bigint, differences text);}));

# Under this collation, ann equals Ann.
if ($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'}) eq 't')
{
	$node->safe_psql('postgres',
		q{CREATE COLLATION fuzzy (provider = icu, locale = 'und-u-ks-level2', deterministic = false)});
}
else
{
	@names = grep { $_ ne 'collated_key' } @names;
}

sub create_rollups
{
	my $sql = '';

	foreach my $name (@_)
	{
		my $q = $query{$name};

		$sql .= "SET TimeZone = '$q->{timezone}';\n"
		  . "SELECT streamcount.create_rollup('r_$name', \$query\$$q->{sql}\$query\$);\n";
	}
	$node->safe_psql('postgres', encode('UTF-8', $sql));
	return;
}

sub wait_for_all
{
	my @ends = $kafka->ends('events');
	my ($expected) = scalar @{ $_[0] } * $partitions;

	$node->wait_for_sql(
		"SELECT count(*) FROM streamcount.progress WHERE next_offset = ('{"
		  . join(',', @ends) . "}'::bigint[])[partition + 1]",
		$expected, timeout => 60);
	return;
}

# Half of them see messages come, half of them find some there.
my @early = grep { $_ % 2 == 0 } 0 .. $#names;
my @early_names = @names[@early];
my @late_names = grep { my $n = $_; !grep { $_ eq $n } @early_names } @names;

create_rollups(@early_names);
foreach my $wave (1 .. $waves)
{
	foreach (1 .. 3)
	{
		$kafka->produce_messages('events', [ map { message() } 1 .. $wave_size / 3 ]);
	}
	create_rollups(@late_names) if $wave == 3;
	# So each wave is a flush of its own, at the least.
	wait_for_all($wave < 3 ? \@early_names : \@names);
}
note sum(@end), " messages, $rubbish of them no JSON, ", scalar(@names), ' queries';

my $file = PostgreSQL::Test::Utils::tempdir() . '/messages';
open my $out, '>:utf8', $file or die $!;
print $out @table;
close $out or die $!;
$node->safe_psql('postgres', "\\copy plain.messages ($column_list, broken) FROM '$file'");

# ---------------------------------------------------------------------
# Comparison
# ---------------------------------------------------------------------

# Rows that are in one and not, or not as often, in the other
sub differences
{
	my ($a, $b, $compare) = @_;

	return join ' UNION ALL ', map {
		"(SELECT '$_->[0] ' || to_jsonb(differing)::text AS line FROM (SELECT $compare FROM $_->[1] EXCEPT ALL SELECT $compare FROM $_->[2]) AS differing)"
	} ([ "only $a:", $a, $b ], [ "only $b:", $b, $a ]);
}

my $sql = '';
foreach my $name (@names)
{
	my $q = $query{$name};

	$sql .= qq{
		SET TimeZone = '$q->{timezone}';
		SET test.reads = '$q->{reads}';
		SET search_path = plain, public;
		CREATE TEMP TABLE wanted AS $q->{sql};
		SET search_path = public;
		CREATE TEMP TABLE kept AS SELECT * FROM r_$name;
		CREATE TEMP TABLE batch AS SELECT * FROM r_${name}_query;
		INSERT INTO plain.outcome SELECT '$name', (SELECT count(*) FROM kept), (SELECT count(*) FROM batch),
			(SELECT count(*) FROM wanted),
			(SELECT string_agg(line, E'\n') FROM (SELECT * FROM (}
	  . differences('kept', 'wanted', $q->{compare}) . ' UNION ALL '
	  . differences('batch', 'wanted', $q->{compare}) . qq{) AS lines LIMIT 6) AS first_ones);
		DROP TABLE wanted, kept, batch;};
}
my ($status, $ignored, $errors) = $node->psql('postgres', encode('UTF-8', $sql), on_error_stop => 1);
is($status, 0, 'all queries run over the topic and over a table') or diag $errors;

my %outcome = map { my ($name, @rest) = split /\|/, $_, 5; $name => \@rest } split /\x1e/,
  $node->safe_psql('postgres',
	q{SELECT string_agg(concat_ws('|', name, kept, batch, wanted, coalesce(differences, '')), E'\x1e') FROM plain.outcome});
foreach my $name (@names)
{
	my ($kept, $batch, $wanted, $differences) = @{ $outcome{$name} // [ 'no', 'no', 'no' ] };

	is($differences, '', "$name: rollup, topic and table give the same $wanted rows")
	  or diag $query{$name}{sql}, "\nrollup $kept, topic $batch, table $wanted rows";
}
is($node->safe_psql('postgres', "SELECT string_agg(name, ' ') FROM plain.outcome WHERE wanted = 0"),
	'where_nothing', 'all queries but one have rows to compare');

# ---------------------------------------------------------------------
# Books
# ---------------------------------------------------------------------

is($node->safe_psql('postgres', q{
		SELECT rollup, partition, start_offset, next_offset, counted, filtered, rejected
		FROM streamcount.progress WHERE counted + filtered + rejected <> next_offset - start_offset}),
	'', 'counted, filtered and rejected messages make up all that were read');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.progress'),
	@names * $partitions, 'there is a line for each rollup and partition');

my $reads = join ', ', map { "('r_$_'::regclass, '$query{$_}{reads}')" } @names;
my $wrong = $node->safe_psql('postgres', qq{
	SELECT format('%s reads "%s": %s rejected in progress, %s rows in rejects, should be %s',
		rollup, reads, in_progress, in_rejects, expected)
	FROM (VALUES $reads) AS q(rollup, reads),
		LATERAL (SELECT sum(rejected) FROM streamcount.progress p WHERE p.rollup = q.rollup) AS p(in_progress),
		LATERAL (SELECT count(*) FROM streamcount.rejects r WHERE r.rollup = q.rollup) AS r(in_rejects),
		LATERAL (SELECT $rubbish + count(*) FROM plain.messages
			WHERE broken = ANY (string_to_array(reads, ' '))) AS m(expected)
	WHERE in_progress <> expected OR in_rejects <> expected});
is($wrong, '', 'every rollup rejects just what is bad in the columns that it reads');
is($node->safe_psql('postgres', q{
		SELECT sum(counted) - (SELECT sum(count) FROM r_where_clause)
		FROM streamcount.progress WHERE rollup = 'r_where_clause'::regclass}),
	'0', 'what WHERE leaves out is filtered');
is($node->safe_psql('postgres', q{
		SELECT sum(counted) - (SELECT count(*) FROM plain.messages
			WHERE broken IS DISTINCT FROM 'moment' AND EXISTS (SELECT FROM streamcount.hashtags(text)))
		FROM streamcount.progress WHERE rollup = 'r_the_example'::regclass}),
	'0', 'a message without a row is filtered, one with several is counted once');

$node->stop;
done_testing();
