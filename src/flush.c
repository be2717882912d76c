/*-------------------------------------------------------------------------
 *
 * flush.c
 *		A flush that knows what to do when it fails.
 *
 * The SQLSTATE decides.  A message's fault is found and rejected (careful
 * mode); what may pass by itself is tried again; everything else needs a
 * person, and halts that one rollup.  After every error the transaction is
 * gone, and the batch in hand is judged anew: the fence tells whether it is
 * still ours to write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "flush.h"
#include "ledger.h"
#include "lock_wait.h"
#include "stats.h"

/* How long one rollup's query may hold up the others. */
#define MERGE_WAIT_MS 30000
/* Before a lock is asked for again. */
#define LOCK_AGAIN_MS 50
/* What was written by then is dead: that is not to be done all the time. */
#define WRITE_AGAIN_MS 2000

#define HALT_HINT "Remove the cause, then run streamcount.resume()."

/* What a query joins, or calls, can change between merge, search and merge. */
#define CAREFUL_TRIES 3

/*
 * No flush has so many different troubles, beside those of its rollups, each
 * of which is helped or set aside: a new process looks anew.
 */
#define MAX_TRIES 20

typedef enum Remedy
{
	REMEDY_CAREFUL,				/* a message's fault */
	REMEDY_RETRY,				/* may pass by itself */
	REMEDY_WAIT,				/* somebody has locked something */
	REMEDY_HALT					/* needs a person */
} Remedy;

static Remedy
remedy_for(const ErrorData *edata, bool merging)
{
	if (sc_lock_wait_is_over(edata->sqlerrcode))
		return REMEDY_WAIT;
	if (edata->sqlerrcode == ERRCODE_RAISE_EXCEPTION)
		return merging ? REMEDY_CAREFUL : REMEDY_HALT;
	switch (ERRCODE_TO_CATEGORY(edata->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return merging ? REMEDY_CAREFUL : REMEDY_HALT;
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return REMEDY_RETRY;
	}
	return REMEDY_HALT;
}

static int
others_than(const ScTask *task, List *tasks)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, tasks)
		if (lfirst(lc) != task && !((ScTask *) lfirst(lc))->set_aside)
			n++;
	return n;
}

typedef struct Halt
{
	const ScRollup *rollup;
	const char *reason;
	const char *hint;
	bool		written;
} Halt;

static void
write_halt(void *arg)
{
	Halt	   *halt = arg;

	halt->written = sc_ledger_halt_as_read(halt->rollup->relid, halt->rollup->version,
										   halt->reason, halt->hint);
}

/*
 * One that is set aside is read and tried anew, halted or not: it is not where
 * it was resumed meanwhile, or is about to be.
 */
static void
halt_task(ScTask *task, const ErrorData *edata, MemoryContext cx)
{
	char	   *reason = psprintf("%s: %s", unpack_sql_state(edata->sqlerrcode), edata->message);
	Halt		halt = {.rollup = task->rollup, .reason = reason,
	.hint = edata->hint ? edata->hint : HALT_HINT};
	ErrorData  *failed;

	task->set_aside = true;
	failed = sc_ledger_try(write_halt, &halt, cx);
	if (failed && !sc_lock_wait_is_over(failed->sqlerrcode))
		ReThrowError(failed);
	if (!halt.written)
		return;
	ereport(WARNING,
			(errmsg("rollup %s is halted: %s", task->rollup->name, reason),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 errhint("%s", halt.hint)));
}

static bool
set_apart(Oid stream, Oid rollup, const char *name, const ErrorData *edata)
{
	if (!sc_stats_set_apart(stream, rollup, edata->message))
		return false;
	ereport(LOG,
			(errmsg("rollup %s is served apart: %s", name, edata->message)));
	return true;
}

/* Let the others go on without it; false when there is nobody, or no room. */
static bool
send_apart(ScServed *served, ScTask *task, const ErrorData *edata)
{
	if (others_than(task, served->tasks) == 0 ||
		!set_apart(served->unit.stream, task->rollup->relid, task->rollup->name, edata))
		return false;
	task->set_aside = true;
	return true;
}

bool
sc_flush_send_apart(const ScUnit *unit, const ScServed *served, const ErrorData *edata)
{
	Oid			rollup = sc_ledger_failed_for();
	const char *name = NULL;
	ListCell   *lc;

	if (!sc_lock_wait_is_over(edata->sqlerrcode) || !OidIsValid(rollup) || OidIsValid(unit->rollup))
		return false;
	foreach(lc, served ? served->rollups : NIL)
		if (((ScRollup *) lfirst(lc))->relid == rollup)
			name = ((ScRollup *) lfirst(lc))->name;
	return set_apart(unit->stream, rollup, name ? name : psprintf("%u", rollup), edata);
}

/*
 * Nobody else waits: wait as long as it takes, and say so once.  But a rollup
 * that has come to this unit meanwhile is not to wait, too.
 */
static void
wait_for_lock(const ScServed *served, const ScTask *task, bool written, bool *waits)
{
	bool		locked;

	if (*waits && sc_unit_changed(served, &locked))
		sc_unit_start_anew(LOG, "its definition was changed while it waited for a lock");
	if (!*waits)
		ereport(LOG,
				(errmsg("rollup %s waits for a lock", task ? task->rollup->name : "(any)"),
				 errhint("The view pg_locks shows who holds it.")));
	*waits = true;
	sc_stats_worker_state(SC_STATE_BLOCKED, "somebody else holds a lock that it needs");
	sc_lock_wait_pause(written ? WRITE_AGAIN_MS : LOCK_AGAIN_MS);
}

