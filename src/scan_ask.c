/*-------------------------------------------------------------------------
 *
 * scan_ask.c
 *		What a scan asks the brokers before it reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "clock.h"
#include "scan_private.h"

/* Without any sign of life for so long, the brokers count as unreachable. */
#define ANSWER_TIMEOUT_MS	30000

/* A question that has another answer does not wait that long. */
#define END_TIMEOUT_MS		3000

/* One question's length; the brokers may be far away. */
#define QUESTION_MS			1000

/* Remember what librdkafka says; an ERROR where it is of no use to wait. */
static void
drain_events(ScScan *scan)
{
	ScEvent		event;

	while (sc_source_event(scan->source, &event))
	{
		switch (event.kind)
		{
			case SC_EVENT_LOG:
			case SC_EVENT_TROUBLE:
				ereport(DEBUG1, (errmsg_internal("librdkafka: %s", event.text)));
				break;
			case SC_EVENT_DISCONNECTED:
				strlcpy(scan->event, event.text, sizeof(scan->event));
				break;
			case SC_EVENT_AUTH_FAILED:
			case SC_EVENT_FATAL:
				ereport(ERROR,
						(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
						 errmsg("could not connect to Kafka for stream %s",
								scan->stream->name),
						 errdetail_internal("%s", event.text)));
		}
	}
}

void
sc_scan_check_patience(ScScan *scan, const char *error)
{
	CHECK_FOR_INTERRUPTS();
	drain_events(scan);
	if (error != NULL && error[0] != '\0' && scan->event[0] == '\0')
		strlcpy(scan->event, error, sizeof(scan->event));
	if (TimestampDifferenceExceeds(scan->heard_at, sc_clock_now(),
								   ANSWER_TIMEOUT_MS))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("no answer from Kafka for stream %s within %d seconds",
						scan->stream->name, ANSWER_TIMEOUT_MS / 1000),
				 scan->event[0] != '\0' ? errdetail_internal("%s", scan->event) : 0));
}

void
sc_scan_report_missing(const ScScan *scan)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
			 errmsg("topic \"%s\" of stream %s does not exist",
					scan->stream->topic, scan->stream->name)));
}

void
sc_scan_report_denied(const ScScan *scan)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("Kafka denies access to topic \"%s\" of stream %s",
					scan->stream->topic, scan->stream->name)));
}

static void
ask_partitions(ScScan *scan)
{
	for (;;)
	{
		const char *error = NULL;
		TimestampTz asked_at = sc_clock_now();

		switch (sc_source_partitions(scan->source, &scan->npartitions, QUESTION_MS, QUESTION_MS, &error))
		{
			case SC_TOPIC_FOUND:
				return;
			case SC_TOPIC_MISSING:
				sc_scan_report_missing(scan);
			case SC_TOPIC_DENIED:
				sc_scan_report_denied(scan);
			case SC_TOPIC_NO_ANSWER:
				sc_scan_check_patience(scan, error);
				sc_source_pause(asked_at);
				break;
		}
	}
}

static void
ask_offsets(ScScan *scan, int n, const int32 *partitions, int64 timestamp_ms, int64 *offsets)
{
	const char *error = NULL;
	TimestampTz asked_at = scan->heard_at = sc_clock_now();

	while (!sc_source_offsets(scan->source, n, partitions, timestamp_ms, offsets,
							  QUESTION_MS, &error))
	{
		sc_scan_check_patience(scan, error);
		sc_source_pause(asked_at);
		asked_at = sc_clock_now();
	}
}

