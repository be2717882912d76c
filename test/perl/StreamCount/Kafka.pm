=pod

=head1 NAME

StreamCount::Kafka - an Apache Kafka of one node, for tests

=head1 SYNOPSIS

  my $kafka = StreamCount::Kafka->new(dir => "$tmp/kafka");
  $kafka->start;
  $kafka->create_topic('tweets', 4);
  $kafka->produce('tweets', 0, undef, '{"text": "the #first"}');
  $kafka->kill9;
  $kafka->start;    # the same ports, the same data

=head1 DESCRIPTION

The jars come from test/kafka/pom.xml and lie in test/kafka/target/jars.  The
broker listens on the loopback address alone and ends with this process.

=cut

package StreamCount::Kafka;

use strict;
use warnings;

use parent 'StreamCount::Broker';

use Carp;
use Fcntl qw(LOCK_EX LOCK_NB);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64url);
use Time::HiRes qw(sleep time);

# A reason why there can be no broker here, or undef.
sub missing
{
	my $jars = "$StreamCount::Broker::root/test/kafka/target/jars";

	return 'java is not installed' unless grep { -x "$_/java" } split /:/, $ENV{PATH};
	return "$jars is empty: run mvn -q -B -f test/kafka/pom.xml package"
	  unless my @jars = glob "$jars/kafka_2.13-*.jar";
	return 'test/kafka/kafka_tool is not built'
	  unless -x "$StreamCount::Broker::root/test/kafka/kafka_tool";
	return;
}

# Between two tests that run side by side; until this process ends.
my @reserved;

