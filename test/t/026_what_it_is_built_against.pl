# What it is built against: a PostgreSQL whose headers are there, too.  On
# Debian PGXS comes with the client's package: a machine may have a server and
# PGXS, and not one header.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::RealBin/../..";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $pg_config = "$dir/pg_config";

# That of the server in use, but for where the headers are.
sub put_headers
{
	my ($headers) = @_;

	unlink $pg_config;
	append_to_file($pg_config, <<"END");
#!/bin/sh
[ "\$1" = --includedir-server ] && echo '$headers' || exec '$ENV{BUILD_PG_CONFIG}' "\$@"
END
	chmod 0755, $pg_config;
	return;
}

sub chosen
{
	local $ENV{PG_CONFIG} = $pg_config;
	return (run_command([ "$tree/test/bin/prerequisites", 'pg_config' ]))[0];
}

put_headers((run_command([ $ENV{BUILD_PG_CONFIG}, '--includedir-server' ]))[0]);
is(chosen(), $pg_config, 'a server with its headers is built against');

put_headers("$dir/nowhere");
is(chosen(), '', 'one without them is not');
command_fails_like([ 'make', '-s', '-C', $tree, "PG_CONFIG=$pg_config", 'all' ],
	qr/server's headers are not:/, '... and make says what is missing');

done_testing();
