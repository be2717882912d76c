# CREATE EXTENSION runs as a superuser, and is for superusers alone.  The script
# says of everything where it is, and takes over nothing that was there before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $pgspot = ($ENV{STREAMCOUNT_TOOLS} // "$root/tmp_check/tools") . '/python/bin/pgspot';

SKIP:
{
	skip "there is no $pgspot", 1 unless -x $pgspot;
	foreach my $script (glob "$root/sql/streamcount--*.sql")
	{
		my $out = '';

		IPC::Run::run([ $pgspot, $script ], '>', \$out, '2>&1');
		like($out, qr/^\s*Errors: 0 Warnings: 0 Unknown: 0\s*$/, 'pgspot finds nothing in ' . $script =~ s{.*/}{}r);
	}
}

foreach my $script (glob "$root/sql/streamcount--*.sql")
{
	my @lines = grep { !/^\s*--/ } split /\n/, slurp_file($script);

	is(join("\n", grep { /\bOR REPLACE\b|\bIF NOT EXISTS\b|SECURITY DEFINER/i } @lines), '',
		'nothing is replaced, taken over or run as somebody else in ' . $script =~ s{.*/}{}r);
}

my $node = PostgreSQL::Test::Cluster->new('script');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
$node->safe_psql('postgres', q{CREATE ROLE mallory LOGIN; CREATE DATABASE hers OWNER mallory});
$node->safe_psql('hers', q{CREATE ROLE maker LOGIN CREATEDB CREATEROLE; GRANT ALL ON DATABASE hers TO maker; GRANT ALL ON SCHEMA public TO maker});
# initdb's superuser has the name of whoever runs this.
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');

