=pod

=head1 NAME

StreamCount::Broker - what a real and a mock broker have in common

=head1 DESCRIPTION

Everything that goes through test/kafka/kafka_tool, which speaks Kafka's
protocol to either.  Uses nothing but Perl's own modules, so that it serves
the benchmarks, too.

=cut

package StreamCount::Broker;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp ();    # before our END, which is to run before its own
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(sleep time);

# The project's root, from where this file lies.
our $root = abs_path(dirname(__FILE__) . '/../../..');

# Brokers that are to end with this process, by pid.
my %running;

# Where a program of test/kafka is; it is built by make.
sub program
{
	my ($name) = @_;
	my $path = "$root/test/kafka/$name";

	croak "$path is not built" unless -x $path;
	return $path;
}

# Start a program that ends with this process, even where that is killed.
# Returns its pid.
sub spawn
{
	my ($out, $err, $in, @command) = @_;
	my ($setpriv) = grep { -x $_ } ('/usr/bin/setpriv', '/bin/setpriv');

	unshift @command, $setpriv, '--pdeathsig', 'KILL' if $setpriv;
	my $pid = fork;
	croak "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDIN, '<&', $in or POSIX::_exit(127);
		open STDOUT, '>&', $out or POSIX::_exit(127);
		fileno $err == 2 or open STDERR, '>&', $err or POSIX::_exit(127);
		{ no warnings; exec { $command[0] } @command; }
		POSIX::_exit(127);
	}
	$running{$pid} = $$;
	return $pid;
}

# True while a spawned program runs.
sub is_running
{
	my ($pid) = @_;

	return 0 unless defined $pid && exists $running{$pid};
	return 1 if waitpid($pid, WNOHANG) == 0;
	delete $running{$pid};
	return 0;
}

# Signal a spawned program and wait until it has ended.
sub end
{
	my ($pid, $signal, $timeout) = @_;
	my $until = time + $timeout;

	kill $signal, $pid if is_running($pid);
	while (is_running($pid))
	{
		kill 'KILL', $pid if time > $until;
		sleep 0.01;
	}
	return;
}

# The value for "bootstrap.servers".
sub bootstrap
{
	my ($self) = @_;

	return $self->{bootstrap};
}

# The broker is there and answers nothing.
sub freeze
{
	my ($self) = @_;

	kill 'STOP', $self->{pid};
	return;
}

sub thaw
{
	my ($self) = @_;

	kill 'CONT', $self->{pid};
	return;
}

# Run kafka_tool with this input; returns what it printed, or dies of what it
# complained of.
sub tool
{
	my ($self, $input, @args) = @_;
	my ($in, $out, $err) = map { open(my $fh, '+>:raw', undef) or croak $!; $fh } 1 .. 3;

	print $in $input if defined $input;
	$in->flush;
	seek $in, 0, 0;
	sysseek $in, 0, 0;
	my $pid = spawn($out, $err, $in, program('kafka_tool'), $self->{bootstrap}, @args);
	waitpid $pid, 0;
	my $status = $?;
	delete $running{$pid};
	seek $_, 0, 0 for $out, $err;
	local $/;
	my ($printed, $complaint) = (scalar <$out>, scalar <$err>);
	croak "kafka_tool @args: " . ($complaint || "wait status $status") if $status != 0;
	return $printed // '';
}

# create_topic('tweets', 4, 'cleanup.policy' => 'compact')
sub create_topic
{
	my ($self, $topic, $partitions, %config) = @_;

	$self->tool(undef, 'create', $topic, $partitions // 1,
		map { "$_=$config{$_}" } sort keys %config);
	return;
}

sub delete_topic
{
	my ($self, $topic) = @_;

	$self->tool(undef, 'delete', $topic);
	return;
}

# Delete a topic and make it anew, with these messages as of produce_messages(),
# so quickly that hardly anybody sees it missing.
sub remake_topic
{
	my ($self, $topic, $partitions, $messages) = @_;

	$self->tool(lines($messages), 'remake', $topic, $partitions);
	return;
}

# Add partitions until there are so many.
sub add_partitions
{
	my ($self, $topic, $total) = @_;

	$self->tool(undef, 'partitions', $topic, $total);
	return;
}

# What retention does: everything before this offset is gone.
sub delete_records
{
	my ($self, $topic, $partition, $before) = @_;

	$self->tool(undef, 'delete-records', $topic, $partition, $before);
	return;
}

# allow('alice', 'read', 'topic', 'tweets'): an ACL, and without it again
sub allow
{
	my ($self, @acl) = @_;

	$self->tool(undef, 'allow', @acl);
	return;
}

sub forbid
{
	my ($self, @acl) = @_;

	$self->tool(undef, 'forbid', @acl);
	return;
}

# One field of kafka_tool's input.
sub field
{
	my ($bytes) = @_;

	return '\N' unless defined $bytes;
	utf8::encode($bytes) if utf8::is_utf8($bytes);
	$bytes =~ s/([\\\t\n\r\0])/sprintf '\x%02x', ord $1/ge;
	return $bytes;
}

sub lines
{
	my ($messages) = @_;

	return join '', map {
		my $m = $_;
		join("\t",
			map({ field($_) } @$m{qw(partition timestamp key value)}),
			map({ field($_) } @{ $m->{headers} // [] }))
		  . "\n"
	} @$messages;
}

# Messages as hashes: partition, timestamp (ms), key, value, headers (a list
# of names and values).  What is left out is NULL, or the broker's choice.
# Returns when the broker has all of them.
sub produce_messages
{
	my ($self, $topic, $messages, @transaction) = @_;

	$self->tool(lines($messages), 'produce', $topic, @transaction);
	return;
}

# One message.
sub produce
{
	my ($self, $topic, $partition, $key, $value, @headers) = @_;

	$self->produce_messages(
		$topic,
		[   {
				partition => $partition,
				key => $key,
				value => $value,
				headers => \@headers
			}
		]);
	return;
}

# Payloads alone, spread over the partitions in turn where their number is
# given, else as the client likes.
sub produce_values
{
	my ($self, $topic, $values, $partitions) = @_;
	my $i = 0;

	$self->produce_messages($topic,
		[ map { { partition => $partitions ? $i++ % $partitions : undef, value => $_ } } @$values ]);
	return;
}

# The end offsets of all partitions, in their order.
sub ends
{
	my ($self, $topic) = @_;

	return map { (split ' ')[2] } split /\n/, $self->tool(undef, 'ends', $topic);
}

# The oldest offsets that are still there.
sub beginnings
{
	my ($self, $topic) = @_;

	return map { (split ' ')[1] } split /\n/, $self->tool(undef, 'ends', $topic);
}

END
{
	my $status = $?;

	# Forked children have no brokers of their own.
	end($_, 'KILL', 10) for grep { $running{$_} == $$ } keys %running;
	$? = $status;
}

1;
