# A broker does not say that a topic is another one than it was a moment ago, or
# that what it had a moment ago is gone.  Whatever the moment: nothing of another
# topic is counted, and of what comes nothing is left out.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Fake;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Fake->missing if StreamCount::Fake->missing;

my $rounds = $ENV{STREAMCOUNT_ROUNDS} // 6;

my $fake = StreamCount::Fake->new->start;
my $node = StreamCount::Node->new('untold');
$node->init(
	brokers => $fake->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nmax_worker_processes = 20\n"
	  . "streamcount.max_workers = 12\nstreamcount.metadata_interval = 1s\n"
	  # A batch is full in the middle of what was fetched.
	  . "streamcount.batch_mem = 1MB\nstreamcount.fetch_mem = 1MB\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub records
{
	my ($life, $first, $last) = @_;

	return [ map { { value => qq({"life": $life, "n": $_}) } } $first .. $last ];
}

sub begin
{
	my ($topic, $messages) = @_;

	$fake->create_topic($topic, 1);
	$fake->append($topic, 0, records(1, 0, $messages - 1));
	sql(qq{CREATE FOREIGN TABLE ${topic}_stream (life int, n int) SERVER streamcount OPTIONS (topic '$topic')});
	create($topic, $topic);
	$node->wait_for_offsets($topic, $messages);
	return;
}

sub create
{
	my ($rollup, $topic) = @_;

	sql(qq{SELECT streamcount.create_rollup('$rollup', 'SELECT life, count(*) AS n FROM ${topic}_stream GROUP BY life')});
	return;
}

sub counts { return sql("SELECT string_agg(life || '*' || n, ', ' ORDER BY life) FROM $_[0]") }

sub workers
{
	my ($on) = @_;

	$node->set_up('streamcount.enabled' => $on);
	$node->wait_for_sql('SELECT count(*) FROM streamcount.stat_workers WHERE pid IS NOT NULL', '0') if $on eq 'off';
	return;
}

sub is_halted
{
	my ($rollup, $offset, $name) = @_;

	ok(eval {
			$node->wait_for_sql("SELECT state, reason FROM streamcount.progress WHERE rollup = '$rollup'::regclass",
				qr/^halted\|message at offset $offset is another one than was read/);
			1;
	}, $name) or diag $@;
	return;
}

# ---------------------------------------------------------------------
# Another topic
# ---------------------------------------------------------------------

# Meanwhile the worker has looked again at the last message, which was the same.
begin('rested', 5);
my $then = sql('SELECT clock_timestamp()');
$node->wait_for_sql(qq{SELECT checked_at > '$then'::timestamptz + '3 seconds' FROM streamcount.progress
	WHERE rollup = 'rested'::regclass}, 't');
$fake->remake_topic('rested', records(2, 0, 7));
is_halted('rested', 4, 'K9: a topic that is made anew after a long rest is another one');
is(counts('rested'), '1*5', 'K9: ... and nothing of it is counted');

# One rollup has read what another one is still to read.
begin('ahead', 100);
workers('off');
$fake->remake_topic('ahead', records(2, 0, 59), records(2, 60, 119));
$fake->fault('ahead', 0, 60, 'empty');
create('behind', 'ahead');
workers('on');
$node->wait_for_offsets('behind', 60);
$fake->heal('ahead');
is_halted('ahead', 99, 'K9: a rollup ahead of another one meets the last message that it has read');
is(counts('ahead'), '1*100', 'K9: ... and nothing of another topic is counted into it');
$node->wait_for_offsets('behind', 120);
is(counts('behind'), '2*120', 'K9: ... but into the one that never read the old one');

# ---------------------------------------------------------------------
# No topic
# ---------------------------------------------------------------------

sql(q{CREATE FOREIGN TABLE nowhere (text text) SERVER streamcount OPTIONS (topic 'nowhere')});
sql(q{SELECT streamcount.create_rollup('missing', 'SELECT text, count(*) FROM nowhere GROUP BY text')});
$node->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup = 'missing'::regclass}, 'stalled');
my $requests = $fake->count('metadata');
my $until = time + 3;
sleep 0.1 while time < $until;
# The other workers ask, too, and librdkafka for itself.
cmp_ok($fake->count('metadata') - $requests, '<', 150, 'K7: brokers are not asked again and again for a topic that is missing');
sql(q{SELECT streamcount.drop_rollup('missing')});

