/*-------------------------------------------------------------------------
 *
 * ledger.c
 *		Counts, offsets and what is left out, in one transaction.
 *
 * Guarantee: after a commit all of them are there; after anything else,
 * none.  The fence makes it hold against any second worker, too: the
 * offsets are locked and compared before a row is merged, and whoever finds
 * another next_offset than it read before has lost the partition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "crash_point.h"
#include "ledger_private.h"
#include "left_out.h"

/*
 * A partition that is read to its end stands there, behind records that are no
 * messages.  What was read last is noted where it is behind the task, too: one
 * that halts before it, or is ahead of what was read, keeps what it had.
 */
static void
note_end(ScPart *part, const ScEnd *end)
{
	if (part->halt_reason == NULL && end->offset > part->new_next)
		part->new_next = end->offset;
	part->new_seen = end->seen.offset > part->seen.offset && end->seen.offset < part->new_next ?
		end->seen : part->seen;
}

static void
note_ends(ScTask *task, const ScEnd *ends, int nends)
{
	for (int i = 0; i < nends; i++)
	{
		ScPart	   *part = sc_task_part(task, ends[i].partition);

		if (part && part->active)
			note_end(part, &ends[i]);
	}
}

static int
by_data_oid(const ListCell *a, const ListCell *b)
{
	Oid			x = ((ScTask *) lfirst(a))->rollup->data;
	Oid			y = ((ScTask *) lfirst(b))->rollup->data;

	return x < y ? -1 : x > y;
}

/* Commit and abort leave the process's top context current: not the caller's. */
static MemoryContext caller_cx = NULL;

/* Whose transaction it is; outlives one that fails. */
static Oid	written_for = InvalidOid;

void
sc_ledger_start(Oid rollup)
{
	written_for = rollup;
	caller_cx = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
sc_ledger_commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	written_for = InvalidOid;
	MemoryContextSwitchTo(caller_cx);
	pgstat_report_stat(false);
}

Oid
sc_ledger_failed_for(void)
{
	return written_for;
}

ErrorData *
sc_ledger_try(void (*body) (void *arg), void *arg, MemoryContext cx)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		body(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cx);
		edata = CopyErrorData();
		FlushErrorState();
		/* Left armed, it would cancel whatever is done when it goes off. */
		disable_timeout(STATEMENT_TIMEOUT, false);
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return edata;
}

/* Those that have something to write, in the order in which all workers lock. */
static List *
find_moving(ScFlush *flush)
{
	List	   *moving = NIL;
	ListCell   *lc;

	foreach(lc, flush->tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (task->set_aside)
			continue;
		flush->current = task;
		flush->way->methods->judge(flush->way, task);
		note_ends(task, flush->ends, flush->nends);
		if (sc_ledger_count_moving(task) > 0)
			moving = lappend(moving, task);
	}
	flush->current = NULL;
	list_sort(moving, by_data_oid);
	return moving;
}

/*
 * Data before offsets, as DDL takes them; by oid, so that two workers cannot
 * wait for each other.
 */
static void
lock_data(ScFlush *flush, List *moving)
{
	ListCell   *lc;

	foreach(lc, moving)
	{
		flush->current = lfirst(lc);
		LockRelationOid(flush->current->rollup->data, RowExclusiveLock);
	}
	/* Nothing that was committed while we waited may be missed. */
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
write_task(ScFlush *flush, ScTask *task)
{
	flush->current = task;

	/* Deferred triggers would run at the commit, as nobody that we chose. */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set constraints immediate");
	flush->merging = flush->written = true;
	if (flush->merge_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, flush->merge_timeout);
	flush->way->methods->merge(flush->way, task);
	if (flush->merge_timeout > 0)
		disable_timeout(STATEMENT_TIMEOUT, false);
	flush->merging = false;
	sc_left_out_write(task->rollup, task->left_out);
	SC_CRASH_POINT("before_advance");
	sc_ledger_advance(task);
}

bool
sc_ledger_flush(ScFlush *flush)
{
	List	   *moving;
	ListCell   *lc;

	flush->current = NULL;
	flush->merging = flush->written = false;
	sc_ledger_start(InvalidOid);
	LockRelationOid(flush->stream, AccessShareLock);
	if (*flush->stale)
	{
		sc_ledger_commit();
		return false;
	}
	flush->way->methods->prepare(flush->way, flush->tasks);
	moving = find_moving(flush);
	if (!flush->way->methods->spoiled(flush->way))
		lock_data(flush, moving);
	if (*flush->stale || flush->way->methods->spoiled(flush->way))
	{
		sc_ledger_commit();
		return false;
	}

	SC_CRASH_POINT("before_fence");
	foreach(lc, moving)
	{
		flush->current = lfirst(lc);
		sc_ledger_fence(flush->current);
	}
	SC_CRASH_POINT("after_fence");
	foreach(lc, moving)
		write_task(flush, lfirst(lc));
	flush->current = NULL;
	SC_CRASH_POINT("before_commit");
	sc_ledger_commit();
	SC_CRASH_POINT("after_commit");
	return true;
}

void
sc_ledger_lose(const ScTask *task, int32 partition, int64 end_offset)
{
	ScTask		one = *task;
	ScPart		part = *sc_task_part(task, partition);
	ScLeftOut	lost = {SC_LEFT_OUT_LOST, partition, part.next, end_offset, NULL, NULL};

	part.new_next = end_offset;
	part.counted = part.filtered = part.rejected = 0;
	part.new_rejected_in_row = part.rejected_in_row;
	part.new_seen = part.seen;
	part.halt_reason = part.halt_hint = NULL;
	one.nparts = 1;
	one.parts = &part;
	sc_ledger_start(task->rollup->relid);
	sc_ledger_fence(&one);
	sc_left_out_write(task->rollup, list_make1(&lost));
	sc_ledger_advance(&one);
	sc_ledger_commit();
}
