=pod

=head1 NAME

StreamCount::Soak::Faults - how each kind of fault is inflicted

=head1 DESCRIPTION

inflict($soak, $fault) returns when the fault is over: what was stopped has
been started, what was frozen thawed.  Whether it goes on from there is for
the caller to see.

=cut

package StreamCount::Soak::Faults;

use strict;
use warnings;

use List::Util qw(max);
use StreamCount::Node;
use Time::HiRes qw(sleep time);

my %fault = (
	'worker killed' => sub {
		my ($soak, $fault) = @_;
		my $pid = worker($soak, $fault->{way});

		$soak->{worker_kills} += kill 'KILL', $pid;
		# Once it is buried, the server knows that it has to start anew.
		sleep 0.01 while kill 0, $pid;
		sleep 0.02 until answers($soak);
	},
	'worker terminated' => sub {
		my ($soak, $fault) = @_;

		signal_worker($soak, $fault, 'pg_terminate_backend');
	},
	'worker cancelled' => sub {
		my ($soak, $fault) = @_;

		signal_worker($soak, $fault, 'pg_cancel_backend');
	},
	'worker frozen' => sub {
		my ($soak, $fault) = @_;
		my $pid = worker($soak, $fault->{way});

		kill 'STOP', $pid;
		sleep $fault->{seconds};
		kill 'CONT', $pid;
	},
	'postmaster killed' => sub {
		my ($soak) = @_;
		my @family = $soak->{node}->family;
		my $begin = time;

		$soak->{node}->kill9;
		sleep 0.01 while grep { !StreamCount::Node::has_ended($_) } @family;
		$soak->{orphans} = max $soak->{orphans}, time - $begin;
		# To the next postmaster a zombie is alive.
		sleep 0.01 while kill 0, $family[0];
		$soak->{node}->start;
	},
	'immediate stop' => sub { restart($_[0], 'immediate') },
	'fast restart' => sub { restart($_[0], 'fast') },
	'broker killed' => sub {
		my ($soak, $fault) = @_;

		$soak->{kafka}->kill9;
		sleep $fault->{seconds} / 3;
		$soak->{kafka}->start;
	},
	'broker stopped' => sub {
		my ($soak, $fault) = @_;

		$soak->{kafka}->stop;
		sleep $fault->{seconds} / 3;
		$soak->{kafka}->start;
	},
	'broker frozen' => sub {
		my ($soak, $fault) = @_;

		$soak->{kafka}->freeze;
		sleep 2 * $fault->{seconds};
		$soak->{kafka}->thaw;
	},
	'connection cut' => sub {
		my ($soak, $fault) = @_;

		# Now, or in the middle of what comes next
		$soak->{proxy}->cut($fault->{choice} % 2 ? () : (after => 20 * $fault->{choice}));
	},
	'connection refused' => sub {
		my ($soak, $fault) = @_;

		$soak->{proxy}->wire(refuse => 1);
		$soak->{proxy}->cut;
		sleep $fault->{seconds};
		$soak->{proxy}->wire;
	},
	'connection frozen' => sub {
		my ($soak, $fault) = @_;

		$soak->{proxy}->wire(freeze => 1);
		sleep 2 * $fault->{seconds};
		$soak->{proxy}->wire;
	},
	# 100 ms each way, 3 Mbit/s
	'connection slow' => sub {
		my ($soak, $fault) = @_;

		$soak->{proxy}->wire(delay => 0.1, rate => 375_000);
		sleep 2 * $fault->{seconds};
		$soak->{proxy}->wire;
	},
	# Within what a checksum covers: what it does not, nobody can see.
	'connection corrupted' => sub {
		my ($soak, $fault) = @_;
		my $mark = "corrupt $fault->{choice} here";

		$soak->{proxy}->corrupt($mark);
		$soak->produce_extra($fault->{choice} % $soak->{partitions}, "#corrupted #or_not, $mark: bytes that are to change");
		$soak->wait_until_behind(0);
	},
	'partition added' => sub {
		my ($soak) = @_;

		$soak->{kafka}->add_partitions($soak->{topic}, ++$soak->{partitions});
	},
	# What is aborted must not be counted, what is committed must be; and both
	# leave records in the log that are no messages.
	'transaction' => sub {
		my ($soak, $fault) = @_;
		my $commit = $fault->{choice} % 2;

		$soak->{kafka}->produce_messages($soak->{topic},
			[ map { { partition => $_, value => $soak->extra_message('#transaction #of_its_own') } }
			  0 .. $soak->{partitions} - 1 ],
			$commit ? 'commit' : 'abort');
		$soak->{committed} += $soak->{partitions} if $commit;
	},
	'bad messages' => sub {
		my ($soak, $fault) = @_;
		# No rollup counts any of them.
		my @bad = ('', '{', '{"n": 1}{"n": 2}', "{\"n\": 1, \"text\": \"\xff\"}", '{"n": 1, "text": "\u0000"}',
			"\0", '[' x 20000, '{"n": "one", "created_at": "never", "text": "#x #y"}');

		$soak->{kafka}->produce_messages($soak->{topic},
			[ map { { partition => $_ % $soak->{partitions}, value => $bad[ ($_ + $fault->{choice}) % @bad ] } } 1 .. 100 ]);
		$soak->{besides} += 100;
	},
	'table locked' => sub {
		my ($soak, $fault) = @_;
		my $data = "tags_$fault->{way}_data";

		$soak->{node}->safe_psql('postgres', "BEGIN; LOCK TABLE $data; SELECT pg_sleep($fault->{seconds}); COMMIT");
	},
	'table rewritten' => sub {
		my ($soak, $fault) = @_;
		my $data = "tags_$fault->{way}_data";

		$soak->{node}->safe_psql('postgres', $fault->{choice} % 3 ? "VACUUM (FULL, ANALYZE) $data" : "REINDEX TABLE $data");
	},
	'DDL beside' => sub {
		my ($soak, $fault) = @_;
		my $data = "tags_$fault->{way}_data";
		my $stream = "stream_$fault->{way}";
		my @ddl = (
			[ "ALTER FOREIGN TABLE $stream ADD COLUMN beside int", "ALTER FOREIGN TABLE $stream DROP COLUMN beside" ],
			[ "CREATE INDEX beside ON $data (mentions)", 'DROP INDEX beside' ],
			[ "SELECT streamcount.pause('tags_$fault->{way}')", "SELECT streamcount.resume('tags_$fault->{way}')" ],
			[ "SELECT streamcount.create_rollup('beside', 'SELECT n % 7 AS k, count(*) FROM $stream GROUP BY 1', start => 'latest')",
				"SELECT streamcount.drop_rollup('beside')" ]);
		my ($do, $undo) = @{ $ddl[ $fault->{choice} % @ddl ] };

		$soak->{node}->safe_psql('postgres', $do);
		sleep $fault->{seconds} / 3;
		$soak->{node}->safe_psql('postgres', $undo);
	});

