/*-------------------------------------------------------------------------
 *
 * tweets.c
 *		Produce invented tweets at a steady rate, and keep count of them.
 *
 * usage: tweets BROKERS TOPIC RATE COUNTS
 *
 * Goes on until SIGTERM or SIGINT.  Then it waits until the broker has
 * everything, and writes to the file COUNTS what a rollup by (hashtag; minute,
 * day, ALL) must hold, one "hashtag<TAB>interval<TAB>mentions" a line, and to
 * standard output the number of messages.  Only what the broker has
 * acknowledged is counted.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define MAX_TAGS 3				/* in one tweet */
#define MAX_MINUTES 10000		/* of one run: about a week */

/* The nth is mentioned in proportion to 1/n. */
static const char *const tags[] = {
	"#postgresql", "#kafka", "#news", "#music", "#football", "#photography",
	"#travel", "#coffee", "#berlin", "#opensource", "#cats", "#weather",
	"#art", "#running", "#books", "#science", "#food", "#movies", "#garden",
	"#startup", "#linux", "#history", "#cycling", "#design", "#jazz",
	"#astronomy", "#bread", "#trains", "#chess", "#hiking",
	"#málaga", "#東京", "#москва", "#ästhetik", "#münchen"
};

#define NTAGS ((int) (sizeof(tags) / sizeof(tags[0])))

static const char *const openings[] = {
	"Good morning", "So this happened", "Reading about it all day",
	"Who else is here", "Never thought I would say this", "Look at that",
	"On my way home", "Again and again", "First time", "Still thinking about it"
};

#define NOPENINGS ((int) (sizeof(openings) / sizeof(openings[0])))

/* What is known of a tweet until the broker has it */
typedef struct Tweet
{
	time_t		created_at;
	int			ntags;
	int			tags[MAX_TAGS];
} Tweet;

static volatile sig_atomic_t stop = 0;
static double cumulated[NTAGS];
static int64_t counts[MAX_MINUTES][NTAGS];
static time_t first_minute;
static int64_t acknowledged = 0;
static int64_t lost = 0;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "tweets: %s: %s\n", what, why);
	exit(1);
}

static void
on_signal(int signo)
{
	(void) signo;
	stop = 1;
}

static double
now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	Tweet	   *tweet = message->_private;
	time_t		minute = tweet->created_at / 60 - first_minute;

	(void) rk;
	(void) opaque;
	if (message->err || minute < 0 || minute >= MAX_MINUTES)
		lost++;
	else
	{
		acknowledged++;
		for (int i = 0; i < tweet->ntags; i++)
			counts[minute][tweet->tags[i]]++;
	}
	free(tweet);
}

static rd_kafka_t *
open_producer(const char *brokers)
{
	const char *const settings[][2] = {
		{"bootstrap.servers", brokers},
		{"enable.idempotence", "true"},
		{"linger.ms", "5"},
		{"client.id", "streamcount demo"},
	};
	char		error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, sizeof(error)) != RD_KAFKA_CONF_OK)
			fail(settings[i][0], error);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (rk == NULL)
		fail("could not start librdkafka", error);
	return rk;
}

static int
pick_tag(void)
{
	double		at = drand48() * cumulated[NTAGS - 1];
	int			i = 0;

	while (cumulated[i] < at)
		i++;
	return i;
}

/* Write one tweet as JSON to buf; some people begin their tags with a capital. */
static int
write_tweet(Tweet *tweet, double at, int64_t id, char *buf, size_t size)
{
	struct tm	tm;
	int			len;

	tweet->created_at = (time_t) at;
	tweet->ntags = (int) (drand48() * (MAX_TAGS + 1));
	gmtime_r(&tweet->created_at, &tm);
	len = snprintf(buf, size,
				   "{\"id\": %" PRId64 ", \"created_at\": \"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\", \"text\": \"%s",
				   id, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				   tm.tm_hour, tm.tm_min, tm.tm_sec,
				   (int) ((at - tweet->created_at) * 1000),
				   openings[(int) (drand48() * NOPENINGS)]);
	for (int i = 0; i < tweet->ntags; i++)
	{
		tweet->tags[i] = pick_tag();
		len += snprintf(buf + len, size - len, " %s", tags[tweet->tags[i]]);
		if (drand48() < 0.2)
		{
			char	   *letter = buf + len - strlen(tags[tweet->tags[i]]) + 1;

			*letter = toupper((unsigned char) *letter);
		}
	}
	return len + snprintf(buf + len, size - len, "\"}");
}

