# A rollup is its query: over random messages, the rollup, its query over the
# topic and the same query over an ordinary table of the same messages give
# the same rows; and its books balance.
#
# The ordinary table is loaded from what was produced, by what this file says
# that a message means.  STREAMCOUNT_SEED repeats a run.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Encode;
use POSIX 'strftime';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
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

# ---------------------------------------------------------------------
# Messages: what is produced, and what it means
# ---------------------------------------------------------------------

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }

# A JSON string, each character in one of the ways to write it
sub json_string
{
	my ($text) = @_;
	my %short = ("\n" => '\n', "\t" => '\t', '"' => '\"', '\\' => '\\\\', '/' => '\/');

	$text =~ s{(.)}{
		my ($c, $o) = ($1, ord $1);
		my $must = $o < 32 || $c eq '"' || $c eq '\\';

		!$must && !chance(0.05) ? $c
		  : $short{$c} && chance(0.5) ? $short{$c}
		  : join '', map { sprintf chance(0.5) ? '\\u%04x' : '\\u%04X', $_ }
		  $o < 0x10000 ? $o : (0xD800 + (($o - 0x10000) >> 10), 0xDC00 + ($o & 0x3FF))
	}gexs;
	return "\"$text\"";
}

sub string { return (json_string($_[0]), $_[0]) }
sub number { return (chance(0.8) ? $_[0] : json_string(pick('', ' ') . $_[0]), $_[0]) }

my @tags = ('#iphone', '#iPhone', '#IPHONE', '＃full', '#日本語', '#été', '#ÉTÉ', '#a_b', '#1st', '#ΣΊΣΥΦΟΣ',
	'#straße', '#İstanbul');
my @noise = ('plain', '#1', 'a#glued', '&#8217;', '@user', 'http://x.org/#frag', "two\nlines", 'q"uote',
	'back\\slash', 'tab	bed', '😀', '#', '##', '$CASH', 'ends.');
my @uuids = map { sprintf '%08x-0000-4000-8000-%012x', $_ * 7, $_ } 1 .. 5;

sub some_time
{
	return string(pick('0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '1969-12-31 23:59:59+00',
			'4000-02-29T12:00:00+14:00', '2014-11-02T01:30:00-04:00', '2014-11-02T01:30:00-05:00'))
	  if chance(0.1);
	return string(sprintf '2014-%02d-%02dT%02d:%02d:%02d%s', pick(1, 9, 11), 1 + int rand 4,
		int rand 24, int rand 60, int rand 60,
		pick('Z', '+00', '.5Z', '+02:00', '-07:30', ''));
}

sub some_doc
{
	return pick('{"lang": "en", "n": 1}', '{"n":1.0,"lang":"en"}', '{"lang": "de"}', '{"lang": null}',
		'[1, 2]', '"scalar"', 'null', 'true', '{"lang": "en", "lang": "fr"}', '{"deep": {"er": [1, {"x": "y"}]}}');
}

