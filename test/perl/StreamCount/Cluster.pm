=pod

=head1 NAME

StreamCount::Cluster - three Apache Kafka brokers, for tests

=head1 SYNOPSIS

  my $cluster = StreamCount::Cluster->new(dir => "$tmp/kafka");
  $cluster->start;
  $cluster->create_topic('tweets', 4);    # on all of them
  my $leader = $cluster->leader('tweets', 0);
  $cluster->node($leader)->kill9;
  $cluster->node($leader)->start;

=head1 DESCRIPTION

Each node is a StreamCount::Kafka, broker and controller in one.  What is
produced is acknowledged by two of three, so that any one may be away; without
two of them there is no controller.

=cut

package StreamCount::Cluster;

use strict;
use warnings;

use parent 'StreamCount::Broker';

use Carp;
use File::Temp qw(tempdir);
use StreamCount::Kafka;
use Time::HiRes qw(sleep time);

sub missing
{
	return StreamCount::Kafka::missing();
}

# new(dir => ..., config => {'name' => 'value'})
sub new
{
	my ($class, %args) = @_;
	my $dir = $args{dir} // tempdir('kafka_XXXXXX', TMPDIR => 1, CLEANUP => 1);
	my @ports = StreamCount::Kafka::free_ports(6);
	my $self = bless {
		nodes => {},
		bootstrap => join(',', map { "127.0.0.1:$ports[$_]" } 0 .. 2),
	}, $class;
	my $cluster = StreamCount::Kafka::random_id();

	foreach my $i (1 .. 3)
	{
		$self->{nodes}{$i} = ($i == 1 ? 'StreamCount::Kafka' : 'StreamCount::Cluster::Follower')->new(
			dir => "$dir/$i",
			id => $i,
			port => $ports[ $i - 1 ],
			controller => $ports[ $i + 2 ],
			cluster => $cluster,
			voters => join(',', map { "$_\@127.0.0.1:$ports[$_ + 2]" } 1 .. 3),
			first => "$dir/1",
			config => {
				'default.replication.factor' => 3,
				'min.insync.replicas' => 2,
				'offsets.topic.replication.factor' => 3,
				'transaction.state.log.replication.factor' => 3,
				'transaction.state.log.min.isr' => 2,
				'controlled.shutdown.enable' => 'true',
				# A leader that comes back leads again.
				'leader.imbalance.per.broker.percentage' => 0,
				'leader.imbalance.check.interval.seconds' => 3,
				# Three of them on a busy machine
				'broker.session.timeout.ms' => 6000,
				'broker.heartbeat.interval.ms' => 1000,
				'controller.quorum.election.timeout.ms' => 3000,
				'controller.quorum.fetch.timeout.ms' => 6000,
				'controller.quorum.request.timeout.ms' => 6000,
				%{ $args{config} // {} }
			});
	}
	return $self;
}

sub start
{
	my ($self) = @_;

	$_->launch foreach $self->nodes;
	$_->await foreach $self->nodes;
	$self->tool(undef, 'ready', 3);
	return $self;
}

sub stop
{
	my ($self) = @_;

	# The last ones have no controller to ask.
	$_->kill9 foreach $self->nodes;
	return;
}

sub nodes
{
	my ($self) = @_;

	return map { $self->{nodes}{$_} } 1 .. 3;
}

sub node
{
	my ($self, $id) = @_;

	return $self->{nodes}{$id};
}

# Each node learns of it by itself: whoever asks one that has not is refused.
sub create_topic
{
	my ($self, $topic, $partitions, %config) = @_;
	my $until = time + 60;

	$self->SUPER::create_topic($topic, $partitions, %config);
	foreach my $node ($self->nodes)
	{
		while ((() = eval { $node->ends($topic) }) != $partitions)
		{
			croak "node $node->{id} does not know of $topic" if time > $until;
			sleep 0.05;
		}
	}
	return;
}

# The node that leads a partition
sub leader
{
	my ($self, $topic, $partition) = @_;
	my %leaders = map { split ' ' } split /\n/, $self->tool(undef, 'leaders', $topic);

	return $leaders{$partition};
}

# Wait until another node leads it, or this one; returns which.
sub await_leader
{
	my ($self, $topic, $partition, $good) = @_;
	my $until = time + 120;
	my $leader;

	until ($good->($leader = $self->leader($topic, $partition)))
	{
		croak "node $leader leads $topic $partition still" if time > $until;
		sleep 0.1;
	}
	return $leader;
}

# What a format of the first node has written does for the others, too.
package StreamCount::Cluster::Follower;

use strict;
use warnings;

use parent -norequire, 'StreamCount::Kafka';

use File::Copy qw(copy);
use File::Path qw(make_path);

sub format
{
	my ($self) = @_;
	my ($mine, $first) = ("$self->{dir}/data", "$self->{first}/data");
	my $id = StreamCount::Kafka::random_id();

	make_path($mine);
	open my $in, '<', "$first/meta.properties" or die "$first/meta.properties: $!";
	open my $out, '>', "$mine/meta.properties" or die "$mine/meta.properties: $!";
	while (my $line = <$in>)
	{
		$line =~ s/^(node\.id=).*/$1$self->{id}/;
		$line =~ s/^(directory\.id=).*/$1$id/;
		print $out $line;
	}
	close $out or die $!;
	copy("$first/bootstrap.checkpoint", $mine) or die "bootstrap.checkpoint: $!";
	return;
}

1;
