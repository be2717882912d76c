/*-------------------------------------------------------------------------
 *
 * arrivals.c
 *		What comes from the source, and what it means for a unit.
 *
 * Trusts nothing: every offset is compared with the one that is expected,
 * and silence is measured against what the brokers say is there, because
 * some faults give no event at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "arrivals.h"
#include "clock.h"
#include "crash_point.h"
#include "ledger.h"
#include "report.h"
#include "stall.h"

/* Entries of one call: enough to make it cheap, few enough to stay in cache. */
#define TAKE 1000
/* A broken batch may be the wire's fault: so many new starts, then a halt. */
#define CORRUPT_TRIES 3

bool
sc_arrivals_want_headers(const ScStream *stream)
{
	for (int i = 0; i < stream->ncolumns; i++)
		if (stream->columns[i].kind == SC_COLUMN_METADATA &&
			stream->columns[i].metadata == SC_META_HEADERS)
			return true;
	return false;
}

void
sc_arrivals_assign(ScServed *served, ScSource *source)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(served->npositions, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(served->npositions, 1));
	int			n = 0;

	for (int i = 0; i < served->npositions; i++)
	{
		if (sc_stall_rests(&served->positions[i]))
			continue;
		partitions[n] = served->positions[i].partition;
		offsets[n++] = sc_arrivals_begin(served, &served->positions[i]);
	}
	if (n > 0)
		sc_source_assign(source, n, partitions, offsets);
	pfree(partitions);
	pfree(offsets);
}

/* ---------------------------------------------------------------------
 * Faults of a partition
 * --------------------------------------------------------------------- */

void
sc_arrivals_halt(const ScTask *task, const ScPart *part, const char *reason, const char *hint)
{
	if (!sc_ledger_halt_at(task->rollup->relid, part->partition, part->next, reason, hint))
		return;
	ereport(WARNING,
			(errmsg("partition %d of rollup %s is halted: %s", part->partition,
					task->rollup->name, reason),
			 errhint("%s", hint)));
}

/* Halt the partition in every rollup that stands from the first offset to before the end. */
static void
halt_partition(ScServed *served, int32 partition, int64 first, int64 end,
			   const char *reason, const char *hint)
{
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);
		ScPart	   *part = sc_task_part(task, partition);

		if (part == NULL || !part->active || part->next < first || part->next >= end)
			continue;
		sc_arrivals_halt(task, part, reason, hint);
	}
	sc_unit_start_anew(DEBUG1, "a partition is halted");
}

static void
lose_until(ScServed *served, int32 partition, int64 oldest)
{
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);
		ScPart	   *part = sc_task_part(task, partition);

		if (part == NULL || !part->active || part->next >= oldest)
			continue;
		sc_ledger_lose(task, partition, oldest);
		ereport(WARNING,
				(errmsg("partition %d of rollup %s: messages from offset " INT64_FORMAT " to before " INT64_FORMAT " are lost",
						partition, task->rollup->name, part->next, oldest),
				 errdetail("Kafka has deleted them."),
				 errhint("The view streamcount.gaps lists them.")));
	}
	sc_unit_start_anew(DEBUG1, "lost messages were noted");
}

static void
halt_beyond_end(ScServed *served, int32 partition, int64 next, int64 end)
{
	halt_partition(served, partition, end + 1, PG_INT64_MAX,
				   psprintf("offset " INT64_FORMAT " is beyond the end " INT64_FORMAT ": the topic was made anew or cut",
							next, end),
				   "Drop and create the rollup to count the new topic.");
}

/*
 * The end is before transactions that are open.  A rollup that has read nothing
 * may start behind it: only a fetch tells how far the partition goes; until then -1.
 */
static int64
end_for(const ScPosition *position, const ScPart *part)
{
	if (part->next <= position->asked_end || part->seen.offset >= 0)
		return position->asked_end;
	return position->open_end < 0 ? -1 : Max(position->asked_end, position->open_end);
}

/*
 * A rollup beyond the end, beside others that are not, gets no error from the
 * broker: what is written there anew would pass it by in silence.
 */
void
sc_arrivals_check_ends(ScServed *served)
{
	ListCell   *lc;

	served->end_unknown = false;
	foreach(lc, served->tasks)
		for (int i = 0; i < served->npositions; i++)
		{
			const ScPosition *position = &served->positions[i];
			const ScPart *part = sc_task_part(lfirst(lc), position->partition);
			int64		end;

			if (part == NULL || !part->active || position->leaderless)
				continue;
			end = end_for(position, part);
			if (end < 0)
				served->end_unknown = true;
			else if (part->next > end)
				halt_beyond_end(served, position->partition, part->next, end);
		}
}

/* The broker does not have the offset: too old, or beyond the end. */
static void
out_of_range(ScServed *served, ScSource *source, ScPosition *position)
{
	const char *error = NULL;
	int64		oldest,
				end;

	/* Whatever they are, another worker goes on. */
	sc_source_be_patient(source);
	if (!sc_source_offsets(source, 1, &position->partition, SC_OFFSET_EARLIEST, &oldest, 1000, &error) ||
		!sc_source_offsets(source, 1, &position->partition, SC_OFFSET_LATEST, &end, 1000, &error))
		sc_stall_fail(served, position,
					  psprintf("offset " INT64_FORMAT " is refused, and the oldest and newest could not be asked for: %s",
							   position->next, error), false);
	if (position->next < oldest && served->stream->skip_gaps)
		lose_until(served, position->partition, oldest);
	if (position->next < oldest)
		halt_partition(served, position->partition, 0, oldest,
					   psprintf("messages from offset " INT64_FORMAT " to before " INT64_FORMAT " are lost: Kafka has deleted them",
								position->next, oldest),
					   psprintf("Run streamcount.skip_to(rollup, %d, " INT64_FORMAT ") to go on behind them.",
								position->partition, oldest));
	if (position->next > end)
		halt_beyond_end(served, position->partition, position->next, end);
	/* Only the message that was read last has been deleted meanwhile. */
	if (sc_arrivals_begin(served, position) < oldest)
		sc_unit_start_anew(DEBUG1, "the message to begin with is gone");
	sc_stall_fail(served, position,
				  psprintf("offset " INT64_FORMAT " is refused, though it is between the oldest and the newest",
						   position->next), false);
}

