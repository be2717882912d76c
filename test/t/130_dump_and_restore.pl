# A dump that is taken while messages arrive is restored in another database
# or another cluster, and goes on by itself from exactly where it stood: with
# psql, with pg_restore, side by side, and as a copy by CREATE DATABASE.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $brokers = $kafka->bootstrap;
my $dir = PostgreSQL::Test::Utils::tempdir;

sub new_node
{
	my ($name, %args) = @_;
	my $node = StreamCount::Node->new($name);

	$node->init(
		brokers => $args{brokers} // $brokers,
		conf => "fsync = off\nlog_statement = none\n" . ($args{conf} // ''),
		extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->start;
	return $node;
}

my $node = new_node('first');
my $query = q{
	SELECT hashtag, w.interval, count(*) AS mentions
	FROM tweets, streamcount.hashtags(text) AS hashtag,
	     streamcount.windows(created_at, '{day,ALL}') AS w
	GROUP BY hashtag, w.interval };

$kafka->create_topic('tweets', 3);
$node->safe_psql('postgres', 'CREATE DATABASE origin');
$node->safe_psql('origin', qq{
	CREATE EXTENSION streamcount;
	CREATE SCHEMA "Odd ""name";
	CREATE SERVER brokers FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '$brokers');
	CREATE FOREIGN TABLE "Odd ""name".tweets (text text, created_at timestamptz)
		SERVER brokers OPTIONS (topic 'tweets', reject_limit '0');
	CREATE FOREIGN TABLE tweets (text text, created_at timestamptz)
		SERVER streamcount OPTIONS (topic 'tweets', reject_limit '0');
	SELECT streamcount.create_rollup('hashtags', \$\$ $query \$\$);
	SET search_path = "Odd ""name", public;
	SELECT streamcount.create_rollup('"Hash Tags"', \$\$ $query \$\$)});
my @rollups = ('hashtags', '"Odd ""name"."Hash Tags"');
my $turn = 0;

# Some of these are bad, at any time.
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 400, partitions => 3, seed => 130);

# How far a rollup has come, all partitions together
sub position
{
	my ($on, $db, $rollup) = @_;

	return $on->safe_psql($db, qq{SELECT coalesce(sum(next_offset), 0)
		FROM streamcount.progress WHERE rollup = '$rollup'::regclass});
}

sub wait_for_position
{
	my ($on, $db, $beyond) = @_;

	$on->wait_for_sql(qq{SELECT count(*) FROM (SELECT rollup FROM streamcount.progress
		GROUP BY rollup HAVING sum(next_offset) > $beyond) AS p}, scalar @rollups, dbname => $db, timeout => 60);
	return;
}

# All of what no restore may change: rejects as they were, and where it stood
my $kept = q{
	SELECT rollup, partition, "offset", sqlstate, reason, md5(payload), id FROM streamcount.rejects
	WHERE id <= %d ORDER BY id};

sub books
{
	my ($on, $db) = @_;

	return $on->safe_psql($db, q{
		SELECT string_agg(format('%s %s: %s of %s, %s', p.rollup, p.partition,
			counted + filtered + rejected, next_offset - start_offset, r.n - rejected), E'\n')
		FROM streamcount.progress p, LATERAL (SELECT count(*) AS n FROM streamcount.rejects r
			WHERE r.rollup = p.rollup AND r.partition = p.partition) r
		WHERE counted + filtered + rejected <> next_offset - start_offset OR r.n <> rejected
			OR start_offset <> 0});
}

# It goes on in this database, past where it stands, exactly.  Those that live
# to the end are compared there.
my %compared_later = map { $_ => 1 } qw(plain kept_still pieces parallel twin);

