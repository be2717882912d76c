/*-------------------------------------------------------------------------
 *
 * unit.c
 *		What one worker serves: a stream, its rollups, their positions.
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
#include "common/hashfn.h"
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
#include "objects.h"
#include "starts.h"
#include "stream.h"
#include "unit.h"
#include "version.h"

/*
 * Rollups that are further behind than this are served apart.  One that has
 * just caught up may fall back by all that comes while it is handed over.
 */
#define APART_LAG 10000
#define APART_LAG_JOINED 1000000
#define JOINED_MS 60000
/* How long a lock on what one query reads may hold up the start of all. */
#define LOCK_WAIT "1s"

/* ---------------------------------------------------------------------
 * What would ask for a new start
 * --------------------------------------------------------------------- */

static void
sign_stream(StringInfo text, const ScStream *stream)
{
	Bitmapset  *all = bms_add_range(NULL, 1, Max(stream->natts, 1));

	appendStringInfo(text, "%s %d %d %d %u", sc_stream_fingerprint(stream, all),
					 stream->halt_on_error, stream->reject_limit, stream->skip_gaps,
					 stream->owner);
	/* Hashed, since secrets are among them. */
	for (int i = 0; i < stream->nproperties; i++)
		appendStringInfo(text, " %s %u", stream->properties[i].name,
						 string_hash(stream->properties[i].value,
									 strlen(stream->properties[i].value) + 1));
}

static char *
sign(const ScStream *stream, List *rollups)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	sign_stream(&text, stream);
	foreach(lc, rollups)
	{
		ScRollup   *r = lfirst(lc);

		appendStringInfo(&text, "\n%u %u %u %u %c %d %d %d %d %s", r->relid, r->query, r->data,
						 r->owner, get_rel_persistence(r->data), r->owners_differ, r->complete,
						 r->paused, r->halted, r->fingerprint);
	}
	return text.data;
}

/* ---------------------------------------------------------------------
 * Loading
 * --------------------------------------------------------------------- */

static bool
belongs(const ScUnit *unit, const ScRollup *rollup)
{
	return OidIsValid(unit->rollup) ? rollup->relid == unit->rollup :
		!sc_stats_is_apart(rollup->relid);
}

static List *
load_rollups(const ScUnit *unit, MemoryContext cx)
{
	List	   *all = sc_catalog_rollups(unit->stream, cx);
	List	   *mine = NIL;
	ListCell   *lc;

	foreach(lc, all)
		if (belongs(unit, lfirst(lc)))
			mine = lappend(mine, lfirst(lc));
	return mine;
}

typedef struct Halt
{
	Oid			rollup;
	char	   *reason;
	char	   *hint;
} Halt;

