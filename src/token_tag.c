/*-------------------------------------------------------------------------
 *
 * token_tag.c
 *		Hashtags, mentions and cashtags.
 *
 * The rules are those of twitter-text (https://github.com/twitter/
 * twitter-text), whose conformance suite decides.  It finds each kind by a
 * regular expression that consumes the character before the sign; "floor"
 * is how far that has got.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token_char.h"
#include "token_tag.h"
#include "token_url.h"

#define MENTION_MAX 20			/* characters of a name */
#define LIST_MAX 25				/* of a list's name after the slash */
#define CASHTAG_MAX 6
#define CASHTAG_SUFFIX_MAX 2

#define URL_LOOK_BACK 64

#define WIDE_LEN 3				/* bytes of a full-width sign */

static const char *const wide_hash = "\xEF\xBC\x83";
static const char *const wide_at = "\xEF\xBC\xA0";

static const char *
find_byte(const char *p, const char *end, char c)
{
	const char *found = p < end ? memchr(p, c, end - p) : NULL;

	return found ? found : end;
}

static const char *
find_wide(const char *p, const char *end, const char *wide)
{
	for (;;)
	{
		p = find_byte(p, end, wide[0]);
		if (p == end || sc_token_has(p, end, wide, WIDE_LEN))
			return p;
		p++;
	}
}

/*
 * Find the next sign, of either width.  Both are remembered, so that a text
 * is searched once for each however many of the other it has.
 */
static bool
next_sign(ScTokens *t, char narrow, const char *wide, ScToken *token)
{
	if (t->sign == NULL || t->sign < t->pos)
		t->sign = find_byte(t->pos, t->end, narrow);
	if (t->wide_sign == NULL || t->wide_sign < t->pos)
		t->wide_sign = find_wide(t->pos, t->end, wide);

	token->text = Min(t->sign, t->wide_sign);
	if (token->text == t->end)
		return false;
	token->sign = narrow;
	token->sign_len = token->text == t->sign ? 1 : WIDE_LEN;
	t->pos = token->text + token->sign_len;
	return true;
}

/*
 * Whether the tag at start is part of a URL.  As in twitter-text, of two
 * entities that overlap the first one stays: a URL into which a tag reaches
 * covers nothing.
 */
static bool
in_url(ScTokens *t, const char *start)
{
	while (!t->urls_done && (t->url_start == NULL || t->url_end <= start))
	{
		if (!sc_token_next_url(&t->urls, &t->url_start, &t->url_end))
			t->urls_done = true;
		else
			t->url_dropped = t->tag_start < t->url_start &&
				t->url_start < t->tag_end;
	}
	return !t->urls_done && !t->url_dropped && t->url_start < start;
}

/* Whether a URL may hold this character right before a narrow sign. */
static bool
may_be_in_url(uint32 before)
{
	if (before < 0x80)
		return (sc_token_ascii_url[before] & (SC_URL_PATH | SC_URL_QUERY)) ||
			before == '(' || before == ')';
	return before == 0x2013 || (before >= 0x400 && before <= 0x4FF) ||
		(sc_token_class(before) & SC_CHAR_LATIN);
}

/*
 * Whether a URL may reach as far as a narrow sign: it has a dot, but no space.
 * Looking back a few bytes mostly spares the search for URLs.
 */
static bool
url_may_reach(const ScTokens *t, const char *sign)
{
	const char *p = sign;

	while (p > t->text && sign - p < URL_LOOK_BACK)
	{
		p--;
		if (*p == '.')
			return true;
		if (*p == ' ')
			return false;
	}
	return p > t->text;
}

/* Give the tag, which ends at the current position, unless a URL has it. */
static bool
take_tag(ScTokens *t, ScToken *token, uint32 before)
{
	if (token->text > t->text &&
		(token->sign_len == WIDE_LEN ||
		 (may_be_in_url(before) && url_may_reach(t, token->text))) &&
		in_url(t, token->text))
		return false;

	t->tag_start = token->text;
	t->tag_end = t->pos;
	if (t->url_start && t->tag_start < t->url_start &&
		t->url_start < t->tag_end)
		t->url_dropped = true;

	token->len = t->pos - token->text;
	return true;
}

/* Skip what a hashtag may hold, and say of which classes it was. */
static const char *
skip_tag(const char *p, const char *end, uint8 *classes)
{
	uint8		seen = 0;

	while (p < end)
	{
		const char *next = p;
		uint8		class;

		if (sc_token_is_ascii(*p))
		{
			class = sc_token_ascii_class(*p);
			next++;
		}
		else
			class = sc_token_class(sc_token_decode_long(&next, end));
		if (!(class & SC_CHAR_TAG))
			break;
		seen |= class;
		p = next;
	}
	*classes = seen;
	return p;
}

bool
sc_token_next_hashtag(ScTokens *t, ScToken *token)
{
	while (next_sign(t, '#', wide_hash, token))
	{
		uint32		before = 0;
		const char *at;
		uint8		classes;

		if (token->text > t->text)
		{
			if (token->text == t->floor)
				continue;
			before = sc_token_char_before(t->text, token->text, &at);
			/* '&': an HTML entity; variation selectors: after an emoji */
			if (before == '&' ||
				((sc_token_class(before) & SC_CHAR_TAG) &&
				 before != 0xFE0E && before != 0xFE0F))
				continue;
		}
		/* an emoji: variation selector 16, or the enclosing keycap */
		if (sc_token_has(t->pos, t->end, "\xEF\xB8\x8F", 3) ||
			sc_token_has(t->pos, t->end, "\xE2\x83\xA3", 3))
			continue;

		at = skip_tag(t->pos, t->end, &classes);
		if (!(classes & SC_CHAR_ALPHA))
			continue;
		t->pos = t->floor = at;
		if (at < t->end &&
			(*at == '#' || sc_token_has(at, t->end, wide_hash, WIDE_LEN) ||
			 sc_token_has(at, t->end, "://", 3)))
			continue;
		token->as_is = token->sign_len == 1 && !(classes & SC_CHAR_FOLDS);
		if (take_tag(t, token, before))
			return true;
	}
	return false;
}

