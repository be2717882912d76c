# A broker that answers, but never with the messages that it says are there: it
# does not answer fetches at all, or with nothing, with errors, with what is too
# long or cannot be taken apart.  Most of that causes no event in a client.  The
# partition is stalled, soon, with a reason; the others go on, the log stays
# short, and when the fault is over all is counted exactly.

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

my $seen_within_s = 60;
# How long the log is watched
my $observed_s = $ENV{STREAMCOUNT_OBSERVED_SECONDS} // 20;

my $fake = StreamCount::Fake->new->start;
my $node = StreamCount::Node->new('silent');
$node->init(
	brokers => $fake->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nmax_worker_processes = 40\n"
	  . "streamcount.max_workers = 24\nstreamcount.metadata_interval = 1s\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# Another one, which has all settings of streamcount as they are by default
my $usual = StreamCount::Node->new('usual');
$usual->init(
	brokers => $fake->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nmax_worker_processes = 16\n");
$usual->start;
$usual->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# And one whose workers end by a stall sooner than they commit
my $patient = StreamCount::Node->new('patient');
$patient->init(
	brokers => $fake->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\n"
	  . "streamcount.metadata_interval = 1s\nstreamcount.flush_interval = 60s\n");
$patient->start;
$patient->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub tweets
{
	return [ map { { value => qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } } @_ ];
}

sub offsets_are
{
	my ($topic, $offsets, $name) = @_;

	$node->wait_for_offsets("of_$topic", $offsets);
	pass($name);
	return;
}

# topic, fault, offset where it stands, reason, name
my @silent = (
	[ 'large', 'large', 5, 'nothing comes from offset 5 on, and the partition ends at 15: .*Invalid response size 1900000000',
		'K17: a response that is too large' ],
	[ 'record', 'record', 9, 'nothing comes from offset 9 on', 'K20: a record that cannot be taken apart' ],
	[ 'short', 'short', 5, 'nothing comes from offset 5 on', 'K20: a batch that always ends in the middle' ],
	[ 'silence', 'silence', 5, 'nothing comes from offset 5 on', 'K3: a fetch that is never answered' ],
	[ 'empty', 'empty', 5, 'nothing comes from offset 5 on', 'K20: a fetch that never gives what is there' ],
	[ 'storage', 'error 56', 5, 'nothing comes from offset 5 on', 'K20: a fetch that fails at the broker' ],
	[ 'unknown', 'error -1', 5, 'Unknown', 'K20: a fetch that fails for an unknown reason' ],
	[ 'corrupt', 'error 2', 5, 'CRC|[Cc]orrupt|Invalid', 'K18: a batch that the broker itself finds broken' ],
	[ 'back', 'back', 5, 'too large|nothing comes', 'K34: the batch before, again and again' ]);

# One fetch is never answered, and all else is: what it was for is not asked for again.
$fake->create_topic('lost', 1);
$fake->append('lost', 0, tweets(1 .. 5));
$fake->fault('lost', 0, 0, 'silence', times => 1);
my $lost_since = time;
$node->create_tweets_stream(name => 'lost');
$node->create_hashtags_rollup(name => 'of_lost', stream => 'lost');
my $lost_pid = $node->wait_for_sql(q{SELECT pid FROM streamcount.stat_workers WHERE stream = 'lost'::regclass}, qr/\d/);
until ($fake->count('silence') || time > $lost_since + 30) { sleep 0.05 }
is($fake->count('silence'), 1, 'K32: a fetch is not answered, once');
$node->wait_for_sql(q{SELECT state, reason FROM streamcount.progress WHERE rollup = 'of_lost'::regclass},
	qr/^stalled\|nothing comes from offset 0 on/, timeout => 60);
pass('K32: ... which is a state with a reason, until another one is sent');

# One partition of it is halted, and another one stalled.
$fake->create_topic('mixed', 2);
$fake->append('mixed', $_, tweets(1 .. 5)) for 0, 1;
$fake->fault('mixed', 0, 0, 'error 2');
$fake->fault('mixed', 1, 0, 'empty');
$node->create_tweets_stream(name => 'mixed');
$node->create_hashtags_rollup(name => 'of_mixed', stream => 'mixed');

# What comes of one partition says nothing of the other one.
my $last_times = q{SELECT string_agg(COALESCE(extract(epoch FROM last_message_time)::bigint::text, '-'), ' ' ORDER BY partition)
	FROM streamcount.progress WHERE rollup = 'of_timed'::regclass};
$fake->create_topic('timed', 2);
$fake->append('timed', $_, [ { %{ tweets(1)->[0] }, timestamp => 1411293600000 + 1000 * $_ } ]) for 0, 1;
$node->create_tweets_stream(name => 'timed');
$node->create_hashtags_rollup(name => 'of_timed', stream => 'timed');
$node->wait_for_sql($last_times, '1411293600 1411293601');
$fake->append('timed', 1, [ { %{ tweets(2)->[0] }, timestamp => 1411293602000 } ]);
$node->wait_for_sql($last_times, '1411293600 1411293602');
pass('a partition has its last message\'s time also when another one has had messages since');
$node->safe_psql('postgres', q{SELECT streamcount.pause('of_timed'); SELECT streamcount.resume('of_timed')});
$node->wait_for_sql($last_times, '1411293600 1411293602');
pass('... and after a new start');
$node->safe_psql('postgres', q{SELECT streamcount.drop_rollup('of_timed')});

# The usual one has read what there was, and has looked round, when all at once
# what is new stops coming, or the topic is another one.
my %usual_faults = (
	usual => sub { $fake->fault('usual', 0, 5, 'empty'); $fake->append('usual', 0, tweets(6 .. 10)) },
	unparsable => sub { $fake->fault('unparsable', 0, 5, 'record'); $fake->append('unparsable', 0, tweets(6 .. 10)) },
	deleted => sub { $fake->delete_topic('deleted') },
	remade => sub { $fake->remake_topic('remade', tweets(6 .. 10)) },
	grown => sub { $fake->grow_topic('grown', 2, led => 1); $fake->append('grown', 1, tweets(6 .. 10)) });
foreach my $topic (sort keys %usual_faults)
{
	$fake->create_topic($topic, $topic eq 'usual' ? 2 : 1);
	$fake->append($topic, 0, tweets(1 .. 5));
	$usual->create_tweets_stream(name => $topic);
	$usual->create_hashtags_rollup(name => "of_$topic", stream => $topic);
}
$usual->wait_for_sql(q{SELECT string_agg(state || ' ' || next_offset, ', ') FROM streamcount.progress WHERE partition = 0},
	join ', ', ('idle 5') x keys %usual_faults);
my $silent_since = time;
$usual_faults{$_}->() foreach sort keys %usual_faults;

# And one whose answers about the topic come behind messages, which take their time
my $slow = StreamCount::Fake->new->start;
$slow->create_topic('in_line', 1);
$slow->slow('in_line', 8);
$slow->append('in_line', 0, tweets($_)) for 1 .. 60;
$usual->safe_psql('postgres', qq{
	CREATE SERVER slow FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '@{[ $slow->bootstrap ]}');
	CREATE FOREIGN TABLE in_line (text text, created_at timestamptz) SERVER slow OPTIONS (topic 'in_line')});
$usual->create_hashtags_rollup(name => 'of_in_line', stream => 'in_line');
$usual->wait_for_sql(q{SELECT next_offset > 0 FROM streamcount.progress WHERE rollup = 'of_in_line'::regclass}, 't');
my $in_line_since = time;
my $in_line_worker = q{SELECT pid FROM streamcount.stat_workers WHERE stream = 'in_line'::regclass};
my $in_line_pid = $usual->safe_psql('postgres', $in_line_worker);

# One whose topic is made when its worker has been waiting for it for longer
# than librdkafka believes what it was told of a topic, which is 30 s.
$usual->create_tweets_stream(name => 'unborn', options => "start 'latest'");
$usual->create_hashtags_rollup(name => 'of_unborn', stream => 'unborn');

# One of two partitions is silent.
$fake->create_topic('patient', 2);
foreach my $partition (0, 1)
{
	$fake->append('patient', $partition, tweets(1 .. 5));
	$fake->append('patient', $partition, tweets(6 .. 10));
}
$fake->fault('patient', 0, 7, 'empty');
$patient->create_tweets_stream(name => 'patient');
$patient->create_hashtags_rollup(name => 'of_patient', stream => 'patient');

# One of two is silent, and the other one is behind for as long.
$fake->create_topic('pair', 2);
$fake->append('pair', $_, tweets(1 .. 5)) foreach 0, 1;
$fake->fault('pair', 1, 0, 'silence');
$patient->create_tweets_stream(name => 'pair');
$patient->create_hashtags_rollup(name => 'of_pair', stream => 'pair');

# One is not read for other reasons before it is broken on the wire, once.
$fake->create_topic('turned', 1);
$fake->append('turned', 0, tweets(1 .. 5));
$fake->fault('turned', 0, 0, 'error -1', times => 6);
$fake->fault('turned', 0, 0, 'error 2', times => 1);
$patient->create_tweets_stream(name => 'turned');
$patient->create_hashtags_rollup(name => 'of_turned', stream => 'turned');

my $begin = time;
for my $case (@silent)
{
	my ($topic, $kind) = @$case;

	$fake->create_topic($topic, 2);
	$fake->append($topic, 0, tweets($_ * 5 + 1 .. $_ * 5 + 5)) for 0 .. 2;
	$fake->append($topic, 1, tweets(16 .. 20));
	$fake->fault($topic, 0, 7, $kind);
	$node->create_tweets_stream(name => $topic);
	$node->create_hashtags_rollup(name => "of_$topic", stream => $topic);
}
# To be woken is not to put off the next look at what does not come.
$fake->append('usual', 1, tweets(11 .. 15));
my $woken_s = time - $silent_since;
for my $case (@silent)
{
	my ($topic, $kind, $offset, $reason, $name) = @$case;
	my $state = $topic eq 'corrupt' ? 'halted' : 'stalled';
	my $seen = $node->wait_for_sql(
		"SELECT state || ': ' || reason FROM streamcount.progress WHERE rollup = 'of_$topic'::regclass AND partition = 0",
		qr/^$state: .*(?:$reason)/);

	pass("$name: $seen");
	cmp_ok(time - $begin, '<', $seen_within_s, "$name: seen in time");
	cmp_ok($fake->count($kind), '>', 0, "$name: it was served");
	$node->wait_for_sql("SELECT state, reason <> '', hint ~ 'skip_to' FROM streamcount.problems WHERE rollup = 'of_$topic'::regclass",
		"$state|t|t");
	pass("$name: streamcount.problems says what to do");
	offsets_are($topic, "$offset 5", "$name: what is before it is counted");
}

$node->wait_for_sql(q{SELECT partition, state, reason <> '', hint ~ 'skip_to' FROM streamcount.problems
	WHERE rollup = 'of_mixed'::regclass ORDER BY 1}, "0|halted|t|t\n1|stalled|t|t");
pass('a partition that is stalled beside one that is halted is a problem of its own');
$node->wait_for_sql(q{SELECT lag, lag_seconds IS NULL FROM streamcount.progress
	WHERE rollup = 'of_mixed'::regclass AND partition = 1}, '5|t');
pass('K20: nothing was ever read of it: how old that is, is not known');
$node->safe_psql('postgres', q{SELECT streamcount.drop_rollup('of_mixed')});

# By itself librdkafka would wait for socket.timeout.ms, which is this by default.
my $given_up_s = 60;
$node->wait_for_offsets('of_lost', '5');
is($node->differences($fake, 'lost', name => 'of_lost'), '', 'K32: ... and what it was for is read, exactly');
my ($reader_pid, $lost_s) = split /\|/, $node->safe_psql('postgres',
	qq{SELECT pid, round(extract(epoch FROM flushed_at) - $lost_since, 1) FROM streamcount.stat_workers WHERE stream = 'lost'::regclass});
isnt($reader_pid, $lost_pid, 'K32: ... by another worker');
cmp_ok($lost_s, '<', $given_up_s, "K32: ... before librdkafka gives the fetch up, after $lost_s s");
$node->safe_psql('postgres', q{SELECT streamcount.drop_rollup('of_lost')});

# The others go on, and so do the faults, in silence.
my $log = $node->log_size;
my $until = time + $observed_s;
# All partitions of a broker are in one response: where there is none, the
# others go on as soon as the one that it is for rests.
$fake->append($_->[0], 1, tweets(21 .. 25)) for @silent;
offsets_are($_->[0], "$_->[2] 10", "$_->[4]: the other partition goes on") for @silent;
# It rests most of the time: then the message that was read of it last is not read again, either.
is($node->wait_for_sql(q{SELECT lag, COALESCE((lag_seconds > 0)::text, 'not known') FROM streamcount.progress
		WHERE rollup = 'of_unknown'::regclass AND partition = 0}, qr/^10/),
	'10|true', 'K20: a stalled partition lags by messages and by seconds, whatever comes of others');
sleep 0.2 while time < $until;
# That the other partition waits for the rest of the silent one may be told.
is($node->log_count(qr/^20.* (?!HINT)[A-Z]+:  (?!partition 1 of stream public\.(?:large|silence) is )/, $log), 0,
	"P39: no line in the log in $observed_s s of all these faults")
  or diag substr slurp_file($node->logfile, $log), 0, 3000;
# A new worker may be trying just now.
$node->wait_for_sql("SELECT string_agg(DISTINCT p.state, ' ') FROM streamcount.progress p WHERE partition = 0", 'halted stalled');
pass('K17, K20: nothing has gone on by itself');
my $lines = $node->log_count(qr/^20.* (?:LOG|WARNING|ERROR): (?!.*public\.lost ).*(?:stalled|halted)/);
cmp_ok($lines, '<=', 2 * @silent, 'P39: ' . @silent . " faults, $lines lines since their beginning");

# The way out for one, and for the others the end of the fault
$node->safe_psql('postgres', q{SELECT streamcount.skip_to('of_record', 0, 10)});
offsets_are('record', '15 10', 'K20: skipped, it goes on behind it');
is( $node->safe_psql('postgres', q{SELECT kind, first_offset, end_offset FROM streamcount.gaps
		WHERE rollup = 'of_record'::regclass}),
	'skipped|9|10', 'K20: what was skipped is listed');
is( $node->safe_psql('postgres', q{SELECT string_agg(hashtag, ' ' ORDER BY hashtag) FROM of_record
		WHERE "interval" = 'ALL' AND mentions = 1}),
	join(' ', sort map { "#tag$_" } 1 .. 9, 11 .. 25), 'K20: all but what was skipped is counted');
$fake->heal($_->[0]) for @silent;
$node->safe_psql('postgres', q{SELECT streamcount.resume('of_corrupt')});
for my $case (@silent)
{
	my ($topic, $kind, $offset, $reason, $name) = @$case;

	next if $topic eq 'record';
	offsets_are($topic, '15 10', "$name: the fault is over, it goes on by itself");
	is($node->differences($fake, $topic, name => "of_$topic"), '', "$name: exact");
}
$node->wait_for_sql('SELECT count(*) FROM streamcount.problems', '0');
pass('nothing is left of the problems');

# ---------------------------------------------------------------------
# Workers that end by a stall, and flushes that are further apart
# ---------------------------------------------------------------------

$patient->wait_for_offsets('of_patient', '5 10', timeout => 60);
pass('K20: what was read is counted before a silent partition is tried again');
is($patient->safe_psql('postgres', q{SELECT partition, state FROM streamcount.progress WHERE rollup = 'of_patient'::regclass AND reason <> ''}), '0|stalled',
	'K20: ... which goes on being stalled');
$patient->set_up('streamcount.flush_interval' => '50ms');
$fake->heal('patient');
$patient->wait_for_offsets('of_patient', '10 10');
is($patient->differences($fake, 'patient', name => 'of_patient'), '', 'K20: ... and when the fault is over all is counted, exactly');
$patient->wait_for_sql(q{SELECT state, next_offset FROM streamcount.progress WHERE rollup = 'of_turned'::regclass}, qr/^(?:halted.*|.*[|]5)$/);
is($patient->safe_psql('postgres', q{SELECT next_offset, reason FROM streamcount.progress WHERE rollup = 'of_turned'::regclass}), '5|',
	'K18: a batch that is broken once, after other faults, goes on by itself');
$patient->wait_for_offsets('of_pair', '5 0');
pass('K3: a partition that waits for a silent one from the beginning is read, too');
$fake->heal('pair');
is($patient->differences($fake, 'pair', name => 'of_pair'), '', 'K3: ... exactly');
$patient->stop('fast');

# ---------------------------------------------------------------------
# By default
# ---------------------------------------------------------------------

is($usual->safe_psql('postgres', 'SHOW streamcount.metadata_interval'), '30s', 'K20: with all settings as they are by default');
# It waits for two thirds of it, and then for the next look.
cmp_ok($usual->safe_psql('postgres', q{SELECT ceil(max_val::int * 5 / 3.0) FROM pg_settings WHERE name = 'streamcount.metadata_interval'}),
	'<=', 60, 'K20: no setting lets it be later than a minute');

# What the query says of when it was seen, which may be a while ago
sub seen_in_time
{
	my ($query, $name) = @_;
	my $seen = eval { $usual->wait_for_sql("SELECT round(extract(epoch FROM ($query))::numeric - $silent_since, 1)", qr/\d/, timeout => $seen_within_s) };

	return fail($name) || diag $@ unless defined $seen;
	return cmp_ok($seen, '<=', $seen_within_s, "$name within $seen_within_s s, after $seen s");
}

sub problem_in_time
{
	my ($topic, $problem, $name) = @_;

	return seen_in_time("SELECT min(since) FROM streamcount.problems WHERE rollup = 'of_$topic'::regclass AND state || ': ' || reason LIKE '$problem%'", $name);
}

problem_in_time('usual', 'stalled: nothing comes from offset 5 on', sprintf 'K20: ... a fetch that gives nothing, though other messages came %.0f s later, is seen', $woken_s);
problem_in_time('unparsable', 'stalled: nothing comes from offset 9 on', 'K20: ... a record that cannot be taken apart is seen');
problem_in_time('deleted', 'stalled: Kafka topic "deleted" does not exist', 'K7: ... a topic that was deleted is seen');
problem_in_time('remade', 'halted: message at offset 4 is another one than was read', 'K9: ... a topic that is another one, just as long, is seen');
seen_in_time(q{SELECT flushed_at FROM streamcount.stat_workers WHERE stream = 'grown'::regclass
		AND (SELECT sum(next_offset) FROM streamcount.progress WHERE rollup = 'of_grown'::regclass) = 10},
	'K10: ... a new partition is read');
is($usual->differences($fake, 'grown', name => 'of_grown'), '', 'K10: ... exactly');
is($usual->safe_psql('postgres', qq{SELECT string_agg(hashtag, ' ' ORDER BY hashtag) FROM of_$_ WHERE "interval" = 'ALL'}),
	'#first #tag1 #tag2 #tag3 #tag4 #tag5', "K7, K9: ... what was read of topic $_ stays counted, and nothing else is") foreach 'deleted', 'remade';
$fake->heal('usual');
$usual->wait_for_offsets('of_usual', '10 5');
is($usual->differences($fake, 'usual', name => 'of_usual'), '', 'K20: ... and when the fault is over all is counted, exactly');

my $unborn_worker = q{FROM streamcount.stat_workers WHERE stream = 'unborn'::regclass};
my $unborn_s = eval { $usual->wait_for_sql("SELECT round(extract(epoch FROM now() - started_at)) $unborn_worker AND started_at < now() - interval '31 s'",
	qr/\d/) };
ok(defined $unborn_s, 'K6: ... a worker waits for a topic that is missing') or diag $@;
my $unborn_pid = $usual->safe_psql('postgres', "SELECT pid $unborn_worker");
is($usual->safe_psql('postgres', q{SELECT state, reason FROM streamcount.rollups WHERE rollup = 'of_unborn'::regclass}),
	'stalled|Kafka topic "unborn" does not exist', 'K6: ... and says so');
$fake->create_topic('unborn', 2);
$fake->append('unborn', $_, tweets(1 .. 5)) foreach 0, 1;

# Two questions are due by then, and each is answered only behind a message.
sleep 0.2 while time < $in_line_since + 65;
is($usual->safe_psql('postgres', $in_line_worker), $in_line_pid, 'K29: ... and answers that come late, behind messages, end no worker');
is($usual->log_count(qr/starts anew|in_line/), 0, 'K29: ... and are not worth a line in the log');
ok(eval { $usual->wait_for_offsets('of_unborn', '5 5', timeout => 60) },
	"K6: ... made after $unborn_s s, it is read") or diag $@;
is($usual->differences($fake, 'unborn', name => 'of_unborn'), '', 'K6: ... exactly');
is($usual->safe_psql('postgres', q{SELECT string_agg(start_offset::text, ' ') FROM streamcount.progress WHERE rollup = 'of_unborn'::regclass}),
	'0 0', 'K6: ... from its first message, though new rollups start at the end');
is($usual->safe_psql('postgres', "SELECT pid $unborn_worker"), $unborn_pid, 'K6: ... by the worker that has waited for it');
my $in_line_s = time - $in_line_since;
cmp_ok($slow->count('fetch'), '<', 10 + $in_line_s / 6,
	sprintf 'K29: ... however slowly they come: %d in %d s', $slow->count('fetch'), $in_line_s);
$usual->stop('fast');
$slow->stop;

# ---------------------------------------------------------------------
# Not only one partition
# ---------------------------------------------------------------------

# A broker that accepts connections and is deaf
$fake->deaf(1);
$node->wait_for_sql(q{SELECT DISTINCT state, reason <> '' FROM streamcount.progress}, 'connecting|t');
pass('K3: nothing is answered any more: connecting');
$node->safe_psql('postgres', 'CHECKPOINT');
my $stop = time;
$node->stop('fast');
cmp_ok(time - $stop, '<', 1, 'K3: nothing is answered: a fast stop takes less than a second');
$node->start;
$node->wait_for_sql(q{SELECT DISTINCT state FROM streamcount.rollups}, 'connecting');
pass('K3: accepted and never answered at the start: connecting');
$fake->append('empty', 0, tweets(26 .. 30));
$fake->deaf(0);
offsets_are('empty', '20 10', 'K3: answered again, it goes on');
is($node->differences($fake, 'empty', name => 'of_empty'), '', 'K3: exact');

is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
$node->stop('fast');
$fake->stop;
done_testing();
