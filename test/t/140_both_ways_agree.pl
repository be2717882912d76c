# Both ways give the same: random queries over random messages, each kept by a
# rollup that goes whichever way it can and by one that the executor keeps,
# against the same query over an ordinary table; the same rejects with the
# same reasons, and the same books.
#
#	STREAMCOUNT_SEED		repeats a run
#	STREAMCOUNT_QUERIES		how many
#	STREAMCOUNT_ONLY		the number of a single query

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use Encode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Messages qw(stream_names topic_message ddl);
use StreamCount::Node;
use StreamCount::Oracle;
use StreamCount::Queries qw(query tokenizers key_types states);
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $seed = $ENV{STREAMCOUNT_SEED} // (time ^ $$) % 1_000_000_000;
my $queries = $ENV{STREAMCOUNT_QUERIES} // 800;
my @numbers = defined $ENV{STREAMCOUNT_ONLY} ? $ENV{STREAMCOUNT_ONLY} : 1 .. $queries;
my $in_a_round = $queries < 400 ? 25 : 60;
my $partitions = 2;
my $first_wave = 260;
my $later_wave = 35;
my $waves = 6;

note "STREAMCOUNT_SEED=$seed";

my $kafka = StreamCount::Kafka->new(dir => PostgreSQL::Test::Utils::tempdir() . '/kafka')->start;
my $node = StreamCount::Node->new('main');

# The least memory makes flushes that merge into rows that are there.
$node->init(
	brokers => $kafka->bootstrap,
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ],
	conf => "streamcount.flush_interval = '20ms'\nstreamcount.batch_mem = '1MB'\nstreamcount.tally_mem = '8MB'\nfsync = off\nautovacuum = off\n"
	  . "max_locks_per_transaction = 512\nshared_buffers = '256MB'\njit = off\nlog_statement = none\n");
$node->start;
$node->safe_psql('postgres', encode 'UTF-8', join "\n", 'CREATE EXTENSION streamcount;', map({ ddl($_) } stream_names()),
	StreamCount::Oracle::setup());
$kafka->create_topic($_, $partitions) foreach stream_names();

# ---------------------------------------------------------------------
# Messages, into the topics and into the table of bytes
# ---------------------------------------------------------------------

my %end = map { $_ => [ (0) x $partitions ] } stream_names();
my $produced = 0;

sub hex_bytes { return defined $_[0] ? '\\\\x' . unpack('H*', $_[0]) : '\\N' }

sub produce_wave
{
	my ($size) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/wave';
	my $read = '';

	open my $out, '>', $file or die $!;
	foreach my $stream (stream_names())
	{
		my @messages = map { topic_message($stream, int rand $partitions) } 1 .. $size;

		foreach my $m (@messages)
		{
			my $lang = @{ $m->{headers} } ? qq({"lang": "$m->{headers}[1]"}) : '{}';

			print $out join("\t", $stream, ++$produced, $m->{partition}, $end{$stream}[ $m->{partition} ]++, $m->{timestamp},
				hex_bytes($m->{key}), $lang, hex_bytes($m->{value})), "\n";
		}
		$kafka->produce_messages($stream, \@messages);
		$read .= "SELECT plain.read('$stream');\n";
	}
	close $out or die $!;
	$node->safe_psql('postgres', "\\copy plain.raw FROM '$file'\n$read ANALYZE plain.raw, plain.bad");
	return;
}

# ---------------------------------------------------------------------
# Rounds
# ---------------------------------------------------------------------

my %wrong;      # number => [ kind, lines ]
my %way;        # number => tally, or executor: why
my $rows = 0;
my $flushes = 0;

sub quoted { return '$query$' . $_[0] . '$query$' }

sub create_rollups
{
	my $sql = "BEGIN;\n";

	foreach my $q (@_)
	{
		$sql .= "SET LOCAL TimeZone = '$q->{timezone}';\n";
		foreach my $way (qw(executor auto))
		{
			$sql .= "SET LOCAL streamcount.way = '$way';\n"
			  . "SELECT plain.make($q->{number}, 'q$q->{number}_$way', " . quoted($q->{sql}) . ");\n";
		}
	}
	$node->safe_psql('postgres', encode('UTF-8', "SET client_min_messages = error;\n$sql COMMIT;"));
	return;
}

