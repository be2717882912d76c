/*-------------------------------------------------------------------------
 *
 * stall.h
 *		Partitions that stand still although there is something to come.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STALL_H
#define SC_STALL_H

#include "streamcount.h"

#include "unit.h"

/* What the worker before this one knew.  Before the source is assigned. */
extern void sc_stall_load(ScServed *served);

/* A stalled partition is left alone for a while: it is not to be assigned. */
extern bool sc_stall_rests(const ScPosition *position);

/*
 * Reading the partition has failed: it is stalled from now on, and a new
 * worker tries it again, after a rest that doubles each time.  Broken batches
 * are counted: other faults say nothing of what the partition holds.
 */
pg_noreturn extern void sc_stall_fail(ScServed *served, ScPosition *position,
									  const char *reason, bool broken);

/* Something has come, or there is nothing to come any more. */
extern void sc_stall_end(ScServed *served, ScPosition *position);

/*
 * Silence becomes a stall, a long one asks for a new worker, and so does the
 * end of a rest: true when one is to be started, with all that was read before
 * it committed.  To be called at least once in SC_STALL_LOOK_MS while
 * sc_stall_looks() is true.
 */
#define SC_STALL_LOOK_MS 1000
extern bool sc_stall_watch(ScServed *served, TimestampTz now);
extern bool sc_stall_looks(const ScServed *served);

/* The brokers do not answer at all: that is not a partition's silence. */
extern void sc_stall_forgive(ScServed *served);

#endif							/* SC_STALL_H */
