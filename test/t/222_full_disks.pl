# A disk is full: a rollup whose rows find no room waits and says so, others go
# on; a server that has no room for its WAL goes down as any does.  When there
# is room again, all is exact.

use strict;
use warnings;

# Small disks are mounted in a namespace of our own, where no root is needed,
# and which takes them along when it goes.
BEGIN
{
	if (!$ENV{STREAMCOUNT_OWN_MOUNTS})
	{
		my @unshare = qw(unshare --user --map-current-user --keep-caps --mount);

		if (system("@unshare mount -t tmpfs tmpfs /tmp >/dev/null 2>&1") != 0)
		{
			print "1..0 # SKIP P18, P19: no namespace to mount a small disk in (unshare --user --mount)\n";
			exit 0;
		}
		$ENV{STREAMCOUNT_OWN_MOUNTS} = 1;
		exec @unshare, $^X, '-Msigtrap=die,normal-signals', $0 or die "could not run $0 again: $!";
	}
}

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Load;
use StreamCount::Mock;
use StreamCount::Node;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => StreamCount::Mock::missing() if StreamCount::Mock::missing();

my @mounted;

sub small_disk
{
	my ($size) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();

	system('mount', '-t', 'tmpfs', '-o', "size=$size,mode=700", 'tmpfs', $dir) == 0 or die 'could not mount';
	push @mounted, $dir;
	return $dir;
}

# Before the directories are removed; a server may still hold on to them.
END
{
	my $status = $?;

	system('umount', '-l', $_) foreach @mounted;
	$? = $status;
}

# Fill a disk but for some bytes.
sub fill
{
	my ($disk, $left) = @_;
	my ($free) = `df --output=avail -B1 '$disk'` =~ /(\d+)/;

	system('dd', 'if=/dev/zero', "of=$disk/ballast", 'bs=4096', 'count=' . int(($free - $left) / 4096), 'status=none') == 0
	  or die "could not fill $disk";
	return;
}

sub empty
{
	my ($disk) = @_;

	unlink "$disk/ballast" or die $!;
	return;
}

my $data = small_disk('16m');
my $wal = small_disk('48m');
my $mock = StreamCount::Mock->new->start;
$mock->create_topic('tweets', 2);
my $node = StreamCount::Node->new('full');
$node->init(
	brokers => $mock->bootstrap,
	conf => "fsync = off\nlog_statement = none\nautovacuum = off\nlog_checkpoints = off\n"
	  . "max_wal_size = 8MB\nmin_wal_size = 2MB\nwal_recycle = off\nrestart_after_crash = on\n",
	extra => [ '--encoding=UTF8', '--locale=C.UTF-8', '--wal-segsize=1', "--waldir=$wal/pg_wal" ]);
$node->start;

my @rollups = qw(crowded others);
mkdir "$data/tablespace" or die $!;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$data/tablespace'");
$node->create_tweets_stream;
$node->create_hashtags_rollup(name => $_) foreach @rollups;
$node->safe_psql('postgres', q{
	ALTER TABLE crowded_data SET TABLESPACE small;
	ALTER INDEX crowded_data_hashtag_interval_key SET TABLESPACE small});

my $tags = 0;
sub produce
{
	my ($n) = @_;

	$mock->produce_values('tweets', [ map { $tags++;
			qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$tags"}) } 1 .. $n ], 2);
	return;
}

sub is_exact
{
	my ($name) = @_;

	foreach my $rollup (@rollups)
	{
		$node->wait_for_rollup($mock, 'tweets', name => $rollup);
		is($node->differences($mock, 'tweets', name => $rollup), '', "$name: $rollup is exact");
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM streamcount.left_out'), '0', "$name: nothing is left out");
	$node->wait_for_sql('SELECT count(*) FROM streamcount.problems', '0');
	return;
}

produce(100);
is_exact('before');

# ---------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------

my $position = q{SELECT sum(next_offset) FROM streamcount.progress WHERE rollup = 'crowded'::regclass};
my $stood = $node->safe_psql('postgres', $position);
fill($data, 0);
my $log = $node->log_size;
produce(3000);
$node->wait_for_sql(q{SELECT state, reason ~ 'No space left on device' FROM streamcount.problems
	WHERE rollup = 'crowded'::regclass}, 'down|t');
pass('P18: a rollup whose disk is full is down, with the reason');
$node->wait_for_rollup($mock, 'tweets', name => 'others');
is($node->differences($mock, 'tweets', name => 'others'), '', 'P18: another one goes on');
is($node->safe_psql('postgres', $position), $stood, 'P18: nothing of the one is counted');

# Each try is put off for longer than the one before, and the first alone is told.
$node->wait_for_sql(q{SELECT max(failures) >= 5 FROM streamcount.stat_workers}, 't');
cmp_ok($node->log_entries($log), '<=', 3, 'P18: few entries in the log')
  or diag substr slurp_file($node->logfile, $log), 0, 3000;
empty($data);
is_exact('P18: there is room again');

# ---------------------------------------------------------------------
# WAL
# ---------------------------------------------------------------------

my $load = StreamCount::Load->start($mock, 'tweets', rate => 100, partitions => 2, seed => 222);
$stood = $node->safe_psql('postgres', $position);
$node->wait_for_sql("SELECT ($position) > $stood + 50", 't');
$log = $node->log_size;
fill($wal, 1024 * 1024);
$node->psql('postgres', 'CREATE TABLE junk AS SELECT * FROM generate_series(1, 1000000)', stderr => \my $error);
$node->wait_for_log(qr/PANIC:  could not write to file "pg_wal.*No space left on device/, $log);
pass('P19: a server without room for its WAL goes down');
$node->stop('immediate', fail_ok => 1);
empty($wal);
$node->start;
$node->wait_for_sql("SELECT ($position) > $stood + 200", 't');
$load->stop;
foreach my $rollup (@rollups)
{
	$node->wait_for_rollup($mock, 'tweets', name => $rollup);
	is($node->differences($mock, 'tweets', name => $rollup), '', "P19: there is room again: $rollup is exact");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM streamcount.left_out WHERE sqlstate !~ '^22'}), '0',
	'P19: nothing is rejected but what is bad');

$node->stop('fast');
$mock->stop;
done_testing();
