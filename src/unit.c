/*-------------------------------------------------------------------------
 *
 * unit.c
 *		What one worker serves: a stream and its rollups, read and judged.
 *
 * A unit never changes while a worker serves it.  Whatever would change it
 * (a rollup made or dropped, paused or resumed, another option, a new
 * partition) ends the worker, and the next one reads all of it anew: one
 * way to start, and no way to be half changed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "choose.h"
#include "clock.h"
#include "guard.h"
#include "identity.h"
#include "lock_wait.h"
#include "objects.h"
#include "stream.h"
#include "unit_private.h"
#include "version.h"

static bool
belongs(const ScUnit *unit, const ScRollup *rollup)
{
	return OidIsValid(unit->rollup) ? rollup->relid == unit->rollup :
		!sc_stats_is_apart(rollup->relid);
}

List *
sc_unit_rollups(const ScUnit *unit, MemoryContext cx)
{
	List	   *all = sc_catalog_rollups(unit->stream, cx);
	List	   *mine = NIL;
	ListCell   *lc;

	foreach(lc, all)
		if (belongs(unit, lfirst(lc)))
			mine = lappend(mine, lfirst(lc));
	return mine;
}

struct ScHalt
{
	Oid			rollup;
	TransactionId version;
	char	   *reason;
	char	   *hint;
};

ScHalt *
sc_unit_make_halt(const ScRollup *rollup, const char *reason, const char *hint)
{
	ScHalt	   *halt = palloc(sizeof(ScHalt));

	halt->rollup = rollup->relid;
	halt->version = rollup->version;
	halt->reason = pstrdup(reason);
	halt->hint = hint ? pstrdup(hint) : NULL;
	return halt;
}

typedef struct Parts
{
	const ScServed *served;
	const ScRollup *rollup;
	Bitmapset  *columns;		/* that it reads */
	ScTallyPlan *plan;			/* how it is tallied, if it can be */
} Parts;

/*
 * An ERROR says why it cannot be kept any more, or that somebody has locked
 * what the query reads: then nothing is known, and the unit waits for it.
 */
static bool
says_why(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sc_guard_is_its_fault(sqlerrcode);
}

static void
take_apart(void *arg)
{
	Parts	   *parts = arg;
	const ScRollup *rollup = parts->rollup;

	parts->columns = sc_objects_columns(rollup->query);
	if (parts->served->careful == 0)
		parts->plan = sc_choose_plan(parts->served->stream, rollup->query, rollup->settings, NULL);
}

static ScTask *
make_task(ScRollup *rollup, Bitmapset *columns, const ScTallyPlan *plan)
{
	ScTask	   *task = palloc0(sizeof(ScTask));

	task->rollup = rollup;
	task->columns = columns;
	task->plan = plan;
	return task;
}

/* Ready to be served, or halted from now on, or neither now. */
static ScHalt *
consider(ScServed *served, ScRollup *rollup)
{
	Parts		parts = {.served = served, .rollup = rollup};
	ErrorData  *edata;

	if (!rollup->complete)
	{
		served->restoring = true;
		return NULL;
	}
	if (rollup->paused || rollup->halted)
		return NULL;
	if (get_rel_persistence(rollup->data) != RELPERSISTENCE_PERMANENT)
		return sc_unit_make_halt(rollup, "its data table is unlogged: a crash empties it, and leaves the offsets",
								 "Run ALTER TABLE ... SET LOGGED, then streamcount.resume(); after a crash drop and create the rollup.");
	if (rollup->owners_differ)
		return sc_unit_make_halt(rollup, "its view, query view and data table have different owners",
								 "Give all three to one role by ALTER ... OWNER TO, then run streamcount.resume().");
	edata = sc_guard_run(take_apart, &parts, says_why);
	if (edata && edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		served->waits_for = rollup;
		return NULL;
	}
	if (edata)
		return sc_unit_make_halt(rollup, edata->message, edata->hint);
	if (strcmp(sc_stream_fingerprint(served->stream, parts.columns), rollup->fingerprint) != 0)
		return sc_unit_make_halt(rollup, "stream_changed: options or columns that the rollup reads were altered",
								 "Run streamcount.resume() to go on by the new definition, or drop and create the rollup to count anew.");
	served->tasks = lappend(served->tasks, make_task(rollup, parts.columns, parts.plan));
	return NULL;
}

