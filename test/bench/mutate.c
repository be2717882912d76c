/*-------------------------------------------------------------------------
 *
 * mutate.c
 *		Messages made hostile: what bad memory, cut connections and people
 *		who want to break a parser make of them.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "mutate.h"

#define CHANGES 3

/* What parsers of JSON, texts, times and hashtags have stumbled over */
static const char *const snippets[] = {
	"\\u0000", "\\ud800", "\\udc00", "\\ud83d\\ude00", "\\", "\"", "\"\"", "{", "}", "[[[[", "]]", ",", ":", "null", "true",
	"-0", "1e999", "0x1F", "NaN", "99999999999999999999", "1.5", "\xef\xbb\xbf", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	"\xff", "\xe2\x82", "\xf0\x9f\x98\x80", "\xe2\x80\x8d", "\xef\xbc\x83", "#", "##", "&#39;", "http://x.com/#", "\t", "\n", "\r",
	"\x7f", "\x01", "9999-99-99", "T24:00:00", "+99:99", "now", "infinity", " BC", "\"text\":", "\"created_at\":", "\"text\":null,",
};

#define SNIPPETS (sizeof(snippets) / sizeof(snippets[0]))

/* Make room for so many bytes at a place; false when there is none. */
static int
open_gap(char *buf, int *len, int size, int at, int bytes)
{
	if (*len + bytes > size)
		return 0;
	memmove(buf + at + bytes, buf + at, *len - at);
	*len += bytes;
	return 1;
}

static void
change(char *buf, int *len, int size, uint64_t (*draw) (void))
{
	int			at = *len > 0 ? (int) (draw() % *len) : 0;
	int			rest = *len - at;
	int			bytes = rest > 0 ? 1 + (int) (draw() % (rest < 16 ? rest : 16)) : 0;
	const char *snippet = snippets[draw() % SNIPPETS];

	switch (draw() % 8)
	{
		case 0:					/* one bit */
			if (rest > 0)
				buf[at] ^= 1 << draw() % 8;
			break;
		case 1:					/* one byte */
			if (rest > 0)
				buf[at] = (char) draw();
			break;
		case 2:					/* some bytes are gone */
			memmove(buf + at, buf + at + bytes, rest - bytes);
			*len -= bytes;
			break;
		case 3:					/* some are there twice */
			open_gap(buf, len, size, at, bytes);
			break;
		case 4:					/* the end is gone */
			if (draw() % 4 == 0)
				*len = at;
			break;
		default:				/* something is there that does not belong */
			if (open_gap(buf, len, size, at, (int) strlen(snippet)))
				memcpy(buf + at, snippet, strlen(snippet));
	}
}

int
mutate(char *buf, int len, int size, uint64_t (*draw) (void))
{
	for (int changes = (int) (draw() % (CHANGES + 1)); changes > 0; changes--)
		change(buf, &len, size, draw);
	return len;
}
