=pod

=head1 NAME

StreamCount::SecuredKafka - an Apache Kafka that does not let everybody in

=head1 SYNOPSIS

  my $kafka = StreamCount::SecuredKafka->new(users => { alice => 'secret' });
  $kafka->start;
  $kafka->allow('alice', 'read', 'topic', 'tweets');
  $kafka->address('SASL');

=head1 DESCRIPTION

One broker, many doors:

  SASL       TLS; the users' passwords, by PLAIN, SCRAM-SHA-256 and -512
  OPEN       the same passwords without TLS
  MTLS       TLS; who has a certificate is the user of its common name
  EXPIRED    TLS with a certificate of the broker's that has expired
  ELSEWHERE  TLS with a certificate for another host

and the one without any of it, bootstrap(), for the tests' own tools: who
comes by that may do all.  Nobody else may do anything that allow() does not
allow.

=cut

package StreamCount::SecuredKafka;

use strict;
use warnings;

use parent 'StreamCount::Kafka';

use File::Temp qw(tempdir);
use StreamCount::Certificates;

sub missing
{
	return StreamCount::Kafka::missing() // StreamCount::Certificates::missing();
}

# new(users => { name => password })
sub new
{
	my ($class, %args) = @_;
	my $dir = tempdir('kafka_XXXXXX', TMPDIR => 1, CLEANUP => 1);
	my $ca = StreamCount::Certificates->new("$dir/ca");

	$ca->issue('broker', hosts => 'IP:127.0.0.1');
	$ca->issue('expired', hosts => 'IP:127.0.0.1', expired => 1);
	$ca->issue('elsewhere', hosts => 'DNS:elsewhere.example');
	my $self = $class->SUPER::new(
		dir => $dir,
		listeners => {
			SASL => 'SASL_SSL',
			OPEN => 'SASL_PLAINTEXT',
			MTLS => 'SSL',
			EXPIRED => 'SSL',
			ELSEWHERE => 'SSL'
		},
		format_options => [ map { scram_user($_, $args{users}{$_}) } sort keys %{ $args{users} } ],
		config => {
			'authorizer.class.name' => 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
			'super.users' => 'User:ANONYMOUS',
			'ssl.truststore.type' => 'PEM',
			'ssl.truststore.location' => $ca->file('ca.pem'),
			'ssl.principal.mapping.rules' => 'RULE:^CN=(.*)$/$1/',
			'listener.name.mtls.ssl.client.auth' => 'required',
			certificate($ca, 'sasl', 'broker'),
			certificate($ca, 'mtls', 'broker'),
			certificate($ca, 'expired', 'expired'),
			certificate($ca, 'elsewhere', 'elsewhere'),
			map { passwords($_, %{ $args{users} }) } qw(sasl open)
		});
	$self->{ca} = $ca;
	return $self;
}

sub certificate
{
	my ($ca, $listener, $name) = @_;

	return (
		"listener.name.$listener.ssl.keystore.type" => 'PEM',
		"listener.name.$listener.ssl.keystore.location" => $ca->file("$name.both"));
}

sub passwords
{
	my ($listener, %users) = @_;
	my $prefix = "listener.name.$listener";

	return (
		"$prefix.sasl.enabled.mechanisms" => 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
		"$prefix.plain.sasl.jaas.config" => plain_login(%users),
		map { ("$prefix.$_.sasl.jaas.config" =>
			'org.apache.kafka.common.security.scram.ScramLoginModule required;') }
		  qw(scram-sha-256 scram-sha-512));
}

sub plain_login
{
	my (%users) = @_;

	return join ' ', 'org.apache.kafka.common.security.plain.PlainLoginModule required',
	  map({ qq(user_$_="$users{$_}") } sort keys %users), ';';
}

sub scram_user
{
	my ($name, $password) = @_;

	return map { ('--add-scram', "$_=[name=$name,password=$password]") }
	  qw(SCRAM-SHA-256 SCRAM-SHA-512);
}

# Give a user another password for SCRAM-SHA-256: at once.
sub set_scram_password
{
	my ($self, $name, $password) = @_;
	my $pid = $self->spawn_java('kafka.admin.ConfigCommand', '--bootstrap-server', $self->bootstrap,
		'--alter', '--entity-type', 'users', '--entity-name', $name,
		'--add-config', "SCRAM-SHA-256=[password=$password]");

	waitpid $pid, 0;
	die "could not give $name another password:\n" . $self->log_tail if $? != 0;
	return;
}

# host:port of a door
sub address
{
	my ($self, $listener) = @_;

	return $self->{listeners}{$listener};
}

# The authority, for certificates of clients
sub ca
{
	my ($self) = @_;

	return $self->{ca};
}

# Give these users other passwords for PLAIN: with the next start.
sub set_passwords
{
	my ($self, %users) = @_;
	my $file = "$self->{dir}/server.properties";
	my $login = plain_login(%users);

	open my $in, '<', $file or die "$file: $!";
	my @lines = map { s/(plain\.sasl\.jaas\.config)=.*/$1=$login/r } <$in>;
	close $in;
	open my $out, '>', $file or die "$file: $!";
	print $out @lines;
	close $out or die "$file: $!";
	return;
}

1;
