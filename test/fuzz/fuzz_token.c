/*-------------------------------------------------------------------------
 *
 * fuzz_token.c
 *		Any bytes to tokens.
 *
 * Of bytes that are no UTF-8 the tokens mean nothing, but no byte outside the
 * text is read.  Of valid text, tokens are valid text as well, one behind the
 * other inside it; a folded token does not change when it is folded again,
 * and is itself a token where it stands alone.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "mb/pg_wchar.h"
#include "token.h"

static bool
is_utf8(const char *text, size_t len)
{
	return pg_encoding_verifymbstr(PG_UTF8, text, (int) len) == (int) len;
}

/* The folded token, in memory of just that size */
static char *
fold(const ScToken *token, size_t *len)
{
	size_t		size = SC_TOKEN_FOLD_MAX(token->len);
	char	   *room = fuzz_alloc(CurrentMemoryContext, size);

	*len = sc_token_fold(token, room, size);
	if (*len > size)
		fuzz_fail("%zu bytes are folded to %zu", token->len, *len);
	return room;
}

/* Of a destination that is too small, no byte behind the last whole character */
static void
check_truncation(const ScToken *token, const char *folded, size_t len)
{
	size_t		size = len / 2;
	char	   *room = fuzz_alloc(CurrentMemoryContext, size);
	size_t		whole = 0;

	if (sc_token_fold(token, room, size) != len)
		fuzz_fail("the length depends on the room");
	while (whole < len && whole + pg_encoding_mblen(PG_UTF8, folded + whole) <= size)
		whole += pg_encoding_mblen(PG_UTF8, folded + whole);
	if (memcmp(room, folded, whole) != 0)
		fuzz_fail("what has room is not the beginning");
}

/* What is a token in a text is the same token alone, folded to itself. */
static void
check_alone(ScTokenKind kind, const char *folded, size_t len)
{
	ScTokens	tokens;
	ScToken		token;
	size_t		again_len;
	char	   *again;

	sc_token_begin(&tokens, kind, folded, len);
	if (!sc_token_next(&tokens, &token))
		fuzz_fail("kind %d: \"%.*s\" is no token alone", kind, (int) len, folded);
	again = fold(&token, &again_len);
	if (again_len != len || memcmp(again, folded, len) != 0)
		fuzz_fail("kind %d: \"%.*s\" is \"%.*s\" alone", kind, (int) len, folded,
				  (int) again_len, again);
	if (sc_token_next(&tokens, &token))
		fuzz_fail("kind %d: \"%.*s\" is several tokens", kind, (int) len, folded);
}

static void
check_kind(ScTokenKind kind, const char *text, size_t len, bool valid)
{
	const char *behind = text;
	ScTokens	tokens;
	ScToken		token;

	sc_token_begin(&tokens, kind, text, len);
	while (sc_token_next(&tokens, &token))
	{
		size_t		folded_len;
		char	   *folded;

		if (token.text < behind || token.len == 0 ||
			token.len > (size_t) (text + len - token.text) || token.sign_len > token.len)
			fuzz_fail("kind %d: a token at %td of %zu bytes, behind %td, in a text of %zu",
					  kind, token.text - text, token.len, behind - text, len);
		behind = token.text + token.len;

		folded = fold(&token, &folded_len);
		if (!valid)
			continue;
		if (!is_utf8(token.text, token.len) || !is_utf8(folded, folded_len))
			fuzz_fail("kind %d: a token that is no UTF-8", kind);
		check_truncation(&token, folded, folded_len);
		if (kind != SC_TOKEN_URL)
			check_alone(kind, folded, folded_len);
	}
	if (sc_token_next(&tokens, &token))
		fuzz_fail("kind %d: a token behind the last one", kind);
}

static void
one(const char *data, size_t len)
{
	bool		valid = is_utf8(data, len);

	for (ScTokenKind kind = SC_TOKEN_HASHTAG; kind <= SC_TOKEN_WORD; kind++)
		check_kind(kind, data, len, valid);
}

const FuzzTarget fuzz_token = {"token", NULL, one};
