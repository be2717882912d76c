=pod

=head1 NAME

StreamCount::Fake - a broker that misbehaves on the wire, for tests

=head1 SYNOPSIS

  my $fake = StreamCount::Fake->new->start;
  $fake->create_topic('tweets', 1);
  $fake->append('tweets', 0, [ { value => '{"text": "the #first"}' } ]);
  $fake->fault('tweets', 0, 0, 'crc');
  $fake->heal('tweets');

=head1 DESCRIPTION

test/kafka/fake_broker.py has the faults.  What was appended before and after
them can be read as from any broker, once it is healed: what it holds is
right, and only what it serves is not.

=cut

package StreamCount::Fake;

use strict;
use warnings;

use parent qw(StreamCount::Commanded StreamCount::Broker);

sub new
{
	my ($class) = @_;

	return bless {}, $class;
}

sub start
{
	my ($self) = @_;

	return $self->start_program('fake_broker.py');
}

sub truth { return $_[0] ? JSON::PP::true : JSON::PP::false }

sub create_topic
{
	my ($self, $topic, $partitions) = @_;

	$self->tell_json(do => 'create', topic => $topic, partitions => $partitions // 1);
	return;
}

# Up to so many partitions; no broker leads the new ones unless led => 1.
sub grow_topic
{
	my ($self, $topic, $partitions, %args) = @_;

	$self->tell_json(do => 'grow', topic => $topic, partitions => $partitions, led => truth($args{led}));
	return;
}

# So many answers know only of so many of its partitions.
sub understate
{
	my ($self, $topic, $partitions, $times) = @_;

	$self->tell_json(do => 'understate', topic => $topic, partitions => $partitions, times => $times);
	return;
}

# lead('tweets', 0, 0): no broker leads it; 1: the first one does, 2: the second
sub lead
{
	my ($self, $topic, $partition, $leader) = @_;

	$self->tell_json(do => 'lead', topic => $topic, partition => $partition, leader => $leader);
	return;
}

# It is of another cluster from now on.
sub set_cluster
{
	my ($self, $id) = @_;

	$self->tell_json(do => 'cluster', id => $id);
	return;
}

# From now on there is a second broker.
sub add_second
{
	my ($self) = @_;

	$self->tell_json(do => 'second');
	return;
}

# certify(2, $file): it speaks TLS to who comes from now on, with what the file has.
sub certify
{
	my ($self, $broker, $file) = @_;

	$self->tell_json(do => 'certify', broker => $broker, file => $file);
	return;
}

# refuse('tweets', 'metadata', 5): by this error; 0: no longer.
# refuse('tweets', 'list offsets', -1, partition => 0)
sub refuse
{
	my ($self, $topic, $what, $error, %args) = @_;

	$self->tell_json(do => 'refuse', topic => $topic, what => $what, error => $error, %args);
	return;
}

# Another topic of the same name, of one partition, with these batches: from one
# answer to the next, which nobody is told of.
sub remake_topic
{
	my ($self, $topic, @batches) = @_;

	$self->tell_json(do => 'remake', topic => $topic, batches => \@batches);
	return;
}

sub delete_topic
{
	my ($self, $topic) = @_;

	$self->tell_json(do => 'delete', topic => $topic);
	return;
}

# One batch of records, hashes of value, key, offset, timestamp.
sub append
{
	my ($self, $topic, $partition, $records, %args) = @_;

	$self->tell_json(do => 'append', topic => $topic, partition => $partition, records => $records, %args);
	return;
}

# Let everything before this offset be gone.
sub trim
{
	my ($self, $topic, $partition, $oldest) = @_;

	$self->tell_json(do => 'trim', topic => $topic, partition => $partition, oldest => $oldest);
	return;
}

# fault('tweets', 0, 7, 'crc', times => 2)
sub fault
{
	my ($self, $topic, $partition, $offset, $kind, %args) = @_;

	$self->tell_json(do => 'fault', topic => $topic, partition => $partition, offset => $offset, kind => $kind, %args);
	return;
}

sub heal
{
	my ($self, $topic) = @_;

	$self->tell_json(do => 'heal', topic => $topic);
	return;
}

# One batch a fetch, after so many seconds, for which all else waits.
sub slow
{
	my ($self, $topic, $seconds) = @_;

	$self->tell_json(do => 'slow', topic => $topic, seconds => $seconds);
	return;
}

# deaf(1): accept connections and answer nothing; deaf(0): answer again.
sub deaf
{
	my ($self, $is) = @_;

	$self->tell_json(do => 'deaf', is => truth($is));
	return;
}

# How often a fault was served, or a kind of request came.
sub count
{
	my ($self, $what) = @_;

	return $self->tell_json(do => 'count', what => $what);
}

1;
