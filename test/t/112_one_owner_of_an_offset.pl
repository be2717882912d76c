# An offset has one owner at a time.  Whoever moves it, with the counts or
# without, whoever locks what the worker needs, whatever a database or a role
# has set: nothing is counted twice, nothing is left out, and the worker goes on
# by itself.
#
# STREAMCOUNT_SECOND_WORKERS: how often another one takes an offset (10).
# STREAMCOUNT_LAUNCHERS: how often a launcher ends beside a frozen worker (2).
# STREAMCOUNT_LOCKED_SECONDS: for how long somebody locks a rollup's table (10).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $rate = 500;
my $locked_s = $ENV{STREAMCOUNT_LOCKED_SECONDS} // 10;
my $kafka = StreamCount::Kafka->new->start;
$kafka->create_topic('tweets', 2);

my $node = StreamCount::Node->new('fenced');
$node->init(brokers => $kafka->bootstrap, conf => "log_statement = none\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream;
$node->create_hashtags_rollup;
my $load = StreamCount::Load->start($kafka, 'tweets', rate => $rate, partitions => 2);

sub position
{
	my ($rollup) = @_;

	return "(SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = '$rollup'::regclass)";
}

# It counts on, from here on, and what it has counted is exact.
sub goes_on_exactly
{
	my ($rollup, $name, %args) = @_;
	my $dbname = $args{dbname} // 'postgres';
	my $from = $node->safe_psql($dbname, 'SELECT ' . position($rollup));

	$node->wait_for_sql('SELECT ' . position($rollup) . " > $from + $rate / 5", 't',
		timeout => 30, dbname => $dbname);
	my $differences = $node->differences($kafka, 'tweets', name => $rollup, dbname => $dbname);
	ok($differences eq '', "$name: it goes on, and is exact") or diag substr $differences, 0, 2000;
	return;
}

$node->wait_for_sql('SELECT ' . position('hashtags') . " > 3 * $rate", 't');

# ---------------------------------------------------------------------
# Somebody moves the offsets
# ---------------------------------------------------------------------

# The rollup begins anew at these offsets.  Progress first, as it is the worker
# that locks the rows of data in an order of its own.
sub begin_at
{
	my ($offset, $pause) = @_;

	return qq{
		BEGIN;
		SELECT count(*) FROM (SELECT FROM streamcount.rollup_progress
			WHERE rollup = 'hashtags'::regclass AND partition >= 0 ORDER BY partition FOR UPDATE) locked;
		SELECT pg_sleep($pause);
		UPDATE streamcount.rollup_progress SET start_offset = $offset, next_offset = $offset
			WHERE rollup = 'hashtags'::regclass AND partition >= 0;
		DELETE FROM hashtags_data WHERE hashtag IS NOT NULL;
		COMMIT};
}

my $log = $node->log_size;
for my $i (1 .. 5)
{
	sleep rand 0.3;
	$node->safe_psql('postgres', begin_at(100 * $i, 0));
	goes_on_exactly('hashtags', "P8: offsets moved back, $i");
}
$node->safe_psql('postgres', begin_at(50, 1.5));
goes_on_exactly('hashtags', 'offsets moved back by a transaction that takes its time');
# Meanwhile the topic grows: ahead is not beyond its end.
$node->safe_psql('postgres', begin_at('next_offset + 100', 1.5));
goes_on_exactly('hashtags', 'offsets moved ahead');
cmp_ok($node->log_count(qr/moved by somebody else/, $log), '>', 0, 'P8: the fence was needed, and says so');

# ---------------------------------------------------------------------
# A second worker, in SQL: it counts the same messages and commits first
# ---------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE raw (
		text text, created_at timestamptz,
		part integer OPTIONS (metadata 'partition'), pos bigint OPTIONS (metadata 'offset'))
	SERVER streamcount OPTIONS (topic 'tweets')});

