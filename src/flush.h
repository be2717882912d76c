/*-------------------------------------------------------------------------
 *
 * flush.h
 *		A flush that knows what to do when it fails.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_FLUSH_H
#define SC_FLUSH_H

#include "streamcount.h"

#include "unit.h"

/*
 * Write what was accepted and forget it.  A rollup that cannot be written is
 * halted or served apart, and the others go on; an error that is nobody's
 * fault here is raised, and ends the worker.  False: the definition that
 * the messages were decoded by is no longer in force.
 */
extern bool sc_flush(ScServed *served, const volatile bool *stale);

/*
 * What is written outside of a flush, as a halt is, has failed: where it was
 * for a lock that somebody holds, its rollup is to wait alone.  What is served
 * may not be read yet (NULL).
 */
extern bool sc_flush_send_apart(const ScUnit *unit, const ScServed *served, const ErrorData *edata);

#endif							/* SC_FLUSH_H */
