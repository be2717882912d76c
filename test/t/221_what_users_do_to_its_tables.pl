# A rollup's three objects are plain objects of the user's, who may alter them,
# forbid what the worker writes, change the rows, and keep old snapshots: what can
# be followed is followed, what cannot go on halts that rollup with a reason, and
# after the repair it is exact.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Mock;
use StreamCount::Pair;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $reloads = $ENV{STREAMCOUNT_RELOADS} // 200;
my $snapshot_flushes = $ENV{STREAMCOUNT_SNAPSHOT_FLUSHES} // 80;
my $maintenance_s = $ENV{STREAMCOUNT_MAINTENANCE} // 5;

my $pair = StreamCount::Pair->start(seed => 221);
my ($node, $mock) = ($pair->node, $pair->mock);
my @rollups = @StreamCount::Pair::rollups;

sub query { return $pair->query($_[0]) }

sub is_refused
{
	my ($command, $pattern, $name) = @_;
	my (undef, undef, $error) = $node->psql('postgres', $command);

	like($error, $pattern, $name);
	return;
}

# ---------------------------------------------------------------------
# What a steady load costs
# ---------------------------------------------------------------------

my $flushes = q{SELECT coalesce(sum(flushes), 0) FROM streamcount.stat_workers};
my $pids = query('SELECT pid FROM streamcount.stat_workers');
my ($flushed, $xid) = split /\|/, query("SELECT ($flushes), pg_current_xact_id()");
sleep 2;
my ($flushed_then, $xid_then) = split /\|/, query("SELECT ($flushes), pg_current_xact_id()");
my ($between, $xids) = ($flushed_then - $flushed, $xid_then - $xid);
is(query('SELECT pid FROM streamcount.stat_workers'), $pids, 'P33: one worker, all the time');
cmp_ok($between, '>', 0, "P33: $between flushes");
cmp_ok($xids, '<=', $between + 2, "P33: one transaction id a flush: $xids");

# ---------------------------------------------------------------------
# What is forbidden halts, and rejects nothing
# ---------------------------------------------------------------------

query(q{
	CREATE TABLE mood (code text);
	CREATE TABLE known (hashtag text COLLATE "C" PRIMARY KEY);
	CREATE FUNCTION touchy(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		RETURN $1 / (1 - (SELECT count(*) FROM public.mood));
	END $$});
my %forbid = (
	23503 => [ 'a foreign key', 'ALTER TABLE %s ADD CONSTRAINT f FOREIGN KEY (hashtag) REFERENCES known NOT VALID',
		'ALTER TABLE %s DROP CONSTRAINT f' ],
	23514 => [ 'a CHECK', 'ALTER TABLE %s ADD CONSTRAINT c CHECK (mentions < 0) NOT VALID',
		'ALTER TABLE %s DROP CONSTRAINT c' ],
	22012 => [ 'an index on an expression', q{CREATE INDEX i ON %s (touchy(mentions)); INSERT INTO mood VALUES ('bad')},
		'DROP INDEX i; DELETE FROM mood' ],
	'0A000' => [ 'a rule', 'CREATE RULE r AS ON INSERT TO %s DO ALSO DELETE FROM known', 'DROP RULE r ON %s' ],
	23502 => [ 'a column that must be set',
		'ALTER TABLE %s ADD COLUMN must integer NOT NULL DEFAULT 1; ALTER TABLE %s ALTER COLUMN must DROP DEFAULT',
		'ALTER TABLE %s DROP COLUMN must' ]);
my $turn = 0;
foreach my $code (sort keys %forbid)
{
	my ($what, $forbid, $allow) = @{ $forbid{$code} };
	my $rollup = $rollups[ $turn++ % 2 ];
	my $other = $rollups[ $turn % 2 ];

	query($forbid =~ s/%s/${rollup}_data/gr);
	# A row of its own, for what is checked at an INSERT alone
	$mock->produce('tweets', 0, undef, qq({"created_at": "2014-09-21T10:00:00Z", "text": "#turn$turn"}));
	like($pair->state_is($rollup, 'halted'), qr/halted $code: /, "P10, P11: $what halts the rollup, with $code");
	$pair->goes_on("P11: beside $what", $other);
	is(query("SELECT DISTINCT statement FROM streamcount.problems WHERE rollup = '$rollup'::regclass"),
		"SELECT streamcount.resume('$rollup')", "P11: $what: what to type is told");
	query($allow =~ s/%s/${rollup}_data/gr);
	query("SELECT streamcount.resume('$rollup')");
	$pair->goes_on("P11: after $what", $rollup);
}
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE sqlstate !~ '^22'}), '0', 'P11: none of it rejects a message');

