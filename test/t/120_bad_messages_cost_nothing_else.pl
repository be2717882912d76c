# Bad messages of every kind among good ones: each is counted or a row in
# streamcount.rejects, for just the rollups that it is bad for, and costs
# neither another message nor the worker's life.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Digest::MD5 qw(md5_hex);
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use StreamCount::Verdicts;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_min_messages = warning\nstreamcount.reject_payload_limit = '1MB'\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

my $kept = 1024 * 1024;
my $verdicts = StreamCount::Verdicts->new($node, $kafka, kept => $kept);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub worker_pids { return join ' ', $node->pids_of('worker') }

# ---------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------

my $deep = 100_000;
my $tag = 'x' x 100_000;

# Bytes that no compression shortens
my $noise = join '', map { md5_hex($_) } 1 .. 80;

query(q{
	CREATE FOREIGN TABLE events (
		kind text NOT NULL,
		n integer,
		soft integer OPTIONS (on_error 'null'),
		at timestamptz,
		must text NOT NULL,
		k text OPTIONS (metadata 'key'),
		raw bytea OPTIONS (metadata 'value'),
		doc jsonb OPTIONS (path ''),
		body text
	) SERVER streamcount OPTIONS (topic 'events')});

my %rollups = (
	kinds => 'SELECT kind AS grp, count(*) AS n FROM events GROUP BY kind',
	numbers => 'SELECT n AS grp, count(*) AS n FROM events GROUP BY events.n',
	softs => 'SELECT soft AS grp, count(*) AS n FROM events GROUP BY soft',
	times => q{SELECT at AT TIME ZONE 'UTC' AS grp, count(*) AS n FROM events GROUP BY 1},
	musts => 'SELECT must AS grp, count(*) AS n FROM events GROUP BY must',
	keys => 'SELECT k AS grp, count(*) AS n FROM events GROUP BY k',
	raws => 'SELECT octet_length(raw) AS grp, count(*) AS n FROM events GROUP BY 1',
	docs => 'SELECT jsonb_typeof(doc) AS grp, count(*) AS n FROM events GROUP BY 1',
	tags => 'SELECT tag AS grp, count(*) AS n FROM events, streamcount.hashtags(body) AS tag GROUP BY tag');
my @names = sort keys %rollups;

$kafka->create_topic('events', 2);
query("SELECT streamcount.create_rollup('$_', \$\$ $rollups{$_} \$\$)") foreach @names;

# A message that is good for all, but for what is said
sub message
{
	my ($value, %verdicts) = @_;
	my $key = delete $verdicts{key};
	my $length = length $value;

	return {
		value => $value,
		key => $key,
		verdicts => {
			kinds => 'a', numbers => '1', softs => '2', times => '2014-09-21 00:00:00', musts => 'm',
			keys => $key // 'NULL', raws => $length, docs => 'object', tags => [], %verdicts
		}
	};
}

my %good = (
	kind => '"a"', n => 1, soft => 2, at => '"2014-09-21T00:00:00Z"', must => '"m"', body => '""');

# JSON of the good members, less and more
sub json
{
	my (%change) = @_;
	my %members = (%good, %change);

	return '{' . join(', ', map { "\"$_\": $members{$_}" }
		  grep { defined $members{$_} } sort keys %members) . '}';
}

sub bad
{
	my ($value, $sqlstate, $key) = @_;

	return { value => $value, key => $key, verdicts => {}, all => [$sqlstate] };
}

# Valid JSON without the members: NULL to those who allow it
sub memberless
{
	my ($value, $type) = @_;

	return message($value, numbers => 'NULL', softs => 'NULL', times => 'NULL', docs => $type,
		kinds => [ '23502', 'kind' ], musts => [ '23502', 'must' ]);
}

