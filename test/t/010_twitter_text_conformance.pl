# The tokenizers against twitter-text's conformance suite: every case that
# speaks of hashtags, mentions, cashtags or URLs.
#
# The suite is no part of the project, so this is not a regression test.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use StreamCount::Fold 'fold';
use Test::More;

my $suite = "$FindBin::RealBin/../../../shared/data/tokenizers";

plan skip_all => 'shared data/tokenizers is not here' unless -d $suite;

my $node = PostgreSQL::Test::Cluster->new('conformance');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

my $json = JSON::PP->new->utf8;
my %sign = (hashtags => '#', mentions => '@', cashtags => '$', urls => '');
my ($cases, $passed) = (0, 0);

sub tests_of
{
	my ($file) = @_;

	return $json->decode(slurp_file("$suite/$file.json"))->{tests};
}

# The tokens that a function finds in each text.
sub tokens
{
	my ($function, @texts) = @_;
	my $literal = $json->encode(\@texts);

	$literal =~ s/'/''/g;
	return $json->decode($node->safe_psql('postgres', qq{
		SELECT json_agg(ARRAY(SELECT streamcount.$function(t)) ORDER BY n)
		FROM json_array_elements_text('$literal') WITH ORDINALITY AS texts (t, n)}));
}

# Each test is [text, description, tokens as the suite has them].
sub check
{
	my ($function, $name, @tests) = @_;
	my @tokens = @{ tokens($function, map { $_->[0] } @tests) };
	my @wrong;

	# twitter-text extracts URLs without a protocol, but makes no links of them
	@tokens = map { [ grep { m{^https?://}i } @$_ ] } @tokens
	  if $function eq 'urls' && $name =~ /^autolink/;

	cmp_ok(scalar @tests, '>', 0, "$name has cases");
	foreach my $i (0 .. $#tests)
	{
		my ($text, $description, @expected) = @{ $tests[$i] };
		my $expected = $json->encode([
			map { $function eq 'urls' ? $_ : fold($sign{$function} . $_) } @expected ]);
		my $found = $json->encode($tokens[$i]);

		$cases++;
		if ($found eq $expected)
		{
			$passed++;
			next;
		}
		push @wrong, "$description: " . $json->encode([$text]) . ": found $found, expected $expected";
	}
	is(join("\n", @wrong), '', "D17: $name: all " . @tests . ' cases');
}

# extract: plain lists, and lists with the position of each token
my $extract = tests_of('extract');
my @sections = (
	[ 'hashtags', 'hashtags' ], [ 'hashtags', 'hashtags_from_astral' ],
	[ 'hashtags', 'hashtags_with_indices', 'hashtag' ],
	[ 'mentions', 'mentions' ], [ 'mentions', 'mentions_with_indices', 'screen_name' ],
	[ 'mentions', 'mentions_or_lists_with_indices', 'screen_name' ],
	[ 'cashtags', 'cashtags' ], [ 'cashtags', 'cashtags_with_indices', 'cashtag' ],
	[ 'urls', 'urls' ], [ 'urls', 'urls_with_indices', 'url' ],
	[ 'urls', 'urls_with_directional_markers', 'url' ], [ 'urls', 'tco_urls_with_params' ]);

foreach my $section (@sections)
{
	my ($function, $name, $field) = @$section;
	my @tests;

	foreach my $case (@{ $extract->{$name} })
	{
		# a list of somebody's is not a mention
		my @expected = grep { !ref || ($_->{list_slug} // '') eq '' } @{ $case->{expected} };

		foreach my $entity ($field ? @expected : ())
		{
			my ($from, $to) = @{ $entity->{indices} };
			my $length = length $sign{$function};

			die "$case->{description}: the text is not at its place\n"
			  if substr($case->{text}, $from + $length, $to - $from - $length) ne $entity->{$field};
		}
		push @tests, [ $case->{text}, $case->{description}, map { $field ? $_->{$field} : $_ } @expected ];
	}
	check($function, "extract $name", @tests);
}

# A reply is a mention at the very start: where there is none, nothing that
# begins with the sign is a mention.
my @replies = grep { defined $_->{expected} || $_->{text} =~ /^@/ } @{ $extract->{replies} };
check('mentions', 'extract replies',
	map { [ $_->{text}, $_->{description}, $_->{expected} // () ] } @replies);

# autolink: what is made a link, by its class
my %class = (hashtags => 'hashtag', usernames => 'username', lists => 'username',
	cashtags => 'cashtag', urls => '');
my %function = (usernames => 'mentions', lists => 'mentions');

sub links
{
	my ($html, $class) = @_;
	my @found;

	while ($html =~ m{<a ([^>]*)>(.*?)</a>}gs)
	{
		my ($attributes, $content) = ($1, $2);
		my ($of) = $attributes =~ /class="tweet-url ([\w-]+)/;

		next if ($of // '') ne $class;
		# a full-width sign is inside the link
		$content =~ s/^[#\x{FF03}\$]// if $class ne '';
		$content =~ s/&(amp|lt|gt|quot|#39);/{amp => '&', lt => '<', gt => '>', quot => '"', '#39' => "'"}->{$1}/ge;
		push @found, $content;
	}
	return @found;
}

my $autolink = tests_of('autolink');
foreach my $name (sort keys %class)
{
	check($function{$name} // $name, "autolink $name",
		map { [ $_->{text}, $_->{description}, links($_->{expected}, $class{$name}) ] }
		@{ $autolink->{$name} });
	check($function{$name} // $name, "autolink all: $name",
		map { [ $_->{text}, $_->{description}, links($_->{expected}, $class{$name}) ] }
		@{ $autolink->{all} }) if $name ne 'lists';
}

# validate: a text that is one tag from its start to its end
my $validate = tests_of('validate');
foreach my $name (qw(hashtags usernames))
{
	my $function = $function{$name} // $name;
	my @texts = map { $_->{text} } @{ $validate->{$name} };
	my @tokens = @{ tokens($function, @texts) };

	foreach my $i (0 .. $#texts)
	{
		my $one = @{ $tokens[$i] } == 1 && $tokens[$i][0] eq fold($texts[$i]);

		$cases++;
		$passed++
		  if is(!!$one, !!$validate->{$name}[$i]{expected}, "validate $name: $validate->{$name}[$i]{description}");
	}
}

# every top-level domain
my $tlds = tests_of('tlds');
check('urls', "tlds $_", map { [ $_->{text}, $_->{description}, @{ $_->{expected} } ] } @{ $tlds->{$_} })
  foreach sort keys %$tlds;

note "$passed of $cases cases pass";

# Another encoding cannot give the same tokens.
foreach my $encoding (qw(LATIN1 SQL_ASCII))
{
	my $database = lc "in_$encoding";

	$node->safe_psql('postgres',
		"CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LOCALE 'C'");
	$node->safe_psql($database, 'CREATE EXTENSION streamcount');
	foreach my $function (sort(keys %sign), 'words')
	{
		my (undef, undef, $stderr) =
		  $node->psql($database, "\\set VERBOSITY verbose\nSELECT streamcount.$function('#a')");

		like($stderr, qr/0A000: tokenizers need a database with encoding "UTF8".*DETAIL:.*"$encoding"/s,
			"D19: $function() refuses $encoding");
	}
}

$node->stop;
done_testing();
