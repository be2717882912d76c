=pod

=head1 NAME

StreamCount::Soak::Report - the table at the end of a soak

=cut

package StreamCount::Soak::Report;

use strict;
use warnings;

use POSIX qw(strftime);
use StreamCount::Soak::Plan;

sub thousands
{
	my ($number) = @_;

	1 while $number =~ s/^(\d+)(\d{3})/$1,$2/;
	return $number;
}

# In Markdown
sub table
{
	my ($soak) = @_;
	my $text = sprintf "%d faults in %.0f s, seed %s, %s\n\n", $soak->{inflicted}, $soak->{took}, $soak->{seed},
	  strftime('%Y-%m-%d', gmtime);

	$text .= "| fault | times | went on after, at most |\n|---|---|---|\n";
	foreach my $kind (grep { $soak->{times}{$_} } StreamCount::Soak::Plan::kinds())
	{
		$text .= sprintf "| %s | %d | %.1f s |\n", $kind, $soak->{times}{$kind}, $soak->{worst}{$kind};
	}
	$text .= "\n$soak->{hit}{'connection corrupted'} bits were turned over on the way to a worker.\n";
	$text .= "\n| rollup | counted | filtered | rejected |\n|---|---|---|---|\n";
	$text .= sprintf "| %s | %s | %s | %s |\n", $_, map { thousands($_) } @{ $soak->{books}{$_} } foreach $soak->rollups;
	$text .= sprintf "\n| messages sent | in the topic | lost | duplicated | rows that differ | snapshots read | of them torn |\n"
	  . "|---|---|---|---|---|---|---|\n| %s | %s | %d | %d | %d | %s | %d |\n",
	  thousands($soak->{sent}), thousands($soak->{in_topic}),
	  @$soak{qw(lost duplicated differ)}, thousands($soak->{snapshots}[0]), $#{ $soak->{snapshots} };
	$text .= sprintf "\n%s messages more were on their way when a producer was given up: some of them are in the topic.\n",
	  thousands($soak->{sent_at_most} - $soak->{sent})
	  if $soak->{sent_at_most} > $soak->{sent};
	return $text;
}

1;