# ---------------------------------------------------------------------
# The objects themselves
# ---------------------------------------------------------------------

is_refused($_->[0], $_->[1], "P10: refused: $_->[0]")
  foreach [ 'ALTER TABLE hashtags_data ALTER COLUMN mentions TYPE numeric', qr/cannot alter type of a column used by a view/ ],
  [ 'ALTER TABLE hashtags_data DROP COLUMN mentions', qr/other objects depend on it/ ],
  [ 'DROP TABLE hashtags_data', qr/other objects depend on it/ ],
  [ q{CREATE OR REPLACE VIEW hashtags_query AS SELECT hashtag, "interval", 2 * mentions AS mentions FROM hashtags_data}, qr/cannot|defining query/ ];

query('ALTER TABLE executed_data RENAME TO renamed; ALTER TABLE renamed SET SCHEMA public;
	ALTER TABLE renamed RENAME COLUMN mentions TO n; ALTER VIEW executed RENAME TO executed_now');
query('ALTER TABLE renamed RENAME COLUMN n TO mentions; ALTER VIEW executed_now RENAME TO executed');
$pair->goes_on('P10: renamed while it runs', 'executed');

# Without the unique constraint there is nothing to merge by.
query('ALTER TABLE renamed DROP CONSTRAINT executed_data_hashtag_interval_key');
like($pair->state_is('executed', 'halted'), qr/lost its unique constraint/, 'P10: without its unique constraint it is halted, with the reason');
$pair->goes_on('P10: beside one without a constraint', 'hashtags');
query('ALTER TABLE renamed ADD UNIQUE NULLS NOT DISTINCT (hashtag, "interval")');
query(q{SELECT streamcount.resume('executed')});
$pair->goes_on('P10: with its constraint again', 'executed');

# A crash would empty the rows, and leave the offsets.
query('ALTER TABLE hashtags_data SET UNLOGGED');
like($pair->state_is('hashtags', 'halted'), qr/unlogged/, 'P10: an unlogged data table halts its rollup');
query('ALTER TABLE hashtags_data SET LOGGED');
query(q{SELECT streamcount.resume('hashtags')});
$pair->goes_on('P10: logged again', 'hashtags');

# A rollup that is in the way ends, and nobody else.
query('DROP VIEW executed_query CASCADE');
$pair->goes_on('P10: the query of another rollup was dropped', 'hashtags');
is(query('SELECT count(*) > 0 FROM executed'), 't', 'P10: the counts of that one stay');
query('DROP VIEW executed; DROP TABLE IF EXISTS renamed');
$pair->create('executed');
$pair->goes_on('P12: dropped and created again', 'executed');

# What a person changes in the rows is the person's own; to count anew is to
# drop the rollup and to create it.
query('TRUNCATE hashtags_data');
$node->wait_for_sql('SELECT sum(mentions) > 0 FROM hashtags', 't');
isnt($node->differences($mock, 'tweets'), '', 'P12: TRUNCATE is followed, and no longer the query');
query(q{SELECT streamcount.drop_rollup('hashtags')});
$pair->create('hashtags');
$pair->goes_on('P12: counted anew');

# ---------------------------------------------------------------------
# Maintenance, again and again
# ---------------------------------------------------------------------

query(q{CREATE TABLE everywhere (LIKE hashtags_data) PARTITION BY LIST (hashtag)});
my @maintenance = (
	'VACUUM FULL hashtags_data', 'REINDEX TABLE CONCURRENTLY hashtags_data', 'REINDEX TABLE hashtags_data',
	'CLUSTER hashtags_data USING hashtags_data_hashtag_interval_key', 'VACUUM ANALYZE hashtags_data',
	'ALTER TABLE everywhere ATTACH PARTITION hashtags_data DEFAULT', 'ALTER TABLE everywhere DETACH PARTITION hashtags_data',
	'VACUUM FULL streamcount.rollup_progress', 'REINDEX TABLE CONCURRENTLY streamcount.rollup_progress',
	'VACUUM FULL streamcount.left_out_data');
my $until = time + $maintenance_s;
my $log = $node->log_size;
my $done = 0;
do
{
	query($_) foreach @maintenance;
	$done++;
} while (time < $until);
$pair->goes_on("P34: maintenance in a loop, $done times");
# A deadlock with one of these commands is tried again, and is none.
is($node->log_count(qr/ERROR/, $log), 0, 'P34: none of it is an error')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;

# ---------------------------------------------------------------------
# Updates on the page of the row; and a snapshot that keeps old versions
# ---------------------------------------------------------------------

my $hot = q{SELECT relname, n_tup_hot_upd, n_tup_upd FROM pg_stat_all_tables
	WHERE relname IN ('hashtags_data', 'rollup_progress') ORDER BY 1};
query('VACUUM hashtags_data; VACUUM streamcount.rollup_progress');
my %before = map { my ($t, @n) = split /\|/; ($t => \@n) } split /\n/, query($hot);
$node->wait_for_sql("SELECT n_tup_upd > $before{hashtags_data}[1] + 1000 FROM pg_stat_all_tables WHERE relname = 'hashtags_data'",
	't');
foreach my $line (split /\n/, query($hot))
{
	my ($table, $hot_updates, $updates) = split /\|/, $line;
	my $share = 100 * ($hot_updates - $before{$table}[0]) / ($updates - $before{$table}[1]);

	cmp_ok($share, '>=', 95, sprintf 'P32: %.1f %% of %d updates of %s need no new index entry', $share,
		$updates - $before{$table}[1], $table);
}

# By how much the heap of the rollup's rows grows, in kB
sub grows_by
{
	my ($flushed) = @_;
	my $size = q{SELECT pg_relation_size('hashtags_data') / 1024};
	my ($before, $until) = (query($size), query("SELECT ($flushes) + $flushed"));

	$node->wait_for_sql("SELECT ($flushes) >= $until", 't');
	return query($size) - $before;
}

my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM hashtags');
my $held = $reader->query_safe('SELECT sum(mentions) FROM hashtags');
my $grown = grows_by($snapshot_flushes);
$pair->goes_on('P32: beside a snapshot that is held');
is($reader->query_safe('SELECT sum(mentions) FROM hashtags'), $held, 'P32: which sees what it saw');
$reader->query_safe('COMMIT');
$reader->quit;
query('VACUUM hashtags_data');
my $grown_then = grows_by($snapshot_flushes);
diag "P32: in $snapshot_flushes flushes hashtags_data grows by $grown kB beside a snapshot that is held, by $grown_then kB behind it and VACUUM";
cmp_ok($grown, '>', 0, 'P32: old versions of rows that it may see are kept');
cmp_ok($grown_then, '<=', $grown / 2, 'P32: ... and when it is gone, VACUUM makes room for new ones');

# ---------------------------------------------------------------------
# Settings read anew
# ---------------------------------------------------------------------

$pair->are_together();
$pids = query('SELECT pid FROM streamcount.stat_workers');
$node->safe_psql('postgres', join ' ', map { 'SELECT pg_reload_conf();' } 1 .. $reloads);
$pair->goes_on("P38: $reloads reloads");
is(query('SELECT pid FROM streamcount.stat_workers'), $pids, 'P38: by the same worker');
$node->append_conf('postgresql.conf', "streamcount.bootstrap_servers = '@{[ $mock->bootstrap ]},127.0.0.1:1'\n");
$node->reload;
$node->wait_for_sql("SELECT count(*) FROM streamcount.stat_workers WHERE pid <> $pids", '1');
$pair->goes_on('P38: other brokers take another worker');
$pids = $node->wait_for_sql('SELECT pid FROM streamcount.stat_workers', qr/^\d+$/);
$node->append_conf('postgresql.conf', "streamcount.fetch_mem = '2MB'\n");
$node->reload;
$node->wait_for_sql("SELECT count(*) FROM streamcount.stat_workers WHERE pid <> $pids", '1');
$pair->goes_on('P38: ... and so does other memory for what is fetched');

# ---------------------------------------------------------------------
# A rollup is dropped, and the place of its worker is not free yet
# ---------------------------------------------------------------------

query('CREATE ROLE mona IN ROLE pg_monitor');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE executed_data IN ACCESS EXCLUSIVE MODE');
$node->wait_for_sql('SELECT count(apart) FROM streamcount.stat_workers', '1');
$node->set_up('streamcount.enabled' => 'off');
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, '0');
$locker->quit;
query(q{SELECT streamcount.drop_rollup('executed')});
my ($status, undef, $error) = $node->psql('postgres', join ';', 'SET ROLE mona',
	map { "SELECT count(*) FROM streamcount.$_" } qw(rollups progress problems stat_workers));
is("$status $error", '0 ', 'P13: beside the place of a rollup that is dropped, pg_monitor sees all others');
$pair->create('executed');
$node->set_up('streamcount.enabled' => 'on');
$pair->goes_on('P13: dropped while its worker was off, and created again', 'executed');

# ---------------------------------------------------------------------

$pair->ends_exact;
done_testing();
