=pod

=head1 NAME

StreamCount::Queries - random queries that rollups can keep

=head1 DESCRIPTION

Most are of the family that a tally can keep: one tokenizer, windows, plain
expressions, count, sum, min, max, avg.  Some are just outside of it.  Lists
whose lengths have no common divisor are gone through by the query's number,
so that in some hundred queries each kind of part has its turn.

=cut

package StreamCount::Queries;

use strict;
use warnings;
use utf8;

use Exporter 'import';
use StreamCount::Messages qw(pick chance columns);

our @EXPORT_OK = qw(query tokenizers key_types states);

# ---------------------------------------------------------------------
# Expressions: $q gathers the columns that are read
# ---------------------------------------------------------------------

sub column
{
	my ($q, $test) = @_;
	my @fit = grep { $test->($_) } columns($q->{stream});

	return unless @fit;
	my $c = pick(@fit);
	$q->{reads}{ $c->{name} } = 1;
	return $c->{name};
}

sub of_class
{
	my ($q, $class) = @_;

	return $q->{token} if $class eq 'text' && $q->{token_in_scope} && chance(0.3);
	return column($q, sub { $_[0]{class} eq $class });
}

my %constant = (
	text => sub { pick("'a'", "'#iphone'", "'Ann'", "''", "'é'") },
	bool => sub { pick('true', 'false') },
	int => sub { pick('(-3)', '0', 1 .. 19) },
	num => sub { pick('1.5', '0.00', '(-2)') },
	float => sub { pick("'0.5'::float8", "'-1.5'::float8") },
	wild => sub { pick("'0.5'::float8", "'-1.5'::float8") },
	far => sub { pick("'1e300'::float8", "'-0.0'::float8") },
	odd => sub { "'NaN'::numeric" },
	date => sub { "date '2014-09-21'" },
	ts => sub { "timestamp '2014-11-02 01:30'" },
	tstz => sub { "timestamptz '2014-11-02 01:30+00'" },
	jsonb => sub { q('{"n": 2}'::jsonb) });

# In these, t, b, i, n, f, d, s, z and j between angle brackets stand for
# another expression of that class.
my %class_of = (t => 'text', b => 'bool', i => 'int', n => 'num', f => 'float', w => 'wild', r => 'far', d => 'date',
	s => 'ts', z => 'tstz', j => 'jsonb');