static void
corrupt(ScServed *served, ScPosition *position, const char *text)
{
	if (!position->stalled || position->stall.broken < CORRUPT_TRIES)
		sc_stall_fail(served, position, text, true);
	halt_partition(served, position->partition, 0, position->next + 1,
				   psprintf("the batch at offset " INT64_FORMAT " is broken: %s", position->next, text),
				   "Repair the topic and run streamcount.resume(), or go on behind it by streamcount.skip_to().");
}

void
sc_arrivals_meet_fault(ScServed *served, ScSource *source)
{
	ScPosition *position = sc_unit_position(served, served->fault_partition);

	switch (served->fault)
	{
		case SC_FETCH_MESSAGE:
			sc_arrivals_halt_others(served, served->fault_partition);
			break;
		case SC_FETCH_OUT_OF_RANGE:
			out_of_range(served, source, position);
			break;
		case SC_FETCH_CORRUPT:
			corrupt(served, position, served->fault_text);
			break;
		case SC_FETCH_TOPIC_MISSING:
			sc_report_state(served, SC_STATE_STALLED, served->fault_text);
			sc_unit_start_anew(DEBUG1, served->fault_text);
			break;
		default:
			sc_stall_fail(served, position, served->fault_text, false);
	}
}

static void
note_fault(ScServed *served, const ScFetch *fetch)
{
	served->faulted = true;
	served->fault = fetch->kind;
	served->fault_partition = fetch->message.partition;
	strlcpy(served->fault_text, fetch->text ? fetch->text : "", sizeof(served->fault_text));
}

/* ---------------------------------------------------------------------
 * Messages
 * --------------------------------------------------------------------- */

static void
take_one(ScServed *served, const ScFetch *fetch, TimestampTz now)
{
	ScPosition *position = sc_unit_position(served, fetch->message.partition);

	if (position == NULL)
		return;
	switch (fetch->kind)
	{
		case SC_FETCH_MESSAGE:
			if (fetch->message.offset < position->compare_end &&
				!sc_arrivals_is_same(served, &fetch->message))
			{
				note_fault(served, fetch);
				return;
			}
			/* A broker may send what was asked for before: it is counted already. */
			if (fetch->message.offset < position->next)
				return;
			if (position->at_end &&
				(position->look_back || sc_arrivals_must_look_back(served, position, now)))
				return;
			position->next = fetch->message.offset + 1;
			position->lent = &fetch->message;
			position->at_end = position->looked_back = position->denied = false;
			position->moved_at = now;
			position->behind_since = 0;
			if (unlikely(position->stalled))
				sc_stall_end(served, position);
			served->bytes += fetch->message.payload_len;
			served->way->methods->accept(served->way, &fetch->message);
			SC_CRASH_POINT("after_tally");
			break;
		case SC_FETCH_EOF:
			if (position->look_back)
				return;
			position->end = fetch->message.offset;
			position->at_end = true;
			position->denied = false;
			position->next = Max(position->next, position->end);
			position->high_watermark = Max(position->high_watermark, position->end);
			break;
		case SC_FETCH_DENIED:
			/* librdkafka says so once, and asks again and again. */
			position->denied = true;
			sc_report_denied(served);
			break;
		default:
			note_fault(served, fetch);
	}
}

/* What was polled, as far as it has not been taken: the way may be full before. */
static ScFetch entries[TAKE];
static int	nentries = 0;
static int	next_entry = 0;

int
sc_arrivals_take(ScServed *served, ScSource *source, TimestampTz now, bool *drained)
{
	const ScWayMethods *way = served->way->methods;
	int			first;

	if (next_entry == nentries)
	{
		next_entry = 0;
		nentries = sc_source_poll(source, entries, TAKE);
	}
	first = next_entry;
	if (nentries > 0)
	{
		SC_CRASH_POINT("after_poll");
		way->begin_accepting(served->way);
	}
	/* Behind a fault nothing is what it seems: the next worker reads it again. */
	while (next_entry < nentries && !served->faulted && !way->full(served->way))
		take_one(served, &entries[next_entry++], now);
	if (nentries > 0)
	{
		served->arrived_at = now;
		way->end_accepting(served->way);
		sc_arrivals_note_seen(served);
	}
	/* Now that nothing is left of what came before. */
	if (served->look_back && next_entry == nentries)
		sc_arrivals_look_back(served, source, true);
	*drained = next_entry == nentries && nentries < TAKE;
	if (next_entry == nentries || served->faulted)
		sc_source_release(source);
	return next_entry - first;
}

bool
sc_arrivals_pending(const ScServed *served)
{
	ListCell   *lc;

	if (served->way == NULL)
		return false;
	if (served->way->methods->messages(served->way) > 0)
		return true;
	foreach(lc, served->tasks)
		for (int i = 0; i < served->npositions; i++)
		{
			const ScPosition *position = &served->positions[i];
			ScPart	   *part = sc_task_part(lfirst(lc), position->partition);

			if (part && part->active && position->at_end && position->end > part->next)
				return true;
		}
	return false;
}

bool
sc_arrivals_behind(const ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
		if (!served->positions[i].stalled &&
			served->positions[i].high_watermark > served->positions[i].next)
			return true;
	return false;
}
