/*-------------------------------------------------------------------------
 *
 * tweet.c
 *		Messages shaped like the tweets of Twitter's API.
 *
 * The members and their order are those of the API's version 1.1:
 * https://developer.x.com/en/docs/x-api/v1/data-dictionary/object-model/tweet
 * As there, everything beyond ASCII is a \u escape, a slash is \/, times look
 * like "Sun Sep 21 00:00:00 +0000 2014", and indices count code points.  What
 * the members hold is made up from random numbers and belongs to nobody.
 *
 * Of 100 tweets, 47 are retweets, which repeat the original's text behind
 * "RT @user: ", and 8 quote another tweet; the others stand alone.  A nested
 * tweet has a text and a time of its own.  One in ten names a place.  They
 * have 2,200 to 6,400 bytes, 4,000 on the average.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tweet.h"

#define TEXT_MAX 1024
#define SECONDS_PER_DAY 86400
#define USERS 1000000
#define RETWEETS 47			/* of 100 */
#define QUOTES 8

/* A string as it stands in JSON, and how many code points it means. */
typedef struct Text
{
	char		json[TEXT_MAX];
	int			len;
	int			points;
} Text;

/* Where in the text something begins and ends, in code points. */
typedef struct Span
{
	int			begin;
	int			end;
} Span;

typedef struct Body
{
	Text		text;
	int			tags[2];
	Span		tag_spans[2];
	int			mention;		/* a user's number, -1: nobody */
	Span		mention_span;
	uint32_t	link;			/* 0: none */
	Span		link_span;
} Body;

static char *out;
static int	out_len;
static uint64_t (*draw) (void);

static const char *const words[] = {
	"today", "the", "new", "release", "of", "our", "great", "open", "data",
	"and", "we", "are", "live", "now", "more", "soon", "in", "this", "city",
	"caf\\u00e9", "\\u00fcber", "ma\\u00f1ana", "\\u6771\\u4eac",
	"\\u0645\\u0631\\u062d\\u0628\\u0627", "\\ud83d\\ude80",
	"\\ud83c\\udf89\\ud83c\\udf89", "\\\"yes\\\"", "R&amp;D", "either\\/or",
	"it\\u2019s", "\\u2026", "first\\nsecond",
};

#define NWORDS ((int) (sizeof(words) / sizeof(words[0])))

static void __attribute__((format(printf, 1, 2)))
put(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	out_len += vsnprintf(out + out_len, TWEET_MAX - out_len, format, args);
	va_end(args);
	if (out_len >= TWEET_MAX)
	{
		fprintf(stderr, "generate: a tweet is longer than %d bytes\n", TWEET_MAX);
		exit(1);
	}
}

static int
below(int n)
{
	return (int) (draw() % n);
}

static const char *
boolean(void)
{
	return below(4) == 0 ? "true" : "false";
}

static void
put_time(time_t when)
{
	struct tm	tm;
	char		text[64];

	gmtime_r(&when, &tm);
	strftime(text, sizeof(text), "%a %b %d %H:%M:%S +0000 %Y", &tm);
	put("\"created_at\":\"%s\"", text);
}

/* ---------------------------------------------------------------------
 * Texts
 * --------------------------------------------------------------------- */

static int
count_points(const char *json)
{
	int			points = 0;

	while (*json != '\0')
	{
		if (json[0] != '\\')
			json++;
		else if (json[1] != 'u')
			json += 2;
		else
		{
			/* The first half of a surrogate pair takes its other half along. */
			json += strchr("89abAB", json[3]) && (json[2] == 'd' || json[2] == 'D') ? 12 : 6;
		}
		points++;
	}
	return points;
}

static Span
append(Text *text, const char *json)
{
	Span		span = {text->points, text->points + count_points(json)};
	int			len = (int) strlen(json);

	if (text->len + len >= TEXT_MAX)
		abort();
	memcpy(text->json + text->len, json, len + 1);
	text->len += len;
	text->points = span.end;
	return span;
}

static void
append_words(Text *text, int n)
{
	while (n-- > 0)
	{
		append(text, words[below(NWORDS)]);
		append(text, " ");
	}
}

static void
write_body(Body *body, int a, int b)
{
	char		piece[64];

	memset(body, 0, sizeof(*body));
	body->tags[0] = a;
	body->tags[1] = b;
	body->mention = -1;
	for (int i = 0; i < 2; i++)
	{
		append_words(&body->text, 3 + below(5));
		snprintf(piece, sizeof(piece), "#tag%d", body->tags[i]);
		body->tag_spans[i] = append(&body->text, piece);
		append(&body->text, " ");
	}
	append_words(&body->text, below(4));
	if (below(2) == 0)
	{
		body->link = (uint32_t) draw() | 1;
		snprintf(piece, sizeof(piece), "https:\\/\\/t.co\\/x%09x", body->link);
		body->link_span = append(&body->text, piece);
	}
}

