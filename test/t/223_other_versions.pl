# The library comes with the server's start, the extension's SQL with CREATE
# or ALTER EXTENSION: where the one is missing, or both are not of one version,
# nothing is counted, and the reason is told; when they fit again, it goes on
# exactly.  So it does behind pg_upgrade, and a part of a dump is no rollup.
#
#	STREAMCOUNT_NEXT_PG_CONFIG	of a PostgreSQL of a later major version, with
#								streamcount, to upgrade to; else the same one

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use File::Basename qw(basename dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use PostgreSQL::Test::Utils;
use StreamCount::Load;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

# ---------------------------------------------------------------------
# An installation of our own, with other versions of the SQL
# ---------------------------------------------------------------------

sub ask_pg_config
{
	my ($what, $pg_config) = @_;
	my $path = qx{@{[ $pg_config // $ENV{PG_CONFIG} ]} $what};

	chomp $path;
	return $path;
}

# The part of the two paths that differs from where they differ
sub apart
{
	my @path = map { [ split m{/} ] } @_;

	while (@{ $path[0] } && @{ $path[1] } && $path[0][0] eq $path[1][0])
	{
		shift @$_ foreach @path;
	}
	return map { join '/', @$_ } @path;
}

sub link_all
{
	my ($from, $to, @but) = @_;

	make_path($to);
	foreach my $file (glob "$from/*")
	{
		my $name = basename($file);
		next if grep { $name eq $_ } @but;
		symlink $file, "$to/$name" or die "$to/$name: $!";
	}
	return;
}

# PostgreSQL finds its files relative to its programs, so those are copies and
# the rest are links.
sub installation
{
	my $to = PostgreSQL::Test::Utils::tempdir();
	my ($bin, $lib, $share) = map { ask_pg_config($_) } qw(--bindir --pkglibdir --sharedir);
	my ($new_bin, $new_share) = map { "$to/$_" } apart($bin, $share);
	my $new_lib = dirname($new_bin) . '/' . (apart($bin, $lib))[1];

	make_path($new_bin);
	foreach my $program (glob "$bin/*")
	{
		copy($program, $new_bin) or die "$program: $!";
		chmod 0755, "$new_bin/" . basename($program);
	}
	make_path(dirname($new_lib));
	symlink $lib, $new_lib or die "$new_lib: $!" unless -d $new_lib;
	link_all($share, $new_share, 'extension');
	link_all("$share/extension", "$new_share/extension");
	return (dirname($new_bin), "$new_share/extension");
}

my ($installed, $scripts) = installation();
my $change = q{ALTER TABLE streamcount.rollup_progress %s COLUMN note%s;
	SELECT pg_catalog.pg_sleep(0.3);
};
my $sql = slurp_file("$scripts/streamcount--1.0.sql");
append_to_file("$scripts/streamcount--0.9.sql", $sql);
append_to_file("$scripts/streamcount--0.9--1.0.sql", sprintf($change, 'ADD', ' text') . sprintf($change, 'DROP', ''));
append_to_file("$scripts/streamcount--1.0--1.1.sql", sprintf($change, 'ADD', ' text'));
append_to_file("$scripts/streamcount--1.1--1.0.sql", sprintf($change, 'DROP', ''));

my $mock = StreamCount::Mock->new->start;
$mock->create_topic('tweets', 2);

sub new_node
{
	my ($name, $path, @extra) = @_;
	my $node = StreamCount::Node->new($name, install_path => $path);

	$node->init(
		brokers => $mock->bootstrap,
		conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\n",
		extra => [ '--encoding=UTF8', '--locale=C.UTF-8', @extra ]);
	return $node;
}

my $node = new_node('versions', $installed);
my $load = StreamCount::Load->start($mock, 'tweets', rate => 100, partitions => 2, seed => 223);
my $position = q{SELECT coalesce(sum(next_offset), 0) FROM streamcount.progress};

sub query { return $node->safe_psql('postgres', $_[0]) }

sub goes_on
{
	my ($what) = @_;
	my $stood = query($position);

	$node->wait_for_sql("SELECT ($position) > $stood + 20", 't');
	is($node->differences($mock, 'tweets'), '', "$what: it goes on, and is exact");
	return;
}

sub stands_still
{
	my ($reason, $name) = @_;

	$node->wait_for_sql('SELECT state, reason, (SELECT count(*) FROM streamcount.problems) FROM streamcount.rollups',
		qr/^down\|.*$reason.*\|1$/);
	pass("$name: it is down, and the reason is told");
	my $stood = query($position);
	my @ends = $mock->ends('tweets');
	my $error;
	$node->psql('postgres', q{SELECT streamcount.wait('hashtags', '1 s')}, stderr => \$error);
	like($error, qr/it is down\nDETAIL:  .*$reason/, "$name: who waits is told, too");
	isnt("@ends", join(' ', $mock->ends('tweets')), "$name: messages come");
	is(query($position), $stood, "$name: and none is counted");
	is(query(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'streamcount worker'}), '0',
		"$name: there is no worker");
	return;
}

# ---------------------------------------------------------------------
# Not preloaded
# ---------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
query(q{CREATE EXTENSION streamcount VERSION '0.9'});
$node->create_tweets_stream(options => "reject_limit '0'");
sleep 0.1 until query('SELECT count(*) > 0 FROM tweets') eq 't';
pass('P35: not preloaded: a stream can be read');
my (undef, undef, $warning) = $node->psql('postgres', q{SELECT streamcount.create_rollup('hashtags', $$
	SELECT hashtag, w.interval, count(*) AS mentions
	FROM tweets, streamcount.hashtags(text) AS hashtag, streamcount.windows(created_at, '{day,ALL}') AS w
	GROUP BY hashtag, w.interval $$)});
like($warning, qr/WARNING:  .*not preloaded.*HINT:  Add streamcount to shared_preload_libraries/s,
	'P35: a rollup can be made, with a WARNING that says what is missing');
stands_still('not in shared_preload_libraries', 'P35');

# ---------------------------------------------------------------------
# The library is the newer one
# ---------------------------------------------------------------------

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'streamcount'\n");
$node->restart;
stands_still('ALTER EXTENSION streamcount UPDATE', 'P36: SQL of an older version');
my $log = $node->log_size;
sleep 2;
cmp_ok($node->log_count(qr/version/, $log), '<=', 1, 'P36: which is not logged again and again')
  or diag substr slurp_file($node->logfile, $log), 0, 2000;
query('BEGIN; ALTER EXTENSION streamcount UPDATE; ROLLBACK');
stands_still('ALTER EXTENSION streamcount UPDATE', 'P37: an update, rolled back');
query('ALTER EXTENSION streamcount UPDATE');
goes_on('P36, P37: updated');

# ---------------------------------------------------------------------
# Updates under load
# ---------------------------------------------------------------------

query(q{BEGIN; ALTER EXTENSION streamcount UPDATE TO '1.1'; SELECT pg_sleep(2); ROLLBACK});
goes_on('P37: an update under load, rolled back');
query(q{BEGIN; ALTER EXTENSION streamcount UPDATE TO '1.1'; ALTER EXTENSION streamcount UPDATE TO '1.0'; COMMIT});
goes_on('P37: an update under load, and back');
query(q{ALTER EXTENSION streamcount UPDATE TO '1.1'});
stands_still('restart the server with the library of version 1.1', 'P36: SQL of a newer version');
query(q{ALTER EXTENSION streamcount UPDATE TO '1.0'});
goes_on('P37: updated to the version of the library');

# ---------------------------------------------------------------------
# A part of a dump
# ---------------------------------------------------------------------

my $dump = PostgreSQL::Test::Utils::tempdir() . '/part.sql';
query('CREATE DATABASE part');
$node->safe_psql('part', 'CREATE EXTENSION streamcount');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, '-t', 'tweets', '-t', 'hashtags*' ],
	'P28: a dump of the rollup alone');
my $rows = q{SELECT md5(string_agg(h::text, ';' ORDER BY h::text COLLATE "C")) FROM hashtags h};
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('part'), '-f', $dump ], 'P28: restored');
my $restored = $node->safe_psql('part', $rows);
goes_on('P28: where it was dumped');
is($node->safe_psql('part', 'SELECT count(*) FROM streamcount.rollups'), '0',
	'P28: without its progress it is no rollup');
