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
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define TIMEOUT_MS 30000
#define MAX_FIELDS 64

typedef struct Field
{
	char	   *data;			/* NULL: \N */
	size_t		len;
} Field;

static char errstr[512];

static struct Counts
{
	int64_t		attempted;
	int64_t		acknowledged;
	int64_t		refused;
}			own_counts;
static volatile struct Counts *counts = (volatile struct Counts *) &own_counts;

static void
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

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	if (rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
		die("%s", errstr);
}

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
	{
		fprintf(stderr, "kafka_tool: not delivered: %s\n", rd_kafka_err2str(message->err));
		counts->refused++;
	}
	else
		counts->acknowledged++;
}

static rd_kafka_t *
producer(const char *brokers, int transactional, int hanging)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		id[64];

	set(conf, "bootstrap.servers", brokers);
	set(conf, "linger.ms", "5");
	set(conf, "message.max.bytes", "100000000");
	set(conf, "queue.buffering.max.messages", "1000000");
	/* A broker may take its time; a transaction allows no more than this. */
	set(conf, "message.timeout.ms", transactional ? "60000" : "300000");
	set(conf, "reconnect.backoff.max.ms", "500");
	/* Where the partition is the client's choice: any, new ones among them */
	set(conf, "sticky.partitioning.linger.ms", "0");
	set(conf, "topic.metadata.refresh.interval.ms", "1000");
	set(conf, "log_level", "2");
	if (transactional)
	{
		snprintf(id, sizeof(id), "kafka_tool-%ld", (long) time(NULL));
		set(conf, "transactional.id", hanging ? "kafka_tool-hanging" : id);
		set(conf, "transaction.timeout.ms", "600000");
	}
	else
	{
		set(conf, "enable.idempotence", "true");
		/* With more, a broker's restart can leave gaps in the sequence for ever. */
		set(conf, "max.in.flight.requests.per.connection", "1");
	}
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
		die("%s", errstr);
	return rk;
}

/* Wait for the result of an admin request that was sent with this queue. */
static rd_kafka_event_t *
result_of(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS);

	if (event == NULL)
		die("no answer within %d s", TIMEOUT_MS / 1000);
	if (rd_kafka_event_error(event))
		die("%s", rd_kafka_event_error_string(event));
	return event;
}

static void
check_topics(const rd_kafka_topic_result_t *const *topics, size_t n)
{
	for (size_t i = 0; i < n; i++)
	{
		if (rd_kafka_topic_result_error(topics[i]))
			die("%s: %s", rd_kafka_topic_result_name(topics[i]),
				rd_kafka_topic_result_error_string(topics[i]));
	}
}

/* -1: no such topic, or no answer. */
static int
count_partitions(rd_kafka_t *rk, const char *topic)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const rd_kafka_metadata_t *metadata;
	int			count = -1;

	if (rd_kafka_metadata(rk, 0, rkt, &metadata, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR)
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

/* Brokers learn of a change a little after it was accepted. */
static void
await_partitions(rd_kafka_t *rk, const char *topic, int count)
{
	for (int i = 0; i < 3000; i++)
	{
		struct timespec pause = {0, 10 * 1000 * 1000};

		if (count_partitions(rk, topic) == count)
			return;
		nanosleep(&pause, NULL);
	}
	die("%s does not have %d partitions after 30 s", topic, count);
}

/* Which brokers have it: "1:2,3", for each partition; the last ones for those that are left. */
static void
set_replicas(rd_kafka_NewTopic_t *topic, int npartitions, char *list)
{
	int32_t		brokers[16];
	int			n = 0;
	char	   *rest = list;

	for (int i = 0; i < npartitions; i++)
	{
		char	   *of_one = strsep(&rest, ",");

		if (of_one != NULL)
			n = 0;
		for (char *at = of_one; at != NULL && n < 16;)
			brokers[n++] = atoi(strsep(&at, ":"));
		if (rd_kafka_NewTopic_set_replica_assignment(topic, i, brokers, n, errstr, sizeof(errstr)))
			die("%s", errstr);
	}
}

static void
create_topic(rd_kafka_t *rk, int nargs, char **args)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewTopic_t *topic;
	rd_kafka_event_t *event;
	size_t		n;
	const rd_kafka_topic_result_t **results;

	if (nargs < 2)
		die("create needs a topic and a number of partitions");
	topic = rd_kafka_NewTopic_new(args[0], atoi(args[1]), -1, errstr, sizeof(errstr));
	if (topic == NULL)
		die("%s", errstr);
	for (int i = 2; i < nargs; i++)
	{
		char	   *equals = strchr(args[i], '=');

		if (equals == NULL)
			die("\"%s\" is not NAME=VALUE", args[i]);
		*equals = '\0';
		if (strcmp(args[i], "replicas") == 0)
			set_replicas(topic, atoi(args[1]), equals + 1);
		else
			rd_kafka_NewTopic_set_config(topic, args[i], equals + 1);
	}
	/* On a busy machine a broker's heartbeats come late: it is not there for a while. */
	for (int i = 0;; i++)
	{
		struct timespec pause = {0, 100 * 1000 * 1000};

		rd_kafka_CreateTopics(rk, &topic, 1, NULL, queue);
		event = result_of(queue);
		results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
		if (i == 300 ||
			rd_kafka_topic_result_error(results[0]) != RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR)
			break;
		nanosleep(&pause, NULL);
	}
	check_topics(results, n);
}

