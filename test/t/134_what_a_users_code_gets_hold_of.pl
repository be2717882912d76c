# What a user's own code gets hold of, which a worker runs, and a superuser who
# retries a user's rejects: nothing.  All of it is run as that user, in a
# security-restricted operation; and what only bears a name that somebody else's
# statement uses is not run at all.

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
my $node = StreamCount::Node->new('main');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
my $superuser = $node->superuser;

sub as { return $node->as_role(@_, dbname => 'hers') }

# Who looks from here is a superuser, and has to keep clear of the traps.
sub query
{
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog';

	return $node->safe_psql('hers', $_[0]);
}

sub becomes
{
	my ($sql, $expected) = @_;
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog';

	return $node->wait_for_sql($sql, $expected, dbname => 'hers');
}

sub say_words
{
	$mock->produce_values('bait', [ map { "{\"word\": \"$_\"}" } @_ ]);
	return;
}

# All that is hers, when a message is counted
my @hers = ('check', 'constant', 'default', 'domain', 'index', 'query', 'trigger t_after', 'trigger t_before', 'trigger t_statement');

# These traps were sprung since the log was emptied, by herself; and of all that
# each of them has tried there she could only set her own search_path.
sub is_confined
{
	my ($name, @sprung) = @_;

	is(query(q{SELECT string_agg(DISTINCT trap, ', ' ORDER BY trap) FROM mal.log}), join(', ', sort @sprung),
		"$name: all that is hers is run, and nothing that only bears a name");
	is(query('SELECT DISTINCT who, super FROM mal.log'), 'mallory|f', "$name: always as herself");
	is(query(q{SELECT DISTINCT trap, attempt, refused FROM mal.log WHERE attempt NOT LIKE '%search_path%'
		AND (refused ~ 'within security-(restricted operation|definer function)$') IS NOT TRUE}), '',
		"$name: with no way to become somebody else");
	is(query(q{SELECT trap FROM mal.log GROUP BY trap HAVING count(*) FILTER (WHERE attempt IS NULL)
		<> count(*) FILTER (WHERE refused = 'cannot create temporary table within security-restricted operation')}), '',
		"$name: in a security-restricted operation");
	return;
}

# ---------------------------------------------------------------------
# The traps
# ---------------------------------------------------------------------

$mock->create_topic('bait', 1);
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE hers OWNER mallory');
query(q{
	CREATE EXTENSION streamcount;
	GRANT EXECUTE ON FUNCTION streamcount.create_rollup(text, text, text, boolean) TO mallory;
	GRANT USAGE ON FOREIGN SERVER streamcount TO mallory});