my @bad = (
	# malformed
	bad('', '22P02'),
	bad(' ', '22P02'),
	bad('nonsense', '22P02'),
	bad('{"kind": "a"', '22P02'),
	bad(json() . ' {}', '22P02'),
	bad("{'kind': 1}", '22P02'),
	bad('{"kind": "a",}', '22P02'),
	bad("\xef\xbb\xbf" . json(), '22P02'),
	bad(json(body => "\"\x01\""), '22P02'),
	bad(json(body => '"\ud800"'), '22P02'),
	bad(json(body => '"\udc00\ud800"'), '22P02'),
	bad(json(body => '"\ud800\u0041"'), '22P02'),
	bad(json(body => '"\u12"'), '22P02'),
	bad(json(body => '"\u0000"'), '22P05'),
	# bytes
	bad("\0", '22021'),
	bad(json(body => "\"\0\""), '22021'),
	bad(json() . "\0", '22021'),
	bad(json(body => "\"\xff\""), '22021'),
	bad(json(body => "\"\xc0\x80\""), '22021'),
	bad(json(body => "\"\xed\xa0\x80\""), '22021'),
	bad(json(body => "\"\xe2\x82\""), '22021'),
	bad(json(body => "\"\xf4\x90\x80\x80\""), '22021'),
	bad("\xf0\x9f\x98", '22021'),
	# too much
	bad('[' x $deep . ']' x $deep, '54001'),
	bad('{"a":' x $deep . '1' . '}' x $deep, '54001'),
	bad('[' x $deep, '54001'),
	bad(json(body => '1e400000'), '22003'),
	bad('"' . 'x' x (10 * 1024 * 1024), '22P02'),
	message(json(other => '"' . 'x' x (10 * 1024 * 1024) . '"'), raws => 10 * 1024 * 1024 + length(json(other => '""'))),
	message(json(body => "\"#$tag\""), tags => ['54000']),
	message(json(body => "\"#$noise #good\""), tags => ['54000']),
	message(json(body => '"#' . 'y' x 1999 . '"'), tags => '#' . 'y' x 1999),
	message(json(body => '"#' . 'y' x 2000 . '"'), tags => ['54000']),
	message(json(kind => "\"$noise\"", must => "\"$tag\""), kinds => ['54000'], musts => ['54000']),
	# wrong types, seen by those who read the column
	message(json(n => '"x"'), numbers => [ '22P02', 'n' ]),
	message(json(n => '1.5'), numbers => [ '22P02', 'n' ]),
	message(json(n => 'true'), numbers => [ '22P02', 'n' ]),
	message(json(n => '[1]'), numbers => [ '22P02', 'n' ]),
	message(json(n => '{}'), numbers => [ '22P02', 'n' ]),
	message(json(n => '""'), numbers => [ '22P02', 'n' ]),
	message(json(n => 2147483648), numbers => [ '22003', 'n' ]),
	message(json(n => '1e100'), numbers => [ '22003', 'n' ]),
	message(json(n => '"7"'), numbers => '7'),
	message(json(n => 'null'), numbers => 'NULL'),
	message(json(n => undef), numbers => 'NULL'),
	message(json(n => -2147483648), numbers => '-2147483648'),
	message(json(soft => '"x"'), softs => 'NULL'),
	message(json(soft => '1e100'), softs => 'NULL'),
	message(json(soft => '{"a": 1}'), softs => 'NULL'),
	message(json(at => '"yesterday"'), times => [ '22007', 'at' ]),
	message(json(at => '"2014-02-30T00:00:00Z"'), times => [ '22008', 'at' ]),
	message(json(at => '"300000-01-01T00:00:00Z"'), times => [ '22008', 'at' ]),
	message(json(at => '5'), times => [ '22007', 'at' ]),
	message(json(n => '"x"', at => '"x"'), numbers => [ '22P02', 'n' ], times => [ '22007', 'at' ]),
	# NOT NULL
	message(json(must => undef), musts => [ '23502', 'must' ]),
	message(json(must => 'null'), musts => [ '23502', 'must' ]),
	message(json(must => undef, kind => undef), musts => [ '23502', 'must' ], kinds => [ '23502', 'kind' ]),
	memberless('{}', 'object'), memberless('[]', 'array'), memberless('1', 'number'),
	memberless('null', 'null'), memberless('"x"', 'string'), memberless('true', 'boolean'),
	# tombstone
	{
		value => undef,
		key => 'gone',
		verdicts => {
			kinds => [ '23502', 'kind' ], musts => [ '23502', 'must' ], numbers => 'NULL', softs => 'NULL',
			times => 'NULL', keys => 'gone', raws => 'NULL', docs => 'NULL', tags => []
		}
	},
	# keys
	message(json(), key => "\xff\xfe", keys => [ '22021', 'k' ]),
	message(json(), key => "a\0b", keys => [ '22021', 'k' ]),
	message(json(), key => '', keys => ''),
	message(json(), key => 'x' x 100_000, keys => ['54000']),
	bad('not json', '22P02', "\xff"));

