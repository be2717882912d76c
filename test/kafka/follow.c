/*-------------------------------------------------------------------------
 *
 * follow.c
 *		Print a topic for ever, as an independent reader sees it.
 *
 * usage: follow BROKERS TOPIC [PARTITION:OFFSET ...]
 *
 * Reads what is committed from all partitions, those included that appear
 * while it runs: from the offset that is given, else from the beginning.  For
 * each message a line "partition offset size" (size -1: NULL) and the payload,
 * ended by a newline.  "partition offset end" says that nothing was before
 * this offset but what has been printed, records that are no messages
 * included.
 *
 * A broker that is away is waited for.  It ends with its parent.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

#define POLL_MS 20
#define LOOK_S 1				/* between two looks for new partitions */

static rd_kafka_topic_partition_list_t *assigned;

static void
die(const char *format,...)
{
	va_list		args;

	fprintf(stderr, "follow: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static rd_kafka_t *
consumer(const char *brokers)
{
	static const char *const settings[][2] = {
		{"group.id", "follow"},
		{"isolation.level", "read_committed"},
		{"enable.auto.commit", "false"},
		{"enable.partition.eof", "true"},
		{"auto.offset.reset", "error"},
		{"check.crcs", "true"},
		{"fetch.wait.max.ms", "50"},
		{"reconnect.backoff.max.ms", "500"},
		{"log_level", "2"},
	};
	char		errstr[512];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
		die("%s", errstr);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
	{
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
			die("%s", errstr);
	}
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("%s", errstr);
	rd_kafka_poll_set_consumer(rk);
	return rk;
}

static int64_t
start_of(int partition, char **starts)
{
	for (; *starts != NULL; starts++)
	{
		char	   *colon = strchr(*starts, ':');

		if (colon == NULL)
			die("\"%s\" is not PARTITION:OFFSET", *starts);
		if (atoi(*starts) == partition)
			return atoll(colon + 1);
	}
	return RD_KAFKA_OFFSET_BEGINNING;
}

/* Read partitions that were not there at the last look, too. */
static void
look_for_partitions(rd_kafka_t *rk, const char *topic, char **starts)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const rd_kafka_metadata_t *metadata;
	rd_kafka_topic_partition_list_t *fresh = rd_kafka_topic_partition_list_new(1);
	rd_kafka_error_t *error = NULL;

	if (rd_kafka_metadata(rk, 0, rkt, &metadata, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
		{
			for (int i = assigned->cnt; i < metadata->topics[0].partition_cnt; i++)
			{
				rd_kafka_topic_partition_list_add(fresh, topic, i)->offset = start_of(i, starts);
				rd_kafka_topic_partition_list_add(assigned, topic, i);
			}
		}
		rd_kafka_metadata_destroy(metadata);
	}
	if (fresh->cnt > 0)
		error = rd_kafka_incremental_assign(rk, fresh);
	if (error != NULL)
		die("%s", rd_kafka_error_string(error));
	rd_kafka_topic_partition_list_destroy(fresh);
	rd_kafka_topic_destroy(rkt);
}

static void
print_message(const rd_kafka_message_t *message)
{
	if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		printf("%d %lld end\n", message->partition, (long long) message->offset);
	else if (message->err)
		fprintf(stderr, "follow: partition %d: %s\n", message->partition, rd_kafka_message_errstr(message));
	else
	{
		printf("%d %lld %lld\n", message->partition, (long long) message->offset,
			   message->payload ? (long long) message->len : -1LL);
		if (message->payload)
			fwrite(message->payload, 1, message->len, stdout);
		putchar('\n');
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	time_t		looked = 0;

	if (argc < 3)
		die("usage: follow BROKERS TOPIC [PARTITION:OFFSET ...]");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rk = consumer(argv[1]);
	assigned = rd_kafka_topic_partition_list_new(8);
	setvbuf(stdout, NULL, _IOFBF, 1 << 18);
	while (!ferror(stdout))
	{
		rd_kafka_message_t *message;

		if (time(NULL) - looked >= LOOK_S)
		{
			look_for_partitions(rk, argv[2], argv + 3);
			looked = time(NULL);
		}
		message = rd_kafka_consumer_poll(rk, 0);
		if (message == NULL)
		{
			/* Nothing more for now: whoever listens is to know all of it. */
			fflush(stdout);
			message = rd_kafka_consumer_poll(rk, POLL_MS);
		}
		if (message != NULL)
		{
			print_message(message);
			rd_kafka_message_destroy(message);
		}
	}
	_Exit(1);
}
