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

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub rejects_of
{
	my ($rollup) = @_;

	return query(qq{
		SELECT concat_ws(' ', partition, "offset", sqlstate, coalesce("column", '-'),
			coalesce(md5(payload), 'none'), coalesce(md5(key), 'none'))
		FROM streamcount.rejects WHERE rollup = '$rollup'::regclass ORDER BY partition, "offset"});
}

# What is in a rollup's books, and what must be: every message is somewhere.
sub books_balance
{
	my ($rollup) = @_;

	return query(qq{
		SELECT coalesce(string_agg(format('partition %s: %s to %s, but %s + %s + %s; %s rejects',
			p.partition, start_offset, next_offset, counted, filtered, rejected, r.n), E'\n'), '')
		FROM streamcount.progress p, LATERAL (SELECT count(*) AS n FROM streamcount.rejects r
			WHERE r.rollup = p.rollup AND r.partition = p.partition) r
		WHERE p.rollup = '$rollup'::regclass
			AND (next_offset - start_offset <> counted + filtered + rejected OR r.n <> rejected)});
}

sub md5_or_none
{
	my ($bytes) = @_;

	return 'none' unless defined $bytes;
	utf8::encode($bytes) if utf8::is_utf8($bytes);
	return md5_hex(substr $bytes, 0, $kept);
}

# Messages go over the partitions in turn; what they are worth to each rollup
# is a group, or the SQLSTATE and the column of the reject.
#
# { value, key, verdicts => { rollup => group or [sqlstate, column] } }
sub produce
{
	my ($topic, $partitions, $messages) = @_;
	my $i = 0;

	$kafka->produce_messages($topic,
		[ map { { %$_, partition => $i++ % $partitions } } @$messages ]);
	return;
}

