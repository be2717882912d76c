/*-------------------------------------------------------------------------
 *
 * source_conf.c
 *		The configuration of a Kafka client: what we decide, what a server
 *		or a user mapping may say.
 *
 * librdkafka's properties include a library to load and a shell command to
 * run, so only names that are listed here ever reach it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "guc.h"
#include "source_internal.h"

#define IN_SERVER	0x01
#define IN_MAPPING	0x02
#define IS_FILE		0x04		/* names a file that the server process reads */

/*
 * Left out on purpose, beside what runs code: everything that decides which
 * messages are read (offsets, groups, isolation), what would weaken TLS, and
 * Kerberos, whose ticket librdkafka fetches by a shell command.
 */
static const struct
{
	const char *name;
	int			where;
}			allowed[] =
{
	{"bootstrap.servers", IN_SERVER},
	{"broker.address.family", IN_SERVER},
	{"broker.address.ttl", IN_SERVER},
	{"client.id", IN_SERVER},
	{"client.rack", IN_SERVER},
	{"connections.max.idle.ms", IN_SERVER},
	{"fetch.error.backoff.ms", IN_SERVER},
	{"fetch.max.bytes", IN_SERVER},
	{"fetch.message.max.bytes", IN_SERVER},
	{"fetch.min.bytes", IN_SERVER},
	{"fetch.wait.max.ms", IN_SERVER},
	{"metadata.max.age.ms", IN_SERVER},
	{"queued.max.messages.kbytes", IN_SERVER},
	{"queued.min.messages", IN_SERVER},
	{"receive.message.max.bytes", IN_SERVER},
	{"reconnect.backoff.max.ms", IN_SERVER},
	{"reconnect.backoff.ms", IN_SERVER},
	{"sasl.mechanism", IN_SERVER},
	{"sasl.password", IN_MAPPING},
	{"sasl.username", IN_MAPPING},
	{"security.protocol", IN_SERVER},
	{"socket.connection.setup.timeout.ms", IN_SERVER},
	{"socket.keepalive.enable", IN_SERVER},
	{"socket.nagle.disable", IN_SERVER},
	{"socket.receive.buffer.bytes", IN_SERVER},
	{"socket.send.buffer.bytes", IN_SERVER},
	{"socket.timeout.ms", IN_SERVER},
	{"ssl.ca.location", IN_SERVER | IS_FILE},
	{"ssl.ca.pem", IN_SERVER},
	{"ssl.certificate.location", IN_SERVER | IS_FILE},
	{"ssl.certificate.pem", IN_SERVER | IN_MAPPING},
	{"ssl.cipher.suites", IN_SERVER},
	{"ssl.crl.location", IN_SERVER | IS_FILE},
	{"ssl.curves.list", IN_SERVER},
	{"ssl.key.location", IN_SERVER | IS_FILE},
	{"ssl.key.password", IN_MAPPING},
	{"ssl.key.pem", IN_MAPPING},
	{"ssl.keystore.location", IN_SERVER | IS_FILE},
	{"ssl.keystore.password", IN_MAPPING},
	{"ssl.sigalgs.list", IN_SERVER},
	{"topic.metadata.refresh.interval.ms", IN_SERVER},
};

/*
 * What the guarantee rests on, and what keeps an idle client quick and quiet.
 *
 * A broker holds a fetch back until it has a message or fetch.wait.max.ms
 * have passed, so that a new message comes at once whatever the wait; but
 * our questions on the same connection stand in line behind a fetch.
 */
static const ScProperty ours[] =
{
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"auto.offset.reset", "error"},
	{"isolation.level", "read_committed"},
	{"check.crcs", "true"},
	{"enable.partition.eof", "true"},
	{"allow.auto.create.topics", "false"},
	{"log.queue", "true"},
	{"fetch.wait.max.ms", "50"},
	{"fetch.error.backoff.ms", "100"},
	{"reconnect.backoff.ms", "100"},
	{"reconnect.backoff.max.ms", "2000"},
	{"socket.keepalive.enable", "true"},
};

/* The same, for properties that not every librdkafka has. */
static const ScProperty ours_where_known[] =
{
	{"enable.metrics.push", "false"},
	{"fetch.queue.backoff.ms", "10"},
};

/* What one message that waits in a queue costs beside its bytes. */
#define QUEUED_MESSAGE_COST 512

