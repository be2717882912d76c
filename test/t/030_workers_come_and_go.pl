# Which processes there are, and when: the launcher, its probes, the workers.
# No test here needs Kafka: a worker that finds no broker stays and says so.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'streamcount'
streamcount.bootstrap_servers = 'localhost:1'
streamcount.max_workers = 4
max_worker_processes = 16
fsync = off
autovacuum = off
restart_after_crash = on
log_min_messages = debug1
});
$node->start;

# What the server shows of our processes: 'worker:a worker:b', in order
my $processes = q{
	SELECT coalesce(string_agg(replace(backend_type, 'streamcount ', '')
			|| coalesce(':' || datname, ''), ' ' ORDER BY backend_type, datname), '')
	FROM pg_stat_activity WHERE backend_type LIKE 'streamcount %'};

# Polls until that is so; tells what it saw otherwise.
sub processes_are
{
	my ($expected, $name, $on) = @_;

	return wait_for($on // $node, 'postgres', $processes, $expected, $name);
}

sub wait_for
{
	my ($on, $db, $query, $expected, $name) = @_;
	my $deadline = time() + 30;
	my $seen = '';

	while (time() < $deadline)
	{
		$seen = $on->safe_psql($db, $query);
		return pass($name) if $seen eq $expected;
		sleep 0.05;
	}
	return is($seen, $expected, $name);
}

sub worker_pid
{
	my ($db) = @_;

	return $node->safe_psql('postgres', qq{SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'streamcount worker' AND datname = '$db'});
}

# The command works, and soon.
sub quick
{
	my ($sql, $name, $seconds) = @_;
	my $begin = time();
	my ($status, undef, $error) = $node->psql('postgres', $sql);
	my $took = time() - $begin;

	ok($status == 0 && $took < ($seconds // 3), $name)
	  or diag sprintf 'it took %.2f s: %s', $took, $error;
	note sprintf '%s: %.3f s', $name, $took;
	return;
}

sub create_rollup
{
	my ($db, $name) = @_;

	$node->safe_psql($db, qq{
		CREATE FOREIGN TABLE ${name}_stream (word text)
			SERVER streamcount OPTIONS (topic '$name');
		SELECT streamcount.create_rollup('$name',
			'SELECT word, count(*) AS n FROM ${name}_stream GROUP BY word')});
	return;
}

# ---------------------------------------------------------------------
# Coming
# ---------------------------------------------------------------------

processes_are('launcher', 'there is a launcher, and it is connected to no database');

my $failed = 0;
for my $i (1 .. 20)
{
	$failed++ if $node->psql('postgres', "CREATE DATABASE x$i TEMPLATE template1");
}
is($failed, 0, 'twenty databases can be made from template1');
my ($ordinary, $template) = split /\n/,
  $node->safe_psql('postgres', q{SELECT oid FROM pg_database
	WHERE datname IN ('postgres', 'template1') ORDER BY datname});
$node->wait_for_log(qr/starting background worker process "streamcount probe for database $ordinary"/);
ok(slurp_file($node->logfile) !~ /"streamcount probe for database $template"/,
	'P30: nobody has looked into template1');
$node->safe_psql('postgres', "DROP DATABASE x$_") for 1 .. 20;

for my $db (qw(a b))
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, 'CREATE EXTENSION streamcount');
	processes_are($db eq 'a' ? 'launcher' : 'launcher worker:a',
		"$db: no worker without a rollup");
	create_rollup($db, 'words');
}
processes_are('launcher worker:a worker:b', 'a rollup gets a worker, in any database');

$node->safe_psql('a', q{
	BEGIN;
	CREATE FOREIGN TABLE other_stream (word text) SERVER streamcount OPTIONS (topic 'other');
	SELECT streamcount.create_rollup('other', 'SELECT word, count(*) AS n FROM other_stream GROUP BY word');
	ROLLBACK});
is($node->safe_psql('a', 'SELECT count(*) FROM streamcount.live_units()'), '1',
	'a rollup that was rolled back gets none');

my $pid = worker_pid('a');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()') for 1 .. 20;
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'streamcount launcher'});
processes_are('launcher worker:a worker:b', 'a launcher that was ended comes back');
is(worker_pid('a'), $pid, 'and finds the workers that there are');