is($node->safe_psql('part', $rows), $restored, 'P28: nothing is counted into it');
query('DROP DATABASE part');

# The other way round: what it had counted is in rows that did not come.
query(q{SELECT streamcount.pause('hashtags')});
my $stood = query('SELECT array_agg(next_offset ORDER BY partition) FROM streamcount.progress');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, '--exclude-table-data=hashtags_data' ],
	'P28: a dump with progress, without the rows');
query(q{SELECT streamcount.resume('hashtags')});
query('CREATE DATABASE part');
command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('part'), '-f', $dump ], 'P28: restored, too');
is($node->safe_psql('part', q{SELECT (SELECT count(*) FROM hashtags), (SELECT array_agg(next_offset ORDER BY partition)
	FROM streamcount.progress), (SELECT state FROM streamcount.rollups)}), "0|$stood|paused", 'P28: it is a rollup, and stands where it stood');
$node->safe_psql('part', q{SELECT streamcount.resume('hashtags')});
$node->wait_for_sql("SELECT ($position) > (SELECT sum(n) FROM unnest('$stood'::bigint[]) n) + 20", 't', dbname => 'part');
is($node->differences($mock, 'tweets', dbname => 'part', from => $stood), '', 'P28: it counts what came since, exactly');
isnt($node->differences($mock, 'tweets', dbname => 'part'), '', 'P28: and is without the rest');
query('DROP DATABASE part');
goes_on('P28: where that was dumped');