void
sc_unit_write_halts(List *halts)
{
	ListCell   *lc;

	foreach(lc, halts)
	{
		ScHalt	   *halt = lfirst(lc);

		(void) sc_ledger_halt_as_read(halt->rollup, halt->version, halt->reason, halt->hint);
	}
}

/* One batch and one decode for all of them: the columns that any of them reads. */
static void
make_way(ScServed *served)
{
	Bitmapset  *columns = NULL;
	bool		tally = false;
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		columns = bms_union(columns, task->columns);
		tally |= task->plan != NULL;
	}
	if (tally)
		served->way = sc_way_tally(served->stream, columns, served->tasks, served->cx);
	else if (served->tasks != NIL)
		served->way = sc_way_executor(served->stream, columns, served->cx);
}

/* Read it all in one transaction, in one snapshot. */
static List *
read_definitions(ScServed *served)
{
	List	   *halts = NIL;
	MemoryContext old = MemoryContextSwitchTo(served->cx);
	ListCell   *lc;

	served->careful = sc_stats_worker_careful();
	served->stream = sc_stream_load(served->unit.stream, true, served->cx);
	served->rollups = sc_unit_rollups(&served->unit, served->cx);
	served->signature = sc_unit_sign(served->stream, served->rollups);
	sc_lock_wait_bound();
	foreach(lc, served->rollups)
	{
		ScHalt	   *halt = consider(served, lfirst(lc));

		if (halt)
			halts = lappend(halts, halt);
		if (served->waits_for)
			break;
	}
	sc_lock_wait_unbound();
	if (served->waits_for == NULL)
		make_way(served);
	MemoryContextSwitchTo(old);
	return halts;
}

bool
sc_unit_exists(const ScUnit *unit)
{
	return OidIsValid(get_extension_oid("streamcount", true)) &&
		sc_version_mismatch() == NULL &&
		sc_stream_is_stream(unit->stream);
}

static MemoryContext caller_cx = NULL;

void
sc_unit_begin_look(void)
{
	caller_cx = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
sc_unit_end_look(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller_cx);
}

/*
 * Let the others go on without it, or, where there are none, or no room,
 * say that it waits: once in the log, however often it is tried.
 */
static void
wait_for_query(const ScServed *served, bool *waits)
{
	const char *name = served->waits_for->name;
	const char *reason = "somebody else holds a lock on what its query reads";

	if (list_length(served->rollups) > 1 &&
		sc_stats_set_apart(served->unit.stream, served->waits_for->relid, reason))
	{
		ereport(LOG, (errmsg("rollup %s is served apart: %s", name, reason)));
		sc_unit_start_anew(DEBUG1, "a rollup is served apart");
	}
	if (!*waits)
		ereport(LOG,
				(errmsg("rollup %s waits for a lock", name),
				 errhint("The view pg_locks shows who holds it.")));
	*waits = true;
	sc_stats_worker_state(SC_STATE_BLOCKED, reason);
	CHECK_FOR_INTERRUPTS();
}

/* One look; NULL: there is nothing to serve. */
static ScServed *
look(const ScUnit *unit, MemoryContext cx)
{
	ScServed   *served = MemoryContextAllocZero(cx, sizeof(ScServed));
	List	   *halts;

	served->unit = *unit;
	served->cx = cx;
	served->loaded_at = sc_clock_now();
	sc_unit_begin_look();
	if (!sc_unit_exists(unit))
	{
		sc_unit_end_look();
		return NULL;
	}
	if (!ConditionalLockRelationOid(unit->stream, AccessShareLock))
		sc_stats_worker_state(SC_STATE_BLOCKED, "somebody else holds a lock on its stream");
	halts = read_definitions(served);
	sc_unit_end_look();
	if (served->rollups == NIL)
		return NULL;
	if (halts != NIL)
	{
		sc_unit_write_halts(halts);
		return look(unit, cx);
	}
	return served;
}

ScServed *
sc_unit_load(const ScUnit *unit, MemoryContext cx)
{
	bool		waits = false;
	ScServed   *served;

	while ((served = look(unit, cx)) != NULL && served->waits_for != NULL)
	{
		wait_for_query(served, &waits);
		MemoryContextReset(cx);
	}
	return served;
}

void
sc_unit_start_anew(int elevel, const char *reason)
{
	ereport(elevel, (errmsg_internal("streamcount worker starts anew: %s", reason)));
	sc_stats_worker_will_restart(reason);
	proc_exit(0);
}
