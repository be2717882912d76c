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

#include "access/relation.h"
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

/* Before what somebody has locked is looked at again */
#define LOCKED_PAUSE_MS 100

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
	bool		dropped;		/* since it was read */
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
	return sc_lock_wait_is_over(sqlerrcode) || sc_guard_is_its_fault(sqlerrcode);
}

static void
take_apart(void *arg)
{
	Parts	   *parts = arg;
	const ScRollup *rollup = parts->rollup;
	Relation	query = try_relation_open(rollup->query, AccessShareLock);

	parts->dropped = query == NULL;
	if (parts->dropped)
		return;
	relation_close(query, NoLock);
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
	if (!rollup->logged)
		return sc_unit_make_halt(rollup, "its data table is unlogged: a crash empties it, and leaves the offsets",
								 "Run ALTER TABLE ... SET LOGGED, then streamcount.resume(); after a crash drop and create the rollup.");
	if (rollup->owners_differ)
		return sc_unit_make_halt(rollup, "its view, query view and data table have different owners",
								 "Give all three to one role by ALTER ... OWNER TO, then run streamcount.resume().");
	edata = sc_guard_run(take_apart, &parts, says_why);
	if (edata && sc_lock_wait_is_over(edata->sqlerrcode))
	{
		served->waits_for = rollup;
		return NULL;
	}
	if (edata)
		return sc_unit_make_halt(rollup, edata->message, edata->hint);
	if (parts.dropped)
		return NULL;
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
	foreach(lc, served->rollups)
	{
		ScHalt	   *halt = consider(served, lfirst(lc));

		if (halt)
			halts = lappend(halts, halt);
		if (served->waits_for)
			break;
	}
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

bool
sc_unit_look(void (*look) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool locked = false;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		look(arg);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		if (!sc_lock_wait_is_over(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		AbortOutOfAnyTransaction();
		locked = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	return !locked;
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
}

typedef struct Look
{
	ScServed   *served;
	List	   *halts;
} Look;

static void
look(void *arg)
{
	Look	   *found = arg;

	if (!sc_unit_exists(&found->served->unit))
		return;
	if (!ConditionalLockRelationOid(found->served->unit.stream, AccessShareLock))
		sc_stats_worker_state(SC_STATE_BLOCKED, "somebody else holds a lock on its stream");
	found->halts = read_definitions(found->served);
}

/* Until nobody holds a lock on it, and there is nothing to be halted. */
ScServed *
sc_unit_load(const ScUnit *unit, MemoryContext cx)
{
	bool		waits = false;

	for (;; MemoryContextReset(cx))
	{
		ScServed   *served = MemoryContextAllocZero(cx, sizeof(ScServed));
		Look		found = {.served = served};

		served->unit = *unit;
		served->cx = cx;
		served->loaded_at = sc_clock_now();
		if (!sc_unit_look(look, &found))
			sc_stats_worker_state(SC_STATE_BLOCKED, "somebody else holds a lock on its definition");
		else if (served->rollups == NIL)
			return NULL;
		else if (found.halts != NIL)
		{
			sc_unit_write_halts(found.halts);
			continue;
		}
		else if (served->waits_for != NULL)
			wait_for_query(served, &waits);
		else
			return served;
		sc_lock_wait_pause(LOCKED_PAUSE_MS);
	}
}

void
sc_unit_start_anew(int elevel, const char *reason)
{
	ereport(elevel, (errmsg_internal("streamcount worker starts anew: %s", reason)));
	sc_stats_worker_will_restart(reason);
	proc_exit(0);
}
