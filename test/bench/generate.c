/*-------------------------------------------------------------------------
 *
 * generate.c
 *		Produce generated tweets, the same ones for the same seed.
 *
 * usage: generate --brokers=LIST --topic=NAME --load=NAME --count=N
 *			[--partitions=4] [--bytes=100] [--seed=1] [--rate=N] [--now]
 *			[--truth=FILE] [--sent=FILE]
 *
 * A message is {"id":0,"created_at":"2014-09-21T00:00:00Z","text":"the #tag27
 * and #tag6406"}, filled up with dots; of the load tweets, what tweet.c makes.
 * Its two hashtags are drawn
 *
 *	hot		evenly from 10,000, within one day
 *	zipf	by Zipf's law (exponent 1) from 100,000, over 11 hours
 *	tweets	by Zipf's law (exponent 1) from 10,000, within one day
 *	unique	none twice, within one day
 *	hostile	as hot, but then the message is changed in up to three places
 *
 * --bytes	so long is a message, but not a tweet
 * --rate	messages a second; as fast as the broker takes them without it
 * --now	created_at is the current time
 * --truth	write "hashtag interval mentions", separated by tabs, for hours,
 *			days and ALL
 * --sent	write "messages microseconds-since-1970" lines: so many messages
 *			had been handed over by then
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#include "mutate.h"
#include "tweet.h"

#define FIRST_SECOND 1411257600 /* 2014-09-21T00:00:00Z */
#define HOURS 24
#define MARGIN 256				/* a message may be so much longer */

static const char *brokers;
static const char *topic;
static const char *truth_file;
static const char *sent_file;
static const struct Load
{
	const char *name;
	int			ntags;
	int			span;			/* seconds of event time */
	int			zipf;
	int			tweets;
	int			hostile;
}			loads[] =
{
	{"hot", 10000, 86400, 0, 0, 0},
	{"zipf", 100000, 11 * 3600, 1, 0, 0},
	{"tweets", 10000, 86400, 1, 1, 0},
	{"unique", 0, 86400, 0, 0, 0},
	{"hostile", 10000, 86400, 0, 0, 1},
};
static const struct Load *load;
static int	now_times;
static long count;
static int	partitions = 4;
static int	bytes = 100;
static double rate;
static uint64_t seed = 1;

static double *cumulated;		/* zipf */
static uint32_t *mentions;		/* [tag * HOURS + hour] */
static long first_day = -1;		/* since 1970 */
static long undelivered;

static void
die(const char *what)
{
	fprintf(stderr, "generate: %s\n", what);
	exit(1);
}