static void
create(rd_kafka_t *rk, int nargs, char **args)
{
	create_topic(rk, nargs, args);
	await_partitions(rk, args[0], atoi(args[1]));
}

static void
delete_topic(rd_kafka_t *rk, const char *name)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_DeleteTopic_t *topic;
	rd_kafka_event_t *event;
	size_t		n;
	const rd_kafka_topic_result_t **results;

	topic = rd_kafka_DeleteTopic_new(name);
	rd_kafka_DeleteTopics(rk, &topic, 1, NULL, queue);
	event = result_of(queue);
	results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
	check_topics(results, n);
}

static void
delete(rd_kafka_t *rk, int nargs, char **args)
{
	if (nargs != 1)
		die("delete needs a topic");
	delete_topic(rk, args[0]);
	await_partitions(rk, args[0], -1);
}

static void
partitions(rd_kafka_t *rk, int nargs, char **args)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_NewPartitions_t *more;
	rd_kafka_event_t *event;
	size_t		n;
	const rd_kafka_topic_result_t **results;

	if (nargs != 2)
		die("partitions needs a topic and a number");
	more = rd_kafka_NewPartitions_new(args[0], atoi(args[1]), errstr, sizeof(errstr));
	if (more == NULL)
		die("%s", errstr);
	rd_kafka_CreatePartitions(rk, &more, 1, NULL, queue);
	event = result_of(queue);
	results = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &n);
	check_topics(results, n);
	await_partitions(rk, args[0], atoi(args[1]));
}

static void
delete_records(rd_kafka_t *rk, int nargs, char **args)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	const rd_kafka_topic_partition_list_t *results;
	rd_kafka_DeleteRecords_t *request;
	rd_kafka_event_t *event;

	if (nargs != 3)
		die("delete-records needs a topic, a partition and an offset");
	rd_kafka_topic_partition_list_add(list, args[0], atoi(args[1]))->offset = atoll(args[2]);
	request = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(rk, &request, 1, NULL, queue);
	event = result_of(queue);
	results = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
	if (results->elems[0].err)
		die("%s", rd_kafka_err2str(results->elems[0].err));
}

/* Add the ACL that lets a user do something from anywhere, or remove it. */
static void
change_acl(rd_kafka_t *rk, int adds, int nargs, char **args)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_AclOperation_t operation;
	rd_kafka_ResourceType_t type;
	rd_kafka_AclBinding_t *acl;
	rd_kafka_event_t *event;
	const rd_kafka_acl_result_t **results;
	char		principal[256];
	size_t		n;

	if (nargs != 4)
		die("an ACL needs a user, an operation, a kind of resource and its name");
	snprintf(principal, sizeof(principal), "User:%s", args[0]);
	operation = strcmp(args[1], "read") == 0 ? RD_KAFKA_ACL_OPERATION_READ :
		RD_KAFKA_ACL_OPERATION_DESCRIBE;
	type = strcmp(args[2], "group") == 0 ? RD_KAFKA_RESOURCE_GROUP : RD_KAFKA_RESOURCE_TOPIC;
	acl = (adds ? rd_kafka_AclBinding_new : rd_kafka_AclBindingFilter_new)
		(type, args[3], RD_KAFKA_RESOURCE_PATTERN_LITERAL, principal, "*", operation,
		 RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, errstr, sizeof(errstr));
	if (acl == NULL)
		die("%s", errstr);
	if (!adds)
	{
		rd_kafka_DeleteAcls(rk, &acl, 1, NULL, queue);
		(void) result_of(queue);
		return;
	}
	rd_kafka_CreateAcls(rk, &acl, 1, NULL, queue);
	event = result_of(queue);
	results = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &n);
	if (rd_kafka_acl_result_error(results[0]))
		die("%s", rd_kafka_error_string(rd_kafka_acl_result_error(results[0])));
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
		rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(rk, args[0], i, &low,
																   &high, 10000);

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
	for (int i = 0; i < TIMEOUT_MS / 20; i++)
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

