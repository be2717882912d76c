/*-------------------------------------------------------------------------
 *
 * launcher_private.h
 *		The two halves of the launcher: databases, and the units in them.
 *
 * Both are taken in turns.  A turn does what is due and says when the next
 * is, in milliseconds of a clock that nobody sets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_LAUNCHER_PRIVATE_H
#define SC_LAUNCHER_PRIVATE_H

#include "launcher.h"

#include "postmaster/bgworker.h"

#define SC_NEVER PG_INT64_MAX

/* Doubling from first to most */
extern int64 sc_launcher_backoff(int failures, int64 first, int64 most);

/* NULL when max_worker_processes does not allow one more */
extern BackgroundWorkerHandle *sc_launcher_start(BackgroundWorker *worker, const char *function,
												 int index, uint64 ticket);

extern void sc_launcher_databases_begin(void);
extern int64 sc_launcher_databases_turn(int64 now);
/* May workers be started in it?  NULL: not now, else its name */
extern const char *sc_launcher_database_ready(Oid db, int64 now);

extern void sc_launcher_units_begin(void);
extern int64 sc_launcher_units_turn(int64 now);

#endif							/* SC_LAUNCHER_PRIVATE_H */
