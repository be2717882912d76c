=pod

=head1 NAME

StreamCount::Events - random messages of one stream, and what they mean

=head1 DESCRIPTION

The messages have values of many types, in all the ways to write them; some
are bad, and some are no message at all.  What they mean is said here, by
hand, as a row of an ordinary table.  Everything is drawn by rand(), so a seed
gives the same messages again.

=cut

package StreamCount::Events;

use strict;
use warnings;
use utf8;

use Encode;
use Exporter 'import';
use POSIX 'strftime';
use StreamCount::Messages qw(pick chance json_string);

our @EXPORT_OK = qw(columns metadata may_be_bad message);

sub string { return (json_string($_[0]), $_[0]) }
sub number { return (chance(0.8) ? $_[0] : json_string(pick('', ' ') . $_[0]), $_[0]) }

my @tags = ('#iphone', '#iPhone', '#IPHONE', '＃full', '#日本語', '#été', '#ÉTÉ', '#a_b', '#1st', '#ΣΊΣΥΦΟΣ',
	'#straße', '#İstanbul');
my @noise = ('plain', '#1', 'a#glued', '&#8217;', '@user', 'http://x.org/#frag', "two\nlines", 'q"uote',
	'back\\slash', 'tab	bed', '😀', '#', '##', '$CASH', 'ends.');
my @uuids = map { sprintf '%08x-0000-4000-8000-%012x', $_ * 7, $_ } 1 .. 5;

sub some_time
{
	return string(pick('0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '1969-12-31 23:59:59+00',
			'4000-02-29T12:00:00+14:00', '2014-11-02T01:30:00-04:00', '2014-11-02T01:30:00-05:00'))
	  if chance(0.1);
	return string(sprintf '2014-%02d-%02dT%02d:%02d:%02d%s', pick(1, 9, 11), 1 + int rand 4,
		int rand 24, int rand 60, int rand 60,
		pick('Z', '+00', '.5Z', '+02:00', '-07:30', ''));
}

sub some_doc
{
	return pick('{"lang": "en", "n": 1}', '{"n":1.0,"lang":"en"}', '{"lang": "de"}', '{"lang": null}',
		'[1, 2]', '"scalar"', 'null', 'true', '{"lang": "en", "lang": "fr"}', '{"deep": {"er": [1, {"x": "y"}]}}');
}

