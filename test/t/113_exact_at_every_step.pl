# Whatever step a worker is at when it fails, and however it fails: nothing is
# lost, nothing is counted twice.
#
# The library under test has crash points (src/crash_point.h): after the poll,
# after the tally, before and after the fence, after the first upsert, before
# the offsets move, before and after the commit.  At each of them a worker is
# killed, kills the postmaster, aborts, or finds no memory; one worker keeps
# its rollup by the tally, the other by the executor.  After each fault both
# rollups are compared, whole, with an independent count.

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
plan skip_all => 'STREAMCOUNT_POINTS does not name a server with crash points'
  unless $ENV{STREAMCOUNT_POINTS};

# So many times each fault at each point, at the two workers in turn
my $rounds = $ENV{STREAMCOUNT_ROUNDS} // 1;
# So many times the server is killed while its commits are asynchronous
my $unsynced = $ENV{STREAMCOUNT_UNSYNCED} // 3;
# Messages a second: what is compared after each fault grows by them.
my $rate = $ENV{STREAMCOUNT_RATE} // 200;

my @points = qw(after_poll after_tally before_fence after_fence after_upsert before_advance before_commit after_commit);
my @actions = qw(kill postmaster abort error);
my %way = (tallied => 'tally', executed => 'executor');
my @rollups = qw(tallied executed);

my $kafka = StreamCount::Kafka->new->start;
$kafka->create_topic('tweets', 4);

my $node = StreamCount::Node->new('points', install_path => $ENV{STREAMCOUNT_POINTS});
$node->init(
	brokers => $kafka->bootstrap,
	allows_streaming => 1,
	conf => "restart_after_crash = on\nlog_statement = none\nlog_checkpoints = off\n"
	  # Where there is little room commits are written early, and never lost.
	  . "shared_buffers = 128MB\nwal_buffers = 16MB\n"
	  . "streamcount.flush_interval = 5ms\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
my %stream;
foreach my $rollup (@rollups)
{
	$node->create_tweets_stream(name => "stream_$rollup", topic => 'tweets');
	$node->create_hashtags_rollup(name => $rollup, stream => "stream_$rollup", way => $way{$rollup});
	$stream{$rollup} = $node->safe_psql('postgres', "SELECT 'stream_$rollup'::regclass::oid");
}

# ---------------------------------------------------------------------
# What the tests have in common
# ---------------------------------------------------------------------

# Where both rollups stand
sub position
{
	return $node->safe_psql('postgres', 'SELECT ' . position_sql());
}

sub position_sql
{
	return '(SELECT coalesce(min(next), 0) FROM (SELECT sum(next_offset) AS next
		FROM streamcount.progress GROUP BY rollup) AS p)';
}

# All that was there when it failed is read, and more.
sub goes_on_exactly
{
	my ($name) = @_;
	my $from;

	sleep 0.02 until defined($from = eval { position() });
	$node->wait_for_sql('SELECT ' . position_sql() . " > $from + $rate / 10", 't', timeout => 60);
	foreach my $rollup (@rollups)
	{
		my $differences = $node->differences($kafka, 'tweets', name => $rollup);

		ok($differences eq '', "$name: exact by the $way{$rollup}") or diag substr $differences, 0, 2000;
	}
	return;
}

my @no_point = ('streamcount.crash_point' => '', 'streamcount.crash_worker' => '');

# ---------------------------------------------------------------------
# The library of everybody else
# ---------------------------------------------------------------------

