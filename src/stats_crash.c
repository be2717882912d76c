/*-------------------------------------------------------------------------
 *
 * stats_crash.c
 *		Whose workers have crashed: what a crash must not make forgotten.
 *
 * A process that crashes takes all others with it, and the shared memory.
 * The postmaster has a last look at that: of all workers that did not take
 * their leave, those that were told to quit by it are innocent.  A signal
 * handler of each worker says so, and another one which signal it was that
 * the worker could not go on after.  Neither word is said by a worker that
 * was killed by signal 9, be it for its memory, or by a fault in a thread of
 * librdkafka, where all signals are blocked: it counts in full where it has
 * achieved nothing since its start, and the next one neither.  abort()
 * unblocks its signal first, in any thread.
 *
 * What was seen outlives the shared memory in the postmaster's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "stats_private.h"

/* What the handlers write for a worker that was told to quit */
#define FATE_TOLD (-1)

static const int fatal_signals[] = {SIGABRT, SIGBUS, SIGILL, SIGSEGV};

static int	max_deaths;
static ScDeaths *deaths = NULL; /* shared; under unit_lock */

/* The postmaster's, which outlives the shared memory */
static ScDeaths *remembered = NULL;
static int	remembered_used = 0;

/* Of this worker */
static volatile sig_atomic_t nobodys_fate;
static volatile sig_atomic_t *my_fate = &nobodys_fate;
static struct sigaction previous[lengthof(fatal_signals)];

/* ---------------------------------------------------------------------
 * In a worker
 * --------------------------------------------------------------------- */

/* As any other process does then, but for the word. */
static void
told_to_quit(SIGNAL_ARGS)
{
	*my_fate = FATE_TOLD;
	_exit(2);
}

/*
 * What has happened happens again as soon as this returns, to whoever would
 * have seen it first; but a signal that was sent does not come by itself.
 */
static void
crashed(int signo, siginfo_t *info, void *context)
{
	/* With send_abort_for_crash, that is how the postmaster tells us to quit. */
	if (info->si_code == SI_USER && info->si_pid == PostmasterPid)
		*my_fate = FATE_TOLD;
	else
		*my_fate = signo;
	for (int i = 0; i < (int) lengthof(fatal_signals); i++)
		if (fatal_signals[i] == signo)
			sigaction(signo, &previous[i], NULL);
	if (info->si_code <= 0)
		raise(signo);
}

void
sc_stats_crash_watch(ScSlot *slot)
{
	struct sigaction action;

	my_fate = &slot->fate;
	*my_fate = 0;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = crashed;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigemptyset(&action.sa_mask);
	for (int i = 0; i < (int) lengthof(fatal_signals); i++)
		sigaction(fatal_signals[i], &action, &previous[i]);
	pqsignal(SIGQUIT, told_to_quit);
}

/* Its place is given back: another worker's fate may be written there. */
void
sc_stats_crash_unwatch(void)
{
	my_fate = &nobodys_fate;
}

/* ---------------------------------------------------------------------
 * With unit_lock held, or nobody else alive
 * --------------------------------------------------------------------- */

ScDeaths *
sc_stats_deaths_locked(const ScUnit *unit)
{
	for (int i = 0; i < sc_stats_shared->ndeaths; i++)
	{
		if (deaths[i].n > 0 && deaths[i].unit.db == unit->db &&
			deaths[i].unit.stream == unit->stream && deaths[i].unit.rollup == unit->rollup)
			return &deaths[i];
	}
	return NULL;
}

/* The unit's worker has achieved something: the one before it may be at no fault. */
void
sc_stats_doubt_killed_locked(const ScUnit *unit)
{
	ScDeaths   *d = sc_stats_deaths_locked(unit);

	if (d != NULL && d->n > 0)
		d->deaths[d->n - 1].in_doubt |= d->deaths[d->n - 1].signal == 0;
}

/* stream = InvalidOid: of the whole database */
void
sc_stats_forgive_locked(Oid db, Oid stream)
{
	for (int i = 0; i < sc_stats_shared->ndeaths; i++)
	{
		if (deaths[i].unit.db == db && (!OidIsValid(stream) || deaths[i].unit.stream == stream))
			deaths[i].n = 0;
	}
}

/* ---------------------------------------------------------------------
 * In the postmaster, between two lives of the shared memory
 * --------------------------------------------------------------------- */

