# What others may set, own, take away or plant does not change what a rollup
# counts, nor who runs whose code.

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
my $node = StreamCount::Node->new('settings');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->start;
my $superuser = $node->superuser;

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# What a role gets: the output, or its error
sub as
{
	my ($role, $sql) = @_;
	my ($out, $err);
	my $status = $node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-U', $role ]);

	return $status == 0 ? $out : $err;
}

my %produced;

sub produce
{
	my ($topic, @values) = @_;

	$produced{$topic} += @values;
	$mock->produce_values($topic, \@values);
	return;
}

sub counted
{
	my ($rollup, $topic, $name) = @_;

	return $node->wait_for_sql("SELECT sum(next_offset) FROM streamcount.progress WHERE rollup = '$rollup'::regclass", $produced{$topic},
		timeout => 60);
}

sub halted_by
{
	my ($rollup, $reason, $name) = @_;

	like($node->wait_for_sql("SELECT state || ' ' || reason FROM streamcount.rollups WHERE rollup = '$rollup'::regclass",
		qr/^halted $reason/, timeout => 60), qr/^halted $reason/, $name);
	return;
}

sub restart_workers
{
	query('SELECT pg_terminate_backend(pid) FROM streamcount.stat_workers');
	return;
}

query(q{
	CREATE EXTENSION streamcount;
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	GRANT EXECUTE ON FUNCTION streamcount.create_rollup TO PUBLIC;
	GRANT CREATE ON SCHEMA public TO PUBLIC});
$mock->create_topic($_, 1) foreach qw(values words bait);

# ---------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------

