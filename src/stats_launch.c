/*-------------------------------------------------------------------------
 *
 * stats_launch.c
 *		The launcher's side of the shared memory, and its probes'.
 *
 * Only the launcher gives out places and takes them back, so between two of
 * its calls a place changes in three ways alone: a probe or a command wants
 * it or not, its worker begins, its worker ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "stats_private.h"

static ScProbe *my_probe = NULL;

/* A pid in a place is alive: its owner takes it out before it ends. */
void
sc_stats_end_worker_locked(ScSlot *slot)
{
	if (slot->info.pid != 0 && slot->end != SC_END_ASKED)
	{
		slot->end = SC_END_ASKED;
		kill(slot->info.pid, SIGTERM);
	}
}

/* ---------------------------------------------------------------------
 * The launcher
 * --------------------------------------------------------------------- */

static void
launcher_detach(int code, Datum arg)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	sc_stats_shared->launcher = NULL;
	LWLockRelease(sc_stats_shared->unit_lock);
}

/*
 * Workers outlive their launcher, and the next one finds them here.  What
 * the last one had only asked the postmaster for gets another ticket later,
 * so it leaves by itself when it comes.
 */
void
sc_stats_launcher_attach(void)
{
	ScShared   *shared = sc_stats_shared;

	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	shared->launcher = &MyProc->procLatch;
	for (int i = 0; i < SC_PROBES; i++)
	{
		if (shared->probes[i].pid != 0)
			kill(shared->probes[i].pid, SIGTERM);
		memset(&shared->probes[i], 0, sizeof(ScProbe));
	}
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].life == SC_LIFE_STARTING)
			shared->slots[i].life = SC_LIFE_WAITING;
	}
	LWLockRelease(shared->unit_lock);
	before_shmem_exit(launcher_detach, (Datum) 0);
}

List *
sc_stats_launcher_told(bool *databases, bool *all)
{
	ScShared   *shared = sc_stats_shared;
	List	   *changed = NIL;

	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	*databases = shared->databases_changed;
	*all = shared->nchanged > SC_MAX_CHANGED;
	for (int i = 0; !*all && i < shared->nchanged; i++)
		changed = lappend_oid(changed, shared->changed[i]);
	shared->databases_changed = false;
	shared->nchanged = 0;
	LWLockRelease(shared->unit_lock);
	return changed;
}

void
sc_stats_unwant(Oid db)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	for (int i = 0; i < sc_stats_shared->nslots; i++)
	{
		if (sc_stats_shared->slots[i].info.unit.db == db)
			sc_stats_shared->slots[i].wanted = false;
	}
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* ---------------------------------------------------------------------
 * Units, by place
 * --------------------------------------------------------------------- */

int
sc_stats_places(void)
{
	return sc_stats_shared->nslots;
}

/* false: a free place */
bool
sc_stats_place(int index, ScPlace *place)
{
	const ScSlot *slot = &sc_stats_shared->slots[index];
	const ScDeaths *deaths;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	place->life = slot->life;
	place->end = slot->end;
	place->wanted = slot->wanted;
	place->info = slot->info;
	place->withdrawn = sc_stats_withdrawn_locked(slot->info.unit.db);
	deaths = sc_stats_deaths_locked(&slot->info.unit);
	place->deaths = deaths ? *deaths : (ScDeaths) {.n = 0};
	LWLockRelease(sc_stats_shared->unit_lock);
	return place->life != SC_LIFE_FREE;
}

uint64
sc_stats_place_starting(int index)
{
	ScSlot	   *slot = &sc_stats_shared->slots[index];
	ScDeaths   *deaths;
	uint64		ticket;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if ((deaths = sc_stats_deaths_locked(&slot->info.unit)) != NULL)
		deaths->stopped = false;
	ticket = slot->ticket = ++sc_stats_shared->last_ticket;
	slot->life = SC_LIFE_STARTING;
	LWLockRelease(sc_stats_shared->unit_lock);
	return ticket;
}

