/*-------------------------------------------------------------------------
 *
 * source_event.c
 *		What librdkafka has to say beside messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source_internal.h"

/* Newer libraries' alone; numbers, since any may be the one that is loaded. */
#define UNKNOWN_TOPIC_ID 100
#define INCONSISTENT_TOPIC_ID 103

bool
sc_source_is_missing(rd_kafka_resp_err_t err)
{
	switch ((int) err)
	{
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case UNKNOWN_TOPIC_ID:
		case INCONSISTENT_TOPIC_ID:
			return true;
		default:
			return false;
	}
}

static int
elevel_of(int syslog_level)
{
	if (syslog_level <= 4)		/* LOG_WARNING and worse */
		return WARNING;
	return syslog_level <= 6 ? LOG : DEBUG1;
}

/* TLS alerts by which a broker refuses a certificate: RFC 8446, 6.2 */
static bool
refuses_certificate(const char *text)
{
	static const int alerts[] = {41, 42, 43, 44, 45, 46, 48, 116};
	const char *number = strstr(text, "SSL alert number ");

	for (int i = 0; number != NULL && i < (int) lengthof(alerts); i++)
	{
		if (atoi(number + strlen("SSL alert number ")) == alerts[i])
			return true;
	}
	return false;
}

/*
 * "broker: what it was about: what went wrong" in fewer words, where there
 * are any that say more.
 */
static void
explain(const ScSource *source, const char *text, char *out, size_t size)
{
	const char *why = NULL;
	const char *end = strstr(text, ": ");

	if (strstr(text, "certificate verify failed") && source->certificate[0] != '\0')
		why = source->certificate;
	else if (refuses_certificate(text))
		why = "the broker wants another certificate of the client, or any";
	if (why == NULL || end == NULL)
		strlcpy(out, text, size);
	else if (why == source->certificate)
		snprintf(out, size, "%.*s: %s", (int) (end - text), text, why);
	else
		snprintf(out, size, "%.*s: %s: %s", (int) (end - text), text, why, end + 2);
}

static void
describe_error(ScSource *source, rd_kafka_event_t *from, ScEvent *event)
{
	rd_kafka_resp_err_t err = rd_kafka_event_error(from);

	explain(source, rd_kafka_event_error_string(from), event->text, sizeof(event->text));

	event->kind = SC_EVENT_TROUBLE;
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__FATAL:
			event->kind = SC_EVENT_FATAL;
			(void) rd_kafka_fatal_error(source->rk, event->text, sizeof(event->text));
			break;
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			/* "1/1 brokers are down" alone would not say why. */
			event->kind = SC_EVENT_DISCONNECTED;
			if (source->trouble[0] != '\0')
				snprintf(event->text, sizeof(event->text), "%s: %s",
						 rd_kafka_event_error_string(from), source->trouble);
			break;
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
			event->kind = SC_EVENT_AUTH_FAILED;
			strlcpy(source->trouble, event->text, sizeof(source->trouble));
			break;
		default:
			if (refuses_certificate(rd_kafka_event_error_string(from)))
				event->kind = SC_EVENT_AUTH_FAILED;
			strlcpy(source->trouble, event->text, sizeof(source->trouble));
			break;
	}
}

/* False when the event is of no interest. */
static bool
describe(ScSource *source, rd_kafka_event_t *from, ScEvent *event)
{
	const char *facility;
	const char *text;
	const char *cause;
	int			level;

	switch (rd_kafka_event_type(from))
	{
		case RD_KAFKA_EVENT_ERROR:
			describe_error(source, from, event);
			return true;
		case RD_KAFKA_EVENT_LOG:
			if (rd_kafka_event_log(from, &facility, &text, &level) != 0)
				return false;
			cause = sc_source_certificate_cause(facility, text);
			if (cause != NULL)
				strlcpy(source->certificate, cause, sizeof(source->certificate));
			event->kind = SC_EVENT_LOG;
			event->elevel = elevel_of(level);
			snprintf(event->text, sizeof(event->text), "%s: %s", facility, text);
			return true;
		default:
			return false;
	}
}

bool
sc_source_event(ScSource *source, ScEvent *event)
{
	rd_kafka_event_t *from;

	if (source->has_note)
	{
		source->has_note = false;
		event->kind = SC_EVENT_LOG;
		event->elevel = LOG;
		strlcpy(event->text, source->note, sizeof(event->text));
		return true;
	}
	while ((from = rd_kafka_queue_poll(source->events, 0)) != NULL)
	{
		bool		described = describe(source, from, event);

		rd_kafka_event_destroy(from);
		if (described)
			return true;
	}
	return false;
}
