# Kill anything at any moment: nothing is lost, nothing is counted twice.
#
# Fifty faults under load, in random order and at random moments, at two
# workers: one keeps its rollup by the tally, the other by the executor.  After
# each fault both rollups are compared, whole, with what another program, in
# another language, counts over the same offsets; and all the time a reader
# looks whether rows and offsets fit together in every snapshot that it gets.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(max shuffle sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $of_each = $ENV{STREAMCOUNT_KILLS} // 10;
my $seed = $ENV{STREAMCOUNT_SEED} // time ^ $$;
my $rate = 500;
my $granularities = 'hour,day,ALL';

diag "seed $seed: STREAMCOUNT_SEED=$seed has the same faults in the same order";

my $kafka = StreamCount::Kafka->new->start;
$kafka->create_topic('tweets', 4);

my $node = StreamCount::Node->new('killed');
$node->init(
	brokers => $kafka->bootstrap,
	allows_streaming => 1,
	# Many small flushes: a kill is to hit as many of them as it can.
	conf => "restart_after_crash = on\nlog_statement = none\nstreamcount.flush_interval = 5ms\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
my %ways = (tallied => 'tally', executed => 'executor');
my @rollups = sort keys %ways;

foreach my $rollup (@rollups)
{
	$node->create_tweets_stream(name => "stream_$rollup", topic => 'tweets');
	$node->create_hashtags_rollup(
		name => $rollup,
		stream => "stream_$rollup",
		granularities => $granularities,
		way => $ways{$rollup});
}

my $load = StreamCount::Load->start($kafka, 'tweets', rate => $rate, seed => $seed);

# ---------------------------------------------------------------------
# A reader
# ---------------------------------------------------------------------

# Every message that is counted has two hashtags, and all that was read is in
# the books, besides the records that are no messages.
my $tempdir = PostgreSQL::Test::Utils::tempdir;
my $checks = "$tempdir/checks.sql";
my $seen = "$tempdir/seen";
my $check = join "\n", map { qq{
	SELECT books.counted, rows.mentions, books.consumed, books.judged, rejects.n, books.rejected
	FROM (SELECT coalesce(sum(counted), 0) AS counted,
			coalesce(sum(rejected), 0) AS rejected,
			coalesce(sum(counted + filtered + rejected), 0) AS judged,
			coalesce(sum(next_offset - start_offset), 0) AS consumed
		FROM streamcount.progress WHERE rollup = '$_'::regclass) AS books,
		(SELECT coalesce(sum(mentions), 0) AS mentions FROM $_ WHERE "interval" = 'ALL') AS rows,
		(SELECT count(*) AS n FROM streamcount.rejects WHERE rollup = '$_'::regclass) AS rejects;} } @rollups;

PostgreSQL::Test::Utils::append_to_file($checks, "$check\nSELECT pg_sleep(0.005) \\g /dev/null\n" x 50);

open my $nothing, '<', '/dev/null' or die $!;
open my $out, '>', $seen or die $!;
open my $unheard, '>', '/dev/null' or die $!;
my $reader = StreamCount::Broker::spawn($out, $unheard, $nothing, 'sh', '-c',
	'while :; do "$@" || sleep 0.1; done', 'reader',
	$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), '-f', $checks);

# Snapshots that were seen, and those that do not fit together.
sub snapshots
{
	my @lines = split /\n/, slurp_file($seen);
	my @bad = grep {
		my ($counted, $mentions, $consumed, $judged, $rejects, $rejected) = split /\|/;
		!defined $rejected || $mentions != 2 * $counted || $judged > $consumed || $rejects != $rejected
	} @lines;

	return (scalar @lines, @bad);
}

# ---------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------

# Where all partitions stand together, of the rollup that is behind
my $position = 'SELECT coalesce(min(next), 0) FROM (SELECT sum(next_offset) AS next
	FROM streamcount.progress GROUP BY rollup) AS p';
my $worker_kills = 0;
my $orphans = 0;
my $producers = 0;

sub answers
{
	return ($node->try_psql('postgres', 'SELECT 1'))[0] == 0;
}

# A zombie has ended, too: it only waits for its parent to say so.
sub has_ended
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return !kill 0, $pid;
	return (readline($stat) // ') Z') =~ /\) Z/;
}

# All of the server's processes, the postmaster first
sub family
{
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my @children = grep {
		my $stat;
		open($stat, '<', "/proc/$_/stat") && readline($stat) =~ /\) \S $postmaster /;
	} map { m{(\d+)} } glob '/proc/[0-9]*';

	return ($postmaster, @children);
}

# Either.  It may be between two lives: then this waits for the next one.
sub worker
{
	$node->wait_for_sql("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'streamcount worker'", 't');
	my @workers = $node->pids_of('worker');
	return $workers[ rand @workers ] // worker();
}

my %fault = (
	'worker killed' => sub {
		my $pid = worker();

		$worker_kills += kill 'KILL', $pid;
		sleep 0.01 until has_ended($pid);
		sleep 0.02 until answers();
	},
	'worker terminated' => sub {
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . worker() . ')');
	},
	'postmaster killed' => sub {
		my @family = family();
		my $begin = time;

		$node->kill9;
		sleep 0.01 while grep { !has_ended($_) } @family;
		$orphans = max $orphans, time - $begin;
		# To the next postmaster a zombie is alive.
		sleep 0.01 while kill 0, $family[0];
		$node->start;
	},
	'immediate stop' => sub {
		$node->stop('immediate');
		$node->start;
	},
	'broker restarted' => sub {
		rand() < 0.5 ? $kafka->kill9 : $kafka->stop;
		sleep rand 1;
		$kafka->start;
	});