# Until all have come to the end, or have halted
sub wait_for_rollups
{
	my $ends = join ', ', map { "('$_', '{" . join(',', @{ $end{$_} }) . "}'::bigint[])" } stream_names();

	$node->wait_for_sql(
		"SELECT count(*) FROM streamcount.rollup_progress p
			JOIN streamcount.rollup_catalog c USING (rollup)
			JOIN (VALUES $ends) AS e(stream, ends) ON e.stream::regclass = c.stream
			WHERE p.partition < 0 AND p.state IS NULL AND (SELECT count(*) FROM streamcount.rollup_progress x
				WHERE x.rollup = p.rollup AND x.partition >= 0 AND (x.next_offset = e.ends[x.partition + 1] OR x.state = 'halted')) < $partitions",
		0, timeout => 120);
	return;
}

sub compare
{
	my $sql = "SELECT plain.gather_rejects();\n";

	foreach my $q (@_)
	{
		$sql .= "SET TimeZone = '$q->{timezone}';\n"
		  . "SELECT plain.compare($q->{number}, '$q->{stream}', " . quoted($q->{sql}) . ", '$q->{columns}', '$q->{bytes}', '$q->{reads_list}');\n";
	}
	$node->safe_psql('postgres', encode('UTF-8', "$sql SELECT plain.compare_books()"));
	return;
}

sub note_outcome
{
	foreach my $line (split /\x1e/, $node->safe_psql('postgres',
		q{SELECT string_agg(concat_ws(E'\x1f', query, kind, lines), E'\x1e') FROM plain.outcome WHERE lines IS NOT NULL}))
	{
		my ($number, $kind, $lines) = split /\x1f/, $line, 3;

		if ($kind eq 'count') { $rows += $lines }
		elsif ($kind eq 'auto') { $way{$number} = $lines }
		elsif ($kind ne 'executor') { push @{ $wrong{$number} }, "$kind: $lines" }
	}
	return;
}

sub run_round
{
	my (@numbers) = @_;
	my @round = map { srand($seed + 7919 * $_); query($_) } @numbers;

	create_rollups(@round);
	wait_for_rollups();
	if ($waves > 0)
	{
		# These come to rows that are there.
		srand($seed - $waves--);
		produce_wave($later_wave);
		wait_for_rollups();
	}
	$flushes += $node->safe_psql('postgres', 'SELECT sum(flushes) FROM streamcount.stat_workers') || 0;
	compare(@round);
	note_outcome();
	foreach my $q (@round)
	{
		my $way = $way{ $q->{number} } // 'none';

		is(join("\n", @{ $wrong{ $q->{number} } // [] }), '', "query $q->{number} ($way)")
		  or diag "STREAMCOUNT_SEED=$seed STREAMCOUNT_ONLY=$q->{number}\n",
		  "way: $way\nTimeZone: $q->{timezone}\n", encode('UTF-8', $q->{sql});
	}
	$node->safe_psql('postgres', q{
		SET client_min_messages = error;
		TRUNCATE plain.outcome;
		SELECT count(streamcount.drop_rollup(rollup)) FROM streamcount.rollup_catalog;});
	return @round;
}

srand($seed);
produce_wave($first_wave);
# All waves have to come before a single query is worth its number.
if (@numbers == 1)
{
	while ($waves > 0) { srand($seed - $waves--); produce_wave($later_wave) }
}

my %parts;      # part of queries => { tally, executor }
while (my @some = splice @numbers, 0, $in_a_round)
{
	foreach my $q (run_round(@some))
	{
		my $way = ($way{ $q->{number} } // 'none') =~ s/:.*//r;

		$parts{$_}{$way}++ foreach keys %{ $q->{has} };
	}
}

# ---------------------------------------------------------------------
# What was tried
# ---------------------------------------------------------------------

my %ways;
$ways{$_}++ foreach values %way;
note "$rows rows, $produced messages, at least $flushes flushes";
note "$ways{$_} queries: $_" foreach sort { $ways{$b} <=> $ways{$a} || $a cmp $b } keys %ways;
foreach my $part (sort keys %parts)
{
	note "$part: ", join ', ', map { "$parts{$part}{$_} by $_" } sort keys %{ $parts{$part} };
}

SKIP:
{
	skip 'few queries', 2 if keys %way < 300;
	my @family = (tokenizers(), 'windows', map({ "key $_" } key_types()), states());

	cmp_ok($ways{tally} // 0, '>', 0.5 * keys %way, 'most queries took the tally');
	is(join(', ', grep { !$parts{$_}{tally} } @family), '', 'and all kinds of their parts');
}

$node->stop;
done_testing();
