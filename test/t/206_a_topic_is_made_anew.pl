# Offsets say nothing of what they stand for: a topic that was deleted and made
# anew has the same ones.  Whoever makes one anew, while the worker is down, at
# rest or at work, however quickly, and with however many messages: nothing of it
# is counted as if it were the old one.  And nothing is said where the topic is
# still the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my %end;    # by topic and partition
my $life = 0;    # how often a topic was made

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "streamcount.metadata_interval = '1s'\nstreamcount.flush_interval = '20ms'\n"
	  . "streamcount.max_workers = 16\nmax_worker_processes = 24\n"
	  . "log_statement = none\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub becomes
{
	my ($query, $expected, $name) = @_;

	return ok(eval { $node->wait_for_sql($query, $expected, timeout => 60); 1 }, $name) || diag $@;
}

# Messages of a topic's life carry its number, and the next offset each.
sub messages
{
	my ($topic, $count, @partitions) = @_;

	return [
		map {
			my $partition = $_;

			map {
				my $n = 1000 * $life + $end{$topic}[$partition]++;
				{ partition => $partition, value => "{\"n\": $n}" }
			} 1 .. $count
		} @partitions
	];
}

sub produce
{
	my ($topic, $count, @partitions) = @_;

	$kafka->produce_messages($topic, messages($topic, $count, @partitions));
	return;
}

sub create
{
	my ($topic, $partitions) = @_;

	$life++;
	$end{$topic} = [ (0) x $partitions ];
	$kafka->create_topic($topic, $partitions);
	return;
}

# A topic, a stream and a rollup of the same name
sub begin
{
	my ($topic, $partitions, $count) = @_;

	create($topic, $partitions);
	produce($topic, $count, 0 .. $partitions - 1);
	sql(qq{CREATE FOREIGN TABLE ${topic}_stream (n bigint, part int OPTIONS (metadata 'partition'))
		SERVER streamcount OPTIONS (topic '$topic')});
	sql(qq{SELECT streamcount.create_rollup('$topic',
		'SELECT part, n / 1000 AS life, count(*) AS messages FROM ${topic}_stream GROUP BY part, life')});
	has_read($topic, 'all is counted at first');
	return;
}

