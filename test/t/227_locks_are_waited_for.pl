# Somebody may lock what a worker needs, want what it has and have what it wants,
# or let it fail by what passes: that rollup waits, says so, and goes on by itself,
# others do not wait with it, and no message is rejected.

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

my $pair = StreamCount::Pair->start(seed => 227);
my ($node, $mock) = ($pair->node, $pair->mock);

sub query { return $pair->query($_[0]) }

# A new worker, as after any change: it reads everything anew.
sub new_worker
{
	query('SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers WHERE pid IS NOT NULL');
	return;
}

# ---------------------------------------------------------------------
# Locks
# ---------------------------------------------------------------------

my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE executed_query IN ACCESS EXCLUSIVE MODE');
new_worker();
like($pair->state_is('executed', 'blocked'), qr/lock/, 'P9: a rollup whose query view is locked is blocked');
$pair->goes_on('P9: one query view is locked', 'hashtags');
my $log = $node->log_size;
sleep 3;
cmp_ok($node->log_count(qr/./, $log), '<=', 1, 'P9: a lock that is held is not logged again and again')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;
is(query('SELECT rollup, state FROM streamcount.problems'), 'executed|blocked', 'P9: that it waits is told');
$locker->query_safe('COMMIT');
$pair->goes_on('P9: the query view is free');

# It need not be just starting.
$locker->query_safe('BEGIN; LOCK TABLE hashtags_query IN ACCESS EXCLUSIVE MODE');
$pair->state_is('hashtags', 'blocked');
$pair->goes_on('P9: a query view is locked under a worker', 'executed');
$locker->query_safe('ROLLBACK');
$pair->goes_on('P9: it is free again');
$pair->are_together();

# A worker is about to halt a rollup, and waits for the query of the next one:
# what a person has put right and resumed meanwhile is not halted any more.
$mock->create_topic('quiet', 1);
$node->create_tweets_stream(name => 'quiet');
$node->create_hashtags_rollup(name => $_, stream => 'quiet') foreach 'repaired', 'waiting';
$pair->state_is($_, 'idle') foreach 'repaired', 'waiting';
$node->wait_for_sql('SELECT count(*), count(apart) FROM streamcount.stat_workers', '2|0');
$locker->query_safe('BEGIN; LOCK TABLE waiting_query IN ACCESS EXCLUSIVE MODE');
query('CREATE ROLE somebody; ALTER TABLE repaired_data OWNER TO somebody');
new_worker();
$node->wait_for_sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'waiting_query'::regclass AND NOT granted}, '1');
query(q{ALTER TABLE repaired_data OWNER TO CURRENT_USER; SELECT streamcount.resume('repaired')});
like($pair->state_is('repaired', '(?:idle|halted)'), qr/^idle/, 'P10: a rollup that was repaired and resumed before it was halted is not halted then');
$locker->query_safe('ROLLBACK');
$pair->state_is('waiting', 'idle');
query(q{SELECT streamcount.drop_rollup('repaired'); SELECT streamcount.drop_rollup('waiting'); DROP ROLE somebody});
$pair->are_together();

# ---------------------------------------------------------------------
# Two who lock the same rows in another order
# ---------------------------------------------------------------------

# The worker stays on its way from the first to the last of its keys for most of
# the time after which the other one looks for a deadlock.
query(q{
	CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.75); RETURN NEW; END $$;
	INSERT INTO hashtags_data VALUES ('#aa', 'ALL', 0), ('#mm', 'ALL', 0), ('#zz', 'ALL', 0)});
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
$pair->goes_on('P8: rows locked in another order', 'hashtags');

# Nor is there a deadlock for who comes later: it does not wait for so long.
$log = $node->log_size;
$locker->query_safe(q{BEGIN;
	UPDATE hashtags_data SET mentions = mentions WHERE hashtag = '#zz' AND "interval" = 'ALL'});
$mock->produce_values('tweets', [ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "#aa #zz"}) } 1 .. 4 ], 2);
$pair->state_is('hashtags', 'blocked');
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
$pair->goes_on('P8: all that');
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
	$pair->state_is('hashtags', $code =~ /^(?:40P01|55P03)$/ ? 'blocked' : "down in a bad mood: $code");
	my $stood = query('SELECT ' . $pair->position('hashtags'));
	my $from = query('SELECT ' . $pair->position('executed'));
	$node->wait_for_sql('SELECT ' . $pair->position('executed') . " > $from + 60", 't');
	is(query('SELECT ' . $pair->position('hashtags')), $stood, "P8: $code: nothing moves, and another rollup goes on");
	# It is served apart, that worker fails, and ends.
	cmp_ok($node->log_entries($log), '<=', 3, "P8: $code: few entries in the log")
	  or diag substr slurp_file($node->logfile, $log), 0, 4000;
	query('DELETE FROM mood');
	$pair->goes_on("P8: $code has passed", 'hashtags');
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
$pair->goes_on('P10: what was resumed in time is not halted', 'hashtags');
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
like($pair->state_is('by_view', 'halted'), qr/a view that the query reads was replaced/, 'P10: a view that is replaced under a flush halts the rollup');
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
$pair->are_together();
is(query(q{SELECT count(*) FROM streamcount.rollup_progress WHERE rollup NOT IN (SELECT rollup FROM streamcount.rollup_catalog)}),
	'0', 'P10: of a rollup that was dropped while it was begun nothing is left');
$node->set_up(deadlock_timeout => '1s');
query('DROP TRIGGER moody ON hashtags_data');
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE sqlstate !~ '^22'}), '0', 'P8: none of it rejects a message');
$pair->are_together();

# One that is to be halted, while somebody has what the halt is written into
$pair->are_together();
$locker->query_safe(q{BEGIN; SELECT streamcount.resume('tweets')});
query('ALTER TABLE hashtags_data SET UNLOGGED');
$pair->goes_on('P10: a halt that waits for a lock does not hold up another rollup', 'executed');
$locker->query_safe('COMMIT');
like($pair->state_is('hashtags', 'halted'), qr/unlogged/, 'P10: ... and is written when the lock is gone');
query(q{ALTER TABLE hashtags_data SET LOGGED; SELECT streamcount.resume('hashtags')});
$pair->goes_on('P10: that one logged again', 'hashtags');

# ---------------------------------------------------------------------

$locker->quit;
$pair->ends_exact;
done_testing();
