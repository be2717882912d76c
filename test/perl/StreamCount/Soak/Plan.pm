=pod

=head1 NAME

StreamCount::Soak::Plan - which faults, in which order, made of a seed alone

=head1 SYNOPSIS

  my @faults = StreamCount::Soak::Plan::faults(seed => 7, faults => 30);
  # { kind => 'worker killed', row => 'P1', pause => 0.8, way => 'tally', ... }

=head1 DESCRIPTION

Each kind comes as often as its weight says, and at least once where there are
enough faults.  Everything that a fault needs to be drawn is drawn here, so the
same seed makes the same faults whatever else draws numbers.

=cut

package StreamCount::Soak::Plan;

use strict;
use warnings;

use List::Util qw(max shuffle sum);

# What is broken; the row of the failure matrix; how often among so many; and
# whether it can be done to a worker that waits in its commit.
my @kinds = (
	[ 'worker killed', 'P1', 14, 1 ],
	[ 'worker terminated', 'P2', 10, 1 ],
	[ 'worker cancelled', 'P3', 8, 1 ],
	[ 'worker frozen', 'P1', 5 ],
	[ 'postmaster killed', 'P4', 9, 1 ],
	[ 'immediate stop', 'P4', 9, 1 ],
	[ 'fast restart', 'P2', 5, 1 ],
	[ 'broker killed', 'K2', 3 ],
	[ 'broker stopped', 'K2', 2 ],
	[ 'broker frozen', 'K3', 4 ],
	[ 'connection cut', 'K29', 6 ],
	[ 'connection refused', 'K1', 3 ],
	[ 'connection frozen', 'K3', 3 ],
	[ 'connection slow', 'K29', 3 ],
	[ 'connection corrupted', 'K18', 3 ],
	[ 'partition added', 'K10', 1 ],
	[ 'transaction', 'K14', 6 ],
	[ 'bad messages', 'D10', 4 ],
	[ 'table locked', 'P9', 4 ],
	[ 'table rewritten', 'P34', 3 ],
	[ 'DDL beside', 'P10', 3 ]);

sub kinds { return map { $_->[0] } @kinds }

# Times of each kind: by weight, the largest remainders rounded up.
sub how_often
{
	my ($faults) = @_;
	my $least = $faults >= @kinds ? 1 : 0;
	my $total = sum map { $_->[2] } @kinds;
	my %times = map { $_->[0] => max $least, int $_->[2] * $faults / $total } @kinds;
	my @by_remainder = sort { $b->[2] * $faults % $total <=> $a->[2] * $faults % $total } @kinds;
	my $missing = $faults - sum values %times;

	$times{ $by_remainder[ $_ % @kinds ][0] }++ for 0 .. $missing - 1;
	# Where those that must come once are too many, the frequent ones give way.
	$times{ (sort { $times{$b} <=> $times{$a} || $a cmp $b } keys %times)[0] }-- for $missing .. -1;
	return %times;
}

sub faults
{
	my (%args) = @_;
	my %times = how_often($args{faults});
	my %done;

	srand $args{seed};
	my @faults = map {
		my $kind = $_->[0];
		+{
			kind => $kind,
			row => $_->[1],
			in_commit => $_->[3] && $done{$kind}++ % 2,
			pause => rand 1.2,
			# of a frozen broker, of a lock, …
			seconds => 0.3 + rand 1.5,
			way => rand() < 0.5 ? 'tally' : 'executor',
			choice => int rand 1000,
		}
	} shuffle map { my $kind = $_; ($kind) x $times{ $kind->[0] } } @kinds;
	# Nobody else is to draw the same numbers each time.
	srand;
	return @faults;
}

1;
