# test/bench/Report.pm
#		What `make bench` says in the end, in Markdown.

package Report;

use strict;
use warnings;

use Exporter 'import';
use Figures;

our @EXPORT = qw(like report);

my %loads;

# What a load is called where its rollup is that of the consumers.
sub like
{
	my ($load) = @_;
	return "$load, as the consumers count";
}

# The loads by name, the names of those that ran, the rate of freshness, and
# what was measured where.
sub report
{
	my ($plans, $ran, $freshness_rate, $where) = @_;
	my @loads = @$ran;

	%loads = %$plans;
	print "\n$where\n";
	table([ 'load', 'streamcount', 'bare consumer', 'ratio', 'upsert by SQL', 'ratio', 'two consumers', 'ratio' ],
		map { speed_row($_) } @loads);
	table([ 'load', 'flushes', 'rows written', 'rows', 'memory, MB', 'CPU a message, ns', 'librdkafka\'s threads, ns',
			'bare consumer\'s CPU, ns' ],
		map { cost_row($_) } @loads);
	table([ 'aim', '', 'reached', '' ], map { aim_row(@$_) } aims($freshness_rate));
	print "\n";
	foreach my $load (@loads)
	{
		printf "%s: a bare consumer that does not verify checksums reads %s messages/s\n", $load,
		  whole("$load: drain without checksums");
	}
	printf "from create_rollup() to the answer of wait() on an empty topic: %s ms\n", whole('start of a worker');
	printf "freshness at %d messages/s: p50 %s ms, p99 %s ms\n", $freshness_rate,
	  median('freshness p50'), median('freshness p99') if defined median('freshness p99');
}

# The load's own rollup, and that of the consumers.
sub names
{
	my ($load) = @_;
	return ($load, defined $loads{$load}{peers} ? like($load) : ());
}

sub title
{
	my ($name, $load) = @_;
	return "$load $loads{$load}{ $name eq $load ? 'granularities' : 'peers' }";
}

sub whole
{
	my ($figure) = @_;
	my $value = median($figure);
	return defined $value ? thousands(int $value) : undef;
}

# "messages/s (MB/s)"
sub rate
{
	my ($figure) = @_;
	return whole($figure) . ' (' . whole("$figure, bytes") . ' MB/s)';
}

sub two_digits
{
	my ($figure) = @_;
	my $value = median($figure);
	return defined $value ? sprintf('%.2f', $value) : undef;
}

sub speed_row
{
	my ($load) = @_;

	return map {
		[ title($_, $load), rate("$_: streamcount"), rate("$load: drain"), two_digits("$_: of the drain"),
			whole("$_: upsert"), two_digits("$_: of the upsert"),
			$_ eq $load ? undef : whole("$load: consumers"), two_digits("$_: of the consumers") ]
	} names($load);
}

sub cost_row
{
	my ($load) = @_;

	return map {
		[ title($_, $load), whole("$_: flushes"), whole("$_: rows written"), whole("$_: rows in the rollup"),
			whole("$_: worker's memory"), whole("$_: CPU a message"), whole("$_: CPU a message, librdkafka"),
			whole("$load: drain, CPU a message") ]
	} names($load);
}

# figure, what it is called, what it is to be at least or at most
sub aims
{
	my ($freshness_rate) = @_;

	return (
		[ 'hot: of the drain', 'hot, of the bare consumer', '>=', 0.8 ],
		[ 'zipf: of the upsert', 'zipf, of SQL\'s own upsert', '>=', 0.8 ],
		[ like('zipf') . ': of the consumers', 'zipf, times two consumers', '>=', 2.5 ],
		[ 'tweets: of the drain', 'tweets, of the bare consumer', '>=', 0.8 ],
		[ 'freshness p99', "freshness at $freshness_rate messages/s, p99, ms", '<=', 100 ],
		map { [ "$_: worker's memory", "worker's memory, $_, MB", '<', 256 ] } map { names($_) } sort keys %loads);
}

sub aim_row
{
	my ($figure, $title, $relation, $bound) = @_;
	my $value = median($figure);

	return [ $title, "$relation $bound", 'not measured', '' ] unless defined $value;
	my $reached = $relation eq '>=' ? $value >= $bound : $relation eq '<=' ? $value <= $bound : $value < $bound;
	return [ $title, "$relation $bound", sprintf('%.3g', $value), $reached ? 'reached' : 'missed' ];
}

1;
