# Naughty strings everywhere that a user or a producer may put a text: in
# messages, as names of rollups, streams, columns and roles, as options.  Each
# is itself and nothing else: no SQL, no format, no line of the log.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use JSON::PP;
use PostgreSQL::Test::Utils;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

# Rollups that are made and counted, and names that are tried, at a time
my $names = $ENV{STREAMCOUNT_NAMES} // 40;

my $corpus = "$FindBin::RealBin/../../../shared/data/utf8/blns.json";
my @naughty = (
	q[Robert'); DROP TABLE witness; --], q("; DROP TABLE witness; --), q($$; DROP TABLE witness; $$), q(%s%n%I%L%%),
	q(\'; DROP TABLE witness), "two\nlines LOG:  forged", "\tLOG:  forged", q(a.b.c), q("), q(""), q('), q(\\), q[{"a": 1}],
	"\x{202e}right to left", "\x{1F468}\x{200D}\x{1F469}\x{200D}\x{1F467}", "\x{feff}", 'null', 'NULL', 'pg_catalog.now()',
	'-1', 'true', ' ', 'x' x 300, "\x{e9}" x 40, "\x{1F4A9}" x 20, '${jndi:ldap://127.0.0.1/a}', "\x01\x02\x7f", 'streamcount');

SKIP:
{
	skip "D18: $corpus is not there", 1 unless -f $corpus;
	my $strings = JSON::PP->new->utf8->decode(slurp_file($corpus));

	push @naughty, @$strings;
	pass('D18: ' . @$strings . ' naughty strings');
}

my $mock = StreamCount::Mock->new->start;
my $node = StreamCount::Node->new('naughty');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_min_error_statement = panic\nlog_line_prefix = 'line '\n"
	  . "streamcount.reject_payload_limit = '1MB'\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount; CREATE TABLE witness ()');

my $json = JSON::PP->new->utf8;

# Load texts into a table, one a row
sub load
{
	my ($table, @texts) = @_;
	my $file = $node->basedir . '/texts';
	my %seen;

	open my $out, '>:raw', $file or die $!;
	print $out map {
		my $line = s/\\/\\\\/gr =~ s/\t/\\t/gr =~ s/\n/\\n/gr =~ s/\r/\\r/gr;
		utf8::encode($line);
		"$line\n"
	} grep { !$seen{$_}++ } @texts;
	close $out or die $!;
	$node->safe_psql('postgres', "CREATE TABLE $table (id serial, s text COLLATE \"C\"); COPY $table (s) FROM '$file'");
	return;
}

load('naughty', @naughty);

# ---------------------------------------------------------------------
# In messages
# ---------------------------------------------------------------------

$mock->create_topic('naughty', 1);
$mock->produce_messages('naughty', [ map {
	my ($s, $key) = ($_, $_);
	utf8::encode($key);
	{ partition => 0, key => $key, value => $json->encode({ word => $s, n => $s, $s => $s }) } } @naughty ]);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE said (word text, n integer, who text OPTIONS (metadata 'key'))
		SERVER streamcount OPTIONS (topic 'naughty', reject_limit '0');
	SET streamcount.way = 'tally';
	SELECT streamcount.create_rollup('words', 'SELECT word, count(*) AS n FROM said GROUP BY word');
	SELECT streamcount.create_rollup('tags', 'SELECT tag, count(*) AS n FROM said, streamcount.hashtags(word) AS tag GROUP BY tag');
	SET streamcount.way = 'executor';
	SELECT streamcount.create_rollup('slow_words', 'SELECT word, count(*) AS n FROM said GROUP BY word');
	SELECT streamcount.create_rollup('slow_tags', 'SELECT tag, count(*) AS n FROM said, streamcount.hashtags(word) AS tag GROUP BY tag');
	SELECT streamcount.create_rollup('numbers', 'SELECT who, sum(n) AS n FROM said GROUP BY who');});

my %times;
$times{$_}++ foreach @naughty;
$node->wait_for_sql("SELECT bool_and(next_offset = @{[ scalar @naughty ]}) AND count(*) = 5 FROM streamcount.progress", 't');
my $expected = join '', map { JSON::PP->new->utf8->canonical->encode([ $_, $times{$_} ]) . "\n" } sort keys %times;
foreach my $rollup (qw(words slow_words))
{
	my @rows = map { @{ $json->decode($_) } } split /\n/,
	  $node->safe_psql('postgres', "SELECT jsonb_build_array(word, n) FROM $rollup");
	my %counted = @rows;

	is_deeply(\%counted, \%times, "D18: every text is counted as itself ($rollup)");
}
is($node->safe_psql('postgres', '(TABLE tags EXCEPT ALL TABLE slow_tags) UNION ALL (TABLE slow_tags EXCEPT ALL TABLE tags)'), '',
	'D18: and its hashtags by both ways');
