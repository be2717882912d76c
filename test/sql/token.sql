SET client_encoding = 'UTF8';
-- widths of characters change with psql's version
\pset format unaligned
\pset tuples_only on

-- Hashtags of many scripts; folding is Unicode's, whatever the locale.
SELECT why, ARRAY(SELECT streamcount.hashtags(t)) FROM (VALUES
	('empty', ''),
	('none', 'no tag at all, C# and # alone'),
	('in order, each time', '#b #a #B #b'),
	('Latin', '#Ünïcode #ÉCOLE #Łódź #ŒUVRE #naïve'),
	('Greek', '#ΣΊΣΥΦΟΣ #Σίσυφος #ς'),
	('Cyrillic', '#МОСКВА #Ѐ #Ӏ'),
	('Armenian, Georgian', '#ՄԱՀԱԹՄԱ #ᲛᲐᲰᲐ #მაჰა'),
	('Cherokee, upper case', '#ꮳꮃꭹ #ᏣᎳᎩ'),
	('Adlam, Deseret', '#𞤀𞤁 #𐐀𐐁'),
	('Arabic, Persian, Hebrew', '#العربية #می‌خواهم #مرحبا_٤٠٦ #עַל־יְדֵי'),
	('Indic', '#महात्मा_१२३४ #தமிழ் #ශ්‍රීලංකා'),
	('Thai, Tibetan, Khmer', '#ผู้เริ่ม #བོད་སྐད་ #មហាត្មះ'),
	('Japanese, Chinese, Korean', '#サッカー #ｻｯｶｰ #各〃 #漢字 #트위터 #メ～テレ'),
	('beyond the BMP', '#𠀡 #𖼄𖽑 #A𐒠'),
	('decomposed stays decomposed', U&'#Cafe\0301 #CAF\00C9')
) AS v (why, t);

-- What simple folding changes, and what it leaves alone: it never changes the
-- number of characters, and knows no language.
SELECT why, t, encode(convert_to(t, 'UTF8'), 'hex') FROM (VALUES
	('dotted capital I', '#İ'), ('dotless i', '#ı'), ('I', '#I'),
	('final sigma', '#ς'), ('sharp s', '#ß'), ('capital sharp s', '#ẞ'),
	('Kelvin', U&'#\212A'), ('Angstrom', U&'#\212B'), ('Ohm', U&'#\2126'), ('long s', U&'#\017F'),
	('digraph', '#Ǆ'), ('title case digraph', '#ǅ'), ('ligature', '#ﬁ'),
	('micro', '#µ'), ('iota below', U&'#\0345a'), ('longer by a byte', '#ȺȾ')
) AS v (why, input), streamcount.hashtags(input) AS t;

-- Signs.
SELECT why, ARRAY(SELECT streamcount.hashtags(t)) FROM (VALUES
	('full-width', '＃ｔａｇ　＃ＴＡＧ ＃Tag #tag'),
	('after a letter', 'a#b 日#本 1#c _#d'),
	('after punctuation', '(#a) [#b] "#c" ’#d :#e .#f !#g'),
	('after a sign', '##a #＃b #a#b #c＃d #e #f'),
	('HTML', '&#39;m &#x27;s &amp;#a &lt;#b&gt;'),
	('no letter', '#1 #_ #1_2 #〃 #・'),
	('digits first', '#1a #2014年'),
	('followed by ://', '#http://x.com #https://x.com #a:/ #b:'),
	('keycap', '#️⃣ #⃣ #️a'),
	('emoji', '✌#a ✌️#b ✌︎#c ✌🏿#d 👨‍👩‍👧#e #f😀 #😀 #g✌️#h'),
	('zero-width joiners are part of a tag', '#‍a #b‍'),
	('middle dot, but not full stop', '#il·lusió #a.b #c-d #e''f'),
	('line ends', E'#a\n#b\r\n#c\t#d'),
	('spaces of all kinds', '# a #　b #c #d e')
) AS v (why, t);

-- A hashtag in a URL is none; one that reaches into a URL is one.
SELECT why, ARRAY(SELECT streamcount.hashtags(t)), ARRAY(SELECT streamcount.urls(t)) FROM (VALUES
	('fragment', 'http://x.com/#a http://x.com/b#c/#d #e'),
	('without protocol', 'x.com/#a x.com#b x.com/ #c'),
	('query', 'http://x.com?q=#a http://x.com?#b'),
	('no URL', 'http://x/#a x.nosuch/#b x./#c'),
	('short URL ends before', 'http://t.co/abc/#a http://t.co/abc-#b'),
	('parentheses', '(x.com/(#a)) x.com/((#b)) x.com/(((#c)))'),
	('tag first', '#日x.com/#a ＃x.com/#b'),
	('far behind the dot', 'x.com/' || repeat('-', 100) || '#a ' || repeat('-', 100) || '#b'),
	('several in a row', 'x.com/#a/#b/#c #d')
) AS v (why, t);

-- Length is no limit.
SELECT length(t), t = '#' || repeat('x', 100000)
FROM streamcount.hashtags('#' || repeat('X', 100000)) AS t;
SELECT length(t), octet_length(t), t = '#' || repeat('ⱥ', 100000)
FROM streamcount.hashtags('＃' || repeat('Ⱥ', 100000)) AS t;
SELECT count(*), count(DISTINCT t) FROM streamcount.hashtags(repeat('#a #B ', 50000)) AS t;

