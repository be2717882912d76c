=pod

=head1 NAME

StreamCount::Verdicts - messages of which is known what each rollup makes of them

=head1 SYNOPSIS

  my $verdicts = StreamCount::Verdicts->new($node, $kafka);
  my @messages = (
      { value => '{"n": 1}', verdicts => { numbers => '1', flags => ['22P02', 'flag'] } },
      { value => 'nonsense', all => ['22P02'], verdicts => {} });
  $verdicts->produce('events', 2, \@messages);
  $verdicts->check('numbers', 'events', 2, \@messages);

=head1 DESCRIPTION

A verdict is the group that the message is counted in, by a query that names its
columns grp and n; or the SQLSTATE and the column of the reject; or an empty list,
where the query counts nothing of it.

=cut

package StreamCount::Verdicts;

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Test::More;

# new($node, $broker, kept => 1024): so many bytes are kept of a payload or a key
sub new
{
	my ($class, $node, $broker, %args) = @_;

	return bless { node => $node, broker => $broker, kept => $args{kept} // 64 * 1024 }, $class;
}

sub query { return $_[0]{node}->safe_psql('postgres', $_[1]) }

# Messages go over the partitions in turn.
sub produce
{
	my ($self, $topic, $partitions, $messages) = @_;
	my $i = 0;

	$self->{broker}->produce_messages($topic,
		[ map { { %$_, partition => $i++ % $partitions } } @$messages ]);
	return;
}

sub md5_or_none
{
	my ($self, $bytes) = @_;

	return 'none' unless defined $bytes;
	utf8::encode($bytes) if utf8::is_utf8($bytes);
	return md5_hex(substr $bytes, 0, $self->{kept});
}

sub rejects_of
{
	my ($self, $rollup) = @_;

	return $self->query(qq{
		SELECT concat_ws(' ', partition, "offset", sqlstate, coalesce("column", '-'),
			coalesce(md5(payload), 'none'), coalesce(md5(key), 'none'))
		FROM streamcount.rejects WHERE rollup = '$rollup'::regclass ORDER BY partition, "offset"});
}

# Every message is somewhere in the rollup's books.
sub books_balance
{
	my ($self, $rollup) = @_;

	return is($self->query(qq{
		SELECT coalesce(string_agg(format('partition %s: %s to %s, but %s + %s + %s; %s rejects',
			p.partition, start_offset, next_offset, counted, filtered, rejected, r.n), E'\\n'), '')
		FROM streamcount.progress p, LATERAL (SELECT count(*) AS n FROM streamcount.rejects r
			WHERE r.rollup = p.rollup AND r.partition = p.partition) r
		WHERE p.rollup = '$rollup'::regclass
			AND (next_offset - start_offset <> counted + filtered + rejected OR r.n <> rejected)}), '',
		"$rollup: the books balance");
}

sub check
{
	my ($self, $rollup, $topic, $partitions, $messages) = @_;
	my (%groups, @rejects);
	my $i = 0;

	foreach my $m (@$messages)
	{
		my ($partition, $offset) = ($i % $partitions, int($i / $partitions));
		my $verdict = $m->{verdicts}{$rollup} // $m->{all};

		$i++;
		next if ref $verdict && !@$verdict;
		if (ref $verdict)
		{
			my ($sqlstate, $column) = @$verdict;

			push @rejects, [ $partition, $offset, "$sqlstate " . ($column // '-') . ' '
				  . $self->md5_or_none($m->{value}) . ' ' . $self->md5_or_none($m->{key}) ];
			next;
		}
		$groups{$verdict}++;
	}
	my $expected = join "\n", map { "@$_" }
	  sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @rejects;

	$self->{node}->wait_for_rollup($self->{broker}, $topic, name => $rollup, timeout => 60);
	is($self->query(qq{SELECT line COLLATE "C" FROM (SELECT coalesce(grp::text, 'NULL') || '|' || n AS line
			FROM $rollup) AS l ORDER BY 1}),
		join("\n", sort map { "$_|$groups{$_}" } keys %groups),
		"$rollup: good messages are counted exactly");
	is($self->rejects_of($rollup), $expected, "$rollup: all others are rejects, each with its reason");
	$self->books_balance($rollup);
	return;
}

1;