/* A free place, or that of the unit whose last crash is longest ago */
static ScDeaths *
make_deaths(const ScUnit *unit)
{
	ScDeaths   *chosen = &deaths[0];

	for (int i = 1; i < max_deaths && chosen->n > 0; i++)
	{
		if (deaths[i].n == 0 ||
			deaths[i].deaths[deaths[i].n - 1].at < chosen->deaths[chosen->n - 1].at)
			chosen = &deaths[i];
	}
	sc_stats_shared->ndeaths = Max(sc_stats_shared->ndeaths, (int) (chosen - deaths) + 1);
	chosen->unit = *unit;
	chosen->stopped = false;
	chosen->n = 0;
	return chosen;
}

static void
count_death(const ScSlot *slot, TimestampTz now)
{
	ScDeaths   *d = sc_stats_deaths_locked(&slot->info.unit);

	if (d == NULL)
		d = make_deaths(&slot->info.unit);
	if (d->n == SC_MAX_DEATHS)
		memmove(&d->deaths[0], &d->deaths[1], sizeof(ScDeath) * --d->n);
	d->deaths[d->n].at = now;
	d->deaths[d->n].in_doubt = slot->fate == 0 && slot->well;
	d->deaths[d->n++].signal = slot->fate;
}

/* And not in a single-user server, which is nobody's successor. */
static bool
in_postmaster(void)
{
	return MyProcPid == PostmasterPid;
}

/* Whoever has crashed may have written anything anywhere before. */
static void
believe_nothing(void)
{
	sc_stats_shared->ndeaths = Max(0, Min(sc_stats_shared->ndeaths, max_deaths));
	for (int i = 0; i < max_deaths; i++)
		if (deaths[i].n < 0 || deaths[i].n > SC_MAX_DEATHS)
			deaths[i].n = 0;
}

static void
look_back(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!in_postmaster())
		return;
	believe_nothing();
	for (int i = 0; i < Min(sc_stats_shared->nslots, max_deaths); i++)
	{
		const ScSlot *slot = &sc_stats_shared->slots[i];

		if (slot->life == SC_LIFE_RUNNING && slot->info.pid != 0 && slot->fate != FATE_TOLD)
			count_death(slot, now);
	}
	memcpy(remembered, deaths, sizeof(ScDeaths) * max_deaths);
	remembered_used = sc_stats_shared->ndeaths;
	/* This may be the postmaster's own end, too. */
	if (code != 0 && remembered_used > 0)
		sc_stats_crash_write(remembered, remembered_used);
}

Size
sc_stats_deaths_size(int units)
{
	return mul_size(units, sizeof(ScDeaths));
}

void
sc_stats_deaths_startup(int units)
{
	bool		found;

	max_deaths = units;
	deaths = ShmemInitStruct("streamcount crashes", sc_stats_deaths_size(units), &found);
	if (remembered == NULL)
	{
		remembered = MemoryContextAllocZero(TopMemoryContext, sc_stats_deaths_size(units));
		if (in_postmaster())
			remembered_used = sc_stats_crash_read(remembered, units);
	}
	/* From now on what is told meanwhile counts, too: it may be forgiven. */
	if (in_postmaster())
		sc_stats_crash_unlink();
	if (!found)
	{
		memcpy(deaths, remembered, sc_stats_deaths_size(units));
		sc_stats_shared->ndeaths = remembered_used;
	}
	if (in_postmaster())
		on_shmem_exit(look_back, (Datum) 0);
}

/* ---------------------------------------------------------------------
 * Anybody
 * --------------------------------------------------------------------- */

/* The launcher starts no worker for it until it is forgiven. */
void
sc_stats_place_stop(int index)
{
	ScUnitInfo *info = &sc_stats_shared->slots[index].info;
	ScDeaths   *d;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	d = sc_stats_deaths_locked(&info->unit);
	if (d != NULL)
	{
		d->stopped = true;
		info->failures = d->n;
	}
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* May a rollup that is served apart join the others of its stream? */
bool
sc_stats_may_join(Oid stream)
{
	ScUnit		unit = {MyDatabaseId, stream, InvalidOid};
	ScDeaths   *d;
	bool		stopped;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	d = sc_stats_deaths_locked(&unit);
	stopped = d != NULL && d->stopped;
	LWLockRelease(sc_stats_shared->unit_lock);
	return !stopped;
}
