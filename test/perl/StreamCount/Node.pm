=pod

=head1 NAME

StreamCount::Node - a PostgreSQL server with streamcount preloaded

=head1 SYNOPSIS

  my $node = StreamCount::Node->new('main');
  $node->init(brokers => $kafka->bootstrap);
  $node->start;
  $node->safe_psql('postgres', 'CREATE EXTENSION streamcount');
  $node->create_tweets_stream;
  $node->create_hashtags_rollup;
  $node->wait_for_sql('SELECT sum(mentions) FROM hashtags', '7');

=cut

package StreamCount::Node;

use strict;
use warnings;

use parent 'PostgreSQL::Test::Cluster';

use Carp;
use PostgreSQL::Test::Utils;
use StreamCount::Broker;
use Time::HiRes qw(sleep time);

# init(brokers => 'host:port', conf => "lines for postgresql.conf\n", ...);
# the rest goes to PostgreSQL::Test::Cluster's init.  STREAMCOUNT_WAY=executor
# lets all rollups that do not say otherwise go that way.
sub init
{
	my ($self, %args) = @_;
	my $brokers = delete $args{brokers} // '127.0.0.1:1';
	my $conf = delete $args{conf} // '';

	$self->SUPER::init(%args);
	$self->append_conf('postgresql.conf',
		"shared_preload_libraries = 'streamcount'\n"
		  . "streamcount.bootstrap_servers = '$brokers'\n"
		  . "timezone = 'UTC'\n"
		  . ($ENV{STREAMCOUNT_WAY} ? "streamcount.way = '$ENV{STREAMCOUNT_WAY}'\n" : '')
		  . $conf);
	return;
}

# psql for a server that may be down: where psql ends before it has read the
# query, IPC::Run dies, and that is an error like any other.
sub try_psql
{
	my ($self, @args) = @_;
	my @answer = eval { $self->psql(@args) };

	return $@ eq '' ? @answer : (2, '', $@);
}

