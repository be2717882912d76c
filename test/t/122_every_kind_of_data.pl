# What a producer may send, kind by kind: each message is counted or rejected
# for a reason, alone, and both ways are of one mind about it.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Digest::MD5 qw(md5_hex);
use Encode;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "streamcount.flush_interval = '5ms'\nlog_statement = none\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;

sub query
{
	my ($sql, $database) = @_;

	utf8::encode($sql) if utf8::is_utf8($sql);
	return decode('UTF-8', $node->safe_psql($database // 'postgres', $sql));
}

query('CREATE EXTENSION streamcount');
$kafka->create_topic('things', 1);

# One stream and one worker for each way.  The key of a message is the kind that
# it belongs to.  The session's time zone is the rollups': one for each way.
my %zone = (tally => 'UTC', executor => 'America/New_York');
my @ways = sort keys %zone;
my %select = (
	tags => 'SELECT k, hashtag AS what, count(*) AS n FROM %s, streamcount.hashtags(text) AS hashtag GROUP BY k, hashtag',
	lengths => 'SELECT k, length(text) AS what, count(*) AS n FROM %s GROUP BY k, length(text)',
	windows => q{SELECT k, w.interval AS what, count(*) AS n FROM %s, streamcount.windows(at, '{hour,day,ALL}') AS w
		WHERE at IS NOT NULL GROUP BY k, w.interval},
	numbers => 'SELECT k, huge AS what, sum(n) AS n FROM %s WHERE n IS NOT NULL GROUP BY k, huge',
	anybody => 'SELECT hashtag AS what, count(*) AS n FROM %s, streamcount.hashtags(text) AS hashtag GROUP BY hashtag');

foreach my $way (@ways)
{
	query(qq{
		CREATE FOREIGN TABLE things_$way (k text OPTIONS (metadata 'key'), text text, at timestamptz, n bigint, huge numeric)
			SERVER streamcount OPTIONS (topic 'things')});
	foreach my $name (sort keys %select)
	{
		query("SET TimeZone = '$zone{$way}'; SET streamcount.way = '$way';
			SELECT streamcount.create_rollup('${name}_$way', \$\$ " . sprintf($select{$name}, "things_$way") . ' $$)');
	}
}

sub wait_for_all
{
	foreach my $way (@ways)
	{
		$node->wait_for_rollup($kafka, 'things', name => "${_}_$way") foreach sort keys %select;
	}
	return;
}

# A kind is its name, payloads (or whole messages) and what must be found:
# rows "what|n" of rollups, and rejects "sqlstate|n".
my @kinds;

sub kind
{
	my ($name, $payloads, %expected) = @_;

	push @kinds, {
		name => $name,
		messages => [ map { { partition => 0, key => $name, ref ? %$_ : (value => $_) } } @$payloads ],
		expected => \%expected
	};
	return;
}

sub text_of { return map { "{\"text\": \"$_\"}" } @_ }

# Bytes that no compression shortens
my $noise = substr join('', map { md5_hex($_) } 1 .. 90), 0, 2700;

kind('D1: a tombstone has NULL in its columns, an empty payload is none',
	[ undef, '' ], lengths => ['NULL|1'], tags => [], rejects => ['22P02|1']);
kind('D2: keys and headers of any size and number are no matter', [
		{ key => undef, value => text_of('#d2') }, { key => '', value => text_of('#d2') },
		{ key => 'k' x 1_000_000, value => text_of('#d2') }, { key => "\0\xff", value => text_of('#d2') },
		{ value => text_of('#d2'), headers => [ map { ("h$_", $_ % 3 ? "\xff\0" x $_ : undef) } 1 .. 29 ] } ],
	anybody => ['#d2|5']);
kind('D6: a late message is counted into its window',
	[ map { "{\"at\": \"$_\"}" } '2014-09-21T10:00:00Z', '2014-09-19T09:30:00Z', '2014-09-21T10:59:59Z' ],
	windows => [ '2014-09-19T09|1', '2014-09-19|1', '2014-09-21T10|2', '2014-09-21|2', 'ALL|3' ]);
kind('D7: bytes that are not UTF-8 are rejected',
	[ text_of(map({ encode('UTF-8', '#good ') . $_ } "\xff", "\xc0\x80", "\xe0\x80\xaf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82",
			"\xf4\x90\x80\x80", "\xf0\x9f\x98", "\x80", "\xc3"), '#good') ],
	tags => ['#good|1'], rejects => ['22021|10']);
kind('D8: a byte NUL is rejected',
	[ "\0", text_of("#good \0"), text_of('#good \u0000'), text_of('#good') . "\0", text_of('#good') ],
	tags => ['#good|1'], rejects => [ '22021|3', '22P05|1' ]);
kind('D9: half a surrogate pair is rejected, a whole one is a character',
	[ text_of('#good \ud800', '#good \udc00', '#good \ud800\u0041', '#good \udc00\ud800', '#good\ud83d\ude00', '#\ud840\udc00') ],
	tags => [ '#good|1', '#𠀀|1' ], rejects => ['22P02|4']);
kind('D10: what is no JSON is rejected', [
		'{', '}', '{"text": "#good"', '{"text": "#good",}', "{'text': 1}", '{"text": "#good"} {}', 'nonsense', '{"text": #good}',
		'{"text": "#good\\x"}', "{\"text\": \"#good\x01\"}", '{"text": 01}', '{"text": .5}', '{"text": +1}', '{"text": tru}', text_of('#good') ],
	tags => ['#good|1'], rejects => ['22P02|14']);
kind('D11: what is nested too deep is rejected',
	[ '[' x 100_000 . ']' x 100_000, '{"a":' x 100_000 . '1' . '}' x 100_000, '[' x 100_000, text_of('#good') ],
	tags => ['#good|1'], rejects => ['54001|3']);
kind('D12: of members with one name the last counts, numbers may be long, a byte order mark is no JSON',
	[ '{"text": "#first", "text": "#last"}', "\xef\xbb\xbf" . (text_of('#good'))[0], '{"n": 9223372036854775807, "huge": 1e400}',
		'{"n": 1, "huge": ' . '9' x 300 . '}' ],
	tags => ['#last|1'], numbers => [ '1' . '0' x 400 . '|9223372036854775807', '9' x 300 . '|1' ], rejects => ['22P02|1']);
kind('D13: a hashtag that is too long for an index is rejected',
	[ text_of("#$noise", '#' . 'a' x 100_000, '#' . 'y' x 1900, '#good') ],
	tags => [ '#good|1', '#' . 'y' x 1900 . '|1' ], lengths => [ '2701|1', '100001|1', '1901|1', '5|1' ], rejects => ['54000|2']);
kind('D15: a hashtag counts each time that it occurs, in one message and in several',
	[ text_of('#a #A #a', '#a', '#a #b') ], tags => [ '#a|5', '#b|1' ]);
kind('D17: composed and decomposed are two hashtags, emoji end one, the full-width sign is the sign',
	[ map { encode 'UTF-8', $_ } text_of("#caf\x{e9}", "#cafe\x{301}", "#a\x{1F468}\x{200D}\x{1F469}", "\x{FF03}wide") ],
	tags => [ "#caf\x{e9}|1", "#cafe\x{301}|1", '#a|1', '#wide|1' ]);
kind('D21: windows are of UTC, whatever the session\'s time zone',
	[ map { "{\"at\": \"$_\"}" } '2014-03-09T06:59:59Z', '2014-03-09T07:00:00Z', '2014-11-02T05:30:00Z', '2014-11-02T06:30:00Z',
		'2014-11-02T01:30:00-04:00', '2014-11-02T01:30:00' ],
	windows => [ '2014-03-09T06|1', '2014-03-09T07|1', '2014-03-09|2', '2014-11-02T01|1', '2014-11-02T05|2', '2014-11-02T06|1',
		'2014-11-02|4', 'ALL|6' ]);
kind('D22: what a producer sends twice is counted twice', [ (text_of('#twice')) x 2 ], tags => ['#twice|2']);

# What a rollup holds of a kind, sorted
sub rows_of
{
	my ($rollup, $kind) = @_;
	my $key = $rollup =~ /^anybody/ ? "what = '#d2'" : "k = '" . $kind->{name} =~ s/'/''/gr . "'";

	return [ sort split /\n/, query(qq{SELECT coalesce(what::text, 'NULL') || '|' || n FROM $rollup WHERE $key}) ];
}

sub rejects_of
{
	my ($rollup, $kind) = @_;
	my $key = $kind->{name} =~ s/'/''/gr;

	return [ split /\n/, query(qq{SELECT sqlstate || '|' || count(*) FROM streamcount.rejects
		WHERE rollup = '$rollup'::regclass AND key = convert_to('$key', 'UTF8') GROUP BY sqlstate ORDER BY 1}) ];
}

$kafka->produce_messages('things', [ map { @{ $_->{messages} } } @kinds ]);
wait_for_all();
foreach my $kind (@kinds)
{
	my %expected = %{ $kind->{expected} };
	my $rejects = delete $expected{rejects};

	# All that the kind is to show, in one assertion
	my (%found, %wanted);
	foreach my $way (@ways)
	{
		foreach my $rollup (sort keys %expected)
		{
			$found{"${rollup}_$way"} = rows_of("${rollup}_$way", $kind);
			$wanted{"${rollup}_$way"} = [ sort @{ $expected{$rollup} } ];
		}
		next unless $rejects;
		$found{"rejects by the $way"} = rejects_of("tags_$way", $kind);
		$wanted{"rejects by the $way"} = $rejects;
	}
	is_deeply(\%found, \%wanted, $kind->{name});
}

# However late
my ($late) = grep { $_->{name} =~ /^D6/ } @kinds;
$kafka->produce_messages('things', [ $late->{messages}[1] ]);
wait_for_all();
foreach my $way (@ways)
{
	is_deeply(rows_of("windows_$way", $late),
		[ sort '2014-09-19T09|2', '2014-09-19|2', '2014-09-21T10|2', '2014-09-21|2', 'ALL|4' ],
		"D6: a message that comes after all others, too, by the $way");
}
is(query(q{SELECT count(*) FROM streamcount.progress WHERE next_offset - start_offset <> counted + filtered + rejected}), '0',
	'every message is in the books');
is(query('SELECT count(*) FROM streamcount.problems'), '0', 'nothing needs a person');

# ---------------------------------------------------------------------
# A count that is full
# ---------------------------------------------------------------------

foreach my $way (@ways)
{
	query("UPDATE anybody_${way}_data SET n = 9223372036854775806 WHERE what = '#d2'");
}
$kafka->produce_values('things', [ text_of('#other', '#d2', '#d2', '#d2') ], 1);
foreach my $way (@ways)
{
	$node->wait_for_sql(qq{SELECT state, reason FROM streamcount.rollups WHERE rollup = 'anybody_$way'::regclass},
		qr/^halted\|22003: bigint out of range/);
	pass("D20: a count beyond bigint halts, by the $way");
	cmp_ok(query("SELECT n FROM anybody_$way WHERE what = '#d2'"), '>=', '9223372036854775806', 'and what was counted stays');
	is(query(qq{SELECT count(*) FROM streamcount.problems WHERE rollup = 'anybody_$way'::regclass
		AND statement LIKE 'SELECT streamcount.resume(%'}), '1', 'problems says what to type');
	$node->wait_for_rollup($kafka, 'things', name => "tags_$way");
	my $before = query("SELECT 5 - n + 9223372036854775806 FROM anybody_$way WHERE what = '#d2'");
	query("UPDATE anybody_${way}_data SET n = n - 9223372036854775801 WHERE what = '#d2';
		SELECT streamcount.resume('anybody_$way')");
	$node->wait_for_rollup($kafka, 'things', name => "anybody_$way");
	is(query("SELECT what, n FROM anybody_$way WHERE what IN ('#d2', '#other') ORDER BY 1"), "#d2|8\n#other|1",
		"D20: repaired and resumed, it has counted exactly, by the $way");
}

# ---------------------------------------------------------------------
# Locales and encodings
# ---------------------------------------------------------------------

my $upper = '#I #İ #ı #ΣΊΣΥΦΟΣ #ΣΑΣ #STRASSE #STRAßE #ẞ #ÇĞÖŞÜ #ǅ #ÅNGSTRÖM #ДОМ #İSTANBUL';
my $folded = "SELECT string_agg(encode(convert_to(t, 'UTF8'), 'hex'), ' ') FROM streamcount.hashtags('$upper') AS t";
my $expected = query($folded);
my %locale = (c => "LOCALE 'C'", turkish => "LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C.UTF-8'");

# All that is in the topic, and messages whose members differ in their I alone
$kafka->produce_values('things', [ map { encode 'UTF-8', $_ }
	map { qq({"ID": "TITLE", "İD": "TİTLE", "id": "title", "ıd": "tıtle", "at": "2014-09-21T10:00:00Z", "text": "$_"}) }
	$upper, lc $upper, uc $upper, 'THIS IS İT ı' ], 1);

# What both ways make of it in a database: all rows, and whatever was left out
sub counted_in
{
	my ($name) = @_;
	my %found;

	query(q{CREATE FOREIGN TABLE THINGS ("ID" text, dotted text OPTIONS (PATH 'İD'), ID text, "ıd" text, text text,
		AT timestamptz OPTIONS (TIME_FORMAT 'iso8601', TIME_ZONE 'ASIA/ISTANBUL')) SERVER STREAMCOUNT OPTIONS (TOPIC 'things')}, $name);
	foreach my $way (@ways)
	{
		query(qq{SET streamcount.way = '$way'; SELECT streamcount.create_rollup('TITLES_$way', \$\$
			SELECT "ID" AS capital, dotted, ID, "ıd" AS dotless, hashtag, w.interval, count(*) AS n
			FROM THINGS, streamcount.hashtags(text) AS hashtag, streamcount.windows(AT, '{MINUTE,15 MINUTES,ALL}') AS w
			GROUP BY "ID", dotted, ID, "ıd", hashtag, w.interval \$\$);
			SELECT streamcount.create_rollup('WORDS_$way', \$\$
			SELECT word, count(*) AS n FROM THINGS, streamcount.words(text) AS word GROUP BY word \$\$)}, $name);
	}
	foreach my $way (@ways)
	{
		foreach my $rollup ("titles_$way", "words_$way")
		{
			$node->wait_for_rollup($kafka, 'things', name => $rollup, dbname => $name);
			$found{$rollup} = query(qq{SELECT r::text FROM $rollup AS r ORDER BY r::text COLLATE "C";
				SELECT partition, "offset", sqlstate FROM streamcount.rejects WHERE rollup = '$rollup'::regclass ORDER BY 1, 2}, $name);
		}
	}
	query('DROP FOREIGN TABLE THINGS CASCADE', $name);
	return \%found;
}

my $counted;
foreach my $name (sort keys %locale)
{
	my ($status, undef, $complaint) =
	  $node->psql('postgres', "CREATE DATABASE $name TEMPLATE template0 ENCODING 'UTF8' $locale{$name}");

  SKIP:
	{
		skip "D16: this server has no ICU: $complaint", 2 if $status != 0;
		query('CREATE EXTENSION streamcount', $name);
		is(query($folded, $name), $expected, "D16: hashtags are folded alike in a database whose locale is $name");
		my $here = counted_in($name);
		$counted //= $here;
		is_deeply($here, $counted, "D16: rollups are the same in a database whose locale is $name");
	}
}
like($counted->{"titles_$_"}, qr/^\(TITLE,TİTLE,title,tıtle,#i,2014-09-21T10:00,\d+\)$/m, "D16: each I is its own, by the $_") foreach @ways;
is(query(q{SELECT string_agg(t, ' ') FROM streamcount.hashtags('#I #İ #ΣΑΣ #ẞ') AS t}), '#i #İ #σασ #ß',
	'D16: by Unicode\'s simple folding');

foreach my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $name = lc $encoding;

	query("CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	query('CREATE EXTENSION streamcount', $name);
	my (undef, undef, $complaint) = $node->psql($name,
		"CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 'things');
		 SELECT streamcount.create_rollup('r', 'SELECT t, count(*) FROM s GROUP BY t')");
	like($complaint, qr/UTF8/, "D19: a database of $encoding is refused");
	is(query('SELECT count(*) FROM streamcount.rollups', $name), '0', 'and has no rollup');
}

$node->stop('fast');
$kafka->stop;
done_testing();
