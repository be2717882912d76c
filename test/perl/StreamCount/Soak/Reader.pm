=pod

=head1 NAME

StreamCount::Soak::Reader - somebody who looks at every snapshot

=head1 DESCRIPTION

All the time it reads rollups of tags together with their offsets and books.
Every message that is counted has two hashtags, what was read is in the books,
besides the records that are no messages, and what is rejected is listed.

=cut

package StreamCount::Soak::Reader;

use strict;
use warnings;

use Carp;
use PostgreSQL::Test::Utils;
use StreamCount::Broker;

# start($node, rollups => [...], pause => 0.005)
sub start
{
	my ($class, $node, %args) = @_;
	my $tempdir = PostgreSQL::Test::Utils::tempdir;
	my $self = bless { seen => "$tempdir/seen" }, $class;
	my $check = join "\n", map { qq{
		SELECT books.counted, rows.mentions, books.consumed, books.judged, rejects.n, books.rejected
		FROM (SELECT coalesce(sum(counted), 0) AS counted,
				coalesce(sum(rejected), 0) AS rejected,
				coalesce(sum(counted + filtered + rejected), 0) AS judged,
				coalesce(sum(next_offset - start_offset), 0) AS consumed
			FROM streamcount.progress WHERE rollup = '$_'::regclass) AS books,
			(SELECT coalesce(sum(mentions), 0) AS mentions FROM $_ WHERE "interval" = 'ALL') AS rows,
			(SELECT count(*) AS n FROM streamcount.rejects WHERE rollup = '$_'::regclass) AS rejects;}
	} @{ $args{rollups} };

	PostgreSQL::Test::Utils::append_to_file("$tempdir/checks.sql",
		"$check\nSELECT pg_sleep($args{pause}) \\g /dev/null\n" x 50);
	open my $nothing, '<', '/dev/null' or croak $!;
	open my $out, '>', $self->{seen} or croak $!;
	open my $unheard, '>', '/dev/null' or croak $!;
	$self->{pid} = StreamCount::Broker::spawn($out, $unheard, $nothing, 'sh', '-c',
		'while :; do "$@" || sleep 0.1; done', 'reader',
		$node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), '-f', "$tempdir/checks.sql");
	return $self;
}

# Returns how many snapshots were seen, and those that do not fit together.
sub stop
{
	my ($self) = @_;
	my $snapshots = 0;
	my @bad;

	StreamCount::Broker::end($self->{pid}, 'TERM', 5);
	open my $in, '<', $self->{seen} or croak $!;
	while (my $line = <$in>)
	{
		chomp $line;
		my ($counted, $mentions, $consumed, $judged, $rejects, $rejected) = split /\|/, $line;

		# A line that was cut off with its psql has said nothing.
		next unless defined $rejected && $line =~ /\d$/;
		$snapshots++;
		push @bad, $line
		  if $mentions != 2 * $counted || $judged > $consumed || $rejects != $rejected;
	}
	return ($snapshots, @bad);
}

1;