/* Where the stream says, to the end of each partition */
static void
ask_whole(ScScan *scan, int32 *partitions)
{
	const ScStart *start = &scan->stream->start;
	int			n = scan->npartitions;

	for (int i = 0; i < n; i++)
		partitions[i] = i;
	ask_offsets(scan, n, partitions, SC_OFFSET_LATEST, scan->ends);
	switch (start->kind)
	{
		case SC_START_LATEST:
			memcpy(scan->starts, scan->ends, sizeof(int64) * n);
			break;
		case SC_START_TIMESTAMP:
			ask_offsets(scan, n, partitions, start->timestamp_ms, scan->starts);
			break;
		case SC_START_EARLIEST:
		case SC_START_OFFSETS:
			ask_offsets(scan, n, partitions, SC_OFFSET_EARLIEST, scan->starts);
			break;
	}
	for (int i = 0; i < start->noffsets; i++)
	{
		if (start->partitions[i] < n)
			scan->starts[start->partitions[i]] = start->offsets[i];
	}
}

/* No more than the spans, as far as Kafka has them; of other partitions nothing. */
static void
ask_spans(ScScan *scan, int32 *partitions)
{
	int64	   *firsts = palloc(sizeof(int64) * Max(scan->nspans, 1));
	int64	   *ends = palloc(sizeof(int64) * Max(scan->nspans, 1));
	int			n = 0;

	while (n < scan->nspans && scan->spans[n].partition < scan->npartitions)
	{
		partitions[n] = scan->spans[n].partition;
		n++;
	}
	memset(scan->starts, 0, sizeof(int64) * scan->npartitions);
	memset(scan->ends, 0, sizeof(int64) * scan->npartitions);
	if (n > 0)
	{
		ask_offsets(scan, n, partitions, SC_OFFSET_LATEST, ends);
		ask_offsets(scan, n, partitions, SC_OFFSET_EARLIEST, firsts);
	}
	for (int i = 0; i < n; i++)
	{
		scan->starts[partitions[i]] = Max(firsts[i], scan->spans[i].first);
		scan->ends[partitions[i]] = Min(ends[i], scan->spans[i].end);
	}
	pfree(firsts);
	pfree(ends);
}

void
sc_scan_ask_range(ScScan *scan)
{
	int32	   *partitions;

	ask_partitions(scan);
	scan->starts = MemoryContextAlloc(scan->cx, sizeof(int64) * Max(scan->npartitions, 1));
	scan->ends = MemoryContextAlloc(scan->cx, sizeof(int64) * Max(scan->npartitions, 1));
	scan->partitions = MemoryContextAlloc(scan->cx, sizeof(ScScanPartition) * Max(scan->npartitions, 1));
	partitions = palloc(sizeof(int32) * Max(scan->npartitions, 1));
	if (scan->spans == NULL)
		ask_whole(scan, partitions);
	else
		ask_spans(scan, partitions);
	pfree(partitions);
}

/* Is it of no use to ask on? */
static bool
has_trouble(ScScan *scan)
{
	ScEvent		event;

	while (sc_source_event(scan->source, &event))
		if (event.kind != SC_EVENT_LOG && event.kind != SC_EVENT_TROUBLE)
			return true;
	return false;
}

bool
sc_scan_ask_end(Oid relid, int32 partition, int64 *end)
{
	MemoryContext cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount end",
											 ALLOCSET_DEFAULT_SIZES);
	ScScan	   *scan = sc_scan_create(relid, NULL, cx);
	TimestampTz until = TimestampTzPlusMilliseconds(sc_clock_now(), END_TIMEOUT_MS);
	char		reason[SC_SOURCE_TEXT];
	const char *error;
	bool		found = false;

	scan->source = sc_source_try_open(scan->stream, false, "streamcount skip_to",
									  reason, sizeof(reason));
	while (scan->source != NULL && !found && !has_trouble(scan) && sc_clock_now() < until)
	{
		TimestampTz asked_at = sc_clock_now();

		found = sc_source_offsets(scan->source, 1, &partition, SC_OFFSET_LATEST, end,
								  QUESTION_MS, &error);
		if (!found)
			sc_source_pause(asked_at);
	}

	/* The connection goes with it. */
	MemoryContextDelete(cx);
	return found;
}