static int
flags_of(const char *name)
{
	for (int i = 0; i < (int) lengthof(allowed); i++)
	{
		if (strcmp(allowed[i].name, name) == 0)
			return allowed[i].where;
	}
	return 0;
}

bool
sc_source_property_allowed(const char *name, bool secret)
{
	return (flags_of(name) & (secret ? IN_MAPPING : IN_SERVER)) != 0;
}

bool
sc_source_property_is_file(const char *name)
{
	return (flags_of(name) & IS_FILE) != 0;
}

const char *
sc_source_property_list(bool secret)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(allowed); i++)
	{
		if (allowed[i].where & (secret ? IN_MAPPING : IN_SERVER))
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
							 allowed[i].name);
	}
	return list.data;
}

/* NULL, or a palloc'd reason. */
static char *
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		errstr[SC_SOURCE_TEXT];

	switch (rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)))
	{
		case RD_KAFKA_CONF_OK:
			return NULL;
		case RD_KAFKA_CONF_UNKNOWN:
			return psprintf("librdkafka %s does not know property \"%s\"",
							rd_kafka_version_str(), name);
		default:
			/* librdkafka's words may show the value. */
			if (sc_source_property_allowed(name, true))
				return psprintf("librdkafka does not take this value for \"%s\"",
								name);
			return pchomp(errstr);
	}
}

static char *
set_listed_property(rd_kafka_conf_t *conf, const ScProperty *property)
{
	if (flags_of(property->name) == 0)
		return psprintf("property \"%s\" is not allowed", property->name);
	return set_property(conf, property->name, property->value);
}

static char *
set_number(rd_kafka_conf_t *conf, const char *name, int64 value)
{
	char		text[32];

	snprintf(text, sizeof(text), INT64_FORMAT, value);
	return set_property(conf, name, text);
}

/*
 * Divide streamcount.fetch_mem.  Half of it may wait in the queue, by bytes
 * and by number, since a small message costs more than its bytes.  The other
 * half is for responses: one is under way from each broker, and one may be
 * kept alive by the last message in it.  librdkafka itself then lets
 * receive.message.max.bytes be no smaller than fetch.max.bytes asks.
 */
static char *
set_memory(rd_kafka_conf_t *conf)
{
	int64		total = (int64) sc_fetch_mem * 1024;
	int64		response = Min(Max(total / 4, 1024 * 1024), 50 * 1024 * 1024);
	char	   *reason;

	reason = set_number(conf, "queued.max.messages.kbytes",
						Max(total / 2 / 1024, 1024));
	if (reason == NULL)
		reason = set_number(conf, "queued.min.messages",
							Min(Max(total / 2 / QUEUED_MESSAGE_COST, 1000), 10000000));
	if (reason == NULL)
		reason = set_number(conf, "fetch.max.bytes", response);
	if (reason == NULL)
		reason = set_number(conf, "fetch.message.max.bytes",
							Min(response / 2, 1024 * 1024));
	return reason;
}

/* The value of a property, "" where it is not set. */
static const char *
get_property(const rd_kafka_conf_t *conf, const char *name, char *buf, size_t size)
{
	if (rd_kafka_conf_get(conf, name, buf, &size) != RD_KAFKA_CONF_OK)
		buf[0] = '\0';
	return buf;
}

int64
sc_source_conf_number(const rd_kafka_conf_t *conf, const char *name)
{
	char		buf[64];

	return strtoll(get_property(conf, name, buf, sizeof(buf)), NULL, 10);
}

/* NULL where it is not given */
static const char *
property_value(int n, const ScProperty *properties, const char *name)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(properties[i].name, name) == 0)
			return properties[i].value;
	}
	return NULL;
}