void
sc_stats_place_waiting(int index, int failures)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	sc_stats_shared->slots[index].life = SC_LIFE_WAITING;
	sc_stats_shared->slots[index].info.failures = failures;
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* Why there is no worker; true when that is news. */
bool
sc_stats_place_reason(int index, const char *reason)
{
	ScSlot	   *slot = &sc_stats_shared->slots[index];
	bool		news;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	news = !sc_stats_is_reason(slot->info.reason, reason);
	if (news)
		sc_stats_down_locked(slot, reason);
	LWLockRelease(sc_stats_shared->unit_lock);
	return news;
}

void
sc_stats_place_terminate(int index)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	sc_stats_end_worker_locked(&sc_stats_shared->slots[index]);
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* Unless somebody has come to want it since the launcher looked. */
void
sc_stats_place_free(int index)
{
	ScSlot	   *slot = &sc_stats_shared->slots[index];

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	slot->life = slot->wanted ? SC_LIFE_WAITING : SC_LIFE_FREE;
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* ---------------------------------------------------------------------
 * Probes
 * --------------------------------------------------------------------- */

uint64
sc_stats_probe_starting(int index, Oid db)
{
	ScProbe    *probe = &sc_stats_shared->probes[index];
	uint64		ticket;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	memset(probe, 0, sizeof(*probe));
	probe->db = db;
	ticket = probe->ticket = ++sc_stats_shared->last_ticket;
	LWLockRelease(sc_stats_shared->unit_lock);
	return ticket;
}

/* The probe has ended: what it said, with SC_REASON_LEN bytes for why. */
ScProbeResult
sc_stats_probe_take(int index, char *reason)
{
	ScProbe    *probe = &sc_stats_shared->probes[index];
	ScProbeResult result;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	result = probe->result;
	sc_stats_put_reason(reason, probe->reason);
	memset(probe, 0, sizeof(*probe));
	LWLockRelease(sc_stats_shared->unit_lock);
	return result;
}

void
sc_stats_probe_terminate(int index)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (sc_stats_shared->probes[index].pid != 0)
		kill(sc_stats_shared->probes[index].pid, SIGTERM);
	LWLockRelease(sc_stats_shared->unit_lock);
}

static void
probe_detach(int code, Datum arg)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (my_probe->pid == MyProcPid)
		my_probe->pid = 0;
	sc_stats_wake_launcher_locked();
	LWLockRelease(sc_stats_shared->unit_lock);
}

/* Which database to look at; InvalidOid: none any more. */
Oid
sc_stats_probe_attach(int index)
{
	ScProbe    *probe = &sc_stats_shared->probes[index];
	Oid			db = InvalidOid;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (probe->ticket == sc_stats_my_ticket())
	{
		if (sc_stats_withdrawn_locked(probe->db))
			probe->result = SC_PROBE_ASKED;
		else
		{
			db = probe->db;
			probe->pid = MyProcPid;
			my_probe = probe;
		}
	}
	LWLockRelease(sc_stats_shared->unit_lock);
	if (OidIsValid(db))
		before_shmem_exit(probe_detach, (Datum) 0);
	return db;
}

void
sc_stats_probe_result(ScProbeResult result, const char *reason)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (my_probe->pid == MyProcPid)
	{
		my_probe->result = result;
		sc_stats_put_reason(my_probe->reason, reason);
	}
	LWLockRelease(sc_stats_shared->unit_lock);
}

/*
 * A rollup that is served apart wants its own unit, all others their
 * stream's.
 */
int
sc_stats_publish(const ScUnit *units, int n)
{
	ScShared   *shared = sc_stats_shared;
	int			left_over = 0;

	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].info.unit.db == MyDatabaseId)
			shared->slots[i].wanted = false;
	}
	for (int i = 0; i < n; i++)
	{
		ScSlot	   *slot = sc_stats_find_locked(MyDatabaseId, units[i].stream, units[i].rollup);

		if (slot == NULL)
			slot = sc_stats_apart_again_locked(units[i].stream, units[i].rollup);
		if (slot == NULL || !slot->apart)
			slot = sc_stats_find_or_make_locked(MyDatabaseId, units[i].stream, InvalidOid);
		if (slot != NULL)
			slot->wanted = true;
		else
			left_over++;
	}
	sc_stats_wake_launcher_locked();
	LWLockRelease(shared->unit_lock);
	return left_over;
}
