# Who may do what: to make rollups, to steer them, to see them; and what a
# user's own code, which the worker runs, gets hold of: nothing.

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

# What a role gets: the output, or the error with its SQLSTATE
sub as
{
	my ($role, $sql, %args) = @_;
	my ($out, $err);
	my $status = $node->psql(
		$args{dbname} // 'postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-U', $role ]);

	return $out if $status == 0;
	return $err =~ /ERROR:  (.*)/ ? $1 : $err;
}

sub query
{
	my ($sql, $dbname) = @_;

	return $node->safe_psql($dbname // 'postgres', $sql);
}

sub say_words
{
	my ($topic, @words) = @_;

	$kafka->produce_values($topic, [ map { "{\"word\": \"$_\", \"n\": 1}" } @words ]);
	return;
}

sub halted_by
{
	my ($rollup, $reason, $dbname) = @_;

	$node->wait_for_sql("SELECT state || ' ' || reason FROM streamcount.rollups WHERE rollup = '$rollup'::regclass",
		qr/^halted $reason/, dbname => $dbname, timeout => 60);
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
# What a user's own code gets hold of
# ---------------------------------------------------------------------

$kafka->create_topic('bait', 1);
query(q{CREATE ROLE mallory LOGIN});
query(q{CREATE DATABASE hers OWNER mallory});
query(q{
	CREATE EXTENSION streamcount;
	GRANT EXECUTE ON FUNCTION streamcount.create_rollup(text, text, text, boolean) TO mallory;
	GRANT USAGE ON FOREIGN SERVER streamcount TO mallory}, 'hers');

# Everything that she can put in the way of a worker.  Each trap notes who
# sprang it, and tries to become somebody else.
is(as('mallory', q{
	CREATE SCHEMA mal;
	CREATE TABLE mal.log (trap text, who text, super boolean);
	CREATE FUNCTION mal.spring(trap text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		superuser text := pg_catalog.pg_get_userbyid(10);
		attempt text;
	BEGIN
		INSERT INTO mal.log SELECT trap, r.rolname, r.rolsuper FROM pg_catalog.pg_roles r
			WHERE r.rolname OPERATOR(pg_catalog.=) current_user;
		FOREACH attempt IN ARRAY ARRAY[
			'SET ROLE ' || quote_ident(superuser), 'SET SESSION AUTHORIZATION ' || quote_ident(superuser), 'RESET ROLE', 'RESET SESSION AUTHORIZATION',
			$a$SELECT pg_catalog.set_config('role', $a$ || quote_literal(superuser) || ', false)',
			$a$SELECT pg_catalog.set_config('session_authorization', $a$ || quote_literal(superuser) || ', false)',
			$a$SELECT pg_catalog.set_config('search_path', 'mal', false)$a$,
			'SET SESSION search_path = mal, pg_catalog',
			'CREATE TEMP TABLE pg_temp_trap (a integer)', 'SET CONSTRAINTS ALL DEFERRED']
		LOOP
			BEGIN
				EXECUTE attempt;
				INSERT INTO mal.log SELECT trap || ' after ' || attempt, r.rolname, r.rolsuper FROM pg_catalog.pg_roles r
					WHERE r.rolname OPERATOR(pg_catalog.=) current_user;
				EXECUTE 'CREATE ROLE pwned SUPERUSER';
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION mal.in_query(text) RETURNS text LANGUAGE plpgsql STABLE AS
		$$ BEGIN PERFORM mal.spring('query'); RETURN $1; END $$;
	CREATE FUNCTION mal.constant() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM mal.spring('constant'); RETURN 'x'; END $$;
	CREATE FUNCTION mal.in_domain(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM mal.spring('domain'); RETURN true; END $$;
	CREATE DOMAIN mal.checked AS text CHECK (mal.in_domain(VALUE));
	CREATE FUNCTION mal.in_default() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM mal.spring('default'); RETURN 'd'; END $$;
	CREATE FUNCTION mal.in_trigger() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('trigger ' || TG_NAME); RETURN NEW; END $$;
	CREATE FUNCTION mal.in_index(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM mal.spring('index'); RETURN $1; END $$;
	CREATE FUNCTION mal.in_check(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM mal.spring('check'); RETURN true; END $$;

	-- on the way of whoever does not say pg_catalog
	CREATE FUNCTION mal.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('oid ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION mal.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('text ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION mal.eq(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('integer ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION mal.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('bigint ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION mal.eq(regclass, oid) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('regclass ='); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION mal.ge(integer, integer) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('integer >='); RETURN $1 OPERATOR(pg_catalog.>=) $2; END $$;
	CREATE FUNCTION mal.plus(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('bigint +'); RETURN $1 OPERATOR(pg_catalog.+) $2; END $$;
	CREATE OPERATOR mal.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mal.eq);
	CREATE OPERATOR mal.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mal.eq);
	CREATE OPERATOR mal.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = mal.eq);
	CREATE OPERATOR mal.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = mal.eq);
	CREATE OPERATOR mal.= (LEFTARG = regclass, RIGHTARG = oid, FUNCTION = mal.eq);
	CREATE OPERATOR mal.>= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = mal.ge);
	CREATE OPERATOR mal.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = mal.plus);
	CREATE FUNCTION mal.now() RETURNS timestamptz LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('now()'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION mal.unnest(integer[]) RETURNS SETOF integer LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('unnest()'); RETURN QUERY SELECT pg_catalog.unnest($1); END $$;
	CREATE FUNCTION mal.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('format()'); RETURN ''; END $$;
	CREATE FUNCTION mal.max(bigint) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('max()'); RETURN 1; END $$;
	CREATE TYPE mal.lure AS (a text);
	CREATE FUNCTION mal.lured(text) RETURNS mal.lure LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('cast'); RETURN ROW($1); END $$;
	CREATE CAST (text AS mal.lure) WITH FUNCTION mal.lured(text) AS IMPLICIT;
	CREATE FUNCTION mal.lured(oid) RETURNS mal.lure LANGUAGE plpgsql AS
		$$ BEGIN PERFORM mal.spring('cast'); RETURN ROW('x'); END $$;
	CREATE CAST (oid AS mal.lure) WITH FUNCTION mal.lured(oid) AS IMPLICIT;
	-- which better fits some calls than what is in pg_catalog
	CREATE FUNCTION mal.length(mal.lure) RETURNS integer LANGUAGE sql RETURN 1;
	CREATE FUNCTION mal.eq(mal.lure, mal.lure) RETURNS boolean LANGUAGE sql RETURN true;
	CREATE OPERATOR mal.= (LEFTARG = mal.lure, RIGHTARG = mal.lure, FUNCTION = mal.eq);
	CREATE VIEW mal.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE mal.in_check(relname);
	CREATE TABLE mal.rollup_progress (LIKE mal.log);
	ALTER DATABASE hers SET search_path = mal, pg_catalog;
	ALTER ROLE mallory SET search_path = mal, pg_catalog;
	ALTER DATABASE hers SET session_replication_role = origin;}, dbname => 'hers') =~ s/^42501: permission denied to set parameter "session_replication_role"$//r,
	'', 'mallory sets her traps');
$node->psql('hers', 'ALTER DATABASE hers SET search_path = mal, pg_catalog', extra_params => [ '-U', 'mallory' ]);
$node->psql('hers', 'ALTER ROLE mallory SET search_path = mal, pg_catalog', extra_params => [ '-U', 'mallory' ]);
is(query('SHOW search_path', 'hers'), 'mal, pg_catalog', 'they lie in the way');
is(as('mallory', q{SELECT 'x'::text::mal.lure; SELECT trap FROM mal.log; TRUNCATE mal.log}, dbname => 'hers'), "(x)\ncast",
	'a cast of hers is one of them');
query("SELECT * FROM streamcount.$_", 'hers') foreach @views;
is(query('SELECT DISTINCT trap, who FROM mal.log', 'hers'), '', 'of nobody who looks at the views');
is(as('mallory', q{
	CREATE FOREIGN TABLE mal.bait (word mal.checked, n integer, other text DEFAULT mal.in_default())
		SERVER streamcount OPTIONS (topic 'bait');
	SELECT streamcount.create_rollup('mal.caught', $$
		SELECT mal.in_query(word) AS word, other, count(*) AS n FROM mal.bait
		WHERE word <> mal.constant() GROUP BY 1, 2 $$, paused => true);
	CREATE TRIGGER t_before BEFORE INSERT OR UPDATE ON mal.caught_data FOR EACH ROW EXECUTE FUNCTION mal.in_trigger();
	CREATE TRIGGER t_after AFTER INSERT OR UPDATE ON mal.caught_data FOR EACH ROW EXECUTE FUNCTION mal.in_trigger();
	CREATE TRIGGER t_statement AFTER INSERT ON mal.caught_data FOR EACH STATEMENT EXECUTE FUNCTION mal.in_trigger();
	CREATE INDEX ON mal.caught_data (mal.in_index(word));
	ALTER TABLE mal.caught_data ADD CHECK (mal.in_check(word));
	TRUNCATE mal.log;
	SELECT streamcount.resume('mal.caught')}, dbname => 'hers'), "caught\n", 'and makes a rollup');
$kafka->produce_values('bait', [ map { "{\"word\": \"w$_\"}" } 1 .. 3 ]);

# Who looks from here is a superuser, and has to keep clear of the traps.
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
$node->wait_for_sql('SELECT sum(next_offset) FROM streamcount.progress', '3', dbname => 'hers');
is(query(q{SELECT string_agg(DISTINCT trap, ', ' ORDER BY trap) FROM mal.log WHERE trap NOT LIKE '% after %'}, 'hers'),
	'check, constant, default, domain, index, query, trigger t_after, trigger t_before, trigger t_statement',
	'all that is hers is run, and nothing that only bears a name');
is(query(q{SELECT count(*) FROM mal.log WHERE trap LIKE 'cast%'}, 'hers'), '0', 'no cast of hers is made use of');
is(query(q{SELECT DISTINCT trap, who, super FROM mal.log WHERE who <> 'mallory' OR super}, 'hers'),
	'', 'always as herself');
is(query(q{SELECT DISTINCT split_part(trap, ' after ', 2) FROM mal.log
	WHERE trap LIKE '% after SET %ROLE%' OR trap LIKE '% after %AUTHORIZATION%' OR trap LIKE '%role%'
		OR trap LIKE '%authorization%' OR trap LIKE '%TEMP%'}, 'hers'), '',
	'with no way to become somebody else');
is(query(q{SELECT count(*) FROM mal.caught_data}, 'hers'), '3', 'and her rollup counts');

# What would be run at the commit, by whoever commits
delete $ENV{PGOPTIONS};
is(as('mallory', q{
	TRUNCATE mal.log;
	CREATE CONSTRAINT TRIGGER t_deferred AFTER INSERT OR UPDATE ON mal.caught_data
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mal.in_trigger()}, dbname => 'hers'), '',
	'a deferred trigger');
$ENV{PGOPTIONS} = '-c search_path=pg_catalog';
$kafka->produce_values('bait', ['{"word": "later"}']);
$node->wait_for_sql(q{SELECT count(*) > 0 FROM streamcount.progress
	WHERE state = 'halted' OR next_offset > 3}, 't', dbname => 'hers');
is(query(q{SELECT DISTINCT trap, who, super FROM mal.log WHERE who <> 'mallory' OR super}, 'hers'),
	'', 'is not run as somebody else');
is(query(q{SELECT count(*) FROM pg_roles WHERE rolname = 'pwned'}), '0', 'nobody was made a superuser');
query('DROP DATABASE hers');
delete $ENV{PGOPTIONS};

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
