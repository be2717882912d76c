=pod

=head1 NAME

StreamCount::Mock - librdkafka's mock cluster, for tests

=head1 DESCRIPTION

Starts at once and can be broken on request, see test/kafka/mock_broker.c.
What it does not have: topics that are deleted, records that are deleted,
lookups by time, transactions over a restart, more than the newest 5 MB of
a partition.

=cut

package StreamCount::Mock;

use strict;
use warnings;

use parent qw(StreamCount::Commanded StreamCount::Broker);

# A reason why there can be no mock broker here, or undef.
sub missing
{
	for my $name (qw(mock_broker kafka_tool))
	{
		return "test/kafka/$name is not built"
		  unless -x "$StreamCount::Broker::root/test/kafka/$name";
	}
	return;
}

# new(brokers => 1)
sub new
{
	my ($class, %args) = @_;

	return bless { brokers => $args{brokers} // 1 }, $class;
}

sub start
{
	my ($self) = @_;

	return $self->start_program('mock_broker', $self->{brokers});
}

# One line of what mock_broker understands.
sub command
{
	my ($self, @words) = @_;

	$self->tell("@words");
	return;
}

sub create_topic
{
	my ($self, $topic, $partitions) = @_;

	$self->command('create', $topic, $partitions // 1);
	return;
}

# Refuse connections, and accept them again; the data stays.
sub down
{
	my ($self, @broker) = @_;

	$self->command('down', @broker);
	return;
}

sub up
{
	my ($self, @broker) = @_;

	$self->command('up', @broker);
	return;
}

1;
