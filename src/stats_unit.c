/*-------------------------------------------------------------------------
 *
 * stats_unit.c
 *		Units and their workers, as workers and other backends see them.
 *
 * A worker's place is its own from attaching until its exit, so it reads the
 * two numbers that others raise, told and end_request, without a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "stats_private.h"

static ScSlot *mine = NULL;

/* ---------------------------------------------------------------------
 * The worker's own unit
 * --------------------------------------------------------------------- */

/*
 * The reason that the worker gave last stands: it says why there is none.
 */
static void
detach(int code, Datum arg)
{
	ScShared   *shared = sc_stats_shared;

	sc_stats_live_forget_of(MyProcPid, InvalidOid);
	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	mine->life = SC_LIFE_ENDED;
	mine->latch = NULL;
	mine->info.pid = 0;
	sc_stats_crash_unwatch();
	if (mine->end == SC_END_ASKED)
		sc_stats_down_locked(mine, "its worker was asked to end");
	else if (mine->info.state != SC_STATE_DOWN)
		sc_stats_down_locked(mine, "its worker ended without giving a reason");
	sc_stats_wake_launcher_locked();
	LWLockRelease(shared->unit_lock);
	ConditionVariableBroadcast(&shared->moved);
}

/*
 * To be called before the connection to the database: callbacks run last in,
 * first out, so the unit is given back when its transaction has been undone.
 * Does not return where the launcher no longer wants the worker.
 */
void
sc_stats_worker_attach(int index, ScUnit *unit)
{
	ScShared   *shared = sc_stats_shared;
	ScSlot	   *slot = &shared->slots[index];
	bool		welcome;

	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	if (slot->life != SC_LIFE_STARTING || slot->ticket != sc_stats_my_ticket())
	{
		LWLockRelease(shared->unit_lock);
		proc_exit(0);
	}
	welcome = slot->wanted && !sc_stats_withdrawn_locked(slot->info.unit.db);
	if (welcome)
	{
		slot->life = SC_LIFE_RUNNING;
		slot->end = SC_END_FAILURE;
		slot->latch = &MyProc->procLatch;
		slot->well = false;
		sc_stats_crash_watch(slot);
		slot->info.pid = MyProcPid;
		slot->info.messages = slot->info.bytes = 0;
		slot->info.flushes = slot->info.rows_written = 0;
		slot->info.flushed_at = 0;
		slot->info.started_at = slot->info.since = GetCurrentTimestamp();
		slot->info.state = SC_STATE_CONNECTING;
		slot->info.reason[0] = '\0';
		if (slot->trouble != SC_STATE_DOWN)
		{
			slot->info.since = slot->trouble_since;
			slot->info.state = slot->trouble;
			sc_stats_put_reason(slot->info.reason, slot->trouble_reason);
		}
		pg_atomic_write_u32(&slot->told, 0);
		*unit = slot->info.unit;
		mine = slot;
	}
	else
	{
		slot->life = SC_LIFE_ENDED;
		slot->end = SC_END_ASKED;
	}
	sc_stats_wake_launcher_locked();
	LWLockRelease(shared->unit_lock);
	if (!welcome)
		proc_exit(0);
	before_shmem_exit(detach, (Datum) 0);
}

bool
sc_stats_worker_told(void)
{
	return mine != NULL && pg_atomic_read_u32(&mine->told) != 0 &&
		pg_atomic_exchange_u32(&mine->told, 0) != 0;
}

/* What a message of its batch crashes never comes to this. */
static void
is_well_locked(void)
{
	if (!mine->well)
		sc_stats_doubt_killed_locked(&mine->info.unit);
	mine->well = true;
}

static void
note_trouble_locked(ScState state, const char *reason)
{
	/* Somebody else's doing, beside which the brokers' may go on */
	if (state == SC_STATE_BLOCKED || state == SC_STATE_RESTORING)
		return;
	if (!sc_state_needs_look(state))
	{
		mine->trouble = SC_STATE_DOWN;
		return;
	}
	if (mine->trouble != state)
		mine->trouble_since = GetCurrentTimestamp();
	mine->trouble = state;
	sc_stats_put_reason(mine->trouble_reason, reason);
}

void
sc_stats_worker_state(ScState state, const char *reason)
{
	if (mine == NULL)
		return;
	if (reason == NULL)
		reason = "";
	if (mine->info.state == state && sc_stats_is_reason(mine->info.reason, reason))
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (mine->info.state != state)
		mine->info.since = GetCurrentTimestamp();
	mine->info.state = state;
	sc_stats_put_reason(mine->info.reason, reason);
	note_trouble_locked(state, reason);
	if (state == SC_STATE_IDLE)
		is_well_locked();
	LWLockRelease(sc_stats_shared->unit_lock);
}

