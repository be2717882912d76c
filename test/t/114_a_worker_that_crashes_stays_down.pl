# A crash of a worker is one of the whole server.  One that crashes again and
# again stays down, says why and what to type; the server stays up, and all
# others go on.  A worker that gets no memory ends by itself, and loses nothing.

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
plan skip_all => 'STREAMCOUNT_POINTS does not name a server with crash points'
  unless $ENV{STREAMCOUNT_POINTS};

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('crashing', install_path => $ENV{STREAMCOUNT_POINTS});
$node->init(
	brokers => $kafka->bootstrap,
	conf => "restart_after_crash = on\nlog_statement = none\nlog_checkpoints = off\nfsync = off\n"
	  . "streamcount.flush_interval = 5ms\nmax_locks_per_transaction = 10\nmax_connections = 20\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
my %oid;
foreach my $name (qw(bad good))
{
	$kafka->create_topic($name, 2);
	$node->create_tweets_stream(name => $name);
	$node->create_hashtags_rollup(name => "${name}_tags", stream => $name);
	$oid{$name} = sql("SELECT '$name'::regclass::oid");
}

# ---------------------------------------------------------------------
# What the tests have in common
# ---------------------------------------------------------------------

sub sql { return $node->safe_psql('postgres', $_[0]) }

# A server that is restarting answers in a moment.
sub until_it_answers
{
	sleep 0.02 until ($node->try_psql('postgres', 'SELECT 1'))[0] == 0;
	return;
}

sub produce
{
	my ($topic, $n) = @_;

	$kafka->produce_values($topic,
		[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } 1 .. $n // 20 ], 2);
	return;
}

sub strike_at
{
	my ($topic, %settings) = @_;

	$node->strike(sub { produce($topic, 2) }, %settings);
	return;
}

sub counts_exactly
{
	my ($topic, $name, %args) = @_;
	my $rollup = $args{rollup} // "${topic}_tags";

	produce($topic);
	$node->wait_for_rollup($kafka, $topic, name => $rollup, timeout => 60);
	is($node->differences($kafka, $topic, name => $rollup), '', "$name: exact");
	return;
}

# It is told, and the statement helps.
sub is_down
{
	my ($rollup, $reason, $name) = @_;

	$node->wait_for_sql("SELECT state, reason, statement FROM streamcount.problems WHERE rollup = '$rollup'::regclass",
		qr/^down\|$reason\|SELECT streamcount\.resume\('$rollup'\)$/, timeout => 60);
	pass("$name: it stays down, and streamcount.problems says why and what to type");
	return;
}

counts_exactly($_, "before, $_") foreach qw(bad good);

# ---------------------------------------------------------------------
# A worker that aborts
# ---------------------------------------------------------------------

my $log = $node->log_size;
strike_at('bad', 'streamcount.crash_point' => 'after_poll abort always', 'streamcount.crash_worker' => "stream $oid{bad}");
is_down('bad_tags', 'its worker crashed 5 times within 600 seconds, the last time by signal 6: .*', 'K33: it aborts at each start');
is($node->log_count(qr/was terminated by signal 6/, $log), 5, 'K33: the server has crashed so often and no more');
counts_exactly('good', 'K33: the other stream goes on');
my ($status, $out, $err) = $node->psql('postgres', "SELECT streamcount.wait('bad_tags')");
like($err, qr/cannot wait for rollup public.bad_tags: it is down\n.*its worker crashed 5 times/, 'K33: wait() says so at once');

# Only a person lets it start again.
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'streamcount launcher'");
my ($worker) = $node->pids_of('worker');
kill 'KILL', $worker;
$node->wait_for_log(qr/\(PID $worker\) was terminated by signal 9/, $log);
until_it_answers();
counts_exactly('good', 'K33: another crash, the other stream');
is_down('bad_tags', 'its worker crashed 5 times .*', 'K33: after another launcher and another crash');
is($node->log_count(qr/was terminated by signal 6/, $log), 5, 'K33: and has not been started again');
$node->set_up('streamcount.crash_point' => '');
sql(sql("SELECT statement FROM streamcount.problems WHERE rollup = 'bad_tags'::regclass"));
counts_exactly('bad', 'K33: resumed');

# ---------------------------------------------------------------------
# A worker that is killed: less its own fault where it has achieved something
# ---------------------------------------------------------------------

sub dies_having_counted
{
	my ($action, $what) = @_;
	my $signal = $action eq 'kill' ? 9 : 11;
	my $from = $node->log_size;

	strike_at('bad', 'streamcount.crash_point' => "after_poll $action");
	$node->wait_for_log(qr/was terminated by signal $signal/, $from);
	until_it_answers();
	$node->set_up('streamcount.crash_point' => '');
	return;
}

$node->set_up('streamcount.crash_limit' => 2);
foreach my $death ([ 'kill', 'P1: killed once' ], [ 'kill', 'P1: killed twice' ],
	[ 'thread_fault', 'K33: a thread crashed once' ], [ 'thread_fault', 'K33: a thread crashed twice' ])
{
	dies_having_counted(@$death);
	counts_exactly('bad', "$death->[1], with commits in between");
}

# Whoever kills it, or whatever: the server is to have peace in the end.
foreach my $time (5 .. 7)
{
	dies_having_counted('kill');
	counts_exactly('bad', "P20: killed $time times, with commits in between");
}
dies_having_counted('kill');
is_down('bad_tags', 'its worker crashed 8 times within 600 seconds, the last time by being killed', 'P20: killed for its memory again and again');
sql("SELECT streamcount.resume('bad_tags')");
counts_exactly('bad', 'P20: resumed');

$log = $node->log_size;
strike_at('bad', 'streamcount.crash_point' => 'after_tally kill always');
# The first time it had counted what came before.
is_down('bad_tags', 'its worker crashed 3 times within 600 seconds, the last time by being killed', 'P20: killed for its memory at each start');
$node->set_up('streamcount.crash_point' => '');
$node->restart;
counts_exactly('bad', 'P20: the server was restarted, which starts it again');
strike_at('bad', 'streamcount.crash_point' => 'after_tally kill always');
is_down('bad_tags', 'its worker crashed 3 times within 600 seconds, the last time by being killed', 'P20: killed for its memory once more');
$node->set_up('streamcount.crash_point' => '');
sql(q{ALTER FOREIGN TABLE bad OPTIONS (ADD reject_limit '7')});
counts_exactly('bad', 'P20: its definition was changed, which starts it again');

# ---------------------------------------------------------------------
# A server that ends by a crash, and is started by somebody else
# ---------------------------------------------------------------------

$node->set_up('restart_after_crash' => 'off');
foreach (1, 2)
{
	my @family = $node->family;

	strike_at('bad', 'streamcount.crash_point' => 'after_poll abort');
	$node->start_after_kill(@family);
	$node->set_up('streamcount.crash_point' => '');
}
is_down('bad_tags', 'its worker crashed 2 times within 600 seconds, the last time by signal 6: .*', 'K33: each crash has ended the server');
counts_exactly('good', 'K33: the other stream goes on');
$node->set_up('restart_after_crash' => 'on');
$node->restart;
counts_exactly('bad', 'K33: a server that was stopped by a person has forgotten it');

# ---------------------------------------------------------------------
# Other crashes: a fault, and those of a thread that is open to no signal.
# What abort() raises is open to all the same.
# ---------------------------------------------------------------------

foreach my $crash (
	[ 'fault', 11, 'signal 11: .*', 2, 'it faults at each start' ],
	[ 'thread_abort', 6, 'signal 6: .*', 2, 'a thread of it aborts at each start' ],
	[ 'thread_fault', 11, 'being killed', 3, 'a thread of it faults at each start' ])
{
	my ($action, $signal, $last, $crashes, $name) = @$crash;

  SKIP:
	{
		skip 'K33: the sanitizers take faults for themselves', 4 if $ENV{SANITIZE} && $action eq 'fault';
		$log = $node->log_size;
		strike_at('bad', 'streamcount.crash_point' => "after_poll $action always");
		is_down('bad_tags', "its worker crashed $crashes times within 600 seconds, the last time by $last", "K33: $name");
		is($node->log_count(qr/was terminated by signal $signal/, $log), $crashes, "K33: $name: the server has crashed so often and no more");
		counts_exactly('good', "K33: $name: the other stream goes on");
		$node->set_up('streamcount.crash_point' => '');
		sql("SELECT streamcount.resume('bad_tags')");
		counts_exactly('bad', "K33: $name: resumed");
	}
}

# Without a limit it is held back for some seconds each time, and goes on.
$log = $node->log_size;
strike_at('bad', 'streamcount.crash_limit' => 0, 'streamcount.crash_point' => 'before_commit abort always');
$node->wait_for_log(qr/WARNING:.*held back for a moment, since its worker crashed 3 times/, $log);
$node->set_up('streamcount.crash_point' => '');
until_it_answers();
$node->set_up('streamcount.crash_point' => '');
counts_exactly('bad', 'without a limit it is tried again');
# It has crashed more often than the next limit allows.
sql("SELECT streamcount.resume('bad')");

# A server that wants to see where its processes are aborts them all.
SKIP:
{
	skip 'before PostgreSQL 16 no server does', 3 if $node->pg_version < 16;
	$node->set_up('send_abort_for_crash' => 'on', 'streamcount.crash_limit' => 2);
	foreach my $time (1, 2)
	{
		my $session = $node->background_psql('postgres');
		my $pid = $session->query_safe('SELECT pg_backend_pid()');

		$log = $node->log_size;
		kill 'KILL', $pid;
		$node->wait_for_log(qr/\(PID $pid\) was terminated by signal 9/, $log);
		until_it_answers();
		eval { $session->quit };
		counts_exactly('bad', "another process has crashed, and all were aborted: $time");
	}
	is(sql('SELECT count(*) FROM streamcount.problems'), '0', '... which is no crash of the workers');
	$node->set_up('send_abort_for_crash' => 'off');
}

# ---------------------------------------------------------------------
# Crashes that are far apart
# ---------------------------------------------------------------------

my $window_s = 2;
$node->create_hashtags_rollup(name => 'guilty_tags', stream => 'bad');
counts_exactly('bad', 'one more rollup of it', rollup => 'guilty_tags');
$node->set_up('streamcount.crash_limit' => 2, 'streamcount.crash_window' => "${window_s}s");
$log = $node->log_size;
foreach my $time (1 .. 3)
{
	my $from = $node->log_size;

	strike_at('bad', 'streamcount.crash_point' => 'after_poll abort');
	$node->wait_for_log(qr/was terminated by signal 6/, $from);
	my $crashed_at = time;
	until_it_answers();
	$node->set_up('streamcount.crash_point' => '');
	counts_exactly('bad', "an old crash is forgotten: it goes on after the ${time}. one");
	sleep 0.1 while time < $crashed_at + $window_s + 0.5;
}
is($node->log_count(qr/was terminated by signal 6/, $log), 3, 'it has crashed more often than it may within the window');
is($node->log_count(qr/crashed \d+ times within/, $log), 0, 'and nobody has stopped it');

# The same crashes, and a longer memory
$node->set_up('streamcount.crash_window' => '1h');
sql(q{SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers WHERE stream = 'bad'::regclass});
is_down('bad_tags', 'its worker crashed 3 times within 3600 seconds, the last time by signal 6: .*', 'within a longer window');
$node->set_up('streamcount.crash_window' => '10min');
sql("SELECT streamcount.pause('guilty_tags')");
counts_exactly('bad', 'the rollup that is to blame is paused, and the others of its stream go on');
sql("SELECT streamcount.resume('guilty_tags')");
counts_exactly('bad', 'it is resumed', rollup => 'guilty_tags');
counts_exactly('bad', 'resumed after it');

# ---------------------------------------------------------------------
# A rollup that is served apart
# ---------------------------------------------------------------------

$node->create_hashtags_rollup(name => 'apart_tags', stream => 'good');
counts_exactly('good', 'one more rollup', rollup => 'apart_tags');
my $rollup = sql("SELECT 'apart_tags'::regclass::oid");
$node->set_up('streamcount.crash_limit' => 2, 'streamcount.crash_worker' => "rollup $rollup",
	'streamcount.crash_point' => 'after_fence abort always');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE apart_tags_data IN ACCESS EXCLUSIVE MODE');
produce('good');
$node->wait_for_sql("SELECT state FROM streamcount.stat_workers WHERE apart = $rollup", 'blocked', timeout => 60);
# The crash may come before psql has its answer.
eval { $locker->query_safe('COMMIT') };
eval { $locker->quit };
is_down('apart_tags', 'its worker crashed 2 times .*', 'a rollup that was served apart crashes');
counts_exactly('good', 'the others of its stream go on');
$node->set_up('streamcount.crash_point' => '');
sql("SELECT streamcount.resume('apart_tags')");
counts_exactly('good', 'resumed', rollup => 'apart_tags');
$node->wait_for_sql('SELECT count(apart) FROM streamcount.stat_workers', '0', timeout => 60);
pass('and it joins the others');

# ---------------------------------------------------------------------
# No memory
# ---------------------------------------------------------------------

# Locks that a session holds, all that there is room for
$log = $node->log_size;
$locker = $node->background_psql('postgres', on_error_stop => 0);
$locker->query('SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 1000000) AS n');
produce('bad');
$node->wait_for_log(qr/ERROR:  out of shared memory.*?worker" \(PID \d+\) exited with exit code 1/s, $log);
pass('P20: where there is no shared memory a worker ends by itself');
eval { $locker->quit };
counts_exactly('bad', 'P20: when there is some again');

# A worker may have a little more than it has now, and may not fill what is only
# reserved: PostgreSQL's allocations fail, or librdkafka's, which aborts.
SKIP:
{
	skip 'P20: prlimit is not installed', 3 if system('prlimit --version >/dev/null 2>&1') != 0;
	skip 'P20: the sanitizers need memory of their own', 3 if $ENV{SANITIZE};
	my $pid = sql(q{SELECT pid FROM streamcount.stat_workers WHERE stream = 'bad'::regclass});
	my ($size) = slurp_file("/proc/$pid/status") =~ /^VmData:\s+(\d+) kB/m;

	$log = $node->log_size;
	is(system('prlimit', '--pid', $pid, '--data=' . ($size + 1024) * 1024), 0, 'P20: a worker gets a limit of memory');
	$kafka->produce_values('bad',
		[ map { my $n = $_; '{"created_at": "2014-09-21T10:00:00Z", "text": "' . join(' ', map { "#tag${n}_$_" } 1 .. 50) . '"}' } 1 .. 4000 ], 2);
	# PostgreSQL writes into the log what its memory is used for.
	$node->wait_for_log(qr/^Grand total: .*used$|was terminated by signal 6/m, $log);
	my $until = time + 60;
	sleep 0.05 until StreamCount::Node::has_ended($pid) || time > $until;
	ok(StreamCount::Node::has_ended($pid), 'P20: and ends where that is not enough');
	until_it_answers();
	counts_exactly('bad', 'P20: a worker has run out of memory');
}

$node->wait_for_sql('SELECT count(*) FROM streamcount.problems', '0');
pass('nothing needs a person');
$node->stop('fast');
$kafka->stop;
done_testing();
