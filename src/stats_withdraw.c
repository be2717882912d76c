/*-------------------------------------------------------------------------
 *
 * stats_withdraw.c
 *		Commands that need a database without sessions.
 *
 * Who runs one is noted with its pid: no process of ours begins in the database
 * while that is alive, and what it leaves behind does not count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/procarray.h"

#include "stats_private.h"

/* What a process that is gone left behind does not count. */
bool
sc_stats_withdrawn_locked(Oid db)
{
	for (int i = 0; i < sc_stats_shared->nwithdrawals; i++)
	{
		if (sc_stats_shared->withdrawals[i].db == db &&
			BackendPidGetProc(sc_stats_shared->withdrawals[i].pid) != NULL)
			return true;
	}
	return false;
}

bool
sc_stats_withdrawn(Oid db)
{
	bool		withdrawn;

	LWLockAcquire(sc_stats_shared->unit_lock, LW_SHARED);
	withdrawn = sc_stats_withdrawn_locked(db);
	LWLockRelease(sc_stats_shared->unit_lock);
	return withdrawn;
}

static void
unmark_locked(int pid)
{
	ScShared   *shared = sc_stats_shared;

	for (int i = shared->nwithdrawals - 1; i >= 0; i--)
	{
		if (shared->withdrawals[i].pid == pid)
			shared->withdrawals[i] = shared->withdrawals[--shared->nwithdrawals];
	}
}

static void
mark_locked(Oid db)
{
	ScShared   *shared = sc_stats_shared;

	for (int i = shared->nwithdrawals - 1; i >= 0; i--)
	{
		if (BackendPidGetProc(shared->withdrawals[i].pid) == NULL)
			unmark_locked(shared->withdrawals[i].pid);
	}
	unmark_locked(MyProcPid);
	shared->withdrawals[shared->nwithdrawals].db = db;
	shared->withdrawals[shared->nwithdrawals++].pid = MyProcPid;
}

List *
sc_stats_withdraw(Oid db)
{
	ScShared   *shared = sc_stats_shared;
	List	   *pids = NIL;

	LWLockAcquire(shared->unit_lock, LW_EXCLUSIVE);
	mark_locked(db);
	for (int i = 0; i < shared->nslots; i++)
	{
		if (shared->slots[i].life == SC_LIFE_RUNNING && shared->slots[i].info.unit.db == db)
		{
			pids = lappend_int(pids, shared->slots[i].info.pid);
			sc_stats_end_worker_locked(&shared->slots[i]);
		}
	}
	for (int i = 0; i < SC_PROBES; i++)
	{
		if (shared->probes[i].pid != 0 && shared->probes[i].db == db)
		{
			pids = lappend_int(pids, shared->probes[i].pid);
			shared->probes[i].result = SC_PROBE_ASKED;
			kill(shared->probes[i].pid, SIGTERM);
		}
	}
	LWLockRelease(shared->unit_lock);
	return pids;
}

void
sc_stats_withdraw_end(Oid db, bool forget)
{
	LWLockAcquire(sc_stats_shared->unit_lock, LW_EXCLUSIVE);
	unmark_locked(MyProcPid);
	sc_stats_shared->databases_changed = true;
	sc_stats_wake_launcher_locked();
	LWLockRelease(sc_stats_shared->unit_lock);
	if (forget)
	{
		sc_stats_unwant(db);
		sc_stats_live_forget_of(0, db);
	}
}