$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for($node, 'a', "SELECT count(*) FROM streamcount.live_units() WHERE pid <> $pid", '1',
	'a worker that was ended comes back');

# ---------------------------------------------------------------------
# Making way
# ---------------------------------------------------------------------

quick('CREATE DATABASE a_copy TEMPLATE a', 'P16: a database with a worker can be copied');
processes_are('launcher worker:a worker:a_copy worker:b', 'P16: original and copy have workers');

quick('ALTER DATABASE a_copy RENAME TO a_new', 'P16: a database with a worker can be renamed');
processes_are('launcher worker:a worker:a_new worker:b', 'P16: the worker comes back after RENAME');

my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");
quick('ALTER DATABASE a_new SET TABLESPACE elsewhere', 'P16: a database with a worker can be moved');
processes_are('launcher worker:a worker:a_new worker:b', 'P16: the worker comes back after SET TABLESPACE');

# What the command finds wrong later brings the worker back, too.
$pid = worker_pid('a_new');
isnt($node->psql('postgres', 'ALTER DATABASE a_new RENAME TO b'), 0,
	'a rename to a name that is taken fails');
wait_for($node, 'a_new', "SELECT count(*) FROM streamcount.live_units() WHERE pid <> $pid", '1',
	'P16: the worker comes back after a failed command');

quick('DROP DATABASE a_new', 'P14: a database with a worker can be dropped');
processes_are('launcher worker:a worker:b', 'P14: the worker of a dropped database stays away');

my $begin = time();
$failed = 0;
for my $i (1 .. 10)
{
	$failed++ if $node->psql('postgres', 'CREATE DATABASE y') || $node->psql('postgres', 'DROP DATABASE y');
}
my $took = time() - $begin;
is($failed, 0, 'P14: databases of others come and go as ever');
note sprintf 'one that comes and goes: %.3f s', $took / 10;

# Nobody who could not run the command can send workers away with it.
$node->safe_psql('postgres', 'CREATE ROLE nobody_much LOGIN; CREATE ROLE maker LOGIN CREATEDB');
$pid = worker_pid('a');
for my $command ('DROP DATABASE a', 'ALTER DATABASE a RENAME TO c',
	'ALTER DATABASE a SET TABLESPACE elsewhere', 'CREATE DATABASE c TEMPLATE a')
{
	for my $role (qw(nobody_much maker))
	{
		my ($status, $out, $error) = $node->psql('postgres', $command, extra_params => [ '-U', $role ]);
		like($error, qr/permission denied|must be owner/, "P14: $role may not: $command");
	}
}
is(worker_pid('a'), $pid, 'and the worker has not been sent away');

# ---------------------------------------------------------------------
# Databases that must not have any
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER DATABASE b ALLOW_CONNECTIONS false');
processes_are('launcher worker:a', 'no worker where no connection is allowed');
$node->safe_psql('postgres', 'ALTER DATABASE b ALLOW_CONNECTIONS true');
processes_are('launcher worker:a worker:b', 'and again where it is');
$node->safe_psql('postgres', 'ALTER DATABASE b IS_TEMPLATE true');
processes_are('launcher worker:a', 'P30: no worker in a template');
$node->safe_psql('postgres', 'ALTER DATABASE b IS_TEMPLATE false');
processes_are('launcher worker:a worker:b', 'and again where it is none');

# ---------------------------------------------------------------------
# Settings of databases and roles
# ---------------------------------------------------------------------

$node->safe_psql('postgres', q{
	CREATE ROLE somebody;
	ALTER DATABASE b SET role = 'somebody';
	ALTER DATABASE b SET search_path = 'nowhere';
	ALTER DATABASE b SET default_transaction_read_only = on;
	ALTER DATABASE b SET default_transaction_isolation = 'serializable';
	ALTER DATABASE b SET lock_timeout = 1});
