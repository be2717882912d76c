# Rollups of one stream share a worker.  One whose query takes too long, be it to
# count or to find the message that it fails on, gets a worker of its own, and
# is served with the others again when it has caught up.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $mock = StreamCount::Mock->new->start;
my $node = StreamCount::Node->new('slow');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nstreamcount.metadata_interval = 1s\n"
	  . "streamcount.max_workers = 8\nmax_worker_processes = 16\n");
$node->start;

sub query { return $node->safe_psql('postgres', $_[0]) }

# It takes its time as long as somebody holds a lock, which it does not wait for.
query(q{
	CREATE EXTENSION streamcount;
	CREATE FUNCTION slow(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF word = 'bad' THEN
			RAISE division_by_zero;
		END IF;
		WHILE word = 'slow' AND EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 226) LOOP
			PERFORM pg_sleep(0.1);
		END LOOP;
		RETURN word;
	END $$});
my %words = (
	counting => [ 'slow', 'quick' ],
	searching => [ 'bad', ('slow') x 3, 'quick' ]);
foreach my $stream (sort keys %words)
{
	$mock->create_topic($stream, 1);
	query(qq{
		CREATE FOREIGN TABLE $stream (word text) SERVER streamcount OPTIONS (topic '$stream');
		SELECT streamcount.create_rollup('quick_$stream', 'SELECT word, count(*) AS n FROM $stream GROUP BY word');
		SELECT streamcount.create_rollup('slow_$stream', 'SELECT slow(word) AS word, count(*) AS n FROM $stream GROUP BY 1')});
}

my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(226)');
foreach my $stream (sort keys %words)
{
	$mock->produce_values($stream, [ map { qq({"word": "$_"}) } @{ $words{$stream} } ]);
}
foreach my $stream (sort keys %words)
{
	my $n = @{ $words{$stream} };

	$node->wait_for_sql("SELECT next_offset FROM streamcount.progress WHERE rollup = 'quick_$stream'::regclass", $n);
	pass("while a query is $stream the other rollup goes on");
	is(query("SELECT next_offset FROM streamcount.progress WHERE rollup = 'slow_$stream'::regclass"), '0', '... and it is still busy');
	like(query("SELECT apart FROM streamcount.stat_workers WHERE stream = '$stream'::regclass AND apart IS NOT NULL"),
		qr/^slow_$stream$/, '... in a worker of its own');
}
$holder->quit;
foreach my $stream (sort keys %words)
{
	my $n = @{ $words{$stream} };

	$node->wait_for_sql("SELECT next_offset FROM streamcount.progress WHERE rollup = 'slow_$stream'::regclass", $n);
	pass("$stream has come to its end");
}
is(query(q{SELECT string_agg(word || ' ' || n, ', ' ORDER BY word) FROM slow_counting}), 'quick 1, slow 1', 'what it counted is right');
is(query(q{SELECT string_agg(word || ' ' || n, ', ' ORDER BY word) FROM slow_searching}), 'quick 1, slow 3', 'and so is what it found');
is(query(q{SELECT rollup, "offset", sqlstate FROM streamcount.rejects}), 'slow_searching|0|22012', 'one message is to blame');
$node->wait_for_sql('SELECT count(*), count(apart) FROM streamcount.stat_workers', '2|0');
pass('they are served together again');

$node->stop('fast');
$mock->stop;
done_testing();
