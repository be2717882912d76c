# The library gives the server its functions, and nothing else: what other
# libraries call by the same name is not ours, nor the other way round.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libdir = `$ENV{PG_CONFIG} --pkglibdir`);
my ($symbols, $error) = run_command([ 'nm', '-D', '--defined-only', "$libdir/streamcount.so" ]);
plan skip_all => 'there is no nm here' if $symbols eq '' && $error =~ /No such file|not found/;

my @names = map { (split ' ')[-1] } split /\n/, $symbols;
my ($sql) = map { slurp_file($_) } glob "$FindBin::RealBin/../../sql/streamcount--1.0.sql";
my %called = map { $_ => 1 } $sql =~ /'MODULE_PATHNAME'(?:,\s*'(\w+)')/g;

cmp_ok(scalar keys %called, '>', 10, 'the script names functions of the library');
for my $name ('_PG_init', 'Pg_magic_func', sort keys %called)
{
	ok((grep { $_ eq $name } @names), "$name is there");
}
is(join(' ', grep { !/^(?:_PG_init|Pg_magic_func|pg_finfo_streamcount_\w+|streamcount_\w+)$/ } @names),
	'', 'nothing else is there to be called');

done_testing();
