# hashtags() over real tweets against the hashtags that Twitter itself has
# recorded with them.
#
# The tweets are their authors', so they are no part of the project.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Fold 'fold';
use Test::More;

my $tweets = "$FindBin::RealBin/../../../shared/data/tweets";
my @archives = sort glob("$tweets/archive_*.jsonl.gz");
my $hour = 3600;

plan skip_all => 'shared data/tweets is not here' unless -f "$tweets/truth.py" && @archives;
plan skip_all => 'python3 is not here' if system('python3 -c "" 2>/dev/null') != 0;

my $node = PostgreSQL::Test::Cluster->new('tweets');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

my $prefix = PostgreSQL::Test::Utils::tempdir() . '/tweets';
is(system('python3', "$tweets/truth.py", $prefix, $hour, @archives), 0, 'there are messages and truth');

# Rows that differ in case only become one.
my %truth;
foreach my $line (split /\n/, slurp_file("$prefix.truth.tsv"))
{
	my ($tag, $time, $occurrences) = split /\t/, $line;

	utf8::decode($tag);
	$truth{ fold("#$tag") . "\t$time" } += $occurrences;
}
cmp_ok(scalar keys %truth, '>', 1000, 'there is enough to compare');

# No JSON text holds the bytes 1 and 2.
my $found = $node->safe_psql('postgres', qq{
	CREATE TABLE messages (message json);
	\\copy messages from '$prefix.messages.jsonl' (format csv, quote e'\\x01', delimiter e'\\x02')
	SELECT tag || e'\\t' || ts / $hour / 1000 * $hour * 1000 || e'\\t' || count(*)
	FROM messages, CAST(message ->> 'ts_ms' AS bigint) AS ts,
		streamcount.hashtags(message ->> 'text') AS tag
	GROUP BY tag, ts / $hour / 1000});

my %found;
utf8::decode($found);
foreach my $line (split /\n/, $found)
{
	my ($tag, $time, $occurrences) = split /\t/, $line;

	$found{"$tag\t$time"} = $occurrences;
}

my @differ = grep { ($truth{$_} // 0) != ($found{$_} // 0) } sort keys %{ { %truth, %found } };
is(scalar @differ, 0, 'D17: all ' . keys(%truth) . ' rows of tag and hour agree with Twitter')
  or diag join "\n", map { "$_: found " . ($found{$_} // 0) . ', Twitter has ' . ($truth{$_} // 0) }
  @differ[ 0 .. ($#differ < 9 ? $#differ : 9) ];

$node->stop;
done_testing();
