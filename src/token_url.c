/*-------------------------------------------------------------------------
 *
 * token_url.c
 *		The URLs of a text, by the rules of twitter-text.
 *
 * A URL has a protocol or not; after it come domain, port, path and query.
 * twitter-text takes all of it by one regular expression that backtracks.
 * Here the same is had in one pass: only a '.' with a letter behind it can
 * end the last label before a top-level domain, so search for that, go back
 * to where the run of labels begins, and walk along it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token_char.h"
#include "token_domain.h"
#include "token_path.h"
#include "token_url.h"

#define URL_MAX 4096			/* UTF-16 units, as twitter-text counts */
#define TCO_SLUG_MAX 40

static const char default_protocol[] = "https://";

typedef struct Match
{
	const char *start;			/* of the domain */
	const char *end;
	const char *url;			/* of the protocol; NULL: there is none */
} Match;

/* What stands between two dots. */
typedef struct Label
{
	const char *end;
	const char *underscore;		/* the last one; NULL: none */
	bool		dot;			/* a dot follows */
	bool		begins_well;
	bool		ends_well;
} Label;

/* Labels in a row each of which may be part of a domain. */
typedef struct Chain
{
	const char *start;			/* NULL: none yet */
	const char *underscore;		/* in its last label */
	const char *end;			/* after the last top-level domain in it */
	const char *alt_start;		/* the same, where a label has to be cut after
								 * an underscore */
	const char *alt_end;
} Chain;

void
sc_token_begin_urls(ScTokenUrls *urls, const char *text, const char *end)
{
	memset(urls, 0, sizeof(*urls));
	urls->text = urls->floor = urls->search = urls->barren = text;
	urls->end = end;
}

static bool
in_domain(uint32 code)
{
	return !(sc_token_class(code) & SC_CHAR_NO_DOMAIN);
}

/* Whether a URL may begin at p, by the character before it. */
static bool
may_begin(const ScTokenUrls *u, const char *p)
{
	const char *at;
	uint32		code;

	if (p == u->text)
		return true;
	if (p <= u->floor)
		return false;
	code = sc_token_char_before(u->text, p, &at);
	if (code < 0x80)
		return (sc_token_ascii_url[code] & SC_URL_BEFORE) != 0;
	return code != 0xFF20 && code != 0xFF03 && code < 0xFFFE &&
		code != 0xFEFF;
}

static void
scan_label(const char *p, const char *end, Label *label)
{
	const char *start = p;

	label->underscore = NULL;
	label->dot = false;
	label->begins_well = label->ends_well = false;
	while (p < end)
	{
		const char *at = p;
		uint32		code = sc_token_decode(&p, end);

		if (in_domain(code))
		{
			label->ends_well = true;
			if (at == start)
				label->begins_well = true;
			continue;
		}
		if (code != '_' && code != '-')
		{
			label->dot = code == '.';
			p = at;
			break;
		}
		label->ends_well = false;
		if (code == '_')
			label->underscore = at;
	}
	label->end = p;
}

/* The first character of a label at which a domain may begin, or NULL. */
static const char *
first_start(const ScTokenUrls *u, const char *p, const char *end)
{
	while (p < end)
	{
		const char *at = p;

		if (in_domain(sc_token_decode(&p, end)) && may_begin(u, at))
			return at;
	}
	return NULL;
}

static bool
chain_match(const Chain *chain, Match *m)
{
	m->start = chain->end ? chain->start : chain->alt_start;
	m->end = chain->end ? chain->end : chain->alt_end;
	return m->start != NULL;
}

/*
 * Find the first domain in the run of labels that begins at p.  It begins
 * as far to the left and reaches as far to the right as can be.  The label
 * before a top-level domain must have no underscore, those before it may.
 *
 * What is behind a match will be walked again.  So that this happens once
 * only, "barren" remembers up to where no whole label is followed by a
 * top-level domain: there the first hit is the last.
 */
static bool
match_run(ScTokenUrls *u, const char *p, Match *m)
{
	Chain		chain = {0};

	for (;;)
	{
		Label		label;
		const char *hit = NULL;
		bool		extends;

		if (chain.start)
			hit = sc_token_tld_end(p, u->end);
		if (hit)
		{
			if (chain.underscore == NULL)
				chain.end = hit;
			else if (chain.alt_start == NULL)
			{
				chain.alt_start = first_start(u, chain.underscore + 1, p - 1);
				chain.alt_end = hit;
			}
			if (p < u->barren && chain_match(&chain, m))
				return true;
		}

		scan_label(p, u->end, &label);
		extends = label.dot && label.ends_well;
		if (chain.start && !(extends && label.begins_well))
		{
			if (chain_match(&chain, m))
			{
				u->barren = Max(u->barren, label.end);
				return true;
			}
			chain.start = NULL;
		}
		if (extends)
		{
			chain.underscore = label.underscore;
			if (chain.start == NULL)
			{
				chain.start = first_start(u, p, label.end);
				if (chain.underscore < chain.start)
					chain.underscore = NULL;
			}
		}
		if (!label.dot)
		{
			/* bytes that are no UTF-8 read differently backwards: go on anyway */
			u->search = Max(u->search, label.end);
			return false;
		}
		p = label.end + 1;
	}
}

