=pod

=head1 NAME

StreamCount::Soak::Referee - compare rollups with what another program counts

=head1 DESCRIPTION

test/bin/referee.py, in another language, reads the topic as it grows.  Here
one snapshot of all rollups is taken, and it is asked what differs.

=cut

package StreamCount::Soak::Referee;

use strict;
use warnings;

use Carp;
use JSON::PP;
use PostgreSQL::Test::Utils;
use StreamCount::Broker;

# start($node, $kafka, 'topic', granularities => 'day,ALL', rollups => [...])
sub start
{
	my ($class, $node, $kafka, $topic, %args) = @_;
	my $self = bless {
		node => $node,
		rollups => $args{rollups},
		file => PostgreSQL::Test::Utils::tempdir . '/snapshot',
		low => {},
		tag => 0,
	}, $class;

	pipe(my $in, my $orders) or croak $!;
	pipe(my $answers, my $out) or croak $!;
	$self->{pid} = StreamCount::Broker::spawn($out, \*STDERR, $in,
		"$StreamCount::Broker::root/test/bin/referee.py", StreamCount::Broker::program('follow'),
		$kafka->bootstrap, $topic, $args{granularities});
	$orders->autoflush(1);
	@$self{qw(orders answers)} = ($orders, $answers);
	return $self;
}

# Books, a few hashtags in turn and all new numbers, or everything.  What the
# answer has is said in referee.py.
sub compare
{
	my ($self, $scope) = @_;
	my $all = $scope eq 'all';
	my @tags = map { '#tag' . ($self->{tag} = $self->{tag} % 299 + 1) } 1 .. 5;
	my $tags = join ', ', map { "'$_'" } '#transaction', @tags;
	my $sql = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n";

	foreach my $rollup (@{ $self->{rollups} })
	{
		my ($kind) = $rollup =~ /^([a-z]+)/;
		my $low = $self->{low}{$rollup} // 0;

		$sql .= sprintf "SELECT 'rollup', '%s', '%s', '%s';\n", $rollup, $kind, $all ? 'all' : $kind eq 'tags' ? 'some' : $low;
		$sql .= "SELECT 'look', '$rollup', unnest(ARRAY[$tags]);\n" unless $all;
		$sql .= "SELECT 'offsets', '$rollup', partition, start_offset, next_offset, counted, filtered, rejected
			FROM streamcount.progress WHERE rollup = '$rollup'::regclass;\n";
		$sql .= "SELECT 'reject', '$rollup', partition, \"offset\" FROM streamcount.rejects WHERE rollup = '$rollup'::regclass;\n"
		  if $all;
		$sql .= $kind eq 'tags'
		  ? "SELECT 'tags', '$rollup', hashtag, \"interval\", mentions FROM $rollup"
		  . ($all ? '' : " WHERE hashtag IN ($tags)")
		  : "SELECT 'numbers', '$rollup', key, seen, messages FROM $rollup" . ($all ? '' : " WHERE key >= $low");
		$sql .= ";\n";
	}
	my $status = system { $self->{node}->installed_command('psql') } 'psql', '-XAtq', '-F', "\t", '-v', 'ON_ERROR_STOP=1',
	  '-d', $self->{node}->connstr('postgres'), '-o', $self->{file}, '-c', "$sql COMMIT;";
	croak "could not take a snapshot: status $status" if $status != 0;

	my $orders = $self->{orders};
	print $orders "compare $self->{file}\n";
	my $answer = readline $self->{answers};
	croak 'the referee has ended' unless defined $answer;
	my $found = decode_json($answer);
	$self->{low} = $found->{low};
	return $found;
}

1;