sub as
{
	my ($role, $sql) = @_;
	my ($out, $err);
	my $status = $node->psql('hers', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-U', $role ]);

	return $status == 0 ? $out : $err;
}

# Who may run it
is(as($superuser, q{SELECT DISTINCT superuser, trusted FROM pg_available_extension_versions WHERE name = 'streamcount'}), 't|f',
	'it is for superusers, and trusted by nobody');
my %who = (mallory => "the database's owner", maker => 'who may create all else');
foreach my $role (sort keys %who)
{
	like(as($role, 'CREATE EXTENSION streamcount'), qr/ERROR:  permission denied to create extension "streamcount"/, "$who{$role} cannot install it");
}
is(as($superuser, q{SELECT count(*) FROM pg_extension e FULL JOIN pg_namespace n ON extname = nspname
	WHERE 'streamcount' IN (extname, nspname)}), '0', 'nothing of it is left of the attempts');

# A schema that is there before
is(as('mallory', 'CREATE SCHEMA streamcount'), '', 'mallory makes the schema');
like(as($superuser, 'CREATE EXTENSION streamcount'), qr/ERROR:  schema "streamcount" already exists/, 'it is not taken over');
like(as($superuser, 'CREATE EXTENSION streamcount SCHEMA public'), qr/ERROR:  extension "streamcount" must be installed in schema "pg_catalog"/,
	'nor any other');
is(as('mallory', 'DROP SCHEMA streamcount'), '', 'until it is gone');

# All that the script might be led to, in the first schema that it would look into
is(as('mallory', q{
	CREATE SCHEMA trap;
	ALTER DATABASE hers SET search_path = trap, pg_catalog;
	CREATE TABLE trap.sprung (by text, who text);
	GRANT ALL ON SCHEMA trap TO PUBLIC;
	GRANT ALL ON trap.sprung TO PUBLIC;
	CREATE FUNCTION trap.spring(text) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO trap.sprung VALUES ($1, current_user); RETURN true; END $$;
	DO $$
	DECLARE
		f record;
	BEGIN
		-- a function of the same name and arguments for each one of PostgreSQL's
		FOR f IN SELECT DISTINCT ON (p.proname, p.proargtypes) p.proname, pg_catalog.oidvectortypes(p.proargtypes) AS args,
				pg_catalog.format_type(p.prorettype, NULL) AS result
			FROM pg_catalog.pg_proc p
			WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
				AND pg_catalog.array_position(p.proargtypes::oid[], 'internal'::regtype) IS NULL
				AND p.prorettype NOT IN ('internal'::regtype, 'trigger'::regtype)
				AND (p.proname ~ '^(now|format|pg_|has_|array_|substring|current_setting|clock_|obj_|col_)' OR p.oid IN
					(SELECT oprcode FROM pg_catalog.pg_operator WHERE oprname IN ('=', '<>', '>', '>=', '-', '~', '<')))
		LOOP
			BEGIN
				EXECUTE format('CREATE FUNCTION trap.%I(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM trap.spring(%L); RETURN NULL; END $f$',
					f.proname, f.args, f.result, f.proname);
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		FOR f IN SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, p.proname
			FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
			WHERE o.oprname IN ('=', '<>', '>', '>=', '-', '~', '<') AND o.oprleft <> 0
		LOOP
			BEGIN
				EXECUTE format('CREATE OPERATOR trap.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = trap.%I)', f.oprname, f.l, f.r, f.proname);
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		FOREACH f.proname IN ARRAY ARRAY['text', 'regclass', 'interval', 'bytea', 'jsonb', 'timestamptz', 'int4', 'int8', 'oid', 'tid', 'bool'] LOOP
			EXECUTE format('CREATE DOMAIN trap.%I AS pg_catalog.%I CHECK (trap.spring(%L))', f.proname, f.proname, 'type ' || f.proname);
		END LOOP;
	END $$;
	CREATE VIEW trap.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE trap.spring('pg_class');
	CREATE VIEW trap.pg_foreign_table AS SELECT * FROM pg_catalog.pg_foreign_table WHERE trap.spring('pg_foreign_table')}), '',
	'mallory sets traps');
cmp_ok(as($superuser, q{SET search_path = pg_catalog; SELECT count(*) FROM pg_proc WHERE pronamespace = 'trap'::regnamespace}), '>', 200,
	'many of them');
is(as($superuser, 'CREATE EXTENSION streamcount'), '', 'a superuser installs the extension among them');
is(as($superuser, 'SET search_path = pg_catalog; SELECT * FROM trap.sprung WHERE who <> $$mallory$$'), '', 'and springs none');
is(as($superuser, q{SET search_path = pg_catalog;
	SELECT count(*) FROM pg_depend d JOIN pg_depend e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
	WHERE d.refobjid = 'trap'::regnamespace OR (d.refclassid = 'pg_proc'::regclass AND d.refobjid IN
		(SELECT oid FROM pg_proc WHERE pronamespace = 'trap'::regnamespace))
	OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM pg_type WHERE typnamespace = 'trap'::regnamespace))}), '0',
	'nor is anything of it made of hers');

# What is the extension's stays the extension's
is(as($superuser, q{SET search_path = pg_catalog; SELECT pg_get_userbyid(nspowner), has_schema_privilege('mallory', 'streamcount', 'CREATE')
	FROM pg_namespace WHERE nspname = 'streamcount'}), "$superuser|f", 'its schema is its own');
like(as('mallory', "SET search_path = pg_catalog; $_"), qr/ERROR:  (?:permission denied|must be owner)/, "mallory cannot $_")
  foreach 'CREATE TABLE streamcount.t ()', 'ALTER SCHEMA streamcount RENAME TO mine', 'DROP SCHEMA streamcount CASCADE', 'DROP EXTENSION streamcount',
  'ALTER EXTENSION streamcount UPDATE', 'ALTER EXTENSION streamcount ADD SCHEMA trap', 'CREATE FUNCTION streamcount.hashtags(varchar) RETURNS text LANGUAGE sql RETURN $1',
  'ALTER FUNCTION streamcount.hashtags(text) SET search_path = trap', 'ALTER FOREIGN DATA WRAPPER streamcount NO HANDLER', 'ALTER EVENT TRIGGER streamcount_check_streams DISABLE';
is(as($superuser, 'SET search_path = pg_catalog; DROP EXTENSION streamcount'), '', 'it goes');
is(as($superuser, q{SET search_path = pg_catalog; SELECT count(*) FROM pg_namespace WHERE nspname = 'streamcount'}), '0', 'with its schema');
is(as($superuser, 'CREATE EXTENSION streamcount'), '', 'and comes again');
$node->stop;
done_testing();
