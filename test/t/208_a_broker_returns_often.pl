# A broker that goes away and comes back, again and again: each time counting
# goes on within 30 s, though a client may be left behind by it for ever.
#
# STREAMCOUNT_RETURNS=200 does it as often with librdkafka's mock broker, which
# comes back at once; STREAMCOUNT_RESTARTS=20 with Apache Kafka.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $node = StreamCount::Node->new('main');
$node->init(conf => "streamcount.metadata_interval = '1s'\nlog_statement = none\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

sub percentile
{
	my ($share, @all) = @_;

	@all = sort { $a <=> $b } @all;
	return $all[ max 0, int($share * @all + 0.999999) - 1 ];
}

sub returns
{
	my ($name, $broker, $count, $away, $back) = @_;
	my @took;

	$broker->create_topic($name, 2);
	$node->safe_psql('postgres', qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER streamcount
			OPTIONS ("bootstrap.servers" '@{[ $broker->bootstrap ]}');
		CREATE FOREIGN TABLE ${name}_stream (n int) SERVER $name OPTIONS (topic '$name');
		SELECT streamcount.create_rollup('$name', 'SELECT n, count(*) FROM ${name}_stream GROUP BY n')});
	foreach my $i (0 .. $count)
	{
		if ($i > 0)
		{
			$away->($i);
			sleep rand 1.5;
			$back->($i);
		}
		my $begin = time;
		$broker->produce_values($name, [ map { "{\"n\": $i}" } 1 .. 10 ], 2);
		last unless eval { $node->wait_for_rollup($broker, $name, name => $name, timeout => 60) };
		push @took, time - $begin if $i > 0;
	}
	is(scalar @took, $count, "K32: $count times of $count counting went on: $name") or diag $@;
	cmp_ok(max(@took, 0), '<=', 30, "K32: ... within 30 s: $name");
	is($node->safe_psql('postgres', "SELECT count(*), min(count), max(count) FROM $name"),
		($count + 1) . '|10|10', "K32: ... with nothing lost and nothing twice: $name");
	diag sprintf '%s: %d returns; seconds from the return until what was produced then was counted: p50 %.2f, p99 %.2f, at most %.2f',
	  $name, $count, percentile(0.5, @took), percentile(0.99, @took), max(@took, 0);
	return;
}

my $mock = StreamCount::Mock->new->start;
returns('mock', $mock, $ENV{STREAMCOUNT_RETURNS} // 10, sub { $mock->down }, sub { $mock->up });
$mock->stop;

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
returns('kafka', $kafka, $ENV{STREAMCOUNT_RESTARTS} // 2,
	sub { $_[0] % 2 ? $kafka->kill9 : $kafka->stop }, sub { $kafka->start });

$node->stop;
done_testing();
