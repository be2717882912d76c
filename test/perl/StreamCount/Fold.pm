# Simple case folding as Perl's own copy of the Unicode database has it: a
# judge of the tokenizers' folding.
package StreamCount::Fold;

use strict;
use warnings;

use Exporter 'import';
use Unicode::UCD 'casefold';

our @EXPORT_OK = qw(fold);

my %folded;

sub fold
{
	my ($text) = @_;

	$text =~ s/(.)/$folded{$1} \/\/= fold_char($1)/ges;
	return $text;
}

sub fold_char
{
	my ($char) = @_;
	my $folding = casefold(ord $char);

	return $folding && $folding->{simple} ne '' ? chr hex $folding->{simple} : $char;
}

1;
