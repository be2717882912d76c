# A stream reads what PostgreSQL's own jsonb and input functions make of the
# same bytes, and leaves out just what they refuse.  The oracle is a table of
# payloads and a function that casts them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use File::Temp qw(tempdir);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Mock;
use Test::More;

# The mock broker keeps the newest 5 MB of a partition, so it is too small
# for the large payloads.
my $real = !StreamCount::Kafka::missing();

plan skip_all => StreamCount::Mock::missing()
  if !$real && StreamCount::Mock::missing();

my $data = "$FindBin::RealBin/../../../shared/data";
my $broker = $real ? StreamCount::Kafka->new : StreamCount::Mock->new;
$broker->start;

my $node = PostgreSQL::Test::Cluster->new('decode');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf',
	"streamcount.bootstrap_servers = '" . $broker->bootstrap . "'\nclient_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION streamcount;
	CREATE TABLE raw (corpus text, id bigint, payload bytea);
	CREATE FUNCTION judge(payload bytea, path text[], type text,
						  OUT value text, OUT state text) LANGUAGE plpgsql AS $$
	BEGIN
		-- a jsonb column is the member itself
		EXECUTE CASE type WHEN 'jsonb' THEN 'SELECT ($1 #> $2)::text'
						  ELSE format('SELECT (($1 #>> $2)::%s)::text', type) END
			INTO value USING convert_from(payload, 'UTF8')::jsonb, path;
	EXCEPTION WHEN OTHERS THEN
		state := sqlstate;
	END $$;
});

sub slurp
{
	my ($path) = @_;

	open my $in, '<:raw', $path or die "$path: $!";
	local $/;
	return scalar <$in>;
}

# The same bytes into a topic and into the table of the oracle
sub load
{
	my ($corpus, @payloads) = @_;
	my $dir = tempdir(CLEANUP => 1);
	my $id = 0;

	chmod 0755, $dir;
	for my $payload (@payloads)
	{
		open my $out, '>:raw', "$dir/" . $id++ or die $!;
		print $out $payload;
		close $out or die $!;
	}
	$node->safe_psql('postgres', qq{
		INSERT INTO raw SELECT '$corpus', f::bigint, pg_read_binary_file('$dir/' || f)
			FROM pg_ls_dir('$dir') f });
	$broker->create_topic($corpus, 1);
	$broker->produce_messages($corpus, [ map { { partition => 0, value => $_ } } @payloads ]);
	return;
}

# Rows that only the stream, or only the oracle has
sub differences
{
	my ($corpus, $path, $type) = @_;

	return $node->safe_psql('postgres', qq{
		SET timezone = 'UTC';
		DROP FOREIGN TABLE IF EXISTS s;
		CREATE FOREIGN TABLE s (
			id bigint OPTIONS (metadata 'offset'),
			value $type OPTIONS (path '$path')
		) SERVER streamcount OPTIONS (topic '$corpus');
		CREATE TEMP TABLE got AS SELECT id, value::text FROM s;
		CREATE TEMP TABLE wanted AS
			SELECT id, (j).value FROM raw, judge(payload, '$path', '$type') j
			WHERE corpus = '$corpus' AND (j).state IS NULL;
		SELECT 'only in the stream', id, left(value, 100) FROM
			(SELECT * FROM got EXCEPT ALL SELECT * FROM wanted) a
		UNION ALL
		SELECT 'only in the oracle', id, left(value, 100) FROM
			(SELECT * FROM wanted EXCEPT ALL SELECT * FROM got) b
		LIMIT 20 });
}

sub count_good
{
	my ($corpus) = @_;

	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM raw, judge(payload, '{}', 'text') j
			WHERE corpus = '$corpus' AND (j).state IS NULL });
}

