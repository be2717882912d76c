# A rollup's three objects are plain objects of the user's, who may lock them,
# alter them, forbid what the worker writes, and keep old snapshots: what can
# be followed is followed, what passes is waited for, what cannot go on halts
# that rollup with a reason, and after the repair it is exact.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Load;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $reloads = $ENV{STREAMCOUNT_RELOADS} // 200;
my $snapshot_flushes = $ENV{STREAMCOUNT_SNAPSHOT_FLUSHES} // 80;
my $maintenance_s = $ENV{STREAMCOUNT_MAINTENANCE} // 5;

my $mock = StreamCount::Mock->new->start;
$mock->create_topic('tweets', 2);
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\nautovacuum = off\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;

# One by the tally, one by the executor, of one stream
my %ways = (hashtags => 'tally', executed => 'executor');
my @rollups = qw(hashtags executed);
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream(options => "reject_limit '0'");
$node->create_hashtags_rollup(name => $_, way => $ways{$_}) foreach @rollups;
my $load = StreamCount::Load->start($mock, 'tweets', rate => 60, partitions => 2, seed => 221);

sub query { return $node->safe_psql('postgres', $_[0]) }

sub position
{
	my ($rollup) = @_;

	return "(SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = '$rollup'::regclass)";
}

# It counts on from here, and what it has counted is exact.
sub goes_on
{
	my ($what, @which) = @_;

	foreach my $rollup (@which ? @which : @rollups)
	{
		my $stood = query('SELECT ' . position($rollup));
		$node->wait_for_sql('SELECT ' . position($rollup) . " > $stood + 20", 't');
		my $differences = $node->differences($mock, 'tweets', name => $rollup);
		ok($differences eq '', "$what: $rollup goes on, and is exact") or diag substr $differences, 0, 2000;
	}
	return;
}

sub state_is
{
	my ($rollup, $state) = @_;

	return $node->wait_for_sql("SELECT state || ' ' || coalesce(reason, '') FROM streamcount.rollups"
		  . " WHERE rollup = '$rollup'::regclass", qr/^$state/);
}

# A new worker, as after any change: it reads everything anew.
sub new_worker
{
	query('SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers WHERE pid IS NOT NULL');
	return;
}

sub is_refused
{
	my ($command, $pattern, $name) = @_;
	my (undef, undef, $error) = $node->psql('postgres', $command);

	like($error, $pattern, $name);
	return;
}

# Both are served by one worker.
sub are_together
{
	$node->wait_for_sql('SELECT count(*), count(apart), count(pid) FROM streamcount.stat_workers', '1|0|1');
	return;
}

goes_on('at the start');
are_together();

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
# Locks
# ---------------------------------------------------------------------

my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE executed_query IN ACCESS EXCLUSIVE MODE');
new_worker();
like(state_is('executed', 'blocked'), qr/lock/, 'P9: a rollup whose query view is locked is blocked');
goes_on('P9: one query view is locked', 'hashtags');
my $log = $node->log_size;
sleep 3;
cmp_ok($node->log_count(qr/./, $log), '<=', 1, 'P9: a lock that is held is not logged again and again')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;
is(query('SELECT rollup, state FROM streamcount.problems'), 'executed|blocked', 'P9: that it waits is told');
$locker->query_safe('COMMIT');
goes_on('P9: the query view is free');

# It need not be just starting.
$locker->query_safe('BEGIN; LOCK TABLE hashtags_query IN ACCESS EXCLUSIVE MODE');
state_is('hashtags', 'blocked');
goes_on('P9: a query view is locked under a worker', 'executed');
$locker->query_safe('ROLLBACK');
goes_on('P9: it is free again');
are_together();

