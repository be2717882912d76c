# Each patch of test/mutants fits the code as it is now, and what it makes can
# be compiled: whether the tests see it is for `make mutants`, which takes long.

use strict;
use warnings;

use File::Basename qw(basename);
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no patch here' if system('patch --version >/dev/null 2>&1') != 0;

my $tree = "$FindBin::RealBin/../..";
my $copy = PostgreSQL::Test::Utils::tempdir();
system('cp', '-r', "$tree/src", "$tree/Makefile", "$tree/streamcount.control", $copy) == 0 or die 'could not copy the tree';
system("rm -f $copy/src/*.o");
chdir $copy or die "$copy: $!";
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};

my @patches = sort glob "$tree/test/mutants/*.patch";

cmp_ok(scalar @patches, '>=', 10, scalar(@patches) . ' mutants');
foreach my $file (@patches)
{
	my $name = basename($file);
	my $patch = slurp_file($file);
	my ($tests) = $patch =~ /^Seen by: (.+)$/m;
	my @sources = $patch =~ m{^\+\+\+ b/(\S+)\.c$}mg;
	my ($out, $error) = run_command([ qw(patch -p1 -s -F0 -i), $file ]);

	is($out . $error, '', "$name: it applies");
	($out, $error) = run_command([ 'make', '-s', "PG_CONFIG=$ENV{BUILD_PG_CONFIG}", map { "$_.o" } @sources ]);
	unlike($error, qr/\berror\b|\*\*\*/, '... and can be compiled') or diag $out;
	system('patch', qw(-p1 -s -R -i), $file) == 0 or die "$file cannot be taken back";
	unlink map { "$_.o" } @sources;
	is(join(' ', grep { !-e "$tree/$_" && !-e "$tree/test/sql/$_.sql" } split ' ', $tests // 'nothing'), '',
		"$name: the tests that have to see it are there");
}

done_testing();