static Halt *
make_halt(const ScRollup *rollup, const char *reason, const char *hint)
{
	Halt	   *halt = palloc(sizeof(Halt));

	halt->rollup = rollup->relid;
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
static Halt *
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
		return make_halt(rollup, "its data table is unlogged: a crash empties it, and leaves the offsets",
						 "Run ALTER TABLE ... SET LOGGED, then streamcount.resume(); after a crash drop and create the rollup.");
	if (rollup->owners_differ)
		return make_halt(rollup, "its view, query view and data table have different owners",
						 "Give all three to one role by ALTER ... OWNER TO, then run streamcount.resume().");
	edata = sc_guard_run(take_apart, &parts, says_why);
	if (edata && edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
	{
		served->waits_for = rollup;
		return NULL;
	}
	if (edata)
		return make_halt(rollup, edata->message, edata->hint);
	if (strcmp(sc_stream_fingerprint(served->stream, parts.columns), rollup->fingerprint) != 0)
		return make_halt(rollup, "stream_changed: options or columns that the rollup reads were altered",
						 "Run streamcount.resume() to go on by the new definition, or drop and create the rollup to count anew.");
	served->tasks = lappend(served->tasks, make_task(rollup, parts.columns, parts.plan));
	return NULL;
}

static void
write_halts(List *halts)
{
	ListCell   *lc;

	foreach(lc, halts)
	{
		Halt	   *halt = lfirst(lc);

		sc_ledger_halt(halt->rollup, -1, halt->reason, halt->hint);
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
	served->rollups = load_rollups(&served->unit, served->cx);
	served->signature = sign(served->stream, served->rollups);
	SetConfigOption("lock_timeout", LOCK_WAIT, PGC_SUSET, PGC_S_OVERRIDE);
	foreach(lc, served->rollups)
	{
		Halt	   *halt = consider(served, lfirst(lc));

		if (halt)
			halts = lappend(halts, halt);
		if (served->waits_for)
			break;
	}
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	if (served->waits_for == NULL)
		make_way(served);
	MemoryContextSwitchTo(old);
	return halts;
}

static bool
exists(const ScUnit *unit)
{
	return OidIsValid(get_extension_oid("streamcount", true)) &&
		sc_version_mismatch() == NULL &&
		sc_stream_is_stream(unit->stream);
}

static MemoryContext caller_cx = NULL;

static void
start_reading(void)
{
	caller_cx = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
end_reading(void)
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
	start_reading();
	if (!exists(unit))
	{
		end_reading();
		return NULL;
	}
	if (!ConditionalLockRelationOid(unit->stream, AccessShareLock))
		sc_stats_worker_state(SC_STATE_BLOCKED, "somebody else holds a lock on its stream");
	halts = read_definitions(served);
	end_reading();
	if (served->rollups == NIL)
		return NULL;
	if (halts != NIL)
	{
		write_halts(halts);
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

/* Somebody else moved an offset (skip_to), or halted or resumed a partition. */
static bool
offsets_moved(const ScServed *served, List *rollups)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		foreach(lc2, rollups)
		{
			ScRollup   *now = lfirst(lc2);

			if (now->relid != task->rollup->relid)
				continue;
			for (int i = 0; i < now->nprogress; i++)
			{
				ScPart	   *part = sc_task_part(task, now->progress[i].partition);

				if (part == NULL || part->next != now->progress[i].next_offset ||
					part->active == now->progress[i].halted)
					return true;
			}
		}
	}
	return false;
}

/*
 * A restore makes the unique index last; where a rollup had it and has it no
 * more, somebody has dropped it, and does not know what for it was.
 */
static List *
halt_dismantled(const ScServed *served, List *rollups)
{
	List	   *halts = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, served->tasks)
	{
		foreach(lc2, rollups)
		{
			ScRollup   *now = lfirst(lc2);

			if (now->relid == ((ScTask *) lfirst(lc))->rollup->relid && !now->complete)
				halts = lappend(halts, make_halt(now, "its data table has lost its unique constraint on the group keys, or the extension's tables their rows of it",
												 "Run ALTER TABLE ... ADD UNIQUE NULLS NOT DISTINCT (keys), then streamcount.resume()."));
		}
	}
	return halts;
}

bool
sc_unit_changed(const ScServed *served, bool *locked)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "streamcount recheck",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	bool		changed = true;
	List	   *halts = NIL;

	start_reading();
	old = MemoryContextSwitchTo(scratch);
	/* A change may be under way, or committed this very moment: look again. */
	*locked = !ConditionalLockRelationOid(served->unit.stream, AccessShareLock);
	if (*locked)
		changed = false;
	else if (exists(&served->unit))
	{
		ScStream   *stream = sc_stream_load(served->unit.stream, true, scratch);
		List	   *rollups = load_rollups(&served->unit, scratch);

		changed = strcmp(sign(stream, rollups), served->signature) != 0 ||
			offsets_moved(served, rollups);
		halts = halt_dismantled(served, rollups);
	}
	MemoryContextSwitchTo(old);
	end_reading();
	write_halts(halts);
	MemoryContextDelete(scratch);
	return changed;
}

/* ---------------------------------------------------------------------
 * Positions
 * --------------------------------------------------------------------- */