/* splitmix64: the whole state is one number. */
static uint64_t
draw(void)
{
	uint64_t	z = (seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static int
draw_tag(void)
{
	double		point;
	int			low = 0;
	int			high = load->ntags - 1;
	static int	unique;

	if (load->ntags == 0)
		return unique++;
	if (!load->zipf)
		return (int) (draw() % load->ntags);
	point = (draw() >> 11) * 0x1.0p-53 * cumulated[load->ntags - 1];
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (cumulated[middle] < point)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int64_t
microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		undelivered++;
}

static rd_kafka_t *
connect_producer(void)
{
	static const char *const settings[][2] = {
		{"linger.ms", "5"},
		{"batch.num.messages", "10000"},
		{"queue.buffering.max.messages", "200000"},
		{"delivery.report.only.error", "true"},
		{"enable.idempotence", "true"},
		{"message.timeout.ms", "120000"},
		{"log_level", "3"},
	};
	char		errstr[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
		die(errstr);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
			die(errstr);
	}
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die(errstr);
	return rk;
}

static void
send_message(rd_kafka_t *rk, rd_kafka_topic_t *rkt, int partition,
			 const char *payload, size_t len)
{
	while (rd_kafka_produce(rkt, partition, RD_KAFKA_MSG_F_COPY, (void *) payload,
							len, NULL, 0, NULL) == -1)
	{
		if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die(rd_kafka_err2str(rd_kafka_last_error()));
		rd_kafka_poll(rk, 10);
	}
}

/* The message's text; counted in the truth on the way. */
static int
compose(char *buf, long id)
{
	time_t		when = now_times ? time(NULL) : FIRST_SECOND + (time_t) (draw() % load->span);
	int			a = draw_tag();
	int			b = draw_tag();
	struct tm	tm;
	int			len;

	if (mentions != NULL)
	{
		if (first_day < 0)
			first_day = when / 86400;
		if (when / 86400 != first_day)
			die("--truth does not go over midnight");
		mentions[a * HOURS + when % 86400 / 3600]++;
		mentions[b * HOURS + when % 86400 / 3600]++;
	}
	if (load->tweets)
		return tweet_compose(buf, id, when, a, b, draw);
	gmtime_r(&when, &tm);
	len = sprintf(buf, "{\"id\":%ld,\"created_at\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\","
				  "\"text\":\"the #tag%d and #tag%d ",
				  id, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				  tm.tm_hour, tm.tm_min, tm.tm_sec, a, b);
	while (len < bytes - 2)
		buf[len++] = '.';
	buf[len++] = '"';
	buf[len++] = '}';
	return load->hostile ? mutate(buf, len, bytes + MARGIN, draw) : len;
}

static void
write_truth(void)
{
	FILE	   *file = fopen(truth_file, "w");
	time_t		day = first_day * 86400;
	struct tm	tm;
	char		date[32];

	if (file == NULL)
		die(truth_file);
	gmtime_r(&day, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	for (int tag = 0; tag < load->ntags; tag++)
	{
		uint32_t	total = 0;

		for (int hour = 0; hour < HOURS; hour++)
		{
			uint32_t	n = mentions[tag * HOURS + hour];

			if (n > 0)
				fprintf(file, "#tag%d\t%sT%02d\t%u\n", tag, date, hour, n);
			total += n;
		}
		if (total > 0)
			fprintf(file, "#tag%d\t%s\t%u\n#tag%d\tALL\t%u\n", tag, date, total, tag, total);
	}
	if (fclose(file) != 0)
		die(truth_file);
}

static void
run(void)
{
	rd_kafka_t *rk = connect_producer();
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	FILE	   *sent = sent_file ? fopen(sent_file, "w") : NULL;
	int64_t		begin = microseconds();
	char	   *buf = malloc(load->tweets ? TWEET_MAX : bytes + MARGIN);

	if (sent_file && sent == NULL)
		die(sent_file);
	for (long i = 0; i < count; i++)
	{
		int64_t		early;
		int			len = compose(buf, i);

		/* At a rate, hand over what is due every 5 ms. */
		while (rate > 0 && (early = begin + (int64_t) (i * 1e6 / rate) - microseconds()) > 0)
		{
			struct timespec pause = {0, (early < 5000 ? 5000 : early % 1000000) * 1000};

			nanosleep(&pause, NULL);
		}
		send_message(rk, rkt, (int) (i % partitions), buf, len);
		if (sent && (i % 100 == 99 || i == count - 1))
			fprintf(sent, "%ld\t%lld\n", i + 1, (long long) microseconds());
		if (i % 1000 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (rd_kafka_flush(rk, 120000) != RD_KAFKA_RESP_ERR_NO_ERROR || undelivered > 0)
		die("not all messages were delivered");
	if (sent && fclose(sent) != 0)
		die(sent_file);
	printf("%ld messages in %.2f s\n", count, (microseconds() - begin) / 1e6);
	fflush(stdout);
}

static void
prepare(void)
{
	if (truth_file)
		mentions = calloc((size_t) load->ntags * HOURS, sizeof(uint32_t));
	if (load->zipf)
	{
		double		sum = 0;

		cumulated = malloc(load->ntags * sizeof(double));
		for (int i = 0; i < load->ntags; i++)
			cumulated[i] = sum += 1.0 / (i + 1);
	}
}

static const struct Load *
find_load(const char *name)
{
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
	{
		if (strcmp(loads[i].name, name) == 0)
			return &loads[i];
	}
	die("--load is hot, zipf, tweets, unique or hostile");
	return NULL;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"brokers", required_argument, NULL, 'b'},
		{"topic", required_argument, NULL, 't'},
		{"load", required_argument, NULL, 'l'},
		{"count", required_argument, NULL, 'n'},
		{"partitions", required_argument, NULL, 'p'},
		{"bytes", required_argument, NULL, 'y'},
		{"seed", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{"now", no_argument, NULL, 'w'},
		{"truth", required_argument, NULL, 'u'},
		{"sent", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'b':
				brokers = optarg;
				break;
			case 't':
				topic = optarg;
				break;
			case 'l':
				load = find_load(optarg);
				break;
			case 'n':
				count = atol(optarg);
				break;
			case 'p':
				partitions = atoi(optarg);
				break;
			case 'y':
				bytes = atoi(optarg);
				break;
			case 's':
				seed = strtoull(optarg, NULL, 10);
				break;
			case 'r':
				rate = atof(optarg);
				break;
			case 'w':
				now_times = 1;
				break;
			case 'u':
				truth_file = optarg;
				break;
			case 'e':
				sent_file = optarg;
				break;
			default:
				return 1;
		}
	}
	if (!brokers || !topic || !load || count <= 0 || partitions <= 0 || bytes < 0 || optind < argc)
		die("--brokers, --topic, --load and --count are needed");
	if (truth_file && (load->ntags == 0 || load->hostile))
		die("of this load there is no --truth");
	prepare();
	run();
	if (truth_file)
		write_truth();
	_Exit(0);
}
