/*-------------------------------------------------------------------------
 *
 * way_tallied.c
 *		What the tally took of one task, until it is flushed.
 *
 * The executor's way is asked first: it judges what was left to it, and may halt
 * a partition before messages that are tallied already.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "execute.h"
#include "way_tallied.h"

/* False where the partition halts before what was taken of it. */
static bool
judge_part(ScPart *part, const ScTook *took)
{
	bool		in_time = true;

	if (took->next == 0)
		return true;
	if (sc_way_taken(took) > part->tallied_before && part->halt_reason == NULL)
		part->new_rejected_in_row = 0;
	if (took->next > part->new_next)
	{
		in_time = part->halt_reason == NULL;
		part->new_next = took->next;
		part->new_last_ms = took->last_ms;
	}
	return in_time;
}

bool
sc_way_tallied_judge(ScTallied *t)
{
	bool		in_time = true;

	for (int i = 0; t->took != NULL && i < t->task->nparts; i++)
		in_time &= judge_part(&t->task->parts[i], &t->took[i]);
	return in_time;
}

static bool
next_row(void *arg, Datum *values, bool *isnull)
{
	return sc_tallier_rows_next(arg, values, isnull);
}

void
sc_way_tallied_merge(ScTallied *t)
{
	ScTask	   *task = t->task;

	if (sc_tally_count(sc_tallier_tally(t->tallier)) > 0)
		task->rows_written +=
			sc_execute_merge_rows(task->rollup, task->columns, task->plan->in_order,
								  next_row, sc_tallier_rows_begin(t->tallier, CurrentMemoryContext));
	for (int i = 0; t->took != NULL && i < task->nparts; i++)
	{
		task->parts[i].counted += t->took[i].counted;
		task->parts[i].filtered += t->took[i].filtered;
	}
}

void
sc_way_tallied_forget(ScTallied *t)
{
	sc_tallier_forget(t->tallier);
	if (t->took != NULL)
		memset(t->took, 0, sizeof(ScTook) * t->task->nparts);
}
