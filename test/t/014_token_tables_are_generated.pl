# The tokenizers' tables in the tree are what src/unicode/generate_tables.py
# writes from the Unicode version that they name.

use strict;
use warnings;

use FindBin;

use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$FindBin::RealBin/../../src";
my $unicode = '/usr/share/unicode';

plan skip_all => 'Unicode\'s data (package unicode-data) is not here'
  unless -f "$unicode/CaseFolding.txt" && -f "$unicode/UnicodeData.txt";
plan skip_all => 'python3 is not here' if system('python3 -c "" 2>/dev/null') != 0;

my ($ours) = slurp_file("$source/token_tables.h") =~ /from Unicode ([0-9.]+?)\.$/m;
my ($theirs) = slurp_file("$unicode/CaseFolding.txt") =~ /^# CaseFolding-([0-9.]+)\.txt/;

ok(defined $ours, 'the tables name their version of Unicode');
SKIP:
{
	skip "Unicode's data here is of version $theirs, the tables are of $ours", 1
	  if $ours ne $theirs;
	command_ok([ 'python3', "$source/unicode/generate_tables.py", '--check', $unicode ],
		'the tables are what the script writes');
}
done_testing();
