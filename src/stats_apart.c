/*-------------------------------------------------------------------------
 *
 * stats_apart.c
 *		Rollups that are served apart, by a unit of their own.
 *
 * A rollup is served either by its own unit or by that of its stream.  Whoever
 * moves it from one to the other tells both, and takes along what is asked of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "stats_private.h"

/* Who waits for an answer waits for the one who can give it now. */
static void
hand_over_request(ScSlot *from, ScSlot *to)
{
	uint64		request = from == NULL ? 0 : pg_atomic_read_u64(&from->end_request);

	if (request > pg_atomic_read_u64(&to->end_request))
		pg_atomic_write_u64(&to->end_request, request);
}

bool
sc_stats_set_apart(Oid stream, Oid rollup, const char *reason)
{
	ScSlot	   *all;
	ScSlot	   *slot;

	if (sc_stats_shared == NULL)
		return false;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	all = sc_stats_find_locked(MyDatabaseId, stream, InvalidOid);
	slot = sc_stats_find_or_make_locked(MyDatabaseId, stream, rollup);
	if (slot != NULL && !slot->apart)
	{
		slot->apart = slot->wanted = true;
		if (slot->info.pid == 0)
			sc_stats_down_locked(slot, reason);
		hand_over_request(all, slot);
		if (all != NULL && !sc_stats_is_mine(all))
			sc_stats_tell_locked(all);
		sc_stats_wake_launcher_locked();
	}
	LWLockRelease(sc_stats_shared->unit_lock);
	return slot != NULL;
}

/*
 * Its worker has crashed, and the crash made forgotten that it was served
 * apart: the others are not to crash with it.
 */
ScSlot *
sc_stats_apart_again_locked(Oid stream, Oid rollup)
{
	ScUnit		unit = {MyDatabaseId, stream, rollup};
	ScSlot	   *slot = NULL;

	if (sc_stats_deaths_locked(&unit) != NULL)
		slot = sc_stats_find_or_make_locked(MyDatabaseId, stream, rollup);
	if (slot != NULL)
		slot->apart = true;
	return slot;
}

/*
 * The unit of the stream takes the rollup back, or comes to life to do so.
 * A worker that gives up its own rollup is about to end by itself: then the
 * launcher hears of it from its exit.
 */
void
sc_stats_clear_apart(Oid stream, Oid rollup)
{
	ScSlot	   *all;
	ScSlot	   *slot;

	if (sc_stats_shared == NULL)
		return;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	slot = sc_stats_find_locked(MyDatabaseId, stream, rollup);
	if (slot != NULL && slot->apart &&
		(all = sc_stats_find_or_make_locked(MyDatabaseId, stream, InvalidOid)) != NULL)
	{
		slot->apart = slot->wanted = false;
		all->wanted = true;
		all->joined_at = GetCurrentTimestamp();
		hand_over_request(slot, all);
		sc_stats_tell_locked(all);
		if (!sc_stats_is_mine(slot))
			sc_stats_wake_launcher_locked();
	}
	LWLockRelease(sc_stats_shared->unit_lock);
}

bool
sc_stats_is_apart(Oid rollup)
{
	bool		apart = false;

	if (sc_stats_shared == NULL)
		return false;
	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	for (int i = 0; i < sc_stats_shared->nslots && !apart; i++)
	{
		const ScSlot *slot = &sc_stats_shared->slots[i];

		apart = slot->life != SC_LIFE_FREE && slot->apart &&
			slot->info.unit.db == MyDatabaseId && slot->info.unit.rollup == rollup;
	}
	LWLockRelease(sc_stats_shared->unit_lock);
	return apart;
}