# ---------------------------------------------------------------------
# Answers that are none
# ---------------------------------------------------------------------

# How often a topic is asked about in some seconds; librdkafka asks for itself, too.
sub is_asked_seldom
{
	my ($what, $name, $meanwhile) = @_;
	my $before = $fake->count($what);
	my $until = time + 3;

	while (time < $until)
	{
		sleep 0.02;
		$meanwhile->() if $meanwhile;
	}
	my $asked = $fake->count($what) - $before;
	cmp_ok($asked, '<=', 40, "$name: asked $asked times in 3 s");
	return;
}

$fake->create_topic('unready', 1);
$fake->append('unready', 0, records(1, 0, 4));
$fake->refuse('unready', 'metadata', 5);    # LEADER_NOT_AVAILABLE
sql(q{CREATE FOREIGN TABLE unready_stream (life int, n int) SERVER streamcount OPTIONS (topic 'unready')});
create('unready', 'unready');
$node->wait_for_sql(q{SELECT state, reason FROM streamcount.rollups WHERE rollup = 'unready'::regclass}, qr/^connecting\|.*[Ll]eader/);
is_asked_seldom('metadata unready', 'a topic that the brokers cannot tell of yet');
workers('off');
my $scan = $node->background_psql('postgres', on_error_stop => 0);
$scan->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM unready_stream;\n");
is_asked_seldom('metadata unready', 'by a SELECT, a topic that the brokers cannot tell of yet');
$fake->refuse('unready', 'list offsets', 9);    # REPLICA_NOT_AVAILABLE
$fake->refuse('unready', 'metadata', 0);
is_asked_seldom('list offsets unready', 'by a SELECT, offsets that the brokers cannot tell yet');
$fake->refuse('unready', 'list offsets', 0);
like($scan->query(''), qr/5/, '... and once they can, it reads the topic');
$scan->quit;
$fake->refuse('unready', 'list offsets', 9);
my $log = $node->log_size;
workers('on');
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.stat_workers WHERE stream = 'unready_stream'::regclass AND pid IS NOT NULL}, '1');
is_asked_seldom('list offsets unready', 'offsets that the brokers cannot tell yet');
is($node->log_count(qr/could not ask for offsets/, $log), 0, '... and it is asked again for some time');
$fake->refuse('unready', 'list offsets', 0);
$node->wait_for_offsets('unready', 5);
sql(q{SELECT streamcount.drop_rollup('unready')});

# A wait() whose answer nobody can tell; each message that comes lets the worker look around.
$fake->create_topic('awaited', 2);
$fake->append('awaited', $_, records(1, 0, 4)) for 0, 1;
sql(q{CREATE FOREIGN TABLE awaited_stream (life int, n int) SERVER streamcount OPTIONS (topic 'awaited')});
create('awaited', 'awaited');
$node->wait_for_offsets('awaited', '5 5');
for my $case ([ 'a partition that no broker leads', sub { $fake->lead('awaited', 1, $_[0]) } ],
	[ 'offsets that the brokers cannot tell', sub { $fake->refuse('awaited', 'list offsets', $_[0] ? 0 : 9) } ])
{
	my ($name, $set_well) = @$case;

	$set_well->(0);
	$node->wait_for_sql(q{SELECT streamcount.wait('awaited', '1s')}, 'f');
	is_asked_seldom('list offsets awaited', "after a wait(), $name", sub { $fake->append('awaited', 0, records(1, 5, 5)) });
	$set_well->(1);
	is(sql(q{SELECT streamcount.wait('awaited', '60s')}), 't', '... and once they can, the next one is answered');
}
sql(q{SELECT streamcount.drop_rollup('awaited')});

# ---------------------------------------------------------------------
# No offsets
# ---------------------------------------------------------------------

