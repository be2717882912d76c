# Who may do what: to make rollups, to steer them, to see them, to own them; and
# nobody sees a password.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Kafka;
use StreamCount::Node;
use Test::More;

plan skip_all => StreamCount::Kafka::missing() if StreamCount::Kafka::missing();

my $kafka = StreamCount::Kafka->new->start;
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $kafka->bootstrap,
	conf => "fsync = off\nlog_statement = none\nlog_min_messages = debug1\nlog_min_error_statement = panic\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
my $superuser = $node->superuser;

sub as { return $node->as_role(@_) }

sub query { return $node->safe_psql('postgres', $_[0]) }

sub say_words
{
	my ($topic, @words) = @_;

	$kafka->produce_values($topic, [ map { "{\"word\": \"$_\", \"n\": 1}" } @words ]);
	return;
}

sub halted_by
{
	my ($rollup, $reason) = @_;

	$node->wait_for_sql("SELECT state || ' ' || reason FROM streamcount.rollups WHERE rollup = '$rollup'::regclass",
		qr/^halted $reason/, timeout => 60);
	return;
}

$kafka->create_topic('words', 1);
query(q{
	CREATE EXTENSION streamcount;
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	CREATE ROLE carol LOGIN;
	CREATE ROLE mona LOGIN IN ROLE pg_monitor;
	CREATE SCHEMA made AUTHORIZATION alice;
	CREATE FOREIGN TABLE words (word text, n integer, h jsonb OPTIONS (metadata 'headers')) SERVER streamcount OPTIONS (topic 'words')});
my $words = 'SELECT word, sum(n) AS total, count(*) AS n FROM words GROUP BY word';

# ---------------------------------------------------------------------
# Making
# ---------------------------------------------------------------------

my $create = "SELECT streamcount.create_rollup('made.words', '$words')";

like(as('alice', $create), qr/^42501: permission denied for function create_rollup/,
	'create_rollup is for nobody by default');
query(q{GRANT EXECUTE ON FUNCTION streamcount.create_rollup(text, text, text, boolean) TO alice});
like(as('alice', $create), qr/^42501: permission denied for foreign table words/,
	'and needs SELECT on the stream');
query('GRANT SELECT ON words TO alice');
is(as('alice', $create), 'made.words', 'with both it works');
say_words('words', 'a', 'b', 'a');
$kafka->produce('words', 0, 'canary-key', '{"word": "c", "n": "canary-payload"}', 'h', 'canary-header');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');
is(as('alice', 'SELECT * FROM made.words ORDER BY 1'), "a|2|2\nb|1|1", 'and counts');
like(as('alice', q{INSERT INTO made.words VALUES ('x', 1, 1)}), qr/^55000: cannot write/, 'it cannot be written');

# All that is open to everybody
is(query(q{
	SELECT string_agg(DISTINCT p.proname::text, ' ' ORDER BY p.proname::text) FROM pg_proc p
	WHERE pronamespace = 'streamcount'::regnamespace AND has_function_privilege('bob', p.oid, 'EXECUTE')}),
	'cashtags cumulate discard_rejects down_reason drop_rollup hashtags hop live_partitions live_units mark mark_message '
	  . 'mentions pause refuse_write resume retry_rejects rollup_way skip_to tumble urls wait windows words',
	'functions that everybody may call');
is(query(q{
	SELECT string_agg(c.relname::text, ' ' ORDER BY c.relname::text) FROM pg_class c
	WHERE relnamespace = 'streamcount'::regnamespace AND relkind IN ('r', 'v', 'S', 'f', 'm', 'p')
		AND CASE WHEN relkind = 'S' THEN has_sequence_privilege('bob', c.oid, 'USAGE, SELECT, UPDATE')
			ELSE has_table_privilege('bob', c.oid, 'SELECT') END}),
	'gaps left_out merges problems progress rejects rollups stat_workers visible_rollups',
	'relations that everybody may read');