is($node->safe_psql('postgres', q{SELECT sum(counted + rejected), count(DISTINCT state) FROM streamcount.progress
	WHERE rollup = 'numbers'::regclass}), scalar(@naughty) . '|1', 'D18: what is no number is rejected');
is($node->safe_psql('postgres', q{SELECT sqlstate, reason FROM streamcount.rejects
	WHERE reason NOT LIKE 'invalid input syntax for type integer: %' AND reason NOT LIKE 'value % is out of range for type integer'}),
	'', 'D18: with a reason that quotes it');

# ---------------------------------------------------------------------
# As names
# ---------------------------------------------------------------------

# 63 bytes of each, as an identifier is cut
$node->safe_psql('postgres', q{
	CREATE TABLE names AS SELECT DISTINCT ON (name) id, s, name FROM (SELECT id, s, s::name AS name FROM naughty) x
		WHERE name <> '' ORDER BY name, id;
	CREATE TABLE failures (what text, name name, said text);
	CREATE PROCEDURE attempt(what text, name name, command text) LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO failures VALUES (what, name, SQLSTATE || ' ' || SQLERRM);
	END $$});

# Each as the name of a column, and of the member that it reads
is($node->safe_psql('postgres', q{
	SET client_min_messages = error;
	DO $$
	DECLARE
		n record;
		rows bigint;
	BEGIN
		FOR n IN SELECT * FROM names WHERE octet_length(s) < 64 LOOP
			BEGIN
				EXECUTE format('CREATE FOREIGN TABLE columns (%I text) SERVER streamcount OPTIONS (topic %L)', n.name, 'naughty');
				DROP FOREIGN TABLE columns;
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO failures VALUES ('column', n.name, SQLSTATE || ' ' || SQLERRM);
			END;
		END LOOP;
	END $$;
	SELECT count(*) FROM failures}), '0', 'D18: a column may have any name');

# Each as a topic and as a path: taken as it is, or refused with itself quoted
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FOREIGN TABLE options (word text) SERVER streamcount OPTIONS (topic 't');
	TRUNCATE failures;
	DO $$
	DECLARE
		n record;
	BEGIN
		FOR n IN SELECT * FROM naughty LOOP
			CALL attempt('topic', n.id::text::name, format('ALTER FOREIGN TABLE options OPTIONS (SET topic %L)', n.s));
			CALL attempt('path', n.id::text::name, format('ALTER FOREIGN TABLE options ALTER word OPTIONS (ADD path %L)', n.s));
			CALL attempt('drop', n.id::text::name, 'ALTER FOREIGN TABLE options ALTER word OPTIONS (DROP path)');
			CALL attempt('start', n.id::text::name, format('ALTER FOREIGN TABLE options OPTIONS (ADD start %L)', n.s));
			CALL attempt('drop', n.id::text::name, 'ALTER FOREIGN TABLE options OPTIONS (DROP start)');
			CALL attempt('server', n.id::text::name, format('CREATE SERVER other FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" %L)', n.s));
			CALL attempt('drop', n.id::text::name, 'DROP SERVER other');
		END LOOP;
	END $$});
is($node->safe_psql('postgres', q{
	SELECT n.s FROM naughty n LEFT JOIN failures f ON f.what = 'topic' AND f.name = n.id::text::name
	WHERE (f.what IS NULL) <> (n.s ~ '^[-A-Za-z0-9._]{1,249}$' AND n.s NOT IN ('.', '..'))
		OR f.said <> 'HV024 invalid value for option "topic": "' || n.s || '"'}), '', 'D18: a topic has a name that Kafka allows');
is($node->safe_psql('postgres', q{
	SELECT f.said FROM failures f WHERE what IN ('path', 'start', 'server')
		AND f.said !~ '^(HV024|22007|22008|22P02|22021|22023|22003|2202E|22009) '}), '', 'D18: bad options are refused as such');

