# A streaming standby reads nothing from Kafka; when it is promoted it goes on
# from exactly where it stands, behind the old primary or beside it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
$kafka->create_topic('tweets', 3);
$kafka->create_topic('leaky', 1);

my $primary = StreamCount::Node->new('primary');
$primary->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_statement = none\n",
	allows_streaming => 1,
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$primary->create_tweets_stream(options => "reject_limit '0'");
$primary->create_hashtags_rollup;
$primary->create_tweets_stream(name => 'leaky');
$primary->create_hashtags_rollup(name => 'leaks', stream => 'leaky');

my $load = StreamCount::Load->start($kafka, 'tweets', rate => 500, partitions => 3, seed => 131);
my $position = q{SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = 'hashtags'::regclass};

# Where it stands, all partitions together, once it is past an offset
sub beyond
{
	my ($node, $offset) = @_;

	$node->wait_for_sql("SELECT ($position) > $offset", 't');
	return $node->safe_psql('postgres', $position);
}

sub processes
{
	my ($node) = @_;

	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'streamcount %'});
}

beyond($primary, 300);
$primary->backup('base');
my $standby = StreamCount::Node->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $start = $standby->log_size // 0;
$standby->start;

# It follows, and that is all that it does.
beyond($standby, beyond($primary, 600));
is(processes($standby), '0', 'P22: no process of ours runs on a standby');
is($standby->safe_psql('postgres', 'SELECT DISTINCT state, reason FROM streamcount.rollups'), 'down|the server is a standby',
	'P22: its views say so');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'which is no problem');
is($standby->differences($kafka, 'tweets'), '', 'P22: what it shows is exact, for where it stands');
my ($status, undef, $error) = $standby->psql('postgres', q{SELECT streamcount.wait('hashtags', '5 s')});
like($error, qr/it is down\nDETAIL:  the server is a standby/, 'P22: nobody waits there for what cannot come');
($status, undef, $error) = $standby->psql('postgres', q{SELECT streamcount.pause('hashtags')});
like($error, qr/read-only transaction/, 'and nothing can be steered');
is($standby->safe_psql('postgres', q{SELECT count(*) > 0 FROM streamcount.rejects}), 't', 'rejects are there, too');

# The primary gets ahead of what it has sent: counts and offsets are lost
# together, and are counted again where Kafka still has the messages.
sub leak
{
	my ($n) = @_;

	$kafka->produce_values('leaky', [ ('{"created_at": "2014-09-21T10:00:00Z", "text": "#leak"}') x $n ]);
	return;
}
my $leaks = q{SELECT mentions FROM leaks WHERE "interval" = 'ALL'};
leak(10);
$primary->wait_for_sql($leaks, '10');
$standby->wait_for_sql($leaks, '10');
$standby->append_conf('postgresql.conf', "primary_conninfo = ''\n");
$standby->reload;
$primary->wait_for_sql('SELECT count(*) FROM pg_stat_replication', '0');
my $sent = $standby->safe_psql('postgres', $position);
leak(90);
$primary->wait_for_sql($leaks, '100');
my $ahead = beyond($primary, $sent + 300);
$kafka->delete_records('leaky', 0, 50);
$primary->stop('immediate');
my $stood = $standby->safe_psql('postgres', $position);
cmp_ok($stood, '<', $ahead, 'P23: the standby has not heard of all that was counted');
is(processes($standby), '0', 'P22: without a primary it still waits');
$standby->promote;
beyond($standby, $stood + 500);
is($standby->differences($kafka, 'tweets'), '', 'P23: after the promotion it goes on exactly');

# What Kafka no longer has is not passed over in silence.
$standby->wait_for_sql('SELECT rollup, state, reason, statement FROM streamcount.problems',
	qr/^leaks\|halted\|messages from offset 10 to before 50 are lost.*\|SELECT streamcount.skip_to\('leaks', 0, 50\)$/);
pass('P23: messages that Kafka deleted meanwhile halt the partition');
$standby->safe_psql('postgres', q{SELECT streamcount.skip_to('leaks', 0, 50)});
$standby->wait_for_sql($leaks, '60');
is($standby->safe_psql('postgres', 'SELECT rollup, kind, first_offset, end_offset FROM streamcount.gaps'),
	'leaks|skipped|10|50', 'P23: and the gap is noted');

# Two primaries: each is exact for itself.
$primary->start;
beyond($primary, $ahead + 300);
beyond($standby, $ahead + 300);
is($_->differences($kafka, 'tweets'), '', 'P24: two primaries: the ' . $_->name . ' is exact') foreach $primary, $standby;
is($primary->safe_psql('postgres', $leaks), '100', 'P24: and has what only it has counted');
$load->stop;
$standby->wait_for_rollup($kafka, 'tweets');
is($standby->differences($kafka, 'tweets'), '', 'P23: to the end');
is($standby->safe_psql('postgres', q{
	SELECT count(*) FROM streamcount.progress p WHERE rollup = 'hashtags'::regclass AND (start_offset <> 0
		OR next_offset <> counted + filtered + rejected OR rejected <> (SELECT count(*) FROM streamcount.rejects r WHERE r.partition = p.partition))}), '0',
	'P23: the books balance, from the first message on');
is($standby->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT id) FROM streamcount.rejects'), '0',
	'each reject has an id of its own');

$_->stop('fast') foreach $primary, $standby;
$kafka->stop;
done_testing();
