/*-------------------------------------------------------------------------
 *
 * stats_private.h
 *		The layout of the shared memory, for stats*.c alone.
 *
 * Two locks.  unit_lock holds all but the partitions; live_lock holds those.
 * A process that needs both takes unit_lock first.  Neither is ever held
 * over anything that can raise an error, read a catalog or wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STATS_PRIVATE_H
#define SC_STATS_PRIVATE_H

#include <signal.h>

#include "stats.h"
#include "stats_launch.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

typedef struct ScSlot
{
	ScLife		life;
	ScWorkerEnd end;
	bool		wanted;
	bool		apart;			/* the rollup is served here and nowhere else */
	uint64		ticket;			/* of the last start; a worker with another is late */
	Latch	   *latch;			/* the worker's, while it is running */
	TimestampTz joined_at;		/* when it last took a rollup back */
	int64		careful;		/* messages to be read by the executor's way alone */
	int			last_error;		/* SQLSTATE that the last worker ended by; 0: none */
	bool		well;			/* its worker has achieved something */
	volatile sig_atomic_t fate; /* of its worker, see stats_crash.c */
	/* What troubles the unit, over the lives of its workers */
	ScState		trouble;		/* SC_STATE_DOWN: nothing */
	TimestampTz trouble_since;
	char		trouble_reason[SC_REASON_LEN];
	int			nstalls;
	ScStall		stalls[SC_MAX_STALLS];
	pg_atomic_uint32 told;		/* the worker has to read the catalog again */
	pg_atomic_uint64 end_request;
	ScUnitInfo	info;
} ScSlot;

typedef struct ScProbe
{
	Oid			db;				/* InvalidOid: a free place */
	uint64		ticket;
	int			pid;
	ScProbeResult result;
	char		reason[SC_REASON_LEN];
} ScProbe;

/* Somebody is about to need a database without sessions. */
typedef struct ScWithdrawal
{
	Oid			db;
	int			pid;
} ScWithdrawal;

/* More databases than this that changed at a time: all are looked at again. */
#define SC_MAX_CHANGED 64

typedef struct ScShared
{
	LWLock	   *unit_lock;
	LWLock	   *live_lock;
	ConditionVariable moved;	/* a commit, an answer, or the end of a worker */

	Latch	   *launcher;		/* NULL: there is none */
	bool		databases_changed;
	int			nchanged;		/* > SC_MAX_CHANGED: all databases */
	Oid			changed[SC_MAX_CHANGED];

	uint64		last_ticket;
	uint64		last_end_request;
	ScProbe		probes[SC_PROBES];

	int			nwithdrawals;
	ScWithdrawal *withdrawals;

	int			ndeaths;		/* places of stats_crash.c that have been used */
	int			nslots;
	ScSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} ScShared;

/* NULL without preloading */
extern ScShared *sc_stats_shared;

/* With unit_lock held */
extern bool sc_stats_withdrawn_locked(Oid db);
extern void sc_stats_wake_launcher_locked(void);
extern void sc_stats_tell_locked(ScSlot *slot);
extern ScSlot *sc_stats_find_locked(Oid db, Oid stream, Oid rollup);
extern ScSlot *sc_stats_find_or_make_locked(Oid db, Oid stream, Oid rollup);
extern void sc_stats_end_worker_locked(ScSlot *slot);
extern void sc_stats_down_locked(ScSlot *slot, const char *reason);

extern ScDeaths *sc_stats_deaths_locked(const ScUnit *unit);	/* NULL: none */
extern ScSlot *sc_stats_apart_again_locked(Oid stream, Oid rollup); /* NULL: it was not */
extern void sc_stats_doubt_killed_locked(const ScUnit *unit);
extern void sc_stats_forgive_locked(Oid db, Oid stream);

/* A worker's: from its start to its leave */
extern void sc_stats_crash_watch(ScSlot *slot);
extern void sc_stats_crash_unwatch(void);

/* Does this process serve the unit? */
extern bool sc_stats_is_mine(const ScSlot *slot);

/* The number of the start that this process was made for. */
extern uint64 sc_stats_my_ticket(void);

/* From a postmaster that a crash may end to the next one: how many that finds */
extern void sc_stats_crash_write(const ScDeaths *deaths, int n);
extern int	sc_stats_crash_read(ScDeaths *deaths, int max);
extern void sc_stats_crash_unlink(void);

extern Size sc_stats_deaths_size(int units);
extern void sc_stats_deaths_startup(int units);
extern Size sc_stats_live_size(int partitions);
extern void sc_stats_live_startup(int partitions);
/* Of a process that ends, or of a database that is gone */
extern void sc_stats_live_forget_of(int pid, Oid db);

#endif							/* SC_STATS_PRIVATE_H */
