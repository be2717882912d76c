# A rollup of real tweets, through a topic of four partitions, against the
# hashtags that Twitter itself has recorded with them: no row differs, whichever
# way the rollup takes.
#
# The tweets are their authors', so they are no part of the project.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use POSIX 'strftime';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Fold 'fold';
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

my $tweets = "$FindBin::RealBin/../../../shared/data/tweets";
my @archives = sort glob("$tweets/archive_*.jsonl.gz");
my $partitions = 4;
my $hour = 3600;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();
plan skip_all => 'shared data/tweets is not here' unless -f "$tweets/truth.py" && @archives;
plan skip_all => 'python3 is not here' if system('python3 -c "" 2>/dev/null') != 0;

my $prefix = PostgreSQL::Test::Utils::tempdir() . '/tweets';
is(system('python3', "$tweets/truth.py", $prefix, $hour, @archives), 0, 'there are messages and truth');

# Days and ALL are sums of hours.
my %truth;
foreach my $line (split /\n/, slurp_file("$prefix.truth.tsv"))
{
	my ($tag, $ms, $occurrences) = split /\t/, $line;
	my @time = gmtime $ms / 1000;

	utf8::decode($tag);
	$truth{ fold("#$tag") . "\t$_" } += $occurrences
	  foreach strftime('%Y-%m-%dT%H', @time), strftime('%Y-%m-%d', @time), 'ALL';
}
cmp_ok(scalar keys %truth, '>', 1000, 'there is enough to compare');
my @messages = split /\n/, slurp_file("$prefix.messages.jsonl");

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
$kafka->create_topic('tweets', $partitions);

my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	extra => [ '--encoding=UTF8', '--no-locale' ],
	conf => "fsync = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION streamcount;
	CREATE FOREIGN TABLE tweets (
		text text,
		created_at timestamptz OPTIONS (path 'ts_ms', time_format 'epoch_ms')
	) SERVER streamcount OPTIONS (topic 'tweets')});
$node->create_hashtags_rollup(name => "by_$_", granularities => 'hour,day,ALL', way => $_)
  foreach qw(tally executor);

$kafka->produce_values('tweets', \@messages, $partitions);

sub agrees_with_twitter
{
	my ($rollup) = @_;
	my %found;
	my $rows = $node->safe_psql('postgres', qq{SELECT hashtag || E'\\t' || "interval" || E'\\t' || mentions FROM $rollup});

	utf8::decode($rows);
	foreach my $line (split /\n/, $rows)
	{
		my ($tag, $interval, $mentions) = split /\t/, $line;

		$found{"$tag\t$interval"} = $mentions;
	}

	my @differ = grep { ($truth{$_} // 0) != ($found{$_} // 0) } sort keys %{ { %truth, %found } };
	is(scalar @differ, 0, "$rollup: all " . keys(%truth) . ' rows of ' . @messages . ' tweets agree with Twitter')
	  or diag map { my $line = $_; utf8::encode($line); "$line: rollup " . ($found{$_} // 0) . ', Twitter ' . ($truth{$_} // 0) . "\n" }
	  @differ[ 0 .. ($#differ < 19 ? $#differ : 19) ];
	return;
}

foreach my $rollup (qw(by_tally by_executor))
{
	$node->wait_for_rollup($kafka, 'tweets', name => $rollup, timeout => 120);
	agrees_with_twitter($rollup);
	is($node->safe_psql('postgres', "SELECT sum(counted + filtered), sum(rejected) FROM streamcount.progress
			WHERE rollup = '$rollup'::regclass"),
		@messages . '|0', "$rollup: every tweet is counted, or filtered for want of hashtags");
}
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM (SELECT * FROM by_tally EXCEPT ALL SELECT * FROM by_tally_query) AS d}),
	'0', 'the batch answer over the topic is the same');

$node->stop;
done_testing();