sub counted
{
	my ($rollup, $counted, $name) = @_;

	ok(eval {
			$node->wait_for_sql("SELECT string_agg(partition || ':' || counted, ' ' ORDER BY partition)
				FROM streamcount.progress WHERE rollup = '$rollup'::regclass", $counted, timeout => 60);
			1;
	}, $name) or diag $@;
	return;
}

sub waits
{
	my ($rollup, $reason, $name) = @_;

	ok(eval {
			$node->wait_for_sql("SELECT state, reason, hint FROM streamcount.problems WHERE rollup = '$rollup'::regclass",
				qr/^stalled\|not begun yet: $reason\|It begins by itself/, timeout => 60);
			1;
	}, $name) or diag $@;
	return;
}

sub append_to
{
	my ($topic, @partitions) = @_;

	$fake->append($topic, $_, [ { value => '{"life": 1, "n": 1}' } ]) foreach @partitions;
	return;
}

# A rollup that is to begin, beside one that has begun, and one that is alone
$fake->create_topic($_, 3) foreach qw(elder lonely);
append_to('elder', 0 .. 2);
sql(q{
	CREATE FOREIGN TABLE elder_stream (life int, n int) SERVER streamcount OPTIONS (topic 'elder');
	CREATE FOREIGN TABLE lonely_stream (life int, n int) SERVER streamcount OPTIONS (topic 'lonely')});
create('elder', 'elder');
counted('elder', '0:1 1:1 2:1', 'a rollup has begun');
$fake->lead($_, 2, 0) foreach qw(elder lonely);
sql(q{SELECT streamcount.create_rollup('younger', 'SELECT life, count(*) AS n FROM elder_stream GROUP BY life', start => 'latest')});
create('lonely', 'lonely');
append_to('elder', 0, 1);
counted('elder', '0:2 1:2 2:1', 'K4: no broker leads a partition: a rollup that is to begin does not keep another one from what there is');
waits('younger', 'no broker leads partition 2', 'K4: ... it waits itself, and says for what');
waits('lonely', 'no broker leads partition 2', 'K4: ... and so does one that is alone');
is(sql(q{SELECT count(*) FROM streamcount.progress WHERE rollup IN ('younger'::regclass, 'lonely'::regclass)}), '0',
	'K4: ... neither begins anywhere before it can begin everywhere');
is(sql(q{SELECT streamcount.wait('younger', '0.5s')}), 'f', 'K4: ... wait() does not say that all is counted');
$fake->refuse('elder', 'list offsets', -1, partition => 1);
$fake->lead($_, 2, 1) foreach qw(elder lonely);
append_to('elder', 2);
counted('elder', '0:2 1:2 2:2', 'K4: it is led again, and read on');
counted('lonely', '0:0 1:0 2:0', 'K4: ... and the one that was alone begins');
waits('younger', 'offsets could not be asked for: Unknown[^|]*', 'an error instead of offsets is no beginning either');
$fake->refuse('elder', 'list offsets', 0, partition => 1);
counted('younger', '0:0 1:0 2:0', '... and when they are told, it begins');
append_to('elder', 0 .. 2);
counted('younger', '0:1 1:1 2:1', '... at the ends that it was told: messages that came before are not counted');
counted('elder', '0:3 1:3 2:3', '... nor any twice by the other one');

# New partitions
$fake->grow_topic('elder', 4, led => 0);
$fake->grow_topic('elder', 6, led => 1);
$fake->refuse('elder', 'list offsets', -1, partition => 4);
append_to('elder', 0, 3 .. 5);
counted('elder', '0:4 1:3 2:3 5:1', 'K4: new partitions that nobody tells about do not keep others from being read');
waits('elder', 'no broker leads partition 3', 'K4: ... and are not forgotten');
is(sql(q{SELECT streamcount.wait('elder', '0.5s')}), 'f', 'K4: ... wait() does not say that all is counted');
$fake->lead('elder', 3, 1);
counted('elder', '0:4 1:3 2:3 3:1 5:1', 'K4: ... when one is led, it is read from its beginning');
$fake->refuse('elder', 'list offsets', 0, partition => 4);
counted($_, $_ eq 'elder' ? '0:4 1:3 2:3 3:1 4:1 5:1' : '0:2 1:1 2:1 3:1 4:1 5:1', "K4: ... and so is the last one: $_")
  foreach qw(elder younger);
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.problems WHERE rollup IN ('elder'::regclass, 'younger'::regclass)}, '0');
is(sql(q{SELECT streamcount.wait('elder')}), 't', 'K4: ... then wait() knows');

