=pod

=head1 NAME

StreamCount::Messages - random messages of three streams

=head1 DESCRIPTION

What the streams are, and messages for them: most are good, and some are bad
in every way that a producer finds.  What a message means is not said here:
StreamCount::Oracle asks PostgreSQL.  Everything is drawn by rand(), so a
seed gives the same messages again.

=cut

package StreamCount::Messages;

use strict;
use warnings;
use utf8;

use Encode;
use Exporter 'import';

our @EXPORT_OK = qw(pick chance json_string stream_names columns topic_message ddl);

sub pick { return $_[ int rand @_ ] }
sub chance { return rand() < $_[0] }

# ---------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------

my %short = ("\n" => '\n', "\t" => '\t', "\r" => '\r', "\b" => '\b', "\f" => '\f',
	'"' => '\"', '\\' => '\\\\', '/' => '\/');

sub escaped
{
	my ($code) = @_;
	my @units = $code < 0x10000 ? $code : (0xD800 + (($code - 0x10000) >> 10), 0xDC00 + ($code & 0x3FF));

	return join '', map { sprintf chance(0.5) ? '\\u%04x' : '\\u%04X', $_ } @units;
}

# A JSON string, its characters in any of the ways to write them
sub json_string
{
	my ($text) = @_;

	# Half of them as plainly as most producers write.
	my $oddity = chance(0.5) ? 0 : 0.1;

	$text =~ s{(.)}{
		my $c = $1;
		my $must = ord $c < 32 || $c eq '"' || $c eq '\\';

		!$must && !chance($oddity) ? $c
		  : $short{$c} && chance(0.7) ? $short{$c}
		  : escaped(ord $c)
	}gexs;
	return "\"$text\"";
}

sub number { return chance(0.85) ? "$_[0]" : json_string(pick('', '', ' ') . $_[0] . pick('', '', ' ')) }

# JSON of any kind, for any column: PostgreSQL says what it is worth there.
sub anything
{
	return pick('"abc"', '""', '" "', 'true', 'false', '"t"', '"off"', '0', '1', '-0', '-0.0', '1.50', '1e2', '1E-3',
		'12345678901234567890', '1e400', '-1e400', '1e-400', '32768', '-32769', '2147483648', '9223372036854775808',
		'"0x1F"', '"1_000"', '"1,5"', '"--1"', '"+7"', '"NaN"', '"-Infinity"', '"inf"', '"1.5"', '"12 "', '1.0',
		'0.' . '1' x 100, '"2014-02-30"', '"2014-13-01T00:00:00Z"', '"now"', '"today 10:00"', '"Yesterday"', '"soon"',
		'"2014-01-01 24:00:00"', '"2014-01-01 23:59:60"', '"2014-01-01T12:00:00+15:60"', '"2014-1-2"', '"20140102"',
		'"2014-01-02 BC"', '"epoch"', '"infinity"', '"-infinity"', '"2014-09-21 10:00 America/New_York"', '"10000-01-01"',
		'"294277-01-01"', '"Sep 21 2014"', '"9/21/2014"', '"2014-09-21T10:00:00,5Z"', '"abcdef"', '"abcde   "',
		'[1]', '[]', '{}', '{"a": 1}', '[1, [2, {"b": null}]]', '123456.789', '999999.995', '-1', '99999999999');
}

# The same, but no number whose sums as floats depend on the order
my %inexact = map { $_ => 1 } qw(12345678901234567890 9223372036854775808 2147483648 99999999999 1E-3 123456.789 999999.995
	"20140102" 32768 -32769), '0.' . '1' x 100;

sub anything_for
{
	my ($class) = @_;
	my $json;

	do { $json = anything() } while $class =~ /float|wild/ && $inexact{$json};
	return $json;
}

# ---------------------------------------------------------------------
# Values
# ---------------------------------------------------------------------

my @tags = ('#iphone', '#iPhone', '#IPHONE', '＃full', '#日本語', '#été', '#ÉTÉ', '#a_b', '#1st', '#ΣΊΣΥΦΟΣ', '#straße',
	'#İstanbul', '#한국', '#हिन्दी', '#тест', '#ТЕСТ', '#ไทย', '#עברית', '#عربي', '#ǅ', '#K', '#x', '#y');