/* What librdkafka would refuse only when the client starts, or not at all. */
static char *
check_together(const rd_kafka_conf_t *conf, int n, const ScProperty *properties)
{
	char		protocol[64];
	char		mechanism[64];
	int64		fetch = sc_source_conf_number(conf, "fetch.max.bytes");

	if (fetch < sc_source_conf_number(conf, "message.max.bytes"))
		return psprintf("\"%s\" must be at least " INT64_FORMAT, "fetch.max.bytes",
						sc_source_conf_number(conf, "message.max.bytes"));
	if (property_value(n, properties, "receive.message.max.bytes") != NULL &&
		sc_source_conf_number(conf, "receive.message.max.bytes") < fetch + 512)
		return psprintf("\"%s\" must be at least " INT64_FORMAT
						", which is \"%s\" + 512",
						"receive.message.max.bytes", fetch + 512, "fetch.max.bytes");

	get_property(conf, "security.protocol", protocol, sizeof(protocol));
	if (strncmp(protocol, "sasl_", 5) != 0)
		return NULL;
	get_property(conf, "sasl.mechanisms", mechanism, sizeof(mechanism));
	if (pg_strcasecmp(mechanism, "PLAIN") != 0 &&
		pg_strcasecmp(mechanism, "SCRAM-SHA-256") != 0 &&
		pg_strcasecmp(mechanism, "SCRAM-SHA-512") != 0)
		return psprintf("\"%s\" must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
						"sasl.mechanism");
	if (strcmp(protocol, "sasl_plaintext") == 0 &&
		pg_strcasecmp(mechanism, "PLAIN") == 0)
		return psprintf("\"%s\" PLAIN over \"%s\" sasl_plaintext would send the"
						" password unprotected", "sasl.mechanism", "security.protocol");
	return NULL;
}

/* NULL, or a palloc'd reason. */
static char *
fill(rd_kafka_conf_t *conf, int n, const ScProperty *properties)
{
	char	   *reason = NULL;

	for (int i = 0; reason == NULL && i < (int) lengthof(ours); i++)
		reason = set_property(conf, ours[i].name, ours[i].value);
	for (int i = 0; i < (int) lengthof(ours_where_known); i++)
		(void) rd_kafka_conf_set(conf, ours_where_known[i].name,
								 ours_where_known[i].value, NULL, 0);
	if (reason == NULL)
		reason = set_memory(conf);
	for (int i = 0; reason == NULL && i < n; i++)
		reason = set_listed_property(conf, &properties[i]);
	if (reason == NULL)
		reason = check_together(conf, n, properties);
	return reason;
}

char *
sc_source_check_property(const char *name, const char *value)
{
	ScProperty	property = {name, value};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char	   *reason = set_listed_property(conf, &property);

	rd_kafka_conf_destroy(conf);
	return reason;
}

char *
sc_source_check_properties(int n, const ScProperty *properties)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char	   *reason = fill(conf, n, properties);

	rd_kafka_conf_destroy(conf);
	return reason;
}

/*
 * Until 2.6.1 librdkafka repeats the client's nonce in its last message, which
 * Kafka 4 refuses as RFC 5802 lets it.
 */
#define SCRAM_IS_RIGHT 0x020601ff

const char *
sc_source_outdated_mechanism(int n, const ScProperty *properties)
{
	const char *protocol = property_value(n, properties, "security.protocol");
	const char *mechanism = property_value(n, properties, "sasl.mechanism");

	if (rd_kafka_version() >= SCRAM_IS_RIGHT || protocol == NULL || mechanism == NULL ||
		pg_strncasecmp(protocol, "sasl_", 5) != 0 ||
		pg_strncasecmp(mechanism, "SCRAM-", 6) != 0)
		return NULL;
	return mechanism;
}

/*
 * The group's name is never used to join a group; librdkafka only has no
 * consumer queue without one.  It names the database for whoever looks at
 * the brokers' logs, and differs between two servers.
 */
static char *
set_identity(rd_kafka_conf_t *conf, const ScStream *stream, const char *client_id)
{
	char		group[96];
	char	   *reason;

	snprintf(group, sizeof(group), "streamcount-" UINT64_FORMAT "-%u-%u",
			 GetSystemIdentifier(), MyDatabaseId, stream->relid);
	reason = set_property(conf, "group.id", group);
	if (reason == NULL &&
		property_value(stream->nproperties, stream->properties, "client.id") == NULL)
		reason = set_property(conf, "client.id", client_id);
	return reason;
}

rd_kafka_conf_t *
sc_source_configure(const ScStream *stream, const char *client_id)
{
	rd_kafka_conf_t *conf;
	char	   *reason;

	sc_source_check_library();
	conf = rd_kafka_conf_new();

	/*
	 * No callbacks but one: they would run on librdkafka's threads, or inside
	 * of its frames.  Logs and errors are events in a queue that we read.
	 */
	rd_kafka_conf_set_log_cb(conf, NULL);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR);
	sc_source_name_causes(conf);

	reason = fill(conf, stream->nproperties, stream->properties);
	if (reason == NULL)
		reason = set_identity(conf, stream, client_id);
	if (reason != NULL)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("could not configure the Kafka client of stream %s: %s",
						stream->name, reason)));
	}
	return conf;
}
