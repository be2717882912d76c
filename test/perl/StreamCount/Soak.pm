=pod

=head1 NAME

StreamCount::Soak - random faults under load, and whether all stays exact

=head1 SYNOPSIS

  my $soak = StreamCount::Soak->new(seed => 7, faults => 30);
  $soak->start;
  foreach my $fault ($soak->faults)
  {
      my $found = $soak->undergo($fault);
  }
  my $end = $soak->finish;

=head1 DESCRIPTION

Two workers read the same topic: one keeps its rollups by the tally, the other
by the executor.  After each fault it is waited until both go on, and their
rollups are compared with what another program counts at the same offsets;
all the time a reader looks at every snapshot.

Soak::Plan says which faults, Soak::Faults inflicts them, Soak::Referee
compares, Soak::Reader looks, Soak::Report tells.

=cut

package StreamCount::Soak;

use strict;
use warnings;

use Carp;
use List::Util qw(max sum);
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use StreamCount::Proxy;
use StreamCount::Soak::Faults;
use StreamCount::Soak::Plan;
use StreamCount::Soak::Reader;
use StreamCount::Soak::Referee;
use Test::More ();
use Time::HiRes qw(sleep time);

my @ways = qw(tally executor);
# Numbers of messages that are not the load's
my $extra = 1_000_000_000;

# new(seed =>, faults =>, messages => in all, rate => in a second,
#     partitions =>, odd => one message of so many is odd in each way,
#     whole => whole tables are compared after so many faults)
sub new
{
	my ($class, %args) = @_;

	return bless {
		topic => 'tweets',
		granularities => 'hour,day,ALL',
		patience => 120,
		%args,
		worker_kills => 0,
		orphans => 0,
		committed => 0,
		besides => 0,
		extras => 0,
		producers => 0,
		attempted => 0,
		acknowledged => 0,
		next_number => 1,
		inflicted => 0,
		worst => {},
		times => {},
	}, $class;
}

sub rollups { return map { ("tags_$_", "numbers_$_") } @ways }

sub faults
{
	my ($self) = @_;

	return StreamCount::Soak::Plan::faults(seed => $self->{seed}, faults => $self->{faults});
}

sub start
{
	my ($self) = @_;
	# Only the workers' way to the broker leads through it.
	my $proxy = $self->{proxy} = StreamCount::Proxy->new->start;
	my $kafka = $self->{kafka} = StreamCount::Kafka->new(
		behind => $proxy,
		# What a killed broker has to read again is no longer than this.
		config => { 'log.segment.bytes' => 16 * 1024 * 1024 })->start;

	$kafka->create_topic($self->{topic}, $self->{partitions});
	$self->start_node;
	$self->{referee} = StreamCount::Soak::Referee->start($self->{node}, $kafka, $self->{topic},
		granularities => $self->{granularities}, rollups => [ $self->rollups ]);
	$self->start_load;
	$self->{reader} = StreamCount::Soak::Reader->start($self->{node},
		rollups => [ map { "tags_$_" } @ways ], pause => $self->{faults} > 100 ? 0.2 : 0.005);
	$self->wait_until_behind(0);
	$self->{begin} = time;
	return;
}

sub start_node
{
	my ($self) = @_;
	my $node = $self->{node} = StreamCount::Node->new('soaked');

	$node->init(
		brokers => $self->{proxy}->bootstrap,
		allows_streaming => 1,
		# Many small flushes: a fault is to hit as many of them as it can.
		conf => "restart_after_crash = on\nlog_statement = none\nmax_wal_size = 1GB\n"
		  . "streamcount.flush_interval = 5ms\nstreamcount.metadata_interval = 1s\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
	$self->create_rollups($_) foreach @ways;
	return;
}

sub create_rollups
{
	my ($self, $way) = @_;

	$self->{node}->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE stream_$way (n bigint, text text, created_at timestamptz)
		  SERVER streamcount OPTIONS (topic '$self->{topic}');
		SET streamcount.way = '$way';
		SELECT streamcount.create_rollup('tags_$way', \$\$
		  SELECT hashtag, w.interval, count(*) AS mentions
		  FROM stream_$way,
		       streamcount.hashtags(text) AS hashtag,
		       streamcount.windows(created_at, '{$self->{granularities}}') AS w
		  GROUP BY hashtag, w.interval \$\$);
		-- Each message has an octal digit of its own: how often it was counted.
		SELECT streamcount.create_rollup('numbers_$way', \$\$
		  SELECT n / 20 AS key, sum(1::bigint << (3 * (n % 20))::int) AS seen, count(*) AS messages
		  FROM stream_$way
		  WHERE text <> 'nothing'
		  GROUP BY 1 \$\$);
		-- The reader looks at these all the time.
		CREATE INDEX ON tags_${way}_data ("interval") WHERE "interval" = 'ALL'});
	return;
}

sub start_load
{
	my ($self, %args) = @_;

	$self->{load} = StreamCount::Load->start($self->{kafka}, $self->{topic},
		rate => $self->{rate},
		partitions => 0,
		seed => $self->{seed} + $self->{producers}++,
		first => $self->{next_number},
		odd => $self->{odd},
		%args);
	return;
}