bool
sc_stats_worker_failed(int sqlstate, const char *reason)
{
	bool		news;

	if (mine == NULL)
		return true;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	news = mine->info.failures == 0 || mine->last_error != sqlstate;
	mine->last_error = sqlstate;
	sc_stats_down_locked(mine, reason);
	LWLockRelease(sc_stats_shared->unit_lock);
	return news;
}

ScState
sc_stats_worker_trouble(void)
{
	return mine == NULL ? SC_STATE_DOWN : mine->trouble;
}

void
sc_stats_worker_flushed(int64 messages, int64 bytes, int64 rows)
{
	if (mine == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	mine->info.messages += messages;
	mine->info.bytes += bytes;
	mine->info.rows_written += rows;
	mine->info.flushes++;
	is_well_locked();
	mine->info.flushed_at = GetCurrentTimestamp();
	LWLockRelease(sc_stats_shared->unit_lock);
}

void
sc_stats_worker_will_restart(const char *reason)
{
	if (mine == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (mine->end == SC_END_FAILURE)
		mine->end = SC_END_RESTART;
	sc_stats_down_locked(mine, reason);
	LWLockRelease(sc_stats_shared->unit_lock);
}

void
sc_stats_worker_set_careful(int64 messages)
{
	if (mine == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	mine->careful = messages;
	LWLockRelease(sc_stats_shared->unit_lock);
}

int64
sc_stats_worker_careful(void)
{
	return mine == NULL ? 0 : mine->careful;
}

int
sc_stats_worker_stalls(ScStall *stalls)
{
	int			n = mine == NULL ? 0 : mine->nstalls;

	for (int i = 0; i < n; i++)
		stalls[i] = mine->stalls[i];
	return n;
}

void
sc_stats_worker_set_stalls(int n, const ScStall *stalls)
{
	if (mine == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
		mine->stalls[i] = stalls[i];
	mine->nstalls = n;
	LWLockRelease(sc_stats_shared->unit_lock);
}

/*
 * What was committed after the worker's last look at the catalog may be
 * something to serve: then it is started again.
 */
void
sc_stats_worker_finished(void)
{
	if (mine == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (pg_atomic_read_u32(&mine->told) != 0)
		mine->end = SC_END_RESTART;
	else
	{
		mine->end = SC_END_FINISHED;
		mine->wanted = false;
		mine->apart = false;
	}
	sc_stats_down_locked(mine, "nothing is left for it to serve");
	LWLockRelease(sc_stats_shared->unit_lock);
}

uint64
sc_stats_end_request(void)
{
	return mine == NULL ? 0 : pg_atomic_read_u64(&mine->end_request);
}

bool
sc_stats_is_mine(const ScSlot *slot)
{
	return slot == mine;
}

TimestampTz
sc_stats_worker_joined_at(void)
{
	return mine == NULL ? 0 : mine->joined_at;
}

/* ---------------------------------------------------------------------
 * Anybody
 * --------------------------------------------------------------------- */

List *
sc_stats_unit_list(void)
{
	List	   *list = NIL;

	if (sc_stats_shared == NULL)
		return NIL;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	for (int i = 0; i < sc_stats_shared->nslots; i++)
	{
		const ScSlot *slot = &sc_stats_shared->slots[i];

		if (slot->life != SC_LIFE_FREE && slot->info.unit.db == MyDatabaseId)
		{
			ScUnitInfo *info = palloc(sizeof(ScUnitInfo));

			*info = slot->info;
			list = lappend(list, info);
		}
	}
	LWLockRelease(sc_stats_shared->unit_lock);
	return list;
}

bool
sc_stats_unit_of(Oid stream, Oid rollup, ScUnitInfo *info)
{
	ScSlot	   *slot;

	if (sc_stats_shared == NULL)
		return false;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	slot = sc_stats_find_locked(MyDatabaseId, stream, rollup);
	if (slot != NULL)
		*info = slot->info;
	LWLockRelease(sc_stats_shared->unit_lock);
	return slot != NULL;
}

/*
 * Requests are numbered over all units, so that a number that was given for
 * a unit that is gone can never be taken for a later one's.
 */
uint64
sc_stats_ask_end(Oid stream, Oid rollup)
{
	ScSlot	   *slot;
	uint64		request = 0;

	if (sc_stats_shared == NULL)
		return 0;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	slot = sc_stats_find_locked(MyDatabaseId, stream, rollup);
	if (slot != NULL && slot->latch != NULL)
	{
		request = ++sc_stats_shared->last_end_request;
		pg_atomic_write_u64(&slot->end_request, request);
		SetLatch(slot->latch);
	}
	LWLockRelease(sc_stats_shared->unit_lock);
	return request;
}
