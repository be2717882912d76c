=pod

=head1 NAME

StreamCount::Load - a producer that goes on while a test breaks things

=head1 SYNOPSIS

  my $load = StreamCount::Load->start($kafka, 'tweets', rate => 500, seed => 1);
  ...
  ok($load->goes_on);
  $load->stop;

=head1 DESCRIPTION

test/bin/load.py writes, test/kafka/kafka_tool produces.  What the broker did
not acknowledge waits in the producer until the broker is back.

=cut

package StreamCount::Load;

use strict;
use warnings;

use Carp;
use File::Temp ();
use StreamCount::Broker;
use Time::HiRes qw(sleep);

# start($kafka, 'topic', rate => 500, partitions => 4, seed => 1); partitions 0:
# whichever the producer likes.  first, count and odd are load.py's.
sub start
{
	my ($class, $broker, $topic, %args) = @_;

	pipe(my $in, my $out) or croak $!;
	open my $nothing, '<', '/dev/null' or croak $!;
	open my $unheard, '>', '/dev/null' or croak $!;
	my $self = bless { first => $args{first} // 1, total => File::Temp->new, counts => File::Temp->new }, $class;
	$self->{writer} = StreamCount::Broker::spawn($out, \*STDERR, $nothing,
		"$StreamCount::Broker::root/test/bin/load.py",
		$args{rate} // 500, $args{partitions} // 4, $args{seed} // 1,
		'--total', $self->{total}->filename,
		map { defined $args{$_} ? ("--$_", $args{$_}) : () } qw(first count odd));
	$self->{producer} = StreamCount::Broker::spawn($unheard, \*STDERR, $in,
		StreamCount::Broker::program('kafka_tool'), $broker->bootstrap,
		'produce-counting', $topic, $self->{counts}->filename);
	return $self;
}

sub goes_on
{
	my ($self) = @_;

	return StreamCount::Broker::is_running($self->{writer})
	  && StreamCount::Broker::is_running($self->{producer});
}

# How many messages the producer has tried to send, and how many of them the
# broker has acknowledged; of the others nobody knows whether it has them.
sub counts
{
	my ($self) = @_;

	# Any of its bytes may be that of a newline.
	local $/;
	open my $file, '<:raw', $self->{counts}->filename or croak $!;
	my $bytes = readline($file) // '';
	return (unpack('q2', $bytes), 0, 0)[ 0, 1 ];
}

# No more messages, delivered or not.
sub abandon
{
	my ($self) = @_;

	StreamCount::Broker::end($self->{$_}, 'KILL', 10) for qw(writer producer);
	return;
}

# No more messages; returns when the broker has all that were written, the
# number that the next one would have.
sub stop
{
	my ($self) = @_;

	StreamCount::Broker::end($self->{writer}, 'TERM', 10);
	return $self->finish;
}

# The same, when as many have been written as were asked for.
sub finish
{
	my ($self) = @_;

	sleep 0.02 while StreamCount::Broker::is_running($self->{writer});
	sleep 0.02 while StreamCount::Broker::is_running($self->{producer});
	croak "the producer ended with status $?" if $? != 0;
	open my $total, '<', $self->{total}->filename or croak $!;
	chomp(my $next = readline($total) // croak 'the load was not ended in time');
	my (undef, $acknowledged) = $self->counts;
	croak "of $next - $self->{first} messages $acknowledged were acknowledged"
	  if $acknowledged != $next - $self->{first};
	return $next;
}

1;
