# A fault that stays is told when it begins, and not again and again: no more
# than ten lines of the server's log in an hour, with all settings as they are
# by default.
#
# Each fault has a database of its own, whose stream and rollup are of its name.
# STREAMCOUNT_OBSERVED: for how many seconds the lines are counted; 3600 is the
# promise itself, less asks for no more than an hour may have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use PostgreSQL::Test::Utils;
use StreamCount::Certificates;
use StreamCount::Fake;
use StreamCount::Mock;
use StreamCount::Node;
use StreamCount::Proxy;
use StreamCount::SecuredKafka;
use Test::More;
use Time::HiRes qw(sleep time);

foreach my $missing (StreamCount::Certificates::missing(), StreamCount::Fake->missing, StreamCount::Mock::missing())
{
	plan skip_all => $missing if $missing;
}

my $observed_s = $ENV{STREAMCOUNT_OBSERVED} // 60;
my $in_an_hour = 10;
my $seen_within_s = 60;

# ---------------------------------------------------------------------
# The faults
# ---------------------------------------------------------------------

my $mock = StreamCount::Mock->new->start;
my $fake = StreamCount::Fake->new->start;
my $refusing = StreamCount::Proxy->new->start;
$refusing->wire(refuse => 1);
my $frozen = StreamCount::Proxy->new->start;
$frozen->target($mock->bootstrap =~ /:(\d+)$/);
$frozen->wire(freeze => 1);
my $ca = StreamCount::Certificates->new("$PostgreSQL::Test::Utils::tmp_check/ca");
$ca->issue('good', hosts => 'IP:127.0.0.1');
$ca->issue('expired', hosts => 'IP:127.0.0.1', expired => 1);
my $half = StreamCount::Fake->new->start;
$half->add_second;
$half->certify(1, $ca->file('good.both'));
$half->certify(2, $ca->file('expired.both'));
$half->create_topic('half_trusted', 2);
my ($secured, %secured_faults);
unless (StreamCount::SecuredKafka::missing())
{
	$secured = StreamCount::SecuredKafka->new(users => { alice => 'secret' })->start;
	$secured->create_topic('tweets', 1);
	my $by_password = q("security.protocol" 'sasl_ssl', "sasl.mechanism" 'PLAIN', "ssl.ca.location" ')
	  . $secured->ca->file('ca.pem') . q(');
	%secured_faults = (
		wrong_password => {
			brokers => $secured->address('SASL'), options => $by_password,
			mapping => q("sasl.username" 'alice', "sasl.password" 'wrong'), state => 'connecting'
		},
		denied => {
			brokers => $secured->address('SASL'), options => $by_password,
			mapping => q("sasl.username" 'alice', "sasl.password" 'secret'), state => 'stalled'
		},
		no_tls => { brokers => $secured->address('SASL'), options => q("security.protocol" 'plaintext'), state => 'connecting' });
}

my %faults = (
	refused => { brokers => '127.0.0.1:1', state => 'connecting' },
	unresolved => { brokers => 'no-such-host.invalid:9092', state => 'connecting' },
	closed => { brokers => $refusing->bootstrap, state => 'connecting' },
	frozen => { brokers => $frozen->bootstrap, state => 'connecting' },
	no_topic => { brokers => $fake->bootstrap, state => 'stalled' },
	silent => { served => 'empty', state => 'stalled' },
	too_large => { served => 'large', state => 'stalled' },
	corrupt => { served => 'error 2', state => 'halted' },
	half_trusted => {
		brokers => $half->bootstrap, state => 'connecting', most => 3,
		options => q("security.protocol" 'ssl', "ssl.ca.location" ') . $ca->file('ca.pem') . q(')
	},
	locked => {
		counted => 1, state => 'blocked',
		begin => q{BEGIN; LOCK TABLE of_locked_tags_data IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'locker'}
	},
	failing => {
		# whatever its workers, which come and go, are about just now
		counted => 1, state => '(down|starting|connecting|catching_up|running|idle)',
		begin => q{CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON of_failing_tags_data EXECUTE FUNCTION fail('40001')}
	},
	broken => {
		counted => 1, state => 'halted',
		begin => q{CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON of_broken_tags_data EXECUTE FUNCTION fail('P0001')}
	},
	forbidden => {
		counted => 1, state => 'halted',
		begin => q{ALTER VIEW of_forbidden_tags OWNER TO keeper; ALTER VIEW of_forbidden_tags_query OWNER TO keeper;
			ALTER TABLE of_forbidden_tags_data OWNER TO keeper}
	},
	%secured_faults);

my $node = StreamCount::Node->new('steady');
$node->init(
	conf => "fsync = off\nlog_statement = none\nlog_checkpoints = off\nautovacuum = off\nmax_prepared_transactions = 1\n"
	  . "log_line_prefix = '%m [%p] '\nstreamcount.max_workers = 20\nmax_worker_processes = 40\n");
$node->start;

sub tweets
{
	return [ map { qq({"created_at": "2014-09-21T10:00:00Z", "text": "the #first and #tag$_"}) } @_ ];
}

sub serve
{
	my ($name) = @_;
	my $fault = $faults{$name};

	if ($fault->{served})
	{
		$fault->{brokers} = $fake->bootstrap;
		$fake->create_topic($name, 1);
		$fake->append($name, 0, [ map { { value => $_ } } @{ tweets(1 .. 10) } ]);
		$fake->fault($name, 0, 5, $fault->{served});
	}
	elsif ($fault->{counted})
	{
		$fault->{brokers} = $mock->bootstrap;
		$mock->create_topic($name, 1);
		$mock->produce_values($name, tweets(1 .. 10));
	}
	return;
}

# When each fault has begun
my %begun;

sub create
{
	my ($name) = @_;
	my $fault = $faults{$name};
	my $topic = $fault->{mapping} || $name eq 'no_tls' ? 'tweets' : $name;
	my $options = join ', ', qq("bootstrap.servers" '$fault->{brokers}'), $fault->{options} // ();

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, qq{
		CREATE EXTENSION streamcount;
		CREATE SERVER s FOREIGN DATA WRAPPER streamcount OPTIONS ($options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER s } . ($fault->{mapping} ? "OPTIONS ($fault->{mapping})" : '') . qq{;
		CREATE FOREIGN TABLE of_$name (text text, created_at timestamptz) SERVER s OPTIONS (topic '$topic');
		CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
			\$\$ BEGIN RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = 'of_$name: not today'; END \$\$});
	$begun{$name} = time;
	$node->create_hashtags_rollup(name => "of_${name}_tags", stream => "of_$name", dbname => $name);
	return;
}

# To both partitions
sub append_to_half
{
	my @values = map { { value => $_ } } @{ tweets(@_) };

	$half->append('half_trusted', $_, \@values) foreach 0, 1;
	return;
}

sub begin
{
	my ($name) = @_;

	if ($name eq 'half_trusted')
	{
		append_to_half(1 .. 5);
		$node->wait_for_sql('SELECT sum(next_offset) FROM streamcount.progress', '10', dbname => $name);
		$begun{$name} = time;
		$half->lead($name, 1, 2);
		append_to_half(6 .. 10);
	}
	return unless $faults{$name}{counted};
	$node->wait_for_sql('SELECT sum(next_offset) FROM streamcount.progress', '10', dbname => $name);
	$begun{$name} = time;
	$node->safe_psql($name, $faults{$name}{begin});
	$mock->produce_values($name, tweets(11 .. 20));
	return;
}

my $log = $node->log_size;
$node->safe_psql('postgres', 'CREATE ROLE keeper');
serve($_) foreach sort keys %faults;
create($_) foreach sort keys %faults;
begin($_) foreach sort keys %faults;

# All at a time, so that none is seen late because of one that takes its time
my %seen;
my $give_up = time + $PostgreSQL::Test::Utils::timeout_default;
while (keys %seen < keys %faults && time < $give_up)
{
	foreach my $name (grep { !$seen{$_} } sort keys %faults)
	{
		my ($since, $state) = split /\|/, $node->safe_psql($name,
			q{SELECT extract(epoch FROM since), state || ': ' || coalesce(reason, '') FROM streamcount.rollups}), 2;

		$seen{$name} = [ $state, $since - $begun{$name} ] if $state =~ /^$faults{$name}{state}: ./;
	}
	sleep 0.5;
}
foreach my $name (sort keys %faults)
{
	my ($state, $after_s) = @{ $seen{$name} // [ 'never', 'inf' ] };

	cmp_ok($after_s, '<=', $seen_within_s, sprintf '%s: %s, within %d s, after %.1f s', $name, $state, $seen_within_s, $after_s);
}

# ---------------------------------------------------------------------
# What is told of them
# ---------------------------------------------------------------------

$node->wait_for_log(qr/\bof_$_(?=_tags|\b)/, $log) foreach sort keys %faults;
my $settled = $node->log_size;
my $until = time + $observed_s;
sleep 0.2 while time < $until;
# Ten lines in an hour are five entries with their hints; and the last fault to
# be told may have an entry or two to come.
cmp_ok($node->log_entries($settled), '<=', 2 + (keys %faults) * $observed_s / 720,
	sprintf 'P39: %d faults that all have been seen are told no more in %d s', scalar keys %faults, $observed_s)
  or diag slurp_file($node->logfile, $settled);
my $names = join '|', sort keys %faults;
my (%lines, %said, %of);
foreach my $line (split /\n/, slurp_file($node->logfile, $log))
{
	my ($pid) = $line =~ /\[(\d+)\]/;

	# What does not name its fault belongs to the worker's entry before, or tells how that worker ended.
	$of{$pid} = $1 if $line =~ /\bof_($names)(?=_tags|\b)/;
	my $name = $line =~ /\(PID (\d+)\)/ ? $of{$1} : $of{$pid};
	$lines{ $name // 'no fault' }++;
	$said{ $name // 'no fault' } .= "$line\n";
}
foreach my $name (sort keys %faults)
{
	my $state = $node->safe_psql($name, q{SELECT state || ': ' || coalesce(reason, '') FROM streamcount.rollups});

	like($state, qr/^$faults{$name}{state}: /, "$name: it is still so");
	is($node->safe_psql($name, 'SELECT sum(next_offset) FROM streamcount.progress'), '10', "$name: and nothing is counted")
	  if $faults{$name}{counted};
	cmp_ok($lines{$name} // 0, '>', 0, "P39: $name: it is told");
	cmp_ok($lines{$name} // 0, '<=', $faults{$name}{most} // $in_an_hour, 'P39: ... and not again and again') or diag $said{$name};
}
is($said{'no fault'}, undef, 'nor is there anything else to be told');
diag sprintf 'lines of the log in %d s: %s', $observed_s, join ', ', map { "$_ " . ($lines{$_} // 0) } sort keys %faults;

# One broker of two is trusted: what it leads is counted meanwhile.
my $offsets = q{SELECT string_agg(next_offset || ' ' || state, ', ' ORDER BY partition) FROM streamcount.progress};
append_to_half(11 .. 15);
like($node->wait_for_sql($offsets, qr/^15 /, dbname => 'half_trusted'), qr/^15 \w+, 5 \w+$/,
	'K26: what the broker leads that is trusted is read');
like($node->safe_psql('half_trusted', 'SELECT state || $$: $$ || reason FROM streamcount.problems'), qr/^connecting: .*expired/,
	'K26: and what is wrong with the other one is told');
$half->certify(2, $ca->file('good.both'));
$node->wait_for_sql($offsets, '15 idle, 15 idle', dbname => 'half_trusted');
pass('K26: as soon as both are, all is read, and well');

$node->safe_psql('locked', q{COMMIT PREPARED 'locker'});
$node->stop('fast');
$_->stop foreach $mock, $fake, $half, $refusing, $frozen, $secured // ();
done_testing();