sub inflict
{
	my ($soak, $fault) = @_;

	stop_in_commit($soak, $fault) if $fault->{in_commit};
	$fault{ $fault->{kind} }->($soak, $fault);
	end_of_commit($soak) if $fault->{in_commit};
	return;
}

# ---------------------------------------------------------------------

sub answers
{
	my ($soak) = @_;

	return ($soak->{node}->try_psql('postgres', 'SELECT 1'))[0] == 0;
}

sub restart
{
	my ($soak, $mode) = @_;

	$soak->{node}->stop($mode);
	$soak->{node}->start;
	return;
}

# The worker that goes this way.  It may be between two lives: then this waits
# for the next one.
sub worker
{
	my ($soak, $way) = @_;

	return $soak->{node}->wait_for_sql(
		"SELECT coalesce(min(pid), 0) FROM streamcount.stat_workers
			JOIN pg_stat_activity USING (pid) WHERE stream = 'stream_$way'::regclass", qr/^[1-9]/);
}

sub signal_worker
{
	my ($soak, $fault, $function) = @_;

	$soak->{node}->safe_psql('postgres', "SELECT $function(" . worker($soak, $fault->{way}) . ')');
	return;
}

# At random a fault hardly ever hits the moment of a commit.  A worker that
# waits for a standby that does not exist has committed, and does not know it.
sub stop_in_commit
{
	my ($soak, $fault) = @_;

	$soak->{node}->safe_psql('postgres', q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
	$soak->{node}->reload;
	$soak->{node}->wait_for_sql(qq{SELECT count(*) > 0 FROM streamcount.stat_workers JOIN pg_stat_activity USING (pid)
		WHERE stream = 'stream_$fault->{way}'::regclass AND wait_event = 'SyncRep'}, 't');
	return;
}

sub end_of_commit
{
	my ($soak) = @_;

	$soak->{node}->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
	$soak->{node}->reload;
	return;
}

1;