# A message with a number of its own, besides the load's
sub extra_message
{
	my ($self, $text) = @_;

	return sprintf '{"n": %d, "created_at": "2014-09-21T00:00:00Z", "text": "%s"}', $extra + $self->{extras}++, $text;
}

sub produce_extra
{
	my ($self, $partition, $text) = @_;

	$self->{kafka}->produce($self->{topic}, $partition, undef, $self->extra_message($text));
	$self->{besides}++;
	return;
}

# ---------------------------------------------------------------------
# Whether it goes on
# ---------------------------------------------------------------------

# A broker that has come back answers a little before it leads its partitions.
sub ends
{
	my ($self) = @_;
	my $until = time + 60;
	my @ends;

	until (@ends = eval { $self->{kafka}->ends($self->{topic}) })
	{
		croak $@ if time > $until;
		sleep 0.1;
	}
	return @ends;
}

# Wait until all rollups have reached these offsets.
sub wait_for_ends
{
	my ($self, @ends) = @_;
	my $values = join ', ', map { "($_, $ends[$_])" } 0 .. $#ends;
	my $rollups = join ', ', map { "('$_'::regclass)" } $self->rollups;

	$self->{node}->wait_for_sql(qq{
		SELECT count(*) FROM (VALUES $values) AS topic (partition, ends)
		CROSS JOIN (VALUES $rollups) AS r (rollup)
		LEFT JOIN streamcount.progress p USING (rollup, partition)
		WHERE ends > 0 AND (next_offset IS NULL OR next_offset < ends)}, '0', timeout => $self->{patience});
	return;
}

# What is in the topic is counted, and more has come than there was.  Returns
# the seconds until what had come by now was counted.
sub wait_until_behind
{
	my ($self, $before) = @_;
	my $begin = time;
	my @ends = $self->ends;
	$self->wait_for_ends(@ends);
	my $took = time - $begin;

	# Where nothing comes, it is the producer that did not find back to its
	# broker: another one takes its place.
	my $until = time + 15;
	while (sum(@ends) <= $before + $self->{rate} / 5)
	{
		$self->replace_load if time > $until;
		$until = time + 15 if time > $until;
		sleep 0.1;
		@ends = $self->ends;
	}
	$self->wait_for_ends(@ends);
	return $took;
}

sub replace_load
{
	my ($self) = @_;

	Test::More::diag('a new producer takes over');
	$self->{load}->abandon;
	$self->add_sent;
	# Nobody knows which of its messages was the last.
	$self->{next_number} = 100_000_000 * $self->{producers};
	$self->start_load;
	return;
}

# What a producer has sent, after its end
sub add_sent
{
	my ($self) = @_;
	my ($attempted, $acknowledged) = $self->{load}->counts;

	$self->{attempted} += $attempted;
	$self->{acknowledged} += $acknowledged;
	return;
}

# One fault, from its pause to the comparison; returns what differs.
sub undergo
{
	my ($self, $fault) = @_;
	my $kind = $fault->{kind};

	sleep $fault->{pause};
	my $before = sum $self->ends;
	StreamCount::Soak::Faults::inflict($self, $fault);
	my $took = $self->wait_until_behind($before);
	$self->{worst}{$kind} = max $took, $self->{worst}{$kind} // 0;
	$self->{times}{$kind}++;
	return $self->compare(++$self->{inflicted} % $self->{whole} ? 'new' : 'all');
}

sub compare
{
	my ($self, $scope) = @_;
	my $found = $self->{referee}->compare($scope);

	$self->{$_} = max $found->{$_}, $self->{$_} // 0 foreach qw(differ lost duplicated);
	return $found;
}

# The load's end, and everything that is left of it.  Returns the last
# comparison, of everything.
sub finish
{
	my ($self) = @_;

	$self->{took} = time - $self->{begin};
	$self->{next_number} = $self->{load}->stop;
	$self->add_sent;
	my $missing = $self->{messages} - sum $self->ends;
	if ($missing > 0)
	{
		$self->start_load(count => $missing, rate => 1_000_000);
		$self->{next_number} = $self->{load}->finish;
		$self->add_sent;
	}
	$self->{patience} = 3600;
	$self->wait_for_ends($self->ends);
	my $found = $self->compare('all');
	@$self{qw(snapshots)} = [ $self->{reader}->stop ];
	# Where a producer was given up, some of what it sent last may be there, or not.
	$self->{sent} = $self->{acknowledged} + $self->{committed} + $self->{besides};
	$self->{sent_at_most} = $self->{sent} + $self->{attempted} - $self->{acknowledged};
	$self->{in_topic} = $found->{messages};
	# Faults that may come to nothing, and how often they came to something
	$self->{hit} = {
		'connection corrupted' => $self->{proxy}->count('corrupt'),
		'connection cut' => $self->{proxy}->count('cut'),
		'worker cancelled' => $self->{node}->log_count(qr/ERROR:  canceling statement due to user request/) };
	$self->{books} = { map { $_ => [ split /\|/, $self->{node}->safe_psql('postgres',
		"SELECT sum(counted), sum(filtered), sum(rejected) FROM streamcount.progress WHERE rollup = '$_'::regclass") ] } $self->rollups };
	return $found;
}

sub stop
{
	my ($self) = @_;

	$self->{node}->stop('fast');
	$self->{kafka}->stop;
	$self->{proxy}->stop;
	return;
}

1;
