/*-------------------------------------------------------------------------
 *
 * scan.c
 *		A topic read once, from a stream's start to its end as of now.
 *
 * For SELECT.  The ends are asked for when the first row is, and only what
 * was in the topic then is read: a query over a busy topic ends.  Memory is
 * bounded by streamcount.fetch_mem and streamcount.batch_mem.
 *
 * Owns: the connection to Kafka.  It belongs to the memory context that the
 * scan lives in, so an ERROR anywhere in the query closes it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "guc.h"
#include "identity.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "scan.h"
#include "source.h"
#include "storage/latch.h"
#include "stream.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* Without any sign of life for so long, the brokers count as unreachable. */
#define ANSWER_TIMEOUT_MS	30000

/* One question's length: interrupts wait for it. */
#define QUESTION_MS			100

/* Entries taken at a time */
#define MAX_ENTRIES			1000

typedef struct Partition
{
	int64		next;			/* offset to read */
	int64		end;			/* first offset not to read */
	bool		done;
} Partition;

struct ScScan
{
	MemoryContext cx;
	MemoryContextCallback on_delete;	/* an ERROR ends no scan otherwise */
	ScStream   *stream;
	Bitmapset  *attnums;
	ScSource   *source;			/* NULL: not connected */
	char		event[512];		/* what librdkafka said last of its troubles */
	TimestampTz heard_at;		/* the last sign of life */

	int			npartitions;
	int64	   *starts;			/* asked for once; a restart keeps them */
	int64	   *ends;
	Partition  *partitions;
	int			nopen;			/* partitions that are not done */

	ScFetch    *entries;		/* taken from the source, not yet in the batch */
	int			nentries;
	int			next_entry;
	ScBatch    *batch;
	int			next_row;
	int64		number;			/* of the last row returned */

	int64		nleft_out;		/* in this reading */
	int64		max_left_out;	/* in the longest one */
	char	   *first_left_out; /* where and why */
};

static void
close_source(ScScan *scan)
{
	ScSource   *source = scan->source;

	scan->source = NULL;
	if (source != NULL)
		sc_source_close(source);
}

static void
close_on_delete(void *scan)
{
	close_source((ScScan *) scan);
}

/* The connection to Kafka is closed at the latest when cx goes. */
ScScan *
sc_scan_create(Oid relid, const Bitmapset *attnums, MemoryContext cx)
{
	ScScan	   *scan = MemoryContextAllocZero(cx, sizeof(ScScan));

	scan->cx = cx;
	scan->on_delete.func = close_on_delete;
	scan->on_delete.arg = scan;
	MemoryContextRegisterResetCallback(cx, &scan->on_delete);
	scan->stream = sc_stream_load(relid, true, cx);
	scan->attnums = bms_copy(attnums);
	scan->batch = sc_batch_create(scan->stream, attnums, cx);
	scan->entries = MemoryContextAlloc(cx, sizeof(ScFetch) * MAX_ENTRIES);
	return scan;
}

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

/* One turn of waiting for an answer: ERROR when it has lasted too long. */
static void
check_patience(ScScan *scan, const char *error)
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

static void
report_missing(const ScScan *scan)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
			 errmsg("topic \"%s\" of stream %s does not exist",
					scan->stream->topic, scan->stream->name)));
}

static void
report_denied(const ScScan *scan)
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

		switch (sc_source_partitions(scan->source, &scan->npartitions, QUESTION_MS, &error))
		{
			case SC_TOPIC_FOUND:
				return;
			case SC_TOPIC_MISSING:
				report_missing(scan);
				break;
			case SC_TOPIC_DENIED:
				report_denied(scan);
				break;
			case SC_TOPIC_NO_ANSWER:
				check_patience(scan, error);
				break;
		}
	}
}

static void
ask_offsets(ScScan *scan, const int32 *partitions, int64 timestamp_ms, int64 *offsets)
{
	const char *error = NULL;

	scan->heard_at = sc_clock_now();
	while (!sc_source_offsets(scan->source, scan->npartitions, partitions,
							  timestamp_ms, offsets, QUESTION_MS, &error))
		check_patience(scan, error);
}