my %forms = (
	text => [ 'upper(<t>)', 'lower(<t>)', 'left(<t>, 3)', 'right(<t>, -1)', 'substr(<t>, 2, 4)', '<t> || <t>', "<t> || '!'",
		"coalesce(<t>, 'none')", 'CASE WHEN <b> THEN <t> ELSE <t> END', '<i>::text', "nullif(<t>, '')", 'md5(<t>)',
		"replace(<t>, 'a', 'AA')", "split_part(<t>, ' ', 1)", "<j> ->> 'lang'", '<b>::text', 'greatest(<t>, <t>)', "btrim(<t>, '#@ ')",
		'reverse(<t>)', "CASE <i> % 2 WHEN 0 THEN 'even' WHEN 1 THEN 'odd' END", 'normalize(<t>)' ],
	bool => [ '<i> > <i>', '<i> = 3', "<t> = 'Ann'", "<t> LIKE '%a%'", '<t> IS NULL', '<n> IS NOT NULL', 'NOT <b>', '(<b> AND <b>)',
		'(<b> OR <b>)', "<t> IN ('Ann', 'en', '#iphone', '')", "<d> > '2014-09-21'", '<b> IS NOT TRUE', '<i> BETWEEN 0 AND 20',
		'<i> IS DISTINCT FROM <i>', "<t> ~ '[a-m]+'", "<t> < 'm'", "<j> ? 'lang'", '<j> @> \'{"n": 1}\'', 'starts_with(<t>, \'#\')',
		"<z> >= '2014-11-02 06:00+00'", "<s> < '2014-11-02'", '<f> > 0', '<w> <= 100', '<r> <> 0', 'length(<t>) > 4', "<t> <> ALL ('{a,b}')",
		'<n> > 0.5', '<i> IN (1, 2, 3, 5, 8)' ],
	int => [ '<i> + <i>', '<i> * 2', '<i> % 7', 'abs(<i>)', 'length(<t>)', '- <i>', 'CASE WHEN <b> THEN <i> ELSE 0 END', 'coalesce(<i>, -1)',
		'<i> / nullif(<i>, 0)', 'ascii(<t>)', '<i> & 3', 'octet_length(<t>)', 'least(<i>, <i>, 5)', '<b>::int', "strpos(<t>, 'a')",
		'width_bucket(<i>, 0, 40, 4)', 'sign(<w>)::int' ],
	num => [ 'round(<n>, 1)', '<n> + <n>', '<n> * 1.5', 'abs(<n>)', 'trunc(<n>)', '<i>::numeric', 'coalesce(<n>, 0.00)', '- <n>',
		'CASE WHEN <b> THEN <n> END', '<i> / 4.0', 'greatest(<n>, 1)' ],
	float => [ '<f> * 2', '<f> + <f>', '- <f>', 'abs(<f>)', '<i>::float8', 'coalesce(<f>, 0)', 'CASE WHEN <b> THEN <f> ELSE 0 END' ],
	wild => [ '<w> * 2', '<w> + <w>', '- <w>', 'abs(<w>)', '<w> + <i>', 'coalesce(<w>, 0)' ],
	far => [ 'abs(<r>)', '- <r>', 'floor(<r>)', 'coalesce(<r>, 0)', 'sqrt(abs(<r>))', 'least(<r>, <f>)' ],
	date => [ '<d> + 1', 'coalesce(<d>, \'2000-01-01\')', 'greatest(<d>, <d>)', '<s>::date', 'CASE WHEN <b> THEN <d> END', '<d> - <i>' ],
	ts => [ "<s> + interval '90 minutes'", "date_trunc('hour', <s>)", '<d>::timestamp', "<z> AT TIME ZONE 'UTC'",
		"<z> AT TIME ZONE 'Australia/Lord_Howe'", "date_bin('15 minutes', <s>, '2000-01-01')" ],
	tstz => [ "<s> AT TIME ZONE 'America/New_York'", "coalesce(<z>, '2014-09-21 00:00+00')", 'greatest(<z>, <z>)',
		'CASE WHEN <b> THEN <z> END', "date_bin('1 hour', <z>, '2000-01-01 00:00+00')" ],
	jsonb => [ "<j> -> 'n'", "<j> || '{\"x\": 1}'", "coalesce(<j>, '{}')", '<j> #> \'{deep,er}\'' ]);

# Some messages make these fail.
my @failing = ('100 / edge', 'edge + 1', 'edge * 2', '7 % edge', 'sqrt(edge)::int', "('9' || edge)::int2", 'abs(edge - 5)');
my %edge = (events => 'edge', tweets => 'likes');

# Their results are of the session's settings: no plain expressions
my %stable = (text => "<z>::text", date => '<z>::date', ts => '<z>::timestamp', tstz => "<z> + interval '1 day'",
	bool => "<z> > '2014-11-02'::date", int => "extract(hour FROM <z>)::int", jsonb => 'to_jsonb(<t>)');