typedef struct Search
{
	ScServed   *served;
	ScTask	   *task;
	int			timeout_ms;		/* 0: none */
} Search;

/*
 * Find the messages that the query fails on, so that the next try leaves them
 * out.  There may be none: what a query joins, or calls, can have changed
 * meanwhile.  Where the search itself fails, it has met something else than a
 * message's fault, or taken longer than a merge may.
 */
static void
search(void *arg)
{
	const Search *it = arg;
	ScWay	   *way = it->served->way;

	sc_ledger_start(it->task->rollup->relid);
	if (it->timeout_ms > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, it->timeout_ms);
	way->methods->blame(way, it->task);
	disable_timeout(STATEMENT_TIMEOUT, false);
	sc_ledger_commit();
}

static void
remedy(ScServed *served, const ScFlush *flush, ErrorData *edata, bool *waits)
{
	ScTask	   *task = flush->current;
	Remedy		what = remedy_for(edata, flush->merging);

	if (what == REMEDY_CAREFUL)
	{
		Search		it = {.served = served, .task = task, .timeout_ms = flush->merge_timeout};
		ErrorData  *met = NULL;

		if (task->careful_tries++ < CAREFUL_TRIES && (met = sc_ledger_try(search, &it, served->cx)) == NULL)
			return;
		edata = met ? met : edata;
		what = remedy_for(edata, false);
	}
	switch (what)
	{
		case REMEDY_CAREFUL:
			break;
		case REMEDY_WAIT:
			if (task == NULL || !send_apart(served, task, edata))
				wait_for_lock(served, task, flush->written, waits);
			return;
		case REMEDY_RETRY:
			if (!flush->merging && edata->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE)
				sc_unit_start_anew(LOG, edata->message);
			if (task == NULL || !send_apart(served, task, edata))
				ReThrowError(edata);
			return;
		case REMEDY_HALT:
			break;
	}
	if (task == NULL)
		ReThrowError(edata);
	halt_task(task, edata, served->cx);
}

static void
accept_part(const ScTask *task, ScPart *part)
{
	part->next = part->new_next;
	part->rejected_in_row = part->new_rejected_in_row;
	part->seen = part->new_seen;
	part->last_ms = part->new_last_ms;
	if (part->halt_reason == NULL)
		return;
	part->active = false;
	ereport(WARNING,
			(errmsg("partition %d of rollup %s is halted: %s", part->partition,
					task->rollup->name, part->halt_reason),
			 errhint("%s", part->halt_hint)));
}

/* It is committed: from now on this is where the tasks stand. */
static int64
accept_commit(ScServed *served)
{
	int64		rows = 0;
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (task->set_aside)
			continue;
		rows += task->rows_written;
		for (int i = 0; i < task->nparts; i++)
			accept_part(task, &task->parts[i]);
	}
	return rows;
}

static void
forget_judgements(ScServed *served)
{
	ListCell   *lc;

	foreach(lc, served->tasks)
		sc_task_forget(lfirst(lc));
}

/*
 * The batch comes again, to a worker that judges before it counts; one that
 * does so already is done with it when it has seen as many messages.
 */
static void
count_careful(ScServed *served, bool current)
{
	int64		messages = served->way->methods->messages(served->way);

	if (served->careful > 0 && current)
	{
		served->careful = Max(served->careful - messages, 0);
		sc_stats_worker_set_careful(served->careful);
		if (served->careful == 0)
			served->careful_done = true;
	}
	else if (!current && served->way->methods->spoiled(served->way))
	{
		sc_stats_worker_set_careful(Max(messages, 1));
		sc_unit_start_anew(DEBUG1, "a batch is read again by the executor's way");
	}
}

typedef struct Try
{
	ScFlush    *flush;
	bool		current;		/* by a definition that is still in force */
} Try;

static void
flush_once(void *arg)
{
	Try		   *one = arg;

	one->current = sc_ledger_flush(one->flush);
}

bool
sc_flush(ScServed *served, const volatile bool *stale)
{
	ScEnd	   *ends = palloc(sizeof(ScEnd) * Max(served->npositions, 1));
	ScFlush		flush = {.stream = served->unit.stream, .way = served->way,
	.tasks = served->tasks, .ends = ends, .stale = stale};
	int			tries = 0;
	int			max_tries = MAX_TRIES + (CAREFUL_TRIES + 1) * list_length(served->tasks);
	bool		waits = false;
	Try			one = {.flush = &flush};
	ErrorData  *edata;

	for (int i = 0; i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		ends[flush.nends].partition = position->partition;
		ends[flush.nends].offset = position->at_end ? position->end : -1;
		ends[flush.nends++].seen = position->seen;
	}
	flush.merge_timeout = others_than(NULL, served->tasks) > 1 ? MERGE_WAIT_MS : 0;
	while ((edata = sc_ledger_try(flush_once, &one, served->cx)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		/* A lock may take any number of them. */
		if (!waits && ++tries == max_tries)
			ReThrowError(edata);
		remedy(served, &flush, edata, &waits);
		flush.merge_timeout = others_than(NULL, served->tasks) > 1 ? MERGE_WAIT_MS : 0;
		FreeErrorData(edata);
	}
	count_careful(served, one.current);
	if (one.current)
	{
		sc_stats_worker_flushed(served->way->methods->messages(served->way),
								served->bytes, accept_commit(served));
		served->bytes = 0;
		served->way->methods->forget(served->way);
	}
	forget_judgements(served);
	pfree(ends);
	return one.current;
}