static void
shift(Span *span, int by)
{
	span->begin += by;
	span->end += by;
}

/* The same text as a retweet has it. */
static void
write_retweet(Body *body, const Body *original, int author)
{
	char		piece[64];
	int			by;

	*body = *original;
	memset(&body->text, 0, sizeof(body->text));
	append(&body->text, "RT ");
	snprintf(piece, sizeof(piece), "@user_%d", author);
	body->mention = author;
	body->mention_span = append(&body->text, piece);
	append(&body->text, ": ");
	by = body->text.points;
	append(&body->text, original->text.json);
	shift(&body->tag_spans[0], by);
	shift(&body->tag_spans[1], by);
	shift(&body->link_span, by);
}

/* ---------------------------------------------------------------------
 * Objects
 * --------------------------------------------------------------------- */

static void
put_user(int number, time_t when)
{
	Text		description = {.len = 0};
	int			color = below(1 << 24);

	append_words(&description, 2 + below(22));
	put("\"user\":{\"id\":%d,\"id_str\":\"%d\",\"name\":\"User %d\",\"screen_name\":\"user_%d\",",
		number, number, number, number);
	put(below(2) ? "\"location\":\"%s\"," : "\"location\":null,", words[below(NWORDS)]);
	put(below(2) ? "\"url\":\"http:\\/\\/www.example.org\\/~user_%d\"," : "\"url\":null,", number);
	put("\"description\":\"%s\",\"translator_type\":\"none\",\"protected\":false,\"verified\":%s,",
		description.json, boolean());
	put("\"followers_count\":%d,\"friends_count\":%d,\"listed_count\":%d,\"favourites_count\":%d,\"statuses_count\":%d,",
		below(100000), below(5000), below(300), below(20000), below(200000));
	put_time(when - SECONDS_PER_DAY * (time_t) (1 + below(2000)));
	put(",\"utc_offset\":%d,\"time_zone\":\"Eastern Time (US & Canada)\",\"geo_enabled\":%s,\"lang\":\"en\","
		"\"contributors_enabled\":false,\"is_translator\":false,", 3600 * (below(24) - 11), boolean());
	put("\"profile_background_color\":\"%06X\",\"profile_background_image_url\":"
		"\"http:\\/\\/images.example.com\\/themes\\/theme%d\\/bg.png\",\"profile_background_image_url_https\":"
		"\"https:\\/\\/images.example.com\\/themes\\/theme%d\\/bg.png\",\"profile_background_tile\":%s,",
		color, color % 19, color % 19, boolean());
	put("\"profile_link_color\":\"%06X\",\"profile_sidebar_border_color\":\"%06X\",\"profile_sidebar_fill_color\":\"DDEEF6\","
		"\"profile_text_color\":\"333333\",\"profile_use_background_image\":true,", color ^ 0xffffff, color / 2);
	put("\"profile_image_url\":\"http:\\/\\/images.example.com\\/profile_images\\/%d\\/%08x_normal.jpeg\","
		"\"profile_image_url_https\":\"https:\\/\\/images.example.com\\/profile_images\\/%d\\/%08x_normal.jpeg\",",
		number, color, number, color);
	put("\"profile_banner_url\":\"https:\\/\\/images.example.com\\/profile_banners\\/%d\\/%d\",\"default_profile\":%s,"
		"\"default_profile_image\":false,\"following\":null,\"follow_request_sent\":null,\"notifications\":null,"
		"\"withheld_in_countries\":[]}", number, 1400000000 + color, boolean());
}

static void
put_place(void)
{
	double		south = below(120000) / 1000.0 - 60;
	double		west = below(360000) / 1000.0 - 180;

	if (below(10) > 0)
	{
		put(",\"geo\":null,\"coordinates\":null,\"place\":null");
		return;
	}
	put(",\"geo\":{\"type\":\"Point\",\"coordinates\":[%.6f,%.6f]},\"coordinates\":{\"type\":\"Point\",\"coordinates\":[%.6f,%.6f]}",
		south + 0.1, west + 0.1, west + 0.1, south + 0.1);
	put(",\"place\":{\"id\":\"%016llx\",\"url\":\"https:\\/\\/api.example.com\\/1.1\\/geo\\/id\\/%d.json\",\"place_type\":\"city\","
		"\"name\":\"\\u6771\\u4eac\",\"full_name\":\"\\u6771\\u4eac, 13\",\"country_code\":\"JP\",\"country\":\"Japan\",",
		(unsigned long long) draw(), below(100000));
	put("\"bounding_box\":{\"type\":\"Polygon\",\"coordinates\":[[[%.6f,%.6f],[%.6f,%.6f],[%.6f,%.6f],[%.6f,%.6f]]]},"
		"\"attributes\":{}}", west, south, west, south + 0.25, west + 0.25, south + 0.25, west + 0.25, south);
}

