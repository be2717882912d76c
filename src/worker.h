/*-------------------------------------------------------------------------
 *
 * worker.h
 *		One worker's life.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WORKER_H
#define SC_WORKER_H

#include "streamcount.h"

/* arg: the index of the unit, for sc_stats_worker_attach(). */
extern PGDLLEXPORT void streamcount_worker_main(Datum arg);

#endif							/* SC_WORKER_H */