$pid = worker_pid('b');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for($node, 'b', "SET ROLE NONE; SELECT state FROM streamcount.live_units() WHERE pid <> $pid", 'connecting',
	'settings of the database do not disturb the worker');
$node->safe_psql('postgres', 'ALTER DATABASE b RESET ALL');

# ---------------------------------------------------------------------
# enabled, max_workers
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'ALTER SYSTEM SET streamcount.enabled = off');
$node->reload;
processes_are('launcher', 'streamcount.enabled = off ends all workers');
wait_for($node, 'a', 'SELECT state, reason FROM streamcount.live_units()',
	'down|streamcount.enabled is off', 'and is given as the reason');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET streamcount.enabled');
$node->reload;
processes_are('launcher worker:a worker:b', 'streamcount.enabled = on brings them back');

my $log = -s $node->logfile;
create_rollup('a', "more$_") for 1 .. 4;
processes_are('launcher worker:a worker:a worker:a worker:b', 'no more workers than streamcount.max_workers');
wait_for($node, 'a', q{SELECT count(*) FROM streamcount.live_units() WHERE pid IS NULL
		AND reason = 'all 4 workers of streamcount.max_workers are in use'},
	'2', 'units without a worker say why');
my @warnings = slurp_file($node->logfile, $log) =~ /WARNING:.*streamcount\.max_workers/g;
is(scalar @warnings, 2, 'each is logged once') or diag "@warnings";
$node->safe_psql('a', 'DROP VIEW words');
wait_for($node, 'a', 'SELECT count(*) FROM streamcount.live_units() WHERE pid IS NULL', '1',
	'a worker that has ended makes way for another');

# ---------------------------------------------------------------------
# Leaving
# ---------------------------------------------------------------------

$node->safe_psql('a', 'BEGIN; DROP EXTENSION streamcount CASCADE; ROLLBACK');
wait_for($node, 'a', 'SELECT count(*) FROM streamcount.live_units() WHERE pid IS NOT NULL', '3',
	'P13: DROP EXTENSION that is rolled back ends no worker');
$node->safe_psql('a', 'DROP EXTENSION streamcount CASCADE');
processes_are('launcher worker:b', 'P13: DROP EXTENSION ends the workers');

# An extension that is broken is one line of the log, not one for every try.
$log = -s $node->logfile;
$node->safe_psql('b', 'ALTER TABLE streamcount.rollup_catalog RENAME TO hidden');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'streamcount launcher'});
$node->wait_for_log(qr/could not look for rollups in database "b"/, $log);
$node->wait_for_log(qr/(?:registering background worker "streamcount probe.*?){3}/s, $log);
my @complaints = slurp_file($node->logfile, $log) =~ /could not look for rollups in database "b"/g;
is(scalar @complaints, 1, 'a database that cannot be read is logged once');
$node->safe_psql('b', 'ALTER TABLE streamcount.hidden RENAME TO rollup_catalog');
processes_are('launcher worker:b', 'and is looked at again');

# ---------------------------------------------------------------------
# Crash
# ---------------------------------------------------------------------

# A worker's crash is the server's; what it does again and again costs time.
# The last one is shown until the postmaster has seen its end.
my $victim = 0;

sub kill_worker
{
	$node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'streamcount worker' AND pid <> $victim});
	$victim = worker_pid('b');
	kill 'KILL', $victim;
	for (1 .. 300)
	{
		# It may go between any two looks.
		open my $stat, '<', "/proc/$victim/stat" or last;
		last if (readline($stat) // ') Z') =~ /\) Z/;
		sleep 0.01;
	}
	# psql may end before it has read the query: then IPC::Run dies.
	sleep 0.02 until eval { !$node->psql('postgres', 'SELECT 1', stderr => \my $err) };
	return;
}

SKIP:
{
	skip 'needs /proc', 2 unless -r "/proc/$$/stat";

	$log = -s $node->logfile;
	kill_worker();
	processes_are('launcher worker:b', 'workers come back after a crash of the server');
	kill_worker() for 1 .. 3;
	$node->wait_for_log(qr/WARNING:.*held back for a moment, since its worker crashed \d times/, $log);
	pass('after several crashes in a row a worker is held back');
	processes_are('launcher worker:b', 'for some time');
}

# ---------------------------------------------------------------------
# Standby
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'DROP TABLESPACE elsewhere');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $processes), '', 'P22: nothing runs on a standby');
$standby->promote;
processes_are('launcher worker:b', 'P23: it goes on after the promotion', $standby);
$standby->stop;