# ---------------------------------------------------------------------
# pg_upgrade
# ---------------------------------------------------------------------

my $bin = "$installed/bin";
my $next_bin = $ENV{STREAMCOUNT_NEXT_PG_CONFIG} ? ask_pg_config('--bindir', $ENV{STREAMCOUNT_NEXT_PG_CONFIG}) : $bin;
my ($from, $to) = map { qx{$_/postgres --version} =~ /(\d+)/ } $bin, $next_bin;
# What pages have is decided by the old one; from 18 on the default is another one.
my $upgraded = new_node('upgraded', dirname($next_bin), $from < 18 && $to >= 18 ? '--no-data-checksums' : ());
goes_on('P29: before the upgrade');
$node->stop('fast');
my $old_dir = $ENV{PWD};
chdir PostgreSQL::Test::Utils::tempdir() or die $!;
my $chatty = '-c log_min_messages=debug1';
command_ok(
	[   "$next_bin/pg_upgrade", '--no-sync', '-b', $bin, '-B', $next_bin, '-d', $node->data_dir, '-D', $upgraded->data_dir,
		'-p', $node->port, '-P', $upgraded->port, '-s', $node->host, '--retain', '-o', $chatty, '-O', $chatty ],
	"P29: pg_upgrade, from $from to $to");
chdir $old_dir;
# Both servers log which libraries they load, and which processes they are asked for.
my @said = map { split /\n/, slurp_file($_) } glob $upgraded->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log';
my $starts = grep { /starting PostgreSQL/ } @said;
cmp_ok($starts, '>=', 2, 'P29: it runs the old server and the new one');
cmp_ok(scalar(grep { /loaded library "streamcount"/ } @said), '>=', $starts, 'P29: ... each with the library preloaded');
is(join("\n", grep { /streamcount (?:launcher|probe|worker)/ } @said), '', 'P29: ... and no process of its own in either');
$node = $upgraded;
$node->start;
goes_on('P29: behind pg_upgrade');
is(query('SELECT count(*) > 0, count(*) - count(DISTINCT id) FROM streamcount.rejects'), 't|0',
	'P29: each reject has an id of its own');

$load->stop;
$node->wait_for_rollup($mock, 'tweets');
is($node->differences($mock, 'tweets'), '', 'exact at the end');
is(query(q{SELECT count(*) FROM streamcount.progress p WHERE start_offset <> 0 OR next_offset <> counted + filtered + rejected
		OR rejected <> (SELECT count(*) FROM streamcount.rejects r WHERE r.partition = p.partition)}), '0',
	'P29: the books balance, from the first message on');
$node->stop('fast');
$mock->stop;
done_testing();
