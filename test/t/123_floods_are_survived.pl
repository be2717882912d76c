# A flood of messages, of hashtags, of garbage: the worker's memory stays
# within its bounds, and everything is counted or rejected.
#
#	STREAMCOUNT_BACKLOG		messages of the backlog (200,000; published: 10,000,000)
#	STREAMCOUNT_UNIQUE		unique hashtags (200,000; published: 5,000,000)
#	STREAMCOUNT_HOSTILE		hostile messages (50,000; published: 10,000,000)
#
# A number of 0 leaves the part out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Carp;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $backlog = $ENV{STREAMCOUNT_BACKLOG} // 200_000;
my $unique = $ENV{STREAMCOUNT_UNIQUE} // 200_000;
my $hostile = $ENV{STREAMCOUNT_HOSTILE} // 50_000;
my $partitions = 8;
my $limit = 256 * 1024;    # kB, shared buffers included
my @ways = qw(executor tally);

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('flooded');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "shared_buffers = 32MB\nmax_wal_size = 2GB\nlog_statement = none\nstreamcount.reject_payload_limit = 0\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

query('CREATE EXTENSION streamcount');

# A topic full of messages
sub flood
{
	my ($load, $count) = @_;

	$kafka->create_topic($load, $partitions);
	system("$StreamCount::Broker::root/test/bench/generate", '--brokers=' . $kafka->bootstrap, "--topic=$load",
		"--load=$load", "--count=$count", "--partitions=$partitions") == 0
	  or BAIL_OUT("could not produce $load");
	return;
}

# Read it from its beginning, by one way, and look at the worker all the time.
# Returns its highest VmHWM in kB, shared buffers included, and its pid.
sub drink
{
	my ($load, $way, $granularities) = @_;
	my $name = "${load}_$way";
	my @ends = $kafka->ends($load);
	my ($peak, $own, $pid) = (0, 0);
	my $begin = time;

	$node->create_tweets_stream(name => "stream_$name", topic => $load, options => 'reject_limit \'0\'');
	$node->create_hashtags_rollup(name => $name, stream => "stream_$name", granularities => $granularities, way => $way);
	do
	{
		croak("$name does not come to its end:\n" . $node->state_of_rollups) if time - $begin > 3600;
		my $now = query("SELECT pid FROM streamcount.stat_workers WHERE stream = 'stream_$name'::regclass AND pid IS NOT NULL") || $pid;

		is($now, $pid, "$name: the worker has not died") if $pid && $now != $pid;
		$pid = $now;
		for (1 .. 10)
		{
			my %kb = $pid ? memory_of($pid) : ();

			$peak = max $peak, $kb{VmHWM} // 0;
			$own = max $own, ($kb{RssAnon} // 0) + ($kb{RssFile} // 0);
			sleep 0.05;
		}
	} until query("SELECT string_agg(next_offset::text, ' ' ORDER BY partition)
		FROM streamcount.progress WHERE rollup = '$name'::regclass") eq "@ends";
	diag sprintf '%s: %d messages in %.0f s, VmHWM %d MB, of its own at most %d MB', $name,
	  query("SELECT sum(counted + filtered + rejected) FROM streamcount.progress WHERE rollup = '$name'::regclass"),
	  time - $begin, $peak / 1024, $own / 1024;
	cmp_ok($own / 1024, '<', 64 + 32 + 64 + 30, "K31: $name: of its own, a worker has no more memory than its settings say");
	return ($peak, $pid);
}

sub memory_of
{
	my ($pid) = @_;

	open my $status, '<', "/proc/$pid/status" or return;
	return map { /^(\w+):\s+(\d+) kB/ ? ($1, $2) : () } <$status>;
}

sub books
{
	my ($name) = @_;

	return query("SELECT sum(counted), sum(filtered), sum(rejected) FROM streamcount.progress WHERE rollup = '$name'::regclass");
}

# ---------------------------------------------------------------------

SKIP:
{
	skip 'K31: STREAMCOUNT_BACKLOG is 0', 1 unless $backlog;
	flood('hot', $backlog);
	foreach my $way (@ways)
	{
		my ($peak) = drink('hot', $way, 'day,ALL');

		cmp_ok($peak, '<=', $limit, "K31: over a backlog of $backlog messages in $partitions partitions, memory is bounded, by the $way");
		is(query("SELECT sum(mentions) FROM hot_$way WHERE \"interval\" = 'ALL'"), 2 * $backlog, "and all are counted, by the $way");
	}
	$kafka->delete_topic('hot');
	query("DROP VIEW hot_$_ CASCADE; DROP FOREIGN TABLE stream_hot_$_") foreach @ways;
}

SKIP:
{
	skip 'D14: STREAMCOUNT_UNIQUE is 0', 1 unless $unique;
	flood('unique', $unique / 2);
	foreach my $way (@ways)
	{
		my ($peak) = drink('unique', $way, 'ALL');

		cmp_ok($peak, '<=', $limit, "D14: over $unique hashtags of which none comes twice, memory is bounded, by the $way");
		is(query("SELECT count(*), min(mentions), max(mentions) FROM unique_$way"), "$unique|1|1", "and each is there once, by the $way");
	}
	$kafka->delete_topic('unique');
	query("DROP VIEW unique_$_ CASCADE; DROP FOREIGN TABLE stream_unique_$_") foreach @ways;
}

SKIP:
{
	skip 'D10: STREAMCOUNT_HOSTILE is 0', 1 unless $hostile;
	flood('hostile', $hostile);
	foreach my $way (@ways)
	{
		my ($peak, $pid) = drink('hostile', $way, 'hour,ALL');
		my ($counted, $filtered, $rejected) = split /\|/, books("hostile_$way");

		is($counted + $filtered + $rejected, $hostile, "D10: of $hostile hostile messages each is counted, filtered or rejected, by the $way");
		cmp_ok($rejected, '>', $hostile / 10, 'many are rejected');
		cmp_ok($counted, '>', $hostile / 10, 'many are counted');
		cmp_ok($peak, '<=', $limit, "D10: and memory is bounded, by the $way");
		is(join(' ', $node->pids_of('worker')) =~ /\b$pid\b/, 1, "D10: the $way\'s worker has lived through all of them");
	}
	is(books('hostile_tally'), books('hostile_executor'), 'D10: both ways have the same books');
	is(query('SELECT count(*) FROM (SELECT * FROM hostile_tally EXCEPT SELECT * FROM hostile_executor) AS d'), '0', 'and the same rows');
	is(query(q{SELECT count(*) FROM
		(SELECT partition, "offset", sqlstate, "column" FROM streamcount.rejects WHERE rollup = 'hostile_tally'::regclass
		EXCEPT SELECT partition, "offset", sqlstate, "column" FROM streamcount.rejects WHERE rollup = 'hostile_executor'::regclass) AS d}),
		'0', 'and the same rejects');
}

is($node->log_count(qr/PANIC|was terminated by signal|out of memory/), 0, 'no process has died');
$node->stop('fast');
$kafka->stop;
done_testing();
