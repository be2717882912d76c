# What the C tally is not sure of it leaves to the executor, and where it has
# counted too much it forgets: rejects, halts and books are those of a rollup
# that never saw it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# A stream, and two rollups over it, one for each way, that are to be alike;
# all of the topic is there before they start, so that it is one batch.
sub start
{
	my ($topic, $options, @values) = @_;

	$kafka->create_topic($topic, 1);
	$kafka->produce_messages($topic, [ map { { partition => 0, value => $_ } } @values ]);
	query("CREATE FOREIGN TABLE $topic (word text, n integer)
		SERVER streamcount OPTIONS (topic '$topic' $options)");
	foreach my $way (qw(tally executor))
	{
		query("SET streamcount.way = '$way';
			SELECT streamcount.create_rollup('${topic}_by_$way',
				'SELECT word, count(*) AS times, sum(n) AS n FROM $topic GROUP BY word')");
	}
	return;
}

# Books, state, rows and rejects of a rollup, in one text
sub outcome
{
	my ($rollup) = @_;

	return query(qq{
		SELECT format('%s to %s: %s counted, %s filtered, %s rejected; %s', start_offset, next_offset,
			counted, filtered, rejected, CASE state WHEN 'halted' THEN 'halted: ' || reason ELSE 'goes on' END)
		FROM streamcount.progress WHERE rollup = '$rollup'::regclass
		UNION ALL SELECT * FROM (SELECT concat_ws('|', word, times, n) FROM $rollup ORDER BY word) AS rows
		UNION ALL SELECT * FROM (SELECT concat_ws('|', "offset", sqlstate, reason, "column")
			FROM streamcount.rejects WHERE rollup = '$rollup'::regclass ORDER BY "offset") AS rejects});
}

# Keep a query both ways: the outcome, which must be the same.
sub alike
{
	my ($name, $topic, $query) = @_;
	my @outcomes;

	foreach my $way (qw(tally executor))
	{
		my $rollup = "${name}_by_$way";

		query("SET streamcount.way = '$way'; SELECT streamcount.create_rollup('$rollup', " . '$query$' . $query . '$query$)');
		$node->wait_for_rollup($kafka, $topic, name => $rollup);
		push @outcomes, query(qq{
			SELECT counted, filtered, rejected FROM streamcount.progress WHERE rollup = '$rollup'::regclass;
			SELECT * FROM $rollup ORDER BY 1, 2;
			SELECT "offset", sqlstate, reason, detail, "column" FROM streamcount.rejects
				WHERE rollup = '$rollup'::regclass ORDER BY 1});
	}
	is($outcomes[0], $outcomes[1], "$name: the same rows, rejects and books");
	return $outcomes[0];
}

sub good
{
	my ($word) = @_;

	return qq({"word": "$word", "n": 1});
}

my $bad = '{"word": "bad", "n": "many"}';

# ---------------------------------------------------------------------
# on_error 'halt'
# ---------------------------------------------------------------------

start('halting', q(, on_error 'halt'), (good('before')) x 50, $bad, (good('behind')) x 50);
is(query(q{SELECT way, why FROM streamcount.rollups WHERE rollup = 'halting_by_tally'::regclass}),
	'tally|', 'the one is tallied');
is(query(q{SELECT way, why FROM streamcount.rollups WHERE rollup = 'halting_by_executor'::regclass}),
	'executor|streamcount.way was "executor" when it was created', 'the other is not, and says why');
$node->wait_for_sql("SELECT count(*) FROM streamcount.progress WHERE state = 'halted'", 2);
like(outcome('halting_by_tally'),
	qr/^0 to 50: 50 counted, 0 filtered, 0 rejected; halted: message at offset 50 [^\n]*\nbefore\|50\|50$/,
	'a halt stops before the bad message, though those behind it were tallied with it');
is(outcome('halting_by_tally'), outcome('halting_by_executor'), 'just as the executor does');

query("SELECT streamcount.skip_to('halting_by_$_', 0, 51)") foreach qw(tally executor);
$node->wait_for_rollup($kafka, 'halting', name => "halting_by_$_") foreach qw(tally executor);
is(query('SELECT word, times FROM halting_by_tally ORDER BY word'), "before|50\nbehind|50",
	'behind it the tally goes on');
is(query(q{SELECT state = 'halted' FROM streamcount.progress WHERE rollup = 'halting_by_tally'::regclass}), 'f',
	'without a halt');

# ---------------------------------------------------------------------
# reject_limit
# ---------------------------------------------------------------------

# Four, and four, are not five in a row; the last five are, but for the tally
# they stand in the middle of a batch.
start('limited', q(, reject_limit '5'),
	(good('a'), ($bad) x 4, good('b'), ($bad) x 4, good('c'), ($bad) x 5, (good('d')) x 20));
$node->wait_for_sql("SELECT count(*) FROM streamcount.progress WHERE state = 'halted' AND topic = 'limited'", 2);
like(outcome('limited_by_tally'), qr/^0 to 16: 3 counted, 0 filtered, 13 rejected; halted: 5 messages in a row/,
	'rejects are in a row where nothing stands between them, tallied or not');
is(outcome('limited_by_tally'), outcome('limited_by_executor'), 'just as for the executor');

query("SELECT streamcount.resume('limited_by_$_')") foreach qw(tally executor);
$node->wait_for_rollup($kafka, 'limited', name => "limited_by_$_") foreach qw(tally executor);
is(outcome('limited_by_tally'), outcome('limited_by_executor'), 'after resume(), too');

# A row of rejects that goes on over several flushes
$kafka->produce_messages('limited', [ map { { partition => 0, value => $_ } } (good('e'), ($bad) x 3) ]);
$node->wait_for_rollup($kafka, 'limited', name => "limited_by_$_") foreach qw(tally executor);
$kafka->produce_messages('limited', [ map { { partition => 0, value => $_ } } (($bad) x 3, good('f')) ]);
$node->wait_for_sql("SELECT count(*) FROM streamcount.progress WHERE state = 'halted' AND topic = 'limited'", 2);
like(outcome('limited_by_tally'), qr/^0 to 42: /, 'three and three in a row are more than five');
is(outcome('limited_by_tally'), outcome('limited_by_executor'), 'whichever way');

# ---------------------------------------------------------------------
# Keys that are too long, though none is by itself, with and without a token
# ---------------------------------------------------------------------

my @lengths = map { 'x' x $_ } 1900, 1993, 1994, 1995, 1996, 1997, 2000, 2001;

$kafka->create_topic('long', 1);
$kafka->produce_messages('long', [ map { { partition => 0, value => qq({"a": "#tags", "b": "$_"}) } } @lengths ]);
query(q{CREATE FOREIGN TABLE long (a text, b text) SERVER streamcount OPTIONS (topic 'long')});
my %long = (
	token_first => 'SELECT tag, b, count(*) FROM long, streamcount.hashtags(a) AS tag GROUP BY tag, b',
	token_last => 'SELECT b, tag, count(*) FROM long, streamcount.hashtags(a) AS tag GROUP BY b, tag',
	no_token => 'SELECT a, b, count(*) FROM long GROUP BY a, b',
	window_last => q[SELECT tag, b, w.interval, count(*) FROM long, streamcount.hashtags(a) AS tag,
		streamcount.windows(NULL, '{ALL}') AS w GROUP BY tag, b, w.interval]);
foreach my $name (sort keys %long)
{
	like(alike($name, 'long', $long{$name}), qr/54000/, "$name: some keys are too long");
}

# ---------------------------------------------------------------------
# Tokens, and conditions of which one fails
# ---------------------------------------------------------------------

$kafka->create_topic('picky', 1);
$kafka->produce_messages('picky', [ map { { partition => 0, value => $_ } }
	map { qq({"word": "#abc #defg", "n": $_}) } 0 .. 9, 0, 'null' ]);
query(q{CREATE FOREIGN TABLE picky (word text, n integer, at timestamptz) SERVER streamcount OPTIONS (topic 'picky')});
my $tags = 'picky, streamcount.hashtags(word) AS tag';
my $never = q{streamcount.windows(at, '{day}') AS w};

like(alike('tokens', 'picky', "SELECT n, count(tag) AS tagged, min(tag) AS first, count(*) FROM $tags GROUP BY n"), qr/\n1\|2\|#abc\|2\n/,
	'a token can be counted, and compared');
alike('cheap_one', 'picky', q{SELECT word, count(*) FROM picky WHERE 10 / n > 100 AND word = 'none' GROUP BY word});
my %failing = (
	costly_one => 'SELECT word, count(*) FROM picky WHERE upper(lower(reverse(word))) = $$none$$ AND 10 / n > 0 GROUP BY word',
	of_token => "SELECT tag, count(*) FROM $tags
		WHERE upper(lower(upper(lower(reverse(tag))))) = \$\$none\$\$ AND 1 / (length(tag) - 4) >= 0 GROUP BY tag",
	of_text => "SELECT tag, w.interval, count(*) FROM picky, streamcount.hashtags(left(word, 10 / n)) AS tag, $never
		GROUP BY tag, w.interval",
	of_no_window => "SELECT tag, w.interval, count(*) FROM $tags, $never WHERE length(tag) > 10 / n GROUP BY tag, w.interval");
foreach my $name (sort keys %failing)
{
	like(alike($name, 'picky', $failing{$name}), qr/22012/, "$name: a failing condition rejects");
}

# Each of them finds what it has to reject in its own time.
query(join '', map {
	"SELECT streamcount.create_rollup('many_$_', 'SELECT word, count(*) FROM picky WHERE 10 / n >= 0 GROUP BY word');"
} 1 .. 30);
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.progress WHERE rollup::text LIKE 'many%' AND counted = 9 AND rejected = 2},
	30, timeout => 60);