SKIP:
{
	my @files = sort glob "$data/json/JSONTestSuite/test_parsing/*.json";

	skip "D9, D10, D12: $data/json/JSONTestSuite is not there", 4 unless @files;
	is(scalar @files, 318, 'all files of JSONTestSuite');
	load('suite', map { slurp($_) } @files);
	is(differences('suite', '{}', 'jsonb'), '', 'D9, D10, D12: JSONTestSuite as jsonb');
	is(differences('suite', '{}', 'text'), '', 'D9, D10, D12: JSONTestSuite as text');

	# What the suite wants of every parser
	my @wrong = map { $files[$_] =~ s{.*/}{}r }
	  split /\n/, $node->safe_psql('postgres', q{
		CREATE FOREIGN TABLE suite_s (id bigint OPTIONS (metadata 'offset'))
			SERVER streamcount OPTIONS (topic 'suite');
		SELECT id FROM suite_s });
	is_deeply([ grep { /^n_/ } @wrong ], [], 'D10: no file is taken that must be refused');
}

SKIP:
{
	my $path = "$data/utf8/blns.json";

	skip "$path is not there", 11 unless -f $path;
	my $strings = JSON::PP->new->utf8->decode(slurp($path));
	my $json = JSON::PP->new->utf8;

	load('blns', map { $json->encode({ s => $_ }) } @$strings);
	for my $type (qw(text integer numeric float8 boolean timestamptz date interval uuid integer[] tstzrange))
	{
		is(differences('blns', '{s}', $type), '', scalar(@$strings) . " naughty strings as $type");
	}
}

# Bytes that no corpus has
load('bytes',
	'', ' ', "\0", "\"\0\"", '"\u0000"', "\xff", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
	"\xef\xbb\xbf{}", '{"a":1,"a":2}', '"\ud83d\ude00"', '"\ud83d"', '1e400', '-0', '1.0', '1e5',
	'123456789012345678901234567890.123456789012345678901234567890',
	'NaN', 'null', 'true', '[]', '{}', '{"a":null}', '[null]', '"null"', '{"":{"":5}}');
is(differences('bytes', '{}', 'jsonb'), '', 'D7, D8, D9: odd bytes as jsonb');
is(differences('bytes', '{}', 'text'), '', 'D7, D8, D9: odd bytes as text');
cmp_ok(count_good('bytes'), '>', 10, 'some of them are good');

# Paths
load('paths',
	'{"a":{"b":{"c":1}}}', '{"a":{"b":[10,20,{"c":3}]}}', '{"a":[{"b":5}]}', '{"a.b":{"c":6}}',
	'{"a":"text"}', '[[1,2],[3,4]]', '"scalar"', '{"a":{"b":null}}', '{"0":"zero","-1":"minus"}');
for my $case (
	[ '{a}', 'jsonb' ], [ '{a,b}', 'jsonb' ], [ '{a,b,c}', 'integer' ], [ '{a,b,2,c}', 'text' ],
	[ '{a,b,-1}', 'text' ], [ '{a,b,7}', 'text' ], [ '{a.b,c}', 'text' ], [ '{0,1}', 'text' ],
	[ '{-1}', 'text' ], [ '{0}', 'text' ], [ '{a,x}', 'text' ], [ '{1x}', 'text' ])
{
	my ($path, $type) = @$case;
	is(differences('paths', $path, $type), '', "path $path as $type");
}

# Large and deep payloads end in a value or in a reject, and the stream goes on.
SKIP:
{
	skip 'D11: the mock broker keeps 5 MB only', 3 unless $real;
	my $long = 10_000_000;

	load('large',
		'"' . 'x' x $long . '"',
		'[' . join(',', (1) x ($long / 2)) . ']',
		'[' x 1000 . ']' x 1000,
		'[' x 100_000 . ']' x 100_000,
		'{"a":' x 100_000 . '1' . '}' x 100_000,
		'[' x $long,
		'{' . join(',', map { "\"k$_\":$_" } 1 .. 300_000) . '}',
		"\xff" x $long,
		'"the last"');
	is(differences('large', '{}', 'jsonb'), '', 'D11: large payloads as jsonb');
	is(differences('large', '{}', 'text'), '', 'D11: large payloads as text');
	is(count_good('large'), 5, 'the good ones among the large');
}

$node->stop;
$broker->stop;
done_testing();
