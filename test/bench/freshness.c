/*-------------------------------------------------------------------------
 *
 * freshness.c
 *		How long after it was produced a message can be read in a rollup.
 *
 * usage: freshness BROKERS TOPIC RATE SECONDS "SELECT …"
 *
 * Produces RATE messages a second.  After some seconds, in which everybody
 * gets to know the new topic, twenty times a second one of them is a probe: it has a hashtag of its own, #probe000017.  The query takes a text[]
 * of such hashtags as $1 and gives back those that can be seen; it is asked
 * again every two milliseconds.  The connection is the one of PGHOST, PGPORT,
 * PGUSER and PGDATABASE.
 *
 * Prints "probes p50 p99 max", in milliseconds.  The time begins when the
 * probe is handed to the producer and ends when the answer has been read.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#define PROBES_PER_SECOND 20
#define WARM_UP_SECONDS 3.0
#define POLL_SECONDS 0.002
#define GIVE_UP_SECONDS 30.0

typedef struct Probe
{
	double		produced;
	double		seen;			/* 0: not yet */
} Probe;

static Probe *probes;
static int	nprobes = 0;
static int	first_unseen = 0;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "freshness: %s: %s\n", what, why);
	exit(1);
}

static double
now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static rd_kafka_topic_t *
open_topic(const char *brokers, const char *topic, rd_kafka_t **rk)
{
	char		error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof(error)) != RD_KAFKA_CONF_OK ||
		rd_kafka_conf_set(conf, "linger.ms", "1", error, sizeof(error)) != RD_KAFKA_CONF_OK)
		fail("librdkafka", error);
	*rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (*rk == NULL)
		fail("could not start librdkafka", error);
	return rd_kafka_topic_new(*rk, topic, NULL);
}

static PGconn *
open_database(const char *query)
{
	PGconn	   *conn = PQconnectdb("");
	PGresult   *result;

	if (PQstatus(conn) != CONNECTION_OK)
		fail("could not connect", PQerrorMessage(conn));
	result = PQprepare(conn, "seen", query, 1, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("could not prepare", PQerrorMessage(conn));
	PQclear(result);
	return conn;
}

static void
produce(rd_kafka_topic_t *rkt, int64_t id, const char *text)
{
	char		buf[256];
	struct timespec ts;
	struct tm	tm;
	int			len;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = snprintf(buf, sizeof(buf), "{\"id\":%lld,\"created_at\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\",\"text\":\"%s\"}",
				   (long long) id, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
				   tm.tm_hour, tm.tm_min, tm.tm_sec, text);
	if (rd_kafka_produce(rkt, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, buf, len, NULL, 0, NULL) != 0)
		fail("could not produce", rd_kafka_err2str(rd_kafka_last_error()));
}

static void
produce_probe(rd_kafka_topic_t *rkt, int64_t id)
{
	char		text[64];

	snprintf(text, sizeof(text), "a #probe%06d", nprobes);
	probes[nprobes].produced = now(CLOCK_MONOTONIC);
	probes[nprobes].seen = 0;
	nprobes++;
	produce(rkt, id, text);
}

static void
produce_filler(rd_kafka_topic_t *rkt, int64_t id)
{
	char		text[64];

	snprintf(text, sizeof(text), "the #tag%d and #tag%d",
			 (int) (drand48() * drand48() * 10000), (int) (drand48() * drand48() * 10000));
	produce(rkt, id, text);
}

/* Ask which of the probes that are out can be seen by now. */
static void
look(PGconn *conn)
{
	static char array[16 * 4096];
	const char *values[1] = {array};
	int			len = 0;
	PGresult   *result;
	double		at;

	for (int i = first_unseen; i < nprobes && len < (int) sizeof(array) - 64; i++)
	{
		if (probes[i].seen == 0)
			len += snprintf(array + len, sizeof(array) - len, "%s\"#probe%06d\"", len ? "," : "{", i);
	}
	if (len == 0)
		return;
	strcpy(array + len, "}");
	result = PQexecPrepared(conn, "seen", 1, values, NULL, NULL, 0);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("could not query", PQerrorMessage(conn));
	at = now(CLOCK_MONOTONIC);
	for (int i = 0; i < PQntuples(result); i++)
		probes[atoi(PQgetvalue(result, i, 0) + strlen("#probe"))].seen = at;
	PQclear(result);
	while (first_unseen < nprobes && probes[first_unseen].seen > 0)
		first_unseen++;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
report(void)
{
	double	   *ms = malloc(nprobes * sizeof(double));

	if (ms == NULL)
		fail("report", "out of memory");
	for (int i = 0; i < nprobes; i++)
		ms[i] = (probes[i].seen - probes[i].produced) * 1000;
	qsort(ms, nprobes, sizeof(double), compare);
	printf("%d %.1f %.1f %.1f\n", nprobes, ms[nprobes / 2], ms[(int) (nprobes * 0.99)], ms[nprobes - 1]);
	free(ms);
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	PGconn	   *conn;
	double		rate;
	double		seconds;		/* the warm-up among them */
	double		start;
	double		next_look = 0;
	int64_t		sent = 0;

	if (argc != 6 || (rate = atof(argv[3])) <= 0 || (seconds = WARM_UP_SECONDS + atof(argv[4])) <= WARM_UP_SECONDS)
		fail("usage", "freshness BROKERS TOPIC RATE SECONDS QUERY");
	probes = calloc((size_t) (seconds * PROBES_PER_SECOND) + 2, sizeof(Probe));
	if (probes == NULL)
		fail("probes", "out of memory");
	rkt = open_topic(argv[1], argv[2], &rk);
	conn = open_database(argv[5]);

	start = now(CLOCK_MONOTONIC);
	for (;;)
	{
		double		elapsed = now(CLOCK_MONOTONIC) - start;

		if (elapsed < seconds)
		{
			while (sent < elapsed * rate)
			{
				if (nprobes < (elapsed - WARM_UP_SECONDS) * PROBES_PER_SECOND)
					produce_probe(rkt, sent++);
				else
					produce_filler(rkt, sent++);
			}
		}
		else if (first_unseen == nprobes)
			break;
		else if (elapsed > seconds + GIVE_UP_SECONDS)
			fail("a probe was never seen", argv[5]);
		if (elapsed >= next_look)
		{
			look(conn);
			next_look = now(CLOCK_MONOTONIC) - start + POLL_SECONDS;
		}
		rd_kafka_poll(rk, 1);
	}
	report();
	if (rd_kafka_flush(rk, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("flush", "not all messages were acknowledged");
	PQfinish(conn);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
	return 0;
}
