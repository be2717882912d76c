# In whatever state the world is, our processes are in nobody's way: a worker
# that is asked to end has gone at once, the server stops, databases are
# dropped, renamed, moved and copied, the log stays short; and when the world
# is well again, counting goes on exactly.
#
# STREAMCOUNT_ROUNDS: how often each end is measured in each state; 50 gives
# figures.  STREAMCOUNT_OBSERVED: for how many seconds the log is watched after
# a database was dropped under its worker.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(max);
use POSIX qw(ceil);
use PostgreSQL::Test::Utils;
use StreamCount::Load;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $rounds = $ENV{STREAMCOUNT_ROUNDS} // 1;
my $observed_s = 2;
my $dropped_s = $ENV{STREAMCOUNT_OBSERVED} // $observed_s;

# What a loaded machine may take; a process that is deaf takes for ever.
my $soon_s = 5;
my (%took, @logged);

my $mock = StreamCount::Mock->new->start;
$mock->create_topic('tweets', 2);
my $node = StreamCount::Node->new('home');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nmax_wal_senders = 0\nmax_prepared_transactions = 1\n"
	  . "streamcount.metadata_interval = 1s\nstreamcount.max_workers = 4\nmax_worker_processes = 12\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;

# A database of its own: nobody may be connected to what is copied.
$node->safe_psql('postgres', 'CREATE DATABASE home');
$node->safe_psql('home', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream(dbname => 'home', options => "reject_limit '0'");
$node->create_hashtags_rollup(dbname => 'home');
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");

sub state_is
{
	my ($state, $dbname) = @_;

	return $node->wait_for_sql('SELECT state FROM streamcount.rollups', qr/^$state$/, dbname => $dbname // 'home');
}

sub worker
{
	my ($dbname) = @_;

	return $node->wait_for_sql(qq{SELECT string_agg(pid::text, ' ') FROM pg_stat_activity
		WHERE backend_type = 'streamcount worker' AND datname = '$dbname'}, qr/^\d+$/);
}

# A zombie has ended, too: it only waits for its parent to say so.
sub has_ended
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return !kill 0, $pid;
	return (readline($stat) // ') Z') =~ /\) Z/;
}

sub measure
{
	my ($what, $code) = @_;
	my $begin = time;

	$code->();
	push @{ $took{$what} }, time - $begin;
	return $took{$what}[-1];
}

sub produce
{
	my ($n) = @_;

	$mock->produce_values('tweets',
		[ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } 1 .. $n ], 2);
	return;
}

# ---------------------------------------------------------------------
# What is to be done at once, in each state
# ---------------------------------------------------------------------

sub worker_ends
{
	my ($name, $state) = @_;
	my $worst = 0;

	for (1 .. $rounds)
	{
		# What was changed ends a worker cleanly: so the next start is not put off.
		$node->safe_psql('home', "SELECT streamcount.pause('hashtags')");
		$node->safe_psql('home', "SELECT streamcount.resume('hashtags')");
		state_is($state);
		my $pid = worker('home');
		my $now = measure("SIGTERM, $name", sub {
			kill 'TERM', $pid;
			sleep 0.001 until has_ended($pid);
		});
		$worst = max $worst, $now;
		state_is($state);
	}
	cmp_ok($worst, '<', $soon_s, "P2, P5: $name: a worker has soon ended");
	return;
}

# Time in one session, so that it is the command's alone
sub databases_come_and_go
{
	my ($name) = @_;
	my $session = $node->background_psql('postgres');
	my $worst = 0;

	for (1 .. $rounds)
	{
		$session->query_safe('CREATE DATABASE other');
		$worst = max $worst, measure('DROP DATABASE of another', sub { $session->query_safe('DROP DATABASE other') });
	}
	$session->quit;
	cmp_ok($worst, '<', $soon_s, "P14: $name: another database is dropped at once");
	return;
}

# A database that has a worker in this state, and all that needs it alone
sub own_database_goes
{
	my ($name, $state) = @_;
	my $worst = 0;

	for my $round (1, 2)
	{
		for my $step (
			'CREATE DATABASE copy TEMPLATE home', 'ALTER DATABASE copy RENAME TO twin',
			'ALTER DATABASE twin SET TABLESPACE elsewhere',
			$round % 2 ? 'DROP DATABASE twin' : 'DROP DATABASE twin WITH (FORCE)')
		{
			state_is($state, $1) if $step =~ /(copy|twin) (?=RENAME|SET)/ || $step =~ /DROP DATABASE (twin)/;
			$worst = max $worst, measure('databases of our own', sub { $node->safe_psql('postgres', $step) });
		}
	}
	cmp_ok($worst, '<', $soon_s, "P14, P15, P16: $name: a database with a worker is copied, renamed, moved, dropped at once");
	worker('home');
	return;
}

sub server_stops
{
	my ($name, $state) = @_;

	for my $mode (qw(smart fast))
	{
		$node->safe_psql('postgres', 'CHECKPOINT');
		cmp_ok(measure("$mode stop", sub { $node->stop($mode) }), '<', $soon_s, "P5: $name: a $mode stop is soon done");
		$node->start;
		state_is($state);
	}
	return;
}

sub log_stays_short
{
	my ($name) = @_;
	my $log = $node->log_size;

	sleep $observed_s;
	my $entries = $node->log_entries($log);
	# The state's own entry may come only now.
	cmp_ok($entries, '<=', 1 + $observed_s / 720, "P39: $name: hardly an entry in the log")
	  or diag substr slurp_file($node->logfile, $log), 0, 3000;
	push @logged, "$name $entries";
	return;
}

# ---------------------------------------------------------------------
# The states
# ---------------------------------------------------------------------

my $load;
my @states = (
	{ name => 'idle', state => '(idle|running)' },
	{
		name => 'load',
		state => '(running|catching_up)',
		begin => sub { $load = StreamCount::Load->start($mock, 'tweets', rate => 300, partitions => 2, seed => 220) },
		end => sub { $load->stop },
	},
	{
		name => 'broker down',
		state => 'connecting',
		begin => sub { $mock->down },
		end => sub { $mock->up },
	},
	{
		name => 'broker frozen',
		state => 'connecting',
		begin => sub { $mock->freeze },
		end => sub { $mock->thaw },
	},
	{
		name => 'topic gone',
		state => 'stalled',
		begin => sub { $mock->command('topic_error', 'tweets', 3) },
		end => sub { $mock->command('topic_error', 'tweets', 0) },
	},
	{
		name => 'lock held',
		state => 'blocked',
		busy => 1,
		begin => sub {
			$node->safe_psql('home',
				q{BEGIN; LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'locker'});
			produce(10);
		},
		end => sub { $node->safe_psql('home', q{COMMIT PREPARED 'locker'}) },
	},
	{
		name => 'halted',
		state => 'halted',
		no_worker => 1,
		begin => sub {
			$node->safe_psql('home', q{
				CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
				CREATE TRIGGER forbid BEFORE INSERT ON hashtags_data EXECUTE FUNCTION forbid()});
			produce(10);
		},
		end => sub {
			$node->safe_psql('home', q{DROP TRIGGER forbid ON hashtags_data; SELECT streamcount.resume('hashtags')});
		},
	});

produce(100);
$node->wait_for_rollup($mock, 'tweets', dbname => 'home');
foreach my $s (@states)
{
	my $name = $s->{name};

	$s->{begin}->() if $s->{begin};
	state_is($s->{state});
	log_stays_short($name);
	databases_come_and_go($name);
	worker_ends($name, $s->{state}) unless $s->{no_worker};
	own_database_goes($name, $s->{state}) unless $s->{busy};
	server_stops($name, $s->{state}) if $name =~ /^(broker|topic)/;
	$s->{end}->() if $s->{end};
	$node->wait_for_rollup($mock, 'tweets', dbname => 'home');
	is($node->differences($mock, 'tweets', dbname => 'home'), '', "P5, P14: $name: exact when it is over");
}

# ---------------------------------------------------------------------
# A database that was dropped under a worker leaves nothing behind
# ---------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE home');
worker('copy');
my $log = $node->log_size;
$node->safe_psql('postgres', 'DROP DATABASE copy WITH (FORCE)');
sleep $dropped_s;
cmp_ok($node->log_count(qr/copy|does not exist/, $log), '<=', 2, 'P15: nobody looks for a database that was dropped by force')
  or diag substr slurp_file($node->logfile, $log), 0, 3000;
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, '1');

