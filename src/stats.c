/*-------------------------------------------------------------------------
 *
 * stats.c
 *		Set-up of the shared memory, and who is told of a commit.
 *
 * What is shared is what a restart may forget: which units there are is
 * found again by the launcher's probes, how far each has come stands in the
 * tables.  A crash of any process makes all of it anew; only whose crash it
 * was is remembered (stats_crash.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "stats_private.h"

#define TRANCHE "streamcount"

ScShared   *sc_stats_shared = NULL;

static int	max_units;
static int	max_partitions;

/* Of the transaction under way */
static bool catalog_changed = false;
static bool databases_changed = false;
static List *forgiven = NIL;	/* streams; InvalidOid: all */

static Size
units_size(void)
{
	return add_size(offsetof(ScShared, slots), mul_size(max_units, sizeof(ScSlot)));
}

/* Every backend can be at such a command, each at one at a time. */
static Size
withdrawals_size(void)
{
	return mul_size(MaxBackends, sizeof(ScWithdrawal));
}

void
sc_stats_request(int units, int partitions)
{
	max_units = units;
	max_partitions = partitions;
	RequestAddinShmemSpace(units_size());
	RequestAddinShmemSpace(withdrawals_size());
	RequestAddinShmemSpace(sc_stats_deaths_size(units));
	RequestAddinShmemSpace(sc_stats_live_size(partitions));
	RequestNamedLWLockTranche(TRANCHE, 2);
}

void
sc_stats_startup(void)
{
	bool		found;
	bool		found_withdrawals;
	ScWithdrawal *withdrawals;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	sc_stats_shared = ShmemInitStruct("streamcount units", units_size(), &found);
	withdrawals = ShmemInitStruct("streamcount withdrawals", withdrawals_size(),
								  &found_withdrawals);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE);

		memset(sc_stats_shared, 0, units_size());
		sc_stats_shared->unit_lock = &locks[0].lock;
		sc_stats_shared->live_lock = &locks[1].lock;
		ConditionVariableInit(&sc_stats_shared->moved);
		sc_stats_shared->withdrawals = withdrawals;
		sc_stats_shared->nslots = max_units;
		for (int i = 0; i < max_units; i++)
		{
			pg_atomic_init_u32(&sc_stats_shared->slots[i].told, 0);
			pg_atomic_init_u64(&sc_stats_shared->slots[i].end_request, 0);
		}
	}
	sc_stats_deaths_startup(max_units);
	sc_stats_live_startup(max_partitions);
	LWLockRelease(AddinShmemInitLock);
}

bool
sc_stats_available(void)
{
	return sc_stats_shared != NULL;
}

const char *
sc_state_name(ScState state)
{
	switch (state)
	{
		case SC_STATE_DOWN:
			return "down";
		case SC_STATE_IDLE:
			return "idle";
		case SC_STATE_WAITING:
			return "waiting";
		case SC_STATE_RUNNING:
			return "running";
		case SC_STATE_CATCHING_UP:
			return "catching_up";
		case SC_STATE_CONNECTING:
			return "connecting";
		case SC_STATE_STALLED:
			return "stalled";
		case SC_STATE_BLOCKED:
			return "blocked";
		case SC_STATE_RESTORING:
			return "restoring";
	}
	elog(ERROR, "unrecognized state: %d", (int) state);
	return NULL;
}

bool
sc_state_needs_look(ScState state)
{
	return state == SC_STATE_CONNECTING || state == SC_STATE_STALLED;
}

uint64
sc_stats_my_ticket(void)
{
	uint64		ticket;

	memcpy(&ticket, MyBgworkerEntry->bgw_extra, sizeof(ticket));
	return ticket;
}

/* ---------------------------------------------------------------------
 * With unit_lock held
 * --------------------------------------------------------------------- */

void
sc_stats_wake_launcher_locked(void)
{
	if (sc_stats_shared->launcher != NULL)
		SetLatch(sc_stats_shared->launcher);
}

void
sc_stats_tell_locked(ScSlot *slot)
{
	pg_atomic_write_u32(&slot->told, 1);
	if (slot->latch != NULL)
		SetLatch(slot->latch);
}

ScSlot *
sc_stats_find_locked(Oid db, Oid stream, Oid rollup)
{
	for (int i = 0; i < sc_stats_shared->nslots; i++)
	{
		ScSlot	   *slot = &sc_stats_shared->slots[i];

		if (slot->life != SC_LIFE_FREE && slot->info.unit.db == db &&
			slot->info.unit.stream == stream && slot->info.unit.rollup == rollup)
			return slot;
	}
	return NULL;
}

