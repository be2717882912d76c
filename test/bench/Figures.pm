# test/bench/Figures.pm
#		The figures of `make bench`, and their report in Markdown.
#
# A figure is noted once a run, and its median is reported.  A ratio is that
# of two figures of the same run: its median is not the medians' ratio.

package Figures;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(note note_ratio median thousands table);

my %figures;    # name => [ of each run ]

sub note
{
	my ($name, $value, $unit) = @_;

	push @{ $figures{$name} }, $value;
	printf "%-52s %14s %s\n", $name, thousands($value), $unit // '';
}

# The figure of this run as a share of another of this run, where both are
# there.
sub note_ratio
{
	my ($name, $of, $as) = @_;
	my ($value, $whole) = map { $_ ? $_->[-1] : undef } @figures{ $name, $of };

	note($as, sprintf('%.3f', $value / $whole)) if defined $value && $whole;
}

sub median
{
	my ($name) = @_;

	return middle(@{ $figures{$name} // [] });
}

sub middle
{
	my @sorted = sort { $a <=> $b } @_;

	return undef unless @sorted;
	return $sorted[ @sorted / 2 ] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

sub thousands
{
	my ($number) = @_;

	1 while $number =~ s/^(\d+)(\d{3})/$1,$2/;
	return $number;
}

# Rows of cells, undef where nothing was measured.
sub table
{
	my ($head, @rows) = @_;

	print "\n| ", join(' | ', @$head), " |\n|", '---|' x @$head, "\n";
	print '| ', join(' | ', map { $_ // '' } @$_), " |\n" foreach @rows;
}

1;
