/*-------------------------------------------------------------------------
 *
 * decode_escape.c
 *		The escapes of JSON strings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_escape.h"
#include "mb/pg_wchar.h"

/* Behind the letter u: "1234", and of a pair "1234\u1234" */
#define UNIT_LEN	4
#define PAIR_LEN	(UNIT_LEN + 2 + UNIT_LEN)

#define HEX 0x10				/* a hexadecimal digit: this, and its value */

static const unsigned char hex_digits[256] = {
	['0'] = HEX + 0,['1'] = HEX + 1,['2'] = HEX + 2,['3'] = HEX + 3,
	['4'] = HEX + 4,['5'] = HEX + 5,['6'] = HEX + 6,['7'] = HEX + 7,
	['8'] = HEX + 8,['9'] = HEX + 9,
	['a'] = HEX + 10,['b'] = HEX + 11,['c'] = HEX + 12,
	['d'] = HEX + 13,['e'] = HEX + 14,['f'] = HEX + 15,
	['A'] = HEX + 10,['B'] = HEX + 11,['C'] = HEX + 12,
	['D'] = HEX + 13,['E'] = HEX + 14,['F'] = HEX + 15,
};

/* Four hexadecimal digits, or -1 */
static inline int
read_unit(const char *p)
{
	unsigned	a = hex_digits[(unsigned char) p[0]];
	unsigned	b = hex_digits[(unsigned char) p[1]];
	unsigned	c = hex_digits[(unsigned char) p[2]];
	unsigned	d = hex_digits[(unsigned char) p[3]];

	if ((a & b & c & d & HEX) == 0)
		return -1;
	return (int) ((a - HEX) << 12 | (b - HEX) << 8 | (c - HEX) << 4 | (d - HEX));
}

/* How long is the escape behind the letter u?  0: none that jsonb takes. */
static size_t
unicode_escape_len(const char *p, const char *end)
{
	int			unit;

	if (end - p < UNIT_LEN)
		return 0;
	unit = read_unit(p);
	if (unit <= 0 || is_utf16_surrogate_second(unit))
		return 0;
	if (!is_utf16_surrogate_first(unit))
		return UNIT_LEN;

	if (end - p < PAIR_LEN || p[UNIT_LEN] != '\\' || p[UNIT_LEN + 1] != 'u')
		return 0;
	unit = read_unit(p + UNIT_LEN + 2);
	return (unit > 0 && is_utf16_surrogate_second(unit)) ? PAIR_LEN : 0;
}

bool
sc_decode_escapes_valid(const char *json, size_t len, bool *found)
{
	const char *end = json + len;
	const char *p = memchr(json, '\\', len);

	*found = (p != NULL);
	while (p != NULL)
	{
		if (++p == end)
			return false;
		switch (*p++)
		{
			case '"':
			case '\\':
			case '/':
			case 'b':
			case 'f':
			case 'n':
			case 'r':
			case 't':
				break;
			case 'u':
				{
					size_t		escape_len = unicode_escape_len(p, end);

					if (escape_len == 0)
						return false;
					p += escape_len;
				}
				break;
			default:
				return false;
		}

		/* where there is one there are often more */
		if (p == end || *p != '\\')
			p = memchr(p, '\\', end - p);
	}
	return true;
}

/* One escape, from behind its backslash; returns what is behind it. */
static const char *
unescape_one(const char *from, char **to)
{
	char		letter = *from++;
	pg_wchar	c;

	switch (letter)
	{
		case 'b':
			*(*to)++ = '\b';
			return from;
		case 'f':
			*(*to)++ = '\f';
			return from;
		case 'n':
			*(*to)++ = '\n';
			return from;
		case 'r':
			*(*to)++ = '\r';
			return from;
		case 't':
			*(*to)++ = '\t';
			return from;
		case 'u':
			break;
		default:
			*(*to)++ = letter;
			return from;
	}

	c = read_unit(from);
	from += UNIT_LEN;
	if (is_utf16_surrogate_first(c))
	{
		c = surrogate_pair_to_codepoint(c, read_unit(from + 2));
		from += PAIR_LEN - UNIT_LEN;
	}
	unicode_to_utf8(c, (unsigned char *) *to);
	*to += pg_utf_mblen((unsigned char *) *to);
	return from;
}

size_t
sc_decode_unescape(const char *from, size_t len, char *to)
{
	const char *end = from + len;
	char	   *start = to;

	while (from < end)
	{
		const char *escape = memchr(from, '\\', end - from);
		size_t		plain = (escape ? escape : end) - from;

		memcpy(to, from, plain);
		to += plain;
		from += plain;
		while (from < end && *from == '\\')
			from = unescape_one(from + 1, &to);
	}
	return to - start;
}
