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
#include "scan_private.h"
#include "storage/latch.h"
#include "stream.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/* Entries taken at a time */
#define MAX_ENTRIES			1000

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

ScScan *
sc_scan_create_spans(Oid relid, const Bitmapset *attnums, int nspans, const ScSpan *spans,
					 MemoryContext cx)
{
	ScScan	   *scan = sc_scan_create(relid, attnums, cx);

	scan->nspans = nspans;
	scan->spans = spans;
	return scan;
}

static void
assign(ScScan *scan)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(scan->npartitions, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(scan->npartitions, 1));

	scan->nopen = 0;
	for (int i = 0; i < scan->npartitions; i++)
	{
		ScScanPartition *p = &scan->partitions[i];

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
		sc_scan_ask_range(scan);
	assign(scan);
	scan->heard_at = sc_clock_now();
}

static void
partition_done(ScScan *scan, ScScanPartition *p)
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
			sc_scan_report_missing(scan);
		case SC_FETCH_DENIED:
			sc_scan_report_denied(scan);
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
	ScScanPartition *p;

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
	sc_scan_check_patience(scan, NULL);
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

	if (scan->spans == NULL)
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

const ScMessage *
sc_scan_next_message(ScScan *scan)
{
	while (scan->next_row >= sc_batch_nrows(scan->batch))
		if (!next_batch(scan))
			return NULL;
	return &sc_batch_row(scan->batch, scan->next_row++)->message;
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
