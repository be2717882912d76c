/*-------------------------------------------------------------------------
 *
 * drain.c
 *		How fast a topic can be read at all: count its messages, do nothing.
 *
 * usage: drain BROKERS TOPIC [PROPERTY=VALUE]...
 *
 * Prints "messages bytes seconds cpu-seconds", the time running from the first
 * fetch's assignment to the end of the last partition.  The consumer has the settings
 * that src/source_conf.c gives to ours: checksums are verified, aborted
 * transactions are left out, and the fetches and queues are those of the
 * default streamcount.fetch_mem, 64 MB.  PROPERTY=VALUE changes one of them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define BATCH 10000

static const char *const settings[][2] = {
	{"group.id", "drain"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "error"},
	{"isolation.level", "read_committed"},
	{"check.crcs", "true"},
	{"fetch.wait.max.ms", "50"},
	{"fetch.error.backoff.ms", "100"},
	{"queued.max.messages.kbytes", "32768"},
	{"queued.min.messages", "65536"},
	{"fetch.max.bytes", "16777216"},
	{"fetch.message.max.bytes", "1048576"},
};

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "drain: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		fail(name, error);
}

static rd_kafka_t *
open_consumer(const char *brokers, char **changes)
{
	char		error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	set(conf, "bootstrap.servers", brokers);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		set(conf, settings[i][0], settings[i][1]);
	for (; *changes != NULL; changes++)
	{
		char	   *equals = strchr(*changes, '=');

		if (equals == NULL)
			fail(*changes, "this is not PROPERTY=VALUE");
		*equals = '\0';
		set(conf, *changes, equals + 1);
	}
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (rk == NULL)
		fail("could not start librdkafka", error);
	return rk;
}

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
		(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Read every partition from its beginning; returns how many there are. */
static int
assign_all(rd_kafka_t *rk, const char *topic)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_resp_err_t err;
	int			n;

	err = rd_kafka_metadata(rk, 0, rkt, &metadata, 10000);
	if (err)
		fail("could not ask for the topic", rd_kafka_err2str(err));
	n = metadata->topics[0].partition_cnt;
	if (n == 0)
		fail(topic, "no such topic");
	list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	err = rd_kafka_assign(rk, list);
	if (err)
		fail("could not assign", rd_kafka_err2str(err));
	rd_kafka_topic_partition_list_destroy(list);
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(rkt);
	return n;
}

int
main(int argc, char **argv)
{
	static rd_kafka_message_t *batch[BATCH];
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int64_t		messages = 0;
	int64_t		bytes = 0;
	int			open_partitions;
	double		start;

	if (argc < 3)
		fail("usage", "drain BROKERS TOPIC [PROPERTY=VALUE]...");
	rk = open_consumer(argv[1], argv + 3);
	start = now();
	open_partitions = assign_all(rk, argv[2]);
	queue = rd_kafka_queue_get_consumer(rk);
	while (open_partitions > 0)
	{
		ssize_t		n = rd_kafka_consume_batch_queue(queue, 20, batch, BATCH);

		if (now() - start > 600)
			fail(argv[2], "not read to its end within 600 seconds");
		for (ssize_t i = 0; i < n; i++)
		{
			if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			{
				messages++;
				bytes += batch[i]->len;
			}
			else if (batch[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
				open_partitions--;
			else
				fail("could not read", rd_kafka_message_errstr(batch[i]));
			rd_kafka_message_destroy(batch[i]);
		}
	}
	printf("%lld %lld %.3f %.3f\n", (long long) messages, (long long) bytes, now() - start, cpu_seconds());
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return 0;
}