/* Where the reading begins and ends in each partition, as numbers */
static void
ask_range(ScScan *scan)
{
	const ScStart *start = &scan->stream->start;
	int32	   *partitions;

	ask_partitions(scan);
	scan->starts = MemoryContextAlloc(scan->cx, sizeof(int64) * Max(scan->npartitions, 1));
	scan->ends = MemoryContextAlloc(scan->cx, sizeof(int64) * Max(scan->npartitions, 1));
	scan->partitions = MemoryContextAlloc(scan->cx, sizeof(Partition) * Max(scan->npartitions, 1));
	partitions = palloc(sizeof(int32) * Max(scan->npartitions, 1));
	for (int i = 0; i < scan->npartitions; i++)
		partitions[i] = i;

	ask_offsets(scan, partitions, SC_OFFSET_LATEST, scan->ends);
	switch (start->kind)
	{
		case SC_START_LATEST:
			memcpy(scan->starts, scan->ends, sizeof(int64) * scan->npartitions);
			break;
		case SC_START_TIMESTAMP:
			ask_offsets(scan, partitions, start->timestamp_ms, scan->starts);
			break;
		case SC_START_EARLIEST:
		case SC_START_OFFSETS:
			ask_offsets(scan, partitions, SC_OFFSET_EARLIEST, scan->starts);
			break;
	}
	for (int i = 0; i < start->noffsets; i++)
	{
		if (start->partitions[i] < scan->npartitions)
			scan->starts[start->partitions[i]] = start->offsets[i];
	}
	pfree(partitions);
}

static void
assign(ScScan *scan)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(scan->npartitions, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(scan->npartitions, 1));

	scan->nopen = 0;
	for (int i = 0; i < scan->npartitions; i++)
	{
		Partition  *p = &scan->partitions[i];

		p->next = scan->starts[i];
		p->end = scan->ends[i];
		p->done = (p->next >= p->end);
		if (p->done)
			continue;
		partitions[scan->nopen] = i;
		offsets[scan->nopen++] = p->next;
	}
	if (scan->nopen > 0)
		sc_source_assign(scan->source, scan->nopen, partitions, offsets);
	pfree(partitions);
	pfree(offsets);
}

static void
connect_source(ScScan *scan)
{
	MemoryContext oldcx = MemoryContextSwitchTo(scan->cx);
	bool		want_headers = false;

	for (int i = 0; i < scan->stream->ncolumns; i++)
	{
		const ScColumn *column = &scan->stream->columns[i];

		if (column->kind == SC_COLUMN_METADATA && column->metadata == SC_META_HEADERS &&
			bms_is_member(column->attnum, scan->attnums))
			want_headers = true;
	}

	scan->source = sc_source_open(scan->stream, want_headers, "streamcount select");
	MemoryContextSwitchTo(oldcx);

	scan->heard_at = sc_clock_now();
	if (scan->starts == NULL)
		ask_range(scan);
	assign(scan);
	scan->heard_at = sc_clock_now();
}

static void
partition_done(ScScan *scan, Partition *p)
{
	if (!p->done)
		scan->nopen--;
	p->done = true;
}

static void
report_fetch(const ScScan *scan, const ScFetch *entry)
{
	int			sqlerrcode = ERRCODE_FDW_ERROR;
	const char *what = "could not read";

	switch (entry->kind)
	{
		case SC_FETCH_TOPIC_MISSING:
			report_missing(scan);
			break;
		case SC_FETCH_DENIED:
			report_denied(scan);
			break;
		case SC_FETCH_OUT_OF_RANGE:
			sqlerrcode = ERRCODE_FDW_ERROR;
			what = "Kafka does not have the offset to read";
			break;
		case SC_FETCH_CORRUPT:
			sqlerrcode = ERRCODE_DATA_CORRUPTED;
			what = "corrupt messages";
			break;
		default:
			break;
	}

	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("%s in topic \"%s\" of stream %s", what,
					scan->stream->topic, scan->stream->name),
			 errdetail("Partition %d, offset " INT64_FORMAT ": %s",
					   entry->message.partition,
					   scan->partitions[entry->message.partition].next,
					   entry->text ? entry->text : "")));
}

