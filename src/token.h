/*-------------------------------------------------------------------------
 *
 * token.h
 *		Text in, tokens out: hashtags, mentions, cashtags, URLs, words.
 *
 *	ScTokens tokens;
 *	ScToken token;
 *
 *	sc_token_begin(&tokens, SC_TOKEN_HASHTAG, text, len);
 *	while (sc_token_next(&tokens, &token))
 *		...
 *
 * The text is borrowed until the last token of it has been used, must be
 * valid UTF-8 (what is not gives tokens that mean nothing, but no byte
 * outside the text is read) and need not be terminated.  Nothing is
 * allocated, and the time is linear in the length of the text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TOKEN_H
#define SC_TOKEN_H

typedef enum ScTokenKind
{
	SC_TOKEN_HASHTAG,
	SC_TOKEN_MENTION,
	SC_TOKEN_CASHTAG,
	SC_TOKEN_URL,
	SC_TOKEN_WORD
} ScTokenKind;

typedef struct ScToken
{
	const char *text;			/* a slice of the text, from the sign on */
	size_t		len;
	uint8		sign_len;		/* bytes of the sign as written; 0: none */
	char		sign;			/* the sign as it is given; 0: none */
	bool		as_is;			/* the slice is the folded token */
} ScToken;

/* No folded token is longer than this many bytes. */
#define SC_TOKEN_FOLD_MAX(len) ((len) + (len) / 2)

/* Where the search for URLs stands; for token_url.c alone. */
typedef struct ScTokenUrls
{
	const char *text;
	const char *end;
	const char *floor;			/* no URL, nor what precedes it, before this */
	const char *search;			/* where the next '.' is looked for */
	const char *barren;			/* see match_run() */
	const char *piece;			/* of a domain without protocol; NULL: none */
	const char *domain_end;
	const char *match_end;
	bool		has_path;
} ScTokenUrls;

typedef struct ScTokens
{
	ScTokenKind kind;
	const char *text;
	const char *end;
	const char *pos;			/* where the search goes on */
	const char *floor;			/* end of the last match, taken or not */
	const char *sign;			/* next sign at or after pos; end: none */
	const char *wide_sign;		/* the same, of the full-width sign */
	const char *tag_start;		/* the last tag given */
	const char *tag_end;
	ScTokenUrls urls;			/* URLs that may cover a tag, as far as read */
	const char *url_start;		/* the last one read; NULL: none yet */
	const char *url_end;
	bool		url_dropped;	/* because a tag reaches into it */
	bool		urls_done;
} ScTokens;

extern void sc_token_begin(ScTokens *tokens, ScTokenKind kind,
						   const char *text, size_t len);
extern bool sc_token_next(ScTokens *tokens, ScToken *token);

/*
 * Write the folded token, its sign included.  The result is its length;
 * when that is more than dstsize, only the first characters are there.
 */
extern size_t sc_token_fold(const ScToken *token, char *dst, size_t dstsize);

#endif							/* SC_TOKEN_H */