# At random a fault hardly ever hits the moment of a commit.  A worker that
# waits for a standby that does not exist has committed, and does not know it.
sub stop_in_commit
{
	$node->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	$node->reload;
	$node->wait_for_sql(q{SELECT count(*) > 0 FROM pg_stat_activity
		WHERE backend_type = 'streamcount worker' AND wait_event = 'SyncRep'}, 't');
	return;
}

sub end_of_commit
{
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
	$node->reload;
	return;
}

# Where all is read and nothing comes, it is the producer that did not find back
# to its broker: another one takes its place.
sub goes_on_behind
{
	my ($sum) = @_;

	for my $try (1 .. 4)
	{
		return if eval { $node->wait_for_sql("SELECT ($position) > $sum", 't', timeout => 15) };
		my $why = $@;
		die $why if $try == 4 || sum($kafka->ends('tweets')) > $node->safe_psql('postgres', $position);
		diag 'a new producer takes over';
		$load->abandon;
		$load = StreamCount::Load->start($kafka, 'tweets', rate => $rate, seed => $seed + ++$producers);
	}
	return;
}

sub is_exact
{
	my ($name) = @_;

	foreach my $rollup (@rollups)
	{
		my $differences =
		  $node->differences($kafka, 'tweets', name => $rollup, granularities => $granularities);

		ok($differences eq '', "exact by the $ways{$rollup}: $name")
		  or diag "seed $seed:\n" . substr $differences, 0, 2000;
	}
	return;
}

my (%worst, %inflicted);

sub inflict
{
	my ($kind) = @_;
	my $in_commit = $inflicted{$kind}++ % 2 && $kind ne 'broker restarted';

	sleep rand 1.5;
	my $before = $node->safe_psql('postgres', $position);
	stop_in_commit() if $in_commit;
	$fault{$kind}->();
	end_of_commit() if $in_commit;
	my $begin = time;
	goes_on_behind($before + $rate / 5);
	my $took = time - $begin;
	$worst{$kind} = max $took, $worst{$kind} // 0;
	is_exact($in_commit ? "$kind in its commit" : $kind);
	return;
}

# ---------------------------------------------------------------------

$node->wait_for_sql("SELECT ($position) > $rate", 't');

my $begin = time;
my $committed = 0;
my $inflicted = 0;
# Only here: whoever looked for a free port before has drawn, too.
srand $seed;
for my $kind (shuffle map { ($_) x $of_each } sort keys %fault)
{
	inflict($kind);

	# What is aborted must not be counted, what is committed must be; and both
	# leave records in the log that are no messages.  Never after the last fault:
	# the broker says that a transaction has ended before its records show it.
	if (++$inflicted % 5 == 2)
	{
		my $end = $inflicted % 2 ? 'abort' : 'commit';
		my $value = '{"created_at": "2014-09-21T00:00:00Z", "text": "#transaction #of_its_own"}';

		$kafka->produce_messages('tweets', [ map { { partition => $_, value => $value } } 0 .. 3 ], $end);
		$committed += 4 if $end eq 'commit';
	}
}
my $took = time - $begin;

ok($load->goes_on, 'the load went on through all of it');
$load->stop;
$node->wait_for_rollup($kafka, 'tweets', name => $_) foreach @rollups;
is_exact('at the end');
is( $node->safe_psql('postgres', "SELECT sum(mentions) FROM $_
		WHERE hashtag = '#transaction' AND \"interval\" = 'ALL'"),
	$committed || '', "of the transactions, those that were committed, by the $ways{$_}") foreach @rollups;

# The books, by the other program
my $theirs = '';
for (split /\n/, `$StreamCount::Broker::root/test/bin/count.py @{[ $kafka->bootstrap ]} tweets --books`)
{
	my ($partition, $read, $left_out) = split ' ';
	$theirs .= join('|', $partition, $read, $left_out) . "\n";
}
is( $node->safe_psql('postgres', "SELECT partition, counted + filtered + rejected, rejected
		FROM streamcount.progress WHERE rollup = '$_'::regclass ORDER BY partition") . "\n",
	$theirs, "the books say the same, by the $ways{$_}") foreach @rollups;

StreamCount::Broker::end($reader, 'TERM', 5);
my ($snapshots, @bad) = snapshots();
cmp_ok($orphans, '<', 5, 'processes end soon after their postmaster');
cmp_ok($snapshots, '>', 20 * $of_each, 'the reader has seen many snapshots');
is(scalar @bad, 0, 'rows and offsets fit together in every snapshot')
  or diag join "\n", 'counted|mentions|consumed|judged|rejects|rejected', splice @bad, 0, 20;

is($node->log_count(qr/was terminated by signal/), $worker_kills,
	'no process crashed besides those that were killed');
is($node->log_count(qr/PANIC|TRAP:|moved by somebody else/), 0, 'no panic, and no fence was needed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'nothing needs a person');

diag sprintf '%d faults in %.0f s, %s messages, %d snapshots; seconds until it went on, at most: %s',
  5 * $of_each, $took, $node->safe_psql('postgres', $position), $snapshots,
  join ', ', map { sprintf '%s %.1f', $_, $worst{$_} } sort keys %worst;

$node->stop('fast');
$kafka->stop;
done_testing();
