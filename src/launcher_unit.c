/*-------------------------------------------------------------------------
 *
 * launcher_unit.c
 *		A worker for each unit, and for none a second one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "guc.h"
#include "launcher_private.h"
#include "stats_launch.h"

/* Milliseconds */
#define BACKOFF_FIRST 100
#define BACKOFF_MOST 30000
#define LIVED_WELL 60000
#define NO_SLOT_INTERVAL 1000
/* So many crashes of the server in a row cost no time. */
#define CRASHES_FORGIVEN 2
#define CRASH_BACKOFF_FIRST 1000
#define CRASH_BACKOFF_MOST 60000

typedef struct Start
{
	BackgroundWorkerHandle *handle; /* NULL: none, or another launcher's */
	int64		started;
	int64		not_before;
} Start;

static Start *starts;
static int64 held_back_until = 0;

/*
 * A worker that crashes takes all sessions of the server with it.  Where that
 * happens again and again, the server gets time to do something else.
 */
void
sc_launcher_units_begin(int64 now)
{
	int			crashes = sc_stats_take_crashes();
	int64		delay;

	starts = MemoryContextAllocZero(TopMemoryContext, sizeof(Start) * sc_stats_places());
	if (crashes <= CRASHES_FORGIVEN)
		return;
	delay = sc_launcher_backoff(crashes - CRASHES_FORGIVEN, CRASH_BACKOFF_FIRST, CRASH_BACKOFF_MOST);
	held_back_until = now + delay;
	ereport(WARNING,
			(errmsg("no worker is started for %d seconds", (int) (delay / 1000)),
			 errdetail("The server has crashed %d times in a row soon after a worker was started.", crashes),
			 errhint("Set streamcount.enabled to off to start none at all.")));
}

static void
complain(int index, const ScPlace *place, const char *database, const char *reason, const char *hint)
{
	if (sc_stats_place_reason(index, reason))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a worker for stream %u of database \"%s\": %s",
						place->info.unit.stream, database, reason),
				 errhint("%s", hint)));
}

/* ---------------------------------------------------------------------
 * After an end
 * --------------------------------------------------------------------- */

/* The postmaster still counts a worker that has only given back its unit. */
static bool
is_gone(Start *start)
{
	pid_t		pid;

	if (start->handle == NULL)
		return true;
	if (GetBackgroundWorkerPid(start->handle, &pid) != BGWH_STOPPED)
		return false;
	pfree(start->handle);
	start->handle = NULL;
	return true;
}

static void
plan_restart(int index, const ScPlace *place, int64 now)
{
	Start	   *start = &starts[index];
	int			failures = now - start->started < LIVED_WELL ? place->info.failures : 0;

	if (place->end == SC_END_FAILURE || place->life == SC_LIFE_STARTING)
		start->not_before = now + sc_launcher_backoff(++failures, BACKOFF_FIRST, BACKOFF_MOST);
	else
	{
		failures = 0;
		start->not_before = start->started + BACKOFF_FIRST;
	}
	sc_stats_place_waiting(index, failures);
}

/* ---------------------------------------------------------------------
 * A start
 * --------------------------------------------------------------------- */

static void
start_worker(int index, const ScPlace *place, const char *database, int64 now)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	if (OidIsValid(place->info.unit.rollup))
		snprintf(worker.bgw_name, BGW_MAXLEN, "streamcount worker for stream %u, rollup %u",
				 place->info.unit.stream, place->info.unit.rollup);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "streamcount worker for stream %u",
				 place->info.unit.stream);
	strlcpy(worker.bgw_type, "streamcount worker", BGW_MAXLEN);
	starts[index].started = now;
	starts[index].handle = sc_launcher_start(&worker, "streamcount_worker_main", index,
											 sc_stats_place_starting(index));
	if (starts[index].handle != NULL)
		return;
	sc_stats_place_waiting(index, place->info.failures);
	starts[index].not_before = now + NO_SLOT_INTERVAL;
	complain(index, place, database,
			 psprintf("all %d background workers of max_worker_processes are in use",
					  max_worker_processes),
			 "Increase max_worker_processes and restart the server.");
}

/* Starts a worker, or says why not; true when there is one more. */
static bool
consider_start(int index, const ScPlace *place, int running, int64 now)
{
	const char *database = sc_launcher_database_ready(place->info.unit.db, now);

	if (!sc_enabled)
		(void) sc_stats_place_reason(index, "streamcount.enabled is off");
	else if (place->withdrawn)
		(void) sc_stats_place_reason(index, "its database is about to be dropped, renamed, moved or copied");
	else if (now < held_back_until)
		(void) sc_stats_place_reason(index, "held back, since the server crashed soon after workers were started");
	else if (database == NULL || now < starts[index].not_before)
		return false;
	else if (running >= sc_max_workers)
		complain(index, place, database,
				 psprintf("all %d workers of streamcount.max_workers are in use", sc_max_workers),
				 "Increase streamcount.max_workers and restart the server.");
	else
	{
		start_worker(index, place, database, now);
		return starts[index].handle != NULL;
	}
	return false;
}

/* ---------------------------------------------------------------------
 * A turn
 * --------------------------------------------------------------------- */

/* What became of the places since the last turn: how many have a worker. */
static int
look_around(int64 now)
{
	int			running = 0;
	ScPlace		place;

	for (int i = 0; i < sc_stats_places(); i++)
	{
		bool		gone = is_gone(&starts[i]);

		if (!sc_stats_place(i, &place))
			continue;
		if (gone && (place.life == SC_LIFE_ENDED || place.life == SC_LIFE_STARTING))
		{
			plan_restart(i, &place, now);
			place.life = SC_LIFE_WAITING;
		}
		if (place.life == SC_LIFE_RUNNING && (!place.wanted || !sc_enabled))
			sc_stats_place_terminate(i);
		if (place.life == SC_LIFE_WAITING && !place.wanted)
			sc_stats_place_free(i);
		running += place.life != SC_LIFE_WAITING;
	}
	return running;
}

int64
sc_launcher_units_turn(int64 now)
{
	int			running = look_around(now);
	int64		next = now < held_back_until ? held_back_until : SC_NEVER;
	ScPlace		place;

	for (int i = 0; i < sc_stats_places(); i++)
	{
		if (!sc_stats_place(i, &place) || place.life != SC_LIFE_WAITING)
			continue;
		running += consider_start(i, &place, running, now);
		if (starts[i].handle == NULL && starts[i].not_before > now)
			next = Min(next, starts[i].not_before);
	}
	return next;
}
