/*-------------------------------------------------------------------------
 *
 * drain.c
 *		How fast a topic can be read at all: count its messages, do nothing.
 *
 * usage: drain BROKERS TOPIC
 *
 * Prints "messages bytes seconds", the time running from the first fetch's
 * assignment to the end of the last partition.  The consumer is set up as
 * streamcount sets up its own.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define BATCH 10000

static const char *const settings[][2] = {
	{"group.id", "drain"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.partition.eof", "true"},
	{"auto.offset.reset", "error"},
	{"queued.max.messages.kbytes", "65536"},
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

static rd_kafka_t *
open_consumer(const char *brokers)
{
	char		error[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		fail("bootstrap.servers", error);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error, sizeof(error)) != RD_KAFKA_CONF_OK)
			fail(settings[i][0], error);
	}
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof(error));
	if (rk == NULL)
		fail("could not start librdkafka", error);
	return rk;
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

	if (argc != 3)
		fail("usage", "drain BROKERS TOPIC");
	rk = open_consumer(argv[1]);
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
	printf("%lld %lld %.3f\n", (long long) messages, (long long) bytes, now() - start);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return 0;
}