query(q{
	CREATE FOREIGN TABLE things (t timestamptz OPTIONS (time_zone 'Europe/Berlin'), day date, f double precision, i interval,
		b bytea, j jsonb, s text, a text[]) SERVER streamcount OPTIONS (topic 'values', reject_limit '0');
	SET streamcount.way = 'tally';
	SELECT streamcount.create_rollup('fast', 'SELECT s, w.interval, count(*) AS n, sum(f) AS f, max(t) AS t, min(day) AS day
		FROM things, streamcount.windows(t, ''{hour,day,ALL}'', ''America/New_York'') AS w WHERE f > 0.5 GROUP BY 1, 2');
	SET streamcount.way = 'executor';
	SELECT streamcount.create_rollup('slow', 'SELECT s, i, b, a, j, t::text AS text, f::text AS number, day::text AS day, i::text AS length,
		b::text AS bytes, count(*) AS n, sum(f) AS f FROM things GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10')});

my $made = 0;
sub produce_things
{
	produce('values', map {
		my $n = $made++;
		sprintf '{"t": "2014-0%d-0%d 02:30:0%d", "day": "2014-02-0%d", "f": %s, "i": "%d days 3 hours", "b": "\\\\\\\\x0%d5c", "j": {"a": %d}, "s": "it\'s \\\\\\\\ %d", "a": "{a,NULL}"}',
		  1 + $n % 9, 1 + $n % 7, $n % 10, 1 + $n % 5, $n / 8, $n % 3, $n % 8, $n % 2, $n % 4 } 1 .. 40);
	return;
}

# A rollup is its query, in a session that nobody has set anything for.
sub is_its_query
{
	my ($name) = @_;

	foreach my $rollup (qw(fast slow))
	{
		counted($rollup, 'values');
		my $settings = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'";
		is(query("$settings; (TABLE $rollup EXCEPT ALL TABLE ${rollup}_query) UNION ALL (TABLE ${rollup}_query EXCEPT ALL TABLE $rollup)"), '',
			"P7: $name: $rollup is its query");
		is(query("SELECT sum(rejected), sum(counted) > 0 FROM streamcount.progress WHERE rollup = '$rollup'::regclass"), '0|t',
			"P7: $name: $rollup counts everything");
	}
	return;
}

my $version = query('SHOW server_version_num');
my %setting = (
	statement_timeout => '1ms', lock_timeout => '1ms', idle_in_transaction_session_timeout => '1ms', idle_session_timeout => '1ms',
	default_transaction_isolation => 'serializable', default_transaction_read_only => 'on', default_transaction_deferrable => 'on',
	search_path => 'evil, pg_catalog', row_security => 'off', session_replication_role => 'replica', check_function_bodies => 'off',
	standard_conforming_strings => 'off', escape_string_warning => 'on', backslash_quote => 'off', transform_null_equals => 'on',
	array_nulls => 'off', bytea_output => 'escape', extra_float_digits => '-15', quote_all_identifiers => 'on',
	DateStyle => 'German, DMY', IntervalStyle => 'sql_standard', TimeZone => 'Asia/Tokyo', timezone_abbreviations => 'Australia',
	xmloption => 'document', xmlbinary => 'hex', client_encoding => 'LATIN1', lc_messages => 'C', lc_numeric => 'C', lc_time => 'C',
	default_tablespace => '', default_toast_compression => 'pglz', temp_buffers => '100', work_mem => '64kB', maintenance_work_mem => '1MB',
	hash_mem_multiplier => '1', enable_hashagg => 'off', enable_sort => 'off', enable_seqscan => 'off', enable_nestloop => 'off',
	enable_hashjoin => 'off', enable_indexscan => 'off', enable_bitmapscan => 'off', enable_material => 'off', jit => 'on', jit_above_cost => '0',
	plan_cache_mode => 'force_generic_plan', from_collapse_limit => '1', join_collapse_limit => '1', geqo_threshold => '2',
	constraint_exclusion => 'on', cursor_tuple_fraction => '0', synchronous_commit => 'off', password_encryption => 'md5',
	client_min_messages => 'error', log_min_messages => 'fatal', application_name => 'x', track_activities => 'off', track_counts => 'off',
	max_parallel_workers_per_gather => '4', min_parallel_table_scan_size => '0', parallel_setup_cost => '0', parallel_tuple_cost => '0',
	vacuum_freeze_min_age => '0', gin_fuzzy_search_limit => '1', deadlock_timeout => '1ms', commit_delay => '1000', zero_damaged_pages => 'on',
	ignore_checksum_failure => 'on', exit_on_error => 'on', role => 'bob', 'streamcount.way' => 'tally',
	($version >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode') => 'on',
	$version >= 170000 ? (transaction_timeout => '1ms') : ());

query(q{
	CREATE SCHEMA evil;
	CREATE FUNCTION evil.count() RETURNS bigint LANGUAGE sql RETURN 0;
	CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql RETURN false;
	CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
	GRANT USAGE ON SCHEMA evil TO PUBLIC});
produce_things();
is_its_query('to begin with');

# The tests' own sessions keep clear of them, as a client may.
sub undisturbed
{
	my ($code) = @_;

	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } qw(statement_timeout=0 lock_timeout=0 idle_session_timeout=0
		idle_in_transaction_session_timeout=0 search_path=pg_catalog role=none default_transaction_read_only=off
		client_min_messages=notice application_name=test exit_on_error=off
		bytea_output=hex), 'default_transaction_isolation=read\ committed', $version >= 170000 ? 'transaction_timeout=0' : ();
	return $code->();
}

sub assigned
{
	my ($name) = @_;

	return $name eq 'search_path' || $name eq 'DateStyle' ? $setting{$name} : "'$setting{$name}'";
}

foreach my $target ('DATABASE postgres', qq(ROLE "$superuser"), qq(ROLE "$superuser" IN DATABASE postgres), 'ROLE ALL')
{
	undisturbed(sub {
		is($node->safe_psql('template1', join '', map { "ALTER $target SET $_ = @{[ assigned($_) ]};\n" } sort keys %setting), '',
			"P7: ALTER $target: all are set");
		restart_workers();
		produce_things();
		$node->wait_for_sql('SELECT min(next_offset) FROM streamcount.progress', $produced{values}, timeout => 60);
		$node->safe_psql('template1', "ALTER $target RESET ALL") });
	is_its_query("ALTER $target");
}

# And all that may stand in postgresql.conf
delete @setting{qw(role session_replication_role exit_on_error log_min_messages)};
my $conf = $node->data_dir . '/postgresql.conf';
my $before = slurp_file($conf);
$node->append_conf('postgresql.conf', join '', map { "$_ = '$setting{$_}'\n" } sort keys %setting);
undisturbed(sub {
	$node->restart;
	produce_things();
	$node->wait_for_sql('SELECT min(next_offset) FROM streamcount.progress', $produced{values}, timeout => 60) });
open my $out, '>', $conf or die $!;
print $out $before;
close $out or die $!;
$node->restart;
is_its_query('postgresql.conf');
query('DROP FOREIGN TABLE things CASCADE; DROP VIEW fast, slow');

# ---------------------------------------------------------------------
# Owners
# ---------------------------------------------------------------------

query(q{
	CREATE FOREIGN TABLE words (word text) SERVER streamcount OPTIONS (topic 'words');
	CREATE TABLE known (word text, kind text);
	INSERT INTO known VALUES ('a', 'vowel'), ('b', 'consonant');
	GRANT SELECT ON words, known TO alice});
like(as('alice', q{
	CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN current_user; END $$;
	SELECT streamcount.create_rollup('kinds', 'SELECT kind, who() AS who, count(*) AS n FROM words JOIN known USING (word) GROUP BY 1, 2')}),
	qr/kinds/, 'a rollup of alice');
produce('words', '{"word": "a"}');
counted('kinds', 'words');
is(query('SELECT * FROM kinds'), 'vowel|alice|1', 'runs as alice');

query('REVOKE SELECT ON known FROM alice');
produce('words', '{"word": "b"}');
halted_by('kinds', '42501: permission denied for table known', 'P17: a privilege on another table is lost: halted');
is(query('SELECT * FROM kinds'), 'vowel|alice|1', 'P17: nothing is counted by anybody else');
query(q{GRANT SELECT ON known TO alice; SELECT streamcount.resume('kinds')});
counted('kinds', 'words');
is(query('SELECT * FROM kinds ORDER BY 1'), "consonant|alice|1\nvowel|alice|1", 'P17: and goes on exactly after GRANT');

query('REVOKE INSERT, UPDATE ON kinds_data FROM alice');
produce('words', '{"word": "a"}');
halted_by('kinds', '42501: permission denied for table kinds_data', 'P17: its own rights on its own table');
query(q{GRANT INSERT, UPDATE ON kinds_data TO alice; SELECT streamcount.resume('kinds')});
counted('kinds', 'words');

like(as($superuser, 'DROP ROLE alice'), qr/ERROR:  role "alice" cannot be dropped because some objects depend on it/, 'P17: DROP ROLE');
query('REASSIGN OWNED BY alice TO bob');
produce('words', '{"word": "b"}');
halted_by('kinds', '42501: permission denied for', 'P17: REASSIGN OWNED to one who may not read: halted');
query(q{GRANT SELECT ON words, known TO bob; SELECT streamcount.resume('kinds')});
counted('kinds', 'words');
is(query('SELECT * FROM kinds ORDER BY 1, 2'), "consonant|alice|1\nconsonant|bob|1\nvowel|alice|2", 'P17: the new owner counts as himself');
query('ALTER ROLE bob NOLOGIN');
produce('words', '{"word": "a"}');
counted('kinds', 'words');
pass('P17: an owner need not be able to log in');
query('DROP OWNED BY bob');
is(query(q{SELECT (SELECT count(*) FROM streamcount.rollups), to_regclass('kinds_data'), (SELECT count(*) FROM streamcount.rollup_progress)}),
	'0||0', 'P17: DROP OWNED takes the rollup with all that is its own');
query('DROP OWNED BY alice; DROP ROLE alice; DROP ROLE bob');
$node->wait_for_sql('SELECT count(*) FROM streamcount.stat_workers', '0');

# ---------------------------------------------------------------------
# Policies
# ---------------------------------------------------------------------

query(q{CREATE ROLE carol LOGIN; GRANT SELECT ON words, known TO carol});
my $counts = 'SELECT word, count(*) AS n FROM words GROUP BY word';
as('carol', "SELECT streamcount.create_rollup('plain', '$counts')");
counted('plain', 'words');
query(q{ALTER TABLE plain_data ENABLE ROW LEVEL SECURITY; CREATE POLICY a_only ON plain_data USING (word = 'a')});
produce('words', '{"word": "b"}');
counted('plain', 'words');
is(query('TABLE plain EXCEPT ' . $counts), '', 'policies do not bind the owner');
query('ALTER TABLE plain_data FORCE ROW LEVEL SECURITY');
produce('words', '{"word": "b"}');
halted_by('plain', '42501: query would be affected by row-level security policy', 'a policy that would hide rows halts');
query(q{ALTER TABLE plain_data NO FORCE ROW LEVEL SECURITY; SELECT streamcount.resume('plain')});
counted('plain', 'words');
is(query("(TABLE plain EXCEPT $counts) UNION ALL ($counts EXCEPT TABLE plain)"), '', 'and without it goes on exactly');

# ---------------------------------------------------------------------
# Signals
# ---------------------------------------------------------------------

# They are superusers' processes, which pg_signal_backend does not reach: not
# those of background workers either since PostgreSQL 15.5 and 16.1.
query('CREATE ROLE signaller LOGIN IN ROLE pg_signal_backend');
my %refusal = $version >= 160000
  ? (pg_cancel_backend => 'permission denied to cancel query', pg_terminate_backend => 'permission denied to terminate process')
  : (pg_cancel_backend => 'must be a superuser to cancel superuser query',
	pg_terminate_backend => 'must be a superuser to terminate superuser process');
my $refuses = $version >= 150005 && $version != 160000;
foreach my $function (sort keys %refusal)
{
	my $who = q{SELECT string_agg(pid::text, ' ' ORDER BY backend_type) FROM pg_stat_activity
		WHERE backend_type IN ('streamcount launcher', 'streamcount worker')};
	my $before = query($who);

	foreach my $kind ('worker', 'launcher')
	{
		my ($pid) = $node->pids_of($kind);

		like(as('signaller', "SELECT $function($pid)"), $refuses ? qr/ERROR:  \Q$refusal{$function}\E$/m : qr/^t$/,
			"pg_signal_backend on the $kind: $function" . ($refuses ? ' is refused' : ''));
	}
	produce('words', '{"word": "c"}');
	counted('plain', 'words');
	is(query("(TABLE plain EXCEPT $counts) UNION ALL ($counts EXCEPT TABLE plain)"), '', "after $function counting goes on exactly");
	is(query($who), $before, "after $function the processes are the same") if $refuses;
}

# ---------------------------------------------------------------------
# Who reads somebody else's stream
# ---------------------------------------------------------------------

query(q{CREATE ROLE mallory LOGIN; GRANT USAGE ON FOREIGN SERVER streamcount TO mallory});
is(as('mallory', q{
	CREATE TABLE sprung (trap text, who text);
	GRANT INSERT ON sprung TO PUBLIC;
	CREATE FUNCTION spring(trap text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.sprung VALUES (trap, current_user);
		BEGIN
			EXECUTE 'CREATE ROLE pwned SUPERUSER';
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
		BEGIN
			EXECUTE 'RESET ROLE';
			EXECUTE 'CREATE ROLE pwned SUPERUSER';
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
		RETURN true;
	END $$;
	CREATE DOMAIN checked AS text CHECK (spring('domain'));
	CREATE FUNCTION standard() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.spring('default'); RETURN 'x'; END $$;
	CREATE FOREIGN TABLE bait (word checked, other text DEFAULT standard()) SERVER streamcount OPTIONS (topic 'bait')}), '', 'mallory sets traps');
produce('bait', '{"word": "w"}', '{"word": "x"}');
query('TRUNCATE sprung');
is(query('SELECT count(*), min(word), min(other) FROM bait'), '2|w|x', 'a superuser reads her stream');
query('EXPLAIN SELECT * FROM bait; SELECT * FROM streamcount.rollups');
is(query(q{SELECT streamcount.create_rollup('caught', 'SELECT word, other, count(*) AS n FROM bait GROUP BY 1, 2')}), 'caught', 'and makes a rollup of it');
counted('caught', 'bait');
is(query('SELECT DISTINCT trap, who FROM sprung ORDER BY 1'), "default|mallory\ndomain|mallory", 'her code is run, as herself');
is(query(q{SELECT count(*) FROM pg_roles WHERE rolname = 'pwned'}), '0', 'and gets hold of nothing');

# Nor does the reader's search_path reach what its owner's domains and defaults call.
query('CREATE ROLE olga LOGIN; GRANT USAGE ON FOREIGN SERVER streamcount TO olga');
is(as('olga', q{
	CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION is_ok(text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RETURN fits($1);
	EXCEPTION WHEN undefined_function THEN
		RETURN true;
	END $$;
	CREATE FUNCTION some_word() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		PERFORM is_ok('x');
		RETURN 'x';
	EXCEPTION WHEN undefined_function THEN
		RETURN 'x';
	END $$;
	CREATE DOMAIN proper AS text CHECK (public.is_ok(VALUE));
	CREATE FOREIGN TABLE decent (word proper, other text DEFAULT some_word()) SERVER streamcount OPTIONS (topic 'bait');
	GRANT SELECT ON decent TO mallory;
	SELECT streamcount.create_rollup('seen', 'SELECT word, other, count(*) AS n FROM decent GROUP BY 1, 2');
	GRANT SELECT ON seen TO mallory}), 'seen', 'a stream whose domain and default call what they do not qualify');
query('CREATE SCHEMA mal AUTHORIZATION mallory; GRANT USAGE ON SCHEMA mal TO PUBLIC; TRUNCATE sprung');
is(as('mallory', q{
	CREATE FUNCTION mal.fits(text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.spring('fits') $$;
	CREATE FUNCTION mal.is_ok(text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.spring('is_ok') $$;
	SET search_path = mal, public;
	SELECT count(*), min(word), min(other) FROM decent;
	SELECT way FROM streamcount.rollups WHERE rollup = 'seen'::regclass}), "2|w|x\nexecutor", 'mallory reads it, with functions of that name in the path');
is(query(q{SELECT count(*) FROM sprung WHERE who = 'olga'}), '0', 'none of which is run as its owner');

$node->stop('fast');
$mock->stop;
done_testing();
