/*-------------------------------------------------------------------------
 *
 * unit_private.h
 *		What loading a unit and looking at it again share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_UNIT_PRIVATE_H
#define SC_UNIT_PRIVATE_H

#include "unit.h"

/*
 * One look: a transaction, with one snapshot.  False where somebody held a
 * lock on what is looked at: nothing may be believed of what was seen.
 */
extern bool sc_unit_look(void (*look) (void *arg), void *arg);

/* Inside of it: is there a stream, and an extension that fits? */
extern bool sc_unit_exists(const ScUnit *unit);
extern List *sc_unit_rollups(const ScUnit *unit, MemoryContext cx);

/* All of the definitions that would ask for a new start, as one text */
extern char *sc_unit_sign(const ScStream *stream, List *rollups);

/* Rollups that a look found to be halted from now on; written after it. */
typedef struct ScHalt ScHalt;

extern ScHalt *sc_unit_make_halt(const ScRollup *rollup, const char *reason, const char *hint);
extern void sc_unit_write_halts(List *halts);

#endif							/* SC_UNIT_PRIVATE_H */
