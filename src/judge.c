/*-------------------------------------------------------------------------
 *
 * judge.c
 *		Which messages of a batch a rollup takes, and which it leaves out.
 *
 * For each rollup: a message before its next_offset was counted already; a
 * message that cannot be decoded, in a column that the rollup reads, or
 * that its query fails on, is rejected; where the stream says so, a reject
 * halts the partition, and nothing behind it is taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "judge.h"

/* What makes the row bad for this task, or NULL. */
static const ScReject *
fault_of(const ScTask *task, int i, const ScRow *row)
{
	if (row->payload_error)
		return row->payload_error;
	for (const ScReject *r = row->column_errors; r; r = r->next)
		if (bms_is_member(r->attnum, task->columns))
			return r;
	return task->refused ? task->refused[i] : NULL;
}

static void
halt(ScPart *part, const char *reason, const char *hint)
{
	part->halt_reason = reason;
	part->halt_hint = hint;
}

static void
reject(ScTask *task, ScPart *part, const ScStream *stream, const ScRow *row,
	   const ScReject *why)
{
	ScLeftOut  *left;

	if (stream->halt_on_error)
	{
		halt(part,
			 psprintf("message at offset " INT64_FORMAT " cannot be counted: %s",
					  row->message.offset, why->reason),
			 psprintf("Repair the stream's definition and run streamcount.resume(), or leave the message out by streamcount.skip_to(rollup, %d, " INT64_FORMAT ").",
					  part->partition, row->message.offset + 1));
		return;
	}
	left = palloc0(sizeof(ScLeftOut));
	left->kind = SC_LEFT_OUT_REJECTED;
	left->partition = part->partition;
	left->first_offset = row->message.offset;
	left->end_offset = row->message.offset + 1;
	left->message = &row->message;
	left->why = why;
	task->left_out = lappend(task->left_out, left);
	part->rejected++;
	part->new_rejected_in_row++;
	part->new_next = row->message.offset + 1;
	if (stream->reject_limit > 0 && part->new_rejected_in_row >= stream->reject_limit)
		halt(part,
			 psprintf("%d messages in a row were rejected, the last one at offset " INT64_FORMAT ": %s",
					  part->new_rejected_in_row, row->message.offset, why->reason),
			 "Compare the stream's format and columns with the messages in streamcount.rejects, then run streamcount.resume().");
}

static void
start_anew(ScTask *task, int nrows)
{
	memset(task->shown, 0, sizeof(bool) * nrows);
	memset(task->marked, 0, sizeof(bool) * nrows);
	task->left_out = NIL;
	task->rows_written = 0;
	for (int i = 0; i < task->nparts; i++)
	{
		ScPart	   *part = &task->parts[i];

		part->new_next = part->next;
		part->counted = part->filtered = part->rejected = 0;
		part->new_rejected_in_row = part->rejected_in_row;
		part->new_seen = part->seen;
		part->tallied_before = 0;
		part->new_last_ms = part->last_ms;
		part->halt_reason = part->halt_hint = NULL;
	}
}

/* Not where the tally has taken it; what it took before breaks a row of rejects. */
static bool
is_ours(const ScTask *task, ScPart *part, int i)
{
	if (task->tallied == NULL)
		return true;
	if (task->tallied[i] < 0)
		return false;
	if (task->tallied[i] > part->tallied_before)
		part->new_rejected_in_row = 0;
	part->tallied_before = task->tallied[i];
	return true;
}

void
sc_judge(ScTask *task, const ScStream *stream, const ScBatch *batch)
{
	int			nrows = sc_batch_nrows(batch);

	start_anew(task, nrows);
	for (int i = 0; i < nrows; i++)
	{
		ScRow	   *row = sc_batch_row(batch, i);
		ScPart	   *part = sc_task_part(task, row->message.partition);
		const ScReject *why;

		if (part == NULL || !part->active || part->halt_reason ||
			row->message.offset < part->new_next || !is_ours(task, part, i))
			continue;
		part->new_last_ms = row->message.timestamp_ms;
		why = fault_of(task, i, row);
		if (why != NULL)
		{
			reject(task, part, stream, row, why);
			continue;
		}
		task->shown[i] = true;
		part->new_rejected_in_row = 0;
		part->new_next = row->message.offset + 1;
	}
}

void
sc_judge_marks(ScTask *task, const ScBatch *batch)
{
	int			nrows = sc_batch_nrows(batch);

	for (int i = 0; i < nrows; i++)
	{
		ScPart	   *part;

		if (!task->shown[i])
			continue;
		part = sc_task_part(task, sc_batch_row(batch, i)->message.partition);
		if (task->marked[i])
			part->counted++;
		else
			part->filtered++;
	}
}