ScSlot *
sc_stats_find_or_make_locked(Oid db, Oid stream, Oid rollup)
{
	ScSlot	   *slot = sc_stats_find_locked(db, stream, rollup);

	for (int i = 0; slot == NULL && i < sc_stats_shared->nslots; i++)
	{
		if (sc_stats_shared->slots[i].life != SC_LIFE_FREE)
			continue;
		slot = &sc_stats_shared->slots[i];
		memset(&slot->info, 0, sizeof(slot->info));
		slot->life = SC_LIFE_WAITING;
		slot->wanted = slot->apart = false;
		slot->latch = NULL;
		slot->joined_at = 0;
		slot->careful = 0;
		slot->nstalls = 0;
		slot->trouble = SC_STATE_DOWN;
		slot->last_error = 0;
		slot->info.unit.db = db;
		slot->info.unit.stream = stream;
		slot->info.unit.rollup = rollup;
		slot->info.since = GetCurrentTimestamp();
		sc_stats_put_reason(slot->info.reason, "its worker has not been started yet");
		pg_atomic_write_u32(&slot->told, 0);
		pg_atomic_write_u64(&slot->end_request, 0);
	}
	return slot;
}

/* Databases of other encodings have no streams. */
static int
reason_len(const char *reason)
{
	return pg_encoding_mbcliplen(PG_UTF8, reason, strlen(reason), SC_REASON_LEN - 1);
}

void
sc_stats_put_reason(char *to, const char *reason)
{
	strlcpy(to, reason, reason_len(reason) + 1);
}

bool
sc_stats_is_reason(const char *put, const char *reason)
{
	int			len = reason_len(reason);

	return strncmp(put, reason, len) == 0 && put[len] == '\0';
}

void
sc_stats_down_locked(ScSlot *slot, const char *reason)
{
	if (slot->info.state != SC_STATE_DOWN)
	{
		slot->info.state = SC_STATE_DOWN;
		slot->info.since = GetCurrentTimestamp();
	}
	sc_stats_put_reason(slot->info.reason, reason);
}

/* ---------------------------------------------------------------------
 * At commit
 * --------------------------------------------------------------------- */

static void
tell_all(Oid db)
{
	ListCell   *lc;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	if (databases_changed)
		sc_stats_shared->databases_changed = true;
	foreach(lc, forgiven)
		sc_stats_forgive_locked(db, lfirst_oid(lc));
	if (catalog_changed)
	{
		int			n = Min(sc_stats_shared->nchanged, SC_MAX_CHANGED);
		int			i = 0;

		while (i < n && sc_stats_shared->changed[i] != db)
			i++;
		if (i == n && n < SC_MAX_CHANGED)
			sc_stats_shared->changed[i] = db;
		if (i == n)
			sc_stats_shared->nchanged = n + 1;
		for (i = 0; i < sc_stats_shared->nslots; i++)
		{
			if (sc_stats_shared->slots[i].life != SC_LIFE_FREE &&
				sc_stats_shared->slots[i].info.unit.db == db)
				sc_stats_tell_locked(&sc_stats_shared->slots[i]);
		}
	}
	sc_stats_wake_launcher_locked();
	LWLockRelease(sc_stats_shared->unit_lock);
	ConditionVariableBroadcast(&sc_stats_shared->moved);
}

/*
 * At this event others see the transaction as committed already.  One that
 * is prepared is found by the launcher's next round.
 */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && (catalog_changed || databases_changed))
		tell_all(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		catalog_changed = databases_changed = false;
		forgiven = NIL;
	}
}

static bool
watch_transaction(void)
{
	static bool registered = false;

	if (sc_stats_shared == NULL)
		return false;
	if (!registered)
		RegisterXactCallback(at_end_of_transaction, NULL);
	registered = true;
	return true;
}

void
sc_stats_changed_at_commit(void)
{
	if (watch_transaction())
		catalog_changed = true;
}

void
sc_stats_stream_changed_at_commit(Oid stream)
{
	MemoryContext old;

	if (!watch_transaction())
		return;
	catalog_changed = true;
	old = MemoryContextSwitchTo(TopTransactionContext);
	forgiven = list_append_unique_oid(forgiven, stream);
	MemoryContextSwitchTo(old);
}

void
sc_stats_databases_changed_at_commit(void)
{
	if (watch_transaction())
		databases_changed = true;
}
