/*-------------------------------------------------------------------------
 *
 * arrivals_event.c
 *		What librdkafka says beside messages, and what it means for a unit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "arrivals.h"
#include "clock.h"
#include "report.h"

/*
 * Files with keys and certificates are read once in a client's life: so long
 * it lasts where all brokers refuse us, and so long beside others that do not.
 */
#define REFUSED_MS 30000
#define PARTLY_REFUSED_MS 120000

static void
note_refusal(ScServed *served, const char *text)
{
	served->refused_at = sc_clock_now();
	if (served->refusal[0] == '\0')
		served->refused_since = served->refused_at;
	strlcpy(served->refusal, text, sizeof(served->refusal));
	if (served->topic_partitions > 0)
		return;
	sc_report_state(served, SC_STATE_CONNECTING, text);
	if (TimestampDifferenceExceeds(served->refused_since, served->refused_at, REFUSED_MS))
		sc_unit_start_anew(DEBUG1, text);
}

bool
sc_arrivals_refused_long(const ScServed *served, TimestampTz now)
{
	return served->refusal[0] != '\0' && !served->told &&
		TimestampDifferenceExceeds(served->refused_since, now, PARTLY_REFUSED_MS);
}

bool
sc_arrivals_events(ScServed *served, ScSource *source)
{
	ScEvent		event;
	bool		lost = false;

	while (sc_source_event(source, &event))
	{
		switch (event.kind)
		{
			case SC_EVENT_LOG:
				ereport(DEBUG1, (errmsg_internal("librdkafka: %s", event.text)));
				break;
			case SC_EVENT_TROUBLE:
				strlcpy(served->trouble, event.text, sizeof(served->trouble));
				served->trouble_at = sc_clock_now();
				break;
			case SC_EVENT_DISCONNECTED:
				lost = true;
				sc_report_state(served, SC_STATE_CONNECTING, event.text);
				break;
			case SC_EVENT_AUTH_FAILED:
				note_refusal(served, event.text);
				break;
			case SC_EVENT_FATAL:
				ereport(ERROR,
						(errcode(ERRCODE_CONNECTION_FAILURE),
						 errmsg("could not go on reading Kafka topic \"%s\": %s",
								served->stream->topic, event.text)));
		}
	}
	return lost;
}
