/*-------------------------------------------------------------------------
 *
 * stats_launch.h
 *		What the launcher, its probes and DDL on databases tell each other.
 *
 * The launcher alone decides which processes there are.  Probes say what is
 * wanted; a worker says that it has begun and how it ends; a backend that is
 * about to drop, rename, move or copy a database withdraws its processes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STATS_LAUNCH_H
#define SC_STATS_LAUNCH_H

#include "stats.h"

/* So many databases are looked at at a time. */
#define SC_PROBES 2

typedef enum ScLife
{
	SC_LIFE_FREE,				/* no unit in this place */
	SC_LIFE_WAITING,			/* for the launcher to start a worker */
	SC_LIFE_STARTING,			/* the postmaster has been asked for one */
	SC_LIFE_RUNNING,
	SC_LIFE_ENDED				/* and the launcher has not looked at it yet */
} ScLife;

/* How a worker ended */
typedef enum ScWorkerEnd
{
	SC_END_FAILURE,
	SC_END_RESTART,				/* it wants to begin anew */
	SC_END_FINISHED,			/* nothing was left for it to serve */
	SC_END_ASKED				/* we ended it */
} ScWorkerEnd;

typedef enum ScProbeResult
{
	SC_PROBE_UNKNOWN,			/* it is under way, or ended without a word */
	SC_PROBE_ASKED,				/* we ended it */
	SC_PROBE_NO_EXTENSION,
	SC_PROBE_EXTENSION,
	SC_PROBE_FAILED
} ScProbeResult;

/*
 * A worker that is killed may be at no fault, least of all where it, or the
 * one after it, has achieved something: so many such deaths are one crash.
 */
#define SC_DEATHS_IN_DOUBT 4

/* The most that is remembered of one unit: as many as any limit asks for */
#define SC_MAX_DEATHS (20 * SC_DEATHS_IN_DOUBT)

typedef struct ScDeath
{
	TimestampTz at;
	int			signal;			/* 0: it was killed */
	bool		in_doubt;
} ScDeath;

/* Crashes of a unit's workers, the last one last */
typedef struct ScDeaths
{
	ScUnit		unit;
	bool		stopped;		/* no worker is started any more */
	int			n;				/* 0: a free place */
	ScDeath		deaths[SC_MAX_DEATHS];
} ScDeaths;

typedef struct ScPlace
{
	ScLife		life;
	ScWorkerEnd end;
	bool		wanted;
	bool		withdrawn;
	ScUnitInfo	info;
	ScDeaths	deaths;
} ScPlace;

/* The launcher's own */
extern void sc_stats_launcher_attach(void);
/* What was signalled since the last call; NIL with *all: every database */
extern List *sc_stats_launcher_told(bool *databases, bool *all);
extern bool sc_stats_withdrawn(Oid db);
extern void sc_stats_unwant(Oid db);

/* Units, by place */
extern int	sc_stats_places(void);
extern bool sc_stats_place(int index, ScPlace *place);
extern uint64 sc_stats_place_starting(int index);
extern void sc_stats_place_waiting(int index, int failures);
extern bool sc_stats_place_reason(int index, const char *reason);
extern void sc_stats_place_stop(int index);
extern void sc_stats_place_terminate(int index);
extern void sc_stats_place_free(int index);

/* Probes, by place */
extern uint64 sc_stats_probe_starting(int index, Oid db);
extern ScProbeResult sc_stats_probe_take(int index, char *reason);
extern void sc_stats_probe_terminate(int index);
extern Oid	sc_stats_probe_attach(int index);
extern void sc_stats_probe_result(ScProbeResult result, const char *reason);
/* rollup and stream of all rollups of this database: how many found no place */
extern int	sc_stats_publish(const ScUnit *units, int n);

/* Backends: the pids of those that were asked to leave the database */
extern List *sc_stats_withdraw(Oid db);
extern void sc_stats_withdraw_end(Oid db, bool forget);
extern void sc_stats_databases_changed_at_commit(void);

#endif							/* SC_STATS_LAUNCH_H */
