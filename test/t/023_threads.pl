# Threads there are in the processes that read Kafka, and nowhere else; no
# signal is ever delivered to one, and none runs anything of PostgreSQL's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();
plan skip_all => '/proc does not tell of threads here' unless -r "/proc/$$/task/$$/status";

# Two brokers: a thread for each of them begins when the first one has told
# of the second.
my $broker = StreamCount::Mock->new(brokers => 2);
$broker->start;
$broker->create_topic('tweets', 4);
$broker->produce_messages('tweets',
	[ map { { partition => $_ % 4, value => qq({"text":"#a","created_at":"2014-09-21T13:05:00Z"}) } } 1 .. 100 ]);

my $node = StreamCount::Node->new('main');
$node->init(brokers => $broker->bootstrap);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->create_tweets_stream;
$node->create_hashtags_rollup;
$node->wait_for_sql(q{SELECT sum(mentions) FROM hashtags WHERE interval = 'ALL'}, '100');

# What each thread of a process is called, and the signals that it blocks
sub threads_of
{
	my ($pid) = @_;
	my @threads;

	for my $task (glob "/proc/$pid/task/*")
	{
		open my $in, '<', "$task/status" or next;
		my $status = do { local $/; <$in> };
		my ($name) = $status =~ /^Name:\s*(.*)$/m;
		my ($blocked) = $status =~ /^SigBlk:\s*([0-9a-f]+)$/m;
		push @threads, { id => $task =~ s{.*/}{}r, name => $name, blocked => hex $blocked };
	}
	return @threads;
}

# Of the others than the first, those that a signal could be delivered to: of
# 1 to 31, only KILL (9) and STOP (19) cannot be blocked.
sub open_to_signals
{
	my ($pid) = @_;
	my $all = 0x7fffffff & ~(1 << 8) & ~(1 << 18);

	return join ', ', map { sprintf '%s (%x)', $_->{name}, $_->{blocked} }
	  grep { $_->{id} != $pid && ($_->{blocked} & $all) != $all } threads_of($pid);
}

sub names_of_others
{
	my ($pid) = @_;

	return join ' ', sort map { $_->{name} } grep { $_->{id} != $pid } threads_of($pid);
}

# Polls until a process has threads for both brokers.
sub wait_for_threads
{
	my ($pid) = @_;
	my $until = time + 60;

	sleep 0.05 while time < $until && (() = names_of_others($pid) =~ /rdk:broker[12]/g) < 2;
	return names_of_others($pid);
}

my ($worker) = $node->pids_of('worker');
my ($launcher) = $node->pids_of('launcher');
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];

like(wait_for_threads($worker), qr/rdk:broker.*rdk:broker.*rdk:main/,
	'a worker has threads of librdkafka');
is(open_to_signals($worker), '', 'P41: they block all signals');
is(names_of_others($postmaster), '', 'P41: the postmaster has no thread but its own');
is(names_of_others($launcher), '', 'P41: nor has the launcher');

# A session that reads its topic until it is let go on
my $locker = $node->background_psql('postgres');
my $session = $node->background_psql('postgres');
my $backend = $session->query_safe('SELECT pg_backend_pid()');
is(names_of_others($backend), '', 'P41: a session has none before it reads a topic');

my ($mask) = map { $_->{blocked} } threads_of($backend);
$locker->query_safe('SELECT pg_advisory_lock(1)');
$session->query_until(qr/begins/,
	"\\echo begins\nSELECT count(pg_advisory_xact_lock_shared(1)) FROM tweets;\n");
like(wait_for_threads($backend), qr/rdk:/, 'it has them while it reads one');
is(open_to_signals($backend), '', 'P41: they block all signals');
$locker->query_safe('SELECT pg_advisory_unlock(1)');
like($session->query_safe('SELECT 1'), qr/^(?:100\n)?1$/, 'it reads the topic to its end');
is(names_of_others($backend), '', 'P41: and they are gone when it has read');
is((threads_of($backend))[0]->{blocked}, $mask, 'P41: the session blocks the signals that it did before');
$_->quit for $session, $locker;

# What librdkafka could call would run on its threads, or in its frames.  One
# does, and says there what is wrong with a certificate.  Two threads are ours:
# one that asks the brokers, one that waits for the end of a client.
my (@callbacks, @threads, %body);
for my $file (grep { !/crash_point\.c$/ } glob "$FindBin::RealBin/../../src/*.[ch]")
{
	my $code = slurp_file($file) =~ s{/\*.*?\*/}{}grs;
	my $name = $file =~ s{.*/}{}r;

	push @callbacks, "$name: $1" while $code =~ /(rd_kafka_\w*set_\w*_cb\s*\(\s*\w+\s*,\s*(?!NULL\b)\w+)/g;
	push @threads, "$name: $1" while $code =~ /pthread_create\([^,]*, NULL, (\w+),/g;
	while ($code =~ /^(\w+)\([^;{}]*\)\n\{\n(.*?)^\}/gms)
	{
		my ($function, $lines) = ($1, $2);

		# Another name is its file's own.
		$body{ $function =~ /^sc_/ ? $function : "$name: $function" } = [ $name, $lines ];
	}
}
is(join("\n", @callbacks), 'source_verify.c: rd_kafka_conf_set_ssl_cert_verify_cb(conf, say_why', 'P42: librdkafka is given one callback');
is(join("\n", @threads), "source.c: end_client\nsource_ask.c: ask", 'P42: two functions of ours run on threads of their own');

# What they call, and what that calls
my (%called, %seen);
my @left = ('source_verify.c: say_why', @threads);
while (my $function = shift @left)
{
	next if $seen{$function}++;
	my ($file, $code) = @{ $body{$function} // die "there is no $function\n" };
	my @calls = grep { !/^(?:if|for|while|switch|return|sizeof)$/ } $code =~ /(\w+)\s*\(/g;

	$called{$_}++ foreach grep { !$body{$_} && !$body{"$file: $_"} } @calls;
	push @left, map { $body{$_} ? $_ : $body{"$file: $_"} ? "$file: $_" : () } @calls;
}
is( join(' ', grep { !/^rd_kafka_/ } sort keys %called),
	'__atomic_store_n clock_gettime close free lengthof pthread_join strlcpy write',
	'P42: none of the three calls anything of PostgreSQL\'s');
my $conf = slurp_file("$FindBin::RealBin/../../src/source_conf.c");
like($conf, qr/rd_kafka_conf_set_log_cb\(conf, NULL\)/, 'P42: nor does its own write to the log');
like($conf, qr/"log\.queue", "true"/, 'P42: what it has to say waits in a queue');

$node->stop('fast');
$broker->stop;
done_testing();
