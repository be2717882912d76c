# The library gives the server its functions, and nothing else: what other
# libraries call by the same name is not ours, nor the other way round.  Nor
# does it give an intruder what could be written to: a stack that is executed,
# or addresses that the loader has filled in.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libdir = `$ENV{PG_CONFIG} --pkglibdir`);

# What a program says of the library; nothing where it is not installed
sub ask
{
	my ($said) = eval { run_command([ @_, "$libdir/streamcount.so" ]) };

	return $said;
}

my $symbols = ask('nm', '-D', '--defined-only') // plan skip_all => 'there is no nm here';
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

SKIP:
{
	my $segments = ask('readelf', '-lW') // skip 'there is no readelf here', 2;

	like($segments, qr/^\s+GNU_RELRO\s/m, 'what the loader fills in is read-only then');
	like($segments, qr/^\s+GNU_STACK\s.*\sRW\s/m, 'the stack is not executed');
}

done_testing();
