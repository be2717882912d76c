/*-------------------------------------------------------------------------
 *
 * kafka_tool.c
 *		What the tests ask of a broker, without the seconds that a Java tool
 *		needs to start.
 *
 * usage: kafka_tool BROKERS COMMAND ARGUMENTS
 *
 *	ready [BROKERS]					wait until so many brokers (1) are there
 *	leaders TOPIC					print "partition leader" lines
 *	create TOPIC PARTITIONS [NAME=VALUE ...]	replicas=1:2,3: the first on these
 *									brokers, and all others on the last
 *	delete TOPIC
 *	remake TOPIC PARTITIONS			delete, create, and produce from stdin, at once
 *	partitions TOPIC TOTAL			add partitions until there are TOTAL
 *	delete-records TOPIC PARTITION OFFSET	everything before OFFSET
 *	ends TOPIC						print "partition oldest end" lines
 *	members GROUP					print each member's client id
 *	version							print librdkafka's
 *	properties						print what librdkafka says of its properties
 *	allow|forbid USER read|describe topic|group NAME	add or remove an ACL
 *	produce TOPIC [commit|abort|hang]	messages from stdin; in one transaction,
 *									which "hang" leaves open
 *	produce-counting TOPIC FILE		the same; FILE always has three numbers of 64
 *									bits: how many messages were given to the
 *									client, were acknowledged, were refused
 *	end-hanging						abort the one that was left open
 *
 * A line of input to produce is what COPY calls text format, so that any
 * bytes can be said: fields separated by tabs, \N for NULL, and \t \n \r \\
 * \xHH inside of a field.
 *
 *	partition (\N: any)  timestamp in ms (\N: now)  key  payload
 *		[header-name header-value] ...
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kafka_tool.h"

char		errstr[512];

void
die(const char *format,...)
{
	va_list		args;

	fprintf(stderr, "kafka_tool: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* -1: no such topic, or no answer. */
int
count_partitions(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const rd_kafka_metadata_t *metadata;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, rkt, &metadata, 30000);
	int			count = -1;

	if (err)
		fprintf(stderr, "kafka_tool: %s: %s\n", topic, rd_kafka_err2str(err));
	else
	{
		if (metadata->topic_cnt == 1 && !metadata->topics[0].err)
			count = metadata->topics[0].partition_cnt;
		for (int i = 0; i < count; i++)
		{
			if (metadata->topics[0].partitions[i].leader < 0)
				count = -1;
		}
		rd_kafka_metadata_destroy(metadata);
	}
	rd_kafka_topic_destroy(rkt);
	return count;
}

