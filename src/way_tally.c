/*-------------------------------------------------------------------------
 *
 * way_tally.c
 *		The way of the C tally.
 *
 * A message is tallied where everything about it is sure.  Where anything is
 * in doubt (its payload, a value, an expression that fails) it is left to an
 * executor's way, which stands behind this one: that decodes it, judges it
 * and runs the defining query over it, in the same flush.  So what a reject
 * is, and why, is always said by PostgreSQL itself, and the tally only has to
 * be right where it is sure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "guc.h"
#include "way.h"
#include "way_tallied.h"

/* A rollup has at least this, or many of them would be flushed with each message. */
#define LEAST_TALLY ((Size) 256 * 1024)

/* So much of messages makes no more new entries than a tally is ready for. */
#define LOOK_AFTER_BYTES 2048
/* What a message counts for beside its bytes: it may be empty, and is counted. */
#define MESSAGE_BYTES 64

/* Where the message in hand is: before the first task, or at one of them. */
#define AT_DECODE (-1)

typedef struct TallyWay
{
	ScWay		way;
	ScWay	   *executor;		/* for all that is in doubt */
	bool		all_to_executor;	/* there are tasks that are not tallied at all */
	MemoryContext cx;
	ScQuick    *quick;
	ScQuickValue *columns;
	bool		throws;			/* messages are taken under a guard */
	int			ntallied;
	ScTallied  *tallied;
	int			at;
	int64		messages;
	int			chains;			/* the most that a task has */
	Size		unseen;			/* bytes of messages since tally_full() looked */
	bool		left;			/* some of them to the executor */
	bool		is_full;
	bool		spoiled;
	ResourceOwner owner;		/* of the guard's transaction */
	MemoryContext caller;		/* current outside of it */
} TallyWay;

/* ---------------------------------------------------------------------
 * The guard: a subtransaction that takes no transaction id
 * --------------------------------------------------------------------- */

static void
begin_guard(TallyWay *w)
{
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(w->cx);
}

static void
tally_begin_accepting(ScWay *way)
{
	TallyWay   *w = (TallyWay *) way;

	if (!w->throws)
		return;
	w->caller = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	w->owner = CurrentResourceOwner;
	begin_guard(w);
}

static void
tally_end_accepting(ScWay *way)
{
	TallyWay   *w = (TallyWay *) way;

	if (!w->throws)
		return;
	ReleaseCurrentSubTransaction();
	CurrentResourceOwner = w->owner;
	CommitTransactionCommand();
	MemoryContextSwitchTo(w->caller);
}

/* ---------------------------------------------------------------------
 * Messages
 * --------------------------------------------------------------------- */

static ScTook *
took_of(ScTallied *t, const ScPart *part, MemoryContext cx)
{
	if (t->took == NULL)
		t->took = MemoryContextAllocZero(cx, sizeof(ScTook) * Max(t->task->nparts, 1));
	return &t->took[part - t->task->parts];
}

static void
take(TallyWay *w, ScTallied *t, const ScMessage *message)
{
	ScPart	   *part = sc_task_part(t->task, message->partition);
	ScTaken		outcome;
	ScTook	   *took;

	/* counted already, or not to be counted now */
	if (part == NULL || !part->active || message->offset < part->next)
		return;
	outcome = sc_tallier_take(t->tallier, w->columns);
	if (outcome == SC_TAKEN_DOUBT)
	{
		t->doubt = true;
		return;
	}
	took = took_of(t, part, w->cx);
	if (outcome == SC_TAKEN_COUNTED)
		took->counted++;
	else
		took->filtered++;
	took->next = message->offset + 1;
	took->last_ms = message->timestamp_ms;
}

static void
doubt_all(TallyWay *w)
{
	for (int i = 0; i < w->ntallied; i++)
		w->tallied[i].doubt = true;
	w->at = w->ntallied;
}

/* From where it is to the last task; w->at tells where an ERROR came from. */
static void
go_on(TallyWay *w, const ScMessage *message)
{
	if (w->at == AT_DECODE)
	{
		if (!sc_decode_quick(w->quick, message, w->columns))
		{
			doubt_all(w);
			return;
		}
		w->at++;
	}
	for (; w->at < w->ntallied; w->at++)
		take(w, &w->tallied[w->at], message);
}

/*
 * The message may be at fault, whatever the error: the executor's way will
 * tell.  But not where somebody has asked us to end, nor where a tally was
 * left half added to, by an error or for want of memory between two additions.
 */
static bool
must_end(const TallyWay *w)
{
	int			category = ERRCODE_TO_CATEGORY(geterrcode());

	return category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_INSUFFICIENT_RESOURCES ||
		(w->at != AT_DECODE && sc_tallier_is_adding(w->tallied[w->at].tallier));
}

static void
go_on_guarded(TallyWay *w, const ScMessage *message)
{
	PG_TRY();
	{
		go_on(w, message);
	}
	PG_CATCH();
	{
		if (must_end(w))
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = w->owner;
		begin_guard(w);
		if (w->at == AT_DECODE)
			doubt_all(w);
		else
			w->tallied[w->at++].doubt = true;
	}
	PG_END_TRY();
}

/* The message becomes this row of the batch: note whose it is. */
static void
note_row(TallyWay *w, ScTallied *t, int64 row, const ScMessage *message)
{
	ScPart	   *part = sc_task_part(t->task, message->partition);

	if (row >= t->max_rows)
	{
		t->max_rows *= 2;
		t->rows = repalloc_huge(t->rows, sizeof(int64) * t->max_rows);
		t->task->tallied = t->rows;
	}
	t->rows[row] = t->doubt && part != NULL ? sc_way_taken(took_of(t, part, w->cx)) : -1;
	t->doubt = false;
}

