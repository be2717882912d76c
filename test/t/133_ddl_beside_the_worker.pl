# DDL on everything that a rollup consists of, under load: what is harmless
# goes by unnoticed, what ends the rollup ends it, what is rolled back never
# was; and the rows stay exact.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Load;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_statement = none\nwal_level = logical\n",
	allows_streaming => 'logical',
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$kafka->create_topic('tweets', 2);

my $rollup = 'hashtags';

sub set_up
{
	my ($db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db") if $db ne 'postgres';
	$node->safe_psql($db, q{
		CREATE EXTENSION streamcount;
		CREATE FOREIGN TABLE tweets (text text, created_at timestamptz OPTIONS (path 'created_at'), lang text)
			SERVER streamcount OPTIONS (topic 'tweets', reject_limit '0')});
	$node->create_hashtags_rollup(dbname => $db);
	return;
}

# It goes on after this, and exactly.
sub goes_on
{
	my ($what, %args) = @_;
	my $db = $args{dbname} // 'postgres';
	my $position = "SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress WHERE rollup = '$rollup'::regclass";
	my $stood = $node->safe_psql($db, $position);

	$node->wait_for_sql("SELECT ($position) > $stood + 20", 't', dbname => $db, timeout => 30);
	is($node->differences($kafka, 'tweets', name => $rollup, dbname => $db), '', "$what: exact") unless $args{unchecked};
	return;
}

sub halted
{
	my ($reason, $what) = @_;

	like($node->wait_for_sql("SELECT state || ' ' || coalesce(reason, '') FROM streamcount.rollups
			WHERE rollup = '$rollup'::regclass", qr/^halted $reason/, timeout => 30), qr/^halted/, $what);
	return;
}

sub ddl
{
	my ($sql, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', $sql);
}

set_up('postgres');
my $load = StreamCount::Load->start($kafka, 'tweets', rate => 300, partitions => 2, seed => 133);
goes_on('before');

# ---------------------------------------------------------------------
# The data table
# ---------------------------------------------------------------------

ddl("$_;") foreach 'VACUUM FULL hashtags_data', 'REINDEX TABLE hashtags_data',
	'REINDEX TABLE CONCURRENTLY hashtags_data', 'CLUSTER hashtags_data USING hashtags_data_hashtag_interval_key',
	'ANALYZE hashtags_data', 'VACUUM FREEZE hashtags_data',
	'ALTER TABLE hashtags_data SET (fillfactor = 50)', 'ALTER TABLE hashtags_data ADD COLUMN note text',
	q{ALTER TABLE hashtags_data ADD COLUMN stamp integer NOT NULL DEFAULT 7},
	'CREATE INDEX ON hashtags_data (mentions DESC)', 'CREATE INDEX CONCURRENTLY on_interval ON hashtags_data ("interval")',
	'ALTER TABLE hashtags_data ADD CHECK (mentions > 0)', 'VACUUM FULL', 'REINDEX DATABASE postgres';
goes_on('P34: maintenance of the data table');
is(ddl('SELECT count(*) FROM hashtags_data WHERE note IS NOT NULL OR stamp <> 7'), '0', 'added columns have their defaults');
ddl('ALTER TABLE hashtags_data DROP COLUMN note');
goes_on('P10: a column added and dropped');

# The lock is waited for, and nothing is lost meanwhile.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE hashtags_data IN ACCESS EXCLUSIVE MODE');
$node->wait_for_sql(q{SELECT DISTINCT state FROM streamcount.progress}, 'blocked', timeout => 30);
$session->query_safe('COMMIT');
goes_on('P9: a lock, after it is gone');

# What a person does to the rows is the person's own.
ddl('BEGIN; TRUNCATE hashtags_data; ROLLBACK');
goes_on('P12: TRUNCATE, rolled back');
ddl(q{BEGIN; SELECT streamcount.pause('hashtags'); SELECT streamcount.drop_rollup('hashtags'); ROLLBACK});
goes_on('P10: drop_rollup(), rolled back');
ddl('BEGIN; DROP VIEW hashtags; ROLLBACK');
goes_on('P10: DROP VIEW, rolled back');

# ---------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------

ddl(q{
	CREATE SCHEMA "else where";
	ALTER VIEW hashtags RENAME TO "Tags";
	ALTER VIEW hashtags_query RENAME TO its_query;
	ALTER TABLE hashtags_data RENAME TO its_data;
	ALTER TABLE its_data RENAME COLUMN mentions TO "how many";
	ALTER TABLE its_data RENAME COLUMN hashtag TO tag;
	ALTER INDEX hashtags_data_hashtag_interval_key RENAME TO its_key;
	ALTER FOREIGN TABLE tweets RENAME TO statuses;
	ALTER FOREIGN TABLE statuses RENAME COLUMN created_at TO "at";
	ALTER VIEW "Tags" SET SCHEMA "else where";
	ALTER VIEW its_query SET SCHEMA "else where";
	ALTER TABLE its_data SET SCHEMA "else where";
	ALTER FOREIGN TABLE statuses SET SCHEMA "else where";
	ALTER SCHEMA "else where" RENAME TO there});
$rollup = 'there."Tags"';
goes_on('P10: everything renamed and moved');
is(ddl('SELECT rollup, query, data, stream FROM streamcount.rollups'),
	'there."Tags"|there.its_query|there.its_data|there.statuses', 'and shown by its new names');

# A column whose path is its name
ddl('ALTER FOREIGN TABLE there.statuses RENAME COLUMN text TO body');
halted('stream_changed', 'P10: a column that reads the member of its name: halted when renamed');
ddl(q{ALTER FOREIGN TABLE there.statuses ALTER COLUMN body OPTIONS (ADD path 'text');
	SELECT streamcount.resume('there."Tags"')});
goes_on('with its path');
ddl(q{
	ALTER SCHEMA there RENAME TO "else where";
	ALTER VIEW "else where"."Tags" SET SCHEMA public; ALTER VIEW "else where".its_query SET SCHEMA public;
	ALTER TABLE "else where".its_data SET SCHEMA public; ALTER FOREIGN TABLE "else where".statuses SET SCHEMA public;
	ALTER VIEW "Tags" RENAME TO hashtags; ALTER FOREIGN TABLE statuses RENAME TO tweets});
$rollup = 'hashtags';
goes_on('P10: renamed again');

# ---------------------------------------------------------------------
# The stream
# ---------------------------------------------------------------------

ddl(q{ALTER FOREIGN TABLE tweets ALTER COLUMN lang OPTIONS (ADD path 'user.lang');
	ALTER FOREIGN TABLE tweets ALTER COLUMN lang SET NOT NULL;
	ALTER FOREIGN TABLE tweets ADD COLUMN n integer;
	ALTER FOREIGN TABLE tweets DROP COLUMN lang;
	COMMENT ON FOREIGN TABLE tweets IS 'tweets'});
goes_on('columns that nobody reads');
is(ddl(q{SELECT count(*) FROM streamcount.problems}), '0', 'halt nothing');
ddl(q{BEGIN; ALTER FOREIGN TABLE tweets ALTER COLUMN "at" OPTIONS (SET path 'other'); ROLLBACK});
goes_on('a change, rolled back');
ddl(q{ALTER FOREIGN TABLE tweets ALTER COLUMN "at" OPTIONS (SET path 'other')});
halted('stream_changed', 'a column that is read: halted');
my $rows = ddl('SELECT sum(mentions) FROM hashtags');
ddl(q{ALTER FOREIGN TABLE tweets ALTER COLUMN "at" OPTIONS (SET path 'created_at')});
is(ddl('SELECT sum(mentions) FROM hashtags'), $rows, 'and nothing is counted by the other definition');
ddl(q{SELECT streamcount.resume('hashtags')});
goes_on('set back and resumed');
my ($status, undef, $error) = $node->psql('postgres', 'ALTER FOREIGN TABLE tweets ALTER COLUMN "at" TYPE text');
like($error, qr/cannot alter type of a column used by a view/, 'P10: the type of a column that is read cannot be changed');
($status, undef, $error) = $node->psql('postgres', 'DROP FOREIGN TABLE tweets');
like($error, qr/other objects depend on it/, 'P10: nor can the stream be dropped');

# ---------------------------------------------------------------------
# Logical replication of the rows
# ---------------------------------------------------------------------

ddl('CREATE DATABASE subscriber');
ddl(q{CREATE PUBLICATION counts FOR TABLE its_data, streamcount.rollup_progress;
	SELECT pg_create_logical_replication_slot('counts', 'pgoutput')});
# There a rollup is but a name.
my $columns = ddl(q{SELECT string_agg(format('%I %s', attname, replace(atttypid::regtype::text, 'regclass', 'text')), ', ')
	FROM pg_attribute WHERE attrelid = 'streamcount.rollup_progress'::regclass AND attnum > 0 AND NOT attisdropped});
ddl(qq{CREATE TABLE its_data (tag text, "interval" text, "how many" bigint, stamp integer);
	CREATE SCHEMA streamcount;
	CREATE TABLE streamcount.rollup_progress ($columns, PRIMARY KEY (rollup, partition))}, 'subscriber');
my $connection = $node->connstr('postgres') =~ s/'/''/gr;
ddl(qq{CREATE SUBSCRIPTION counts CONNECTION '$connection' PUBLICATION counts WITH (create_slot = false, slot_name = 'counts')},
	'subscriber');
goes_on('P31: a publication');
$node->wait_for_sql(q{SELECT count(*) > 0 FROM its_data}, 't', dbname => 'subscriber');
$node->wait_for_sql(q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'}, '0', dbname => 'subscriber');

# Every message that is counted has two hashtags.
my $fits = q{SELECT (SELECT sum("how many") FROM its_data WHERE "interval" = 'ALL')
	- (SELECT 2 * sum(counted) FROM streamcount.rollup_progress)};
is(ddl(join('', map { "$fits; SELECT pg_sleep(0.05) \\g /dev/null\n" } 1 .. 20), 'subscriber'), join("\n", (0) x 20),
	'P31: rows and offsets fit together in every snapshot of the subscriber');

# ---------------------------------------------------------------------
# The extension and the database
# ---------------------------------------------------------------------

ddl(q{BEGIN; DROP EXTENSION streamcount CASCADE; ROLLBACK});
goes_on('P13: DROP EXTENSION, rolled back');

foreach my $db (qw(dropped emptied))
{
	set_up($db);
	goes_on("database $db", dbname => $db, unchecked => 1);
}

# The next worker reads the rollup as it was, and waits for the query's lock.
ddl(q{SELECT streamcount.create_rollup('langs', 'SELECT lang, count(*) AS n FROM tweets GROUP BY lang')}, 'dropped');
my $log = -s $node->logfile;
my $dropper = $node->background_psql('dropped');
my $of_dropped = q{FROM pg_stat_activity WHERE backend_type = 'streamcount worker' AND datname = 'dropped'};
$dropper->query_safe(q{BEGIN; SELECT streamcount.drop_rollup('hashtags')});
ddl("SELECT pg_terminate_backend(pid) $of_dropped");
$node->wait_for_sql("SELECT count(*) > 0 $of_dropped AND wait_event_type = 'Lock'", 't', timeout => 30);
$dropper->query_safe('COMMIT');
$dropper->quit;
my $langs = 'SELECT coalesce(sum(n), 0) FROM langs';
$node->wait_for_sql("SELECT ($langs) > " . ddl($langs, 'dropped'), 't', dbname => 'dropped', timeout => 30);
unlike(slurp_file($node->logfile, $log), qr/ERROR:/, 'P10: a worker that begins while a rollup is dropped goes on without it');

my $begin = time;
ddl('DROP EXTENSION streamcount CASCADE', 'emptied');
cmp_ok(time - $begin, '<', 5, 'P13: DROP EXTENSION under load is soon done');
$begin = time;
ddl('DROP DATABASE dropped');
cmp_ok(time - $begin, '<', 5, 'P14: DROP DATABASE, too');
$node->wait_for_sql(q{SELECT DISTINCT datname FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, 'postgres');
pass('P13: their workers go');
is(ddl(q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
	WHERE relname IN ('hashtags', 'hashtags_data', 'hashtags_query', 'tweets')}, 'emptied'), 'hashtags hashtags_data',
	'P13: with the extension go its streams and the defining queries');
is(ddl('SELECT count(*) > 0 FROM hashtags', 'emptied'), 't', 'P13: and the counts stay');
goes_on('beside all this');

# ---------------------------------------------------------------------
# The end
# ---------------------------------------------------------------------

$load->stop;
$node->wait_for_rollup($kafka, 'tweets');
is($node->differences($kafka, 'tweets'), '', 'at the end it is exact');
is(ddl(q{SELECT count(*) FROM streamcount.progress WHERE next_offset <> counted + filtered + rejected}), '0',
	'the books balance');
my $all = q{SELECT md5(string_agg(concat_ws('|', tag, "interval", "how many"), ';' ORDER BY tag COLLATE "C", "interval" COLLATE "C")) FROM its_data};
$node->wait_for_sql($all, ddl($all), dbname => 'subscriber');
pass('P31: the subscriber has the same rows');
ddl('DROP SUBSCRIPTION counts', 'subscriber');
ddl(q{SELECT streamcount.drop_rollup('hashtags')});
is(ddl(q{SELECT count(*) FROM pg_class WHERE relname IN ('hashtags', 'its_query', 'its_data')}), '0',
	'drop_rollup() finds them all under their new names');
$node->wait_for_sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}, '0');
pass('and the last worker goes');

$node->stop('fast');
$kafka->stop;
done_testing();