my $second_worker = q{
	BEGIN;
	SELECT count(*) FROM (SELECT FROM streamcount.rollup_progress
		WHERE rollup = 'hashtags'::regclass AND partition >= 0 ORDER BY partition FOR UPDATE) locked;
	CREATE TEMP TABLE batch ON COMMIT DROP AS
		SELECT raw.* FROM raw JOIN streamcount.rollup_progress ON part = partition AND pos >= next_offset
		WHERE rollup = 'hashtags'::regclass;
	INSERT INTO hashtags_data AS d (hashtag, "interval", mentions)
		SELECT hashtag, w.interval, count(*)
		FROM batch, streamcount.hashtags(text) AS hashtag, streamcount.windows(created_at, '{day,ALL}') AS w
		GROUP BY 1, 2 ORDER BY 1, 2
		ON CONFLICT (hashtag, "interval") DO UPDATE SET mentions = d.mentions + excluded.mentions;
	UPDATE streamcount.rollup_progress p SET next_offset = b.last + 1
		FROM (SELECT part, max(pos) AS last FROM batch GROUP BY part) b
		WHERE p.rollup = 'hashtags'::regclass AND p.partition = b.part;
	SELECT count(*) > 0 FROM batch;
	COMMIT};

$log = $node->log_size;
my $overtaken = 0;
my $second_workers = $ENV{STREAMCOUNT_SECOND_WORKERS} // 10;
for my $i (1 .. $second_workers)
{
	sleep rand 0.3;
	my ($status, $out, $err) = $node->psql('postgres', $second_worker);

	$status == 0 or die "the second worker failed: $err";
	$overtaken++ if $out =~ /^t$/m;
	goes_on_exactly('hashtags', "K22: a second worker, $i");
}
cmp_ok($overtaken, '>', 0, "K22: the second worker came first $overtaken times of $second_workers");
cmp_ok($node->log_count(qr/moved by somebody else/, $log), '>', 0, 'K22: and the first found the offsets moved');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'none of it needs a person');

# ---------------------------------------------------------------------
# A second worker: the launcher has another one started
# ---------------------------------------------------------------------

# A unit of its own: where its worker is replaced, the launcher is at work.
$node->safe_psql('postgres', q{SELECT streamcount.create_rollup('parts', 'SELECT part, count(*) AS n FROM raw GROUP BY part')});
my $tweets = $node->safe_psql('postgres', q{SELECT 'tweets'::regclass::oid});
my $launchers = $ENV{STREAMCOUNT_LAUNCHERS} // 2;

# Returns when the postmaster has it, too, and whom it starts.
sub change
{
	my ($name, $value) = @_;
	my $from = $node->log_size;

	$node->set_up($name => $value);
	$node->wait_for_log(qr/parameter "$name" changed to "$value"/, $from);
	return;
}