sub check_rollup
{
	my ($rollup, $topic, $partitions, $messages) = @_;
	my (%groups, @rejects);
	my $i = 0;

	foreach my $m (@$messages)
	{
		my ($partition, $offset) = ($i % $partitions, int($i / $partitions));
		my $verdict = $m->{verdicts}{$rollup} // $m->{all};

		$i++;
		next if ref $verdict && !@$verdict;
		if (ref $verdict)
		{
			my ($sqlstate, $column) = @$verdict;

			push @rejects, [ $partition, $offset, "$sqlstate " . ($column // '-') . ' '
				  . md5_or_none($m->{value}) . ' ' . md5_or_none($m->{key}) ];
			next;
		}
		$groups{$verdict}++;
	}
	my $expected = join "\n", map { "@$_" }
	  sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @rejects;

	$node->wait_for_rollup($kafka, $topic, name => $rollup, timeout => 60);
	is(query(qq{SELECT line COLLATE "C" FROM (SELECT coalesce(grp::text, 'NULL') || '|' || n AS line
			FROM $rollup) AS l ORDER BY 1}),
		join("\n", sort map { "$_|$groups{$_}" } keys %groups),
		"$rollup: good messages are counted exactly");
	is(rejects_of($rollup), $expected, "$rollup: all others are rejects, each with its reason");
	is(books_balance($rollup), '', "$rollup: the books balance");
	return;
}

sub worker_pids
{
	return join ' ', $node->pids_of('worker');
}

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
produce('events', 2, \@messages);
check_rollup($_, 'events', 2, \@messages) foreach @names;
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
produce('lines', 1, \@lines);
check_rollup($_, 'lines', 1, \@lines) foreach qw(lengths line_tags);
is(worker_pids(), $pids, 'text: the worker has lived through all of it');

# ---------------------------------------------------------------------
# Careful mode: the query itself fails on some messages
# ---------------------------------------------------------------------

query(q{
	CREATE FUNCTION picky(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF $1 = 'stop' THEN
			RAISE EXCEPTION 'no % here', $1 USING DETAIL = 'It was asked for.';
		END IF;
		RETURN $1;
	END $$;
	CREATE DOMAIN small AS integer CHECK (VALUE < 100);
	CREATE FOREIGN TABLE orders (item text, price integer, note text)
		SERVER streamcount OPTIONS (topic 'orders')});

my %careful = (
	quotients => q{SELECT 100 / price AS grp, count(*) AS n FROM orders GROUP BY 1},
	sums => q{SELECT item AS grp, sum(100 / price) AS s, count(*) AS n FROM orders GROUP BY 1},
	wheres => q{SELECT item AS grp, count(*) AS n FROM orders WHERE note::integer >= 0 GROUP BY 1},
	domains => q{SELECT price::small AS grp, count(*) AS n FROM orders GROUP BY 1},
	filters => q{SELECT item AS grp, count(*) FILTER (WHERE note::integer > 0) AS f, count(*) AS n FROM orders GROUP BY 1},
	raises => q{SELECT picky(item) AS grp, count(*) AS n FROM orders GROUP BY 1},
	plain => q{SELECT item AS grp, count(*) AS n FROM orders GROUP BY 1});
my @careful = sort keys %careful;
my @orders;

# One in 20 is bad, some of them in two ways.
srand 17;
foreach my $i (1 .. 20_000)
{
	my %o = (item => 'i' . int(rand 50), price => 1 + int(rand 90), note => int(rand 1000));
	my %bad;

	if ($i % 20 == 7)
	{
		my $way = int(rand 6);

		$o{price} = 0, $bad{quotients} = $bad{sums} = ['22012'] if $way == 0 || $way == 5;
		$o{note} = 'x', $bad{wheres} = $bad{filters} = ['22P02'] if $way == 1 || $way == 5;
		$o{price} = 100 + int(rand 9), $bad{domains} = ['23514'] if $way == 2;
		$o{item} = 'stop', $bad{raises} = ['P0001'] if $way == 3;
		$bad{$_} = ['22P02'] foreach $way == 4 ? @careful : ();
	}
	my $value = "{\"item\": \"$o{item}\", \"price\": $o{price}, \"note\": \"$o{note}\"";
	push @orders,
	  {
		value => $value . ($bad{plain} ? '' : '}'),
		verdicts => {
			(map { $_ => $o{item} } qw(sums wheres filters raises plain)),
			quotients => $o{price} ? int(100 / $o{price}) : 0,
			domains => $o{price},
			%bad
		}
	  };
}
$kafka->create_topic('orders', 4);
query("SELECT streamcount.create_rollup('$_', \$\$ $careful{$_} \$\$)") foreach @careful;
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.progress
	WHERE topic = 'orders' AND state IN ('idle', 'running') AND checked_at IS NOT NULL}, 4 * @careful);
$pids = worker_pids();

# Nobody else takes transaction ids: those that are asked for here take one.
my $flushes = q{SELECT sum(flushes) FROM streamcount.stat_workers};
my $before = query($flushes);
my $xid = query('SELECT pg_current_xact_id()');
$begin = time;
produce('orders', 4, \@orders);
note sprintf 'produced after %.1f s', time - $begin;
$node->wait_for_rollup($kafka, 'orders', name => $_, timeout => 60) foreach @careful;
my $took = time - $begin;
my $xids = query('SELECT pg_current_xact_id()') - $xid;
my $flushed = query($flushes) - $before;
check_rollup($_, 'orders', 4, \@orders) foreach @careful;
is(worker_pids(), $pids, 'careful mode: the worker has lived through all of it');
note sprintf '20,000 messages, 5 %% bad, %d rollups: %.1f s, %d flushes, %d transaction ids',
  scalar @careful, $took, $flushed, $xids;
cmp_ok($took, '<', 20, 'in seconds');

# A flush that fails in every rollup's merge is begun as often, and once more.
cmp_ok($xids, '<=', 1 + $flushed * (1 + 3 * @careful), 'P33: the search takes no transaction ids');
is(query(q{SELECT DISTINCT sqlstate, reason, detail FROM streamcount.rejects
	WHERE rollup = 'raises'::regclass AND sqlstate = 'P0001'}),
	'P0001|no stop here|It was asked for.', 'what RAISE said is in the reject');

# ---------------------------------------------------------------------
# What is not the message's fault halts, and rejects nothing
# ---------------------------------------------------------------------