# A worker is about to halt a rollup, and waits for the query of the next one:
# what a person has put right and resumed meanwhile is not halted any more.
$mock->create_topic('quiet', 1);
$node->create_tweets_stream(name => 'quiet');
$node->create_hashtags_rollup(name => $_, stream => 'quiet') foreach 'repaired', 'waiting';
state_is($_, 'idle') foreach 'repaired', 'waiting';
$node->wait_for_sql('SELECT count(*), count(apart) FROM streamcount.stat_workers', '2|0');
$locker->query_safe('BEGIN; LOCK TABLE waiting_query IN ACCESS EXCLUSIVE MODE');
query('CREATE ROLE somebody; ALTER TABLE repaired_data OWNER TO somebody');
new_worker();
$node->wait_for_sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'waiting_query'::regclass AND NOT granted}, '1');
query(q{ALTER TABLE repaired_data OWNER TO CURRENT_USER; SELECT streamcount.resume('repaired')});
like(state_is('repaired', '(?:idle|halted)'), qr/^idle/, 'P10: a rollup that was repaired and resumed before it was halted is not halted then');
$locker->query_safe('ROLLBACK');
state_is('waiting', 'idle');
query(q{SELECT streamcount.drop_rollup('repaired'); SELECT streamcount.drop_rollup('waiting'); DROP ROLE somebody});
are_together();

# ---------------------------------------------------------------------
# Two who lock the same rows in another order
# ---------------------------------------------------------------------

# The worker stays on its way from the first to the last of its keys for most of
# the time after which the other one looks for a deadlock.
query(q{
	CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.75); RETURN NEW; END $$;
	INSERT INTO hashtags_data VALUES ('#aa', 'ALL', 0), ('#mm', 'ALL', 0), ('#zz', 'ALL', 0)});
my $counted = query('SELECT ' . position('hashtags'));
query(q{SELECT streamcount.pause('executed')});
query(q{CREATE TRIGGER linger BEFORE UPDATE ON hashtags_data FOR EACH ROW WHEN (OLD.hashtag = '#mm')
	EXECUTE FUNCTION linger()});
$log = $node->log_size;
$locker->query_safe(q{BEGIN;
	UPDATE hashtags_data SET mentions = mentions WHERE hashtag = '#zz' AND "interval" = 'ALL'});
$mock->produce_values('tweets',
	[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "#aa #mm #zz"}) } 1 .. 4 ], 2);
$node->wait_for_sql(q{SELECT count(*) > 0 FROM pg_stat_activity
	WHERE backend_type = 'streamcount worker' AND wait_event = 'PgSleep'}, 't');
$locker->query_safe(q{UPDATE hashtags_data SET mentions = mentions WHERE hashtag = '#aa' AND "interval" = 'ALL'; COMMIT});
is($node->log_count(qr/deadlock detected/, $log), 0, 'P8: who wants what the worker has, and has what it wants, goes first');
query('DROP TRIGGER linger ON hashtags_data');
goes_on('P8: rows locked in another order', 'hashtags');

# Nor is there a deadlock for who comes later: it does not wait for so long.
$log = $node->log_size;
$locker->query_safe(q{BEGIN;
	UPDATE hashtags_data SET mentions = mentions WHERE hashtag = '#zz' AND "interval" = 'ALL'});
$mock->produce_values('tweets', [ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "#aa #zz"}) } 1 .. 4 ], 2);
state_is('hashtags', 'blocked');
my ($waits, $longest_ms) = (0, 0);
my $until_seen = time + 30;
while ($waits < 10 && time < $until_seen)
{
	my $ms = query(q{SELECT coalesce(max(1000 * extract(epoch FROM clock_timestamp() - waitstart)), -1)::int
		FROM pg_locks WHERE NOT granted});

	$waits++ if $ms >= 0;
	$longest_ms = $ms if $ms > $longest_ms;
}
is($waits, 10, 'P8: the worker asks for a lock again and again');
cmp_ok($longest_ms, '<', 900, 'P8: and waits for it less long than anybody waits before looking for a deadlock');
$locker->query_safe('LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE; COMMIT');
is($node->log_count(qr/deadlock detected/, $log), 0, 'P8: and there is none');
query(q{SELECT streamcount.resume('executed')});
goes_on('P8: all that');
query('DELETE FROM hashtags_data WHERE mentions = 0');