sub reserve
{
	my ($port) = @_;
	my $dir = ($ENV{TESTLOGDIR} // return 1) . '/ports';

	make_path($dir);
	open my $lock, '>', "$dir/$port" or croak "$dir/$port: $!";
	return 0 unless flock $lock, LOCK_EX | LOCK_NB;
	push @reserved, $lock;
	return 1;
}

# Ports that no connection is given by chance while a broker is down, and that
# do not depend on what a test has seeded.
sub free_ports
{
	my ($count) = @_;
	my @sockets;

	open my $random, '<:raw', '/dev/urandom' or croak "/dev/urandom: $!";
	while (@sockets < $count)
	{
		read $random, my $bytes, 2;
		my $socket = IO::Socket::INET->new(
			LocalAddr => '127.0.0.1',
			LocalPort => 10000 + unpack('S', $bytes) % 22000,
			Listen => 1);
		push @sockets, $socket if $socket && reserve($socket->sockport);
	}
	return map { $_->sockport } @sockets;
}

sub java
{
	my ($self) = @_;

	return (
		(grep { -x $_ } map { "$_/java" } split /:/, $ENV{PATH})[0],
		'-Xms32m', "-Xmx$self->{heap}", '-XX:+UseSerialGC', @{ $self->{java} },
		'-Dorg.slf4j.simpleLogger.showDateTime=true',
		'-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS',
		'-cp', "$StreamCount::Broker::root/test/kafka/target/jars/*");
}

# Most of what a test's broker costs is its start: classes come from an archive
# (test/kafka/archive_classes), and only the quick one of Java's two compilers
# is used.
sub quick_start
{
	my $archive = $ENV{STREAMCOUNT_CLASSES} // '';

	return ('-XX:TieredStopAtLevel=1', -f $archive ? "-XX:SharedArchiveFile=$archive" : ());
}

# new(dir => ..., port => 9092, heap => '128m', config => {'name' => 'value'},
#	listeners => {'NAME' => 'PROTOCOL'}, format_options => [...], java => [...])
# where java are options of Java in place of those for a quick start,
# and for one of several, see StreamCount::Cluster: id, controller (its port),
# cluster (its id), voters ("1@host:port,...").
# Of further listeners, {listeners}{NAME} of the object is the address.
# With behind => $proxy, a StreamCount::Proxy, there is one more listener, whose
# address is the proxy's.
sub new
{
	my ($class, %args) = @_;
	my $missing = missing();

	croak $missing if $missing;
	my $dir = $args{dir} // tempdir('kafka_XXXXXX', TMPDIR => 1, CLEANUP => 1);
	my @listeners = sort keys %{ $args{listeners} // {} };
	my ($port, $controller, @ports) = free_ports(2 + @listeners);
	$port = $args{port} // $port;
	$controller = $args{controller} // $controller;
	my %address = map { $listeners[$_] => "127.0.0.1:$ports[$_]" } 0 .. $#listeners;
	my $advertised = join ',', "PLAINTEXT://127.0.0.1:$port",
	  map { "$_://$address{$_}" } @listeners;
	my $self = bless {
		dir => $dir,
		heap => $args{heap} // '128m',
		java => $args{java} // [quick_start()],
		bootstrap => "127.0.0.1:$port",
		log => "$dir/kafka.log",
		listeners => \%address,
		format_options => $args{format_options} // [],
		cluster => $args{cluster},
		voters => $args{voters},
		id => $args{id},
		first => $args{first},
	}, $class;
	my %config = (
		'process.roles' => 'broker,controller',
		'node.id' => $args{id} // 1,
		$args{voters}
		? ('controller.quorum.voters' => $args{voters})
		: ('controller.quorum.bootstrap.servers' => "127.0.0.1:$controller"),
		'controller.listener.names' => 'CONTROLLER',
		'listeners' => "CONTROLLER://127.0.0.1:$controller,$advertised",
		'advertised.listeners' => $advertised,
		'listener.security.protocol.map' => join(',', 'CONTROLLER:PLAINTEXT', 'PLAINTEXT:PLAINTEXT',
			map { "$_:$args{listeners}{$_}" } @listeners),
		'inter.broker.listener.name' => 'PLAINTEXT',
		'log.dirs' => "$dir/data",
		'auto.create.topics.enable' => 'false',
		'controlled.shutdown.enable' => 'false',
		'message.max.bytes' => 64 * 1024 * 1024,
		# Tests send what happened long ago, or has not happened yet.
		'log.retention.ms' => -1,
		'log.roll.ms' => '9223372036854775807',
		'log.message.timestamp.after.max.ms' => '9223372036854775807',
		# A broker that comes back has to wait until its former life has expired.
		'broker.session.timeout.ms' => 1500,
		'broker.heartbeat.interval.ms' => 250,
		# The default is as large as the whole heap.
		'log.cleaner.dedupe.buffer.size' => 16 * 1024 * 1024,
		'offsets.topic.replication.factor' => 1,
		'offsets.topic.num.partitions' => 1,
		'transaction.state.log.replication.factor' => 1,
		'transaction.state.log.min.isr' => 1,
		'transaction.state.log.num.partitions' => 1,
		'group.initial.rebalance.delay.ms' => 0,
		%{ $args{config} // {} });

	if (my $proxy = $args{behind})
	{
		my ($hidden) = free_ports(1);

		$proxy->target($hidden);
		$config{listeners} .= ",PROXIED://127.0.0.1:$hidden";
		$config{'advertised.listeners'} .= ',PROXIED://' . $proxy->bootstrap;
		$config{'listener.security.protocol.map'} .= ',PROXIED:PLAINTEXT';
	}

	make_path($dir);
	open my $properties, '>', "$dir/server.properties" or croak "$dir: $!";
	print $properties map { "$_=$config{$_}\n" } sort keys %config;
	close $properties or croak $!;
	$self->format;
	return $self;
}

sub format
{
	my ($self) = @_;
	my $id = $self->{cluster} // random_id();

	$self->run_java('kafka.tools.StorageTool', 'format', '-t', $id, '-c',
		"$self->{dir}/server.properties", $self->{voters} ? () : '--standalone',
		@{ $self->{format_options} });
	return;
}

sub random_id
{
	my $id = encode_base64url(pack 'n8', map { int rand 65536 } 1 .. 8);

	# One that begins with a dash would be taken for an option.
	$id =~ s/^-/A/;
	return $id;
}

# One of Kafka's own tools; what it says goes to the broker's log.
sub run_java
{
	my ($self, @command) = @_;
	my $pid = $self->spawn_java(@command);

	waitpid $pid, 0;
	croak "@command:\n" . $self->log_tail if $? != 0;
	return;
}

sub spawn_java
{
	my ($self, @command) = @_;

	open my $in, '<', '/dev/null' or croak $!;
	open my $log, '>>', $self->{log} or croak "$self->{log}: $!";
	return StreamCount::Broker::spawn($log, $log, $in, $self->java, @command);
}

# The end of the broker's log, for whoever reads a failed test.
sub log_tail
{
	my ($self) = @_;

	open my $log, '<', $self->{log} or return '';
	my @lines = <$log>;
	return join '', splice @lines, @lines > 30 ? -30 : 0;
}

# Start the broker and wait until it answers.
sub start
{
	my ($self) = @_;

	$self->launch;
	$self->await;
	$self->tool(undef, 'ready');
	return $self;
}

sub launch
{
	my ($self) = @_;

	croak 'the broker runs already' if $self->is_up;
	$self->{pid} = $self->spawn_java('kafka.Kafka', "$self->{dir}/server.properties");
	return;
}

# Until it listens
sub await
{
	my ($self) = @_;
	my $until = time + 180;

	until (IO::Socket::INET->new(PeerAddr => $self->{bootstrap}, Timeout => 1))
	{
		croak "the broker ended at once:\n" . $self->log_tail unless $self->is_up;
		croak "the broker does not listen after 180 s:\n" . $self->log_tail if time > $until;
		sleep 0.05;
	}
	return;
}

sub is_up
{
	my ($self) = @_;

	return StreamCount::Broker::is_running($self->{pid});
}

sub pid
{
	my ($self) = @_;

	return $self->{pid};
}

sub stop
{
	my ($self) = @_;

	StreamCount::Broker::end($self->{pid}, 'TERM', 20);
	return;
}

# What was acknowledged is in the operating system's cache, and stays.
sub kill9
{
	my ($self) = @_;

	StreamCount::Broker::end($self->{pid}, 'KILL', 20);
	return;
}

# So many bytes a second for all consumers with this client id together.
sub limit_consumers
{
	my ($self, $client, $rate) = @_;
	my $pid = $self->spawn_java('kafka.admin.ConfigCommand', '--bootstrap-server', $self->{bootstrap},
		'--alter', '--entity-type', 'clients', '--entity-name', $client, '--add-config', "consumer_byte_rate=$rate");

	waitpid $pid, 0;
	croak "could not set a quota:\n" . $self->log_tail if $? != 0;
	return;
}

# The client ids of a group's members
sub members
{
	my ($self, $group) = @_;

	return split /\n/, $self->tool(undef, 'members', $group);
}

sub restart
{
	my ($self) = @_;

	$self->stop;
	return $self->start;
}

1;
