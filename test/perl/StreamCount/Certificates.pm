=pod

=head1 NAME

StreamCount::Certificates - a certificate authority, for tests

=head1 SYNOPSIS

  my $ca = StreamCount::Certificates->new("$tmp/ca");
  $ca->issue('broker', hosts => 'IP:127.0.0.1');
  $ca->issue('old', expired => 1);
  $ca->issue('client', password => 'secret');
  $ca->file('broker.pem');    # the certificate; broker.key, broker.both

=head1 DESCRIPTION

By openssl alone.  Keys are elliptic curves', which take no time to make.

=cut

package StreamCount::Certificates;

use strict;
use warnings;

use Carp;
use File::Path qw(make_path);

# A reason why there can be no certificates here, or undef.
sub missing
{
	return 'openssl is not installed' unless grep { -x "$_/openssl" } split /:/, $ENV{PATH};
	return;
}

# An authority whose files lie in this directory, its own certificate in ca.pem
sub new
{
	my ($class, $dir, $name) = @_;
	my $self = bless { dir => $dir, serial => 1 }, $class;

	make_path("$dir/issued");
	$self->write_file('index.txt', '');
	$self->write_file('serial', "01\n");
	$self->write_file('config', <<"CONFIG");
[ca]
default_ca = authority
[authority]
dir = $dir
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir/issued
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
x509_extensions = authority_extensions
prompt = no
[name]
commonName = @{[ $name // 'The tests own authority' ]}
[authority_extensions]
basicConstraints = critical, CA:true
CONFIG
	$self->openssl('req', '-config', $self->file('config'), '-x509', new_key(),
		'-nodes', '-days', 3650, '-keyout', $self->file('ca.key'), '-out', $self->file('ca.pem'));
	return $self;
}

sub new_key
{
	return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1');
}

sub file
{
	my ($self, $name) = @_;

	return "$self->{dir}/$name";
}

sub read_file
{
	my ($self, $name) = @_;

	open my $in, '<', $self->file($name) or croak "$name: $!";
	local $/;
	return scalar <$in>;
}

sub write_file
{
	my ($self, $name, $text) = @_;

	open my $out, '>', $self->file($name) or croak "$name: $!";
	print $out $text;
	close $out or croak $!;
	return;
}

sub openssl
{
	my ($self, @args) = @_;
	my $log = $self->file('openssl.log');

	open my $err, '>&', \*STDERR or croak $!;
	open STDERR, '>>', $log or croak "$log: $!";
	my $status = system 'openssl', @args;
	open STDERR, '>&', $err or croak $!;
	croak "openssl @args: see $log" if $status != 0;
	return;
}

# Make NAME.key, NAME.pem, and NAME.both with one after the other.
#	hosts => 'IP:127.0.0.1,DNS:localhost'	what a client will look for
#	expired => 1							it was good once
#	early => 1								it will be good
#	alone => 1								no authority has signed it
#	password => '...'						of NAME.key
sub issue
{
	my ($self, $name, %args) = @_;
	my @until = $args{expired} ? ('-startdate', '20200101000000Z', '-enddate', '20210101000000Z') :
	  $args{early} ? ('-startdate', '20900101000000Z', '-enddate', '20910101000000Z') :
	  ('-days', 3650);
	my @signed = $args{alone} ? ('-selfsign', '-keyfile', $self->file("$name.key")) : ();

	$self->write_file("$name.extensions",
		"basicConstraints = CA:false\n" . ($args{hosts} ? "subjectAltName = $args{hosts}\n" : ''));
	$self->openssl('req', '-config', $self->file('config'), new_key(), '-nodes', '-subj', "/CN=$name",
		'-keyout', $self->file("$name.key"), '-out', $self->file("$name.csr"));
	$self->openssl('ca', '-config', $self->file('config'), '-batch', '-notext', @until, @signed,
		'-extfile', $self->file("$name.extensions"),
		'-in', $self->file("$name.csr"), '-out', $self->file("$name.pem"));
	$self->write_file("$name.both", $self->read_file("$name.key") . $self->read_file("$name.pem"));
	$self->openssl('pkey', '-aes256', '-passout', "pass:$args{password}",
		'-in', $self->file("$name.both"), '-out', $self->file("$name.key"))
	  if defined $args{password};
	return;
}

# Withdraw NAME.pem; crl.pem is the list of what was.
sub revoke
{
	my ($self, $name) = @_;

	$self->openssl('ca', '-config', $self->file('config'), '-revoke', $self->file("$name.pem"));
	$self->openssl('ca', '-config', $self->file('config'), '-gencrl', '-crldays', 3650, '-out', $self->file('crl.pem'));
	return;
}

1;