/* Decode one field in place; *next is where the next one begins, or NULL. */
static Field
take_field(char *at, char **next)
{
	Field		field = {at, 0};
	char	   *to = at;
	int			null = 0;

	for (; *at != '\0' && *at != '\t'; at++)
	{
		if (*at != '\\')
		{
			*to++ = *at;
			continue;
		}
		switch (*++at)
		{
			case 'N':
				null = 1;
				break;
			case 't':
				*to++ = '\t';
				break;
			case 'n':
				*to++ = '\n';
				break;
			case 'r':
				*to++ = '\r';
				break;
			case 'x':
				{
					unsigned int byte;

					if (sscanf(at + 1, "%2x", &byte) != 1)
						die("\\x without two hexadecimal digits");
					*to++ = (char) byte;
					at += 2;
					break;
				}
			case '\0':
				die("a line ends in a backslash");
				break;
			default:
				*to++ = *at;
		}
	}
	*next = *at == '\t' ? at + 1 : NULL;
	field.len = to - field.data;
	if (null)
		field.data = NULL;
	return field;
}

static long long
number_of(Field field, long long otherwise)
{
	char		buf[32];

	if (field.data == NULL || field.len >= sizeof(buf))
		return otherwise;
	memcpy(buf, field.data, field.len);
	buf[field.len] = '\0';
	return atoll(buf);
}

static void
produce_line(rd_kafka_t *rk, const char *topic, char *line)
{
	Field		fields[MAX_FIELDS];
	int			n = 0;
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_resp_err_t err;

	for (char *at = line; at != NULL && n < MAX_FIELDS;)
		fields[n++] = take_field(at, &at);
	if (n < 4 || n % 2 != 0)
		die("a line has %d fields, not 4 and a pair for each header", n);
	if (n > 4)
		headers = rd_kafka_headers_new((n - 4) / 2);
	for (int i = 4; i < n; i += 2)
		rd_kafka_header_add(headers, fields[i].data, fields[i].len,
							fields[i + 1].data, fields[i + 1].len);
	/* Before it is: whoever ends this process finds no more of them in the topic. */
	counts->attempted++;
	do
	{
		err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic),
								RD_KAFKA_V_PARTITION((int32_t) number_of(fields[0], RD_KAFKA_PARTITION_UA)),
								RD_KAFKA_V_TIMESTAMP(number_of(fields[1], 0)),
								RD_KAFKA_V_KEY(fields[2].data, fields[2].len),
								RD_KAFKA_V_VALUE(fields[3].data, fields[3].len),
								RD_KAFKA_V_HEADERS(headers),
								RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								RD_KAFKA_V_END);
		rd_kafka_poll(rk, err == RD_KAFKA_RESP_ERR__QUEUE_FULL ? 100 : 0);
	} while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL);
	if (err)
		die("%s", rd_kafka_err2str(err));
}

static void
check(rd_kafka_error_t *error)
{
	if (error != NULL)
		die("%s", rd_kafka_error_string(error));
}

static void
produce(rd_kafka_t *rk, int nargs, char **args)
{
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		len;

	if (nargs < 1)
		die("produce needs a topic");
	if (nargs == 2)
	{
		check(rd_kafka_init_transactions(rk, TIMEOUT_MS));
		check(rd_kafka_begin_transaction(rk));
	}
	while ((len = getline(&line, &size, stdin)) > 0)
	{
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		produce_line(rk, args[0], line);
	}
	if (rd_kafka_flush(rk, 300000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("not all messages were delivered within 300 s");
	if (counts->refused > 0)
		exit(1);
	if (nargs == 2 && strcmp(args[1], "commit") == 0)
		check(rd_kafka_commit_transaction(rk, TIMEOUT_MS));
	else if (nargs == 2 && strcmp(args[1], "hang") != 0)
		check(rd_kafka_abort_transaction(rk, TIMEOUT_MS));
}

/* Whoever ends this process by whichever signal can still read what it has counted. */
static void
produce_counting(rd_kafka_t *rk, int nargs, char **args)
{
	int			fd;

	if (nargs != 2)
		die("produce-counting needs a topic and a file");
	fd = open(args[1], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(own_counts)) != 0)
		die("%s: %s", args[1], strerror(errno));
	counts = mmap(NULL, sizeof(own_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		die("%s: %s", args[1], strerror(errno));
	produce(rk, 1, args);
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
		check(rd_kafka_init_transactions(rk, TIMEOUT_MS));
	else
		die("there is no command \"%s\"", command);

	/* The process's end is the quickest way to close a client. */
	fflush(stdout);
	_Exit(0);
}
