# ksqlDB's query validation tests as judges of tumble() and hop(): the windows
# in which their inputs end up.  Their data is not part of this project.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $data = '../shared/data/windows/ksqldb';
plan skip_all => "ksqlDB's tests are not in $data" unless -d $data;

my $node = PostgreSQL::Test::Cluster->new('ksqldb');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# Milliseconds since 1970, as ksqlDB has them.
sub windows
{
	my ($times, $size, $slide) = @_;
	my %windows;
	my $array = join ',', @$times;

	# Kafka Streams has no window that begins before 1970.
	my $rows = $node->safe_psql('postgres', qq{
		SELECT ms, start_ms, (extract(epoch FROM window_end) * 1000)::bigint
		FROM unnest('{$array}'::bigint[]) AS ms,
			streamcount.hop('epoch'::timestamptz + ms * interval '1 ms', '$size', '$slide'),
			LATERAL (SELECT (extract(epoch FROM window_start) * 1000)::bigint) AS s (start_ms)
		WHERE start_ms >= 0});
	foreach my $row (split /\n/, $rows)
	{
		my ($ms, $start, $end) = split /\|/, $row;
		$windows{$ms}{"$start-$end"} = 1;
	}
	return \%windows;
}

my $compared = 0;
foreach my $file (sort glob "$data/*.json")
{
	my ($base) = $file =~ m{([^/]+)$};

	foreach my $test (@{ decode_json(slurp_file($file))->{tests} })
	{
		my $query = join ' ', @{ $test->{statements} || [] };
		my @outputs = grep { $_->{window} && lc $_->{window}{type} eq 'time' } @{ $test->{outputs} || [] };
		my @clauses = $query =~ /WINDOW\s+(?:TUMBLING|HOPPING)\s*\(([^)]*)\)/gi;

		# A time of its own in the value is none that we can see here.
		next if @clauses != 1 || !@outputs || $query =~ /timestamp\s*=/i
			|| $query =~ /WINDOW_TYPE/i || exists $test->{expectedException};
		my ($size) = $clauses[0] =~ /SIZE\s+(\d+\s+\w+)/i;
		my ($slide) = $clauses[0] =~ /ADVANCE\s+BY\s+(\d+\s+\w+)/i;

		# Unlike ksqlDB, Flink SQL and we want a size of whole slides.
		next if defined $slide && $node->safe_psql('postgres',
			"SELECT extract(epoch FROM interval '$size') % extract(epoch FROM interval '$slide') <> 0") eq 't';

		my @inputs = grep { defined $_->{value} } @{ $test->{inputs} };
		my %times = map { ($_->{timestamp} // 0) => 1 } @inputs, @outputs;

		# Such a query says nothing of windows that are late, or not yet over.
		my $says_all = $query !~ /GRACE\s+PERIOD|EMIT\s+FINAL/i;
		my $windows = windows([ keys %times ], $size, $slide // $size);
		my (%ours, %theirs, @outside);

		foreach my $output (@outputs)
		{
			my $window = "$output->{window}{start}-$output->{window}{end}";

			$theirs{$window} = 1;
			next unless defined $output->{timestamp};
			push @outside, "$output->{timestamp}: $window"
				unless $windows->{ $output->{timestamp} }{$window};
		}
		$ours{$_} = 1 foreach map { keys %{ $windows->{ $_->{timestamp} // 0 } } } @inputs;
		is("@outside", '', "$base, $test->{name}: outputs are in windows of their times");
		is_deeply([ sort keys %ours ], [ sort keys %theirs ],
			"$base, $test->{name}: the same windows")
			if $says_all;
		$compared++;
	}
}
cmp_ok($compared, '>=', 30, "$compared of ksqlDB's tests were compared");

$node->stop;
done_testing();