query(q{
	CREATE FUNCTION half_gone(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF $1 = 'stop' THEN
			RAISE EXCEPTION 'no % here', $1;
		ELSIF $1 = 'missing' THEN
			RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = 'a table is missing';
		END IF;
		RETURN $1;
	END $$;
	-- It lies about being stable: its first call fails, and no other one.
	CREATE SEQUENCE calls_of_moody;
	CREATE FUNCTION moody(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF nextval('calls_of_moody') = 1 THEN
			RAISE EXCEPTION 'not yet';
		END IF;
		RETURN $1;
	END $$;
	CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'not today';
	END $$;
	CREATE FOREIGN TABLE calls (who text) SERVER streamcount OPTIONS (topic 'calls')});
$kafka->create_topic('calls', 1);
my %halting = (
	checked => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	triggered => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	broken => 'SELECT half_gone(who) AS grp, count(*) AS n FROM calls GROUP BY 1',
	healthy => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	changing => 'SELECT moody(who) AS grp, count(*) AS n FROM calls GROUP BY 1');
foreach my $name (sort keys %halting)
{
	query("SELECT streamcount.create_rollup('$name', '$halting{$name}')");
}
query(q{
	ALTER TABLE checked_data ADD CHECK (n < 3);
	CREATE TRIGGER forbid BEFORE INSERT ON triggered_data FOR EACH ROW
		WHEN (NEW.grp = 'b') EXECUTE FUNCTION forbid()});
my @calls = map { { value => "{\"who\": \"$_\"}" } } qw(a stop b a missing a);

produce('calls', 1, \@calls);
$node->wait_for_rollup($kafka, 'calls', name => 'healthy');
$node->wait_for_sql(q{SELECT rollup, state, split_part(reason, ':', 1) FROM streamcount.rollups
	WHERE rollup::text IN ('checked', 'triggered', 'broken', 'healthy') ORDER BY rollup::text},
	qr/^broken\|halted\|42P01\nchecked\|halted\|23514\nhealthy\|(idle|running)\|\ntriggered\|halted\|P0001$/);
pass('P11: a constraint, a trigger and a missing table halt their rollups');
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE stream = 'calls'::regclass}), '0',
	'P11: and reject nothing');
is(query(q{SELECT grp, n FROM healthy ORDER BY 1}), "a|3\nb|1\nmissing|1\nstop|1",
	'a rollup beside them counts');
$node->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup = 'changing'::regclass}, qr/^(idle|halted)$/);
is(query('SELECT grp, n FROM changing ORDER BY 1'), query('SELECT grp, n FROM healthy ORDER BY 1'),
	'a query that fails once, and on no message when that is looked for, is tried again');
is(query('SELECT last_value > 1 FROM calls_of_moody'), 't', '(it failed, and was called again)');
is(query(q{SELECT count(*) FROM streamcount.problems WHERE statement LIKE 'SELECT streamcount.resume(%'}),
	'3', 'streamcount.problems says what to type');

query(q{
	ALTER TABLE checked_data DROP CONSTRAINT checked_data_n_check;
	DROP TRIGGER forbid ON triggered_data;
	CREATE OR REPLACE FUNCTION half_gone(text) RETURNS text LANGUAGE sql STABLE
		AS 'SELECT public.picky($1)'});
query("SELECT streamcount.resume('$_')") foreach qw(checked triggered broken);
$node->wait_for_rollup($kafka, 'calls', name => $_) foreach qw(checked triggered broken);
is(query("SELECT grp, n FROM $_ ORDER BY 1"), "a|3\nb|1\nmissing|1\nstop|1", "P11: $_ goes on after resume()")
  foreach qw(checked triggered);
is(query(q{SELECT grp, n FROM broken ORDER BY 1}), "a|3\nb|1\nmissing|1",
	'broken goes on after resume()');
is(query(q{SELECT "offset", sqlstate FROM streamcount.rejects WHERE stream = 'calls'::regclass}),
	'1|P0001', 'with the one reject that is due');
is(books_balance($_), '', "$_: the books balance") foreach qw(checked triggered broken);

is($node->log_count(qr/PANIC|FATAL|was terminated by signal|(?<!streamcount )worker.*exit/), 0,
	'no process has died');

$node->stop('fast');
$kafka->stop;
done_testing();
