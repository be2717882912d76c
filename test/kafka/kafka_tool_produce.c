/*-------------------------------------------------------------------------
 *
 * kafka_tool_produce.c
 *		What kafka_tool produces, and what it knows of it when it ends.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kafka_tool.h"

#define MAX_FIELDS 64

typedef struct Field
{
	char	   *data;			/* NULL: \N */
	size_t		len;
} Field;

static struct Counts
{
	int64_t		attempted;
	int64_t		acknowledged;
	int64_t		refused;
}			own_counts;
static volatile struct Counts *counts = (volatile struct Counts *) &own_counts;

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

rd_kafka_t *
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

void
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
void
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

void
end_hanging(rd_kafka_t *rk)
{
	check(rd_kafka_init_transactions(rk, TIMEOUT_MS));
}
