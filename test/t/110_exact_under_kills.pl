# Kill anything at any moment: nothing is lost, nothing is counted twice.
#
# Random faults under load, in random order and at random moments, at workers,
# postmaster, broker and the connection between them.  Two workers read the
# topic, one for each way.  After each fault their rollups are compared with
# what another program, in another language, counts at the same offsets,
# message by message; and all the time a reader looks whether rows and offsets
# fit together in every snapshot that it gets.
#
# STREAMCOUNT_FAULTS, STREAMCOUNT_SEED, STREAMCOUNT_MESSAGES and STREAMCOUNT_RATE
# make it longer; `make soak` does.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Soak;
use StreamCount::Soak::Report;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $seed = $ENV{STREAMCOUNT_SEED} // time ^ $$;
my $faults = $ENV{STREAMCOUNT_FAULTS} // 30;
my $soak = StreamCount::Soak->new(
	seed => $seed,
	faults => $faults,
	messages => $ENV{STREAMCOUNT_MESSAGES} // 50_000,
	rate => $ENV{STREAMCOUNT_RATE} // 500,
	odd => $ENV{STREAMCOUNT_MESSAGES} ? 1000 : 100,
	partitions => 8,
	whole => $faults < 100 ? 5 : $faults / 20);

diag "seed $seed: STREAMCOUNT_SEED=$seed has the same faults in the same order";

sub is_exact
{
	my ($found, $name) = @_;

	ok(!$found->{differ}, $name) or diag join "\n", "seed $seed:", @{ $found->{lines} };
	return;
}

# Asked of another process, whose hashes have another order.
my $plan = 'print Data::Dumper->new([StreamCount::Soak::Plan::faults(seed => 7, faults => 30)])->Sortkeys(1)->Dump';
my @plans = map { scalar qx($^X -MData::Dumper -MStreamCount::Soak::Plan -e '$_') } $plan, $plan, $plan =~ s/7/8/r;
like($plans[0], qr/(?:'kind' =>.*?){30}/s, 'a plan has as many faults as it was asked for');
is($plans[1], $plans[0], 'the same seed makes the same faults');
isnt($plans[2], $plans[0], 'another seed makes others');

$soak->start;
foreach my $fault ($soak->faults)
{
	my $found = $soak->undergo($fault);

	is_exact($found, "$fault->{row}: nothing lost, nothing twice: $fault->{kind}"
		  . ($fault->{in_commit} ? ' in its commit' : ''));
}
ok($soak->{load}->goes_on, 'the load went on through all of it');
is_exact($soak->finish, 'both ways are exact at the end');
is($soak->{lost}, 0, 'no message was lost');
is($soak->{duplicated}, 0, 'no message was counted twice');
cmp_ok($soak->{in_topic}, '>=', $soak->{sent}, 'what was sent is what was there to be counted: all that the broker acknowledged');
cmp_ok($soak->{in_topic}, '<=', $soak->{sent_at_most}, '... and no more than was sent');

my $node = $soak->{node};
is($node->safe_psql('postgres', "SELECT coalesce(sum(mentions), 0) FROM tags_$_
	WHERE hashtag = '#transaction' AND \"interval\" = 'ALL'"),
	$soak->{committed}, "K14: of the transactions, those that were committed, by the $_")
  foreach qw(tally executor);

my ($snapshots, @torn) = @{ $soak->{snapshots} };
cmp_ok($soak->{orphans}, '<', 5, 'P4: processes end soon after their postmaster');
cmp_ok($snapshots, '>', 5 * $faults, 'the reader has seen many snapshots');
is(scalar @torn, 0, 'rows and offsets fit together in every snapshot')
  or diag join "\n", 'counted|mentions|consumed|judged|rejects|rejected', splice @torn, 0, 20;
is($node->log_count(qr/was terminated by signal/), $soak->{worker_kills},
	'no process crashed besides those that were killed');
cmp_ok(2 * $soak->{hit}{$_}, '>=', $soak->{times}{$_} // 0, "$_: most of them hit something")
  foreach sort keys %{ $soak->{hit} };
is($node->log_count(qr/PANIC|TRAP:|moved by somebody else/), 0, 'no panic, and no fence was needed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.problems'), '0', 'nothing needs a person');

my $table = StreamCount::Soak::Report::table($soak);
diag $table;
PostgreSQL::Test::Utils::append_to_file($ENV{STREAMCOUNT_TABLE}, $table) if $ENV{STREAMCOUNT_TABLE};
$soak->stop;
done_testing();