# A broker that was away knows less than the others, for a moment or for good.
my $asked = $fake->count('metadata elder');
$fake->understate('elder', 3, 6);
$node->poll_query_until('postgres', 'SELECT true') until $fake->count('metadata elder') > $asked + 8;
append_to('elder', 5);
counted('elder', '0:4 1:3 2:3 3:1 4:1 5:2', 'K9: partitions that some answers do not know are read on');
$fake->understate('elder', 3, 1e9);
$node->wait_for_sql(q{SELECT string_agg(partition || reason, ', ' ORDER BY partition) FROM streamcount.progress
	WHERE rollup = 'elder'::regclass AND state = 'halted'},
	qr/^3the topic has no partition 3 any more: it was made anew, 4the topic has .*, 5the topic has /);
pass('K9: ... and halt where none knows them any more');
$fake->understate('elder', 3, 0);
sql(qq{SELECT streamcount.resume('$_')}) foreach qw(elder younger);
append_to('elder', 5);
counted('elder', '0:4 1:3 2:3 3:1 4:1 5:3', 'K9: ... until a person says that it is the same topic');

# What was read last is deleted, and of another partition nobody tells the oldest.
$fake->create_topic('expired', 2);
append_to('expired', 0, 0, 1);
sql(q{CREATE FOREIGN TABLE expired_stream (life int, n int) SERVER streamcount OPTIONS (topic 'expired')});
create('expired', 'expired');
counted('expired', '0:2 1:1', 'a partition is read to its end');
sql(q{SELECT streamcount.pause('expired')});
$fake->trim('expired', 0, 2);
$fake->refuse('expired', 1, -1);
sql(q{SELECT streamcount.resume('expired')});
append_to('expired', 0, 1);
counted('expired', '0:3 1:2', 'K13: ... it goes on behind what Kafka has deleted, and so does one whose oldest offset nobody tells');
$fake->refuse('expired', 1, 0);

# ---------------------------------------------------------------------
# What was read last is deleted while the first message after a silence waits
# ---------------------------------------------------------------------

my $pad = 'x' x 3000;
my $end = 3;