# ---------------------------------------------------------------------
# Stop
# ---------------------------------------------------------------------

processes_are('launcher worker:b', 'before the stop');
$begin = time();
$node->stop('fast');
$took = time() - $begin;
cmp_ok($took, '<', 1, 'P5: no broker there: a fast stop takes less than a second');
note sprintf 'stop: %.3f s', $took;

# ---------------------------------------------------------------------
# max_worker_processes
# ---------------------------------------------------------------------

# Room for the launcher and one more, which a probe and a worker share in turn
$node->append_conf('postgresql.conf', q{
max_worker_processes = 2
max_logical_replication_workers = 0});
$node->start;
processes_are('launcher worker:b', 'P21: a worker takes what the probe has left');
$node->safe_psql('b', q{
	CREATE FOREIGN TABLE late_stream (word text) SERVER streamcount OPTIONS (topic 'late');
	SELECT streamcount.create_rollup('late', 'SELECT word, count(*) AS n FROM late_stream GROUP BY word')});
$node->wait_for_log(qr/all background workers of max_worker_processes are in use/);
pass('P21: no room for a probe is logged');
$node->safe_psql('b', 'DROP VIEW words');
wait_for($node, 'b', q{SELECT count(*) FROM streamcount.live_units()
		WHERE pid IS NOT NULL AND stream = 'late_stream'::regclass::oid},
	'1', 'P21: what gets free is used');

# A probe has room, and so has one of the three that it finds.
$node->safe_psql('b', 'DROP VIEW late');
processes_are('launcher', 'P21: before three streams are made at once');
$log = -s $node->logfile;
$node->safe_psql('b', join(';', 'BEGIN', map({ qq{
	CREATE FOREIGN TABLE ${_}_stream (word text) SERVER streamcount OPTIONS (topic '$_');
	SELECT streamcount.create_rollup('$_', 'SELECT word, count(*) AS n FROM ${_}_stream GROUP BY word')} } qw(one two three)), 'COMMIT'));
my $full = 'all 2 background workers of max_worker_processes are in use';
my $without = "SELECT string_agg(rollup::text, ' ') FROM streamcount.problems WHERE state = 'down' AND reason = '$full'";
my $served = q{SELECT rollup::text FROM streamcount.rollups JOIN streamcount.stat_workers USING (stream) WHERE pid IS NOT NULL};
wait_for($node, 'b', "SELECT cardinality(string_to_array(($without), ' '))", '2', 'P21: two without a worker are in problems, and say why');
my $first = $node->safe_psql('b', $served);
is($node->safe_psql('b', "SELECT count(*) FROM streamcount.rollups WHERE reason = '$full' AND state = 'down' AND rollup <> '$first'::regclass"), '2',
	'P21: and so they do in rollups');

# Each has been tried again by now: problems shows what has been down for 3 s.
$node->safe_psql('b', "DROP VIEW $first");
wait_for($node, 'b', "SELECT ($served) <> '$first', ($without) <> ($served)", 't|t', 'P21: what one has left is taken by another');
my @told = slurp_file($node->logfile, $log) =~ /WARNING:.* (stream \d+ of database "b": $full\n.*HINT:  Increase max_worker_processes and restart the server)/g;
is(scalar @told, 2, 'P21: each is logged once, with what to do') or diag "@told";
isnt($told[0], $told[-1], 'P21: each for itself');

$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$node->restart;
processes_are('launcher worker:b worker:b', 'P21: with more of them and a restart all are served');
is($node->safe_psql('b', "$without"), '', 'P21: and nothing says otherwise');
$node->stop('fast');

done_testing();