# Each as a rollup of a role of that name
$node->safe_psql('postgres', qq{
	SET client_min_messages = error;
	TRUNCATE failures;
	CREATE TABLE chosen AS SELECT * FROM names WHERE name::text !~ '^(pg_|public\$|none\$)' ORDER BY (name::text ~ '[''";\\\\\$%]') DESC, md5(name::text) LIMIT $names;
	GRANT EXECUTE ON FUNCTION streamcount.create_rollup TO PUBLIC;
	GRANT CREATE ON SCHEMA public TO PUBLIC;
	GRANT SELECT ON said TO PUBLIC;
	DO \$\$
	DECLARE
		n record;
	BEGIN
		FOR n IN SELECT * FROM chosen LOOP
			EXECUTE format('CREATE ROLE %I', n.name);
			EXECUTE format('SET ROLE %I', n.name);
			PERFORM streamcount.create_rollup(quote_ident(n.name),
				format('SELECT word AS %I, count(*) AS n FROM said GROUP BY word', CASE WHEN n.name = 'n' THEN 'word' ELSE n.name END), paused => true);
			RESET ROLE;
		END LOOP;
	END \$\$});
is($node->safe_psql('postgres', q{SELECT count(*) FROM chosen c JOIN pg_class r ON r.relname = c.name AND r.relkind = 'v'
	JOIN pg_roles o ON o.oid = r.relowner AND o.rolname = c.name JOIN streamcount.rollups s ON s.rollup = r.oid AND s.owner = c.name}),
	$names, 'D18: rollups of such names, by roles of such names');
is($node->safe_psql('postgres', q{
	SET client_min_messages = error;
	DO $$
	DECLARE
		n record;
	BEGIN
		FOR n IN SELECT * FROM chosen LOOP
			PERFORM streamcount.resume(quote_ident(n.name)::regclass);
		END LOOP;
	END $$}), '', 'D18: begin');
$node->wait_for_sql(q{SELECT count(*) FROM chosen c JOIN streamcount.progress p ON p.rollup = quote_ident(c.name)::regclass
	WHERE p.next_offset = } . scalar @naughty, $names);
is($node->safe_psql('postgres', q{
	DO $$
	DECLARE
		n record;
		differences bigint;
	BEGIN
		FOR n IN SELECT * FROM chosen LOOP
			EXECUTE format('SELECT count(*) FROM ((TABLE words EXCEPT ALL TABLE %1$I) UNION ALL (TABLE %1$I EXCEPT ALL TABLE words)) d', n.name)
				INTO differences;
			IF differences <> 0 THEN
				INSERT INTO failures VALUES ('counts', n.name, differences);
			END IF;
		END LOOP;
	END $$;
	SELECT * FROM failures}), '', 'D18: and count exactly');

# What the views say to type
$node->safe_psql('postgres', 'REVOKE SELECT ON said FROM PUBLIC');
$mock->produce('naughty', 0, undef, '{"word": "one more"}');
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.problems p JOIN chosen c ON p.rollup = quote_ident(c.name)::regclass}, $names);
$node->safe_psql('postgres', 'GRANT SELECT ON said TO PUBLIC');
$node->safe_psql('postgres', join '; ', split /\n(?=SELECT)/, $node->safe_psql('postgres',
	q{SELECT statement FROM streamcount.problems WHERE statement IS NOT NULL}));
$node->wait_for_sql(q{SELECT count(*) FROM chosen c JOIN streamcount.progress p ON p.rollup = quote_ident(c.name)::regclass
	WHERE p.next_offset > } . scalar @naughty, $names);
pass('D18: what streamcount.problems says to type can be typed');

# As the text of a name, which is SQL's: nothing or a rollup comes of it
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	TRUNCATE failures;
	DO $$
	DECLARE
		n record;
	BEGIN
		FOR n IN SELECT * FROM naughty ORDER BY id LIMIT 300 LOOP
			CALL attempt('name', n.id::text::name, format('SELECT streamcount.create_rollup(%L, ''SELECT word, count(*) AS n FROM said GROUP BY word'', paused => true)', n.s));
			CALL attempt('query', n.id::text::name, format('SELECT streamcount.create_rollup(''r'', %L)', n.s));
			CALL attempt('start', n.id::text::name, format('SELECT streamcount.create_rollup(''r'', ''SELECT word, count(*) AS n FROM said GROUP BY word'', %L)', n.s));
		END LOOP;
	END $$});
is($node->safe_psql('postgres', q{SELECT said FROM failures WHERE said ~ '^(XX|58|53|57)'}), '', 'D18: no name, query or start is an internal error');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'witness'}), '1', 'D18: the witness lives');

# ---------------------------------------------------------------------
# In the log
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'DROP FOREIGN TABLE said CASCADE');
$node->stop('fast');
is_deeply([ grep { !/^(?:line |\t)/ } split /\n/, slurp_file($node->logfile) ], [], 'D18: every line of the log is the server\'s own');
$mock->stop;
done_testing();
