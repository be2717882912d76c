/*-------------------------------------------------------------------------
 *
 * way_executor.c
 *		The executor's way: the defining query over the batch in hand.
 *
 * All rollups that a worker serves this way share one batch and one decode.
 * The batch keeps the raw messages until the commit, so that a message that
 * a query fails on can be found, and stored, without reading it again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "batch.h"
#include "execute.h"
#include "guard.h"
#include "guc.h"
#include "identity.h"
#include "judge.h"
#include "way.h"

typedef struct ExecutorWay
{
	ScWay		way;
	const ScStream *stream;
	ScBatch    *batch;
	MemoryContext flush_cx;		/* what a flush makes; reset with the batch */
} ExecutorWay;

static void
executor_begin_accepting(ScWay *way)
{
}

static void
executor_end_accepting(ScWay *way)
{
}

static void
executor_accept(ScWay *way, const ScMessage *message)
{
	sc_batch_add(((ExecutorWay *) way)->batch, message);
}

static void
executor_prepare(ScWay *way, List *tasks)
{
	ExecutorWay *w = (ExecutorWay *) way;
	int			nrows = sc_batch_nrows(w->batch);
	ScIdentity	saved;
	ListCell   *lc;

	/* A column's default and a domain's CHECK are code of the stream's owner. */
	sc_identity_enter_restricted(&saved, w->stream->owner);
	sc_batch_decode(w->batch);
	sc_identity_leave(&saved);
	foreach(lc, tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (task->shown != NULL)
			continue;
		task->shown = MemoryContextAllocZero(w->flush_cx, Max(nrows, 1));
		task->marked = MemoryContextAllocZero(w->flush_cx, Max(nrows, 1));
	}
}

static void
executor_judge(ScWay *way, ScTask *task)
{
	ExecutorWay *w = (ExecutorWay *) way;
	MemoryContext old = MemoryContextSwitchTo(w->flush_cx);

	sc_judge(task, w->stream, w->batch);
	MemoryContextSwitchTo(old);
}

static bool
shows_anything(const ScTask *task, int first, int end)
{
	return memchr(task->shown + first, true, end - first) != NULL;
}

static void
executor_merge(ScWay *way, ScTask *task)
{
	ExecutorWay *w = (ExecutorWay *) way;
	int			nrows = sc_batch_nrows(w->batch);

	if (!shows_anything(task, 0, nrows))
		return;
	sc_batch_take(w->batch, 0, nrows, task->shown, task->marked);
	task->rows_written = sc_execute_merge(task->rollup, task->columns);
	sc_batch_put_down();
	sc_judge_marks(task, w->batch);
}

/* ---------------------------------------------------------------------
 * Which message does the query fail on?
 * --------------------------------------------------------------------- */

typedef struct Search
{
	ExecutorWay *w;
	ScTask	   *task;
	const ScSelect *select;
	MemoryContext cx;			/* what a failed query leaves behind; reset with each */
} Search;

static void
select_rows(void *select)
{
	sc_execute_select(select);
}

/* Run the query alone over rows [first, end): NULL, or what it fails by. */
static ScReject *
try_rows(const Search *search, int first, int end)
{
	MemoryContext caller = MemoryContextSwitchTo(search->cx);
	ErrorData  *edata;
	ScReject   *why;

	sc_batch_take(search->w->batch, first, end, search->task->shown, search->task->marked);
	edata = sc_guard_run(select_rows, unconstify(ScSelect *, search->select),
						 sc_batch_is_messages_fault);
	sc_batch_put_down();
	why = edata ? sc_batch_reject(edata, search->w->flush_cx) : NULL;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(search->cx);
	return why;
}

/* Halve until single rows are to blame. */
static void
bisect(const Search *search, int first, int end)
{
	ScReject   *why;
	int			middle;

	CHECK_FOR_INTERRUPTS();
	if (first >= end || !shows_anything(search->task, first, end))
		return;
	why = try_rows(search, first, end);
	if (why == NULL)
		return;
	if (end - first == 1)
	{
		search->task->refused[first] = why;
		return;
	}
	middle = first + (end - first) / 2;
	bisect(search, first, middle);
	bisect(search, middle, end);
}

static void
executor_blame(ScWay *way, ScTask *task)
{
	ExecutorWay *w = (ExecutorWay *) way;
	int			nrows = sc_batch_nrows(w->batch);
	Search		search = {.w = w, .task = task};

	executor_judge(way, task);
	if (task->refused == NULL)
		task->refused = MemoryContextAllocZero(w->flush_cx, sizeof(ScReject *) * Max(nrows, 1));
	search.select = sc_execute_plan_select(task->rollup, task->columns);
	search.cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount search",
									  ALLOCSET_DEFAULT_SIZES);
	bisect(&search, 0, nrows);
}

static void
executor_forget(ScWay *way)
{
	ExecutorWay *w = (ExecutorWay *) way;

	sc_batch_put_down();
	sc_batch_forget(w->batch);
	MemoryContextReset(w->flush_cx);
}

static int64
executor_messages(ScWay *way)
{
	return sc_batch_nrows(((ExecutorWay *) way)->batch);
}

static bool
executor_full(ScWay *way)
{
	return sc_batch_memory(((ExecutorWay *) way)->batch) >= (Size) sc_batch_mem * 1024;
}

/* It keeps its messages, and counts none before it has judged them. */
static bool
executor_spoiled(ScWay *way)
{
	return false;
}

static const ScWayMethods executor_methods = {
	.name = "executor",
	.begin_accepting = executor_begin_accepting,
	.end_accepting = executor_end_accepting,
	.accept = executor_accept,
	.full = executor_full,
	.prepare = executor_prepare,
	.judge = executor_judge,
	.spoiled = executor_spoiled,
	.merge = executor_merge,
	.blame = executor_blame,
	.forget = executor_forget,
	.messages = executor_messages,
};

ScWay *
sc_way_executor(const ScStream *stream, const Bitmapset *columns, MemoryContext cx)
{
	ExecutorWay *w = MemoryContextAllocZero(cx, sizeof(ExecutorWay));

	w->way.methods = &executor_methods;
	w->stream = stream;
	w->batch = sc_batch_create(stream, columns, cx);
	w->flush_cx = AllocSetContextCreate(cx, "streamcount flush", ALLOCSET_DEFAULT_SIZES);
	return &w->way;
}
