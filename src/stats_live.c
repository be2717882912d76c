/*-------------------------------------------------------------------------
 *
 * stats_live.c
 *		Partitions as live workers know them, and waiting for them to move.
 *
 * An entry belongs to the worker that wrote it last and goes with it: what
 * no live worker vouches for is not shown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/wait_event.h"

#include "stats_private.h"

typedef struct LiveKey
{
	Oid			db;
	Oid			rollup;
	int32		partition;
} LiveKey;

typedef struct LiveEntry
{
	LiveKey		key;
	int			pid;			/* of the worker that wrote it */
	ScLive		live;
} LiveEntry;

static HTAB *partitions = NULL;
static int	max_partitions;

Size
sc_stats_live_size(int n)
{
	return hash_estimate_size(n, sizeof(LiveEntry));
}

void
sc_stats_live_startup(int n)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(LiveKey);
	ctl.entrysize = sizeof(LiveEntry);
	partitions = ShmemInitHash("streamcount partitions", n, n, &ctl, HASH_ELEM | HASH_BLOBS);
	max_partitions = n;
}

/*
 * A shared hash table takes more memory than it was given when there is any,
 * which then fails others: so its size is held here.
 */
static LiveEntry *
enter(const LiveKey *key)
{
	LiveEntry  *entry = hash_search(partitions, key, HASH_FIND, NULL);

	if (entry == NULL && hash_get_num_entries(partitions) < max_partitions)
		entry = hash_search(partitions, key, HASH_ENTER_NULL, NULL);
	return entry;
}

void
sc_stats_live_put(const ScLive *live)
{
	static bool warned = false;
	LiveKey		key = {MyDatabaseId, live->rollup, live->partition};
	LiveEntry  *entry;

	if (sc_stats_shared == NULL)
		return;
	LWLockAcquire(sc_stats_shared->live_lock, LW_EXCLUSIVE);
	entry = enter(&key);
	if (entry != NULL)
	{
		entry->pid = MyProcPid;
		entry->live = *live;
		entry->live.db = MyDatabaseId;
	}
	LWLockRelease(sc_stats_shared->live_lock);

	if (entry == NULL && !warned)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("cannot show the state of more than %d partitions of rollups", max_partitions),
				 errdetail("They are counted all the same, but streamcount.wait() cannot wait for those that are not shown."),
				 errhint("Increase streamcount.max_partitions and restart the server.")));
	warned |= entry == NULL;
}

/* Removing the entry that a scan has just returned is allowed. */
static void
forget(Oid db, Oid rollup, int pid)
{
	HASH_SEQ_STATUS scan;
	LiveEntry  *entry;

	LWLockAcquire(sc_stats_shared->live_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, partitions);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if ((!OidIsValid(db) || entry->key.db == db) &&
			(!OidIsValid(rollup) || entry->key.rollup == rollup) &&
			(pid == 0 || entry->pid == pid))
			hash_search(partitions, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(sc_stats_shared->live_lock);
}

void
sc_stats_live_forget(Oid rollup)
{
	if (sc_stats_shared != NULL)
		forget(MyDatabaseId, rollup, 0);
}

void
sc_stats_live_forget_of(int pid, Oid db)
{
	forget(db, InvalidOid, pid);
}

bool
sc_stats_live_get(Oid rollup, int32 partition, ScLive *live)
{
	LiveKey		key = {MyDatabaseId, rollup, partition};
	LiveEntry  *entry;

	if (sc_stats_shared == NULL)
		return false;
	LWLockAcquire(sc_stats_shared->live_lock, LW_SHARED);
	entry = hash_search(partitions, &key, HASH_FIND, NULL);
	if (entry != NULL)
		*live = entry->live;
	LWLockRelease(sc_stats_shared->live_lock);
	return entry != NULL;
}

List *
sc_stats_live_list(void)
{
	HASH_SEQ_STATUS scan;
	LiveEntry  *entry;
	List	   *list = NIL;

	if (sc_stats_shared == NULL)
		return NIL;
	LWLockAcquire(sc_stats_shared->live_lock, LW_SHARED);
	hash_seq_init(&scan, partitions);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.db == MyDatabaseId)
		{
			ScLive	   *live = palloc(sizeof(ScLive));

			*live = entry->live;
			list = lappend(list, live);
		}
	}
	LWLockRelease(sc_stats_shared->live_lock);
	return list;
}

/* ---------------------------------------------------------------------
 * Waiting
 * --------------------------------------------------------------------- */

void
sc_stats_broadcast(void)
{
	if (sc_stats_shared != NULL)
		ConditionVariableBroadcast(&sc_stats_shared->moved);
}

void
sc_stats_wait_prepare(void)
{
	if (sc_stats_shared != NULL)
		ConditionVariablePrepareToSleep(&sc_stats_shared->moved);
}

void
sc_stats_wait(long timeout_ms)
{
	if (sc_stats_shared != NULL)
		ConditionVariableTimedSleep(&sc_stats_shared->moved, timeout_ms, PG_WAIT_EXTENSION);
}

void
sc_stats_wait_end(void)
{
	if (sc_stats_shared != NULL)
		ConditionVariableCancelSleep();
}