pass('thirty rollups that fail on the same messages do not stop their stream');

# ---------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------

$node->append_conf('postgresql.conf', "streamcount.tally_mem = '4MB'\nstreamcount.flush_interval = '2s'\n");
$node->reload;
$kafka->create_topic('many', 2);
$kafka->produce_values('many', [ map { good("word number $_ of very many") } 1 .. 100_000 ]);
query(q{CREATE FOREIGN TABLE many (word text, n integer) SERVER streamcount OPTIONS (topic 'many');
	SELECT streamcount.create_rollup('many_words', 'SELECT word, count(*) AS times FROM many GROUP BY word')});
$node->wait_for_rollup($kafka, 'many', name => 'many_words', timeout => 60);
is(query('SELECT count(*), sum(times) FROM many_words'), '100000|100000',
	'more keys than there is memory for are counted');
my $flushes = query(q{SELECT flushes FROM streamcount.stat_workers WHERE stream = 'many'::regclass});
cmp_ok($flushes, '>', 1, 'in several flushes, each before the memory is used up');

# Empty messages are counted, too.
$kafka->create_topic('empty', 2);
$kafka->produce_messages('empty', [ map { { partition => $_ % 2, key => "key number $_ of very many" } } 1 .. 100_000 ]);
query(q{CREATE FOREIGN TABLE empty (k text OPTIONS (metadata 'key')) SERVER streamcount OPTIONS (topic 'empty');
	SELECT streamcount.create_rollup('empty_keys', 'SELECT k, count(*) AS times FROM empty GROUP BY k')});
$node->wait_for_rollup($kafka, 'empty', name => 'empty_keys', timeout => 60);
is(query('SELECT count(*), sum(times) FROM empty_keys'), '100000|100000', 'tombstones with many keys are counted');
cmp_ok(query(q{SELECT flushes FROM streamcount.stat_workers WHERE stream = 'empty'::regclass}), '>', 1,
	'in several flushes');

# Who asks after the way of something else is told nothing.
is(query(q{CREATE ROLE nobody_much; SET ROLE nobody_much; SELECT streamcount.rollup_way(c.oid)
	FROM pg_class c WHERE relname IN ('many', 'many_words', 'many_words_query', 'pg_class', 'pg_class_oid_index')
	GROUP BY 1}), '(,)', 'the way of what is no rollup, or hidden, is nothing');

$node->stop('fast');
$kafka->stop;
done_testing();