# The columns, their types, and some value: how it is written, what it is
my @columns = (
	[ who => 'text', sub { string(pick('Ann', 'ann', 'Zoë', '', q(o'Neil), "t\tab", '😀' x 20, 'x' x 300)) } ],
	[ text => 'text', sub { string(join pick(' ', "\n"), map { pick(@tags, @noise) } 0 .. rand 6) } ],
	[ n => 'int4', sub { chance(0.05) ? ('1e1', 10) : number(int(rand 44) - 3) } ],
	[ small => 'int2', sub { number(int(rand 11) - 5) } ],
	[ big => 'int8', sub { number((int(rand 2_000_000_000) - 1_000_000_000) * 1_000_000_007) } ],
	[ amount => 'numeric', sub { number(pick('1.0', '1.00', '-0.50', '0', '123456789012345678901234.5678', '2.5e-3')) } ],
	[ odd => 'numeric', sub { chance(0.02) ? string(pick('NaN', 'Infinity')) : number(pick('1', '1.10', '-7.25')) } ],
	[ x => 'float8', sub { number(pick(0.25, -1.5, 1024, 3.75)) } ],
	[ f => 'float4', sub { number(pick(0.25, -1.5, 64, 7.75)) } ],
	[ wild => 'float8', sub { number(sprintf '%.6f', rand(2e6) - 1e6) } ],
	[ flag => 'boolean', sub { my $b = chance(0.5); ($b ? pick('true', '"yes"', '1', '"T"') : pick('false', '"off"', '0'), $b ? 't' : 'f') } ],
	[ day => 'date', sub { string(pick('2014-09-21', '2014-09-22', '20140921', '0044-03-15 BC', 'infinity')) } ],
	[ moment => 'timestamptz', \&some_time ],
	[ span => 'interval', sub { string(pick('1 day', '24:00:00', 'P1DT2H', '-3 minutes', '1 mon')) } ],
	[ id => 'uuid', sub { my $u = pick(@uuids); string(pick($u, uc $u, "{$u}")) } ],
	[ doc => 'jsonb', sub { my $d = some_doc(); ($d, $d) } ],
	[ labels => 'text[]', sub { string(pick('{}', '{a,b}', '{b,NULL,"c d"}', '{a,a,Ä}')) } ],
	[ items => 'jsonb', sub { my $d = pick('["a", "b", "a"]', '[]', '[1, null, {"a": 1}]', '{"not": "a list"}', '7'); ($d, $d) } ]);
my @metadata = (
	[ part => 'int4', 'partition' ],
	[ pos => 'int8', 'offset' ],
	[ sent => 'timestamptz', 'timestamp' ],
	[ msgkey => 'text', 'key' ],
	[ head => 'jsonb', 'headers' ]);

# What does not convert, by column
my %bad = (
	n => [ '"abc"', '1.5', '99999999999', '""', '[1]' ],
	amount => [ '"1,5"', 'true', '"--1"' ],
	moment => [ '"2014-13-01T00:00:00Z"', '"now"', '"soon"', '12' ],
	day => [ '"today"', '"2014-02-30"' ],
	id => [ '"not a uuid"', '5' ]);

# What is no message of this format at all
my @rubbish = ('', '{', '{"n": 1} x', "\xff\xfe", '{"text": "\\u0000"}', "{\"n\": 1}\0", '{"who": "\\ud800"}',
	"{\"who\": \"\xc0\xaf\"}", '{n: 1}', '[' x 10000);

# Each with its name and its type
sub columns { return @columns }

# ... and what it tells of a message
sub metadata { return @metadata }

# The columns whose values may not convert
sub may_be_bad { return sort keys %bad }

# A line for COPY
sub copy_line
{
	my %escape = ("\\" => '\\\\', "\n" => '\n', "\t" => '\t', "\r" => '\r');

	return join("\t", map { defined $_ ? s/([\\\n\t\r])/$escape{$1}/gr : '\N' } @_) . "\n";
}

sub members
{
	my ($row) = @_;
	my $broken = chance(0.04) ? pick(sort keys %bad) : undef;
	my @members;

	foreach my $column (@columns)
	{
		my ($name, $type, $some) = @$column;
		my ($json, $value) = $some->();
		my $written = chance(0.05) ? sprintf '"\\u%04x%s"', ord $name, substr $name, 1 : "\"$name\"";

		if (defined $broken && $broken eq $name)
		{
			($json, $value) = (pick(@{ $bad{$name} }), undef);
		}
		elsif (chance(0.08)) { ($json, $value) = (undef, undef) }
		elsif (chance(0.04)) { ($json, $value) = ('null', $type eq 'jsonb' ? 'null' : undef) }

		# Of two equal members the last one counts.
		push @members, "\"$name\": " . pick('1', 'null', '"first"', '{}') if defined $json && chance(0.03);
		push @members, $written . pick(':', ' : ') . $json if defined $json;
		$row->{$name} = $value;
	}
	push @members, '"unread": ' . some_doc() if chance(0.2);
	$row->{broken} = $broken;
	return encode('UTF-8', '{' . join(pick(',', ", \n"), @members) . '}');
}

# The message at an offset of a partition, and its row: of all columns, the
# metadata, and the name of what does not convert.  None where it is no
# message of this format.
sub message
{
	my ($partition, $offset) = @_;
	my $ms = 1_400_000_000_000 + int rand 1e10;
	my $key = pick(undef, '', 'k1', 'Schlüssel');
	my $lang = pick(undef, 'en', 'de');
	my %row = (
		part => $partition,
		pos => $offset,
		sent => strftime('%Y-%m-%d %H:%M:%S', gmtime int $ms / 1000) . sprintf('.%03d+00', $ms % 1000),
		msgkey => $key,
		head => defined $lang ? qq({"lang": "$lang"}) : '{}');
	my $is_rubbish = chance(0.03);
	# A tombstone, and JSON that is no object, have no members.
	my $value = $is_rubbish ? pick(@rubbish)
	  : chance(0.03) ? pick(undef, '[1, 2]', '5', 'null', '{}') : members(\%row);
	my $message = {
		partition => $partition,
		timestamp => $ms,
		key => $key,
		value => $value,
		headers => defined $lang ? [ 'lang', 'overruled', 'lang', $lang ] : [] };

	return $message if $is_rubbish;
	return ($message, copy_line(@row{ (map { $_->[0] } @columns, @metadata), 'broken' }));
}

1;