-- Mentions.
SELECT why, ARRAY(SELECT streamcount.mentions(t)) FROM (VALUES
	('fold', '@Bob ＠ALICE @a_1 @12345'),
	('20 characters', '@abcdefghij1234567890 @abcdefghij1234567890x'),
	('before', 'a@b 日@b .@c (@d) -@e &@f !@g #@h $@i @@j /@k'),
	('RT', 'RT@a rt:@b Rt@c xRT@d .RT@e,RT@f'),
	('after', '@a@b @c＠d @eé @f日 @g:// @h: @i.'),
	('e-mail', 'me@example.com @me@example.com'),
	('a list is no mention', '@a/list @b/1 @c/ @d'),
	('in a URL', 'https://youtube.com/@a x.com/b?c=@d x.nosuch/@e http://＠f.com')
) AS v (why, t);

-- Cashtags.
SELECT why, ARRAY(SELECT streamcount.cashtags(t)) FROM (VALUES
	('fold', '$AAPL $aapl $Brk.A $bf_b'),
	('length', '$ABCDEF $ABCDEFG $A.BC $A.BCD $A_'),
	('before', 'US$A ($B $$C $D$E' || U&' \202A$F\3000$G'),
	('after', '$A, $B. $C! "$D" $E1 $Fé $G日 $H' || U&'\3000x'),
	('amounts', '$5 $1.99 $$ $')
) AS v (why, t);

-- URLs, as they stand.
SELECT why, ARRAY(SELECT streamcount.urls(t)) FROM (VALUES
	('protocol', 'http://X.com HTTPS://x.com/A ftp://y.org xhttp://z.org'),
	('top-level domains', 'x.com x.nosuch x.xn--ls8h みんな.みんな http://みんな.みんな x.みんな x.嘉里大酒店'),
	('Kelvin is no k', U&'http://x.u\212A http://x.uK'),
	('sentence', 'See x.com. Or x.com/a, y.com/b! (z.com/c)'),
	('text without spaces', '日本x.com日本t.co/a한국y.org'),
	('before', '#x.com @x.com $x.com _x.com -x.com a@x.com'),
	('labels', 'http://-a.com http://a-.com http://a_b.com http://a_b.c.com http://a..com'),
	('no number, no file', '3.14 1.2.3 a.tar.bz2 e.g. i.e. ...'),
	('accents', ' école.fr http://école.fr'),
	('port, path, query', 'x.com:80/a?b=c http://x.com:80?q=1. http://x.com?'),
	('parentheses', 'http://x.com/a_(b) http://x.com/a_(b_(c)) http://x.com/a_(b'),
	('short URLs', 'http://t.co/abc''s http://t.co/abc? http://t.co/abc?d=e http://t.co/' || repeat('a', 41)),
	('long label', 'http://' || repeat('a', 63) || '.com http://' || repeat('b', 64) || '.com'),
	('long label in Punycode', 'http://' || repeat('あ', 30) || '.com'),
	('directional marks', U&'\2066\202Ax.com\202C\2069')
) AS v (why, t);
SELECT length(t) FROM streamcount.urls('http://x.com/' || repeat('a', 4083)) AS t;
SELECT length(t) FROM streamcount.urls('http://x.com/' || repeat('a', 4084)) AS t;

-- Words.
SELECT why, ARRAY(SELECT streamcount.words(t)) FROM (VALUES
	('empty', ''), ('no word', '... --- !!! 😀 ___ '''),
	('fold', 'Hello, WORLD! Straße ΣΊΣΥΦΟΣ'),
	('apostrophes', 'Don''t ''quote'' rock ''n'' roll l’été O''' || ' dogs'' x''''y 90''s'),
	('joiners', U&'il\00B7lusi\00F3 a\00B7 \0645\06CC\200C\062E\0648\0627\0647\0645 \200Da\200D'),
	('digits and underscores', 'a1 1a 3.14 snake_case _x_ ٤٠٦'),
	('marks', U&'Cafe\0301 \0301x \FE0F y'),
	('no spaces', '日本語テキスト、한국어 ภาษาไทย'),
	('signs', '#tag @name $AAPL http://x.com/a?b')
) AS v (why, t);

-- NULL gives no row; the collation is the default; a streamed select list works.
SELECT count(*) FROM streamcount.hashtags(NULL);
SELECT pg_collation_for(t) FROM streamcount.hashtags('#a') AS t;
SELECT streamcount.hashtags(t), streamcount.mentions(t) FROM (VALUES ('#a @b #c'), ('@d')) AS v (t);
SELECT proname, provolatile, proisstrict, proparallel, proretset, prorows
FROM pg_proc WHERE pronamespace = 'streamcount'::regnamespace
	AND proname IN ('hashtags', 'mentions', 'cashtags', 'urls', 'words') ORDER BY proname;

-- From a compressed and from an out-of-line value.
CREATE TEMPORARY TABLE long_texts (t text);
INSERT INTO long_texts SELECT repeat('#Long text ', 20000);
ALTER TABLE long_texts ALTER t SET STORAGE EXTERNAL;
INSERT INTO long_texts SELECT repeat('#Long text ', 20000);
SELECT tag, count(*) FROM long_texts, streamcount.hashtags(t) AS tag GROUP BY tag;