my ($with_points) = grep { -f } map { "$ENV{STREAMCOUNT_POINTS}/$_/streamcount.so" } qw(lib lib/postgresql);
my $points = slurp_file($with_points);
my $usual = slurp_file(qx{$ENV{PG_CONFIG} --pkglibdir} =~ s/\s+$//r . '/streamcount.so');
like($points, qr/crash_point/, 'the library of this test has crash points');
unlike($usual, qr/crash.?point/i, 'the one that is installed has not a byte of them');

# ---------------------------------------------------------------------
# Each fault at each point
# ---------------------------------------------------------------------

my $load = StreamCount::Load->start($kafka, 'tweets', rate => $rate, seed => 113);
$node->wait_for_sql('SELECT ' . position_sql() . " > $rate", 't');

my %fault = (
	kill => 'P1, P6: worker killed',
	postmaster => 'P4, P6, P26: postmaster killed, synchronous_commit off,',
	abort => 'P6: worker aborted',
	error => 'P20: no memory');

sub strike
{
	my ($point, $action, $rollup) = @_;
	my @family = $action eq 'postmaster' ? $node->family : ();
	my $log = $node->log_size;

	$node->strike(
		sub { },
		'streamcount.crash_point' => "$point $action",
		'streamcount.crash_worker' => $action eq 'error' ? '' : "stream $stream{$rollup}",
		'synchronous_commit' => $action eq 'postmaster' ? 'off' : 'on');
	if ($action eq 'postmaster')
	{
		$node->start_after_kill(@family);
	}
	elsif ($action ne 'error')
	{
		$node->wait_for_log(qr/was terminated by signal/, $log);
		sleep 0.02 until ($node->try_psql('postgres', 'SELECT 1'))[0] == 0;
	}
	$node->set_up(@no_point);
	return;
}

my $begin = time;
my $struck = 0;
foreach my $round (1 .. $rounds)
{
	foreach my $p (0 .. $#points)
	{
		foreach my $a (0 .. $#actions)
		{
			my $rollup = $rollups[ ($round + $p + $a) % 2 ];

			strike($points[$p], $actions[$a], $rollup);
			goes_on_exactly("$fault{ $actions[$a] } $points[$p]"
				  . ($actions[$a] eq 'error' ? '' : ", that of the $way{$rollup}"));
			$struck++;
		}
	}
}
diag sprintf '%d faults at %d points in %.0f s', $struck, scalar @points, time - $begin;

# ---------------------------------------------------------------------
# Commits that are lost
# ---------------------------------------------------------------------

# A change of settings has all written that is committed, so it is none that
# kills here.  Else whole pages are: what may be lost is the last one, and was
# where a mark is lost that was set just before.
my $lost = 0;

$node->safe_psql('postgres', 'CREATE TABLE marks (n int)');
$node->set_up(synchronous_commit => 'off', wal_writer_delay => '10s', bgwriter_lru_maxpages => 0);
$begin = time;
foreach my $n (1 .. $unsynced)
{
	my @family = $node->family;

	$node->safe_psql('postgres', "INSERT INTO marks VALUES ($n)");
	kill 'KILL', @family;
	$node->start_after_kill(@family);
	goes_on_exactly('P26: postmaster killed, commits asynchronous');
	$lost += $node->safe_psql('postgres', "SELECT count(*) FROM marks WHERE n = $n") eq '0';
}
diag sprintf 'killed %d times in %.0f s, the last commit that was seen was lost %d times', $unsynced, time - $begin, $lost;
cmp_ok($lost, '>', 0, 'P26: commits that were seen are lost by it') if $unsynced >= 10;
$node->set_up(synchronous_commit => 'on', wal_writer_delay => '200ms', bgwriter_lru_maxpages => 100);

# ---------------------------------------------------------------------
# Signals that workers serve
# ---------------------------------------------------------------------

sub signal_workers
{
	my ($function) = @_;

	foreach (1 .. 20)
	{
		$node->safe_psql('postgres', "SELECT count($function(pid)) FROM pg_stat_activity
			WHERE backend_type = 'streamcount worker'");
		sleep rand 0.1;
	}
	return;
}

my $log = $node->log_size;
signal_workers('pg_terminate_backend');
goes_on_exactly('P2: workers terminated, again and again');
cmp_ok($node->log_count(qr/terminating background worker "streamcount worker" due to administrator command/, $log),
	'>', 0, 'P2: they ended by it');
$log = $node->log_size;
signal_workers('pg_cancel_backend');
goes_on_exactly('P3: workers cancelled, again and again');
cmp_ok($node->log_count(qr/canceling statement due to user request/, $log), '>', 0, 'P3: what they were about was given up');

# A worker that waits for a standby has committed, and does not know it.
my $pids = join ',', $node->pids_of('worker');
$node->set_up(synchronous_standby_names => 'nobody');
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'streamcount worker' AND wait_event = 'SyncRep'}, '2');
$begin = time;
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type = 'streamcount worker'");
$node->wait_for_sql("SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids)", '0', timeout => 20);
pass('P25: a worker that waits for a synchronous standby can be ended');
$node->set_up(synchronous_standby_names => '');
goes_on_exactly('P25: terminated while waiting for a synchronous standby');

# The server is stopped in its place, as a power failure does.
my @family = $node->family;
$node->kill9;
$node->start_after_kill(@family);
goes_on_exactly('P4: postmaster killed');
$node->stop('immediate');
$node->start;
goes_on_exactly('P4: immediate stop');

# ---------------------------------------------------------------------

ok($load->goes_on, 'the load went on through all of it');
$load->stop;
$node->wait_for_rollup($kafka, 'tweets', name => $_) foreach @rollups;
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'nothing needs a person');
is($node->log_count(qr/PANIC|TRAP:|moved by somebody else/), 0, 'no panic, and no fence was needed');
$node->stop('fast');
$kafka->stop;
done_testing();