static void
tally_accept(ScWay *way, const ScMessage *message)
{
	TallyWay   *w = (TallyWay *) way;
	bool		leave = w->all_to_executor;

	w->messages++;
	w->unseen += (message->payload_len + message->key_len + MESSAGE_BYTES) * w->chains;
	w->at = AT_DECODE;
	if (w->throws)
		while (w->at < w->ntallied)
			go_on_guarded(w, message);
	else
		go_on(w, message);

	for (int i = 0; i < w->ntallied; i++)
		leave |= w->tallied[i].doubt;
	if (!leave)
		return;
	w->left = true;
	for (int i = 0; i < w->ntallied; i++)
		note_row(w, &w->tallied[i], w->executor->methods->messages(w->executor), message);
	w->executor->methods->accept(w->executor, message);
}

static bool
tally_full(ScWay *way)
{
	TallyWay   *w = (TallyWay *) way;
	Size		size = 0;

	if (w->left && w->executor->methods->full(w->executor))
		return true;
	if (w->unseen < LOOK_AFTER_BYTES && !w->is_full)
		return false;
	w->unseen = 0;
	for (int i = 0; i < w->ntallied; i++)
		size += sc_tally_memory_next(sc_tallier_tally(w->tallied[i].tallier));
	w->is_full = w->messages > 0 &&
		size > Max((Size) sc_tally_mem * 1024, w->ntallied * LEAST_TALLY);
	return w->is_full;
}

/* ---------------------------------------------------------------------
 * A flush
 * --------------------------------------------------------------------- */

static void
tally_prepare(ScWay *way, List *tasks)
{
	TallyWay   *w = (TallyWay *) way;

	w->executor->methods->prepare(w->executor, tasks);
}

static ScTallied *
find_tallied(const TallyWay *w, const ScTask *task)
{
	for (int i = 0; i < w->ntallied; i++)
		if (w->tallied[i].task == task)
			return &w->tallied[i];
	return NULL;
}

static void
tally_judge(ScWay *way, ScTask *task)
{
	TallyWay   *w = (TallyWay *) way;
	ScTallied  *t = find_tallied(w, task);

	w->executor->methods->judge(w->executor, task);
	if (t != NULL && !sc_way_tallied_judge(t))
		w->spoiled = true;
}

static bool
tally_spoiled(ScWay *way)
{
	return ((TallyWay *) way)->spoiled;
}

static void
tally_merge(ScWay *way, ScTask *task)
{
	TallyWay   *w = (TallyWay *) way;
	ScTallied  *t = find_tallied(w, task);

	w->executor->methods->merge(w->executor, task);
	if (t != NULL)
		sc_way_tallied_merge(t);
}

static void
tally_blame(ScWay *way, ScTask *task)
{
	TallyWay   *w = (TallyWay *) way;

	w->executor->methods->blame(w->executor, task);
}

static void
tally_forget(ScWay *way)
{
	TallyWay   *w = (TallyWay *) way;

	w->executor->methods->forget(w->executor);
	for (int i = 0; i < w->ntallied; i++)
		sc_way_tallied_forget(&w->tallied[i]);
	w->messages = 0;
	w->left = w->is_full = false;
	w->spoiled = false;
}

static int64
tally_messages(ScWay *way)
{
	return ((TallyWay *) way)->messages;
}

static const ScWayMethods tally_methods = {
	.name = "tally",
	.begin_accepting = tally_begin_accepting,
	.end_accepting = tally_end_accepting,
	.accept = tally_accept,
	.full = tally_full,
	.prepare = tally_prepare,
	.judge = tally_judge,
	.spoiled = tally_spoiled,
	.merge = tally_merge,
	.blame = tally_blame,
	.forget = tally_forget,
	.messages = tally_messages,
};

/* The task has the array of rows from the start: without it, all rows are its own. */
static void
init_tallied(TallyWay *w, ScTallied *t, ScTask *task, const ScStream *stream)
{
	t->task = task;
	t->tallier = sc_tallier_create(task->plan, stream, w->cx);
	t->max_rows = 256;
	t->rows = palloc(sizeof(int64) * t->max_rows);
	task->tallied = t->rows;
	w->throws |= task->plan->throws;
	w->chains = Max(w->chains, sc_tallier_chains(t->tallier));
}

ScWay *
sc_way_tally(const ScStream *stream, const Bitmapset *columns, List *tasks, MemoryContext cx)
{
	MemoryContext old = MemoryContextSwitchTo(cx);
	TallyWay   *w = palloc0(sizeof(TallyWay));
	Bitmapset  *read = NULL,
			   *datums = NULL;
	ListCell   *lc;

	w->way.methods = &tally_methods;
	w->cx = cx;
	w->executor = sc_way_executor(stream, columns, cx);
	w->tallied = palloc0(sizeof(ScTallied) * list_length(tasks));
	foreach(lc, tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (task->plan == NULL)
		{
			w->all_to_executor = true;
			continue;
		}
		init_tallied(w, &w->tallied[w->ntallied++], task, stream);
		read = bms_union(read, task->plan->columns);
		datums = bms_union(datums, task->plan->datums);
	}
	w->quick = sc_decode_quick_create(stream, read, datums, cx);
	w->columns = palloc0(sizeof(ScQuickValue) * Max(stream->natts, 1));
	w->throws |= sc_decode_quick_throws(w->quick);
	MemoryContextSwitchTo(old);
	return &w->way;
}