my @noise = ('plain', '#1', 'a#glued', '&#8217;', '@user', '@User', '＠wide', '@user/list', 'http://x.org/#frag', "two\nlines",
	'q"uote', 'back\\slash', "tab\tbed", '😀', '#', '##', '$CASH', '$cash', '$goog.x', 'ends.', 'https://t.co/aB1?q=1',
	'example.com', 'http://日本.jp/å', 'mail@example.com', "\x{301}", '👨‍👩‍👧', '１２３', "b\bell", 'a/b');

sub words { return join pick(' ', ' ', "\n", '　'), map { pick(@tags, @noise) } 0 .. rand($_[0] // 6) }

sub text_value
{
	return json_string('#' . 'long' x pick(400, 499, 500, 501, 1500)) if chance(0.003);
	return json_string('ÿ' x pick(60, 999, 1001, 3000) . ' #after') if chance(0.003);
	return json_string(words());
}

sub two { return sprintf '%02d', $_[0] }

# Days on which some clock changes, and others
my @days = ('2014-03-09', '2014-11-02', '2014-11-01', '2014-04-06', '2014-10-05', '2014-09-21', '2014-09-22', '2014-12-29',
	'2015-01-01', '2016-02-29');

sub clock { return two(pick(0, 1, 2, 3, int rand 24)) . ':' . two(int rand 60) }

sub offset_of_time
{
	return pick('Z', 'Z', 'Z', '', '', '+00', '+02:00', '-07:30', '+0530', '-04', ' -04:00', 'z', '+10:30', '-00:00');
}

sub time_value
{
	return json_string(pick('0001-01-01T00:00:00Z', '9999-12-31T23:59:59.999999Z', '1969-12-31 23:59:59+00',
			'4000-02-29T12:00:00+14:00', '0044-03-15 12:00:00 BC', '1883-11-18 12:03:58Z', 'infinity', '-infinity',
			'2038-01-19T03:14:08Z', '1900-01-01', '1000-06-15T12:30:00', '294276-12-31T23:00:00Z', '1752-09-14T00:00:00+00'))
	  if chance(0.06);
	return json_string(pick(@days) . pick('T', 'T', ' ') . clock()
		  . pick(':' . two(int rand 60), ':' . two(int rand 60), '')
		  . pick('', '', '', '.5', '.123', '.123456', '.1234567', '.9999999')
		  . offset_of_time());
}

sub day_value
{
	return json_string(chance(0.9) ? pick(@days) : pick('20140921', '0044-03-15 BC', 'infinity', '9999-12-31', '0001-01-01',
			'2014-09-21T23:59:59', '2014-09-21 23:00-08', 'Sep 1, 2014'));
}

sub epoch_value
{
	my ($factor) = @_;
	my $seconds = 1_400_000_000 + int rand 4e7;

	return number(pick(0, -1, -62135596800, 253402300799, 4000000000000, 9224318016000, -210866803201, 1e19, '1.4e9'))
	  if chance(0.04);
	return number($factor == 1 ? $seconds . pick('', '', '.5', '.123456', '.1234567') : $seconds . two(int rand 100) . pick(0 .. 9));
}

sub twitter_value
{
	return json_string(sprintf '%s %s %02d %02d:%02d:%02d %s %d', pick(qw(Mon Wed Sun)), pick(qw(Jan Mar Aug Nov Nov)),
		1 + int rand 30, int rand 24, int rand 60, int rand 60, pick('+0000', '+0000', '-0430'), pick(2008, 2014));
}

sub doc_value
{
	return pick('{"lang": "en", "n": 1}', '{"n":1.0,"lang":"en"}', '{"lang": "de"}', '{"lang": null}', '[1, 2]', '"scalar"',
		'null', 'true', '{"lang": "en", "lang": "fr"}', '{"deep": {"er": [1, {"x": "y"}]}}', '{"lang":"#Été @you"}', '1.50', '1.5');
}

sub flag_value { return pick('true', 'true', 'false', 'false', 'false', '"yes"', '"off"', '1', '0', '"T"', '" f "') }

# Sums of these are exact in any order.
sub dyadic { return number(chance(0.005) ? pick('NaN', '-Infinity', 'Infinity') =~ s/(.*)/"$1"/r : pick(0.25, -1.5, 32, 3.75, 0, '-0.0', '1e1')) }

sub extreme_float
{
	return number(pick('1.7976931348623157e308', '-1.7976931348623157e308', '2.2250738585072014e-308', '5e-324', '0.1', '1e22',
			'123456789.123456789', '-0.0', '0', '9007199254740993', '0.30000000000000004', '1e23', '8.5e-5'));
}

# ---------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------

# name, type, class (what expressions may do with it), how a value is written
# in JSON, and column options.  The class of a metadata column is a dash
# where no query is to use it.
my %columns = (
	events => [
		[ who => 'text', 'text', sub { json_string(pick('Ann', 'ann', 'Zoë', '', q(o'Neil), "t\tab", '😀' x 20, 'x' x 200, 'bob', 'Bob')) } ],
		[ text => 'text', 'text', \&text_value ],
		[ n => 'integer', 'int', sub { number(chance(0.05) ? '1e1' : int(rand 44) - 3) } ],
		[ small => 'smallint', 'int', sub { number(int(rand 11) - 5) } ],
		[ big => 'bigint', 'big', sub { number(chance(0.05) ? '-9223372036854775808' : (int(rand 2e9) - 1e9) * 1_000_000_007) } ],
		[ edge => 'integer', 'edge', sub { number(chance(0.006) ? pick(0, 2147483647, -2147483648) : 1 + int rand 9) } ],
		[ amount => 'numeric', 'num', sub { number(pick('1.0', '1.00', '-0.50', '0', '-0', '123456789012345678901234.5678', '2.5e-3', '1e3', '1.50')) } ],
		[ odd => 'numeric', 'odd', sub { chance(0.03) ? json_string(pick('NaN', 'Infinity', '1e500')) : number(pick('1', '1.10', '-7.25')) } ],
		[ price => 'numeric(8,2)', 'num', sub { number(pick('1', '9.995', '-0.005', '999999.99', '12.3', '1e2', '0.00')) } ],
		[ code => 'character varying(5)', 'text', sub { json_string(pick('a', 'abcde', 'Ab', '', 'äöü', "x\n", 'de   ', 'x       ')) } ],
		[ x => 'double precision', 'float', \&dyadic ],
		[ f => 'real', 'float', \&dyadic ],
		[ wild => 'double precision', 'wild', sub { number(sprintf '%.3f', rand(2e3) - 1e3) } ],
		[ far => 'double precision', 'far', \&extreme_float ],
		[ flag => 'boolean', 'bool', \&flag_value ],
		[ day => 'date', 'date', \&day_value ],
		[ at => 'timestamp with time zone', 'tstz', \&time_value ],
		[ local => 'timestamp without time zone', 'ts', \&time_value ],
		[ doc => 'jsonb', 'jsonb', \&doc_value ],
		[ id => 'uuid', 'uuid', sub { my $u = sprintf '%08x-0000-4000-8000-%012x', 7 * int rand 5, 1; json_string(pick($u, uc $u, "{$u}")) } ],
		[ span => 'interval', 'interval', sub { json_string(pick('1 day', '24:00:00', 'P1DT2H', '-3 minutes', '1 mon')) } ],
		[ part => 'integer', 'int', undef, metadata => 'partition' ],
		[ pos => 'bigint', 'big', undef, metadata => 'offset' ],
		[ sent => 'timestamp with time zone', 'tstz', undef, metadata => 'timestamp' ],
		[ rawkey => 'bytea', 'bytea', undef, metadata => 'key' ] ],
	tweets => [
		[ id => 'bigint', 'big', sub { number(chance(0.02) ? pick('-1', '9223372036854775807') : 500_000_000_000 + int rand 2000) }, not_null => 1 ],
		[ body => 'text', 'text', \&text_value, path => 'text' ],
		[ made => 'timestamp with time zone', 'tstz', \&twitter_value, path => 'created_at', time_format => 'twitter' ],
		[ made_local => 'timestamp without time zone', 'ts', \&twitter_value, path => 'created_at', time_format => 'twitter' ],
		[ screen => 'text', 'text', sub { json_string(pick('Ann', 'ann', 'a_b', 'ÄÖ', 'bot7')) }, path => 'user.screen_name' ],
		[ followers => 'integer', 'int', sub { number(int rand 40) }, path => '{user,followers.count}' ],
		[ sec => 'timestamp with time zone', 'tstz', sub { epoch_value(1) }, time_format => 'epoch_s' ],
		[ ms => 'timestamp without time zone', 'ts', sub { epoch_value(1000) }, time_format => 'epoch_ms', time_zone => 'Asia/Kolkata' ],
		[ ny => 'timestamp with time zone', 'tstz', \&time_value, time_zone => 'America/New_York' ],
		[ lh => 'timestamp(3) with time zone', 'tstz', \&time_value, time_zone => 'Australia/Lord_Howe' ],
		[ lang => 'text', 'text', sub { json_string(pick('en', 'de', 'EN', '')) }, default => 'und' ],
		[ score => 'smallint', 'int', sub { number(int(rand 9) - 2) }, default => '7' ],
		[ likes => 'integer', 'edge', sub { number(chance(0.006) ? pick(0, 2147483647) : 1 + int rand 7) }, on_error => 'null' ],
		[ seen => 'timestamp with time zone', 'tstz', sub { chance(0.1) ? '"soon"' : time_value() }, on_error => 'null' ],
		[ first => 'jsonb', 'jsonb', \&doc_value, path => '{tags,0}' ],
		[ second => 'character varying(5)', 'text', sub { json_string(pick('a', 'b', 'abc', '#éé')) }, path => 'tags.1' ],
		[ whole => 'jsonb', '-', undef, path => '' ],
		[ ratio => 'real', 'float', \&dyadic ],
		[ wild => 'double precision', 'wild', sub { number(sprintf '%.2f', rand(2e3) - 1e3) } ],
		[ ok => 'boolean', 'bool', \&flag_value ],
		[ amount => 'numeric(8,2)', 'num', sub { number(pick('1', '9.995', '-0.005', '12.3')) } ],
		[ day => 'date', 'date', \&day_value ],
		[ part => 'integer', 'int', undef, metadata => 'partition' ],
		[ pos => 'bigint', 'big', undef, metadata => 'offset' ],
		[ sent => 'timestamp with time zone', 'tstz', undef, metadata => 'timestamp' ],
		[ mkey => 'text', 'text', undef, metadata => 'key' ],
		[ head => 'jsonb', 'jsonb', undef, metadata => 'headers' ] ],
	lines => [
		[ line => 'text', 'text', undef ],
		[ part => 'integer', 'int', undef, metadata => 'partition' ],
		[ pos => 'bigint', 'big', undef, metadata => 'offset' ],
		[ sent => 'timestamp with time zone', 'tstz', undef, metadata => 'timestamp' ],
		[ mkey => 'text', 'text', undef, metadata => 'key' ],
		[ topic => 'text', 'text', undef, metadata => 'topic' ],
		[ bytes => 'bytea', 'bytea', undef, metadata => 'value' ] ]);

foreach my $name (keys %columns)
{
	$_ = { name => $_->[0], type => $_->[1], class => $_->[2], some => $_->[3], @$_[ 4 .. $#$_ ] }
	  foreach @{ $columns{$name} };
}

sub stream_names { return qw(events tweets lines) }
sub columns { return @{ $columns{ $_[0] } } }

sub ddl
{
	my ($stream) = @_;
	my @lines = map {
		my $c = $_;
		my @options = map { defined $c->{$_} ? "$_ '$c->{$_}'" : () } qw(path metadata time_format time_zone on_error);

		"$c->{name} $c->{type}"
		  . (@options ? ' OPTIONS (' . join(', ', @options) . ')' : '')
		  . ($c->{not_null} ? ' NOT NULL' : '')
		  . (defined $c->{default} ? " DEFAULT '$c->{default}'" : '')
	} columns($stream);

	return "CREATE FOREIGN TABLE $stream (" . join(', ', @lines) . ') SERVER streamcount'
	  . " OPTIONS (topic '$stream', reject_limit '0'" . ($stream eq 'lines' ? ", format 'text'" : '') . ');';
}

# ---------------------------------------------------------------------
# Messages
# ---------------------------------------------------------------------

# What is no message of the format at all
my @rubbish = ('', ' ', '{', '{"n": 1} x', "\xff\xfe", '{"text": "\\u0000"}', "{\"n\": 1}\0", '{"who": "\\ud800"}',
	'{"other": "\\udc00\\ud800"}', "{\"who\": \"\xc0\xaf\"}", "{\"text\": \"#caf\xc3\"}", "{\"text\": \"\xed\xa0\x80\"}", '{n: 1}',
	'{"n": 01}', '{"n": +1}', '{"n": .5}', '{"n": 1.}', '{"n": NaN}', '{"n": 1,}', "{\"text\": \"a\nb\"}", '{"text": "\\x41"}',
	'{"n": 1 "small": 2}', '[' x 10000, '{"text": "', "\xef\xbb\xbf{}", '{"n": tru}', '{"n": 1e}', '{"a": {"b": [}}',
	'{"text": "\\u12g4"}', 'nul', '{"unread": "\\u0000"}', "{\"unread\": \"\xff\"}", '{"n": -}', "{'n': 1}");

# A tree of members by their paths, so that user.a and user.b are one object
sub put
{
	my ($tree, $json, $first, @rest) = @_;

	return push @$tree, [ $first, $json ] unless @rest;
	my ($below) = grep { $_->[0] eq $first && ref $_->[1] } @$tree;
	push @$tree, $below = [ $first, [] ] unless $below;
	return put($below->[1], $json, @rest);
}

sub written
{
	my ($tree) = @_;
	my @members;

	return '[' . join(', ', map { ref $_->[1] ? written($_->[1]) : $_->[1] } @$tree) . ']'
	  if @$tree && $tree->[0][0] =~ /^\d+$/;
	foreach my $member (@$tree)
	{
		my ($name, $json) = @$member;
		my $key = chance(0.03) ? sprintf '"\\u%04x%s"', ord $name, substr $name, 1 : "\"$name\"";

		$json = written($json) if ref $json;
		# Of two equal members the last one counts.
		push @members, "\"$name\": " . anything() if chance(0.02);
		push @members, $key . pick(':', ' : ', ': ') . $json;
	}
	return pick('{', '{ ', "\n{") . join(pick(',', ", \n", ",\t"), @members) . '}';
}

sub path_of
{
	my ($c) = @_;
	my $path = $c->{path} // $c->{name};

	return $path =~ /^\{(.*)\}$/ ? split /,/, $1 : split /\./, $path;
}

sub document
{
	my ($stream) = @_;
	my $tree = [];
	my %seen;
	my @columns = grep { $_->{some} } columns($stream);

	@columns = reverse @columns if chance(0.2);
	foreach my $c (@columns)
	{
		my @path = path_of($c);
		my $required = $c->{not_null} ? 0.1 : 1;

		# The elements of an array are all there.
		next if $seen{"@path"}++ || ($path[-1] !~ /^\d+$/ && chance(0.06 * $required));
		put($tree, chance(0.03 * $required) ? 'null' : chance(0.015) ? anything_for($c->{class}) : $c->{some}->(), @path);
	}
	put($tree, pick(doc_value(), anything(), json_string('}],"' . words())), 'unread') if chance(0.2);
	return encode('UTF-8', written($tree));
}

sub json_payload
{
	my ($stream) = @_;

	return pick(@rubbish) if chance(0.02);
	return undef if chance(0.015);
	return pick('[1, 2]', '5', 'null', '{}', '"text"', 'true', "\t{} ", '[{"n": 1}]', '-0', '1e5')
	  if chance(0.015);
	return '{"n": 1, "id": 1, "unread": ' . '[' x $_ . ']' x $_ . '}' for grep { chance(0.001) } 30, 1000;
	return '[' x 100_000 . ']' x 100_000 if chance(0.0005);
	return document($stream);
}

sub text_payload
{
	return pick("\xff", "a\0b", "caf\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80") if chance(0.02);
	return undef if chance(0.02);
	return '' if chance(0.02);
	return encode('UTF-8', '#' . 'lång' x pick(300, 400, 401, 1500)) if chance(0.004);
	return encode('UTF-8', words(4));
}

# A message as StreamCount::Broker takes it
sub topic_message
{
	my ($stream, $partition) = @_;
	my $lang = pick(undef, 'en', 'de');

	return {
		partition => $partition,
		timestamp => 1_400_000_000_000 + int rand 3e10,
		key => chance(0.01) ? "\xff\0" : encode('UTF-8', pick('', 'k1', 'Schlüssel', 'K2') // ''),
		(chance(0.2) ? (key => undef) : ()),
		value => $stream eq 'lines' ? text_payload() : json_payload($stream),
		headers => defined $lang ? [ 'lang', $lang ] : [] };
}

1;