sub has_read
{
	my ($topic, $name) = @_;

	return becomes("SELECT string_agg(next_offset::text, ' ' ORDER BY partition)
		FROM streamcount.progress WHERE rollup = '$topic'::regclass", "@{ $end{$topic} }", "$topic: $name");
}

sub counts
{
	my ($topic) = @_;

	return sql("SELECT string_agg(part || ': ' || life || '*' || messages, ', ' ORDER BY part, life) FROM $topic");
}

my $another = 'is another one than was read: the topic was made anew or cut';

sub is_halted
{
	my ($topic, $partition, $reason, $name) = @_;

	return becomes("SELECT state, reason ~ '$reason', hint ~ 'rop and create'
		FROM streamcount.progress WHERE rollup = '$topic'::regclass AND partition = $partition",
		'halted|t|t', $name);
}

sub workers
{
	my ($on) = @_;

	sql("ALTER SYSTEM SET streamcount.enabled = $on");
	$node->reload;
	becomes('SELECT count(*) FROM streamcount.stat_workers WHERE pid IS NOT NULL', '0', 'the workers are down')
	  if $on eq 'off';
	return;
}

# ---------------------------------------------------------------------
# While nobody reads
# ---------------------------------------------------------------------

begin('away', 3, 50);
workers('off');
$kafka->delete_topic('away');
create('away', 3);
produce('away', 80, 0);
produce('away', 50, 1);
produce('away', 20, 2);
workers('on');
is_halted('away', 0, "message at offset 49 $another", 'K9: a topic that was made anew with more messages is halted');
is_halted('away', 1, "message at offset 49 $another", 'K9: ... with just as many, too');
is_halted('away', 2, 'offset 50 is beyond the end 20', 'K8: with fewer messages the offset is beyond the end');
is(counts('away'), '0: 1*50, 1: 1*50, 2: 1*50', 'K9: nothing of the new topic is counted');
sql(q{SELECT streamcount.resume('away')});
is_halted('away', 0, "message at offset 49 $another", 'K9: nothing is better by trying again');
becomes(q{SELECT statement FROM streamcount.problems WHERE rollup = 'away'::regclass AND partition = 0},
	q{SELECT streamcount.skip_to('away', 0, 50)}, 'K9: the statement that keeps the counts is told');
sql(q{SELECT streamcount.skip_to('away', 0, 50)});
becomes(q{SELECT messages FROM away WHERE part = 0 AND life = 2}, '30', 'K9: ... and goes on from there, in the new topic');
is(sql(q{SELECT count(*) FROM streamcount.gaps}), '0', 'K9: ... with nothing left out');
sql(q{SELECT streamcount.drop_rollup('away')});
sql(q{SELECT streamcount.create_rollup('away',
	'SELECT part, n / 1000 AS life, count(*) AS messages FROM away_stream GROUP BY part, life')});
has_read('away', 'K8, K9: a rollup that is created anew counts the new topic');
is(counts('away'), '0: 2*80, 1: 2*50, 2: 2*20', 'K8, K9: ... and nothing else');

# ---------------------------------------------------------------------
# While a worker reads
# ---------------------------------------------------------------------

# So quickly that the worker may never be told that it was away
begin("quick$_", 1, 5) foreach 1 .. 3;
sleep 1.5;    # at rest for longer than a topic can be made anew unseen
foreach my $i (1 .. 3)
{
	$life++;
	$end{"quick$i"} = [0];
	my $messages = messages("quick$i", 500 * $i, 0);
	$kafka->remake_topic("quick$i", 1, $messages);
	is_halted("quick$i", 0, "message at offset 4 $another|beyond the end", "K9: made anew under the worker, $i");
	is(counts("quick$i"), '0: ' . ($i + 2) . '*5', 'K9: ... and nothing of it is counted');
}

# The new topic says nothing more once it is as long as the old one.
begin('silent', 1, 3);
sleep 1.5;
$life++;
$end{silent} = [0];
$kafka->remake_topic('silent', 1, messages('silent', 3, 0));
is_halted('silent', 0, "message at offset 2 $another|beyond the end", 'K9: made anew, just as long as it was');

# A worker that is frozen knows nothing of what happens meanwhile.
begin('frozen', 2, 5);
my ($worker) = split /\n/, sql(q{SELECT pid FROM streamcount.stat_workers WHERE stream = 'frozen_stream'::regclass});
kill 'STOP', $worker;
$life++;
$end{frozen} = [0, 0];
$kafka->remake_topic('frozen', 2, messages('frozen', 300, 0, 1));
sleep 1.5;
kill 'CONT', $worker;
is_halted('frozen', $_, "message at offset 4 $another|beyond the end", "K9: made anew while the worker was frozen, partition $_")
  foreach 0, 1;
is(counts('frozen'), '0: ' . ($life - 1) . '*5, 1: ' . ($life - 1) . '*5', 'K9: ... and nothing of it is counted');

# ---------------------------------------------------------------------
# While the broker is away
# ---------------------------------------------------------------------

# Another broker at the same address, with a cluster, a topic and messages of
# its own
begin('outage', 1, 10);
$kafka->stop;
becomes(q{SELECT state FROM streamcount.rollups WHERE rollup = 'outage'::regclass}, 'connecting', 'the broker is away');
my $port = (split /:/, $kafka->bootstrap)[1];
my $other = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/other', port => $port)->start;
my $first_life = $life;
$life++;
$end{outage} = [0];
$other->create_topic('outage', 1);
$other->produce_messages('outage', messages('outage', 40, 0));
is_halted('outage', 0, 'the offsets are of Kafka cluster', 'another cluster at the same address is told, also by a worker that was there');
is(counts('outage'), "0: $first_life*10", '... and nothing of it is counted');
sql(q{SELECT streamcount.resume('outage')});
is_halted('outage', 0, "message at offset 9 $another", 'K9: and where that is accepted, its messages are others');
$other->stop;
$kafka->start;

# ---------------------------------------------------------------------
# Where it is the same
# ---------------------------------------------------------------------

my $log = $node->log_size;
begin('same', 2, 20);
$node->restart;
produce('same', 10, 0, 1);
has_read('same', 'K9: a restart is no new topic');

# The message that was read last is gone.
workers('off');
$kafka->delete_records('same', 0, 30);
workers('on');
produce('same', 10, 0, 1);
has_read('same', 'K9: nor is it one where the last message was deleted');
is(sql(q{SELECT sum(messages) FROM same}), '80', 'K9: ... and all is counted');

# What was read last was a transaction's, or was compacted away: at its offset
# nothing comes.
$kafka->produce_messages('same', [ map { { partition => $_, value => '{"n": 1}' } } 0, 1 ], 'abort');
$_ += 2 foreach @{ $end{same} };
has_read('same', 'what is aborted is read over');
workers('off');
sql(q{UPDATE streamcount.rollup_progress SET last_offset = next_offset - 2, last_hash = 4711
	WHERE rollup = 'same'::regclass AND partition >= 0});
produce('same', 10, 0);
workers('on');
has_read('same', 'K9: nor where nothing is at its offset any more');
produce('same', 10, 0, 1);
has_read('same', 'K9: ... and it goes on');

# Messages that come after a silence
foreach (1 .. 3)
{
	sleep 1.2;
	produce('same', 5, 0, 1);
	has_read('same', "K9: after a silence, $_");
}
is(sql(q{SELECT sum(messages) FROM same}), '140', 'K9: all of it is counted');
is($node->log_count(qr/is halted|ERROR/, $log), 0, 'K9: ... and nothing was said');

# ---------------------------------------------------------------------
# With fewer partitions
# ---------------------------------------------------------------------

begin('fewer', 2, 10);
workers('off');
$kafka->delete_topic('fewer');
create('fewer', 1);
produce('fewer', 5, 0);
workers('on');
is_halted('fewer', 1, 'the topic has no partition 1 any more: it was made anew',
	'K8: a partition that the new topic does not have is halted');
is_halted('fewer', 0, 'offset 10 is beyond the end 5', 'K8: ... and so is the one that it has');
is(sql(q{SELECT count(*), count(statement) FROM streamcount.problems WHERE rollup = 'fewer'::regclass}), '2|0',
	'K8: ... and nobody is told that resume() would help');
sql(q{SELECT streamcount.drop_rollup('fewer')});

$node->stop;
done_testing();
