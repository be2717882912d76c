# Where a rollup's query fails, the messages that it fails on are looked for, and
# are rejects; all others are counted, in seconds and without a transaction id for
# each try.  What is no message's fault halts the rollup, and rejects nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Mock;
use StreamCount::Node;
use StreamCount::Verdicts;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my $mock = StreamCount::Mock->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_min_messages = warning\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

my $verdicts = StreamCount::Verdicts->new($node, $mock);

sub query { return $node->safe_psql('postgres', $_[0]) }
sub worker_pids { return join ' ', $node->pids_of('worker') }

# ---------------------------------------------------------------------
# The query fails on some messages
# ---------------------------------------------------------------------

query(q{
	CREATE FUNCTION picky(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF $1 = 'stop' THEN
			RAISE EXCEPTION 'no % here', $1 USING DETAIL = 'It was asked for.';
		END IF;
		RETURN $1;
	END $$;
	CREATE DOMAIN small AS integer CHECK (VALUE < 100);
	CREATE FOREIGN TABLE orders (item text, price integer, note text)
		SERVER streamcount OPTIONS (topic 'orders')});

my %careful = (
	quotients => q{SELECT 100 / price AS grp, count(*) AS n FROM orders GROUP BY 1},
	sums => q{SELECT item AS grp, sum(100 / price) AS s, count(*) AS n FROM orders GROUP BY 1},
	wheres => q{SELECT item AS grp, count(*) AS n FROM orders WHERE note::integer >= 0 GROUP BY 1},
	domains => q{SELECT price::small AS grp, count(*) AS n FROM orders GROUP BY 1},
	filters => q{SELECT item AS grp, count(*) FILTER (WHERE note::integer > 0) AS f, count(*) AS n FROM orders GROUP BY 1},
	raises => q{SELECT picky(item) AS grp, count(*) AS n FROM orders GROUP BY 1},
	plain => q{SELECT item AS grp, count(*) AS n FROM orders GROUP BY 1});
my @careful = sort keys %careful;
my @orders;

# One in 20 is bad, some of them in two ways.
srand 17;
foreach my $i (1 .. 20_000)
{
	my %o = (item => 'i' . int(rand 50), price => 1 + int(rand 90), note => int(rand 1000));
	my %bad;

	if ($i % 20 == 7)
	{
		my $way = int(rand 6);

		$o{price} = 0, $bad{quotients} = $bad{sums} = ['22012'] if $way == 0 || $way == 5;
		$o{note} = 'x', $bad{wheres} = $bad{filters} = ['22P02'] if $way == 1 || $way == 5;
		$o{price} = 100 + int(rand 9), $bad{domains} = ['23514'] if $way == 2;
		$o{item} = 'stop', $bad{raises} = ['P0001'] if $way == 3;
		$bad{$_} = ['22P02'] foreach $way == 4 ? @careful : ();
	}
	my $value = "{\"item\": \"$o{item}\", \"price\": $o{price}, \"note\": \"$o{note}\"";
	push @orders,
	  {
		value => $value . ($bad{plain} ? '' : '}'),
		verdicts => {
			(map { $_ => $o{item} } qw(sums wheres filters raises plain)),
			quotients => $o{price} ? int(100 / $o{price}) : 0,
			domains => $o{price},
			%bad
		}
	  };
}
$mock->create_topic('orders', 4);
query("SELECT streamcount.create_rollup('$_', \$\$ $careful{$_} \$\$)") foreach @careful;
$node->wait_for_sql(q{SELECT count(*) FROM streamcount.progress
	WHERE topic = 'orders' AND state IN ('idle', 'running') AND checked_at IS NOT NULL}, 4 * @careful);
my $pids = worker_pids();

# Nobody else takes transaction ids: those that are asked for here take one.
my $flushes = q{SELECT sum(flushes) FROM streamcount.stat_workers};
my $before = query($flushes);
my $xid = query('SELECT pg_current_xact_id()');
my $begin = time;
$verdicts->produce('orders', 4, \@orders);
note sprintf 'produced after %.1f s', time - $begin;
$node->wait_for_rollup($mock, 'orders', name => $_, timeout => 60) foreach @careful;
my $took = time - $begin;
my $xids = query('SELECT pg_current_xact_id()') - $xid;
my $flushed = query($flushes) - $before;
$verdicts->check($_, 'orders', 4, \@orders) foreach @careful;
is(worker_pids(), $pids, 'the worker has lived through all of it');
note sprintf '20,000 messages, 5 %% bad, %d rollups: %.1f s, %d flushes, %d transaction ids',
  scalar @careful, $took, $flushed, $xids;
cmp_ok($took, '<', 20, 'in seconds');

# A flush that fails in every rollup's merge is begun as often, and once more.
cmp_ok($xids, '<=', 1 + $flushed * (1 + 3 * @careful), 'P33: the search takes no transaction ids');
is(query(q{SELECT DISTINCT sqlstate, reason, detail FROM streamcount.rejects
	WHERE rollup = 'raises'::regclass AND sqlstate = 'P0001'}),
	'P0001|no stop here|It was asked for.', 'what RAISE said is in the reject');

# ---------------------------------------------------------------------
# What is not the message's fault halts, and rejects nothing
# ---------------------------------------------------------------------

query(q{
	CREATE FUNCTION half_gone(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF $1 = 'stop' THEN
			RAISE EXCEPTION 'no % here', $1;
		ELSIF $1 = 'missing' THEN
			RAISE EXCEPTION USING ERRCODE = '42P01', MESSAGE = 'a table is missing';
		END IF;
		RETURN $1;
	END $$;
	-- It lies about being stable: its first call fails, and no other one.
	CREATE SEQUENCE calls_of_moody;
	CREATE FUNCTION moody(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		IF nextval('calls_of_moody') = 1 THEN
			RAISE EXCEPTION 'not yet';
		END IF;
		RETURN $1;
	END $$;
	CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'not today';
	END $$;
	CREATE FOREIGN TABLE calls (who text) SERVER streamcount OPTIONS (topic 'calls')});
$mock->create_topic('calls', 1);
my %halting = (
	checked => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	triggered => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	broken => 'SELECT half_gone(who) AS grp, count(*) AS n FROM calls GROUP BY 1',
	healthy => 'SELECT who AS grp, count(*) AS n FROM calls GROUP BY 1',
	changing => 'SELECT moody(who) AS grp, count(*) AS n FROM calls GROUP BY 1');
foreach my $name (sort keys %halting)
{
	query("SELECT streamcount.create_rollup('$name', '$halting{$name}')");
}
query(q{
	ALTER TABLE checked_data ADD CHECK (n < 3);
	CREATE TRIGGER forbid BEFORE INSERT ON triggered_data FOR EACH ROW
		WHEN (NEW.grp = 'b') EXECUTE FUNCTION forbid()});
my @calls = map { { value => "{\"who\": \"$_\"}" } } qw(a stop b a missing a);

$verdicts->produce('calls', 1, \@calls);
$node->wait_for_rollup($mock, 'calls', name => 'healthy');
$node->wait_for_sql(q{SELECT rollup, state, split_part(reason, ':', 1) FROM streamcount.rollups
	WHERE rollup::text IN ('checked', 'triggered', 'broken', 'healthy') ORDER BY rollup::text},
	qr/^broken\|halted\|42P01\nchecked\|halted\|23514\nhealthy\|(idle|running)\|\ntriggered\|halted\|P0001$/);
pass('P11: a constraint, a trigger and a missing table halt their rollups');
is(query(q{SELECT count(*) FROM streamcount.rejects WHERE stream = 'calls'::regclass}), '0',
	'P11: and reject nothing');
is(query(q{SELECT grp, n FROM healthy ORDER BY 1}), "a|3\nb|1\nmissing|1\nstop|1",
	'a rollup beside them counts');
$node->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup = 'changing'::regclass}, qr/^(idle|halted)$/);
is(query('SELECT grp, n FROM changing ORDER BY 1'), query('SELECT grp, n FROM healthy ORDER BY 1'),
	'a query that fails once, and on no message when that is looked for, is tried again');
is(query('SELECT last_value > 1 FROM calls_of_moody'), 't', '(it failed, and was called again)');
is(query(q{SELECT count(*) FROM streamcount.problems WHERE statement LIKE 'SELECT streamcount.resume(%'}),
	'3', 'streamcount.problems says what to type');

query(q{
	ALTER TABLE checked_data DROP CONSTRAINT checked_data_n_check;
	DROP TRIGGER forbid ON triggered_data;
	CREATE OR REPLACE FUNCTION half_gone(text) RETURNS text LANGUAGE sql STABLE
		AS 'SELECT public.picky($1)'});
query("SELECT streamcount.resume('$_')") foreach qw(checked triggered broken);
$node->wait_for_rollup($mock, 'calls', name => $_) foreach qw(checked triggered broken);
is(query("SELECT grp, n FROM $_ ORDER BY 1"), "a|3\nb|1\nmissing|1\nstop|1", "P11: $_ goes on after resume()")
  foreach qw(checked triggered);
is(query(q{SELECT grp, n FROM broken ORDER BY 1}), "a|3\nb|1\nmissing|1",
	'broken goes on after resume()');
is(query(q{SELECT "offset", sqlstate FROM streamcount.rejects WHERE stream = 'calls'::regclass}),
	'1|P0001', 'with the one reject that is due');
$verdicts->books_balance($_) foreach qw(checked triggered broken);

is($node->log_count(qr/PANIC|FATAL|was terminated by signal|(?<!streamcount )worker.*exit/), 0,
	'no process has died');

$node->stop('fast');
$mock->stop;
done_testing();
