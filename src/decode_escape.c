/*-------------------------------------------------------------------------
 *
 * decode_escape.c
 *		The escapes of JSON strings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "decode_escape.h"
#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"

/* Behind the letter u: "1234", and of a pair "1234\u1234" */
#define UNIT_LEN	4
#define PAIR_LEN	(UNIT_LEN + 2 + UNIT_LEN)

/* Backslashes are looked for in so many bytes at once. */
#define BLOCK_LEN	64

/*
 * What a hexadecimal digit is, above its value.  Those that are not 0xD, or
 * below 8, tell characters from surrogates by a unit's first two digits.
 */
#define HEX			0x10
#define HEX_NOT_D	0x20
#define HEX_BELOW_8	0x40
#define HEX_NOT_0	0x80

#define DIGIT(value) \
	((value) | HEX | ((value) != 0xD ? HEX_NOT_D : 0) | \
	 ((value) < 8 ? HEX_BELOW_8 : 0) | ((value) != 0 ? HEX_NOT_0 : 0))
#define DIGIT_VALUE(digit) ((digit) & 0xF)

static const unsigned char hex_digits[256] = {
	['0'] = DIGIT(0),['1'] = DIGIT(1),['2'] = DIGIT(2),['3'] = DIGIT(3),
	['4'] = DIGIT(4),['5'] = DIGIT(5),['6'] = DIGIT(6),['7'] = DIGIT(7),
	['8'] = DIGIT(8),['9'] = DIGIT(9),
	['a'] = DIGIT(10),['b'] = DIGIT(11),['c'] = DIGIT(12),
	['d'] = DIGIT(13),['e'] = DIGIT(14),['f'] = DIGIT(15),
	['A'] = DIGIT(10),['B'] = DIGIT(11),['C'] = DIGIT(12),
	['D'] = DIGIT(13),['E'] = DIGIT(14),['F'] = DIGIT(15),
};

/* An escape's letter: how long the escape is, and of which sort */
#define LEN_MASK	0x0F
#define SHORT		0x10
#define UNICODE		0x20

static const unsigned char letters[256] = {
	['"'] = SHORT + 2,['\\'] = SHORT + 2,['/'] = SHORT + 2,['b'] = SHORT + 2,
	['f'] = SHORT + 2,['n'] = SHORT + 2,['r'] = SHORT + 2,['t'] = SHORT + 2,
	['u'] = UNICODE + 2 + UNIT_LEN,
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
	return (int) (DIGIT_VALUE(a) << 12 | DIGIT_VALUE(b) << 8 |
				  DIGIT_VALUE(c) << 4 | DIGIT_VALUE(d));
}

/* Behind an escape, whose backslash this is; NULL: it is none that jsonb takes. */
static inline const char *
escape_end(const char *escape, const char *end)
{
	const char *p = escape + 2;
	int			unit;

	if (p > end)
		return NULL;
	if (letters[(unsigned char) escape[1]] & SHORT)
		return p;
	if (escape[1] != 'u' || end - p < UNIT_LEN)
		return NULL;

	unit = read_unit(p);
	if (unit <= 0 || is_utf16_surrogate_second(unit))
		return NULL;
	if (!is_utf16_surrogate_first(unit))
		return p + UNIT_LEN;

	if (end - p < PAIR_LEN || p[UNIT_LEN] != '\\' || p[UNIT_LEN + 1] != 'u')
		return NULL;
	unit = read_unit(p + UNIT_LEN + 2);
	return (unit > 0 && is_utf16_surrogate_second(unit)) ? p + PAIR_LEN : NULL;
}

/*
 * The length of an escape that means one character by itself, or 0.  Which
 * sort comes next is anybody's guess, so there are no branches to guess it.
 */
static inline size_t
common_escape_len(const char *escape)
{
	unsigned	letter = letters[(unsigned char) escape[1]];
	unsigned	a = hex_digits[(unsigned char) escape[2]];
	unsigned	b = hex_digits[(unsigned char) escape[3]];
	unsigned	c = hex_digits[(unsigned char) escape[4]];
	unsigned	d = hex_digits[(unsigned char) escape[5]];
	unsigned	is_unit = (a & b & c & d) / HEX;
	unsigned	is_character = a / HEX_NOT_D | b / HEX_BELOW_8;
	unsigned	is_not_0 = (a | b | c | d) / HEX_NOT_0;
	unsigned	sorts = SHORT | (is_unit & is_character & is_not_0 & 1) * UNICODE;

	return (letter & sorts) ? letter & LEN_MASK : 0;
}

#ifdef __SSE2__

static inline uint64
find_escapes_16(const char *p)
{
	__m128i		bytes = _mm_loadu_si128((const __m128i *) p);
	__m128i		nexts = _mm_loadu_si128((const __m128i *) (p + 1));
	__m128i		found = _mm_andnot_si128(_mm_cmpeq_epi8(nexts, _mm_set1_epi8('/')),
										 _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));

	return (uint64) _mm_movemask_epi8(found);
}

/*
 * A bit for each backslash of a block, the lowest one for its first byte;
 * but none before a slash, which is right there whatever is before it.  In
 * URLs that is what most of them are.
 */
static inline uint64
find_escapes(const char *block)
{
	return find_escapes_16(block) |
		find_escapes_16(block + 16) << 16 |
		find_escapes_16(block + 32) << 32 |
		find_escapes_16(block + 48) << 48;
}

#else

/* A bit for each backslash of a block, the lowest one for its first byte */
static inline uint64
find_escapes(const char *block)
{
	const char *end = block + BLOCK_LEN;
	uint64		found = 0;

	for (const char *p = memchr(block, '\\', BLOCK_LEN); p != NULL;
		 p = memchr(p + 1, '\\', end - p - 1))
		found |= UINT64CONST(1) << (p - block);
	return found;
}

#endif

/* Are the escapes of a block valid?  behind: where the last one of all ends */
static inline bool
is_block_valid(const char *block, uint64 escapes, const char *end, const char **behind)
{
	for (; escapes != 0; escapes &= escapes - 1)
	{
		const char *escape = block + pg_rightmost_one_pos64(escapes);
		size_t		len = 0;

		if (escape < *behind)
			continue;
		if (end - escape >= 2 + UNIT_LEN)
			len = common_escape_len(escape);
		*behind = len ? escape + len : escape_end(escape, end);
		if (*behind == NULL)
			return false;
	}
	return true;
}

bool
sc_decode_escapes_valid(const char *json, size_t len, bool *found)
{
	const char *end = json + len;
	const char *p = memchr(json, '\\', len);
	const char *behind = p;
	char		rest[BLOCK_LEN + 1];

	*found = (p != NULL);
	if (p == NULL)
		return true;

	memset(rest, 0, sizeof(rest));
	for (; p < end; p += BLOCK_LEN)
	{
		const char *block = p;

		/* the byte behind a block is looked at, too */
		if (end - p <= BLOCK_LEN)
			block = memcpy(rest, p, end - p);
		if (!is_block_valid(p, find_escapes(block), end, &behind))
			return false;
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
