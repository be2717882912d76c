=pod

=head1 NAME

StreamCount::Commanded - a program of test/kafka that does what it is told

=head1 DESCRIPTION

It prints its address on its first line, then answers each line that it is
sent by "ok", "ok VALUE" or "error: ...".

=cut

package StreamCount::Commanded;

use strict;
use warnings;

use Carp;
use IO::Handle;
use JSON::PP;
use StreamCount::Broker;

# A reason why there can be no program in Python here, or undef.
sub missing
{
	return 'python3 is not installed' unless grep { -x "$_/python3" } split /:/, $ENV{PATH};
	return 'test/kafka/kafka_tool is not built'
	  unless -x "$StreamCount::Broker::root/test/kafka/kafka_tool";
	return;
}

sub start_program
{
	my ($self, $name, @args) = @_;

	pipe(my $in, $self->{commands}) or croak $!;
	pipe($self->{answers}, my $out) or croak $!;
	$self->{commands}->autoflush(1);
	$self->{program} = $name;
	$self->{pid} = StreamCount::Broker::spawn($out, \*STDERR, $in,
		StreamCount::Broker::program($name), @args);
	close $in;
	close $out;
	$self->{bootstrap} = readline $self->{answers};
	croak "$name ended at once" unless defined $self->{bootstrap};
	chomp $self->{bootstrap};
	return $self;
}

# One line; what it answers besides "ok".
sub tell
{
	my ($self, $line) = @_;

	local $SIG{PIPE} = 'IGNORE';
	print { $self->{commands} } "$line\n";
	my $answer = readline $self->{answers};
	croak "$self->{program}: $line: " . ($answer // 'it has ended')
	  unless defined $answer && $answer =~ /^ok ?(.*)$/;
	return $1;
}

sub tell_json
{
	my ($self, %command) = @_;

	return $self->tell(JSON::PP->new->utf8->canonical->encode(\%command));
}

sub stop
{
	my ($self) = @_;

	StreamCount::Broker::end($self->{pid}, 'KILL', 5);
	return;
}

1;