/*
 * Whether the sign of a mention may stand where it stands: at the start,
 * after a character that is neither of a name nor one of a few signs, or
 * after "RT", which itself must not end a word.
 */
static bool
mention_begins(const ScTokens *t, const char *sign, uint32 *before)
{
	const char *at;
	uint32		c;

	*before = 0;
	if (sign == t->text)
		return true;
	if (sign == t->floor)
		return false;
	*before = c = sc_token_char_before(t->text, sign, &at);
	if (c >= 0x80)
		return c != 0xFF20;
	if (!sc_token_is_alnum(c))
		return memchr("_!#$%&*@", c, 8) == NULL;

	if ((c != 't' && c != 'T') || at <= t->floor ||
		(at[-1] != 'r' && at[-1] != 'R'))
		return false;
	at--;
	if (at == t->text)
		return true;
	if (at <= t->floor)
		return false;
	c = (unsigned char) at[-1];
	return !sc_token_is_alnum(c) && memchr("_+~.-", c, 5) == NULL;
}

/* Whether what follows a mention, or what looked like one, spoils it. */
static bool
mention_spoilt(const char *p, const char *end)
{
	if (p == end)
		return false;
	if (sc_token_is_ascii(*p))
		return *p == '@' || sc_token_has(p, end, "://", 3);
	return sc_token_has(p, end, wide_at, WIDE_LEN) ||
		(sc_token_class(sc_token_decode_long(&p, end)) & SC_CHAR_LATIN);
}

bool
sc_token_next_mention(ScTokens *t, ScToken *token)
{
	while (next_sign(t, '@', wide_at, token))
	{
		uint32		before;
		uint8		classes = 0;
		const char *name = t->pos;
		const char *p = name;
		bool		is_list = false;

		if (!mention_begins(t, token->text, &before))
			continue;
		while (p < t->end && p - name < MENTION_MAX &&
			   (sc_token_is_alnum(*p) || *p == '_'))
			classes |= sc_token_ascii_class(*p++);
		if (p == name)
			continue;
		if (t->end - p >= 2 && p[0] == '/' && sc_token_is_letter(p[1]))
		{
			name = ++p;
			is_list = true;
			while (p < t->end && p - name < LIST_MAX &&
				   (sc_token_is_alnum(*p) || *p == '_' || *p == '-'))
				p++;
		}
		t->pos = t->floor = p;
		/* somebody's list is not a mention of that person */
		if (is_list || mention_spoilt(p, t->end))
			continue;
		token->as_is = token->sign_len == 1 && !(classes & SC_CHAR_FOLDS);
		if (take_tag(t, token, before))
			return true;
	}
	return false;
}

static bool
is_space(uint32 code)
{
	return (sc_token_class(code) & SC_CHAR_SPACE) != 0;
}

/* Marks of the direction of writing, which no one sees */
static bool
is_directional(uint32 code)
{
	return code == 0x061C || code == 0x200E || code == 0x200F ||
		(code >= 0x202A && code <= 0x202E) ||
		(code >= 0x2066 && code <= 0x2069);
}

static bool
cashtag_begins(const ScTokens *t, const char *sign)
{
	const char *at;
	uint32		before;

	if (sign == t->text)
		return true;
	before = sc_token_char_before(t->text, sign, &at);
	return is_space(before) || is_directional(before);
}

/* Skip at most max ASCII letters; NULL where there is none, or one more. */
static const char *
skip_letters(const char *p, const char *end, int max, uint8 *classes)
{
	const char *start = p;

	while (p < end && p - start <= max && sc_token_is_letter(*p))
		*classes |= sc_token_ascii_class(*p++);
	return p > start && p - start <= max ? p : NULL;
}

static bool
cashtag_ends(const char *p, const char *end)
{
	uint32		code;

	if (p == end)
		return true;
	code = sc_token_decode(&p, end);
	return is_space(code) ||
		(code > ' ' && code < 0x7F && !sc_token_is_alnum(code));
}

bool
sc_token_next_cashtag(ScTokens *t, ScToken *token)
{
	for (;;)
	{
		const char *sign = find_byte(t->pos, t->end, '$');
		const char *at;
		const char *p;
		uint8		classes = 0;

		if (sign == t->end)
			return false;
		t->pos = sign + 1;
		if (!cashtag_begins(t, sign))
			continue;
		p = skip_letters(t->pos, t->end, CASHTAG_MAX, &classes);
		if (p == NULL || !cashtag_ends(p, t->end))
			continue;
		if (p < t->end && (*p == '.' || *p == '_'))
		{
			uint8		suffix = classes;

			at = skip_letters(p + 1, t->end, CASHTAG_SUFFIX_MAX, &suffix);
			if (at && cashtag_ends(at, t->end))
			{
				p = at;
				classes = suffix;
			}
		}
		t->pos = p;
		token->text = sign;
		token->len = p - sign;
		token->sign = '$';
		token->sign_len = 1;
		token->as_is = !(classes & SC_CHAR_FOLDS);
		return true;
	}
}
