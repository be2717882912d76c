# test/bench/Server.pm
#		The PostgreSQL of `make bench`, and psql to talk to it.

package Server;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(run_or_die sql start_postgres start_sql stop_postgres);

my $dir;

sub run_or_die
{
	my (@command) = @_;
	system(@command) == 0 or die "could not run @command\n";
}

# A server as one would set it up for this work: everything is durable.
sub start_postgres
{
	($dir) = @_;

	run_or_die("initdb -D $dir/data -U postgres -A trust -E UTF8 --locale=C.UTF-8 >$dir/initdb.log");
	open my $conf, '>>', "$dir/data/postgresql.conf" or die "could not configure: $!\n";
	print $conf <<"CONF";
shared_preload_libraries = 'streamcount'
listen_addresses = ''
unix_socket_directories = '/tmp'
unix_socket_permissions = 0700
port = 54328
shared_buffers = '1GB'
max_wal_size = '8GB'
checkpoint_timeout = '30min'
CONF
	close $conf;
	$ENV{PGHOST} = '/tmp';
	$ENV{PGPORT} = 54328;
	$ENV{PGUSER} = $ENV{PGDATABASE} = 'postgres';
	run_or_die("pg_ctl -D $dir/data -l $dir/postgresql.log -w start >/dev/null");
	sql('CREATE EXTENSION streamcount');
}

sub stop_postgres
{
	my $status = $?;
	system("pg_ctl -D $dir/data -m immediate -w stop >/dev/null") if -f "$dir/data/postmaster.pid";
	$? = $status;
}

# Run a script and give its output back.
sub sql
{
	my ($script) = @_;
	my $psql = start_sql($script);

	my $output = join '', <$psql>;
	close $psql or die "could not run: $script\n";
	chomp $output;
	return $output;
}

sub start_sql
{
	my ($script) = @_;

	open my $psql, '-|', 'psql', '-X', '-q', '-A', '-t', '-F', ' ', '-v', 'ON_ERROR_STOP=1', '-c', $script
	  or die "could not run psql: $!\n";
	return $psql;
}

1;