ScPosition *
sc_unit_position(const ScServed *served, int32 partition)
{
	for (int i = 0; i < served->npositions; i++)
	{
		/* Almost always they are numbered without holes. */
		int			guess = (partition + i) % served->npositions;

		if (served->positions[guess].partition == partition)
			return &served->positions[guess];
	}
	return NULL;
}

static void
make_parts(ScTask *task, MemoryContext cx)
{
	ScRollup   *rollup = task->rollup;

	task->nparts = rollup->nprogress;
	task->parts = MemoryContextAllocZero(cx, sizeof(ScPart) * Max(task->nparts, 1));
	for (int i = 0; i < task->nparts; i++)
	{
		ScPart	   *part = &task->parts[i];
		ScProgress *progress = &rollup->progress[i];

		part->partition = progress->partition;
		part->active = !progress->halted;
		part->next = part->new_next = progress->next_offset;
		part->rejected_in_row = part->new_rejected_in_row = progress->rejected_in_row;
		part->seen = progress->seen;
		part->other_at = -1;
		part->last_ms = -1;
	}
}

/* How far the task is behind the foremost, in messages. */
static int64
behind(const ScTask *task, List *tasks)
{
	int64		sum = 0;

	for (int i = 0; i < task->nparts; i++)
	{
		int64		most = task->parts[i].next;
		ListCell   *lc;

		foreach(lc, tasks)
		{
			ScPart	   *other = sc_task_part(lfirst(lc), task->parts[i].partition);

			if (other && other->active)
				most = Max(most, other->next);
		}
		if (task->parts[i].active)
			sum += most - task->parts[i].next;
	}
	return sum;
}

/* Those that would hold up the others get a worker of their own. */
static void
send_apart(ScServed *served)
{
	List	   *stay = NIL;
	int64		most = TimestampDifferenceExceeds(sc_stats_worker_joined_at(),
												  GetCurrentTimestamp(), JOINED_MS) ?
		APART_LAG : APART_LAG_JOINED;
	ListCell   *lc;

	if (OidIsValid(served->unit.rollup) || list_length(served->tasks) < 2)
		return;
	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (behind(task, served->tasks) <= most ||
			!sc_stats_set_apart(served->unit.stream, task->rollup->relid, "catching up"))
			stay = lappend(stay, task);
	}
	/* The way was made for all of them. */
	if (list_length(stay) < list_length(served->tasks))
		sc_unit_start_anew(DEBUG1, "a rollup is served apart until it has caught up");
}

static void
set_positions(ScServed *served, int npartitions)
{
	served->positions = MemoryContextAllocZero(served->cx, sizeof(ScPosition) * Max(npartitions, 1));
	served->npositions = 0;
	for (int p = 0; p < npartitions; p++)
	{
		ScPosition *position = &served->positions[served->npositions];
		int64		least = PG_INT64_MAX;
		ListCell   *lc;

		foreach(lc, served->tasks)
		{
			ScPart	   *part = sc_task_part(lfirst(lc), p);

			if (part && part->active)
				least = Min(least, part->next);
		}
		if (least == PG_INT64_MAX)
			continue;
		position->partition = p;
		position->next = least;
		position->end = position->high_watermark = position->low_watermark = -1;
		position->seen.offset = position->open_end = -1;
		position->moved_at = sc_clock_now();
		served->npositions++;
	}
}

void
sc_unit_resolve(ScServed *served, ScSource *source, int npartitions)
{
	MemoryContext old = MemoryContextSwitchTo(served->cx);
	ListCell   *lc;

	sc_starts_resolve(served, source, npartitions);
	foreach(lc, served->tasks)
		make_parts(lfirst(lc), served->cx);
	send_apart(served);
	set_positions(served, npartitions);
	MemoryContextSwitchTo(old);
}

void
sc_unit_start_anew(int elevel, const char *reason)
{
	ereport(elevel, (errmsg_internal("streamcount worker starts anew: %s", reason)));
	sc_stats_worker_will_restart(reason);
	proc_exit(0);
}