sub expression
{
	my ($q, $class, $depth) = @_;
	my $form;

	if ($depth <= 0 || !$forms{$class} || chance(0.35))
	{
		my $name = !$constant{$class} || chance(0.93) ? of_class($q, $class) : undef;

		return $name if defined $name;
		# A stream that has no such column
		return $constant{$class}->() if $constant{$class};
	}
	elsif ($class eq 'int' && $edge{ $q->{stream} } && chance($q->{failing} // 0))
	{
		$q->{reads}{ $edge{ $q->{stream} } } = 1;
		return '(' . pick(@failing) =~ s/\bedge\b/$edge{ $q->{stream} }/r . ')';
	}
	$form = $q->{stable} && $stable{$class} && chance(0.5) ? $stable{$class} : pick(@{ $forms{$class} });
	$form =~ s/<(\w)>/expression($q, $class_of{$1}, $depth - 1)/ge;
	return $form =~ /^\w+\([^()]*\)$/ ? $form : "($form)";
}

# ---------------------------------------------------------------------
# Parts
# ---------------------------------------------------------------------

# What a query of some number has at least
my @tokenizers = qw(- hashtags - mentions - cashtags - urls - words);
my @key_types = ('text', 'character varying(5)', 'boolean', 'smallint', 'integer', 'bigint', 'real', 'double precision',
	'numeric', 'numeric(8,2)', 'date', 'timestamp without time zone', 'timestamp with time zone', 'jsonb', 'expression',
	'timestamp(3) with time zone', 'none');
my %argument = ('smallint' => 'int', 'integer' => 'int', 'bigint' => 'big', 'real' => 'float', 'double precision' => 'wild',
	'numeric' => 'num');
my @states = ('count(*)', 'count', map { my $f = $_; map { "$f $_" } sort keys %argument } qw(sum avg));
push @states, map { my $f = $_; map { "$f $_" } 'text', 'smallint', 'integer', 'bigint', 'real', 'double precision', 'numeric', 'date',
	'timestamp without time zone', 'timestamp with time zone' } qw(min max);
push @states, 'min character varying(5)', 'max far', 'min odd', 'sum odd';

sub tokenizers { return grep { $_ ne '-' } @tokenizers }
sub key_types { return grep { !/none/ } @key_types }
sub states { return @states }

sub in_turn { my ($number, $list) = @_; return $list->[ $number % @$list ] }

my @granularities = (qw(second minute hour day week month quarter year ALL), '15 minutes', '5 minutes', '90 minutes', '7 minutes',
	'36 hours', '2 weeks', '10 days', '5 months', '7 years', '0.5 seconds', '60 minutes', 'DAY', '1 month', '100 years', '1 day 12 hours');
my @zones = ('UTC', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe', 'Europe/London', 'Pacific/Apia', 'Etc/GMT+5');

sub out
{
	my ($q, $expr, %is) = @_;

	push @{ $q->{out} }, { expr => $expr, %is };
	push @{ $q->{keys} }, $expr if $is{key};
	return;
}

sub add_tokenizer
{
	my ($q, $kind) = @_;
	my $arg = chance(0.7) ? column($q, sub { $_[0]{name} =~ /^(?:text|body|line)$/ }) : expression($q, 'text', 2);

	$q->{token} = pick('hashtag', 'token', 'w1');
	push @{ $q->{from} }, "streamcount.$kind($arg) AS $q->{token}";
	$q->{token_in_scope} = 1;
	$q->{has}{$kind} = 1;
	return if chance(0.15);
	out($q, chance(0.75) ? $q->{token} : pick("upper($q->{token})", "left($q->{token}, 2)", "length($q->{token}) % 5"),
		key => 1);
	return;
}

sub add_windows
{
	my ($q) = @_;
	my @some = map { pick(@granularities) } 1 .. pick(1, 1, 2, 2, 3, 3, 4, 5);
	my $zone = chance(0.5) ? '' : ", '" . pick(@zones) . "'";
	my $time = chance(0.8) ? of_class($q, 'tstz') : expression($q, 'tstz', 1);
	my @keys = pick([ 'w.interval' ], [ 'w.interval' ], [ 'w.interval', 'w.window_start' ], [ 'w.granularity', 'w.window_start' ],
		[ 'w.window_start', 'w.granularity', 'w.window_end' ], [ 'w.interval', 'w.granularity', 'w.window_start', 'w.window_end' ]);

	@keys = pick([ 'w.window_start' ], [ 'w.window_end' ], [ 'w.window_start', 'w.window_end' ], [])
	  if @some == 1 && chance(0.4);
	my $fine = grep { /second|minute/ } @some;
	$q->{fine} = 1 if $fine;
	push @{ $q->{from} }, "streamcount.windows($time, '{" . join(',', @some) . "}'$zone) AS w";
	$q->{has}{windows} = 1;
	out($q, $_, key => 1) foreach @{ $keys[0] };
	return;
}

sub add_key
{
	my ($q, $type) = @_;
	my $expr;

	return if $type eq 'none';
	$expr = column($q, sub { $_[0]{type} eq $type && $_[0]{class} ne '-' }) if $type ne 'expression';
	$q->{has}{"key $type"} = 1 if defined $expr || $type eq 'expression';
	# A key's scale, or zero's sign, is any of those that are equal.
	$expr //= expression($q, pick('text', 'int', 'bool', 'int', 'text', 'date', 'ts', 'tstz', 'num', 'jsonb', 'float'), 2);
	out($q, $expr, key => 1);
	return;
}

sub filter
{
	my ($q) = @_;

	return chance(0.25) ? ' FILTER (WHERE ' . expression($q, 'bool', 2) . ')' : '';
}

sub add_state
{
	my ($q, $state, $expressions) = @_;
	my ($function, $type) = split / /, $state, 2;
	my %class = (%argument, 'text' => 'text', 'date' => 'date', 'timestamp without time zone' => 'ts',
		'timestamp with time zone' => 'tstz', 'character varying(5)' => 'text', far => 'far', odd => 'odd');
	my ($class, $arg, %is);

	if ($function eq 'count(*)')
	{
		$arg = 'count(*)';
	}
	elsif ($function eq 'count')
	{
		$arg = 'count(' . expression($q, pick(qw(text bool int num float date ts tstz jsonb big)), 2) . ')';
	}
	else
	{
		$class = $class{$type};
		# Of just this type, or any expression of its class
		my $expr = !chance($expressions)
		  ? column($q, sub { my ($c) = @_; $c->{class} eq $type || $c->{type} eq $type && ($function =~ /^m/ || $c->{class} eq $class) })
		  : undef;

		if (defined $expr)
		{
			$q->{has}{$state} = 1;
		}
		else
		{
			$expr = expression($q, $class, 2);
			$q->{has}{$state} = 1 if $type eq 'odd' || $type eq 'far';
		}
		# Sums of real are only as exact as that; what overflows is another matter.
		$expr = "($expr)::float8" if $type eq 'real' && $expr !~ /^\w+$/;
		$arg = "$function($expr)";
		%is = (
			approx => scalar($class =~ /wild|float/ && $function =~ /sum|avg/),
			exact => scalar($class eq 'num' && $function eq 'sum'));
	}
	$q->{has}{$state} = 1 if $function =~ /count/;
	$arg .= filter($q);
	if (chance(0.2) && $function ne 'count' && !$is{approx})
	{
		$arg = $function =~ /count|sum|avg/
		  ? pick("$arg + 1", "coalesce($arg, 0)", "$arg * 2 - count(*)", "CASE WHEN count(*) > 10 THEN $arg END", "round($arg, 2)",
			"$arg / nullif(count(*), 0)")
		  : pick("coalesce($arg, $arg)", "CASE WHEN count(*) > 3 THEN $arg END");
		$is{exact} = 0;
	}
	out($q, $arg, %is);
	return;
}

# ---------------------------------------------------------------------
# Just outside
# ---------------------------------------------------------------------

my @outside = (
	sub { my ($q) = @_; my $z = of_class($q, 'tstz'); $q->{why} = 'tumble';
		push @{ $q->{from} }, "streamcount.tumble($z, '" . pick('6 hours', '1 day', '1 month') . "', '1 hour') AS u"; out($q, $_, key => 1) for 'u.window_start', 'u.window_end' },
	sub { my ($q) = @_; my $z = of_class($q, 'tstz'); $q->{why} = 'hop';
		push @{ $q->{from} }, "streamcount.hop($z, '1 day', '8 hours', time_zone => 'Asia/Kolkata') AS u"; out($q, 'u.window_start', key => 1) },
	sub { my ($q) = @_; my $z = of_class($q, 'tstz'); $q->{why} = 'cumulate';
		push @{ $q->{from} }, "streamcount.cumulate($z, '1 day', '6 hours') AS u"; out($q, $_, key => 1) for 'u.window_start', 'u.window_end' },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'two tokenizers';
		push @{ $q->{from} }, "streamcount.hashtags($t) AS tag1, streamcount.mentions($t) AS tag2"; out($q, $_, key => 1) for 'tag1', 'tag2' },
	sub { my ($q) = @_; my $z = of_class($q, 'tstz'); $q->{why} = 'windows twice';
		push @{ $q->{from} }, "streamcount.windows($z, '{day}') AS v, streamcount.windows($z, '{month,ALL}') AS w"; out($q, $_, key => 1) for 'v.interval', 'w.interval' },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'join';
		push @{ $q->{from} }, 'plain.people p'; push @{ $q->{where} }, "p.name = $t"; out($q, 'p.team', key => 1); out($q, 'sum(p.weight)') },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'left join';
		$q->{from}[0] .= " LEFT JOIN plain.people p ON p.name = $t"; out($q, 'p.team', key => 1); out($q, 'count(p.name)') },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'left join of tokens';
		$q->{from}[0] .= " LEFT JOIN LATERAL streamcount.hashtags($t) AS tag1 ON true"; out($q, 'tag1', key => 1); out($q, 'count(tag1)') },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'numbered tokens';
		push @{ $q->{from} }, "streamcount.hashtags($t) WITH ORDINALITY AS u(tag1, nr)"; out($q, 'u.nr', key => 1); out($q, 'min(u.tag1)') },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'another function in FROM';
		push @{ $q->{from} }, "unnest(string_to_array($t, ' ')) AS part1"; out($q, 'part1', key => 1, ) },
	sub { my ($q) = @_; my $i = of_class($q, 'int'); $q->{why} = 'series';
		push @{ $q->{from} }, "generate_series(1, $i % 4) AS g"; out($q, 'g', key => 1) },
	sub { my ($q) = @_; $q->{why} = 'subquery'; my $b = expression($q, 'bool', 1); my $all = join ', ', map { $q->{reads}{ $_->{name} } = 1; $_->{name} } columns($q->{stream});
		$q->{from}[0] = "(SELECT $all FROM $q->{stream} WHERE $b) AS s" },
	sub { my ($q) = @_; my $t = of_class($q, 'text'); $q->{why} = 'semi-join';
		push @{ $q->{where} }, "$t " . pick('IN', 'NOT IN') . ' (SELECT name FROM plain.people WHERE weight > 1)' },
	sub { my ($q) = @_; $q->{why} = 'bool_and'; out($q, pick('bool_and', 'bool_or', 'every') . '(' . expression($q, 'bool', 2) . ')') },
	sub { my ($q) = @_; $q->{why} = 'bit_or'; out($q, pick('bit_and', 'bit_or', 'bit_xor') . '(' . expression($q, 'int', 2) . ')') },
	sub { my ($q) = @_; $q->{why} = 'range_agg'; my $i = expression($q, 'int', 0);
		out($q, "range_agg(int4range($i, $i + 2)) FILTER (WHERE $i IS NOT NULL)") },
	sub { my ($q) = @_; $q->{why} = 'uuid'; my $c = column($q, sub { $_[0]{class} =~ /uuid|interval|bytea/ }) // 'NULL::uuid'; out($q, $c, key => 1) },
	sub { my ($q) = @_; $q->{why} = 'interval'; my $c = column($q, sub { $_[0]{class} eq 'interval' }) // "interval '1 day'"; out($q, "sum($c)") },
	sub { my ($q) = @_; $q->{why} = 'array'; out($q, 'ARRAY[' . expression($q, 'int', 1) . ', ' . expression($q, 'int', 1) . ']', key => 1) },
	sub { my ($q) = @_; $q->{why} = 'stable'; $q->{stable} = 1; $q->{timezone} = pick(@zones);
		out($q, expression($q, pick(sort keys %stable), 2), key => 1) for 1 .. 2 },
	sub { my ($q) = @_; $q->{why} = 'padded'; out($q, expression($q, 'text', 1) . '::char(3)', key => 1) },
	sub { my ($q) = @_; $q->{why} = 'row of the stream'; $q->{reads}{ $_->{name} } = 1 for columns($q->{stream}); out($q, "($q->{stream} IS NOT NULL)", key => 1) },
	sub { my ($q) = @_; $q->{why} = 'windows that change'; my $z = of_class($q, 'tstz'); my $i = of_class($q, 'int');
		push @{ $q->{from} }, "streamcount.windows($z, CASE WHEN $i > 3 THEN '{day}'::text[] ELSE '{month}' END) AS w"; out($q, 'w.interval', key => 1) });

# ---------------------------------------------------------------------
# Queries
# ---------------------------------------------------------------------

# Streams that have columns of the types whose turn it is, or of one of them
sub fitting_streams
{
	my @types = grep { !/^(?:none|expression|)$/ } @_;
	my @streams = (('events') x 4, ('tweets') x 4, 'lines');
	my %fit;

	foreach my $stream (@streams)
	{
		$fit{$stream} = grep { my $type = $_; grep { $_->{type} eq $type || $_->{class} eq $type } columns($stream) } @types;
	}
	my ($most) = sort { $b <=> $a } values %fit;
	return grep { $fit{$_} == $most } @streams;
}

# Those of this number and seed are always the same.
sub query
{
	my ($number) = @_;
	my $is_outside = $number % 9 == 3 || $number % 9 == 7;
	my $q = {
		number => $number,
		stream => pick(fitting_streams(in_turn($number, \@key_types), in_turn($number, \@states) =~ s/^\S+ ?//r)),
		reads => {}, has => {}, from => [], where => [], out => [], keys => [], timezone => 'UTC',
		failing => chance(0.06) ? 0.3 : 0 };

	$q->{from}[0] = $q->{stream};
	if ($is_outside)
	{
		$outside[ int($number / 9 * 2) % @outside ]->($q);
		$q->{has}{"outside: $q->{why}"} = 1;
	}
	else
	{
		my $kind = in_turn($number, \@tokenizers);

		add_tokenizer($q, $kind) if $kind ne '-';
		add_windows($q) if chance(0.5);
	}
	my $seconds = $q->{fine};
	add_key($q, in_turn($number, \@key_types)) if !$is_outside || chance(0.5);
	add_key($q, pick(@key_types)) foreach 1 .. ($seconds ? 0 : pick(0, 0, 0, 1, 1, 2));
	out($q, pick("'ALL'::text", '1'), key => 1) unless @{ $q->{keys} };
	add_state($q, in_turn($number, \@states), 0);
	add_state($q, pick(@states), 0.6) foreach 1 .. pick(0, 0, 1, 1, 2, 3);
	push @{ $q->{where} }, expression($q, 'bool', 2) foreach 1 .. pick(0, 0, 0, 1, 1, 2);
	return finished($q);
}

sub finished
{
	my ($q) = @_;
	my $i = 0;
	my @select = map { $i++; "$_->{expr} AS c$i" } @{ $q->{out} };
	my %seen;

	# In what order they stand should not matter.
	my @group = grep { !$seen{$_}++ } @{ $q->{keys} };
	@group = reverse @group if chance(0.3);
	# A bare constant would be a position.
	@group = grep { $q->{out}[ $_ - 1 ]{key} } 1 .. @{ $q->{out} }
	  if chance(0.2) || grep { /^\(?(?:[-\d.]+|'[^']*'|true|false)\)?$/ } @group;

	$q->{sql} = 'SELECT ' . join(', ', @select) . ' FROM ' . join(', ', @{ $q->{from} })
	  . (@{ $q->{where} } ? ' WHERE ' . join(' AND ', @{ $q->{where} }) : '') . ' GROUP BY ' . join(', ', @group);
	$i = 0;
	$q->{columns} = join ', ', map {
		$i++;
		# The addend keeps averages of short decimals from the middle between two.
		($_->{approx} ? "round(c$i\::numeric + 0.000000271828, 6)" : $_->{exact} ? "c$i\::text" : "c$i") . " AS c$i"
	} @{ $q->{out} };
	$i = 0;
	# Fixed lengths have no bytes; what is shown twice is one key.
	my %counted;
	$q->{bytes} = join ' + ', 0, map { $i++; $_->{key} && !$counted{ $_->{expr} }++ ? "plain.bytes(c$i)" : () } @{ $q->{out} };
	$q->{reads_list} = join ' ', sort keys %{ $q->{reads} };
	return $q;
}

1;