/* Back from a dot to where its run of labels begins. */
static const char *
run_start(const ScTokenUrls *u, const char *dot)
{
	const char *p = dot;

	while (p > u->floor)
	{
		const char *at;
		uint32		code = sc_token_char_before(u->floor, p, &at);

		if (!in_domain(code) && code != '.' && code != '_' && code != '-')
			break;
		p = at;
	}
	return p;
}

/* Where the protocol before a domain begins, or NULL. */
static const char *
protocol_start(const ScTokenUrls *u, const char *domain)
{
	static const char *const protocols[] = {"http://", "https://"};

	for (int i = 0; i < 2; i++)
	{
		size_t		len = strlen(protocols[i]);
		const char *p = domain - len;

		if ((size_t) (domain - u->text) >= len &&
			pg_strncasecmp(p, protocols[i], len) == 0 && may_begin(u, p))
			return p;
	}
	return NULL;
}

static bool
find_domain(ScTokenUrls *u, Match *m)
{
	while (u->search < u->end)
	{
		const char *dot = memchr(u->search, '.', u->end - u->search);

		if (dot == NULL)
			break;
		u->search = dot + 1;
		if (u->search == u->end || (sc_token_is_ascii(*u->search) &&
									!sc_token_is_letter(*u->search)))
			continue;
		if (match_run(u, run_start(u, dot), m))
		{
			m->url = protocol_start(u, m->start);
			return true;
		}
	}
	u->search = u->end;
	return false;
}

/* The end of the whole URL whose domain ends at p. */
static const char *
tail_end(ScTokenUrls *u, const char *p)
{
	const char *digits = p + 1;

	if (p < u->end && *p == ':')
	{
		while (digits < u->end && *digits >= '0' && *digits <= '9')
			digits++;
		if (digits > p + 1)
			p = digits;
	}
	u->has_path = p < u->end && *p == '/';
	if (u->has_path)
		p = sc_token_path_end(p, u->end);
	return sc_token_query_end(p, u->end);
}

/* Twitter's own short URLs have no more than a slug and a query. */
static const char *
cut_short_url(const Match *m, const char *end)
{
	const char *slug = m->end + 1;
	const char *p = slug;

	if (m->end - m->start != 4 || pg_strncasecmp(m->start, "t.co", 4) != 0 ||
		m->end == end || *m->end != '/')
		return end;
	while (p < end && sc_token_is_alnum(*p))
		p++;
	if (p == slug)
		return end;
	return p - slug > TCO_SLUG_MAX ? NULL : sc_token_query_end(p, end);
}

static bool
url_fits(const char *start, const char *end, int protocol)
{
	int			units = protocol;

	if (end - start <= URL_MAX - protocol)
		return true;
	while (start < end && units <= URL_MAX)
		units += sc_token_decode(&start, end) >= 0x10000 ? 2 : 1;
	return units <= URL_MAX;
}

/* A URL with a protocol. */
static bool
take_whole(const ScTokenUrls *u, const Match *m,
		   const char **start, const char **end)
{
	const char *ascii;
	const char *ascii_end;

	*start = m->url;
	*end = cut_short_url(m, u->match_end);
	if (*end == NULL || !url_fits(m->url, u->match_end, 0))
		return false;
	/* Punycode must be all ASCII */
	if (sc_token_has(m->start, m->end, "xn--", 4) &&
		!sc_token_ascii_domain(m->start, m->end, &ascii, &ascii_end))
		return false;
	return sc_token_labels_fit(m->start, m->end);
}

/*
 * A domain without protocol counts only as far as it is ASCII or accented
 * Latin, which may be several times in a text without spaces; path and query
 * belong to the last piece.
 */
static bool
take_piece(ScTokenUrls *u, const char **start, const char **end)
{
	while (u->piece)
	{
		const char *next;
		const char *next_end;
		bool		whole;

		if (!sc_token_ascii_domain(u->piece, u->domain_end, start, end))
		{
			u->piece = NULL;
			break;
		}
		whole = sc_token_labels_fit(*start, *end);
		u->piece = *end;
		if (!sc_token_ascii_domain(u->piece, u->domain_end, &next, &next_end))
		{
			u->piece = NULL;
			if (u->has_path)
				*end = u->match_end;
		}
		if (whole && url_fits(*start, *end, strlen(default_protocol)))
			return true;
	}
	return false;
}

bool
sc_token_next_url(ScTokenUrls *urls, const char **start, const char **end)
{
	Match		m;

	while (!take_piece(urls, start, end))
	{
		if (!find_domain(urls, &m))
			return false;
		urls->match_end = tail_end(urls, m.end);
		urls->floor = urls->search = urls->match_end;
		if (m.url)
		{
			if (take_whole(urls, &m, start, end))
				return true;
		}
		else if (m.start == urls->text ||
				 memchr("-_./", m.start[-1], 4) == NULL)
		{
			urls->piece = m.start;
			urls->domain_end = m.end;
		}
	}
	return true;
}
