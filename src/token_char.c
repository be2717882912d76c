/*-------------------------------------------------------------------------
 *
 * token_char.c
 *		UTF-8, character classes and simple case folding for the tokenizers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token_char.h"
#include "token_tables.h"

/* Read a character of several bytes and step over it. */
uint32
sc_token_decode_long(const char **p, const char *end)
{
	const unsigned char *s = (const unsigned char *) *p;
	ptrdiff_t	left = end - *p;

	if (s[0] >= 0xE0 && s[0] < 0xF0 && left >= 3)
	{
		*p += 3;
		return (s[0] & 0x0F) << 12 | (s[1] & 0x3F) << 6 | (s[2] & 0x3F);
	}
	if (s[0] >= 0xC0 && s[0] < 0xE0 && left >= 2)
	{
		*p += 2;
		return (s[0] & 0x1F) << 6 | (s[1] & 0x3F);
	}
	if (s[0] >= 0xF0 && s[0] < 0xF5 && left >= 4)
	{
		uint32		code = (s[0] & 0x07) << 18 | (s[1] & 0x3F) << 12 |
			(s[2] & 0x3F) << 6 | (s[3] & 0x3F);

		*p += 4;
		return code <= 0x10FFFF ? code : SC_CHAR_BAD;
	}
	*p += 1;
	return SC_CHAR_BAD;
}

/* Read the character that ends at p, which is after start. */
uint32
sc_token_char_before(const char *start, const char *p, const char **at)
{
	const char *q = p - 1;
	const char *s;

	while (q > start && p - q < 4 && ((unsigned char) *q & 0xC0) == 0x80)
		q--;
	*at = s = q;
	return sc_token_decode(&s, p);
}

uint32
sc_token_fold_char(uint32 code)
{
	if (code >= sc_token_fold_limit)
		return code;
	return code + sc_token_fold_deltas
		[sc_token_fold_blocks[sc_token_fold_index[code / SC_CHAR_BLOCK] *
							  SC_CHAR_BLOCK + code % SC_CHAR_BLOCK]];
}

/* Write a character as UTF-8; the result is the number of its bytes. */
int
sc_token_encode(uint32 code, char *dst)
{
	if (code < 0x80)
	{
		dst[0] = code;
		return 1;
	}
	if (code < 0x800)
	{
		dst[0] = 0xC0 | code >> 6;
		dst[1] = 0x80 | (code & 0x3F);
		return 2;
	}
	if (code < 0x10000)
	{
		dst[0] = 0xE0 | code >> 12;
		dst[1] = 0x80 | (code >> 6 & 0x3F);
		dst[2] = 0x80 | (code & 0x3F);
		return 3;
	}
	dst[0] = 0xF0 | code >> 18;
	dst[1] = 0x80 | (code >> 12 & 0x3F);
	dst[2] = 0x80 | (code >> 6 & 0x3F);
	dst[3] = 0x80 | (code & 0x3F);
	return 4;
}