# ---------------------------------------------------------------------
# What passes by itself is tried again
# ---------------------------------------------------------------------

query(q{
	CREATE TABLE mood (code text);
	CREATE FUNCTION be_moody() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		bad text := (SELECT code FROM public.mood);
	BEGIN
		IF bad IS NOT NULL THEN
			RAISE EXCEPTION USING ERRCODE = bad, MESSAGE = 'in a bad mood: ' || bad;
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER moody AFTER INSERT ON hashtags_data EXECUTE FUNCTION be_moody()});
foreach my $code (qw(40001 40P01 55P03 53200 58030))
{
	$log = $node->log_size;
	query("INSERT INTO mood VALUES ('$code')");
	# It is served apart, and the other one goes on.
	state_is('hashtags', $code =~ /^(?:40P01|55P03)$/ ? 'blocked' : "down in a bad mood: $code");
	my $stood = query('SELECT ' . position('hashtags'));
	my $from = query('SELECT ' . position('executed'));
	$node->wait_for_sql('SELECT ' . position('executed') . " > $from + 60", 't');
	is(query('SELECT ' . position('hashtags')), $stood, "P8: $code: nothing moves, and another rollup goes on");
	# It is served apart, that worker fails, and ends.
	cmp_ok($node->log_entries($log), '<=', 3, "P8: $code: few entries in the log")
	  or diag substr slurp_file($node->logfile, $log), 0, 4000;
	query('DELETE FROM mood');
	goes_on("P8: $code has passed", 'hashtags');
}

# What has failed is mended and resumed before its worker has halted it.
$node->set_up(deadlock_timeout => '10s');
new_worker();
$log = $node->log_size;
$locker->query_safe(q{BEGIN; SELECT streamcount.resume('hashtags')});
query(q{INSERT INTO mood VALUES ('0A000')});
$node->wait_for_sql(q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity USING (pid)
	WHERE backend_type = 'streamcount worker' AND NOT granted
	UNION SELECT true FROM streamcount.problems WHERE state = 'halted' ORDER BY 1 DESC LIMIT 1}, 't');
query('DELETE FROM mood');
$locker->query_safe('COMMIT');
goes_on('P10: what was resumed in time is not halted', 'hashtags');
is($node->log_count(qr/ERROR/, $log), 0, 'P10: ... and nobody was in anybody\'s way');

# A view that it reads is replaced, which halts it: also a flush that is past the
# fence, and waits for the view, counts nothing by the new one.
$mock->create_topic('viewed', 1);
$node->create_tweets_stream(name => 'viewed');
query(q{CREATE VIEW seen AS SELECT text FROM viewed;
	SELECT streamcount.create_rollup('by_view', 'SELECT text, count(*) AS n FROM seen GROUP BY text')});
$mock->produce_values('viewed', ['{"text": "a"}'], 1);
$node->wait_for_offsets('by_view', '1');
$locker->query_safe('BEGIN; SET LOCAL client_min_messages = warning;
	CREATE OR REPLACE VIEW seen AS SELECT text FROM viewed WHERE false');
$mock->produce_values('viewed', ['{"text": "b"}'], 1);
$node->wait_for_sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'seen'::regclass AND NOT granted}, '1');
$locker->query_safe('COMMIT');
like(state_is('by_view', 'halted'), qr/a view that the query reads was replaced/, 'P10: a view that is replaced under a flush halts the rollup');
query(q{CREATE OR REPLACE VIEW seen AS SELECT text FROM viewed; SELECT streamcount.resume('by_view')});
$node->wait_for_offsets('by_view', '2');
is(query(q{SELECT string_agg(text || n, ' ' ORDER BY text) FROM by_view}), 'a1 b1',
	'P10: ... before it has counted anything by the new view');
