/*-------------------------------------------------------------------------
 *
 * decode_index_plain.c
 *		Where the tokens of a JSON payload begin, byte by byte.
 *
 * Owns: the positions of the last payload, for as long as the process lives;
 * they grow to some 4 MB at the most.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode_index.h"
#include "mb/pg_wchar.h"

#define FIRST_CAPACITY ((size_t) 16 * 1024)

typedef enum ByteKind
{
	BYTE_SCALAR,
	BYTE_BLANK,
	BYTE_STRUCTURAL,
	BYTE_QUOTE
} ByteKind;

static const uint8_t byte_kinds[256] = {
	[' '] = BYTE_BLANK,['\t'] = BYTE_BLANK,['\n'] = BYTE_BLANK,['\r'] = BYTE_BLANK,
	['{'] = BYTE_STRUCTURAL,['}'] = BYTE_STRUCTURAL,
	['['] = BYTE_STRUCTURAL,[']'] = BYTE_STRUCTURAL,
	[':'] = BYTE_STRUCTURAL,[','] = BYTE_STRUCTURAL,
	['"'] = BYTE_QUOTE,
};

static uint32_t *positions;
static size_t capacity;

static bool
ensure_capacity(size_t len)
{
	size_t		wanted = FIRST_CAPACITY;
	uint32_t   *grown;

	if (len <= capacity)
		return true;
	while (wanted < len)
		wanted *= 2;

	/* not of a memory context: a lack of it is no ERROR */
	grown = realloc(positions, wanted * sizeof(uint32_t));
	if (grown == NULL)
		return false;
	positions = grown;
	capacity = wanted;
	return true;
}

/* Eight bytes none of which ends a string, escapes, or is a control character */
static inline bool
is_plain_word(const unsigned char *p)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 highs = UINT64CONST(0x8080808080808080);
	uint64		word;
	uint64		quote;
	uint64		backslash;

	memcpy(&word, p, sizeof(word));
	quote = word ^ (ones * '"');
	backslash = word ^ (ones * '\\');

	/* a byte that is zero, or below 0x20, borrows from its high bit */
	return ((((quote - ones) & ~quote) |
			 ((backslash - ones) & ~backslash) |
			 ((word - ones * 0x20) & ~word)) & highs) == 0;
}

/* From behind an opening quote to behind the closing one, or NULL */
static const unsigned char *
skip_string(const unsigned char *p, const unsigned char *end)
{
	for (;;)
	{
		while (end - p >= 8 && is_plain_word(p))
			p += 8;
		while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
			p++;
		if (p == end || *p < 0x20)
			return NULL;
		if (*p == '"')
			return p + 1;

		/* what is escaped may be a quote, but no control character */
		if (end - p < 2 || p[1] < 0x20)
			return NULL;
		p += 2;
	}
}

const uint32_t *
sc_decode_index(const char *payload, size_t len, size_t *ntokens)
{
	const unsigned char *start = (const unsigned char *) payload;
	const unsigned char *end = start + len;
	const unsigned char *p = start;
	uint32_t   *next;

	if (len == 0 || len > SC_DECODE_INDEX_MAX || !ensure_capacity(len) ||
		pg_encoding_verifymbstr(PG_UTF8, payload, (int) len) != (int) len)
		return NULL;

	next = positions;
	while (p < end)
	{
		switch ((ByteKind) byte_kinds[*p])
		{
			case BYTE_BLANK:
				p++;
				break;
			case BYTE_STRUCTURAL:
				*next++ = (uint32_t) (p++ - start);
				break;
			case BYTE_QUOTE:
				*next++ = (uint32_t) (p - start);
				p = skip_string(p + 1, end);
				if (p == NULL)
					return NULL;
				break;
			case BYTE_SCALAR:
				*next++ = (uint32_t) (p - start);
				while (p < end && byte_kinds[*p] == BYTE_SCALAR)
					p++;
				break;
		}
	}
	*ntokens = next - positions;
	return *ntokens > 0 ? positions : NULL;
}