static void
put_entities(const Body *body)
{
	put(",\"entities\":{\"hashtags\":[");
	for (int i = 0; i < 2; i++)
		put("%s{\"text\":\"tag%d\",\"indices\":[%d,%d]}", i > 0 ? "," : "", body->tags[i],
			body->tag_spans[i].begin, body->tag_spans[i].end);
	put("],\"urls\":[");
	if (body->link != 0)
		put("{\"url\":\"https:\\/\\/t.co\\/x%09x\",\"expanded_url\":\"https:\\/\\/www.example.org\\/news\\/%08x?from=feed&page=1\","
			"\"display_url\":\"example.org\\/news\\/%08x\\u2026\",\"indices\":[%d,%d]}",
			body->link, body->link, body->link, body->link_span.begin, body->link_span.end);
	put("],\"user_mentions\":[");
	if (body->mention >= 0)
		put("{\"screen_name\":\"user_%d\",\"name\":\"User %d\",\"id\":%d,\"id_str\":\"%d\",\"indices\":[%d,%d]}",
			body->mention, body->mention, body->mention, body->mention,
			body->mention_span.begin, body->mention_span.end);
	put("],\"symbols\":[]}");
}

static void
put_head(unsigned long long id, time_t when, const Body *body, int author)
{
	put("{");
	put_time(when);
	put(",\"id\":%llu,\"id_str\":\"%llu\",\"text\":\"%s\",\"source\":\"\\u003ca href=\\\"https:\\/\\/www.example.com\\/app\\\" "
		"rel=\\\"nofollow\\\"\\u003eExample for Phones\\u003c\\/a\\u003e\",\"truncated\":false,"
		"\"in_reply_to_status_id\":null,\"in_reply_to_status_id_str\":null,\"in_reply_to_user_id\":null,"
		"\"in_reply_to_user_id_str\":null,\"in_reply_to_screen_name\":null,", id, id, body->text.json);
	put_user(author, when);
	put_place();
	put(",\"contributors\":null");
}

static void
put_tail(const Body *body, const char *quotes)
{
	put(",\"is_quote_status\":%s,\"quote_count\":%d,\"reply_count\":%d,\"retweet_count\":%d,\"favorite_count\":%d",
		quotes, below(10), below(100), below(1000), below(1000));
	put_entities(body);
	put(",\"favorited\":false,\"retweeted\":false,\"possibly_sensitive\":%s,\"filter_level\":\"low\",\"lang\":\"en\"", boolean());
}

static void
put_nested(const char *member, unsigned long long id, time_t when, const Body *body, int author)
{
	put(",\"%s\":", member);
	put_head(id, when, body, author);
	put_tail(body, "false");
	put("}");
}

int
tweet_compose(char *buf, long id, time_t when, int a, int b,
			  uint64_t (*draw_number) (void))
{
	static Body body;
	static Body other;
	unsigned long long tweet = 513000000000000000ULL + (unsigned long long) id * 4096;
	unsigned long long other_tweet;
	int			kind;
	int			author;
	int			other_author;
	time_t		earlier;

	out = buf;
	out_len = 0;
	draw = draw_number;
	kind = below(100);
	author = below(USERS);
	other_author = below(USERS);
	other_tweet = tweet - 4096ULL * (1 + below(100000));
	earlier = when - 1 - below(SECONDS_PER_DAY);
	if (kind < RETWEETS)
	{
		write_body(&other, a, b);
		write_retweet(&body, &other, other_author);
	}
	else
	{
		write_body(&body, a, b);
		write_body(&other, below(10000), below(10000));
	}
	put_head(tweet, when, &body, author);
	if (kind < RETWEETS)
		put_nested("retweeted_status", other_tweet, earlier, &other, other_author);
	else if (kind < RETWEETS + QUOTES)
		put_nested("quoted_status", other_tweet, earlier, &other, other_author);
	put_tail(&body, kind >= RETWEETS && kind < RETWEETS + QUOTES ? "true" : "false");
	put(",\"timestamp_ms\":\"%lld\"}", (long long) when * 1000 + below(1000));
	return out_len;
}
