# README.md's first example, as it stands there: it runs, and on tweets of
# that number it gives the rows that it shows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $readme = "$FindBin::RealBin/../../README.md";
my ($example) = -f $readme ? slurp_file($readme) =~ /^```sql\n(.*?)^```/ms : ();

ok(defined $example, 'README.md has an example in SQL')
  or give_up();

# Its last statement is a query, and the comment behind it shows the rows.
my ($query, $comment) = $example =~ /^(SELECT \*[^;]*;)[^\n]*\n((?:--[^\n]*\n?)+)\s*\z/m;
ok(defined $query, 'the example ends in a query and what it gives') or give_up();
my @shown = map { [ split /\s*\|\s*/, s/^--\s*|\s*$//gr ] } split /\n/, $comment;

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
$kafka->create_topic('tweets', 2);
my $node = StreamCount::Node->new('main');
$node->init(brokers => $kafka->bootstrap, conf => "fsync = off\n");
$node->start;

my ($status, $out, $errors) = $node->psql('postgres', $example, on_error_stop => 1);
is($status, 0, 'the example runs') or diag $errors;
is($errors, '', '... without a word of complaint');

# As many tweets as are shown: on their days, and, where ALL has more than
# the days together, without a time.
my @tweets;
my ($tag) = $shown[0][0] =~ /^(#\w+)/;
my $untimed = 0;
my @ways = (lc $tag, uc $tag, ucfirst(lc $tag), "\x{FF03}" . substr($tag, 1));
foreach my $row (@shown)
{
	my ($hashtag, $interval, $mentions) = @$row;

	if ($interval eq 'ALL')
	{
		$untimed += $mentions;
		next;
	}
	$untimed -= $mentions;
	push @tweets, map {
		sprintf '{"text": "my %s and #other%d", "created_at": "%sT%02d:%02d:00Z"}', $ways[ $_ % 4 ], $_ % 7,
		  $interval, $_ % 24, $_ % 60
	} 1 .. $mentions;
}
cmp_ok($untimed, '>=', 0, 'ALL is not less than its days');
push @tweets, map { sprintf '{"text": "my %s", "user": %d}', $ways[ $_ % 4 ], $_ } 1 .. $untimed;
$kafka->produce_values('tweets', \@tweets, 2);
$node->wait_for_rollup($kafka, 'tweets');

is($node->safe_psql('postgres', $query), join("\n", map { join '|', @$_ } @shown),
	'the query gives what is shown');
is($node->safe_psql('postgres', "SELECT streamcount.wait('hashtags')"), 't', 'and all of it was there');

$node->stop;
done_testing();

sub give_up
{
	done_testing();
	exit 1;
}