is(query(q{
	SELECT count(*) FROM pg_class c WHERE relnamespace = 'streamcount'::regnamespace AND relkind IN ('r', 'v')
		AND has_table_privilege('bob', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')}), '0',
	'and write');
foreach my $table (qw(rollup_catalog rollup_progress left_out_data))
{
	foreach my $role (qw(alice bob mona))
	{
		like(as($role, "SELECT * FROM streamcount.$table"), qr/^42501/, "$role cannot read $table");
	}
	like(as('alice', "DELETE FROM streamcount.$table"), qr/^42501/, "alice cannot write $table");
}
like(as('bob', q{CREATE SERVER s FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" 'x:1')}),
	qr/^42501: permission denied for foreign-data wrapper/, 'nobody may make servers');
like(as('alice', q{CREATE FOREIGN TABLE made.s (a text) SERVER streamcount OPTIONS (topic 'words')}),
	qr/^42501: permission denied for foreign server/, 'or streams');
like(as('bob', 'SELECT * FROM words'), qr/^42501: permission denied for foreign table/, 'or read them');

# ---------------------------------------------------------------------
# Steering
# ---------------------------------------------------------------------

query('GRANT USAGE ON SCHEMA made TO bob, carol, mona');
query('GRANT SELECT ON made.words TO carol');
foreach my $role (qw(bob carol mona))
{
	foreach my $call (
		q{pause('made.words')}, q{resume('made.words')}, q{drop_rollup('made.words')},
		q{skip_to('made.words', 0, 100)}, q{pause('words')}, q{resume('words')}, q{skip_to('words', 0, 100)})
	{
		like(as($role, "SELECT streamcount.$call"), qr/^42501: must be owner of view words/, "$role cannot $call");
	}
}
like(as('bob', q{SELECT streamcount.wait('made.words')}), qr/^42501: permission denied for view words/,
	'wait() is for those who may read the rollup');
is(as('carol', q{SELECT streamcount.wait('made.words')}), 't', 'and they may');
is(query(q{SELECT state IS NULL, next_offset FROM streamcount.rollup_progress WHERE rollup = 'made.words'::regclass
	AND partition = 0}), 't|4', 'nothing of it had an effect');

# ---------------------------------------------------------------------
# Seeing
# ---------------------------------------------------------------------

my @views = qw(rollups progress problems left_out rejects gaps stat_workers);

foreach my $view (@views)
{
	is(as('bob', "SELECT count(*) FROM streamcount.$view"), '0', "who may not read the rollup sees nothing in $view");
}
foreach my $role (qw(carol mona alice))
{
	is(as($role, 'SELECT rollup, owner FROM streamcount.rollups'), 'made.words|alice', "$role sees the rollup");
	is(as($role, 'SELECT partition, next_offset, counted, rejected FROM streamcount.progress'), '0|4|3|1',
		"$role sees its progress");
	is(as($role, 'SELECT stream, pid IS NOT NULL FROM streamcount.stat_workers'), 'words|t', "$role sees its worker");
	is(as($role, 'SELECT partition, "offset", sqlstate, "column" FROM streamcount.rejects'), '0|3|22P02|n',
		"$role sees that there is a reject");
}
foreach my $role (qw(carol mona))
{
	is(as($role, 'SELECT reason, detail, key, headers, payload FROM streamcount.rejects'), '||||', "$role does not see the message");
}
foreach my $view (@views)
{
	unlike(as('carol', "SELECT v, v::text, convert_from(convert_to(v::text, 'UTF8'), 'UTF8') FROM streamcount.$view AS v"),
		qr/canary|@{[ unpack 'H*', 'canary' ]}/, "nothing of the message is in $view for a mere reader");
}
like(as('alice', q{SELECT convert_from(payload, 'UTF8'), convert_from(key, 'UTF8'), headers, reason FROM streamcount.rejects}),
	qr/canary-payload.*canary-key.*canary-header.*canary-payload/, 'the owner sees it');

# A function in the condition sees no row that its caller may not see.
query('GRANT CREATE ON DATABASE postgres TO bob');
is(as('bob', q{
	CREATE SCHEMA bob;
	CREATE FUNCTION bob.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
		$$ BEGIN RAISE WARNING 'seen: %', $1; RETURN true; END $$;
	SELECT count(*) FROM streamcount.rejects WHERE bob.peek(reason);
	SELECT count(*) FROM streamcount.progress WHERE bob.peek(rollup::text);
	SELECT count(*) FROM streamcount.rollups WHERE bob.peek(definition)}), "0\n0\n0", 'a leaky function gets no row');
foreach my $column ('rejects.reason', 'progress.counted', 'progress.next_offset', 'problems.partition', 'rollups.state',
	'gaps.first_offset', 'stat_workers.pid')
{
	my ($view, $name) = split /\./, $column;
	my (undef, undef, $leak) = $node->psql('postgres',
		"SET enable_nestloop = off; SELECT count(*) FROM streamcount.$view WHERE bob.peek($name\::text)",
		extra_params => [ '-U', 'bob' ]);

	unlike($leak, qr/seen|ERROR/, "... and leaks nothing: $column");
}

# ---------------------------------------------------------------------
# An owner who may no longer read the stream
# ---------------------------------------------------------------------

query('REVOKE SELECT ON words FROM alice');
say_words('words', 'a', 'd');
halted_by('made.words', '42501: permission denied');
is(query('SELECT * FROM made.words ORDER BY 1'), "a|2|2\nb|1|1", 'P17: without SELECT on the stream nothing is counted');
like(as('alice', q{SELECT statement FROM streamcount.problems}), qr/^SELECT streamcount.resume\('made.words'\)$/,
	'and the owner is told what to do');
is(as('alice', q{SELECT streamcount.resume('made.words')}), '', 'resume() alone');
halted_by('made.words', '42501: permission denied');
query('GRANT SELECT ON words TO alice');
is(as('alice', q{SELECT streamcount.resume('made.words')}), '', 'resume() after GRANT');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');
is(query('SELECT * FROM made.words ORDER BY 1'), "a|3|3\nb|1|1\nd|1|1", 'goes on exactly');

# ---------------------------------------------------------------------
# Owners
# ---------------------------------------------------------------------

query('GRANT CREATE ON SCHEMA made TO bob');
query('ALTER TABLE made.words_data OWNER TO bob');
say_words('words', 'e');
halted_by('made.words', 'its view, query view and data table have different owners');
query(q{ALTER VIEW made.words_query OWNER TO bob; ALTER VIEW made.words OWNER TO bob; GRANT SELECT ON words TO bob});
is(as('bob', q{SELECT streamcount.resume('made.words')}), '', 'the new owner may resume');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');
is(query('SELECT sum(n) FROM made.words'), '6', 'after different owners it goes on exactly');

# All at once, while it runs: nobody is needed
query(q{BEGIN; ALTER TABLE made.words_data OWNER TO alice; ALTER TABLE made.words_query OWNER TO alice;
	ALTER TABLE made.words OWNER TO alice; COMMIT});
say_words('words', 'f');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');
is(query('SELECT sum(n) FROM made.words'), '7', 'given to another owner as a whole it goes on by itself');
query('REASSIGN OWNED BY alice TO bob');
say_words('words', 'g');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');
is(query(q{SELECT sum(n), (SELECT owner FROM streamcount.rollups) FROM made.words}), '8|bob',
	'REASSIGN OWNED, too');

# ---------------------------------------------------------------------
# An ERROR ends the worker, and says what it likes
# ---------------------------------------------------------------------

query(q{
	CREATE FUNCTION made.moan() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'canary-moan ' || repeat(U&'\00E9', 200); END $$;
	CREATE TRIGGER moan BEFORE INSERT OR UPDATE ON made.words_data FOR EACH ROW EXECUTE FUNCTION made.moan()});
$kafka->produce_values('words', ['{"n": 5, "word": "moan"}']);
$node->wait_for_sql(q{SELECT reason FROM streamcount.stat_workers}, qr/canary-moan/);
foreach my $what ('streamcount.live_units()', 'streamcount.live_partitions()', map { "streamcount.$_" } @views)
{
	unlike(as('carol', "SELECT v FROM $what AS v"), qr/canary/, "nothing of a worker's last words is in $what for a mere reader");
}
$node->wait_for_sql(q{SELECT failures > 1 AND pid IS NULL FROM streamcount.stat_workers}, 't');
unlike(as('carol', q{SELECT streamcount.wait('made.words', '1s')}), qr/canary/, '... nor in what wait() says');
# A worker that tries again has nothing to say until it fails again.
foreach my $role (qw(mona bob))
{
	like($node->wait_for_sql("SET SESSION AUTHORIZATION $role; SELECT reason FROM streamcount.stat_workers", qr/./),
		qr/canary-moan/, "$role sees them");
}
is($node->wait_for_sql(q{SELECT octet_length(reason), right(reason, 1) = U&'\00E9' FROM streamcount.stat_workers}, qr/^\d/),
	'254|t', 'long words are cut behind a whole character');
query('DROP TRIGGER moan ON made.words_data');
$node->wait_for_rollup($kafka, 'words', name => 'made.words');

# ---------------------------------------------------------------------
# Secrets
# ---------------------------------------------------------------------

my $bootstrap = $kafka->bootstrap;

query(qq{
	CREATE SERVER secured FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" '$bootstrap',
		"security.protocol" 'sasl_plaintext', "sasl.mechanism" 'SCRAM-SHA-256');
	CREATE USER MAPPING FOR CURRENT_USER SERVER secured OPTIONS ("sasl.username" 'user', "sasl.password" 'canary-secret');
	CREATE FOREIGN TABLE secrets (word text, n integer) SERVER secured OPTIONS (topic 'words');
	SELECT streamcount.create_rollup('secret_words', 'SELECT word, count(*) AS n FROM secrets GROUP BY word')});
$node->wait_for_sql(q{SELECT state FROM streamcount.rollups WHERE rollup = 'secret_words'::regclass}, qr/^(connecting|stalled|down)$/);
$node->wait_for_sql(q{SELECT reason <> '' FROM streamcount.rollups WHERE rollup = 'secret_words'::regclass}, 't');
my $said = as($superuser, q{SET statement_timeout = '3s'; SELECT * FROM secrets});
$said .= as($superuser, q{ALTER USER MAPPING FOR CURRENT_USER SERVER secured OPTIONS (SET "sasl.password" 'canary-secret2', ADD "sasl.nonsense" 'canary-secret3')});
like($said, qr/^57014|^\w{5}: /, 'it fails to connect');
unlike($said, qr/canary/, 'an error message holds no password');
foreach my $view ((map { "streamcount.$_" } @views), 'pg_stat_activity', 'pg_settings', 'streamcount.rollup_catalog', 'streamcount.rollup_progress')
{
	unlike(query("SELECT v::text FROM $view AS v WHERE v::text NOT LIKE '%SELECT v::text%'"), qr/canary-secret/,
		"$view shows no password");
}
foreach my $role (qw(bob mona))
{
	unlike(as($role, 'SELECT v::text FROM pg_user_mappings AS v'), qr/canary/, "$role sees no password");
}
query('DROP FOREIGN TABLE secrets CASCADE');
is($node->log_count(qr/canary-secret/), 0, 'no password is in the log');

$node->stop('fast');
$kafka->stop;
done_testing();
