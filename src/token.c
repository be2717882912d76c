/*-------------------------------------------------------------------------
 *
 * token.c
 *		The tokenizers' common face; words; case folding.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token.h"
#include "token_char.h"
#include "token_tag.h"
#include "token_url.h"

/* The characters that may stand between two letters of a word. */
static bool
joins_letters(uint32 code)
{
	return code == '\'' || code == 0x2019 ||	/* apostrophes */
		code == 0xB7 ||			/* middle dot, as in Catalan */
		code == 0x200C || code == 0x200D;	/* zero width (non-)joiner */
}

/*
 * A word is a longest run of letters, marks, decimal digits and underscores,
 * and of joiners with a letter or mark on either side of each, that begins
 * with no mark and has a letter or a digit.  This is less than UAX #29's
 * words: scripts written without spaces are not cut.
 */
static bool
next_word(ScTokens *t, ScToken *token)
{
	const char *p = t->pos;
	const char *start = NULL;
	uint8		seen = 0;
	uint8		last = 0;

	while (p < t->end)
	{
		const char *at = p;
		uint32		code = sc_token_decode(&p, t->end);
		uint8		class = sc_token_class(code);
		bool		in_word = code == '_' ||
			(class & (SC_CHAR_ALPHA | SC_CHAR_DIGIT));

		if (start == NULL)
		{
			if (!in_word || (class & SC_CHAR_MARK))
				continue;
			start = at;
		}
		else if (!in_word && (last & SC_CHAR_ALPHA) && joins_letters(code) &&
				 p < t->end)
		{
			const char *next = p;

			in_word = sc_token_class(sc_token_decode(&next, t->end)) &
				SC_CHAR_ALPHA;
		}
		if (in_word)
		{
			seen |= class;
			last = class;
			t->pos = p;
			continue;
		}
		if (seen & (SC_CHAR_ALPHA | SC_CHAR_DIGIT))
			break;
		start = NULL;
	}
	if (start == NULL || !(seen & (SC_CHAR_ALPHA | SC_CHAR_DIGIT)))
		return false;
	token->text = start;
	token->len = t->pos - start;
	token->sign = 0;
	token->sign_len = 0;
	token->as_is = !(seen & SC_CHAR_FOLDS);
	return true;
}

static bool
next_url(ScTokens *t, ScToken *token)
{
	if (!sc_token_next_url(&t->urls, &t->url_start, &t->url_end))
		return false;
	token->text = t->url_start;
	token->len = t->url_end - t->url_start;
	token->sign = 0;
	token->sign_len = 0;
	token->as_is = true;
	return true;
}

void
sc_token_begin(ScTokens *tokens, ScTokenKind kind, const char *text,
			   size_t len)
{
	tokens->kind = kind;
	tokens->text = text;
	tokens->end = text + len;
	tokens->pos = text;
	tokens->floor = text;
	tokens->sign = NULL;
	tokens->wide_sign = NULL;
	tokens->tag_start = text;
	tokens->tag_end = text;
	sc_token_begin_urls(&tokens->urls, text, tokens->end);
	tokens->url_start = NULL;
	tokens->url_end = NULL;
	tokens->url_dropped = false;
	tokens->urls_done = false;
}

bool
sc_token_next(ScTokens *tokens, ScToken *token)
{
	switch (tokens->kind)
	{
		case SC_TOKEN_HASHTAG:
			return sc_token_next_hashtag(tokens, token);
		case SC_TOKEN_MENTION:
			return sc_token_next_mention(tokens, token);
		case SC_TOKEN_CASHTAG:
			return sc_token_next_cashtag(tokens, token);
		case SC_TOKEN_URL:
			return next_url(tokens, token);
		case SC_TOKEN_WORD:
			return next_word(tokens, token);
	}
	return false;
}

size_t
sc_token_fold(const ScToken *token, char *dst, size_t dstsize)
{
	const char *p = token->text + token->sign_len;
	const char *end = token->text + token->len;
	size_t		len = 0;
	size_t		fits = 0;

	if (token->as_is)
	{
		memcpy(dst, token->text, Min(token->len, dstsize));
		return token->len;
	}
	if (token->sign_len > 0)
	{
		if (dstsize > 0)
			dst[fits++] = token->sign;
		len++;
	}
	while (p < end)
	{
		char		utf8[4];
		int			n;

		if (sc_token_is_ascii(*p))
		{
			if (fits == len && len < dstsize)
				dst[fits++] = *p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p;
			len++;
			p++;
			continue;
		}
		n = sc_token_encode(sc_token_fold_char(sc_token_decode(&p, end)),
							utf8);
		if (fits == len && len + n <= dstsize)
		{
			memcpy(dst + fits, utf8, n);
			fits += n;
		}
		len += n;
	}
	return len;
}