static void
accept_entry(ScScan *scan, const ScFetch *entry)
{
	const ScMessage *message = &entry->message;
	Partition  *p;

	if (message->partition < 0 || message->partition >= scan->npartitions)
		return;
	p = &scan->partitions[message->partition];
	if (p->done)
		return;

	switch (entry->kind)
	{
		case SC_FETCH_MESSAGE:
			if (message->offset >= p->next && message->offset < p->end)
			{
				sc_batch_add(scan->batch, message);
				p->next = message->offset + 1;
			}
			if (message->offset + 1 >= p->end)
				partition_done(scan, p);
			break;
		case SC_FETCH_EOF:
			if (message->offset >= p->end)
				partition_done(scan, p);
			break;
		default:
			report_fetch(scan, entry);
	}
}

/* Wait until something may have arrived; the last poll gave nothing. */
static void
wait_source(ScScan *scan)
{
	/* events may have come with what woke us, and wake nobody again */
	check_patience(scan, NULL);
	(void) WaitLatchOrSocket(MyLatch,
							 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 sc_source_fd(scan->source), 1000, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Put into the batch what has arrived, as far as memory allows; one at least. */
static void
accept_entries(ScScan *scan)
{
	while (scan->next_entry < scan->nentries &&
		   (sc_batch_nrows(scan->batch) == 0 ||
			sc_batch_memory(scan->batch) < (Size) sc_batch_mem * 1024))
		accept_entry(scan, &scan->entries[scan->next_entry++]);

	if (scan->next_entry >= scan->nentries && scan->nentries > 0)
	{
		sc_source_release(scan->source);
		scan->nentries = 0;
		scan->next_entry = 0;
	}
}

/*
 * A column's default and a domain's CHECK are code of the stream's owner, and
 * whoever reads the stream may have more rights.
 */
static void
decode(ScScan *scan)
{
	ScIdentity	saved;

	sc_identity_enter_restricted(&saved, scan->stream->owner);
	sc_batch_decode(scan->batch);
	sc_identity_leave(&saved);
}

/* A batch of decoded rows; false at the end of the topic. */
static bool
next_batch(ScScan *scan)
{
	sc_batch_forget(scan->batch);
	scan->next_row = 0;
	if (scan->source == NULL)
		connect_source(scan);

	while (sc_batch_nrows(scan->batch) == 0)
	{
		if (scan->nopen == 0)
			return false;
		if (scan->nentries == 0)
		{
			scan->nentries = sc_source_poll(scan->source, scan->entries, MAX_ENTRIES);
			if (scan->nentries == 0)
			{
				wait_source(scan);
				continue;
			}
			scan->heard_at = sc_clock_now();
			CHECK_FOR_INTERRUPTS();
		}
		accept_entries(scan);
	}

	decode(scan);
	return true;
}

static void
note_left_out(ScScan *scan, const ScRow *row)
{
	const ScReject *reject = row->payload_error ? row->payload_error : row->column_errors;

	scan->nleft_out++;
	scan->max_left_out = Max(scan->max_left_out, scan->nleft_out);
	if (scan->first_left_out == NULL)
	{
		MemoryContext oldcx = MemoryContextSwitchTo(scan->cx);

		scan->first_left_out = psprintf("Partition %d, offset " INT64_FORMAT ": %s",
										row->message.partition, row->message.offset,
										reject->reason);
		MemoryContextSwitchTo(oldcx);
	}
}

ScRow *
sc_scan_next(ScScan *scan, int64 *number)
{
	for (;;)
	{
		while (scan->next_row < sc_batch_nrows(scan->batch))
		{
			ScRow	   *row = sc_batch_row(scan->batch, scan->next_row++);

			if (row->payload_error == NULL && row->column_errors == NULL)
			{
				*number = scan->number++;
				return row;
			}
			note_left_out(scan, row);
		}
		if (!next_batch(scan))
			return NULL;
	}
}

/* The source can be assigned only once, so another reading is another one. */
void
sc_scan_restart(ScScan *scan)
{
	close_source(scan);
	sc_batch_forget(scan->batch);
	scan->nentries = 0;
	scan->next_entry = 0;
	scan->next_row = 0;
	scan->number = 0;
	scan->nleft_out = 0;
}

void
sc_scan_finish(ScScan *scan)
{
	close_source(scan);
	if (scan->max_left_out > 0)
		ereport(WARNING,
				(errmsg_plural(INT64_FORMAT " message of stream %s could not be decoded and was left out",
							   INT64_FORMAT " messages of stream %s could not be decoded and were left out",
							   (unsigned long) scan->max_left_out,
							   scan->max_left_out, scan->stream->name),
				 errdetail_internal("%s", scan->first_left_out)));
}
