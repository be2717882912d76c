# What reads bytes takes any bytes: no read outside of them, no undefined
# behaviour, no ERROR that is not the bytes' own; and what is read without
# PostgreSQL's functions is what those read.
#
# This is a short run of the same targets as `make fuzz`: the same inputs each
# time, from the seeds that are in the tree.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::RealBin/../..";
my $runs = $ENV{STREAMCOUNT_FUZZ_RUNS} // 10_000;
my $dir = PostgreSQL::Test::Utils::tempdir;

chomp(my $clang = `$tree/test/bin/prerequisites clang`);
plan skip_all => 'a clang with libFuzzer is not here' if !$clang;
plan skip_all => 'python3 is not here' if system('python3 -c "" 2>/dev/null') != 0;

# A target's exit status and what it said
sub fuzz
{
	my ($target, @arguments) = @_;
	my $log = "$dir/$target.log";

	system('sh', '-c', 'exec "$@" >"$0" 2>&1 </dev/null', $log, "$tree/test/fuzz/one", $dir, $target,
		'-seed=1', "-artifact_prefix=$dir/$target-", @arguments);
	return ($?, slurp_file($log));
}

{
	# the server that this runs on has no headers beside it
	local $ENV{PG_CONFIG} = $ENV{BUILD_PG_CONFIG};
	ok(run_log([ "$tree/test/fuzz/build", $dir ]), 'the fuzz targets are built');
}
run_log([ "$tree/test/fuzz/seeds.py", "$dir/corpus" ]) or die 'no seeds';

my ($status, $said) = fuzz('overrun', '-runs=100');
ok($status != 0 && $said =~ /heap-buffer-overflow/, 'P40: a byte read behind a piece of memory is seen')
  or diag($said);

my @targets = split ' ', `$tree/test/fuzz/one $dir`;
is("@targets", 'decode_json decode_text option token window', 'P40: what is fuzzed');
for my $target (@targets)
{
	($status, $said) = fuzz($target, "-runs=$runs", '-timeout=60', '-max_len=4096',
		"-dict=$dir/corpus/$target.dict", "$dir/corpus/$target");
	my ($done) = $said =~ /^Done (\d+) runs/m;
	ok($status == 0 && ($done // 0) >= $runs, "P40: $target takes any bytes")
	  or diag(join "\n", grep { !/^(?:#\d+\s|INFO:)/ } split /\n/, $said);
}

done_testing();