$_ = { %$_ } foreach @bad;
foreach my $m (@bad)
{
	# What the payload is bad for, it is bad for all.
	$m->{verdicts}{$_} //= $m->{all} foreach @names;
}

my @messages = map {
	(   message(json(body => '"#good"'), tags => '#good'),
		$_,
		message(json(kind => '"b"', n => 3), kinds => 'b', numbers => '3'))
} @bad;

$node->wait_for_sql('SELECT count(*) FROM streamcount.progress WHERE state IN (\'idle\', \'running\') AND checked_at IS NOT NULL', 2 * @names);
my $pids = worker_pids();
my $begin = time;
$verdicts->produce('events', 2, \@messages);
$verdicts->check($_, 'events', 2, \@messages) foreach @names;
note sprintf '%d messages, %d of them bad, for %d rollups: %.1f s', scalar @messages, scalar @bad,
  scalar @names, time - $begin;
is(worker_pids(), $pids, 'the worker has lived through all of it');
is(query(q{SELECT DISTINCT stream, topic, attempts FROM streamcount.rejects
	WHERE rollup = 'numbers'::regclass}), 'events|events|1', 'rejects name their stream and topic');
is(query(q{SELECT DISTINCT reason FROM streamcount.rejects
	WHERE rollup = 'numbers'::regclass AND sqlstate = '22003' AND "column" = 'n' ORDER BY 1}),
	qq{value "1} . '0' x 100 . qq{" is out of range for type integer\nvalue "2147483648" is out of range for type integer},
	'a reject says why, in the words of PostgreSQL');
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE "time" IS NULL
	OR "time" NOT BETWEEN now() - interval '10 minutes' AND now() + interval '1 minute'}), '0',
	'and when the message was produced');
is(query(q{SELECT max(octet_length(payload)) FROM streamcount.rejects
	WHERE rollup = 'kinds'::regclass}), $kept,
	'of a long payload its beginning is kept');
is(query('SELECT count(*) FROM streamcount.problems'), '0', 'nothing needs a person');

# ---------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------

query(q{
	CREATE FOREIGN TABLE lines (line text, o bigint OPTIONS (metadata 'offset'))
		SERVER streamcount OPTIONS (topic 'lines', format 'text')});
$kafka->create_topic('lines', 1);
query(q{SELECT streamcount.create_rollup('lengths', 'SELECT length(line) AS grp, count(*) AS n FROM lines GROUP BY 1')});
query(q{SELECT streamcount.create_rollup('line_tags', 'SELECT tag AS grp, count(*) AS n
	FROM lines, streamcount.hashtags(line) AS tag GROUP BY 1')});

sub line
{
	my ($value, $length, $tags) = @_;

	return { value => $value, verdicts => { lengths => $length, line_tags => $tags // [] } };
}

my @lines = map { (line('a #good line', 12, '#good'), $_) } (
	line('', 0), line(undef, 'NULL'), line('{"not": "parsed"', 16), line("\xc3\xa4", 1),
	line('x' x (10 * 1024 * 1024), 10 * 1024 * 1024),
	line("#$tag", 100_001, ['54000']), line("#$noise", 1 + length $noise, ['54000']),
	map({ { value => $_, verdicts => {}, all => ['22021'] } }
		"\0", "a\0b", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\xe4"));
$_->{verdicts}{lengths} //= $_->{all}, $_->{verdicts}{line_tags} //= $_->{all} foreach @lines;
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.progress
	WHERE topic = 'lines' AND state IN ('idle', 'running') AND checked_at IS NOT NULL}, 2);
$pids = worker_pids();
$verdicts->produce('lines', 1, \@lines);
$verdicts->check($_, 'lines', 1, \@lines) foreach qw(lengths line_tags);
is(worker_pids(), $pids, 'text: the worker has lived through all of it');

is($node->log_count(qr/PANIC|FATAL|was terminated by signal|(?<!streamcount )worker.*exit/), 0,
	'no process has died');

$node->stop('fast');
$kafka->stop;
done_testing();