# The columns, their types, and some value: how it is written, what it is
my @columns = (
	[ who => 'text', sub { string(pick('Ann', 'ann', 'Zoë', '', q(o'Neil), "t\tab", '😀' x 20, 'x' x 300)) } ],
	[ text => 'text', sub { string(join pick(' ', "\n"), map { pick(@tags, @noise) } 0 .. rand 6) } ],
	[ n => 'int4', sub { chance(0.05) ? ('1e1', 10) : number(int(rand 44) - 3) } ],
	[ small => 'int2', sub { number(int(rand 11) - 5) } ],
	[ big => 'int8', sub { number((int(rand 2_000_000_000) - 1_000_000_000) * 1_000_000_007) } ],
	[ amount => 'numeric', sub { number(pick('1.0', '1.00', '-0.50', '0', '123456789012345678901234.5678', '2.5e-3')) } ],
	[ odd => 'numeric', sub { chance(0.02) ? string(pick('NaN', 'Infinity')) : number(pick('1', '1.10', '-7.25')) } ],
	[ x => 'float8', sub { number(pick(0.25, -1.5, 1024, 3.75)) } ],
	[ f => 'float4', sub { number(pick(0.25, -1.5, 64, 7.75)) } ],
	[ wild => 'float8', sub { number(sprintf '%.6f', rand(2e6) - 1e6) } ],
	[ flag => 'boolean', sub { my $b = chance(0.5); ($b ? pick('true', '"yes"', '1', '"T"') : pick('false', '"off"', '0'), $b ? 't' : 'f') } ],
	[ day => 'date', sub { string(pick('2014-09-21', '2014-09-22', '20140921', '0044-03-15 BC', 'infinity')) } ],
	[ moment => 'timestamptz', \&some_time ],
	[ span => 'interval', sub { string(pick('1 day', '24:00:00', 'P1DT2H', '-3 minutes', '1 mon')) } ],
	[ id => 'uuid', sub { my $u = pick(@uuids); string(pick($u, uc $u, "{$u}")) } ],
	[ doc => 'jsonb', sub { my $d = some_doc(); ($d, $d) } ],
	[ labels => 'text[]', sub { string(pick('{}', '{a,b}', '{b,NULL,"c d"}', '{a,a,Ä}')) } ],
	[ items => 'jsonb', sub { my $d = pick('["a", "b", "a"]', '[]', '[1, null, {"a": 1}]', '{"not": "a list"}', '7'); ($d, $d) } ]);
my @metadata = (
	[ part => 'int4', 'partition' ],
	[ pos => 'int8', 'offset' ],
	[ sent => 'timestamptz', 'timestamp' ],
	[ msgkey => 'text', 'key' ],
	[ head => 'jsonb', 'headers' ]);

# What does not convert, by column
my %bad = (
	n => [ '"abc"', '1.5', '99999999999', '""', '[1]' ],
	amount => [ '"1,5"', 'true', '"--1"' ],
	moment => [ '"2014-13-01T00:00:00Z"', '"now"', '"soon"', '12' ],
	day => [ '"today"', '"2014-02-30"' ],
	id => [ '"not a uuid"', '5' ]);

# What is no message of this format at all
my @rubbish = ('', '{', '{"n": 1} x', "\xff\xfe", '{"text": "\\u0000"}', "{\"n\": 1}\0", '{"who": "\\ud800"}',
	"{\"who\": \"\xc0\xaf\"}", '{n: 1}', '[' x 10000);

my @end = (0) x $partitions;
my @table;    # rows of the ordinary table
my $produced = 0;
my $rubbish = 0;

sub copy_field
{
	my ($value) = @_;
	my %escape = ("\\" => '\\\\', "\n" => '\n', "\t" => '\t', "\r" => '\r');

	return '\N' unless defined $value;
	$value =~ s/([\\\n\t\r])/$escape{$1}/g;
	return $value;
}

sub members
{
	my ($row) = @_;
	my $broken = chance(0.04) ? pick(sort keys %bad) : undef;
	my @members;

	foreach my $column (@columns)
	{
		my ($name, $type, $some) = @$column;
		my ($json, $value) = $some->();
		my $written = chance(0.05) ? sprintf '"\\u%04x%s"', ord $name, substr $name, 1 : "\"$name\"";

		if (defined $broken && $broken eq $name)
		{
			($json, $value) = (pick(@{ $bad{$name} }), undef);
		}
		elsif (chance(0.08)) { ($json, $value) = (undef, undef) }
		elsif (chance(0.04)) { ($json, $value) = ('null', $type eq 'jsonb' ? 'null' : undef) }

		# Of two equal members the last one counts.
		push @members, "\"$name\": " . pick('1', 'null', '"first"', '{}') if defined $json && chance(0.03);
		push @members, $written . pick(':', ' : ') . $json if defined $json;
		$row->{$name} = $value;
	}
	push @members, '"unread": ' . some_doc() if chance(0.2);
	$row->{broken} = $broken;
	return encode('UTF-8', '{' . join(pick(',', ", \n"), @members) . '}');
}

sub message
{
	my $partition = int rand $partitions;
	my $ms = 1_400_000_000_000 + int rand 1e10;
	my $key = pick(undef, '', 'k1', 'Schlüssel');
	my $lang = pick(undef, 'en', 'de');
	my %row = (
		part => $partition,
		pos => $end[$partition]++,
		sent => strftime('%Y-%m-%d %H:%M:%S', gmtime int $ms / 1000) . sprintf('.%03d+00', $ms % 1000),
		msgkey => $key,
		head => defined $lang ? qq({"lang": "$lang"}) : '{}');
	my $value;

	$produced++;
	if (chance(0.03))
	{
		$value = pick(@rubbish);
		$rubbish++;
	}
	else
	{
		# A tombstone, and JSON that is no object, have no members.
		$value = chance(0.03) ? pick(undef, '[1, 2]', '5', 'null', '{}') : members(\%row);
		push @table, join("\t", map { copy_field($_) }
			@row{ (map { $_->[0] } @columns), qw(part pos sent msgkey head broken) }) . "\n";
	}
	return {
		partition => $partition,
		timestamp => $ms,
		key => $key,
		value => $value,
		headers => defined $lang ? [ 'lang', 'overruled', 'lang', $lang ] : [] };
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
#	reads		the columns of %bad that it reads, where its text does not say
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
	whole_row => [ 'SELECT (e IS NOT NULL) AS complete, count(*) FROM events e GROUP BY 1', reads => join(' ', sort keys %bad) ]);

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
		reads => join(' ', grep { $text =~ /\b$_\b/ } sort keys %bad),
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

my $column_list = join ', ', map { $_->[0] } @columns, @metadata;
my $loud = 'SELECT upper(who) AS loud, n * 2 AS twice, flag FROM events WHERE small <> 0';
my $stream_columns = join ', ', map({ "$_->[0] $_->[1]" } @columns),
  map { "$_->[0] $_->[1] OPTIONS (metadata '$_->[2]')" } @metadata;
my $table_columns = join ', ', map { "$_->[0] $_->[1]" } @columns, @metadata;

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
note "$produced messages, $rubbish of them no JSON, ", scalar(@names), ' queries';

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
