# Three brokers, of which any may be away, of which leaders change, and which may
# forget what they had acknowledged: what is in the topic is counted once, and
# what is there no more halts its partition.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Cluster;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Cluster::missing() if StreamCount::Cluster::missing();

my $timeout = 180;    # three brokers on a busy machine

my $cluster = StreamCount::Cluster->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my ($first) = split /,/, $cluster->bootstrap;
my $node = StreamCount::Node->new('main');
$node->init(
	# One name is wrong, one port is nobody's.
	brokers => "no-such-host.invalid:9092,127.0.0.1:1,$first",
	conf => "streamcount.metadata_interval = '1s'\nstreamcount.max_workers = 16\n"
	  . "max_worker_processes = 24\nlog_statement = none\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub becomes
{
	my ($query, $expected, $name) = @_;

	return ok(eval { $node->wait_for_sql($query, $expected, timeout => $timeout); 1 }, $name) || diag $@;
}

my $position = q{SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = 'hashtags'::regclass};

sub goes_on
{
	my ($name) = @_;
	my $from = $node->safe_psql('postgres', $position);
	my $begin = time;

	becomes("SELECT ($position) > $from + 200", 't', "$name: it goes on");
	note sprintf '%s: 200 messages after %.1f s', $name, time - $begin;
	return;
}

sub is_exact
{
	my ($name) = @_;
	my $differences = $node->differences($cluster, 'tweets');

	return ok($differences eq '', "$name: exact") || diag substr $differences, 0, 2000;
}

# ---------------------------------------------------------------------
# Names that do not resolve
# ---------------------------------------------------------------------

$cluster->create_topic('tweets', 6);
$node->create_tweets_stream;
$node->create_hashtags_rollup;
my $load = StreamCount::Load->start($cluster, 'tweets', rate => 200, partitions => 6);
goes_on('K5: one good name of three is enough');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0',
	'K5: ... and nobody is told of the others');

$node->safe_psql('postgres', q{
	CREATE SERVER nowhere FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" 'no-such-host.invalid:9092');
	CREATE FOREIGN TABLE lost (text text) SERVER nowhere OPTIONS (topic 'tweets');
	SELECT streamcount.create_rollup('unresolved', 'SELECT text, count(*) FROM lost GROUP BY text')});
becomes(q{SELECT state, reason ~ 'resolve' FROM streamcount.rollups WHERE rollup = 'unresolved'::regclass},
	'connecting|t', 'K5: a name that does not resolve is told');
$node->safe_psql('postgres', qq{ALTER SERVER nowhere OPTIONS (SET "bootstrap.servers" '$first')});
becomes(q{SELECT coalesce(sum(counted), 0) > 0 FROM streamcount.progress WHERE rollup = 'unresolved'::regclass},
	't', 'K5: ... and when it is put right, it goes on');
$node->safe_psql('postgres', q{SELECT streamcount.drop_rollup('unresolved')});

# ---------------------------------------------------------------------
# Leaders change
# ---------------------------------------------------------------------

# A worker that begins while the only good name is away knows of no other.
$node->append_conf('postgresql.conf', "streamcount.bootstrap_servers = '" . $cluster->bootstrap . "'\n");
$node->reload;

my $leader = $cluster->leader('tweets', 0);
$cluster->node($leader)->kill9;
my $other = $cluster->await_leader('tweets', 0, sub { $_[0] > 0 && $_[0] != $leader });
goes_on("K4: the leader is killed");
is_exact("K4: the leader is killed");
$cluster->node($leader)->start;
$cluster->await_leader('tweets', 0, sub { $_[0] == $leader });
goes_on('K4: the former leader is elected again');
is_exact('K4: the former leader is elected again');

foreach my $i (1 .. 3)
{
	$cluster->node($i)->stop;
	goes_on("K4: node $i of a rolling restart is down");
	$cluster->node($i)->start;
	$cluster->tool(undef, 'ready', 3);
}
goes_on('K4: after a rolling restart');
$load->stop;
ok(eval { $node->wait_for_rollup($cluster, 'tweets', timeout => $timeout); 1 }, 'K4: all is read in the end') or diag $@;
is_exact('K4: in the end');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'K4: nothing needed a person');

# ---------------------------------------------------------------------
# A partition that only one broker has
# ---------------------------------------------------------------------

sub single
{
	my ($what) = @_;

	return qq{SELECT string_agg($what, ' ' ORDER BY partition) FROM streamcount.progress WHERE rollup = 'single'::regclass};
}

sub produce_single
{
	my (@partitions) = @_;

	$cluster->produce_messages('single', [ map { { partition => $_, value => '{"text": "x"}' } } @partitions ]);
	return;
}

