/*-------------------------------------------------------------------------
 *
 * token_path.c
 *		How far the path and the query of a URL reach.
 *
 * Both may hold characters in which they do not end: a full stop after a
 * URL is the sentence's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token_char.h"
#include "token_path.h"

/* The bits of the character at p, whose width goes to *len; paths take some
 * letters beyond ASCII. */
static uint8
path_class(const char *p, const char *end, int *len)
{
	const char *next = p;
	uint32		code = sc_token_decode(&next, end);

	*len = next - p;
	if (code < 0x80)
		return sc_token_ascii_url[code];
	if (code == 0x2013)
		return SC_URL_PATH;
	if ((code >= 0x400 && code <= 0x4FF) ||
		(sc_token_class(code) & SC_CHAR_LATIN))
		return SC_URL_PATH | SC_URL_PATH_END;
	return 0;
}

static const char *
skip_path_chars(const char *p, const char *end)
{
	int			len;

	while (p < end && (path_class(p, end, &len) & SC_URL_PATH))
		p += len;
	return p;
}

/* The end of the parentheses that open at p, with one more pair in them at
 * the most, or NULL where they are not balanced, or empty. */
static const char *
balanced_end(const char *p, const char *end)
{
	const char *inner = skip_path_chars(p + 1, end);

	if (inner < end && *inner == '(')
	{
		p = inner;
		inner = skip_path_chars(p + 1, end);
		if (inner == end || *inner != ')' || inner == p + 1)
			return NULL;
		inner = skip_path_chars(inner + 1, end);
	}
	else if (inner == p + 1)
		return NULL;
	return inner < end && *inner == ')' ? inner + 1 : NULL;
}

/* The end of the path that begins at the slash p. */
const char *
sc_token_path_end(const char *p, const char *end)
{
	const char *good = ++p;

	while (p < end)
	{
		int			len;
		uint8		bits = path_class(p, end, &len);

		if (bits & SC_URL_PATH)
		{
			p += len;
			if (bits & SC_URL_PATH_END)
				good = p;
		}
		else
		{
			const char *closed = *p == '(' ? balanced_end(p, end) : NULL;

			if (closed == NULL)
				break;
			/* parentheses end a path where it might have ended before them */
			if (good == p)
				good = closed;
			p = closed;
		}
	}
	return good;
}

/* The end of the query that may begin at p. */
const char *
sc_token_query_end(const char *p, const char *end)
{
	const char *good = p;

	if (p == end || *p != '?')
		return p;
	for (p++; p < end && sc_token_is_ascii(*p); p++)
	{
		uint8		bits = sc_token_ascii_url[(unsigned char) *p];

		if (!(bits & SC_URL_QUERY))
			break;
		if (bits & SC_URL_QUERY_END)
			good = p + 1;
	}
	return good;
}