# All processes that are a worker of the stream, or will be: no view shows those
# that are only beginning.
sub processes
{
	my (undef, @children) = $node->family;

	return grep {
		my $title;
		open($title, '<', "/proc/$_/cmdline") && (readline($title) // '') =~ /streamcount worker for stream $tweets\b/;
	} @children;
}

# Those that have its unit
sub serving
{
	return split / /, $node->safe_psql('postgres', "SELECT string_agg(pid::text, ' ') FROM streamcount.stat_workers WHERE stream = $tweets");
}

# How many times one was started, since then
sub starts
{
	return $node->log_count(qr/starting background worker process "streamcount worker for stream $tweets\b/, $_[0]);
}

sub await_worker
{
	return $node->wait_for_sql("SELECT pid FROM streamcount.stat_workers"
		  . " WHERE stream = $tweets AND state IN ('running', 'catching_up', 'idle')", qr/^\d+$/);
}

sub is_alone
{
	my ($pid, $name) = @_;

	return is(join(' ', serving(), '/', processes()), "$pid / $pid", $name);
}

# End the launcher; returns when the next one has given the other unit a worker.
sub next_launcher
{
	my ($launcher) = $node->pids_of('launcher');
	my $worker = $node->wait_for_sql(q{SELECT pid FROM streamcount.stat_workers WHERE stream = 'raw'::regclass}, qr/^\d+$/);

	kill 'TERM', $launcher;
	$node->wait_for_sql(qq{SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'streamcount launcher' AND pid <> $launcher}, '1');
	kill 'TERM', $worker;
	$node->wait_for_sql(qq{SELECT count(*) FROM streamcount.stat_workers WHERE stream = 'raw'::regclass AND pid <> $worker}, '1');
	return;
}

# At any step of its work; but where it has what all others need, as while it
# writes WAL, nothing could be seen.
sub freeze
{
	my ($pid) = @_;

	for (1 .. 20)
	{
		my $stuck;

		kill 'STOP', $pid;
		$node->psql('postgres', q{SELECT count(*) FROM streamcount.stat_workers; SELECT pg_logical_emit_message(true, '', '')},
			timeout => 5, timed_out => \$stuck);
		return unless $stuck;
		kill 'CONT', $pid;
	}
	die "worker $pid cannot be frozen alone";
}

change(log_min_messages => 'debug1');
foreach my $i (1 .. $launchers)
{
	my $frozen = await_worker();
	my $from = $node->log_size;

	sleep rand 0.3;
	freeze($frozen);
	next_launcher();
	is_alone($frozen, "K22: the next launcher gives a frozen worker's unit to no other one, $i");
	kill 'CONT', $frozen;
	goes_on_exactly('hashtags', "K22: a frozen worker, $i");
	is_alone($frozen, "K22: ... which has its unit, $i");
	is(starts($from), 0, "K22: ... and has been the only one all along, $i");
}

# One that was asked for, and has no unit yet: the next launcher knows nothing of
# it.  A process begins by waiting for post_auth_delay.
foreach my $i (1 .. $launchers)
{
	local $ENV{PGOPTIONS} = '-c post_auth_delay=0';
	my $old = await_worker();
	my $from = $node->log_size;
	my $until = time + 60;
	my $late;

	change(post_auth_delay => 3);
	kill 'TERM', $old;
	sleep 0.01 until (($late) = grep { $_ != $old } processes()) || time > $until;
	kill 'STOP', $late // die 'no worker was started';
	is(join(' ', serving()), '', "K22: a worker is frozen before it has its unit, $i");
	change(post_auth_delay => 0);
	next_launcher();
	my $second = await_worker();
	is(join(' ', serving(), '/', sort { $a <=> $b } processes()), join(' ', $second, '/', sort { $a <=> $b } $late, $second),
		"K22: the next launcher has a second worker started, $i");
	kill 'CONT', $late;
	$until = time + 60;
	sleep 0.01 until StreamCount::Node::has_ended($late) || time > $until;
	goes_on_exactly('hashtags', "K22: the first worker has come too late, $i");
	is_alone($second, "K22: ... and has left by itself, $i");
	is(starts($from), 2, "K22: ... there were no others, $i");
}
change(log_min_messages => 'warning');
$node->safe_psql('postgres', q{SELECT streamcount.drop_rollup('parts')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'K22: none of it needs a person');

# ---------------------------------------------------------------------
# Somebody locks a rollup
# ---------------------------------------------------------------------

$node->set_up('streamcount.fetch_mem' => '2MB', 'streamcount.batch_mem' => '1MB', 'streamcount.tally_mem' => '4MB');
$node->create_hashtags_rollup(name => 'others', granularities => 'hour,ALL');
$node->wait_for_sql('SELECT ' . position('others') . ' >= ' . position('hashtags'), 't');
my $locker = $node->background_psql('postgres');
my $begin = time;
$locker->query_safe('BEGIN; LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE');
$node->wait_for_sql(
	q{SELECT DISTINCT state, reason <> '' FROM streamcount.progress WHERE rollup = 'hashtags'::regclass},
	'blocked|t', timeout => 30);
pass('P9: a rollup whose table is locked is blocked');
my $stands = $node->safe_psql('postgres', 'SELECT ' . position('hashtags'));
my $from = $node->safe_psql('postgres', 'SELECT ' . position('others'));
# More than either worker may have in memory
my $bulk = '{"created_at": "2014-09-21T10:00:00Z", "text": "#bulk", "more": "' . 'y' x 20_000 . '"}';
$kafka->produce_values('tweets', [ ($bulk) x 200 ]) for 1 .. 15;
$node->wait_for_sql('SELECT ' . position('others') . " > $from + 4 * $rate + 3000", 't', timeout => 60);
pass('P9: another rollup of the stream goes on');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.progress'
			. " WHERE rollup = 'others'::regclass AND state NOT IN ('running', 'catching_up', 'idle')"),
	'0', 'P9: and is not blocked');
$node->wait_for_sql('SELECT rollup, state FROM streamcount.problems', 'hashtags|blocked', timeout => 30);
pass('P9: the one that is blocked is the one that is shown');
sleep 0.05 while time < $begin + $locked_s;
foreach my $pid (split /\n/, $node->safe_psql('postgres', 'SELECT pid FROM streamcount.stat_workers WHERE pid IS NOT NULL'))
{
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;

	# What these settings allow, and 30 MB
	cmp_ok($kb / 1024, '<', 2 + 1 + 4 + 30, sprintf 'P9: behind 60 MB a worker has %d MB of its own', $kb / 1024);
}
is($node->safe_psql('postgres', 'SELECT ' . position('hashtags')), $stands, 'P9: it has stood still');
$node->safe_psql('postgres', 'CREATE DATABASE unrelated');
$node->safe_psql('postgres', 'CHECKPOINT');
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE unrelated');
cmp_ok(time - $begin, '<', 4, 'P14: a worker that waits for a lock is in no way of other databases');
$locker->query_safe('COMMIT');
$locker->quit;
goes_on_exactly('hashtags', 'P9: the lock is gone');
my $differences = $node->differences($kafka, 'tweets', name => 'others', granularities => 'hour,ALL');
ok($differences eq '', 'and so is the other one') or diag substr $differences, 0, 2000;
$node->wait_for_sql('SELECT count(*), count(apart) FROM streamcount.stat_workers', '1|0', timeout => 60);
pass('P9: they are served together again');
goes_on_exactly('hashtags', 'together again');

# A rollup that comes while another one is waiting does not wait with it.
$locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', "SELECT streamcount.pause('others')");
$node->wait_for_sql(q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'hashtags'::regclass},
	'blocked', timeout => 30);