sub goes_on
{
	my ($on, $db, $what, $past) = @_;
	my $rollup = $rollups[ $turn++ % @rollups ];

	wait_for_position($on, $db, $past // position($on, $db, $rollup));
	is($on->differences($kafka, 'tweets', name => $rollup, dbname => $db), '', "P27: $what: $rollup is exact")
	  unless $compared_later{$db};
	is(books($on, $db), '', "P27: $what: the books balance, from the first message on");
	is($on->safe_psql($db, q{SELECT count(*) - count(DISTINCT id) FROM streamcount.rejects}), '0',
		"P27: $what: each reject has an id of its own");
	return;
}

wait_for_position($node, 'origin', 500);
$node->wait_for_sql(q{SELECT count(*) > 3 FROM streamcount.rejects}, 't', dbname => 'origin');
goes_on($node, 'origin', 'origin');

# ---------------------------------------------------------------------
# Into another database, by psql
# ---------------------------------------------------------------------

sub dump_it
{
	my ($file, @options) = @_;

	command_ok([ 'pg_dump', '-d', $node->connstr('origin'), '-f', $file, @options ], "pg_dump @options");
	return;
}

dump_it("$dir/plain.sql");
$node->safe_psql('postgres', 'CREATE DATABASE plain');
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('plain'), '-f', "$dir/plain.sql" ],
	'P27: psql restores it');
goes_on($node, 'plain', 'psql');

# ---------------------------------------------------------------------
# Into another cluster, piece by piece
# ---------------------------------------------------------------------

my $second = new_node('second', brokers => '127.0.0.1:1', conf => "streamcount.enabled = off\n");

dump_it("$dir/custom", '-Fc');

sub restore
{
	my ($db, $name, @options) = @_;

	command_ok([ 'pg_restore', '--exit-on-error', '-d', $second->connstr($db), @options, "$dir/custom" ],
		$name);
	return;
}

# The list of contents, less or only what matches
sub contents
{
	my ($file, $pattern, $only) = @_;
	my ($list) = run_command([ 'pg_restore', '-l', "$dir/custom" ]);

	open my $out, '>', $file or die $!;
	print $out map { "$_\n" } grep { /$pattern/ ? $only : !$only } split /\n/, $list;
	close $out;
	return;
}

my $states = q{SELECT string_agg(DISTINCT state, ' ') FROM streamcount.rollups};

# Everything that counts, in one snapshot: nothing of it may move.
my $all = qq{
	SELECT md5(string_agg(t::text, ';' ORDER BY t::text COLLATE "C")) FROM (
		SELECT h::text FROM hashtags_data AS h
		UNION ALL SELECT h::text FROM "Odd ""name"."Hash Tags_data" AS h
		UNION ALL SELECT p::text FROM streamcount.rollup_progress AS p
		UNION ALL SELECT l.id::text FROM streamcount.left_out_data AS l) AS t};

$second->safe_psql('postgres', 'CREATE DATABASE kept_still');
restore('kept_still', 'pg_restore while streamcount.enabled is off');
my $still = $second->safe_psql('kept_still', $all);
my $rejects = $second->safe_psql('kept_still', 'SELECT max(id) FROM streamcount.rejects');
is($second->safe_psql('kept_still', 'SELECT DISTINCT state, reason FROM streamcount.rollups'),
	'down|streamcount.enabled is off', 'streamcount.enabled = off: the views say why nothing moves');
is($second->safe_psql('kept_still', q{SELECT hint FROM streamcount.problems WHERE rollup::text = 'hashtags'}),
	'The reason says which setting to change.', '... and what to do');
is($second->safe_psql('kept_still', 'SELECT DISTINCT lag IS NULL, lag_seconds IS NULL FROM streamcount.progress'), 't|t',
	'lag is not known where nothing was heard of the brokers');

$second->append_conf('postgresql.conf', "streamcount.enabled = on\n");
is($second->safe_psql('kept_still', $all), $still, 'and nothing has moved');
$second->safe_psql('postgres', 'CREATE DATABASE pieces');
$second->reload;
$second->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup::text = 'hashtags'}, 'connecting',
	dbname => 'kept_still');
pass('turned on without a broker: it is connecting');
$second->append_conf('postgresql.conf', "streamcount.bootstrap_servers = '$brokers'\n");
$second->reload;
goes_on($second, 'kept_still', 'streamcount.enabled = on again');
is($second->safe_psql('kept_still', sprintf $kept, $rejects), $node->safe_psql('origin', sprintf $kept, $rejects),
	'all rejects came along, with their ids');

