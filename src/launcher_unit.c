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
#include "utils/timestamp.h"

#include "guc.h"
#include "launcher_private.h"
#include "stats_launch.h"

/* Milliseconds */
#define BACKOFF_FIRST 100
#define BACKOFF_MOST 30000
#define LIVED_WELL 60000
#define NO_SLOT_INTERVAL 1000
/* So many crashes of a unit's workers cost no time. */
#define CRASHES_FORGIVEN 2
#define CRASH_BACKOFF_FIRST 1000
#define CRASH_BACKOFF_MOST 60000

typedef struct Start
{
	BackgroundWorkerHandle *handle; /* NULL: none, or another launcher's */
	int64		started;
	int64		not_before;
	bool		held;			/* that is so because of crashes */
} Start;

static Start *starts;

void
sc_launcher_units_begin(void)
{
	starts = MemoryContextAllocZero(TopMemoryContext, sizeof(Start) * sc_stats_places());
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
 * After crashes
 *
 * A worker that crashes takes all sessions of the server with it.  Where
 * that happens again and again, the server gets time to do something else;
 * then the unit is served no more.  Others have no part in it.
 * --------------------------------------------------------------------- */

/* What of them came within the window that ended at that time */
typedef struct Crashes
{
	int			deaths;
	int			counted;
} Crashes;

static Crashes
crashes_until(const ScDeaths *d, TimestampTz end)
{
	Crashes		crashes = {0};
	int			in_doubt = 0;

	for (int i = 0; i < d->n; i++)
	{
		if (TimestampDifferenceExceeds(d->deaths[i].at, end, sc_crash_window * 1000))
			continue;
		crashes.deaths++;
		if (d->deaths[i].in_doubt)
			in_doubt++;
		else
			crashes.counted++;
	}
	crashes.counted += in_doubt / SC_DEATHS_IN_DOUBT;
	return crashes;
}

/* The last one may be long ago. */
static Crashes
last_crashes(const ScDeaths *d)
{
	return crashes_until(d, d->deaths[d->n - 1].at);
}

static bool
is_stopped(const ScPlace *place)
{
	const ScDeaths *d = &place->deaths;

	return d->n > 0 && sc_crash_limit > 0 &&
		(d->stopped || last_crashes(d).counted >= sc_crash_limit);
}

static void
stop(int index, const ScPlace *place, const char *database)
{
	const ScDeaths *d = &place->deaths;
	int			signal = d->deaths[d->n - 1].signal;

	sc_stats_place_stop(index);
	complain(index, place, database,
			 psprintf("its worker crashed %d times within %d seconds, the last time by %s",
					  last_crashes(d).deaths, sc_crash_window,
					  signal == 0 ? "being killed" : psprintf("signal %d: %s", signal, pg_strsignal(signal))),
			 "Look for the cause in the server's log, then run streamcount.resume().");
}

/* Milliseconds from now on; 0: not, or no longer */
static int64
held_back(const ScPlace *place)
{
	const ScDeaths *d = &place->deaths;
	TimestampTz now = GetCurrentTimestamp();
	int			crashes = crashes_until(d, now).counted;
	int64		delay;

	if (crashes <= CRASHES_FORGIVEN)
		return 0;
	delay = sc_launcher_backoff(crashes - CRASHES_FORGIVEN, CRASH_BACKOFF_FIRST, CRASH_BACKOFF_MOST);
	return delay - TimestampDifferenceMilliseconds(d->deaths[d->n - 1].at, now);
}

/* Its crashes may be forgiven before the time is over. */
static void
let_go(int index, const ScPlace *place)
{
	if (!starts[index].held || held_back(place) > 0)
		return;
	starts[index].held = false;
	starts[index].not_before = 0;
}

static void
hold_back(int index, const ScPlace *place, const char *database, int64 now, int64 held)
{
	starts[index].held = true;
	starts[index].not_before = now + held;
	complain(index, place, database,
			 psprintf("held back for a moment, since its worker crashed %d times",
					  crashes_until(&place->deaths, GetCurrentTimestamp()).deaths),
			 "It goes on by itself; the server's log has the crash.");
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
	int64		held;

	let_go(index, place);
	if (!sc_enabled)
		(void) sc_stats_place_reason(index, "streamcount.enabled is off");
	else if (place->withdrawn)
		(void) sc_stats_place_reason(index, "its database is about to be dropped, renamed, moved or copied");
	else if (database == NULL || now < starts[index].not_before)
		return false;
	else if (is_stopped(place))
		stop(index, place, database);
	else if ((held = held_back(place)) > 0)
		hold_back(index, place, database, now, held);
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
		{
			sc_stats_place_free(i);
			starts[i].held = false;
			starts[i].not_before = 0;
		}
		running += place.life != SC_LIFE_WAITING;
	}
	return running;
}

int64
sc_launcher_units_turn(int64 now)
{
	int			running = look_around(now);
	int64		next = SC_NEVER;
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