static void
produce(rd_kafka_t *rk, rd_kafka_topic_t *rkt, double rate)
{
	double		start = now(CLOCK_MONOTONIC);
	int64_t		sent = 0;
	char		buf[1024];

	while (!stop)
	{
		Tweet	   *tweet;
		int			len;

		if (sent >= (now(CLOCK_MONOTONIC) - start) * rate)
		{
			rd_kafka_poll(rk, 2);
			continue;
		}
		tweet = malloc(sizeof(Tweet));
		if (tweet == NULL)
			fail("tweet", "out of memory");
		len = write_tweet(tweet, now(CLOCK_REALTIME), sent, buf, sizeof(buf));
		while (rd_kafka_produce(rkt, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
								buf, len, NULL, 0, tweet) != 0)
		{
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				fail("could not produce", rd_kafka_err2str(rd_kafka_last_error()));
			rd_kafka_poll(rk, 100);
		}
		sent++;
	}
}

/* Sums of the minutes [from, to) under one label */
static void
write_sums(FILE *out, int from, int to, const char *label)
{
	for (int tag = 0; tag < NTAGS; tag++)
	{
		int64_t		sum = 0;

		for (int minute = from; minute < to; minute++)
			sum += counts[minute][tag];
		if (sum > 0)
			fprintf(out, "%s\t%s\t%" PRId64 "\n", tags[tag], label, sum);
	}
}

static void
write_counts(const char *path)
{
	FILE	   *out = fopen(path, "w");
	time_t		minutes_now = time(NULL) / 60 + 1 - first_minute;
	int			end = minutes_now < MAX_MINUTES ? (int) minutes_now : MAX_MINUTES;
	int			day_begin = 0;

	if (out == NULL)
		fail(path, "could not write");
	for (int minute = 0; minute < end; minute++)
	{
		time_t		at = (first_minute + minute) * 60;
		char		label[32];

		strftime(label, sizeof(label), "%Y-%m-%dT%H:%M", gmtime(&at));
		write_sums(out, minute, minute + 1, label);
		/* the last minute of a day, or of all */
		if ((at + 60) % 86400 == 0 || minute + 1 == end)
		{
			label[strlen("YYYY-MM-DD")] = '\0';
			write_sums(out, day_begin, minute + 1, label);
			day_begin = minute + 1;
		}
	}
	write_sums(out, 0, end, "ALL");
	if (fclose(out) != 0)
		fail(path, "could not write");
}

int
main(int argc, char **argv)
{
	struct sigaction action;
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	double		rate;

	if (argc != 5 || (rate = atof(argv[3])) <= 0)
		fail("usage", "tweets BROKERS TOPIC RATE COUNTS");
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_signal;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	srand48(time(NULL));
	first_minute = time(NULL) / 60;
	for (int i = 0; i < NTAGS; i++)
		cumulated[i] = (i > 0 ? cumulated[i - 1] : 0) + 1.0 / (i + 1);

	rk = open_producer(argv[1]);
	rkt = rd_kafka_topic_new(rk, argv[2], NULL);
	produce(rk, rkt, rate);
	if (rd_kafka_flush(rk, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR || lost > 0)
		fail("not all tweets were acknowledged", "what is in the topic is not known");
	write_counts(argv[4]);
	printf("%" PRId64 "\n", acknowledged);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
	return 0;
}
