/*-------------------------------------------------------------------------
 *
 * token_domain.c
 *		Top-level domains, and the labels of a domain name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "token_char.h"
#include "token_domain.h"
#include "token_tlds.h"

#define LABEL_MAX 63			/* bytes, as the DNS has it */
#define PUNYCODE_PREFIX "xn--"
#define PUNYCODE_PREFIX_LEN 4

static bool
is_tld(const char *name, int len)
{
	int			low = 0;
	int			high = SC_TLD_COUNT;

	while (low < high)
	{
		int			mid = (low + high) / 2;
		int			mid_len = tld_offsets[mid + 1] - tld_offsets[mid];
		int			order = memcmp(name, tld_names + tld_offsets[mid],
								   Min(len, mid_len));

		if (order == 0)
			order = len - mid_len;
		if (order == 0)
			return true;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return false;
}

/* What may not follow a top-level domain directly. */
static bool
continues_tld(const char *p, const char *end)
{
	return p < end && (sc_token_is_alnum(*p) || *p == '@' || *p == '+' ||
					   *p == '-');
}

static const char *
punycode_end(const char *p, const char *end)
{
	const char *start = p + PUNYCODE_PREFIX_LEN;

	if (end - p <= PUNYCODE_PREFIX_LEN ||
		pg_strncasecmp(p, PUNYCODE_PREFIX, PUNYCODE_PREFIX_LEN) != 0)
		return NULL;
	for (p = start; p < end && (sc_token_is_alnum(*p) || *p == '-'); p++)
		;
	return p > start ? p : NULL;
}

const char *
sc_token_tld_end(const char *p, const char *end)
{
	char		name[SC_TLD_MAX_BYTES + 4];
	int			name_len[SC_TLD_MAX_BYTES + 1];
	const char *ends[SC_TLD_MAX_BYTES + 1];
	const char *at = p;
	int			len = 0;
	int			n = 0;

	/* where it might end: after each letter that nothing continues */
	while (at < end)
	{
		bool		ascii = sc_token_is_ascii(*at);
		uint32		code = sc_token_decode(&at, end);

		if (!(sc_token_class(code) & SC_CHAR_ALPHA))
			break;
		code = sc_token_fold_char(code);
		if (!ascii && code < 0x80)	/* the Kelvin sign and its like */
			break;
		len += sc_token_encode(code, name + len);
		if (len > SC_TLD_MAX_BYTES)
			break;
		if (continues_tld(at, end))
			continue;
		name_len[n] = len;
		ends[n++] = at;
	}
	while (n-- > 0)
	{
		if (is_tld(name, name_len[n]))
			return ends[n];
	}
	return punycode_end(p, end);
}

static const char *
skip_ascii_label(const char *p, const char *end)
{
	while (p < end)
	{
		const char *at = p;
		uint32		code = sc_token_decode(&p, end);

		if (code < 0x80 ? !(sc_token_ascii_url[code] & SC_URL_ASCII_LABEL) :
			!(sc_token_class(code) & SC_CHAR_LATIN))
			return at;
	}
	return p;
}

bool
sc_token_ascii_domain(const char *p, const char *end,
					  const char **start, const char **stop)
{
	while (p < end)
	{
		const char *label = p;
		const char *label_end = skip_ascii_label(p, end);

		*start = p;
		*stop = NULL;
		while (label_end > label && label_end < end && *label_end == '.')
		{
			const char *tld;

			label = label_end + 1;
			tld = sc_token_tld_end(label, end);
			if (tld)
				*stop = tld;
			label_end = skip_ascii_label(label, end);
		}
		if (*stop)
			return true;
		p = label_end;
		if (p < end)
			(void) sc_token_decode(&p, end);
	}
	return false;
}

/*
 * The length of a label in Punycode (RFC 3492, section 6.3), without the
 * prefix.  Only the number of digits is wanted, not which ones.
 */
static int
punycode_length(const uint32 *codes, int n)
{
	enum
	{
		base = 36, tmin = 1, tmax = 26, skew = 38, damp = 700
	};
	uint32		next = 0x80;
	uint32		delta = 0;
	int			bias = 72;
	int			basic = 0;
	int			done;
	int			length;

	for (int i = 0; i < n; i++)
		basic += codes[i] < 0x80;
	length = basic + (basic > 0);
	for (done = basic; done < n; delta++, next++)
	{
		uint32		least = PG_UINT32_MAX;

		for (int i = 0; i < n; i++)
			if (codes[i] >= next)
				least = Min(least, codes[i]);
		delta += (least - next) * (done + 1);
		next = least;
		for (int i = 0; i < n; i++)
		{
			uint32		q = delta;

			if (codes[i] < next)
				delta++;
			if (codes[i] != next)
				continue;
			for (int k = base;; k += base)
			{
				uint32		t = Max(tmin, Min(tmax, k - bias));

				length++;
				if (q < t)
					break;
				q = (q - t) / (base - t);
			}
			delta = done == basic ? delta / damp : delta / 2;
			done++;
			delta += delta / done;
			for (bias = 0; delta > (base - tmin) * tmax / 2; bias += base)
				delta /= base - tmin;
			bias += (base - tmin + 1) * delta / (delta + skew);
			delta = 0;
		}
	}
	return length;
}

/* The dots of IDNA (RFC 3490, section 3.1) */
static bool
is_dot(uint32 code)
{
	return code == '.' || code == 0x3002 || code == 0xFF0E || code == 0xFF61;
}

bool
sc_token_labels_fit(const char *p, const char *end)
{
	uint32		codes[LABEL_MAX];
	int			n = 0;
	bool		ascii = true;

	for (;;)
	{
		uint32		code = p < end ? sc_token_decode(&p, end) : '.';
		bool		last = p == end && is_dot(code);

		if (!is_dot(code))
		{
			if (n == LABEL_MAX)
				return false;
			codes[n++] = code;
			ascii = ascii && code < 0x80;
			continue;
		}
		if (!ascii &&
			punycode_length(codes, n) > LABEL_MAX - PUNYCODE_PREFIX_LEN)
			return false;
		if (last)
			return true;
		n = 0;
		ascii = true;
	}
}