$node->safe_psql('postgres', "SELECT streamcount.resume('others')");
$from = $node->safe_psql('postgres', 'SELECT ' . position('others'));
$node->wait_for_sql('SELECT ' . position('others') . " > $from + $rate", 't', timeout => 30);
pass('P9: a rollup that is resumed while another one is blocked goes on');
$locker->query_safe('ROLLBACK');
$locker->quit;
goes_on_exactly('hashtags', 'the second lock is gone');

# Rows, too, may be locked.
$locker = $node->background_psql('postgres');
$locker->query_safe(q{BEGIN; SELECT count(*) FROM
	(SELECT FROM hashtags_data WHERE hashtag IS NOT NULL FOR UPDATE) locked});
$node->wait_for_sql(q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'hashtags'::regclass},
	'blocked', timeout => 30);
$from = $node->safe_psql('postgres', 'SELECT ' . position('others'));
$node->wait_for_sql('SELECT ' . position('others') . " > $from + $rate", 't', timeout => 30);
pass('P8: rows that are locked block one rollup alone');
$locker->query_safe('ROLLBACK');
$locker->quit;
goes_on_exactly('hashtags', 'P8: the rows are free');

# A stop does not wait for anybody's lock.
$locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE');
$node->wait_for_sql(q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'hashtags'::regclass},
	'blocked', timeout => 30);
$begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 1, 'P5: a fast stop, while a worker waits for a lock, takes less than a second');
eval { $locker->quit };
$node->start;
goes_on_exactly('hashtags', 'stopped while it was blocked');

# ---------------------------------------------------------------------
# Settings of a database and of roles
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE hostile');
$node->safe_psql('postgres', 'CREATE ROLE somebody');
$node->safe_psql('hostile', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream(dbname => 'hostile');
$node->create_hashtags_rollup(dbname => 'hostile');
$node->safe_psql('hostile', q{
	ALTER FOREIGN TABLE tweets OWNER TO somebody;
	GRANT USAGE ON FOREIGN SERVER streamcount TO somebody;
	GRANT CREATE ON SCHEMA public TO somebody;
	ALTER VIEW hashtags OWNER TO somebody;
	ALTER VIEW hashtags_query OWNER TO somebody;
	ALTER TABLE hashtags_data OWNER TO somebody;
	CREATE SCHEMA evil;
	CREATE FUNCTION evil.never(bigint, bigint) RETURNS boolean LANGUAGE sql RETURN false;
	CREATE OPERATOR evil.= (FUNCTION = evil.never, LEFTARG = bigint, RIGHTARG = bigint);
	CREATE FUNCTION evil.count(bigint) RETURNS bigint LANGUAGE sql RETURN 7;
	GRANT USAGE ON SCHEMA evil TO PUBLIC});
goes_on_exactly('hashtags', 'before the settings', dbname => 'hostile');

my %setting = (
	statement_timeout => '1',
	lock_timeout => '1',
	idle_in_transaction_session_timeout => '1',
	default_transaction_read_only => 'on',
	default_transaction_isolation => 'serializable',
	default_transaction_deferrable => 'on',
	search_path => 'evil, pg_catalog',
	session_replication_role => 'replica',
	row_security => 'off',
	role => 'somebody',
	DateStyle => "'SQL, DMY'",
	TimeZone => "'Asia/Kathmandu'");
my $superuser = $node->superuser;
my $sql = '';
for my $whose ('DATABASE hostile', qq(ROLE "$superuser"), qq(ROLE "$superuser" IN DATABASE hostile), 'ROLE somebody')
{
	$sql .= "ALTER $whose SET $_ = $setting{$_};\n" for sort keys %setting;
}
$node->safe_psql('postgres', $sql);

# The sessions that ask are not to suffer from it.
$ENV{PGOPTIONS} = join ' ', map { "-c $_" } qw(statement_timeout=0 lock_timeout=0
  idle_in_transaction_session_timeout=0 default_transaction_read_only=off search_path=public
  default_transaction_deferrable=off DateStyle=ISO TimeZone=UTC role=none);
my $worker = $node->safe_psql('hostile', 'SELECT pid FROM streamcount.stat_workers');
$log = $node->log_size;
$node->safe_psql('hostile', "SELECT pg_terminate_backend($worker)");
$node->wait_for_sql("SELECT count(*) FROM streamcount.stat_workers WHERE pid <> $worker", '1', dbname => 'hostile');
goes_on_exactly('hashtags', 'hostile settings', dbname => 'hostile');
is($node->log_count(qr/ERROR|WARNING/, $log), 0, 'and not by trying again');

# ---------------------------------------------------------------------

ok($load->goes_on, 'the load went on through all of it');
$load->stop;
$node->wait_for_rollup($kafka, 'tweets');
$node->wait_for_rollup($kafka, 'tweets', dbname => 'hostile');
is($node->log_count(qr/was terminated by signal|PANIC|TRAP:|deadlock detected/), 0, 'no crash, no deadlock');
$node->stop('fast');
$kafka->stop;
done_testing();