# Everything that she can put in the way of a worker.  Each trap notes who
# sprang it, tries to become somebody else, and notes who it is then.
is(as('mallory', q{
	CREATE SCHEMA mal;
	CREATE TABLE mal.log (trap text, who text, super boolean, attempt text, refused text);
	CREATE TABLE mal.closed (word text);
	CREATE FUNCTION mal.note(trap text, attempt text, refused text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
	BEGIN
		INSERT INTO mal.log SELECT trap, r.rolname, r.rolsuper, attempt, refused FROM pg_catalog.pg_roles r
			WHERE r.rolname OPERATOR(pg_catalog.=) current_user;
	END $$;
	CREATE FUNCTION mal.spring(trap text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		superuser text := pg_catalog.pg_get_userbyid(10);
		attempt text;
		refused text;
	BEGIN
		PERFORM mal.note(trap, NULL, NULL);
		FOREACH attempt IN ARRAY ARRAY[
			'SET ROLE ' || quote_ident(superuser), 'SET SESSION AUTHORIZATION ' || quote_ident(superuser), 'RESET ROLE', 'RESET SESSION AUTHORIZATION',
			$a$SELECT pg_catalog.set_config('role', $a$ || quote_literal(superuser) || ', false)',
			$a$SELECT pg_catalog.set_config('session_authorization', $a$ || quote_literal(superuser) || ', false)',
			'CREATE TEMP TABLE pg_temp_trap (a integer)',
			$a$SELECT pg_catalog.set_config('search_path', 'mal', false)$a$,
			'SET SESSION search_path = mal, pg_catalog, public']
		LOOP
			refused := NULL;
			BEGIN
				EXECUTE attempt;
			EXCEPTION WHEN OTHERS THEN
				refused := SQLERRM;
			END;
			PERFORM mal.note(trap, attempt, refused);
			BEGIN
				EXECUTE 'CREATE ROLE pwned SUPERUSER';
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION mal.in_query(text) RETURNS text LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM mal.spring('query');
		IF EXISTS (SELECT FROM mal.closed c WHERE c.word OPERATOR(pg_catalog.=) $1) THEN
			RAISE EXCEPTION 'it is closed';
		END IF;
		RETURN $1;
	END $$;
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
	ALTER ROLE mallory SET search_path = mal, pg_catalog}), '', 'mallory sets her traps');
like(as('mallory', 'ALTER DATABASE hers SET session_replication_role = origin'),
	qr/^42501: permission denied to set parameter "session_replication_role"/, 'which triggers are run is not hers to say');
is($node->safe_psql('hers', 'SHOW search_path'), 'mal, pg_catalog', 'they lie in the way');
is(as('mallory', q{SELECT 'x'::text::mal.lure; SELECT trap FROM mal.log WHERE attempt IS NULL; TRUNCATE mal.log}), "(x)\ncast",
	'a cast of hers is one of them');
$node->safe_psql('hers', "SELECT * FROM streamcount.$_")
  foreach split /\n/, query(q{SELECT relname FROM pg_class WHERE relnamespace = 'streamcount'::regnamespace AND relkind = 'v'});
is(query('SELECT DISTINCT trap, who FROM mal.log'), '', 'of nobody who looks at the views');

# ---------------------------------------------------------------------
# A worker
# ---------------------------------------------------------------------

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
	SELECT streamcount.resume('mal.caught')}), "caught\n", 'she makes a rollup');
say_words(map { "w$_" } 1 .. 3);
becomes('SELECT sum(next_offset) FROM streamcount.progress', '3');
is_confined('a worker', @hers);
is(query('SELECT count(*) FROM mal.caught_data'), '3', 'and her rollup counts');

# What her query fails on by now, and is to be counted later
as('mallory', q{INSERT INTO mal.closed VALUES ('shut 1'), ('shut 2'), ('shut 3')});
say_words('shut 1', 'shut 2', 'shut 3');
becomes('SELECT count(*) FROM streamcount.rejects', '3');
as('mallory', 'TRUNCATE mal.closed, mal.log');

# ---------------------------------------------------------------------
# A superuser who retries her rejects
# ---------------------------------------------------------------------

# In a session that has her search_path, and must have nothing else of her when it
# is done
sub retried_by_superuser
{
	my ($word, $first) = @_;
	my $id = query("SELECT id FROM streamcount.rejects WHERE convert_from(payload, 'UTF8') LIKE '%$word%'");

	return as($superuser, qq{
		BEGIN;
		@{[ $first // '' ]};
		SELECT * FROM streamcount.retry_rejects('mal.caught', '{$id}');
		COMMIT;
		SELECT current_user, session_user;
		SHOW role;
		SHOW search_path});
}

my $unchanged = "1|0\n$superuser|$superuser\nnone\nmal, pg_catalog";

is(retried_by_superuser('shut 1'), $unchanged, 'a superuser retries a reject of hers, and is who it was');
is_confined('a superuser who retries', @hers);

# ---------------------------------------------------------------------
# What would be run at the commit, by whoever commits
# ---------------------------------------------------------------------

is(as('mallory', q{
	TRUNCATE mal.log;
	CREATE CONSTRAINT TRIGGER t_deferred AFTER INSERT OR UPDATE ON mal.caught_data
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mal.in_trigger()}), '', 'a deferred trigger');
say_words('later');
becomes('SELECT next_offset FROM streamcount.progress', '7');
is_confined('a deferred trigger in a worker', @hers, 'trigger t_deferred');
as('mallory', 'TRUNCATE mal.log');
is(retried_by_superuser('shut 2', 'SET CONSTRAINTS ALL DEFERRED'), $unchanged,
	'a superuser retries beside a deferred trigger, and has all of them deferred');
is_confined('a deferred trigger in a retry', @hers, 'trigger t_deferred');

# She puts it off once more, when nobody looks.
is(as('mallory', q{
	TRUNCATE mal.log;
	CREATE FUNCTION mal.put_off() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
	CREATE TRIGGER t_a_put_off BEFORE INSERT OR UPDATE ON mal.caught_data FOR EACH ROW EXECUTE FUNCTION mal.put_off()}), '',
	'a trigger that defers another one');
my $refused = 'cannot fire deferred trigger within security-restricted operation';
is(retried_by_superuser('shut 3'), "42501: $refused", '... fails the retry');
say_words('last');
becomes(q{SELECT concat_ws(': ', state, reason) FROM streamcount.rollups}, qr/^halted: 42501: $refused/);
is(query(q{SELECT trap, who FROM mal.log WHERE trap = 'trigger t_deferred' OR who <> 'mallory' OR super}), '',
	'... halts her rollup, and is run by nobody');
is(query('SELECT sum(n) FROM mal.caught_data'), '6', '... which has counted all before');
is(query(q{SELECT count(*) FROM pg_roles WHERE rolname = 'pwned'}), '0', 'nobody was made a superuser');

$node->stop('fast');
$mock->stop;
done_testing();