query(q{SELECT streamcount.drop_rollup('by_view'); DROP VIEW seen});

# A rollup that is dropped while it is begun leaves nothing behind.
$mock->create_topic('new', 1);
$node->create_tweets_stream(name => 'new');
$node->set_up('streamcount.enabled' => 'off');
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, '0');
$node->create_hashtags_rollup(name => 'begun', stream => 'new');
$locker->query_safe('BEGIN; LOCK TABLE streamcount.rollup_progress IN SHARE MODE');
$node->set_up('streamcount.enabled' => 'on');
$node->wait_for_sql(q{SELECT count(*) FROM pg_locks JOIN streamcount.stat_workers w USING (pid)
	WHERE w.stream = 'new'::regclass AND relation = 'streamcount.rollup_progress'::regclass AND NOT granted}, '1', timeout => 30);
$locker->query_safe(q{SELECT streamcount.drop_rollup('begun'); COMMIT});
are_together();
is(query(q{SELECT count(*) FROM streamcount.rollup_progress WHERE rollup NOT IN (SELECT rollup FROM streamcount.rollup_catalog)}),
	'0', 'P10: of a rollup that was dropped while it was begun nothing is left');
$node->set_up(deadlock_timeout => '1s');
query('DROP TRIGGER moody ON hashtags_data');
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE sqlstate !~ '^22'}), '0', 'P8: none of it rejects a message');
are_together();

# ---------------------------------------------------------------------
# What is forbidden halts, and rejects nothing
# ---------------------------------------------------------------------

