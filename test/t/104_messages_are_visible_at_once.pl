# How soon a message can be read after it has arrived in Kafka, and what a
# worker costs that has nothing to do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use POSIX qw(sysconf _SC_CLK_TCK);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $probes = 100;
my $flush_ms = 50;        # the default
my $margin_ms = 250;      # for half of them, on a busy machine
my $patience_ms = 2000;   # for the last one of them

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;

# The broker's clock says when a message has arrived.
$kafka->create_topic('probes', 2, 'message.timestamp.type' => 'LogAppendTime');

my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "autovacuum = off\n"
	  . "checkpoint_timeout = 1h\n"
	  . "fsync = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION streamcount;
	CREATE FOREIGN TABLE probes (n int, arrived timestamptz OPTIONS (metadata 'timestamp'))
		SERVER streamcount OPTIONS (topic 'probes');
	SELECT streamcount.create_rollup('counts',
		'SELECT n, count(*) AS times, max(arrived) AS arrived FROM probes GROUP BY n');
	CREATE TABLE seen (n int PRIMARY KEY, times bigint, arrived timestamptz, seen timestamptz);

	-- Write down when each number is seen first, until all of them are.
	CREATE PROCEDURE watch(numbers int) LANGUAGE plpgsql AS $$
	DECLARE
		until timestamptz := clock_timestamp() + interval '60 s';
	BEGIN
		WHILE (SELECT count(*) FROM seen) < numbers AND clock_timestamp() < until LOOP
			INSERT INTO seen SELECT n, times, arrived, clock_timestamp() FROM counts
				WHERE n BETWEEN 1 AND numbers ON CONFLICT DO NOTHING;
			COMMIT;
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$});

# ---------------------------------------------------------------------
# Freshness
# ---------------------------------------------------------------------

$kafka->produce('probes', 0, undef, '{"n": 0}');
$node->wait_for_sql('SELECT n, times FROM counts', '0|1');

my $producer = fork;
die "could not fork: $!" unless defined $producer;
if ($producer == 0)
{
	$kafka->produce('probes', $_ % 2, undef, "{\"n\": $_}") foreach 1 .. $probes;
	POSIX::_exit(0);
}
$node->safe_psql('postgres', "CALL watch($probes)");
waitpid $producer, 0;
is($?, 0, "$probes single messages were produced");

my ($seen, $p50, $p99, $most, $first) = split /\|/, $node->safe_psql('postgres', q{
	SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms),
		max(ms), min(ms)
	FROM (SELECT round(extract(epoch FROM seen - arrived) * 1000) AS ms FROM seen) AS s});
is($seen, $probes, 'all of them were seen');
note "visible after: p50 $p50 ms, p99 $p99 ms, at most $most ms, at least $first ms";
cmp_ok($p50, '<=', $flush_ms + $margin_ms, "half of them within flush_interval and $margin_ms ms (it was $p50 ms)");
cmp_ok($most, '<=', $flush_ms + $patience_ms, "all of them within flush_interval and $patience_ms ms (p99 was $p99 ms)");
is($node->safe_psql('postgres', 'SELECT count(*), min(times), max(times) FROM counts'),
	$probes + 1 . '|1|1', 'each was counted once');

# ---------------------------------------------------------------------
# Idleness
# ---------------------------------------------------------------------

# Clock ticks that a process has used, with all its threads
sub ticks
{
	my ($pid) = @_;
	my $stat = slurp_file("/proc/$pid/stat");

	return (split ' ', $stat =~ s/^.*\)//sr)[11] + (split ' ', $stat =~ s/^.*\)//sr)[12];
}

sub transactions_and_wal
{
	return split /\|/, $node->safe_psql('postgres', q{
		SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn() - '0/0'});
}

ok(eval { $node->wait_for_sql('SELECT DISTINCT state FROM streamcount.progress', 'idle', timeout => 15) },
	'soon after the last message the state is idle') or diag $@;
$node->safe_psql('postgres', 'CHECKPOINT');

my ($worker) = $node->pids_of('worker');
my ($launcher) = $node->pids_of('launcher');
my $idle_s = 3;
my ($xid_before, $wal_before) = transactions_and_wal();
my @ticks_before = map { ticks($_) } $worker, $launcher;

sleep $idle_s;

my @ticks_after = map { ticks($_) } $worker, $launcher;
my ($xid_after, $wal_after) = transactions_and_wal();
my @used = map { ($ticks_after[$_] - $ticks_before[$_]) / sysconf(_SC_CLK_TCK) } 0, 1;

is(join(' ', $node->pids_of('worker')), $worker, 'the worker is still the same');
cmp_ok($used[0], '<=', 0.03, "in $idle_s idle seconds, the worker used no CPU (it was $used[0] s)");
cmp_ok($used[1], '<=', 0.01, "nor did the launcher (it was $used[1] s)");
is($xid_after, $xid_before, 'P33: no transaction id');

# The background writer notes running transactions now and then.
cmp_ok($wal_after - $wal_before, '<=', 500, 'and no WAL to speak of');

# ---------------------------------------------------------------------
# Other intervals
# ---------------------------------------------------------------------

sub set_flush_interval
{
	my ($value) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET streamcount.flush_interval = '$value'");
	$node->reload;
	$node->wait_for_sql('SHOW streamcount.flush_interval', $value);
	return;
}

sub flushes
{
	return $node->safe_psql('postgres', 'SELECT sum(flushes) FROM streamcount.stat_workers');
}

my $number = $probes;
my %flushes;
foreach my $interval (qw(1ms 5s))
{
	set_flush_interval($interval);

	# The first one tells the worker.
	$kafka->produce('probes', 0, undef, '{"n": ' . ++$number . '}');
	$node->wait_for_sql("SELECT times FROM counts WHERE n = $number", '1');

	my $before = flushes();
	my $begin = time;
	$kafka->produce('probes', $_ % 2, undef, '{"n": ' . ++$number . '}') foreach 1 .. 10;
	$kafka->produce_values('probes', [ map { '{"n": ' . ++$number . '}' } 1 .. 5000 ], 2);
	$node->wait_for_sql('SELECT count(*), sum(times) FROM counts', ($number + 1) . '|' . ($number + 1));
	$flushes{$interval} = flushes() - $before;
	note sprintf '%s: %d flushes in %.1f s', $interval, $flushes{$interval}, time - $begin;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM counts WHERE times <> 1'),
		'0', "at a flush_interval of $interval, no message is lost or doubled");
}
cmp_ok($flushes{'1ms'}, '>=', 8, 'a short interval shows each message by itself');
cmp_ok($flushes{'5s'}, '<=', 3, 'a long one gathers them');
is($node->safe_psql('postgres', "SELECT streamcount.wait('counts')"), 't', 'wait() agrees');

$node->stop;
done_testing();