$fake->create_topic('trimmed', 2);
$fake->append('trimmed', 0, [ map { { value => qq({"part": 0, "n": $_}) } } 0 .. $end - 1 ]);
$fake->append('trimmed', 1, [ map { { value => qq({"part": 1, "n": $_, "pad": "$pad"}) } } 1 .. 200 ]) foreach 1 .. 15 * $rounds;
sql(q{
	CREATE FUNCTION slow(part int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN IF part = 1 THEN PERFORM pg_sleep(0.001); END IF; RETURN part; END $$;
	CREATE FOREIGN TABLE trimmed_stream (part int, n int, pad text) SERVER streamcount OPTIONS (topic 'trimmed');
	SELECT streamcount.create_rollup('trimmed',
		'SELECT slow(part) AS part, count(*) AS n, count(pad) AS pads FROM trimmed_stream GROUP BY 1')});
foreach (1 .. $rounds)
{
	$node->wait_for_sql("SELECT next_offset >= $end FROM streamcount.progress
		WHERE rollup = 'trimmed'::regclass AND partition = 0", 't');
	sleep 2;    # a silence
	$fake->append('trimmed', 0, [ map { { value => qq({"part": 0, "n": $_}) } } $end, $end + 1 ]);
	sleep rand 2;
	$fake->trim('trimmed', 0, $end);
	$end += 2;
}
# Where Kafka has deleted them before they were read, that is said.
$node->wait_for_sql("SELECT next_offset >= $end OR state = 'halted' FROM streamcount.progress
	WHERE rollup = 'trimmed'::regclass AND partition = 0", 't');
is(sql(q{SELECT next_offset - counted FROM streamcount.progress WHERE rollup = 'trimmed'::regclass AND partition = 0}), '0',
	'K13: nothing is left out where what was read last is deleted meanwhile');

# ---------------------------------------------------------------------
# What was read cannot be written while what comes behind it is deleted
# ---------------------------------------------------------------------

my @cut = qw(altered indexed);

$node->set_up('streamcount.flush_interval' => '60s');
foreach my $topic (@cut)
{
	$fake->create_topic($topic, 1);
	sql(qq{CREATE FOREIGN TABLE ${topic}_stream (life int, n int) SERVER streamcount OPTIONS (topic '$topic', on_gap 'skip')});
	create($topic, $topic);
	$node->wait_for_sql("SELECT state FROM streamcount.rollups WHERE rollup = '$topic'::regclass", 'idle');
}
my $locker = $node->background_psql('postgres');
$locker->query_safe(q{BEGIN; ALTER FOREIGN TABLE altered_stream OPTIONS (SET on_gap 'halt'); CREATE INDEX ON indexed_data (n)});
foreach my $topic (@cut)
{
	my $served = $fake->count('empty');

	$fake->fault($topic, 0, 5, 'empty');
	$fake->append($topic, 0, records(1, 0, 4));
	$fake->append($topic, 0, records(1, 5, 19));
	$until = time + $PostgreSQL::Test::Utils::timeout_default;
	sleep 0.1 while $fake->count('empty') == $served && time < $until;
	$fake->append($topic, 0, records(1, 20, 20));
	$fake->trim($topic, 0, 20);
}
$node->wait_for_sql(q{SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted}, scalar @cut);
$locker->query_safe('COMMIT');
$locker->quit;
$node->set_up('streamcount.flush_interval' => '50ms');
$node->wait_for_sql(q{SELECT next_offset = 21 OR state = 'halted' FROM streamcount.progress WHERE rollup = 'altered'::regclass}, 't');
is(sql(q{SELECT state, reason FROM streamcount.progress WHERE rollup = 'altered'::regclass}),
	'halted|messages from offset 0 to before 20 are lost: Kafka has deleted them',
	'K13: what is lost is not noted as such by an option that is in force no more');
is(sql(q{SELECT count(*) FROM streamcount.gaps WHERE rollup = 'altered'::regclass}), '0', 'K13: ... but halts');
$node->wait_for_offsets('indexed', 21);
is(sql(q{SELECT first_offset, end_offset FROM streamcount.gaps WHERE rollup = 'indexed'::regclass}), '5|20',
	'K13: what was read before the loss is counted, also where it could not be written at once');
is(counts('indexed'), '1*6', 'K13: ... and all the rest');

# ---------------------------------------------------------------------
# A topic that is made later
# ---------------------------------------------------------------------

my @unborn = qw(unborn renamed moved);

$fake->create_topic('known', 1);
$fake->append('known', 0, records(1, 0, 4));
sql(qq{CREATE FOREIGN TABLE ${_}_stream (life int, n int) SERVER streamcount OPTIONS (topic '$_', start 'latest')}) foreach @unborn;
create($_, $_) foreach @unborn;
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.rollups WHERE reason ~ '^Kafka topic .* does not exist$'}, scalar @unborn);
workers('off');
$fake->create_topic('unborn', 1);
$fake->append('unborn', 0, records(1, 0, 4));
sql(q{ALTER FOREIGN TABLE renamed_stream OPTIONS (SET topic 'known'); SELECT streamcount.resume('renamed')});
workers('on');
$node->wait_for_offsets($_, 5) foreach qw(unborn renamed);
is(counts('unborn'), '1*5', 'K6: a topic that is made later is read from its beginning, also by a worker that did not miss it');
is(counts('renamed'), '', 'K6: ... but not another topic that is read in its place');
workers('off');
$fake->set_cluster('another');
$fake->create_topic('moved', 1);
$fake->append('moved', 0, records(1, 0, 4));
workers('on');
$node->wait_for_offsets('moved', 5);
is(counts('moved'), '', 'K6: ... nor one of another cluster, which may have been there before');

is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$fake->stop;
done_testing();
