=pod

=head1 NAME

StreamCount::Proxy - a wire to a broker that can be made a bad one, for tests

=head1 SYNOPSIS

  my $proxy = StreamCount::Proxy->new->start;
  my $kafka = StreamCount::Kafka->new(behind => $proxy)->start;
  $node->init(brokers => $proxy->bootstrap);
  $proxy->wire(delay => 0.1, rate => 375_000);
  $proxy->cut;
  $proxy->wire;

=head1 DESCRIPTION

Whoever asks the proxy for the broker's address is told the proxy's, and
whoever asks the broker itself is told its own: so the test's own tools have
a good wire while streamcount has a bad one.  test/kafka/proxy.py says what a
wire can be.

=cut

package StreamCount::Proxy;

use strict;
use warnings;

use parent 'StreamCount::Commanded';

# new(host => '127.0.0.1', port => 0, name => undef): where it listens, and by
# what name those who go through it are to look for it.
sub new
{
	my ($class, %args) = @_;

	return bless { host => '127.0.0.1', port => 0, %args }, $class;
}

sub start
{
	my ($self) = @_;

	$self->start_program('proxy.py', $self->{host}, $self->{port});
	($self->{port}) = $self->{bootstrap} =~ /:(\d+)$/;
	$self->{bootstrap} = "$self->{name}:$self->{port}" if defined $self->{name};
	return $self;
}

sub port
{
	my ($self) = @_;

	return $self->{port};
}

# The value for "bootstrap.servers" of those who are to go through it.
sub bootstrap
{
	my ($self) = @_;

	return $self->{bootstrap};
}

# target($port): which port of the loopback address it leads to; target(): that port
sub target
{
	my ($self, $port) = @_;

	if (defined $port)
	{
		$self->tell_json(do => 'target', port => $port);
		$self->{target} = $port;
	}
	return $self->{target};
}

# wire(delay => 0.1, rate => 375_000, freeze => 1, refuse => 1); wire(): a good one
sub wire
{
	my ($self, %wire) = @_;

	$self->tell_json(do => 'wire', %wire);
	return;
}

# Close all connections, now or when so many more bytes have come through.
sub cut
{
	my ($self, %args) = @_;

	$self->tell_json(do => 'cut', %args);
	return;
}

# Turn over a bit of the next piece that is so long, or that has this text.
sub corrupt
{
	my ($self, $skip) = @_;

	$self->tell_json(do => 'corrupt', skip => $skip);
	return;
}

sub count
{
	my ($self, $what) = @_;

	return $self->tell_json(do => 'count', what => $what);
}

1;