# Section by section
restore('pieces', 'pre-data', '--section=pre-data');
$second->wait_for_sql('SELECT count(*) FROM streamcount.rollups', '0', dbname => 'pieces');
restore('pieces', 'data', '--section=data');
$still = $second->safe_psql('pieces', $all);
$second->wait_for_sql($states, 'restoring', dbname => 'pieces');
pass('P27: without the unique index the state is restoring');
my $stood = position($second, 'pieces', 'hashtags');
$node->wait_for_sql("SELECT sum(next_offset) > $stood + 200 FROM streamcount.progress WHERE rollup = 'hashtags'::regclass",
	't', dbname => 'origin');
is($second->safe_psql('pieces', $all), $still, 'P27: and nothing is counted, while the origin goes on');
restore('pieces', 'post-data', '--section=post-data');
goes_on($second, 'pieces', 'section by section', $stood);

# Each of the extension's tables as the last to come: that is what pg_restore -j may do.
foreach my $late (
	[ 'rollup_progress', qr/TABLE DATA streamcount rollup_progress/ ],
	[ 'left_out_data', qr/TABLE DATA streamcount left_out_data/ ],
	[ 'left_out_data_id_seq', qr/SEQUENCE SET streamcount left_out_data_id_seq/ ])
{
	my ($name, $pattern) = @$late;

	$second->safe_psql('postgres', "CREATE DATABASE late_$name");
	contents("$dir/early", $pattern, 0);
	contents("$dir/late", $pattern, 1);
	restore("late_$name", "all but $name", '-L', "$dir/early");
	$still = $second->safe_psql("late_$name", $all);
	$second->wait_for_sql($states, 'restoring', dbname => "late_$name");
	pass("P27: without $name the state is restoring");
	my $origin = position($node, 'origin', 'hashtags');
	wait_for_position($node, 'origin', $origin + 200);
	is($second->safe_psql("late_$name", $all), $still, "P27: without $name nothing is counted");
	restore("late_$name", "$name at last", '-L', "$dir/late");
	goes_on($second, "late_$name", "$name last", $stood);
	$second->safe_psql('postgres', "DROP DATABASE late_$name");
}

# Side by side
$second->safe_psql('postgres', 'CREATE DATABASE parallel');
restore('parallel', 'pg_restore -j2', '-j2');
goes_on($second, 'parallel', 'pg_restore -j2', $stood);
is($second->safe_psql('parallel', sprintf $kept, $rejects), $node->safe_psql('origin', sprintf $kept, $rejects),
	'all rejects came along, with their ids');

# ---------------------------------------------------------------------
# CREATE DATABASE … TEMPLATE
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE origin');
goes_on($node, 'twin', 'P16, a copy by CREATE DATABASE');
goes_on($node, 'origin', 'what it was copied from');

# ---------------------------------------------------------------------
# To the end, all of them
# ---------------------------------------------------------------------

$load->stop;
my $rows = qq{
	SELECT hashtag, "interval", mentions FROM hashtags ORDER BY 1, 2;
	SELECT hashtag, "interval", mentions FROM $rollups[1] ORDER BY 1, 2};

foreach my $place ([ $node, 'origin' ], [ $node, 'plain' ], [ $node, 'twin' ],
	[ $second, 'kept_still' ], [ $second, 'pieces' ], [ $second, 'parallel' ])
{
	my ($on, $db) = @$place;

	$on->wait_for_rollup($kafka, 'tweets', name => $_, dbname => $db) foreach @rollups;
	is($on->safe_psql($db, $rows), $node->safe_psql('origin', $rows), "P27: $db holds what the origin holds");
}
is($node->differences($kafka, 'tweets', name => $_, dbname => 'origin'), '', "$_ of the origin is exact")
  foreach @rollups;

# What is dumped is all of it: the restored rollup is one, not three objects.
$second->safe_psql('pieces', 'DROP VIEW hashtags');
is($second->safe_psql('pieces', q{SELECT count(*) FROM pg_class WHERE relname LIKE 'hashtags%'}), '0',
	'a restored rollup is dropped as a whole');

$_->stop('fast') foreach $node, $second;
$kafka->stop;
done_testing();
