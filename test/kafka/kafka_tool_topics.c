/*-------------------------------------------------------------------------
 *
 * kafka_tool_topics.c
 *		What kafka_tool changes: topics, what is in them, who may do what.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kafka_tool.h"

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

void
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

void
create(rd_kafka_t *rk, int nargs, char **args)
{
	create_topic(rk, nargs, args);
	await_partitions(rk, args[0], atoi(args[1]));
}

void
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

void
delete(rd_kafka_t *rk, int nargs, char **args)
{
	if (nargs != 1)
		die("delete needs a topic");
	delete_topic(rk, args[0]);
	await_partitions(rk, args[0], -1);
}

void
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

void
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
void
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
