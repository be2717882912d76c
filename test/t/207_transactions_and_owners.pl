# What a transactional producer has not ended is waited for, and the views say
# so; nobody else can disturb the reading of a topic: members of the same group,
# a second server, a copy of the server, or a row of its own that is there twice.

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

my $kafka = StreamCount::Kafka->new(
	dir => PostgreSQL::Test::Utils::tempdir() . '/kafka',
	# A group's coordinator writes by a buffer as large as a message may be.
	config => { 'message.max.bytes' => 1024 * 1024 })->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	allows_streaming => 1,
	conf => "streamcount.metadata_interval = '1s'\nlog_statement = none\nfsync = off\nlog_min_messages = debug1\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub becomes
{
	my ($query, $expected, $name) = @_;

	return ok(eval { $node->wait_for_sql($query, $expected, timeout => 90); 1 }, $name) || diag $@;
}

sub tweets
{
	my ($n, $partitions) = @_;

	return [
		map { {
			partition => $_ % $partitions,
			value => qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"})
		} } 1 .. $n
	];
}

sub is_exact
{
	my ($which, $topic, $rollup, $name) = @_;

	$which->wait_for_rollup($kafka, $topic, name => $rollup, timeout => 90);
	my $differences = $which->differences($kafka, $topic, name => $rollup);
	return ok($differences eq '', $name) || diag substr $differences, 0, 2000;
}

# ---------------------------------------------------------------------
# Transactions
# ---------------------------------------------------------------------

$kafka->create_topic('ledger', 2);
$node->create_tweets_stream(name => 'ledger');
$node->create_hashtags_rollup(name => 'booked', stream => 'ledger');
foreach my $i (1 .. 4)
{
	$kafka->produce_messages('ledger', tweets(20, 2), $i % 2 ? 'commit' : 'abort');
}
is_exact($node, 'ledger', 'booked', 'K14: committed and aborted transactions in turn: exact');
is($node->safe_psql('postgres', q{SELECT mentions FROM booked WHERE hashtag = '#first' AND "interval" = 'ALL'}),
	'40', 'K14: what was aborted is not counted');
is($node->safe_psql('postgres', q{SELECT sum(next_offset), sum(counted), sum(lag) FROM streamcount.progress}),
	'88|40|0', 'K14: control records are read over, and are no lag');

$kafka->produce_messages('ledger', tweets(10, 1), 'hang');
$kafka->produce_messages('ledger', tweets(30, 2));
becomes(q{SELECT partition, state, reason FROM streamcount.progress ORDER BY partition},
	"0|waiting|a transaction is open: messages from offset 44 to before 69 wait for its end\n1|idle|",
	'K15: a partition behind a transaction that hangs is waiting, and says for what');
is($node->safe_psql('postgres', q{SELECT state, reason ~ '^a transaction is open' FROM streamcount.rollups}),
	'waiting|t', 'K15: ... the rollup, too');
is($node->safe_psql('postgres', q{SELECT lag, high_watermark FROM streamcount.progress WHERE partition = 0}),
	'0|44', 'K15: ... the watchdog looks at what can be read');
is($node->safe_psql('postgres', q{SELECT next_offset FROM streamcount.progress WHERE partition = 1}), '59',
	'K15: another partition goes on');
is($node->safe_psql('postgres', q{SELECT count(*) FROM streamcount.problems}), '0', 'K15: ... which is no problem yet');
is($node->safe_psql('postgres', q{SELECT streamcount.wait('booked')}), 't', 'K15: wait() waits for what can be read');

# Beside one that stands before it, and alone
my %starts_behind = (beside => 'ledger', alone => 'ledger_alone');
my $begun_behind = q{SELECT p.next_offset, p.state, r.state FROM streamcount.progress p JOIN streamcount.rollups r USING (rollup)
	WHERE p.rollup = '%s'::regclass AND partition = 0};