query(q{
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
	like(state_is($rollup, 'halted'), qr/halted $code: /, "P10, P11: $what halts the rollup, with $code");
	goes_on("P11: beside $what", $other);
	is(query("SELECT DISTINCT statement FROM streamcount.problems WHERE rollup = '$rollup'::regclass"),
		"SELECT streamcount.resume('$rollup')", "P11: $what: what to type is told");
	query($allow =~ s/%s/${rollup}_data/gr);
	query("SELECT streamcount.resume('$rollup')");
	goes_on("P11: after $what", $rollup);
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
goes_on('P10: renamed while it runs', 'executed');

# Without the unique constraint there is nothing to merge by.
query('ALTER TABLE renamed DROP CONSTRAINT executed_data_hashtag_interval_key');
like(state_is('executed', 'halted'), qr/lost its unique constraint/, 'P10: without its unique constraint it is halted, with the reason');
goes_on('P10: beside one without a constraint', 'hashtags');
query('ALTER TABLE renamed ADD UNIQUE NULLS NOT DISTINCT (hashtag, "interval")');
query(q{SELECT streamcount.resume('executed')});
goes_on('P10: with its constraint again', 'executed');

# A crash would empty the rows, and leave the offsets.
query('ALTER TABLE hashtags_data SET UNLOGGED');
like(state_is('hashtags', 'halted'), qr/unlogged/, 'P10: an unlogged data table halts its rollup');
query('ALTER TABLE hashtags_data SET LOGGED');
query(q{SELECT streamcount.resume('hashtags')});
goes_on('P10: logged again', 'hashtags');

# One that is to be halted, while somebody has what the halt is written into
are_together();
$locker->query_safe(q{BEGIN; SELECT streamcount.resume('tweets')});
query('ALTER TABLE hashtags_data SET UNLOGGED');
goes_on('P10: a halt that waits for a lock does not hold up another rollup', 'executed');
$locker->query_safe('COMMIT');
like(state_is('hashtags', 'halted'), qr/unlogged/, 'P10: ... and is written when the lock is gone');
query(q{ALTER TABLE hashtags_data SET LOGGED; SELECT streamcount.resume('hashtags')});
goes_on('P10: that one logged again', 'hashtags');

# A rollup that is in the way ends, and nobody else.
query('DROP VIEW executed_query CASCADE');
goes_on('P10: the query of another rollup was dropped', 'hashtags');
is(query('SELECT count(*) > 0 FROM executed'), 't', 'P10: the counts of that one stay');
query('DROP VIEW executed; DROP TABLE IF EXISTS renamed');
$node->create_hashtags_rollup(name => 'executed', way => 'executor');
goes_on('P12: dropped and created again', 'executed');

# What a person changes in the rows is the person's own; to count anew is to
# drop the rollup and to create it.
query('TRUNCATE hashtags_data');
$node->wait_for_sql('SELECT sum(mentions) > 0 FROM hashtags', 't');
isnt($node->differences($mock, 'tweets'), '', 'P12: TRUNCATE is followed, and no longer the query');
query(q{SELECT streamcount.drop_rollup('hashtags')});
$node->create_hashtags_rollup(way => 'tally');
goes_on('P12: counted anew');

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
$log = $node->log_size;
my $done = 0;
do
{
	query($_) foreach @maintenance;
	$done++;
} while (time < $until);
goes_on("P34: maintenance in a loop, $done times");
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

$locker->quit;
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM hashtags');
my $held = $reader->query_safe('SELECT sum(mentions) FROM hashtags');
my $grown = grows_by($snapshot_flushes);
goes_on('P32: beside a snapshot that is held');
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

are_together();
$pids = query('SELECT pid FROM streamcount.stat_workers');
$node->safe_psql('postgres', join ' ', map { 'SELECT pg_reload_conf();' } 1 .. $reloads);
goes_on("P38: $reloads reloads");
is(query('SELECT pid FROM streamcount.stat_workers'), $pids, 'P38: by the same worker');
$node->append_conf('postgresql.conf', "streamcount.bootstrap_servers = '@{[ $mock->bootstrap ]},127.0.0.1:1'\n");
$node->reload;
$node->wait_for_sql("SELECT count(*) FROM streamcount.stat_workers WHERE pid <> $pids", '1');
goes_on('P38: other brokers take another worker');
$pids = $node->wait_for_sql('SELECT pid FROM streamcount.stat_workers', qr/^\d+$/);
$node->append_conf('postgresql.conf', "streamcount.fetch_mem = '2MB'\n");
$node->reload;
$node->wait_for_sql("SELECT count(*) FROM streamcount.stat_workers WHERE pid <> $pids", '1');
goes_on('P38: ... and so does other memory for what is fetched');

# ---------------------------------------------------------------------
# A rollup is dropped, and the place of its worker is not free yet
# ---------------------------------------------------------------------

query('CREATE ROLE mona IN ROLE pg_monitor');
$locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE executed_data IN ACCESS EXCLUSIVE MODE');
$node->wait_for_sql('SELECT count(apart) FROM streamcount.stat_workers', '1');
$node->set_up('streamcount.enabled' => 'off');
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, '0');
$locker->quit;
query(q{SELECT streamcount.drop_rollup('executed')});
my ($status, undef, $error) = $node->psql('postgres', join ';', 'SET ROLE mona',
	map { "SELECT count(*) FROM streamcount.$_" } qw(rollups progress problems stat_workers));
is("$status $error", '0 ', 'P13: beside the place of a rollup that is dropped, pg_monitor sees all others');
$node->create_hashtags_rollup(name => 'executed', way => 'executor');
$node->set_up('streamcount.enabled' => 'on');
goes_on('P13: dropped while its worker was off, and created again', 'executed');

# ---------------------------------------------------------------------

ok($load->goes_on, 'the load went on through all of it');
$load->stop;
foreach my $rollup (@rollups)
{
	$node->wait_for_rollup($mock, 'tweets', name => $rollup);
	is($node->differences($mock, 'tweets', name => $rollup), '', "$rollup is exact at the end");
}
is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$mock->stop;
done_testing();