# Ask until the answer is the expected one.  Where it never is, die of what
# the last answer was.  Errors are answers, too: a server may be restarting.
sub wait_for_sql
{
	my ($self, $query, $expected, %args) = @_;
	my $timeout = $args{timeout} // $PostgreSQL::Test::Utils::timeout_default;
	my $until = time + $timeout;
	my $answer;

	while (1)
	{
		my ($status, $out, $err) = $self->try_psql($args{dbname} // 'postgres', $query);

		$answer = $status == 0 ? $out : "error: $err";
		return $answer
		  if ref $expected eq 'Regexp' ? $answer =~ $expected : $answer eq $expected;
		last if time > $until;
		sleep 0.05;
	}
	croak "waited $timeout s for\n  $query\nto give\n  $expected\nbut it gives\n  $answer\n"
	  . $self->state_of_rollups($args{dbname});
}

# Change settings for good.  Where they ask for a crash, that may come before
# psql has its answer.
sub set_up
{
	my ($self, %settings) = @_;
	my $sql = join '', map { "ALTER SYSTEM SET $_ = '$settings{$_}';\n" } sort keys %settings;

	my ($status, $out, $err) = $self->try_psql('postgres', "${sql}SELECT pg_reload_conf()");
	croak $err if $status == 3;
	return;
}

# Set a crash point, until a worker has come to it.  One that starts just then
# takes it for an old one: so it is set anew, again and again.  Meanwhile, a
# worker may need something to do.
sub strike
{
	my ($self, $meanwhile, %settings) = @_;
	my $from = $self->log_size;
	my $until = time + 2 * $PostgreSQL::Test::Utils::timeout_default;

	while (1)
	{
		my $again = time + 10;

		$self->set_up(%settings);
		while (time < $again)
		{
			return if $self->log_count(qr/LOG:  crash point/, $from) > 0;
			$meanwhile->();
			sleep 0.1;
		}
		croak 'no worker has come to its crash point' if time > $until;
		$self->set_up('streamcount.crash_point' => '');
	}
}

# What a person would look at.
sub state_of_rollups
{
	my ($self, $dbname) = @_;
	my $text = '';

	for my $view (qw(progress problems))
	{
		my ($status, $out, $err) =
		  $self->psql($dbname // 'postgres', "\\x\nSELECT * FROM streamcount.$view");
		$text .= "streamcount.$view:\n" . ($status == 0 ? $out : $err) . "\n";
	}
	return $text;
}

# What a role gets: the output, or the error with its SQLSTATE.
sub as_role
{
	my ($self, $role, $sql, %args) = @_;
	my ($out, $err);
	my $status = $self->psql(
		$args{dbname} // 'postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-U', $role ]);

	return $out if $status == 0;
	return $err =~ /ERROR:  (.*)/ ? $1 : $err;
}

# The stream of the README's example.
sub create_tweets_stream
{
	my ($self, %args) = @_;
	my $name = $args{name} // 'tweets';
	my $topic = $args{topic} // $name;
	my $options = $args{options} ? ", $args{options}" : '';

	$self->safe_psql($args{dbname} // 'postgres', qq{
		CREATE FOREIGN TABLE $name (text text, created_at timestamptz)
		SERVER streamcount OPTIONS (topic '$topic'$options)});
	return;
}

# Its rollup.
sub create_hashtags_rollup
{
	my ($self, %args) = @_;
	my $name = $args{name} // 'hashtags';
	my $stream = $args{stream} // 'tweets';
	my $granularities = $args{granularities} // 'day,ALL';
	my $way = $args{way} ? "SET streamcount.way = '$args{way}';" : '';

	$self->safe_psql($args{dbname} // 'postgres', qq{
		$way
		SELECT streamcount.create_rollup('$name', \$\$
		  SELECT hashtag, w.interval, count(*) AS mentions
		  FROM $stream,
		       streamcount.hashtags(text) AS hashtag,
		       streamcount.windows(created_at, '{$granularities}') AS w
		  GROUP BY hashtag, w.interval \$\$)});
	return;
}

# Wait until a rollup has read its topic to the end of right now, each
# partition's end as kafka_tool sees it.
sub wait_for_rollup
{
	my ($self, $broker, $topic, %args) = @_;
	my @ends = $broker->ends($topic);

	return $self->wait_for_offsets($args{name} // 'hashtags', "@ends", %args);
}

# Wait until a rollup's partitions stand at these offsets, separated by blanks.
sub wait_for_offsets
{
	my ($self, $name, $offsets, %args) = @_;

	return $self->wait_for_sql(
		"SELECT string_agg(next_offset::text, ' ' ORDER BY partition)"
		  . " FROM streamcount.progress WHERE rollup = '$name'::regclass",
		$offsets, %args);
}

# Compare a rollup with an independent count of what it says that it has
# read.  Returns the lines that differ, "" where none does.  from => '{0,17}':
# of the messages from there on, by partition.
sub differences
{
	my ($self, $broker, $topic, %args) = @_;
	my $name = $args{name} // 'hashtags';
	my $dbname = $args{dbname} // 'postgres';
	my $granularities = $args{granularities} // 'day,ALL';
	my $start = $args{from} ? "('$args{from}'::bigint[])[partition + 1]" : 'start_offset';

	# Rows and offsets are one snapshot's.
	my $out = $self->safe_psql($dbname, qq{
		BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
		SELECT 'span', partition || ':' || $start || ':' || next_offset
		  FROM streamcount.progress WHERE rollup = '$name'::regclass;
		SELECT 'row', hashtag || E'\\t' || "interval" || E'\\t' || mentions FROM $name;
		COMMIT});
	my (@spans, %difference);
	for my $line (split /\n/, $out)
	{
		my ($kind, $text) = split /\|/, $line, 2;

		push @spans, '--span', $text if $kind eq 'span';
		$difference{$text}++ if $kind eq 'row';
	}
	my @command = ("$StreamCount::Broker::root/test/bin/count.py",
		$broker->bootstrap, $topic, '--granularities', $granularities, @spans);
	open my $count, '-|', @command or croak "@command: $!";
	while (my $line = <$count>)
	{
		chomp $line;
		$difference{$line}--;
	}
	close $count or croak "@command: status $?";
	return join '', map {
		my $n = $difference{$_};
		$n == 0 ? () : ($n > 0 ? 'rollup' : 'count ') . " $_\n"
	} sort keys %difference;
}

# A zombie has ended, too: it only waits for its parent to say so.
sub has_ended
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return !kill 0, $pid;
	return (readline($stat) // ') Z') =~ /\) Z/;
}

# All of the server's processes, the postmaster first.
sub family
{
	my ($self) = @_;
	my $postmaster = (split /\n/, PostgreSQL::Test::Utils::slurp_file($self->data_dir . '/postmaster.pid'))[0];
	my @children = grep {
		my $stat;
		open($stat, '<', "/proc/$_/stat") && (readline($stat) // '') =~ /\) \S $postmaster /;
	} map { m{(\d+)} } glob '/proc/[0-9]*';

	return ($postmaster, @children);
}

# After the postmaster was killed: start it again when all of its processes,
# which family() gave before, are gone.
sub start_after_kill
{
	my ($self, @family) = @_;

	sleep 0.01 while grep { !has_ended($_) } @family;
	# To the next postmaster a zombie is alive.
	sleep 0.01 while kill 0, $family[0];
	$self->kill9;
	$self->start;
	return;
}

# The superuser that initdb has made: it has the name of whoever runs the tests.
sub superuser
{
	my ($self) = @_;

	return $self->safe_psql('postgres', 'SELECT current_user');
}

# How many lines of the server's log match, from an offset that log_size()
# gave.
sub log_count
{
	my ($self, $pattern, $offset) = @_;
	my $log = PostgreSQL::Test::Utils::slurp_file($self->logfile, $offset // 0);
	my @found = grep { $_ =~ $pattern } split /\n/, $log;

	return scalar @found;
}

# How many things it was told since; an entry has a line or several.  That a
# probe of a database ends with the database, as tests have it, is not counted.
sub log_entries
{
	my ($self, $offset) = @_;

	return $self->log_count(
		qr/^\d{4}-.* (?:LOG|WARNING|ERROR|FATAL|PANIC):  (?!.*"streamcount probe"|database \d+ does not exist)/, $offset);
}

sub log_size
{
	my ($self) = @_;

	return -s $self->logfile;
}

# The group that a stream's clients name, and do not join.
sub group_of
{
	my ($self, $stream) = @_;

	return $self->safe_psql('postgres', qq{SELECT format('streamcount-%s-%s-%s', system_identifier,
		(SELECT oid FROM pg_database WHERE datname = current_database()), '$stream'::regclass::oid)
		FROM pg_control_system()});
}

# The process ids of this kind of streamcount's processes: launcher, worker.
sub pids_of
{
	my ($self, $kind, %args) = @_;

	return split /\n/,
	  $self->safe_psql($args{dbname} // 'postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'streamcount $kind' ORDER BY pid");
}

1;