/* Of a partition that is there: also where its leader has just changed, or is not known yet. */
static rd_kafka_resp_err_t
ask_watermarks(rd_kafka_t *rk, const char *topic, int partition, int64_t *low, int64_t *high)
{
	rd_kafka_resp_err_t err;

	for (int tries = 0; tries < 50; tries++)
	{
		err = rd_kafka_query_watermark_offsets(rk, topic, partition, low, high, 10000);
		if (err != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION &&
			err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE &&
			err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
			break;
		usleep(100000);
	}
	return err;
}

static void
ends(rd_kafka_t *rk, int nargs, char **args)
{
	int			n;

	if (nargs != 1)
		die("ends needs a topic");
	n = count_partitions(rk, args[0]);
	if (n < 0)
		die("there is no topic \"%s\"", args[0]);
	for (int i = 0; i < n; i++)
	{
		int64_t		low;
		int64_t		high;
		rd_kafka_resp_err_t err = ask_watermarks(rk, args[0], i, &low, &high);

		if (err)
			die("%s", rd_kafka_err2str(err));
		printf("%d %lld %lld\n", i, (long long) low, (long long) high);
	}
}

static void
members(rd_kafka_t *rk, int nargs, char **args)
{
	const struct rd_kafka_group_list *groups;
	rd_kafka_resp_err_t err;

	if (nargs != 1)
		die("members needs a group");
	err = rd_kafka_list_groups(rk, args[0], &groups, TIMEOUT_MS);
	if (err == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS)
		return;
	if (err)
		die("%s", rd_kafka_err2str(err));
	for (int i = 0; i < groups->group_cnt; i++)
	{
		const struct rd_kafka_group_info *group = &groups->groups[i];

		for (int j = 0; j < group->member_cnt; j++)
			puts(group->members[j].client_id);
	}
}

/* A broker answers a little before it may lead partitions; only then is it
 * named in its own answer. */
static void
ready(rd_kafka_t *rk, int wanted)
{
	for (time_t until = time(NULL) + 120; time(NULL) < until;)
	{
		const rd_kafka_metadata_t *metadata;
		struct timespec pause = {0, 20 * 1000 * 1000};

		if (rd_kafka_metadata(rk, 0, NULL, &metadata, 1000) == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			int			brokers = metadata->broker_cnt;

			rd_kafka_metadata_destroy(metadata);
			if (brokers >= wanted)
				return;
		}
		nanosleep(&pause, NULL);
	}
	die("the broker is not ready");
}

/* -1: none */
static void
leaders(rd_kafka_t *rk, int nargs, char **args)
{
	const rd_kafka_metadata_t *metadata;
	rd_kafka_resp_err_t err;

	if (nargs != 1)
		die("leaders needs a topic");
	err = rd_kafka_metadata(rk, 0, rd_kafka_topic_new(rk, args[0], NULL), &metadata, TIMEOUT_MS);
	if (err)
		die("%s", rd_kafka_err2str(err));
	for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
		printf("%d %d\n", metadata->topics[0].partitions[i].id,
			   metadata->topics[0].partitions[i].leader);
}

static void
remake(rd_kafka_t *rk, int nargs, char **args)
{
	if (nargs != 2)
		die("remake needs a topic and a number of partitions");
	delete_topic(rk, args[0]);
	create_topic(rk, nargs, args);
	produce(rk, 1, args);
}

int
main(int argc, char **argv)
{
	const char *command = argc > 2 ? argv[2] : "";
	int			nargs = argc - 3;
	char	  **args = argv + 3;
	int			hanging;
	rd_kafka_t *rk;

	if (argc < 3)
		die("usage: kafka_tool BROKERS COMMAND ARGUMENTS");
	if (strcmp(command, "version") == 0)
		return puts(rd_kafka_version_str()) < 0;
	if (strcmp(command, "properties") == 0)
	{
		rd_kafka_conf_properties_show(stdout);
		return 0;
	}
	hanging = strcmp(command, "end-hanging") == 0 || (nargs == 2 && strcmp(args[1], "hang") == 0);
	rk = producer(argv[1], hanging || (strcmp(command, "produce") == 0 && nargs == 2), hanging);
	if (strcmp(command, "ready") == 0)
		ready(rk, nargs > 0 ? atoi(args[0]) : 1);
	else if (strcmp(command, "leaders") == 0)
		leaders(rk, nargs, args);
	else if (strcmp(command, "create") == 0)
		create(rk, nargs, args);
	else if (strcmp(command, "delete") == 0)
		delete(rk, nargs, args);
	else if (strcmp(command, "remake") == 0)
		remake(rk, nargs, args);
	else if (strcmp(command, "partitions") == 0)
		partitions(rk, nargs, args);
	else if (strcmp(command, "delete-records") == 0)
		delete_records(rk, nargs, args);
	else if (strcmp(command, "ends") == 0)
		ends(rk, nargs, args);
	else if (strcmp(command, "members") == 0)
		members(rk, nargs, args);
	else if (strcmp(command, "allow") == 0 || strcmp(command, "forbid") == 0)
		change_acl(rk, strcmp(command, "allow") == 0, nargs, args);
	else if (strcmp(command, "produce") == 0)
		produce(rk, nargs, args);
	else if (strcmp(command, "produce-counting") == 0)
		produce_counting(rk, nargs, args);
	else if (strcmp(command, "end-hanging") == 0)
		end_hanging(rk);
	else
		die("there is no command \"%s\"", command);

	/* The process's end is the quickest way to close a client. */
	fflush(stdout);
	_Exit(0);
}