# ---------------------------------------------------------------------
# The extension in template1
# ---------------------------------------------------------------------

$node->safe_psql('template1', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream(dbname => 'template1', options => "reject_limit '0'");
$node->create_hashtags_rollup(dbname => 'template1');
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(first second);
foreach my $db (qw(first second))
{
	$node->wait_for_rollup($mock, 'tweets', dbname => $db);
	is($node->differences($mock, 'tweets', dbname => $db), '', "P30: a rollup in template1: $db has it, and it is exact");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'template1'}), '0',
	'P30: nobody serves template1 itself');

# ---------------------------------------------------------------------

$node->stop('fast');
$mock->stop;
diag "entries of the log in $observed_s s: " . join ', ', @logged;
foreach my $what (sort keys %took)
{
	my @sorted = sort { $a <=> $b } @{ $took{$what} };

	my $p99 = $sorted[ ceil(0.99 * @sorted) - 1 ];

	diag sprintf '%-28s %3d times, ms: median %4.0f, p99 %4.0f, most %4.0f', $what, scalar @sorted,
	  map { 1000 * $_ } $sorted[ $#sorted / 2 ], $p99, $sorted[-1];
	# Once is chance, on a machine that does other things, too.
	next if $rounds == 1;
	cmp_ok($p99, '<=', 0.5, "P2: $what: the 99th percentile") if $what =~ /^SIGTERM/;
	cmp_ok($sorted[-1], '<=', 0.2, "P14: $what: each time") if $what eq 'DROP DATABASE of another';
}
done_testing();
