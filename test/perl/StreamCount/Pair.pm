=pod

=head1 NAME

StreamCount::Pair - two rollups of one stream under load, kept either way

=head1 SYNOPSIS

  my $pair = StreamCount::Pair->start(seed => 221);
  $pair->node->safe_psql('postgres', 'VACUUM FULL hashtags_data');
  $pair->goes_on('P34: VACUUM FULL');
  $pair->ends_exact;

=head1 DESCRIPTION

A mock broker with the topic tweets, a server, and the load of a test that does
something to the rollups: hashtags is kept by the tally, executed by the executor,
and one worker serves both.

=cut

package StreamCount::Pair;

use strict;
use warnings;

use StreamCount::Load;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;

our %ways = (hashtags => 'tally', executed => 'executor');
our @rollups = qw(hashtags executed);

# start(seed => 1)
sub start
{
	my ($class, %args) = @_;
	my $mock = StreamCount::Mock->new->start;
	my $node = StreamCount::Node->new('main');
	my $self = bless { mock => $mock, node => $node }, $class;

	$mock->create_topic('tweets', 2);
	$node->init(
		brokers => $mock->bootstrap,
		conf => "fsync = off\nlog_statement = none\nautovacuum = off\n",
		extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
	$node->create_tweets_stream(options => "reject_limit '0'");
	$self->create($_) foreach @rollups;
	$self->{load} = StreamCount::Load->start($mock, 'tweets', rate => 60, partitions => 2, seed => $args{seed});
	$self->goes_on('at the start');
	$self->are_together;
	return $self;
}

sub mock { return $_[0]{mock} }
sub node { return $_[0]{node} }

sub query { return $_[0]{node}->safe_psql('postgres', $_[1]) }

sub create
{
	my ($self, $rollup) = @_;

	$self->{node}->create_hashtags_rollup(name => $rollup, way => $ways{$rollup});
	return;
}

sub position
{
	my ($self, $rollup) = @_;

	return "(SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = '$rollup'::regclass)";
}

# It counts on from here, and what it has counted is exact.
sub goes_on
{
	my ($self, $what, @which) = @_;

	foreach my $rollup (@which ? @which : @rollups)
	{
		my $position = $self->position($rollup);
		my $stood = $self->query("SELECT $position");
		$self->{node}->wait_for_sql("SELECT $position > $stood + 20", 't');
		my $differences = $self->{node}->differences($self->{mock}, 'tweets', name => $rollup);
		ok($differences eq '', "$what: $rollup goes on, and is exact") or diag substr $differences, 0, 2000;
	}
	return;
}

sub state_is
{
	my ($self, $rollup, $state) = @_;

	return $self->{node}->wait_for_sql("SELECT state || ' ' || coalesce(reason, '') FROM streamcount.rollups"
		  . " WHERE rollup = '$rollup'::regclass", qr/^$state/);
}

# Both are served by one worker.
sub are_together
{
	my ($self) = @_;

	$self->{node}->wait_for_sql('SELECT count(*), count(apart), count(pid) FROM streamcount.stat_workers', '1|0|1');
	return;
}

# To be called at the end of a test
sub ends_exact
{
	my ($self) = @_;
	my ($node, $mock) = @$self{qw(node mock)};

	ok($self->{load}->goes_on, 'the load went on through all of it');
	$self->{load}->stop;
	foreach my $rollup (@rollups)
	{
		$node->wait_for_rollup($mock, 'tweets', name => $rollup);
		is($node->differences($mock, 'tweets', name => $rollup), '', "$rollup is exact at the end");
	}
	is($node->log_count(qr/was terminated by signal|PANIC|TRAP:/), 0, 'no crash');
	$node->stop('fast');
	$mock->stop;
	return;
}

1;