$cluster->create_topic('single', 3, 'replicas' => '1,2,3', 'min.insync.replicas' => 1);
$node->safe_psql('postgres', q{
	CREATE FOREIGN TABLE single_stream (text text) SERVER streamcount OPTIONS (topic 'single');
	SELECT streamcount.create_rollup('single', 'SELECT text, count(*) FROM single_stream GROUP BY text')});
produce_single(0, 1, 2);
becomes(single('counted::text'), '1 1 1', 'each partition has one replica alone');
becomes(single('state'), 'idle idle idle', '... and all is read');
my $killed_at = time;
$cluster->node(3)->kill9;
becomes(single("state || coalesce(': ' || nullif(reason, ''), '')"), 'idle idle stalled: no broker leads it',
	'K4: a partition that no broker leads is stalled, and the others are not');
cmp_ok(time - $killed_at, '<', 60, 'K4: ... within a minute');
$node->safe_psql('postgres', q{SELECT streamcount.create_rollup('late', 'SELECT text, count(*) FROM single_stream GROUP BY text')});
produce_single(0, 1, 1);
becomes(single(q{concat(counted, '/', high_watermark, '/', state)}), qr{^2/2/idle 3/3/idle 1/1?/stalled$},
	'K4: ... the others go on, and their ends are known');
is($node->safe_psql('postgres', q{SELECT streamcount.wait('single', '1s')}), 'f',
	'K4: ... wait() does not say that all is counted, which nobody knows');
is($node->safe_psql('postgres', q{SELECT state FROM streamcount.rollups WHERE rollup = 'single'::regclass}), 'stalled',
	'K4: ... the rollup is stalled');
becomes(q{SELECT state, reason FROM streamcount.rollups WHERE rollup = 'late'::regclass},
	'stalled|not begun yet: no broker leads partition 2', 'K4: ... a new one waits to begin');
$cluster->node(3)->start;
becomes(single('state'), 'idle idle idle', 'K4: when its broker is back, it is stalled no longer');
produce_single(2);
becomes(single('counted::text'), '2 3 2', 'K4: ... and goes on');
is($node->safe_psql('postgres', q{SELECT streamcount.wait('single')}), 't', 'K4: ... wait() knows');
becomes(q{SELECT sum(count) FROM late}, '7', 'K4: ... the new one has begun, and has counted all of it');

# ---------------------------------------------------------------------
# An unclean election: what was acknowledged, and counted, is forgotten
# ---------------------------------------------------------------------

my @streams = qw(shorter longer);

foreach my $topic (@streams)
{
	# Node 1 keeps the controllers together.
	$cluster->create_topic($topic, 1, 'replicas' => '2:3', 'min.insync.replicas' => 1,
		'unclean.leader.election.enable' => 'true');
	$node->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE ${topic}_stream (text text) SERVER streamcount OPTIONS (topic '$topic');
		SELECT streamcount.create_rollup('$topic', 'SELECT text, count(*) FROM ${topic}_stream GROUP BY text')});
}

sub produce
{
	my ($topic, $text, $n) = @_;

	$cluster->produce_values($topic, [ map { qq({"text": "$text"}) } 1 .. $n ]);
	return;
}

sub counts
{
	my ($topic) = @_;

	return $node->safe_psql('postgres', "SELECT string_agg(text || ' ' || count, ', ' ORDER BY text) FROM $topic");
}

produce($_, 'both', 10) foreach @streams;
$cluster->node(3)->kill9;
$cluster->await_leader($_, 0, sub { $_[0] == 2 }) foreach @streams;
produce($_, 'leader', 10) foreach @streams;
becomes("SELECT next_offset, counted FROM streamcount.progress WHERE rollup = '$_'::regclass", '20|20',
	"all that the leader has is counted: $_") foreach @streams;
# The one is read all the time; the other's worker comes when the new log is longer.
$node->safe_psql('postgres', q{SELECT streamcount.pause('longer')});
$cluster->node(2)->kill9;
$cluster->node(3)->launch;
$cluster->await_leader($_, 0, sub { $_[0] == 3 }) foreach @streams;
is(join(' ', $cluster->ends('shorter')), '10', 'the new leader has less');
becomes(q{SELECT state, reason FROM streamcount.progress WHERE rollup = 'shorter'::regclass},
	'halted|offset 20 is beyond the end 10: the topic was made anew or cut',
	'K12: a partition that an unclean election has cut is halted');
produce('longer', 'new', 30);
$node->safe_psql('postgres', q{SELECT streamcount.resume('longer')});
becomes(q{SELECT state, reason FROM streamcount.progress WHERE rollup = 'longer'::regclass},
	'halted|message at offset 19 is another one than was read: the topic was made anew or cut',
	'K12: ... and so is one that was written on');
is(counts($_), 'both 10, leader 10', "K12: what was counted stays, and nothing is added: $_") foreach @streams;

$node->stop;
$cluster->stop;
done_testing();
