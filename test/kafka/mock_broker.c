/*-------------------------------------------------------------------------
 *
 * mock_broker.c
 *		librdkafka's mock cluster as a process of its own.
 *
 * usage: mock_broker [BROKERS]
 *
 * Prints the bootstrap servers on the first line of stdout, then answers
 * each line of stdin by "ok" or "error: ...".  Ends with stdin, so that it
 * never outlives whoever started it.
 *
 *	create TOPIC PARTITIONS
 *	down [BROKER]				refuse connections; all brokers without a number
 *	up [BROKER]
 *	rtt MILLISECONDS			delay every answer
 *	leader TOPIC PARTITION BROKER	-1: the partition has no leader
 *	topic_error TOPIC CODE		in answers to metadata; 0: none
 *	fail API COUNT CODE			the next requests of this kind fail; API and CODE
 *								are the protocol's numbers
 *	heal API					forget what is left of that
 *	quit
 *
 * A partition keeps its newest 5 MB alone, nothing survives the process, and
 * lookups by time find nothing.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

static rd_kafka_resp_err_t
fail_requests(rd_kafka_mock_cluster_t *cluster, int api, int count, int code)
{
	rd_kafka_resp_err_t errors[1000];

	if (count < 0 || count > 1000)
		return RD_KAFKA_RESP_ERR__INVALID_ARG;
	for (int i = 0; i < count; i++)
		errors[i] = (rd_kafka_resp_err_t) code;
	rd_kafka_mock_push_request_errors_array(cluster, (int16_t) api, count, errors);
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t
obey(rd_kafka_mock_cluster_t *cluster, const char *line)
{
	char		topic[256];
	int			a;
	int			b;
	int			c;

	if (sscanf(line, "create %255s %d", topic, &a) == 2)
		return rd_kafka_mock_topic_create(cluster, topic, a, 1);
	if (strncmp(line, "down", 4) == 0)
		return rd_kafka_mock_broker_set_down(cluster, sscanf(line, "down %d", &a) == 1 ? a : -1);
	if (strncmp(line, "up", 2) == 0)
		return rd_kafka_mock_broker_set_up(cluster, sscanf(line, "up %d", &a) == 1 ? a : -1);
	if (sscanf(line, "rtt %d", &a) == 1)
		return rd_kafka_mock_broker_set_rtt(cluster, -1, a);
	if (sscanf(line, "leader %255s %d %d", topic, &a, &b) == 3)
		return rd_kafka_mock_partition_set_leader(cluster, topic, a, b);
	if (sscanf(line, "fail %d %d %d", &a, &b, &c) == 3)
		return fail_requests(cluster, a, b, c);
	if (sscanf(line, "topic_error %255s %d", topic, &a) == 2)
		rd_kafka_mock_topic_set_error(cluster, topic, (rd_kafka_resp_err_t) a);
	else if (sscanf(line, "heal %d", &a) == 1)
		rd_kafka_mock_clear_request_errors(cluster, (int16_t) a);
	else
		return RD_KAFKA_RESP_ERR__INVALID_ARG;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int
main(int argc, char **argv)
{
	char		errstr[512];
	char		line[1024];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *cluster;

	/* The client that carries the cluster would warn that it has no brokers. */
	(void) rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
	if (rk == NULL)
	{
		fprintf(stderr, "mock_broker: %s\n", errstr);
		return 1;
	}
	cluster = rd_kafka_mock_cluster_new(rk, argc > 1 ? atoi(argv[1]) : 1);
	if (cluster == NULL)
	{
		fprintf(stderr, "mock_broker: could not start the cluster\n");
		return 1;
	}
	printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	while (fgets(line, sizeof(line), stdin) != NULL && strcmp(line, "quit\n") != 0)
	{
		rd_kafka_resp_err_t err = obey(cluster, line);

		if (err)
			printf("error: %s\n", rd_kafka_err2str(err));
		else
			printf("ok\n");
		fflush(stdout);
	}
	_Exit(0);
}