$node->create_tweets_stream(name => 'ledger_alone', topic => 'ledger');
$node->safe_psql('postgres', qq{SELECT streamcount.create_rollup('$_', 'SELECT created_at, count(*) AS n
	FROM $starts_behind{$_} GROUP BY created_at', '{"0": 60}')}) foreach sort keys %starts_behind;
becomes(sprintf($begun_behind, $_), '60|waiting|waiting', "K15: a start behind the open transaction waits, too: $_") foreach sort keys %starts_behind;

# It hangs while others do what they do.  A partition that is stalled is tried
# again by a new worker after 15 s at the earliest.
my $waits_until = time + ($ENV{STREAMCOUNT_HANGS_S} // 17);
my $ledger_worker = q{SELECT pid, started_at FROM streamcount.stat_workers WHERE stream = 'ledger'::regclass};
my $waiting = $node->safe_psql('postgres', $ledger_worker);

# ---------------------------------------------------------------------
# Members of the same group
#
# A worker is never a member of a group: it says which partitions it reads.  Its
# client names one all the same, since librdkafka wants a name, and asks for the
# group's coordinator.  So no storm among members of a group of that name may
# take a partition from it, or give it one.
# ---------------------------------------------------------------------

$kafka->create_topic('tweets', 4);
$node->create_tweets_stream;
$node->create_hashtags_rollup;
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 300, partitions => 4);
becomes(q{SELECT sum(next_offset) > 300 FROM streamcount.progress WHERE rollup = 'hashtags'::regclass}, 't',
	'a load is read');
my $group = $node->group_of('tweets');
my $started = $node->safe_psql('postgres', q{SELECT started_at FROM streamcount.stat_workers WHERE stream = 'tweets'::regclass});
open my $nothing, '<', '/dev/null' or die $!;
open my $unheard, '>', '/dev/null' or die $!;
my @members;
my $wanted = $ENV{STREAMCOUNT_MEMBERS} // 8;

sub join_group
{
	push @members, StreamCount::Broker::spawn($unheard, $unheard, $nothing,
		'/usr/bin/kcat', '-q', '-b', $kafka->bootstrap, '-G', $group, 'tweets');
	return;
}

# How often the broker has told the members what is whose
sub generations
{
	return scalar(() = PostgreSQL::Test::Utils::slurp_file($kafka->{log}) =~ /Stabilized group \Q$group\E /g);
}

sub joined
{
	my ($name) = @_;
	my $give_up = time + 60;
	my @joined;

	sleep 0.2 until (@joined = $kafka->members($group)) == $wanted || time > $give_up;
	is("@joined", join(' ', ('rdkafka') x $wanted), $name);
	return;
}

join_group() foreach 1 .. $wanted;
joined('K21: others are members of the group that its client names, and it is not');
my $at = $node->safe_psql('postgres', q{SELECT sum(next_offset) FROM streamcount.progress WHERE rollup = 'hashtags'::regclass});
my $give_up = time + 60;
until (generations() >= 5 || time > $give_up)
{
	StreamCount::Broker::end(shift @members, 'TERM', 10);
	join_group();
	sleep 0.5;
}
cmp_ok(generations(), '>=', 5, 'K21: they leave it and join it, again and again');
becomes(qq{SELECT sum(next_offset) > $at + 900 FROM streamcount.progress WHERE rollup = 'hashtags'::regclass}, 't',
	'K21: ... and it goes on');
joined('K21: ... with as many members as before');
StreamCount::Broker::end($_, 'TERM', 10) foreach @members;
is(join(' ', $kafka->members($group)), '', 'K21: they have left');
is($node->safe_psql('postgres', q{SELECT started_at FROM streamcount.stat_workers WHERE stream = 'tweets'::regclass}),
	$started, 'K21: ... in the same worker')
  or diag grep { /streamcount/ } split /^/, PostgreSQL::Test::Utils::slurp_file($node->logfile);

# ---------------------------------------------------------------------
# A transaction that has been open for long
# ---------------------------------------------------------------------

sleep 0.2 while time < $waits_until;
is($node->safe_psql('postgres', $ledger_worker), $waiting, 'K15: a worker waits, and does not start anew');
is($node->safe_psql('postgres', q{SELECT state FROM streamcount.progress WHERE rollup = 'booked'::regclass AND partition = 0}),
	'waiting', 'K15: ... its partition is waiting still');
$node->restart;
becomes(q{SELECT state FROM streamcount.progress WHERE rollup = 'booked'::regclass AND partition = 0}, 'waiting', 'K15: after a restart it is waiting again');
$kafka->tool(undef, 'end-hanging');
is_exact($node, 'ledger', 'booked', 'K15: when the transaction is ended it goes on: exact');
is($node->safe_psql('postgres', q{SELECT mentions FROM booked WHERE hashtag = '#first' AND "interval" = 'ALL'}),
	'70', 'K15: ... and what was hanging is not counted');
becomes(qq{SELECT next_offset, counted FROM streamcount.progress WHERE rollup = '$_'::regclass AND partition = 0}, '70|9',
	"K15: ... nor what is before a start: $_") foreach sort keys %starts_behind;
$node->safe_psql('postgres', "SELECT streamcount.drop_rollup('$_')") foreach sort keys %starts_behind;
becomes(q{SELECT DISTINCT state FROM streamcount.progress WHERE rollup = 'booked'::regclass}, 'idle', 'K15: ... and it is idle');

# ---------------------------------------------------------------------
# A copy of the server: the same system, database and stream, and group
# ---------------------------------------------------------------------

$node->backup('copy');
my $copy = StreamCount::Node->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->start;
is($copy->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'),
	$node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'), 'a copy of the server runs');
$load->stop;
is_exact($node, 'tweets', 'hashtags', 'K23: two servers of the same group: the first one is exact');
is_exact($copy, 'tweets', 'hashtags', 'K23: ... and so is the second');
is_exact($node, 'tweets', 'hashtags', 'K21: members of its group have taken nothing from it');
$copy->stop;

# ---------------------------------------------------------------------
# A partition twice
# ---------------------------------------------------------------------

my ($status, $out, $err) = $node->psql('postgres', q{INSERT INTO streamcount.rollup_progress
	SELECT * FROM streamcount.rollup_progress WHERE rollup = 'hashtags'::regclass AND partition = 0});
like($err, qr/duplicate key value violates unique constraint/, 'K24: a rollup has a partition once');
# Which is the same partition, to jsonb or to whoever reads its keys as numbers:
# that is no error, and what stands last is where it begins.
my %twice = (twice => '{"0": 1, "0": 2}', written_twice => '{"0": 1, "00": 2}');
foreach my $rollup (sort keys %twice)
{
	my $create = qq{SELECT streamcount.create_rollup('$rollup', \$\$
		SELECT hashtag, w.interval, count(*) AS mentions
		FROM tweets, streamcount.hashtags(text) AS hashtag, streamcount.windows(created_at, '{day,ALL}') AS w
		GROUP BY hashtag, w.interval \$\$, '$twice{$rollup}')};

	($status, $out, $err) = $node->psql('postgres', $create);
	is("$status $err", '0 ', "K24: $twice{$rollup} is a start that is taken");
	is_exact($node, 'tweets', $rollup, 'K24: ... from which each message is counted once');
	is( $node->safe_psql('postgres', qq{SELECT partition, start_offset, counted + filtered + rejected = next_offset - start_offset
			FROM streamcount.progress WHERE rollup = '$rollup'::regclass ORDER BY 1}),
		"0|2|t\n1|0|t\n2|0|t\n3|0|t", 'K24: ... in one row of progress a partition, from the last of the two offsets on');
}

$node->stop;
done_testing();
